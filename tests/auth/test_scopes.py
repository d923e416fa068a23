"""Scopes and roles: what implies what, and what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from mcpcore.auth.scopes import Missing, Requirement, ScopeTree, challenge_in
from mcpcore.spec.errors import FORBIDDEN, INVALID_PARAMS, ErrorData

TREE = {"admin": ["write"], "write": ["read", "list"], "loop": ["pool"], "pool": ["loop"]}


@pytest.mark.parametrize(
    ("held", "implied"),
    [
        (set(), set()),
        ({"read"}, {"read"}),
        ({"write"}, {"write", "read", "list"}),
        ({"admin"}, {"admin", "write", "read", "list"}),
        ({"loop"}, {"loop", "pool"}),
        ({"other", "list"}, {"other", "list"}),
        ({"adm", "ADMIN", "admin:x", "*"}, {"adm", "ADMIN", "admin:x", "*"}),
    ],
)
def test_a_broader_scope_implies_narrower_ones(held: set[str], implied: set[str]) -> None:
    assert ScopeTree(TREE).all_of(held) == implied
    assert ScopeTree().all_of(held) == held


NAMES = st.sampled_from("abcd")


@given(st.dictionaries(NAMES, st.sets(NAMES)), st.sets(NAMES))
def test_implication_is_transitive(tree: dict[str, set[str]], held: set[str]) -> None:
    scopes = ScopeTree(tree)
    found = scopes.all_of(held)
    assert held <= found
    assert scopes.all_of(found) == found
    assert all(tree.get(each, set()) <= found for each in found)


@pytest.mark.parametrize("tree", [{"a b": ["c"]}, {"a": ['"']}, {"": []}])
def test_scopes_of_a_tree_can_be_sent(tree: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        ScopeTree(tree)


def need(scopes: str = "", roles: str = "") -> Requirement:
    return Requirement(frozenset(scopes.split()), frozenset(roles.split()))


@pytest.mark.parametrize(
    ("requirement", "scopes", "roles", "needed", "role"),
    [
        (need("a b"), {"a"}, {}, {"a", "b"}, False),
        (need("a", "x y"), {"a"}, {"z"}, set(), True),
        (need("a", "x"), {}, {}, set(), True),  # no scope would help
        (need("read"), {"rea", "READ", "read:all", "read,write"}, {}, {"read"}, False),
    ],
)
def test_all_that_is_missing_is_told(
    requirement: Requirement, scopes: set[str], roles: set[str], needed: set[str], role: bool
) -> None:
    missing = requirement.missing(scopes, roles)
    assert missing == Missing(frozenset(needed), role)
    with pytest.raises(AttributeError, match="immutable"):
        missing.role = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("requirement", "scopes", "roles"),
    [(need(), {}, {}), (need("a"), {"a", "b"}, {}), (need("", "x y"), {}, {"y"})],
)
def test_nothing_is_missing(requirement: Requirement, scopes: set[str], roles: set[str]) -> None:
    assert requirement.missing(scopes, roles) is None


@pytest.mark.parametrize(
    ("missing", "challenge"),
    [
        (
            Missing(frozenset({"b", "a"})),
            'Bearer error="insufficient_scope", error_description="scopes are missing", '
            'scope="a b"',
        ),
        (Missing(role=True), 'Bearer error_description="a role is missing"'),
        (Missing(), 'Bearer error_description="scopes are missing"'),
    ],
)
def test_the_challenge_names_all_that_helps(missing: Missing, challenge: str) -> None:
    assert missing.challenge == challenge


@pytest.mark.parametrize(
    ("code", "data", "scope"),
    [
        (FORBIDDEN, b'{"scope":["notes:write","notes:read"]}', 'scope="notes:read notes:write"'),
        (FORBIDDEN, b'{"scope":[]}', None),
        (FORBIDDEN, b'{"scope":"notes:write"}', None),
        (FORBIDDEN, b'{"scope":["a b"]}', None),
        (FORBIDDEN, b"[" * 100_000, None),
        (FORBIDDEN, None, None),
        (INVALID_PARAMS, b'{"scope":["notes:write"]}', None),
    ],
)
def test_an_error_that_names_scopes_is_a_challenge(
    code: int, data: bytes | None, scope: str | None
) -> None:
    error = ErrorData(code, "forbidden", None if data is None else Raw(data))
    challenge = challenge_in(error)
    if scope is None:
        assert challenge is None
    else:
        assert challenge is not None
        assert 'error="insufficient_scope"' in challenge
        assert challenge.endswith(scope)
