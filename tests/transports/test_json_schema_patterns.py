"""Patterns: what is read, and that both engines match what a backtracking one matches."""

import re
import unicodedata
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.json_schema import matcher as matching
from transports.json_schema.limits import Steps, TooMuchWork
from transports.json_schema.matcher import Matcher
from transports.json_schema.patterns import (
    MAX_GROUPS,
    BadPattern,
    Chars,
    is_plain,
    parse_pattern,
    positions,
)
from transports.json_schema.rust import to_rust


def rust_matches(pattern: str, text: str) -> bool:
    """What the other library's engine says of a plain pattern."""
    validator = jsonschema_rs.Draft202012Validator(
        {"pattern": to_rust(parse_pattern(pattern))}, pattern_options=jsonschema_rs.RegexOptions()
    )
    return validator.is_valid(text)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("", ["", "a"], []),
        ("a", ["a", "bab"], ["", "b"]),
        ("^$", [""], ["a", "\n"]),
        ("^a$", ["a"], ["a\n", "ba"]),
        ("a|", ["", "b"], []),
        ("^(|a)b$", ["b", "ab"], ["a"]),
        ("^.$", ["a", "😀", "\u0085"], ["", "\n", "\r", "\u2028", "\u2029", "ab"]),
        ("^a?b*c+$", ["c", "abbcc"], ["ab", ""]),
        ("^a{2}$", ["aa"], ["a", "aaa"]),
        ("^a{2,}$", ["aa", "a" * 50], ["a"]),
        ("^a{0,2}$", ["", "a", "aa"], ["aaa"]),
        ("^a{0}$", [""], ["a"]),
        ("^(?:ab){2,3}?$", ["abab", "ababab"], ["ab"]),
        ("^(?<year>[0-9]{4})$", ["2026"], ["26"]),
        ("^a*?$", ["", "aa"], ["b"]),
        # Classes
        ("^[abc]$", ["a", "c"], ["d", ""]),
        ("^[^abc]$", ["d", "\n"], ["a"]),
        ("^[a-c-]$", ["b", "-"], ["d"]),
        ("^[-a]$", ["-", "a"], ["b"]),
        ("^[]$", [], ["", "]"]),
        ("^[^]$", ["a", "\n", "😀"], [""]),
        (r"^[\]\\\^-]$", ["]", "\\", "^", "-"], ["a"]),
        (r"^[\d-z]$", ["5", "-", "z"], ["a"]),
        (r"^[a-\d]$", ["5", "-", "a"], ["b"]),
        (r"^[\b]$", ["\b"], ["b"]),
        (r"^[\w\s]+$", ["a_9 \t\u2003\ufeff"], ["-", "é"]),
        (r"^[^\W]$", ["a"], ["-"]),
        (r"^[\S\s]$", ["a", " "], [""]),
        ("^[[a&&b]$", ["[", "a", "&", "b"], ["c"]),
        ("^[😀-😂]$", ["😁"], ["a", "\ud83d"]),
        # Escapes
        (r"^\d\D\w\W\s\S$", ["1a_- x"], ["1aaa x", "٣a_- x"]),
        (r"^\f\n\r\t\v\0$", ["\f\n\r\t\v\0"], [""]),
        (r"^\x41\u0042\u{43}\cJ$", ["ABC\n"], ["abc"]),
        (r"^\u{1F600}\ud83d\ude00$", ["😀😀"], [""]),
        (r"^\/\-\_\@\"\ \.$", ['/-_@" .'], [""]),
        (r"^a}]b$", ["a}]b"], [""]),
        ("^a{b}{$", ["a{b}{"], [""]),
        # Properties
        (r"^\p{L}+$", ["Österreich"], ["a1"]),
        (r"^\p{Lu}\P{Lu}$", ["Aa"], ["AA"]),
        (r"^\p{Uppercase_Letter}\p{gc=Nd}\p{General_Category=Number}$", ["A1½"], ["a1½"]),
        (r"^[\p{N}\P{L}]$", ["1", "-"], ["a"]),
        (r"^[^\p{L}]$", ["1"], ["a"]),
        (r"^\p{ASCII}\p{Any}\P{ASCII}$", ["aéé"], ["aaa"]),
        (r"^\p{Assigned}$", ["a"], ["\u0378"]),
        (r"^\P{Any}$", [], ["a"]),
        # Lookaround and edges
        (r"\bcat\b", ["cat", "a cat."], ["cats", "écat_"]),
        (r"\Bat", ["cat"], ["at"]),
        (r"^\B$", [""], []),
        ("^(?=.*[0-9])(?=.*[a-z]).{3,}$", ["a1b"], ["abc", "a1"]),
        ("^(?!foo)", ["bar", "fo"], ["foobar"]),
        ("(?<=a)b", ["ab"], ["b", "cb"]),
        ("(?<!a)b", ["b", "cb"], ["ab"]),
        ("^(?:(?!,,).)*$", ["a,b,c"], ["a,,b"]),
        ("^(?=(?!b)[a-c])(?<!a)[ac]+(?<=c(?!d))$", ["aac"], ["b", "ca"]),
        ("(?<=(?<=a)b(?=c))c", ["abc"], ["bc", "abd"]),
        ("(?=a$)", ["a"], ["ab"]),
        ("(?<=^a)b", ["ab"], ["aab"]),
        (r"(?<=\ba)b", ["ab", "-ab"], ["aab"]),
    ],
)
def test_matching(pattern: str, matching: list[str], others: list[str]) -> None:
    matcher = Matcher(pattern)
    for text in matching:
        assert matcher.search(text), text
    for text in others:
        assert not matcher.search(text), text
    if is_plain(parse_pattern(pattern)):
        for text in (*matching, *others):
            if not any("\ud800" <= character <= "\udfff" for character in text):
                assert rust_matches(pattern, text) is (text in matching), text


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "a group that does not end"),
        ("(a", "a group that does not end"),
        ("a)", r"a \) that closes nothing \(character 1\)"),
        ("[a", "it ends where the end of a class was expected"),
        ("[b-a]", "a range that is out of order"),
        ("*", "a quantifier behind nothing"),
        ("a|+", "a quantifier behind nothing"),
        ("{2}", "a quantifier behind nothing"),
        ("a**", "a quantifier behind a quantifier"),
        ("a{2}{3}", "a quantifier behind nothing"),
        ("^*", "a quantifier behind what takes no characters"),
        ("(?=a)*", "a quantifier behind what takes no characters"),
        ("a{3,2}", "counts are out of order"),
        ("a{,5}", "without a least count; write {0,n}"),
        ("a{10001}", "a count over 10000"),
        ("a{9999999999999}", "a count over 10000"),
        ("(a{100}){101}", "written out it is longer than 10000"),
        (r"(\p{L}{100}){13}", "written out it is longer than 10000"),
        ("(((a{9999}){9999}){9999}){9999}", "written out it is longer than 10000"),
        ("(" * 51 + ")" * 51, f"groups nested deeper than {MAX_GROUPS}"),
        ("\\", "it ends where what is escaped was expected"),
        (r"(a)\1", "a backreference, which cannot be matched in linear time"),
        (r"(?<a>a)\k<a>", "a backreference"),
        ("(?P<a>a)", "of groups with \\(\\? only"),
        ("(?i)a", "of groups with \\(\\? only"),
        ("(?<a b>a)", "a group's name that is no name"),
        ("(?<a", "it ends where the end of a group's name was expected"),
        (r"\Z", r"an escape that does not exist, \\Z"),
        (r"\a", "an escape that does not exist"),
        (r"\00", "an escape that does not exist"),
        (r"\c1", "an escape that does not exist"),
        (r"\x4", "an escape without its 2 hexadecimal digits"),
        (r"\u004g", "an escape without its 4 hexadecimal digits"),
        (r"\u{110000}", "a code point that does not exist"),
        (r"\u{}", "a code point that does not exist"),
        (r"\u{41", "a code point that does not exist"),
        (r"\p", "a property without braces"),
        (r"\p{L", "it ends where the end of a property was expected"),
        (r"\p{Script=Greek}", "the property 'Script=Greek'; only general categories"),
        (r"\p{Nope}", "the property 'Nope'"),
        (r"\p{sc=L}", "the property 'sc=L'"),
    ],
)
def test_what_is_no_pattern(pattern: str, says: str) -> None:
    with pytest.raises(BadPattern, match=says):
        parse_pattern(pattern)


# Patterns at random, small enough for a backtracking engine

ATOMS = ["a", "b", ".", "[ab]", "[^a]", r"\w", r"\W", " ", "[b-d]"]
SUFFIXES = ["*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "*?"]
PLACES = ["^", "$", r"\b", r"\B"]
plain = st.recursive(
    st.sampled_from([*ATOMS, "^", "$", ""]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(SUFFIXES)).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)
looking = st.recursive(
    st.sampled_from([*ATOMS, *PLACES]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(SUFFIXES)).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.tuples(st.sampled_from(["(?=", "(?!"]), inner).map(lambda pair: f"{pair[0]}{pair[1]})"),
        # Python's lookbehind wants texts of one length.
        st.sampled_from(["(?<=a)", "(?<!a)", "(?<=[ab] )", "(?<!b.)", r"(?<=\ba)", "(?<=^a)"]),
    ),
    max_leaves=8,
)
texts = st.text("abc ", max_size=8)


@given(looking | plain, st.lists(texts, min_size=1, max_size=6))
def test_as_a_backtracking_engine_matches(pattern: str, subjects: list[str]) -> None:
    expected = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    matcher = Matcher(pattern)
    for text in subjects:
        if text or r"\B" not in pattern:  # where Python finds no \B, unlike ECMA-262
            assert matcher.search(text) is bool(expected.search(text)), text


@given(plain, st.lists(texts | st.text(max_size=5), min_size=1, max_size=6))
def test_as_rust_matches(pattern: str, subjects: list[str]) -> None:
    assert is_plain(parse_pattern(pattern))
    matcher = Matcher(pattern)
    for text in subjects:
        if not any("\ud800" <= character <= "\udfff" for character in text):
            assert rust_matches(pattern, text) is matcher.search(text), text


CHARACTERS = [
    *map(chr, range(0x300)),
    *"\u1680\u2003\u2028\ufeff٣½ⅧÄǅʰ中€\u0378\ud7ff\ue000\ue001😀\U0010ffff",
]


@pytest.mark.parametrize(
    "item",
    [
        *(rf"\{letter}" for letter in "dDwWsS"),
        *(
            rf"\{sign}{{{name}}}"
            for sign in "pP"
            for name in ("L", "Lu", "LC", "N", "Zs", "P", "ASCII")
        ),
        ".",
        "[^a-c]",
        r"[\D]",
        r"[^\S\d]",
        r"[\p{L}\W]",
        r"[^a-\uD7FF\uE000-\uFFFF]",
        r"[a-\uDABC\uDDDD-\uFFFF]",
        r"[^a-\uDABC\uDDDD-\uFFFE]",
        r"[^a-\uDABC\u{FF00}-\u{FFFF}\u{FF80}-\u{10000}]",
        r"[\uD800-\uDFFF]",
        r"[^\uD800-\uDFFF]",
        r"[\uD7FF\uE000]",
        r"[^\p{Co}]",
        r"[^\P{Co}]",
        "[^]",
        "[]",
        r"[^\s\S]",
    ],
)
def test_sets_are_the_same_in_both_engines(item: str) -> None:
    tree = parse_pattern(item)
    assert isinstance(tree, Chars)
    assert is_plain(tree)
    validator = jsonschema_rs.Draft202012Validator(
        {"pattern": to_rust(tree)}, pattern_options=jsonschema_rs.RegexOptions()
    )
    for character in CHARACTERS:
        if unicodedata.category(character) != "Cn" or character in "\ud7ff\U0010ffff":
            assert tree.holds(character) is validator.is_valid(character), hex(ord(character))
            assert Matcher(tree).search(character) is tree.holds(character)


def test_only_plain_patterns_can_be_written_for_rust() -> None:
    for pattern in (r"\ba", "(?=a)", "a|(?:b(?!c))*", r"[^\p{Co}a-\uD7FF]"):
        tree = parse_pattern(pattern)
        assert not is_plain(tree)
        if not isinstance(tree, Chars):
            with pytest.raises(ValueError, match="not plain"):
                to_rust(tree)


# Work


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("", 1), ("a", 1), ("ab", 3), ("a{3}", 4), ("a{3,5}", 6), ("a{3,}", 5), (r"\p{L}", 8)],
)
def test_positions(pattern: str, count: int) -> None:
    assert positions(parse_pattern(pattern)) == count


HARD = [
    "(a+)+$",
    "(a|aa)+$",
    "^(a*)*b",
    "(.*a){20}b",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    r"^(\w+\s?)*$",
    "(?=(a+)+$)(?!(a+)+b)c",
    "(?<=(a+)+b)c",
]


@pytest.mark.parametrize("pattern", HARD)
def test_work_is_linear_in_the_text(pattern: str) -> None:
    def work(size: int) -> int:
        steps = Steps()
        steps.left = 10**9
        Matcher(pattern).search("a" * size + "!", steps.take)
        return 10**9 - steps.left

    small, large = work(10_000), work(100_000)
    assert large < 12 * small


@pytest.mark.parametrize(
    "pattern", ["(x{0,50}y{0,50}){0,50}$", "(?=(x{0,50}y{0,50}){0,50}!$)", "(?<=y)z"]
)
def test_work_can_be_stopped(pattern: str) -> None:
    steps = Steps()
    steps.left = 500
    matcher = Matcher(pattern)
    text = "xy" * 20_000 + "!"
    with pytest.raises(TooMuchWork):
        matcher.search(text, steps.take)
    # What was begun does no harm to what comes next.
    assert matcher.search("xyz") is bool(re.search(pattern, "xyz"))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_REMEMBERED", 10)
    text = "".join(chr(0x4E00 + number) for number in range(300)) + "ab"
    matcher: Any = Matcher("^[^a]*(?:a|b){2}$")
    for _ in range(3):
        assert matcher.search(text)
        assert not matcher.search(text + "c")
        assert matcher._program._count <= 12
