"""Patterns of JSON Schema, read into a tree: ECMA-262 regular expressions with the flag ``u``.

Read is what can be matched in linear time: all of the syntax but backreferences and flags, with
lookahead and lookbehind.  Where the grammar is stricter than what people write, the common reading
is taken: an escaped punctuation mark is itself, as is a brace or bracket that closes nothing.
Unicode properties are general categories, ``Any``, ``ASCII`` and ``Assigned``.

Source: ECMA-262, "RegExp (Regular Expression) Objects"; JSON Schema 2020-12 core, section 6.4.
"""

import re
import unicodedata
from typing import Literal, TypeAlias

from msgspec import Struct

MAX_GROUPS = 50
"""How deep groups may nest."""
MAX_POSITIONS = 10_000
"""Places for one character in a pattern, repetitions with a count written out."""

_LAST = 0x10FFFF
_CATEGORY = 8
"""As how many positions one counts where a category of Unicode may stand."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]


class BadPattern(ValueError):
    """The text is no pattern, or none that is supported; the message says why."""


class Item(Struct, frozen=True):
    """Characters in ``ranges`` or of Unicode ``categories``, or all but these."""

    ranges: Ranges = ()
    categories: frozenset[str] = frozenset()
    negated: bool = False

    def holds(self, character: str) -> bool:
        """Whether a character is one of them."""
        point = ord(character)
        found = any(low <= point <= high for low, high in self.ranges) or (
            bool(self.categories) and unicodedata.category(character) in self.categories
        )
        return found is not self.negated


class Chars(Struct, frozen=True):
    """One character out of a set."""

    items: tuple[Item, ...]
    negated: bool = False

    def holds(self, character: str) -> bool:
        """Whether a character is in the set."""
        return any(item.holds(character) for item in self.items) is not self.negated


class Sequence(Struct, frozen=True):
    """One part after the other."""

    parts: "tuple[Tree, ...]"


class Choice(Struct, frozen=True):
    """One of the branches."""

    branches: "tuple[Tree, ...]"


class Repeat(Struct, frozen=True):
    """``least`` to ``most`` times (None: any number of times)."""

    tree: "Tree"
    least: int
    most: int | None


class Boundary(Struct, frozen=True):
    """A place between characters: both ends of the text, the edge of a word, or no such edge."""

    kind: Literal["begin", "end", "word", "inside"]


class Look(Struct, frozen=True):
    """What follows, or precedes, fits the tree, or does not."""

    tree: "Tree"
    ahead: bool
    negated: bool


Tree: TypeAlias = Chars | Sequence | Choice | Repeat | Boundary | Look

DIGIT: Ranges = ((0x30, 0x39),)
WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
SPACE: Ranges = (
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
)
LINE_END: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))

_CLASSES = {"d": DIGIT, "w": WORD, "s": SPACE}
_CONTROLS = {"f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B}
_LOOKS = {"(?=": (True, False), "(?!": (True, True), "(?<=": (False, False), "(?<!": (False, True)}
_HEX = frozenset("0123456789abcdefABCDEF")
_DIGITS = frozenset("0123456789")
_LOW_SURROGATE = re.compile(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")

CATEGORIES = {
    "LC": ("Lu", "Ll", "Lt"),
    "L": ("Lu", "Ll", "Lt", "Lm", "Lo"),
    "M": ("Mn", "Mc", "Me"),
    "N": ("Nd", "Nl", "No"),
    "P": ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"),
    "S": ("Sm", "Sc", "Sk", "So"),
    "Z": ("Zs", "Zl", "Zp"),
    "C": ("Cc", "Cf", "Cs", "Co", "Cn"),
}
"""Unicode Standard, table "General Category Values"."""
_CATEGORY_NAMES = {
    "Cased_Letter": "LC",
    "Close_Punctuation": "Pe",
    "Combining_Mark": "M",
    "Connector_Punctuation": "Pc",
    "Control": "Cc",
    "Currency_Symbol": "Sc",
    "Dash_Punctuation": "Pd",
    "Decimal_Number": "Nd",
    "Enclosing_Mark": "Me",
    "Final_Punctuation": "Pf",
    "Format": "Cf",
    "Initial_Punctuation": "Pi",
    "Letter": "L",
    "Letter_Number": "Nl",
    "Line_Separator": "Zl",
    "Lowercase_Letter": "Ll",
    "Mark": "M",
    "Math_Symbol": "Sm",
    "Modifier_Letter": "Lm",
    "Modifier_Symbol": "Sk",
    "Nonspacing_Mark": "Mn",
    "Number": "N",
    "Open_Punctuation": "Ps",
    "Other": "C",
    "Other_Letter": "Lo",
    "Other_Number": "No",
    "Other_Punctuation": "Po",
    "Other_Symbol": "So",
    "Paragraph_Separator": "Zp",
    "Private_Use": "Co",
    "Punctuation": "P",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "Spacing_Mark": "Mc",
    "Surrogate": "Cs",
    "Symbol": "S",
    "Titlecase_Letter": "Lt",
    "Unassigned": "Cn",
    "Uppercase_Letter": "Lu",
    "cntrl": "Cc",
    "digit": "Nd",
    "punct": "P",
}
_SINGLE_CATEGORIES = frozenset(each for group in CATEGORIES.values() for each in group)
_OTHER_PROPERTIES = {
    "Any": Item(((0, _LAST),)),
    "ASCII": Item(((0, 0x7F),)),
    "Assigned": Item(categories=frozenset({"Cn"}), negated=True),
}


def parse_pattern(text: str) -> Tree:
    """Read a pattern.  Raises :class:`BadPattern`.

    >>> parse_pattern("a|b")
    Choice(branches=(Chars(...), Chars(...)))
    """
    parser = _Parser(text)
    tree = parser.choice()
    if parser.at < len(text):
        raise parser.error("a ) that closes nothing")
    if positions(tree) > MAX_POSITIONS:
        raise BadPattern(f"written out it is longer than {MAX_POSITIONS} characters")
    return tree


def positions(tree: Tree) -> int:
    """Count the places for one character, with counted repetitions written out."""
    match tree:
        case Sequence(parts=inner) | Choice(branches=inner):
            return 1 + sum(map(positions, inner))
        case Repeat():
            times = tree.least + 1 if tree.most is None else tree.most
            return 1 + positions(tree.tree) * max(times, 1)
        case Look():
            return 1 + positions(tree.tree)
        case Chars():
            return _CATEGORY if any(item.categories for item in tree.items) else 1
        case _:
            return 1


def is_plain(tree: Tree) -> bool:
    """Whether it can be written for other engines.

    It cannot with lookaround, with the edge of a word, which others take for that of a Unicode
    word, and with sets that are all but a category and something else, which Rust reads wrongly.
    """
    match tree:
        case Chars(negated=True):
            return len(tree.items) < 2 or not any(item.categories for item in tree.items)
        case Sequence(parts=inner) | Choice(branches=inner):
            return all(map(is_plain, inner))
        case Repeat():
            return is_plain(tree.tree)
        case Boundary():
            return tree.kind in ("begin", "end")
        case Look():
            return False
        case _:
            return True


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._depth = 0

    def error(self, what: str) -> BadPattern:
        return BadPattern(f"{what} (character {self.at})")

    def _next(self, *texts: str) -> str | None:
        """Take the first of ``texts`` that stands here."""
        for text in texts:
            if self.text.startswith(text, self.at):
                self.at += len(text)
                return text
        return None

    def _take(self, what: str) -> str:
        if self.at >= len(self.text):
            raise self.error(f"it ends where {what} was expected")
        self.at += 1
        return self.text[self.at - 1]

    def choice(self) -> Tree:
        branches = [self._sequence()]
        while self._next("|"):
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def _sequence(self) -> Tree:
        parts: list[Tree] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            part = self._atom()
            counts = self._quantifier()
            if counts is not None:
                if isinstance(part, Boundary | Look):
                    raise self.error("a quantifier behind what takes no characters")
                part = Repeat(part, *counts)
            parts.append(part)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _atom(self) -> Tree:
        character = self._take("a character")
        match character:
            case "^":
                return Boundary("begin")
            case "$":
                return Boundary("end")
            case ".":
                return Chars((Item(LINE_END),), negated=True)
            case "[":
                return self._class()
            case "\\":
                return self._escape()
            case "(":
                return self._group()
            case "*" | "+" | "?":
                raise self.error("a quantifier behind nothing")
            case "{" if self._counts() is not None:
                raise self.error("a quantifier behind nothing")
        return _one(ord(character))

    def _group(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_GROUPS:
            raise self.error(f"groups nested deeper than {MAX_GROUPS}")
        self.at -= 1
        look = self._next(*_LOOKS)
        if look is None and self._next("(?:") is None:
            self.at += 1
            if self._next("?"):
                if not self._next("<"):
                    raise self.error("of groups with (? only (?: (?= (?! (?<= (?<! (?<name> exist")
                while (character := self._take("the end of a group's name")) != ">":
                    if not (character.isalnum() or character in "_$"):
                        raise self.error("a group's name that is no name")
        tree = self.choice()
        if not self._next(")"):
            raise self.error("a group that does not end")
        self._depth -= 1
        if look is not None:
            ahead, negated = _LOOKS[look]
            return Look(tree, ahead, negated)
        # Kept apart, so that a quantifier behind it concerns all of it.
        return tree if isinstance(tree, Chars) else Sequence((tree,))

    def _quantifier(self) -> tuple[int, int | None] | None:
        counts: tuple[int, int | None] | None
        match self._next("*", "+", "?", "{"):
            case "*":
                counts = (0, None)
            case "+":
                counts = (1, None)
            case "?":
                counts = (0, 1)
            case "{":
                counts = self._counts()
                if counts is None:
                    self.at -= 1  # a brace that is only a brace
                    return None
            case _:
                return None
        self._next("?")  # how much is taken makes no difference to whether there is a match
        if self.at < len(self.text) and self.text[self.at] in "*+?":
            raise self.error("a quantifier behind a quantifier")
        return counts

    def _counts(self) -> tuple[int, int | None] | None:
        """Read what stands behind a brace; None, and nothing read, if these are no counts."""
        start = self.at
        least, comma = self._digits(), self._next(",")
        most = self._digits()
        if not self._next("}") or not (least or most):
            self.at = start
            return None
        if not least:
            raise self.error("a quantifier without a least count; write {0,n}")
        low = int(least)
        high = (int(most) if most else None) if comma else low
        if high is not None and high < low:
            raise self.error("a quantifier whose counts are out of order")
        if max(low, high or 0) > MAX_POSITIONS:
            raise self.error(f"a count over {MAX_POSITIONS}")
        return low, high

    def _digits(self) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in _DIGITS:
            self.at += 1
        if self.at - start > 6:
            raise self.error(f"a count over {MAX_POSITIONS}")
        return self.text[start : self.at]

    def _escape(self) -> Tree:
        character = self._take("what is escaped")
        if character == "b":
            return Boundary("word")
        if character == "B":
            return Boundary("inside")
        if character in "123456789k":
            raise self.error("a backreference, which cannot be matched in linear time")
        item = self._set(character)
        return _one(self._point(character)) if item is None else Chars((item,))

    def _set(self, character: str) -> Item | None:
        """The set that an escape stands for, None if it stands for one character."""
        if (ranges := _CLASSES.get(character.lower())) is not None:
            return Item(ranges, negated=character.isupper())
        if character in "pP":
            return self._property(character == "P")
        return None

    def _property(self, negated: bool) -> Item:
        if not self._next("{"):
            raise self.error("a property without braces")
        name = ""
        while (character := self._take("the end of a property")) != "}":
            name += character
        _, _, value = name.rpartition("=")
        if name == value or name.startswith(("gc=", "General_Category=")):
            short = _CATEGORY_NAMES.get(value, value)
            if short in _SINGLE_CATEGORIES:
                return Item(categories=frozenset({short}), negated=negated)
            if short in CATEGORIES:
                return Item(categories=frozenset(CATEGORIES[short]), negated=negated)
        if (other := _OTHER_PROPERTIES.get(name)) is not None:
            return Item(other.ranges, other.categories, other.negated is not negated)
        raise self.error(f"the property {name[:40]!r}; only general categories are supported")

    def _point(self, character: str) -> int:
        """The code point of an escaped character."""
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character == "0" and self.text[self.at : self.at + 1] not in _DIGITS:
            return 0
        if character == "c":
            letter = self._take("a control letter")
            if letter.isascii() and letter.isalpha():
                return ord(letter) % 32
        elif character == "x":
            return self._hex(2)
        elif character == "u":
            if self._next("{"):
                return self._braced()
            point = self._hex(4)
            if 0xD800 <= point < 0xDC00 and _LOW_SURROGATE.match(self.text, self.at):
                self.at += 2
                return 0x10000 + ((point - 0xD800) << 10) + self._hex(4) - 0xDC00
            return point
        elif not character.isalnum():
            return ord(character)
        raise self.error(f"an escape that does not exist, \\{character}")

    def _hex(self, size: int) -> int:
        digits = self.text[self.at : self.at + size]
        if len(digits) < size or not _HEX.issuperset(digits):
            raise self.error(f"an escape without its {size} hexadecimal digits")
        self.at += size
        return int(digits, 16)

    def _braced(self) -> int:
        end = self.text.find("}", self.at)
        digits = self.text[self.at : max(end, 0)]
        if not 0 < len(digits) <= 8 or not _HEX.issuperset(digits) or int(digits, 16) > _LAST:
            raise self.error("a code point that does not exist")
        self.at = end + 1
        return int(digits, 16)

    def _class(self) -> Chars:
        negated = self._next("^") is not None
        items: list[Item] = []
        ranges: list[tuple[int, int]] = []
        while not self._next("]"):
            low = self._member()
            if isinstance(low, Item):
                items.append(low)
                continue
            high = low
            if self._is_range():
                start = self.at
                self.at += 1
                end = self._member()
                if isinstance(end, Item):
                    self.at = start  # the dash is only a dash
                elif end < low:
                    raise self.error("a range that is out of order")
                else:
                    high = end
            ranges.append((low, high))
        if ranges:
            items.append(Item(tuple(ranges)))
        return Chars(tuple(items), negated)

    def _is_range(self) -> bool:
        following = self.text[self.at : self.at + 2]
        return len(following) == 2 and following[0] == "-" and following[1] != "]"

    def _member(self) -> Item | int:
        character = self._take("the end of a class")
        if character != "\\":
            return ord(character)
        character = self._take("what is escaped")
        if character == "b":
            return 0x08
        item = self._set(character)
        return self._point(character) if item is None else item


def _one(point: int) -> Chars:
    return Chars((Item(((point, point),)),))
