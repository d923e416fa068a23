r"""Translation of JSON Schema patterns (ECMA-262 with the flag ``u``) into the syntax of RE2.

RE2 matches in time linear in the text, so it has no lookaround and no backreferences: patterns with
these are refused.  All other syntax is rewritten so that RE2 reads it as ECMA-262 does.  Where that
is stricter than common practice, the common reading is used: an escaped punctuation mark is itself,
as is a brace or bracket that closes nothing.  Of Unicode properties (``\p{...}``) there are general
categories, scripts, ``Any``, ``ASCII`` and ``Assigned``.

Sources: ECMA-262, "RegExp (Regular Expression) Objects" and table "Non-binary Unicode property
aliases"; JSON Schema 2020-12 core, section 6.4; RE2's page "Syntax"; Unicode Standard, table
"General Category Values".
"""

import re
from functools import cache
from typing import Any

import re2  # type: ignore[import-untyped]
from msgspec import Struct

from mcpcore.errors import BadPattern

MAX_COUNT = 10_000
"""Maximum count of a quantifier."""
_RE2_COUNT = 1_000
"""Maximum count of a quantifier in RE2."""
_MAX_WRITTEN = 100_000
"""Maximum characters of a pattern in RE2's syntax."""
_WORK = 128
"""Positions times bytes per unit of work: in bad cases RE2 takes some microseconds for them."""

_SETS = {
    "d": "0-9",
    "D": r"\D",
    "w": r"\w",
    "W": r"\W",
    "s": r"\x{9}-\x{D}\x{20}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}"
    r"\x{3000}\x{FEFF}",
    "S": r"\x{0}-\x{8}\x{E}-\x{1F}\x{21}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}"
    r"\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{FEFE}\x{FF00}-\x{10FFFF}",
}
_ALL = r"\x{0}-\x{10FFFF}"
_DOT = r"[^\x{A}\x{D}\x{2028}\x{2029}]"
_CONTROLS = {"f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B}
_ESCAPE = re.compile(
    r"""\\(?:
    (?P<set> [dDwWsS])
    | [pP]\{ (?P<property> [^}]*) \}
    | (?P<control> [fnrtv])
    | c (?P<letter> [A-Za-z])
    | (?P<nul> 0)(?![0-9])
    | u (?P<high> [dD][89abAB][0-9a-fA-F]{2}) \\u (?P<low> [dD][c-fC-F][0-9a-fA-F]{2})
    | u (?P<unit> [0-9a-fA-F]{4})
    | u\{ (?P<point> 0*(?:10|[0-9a-fA-F])?[0-9a-fA-F]{1,4}) \}
    | x (?P<byte> [0-9a-fA-F]{2})
    | (?P<itself> [^A-Za-z0-9])
    )""",
    re.VERBOSE,
)
_GROUP = re.compile(r"\((?:\?:|\?<[A-Za-z_$][A-Za-z0-9_$]*>|(?!\?))")
_COUNTS = re.compile(r"\{([0-9]+)(?:(,)([0-9]*))?\}")
_SIGNS = {"*": (0, None), "+": (1, None), "?": (0, 1)}

_SHORT = {
    name: short
    for short, *names in (
        entry.split()
        for entry in (
            "Lu Uppercase_Letter", "Ll Lowercase_Letter", "Lt Titlecase_Letter",
            "Lm Modifier_Letter", "Lo Other_Letter", "Mn Nonspacing_Mark", "Mc Spacing_Mark",
            "Me Enclosing_Mark", "Nd Decimal_Number digit", "Nl Letter_Number", "No Other_Number",
            "Pc Connector_Punctuation", "Pd Dash_Punctuation", "Ps Open_Punctuation",
            "Pe Close_Punctuation", "Pi Initial_Punctuation", "Pf Final_Punctuation",
            "Po Other_Punctuation", "Sm Math_Symbol", "Sc Currency_Symbol", "Sk Modifier_Symbol",
            "So Other_Symbol", "Zs Space_Separator", "Zl Line_Separator", "Zp Paragraph_Separator",
            "Cc Control cntrl", "Cf Format", "Cs Surrogate", "Co Private_Use", "Cn Unassigned",
            "L Letter", "M Mark Combining_Mark", "N Number", "P Punctuation punct", "S Symbol",
            "Z Separator", "C Other", "LC Cased_Letter",
        )
    )
    for name in (short, *names)
}  # fmt: skip
_SINGLE = frozenset(short for short in _SHORT.values() if len(short) == 2) - {"LC"}
_OTHERS = {"Any": (_ALL, ""), "ASCII": (r"\x{0}-\x{7F}", r"\x{80}-\x{10FFFF}")}
_SCRIPT = re.compile(r"[A-Z][A-Za-z]+(?:_[A-Z][A-Za-z]+)*")


class Pattern(Struct, frozen=True):
    """A compiled pattern."""

    engine: Any
    positions: int
    """Number of places for one character, with counted repetitions written out."""

    def work(self, size: int) -> int:
        """Return the maximum work for a text of ``size`` bytes, in units of some microseconds."""
        return 1 + size * self.positions // _WORK

    def matches(self, text: bytes) -> bool:
        """Return True if the pattern matches anywhere in a UTF-8 text."""
        return self.engine.search(text) is not None


def compile_pattern(text: str, memory: int) -> Pattern:
    """Compile a pattern for ``memory`` bytes at most.  Raises :class:`BadPattern`."""
    written, positions = translate(text)
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    try:
        return Pattern(re2.compile(written, options), positions)
    except re2.error as error:
        says = error.args[0].decode(errors="replace")
        raise BadPattern(f"RE2 refuses it ({says[:80]})") from None


def translate(text: str) -> tuple[str, int]:
    r"""Return a pattern in the syntax of RE2, with its number of positions.  Raises BadPattern.

    >>> translate(r"^[a-z\s]+$")[0]
    '^[\\x{61}-\\x{7A}\\x{9}-\\x{D}...]{1,}$'
    """
    return _Translator(text).translate()


class _Part(Struct, frozen=True):
    text: str
    positions: int = 1
    repeatable: bool = True


class _Translator:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[list[_Part]] = [[]]
        """Parts of each open group, the outermost first."""

    def translate(self) -> tuple[str, int]:
        while self._at < len(self._text):
            if self._here("("):
                self._begin()
                continue
            part = self._part()
            self._open[-1].append(part)
            if len(part.text) > _MAX_WRITTEN:
                raise self._error(f"written out it is longer than {_MAX_WRITTEN} characters")
        if len(self._open) > 1:
            raise self._error("a group that does not end")
        whole = _joined(self._open[0])
        return whole.text, whole.positions

    def _error(self, what: str) -> BadPattern:
        return BadPattern(f"{what} (character {self._at})")

    def _take(self, size: int = 1) -> str:
        self._at += size
        return self._text[self._at - size : self._at]

    def _here(self, *texts: str) -> bool:
        return self._text.startswith(texts, self._at)

    def _part(self) -> _Part:
        match self._text[self._at]:
            case ")":
                return self._end()
            case "*" | "+" | "?" | "{":
                return self._quantified()
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case "|" | "^" | "$":
                return _Part(self._take(), 0, repeatable=False)
            case ".":
                self._take()
                return _Part(_DOT)
        return _Part(_point(ord(self._take())))

    def _begin(self) -> None:
        if self._here("(?=", "(?!", "(?<=", "(?<!"):
            raise self._error("lookaround, which cannot be matched in linear time")
        group = _GROUP.match(self._text, self._at)
        if group is None:
            raise self._error("of groups with (? only (?: and (?<name> are supported")
        self._take(len(group[0]))
        self._open.append([])

    def _end(self) -> _Part:
        if len(self._open) == 1:
            raise self._error("a ) that closes nothing")
        self._take()
        body = _joined(self._open.pop())
        return _Part(f"(?:{body.text})", body.positions)

    def _quantified(self) -> _Part:
        counts = _COUNTS.match(self._text, self._at)
        if counts is None and self._here("{"):
            if re.match(r"\{,[0-9]+\}", self._text[self._at :]):
                raise self._error("a quantifier without a least count; write {0,n}")
            return _Part(_point(ord(self._take())))  # a literal brace
        parts = self._open[-1]
        if not parts or not parts[-1].repeatable:
            raise self._error("a quantifier behind nothing that could be repeated")
        if counts is None:
            least, most = _SIGNS[self._take()]
        else:
            least = int(counts[1])
            most = (int(counts[3]) if counts[3] else None) if counts[2] else least
            if most is not None and most < least:
                raise self._error("a quantifier whose counts are out of order")
            if max(least, most or 0) > MAX_COUNT:
                raise self._error(f"a count over {MAX_COUNT}")
            self._take(len(counts[0]))
        # A lazy quantifier is taken as a greedy one: both match the same texts.
        self._take(int(self._here("?")))
        body = parts.pop()
        positions = body.positions * max(1, least + 1 if most is None else most)
        return _Part(_repeated(body.text, least, most), positions, repeatable=False)

    def _escape(self) -> _Part:
        if self._here(r"\b", r"\B"):
            return _Part(self._take(2), 0, repeatable=False)
        if re.match(r"\\[1-9k]", self._text[self._at : self._at + 2]):
            raise self._error("a backreference, which cannot be matched in linear time")
        found = self._escaped()
        return _Part(_point(found) if isinstance(found, int) else _set(found))

    def _escaped(self) -> int | str:
        """Read an escape; return a code point, or the contents of the brackets of a set."""
        match = _ESCAPE.match(self._text, self._at)
        if match is None:
            raise self._error(f"an escape that does not exist, {self._text[self._at :][:2]}")
        value = match[match.lastindex or 0]
        point: int | str | None
        match match.lastgroup:
            case "set":
                point = _SETS[value]
            case "property":
                point = _property_set(value, negated=match[0][1] == "P")
            case "control":
                point = _CONTROLS[value]
            case "letter":
                point = ord(value) % 32
            case "itself":
                point = ord(value)
            case "low":
                point = (int(match["high"], 16) << 10) + int(value, 16) - 0x35FDC00
            case _:
                point = int(value, 16)
        if point is None:
            raise self._error(f"the property {value[:40]!r}, which is not supported")
        self._take(len(match[0]))
        return point

    def _class(self) -> _Part:
        self._take()
        negated = self._here("^")
        self._take(int(negated))
        members = ""
        while not self._here("]"):
            low = self._member()
            if isinstance(low, str):
                members += low
                continue
            dash = self._at
            high: int | str = low
            if self._here("-") and not self._here("-]"):
                self._take()
                high = self._member()
            if isinstance(high, str):
                self._at, high = dash, low  # a literal dash
            if high < low:
                raise self._error("a range that is out of order")
            members += f"{_point(low)}-{_point(high)}"
        self._take()
        return _Part(_set(members, negated=negated))

    def _member(self) -> int | str:
        if self._at >= len(self._text):
            raise self._error("a class that does not end")
        if self._here(r"\b"):
            self._take(2)
            return 0x08
        return self._escaped() if self._here("\\") else ord(self._take())


def _joined(parts: list[_Part]) -> _Part:
    return _Part("".join(part.text for part in parts), sum(part.positions for part in parts))


def _point(point: int) -> str:
    """Write one character, for use inside or outside of brackets."""
    character = chr(point)
    return character if character.isascii() and character.isalnum() else rf"\x{{{point:X}}}"


def _set(members: str, *, negated: bool = False) -> str:
    if not members:
        members, negated = _ALL, not negated
    return f"[{'^' if negated else ''}{members}]"


def _repeated(body: str, least: int, most: int | None) -> str:
    """Repeat a part with counts that RE2 supports."""
    if max(least, most or 0) <= _RE2_COUNT:
        return f"{body}{{{least},{'' if most is None else most}}}"
    written = ""
    for count, form in ((least, "{%d}"), ((most or least) - least, "{0,%d}")):
        written += (body + form % _RE2_COUNT) * (count // _RE2_COUNT)
        written += body + form % (count % _RE2_COUNT)
    return f"(?:{written}{body}*)" if most is None else f"(?:{written})"


def _property_set(expression: str, *, negated: bool) -> str | None:
    r"""Return the contents of the brackets for ``\p{expression}``; None if it is not supported.

    >>> _property_set("Letter", negated=False)
    '\\p{Ll}\\p{Lm}\\p{Lo}\\p{Lt}\\p{Lu}'
    """
    prefix, equals, value = expression.rpartition("=")
    if prefix in ("Script", "sc") and _SCRIPT.fullmatch(value) and value not in _SHORT:
        return rf"\{'P' if negated else 'p'}{{{value}}}"
    if equals and prefix not in ("General_Category", "gc"):
        return None
    if not equals and value in _OTHERS:
        return _OTHERS[value][negated]
    if not equals and value == "Assigned":
        value, negated = "Cn", not negated
    short = _SHORT.get(value)
    if short is None:
        return None
    members = {"Lu", "Ll", "Lt"} if short == "LC" else {s for s in _SINGLE if s.startswith(short)}
    return "".join(
        _unassigned() if each == "Cn" else rf"\p{{{each}}}"
        for each in sorted(_SINGLE - members if negated else members)
    )


@cache
def _unassigned() -> str:
    """Return the category ``Cn``, for which RE2 has no name, as ranges."""
    characters = "".join(map(chr, range(0xD800))) + "".join(map(chr, range(0xE000, 0x110000)))
    others = re2.compile(r"[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\p{C}]+")
    found = (match.group() for match in others.finditer(characters))
    return "".join(rf"\x{{{ord(each[0]):X}}}-\x{{{ord(each[-1]):X}}}" for each in found)
