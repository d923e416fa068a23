"""Challenges of RFC 9110: what is read, where reading ends, and what is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.auth.challenges import (
    MAX_CHALLENGES,
    MAX_LENGTH,
    Challenge,
    find_challenge,
    format_challenge,
    format_scopes,
    parse_challenges,
    parse_scopes,
)

Read = tuple[str, dict[str, str], str | None]


def read(*lines: str) -> list[Read]:
    return [(each.scheme, dict(each.params), each.token) for each in parse_challenges(lines)]


READ: list[tuple[str, list[Read]]] = [
    ("", []),
    (" , ,\t", []),
    ("Bearer", [("bearer", {}, None)]),
    ("bEARER ", [("bearer", {}, None)]),
    ("Bearer a=b", [("bearer", {"a": "b"}, None)]),
    ('Bearer A="b"', [("bearer", {"a": "b"}, None)]),
    ("Bearer a = b , c\t=\t d", [("bearer", {"a": "b", "c": "d"}, None)]),
    ("Bearer a=b,,c=d", [("bearer", {"a": "b", "c": "d"}, None)]),
    (r'Bearer a="\"\\\x"', [("bearer", {"a": r'"\x'}, None)]),
    ('Bearer a=""', [("bearer", {"a": ""}, None)]),
    ('Bearer a="b, DPoP c=d"', [("bearer", {"a": "b, DPoP c=d"}, None)]),
    ('Bearer a="caf\xe9\t"', [("bearer", {"a": "caf\xe9\t"}, None)]),
    ("Bearer a=b, DPoP c=d", [("bearer", {"a": "b"}, None), ("dpop", {"c": "d"}, None)]),
    ("Basic, Bearer a=b", [("basic", {}, None), ("bearer", {"a": "b"}, None)]),
    ("Negotiate abc==, Bearer", [("negotiate", {}, "abc=="), ("bearer", {}, None)]),
    ("Negotiate a=", [("negotiate", {}, "a=")]),
    ("Basic a=b, Basic a=c", [("basic", {"a": "b"}, None), ("basic", {"a": "c"}, None)]),
    # malformed from here on: what stands before is read
    ("a=b", []),
    ('"Bearer" a=b', []),
    ("Bearer\ta=b", []),
    ("Bearer a=b c=d", []),
    ("Bearer a=b, c=d e=f, g=h", [("bearer", {"a": "b"}, None)]),
    ('Bearer a="b', []),
    ('Bearer a="b"c', []),
    ('Bearer a="b\\', []),
    ('Bearer a="b\x00"', []),
    ('Bearer a="b\\\x7f"', []),
    ("Bearer a=b\n", []),
    ("Bearer a='b c'", []),
    ("Negotiate abc==, d=e", [("negotiate", {}, "abc==")]),
    ("Negotiate abc== x", []),
    # a name twice leaves out its challenge alone
    ('Bearer scope="a", scope="b"', []),
    ("Bearer a=b, A=c, DPoP d=e", [("dpop", {"d": "e"}, None)]),
]


@pytest.mark.parametrize(("line", "found"), READ)
def test_a_line_is_read(line: str, found: list[Read]) -> None:
    assert read(line) == found


def test_several_lines_are_one_list() -> None:
    assert read("Bearer a=b", "c=d, DPoP", "Basic") == [
        ("bearer", {"a": "b", "c": "d"}, None),
        ("dpop", {}, None),
        ("basic", {}, None),
    ]


def test_a_value_that_was_cut_off_is_not_taken() -> None:
    start = "Bearer a=b, scope="
    whole = start + "x" * (MAX_LENGTH - len(start))
    assert read(whole)[0][1].keys() == {"a", "scope"}
    assert read(whole + "x")[0][1] == {"a": "b"}
    assert read("Bearer a=b", "y" * 2**20) == [("bearer", {"a": "b"}, None)]


def test_challenges_beyond_the_most_are_ignored() -> None:
    assert len(read(*["Bearer"] * 1000)) == MAX_CHALLENGES


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(line: str) -> None:
    for each in parse_challenges([line]):
        assert each.scheme == each.scheme.lower()
        assert each.scopes is None or each.scopes


@given(
    st.sampled_from(["Bearer", "DPoP"]),
    st.dictionaries(
        st.sampled_from(["scope", "error", "resource_metadata", "realm"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    ),
)
def test_what_is_written_is_read(scheme: str, params: dict[str, str]) -> None:
    (found,) = parse_challenges([format_challenge(scheme, params)])
    assert (found.scheme, dict(found.params)) == (scheme.lower(), params)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({}, "Bearer"),
        ({"a": None}, "Bearer"),
        ({"a": "b", "c": None, "d": "e"}, 'Bearer a="b", d="e"'),
        ({"a": 'b"\\c'}, r'Bearer a="b\"\\c"'),
        ({"a": "b\r\nc\x00\xe9\t"}, 'Bearer a="b??c??\t"'),
    ],
)
def test_a_challenge_is_written(params: dict[str, str | None], text: str) -> None:
    assert format_challenge("Bearer", params) == text


def test_the_first_scheme_that_is_there_is_found() -> None:
    challenges = parse_challenges(["Basic, Bearer a=b, DPoP, Bearer c=d"])
    found = find_challenge(iter(challenges), "digest", "bearer", "dpop")
    assert found == Challenge("bearer", {"a": "b"})
    assert find_challenge(challenges, "digest") is None


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        (None, None),
        ("", None),
        (" ", None),
        ("a", {"a"}),
        ("b  a b", {"a", "b"}),
        ("files:read https://x/y!#[]~", {"files:read", "https://x/y!#[]~"}),
        ('a"b', None),
        ("a\\b", None),
        ("a\tb", None),
        ("a\r\nb", None),
        ("a\xe9", None),
        ("a\x7f", None),
    ],
)
def test_scopes_are_read(text: str | None, scopes: set[str] | None) -> None:
    assert parse_scopes(text) == scopes
    assert Challenge("bearer", {} if text is None else {"scope": text}).scopes == scopes


def test_scopes_are_written_in_one_order() -> None:
    assert format_scopes({"b", "a"}) == "a b"
    assert format_scopes(()) == ""


@pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\", "a\n", "\xe9"])
def test_other_scopes_are_not_written(scope: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        format_scopes(["good", scope])
