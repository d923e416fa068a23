"""Requests of a resource server to its issuers, as steps without I/O."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mcpcore.auth.grants import ClientAuth, ClientIdentity, SigningKey
from mcpcore.auth.issuers import ask_about, asking_method, find_keys
from mcpcore.auth.needs import Fetch, Fetched, NeedFailed
from mcpcore.auth.resource_server import FailureLimit, Issuer, ResourceGuard, ResourceRules
from mcpcore.auth.tokens import Grant, TokenFault, decode_base64url
from mcpcore.auth.urls import check_url
from mcpcore.errors import AuthorizationError, DocumentRefused, UrlRefused
from mcpcore_transports.auth.resource_server import ResourceServer
from tests.auth.desk import ISSUER, WALL, Desk, claims, refusal
from tests.auth.signing import part, signer

NESTED = "https://id.example/a"
JWKS = "https://id.example/keys"
ORDER = ec.SECP256R1().group_order
LIMITS: dict[str, Any] = {"timeout": 5.0, "limit": 1000}


def document(**members: Any) -> Fetched:
    return Fetched(status=200, body=json.dumps(members).encode())


def run(steps: Any, *outcomes: Any) -> tuple[Any, list[Fetch]]:
    """The end of the steps, and what they fetched."""
    asked: list[Fetch] = []
    left = list(outcomes)
    try:
        need = next(steps)
        while True:
            asked.append(need)
            need = steps.send(left.pop(0))
    except StopIteration as over:
        assert not left
        return over.value, asked


@pytest.mark.parametrize(
    "missing",
    [
        Fetched(status=404),
        Fetched(status=302),
        Fetched(status=200, body=b"\n<!doctype html><title>Sign in</title>"),
    ],
)
def test_keys_are_found_by_the_metadata_of_the_issuer(missing: Fetched) -> None:
    metadata = document(issuer=NESTED, jwks_uri=JWKS)
    keys = Fetched(status=200, headers=(("cache-control", "public, max-age=600"),), body=b"{}")
    found, asked = run(find_keys(Issuer(issuer=NESTED), **LIMITS), missing, metadata, keys)
    assert found == (b"{}", 600.0)
    assert [each.url for each in asked] == [
        "https://id.example/.well-known/oauth-authorization-server/a",
        "https://id.example/.well-known/openid-configuration/a",
        JWKS,
    ]
    assert all((each.timeout, each.limit) == (5.0, 1000) for each in asked)


@pytest.mark.parametrize("line", ["", "no-store", "max-age=x", "s-maxage=600", "xmax-age=5"])
def test_an_age_that_is_not_said(line: str) -> None:
    keys = Fetched(status=200, headers=(("cache-control", line),), body=b"{}")
    found, asked = run(find_keys(Issuer(issuer=ISSUER, jwks_url=JWKS), **LIMITS), keys)
    assert found == (b"{}", None)
    assert [each.url for each in asked] == [JWKS]


@pytest.mark.parametrize(
    "outcomes",
    [
        [Fetched(status=500)],
        [Fetched(status=302), Fetched(status=200, body=b"<html>")],
        [Fetched(status=404), Fetched(status=404)],
        [document(issuer="https://evil.example", jwks_uri=JWKS)],
        [document(issuer=ISSUER)],
        [document(issuer=ISSUER, jwks_uri=JWKS), Fetched(status=404)],
        [Fetched(status=200, body=b"no JSON")],
    ],
)
def test_documents_that_are_none(outcomes: list[Fetched]) -> None:
    with pytest.raises(DocumentRefused):
        run(find_keys(Issuer(issuer=ISSUER), **LIMITS), *outcomes)


def test_an_issuer_out_of_reach() -> None:
    with pytest.raises(AuthorizationError, match="unknown host"):
        run(find_keys(Issuer(issuer=ISSUER), **LIMITS), NeedFailed("unknown host"))


def test_an_issuer_is_asked_about_a_token() -> None:
    client = ClientIdentity(client_id="us", client_secret="pass")
    asks = Issuer(issuer=ISSUER, introspection_url="https://id.example/i", client=client)
    answer = document(active=True)
    found, (request,) = run(ask_about(asks, "opaque", **LIMITS), answer)
    assert found == answer.body
    assert request.url == "https://id.example/i"
    assert request.body == b"token=opaque&token_type_hint=access_token&client_id=us"
    told = str.__str__(request.headers["authorization"])
    assert told == "Basic " + base64.b64encode(b"us:pass").decode()
    assert "pass" not in repr(asks)
    public = Issuer(issuer=ISSUER, introspection_url="https://id.example/i")
    _, (request,) = run(ask_about(public, "opaque", **LIMITS), answer)
    assert "authorization" not in request.headers
    with pytest.raises(DocumentRefused, match="status is 401"):
        run(ask_about(asks, "opaque", **LIMITS), Fetched(status=401))


KEY = SigningKey(algorithm="ES256")


@pytest.mark.parametrize(
    ("more", "method"),
    [
        ({"client_secret": "pass"}, ClientAuth.BASIC),
        ({"client_secret": "pass", "method": ClientAuth.POST}, ClientAuth.POST),
        ({"method": ClientAuth.NONE}, ClientAuth.NONE),
        ({"certificate": True, "method": ClientAuth.TLS}, ClientAuth.TLS),
        ({}, None),
        ({"certificate": True}, None),
        ({"method": ClientAuth.POST}, None),
        ({"client_secret": "pass", "method": ClientAuth.NONE}, None),
        ({"signing": KEY, "method": ClientAuth.PRIVATE_KEY}, None),
    ],
)
def test_a_client_that_asks_can_authenticate_itself(
    more: dict[str, Any], method: ClientAuth | None
) -> None:
    issuer = Issuer(issuer=ISSUER, client=ClientIdentity(client_id="us", **more))
    if method is not None:
        assert asking_method(issuer) is method
        return
    for judge in (asking_method, lambda each: ResourceServer("https://mcp.example/mcp", [each])):
        with pytest.raises(ValueError, match="the client of an issuer has a secret"):
            judge(issuer)


# Revocation, and the limit of failures


def test_a_revoked_token_is_refused_for_as_long_as_it_is_valid() -> None:
    desk = Desk(max_tokens=2)
    tokens = [signer().jwt(claims(sub=name, exp=WALL + 100_000)) for name in "abc"]
    assert isinstance(desk.bearer(tokens[0]), Grant)
    for token in tokens:
        desk.guard.revoke(token, wall=WALL, lasts=100.0)
    for wall in (WALL, WALL + 101, WALL + 99_999):
        denied = refusal(desk.bearer(tokens[2], wall=wall, now=wall - WALL))
        assert denied.reason == TokenFault.REVOKED.value
    assert isinstance(desk.bearer(tokens[0]), Grant)  # the oldest, forgotten


def test_a_revoked_token_is_refused_with_the_other_signature_that_verifies() -> None:
    """(r, n - s) is a signature of ECDSA as well, and anybody can make it of (r, s)."""
    desk = Desk()
    token = signer().jwt(claims())
    signed, _, signature = token.rpartition(".")
    raw = decode_base64url(signature)
    other = f"{signed}.{part(raw[:32] + (ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"
    assert isinstance(desk.bearer(other), Grant)
    # The judgement of another token with the same claims is not its own.
    unsigned = refusal(desk.bearer(f"{signed}.{part(bytes(64))}"))
    assert unsigned.reason == TokenFault.SIGNATURE.value
    desk.guard.revoke(token, wall=WALL)
    for text in (token, other):
        denied = refusal(desk.bearer(text))
        assert denied.reason == TokenFault.REVOKED.value


@pytest.mark.parametrize("text", ["opaque", "a.b.c", f"{'e30'}.{'e30'}.e30"])
def test_a_revoked_token_that_tells_no_end_is_refused_for_as_long_as_is_said(text: str) -> None:
    desk = Desk()
    desk.guard.revoke(text, wall=WALL, lasts=100.0)
    for wall, revoked in ((WALL + 99, True), (WALL + 101, False)):
        denied = refusal(desk.bearer(text, wall=wall, now=wall - WALL))
        assert (denied.reason == TokenFault.REVOKED.value) is revoked


@pytest.mark.parametrize(
    ("second", "wrong"),
    [
        (Issuer(issuer=ISSUER, jwks_url=f"{ISSUER}/jwks"), "named twice"),
        (Issuer(issuer="https://b.example", introspection_url="https://b.example/i"), "opaque"),
    ],
)
def test_a_token_cannot_be_of_either_of_two_issuers(second: Issuer, wrong: str) -> None:
    first = Issuer(issuer=ISSUER, introspection_url=f"{ISSUER}/i")
    rules = ResourceRules(resource="https://mcp.example/mcp", issuers=(first, second))
    with pytest.raises(ValueError, match=wrong):
        ResourceGuard(rules, lambda *_: False)


def test_failures_of_an_address_are_limited_for_a_window() -> None:
    assert FailureLimit(1).wait("a", 0.0) == 0.0
    limit = FailureLimit(2, window=60.0, parties=2)
    assert limit.wait("a", 0.0) == 0.0
    limit.note("a", 0.0)
    assert limit.wait("a", 1.0) == 0.0
    limit.note("a", 10.0)
    assert limit.wait("a", 20.0) == 40.0
    assert limit.wait("b", 20.0) == 0.0
    assert limit.wait("a", 60.0) == 0.0
    limit.note("a", 61.0)  # another window
    assert limit.wait("a", 61.0) == 0.0
    limit.note("a", 62.0)
    assert limit.wait("a", 62.0) == 59.0
    limit.note("b", 63.0)
    limit.note("c", 63.0)
    assert limit.wait("a", 63.0) == 0.0  # forgotten for others


def test_an_issuer_in_a_private_network() -> None:
    with pytest.raises(UrlRefused):
        check_url("https://10.0.0.1/jwks", "it")
    assert check_url("https://10.0.0.1/jwks", "it", private=True).host == "10.0.0.1"
    for text in ("http://10.0.0.1/jwks", "https://127.0.0.1/jwks", "https://169.254.169.254/"):
        with pytest.raises(UrlRefused):
            check_url(text, "it", private=True)
