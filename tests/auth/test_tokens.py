"""Access tokens: the structure of a JWS, and each claim of it judged."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.grants import base64url
from mcpcore.auth.tokens import (
    ALGORITHMS,
    MAX_TOKEN,
    ClaimRules,
    Jws,
    TokenFault,
    TokenRefused,
    decode_base64url,
    frozen,
    judge_claims,
    judge_type,
    read_jws,
)
from tests.auth.signing import part

ISSUER = "https://id.example"
RESOURCE = "https://mcp.example/mcp"
WALL = 1_000_000.0
RULES = ClaimRules(issuer=ISSUER, audiences=frozenset({RESOURCE}), roles="realm.roles")
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "anna",
    "aud": RESOURCE,
    "exp": WALL + 600,
    "iat": WALL,
    "client_id": "me",
    "scope": "read write",
    "realm": {"roles": ["admin", 1, "user"]},
}
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}


def token(header: Any = HEADER, claims: Any = CLAIMS, signature: bytes = b"signature") -> str:
    return ".".join(map(part, (header, claims, signature)))


def fault(text: str, *, embedded_key: bool = False) -> TokenFault:
    with pytest.raises(TokenRefused) as refused:
        read_jws(text, embedded_key=embedded_key)
    return refused.value.fault


# base64url


@given(st.binary(min_size=1, max_size=20))
def test_base64url_is_decoded(data: bytes) -> None:
    assert decode_base64url(base64url(data).decode()) == data


@given(st.text(st.sampled_from("ABZabz019-_+/= \n."), max_size=6))
def test_no_two_texts_are_one_token(text: str) -> None:
    try:
        data = decode_base64url(text)
    except ValueError:
        return
    assert base64url(data).decode() == text


@pytest.mark.parametrize(
    "text", ["", "A", "AA==", "AB", "AAB", "AAAAA", "A A", "A+", "A/", "AA\n", "é", None, 1, ["AA"]]
)
def test_other_texts_are_no_base64url(text: Any) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64url(text)


# Structure


def test_a_jws_is_read() -> None:
    text = token()
    jws = read_jws(text)
    assert (jws.header, jws.claims) == (HEADER, CLAIMS)
    assert (jws.algorithm, jws.kid, jws.issuer) == ("ES256", "k1", ISSUER)
    assert jws.signing_input.decode() == text.rpartition(".")[0]
    assert jws.signature == b"signature"
    with pytest.raises(AttributeError, match="immutable"):
        jws.algorithm = "none"  # type: ignore[misc]
    assert read_jws(token({"alg": "EdDSA"}, {"iss": ["x"]})).issuer is None
    assert read_jws(token({"alg": "EdDSA", "jwk": {}}), embedded_key=True).kid is None


def test_each_accepted_algorithm_is_read() -> None:
    for each in ALGORITHMS:
        assert read_jws(token({"alg": each})).algorithm == each


def test_the_length_of_a_token_is_bounded() -> None:
    (longest,) = (
        text
        for size in range(3)
        for text in [f"{token(HEADER | {'x': 'a' * size}).rpartition('.')[0]}.".ljust(8192, "A")]
        if len(text.rpartition(".")[2]) % 4 == 0
    )
    assert len(longest) == MAX_TOKEN
    assert read_jws(longest).kid == "k1"
    assert fault(f"{longest}AA") is TokenFault.MALFORMED


@given(st.text(st.sampled_from("eyJhbGciOiJ.{}-_=\x00é"), max_size=60))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        read_jws(text)


# Type


def typed(kind: Any) -> Jws:
    return read_jws(token({**HEADER, "typ": kind}))


@pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt"])
def test_an_access_token_has_a_type_of_one(kind: str) -> None:
    judge_type(typed(kind), RULES)


def test_a_token_without_a_type_is_a_jwt() -> None:
    judge_type(read_jws(token({"alg": "ES256"})), RULES)
    strict = ClaimRules(issuer=ISSUER, audiences=frozenset(), types=frozenset({"at+jwt"}))
    with pytest.raises(TokenRefused, match="not an access token"):
        judge_type(read_jws(token({"alg": "ES256"})), strict)


# Claims


def test_claims_become_a_grant() -> None:
    grant = judge_claims(CLAIMS, RULES, wall=WALL)
    assert (grant.issuer, grant.subject, grant.client_id) == (ISSUER, "anna", "me")
    assert grant.scopes == {"read", "write"}
    assert grant.roles == {"admin", "user"}
    assert grant.expires_at == WALL + 600
    assert (grant.thumbprint, grant.certificate) == (None, None)
    assert grant.claims["realm"]["roles"] == ("admin", 1, "user")
    with pytest.raises(TypeError):
        grant.claims["sub"] = "eve"  # type: ignore[index]


@pytest.mark.parametrize(
    "cnf",
    [None, {}, "x", [], {"jkt": 1}, {"jkt": "x", "kid": "y"}, {"jwk": {}}, {"x5t#S256": None}],
)
def test_a_binding_that_is_not_known_is_refused(cnf: Any) -> None:
    with pytest.raises(TokenRefused) as refused:
        judge_claims({**CLAIMS, "cnf": cnf}, RULES, wall=WALL)
    assert refused.value.fault is TokenFault.BINDING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aud", ["https://x.example", RESOURCE]),
        ("aud", [1, RESOURCE]),
        ("aud", "HTTPS://Mcp.EXAMPLE/mcp"),
        ("exp", WALL - 59.5),
        ("nbf", WALL + 60),
        ("iat", WALL + 60),
        ("iat", 0),
        ("sub", "x" * 512),
    ],
)
def test_a_claim_that_holds_is_taken(name: str, value: Any) -> None:
    assert judge_claims({**CLAIMS, name: value}, RULES, wall=WALL).claims["iss"] == ISSUER


@pytest.mark.requirement("basic/authorization/index/resource-uppercase")
@pytest.mark.parametrize(
    ("accepted", "named", "taken"),
    [
        ("HTTPS://MCP.example/Mcp?Q", "https://mcp.EXAMPLE/Mcp?Q", True),
        ("https://MCP.example/Mcp?Q", "https://mcp.example/Mcp?q", False),
        ("https://MCP.example/Mcp?Q", "https://mcp.example/mcp?Q", False),
        ("Client-1", "Client-1", True),
        ("Client-1", "client-1", False),
        ("api://Notes", "api://notes", False),
        ("https://U@mcp.example", "https://u@mcp.example", False),
        ("HTTP://[2001:DB8::1]:8000", "http://[2001:db8::1]:8000", True),
        ("https://mcp.example/k", "https://mcp.example/\u212a", False),
        ("https://k.example", "https://\u212a.example", False),
    ],
)
def test_case_matters_in_an_audience_but_for_scheme_and_host(
    accepted: str, named: str, taken: bool
) -> None:
    rules = ClaimRules(issuer=ISSUER, audiences=frozenset({accepted}))
    if taken:
        assert judge_claims({**CLAIMS, "aud": named}, rules, wall=WALL).subject == "anna"
    else:
        with pytest.raises(TokenRefused) as refused:
            judge_claims({**CLAIMS, "aud": named}, rules, wall=WALL)
        assert refused.value.fault is TokenFault.AUDIENCE


def test_a_token_may_be_bound_twice() -> None:
    bound = judge_claims({**CLAIMS, "cnf": {"jkt": "a", "x5t#S256": "b"}}, RULES, wall=WALL)
    assert (bound.thumbprint, bound.certificate) == ("a", "b")


@pytest.mark.parametrize(
    ("changed", "scopes"),
    [
        ({"scope": "a  b"}, {"a", "b"}),
        ({"scope": ""}, set()),
        ({"scope": "a,b"}, {"a,b"}),
        ({"scope": "a\nb"}, set()),
        ({"scope": 'a "b"'}, set()),
        ({"scope": ["a", "b c", 1, "", 'd"', "e"]}, {"a", "e"}),
        ({"scope": 7, "scp": "a"}, {"a"}),
        ({"scope": None, "scp": ["a"]}, {"a"}),
        ({"scope": {"a": "b"}}, set()),
        ({"scope": "a", "scp": "b"}, {"a"}),
    ],
)
def test_scopes_are_whole_words(changed: dict[str, Any], scopes: set[str]) -> None:
    assert judge_claims({**CLAIMS, **changed}, RULES, wall=WALL).scopes == scopes


@pytest.mark.parametrize(
    ("realm", "path", "roles"),
    [
        ({"roles": "admin"}, "realm.roles", {"admin"}),
        ({"roles": {"admin": True}}, "realm.roles", set()),
        ({"roles": None}, "realm.roles", set()),
        ([], "realm.roles", set()),
        (["admin"], "realm", {"admin"}),
        ({}, "realm.roles.x", set()),
        ({"roles": ["admin"]}, None, set()),
    ],
)
def test_roles_are_where_the_path_says(realm: Any, path: str | None, roles: set[str]) -> None:
    rules = ClaimRules(issuer=ISSUER, audiences=frozenset({RESOURCE}), roles=path)
    assert judge_claims({**CLAIMS, "realm": realm}, rules, wall=WALL).roles == roles


def test_a_claim_with_roles_may_have_dots_in_its_name() -> None:
    named = "https://notes.example/roles"
    rules = ClaimRules(issuer=ISSUER, audiences=frozenset({RESOURCE}), roles=named)
    for value, roles in ((["admin"], {"admin"}), ({"roles": ["admin"]}, set()), (None, set())):
        assert judge_claims({**CLAIMS, named: value}, rules, wall=WALL).roles == roles


@pytest.mark.parametrize(
    ("changed", "client"),
    [({}, "me"), ({"client_id": 1, "azp": "you"}, "you"), ({"client_id": ""}, None)],
)
def test_the_client_is_the_first_that_is_named(changed: dict[str, Any], client: str | None) -> None:
    assert judge_claims({**CLAIMS, **changed}, RULES, wall=WALL).client_id == client


def test_data_is_frozen_to_its_depth() -> None:
    data = frozen({"a": [{"b": 1}]})
    assert isinstance(data, MappingProxyType)
    assert isinstance(data["a"][0], MappingProxyType)
    assert data == {"a": ({"b": 1},)}
