"""The development authorization server: every grant, by the client's machine and by hand."""

import json
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import anyio
import pytest
import trustme

from mcpcore import AssertionGrant, ClientCredentialsGrant, DpopKey, EnterpriseGrant
from mcpcore.auth.authorization import Authorization, AuthState
from mcpcore.auth.grants import (
    ACCESS_TOKEN,
    EXCHANGE,
    ID_JAG,
    ID_TOKEN,
    JWT_BEARER,
    ClientAuth,
    ClientIdentity,
    SigningKey,
    base64url,
    challenge_of,
    client_assertion,
)
from mcpcore.auth.keysets import KeySetLimits, read_keys, usable_key
from mcpcore.auth.metadata import ServerMetadata, read_document
from mcpcore.auth.needs import (
    Callback,
    Fetch,
    Fetched,
    Need,
    NeedFailed,
    OpenUrl,
    Outcome,
    Sign,
    Signed,
)
from mcpcore.auth.proofs import make_proof, thumbprint
from mcpcore.auth.resource_server import Dpop, principal_name
from mcpcore.auth.tokens import Grant, read_jws
from mcpcore.http.principals import ClientCertificate
from mcpcore_conformance.auth import serving
from mcpcore_conformance.auth.__main__ import _client, builder, main, run
from mcpcore_conformance.auth.__main__ import _options as options
from mcpcore_conformance.auth.keys import PrivateKey
from mcpcore_conformance.auth.keys import verify as verify_own
from mcpcore_conformance.auth.model import (
    CLIENT_CREDENTIALS,
    Client,
    Limits,
    Refused,
    Request,
    Response,
    ServerSettings,
    Table,
    Trust,
    TrustedIssuer,
)
from mcpcore_conformance.auth.server import DevelopmentServer
from mcpcore_conformance.auth.serving import fetch_document, serve
from tests.auth.desk import Desk
from tests.auth.desk import proof as resource_proof
from tests.auth.signing import EDWARDS, Signer, signer, verify
from tests.auth.world import ISSUER, NAMED, SERVER, World, basic, forbid, ready
from tests.clock import patience, until
from tests.docs.blocks import DOCS, blocks

WALL = 1_000_000.0
PROVIDER = "https://idp.example"
WORKLOADS = "https://cluster.example"
CIMD = "https://app.example/client.json"
REDIRECT = "http://127.0.0.1:41000/callback"
VERIFIER = "v" * 43
DPOP_KEY = signer("ES256", "dpop")
DPOP = DpopKey(jwk=DPOP_KEY.jwk, signing=SigningKey(algorithm="ES256", key="dpop"))
KEY = signer("ES256", "client")
PAIR = ClientIdentity(client_id="machine", client_secret="machine:secret")
ALL = frozenset({"authorization_code", "refresh_token", CLIENT_CREDENTIALS, JWT_BEARER, EXCHANGE})


def key_of(made: Signer) -> Any:
    found = usable_key(made.public)
    assert found is not None
    return found


CLIENTS = (
    Client(client_id="public", redirect_uris=("http://127.0.0.1/callback",)),
    Client(
        client_id="machine",
        method=ClientAuth.BASIC,
        secret="machine:secret",
        redirect_uris=("https://app.example/back?x=1",),
        grants=ALL,
        known_as={"https://other.example": "known"},
    ),
    Client(client_id="posting", method=ClientAuth.POST, secret="s", grants=ALL),
    Client(client_id="signing", method=ClientAuth.PRIVATE_KEY, keys=(key_of(KEY),), grants=ALL),
    Client(client_id="workload", grants=ALL),
)
TRUSTED = (
    TrustedIssuer(issuer=PROVIDER, kind=Trust.PROVIDER, keys=(key_of(signer("ES256", "idp")),)),
    TrustedIssuer(
        issuer=WORKLOADS,
        kind=Trust.WORKLOAD,
        keys=(key_of(signer("EdDSA", "k8s")),),
        subjects=frozenset({"pod"}),
    ),
)


MACHINE = {"authorization": basic("machine", "machine:secret")}


def random_bytes() -> Callable[[int], bytes]:
    numbers = count()
    return lambda size: next(numbers).to_bytes(size)


def server(
    issuer: str = ISSUER,
    *,
    fetch: Callable[[str], bytes | None] | None = None,
    keys: tuple[Signer, ...] = (),
    **changed: Any,
) -> DevelopmentServer:
    settings: dict[str, Any] = {"clients": CLIENTS, "trusted": TRUSTED, "consent": False} | changed
    return DevelopmentServer(
        ServerSettings(issuer=issuer, **settings),
        keys or (signer("ES256", "as"),),
        verify,
        random=random_bytes(),
        fetch=fetch,
    )


@dataclass
class Town(World):
    """A world whose issuers are development servers."""

    servers: dict[str, DevelopmentServer] = field(default_factory=lambda: {ISSUER: server()})

    def fetch(self, need: Fetch) -> Fetched | NeedFailed:
        place = urlsplit(need.url)
        there = self.servers.get(f"{place.scheme}://{place.netloc}")
        if there is None:
            return super().fetch(need)
        headers = [(name, str.__str__(each)) for name, each in need.headers.items()]
        made = Request(
            method=need.method,
            path=place.path,
            query=place.query,
            headers=headers,
            body=need.body,
            wall=self.wall,
        )
        found = there.handle(made)
        return Fetched(status=found.status, headers=found.headers, body=found.body)

    def ask(self, need: OpenUrl) -> Callback | NeedFailed:
        found = self.fetch(Fetch(method="GET", url=need.url, headers={}, timeout=1.0))
        place = found.header("location") if isinstance(found, Fetched) else None
        if place is None or not place.startswith(need.redirect_uri):
            return NeedFailed("there was no redirect")
        return Callback(urlsplit(place).query)

    def carry_out(self, need: Need) -> Outcome:
        if isinstance(need, Sign):
            return Signed(signer("ES256", need.signing.key).sign(need.input.text))
        return super().carry_out(need)

    def judged(self, machine: Authorization) -> Grant:
        """What the resource server makes of the token."""
        assert machine.token is not None
        scheme, token = machine.token
        desk = Desk(
            keys={ISSUER: list(self.servers[ISSUER].keys.published(self.wall))}, dpop=Dpop.ALLOWED
        )
        key = DPOP_KEY
        made = resource_proof(token.reveal(), key) if scheme == "DPoP" else None
        found = desk.ask(f"{scheme} {token.reveal()}", proof=made, wall=self.wall)
        assert isinstance(found, Grant), found
        return found


# By the client's machine


def test_a_client_registers_signs_in_and_refreshes() -> None:
    town = Town()
    machine = ready(town, f'{NAMED}, scope="read"')
    grant = town.judged(machine)
    assert (grant.issuer, grant.subject) == (ISSUER, "developer")
    assert grant.scopes == {"read", "offline_access"}
    town.wall += 3600
    assert machine.expiring(town.wall)
    machine.start(None, wall=town.wall)
    town.run(machine)
    assert machine.state is AuthState.READY
    assert [each["grant_type"] for each in town.forms()] == ["authorization_code", "refresh_token"]
    assert forbid(town, machine, "write").state is AuthState.READY
    assert town.judged(machine).scopes == {"read", "write", "offline_access"}


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
@pytest.mark.parametrize("nonces", [False, True])
def test_tokens_are_bound_to_a_key(algorithm: str, nonces: bool) -> None:
    made = server(algorithm=algorithm, nonces=nonces, keys=(signer(algorithm, "as"),))
    town = Town(servers={ISSUER: made})
    machine = ready(town, dpop=DPOP)
    assert town.judged(machine).thumbprint == thumbprint(DPOP.jwk)
    assert len(town.forms()) == 1 + nonces
    town.wall += 3600
    machine.start(None, wall=town.wall)
    assert town.run(machine).state is AuthState.READY


@pytest.mark.parametrize(
    "identity",
    [
        PAIR,
        ClientIdentity(client_id="posting", client_secret="s", method=ClientAuth.POST),
        ClientIdentity(client_id="signing", signing=SigningKey(algorithm="ES256", key="client")),
    ],
    ids=lambda each: each.client_id,
)
def test_a_client_has_a_token_of_its_own(identity: ClientIdentity) -> None:
    town = Town()
    machine = ready(town, grant=ClientCredentialsGrant(), client=identity)
    grant = town.judged(machine)
    assert grant.subject == grant.client_id == identity.client_id


def test_a_client_is_known_by_its_document() -> None:
    page = DOCS / "how-to" / "authorization" / "sign-in.md"
    (document,) = [block.text for block in blocks(page) if block.kind == "json"]
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return document.encode()

    town = Town(servers={ISSUER: server(fetch=fetch)})
    assert town.judged(ready(town, metadata_url=CIMD)).client_id == CIMD
    assert asked == [CIMD]


def test_a_workload_shows_its_identity() -> None:
    town = Town(assertion=assertion(signer("EdDSA", "k8s"), iss=WORKLOADS, sub="pod"))
    workload = ClientIdentity(client_id="workload")
    grant = town.judged(ready(town, grant=AssertionGrant(), client=workload))
    assert grant.subject == principal_name(WORKLOADS, "pod")


def test_an_enterprise_manages_the_authorization() -> None:
    at_provider = Client(
        client_id="desktop",
        method=ClientAuth.BASIC,
        secret="s",
        redirect_uris=(REDIRECT,),
        grants=ALL,
        known_as={ISSUER: "machine"},
    )
    provider = server(PROVIDER, clients=(at_provider,), keys=(signer("ES256", "idp"),))
    code = authorize(provider, client_id="desktop", scope="openid", nonce="n")
    given = redeemed(provider, code, {"authorization": basic("desktop", "s")})
    claims = read_jws(given["id_token"]).claims
    assert (claims["aud"], claims["nonce"], claims["sub"]) == ("desktop", "n", "developer")
    town = Town(servers={ISSUER: server(), PROVIDER: provider}, assertion=given["id_token"])
    identity = ClientIdentity(client_id="desktop", client_secret="s")
    grant = EnterpriseGrant(token_endpoint=f"{PROVIDER}/token", client=identity)
    machine = ready(town, f'{NAMED}, scope="read"', grant=grant, client=PAIR)
    found = town.judged(machine)
    assert found.subject == principal_name(PROVIDER, "developer")
    assert found.client_id == "machine"
    assert found.scopes == {"read"}


# By hand


def send(
    at: DevelopmentServer,
    method: str,
    path: str,
    body: bytes | dict[str, str] = b"",
    headers: dict[str, str] | None = None,
    *,
    wall: float = WALL,
    certificate: ClientCertificate | None = None,
) -> Response:
    place, _, query = path.partition("?")
    given = {**(headers or {})}
    if isinstance(body, dict):
        given.setdefault("content-type", "application/x-www-form-urlencoded")
        body = urlencode(body).encode()
    made = Request(
        method=method,
        path=place,
        query=query,
        headers=[*given.items()],
        body=body,
        wall=wall,
        certificate=certificate,
    )
    return at.handle(made)


def line(response: Response, name: str) -> str | None:
    return dict(response.headers).get(name)


def asked(**changed: str | None) -> dict[str, str]:
    params = {
        "response_type": "code",
        "client_id": "public",
        "redirect_uri": REDIRECT,
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        "state": "s",
        "resource": SERVER,
        **changed,
    }
    return {name: each for name, each in params.items() if each is not None}


def answered(response: Response) -> dict[str, str]:
    assert response.status == 302, response.body
    place = line(response, "location")
    assert place is not None
    return dict(parse_qsl(urlsplit(place).query))


def authorize(at: DevelopmentServer, *, wall: float = WALL, **changed: str | None) -> str:
    path = f"/authorize?{urlencode(asked(**changed))}"
    return answered(send(at, "GET", path, wall=wall))["code"]


def tokens(
    at: DevelopmentServer, headers: dict[str, str] | None = None, /, **form: Any
) -> dict[str, Any]:
    """The token response, with the status of a refusal in it; ``wall``, ``certificate``: of the
    request."""
    more = {name: form.pop(name) for name in ("wall", "certificate") if name in form}
    if headers is None:
        form.setdefault("client_id", "public")
    response = send(at, "POST", "/token", form, headers, **more)
    assert line(response, "cache-control") == "no-store"
    found: dict[str, Any] = json.loads(response.body)
    return found if response.status == 200 else {**found, "status": response.status}


def redeemed(
    at: DevelopmentServer, code: str, headers: dict[str, str] | None = None, /, **changed: Any
) -> dict[str, Any]:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        **changed,
    }
    return tokens(at, headers, **form)


def refreshed(
    at: DevelopmentServer, token: str, headers: dict[str, str] | None = None, /, **changed: Any
) -> dict[str, Any]:
    form = {"grant_type": "refresh_token", "refresh_token": token, **changed}
    return tokens(at, headers, **form)


def assertion(key: Signer, typ: str | None = "JWT", **changed: Any) -> str:
    claims = {"aud": ISSUER, "iat": WALL, "exp": WALL + 60, "jti": "j", **changed}
    return key.jwt({name: each for name, each in claims.items() if each is not None}, typ=typ)


def introspected(at: DevelopmentServer, token: str, wall: float = WALL) -> dict[str, Any]:
    response = send(at, "POST", "/introspect", {"token": token}, MACHINE, wall=wall)
    found: dict[str, Any] = json.loads(response.body)
    return found


@pytest.mark.parametrize(
    ("issuer", "paths"),
    [
        (ISSUER, ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]),
        (
            f"{ISSUER}/a",
            [
                "/.well-known/oauth-authorization-server/a",
                "/.well-known/openid-configuration/a",
                "/a/.well-known/openid-configuration",
            ],
        ),
    ],
)
def test_the_metadata_is_found(issuer: str, paths: list[str]) -> None:
    at = server(issuer)
    published = json.loads(json.dumps(at.metadata()))
    for path in paths:
        response = send(at, "GET", path)
        assert (response.status, json.loads(response.body)) == (200, published)
    read, dropped = read_document(response.body, ServerMetadata, "metadata")
    assert (read.issuer, dropped) == (issuer, ())
    assert read.token_endpoint == f"{issuer}/token"
    assert at.metadata()["response_types_supported"] == ["code"]
    assert not read.client_id_metadata_document_supported
    assert "registration_endpoint" not in server(registration=False).metadata()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/register", 400),
        ("GET", "/token", 405),
        ("DELETE", "/authorize", 405),
        ("OPTIONS", "/token", 204),
        ("HEAD", "/jwks", 200),
        ("POST", "/token", 400),
    ],
)
def test_paths_and_methods(method: str, path: str, status: int) -> None:
    response = send(server(), method, path)
    assert response.status == status
    shared = line(response, "access-control-allow-origin")
    assert shared == (None if path == "/authorize" else "*")


def test_a_large_body_is_refused() -> None:
    assert send(server(), "POST", "/token", b"x" * 70_000).status == 413


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_id": None}, "invalid_request"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": "https://app.example/unknown.json"}, "invalid_client"),
        ({"redirect_uri": "https://evil.example/callback"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:41000/callback/"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:41000/callback?x"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:x/callback"}, "invalid_request"),
        ({"client_id": "signing", "redirect_uri": None}, "invalid_request"),
    ],
)
def test_an_unsound_client_or_redirect_is_not_redirected_to(
    changed: dict[str, str | None], error: str
) -> None:
    response = send(server(), "GET", f"/authorize?{urlencode(asked(**changed))}")
    assert response.status in (400, 401)
    assert json.loads(response.body)["error"] == error
    assert line(response, "location") is None


def test_a_client_without_the_grant_signs_nobody_in() -> None:
    at = server(
        clients=(Client(client_id="public", redirect_uris=(REDIRECT,), grants=frozenset()),)
    )
    response = send(at, "GET", f"/authorize?{urlencode(asked())}")
    assert answered(response)["error"] == "unauthorized_client"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "other"}, "invalid_scope"),
        ({"scope": 'a"'}, "invalid_scope"),
        ({"resource": "https://evil.example"}, "invalid_target"),
        ({"resource": "nothing"}, "invalid_target"),
        ({"resource": None}, "invalid_target"),
    ],
)
def test_an_unsound_request_is_answered_at_the_redirect(
    changed: dict[str, str | None], error: str
) -> None:
    at = server(scopes=("read",), resources=(SERVER, "https://mcp.example/two"))
    response = send(at, "GET", f"/authorize?{urlencode(asked(**changed))}")
    found = answered(response)
    assert (found["error"], found["state"], found["iss"]) == (error, "s", ISSUER)
    assert "code" not in found


def test_a_parameter_stands_once() -> None:
    path = f"/authorize?{urlencode(asked())}"
    for more in ("&state=t", "&x=1" * 64, f"&y={'z' * 20_000}"):
        assert send(server(), "GET", path + more).status == 400


def test_a_redirect_keeps_its_query() -> None:
    at = server()
    path = urlencode(asked(client_id="machine", redirect_uri=None, state=None))
    response = send(at, "GET", f"/authorize?{path}")
    place = line(response, "location") or ""
    assert place.startswith("https://app.example/back?x=1&code=")
    assert parse_qs(urlsplit(place).query)["iss"] == [ISSUER]
    odd = Client(client_id="odd", redirect_uris=("https://app.example/$(x)",))
    unsound = urlencode(asked(client_id="odd", redirect_uri=None))
    assert send(server(clients=(odd,)), "GET", f"/authorize?{unsound}").status == 400


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code": "other"}, "invalid_grant"),
        ({"client_id": "workload"}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:41001/callback"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "v"}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"resource": "https://mcp.example/other"}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"grant_type": CLIENT_CREDENTIALS}, "unauthorized_client"),
        ({"wall": WALL + 61}, "invalid_grant"),
    ],
)
def test_a_code_is_bound(changed: dict[str, Any], error: str) -> None:
    at = server()
    assert redeemed(at, authorize(at), **changed)["error"] == error


def test_a_code_is_used_once() -> None:
    at = server()
    code = authorize(at)
    given = redeemed(at, code, resource=SERVER)
    assert introspected(at, given["access_token"])["active"] is True
    assert redeemed(at, code)["error"] == "invalid_grant"
    assert introspected(at, given["access_token"]) == {"active": False}
    assert refreshed(at, given["refresh_token"])["error"] == "invalid_grant"
    code = authorize(at)
    assert redeemed(at, code, code_verifier="w" * 43)["error"] == "invalid_grant"
    assert redeemed(at, code)["error"] == "invalid_grant"


def test_a_refresh_token_is_used_once() -> None:
    at = server()
    first = redeemed(at, authorize(at, scope="read write"))
    assert set(first["scope"].split()) == {"read", "write"}
    second = refreshed(at, first["refresh_token"], scope="read", resource=SERVER)
    assert second["scope"] == "read"
    third = refreshed(at, second["refresh_token"])
    assert set(third["scope"].split()) == {"read", "write"}
    assert refreshed(at, first["refresh_token"])["error"] == "invalid_grant"
    for given in (first, second, third):
        assert introspected(at, given["access_token"]) == {"active": False}
    assert refreshed(at, third["refresh_token"])["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"refresh_token": ""}, "invalid_request"),
        ({"client_id": "workload"}, "invalid_grant"),
        ({"scope": "read admin"}, "invalid_scope"),
        ({"resource": "https://mcp.example/other"}, "invalid_target"),
        ({"wall": WALL + 15 * 86_400}, "invalid_grant"),
    ],
)
def test_a_refresh_token_is_bound(changed: dict[str, Any], error: str) -> None:
    at = server()
    given = redeemed(at, authorize(at, scope="read"))
    form = {"refresh_token": given["refresh_token"], **changed}
    assert tokens(at, grant_type="refresh_token", **form)["error"] == error
    if "wall" not in changed:
        assert "access_token" in refreshed(at, given["refresh_token"])


# Client authentication


def own(**changed: Any) -> dict[str, str]:
    """The form of a client's own assertion."""
    key = changed.pop("key", KEY)
    made = client_assertion(
        changed.pop("client", "signing"),
        SigningKey(algorithm="ES256", kid="client"),
        audience=changed.pop("audience", ISSUER),
        jti=changed.pop("jti", "1"),
        wall=changed.pop("wall", WALL),
    )
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return {
        "client_assertion": made.signed(key.sign(made.text)),
        "client_assertion_type": kind,
        **changed,
    }


@pytest.mark.parametrize(
    ("line", "form", "error"),
    [
        (None, {}, "invalid_request"),
        (None, {"client_id": "workload"}, "unauthorized_client"),
        (None, {"client_id": "machine"}, "invalid_client"),
        (None, {"client_id": "machine", "client_secret": "machine:secret"}, "invalid_client"),
        (None, {"client_id": "posting", "client_secret": "wrong"}, "invalid_client"),
        (None, {"client_id": "public", "client_secret": "s"}, "invalid_client"),
        (basic("machine", "wrong"), {}, "invalid_client"),
        (basic("nobody", "wrong"), {}, "invalid_client"),
        (basic("posting", "s"), {}, "invalid_client"),
        (MACHINE["authorization"], {"client_id": "public"}, "invalid_request"),
        (MACHINE["authorization"], {"client_secret": "s"}, "invalid_request"),
        ("Basic !", {}, "invalid_client"),
        ("Basic " + b64encode(b"\xff:").decode(), {}, "invalid_client"),
        ("Basic " + b64encode(b"machine").decode(), {}, "invalid_client"),
        ("Bearer " + b64encode(b"machine:s").decode(), {}, "invalid_client"),
        (None, own(key=signer("ES256", "other")), "invalid_client"),
        (None, own(audience="https://other.example"), "invalid_client"),
        (None, own(wall=WALL - 600), "invalid_client"),
        (None, own(wall=WALL + 600), "invalid_client"),
        (None, own(jti=""), "invalid_client"),
        (None, own(client_assertion_type="other"), "invalid_client"),
        (None, own(client_assertion="x"), "invalid_client"),
        (None, own(client_id="public"), "invalid_request"),
        (None, own(client="machine"), "invalid_client"),
    ],
)
def test_clients_that_are_not_authenticated(
    line: str | None, form: dict[str, str], error: str
) -> None:
    headers = {} if line is None else {"authorization": line}
    found = tokens(server(), headers, grant_type=CLIENT_CREDENTIALS, resource=SERVER, **form)
    assert found["error"] == error
    assert found["status"] == (401 if error == "invalid_client" else 400)


def test_an_assertion_is_used_once() -> None:
    at = server()
    form = {"grant_type": CLIENT_CREDENTIALS, "resource": SERVER, **own()}
    assert "access_token" in tokens(at, {}, **form)
    assert tokens(at, {}, **form)["error"] == "invalid_client"
    audience = own(jti="2", audience=f"{ISSUER}/token")
    assert "access_token" in tokens(at, {}, **{**form, **audience})


def test_a_client_with_a_certificate_has_tokens_bound_to_it() -> None:
    robot = Client(client_id="robot", method=ClientAuth.TLS, subject="CN=robot", grants=ALL)
    at = server("https://127.0.0.1:1", clients=(robot, *CLIENTS))
    assert at.metadata()["tls_client_certificate_bound_access_tokens"] is True
    assert "tls_client_auth" in at.metadata()["token_endpoint_auth_methods_supported"]
    plain = server("http://127.0.0.1:1").metadata()
    assert "tls_client_auth" not in plain["token_endpoint_auth_methods_supported"]
    form = {"grant_type": CLIENT_CREDENTIALS, "resource": SERVER}
    for name, subject, works in [
        ("robot", "CN=robot", True),
        ("robot", "CN=thief", False),
        ("robot", None, False),
        ("machine", "CN=robot", False),
        ("workload", "", False),  # which has no credentials, and no subject either
    ]:
        shown = subject and ClientCertificate(subject=subject, der=b"der")
        found = tokens(at, certificate=shown or None, client_id=name, **form)
        assert ("access_token" in found) is works
        if works:
            digest = base64url(sha256(b"der").digest()).decode()
            assert read_jws(found["access_token"]).claims["cnf"] == {"x5t#S256": digest}
            assert found["token_type"] == "Bearer"
            kind = introspected(at, found["access_token"])
            assert (kind["active"], kind["token_type"]) == (True, "Bearer")


def test_a_refresh_token_is_bound_to_the_certificate() -> None:
    robot = Client(
        client_id="robot",
        method=ClientAuth.TLS,
        subject="CN=robot",
        redirect_uris=(REDIRECT,),
    )
    at = server("https://127.0.0.1:1", clients=(robot,))
    first, second = (ClientCertificate(subject="CN=robot", der=der) for der in (b"1", b"2"))
    code = authorize(at, client_id="robot", redirect_uri=REDIRECT)
    token = redeemed(at, code, client_id="robot", certificate=first)["refresh_token"]
    found = [
        refreshed(at, token, client_id="robot", certificate=shown) for shown in (second, first)
    ]
    assert (found[0]["error"], "access_token" in found[1]) == ("invalid_grant", True)


def test_headers_stand_once() -> None:
    made = Request(
        method="POST",
        path="/token",
        headers=[
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", "Basic eDp5"),
            ("authorization", "Basic eDp5"),
        ],
        wall=WALL,
    )
    assert server().handle(made).status == 400


# Assertions

IDP = signer("ES256", "idp")
POD = signer("EdDSA", "k8s")
JAG: dict[str, Any] = {
    "iss": PROVIDER,
    "sub": "anna",
    "client_id": "machine",
    "resource": SERVER,
    "scope": "read write",
}


def jag(**changed: Any) -> dict[str, str]:
    return {"assertion": assertion(IDP, "oauth-id-jag+jwt", **(JAG | changed))}


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, None),
        ({"scope": "read"}, None),
        ({"scope": "admin"}, "invalid_scope"),
        ({"resource": "https://mcp.example/other"}, "invalid_target"),
        ({"assertion": ""}, "invalid_request"),
        ({"assertion": "x.y.z"}, "invalid_grant"),
        (jag(scope=None), None),
        (jag(aud="https://other.example"), "invalid_grant"),
        (jag(iss="https://evil.example"), "invalid_grant"),
        (jag(client_id="posting"), "invalid_grant"),
        (jag(client_id=None), "invalid_grant"),
        (jag(resource=None), "invalid_target"),
        (jag(resource="nothing"), "invalid_target"),
        (jag(jti=None), "invalid_grant"),
        (jag(sub=None), "invalid_grant"),
        (jag(exp=WALL - 100), "invalid_grant"),
        (jag(exp=WALL + 10_000), "invalid_grant"),
        ({"assertion": assertion(IDP, "JWT", **JAG)}, "invalid_grant"),
        ({"assertion": assertion(IDP, "at+jwt", **JAG)}, "invalid_grant"),
        ({"assertion": assertion(POD, "oauth-id-jag+jwt", **JAG)}, "invalid_grant"),
        ({"assertion": assertion(POD, iss=WORKLOADS, sub="pod")}, None),
        ({"assertion": assertion(POD, iss=WORKLOADS, sub="pod", jti=None)}, None),
        ({"assertion": assertion(POD, iss=WORKLOADS, sub="other")}, "invalid_grant"),
        ({"assertion": assertion(POD, "at+jwt", iss=WORKLOADS, sub="pod")}, "invalid_grant"),
    ],
)
def test_assertions_of_trusted_issuers(form: dict[str, str], error: str | None) -> None:
    good = {"resource": SERVER, **jag()}
    at = server()
    found = tokens(at, MACHINE, grant_type=JWT_BEARER, **{**good, **form})
    assert found.get("error") == error, found
    assert ("access_token" in found) is (error is None)
    assert "refresh_token" not in found


def test_an_id_jag_is_used_once_by_a_client_with_credentials() -> None:
    at = server()
    form = {"grant_type": JWT_BEARER, **jag()}
    public = tokens(at, client_id="workload", **form)
    assert public["error"] == "unauthorized_client"
    assert "access_token" in tokens(at, MACHINE, **form)
    assert tokens(at, MACHINE, **form)["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, None),
        ({"scope": "read"}, None),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}, "invalid_request"),
        ({"subject_token_type": ID_JAG}, "invalid_request"),
        ({"audience": "https://unknown.example"}, "invalid_target"),
        ({"audience": ""}, "invalid_request"),
        ({"resource": ""}, "invalid_request"),
        ({"subject_token": "x"}, "invalid_grant"),
        ({"subject_token": assertion(IDP, iss=ISSUER, aud="machine", sub="anna")}, "invalid_grant"),
        (
            {"subject_token": assertion(signer("ES256", "as"), iss=ISSUER, aud="x", sub="a")},
            "invalid_grant",
        ),
    ],
)
def test_id_tokens_are_exchanged(form: dict[str, str], error: str | None) -> None:
    good = {
        "requested_token_type": ID_JAG,
        "subject_token_type": ID_TOKEN,
        "subject_token": assertion(signer("ES256", "as"), iss=ISSUER, aud="machine", sub="anna"),
        "audience": "https://other.example",
        "resource": "https://other.example/mcp",
    }
    found = tokens(server(), MACHINE, grant_type=EXCHANGE, **{**good, **form})
    assert found.get("error") == error
    if error is None:
        made = read_jws(found["access_token"])
        assert made.header["typ"] == "oauth-id-jag+jwt"
        assert made.claims["client_id"] == "known"
        assert (found["issued_token_type"], found["token_type"]) == (ID_JAG, "N_A")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, None),
        ({"requested_token_type": ACCESS_TOKEN}, None),
        ({"requested_token_type": ID_JAG}, "invalid_request"),
        ({"subject_token": "x"}, "invalid_grant"),
        ({"resource": "nothing"}, "invalid_target"),
        ({"scope": "read"}, None),
        ({"scope": "read write"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
    ],
)
def test_access_tokens_are_exchanged(form: dict[str, str], error: str | None) -> None:
    at = server()
    asked = {"grant_type": CLIENT_CREDENTIALS, "resource": SERVER, "scope": "read"}
    given = tokens(at, MACHINE, **asked)["access_token"]
    good = {"subject_token_type": ACCESS_TOKEN, "subject_token": given, "resource": SERVER}
    found = tokens(at, MACHINE, grant_type=EXCHANGE, **{**good, **form})
    assert found.get("error") == error
    if error is None:
        made = read_jws(found["access_token"]).claims
        assert (made["sub"], made["aud"]) == ("machine", SERVER)
        assert (found["issued_token_type"], found["token_type"]) == (ACCESS_TOKEN, "Bearer")
        assert found["scope"] == "read"
        assert found["access_token"] != given


def test_a_token_that_is_bound_to_a_key_is_not_exchanged() -> None:
    at = server()
    asked = {"grant_type": CLIENT_CREDENTIALS, "resource": SERVER, "scope": "read"}
    given = tokens(at, {**MACHINE, **proof()}, **asked)["access_token"]
    form = {"subject_token_type": ACCESS_TOKEN, "subject_token": given, "resource": SERVER}
    for shown in ({}, proof(jti="2")):
        found = tokens(at, {**MACHINE, **shown}, grant_type=EXCHANGE, **form)
        assert found["error"] == "invalid_grant"


# DPoP


def proof(key: Signer = DPOP_KEY, jti: str = "1", **changed: Any) -> dict[str, str]:
    made = {"method": "POST", "url": f"{ISSUER}/token", "wall": WALL, "nonce": None, **changed}
    method, url = made.pop("method"), made.pop("url")
    text = make_proof(method, url, key=key.jwk, algorithm=key.algorithm, jti=jti, **made)
    return {"dpop": text.signed(key.sign(text.text))}


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (proof(), None),
        (proof(signer("EdDSA")), None),
        ({}, None),
        ({"dpop": "x"}, "invalid_dpop_proof"),
        ({"dpop": proof()["dpop"][:-8] + "AAAAAAAA"}, "invalid_dpop_proof"),
        (proof(signer("RS256")), "invalid_dpop_proof"),
        (proof(method="GET"), "invalid_dpop_proof"),
        (proof(url=f"{ISSUER}/other"), "invalid_dpop_proof"),
        (proof(wall=WALL - 400), "invalid_dpop_proof"),
        (proof(jti=""), "invalid_dpop_proof"),
    ],
)
def test_proofs_at_the_token_endpoint(headers: dict[str, str], error: str | None) -> None:
    at = server()
    code = authorize(at)
    found = redeemed(at, code, headers, client_id="public")
    assert found.get("error") == error
    if error is None:
        assert found["token_type"] == ("DPoP" if headers else "Bearer")
        assert introspected(at, found["access_token"])["token_type"] == found["token_type"]
    else:
        assert "access_token" in redeemed(at, code)


def test_a_proof_is_used_once_and_by_the_key_of_the_code() -> None:
    at = server()
    bound, public = thumbprint(DPOP_KEY.jwk), {"client_id": "public"}
    other = redeemed(at, authorize(at, dpop_jkt=bound), proof(signer("EdDSA")), **public)
    assert other["error"] == "invalid_dpop_proof"
    token = redeemed(at, authorize(at, dpop_jkt=bound), proof(), **public)["refresh_token"]
    for headers in (proof(), {}, proof(signer("EdDSA"), jti="2")):
        assert refreshed(at, token, headers, **public)["error"] == "invalid_dpop_proof"
    assert refreshed(at, token, proof(jti="3"), **public)["token_type"] == "DPoP"


# Registration


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({}, None),
        ({"token_endpoint_auth_method": "none"}, None),
        ({"token_endpoint_auth_method": "client_secret_post"}, None),
        (
            {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY.public]}},
            None,
        ),
        ({"grant_types": [CLIENT_CREDENTIALS], "redirect_uris": None}, None),
        ({"grant_types": [JWT_BEARER], "redirect_uris": None}, None),
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.example/#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://app.example/?code=1"]}, "invalid_redirect_uri"),
        ({"redirect_uris": [REDIRECT] * 17}, "invalid_redirect_uri"),
        ({"redirect_uris": REDIRECT}, "invalid_client_metadata"),
        ({"grant_types": ["password"]}, "invalid_client_metadata"),
        ({"grant_types": [EXCHANGE]}, "invalid_client_metadata"),
        (
            {"grant_types": [CLIENT_CREDENTIALS], "token_endpoint_auth_method": "none"},
            "invalid_client_metadata",
        ),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "other"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    ],
)
def test_registrations(changed: dict[str, Any], error: str | None) -> None:
    document = {"client_name": "app", "redirect_uris": [REDIRECT], **changed}
    body = json.dumps({k: each for k, each in document.items() if each is not None}).encode()
    response = send(server(), "POST", "/register", body)
    found = json.loads(response.body)
    assert (response.status, found.get("error")) == (400 if error else 201, error)
    if error is None:
        method = changed.get("token_endpoint_auth_method", "client_secret_basic")
        assert found["token_endpoint_auth_method"] == method
        assert ("client_secret" in found) is method.startswith("client_secret")
        assert ("client_secret_expires_at" in found) is ("client_secret" in found)


def test_registrations_are_bounded() -> None:
    at = server(limits=Limits(clients=2))
    body = json.dumps({"redirect_uris": [REDIRECT]}).encode()
    found = [send(at, "POST", "/register", body).status for _ in range(3)]
    assert found == [201, 201, 503]
    later = WALL + 31 * 86_400
    assert send(at, "POST", "/register", body, wall=later).status == 201
    assert send(at, "POST", "/register", b"[]").status == 400
    assert send(server(registration=False), "POST", "/register", body).status == 404


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 302),
        ({"token_endpoint_auth_method": "none"}, 302),
        ({"client_id": "https://app.example/other.json"}, 401),
        ({"token_endpoint_auth_method": "client_secret_post"}, 401),
        ({"redirect_uris": 1}, 401),
        (None, 401),
        (b"<html>", 401),
    ],
)
def test_documents_of_clients(document: dict[str, Any] | bytes | None, status: int) -> None:
    fetched: list[str] = []

    def fetch(url: str) -> bytes | None:
        fetched.append(url)
        whole = {"client_id": CIMD, "redirect_uris": [REDIRECT]}
        if isinstance(document, dict):
            return json.dumps({**whole, **document}).encode()
        return document

    at = server(fetch=fetch)
    for _ in range(2):
        response = send(at, "GET", f"/authorize?{urlencode(asked(client_id=CIMD))}")
        assert response.status == status
    assert len(fetched) == (1 if status == 302 else 2)


@pytest.mark.parametrize(
    "url", ["https://app.example", "https://127.0.0.1/x", "https://10.0.0.1/x"]
)
def test_documents_that_are_not_fetched(url: str) -> None:
    def fetch(url: str) -> bytes | None:
        raise AssertionError(url)

    response = send(server(fetch=fetch), "GET", f"/authorize?{urlencode(asked(client_id=url))}")
    assert response.status == 401


# Consent


def shown(at: DevelopmentServer, **changed: str) -> tuple[str, str]:
    """The ticket of the page of consent, and its cookie."""
    response = send(at, "GET", f"/authorize?{urlencode(asked(**changed))}")
    assert response.status == 200
    assert "frame-ancestors 'none'" in (line(response, "content-security-policy") or "")
    ticket = re.search(r'name="ticket" value="([^"]+)"', response.body.decode())
    cookie = line(response, "set-cookie")
    assert ticket is not None
    assert cookie is not None
    assert "HttpOnly" in cookie
    return ticket[1], cookie.partition(";")[0]


@pytest.mark.parametrize(("answer", "error"), [("yes", None), ("no", "access_denied")])
def test_a_person_consents(answer: str, error: str | None) -> None:
    at = server(consent=True)
    ticket, cookie = shown(at)
    form = {"ticket": ticket, "answer": answer}
    for others in ({}, {"cookie": f"{cookie.partition('=')[0]}=x"}, {"cookie": f"other{cookie}"}):
        assert send(at, "POST", "/authorize", form, others).status == 403
    found = answered(send(at, "POST", "/authorize", form, {"cookie": f"a=b; {cookie}"}))
    assert (found.get("error"), found["iss"]) == (error, ISSUER)
    assert ("code" in found) is (error is None)
    assert send(at, "POST", "/authorize", form, {"cookie": cookie}).status == 403


def test_a_browser_may_be_asked_by_several_clients_at_a_time() -> None:
    at = server(consent=True)
    pages = [shown(at) for _ in range(2)]
    jar = dict(cookie.split("=", 1) for _, cookie in pages)
    cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
    for ticket, _ in pages:
        form = {"ticket": ticket, "answer": "yes"}
        assert send(at, "POST", "/authorize", form, {"cookie": cookies}).status == 302


def test_the_page_holds_no_markup_of_others() -> None:
    odd = Client(client_id="public", name="<script>\n", redirect_uris=(REDIRECT,))
    at = server(consent=True, clients=(odd,))
    response = send(at, "GET", f"/authorize?{urlencode(asked(scope='<b>'))}")
    assert b"&lt;script&gt;?" in response.body
    assert b"<script" not in response.body
    quiet = send(at, "GET", f"/authorize?{urlencode(asked(prompt='none'))}")
    assert answered(quiet)["error"] == "consent_required"


# Revocation, keys, bounds


def test_tokens_are_revoked() -> None:
    at = server()
    first, second = (redeemed(at, authorize(at)) for _ in range(2))

    def revoke(token: str, client: str = "public") -> int:
        return send(at, "POST", "/revoke", {"token": token, "client_id": client}).status

    for token in (first["access_token"], first["refresh_token"], "x", "x.y"):
        assert revoke(token, "workload") == 200
    assert introspected(at, first["access_token"])["active"] is True
    assert revoke(first["access_token"]) == 200
    assert introspected(at, first["access_token"]) == {"active": False}
    again = refreshed(at, first["refresh_token"])
    assert revoke(first["refresh_token"]) == 200  # not valid any more, which revokes nothing
    assert introspected(at, again["access_token"])["active"] is True
    assert revoke(again["refresh_token"]) == 200
    assert introspected(at, again["access_token"]) == {"active": False}
    assert introspected(at, second["access_token"])["active"] is True
    assert introspected(at, second["access_token"], WALL + 3600) == {"active": False}
    assert send(at, "POST", "/revoke", {"client_id": "public"}).status == 400
    public = {"client_id": "public", "token": second["access_token"]}
    assert send(at, "POST", "/introspect", public).status == 401


def test_keys_rotate() -> None:
    at = server(limits=Limits(keys=2))
    old = redeemed(at, authorize(at))["access_token"]
    at.keys.rotate(signer("ES256", "new"), WALL)
    new = redeemed(at, authorize(at))["access_token"]
    assert [read_jws(each).kid for each in (old, new)] == ["as", "new"]
    body = send(at, "GET", "/jwks").body
    assert [each.kid for each in read_keys(body, KeySetLimits())] == ["new", "as"]
    with pytest.raises(ValueError, match="too many keys"):
        at.keys.rotate(signer("ES256", "newer"), WALL)
    assert len(at.keys.published(WALL + 3600)) == 1
    at.keys.rotate(signer("ES256", "newer"), WALL + 3600)
    assert [each["kid"] for each in at.keys.published(WALL + 3600)] == ["newer", "new"]


def test_keys_fit_the_settings() -> None:
    with pytest.raises(ValueError, match="no key of RS256"):
        server(algorithm="RS256")
    with pytest.raises(ValueError, match="too many keys"):
        server(limits=Limits(keys=0))


@pytest.mark.parametrize(
    ("table", "works"),
    [("codes", 1), ("families", 1), ("tokens", 1), ("consents", 1)],
)
def test_tables_are_bounded(table: str, works: int) -> None:
    at = server(limits=Limits(**{table: works}), consent=table == "consents")
    path = f"/authorize?{urlencode(asked())}"
    for _ in range(works):
        response = send(at, "GET", path)
        if table not in ("codes", "consents"):
            assert "access_token" in redeemed(at, answered(response)["code"])
    response = send(at, "GET", path)
    found: dict[str, Any] = dict(answered(response))
    if table not in ("codes", "consents"):
        found = redeemed(at, found["code"])
        assert found["status"] == 503
    assert found["error"] == "temporarily_unavailable"


def test_windows_of_replays_are_bounded() -> None:
    at = server(limits=Limits(replays=1))
    form = {"grant_type": CLIENT_CREDENTIALS, "resource": SERVER}
    assert "access_token" in tokens(at, proof(), **form, **own())
    assert tokens(at, proof(jti="2"), **form, **own(jti="2"))["status"] == 503
    assert tokens(at, {**MACHINE, **proof(jti="2")}, **form)["status"] == 503


def test_a_table_forgets_what_has_ended() -> None:
    table: Table[int] = Table(1)
    table.put("a", 1, until=10.0, wall=0.0)
    table.put("a", 2, until=10.0, wall=0.0)
    assert (table.get("a", 9.0), table.get("a", 10.0), len(table)) == (2, None, 1)
    with pytest.raises(Refused, match="full"):
        table.put("b", 1, until=20.0, wall=9.0)
    table.put("b", 1, until=20.0, wall=10.0)
    assert (table.pop("a", 10.0), table.pop("b", 10.0), len(table)) == (None, 1, 0)


def test_representations_hold_no_secret() -> None:
    code = authorize(server())
    for each in (
        CLIENTS[1],
        Request(method="POST", path="/token", query=code, body=code.encode(), wall=WALL),
        Response(200, (("location", code),), code.encode()),
        PrivateKey.generate("ES256"),
    ):
        assert code not in repr(each)
        assert "machine:secret" not in repr(each)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_keys_are_jwks(algorithm: str) -> None:
    key = PrivateKey.generate(algorithm)
    again = PrivateKey.from_jwk(key.private())
    assert again.public == key.public
    assert again.private() == key.private()
    signature = again.sign(b"data")
    assert verify_own(key.public, algorithm, b"data", signature)
    assert verify(key.public, algorithm, b"data", signature)
    assert not verify_own(key.public, algorithm, b"other", signature)
    assert usable_key(key.public) is not None


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AQ"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {
            "kty": "RSA",
            "n": "AQ",
            "e": "AQ",
            **dict.fromkeys(("d", "p", "q", "dp", "dq", "qi"), "AQ"),
        },
    ],
    ids=["oct", "mismatch", "no d", "small"],
)
def test_keys_that_are_no_keys(jwk: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        PrivateKey.from_jwk(jwk)
    with pytest.raises(ValueError, match="ES256 or RS256"):
        PrivateKey.generate("HS256")


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519", "PS256", "ES256"])
def test_signatures_of_others(algorithm: str) -> None:
    key = signer("EdDSA")
    signature = key.sign(b"data")
    assert verify_own(key.jwk, algorithm, b"data", signature) is (algorithm in EDWARDS)
    assert not verify_own({"kty": "EC", "x": "AA", "y": "AA"}, "ES256", b"data", bytes(64))


# The driver


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def exchange(issuer: str, request: str) -> tuple[int, bytes]:
    """Send a request to the driver; its status and body."""
    place = urlsplit(issuer)
    assert place.port is not None
    received = b""
    async with await anyio.connect_tcp("127.0.0.1", place.port) as stream:
        await stream.send(request.encode())
        with anyio.fail_after(10):
            async for data in stream:
                received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


@pytest.mark.anyio
async def test_the_driver_serves_on_loopback() -> None:
    chosen = options(["--yes", "--client", "me:secret", "--resource", SERVER])
    async with anyio.create_task_group() as tasks:
        made = await tasks.start(serve, builder(chosen))
        issuer = made.settings.issuer
        host = f"Host: {urlsplit(issuer).netloc}\r\n"
        get = "GET /.well-known/oauth-authorization-server HTTP/1.1\r\n"
        status, body = await exchange(issuer, f"{get}{host}\r\n")
        assert (status, json.loads(body)["issuer"]) == (200, issuer)
        form = urlencode({"grant_type": CLIENT_CREDENTIALS})
        lines = (
            f"Authorization: {basic('me', 'secret')}\r\nContent-Length: {len(form)}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
        )
        status, body = await exchange(issuer, f"POST /token HTTP/1.1\r\n{host}{lines}\r\n{form}")
        assert status == 200
        assert json.loads(body)["token_type"] == "Bearer"
        for request, refused in [
            (f"{get}Host: evil.example\r\n\r\n", 403),
            (f"{get.replace('GET', 'HEAD')}{host}\r\n", 200),
            (f"{get}Host: 127.0.0.1:x\r\n\r\n", 403),
            ("nonsense\r\n\r\n", 400),
            (f"POST /token HTTP/1.1\r\n{host}Content-Length: 99999\r\n\r\n{'x' * 99999}", 413),
        ]:
            assert (await exchange(issuer, request))[0] == refused
        async with await anyio.connect_tcp("127.0.0.1", urlsplit(issuer).port or 0) as stream:
            await stream.send(b"GET ")
        status, _ = await exchange(issuer, f"{get}{host}\r\n")
        assert status == 200
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_client_that_has_left_ends_its_exchange_alone(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, answered = Event(), list[Response]()
    async with anyio.create_task_group() as tasks:
        made = await tasks.start(serve, builder(options(["--yes"])))

        def answer(request: Request) -> Response:
            left.wait(10)
            answered.append(DevelopmentServer.handle(made, request))
            return answered[-1]

        monkeypatch.setattr(made, "handle", answer)
        place = urlsplit(made.settings.issuer)
        request = f"GET /jwks HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n"
        async with await anyio.connect_tcp("127.0.0.1", place.port or 0) as stream:
            await stream.send(request.encode())
        left.set()
        await until(lambda: answered)
        assert (await exchange(made.settings.issuer, request))[0] == 200
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.com"])
def test_the_driver_refuses_other_hosts(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--host", host])
    assert "loopback" in capsys.readouterr().err or host == "example.com"


@pytest.mark.anyio
async def test_serving_refuses_other_hosts() -> None:
    with pytest.raises(ValueError, match="loopback only"):
        await serve(builder(options([])), "0.0.0.0")


@pytest.mark.anyio
async def test_the_command_announces_itself_and_rotates_its_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, options(["--host", "::1", "--rotate", "0.01"]))
            said = ""
            while "the keys stay" not in said:
                await anyio.sleep(0.01)
                said += capsys.readouterr().err
            tasks.cancel_scope.cancel()
    assert said.startswith("listening on http://[::1]:")


def test_an_interrupt_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(anyio, "run", interrupted)
    assert main([]) == 0


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """A site with TLS at a name that seems public, and its pages by path."""
    pages: dict[str, tuple[int, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    authority = trustme.CA()
    mine, theirs = (
        ssl.SSLContext(each) for each in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
    )
    authority.issue_cert("app.example").configure_cert(mine)
    authority.configure_trust(theirs)
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.socket = mine.wrap_socket(web.socket, server_side=True)
    here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", web.server_port))]
    monkeypatch.setattr(ssl, "create_default_context", lambda: theirs)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **how: here)
    thread = Thread(target=web.serve_forever, daemon=True)
    thread.start()
    yield f"https://app.example:{web.server_port}", pages
    web.shutdown()
    web.server_close()
    thread.join()


def test_documents_are_fetched_from_public_addresses(
    site: tuple[str, dict[str, tuple[int, bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, pages = site
    pages["/a?b"] = (200, b"x" * 9000)
    pages["/moved"] = (302, b"y")
    pages["/large"] = (200, b"z" * 20_000)
    assert fetch_document(f"{origin}/a?b") is None  # its address is that of this machine
    monkeypatch.setattr(serving, "is_public", lambda address: True)
    assert fetch_document(f"{origin}/a?b") == b"x" * 9000
    assert fetch_document(f"{origin}/moved") is None
    assert fetch_document(f"{origin}/large") is None
    assert fetch_document(f"{origin.replace('app', 'other')}/a?b") is None  # another certificate


def test_clients_of_the_command_line() -> None:
    assert CLIENT_CREDENTIALS in _client("me:secret").grants
    assert _client(f"me:secret:{REDIRECT}").redirect_uris == (REDIRECT,)
    for text in ("", "me", "me:", ":secret"):
        with pytest.raises(Exception, match="a client is"):
            _client(text)


def test_keys_trust_and_times_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "keys.json")
    Path(file).write_text(json.dumps({"keys": [KEY.public]}))
    words = ["--client", "me:secret", "--client-key", "robot", file, "--token-time", "5"]
    words += ["--trust-provider", PROVIDER, file, "--trust-workload", WORKLOADS, file]
    words += ["--known-as", "me", "https://other.example", "them"]
    settings = builder(options(words))(ISSUER).settings
    me, robot = settings.clients
    assert (me.client_id, me.known_as) == ("me", {"https://other.example": "them"})
    assert EXCHANGE in me.grants
    assert (robot.client_id, robot.method, len(robot.keys)) == ("robot", ClientAuth.PRIVATE_KEY, 1)
    kinds = [(each.issuer, each.kind) for each in settings.trusted]
    assert kinds == [(PROVIDER, Trust.PROVIDER), (WORKLOADS, Trust.WORKLOAD)]
    assert settings.token_time == 5
    Path(file).write_text("{}")
    for wrong, told in [
        (["--client-key", "robot", file], "it has no list of keys"),
        (["--client-key", "robot", str(tmp_path / "none")], "No such file"),
        (["--known-as", "nobody", "https://other.example", "them"], "no client nobody"),
        (["--token-time", "0"], "1 to 86400"),
        (["--token-time", "nan"], "1 to 86400"),
    ]:
        with pytest.raises(SystemExit):
            options(wrong)
        assert told in capsys.readouterr().err


def test_certificates_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority, cert, ca = trustme.CA(), tmp_path / "server.pem", tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(cert)
    served, client = ["--tls-cert", str(cert)], ["--client-certificate", "robot", "CN=robot"]
    assert options([]).tls is None
    assert options(served).tls.verify_mode is ssl.CERT_NONE
    chosen = options([*served, *client, "--tls-client-ca", str(ca)])
    assert chosen.tls.verify_mode is ssl.CERT_OPTIONAL
    (robot,) = builder(chosen)(ISSUER).settings.clients
    assert (robot.client_id, robot.method, robot.subject) == ("robot", ClientAuth.TLS, "CN=robot")
    for wrong in (
        client,
        [*served, *client],
        [*client, "--tls-client-ca", str(ca)],
        [*served, "--tls-client-ca", str(ca)],
    ):
        with pytest.raises(SystemExit):
            options(wrong)
        assert "--client-certificate needs --tls-client-ca" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        options(["--tls-cert", str(tmp_path / "none")])
    assert "none" in capsys.readouterr().err
