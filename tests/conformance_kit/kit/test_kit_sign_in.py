"""The protected site of the kit, its signatures, and clients that do something else about a 401."""

import random
import sys
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from mcpcore_conformance.kit import es256
from mcpcore_conformance.kit.client_play import play_client
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.kit.protected import HttpVisit, PlainReply, ProtectedSite
from mcpcore_conformance.run.registry import all_cases

ADDRESS = "http://127.0.0.1:1/mcp"
CALLBACK = "http://127.0.0.1:2/callback"


def site() -> ProtectedSite:
    return ProtectedSite(ADDRESS, random.Random(1))


def ask(
    where: ProtectedSite, method: str, target: str, body: bytes = b"", **headers: str
) -> PlainReply | None:
    return where.visit(Asked(1, method, target, list(headers.items())), body)


def replied(reply: PlainReply | None) -> tuple[int, dict[str, str], Any]:
    assert reply is not None
    visit = HttpVisit(Asked(1, "POST", "/", []), reply.body)
    return reply.status, dict(reply.headers), visit.value


def code_of(where: ProtectedSite, **params: str) -> str:
    query = urlencode({"redirect_uri": CALLBACK, "state": "s", **params})
    status, headers, _ = replied(ask(where, "GET", f"/as/sign-in?{query}"))
    assert status == 302
    found = dict(parse_qsl(urlsplit(headers["location"]).query))
    assert (found["state"], found["iss"]) == ("s", "http://127.0.0.1:1/as")
    return found["code"]


def redeem(where: ProtectedSite, **params: str) -> tuple[int, dict[str, str], Any]:
    return replied(ask(where, "POST", "/as/tokens", urlencode(params).encode()))


def call(where: ProtectedSite, token: str, method: str = "tools/call") -> PlainReply | None:
    body = b'{"method":"%s"}' % method.encode()
    return ask(where, "POST", "/mcp", body, authorization=f"Bearer {token}")


def test_the_site_lets_in_whom_it_has_given_a_token() -> None:
    where = site()
    status, headers, _ = replied(ask(where, "POST", "/mcp"))
    place = "/.well-known/oauth-protected-resource/mcp"
    challenge = f'Bearer resource_metadata="http://127.0.0.1:1{place}"'
    assert (status, headers["www-authenticate"]) == (401, challenge)
    _, _, resource = replied(ask(where, "GET", place))
    assert resource == {"resource": ADDRESS, "authorization_servers": ["http://127.0.0.1:1/as"]}
    _, _, metadata = replied(ask(where, "GET", "/.well-known/oauth-authorization-server/as"))
    assert metadata["issuer"] == "http://127.0.0.1:1/as"
    assert metadata["token_endpoint"] == "http://127.0.0.1:1/as/tokens"
    status, _, client = replied(ask(where, "POST", "/as/clients", b'{"redirect_uris":[]}'))
    assert (status, set(client)) >= (201, {"client_id", "client_secret", "redirect_uris"})
    code = code_of(where, scope="a b")
    status, _, token = redeem(where, grant_type="authorization_code", code=code)
    assert (status, token["scope"]) == (200, "a b")
    assert call(where, token["access_token"]) is None
    assert redeem(where, grant_type="authorization_code", code=code)[0] == 400
    assert replied(call(where, "another"))[0] == 401
    assert len(where.let_in) == 1
    assert ask(where, "GET", "/nowhere") == PlainReply(404)


def test_tokens_are_refreshed_once() -> None:
    where = site()
    where.server.refreshes = True
    code = code_of(where)
    _, _, first = redeem(where, grant_type="authorization_code", code=code)
    again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    assert redeem(where, **again)[0] == 200
    assert redeem(where, **again)[0] == 400


def test_what_a_call_needs_and_when_tokens_end() -> None:
    where = site()
    where.demands["tools/call"] = "write"
    token = where.server.token_for("read")["access_token"]
    assert call(where, token, "tools/list") is None
    status, headers, _ = replied(call(where, token))
    assert status == 403
    assert 'error="insufficient_scope", scope="write"' in headers["www-authenticate"]
    more = where.server.token_for("read write")["access_token"]
    assert call(where, more) is None
    where.ends.add("tools/call")
    assert replied(call(where, more))[0] == 401
    assert call(where, where.server.token_for("write")["access_token"]) is None


def test_a_key_signs_as_others_do() -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    private = random.Random(2).randrange(1, es256.N)
    key = serialization.load_pem_private_key(es256.pem(private).encode(), None)
    public = es256.public_key(private)
    numbers = key.public_key().public_numbers()
    assert (numbers.x, numbers.y) == public
    r, s = decode_dss_signature(key.sign(b"a.b", ec.ECDSA(hashes.SHA256())))
    text = es256.base64url(r.to_bytes(32) + s.to_bytes(32))
    assert es256.signed(f"a.b.{text}", public)
    assert not es256.signed(f"a.c.{text}", public)
    assert not es256.signed(f"a.b.{text[:-4]}", public)
    assert not es256.signed("a.b.!", public)
    zero = es256.base64url(bytes(64))
    assert not es256.signed(f"a.b.{zero}", public)
    jwk = {"kty": "EC", "crv": "P-256"}
    x, y = (es256.base64url(each.to_bytes(32)) for each in public)
    assert es256.key_of({**jwk, "x": x, "y": y}) == public
    for wrong in (None, jwk, {**jwk, "x": x, "y": x}, {**jwk, "x": x, "y": y, "crv": "P-384"}):
        assert es256.key_of(wrong) is None


PROGRAM = """
import json, os, sys, urllib.error, urllib.request
version = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"]
me = {"name": "c", "version": "1"}
params = {"protocolVersion": version, "capabilities": {}, "clientInfo": me}
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()
headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers))
except urllib.error.HTTPError as error:
    sys.exit(f"status {error.code}")
"""


async def played(id: str, program: str) -> Result:
    (case,) = [each for each in all_cases() if each.id == id]
    client = (sys.executable, "-c", program)
    timing = ClientTiming(start=60.0, answer=60.0, exit=60.0)
    return await play_client(
        case, client, Binding.HTTP, case.revisions.last, timing=timing, limit=300.0
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "id",
    [
        "basic/authorization/security-considerations/authorization-code-protection/client-pkce",
        "basic/authorization/index/authorization-response-validation/client-wrong-issuer",
    ],
)
async def test_a_client_without_authorization_is_not_blamed(id: str) -> None:
    result = await played(id, PROGRAM)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert result.detail.startswith("the client does not act on 401")


PERSON = """
import os, sys
os.environ["MCP_CONFORMANCE_SCENARIO"] = "auth/metadata-default"
from mcpcore_conformance.everything.client import main
sys.exit(main())
"""
"""Signs a person in whatever the scenario."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "id",
    [
        "extensions/auth/oauth-client-credentials/client-secrets/client-secret",
        "extensions/auth/enterprise-managed-authorization/flow/client-other-type",
        "rfc7523/section-3.1/client-no-retry",
        "rfc9449/section-5/client-token-request",
        "rfc9449/section-9/client-server-nonce",
    ],
)
async def test_a_client_that_signs_a_person_in_instead_is_not_blamed(id: str) -> None:
    result = await played(id, PERSON)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert result.detail.startswith(f"the client does not know the scenario {result.case.scenario}")
