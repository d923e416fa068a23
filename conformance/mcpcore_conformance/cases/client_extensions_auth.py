"""Cases of the authorization extensions, and of DPoP, for clients that know their scenarios."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

from mcpcore_conformance.kit import es256
from mcpcore_conformance.kit.client_sign_in import (
    NewSite,
    attend,
    protect,
    sign_in,
    signing_in,
    stops,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import SINCE_2025_11_25, Page
from mcpcore_conformance.kit.protected import (
    EXCHANGE,
    ID_JAG,
    JWT_BEARER,
    HttpVisit,
    ProtectedSite,
    SignInServer,
    answer,
    decoded,
)
from mcpcore_conformance.kit.verdicts import check, need

credentials = Page("extensions/auth/oauth-client-credentials")
enterprise = Page("extensions/auth/enterprise-managed-authorization")
rfc7523 = Page("rfc7523")
rfc9449 = Page("rfc9449")
credentials_case = signing_in(credentials, SINCE_2025_11_25)

GIVEN = {"client_id": "kit-registered", "client_secret": "kit-secret-of-registered"}
enterprise_case = signing_in(
    enterprise,
    SINCE_2025_11_25,
    scenario="auth/enterprise-managed-authorization",
    context=GIVEN,
)
rfc7523_case = signing_in(
    rfc7523,
    SINCE_2025_11_25,
    scenario="auth/wif-jwt-bearer",
    context={
        "client_id": "kit-registered",
        "valid_jwt": "kit.valid.jwt",
        "wrong_audience_jwt": "kit.wrong.jwt",
        "expired_jwt": "kit.expired.jwt",
    },
)
rfc9449_case = signing_in(rfc9449, SINCE_2025_11_25, scenario="auth/dpop")
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a type
JAG = "kit.id.jag"
SIGNED_IN = "kit.id.token"


def _of_grant(site: ProtectedSite, grant: str) -> list[HttpVisit]:
    return [each for each in site.of("token") if each.form.get("grant_type") == grant]


def _need_scenario(talk: ClientTalk, found: object) -> None:
    """Skip the case if nothing was found of what makes up its scenario."""
    need(found, f"the client does not know the scenario {talk.case.scenario}: a person signs in")


async def _granted(
    talk: ClientTalk, site: ProtectedSite, grant: str, context: Mapping[str, Any] | None = None
) -> list[HttpVisit]:
    """As :func:`attend`; returns the token requests of a grant type, Broken without any."""
    await attend(talk, site, context)
    found = _of_grant(site, grant)
    _need_scenario(talk, found or not site.of("authorize"))
    check(found, f"there was no token request with grant_type {grant}")
    return found


@credentials_case.must(
    "client-secrets/client-secret",
    "grant_type client_credentials with the secret and the resource; nobody is asked.",
    scenario="auth/client-credentials-basic",
    context=GIVEN,
)
async def with_secret(talk: ClientTalk, site: NewSite) -> None:
    """A program gets a token for itself by its secret."""
    methods = ["client_secret_basic", "client_secret_post"]
    site.server.document = {"token_endpoint_auth_methods_supported": methods}
    found = await _granted(talk, site, "client_credentials")
    await sign_in(talk, site)
    check(not site.of("authorize"), "a person was asked for authorization")
    form = found[0].form
    secret = found[0].token[0] == "basic" or form.get("client_secret") == GIVEN["client_secret"]
    check(secret, "the client has not authenticated itself")
    check(form.get("resource") == site.address, f"the token is for {form.get('resource')!r}")


@credentials_case.must(
    "jwt-bearer-assertions/client-assertion",
    "An assertion of the client about itself for this server, signed with its key.",
    scenario="auth/client-credentials-jwt",
)
async def with_key(talk: ClientTalk, site: NewSite) -> None:
    """A program gets a token for itself by an assertion that it signs."""
    site.server.document = {
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
    }
    private = talk.random.randrange(1, es256.N)
    about = {"private_key_pem": es256.pem(private), "signing_algorithm": "ES256"}
    about["client_id"] = GIVEN["client_id"]
    found = await _granted(talk, site, "client_credentials", about)
    await sign_in(talk, site)
    check(not site.of("authorize"), "a person was asked for authorization")
    form = found[0].form
    kind = form.get("client_assertion_type")
    check(kind == ASSERTION, f"client_assertion_type is {kind!r}")
    jwt = form.get("client_assertion", "")
    claims = decoded(jwt, 1)
    named = claims.get("iss"), claims.get("sub")
    check(named == (GIVEN["client_id"],) * 2, f"the assertion is of {named}")
    token_endpoint = site.origin + site.server.place("token")
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    check(
        len(meant) == 1 and meant[0] in (site.server.issuer, token_endpoint),
        f"the assertion is for {audience!r}",
    )
    check(isinstance(claims.get("exp"), int | float), "the assertion does not expire")
    check(es256.signed(jwt, es256.public_key(private)), "the assertion is not signed with the key")


def _provider(site: ProtectedSite, **issued: Any) -> SignInServer:
    """Make an identity provider, which gives ID-JAGs."""
    jag = {"access_token": JAG, "issued_token_type": ID_JAG, "token_type": "N_A", **issued}
    made = site.another("/idp", issued=jag)
    site.servers.append(made)
    methods = ["client_secret_basic", "client_secret_post"]
    site.server.document = {
        "token_endpoint_auth_methods_supported": methods,
        "grant_types_supported": [JWT_BEARER],
        "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
    }
    return made


def _about(provider: SignInServer) -> dict[str, str]:
    return {
        "idp_client_id": "kit-at-idp",
        "idp_id_token": SIGNED_IN,
        "idp_issuer": provider.issuer,
        "idp_token_endpoint": provider.origin + provider.place("token"),
    }


@enterprise_case.must(
    "flow", "An ID-JAG is asked for, for the issuer and the resource, with the id token."
)
async def exchange(talk: ClientTalk, site: NewSite) -> None:
    """The identity provider is asked for an ID-JAG for this server."""
    provider = _provider(site)
    found = await _granted(talk, site, EXCHANGE, _about(provider))
    await sign_in(talk, site)
    form = found[0].form
    check(found[0].path == provider.place("token"), f"{found[0].path} was asked to exchange")
    wanted = {
        "requested_token_type": ID_JAG,
        "audience": site.server.issuer,
        "resource": site.address,
        "subject_token": SIGNED_IN,
        "subject_token_type": ID_TOKEN,
    }
    wrong = {name: form.get(name) for name in wanted if form.get(name) != wanted[name]}
    check(not wrong, f"the exchange has {wrong}")


@enterprise_case.must("flow", "The ID-JAG is the assertion of a JWT bearer grant; nobody is asked.")
async def assertion_grant(talk: ClientTalk, site: NewSite) -> None:
    """The authorization server is asked for a token with the ID-JAG, and no person is."""
    found = await _granted(talk, site, JWT_BEARER, _about(_provider(site)))
    await sign_in(talk, site)
    check(not site.of("authorize"), "a person was asked for authorization")
    check(found[0].form.get("assertion") == JAG, "the assertion is not the ID-JAG")
    check(found[0].path == site.server.place("token"), f"{found[0].path} was sent the ID-JAG")


@enterprise_case.must("flow", "A token of another type than asked for is not used as an assertion.")
async def other_type(talk: ClientTalk, site: NewSite) -> None:
    """What the identity provider gives in place of an ID-JAG is passed on to nobody."""
    kind = "urn:ietf:params:oauth:token-type:access_token"
    provider = _provider(site, issued_token_type=kind, token_type="Bearer")  # noqa: S106
    await _granted(talk, site, EXCHANGE, _about(provider))
    check(not _of_grant(site, JWT_BEARER), "the token was used as an assertion")


@rfc7523_case.must(
    "section-2.1/client-grant", "The assertion of the platform is that of a JWT bearer grant."
)
async def workload(talk: ClientTalk, site: NewSite) -> None:
    """A workload gets a token for the assertion of its platform."""
    site.server.document = {"grant_types_supported": [JWT_BEARER]}
    found = await _granted(talk, site, JWT_BEARER)
    await sign_in(talk, site)
    check(not site.of("authorize"), "a person was asked for authorization")
    check(found[0].form.get("assertion") == "kit.valid.jwt", "the assertion is another one")


@rfc7523_case.should("section-3.1", "One token request, and no other grant.")
async def no_retry(talk: ClientTalk, site: NewSite) -> None:
    """A refused assertion is not sent again, and nothing else is tried in its place."""
    site.server.document = {"grant_types_supported": [JWT_BEARER]}
    site.server.refusals = [answer({"error": "invalid_grant"}, 400)] * 10
    await _granted(talk, site, JWT_BEARER)
    await stops(talk, site, "authorize", at=lambda: site.of("token"))
    sent = [each.form.get("assertion") for each in site.of("token")]
    check(len(sent) == len({*sent}), f"the same assertion was sent {len(sent)} times")
    check(None not in sent, "another grant was tried")


# DPoP


def _dpop(talk: ClientTalk) -> ProtectedSite:
    site = protect(talk)
    site.server.document = {"dpop_signing_alg_values_supported": ["ES256"]}
    site.resource = {"dpop_signing_alg_values_supported": ["ES256"]}
    site.challenge = lambda params: [f'DPoP algs="ES256", {params}', f"Bearer {params}"]
    return site


async def _bound(talk: ClientTalk, site: ProtectedSite) -> None:
    """As :func:`sign_in`, with a token that is bound to a key."""
    await attend(talk, site)
    proven = (each.header("dpop") is not None or each.token[0] == "dpop" for each in site.visits)
    _need_scenario(talk, any(proven))
    await sign_in(talk, site)


def _proof(visit: HttpVisit, url: str, token: str = "") -> dict[str, Any]:
    """Check the proof of a request; returns its claims."""
    jwt = visit.header("dpop")
    check(jwt is not None, f"{visit.method} {visit.path} came without a proof")
    head, claims = decoded(jwt or "", 0), decoded(jwt or "", 1)
    check(head.get("typ") == "dpop+jwt", f"the typ of the proof is {head.get('typ')!r}")
    check(head.get("alg") == "ES256", f"the alg of the proof is {head.get('alg')!r}")
    jwk = head.get("jwk")
    key = es256.key_of(jwk)
    check(key is not None, f"the proof has no public key of P-256: {jwk!r}")
    assert isinstance(jwk, dict)
    assert key is not None
    check("d" not in jwk, "the proof has the private key")
    check(es256.signed(jwt or "", key), "the proof is not signed with its key")
    check(claims.get("htm") == visit.method, f"htm is {claims.get('htm')!r}")
    check(claims.get("htu") == url, f"htu is {claims.get('htu')!r}")
    check(isinstance(claims.get("iat"), int | float), "the proof has no iat")
    check(isinstance(claims.get("jti"), str) and claims["jti"], "the proof has no jti")
    if token:
        digest = es256.base64url(sha256(token.encode()).digest())
        check(claims.get("ath") == digest, "ath is not the hash of the token")
    return claims


@rfc9449_case.must(
    "section-5", "A proof for POST and the token endpoint, signed with the key that it names."
)
async def token_request(talk: ClientTalk, site: Annotated[ProtectedSite, _dpop]) -> None:
    """The token request has a proof."""
    await _bound(talk, site)
    for visit in site.of("token"):
        _proof(visit, site.origin + visit.path)


@rfc9449_case.must("section-7", "Authorization: DPoP, and a proof for the request and the token.")
async def every_request(talk: ClientTalk, site: Annotated[ProtectedSite, _dpop]) -> None:
    """Every request to the server has the token by its scheme, and a proof."""
    await _bound(talk, site)
    for visit in site.let_in:
        scheme, token = visit.token
        check(scheme == "dpop", f"{visit.method} came with Authorization: {scheme}")
        _proof(visit, site.address, token)


@rfc9449_case.must("section-4.2", "No jti is there twice.")
async def new_proof(talk: ClientTalk, site: Annotated[ProtectedSite, _dpop]) -> None:
    """Each request has a proof of its own."""
    await _bound(talk, site)
    proofs = [each.header("dpop") for each in site.visits]
    found = [decoded(each, 1).get("jti") for each in proofs if each is not None]
    check(found, "there was no proof")
    check(len(found) == len({*found}), "a jti was used more than once")


@rfc9449_case.must(
    "section-8", "The token request is sent once more, with the nonce.", scenario="auth/dpop-nonce"
)
async def nonce(talk: ClientTalk, site: Annotated[ProtectedSite, _dpop]) -> None:
    """A nonce that the authorization server demands is in the next proof."""
    site.server.nonce = site.server.secret("nonce")
    await _bound(talk, site)
    last = site.of("token")[-1].header("dpop")
    found = decoded(last or "", 1).get("nonce")
    check(found == site.server.nonce, f"the nonce is {found!r}")


@rfc9449_case.must(
    "section-9",
    "The request is sent once more, with the nonce and the same token.",
    scenario="auth/dpop-nonce",
)
async def server_nonce(talk: ClientTalk, site: Annotated[ProtectedSite, _dpop]) -> None:
    """A nonce that the server demands is in the next proof."""
    site.nonce = site.server.secret("nonce")
    await _bound(talk, site)
    check(len(site.of("authorize")) == 1, "the client has signed in again for want of a nonce")
    for visit in site.let_in:
        check(decoded(visit.header("dpop") or "", 1).get("nonce") == site.nonce, "another nonce")
