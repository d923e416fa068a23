"""Front matter of skills: what is read of YAML, and that all else is refused, naming the line."""

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.spec.frontmatter import read_frontmatter, same_value

READ: tuple[tuple[str, Any], ...] = (
    ("", {}),
    ("# only a comment", {}),
    ("name: a b # c", {"name": "a b"}),
    ("a: b#c", {"a": "b#c"}),
    ("a: one\n  two\n\n  three", {"a": "one two\nthree"}),
    ("a: >-\n  one\n  two\n\n  three\n   deeper\n  four", {"a": "one two\nthree\n deeper\nfour"}),
    ("a: |\n  one\n\n   two\n", {"a": "one\n\n two\n"}),
    ("a: |+\n  one\n\n", {"a": "one\n\n\n"}),
    ("a: |-\n\n  one\nb: x", {"a": "\none", "b": "x"}),
    ("a: 'it''s: #1'", {"a": "it's: #1"}),
    ('a: "tab\\t\\u00e9 \\"x\\""', {"a": 'tab\té "x"'}),
    ('a: "one\n  two"', {"a": "one two"}),
    ("'a b': c\n\"d\": e", {"a b": "c", "d": "e"}),
    ("a: null\nb: ~\nc:\nd: ''", {"a": None, "b": None, "c": None, "d": ""}),
    ("a: true\nb: False\nc: yes\nd: on", {"a": True, "b": False, "c": "yes", "d": "on"}),
    ("a: 12\nb: -0x1\nc: 0x1F\nd: 0o17\ne: 010", {"a": 12, "b": "-0x1", "c": 31, "d": 15, "e": 10}),
    ("a: 1.5\nb: 1e3\nc: .5\nd: 1.0.0", {"a": 1.5, "b": 1000.0, "c": 0.5, "d": "1.0.0"}),
    ("a: 2026-07-28\nb: 12:30", {"a": "2026-07-28", "b": "12:30"}),
    ("a: [Read, Bash(git:*) , 3]", {"a": ["Read", "Bash(git:*)", 3]}),
    ("a: []\nb: {}", {"a": [], "b": {}}),
    ('a: {"b": [1, {"c": null}]} # d', {"a": {"b": [1, {"c": None}]}}),
    ('a: {\n    "b": 1\n  }', {"a": {"b": 1}}),
    ("a:\n  b: c\n  d:\n    e: f\ng: h", {"a": {"b": "c", "d": {"e": "f"}}, "g": "h"}),
    (
        "a:\n- b\n- c: d\n  e: f\n-\n  - g\ni: j",
        {"a": ["b", {"c": "d", "e": "f"}, ["g"]], "i": "j"},
    ),
    ("a:\n  - - b\n    - c\n  - d\n    e", {"a": [["b", "c"], "d e"]}),
    ("a/b.c: d", {"a/b.c": "d"}),
)

REFUSED = (
    ("a: b: c", 2, "colon"),
    ("a: &x 1", 2, "cannot begin with &"),
    ("a: *x", 2, "cannot begin with *"),
    ("a: !!str 1", 2, "cannot begin with !"),
    ("a: - b", 2, "cannot begin with -"),
    ("<<: a", 2, "'name: value'"),
    ("? a\n: b", 2, "'name: value'"),
    ("a: 1\nb: 2\na: 3", 4, "twice"),
    ('a: {"b": 1, "b": 2}', 2, "twice"),
    ("a: {b: c}", 2, "JSON"),
    ("a: [x, ]y", 2, "JSON"),
    ('a: "x" y', 2, "follows"),
    ('a: {"x": 1}#', 2, "follows"),
    ("a: [x,, y]", 2, "empty"),
    ("- a", 2, "'name: value'"),
    (" a: b", 2, "'name: value'"),
    ("a: b\n c: d", 2, "colon"),
    ("a:\n  b: c\n d: e", 4, "'name: value'"),
    ("a:\n - b\n  - c", 3, None),
    ("\ta: 1", 2, "tab"),
    ("a: 'x", 2, "quotes"),
    ("a: 'x' y", 2, "quotes"),
    ("a: 'x' # y\n  z", 2, "comment"),
    ("a: x # y\n  z", 2, "comment"),
    ('a: "\\q"', 2, "JSON"),
    ('a: "\\ud800"', 2, "JSON"),
    ("a: .nan", 2, "no number of JSON"),
    ("a: 1e999", 2, "too large"),
    ("a: 9007199254740992", 2, "too large"),
    ('a: {"b": 1e999}', 2, "too large"),
    ("1: a", 2, "has to be a string"),
    ("a: |2\n   b", 2, "may begin a block"),
    ("a: |\n   b\n  c", 4, "indented less"),
    ("a: |\n     \n  c", 2, "blank line"),
    ("a: b\x07", 2, "character"),
    ("a: b\u2028", 2, "character"),
)


def file_of(text: str) -> bytes:
    return f"---\n{text}\n---\nbody: {{".encode()


@pytest.mark.parametrize(("text", "value"), READ, ids=[text for text, _ in READ])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_what_is_read(text: str, value: Any, ending: str) -> None:
    found = read_frontmatter(file_of(text).replace(b"\n", ending.encode()))
    assert found == value
    assert same_value(found, value)


@pytest.mark.parametrize(("text", "line", "reason"), REFUSED, ids=[each[0] for each in REFUSED])
def test_what_is_refused(text: str, line: int, reason: str | None) -> None:
    if reason is None:  # YAML takes it for one scalar, as is done here
        assert read_frontmatter(file_of(text)) == {"a": ["b - c"]}
        return
    with pytest.raises(ValueError, match="front matter, line") as caught:
        read_frontmatter(file_of(text))
    assert f"line {line}: " in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin"),
        (b"name: a", "does not begin"),
        (b" ---\na: b\n---\n", "does not begin"),
        (b"---\na: b\n", "does not end"),
        (b"---\na: \xff\n---\n", "not UTF-8: byte 7"),
        (b"---\na: " + b"x" * 65_536 + b"\n---\n", "more than 65536 characters"),
        (b"---\na: " + b"[" * 60_000 + b"\n---\n", "nested too deeply"),
        (b"---\n" + b"- " * 30_000 + b"\n---\n", "expected"),
        (b"---\na:\n  " + b"- " * 30_000 + b"\n---\n", "nested too deeply"),
    ],
)
def test_files_without_front_matter_that_can_be_read(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_frontmatter(data)


def test_a_byte_order_mark_and_what_is_behind_the_hyphens_are_passed_over() -> None:
    assert read_frontmatter(b"\xef\xbb\xbf---\na: b\n--- \t\nrest") == {"a": "b"}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), ({"a": 0}, {"a": False}), ([1], [1, 1]), ({"a": 1}, {"b": 1}), ("1", 1), ([], {})],
)
def test_values_that_differ(one: Any, other: Any) -> None:
    assert not same_value(one, other)
    assert same_value(one, one)


PARTS = st.sampled_from(
    (
        *(
            "a: ",
            "b:",
            "\n",
            "\n  ",
            "- ",
            "'",
            '"',
            "#",
            " # ",
            "[",
            "]",
            "{",
            "}",
            "|",
            ">",
            "\\",
        ),
        *(",", "x", "1", "\t", "~", ":", "é", "\x00"),
    )
)


@settings(max_examples=200)
@given(st.lists(PARTS, max_size=30).map("".join))
def test_anything_is_read_or_refused(text: str) -> None:
    depth = sys.getrecursionlimit()
    try:
        found = read_frontmatter(file_of(text))
    except ValueError:
        return
    assert isinstance(found, dict)
    assert sys.getrecursionlimit() == depth
