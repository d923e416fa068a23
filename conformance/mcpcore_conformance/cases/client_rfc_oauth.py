"""Cases of the RFCs of OAuth for clients that sign in: what the authorization pages build upon."""

import re
from base64 import b64decode
from urllib.parse import unquote_plus

from mcpcore_conformance.kit.client_sign_in import (
    EnteredSite,
    NewSite,
    authorization,
    protect,
    redeeming,
    registration,
    sign_in,
    signing_in,
    stops,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import SINCE_2025_06_18, Page
from mcpcore_conformance.kit.protected import HttpVisit, ProtectedSite, answer
from mcpcore_conformance.kit.verdicts import check, need

rfc6749 = Page("rfc6749")
rfc7636 = Page("rfc7636")
rfc9728 = Page("rfc9728")
case = signing_in(rfc6749)
rfc7636_case = signing_in(rfc7636)
rfc9728_case = signing_in(rfc9728, SINCE_2025_06_18)

GIVEN = {"client_id": "kit:registered client", "client_secret": "kit %+:/=& secret"}
"""Credentials that are to be encoded wherever they stand."""
given = signing_in(rfc6749, scenario="auth/pre-registration", context=GIVEN)
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@case.must("section-3.1", "The query of the authorization endpoint's URL is part of the request.")
async def query_kept(talk: ClientTalk, site: NewSite) -> None:
    """The query that the authorization endpoint has already is kept."""
    site.server.question = "?tenant=kit%2Fone&ui_locales=nb"
    await sign_in(talk, site)
    asked = authorization(site)
    found = asked.get("tenant"), asked.get("ui_locales")
    check(found == ("kit/one", "nb"), f"of the query {found} is left")


@case.must("section-4.1.1", "response_type is code, client_id is there.")
async def response_type(site: EnteredSite) -> None:
    """The authorization request asks for a code, and says by whom."""
    asked = authorization(site)
    check(asked.get("response_type") == "code", f"response_type is {asked.get('response_type')!r}")
    check(asked.get("client_id"), "there is no client_id")


@case.may("section-3.1/client-once", "A response in which a parameter stands twice is dropped.")
async def parameters_once(talk: ClientTalk, site: NewSite) -> None:
    """A response with two codes, or two issuers, is not gone on with."""
    twice = talk.random.choice(["code", "iss"])
    site.server.callback = lambda pairs: [(twice, "another"), *pairs]
    await stops(talk, site, "token", at=lambda: site.of("authorize"))


@case.must("section-4.1.2", "No second token request with the same code.")
async def code_once(talk: ClientTalk, site: NewSite) -> None:
    """A code is not used again, also if its redeeming has failed."""
    refusal = answer({"error": "temporarily_unavailable"}, talk.random.choice([400, 503]))
    site.server.refusals = [refusal] * 10
    await stops(talk, site, at=lambda: site.of("token"))
    codes = [each.form.get("code") for each in redeeming(site)]
    check(len(codes) == len({*codes}), "the client has used a code more than once")


@case.must("section-5.1", "The token is used.")
async def unknown_members(talk: ClientTalk, site: NewSite) -> None:
    """Unknown members of the token response are ignored, and its type is read in any case."""
    site.server.issued = {"token_type": "bEARER", "x_kit": {"of": ["the", "kit"]}, "iat": 1}
    await sign_in(talk, site)


@case.must("section-7.1", "The token is not sent.")
async def token_type(talk: ClientTalk, site: NewSite) -> None:
    """A token of a type that the client does not know is not used."""
    site.server.issued = {"token_type": "mac"}
    await stops(talk, site, at=lambda: site.of("token"))
    for visit in site.visits:
        for token in site.server.given:
            check(token not in visit.everything, f"{visit.method} {visit.path} came with it")


def _basic(visit: HttpVisit) -> tuple[str, str] | None:
    """The id and the secret of Basic; None without it."""
    scheme, rest = visit.token
    if scheme != "basic":
        return None
    try:
        name, _, secret = b64decode(rest, validate=True).decode().partition(":")
    except ValueError:
        return None
    return unquote_plus(name), unquote_plus(secret)


def _with_method(talk: ClientTalk, *methods: str) -> ProtectedSite:
    site = protect(talk)
    site.server.registers = False
    site.server.document = {"token_endpoint_auth_methods_supported": [*methods]}
    return site


@given.should("section-2.3.1", "Authorization: Basic, with the form-encoded id and secret.")
async def basic(talk: ClientTalk) -> None:
    """Where client_secret_basic alone is offered the secret is in the header."""
    site = _with_method(talk, "client_secret_basic")
    await sign_in(talk, site)
    found = _basic(redeeming(site)[0])
    wanted = GIVEN["client_id"], GIVEN["client_secret"]
    check(found == wanted, f"Basic has {found!r} in place of {wanted!r}")


@given.should("section-2.3.1", "client_id and client_secret are parameters of the token request.")
async def post(talk: ClientTalk) -> None:
    """Where client_secret_post alone is offered the secret is in the body."""
    site = _with_method(talk, "client_secret_post")
    await sign_in(talk, site)
    form = redeeming(site)[0].form
    found = form.get("client_id"), form.get("client_secret")
    wanted = GIVEN["client_id"], GIVEN["client_secret"]
    check(found == wanted, f"the body has {found!r} in place of {wanted!r}")


@given.must("section-2.3", "The secret is either in the header or in the body.")
async def one_method(talk: ClientTalk) -> None:
    """A client authenticates itself in one way at a time."""
    site = _with_method(talk, "client_secret_basic", "client_secret_post")
    await sign_in(talk, site)
    for visit in site.of("token"):
        ways = (_basic(visit) is not None) + ("client_secret" in visit.form)
        ways += "client_assertion" in visit.form
        check(ways == 1, f"the client has authenticated itself in {ways} ways")


@case.must("section-3.2.1", "The token request names the client_id, and has no secret.")
async def public(talk: ClientTalk, site: EnteredSite) -> None:
    """A client without a secret names itself in the token request."""
    if site.of("register") and registration(talk, site).get("token_endpoint_auth_method") != "none":
        talk.skip("the client registers as one with a secret")
    form = redeeming(site)[0].form
    wanted = authorization(site).get("client_id")
    check(form.get("client_id") == wanted, f"client_id is {form.get('client_id')!r}")
    check("client_secret" not in form, "there is a client_secret")


@rfc7636_case.must("section-4.1", "43 to 128 unreserved characters.")
async def verifier(site: EnteredSite) -> None:
    """A code verifier has the form that PKCE gives it."""
    found = redeeming(site)[0].form.get("code_verifier", "")
    check(VERIFIER.fullmatch(found), f"code_verifier is {found!r}")


@rfc7636_case.must("section-4.1", "The verifiers and challenges of two flows differ.")
async def new_verifier(talk: ClientTalk, site: NewSite) -> None:
    """Each authorization request has a code verifier of its own."""
    site.ends.add("tools/call")
    await sign_in(talk, site)
    found = [each.form.get("code_verifier") for each in redeeming(site)]
    need(len(found) >= 2, "the client does not sign in again when its token is over")
    check(len(found) == len({*found}), "the client has used a verifier more than once")


@rfc9728_case.must("section-3.3", "Nobody is asked for authorization.")
async def other_resource(talk: ClientTalk, site: NewSite) -> None:
    """Metadata of another resource are not used."""
    others = ["https://other.example/mcp", site.origin + "/other", site.address + "/deeper"]
    site.resource = {"resource": talk.random.choice(others)}
    endpoints = ("register", "authorize", "token")
    await stops(talk, site, *endpoints, at=lambda: site.asked(site.place))


@rfc9728_case.must("section-2", "Nobody is asked for authorization.")
async def no_resource(talk: ClientTalk, site: NewSite) -> None:
    """Metadata that do not say of which resource they are, which they must, are not used."""
    site.resource = {"resource": None}
    endpoints = ("register", "authorize", "token")
    await stops(talk, site, *endpoints, at=lambda: site.asked(site.place))


@rfc9728_case.may("section-7.7", "The redirect is not followed.")
async def redirected_metadata(talk: ClientTalk, site: NewSite) -> None:
    """The URL of the metadata does not lead a client to another host."""
    other = site.origin.replace("127.0.0.1", "localhost") + "/elsewhere"
    site.redirects[site.place] = (302, other)
    await stops(talk, site, "authorize", at=lambda: site.asked(site.place))
    check(not site.asked("/elsewhere"), "the redirect was followed to another host")
