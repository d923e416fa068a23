"""The client scenarios of the official suite on authorization, played without I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mcpcore.auth.authorization import Authorization, AuthState
from mcpcore.auth.grants import ID_JAG, ID_TOKEN, ClientAuth, ClientIdentity, SigningKey
from mcpcore.auth.needs import Fetched
from mcpcore.auth.settings import AssertionGrant, ClientCredentialsGrant
from mcpcore.errors import AuthorizationError
from tests.auth.world import (
    AS,
    DPOP,
    GONE,
    ISSUER,
    JWK,
    NAMED,
    OIDC,
    PRM,
    SECRET,
    SERVER,
    World,
    answer,
    basic,
    claims_of,
    enterprise,
    forbid,
    read_jwt,
    ready,
)

TENANT = f"{ISSUER}/tenant1"
CIMD = "https://conformance-test.local/client-metadata.json"


@dataclass(frozen=True)
class Scenario:
    name: str
    run: Callable[[World], None]


SCENARIOS: list[Scenario] = []


def scenario(name: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def add(run: Callable[[World], None]) -> Callable[[World], None]:
        SCENARIOS.append(Scenario(name, run))
        return run

    return add


def failed(world: World, match: str, **settings: Any) -> Authorization:
    """A machine whose flow has failed."""
    machine = world.refuse(world.client(**settings), challenge=NAMED)
    assert machine.state is AuthState.FAILED
    assert match in str(machine.error)
    assert machine.token is None
    return machine


def tenant(world: World) -> dict[str, Any]:
    """Metadata of an issuer with a path."""
    world.resource["authorization_servers"] = [TENANT]
    for name, value in world.metadata.items():
        if isinstance(value, str):
            world.metadata[name] = value.replace(ISSUER, TENANT)
    return world.metadata


# Metadata


@scenario("metadata-default")
def _(world: World) -> None:
    ready(world)
    assert world.urls() == [
        f"{PRM}/mcp",
        f"{ISSUER}{AS}",
        f"{ISSUER}/register",
        f"{ISSUER}/token",
    ]


@scenario("metadata-var1")
def _(world: World) -> None:
    world.pages = {f"{ISSUER}{AS}": GONE, f"{ISSUER}{OIDC}": world.metadata}
    ready(world, "Bearer")
    assert world.urls()[:3] == [f"{PRM}/mcp", f"{ISSUER}{AS}", f"{ISSUER}{OIDC}"]


@scenario("metadata-var2")
def _(world: World) -> None:
    world.pages = {f"{PRM}/mcp": GONE, PRM: world.resource, f"{ISSUER}{AS}/tenant1": tenant(world)}
    ready(world, "Bearer")
    assert world.urls() == [
        f"{PRM}/mcp",
        PRM,
        f"{ISSUER}{AS}/tenant1",
        f"{TENANT}/register",
        f"{TENANT}/token",
    ]


@scenario("metadata-var3")
def _(world: World) -> None:
    custom = "https://mcp.example/custom/metadata.json"
    world.pages = {custom: world.resource, f"{TENANT}{OIDC}": tenant(world)}
    ready(world, f'Bearer resource_metadata="{custom}"')
    assert world.urls()[:4] == [
        custom,
        f"{ISSUER}{AS}/tenant1",
        f"{ISSUER}{OIDC}/tenant1",
        f"{TENANT}{OIDC}",
    ]


@scenario("metadata-issuer-mismatch")
def _(world: World) -> None:
    world.metadata["issuer"] = "https://evil.example"
    failed(world, "of another issuer")
    assert world.urls() == [f"{PRM}/mcp", f"{ISSUER}{AS}"]
    assert not world.opened


def test_servers_and_issuers_need_not_agree_on_the_slash_of_a_root() -> None:
    """Google's servers name their issuer with it, its metadata without; others the reverse."""
    for named, own in ((f"{ISSUER}/", ISSUER), (ISSUER, f"{ISSUER}/")):
        for given in (None, named, own):
            world = World()
            world.resource["authorization_servers"] = [named]
            world.metadata["issuer"] = own
            ready(world, issuer=given)
            # The response is still of the issuer that the metadata names, to the letter.
            world.reply = lambda world, need, asked, iss=named: world.consent(asked, iss=iss)
            world.lose_tokens()
            failed(world, "of another issuer", issuer=given)


@scenario("resource-mismatch")
def _(world: World) -> None:
    world.resource["resource"] = "https://evil.example/mcp"
    failed(world, "another resource")
    assert world.urls() == [f"{PRM}/mcp"]
    assert not world.opened


# Clients


@scenario("basic-cimd")
def _(world: World) -> None:
    world.metadata["client_id_metadata_document_supported"] = True
    ready(world, metadata_url=CIMD)
    assert world.asked()[0]["client_id"] == world.forms()[0]["client_id"] == CIMD
    assert not world.registered


@scenario("pre-registration")
def _(world: World) -> None:
    del world.metadata["registration_endpoint"]
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]
    ready(world, client=SECRET)
    assert world.headers()[0]["authorization"] == basic("pre+id", "pre%3Asecret")
    assert world.asked()[0]["client_id"] == "pre id"
    assert world.forms()[0]["client_id"] == "pre id"


def token_endpoint_auth(method: ClientAuth) -> None:
    """Add the scenario of a token endpoint with one method, which a registration may tell."""

    def run(world: World) -> None:
        world.registration["token_endpoint_auth_method"] = method.value
        for each in (world, World()):
            each.metadata["token_endpoint_auth_methods_supported"] = [method.value]
            ready(each)
            assert each.registered[0]["token_endpoint_auth_method"] == method.value
            header, form = each.headers()[0].get("authorization"), each.forms()[0]
            assert header == (basic("client-1", "secret-1") if method is ClientAuth.BASIC else None)
            assert form.get("client_secret") == ("secret-1" if method is ClientAuth.POST else None)
            assert form["client_id"] == "client-1"

    name = method.value.removeprefix("client_secret_")
    SCENARIOS.append(Scenario(f"token-endpoint-auth-{name}", run))


token_endpoint_auth(ClientAuth.BASIC)
token_endpoint_auth(ClientAuth.POST)
token_endpoint_auth(ClientAuth.NONE)


@scenario("authorization-server-migration")
def _(world: World) -> None:
    machine = ready(world, 'Bearer scope="mcp:basic"')
    before = len(world.sent)
    two = "https://two.example"
    world.resource["authorization_servers"] = [two]
    world.metadata = {
        name: value.replace(ISSUER, two) if isinstance(value, str) else value
        for name, value in world.metadata.items()
    }
    world.pages[f"{two}{AS}"] = world.metadata
    machine.accepted("")
    world.refuse(machine)  # the first issuer refreshes the token, which the server does not take
    assert world.urls()[before:] == [f"{ISSUER}/token"]
    world.refuse(machine)
    assert machine.state is AuthState.READY
    assert world.urls()[before + 1 :] == [
        f"{PRM}/mcp",
        f"{two}{AS}",
        f"{two}/register",
        f"{two}/token",
    ]
    assert world.asked()[1]["client_id"] == world.forms()[2]["client_id"] == "client-2"
    assert "scope" not in world.asked()[1]


# Scopes


@scenario("scope-from-www-authenticate")
def _(world: World) -> None:
    world.resource["scopes_supported"] = ["x", "y"]
    ready(world, 'Bearer scope="b a"')
    assert world.asked()[0]["scope"] == "a b"


@scenario("scope-from-scopes-supported")
def _(world: World) -> None:
    world.resource["scopes_supported"] = ["y", "x"]
    ready(world)
    assert world.asked()[0]["scope"] == "x y"


@scenario("scope-omitted-when-undefined")
def _(world: World) -> None:
    ready(world)
    assert "scope" not in world.asked()[0]


@scenario("scope-step-up")
def _(world: World) -> None:
    machine = ready(world, 'Bearer scope="mcp:basic"')
    forbid(world, machine, "mcp:write")
    assert machine.state is AuthState.READY
    assert world.asked()[1]["scope"] == "mcp:basic mcp:write"
    forbid(world, machine, "mcp:other")
    assert world.asked()[2]["scope"] == "mcp:basic mcp:other mcp:write"
    assert len(world.registered) == 1


@scenario("scope-retry-limit")
def _(world: World) -> None:
    machine = world.refuse(world.client(), 401, 'Bearer scope="mcp:admin"', "tools/call")
    for _ in range(2):
        with pytest.raises(AuthorizationError, match="refuses tools/call after 1 authorizations"):
            forbid(world, machine, "mcp:admin")
    assert len(world.opened) == 1


@scenario("offline-access-scope")
def _(world: World) -> None:
    world.metadata["scopes_supported"] = ["mcp:basic", "offline_access"]
    ready(world, 'Bearer scope="mcp:basic"')
    assert world.asked()[0]["scope"] == "mcp:basic offline_access"
    assert world.asked()[0]["prompt"] == "consent"
    assert "refresh_token" in world.registered[0]["grant_types"]


@scenario("offline-access-not-supported")
def _(world: World) -> None:
    world.metadata["scopes_supported"] = ["mcp:basic"]
    ready(world, 'Bearer scope="mcp:basic"')
    assert world.asked()[0]["scope"] == "mcp:basic"
    assert "prompt" not in world.asked()[0]


# Issuers in responses


def reply(**changed: str | None) -> Any:
    return lambda world, need, asked: world.consent(asked, **changed)


def iss(
    name: str, *, advertised: bool, given: str | None = ISSUER, refused: str | None = None
) -> None:
    """Add the scenario of an authorization response; ``refused``: why it is."""

    def run(world: World) -> None:
        world.metadata["authorization_response_iss_parameter_supported"] = advertised
        world.reply = reply(iss=given)
        if refused is None:
            ready(world)
            assert len(world.forms()) == 1
        else:
            failed(world, refused)
            assert not world.forms()

    SCENARIOS.append(Scenario(name, run))


iss("iss-supported", advertised=True)
iss("iss-not-advertised", advertised=False, given=None)
iss("iss-supported-missing", advertised=True, given=None, refused="names no issuer")
iss("iss-wrong-issuer", advertised=True, given="https://evil.example", refused="another issuer")
iss("iss-unexpected", advertised=False, given="https://evil.example", refused="another issuer")
iss("iss-normalized", advertised=True, given=f"{ISSUER}/", refused="another issuer")


# Other grants


@scenario("client-credentials-jwt")
def _(world: World) -> None:
    world.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    key = SigningKey(algorithm="ES256", kid="k1")
    client = ClientIdentity(client_id="machine", signing=key)
    world.token["refresh_token"] = None
    ready(world, grant=ClientCredentialsGrant(), client=client)
    (form,) = world.forms()
    assert form["grant_type"] == "client_credentials"
    assert form["resource"] == SERVER
    assert form["client_assertion_type"].endswith(":jwt-bearer")
    header, claims = read_jwt(form["client_assertion"])
    assert header == {"alg": "ES256", "typ": "JWT", "kid": "k1"}
    assert claims["iss"] == claims["sub"] == "machine"
    assert claims["aud"] == ISSUER
    assert claims["exp"] == claims["iat"] + 60
    assert not world.opened


@scenario("client-credentials-basic")
def _(world: World) -> None:
    world.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_basic"]
    ready(world, grant=ClientCredentialsGrant(), client=SECRET)
    assert world.headers()[0]["authorization"] == basic("pre+id", "pre%3Asecret")
    assert not world.opened


@scenario("enterprise-managed-authorization")
def _(world: World) -> None:
    world.assertion = "the-id-token"
    ready(world, 'Bearer scope="a"', **enterprise(world))
    exchange, grant = world.forms()
    assert exchange == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": ID_JAG,
        "subject_token": "the-id-token",
        "subject_token_type": ID_TOKEN,
        "audience": ISSUER,
        "resource": SERVER,
        "scope": "a",
        "client_id": "idp-client",
    }
    assert grant == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "the-id-jag",
        "resource": SERVER,
        "scope": "a",
        "client_id": "pre id",
    }
    assert world.headers()[1]["authorization"] == basic("pre+id", "pre%3Asecret")
    assert not world.opened


@scenario("dpop")
def _(world: World) -> None:
    world.token["token_type"] = "DPoP"
    machine = ready(world, dpop=DPOP)
    assert machine.token == ("DPoP", "access-1")
    header, claims = read_jwt(world.headers()[0]["dpop"])
    assert header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": JWK}
    assert (claims["htm"], claims["htu"]) == ("POST", f"{ISSUER}/token")
    assert "ath" not in claims
    proofs = [machine.proof("POST", f"{SERVER}?x=1", wall=world.wall) for _ in range(3)]
    sent = [dict(each.input.claims) for each in proofs if each is not None]
    assert len({each["jti"] for each in [*sent, claims]}) == 4
    assert {(each["htm"], each["htu"]) for each in sent} == {("POST", SERVER)}
    assert all(each["ath"] for each in sent)


@scenario("dpop-nonce")
def _(world: World) -> None:
    world.token["token_type"] = "DPoP"

    def token(world: World, need: Any, form: dict[str, str]) -> Fetched:
        if claims_of(need.headers["dpop"]).get("nonce") != "of-the-issuer":
            return answer({"error": "use_dpop_nonce"}, 400, dpop_nonce="of-the-issuer")
        return world.give_token(form)

    world.pages[f"{ISSUER}/token"] = token
    machine = ready(world, dpop=DPOP)
    one, two = (claims_of(each["dpop"]) for each in world.headers())
    assert one["jti"] != two["jti"]
    assert ("nonce" in one, two["nonce"]) == (False, "of-the-issuer")
    assert machine.take_nonce(SERVER, "of-the-server")
    proof = machine.proof("POST", SERVER, wall=world.wall)
    assert proof is not None
    assert proof.input.claims["nonce"] == "of-the-server"


@scenario("wif-jwt-bearer")
def _(world: World) -> None:
    world.metadata["token_endpoint_auth_methods_supported"] = ["none"]
    del world.metadata["registration_endpoint"]
    settings: Any = {"grant": AssertionGrant(), "client": ClientIdentity(client_id="workload")}
    ready(world, **settings)
    (form,) = world.forms()
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert (form["assertion"], form["client_id"]) == ("the-assertion", "workload")
    for error in ("invalid_grant", "invalid_scope", "unauthorized_client"):
        other = World(pages={f"{ISSUER}/token": answer({"error": error}, 400)})
        failed(other, error, **settings)
        assert len(other.forms()) == 1
        assert not other.opened


# Before protected resource metadata

ORIGIN = "https://mcp.example"


@scenario("2025-03-26-oauth-metadata-backcompat")
def _(world: World) -> None:
    world.metadata = {
        name: value.replace(f"{ISSUER}/", f"{ORIGIN}/oauth/") if isinstance(value, str) else value
        for name, value in world.metadata.items()
    } | {"issuer": ORIGIN}
    world.pages = {f"{PRM}/mcp": GONE, f"{ORIGIN}{AS}": world.metadata}
    ready(world, "Bearer")
    assert world.urls() == [
        f"{PRM}/mcp",
        PRM,
        f"{ORIGIN}{AS}",
        f"{ORIGIN}/oauth/register",
        f"{ORIGIN}/oauth/token",
    ]
    assert world.opened[0].startswith(f"{ORIGIN}/oauth/authorize?")
    versions = [each.headers.get("mcp-protocol-version") for each in world.sent]
    assert versions == [None, None, "2025-03-26", None, None]
    # Its name may have a slash at the end: the official SDK writes its own so.
    slashed = World(metadata=world.metadata | {"issuer": f"{ORIGIN}/"}, pages=world.pages)
    slashed.pages[f"{ORIGIN}{AS}"] = slashed.metadata
    ready(slashed, "Bearer", issuer=ORIGIN)


@scenario("2025-03-26-oauth-endpoint-fallback")
def _(world: World) -> None:
    world.pages = {f"{PRM}/mcp": GONE}
    world.metadata["issuer"] = ORIGIN
    ready(world, "Bearer")
    assert world.urls()[2:] == [f"{ORIGIN}{AS}", f"{ORIGIN}/register", f"{ORIGIN}/token"]
    assert world.opened[0].startswith(f"{ORIGIN}/authorize?")
    assert world.asked()[0]["resource"] == SERVER


@pytest.mark.parametrize("row", SCENARIOS, ids=lambda row: row.name)
def test_a_scenario_is_played(row: Scenario) -> None:
    world = World()
    row.run(world)
    for form in world.forms():
        assert form["resource"] == SERVER
    for asked in world.asked():
        assert asked["resource"] == SERVER
    for registered in world.registered:
        assert registered["application_type"] == "native"


def test_every_scenario_is_there() -> None:
    assert len({row.name for row in SCENARIOS}) == len(SCENARIOS) == 33
