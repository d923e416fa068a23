"""Introspection: answers read, and the cache of judgements."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from mcpcore.auth.introspection import (
    CacheLimits,
    TokenCache,
    read_introspection,
    token_key,
)
from mcpcore.auth.tokens import ClaimRules, Grant, TokenFault, TokenRefused
from mcpcore.errors import DocumentRefused

ISSUER = "https://id.example"
RESOURCE = "https://mcp.example/mcp"
WALL = 1_000_000.0
RULES = ClaimRules(issuer=ISSUER, audiences=frozenset({RESOURCE}))
ANSWER: dict[str, Any] = {
    "active": True,
    "iss": ISSUER,
    "sub": "anna",
    "aud": RESOURCE,
    "exp": WALL + 600,
    "scope": "read",
}


def read(**changed: Any) -> Grant:
    members = {k: v for k, v in {**ANSWER, **changed}.items() if v != "absent"}
    return read_introspection(json.dumps(members).encode(), RULES, wall=WALL, lasts=60.0)


def test_an_active_answer_grants() -> None:
    grant = read(nonce="n")
    assert (grant.subject, grant.expires_at) == ("anna", WALL + 600)
    assert grant.scopes == {"read"}
    assert read(iss="absent").issuer == ISSUER
    for kind in ("Bearer", "bearer", "access_token"):
        assert read(token_type=kind).thumbprint is None
    assert read(token_type="DPoP", cnf={"jkt": "x"}).thumbprint == "x"
    assert read(exp="absent").expires_at == WALL + 60


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"iss": "https://evil.example"}, TokenFault.ISSUER),
        ({"aud": "absent"}, TokenFault.AUDIENCE),
        ({"exp": WALL - 60}, TokenFault.EXPIRED),
        ({"sub": "absent"}, TokenFault.SUBJECT),
        ({"cnf": {"kid": "x"}}, TokenFault.BINDING),
        ({"token_type": "DPoP"}, TokenFault.BINDING),
        ({"token_type": ""}, TokenFault.TYPE),
        ({"token_type": None}, TokenFault.TYPE),
        ({"token_type": ["Bearer"]}, TokenFault.TYPE),
    ],
)
def test_another_answer_is_a_refusal(changed: dict[str, Any], fault: TokenFault) -> None:
    with pytest.raises(TokenRefused) as refused:
        read(**changed)
    assert refused.value.fault is fault


@pytest.mark.parametrize("body", [b"", b"[]", b'{"active": true, "active": true}', b"<html>"])
def test_an_answer_that_cannot_be_read_is_none(body: bytes) -> None:
    with pytest.raises(DocumentRefused, match="introspection"):
        read_introspection(body, RULES, wall=WALL, lasts=60.0)


KEY = token_key("token")


@pytest.mark.parametrize(
    ("expires", "until"),
    [(WALL + 600, 60.0), (WALL + 10, 10.0), (WALL + 0.1, 1.0), (WALL - 30, 1.0)],
)
def test_a_grant_is_kept_until_it_expires(expires: float, until: float) -> None:
    cache = TokenCache()
    grant = replace(read(), expires_at=expires)
    cache.end(KEY, grant, now=100.0, wall=WALL)
    assert cache.look(KEY, 100.0 + until - 0.01) is grant
    assert cache.look(KEY, 100.0 + until) is None
    assert cache.last(KEY) == (100.0 + until, grant)


def test_a_refusal_is_kept_shortly() -> None:
    cache = TokenCache()
    cache.end(KEY, TokenFault.REVOKED, now=0.0, wall=WALL)
    assert cache.look(KEY, 4.9) is TokenFault.REVOKED
    assert cache.look(KEY, 5.0) is None
    cache.end(KEY, read(), now=5.0, wall=WALL)
    cache.forget(KEY)
    cache.forget(KEY)
    assert cache.look(KEY, 5.0) is None


def test_one_question_is_asked_about_a_token() -> None:
    cache = TokenCache(CacheLimits(max_waiting=2))
    assert [cache.begin(KEY), cache.begin(KEY)] == [True, False]
    assert cache.begin(b"2") is True
    assert cache.begin(b"3") is None
    cache.end(KEY, None, now=0.0, wall=WALL)
    assert len(cache) == 0
    assert cache.begin(b"3") is True


def test_an_address_has_a_share_of_the_questions() -> None:
    cache = TokenCache(CacheLimits(max_waiting=7, max_waiting_of_one=2))
    assert [cache.begin(bytes([n])) for n in range(10, 14)] == [True] * 4  # of no address
    begun = [cache.begin(bytes([n]), "a") for n in range(3)]
    assert begun == [True, True, None]
    assert cache.begin(b"of b", "b") is True
    cache.end(bytes([0]), None, now=0.0, wall=WALL)
    assert cache.begin(bytes([2]), "a") is True


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = TokenCache(CacheLimits(max_tokens=2))
    for key in (b"1", b"2"):
        cache.end(key, TokenFault.REVOKED, now=0.0, wall=WALL)
    cache.look(b"1", 0.0)
    cache.end(b"3", TokenFault.REVOKED, now=0.0, wall=WALL)
    assert [cache.look(key, 0.0) is None for key in (b"1", b"2", b"3")] == [False, True, False]
