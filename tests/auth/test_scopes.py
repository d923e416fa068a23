"""Scopes and roles: what implies what, and what is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.scopes import Missing, Requirement, ScopeTree

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
    ("requirement", "scopes", "roles", "lacking", "role"),
    [
        (need("a b"), {"a"}, {}, {"b"}, False),
        (need("a", "x y"), {"a"}, {"z"}, set(), True),
        (need("a", "x"), {}, {}, {"a"}, True),
        (need("read"), {"rea", "READ", "read:all", "read,write"}, {}, {"read"}, False),
    ],
)
def test_all_that_is_missing_is_told(
    requirement: Requirement, scopes: set[str], roles: set[str], lacking: set[str], role: bool
) -> None:
    missing = requirement.missing(scopes, roles)
    assert missing == Missing(requirement.scopes, frozenset(lacking), role)
    with pytest.raises(AttributeError, match="immutable"):
        missing.role = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("requirement", "scopes", "roles"),
    [(need(), {}, {}), (need("a"), {"a", "b"}, {}), (need("", "x y"), {}, {"y"})],
)
def test_nothing_is_missing(requirement: Requirement, scopes: set[str], roles: set[str]) -> None:
    assert requirement.missing(scopes, roles) is None


def test_a_requirement_of_nothing_is_false() -> None:
    assert [bool(each) for each in (need(), need("a"), need("", "x"))] == [False, True, True]


@pytest.mark.parametrize(
    ("missing", "challenge"),
    [
        (
            Missing(frozenset({"b", "a"}), frozenset({"b"}), role=False),
            'Bearer error="insufficient_scope", error_description="scopes are missing", '
            'scope="a b"',
        ),
        (
            Missing(frozenset(), frozenset(), role=True),
            'Bearer error="insufficient_scope", error_description="a role is missing"',
        ),
    ],
)
def test_the_challenge_names_all_that_is_needed(missing: Missing, challenge: str) -> None:
    assert missing.challenge == challenge
