"""Patterns: what RE2 is given matches what ECMA-262 says, and the rest is refused."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import BadPattern
from mcpcore_transports.schema.patterns import compile_pattern, translate

MEMORY = 8 * 1024 * 1024


def matches(pattern: str, text: str) -> bool:
    return compile_pattern(pattern, MEMORY).matches(text.encode("utf-8", "surrogatepass"))


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
        (r"^\u{010FFFF}\u{0000041}\u{fFfFf}$", ["\U0010ffffA\U000fffff"], [""]),
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
        (r"^\p{LC}[\P{LC}]$", ["aʰ"], ["aa"]),
        (r"^[^\p{C}<>]+$", ["aé"], ["a<", "a\u0007", "\u0378"]),
        (r"^\p{Cs}$", ["\ud800"], ["a"]),
        (r"^[\p{Script=Greek}\p{sc=Han}]\P{Script=Latin}$", ["α中", "中α"], ["αa", "aα"]),
        # Edges
        (r"\bcat\b", ["cat", "a cat.", "écat"], ["cats", "écat_"]),
        (r"\Bat", ["cat"], ["at"]),
        (r"^\B$", [""], []),
        # Counts that RE2 has not got
        ("^a{1500}$", ["a" * 1500], ["a" * 1499, "a" * 1501]),
        ("^(?:ab){0,2500}$", ["", "ab" * 2500], ["ab" * 2501]),
        ("^a{1001,2002}$", ["a" * 1001, "a" * 2002], ["a" * 1000, "a" * 2003]),
        ("^a{1001,}b$", ["a" * 3000 + "b"], ["a" * 1000 + "b"]),
    ],
)
def test_matching(pattern: str, matching: list[str], others: list[str]) -> None:
    for text in matching:
        assert matches(pattern, text), text
    for text in others:
        assert not matches(pattern, text), text


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "a group that does not end"),
        ("(a", "a group that does not end"),
        ("a)", r"a \) that closes nothing \(character 1\)"),
        ("[a", "a class that does not end"),
        ("[a-", "a class that does not end"),
        ("[b-a]", "a range that is out of order"),
        ("*", "a quantifier behind nothing"),
        ("a|+", "a quantifier behind nothing"),
        ("{2}", "a quantifier behind nothing"),
        ("a**", "a quantifier behind nothing"),
        ("a{2}{3}", "a quantifier behind nothing"),
        ("^*", "a quantifier behind nothing"),
        (r"\b+", "a quantifier behind nothing"),
        ("a{3,2}", "counts are out of order"),
        ("a{,5}", "without a least count; write {0,n}"),
        ("a{10001}", "a count over 10000"),
        ("a{9999999999999}", "a count over 10000"),
        ("(a{100}){101}", "RE2 refuses it \\(invalid repetition size"),
        (r"(\p{L}{100}){10}", "RE2 refuses it \\(pattern too large"),
        ("(((a{9999}){9999}){9999}){9999}", "RE2 refuses it|written out it is longer than 100000"),
        ("((((((a{9999}){9999}){9999}){9999}){9999}){9999})", "written out it is longer"),
        ("\\", "an escape that does not exist"),
        ("(?=a)", "lookaround, which cannot be matched in linear time"),
        ("a(?!b)", r"lookaround.* \(character 1\)"),
        ("(?<=a)b", "lookaround"),
        ("(?<!a)b", "lookaround"),
        (r"(a)\1", "a backreference, which cannot be matched in linear time"),
        (r"(?<a>a)\k<a>", "a backreference"),
        ("(?P<a>a)", "of groups with \\(\\? only"),
        ("(?i)a", "of groups with \\(\\? only"),
        ("(?i:a)", "of groups with \\(\\? only"),
        ("(?<a b>a)", "of groups with \\(\\? only"),
        ("(?<a", "of groups with \\(\\? only"),
        (r"\Z", r"an escape that does not exist, \\Z"),
        (r"\A", "an escape that does not exist"),
        (r"\Q.\E", "an escape that does not exist"),
        (r"\a", "an escape that does not exist"),
        (r"\C", "an escape that does not exist"),
        (r"\00", "an escape that does not exist"),
        (r"\c1", "an escape that does not exist"),
        (r"\x4", "an escape that does not exist"),
        (r"\x{41}", "an escape that does not exist"),
        (r"\u004g", "an escape that does not exist"),
        (r"\u{110000}", "an escape that does not exist"),
        (r"\u{}", "an escape that does not exist"),
        (r"\u{41", "an escape that does not exist"),
        (r"\p", "an escape that does not exist"),
        (r"\pL", "an escape that does not exist"),
        (r"\p{L", "an escape that does not exist"),
        (r"[\p{Greek}]", "the property 'Greek', which is not supported"),
        (r"\p{Nope}", "the property 'Nope'"),
        (r"\p{sc=L}", "the property 'sc=L'"),
        (r"\p{sc=}", "the property 'sc='"),
        (r"\p{sc=Nope}", "RE2 refuses it"),
        (r"\p{^L}", "the property"),
        (r"\p{gc=Any}", "the property 'gc=Any'"),
        (r"\p{Emoji}", "the property 'Emoji'"),
    ],
)
def test_what_is_no_pattern(pattern: str, says: str) -> None:
    with pytest.raises(BadPattern, match=says):
        compile_pattern(pattern, MEMORY)


def test_memory_is_a_bound() -> None:
    compile_pattern(r"\p{L}{20}", 2 * 1024 * 1024)
    with pytest.raises(BadPattern, match="pattern too large"):
        compile_pattern(r"\p{L}{20}", 256 * 1024)


# Patterns at random, small enough for a backtracking engine

ATOMS = ["a", "b", ".", "[ab]", "[^a]", r"\w", r"\W", " ", "[b-d]", r"\.", r"[^\w]", r"\x61"]
SUFFIXES = ["*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "*?"]
plain = st.recursive(
    st.sampled_from([*ATOMS, "^", "$", "", r"\b", r"\B"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(SUFFIXES)).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)
texts = st.text("abc .\n", max_size=8)


@given(plain, st.lists(texts, min_size=1, max_size=6))
def test_as_a_backtracking_engine_matches(pattern: str, subjects: list[str]) -> None:
    expected = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    for text in subjects:
        if text or r"\B" not in pattern:  # where Python finds no \B, unlike ECMA-262
            assert matches(pattern, text) is bool(expected.search(text)), text


@given(st.text(max_size=12))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        written, positions = translate(text)
    except BadPattern:
        return
    assert written.isascii()
    assert positions <= len(text) * 10_000
    compile_pattern(text, MEMORY)


CHARACTERS = [
    *map(chr, range(0x300)),
    *"\u1680\u180e\u2003\u2028\u205f\u3000\ufeff٣½ⅧÄǅʰ中€\u0378\ud7ff\ud800\udfff\ue000😀\U0010ffff",
]
SPACES = "\t\n\v\f\r \xa0\u1680\u2003\u2028\u2029\u205f\u3000\ufeff"


@pytest.mark.parametrize(
    ("item", "members"),
    [
        (r"\d", "0123456789"),
        (r"\w", "".join(filter(str.isalnum, map(chr, range(128)))) + "_"),
        (r"\s", SPACES),
        (r"[^\S]", SPACES),
        (r"[\s\d]", SPACES + "0123456789"),
        (r"[^\D]", "0123456789"),
        (r"[^\W_]", "".join(filter(str.isalnum, map(chr, range(128))))),
        (r"[^\d\D]", ""),
        ("[]", ""),
        (r"\P{Any}", ""),
        (r"[\uD800-\uDFFF]", "\ud800\udfff"),
        (r"[a-c\-\]]", "abc-]"),
        (r"[\b\t]", "\b\t"),
    ],
)
def test_sets(item: str, members: str) -> None:
    opposite = item.swapcase() if item in (r"\d", r"\w", r"\s") else f"(?:{item}){{0}}[^]"
    for character in CHARACTERS:
        assert matches(f"^{item}$", character) is (character in members), hex(ord(character))
        if item in (r"\d", r"\w", r"\s"):
            assert matches(f"^{opposite}$", character) is (character not in members)


@pytest.mark.parametrize("category", ["L", "Lu", "LC", "N", "Nd", "P", "Zs", "S", "Cc", "M", "Co"])
def test_categories(category: str) -> None:
    for character in CHARACTERS:
        of = unicodedata.category(character)
        inside = of.startswith(category) or (category == "LC" and of in ("Lu", "Ll", "Lt"))
        if of != "Cn":  # not yet assigned, perhaps, where the tables are older
            assert matches(rf"^\p{{{category}}}$", character) is inside
            assert matches(rf"^[^\p{{{category}}}]$", character) is not inside
            assert matches(rf"^[\P{{{category}}}]$", character) is not inside


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("", 0), ("a", 1), ("ab", 2), ("a|b", 2), ("a{3}", 3), ("a{3,5}", 5), ("a{3,}", 4),
        ("(ab){3}", 6), ("(a{2}b){3}", 9), ("[a-z]+", 2), (r"^\p{L}$", 1),
    ],
)  # fmt: skip
def test_positions(pattern: str, count: int) -> None:
    assert translate(pattern)[1] == count


def test_work_grows_with_pattern_and_text() -> None:
    small, large = (compile_pattern(f"(?:a{{0,{n}}}b){{0,10}}", MEMORY) for n in (9, 99))
    assert small.work(0) == 1
    assert small.work(100_000) * 9 < large.work(100_000) < small.work(1_000_000) * 2
