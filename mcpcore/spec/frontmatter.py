"""Front matter of a ``SKILL.md``: a strict subset of YAML 1.2, read as a JSON object.

It has block mappings and sequences; plain, quoted, literal and folded scalars; and flow collections
that are JSON, or a list of plain scalars.  Plain scalars become null, booleans and numbers as in
the core schema of YAML 1.2 (``yes`` and dates are strings).  Anchors, aliases, tags, directives and
whatever two parsers may read differently are refused.  Source: the Agent Skills specification, and
YAML 1.2.2.
"""

import json
import math
import re
from typing import Any, NoReturn

_LINES = re.compile(r"\r\n|\r|\n")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
"""Characters that YAML forbids, or that some readers take for line breaks."""
_KEY = re.compile(
    r"""("(?:[^"\\]|\\.)*+"|'(?:[^']|'')*+'|[\w./$-]++(?:\ ++[\w./$-]++)*+)\ *+:(?:[ \t]++(.*))?""",
    re.ASCII,
)
_ITEM = re.compile(r"-(?=[ \t]|$)")
_COMMENT = re.compile(r"(?:^|[ \t])#")
_REST = re.compile(r"[ \t]*+(?:(?<=[ \t])#.*)?")
_SINGLE = re.compile(r"'((?:[^']|'')*+)'(?:[ \t]++#.*)?")
_BLOCK = re.compile(r"([|>])([+-]?)[ \t]*(?:(?<=[ \t])#.*)?")
_INDICATORS = frozenset(",]}#&*!|>%@`\"'")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LONGEST = 65_536
"""Maximum characters of a front matter."""
_LARGEST = 2**53 - 1
"""Largest integer that every reader of JSON reads as it is."""


def read_frontmatter(data: bytes) -> dict[str, Any]:
    """Return the front matter at the beginning of a file.  Raises ValueError naming the line."""
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: byte {error.start}") from None
    lines = _LINES.split(text)
    if lines[0] != "---":
        raise ValueError("it does not begin with front matter, a line of three hyphens")
    ends = (at for at in range(1, len(lines)) if lines[at].rstrip(" \t") == "---")
    end = next(ends, None)
    if end is None:
        raise ValueError("the front matter does not end with a line of three hyphens")
    if sum(map(len, lines[:end])) > _LONGEST:
        raise ValueError(f"the front matter has more than {_LONGEST} characters")
    for number, line in enumerate(lines[:end], 1):
        if (odd := _UNPRINTABLE.search(line)) is not None:
            raise ValueError(f"front matter, line {number}: the character {odd[0]!a}")
    reader = _Yaml(lines[:end])
    try:
        return reader.whole()
    except RecursionError:
        raise ValueError("front matter: nested too deeply") from None


def same_value(one: Any, other: Any) -> bool:
    """Return True if two JSON values are equal; no number equals true or false."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


class _Yaml:
    """Lines of a front matter, with the number of the next one."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 1  # the first is the line of hyphens
        self._line = 1
        """Number of the line that is read, for messages."""

    def whole(self) -> dict[str, Any]:
        head = self._head()
        if head is None:
            return {}
        if head[0] or _ITEM.match(head[1]):
            self._fail("expected 'name: value' at the beginning of the line")
        return self._mapping(0)

    def _fail(self, reason: str) -> NoReturn:
        raise ValueError(f"front matter, line {self._line + 1}: {reason}")

    def _head(self) -> tuple[int, str] | None:
        """Return the indent and the text of the next line that is neither blank nor a comment."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            text = line.lstrip(" ")
            self._line = self._at
            if text.startswith("\t") and text.strip():
                self._fail("a tab indents the line")
            if text.strip() and not text.startswith("#"):
                return len(line) - len(text), text.rstrip(" \t")
            self._at += 1
        return None

    def _node(self, above: int) -> Any:
        """Read the value whose lines are indented deeper than ``above``; null if there is none."""
        head = self._head()
        if head is None or head[0] <= above:
            return None
        indent, text = head
        if _ITEM.match(text):
            return self._sequence(indent)
        if _KEY.fullmatch(text):
            return self._mapping(indent)
        return self._value(text, above)

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (head := self._head()) is not None and head[0] >= indent:
            entry = _KEY.fullmatch(head[1])
            if head[0] > indent or entry is None:
                self._fail("expected 'name: value', with the indent of the lines above")
            key = self._scalar(entry[1])
            if not isinstance(key, str):
                self._fail(f"{entry[1]}: a name has to be a string; put it in quotes")
            if key in found:
                self._fail(f"{key}: given twice")
            rest = entry[2] or ""
            if rest and not rest.startswith("#"):
                found[key] = self._value(rest, indent)
                continue
            self._at += 1
            below = self._head()
            # Items of a mapping's sequence may have the indent of its keys.
            listed = below is not None and below[0] == indent and _ITEM.match(below[1])
            found[key] = self._sequence(indent) if listed else self._node(indent)
        return found

    def _sequence(self, indent: int) -> list[Any]:
        found = []
        while (head := self._head()) is not None and head[0] >= indent:
            if head[0] == indent and not _ITEM.match(head[1]):
                break
            if head[0] > indent:
                self._fail("expected an item, with the indent of those above")
            # With a space in place of its hyphen an item is a node like any other.
            line = self._lines[self._at]
            self._lines[self._at] = f"{line[:indent]} {line[indent + 1 :]}"
            found.append(self._node(indent))
        return found

    def _value(self, text: str, above: int) -> Any:
        """Read a value that begins in the next line with ``text``."""
        if text[0] in "|>":
            return self._block(text, above)
        parts = self._flow(text, above)
        if text[0] in "[{\"'":
            read = self._collection if text[0] in "[{" else self._quoted
            if _COMMENT.search(" ".join(parts[:-1])):
                self._fail("a comment, or its character, inside of a value of several lines")
            return read(self._folded(parts))
        for number, part in enumerate(parts):
            comment = _COMMENT.search(part)
            if comment is not None:
                if number + 1 < len(parts):
                    self._fail("a comment inside of a value")
                parts[number] = part[: comment.start()].rstrip(" \t")
        return self._scalar(self._folded(parts))

    def _flow(self, text: str, above: int) -> list[str]:
        """Return the lines of a value, stripped; blank ones between others are empty."""
        parts, blank = [text], 0
        self._at += 1
        while self._at < len(self._lines):
            line = self._lines[self._at]
            stripped = line.strip(" \t")
            if stripped:
                if len(line) - len(line.lstrip(" ")) <= above:
                    break
                parts += [*[""] * blank, stripped]
                blank = 0
            else:
                blank += 1
            self._at += 1
        self._at -= blank
        return parts

    @staticmethod
    def _folded(parts: list[str]) -> str:
        """Join lines: by a space, and with a line break for each blank line between them."""
        made, breaks = [parts[0]], 0
        for part in parts[1:]:
            if not part:
                breaks += 1
                continue
            made += ["\n" * breaks or " ", part]
            breaks = 0
        return "".join(made)

    def _scalar(self, text: str) -> Any:
        """Return the value of a scalar on one line."""
        if text[0] in "\"'":
            return self._quoted(text)
        if text[0] in _INDICATORS or re.match(r"[-?:](?:[ \t\n]|$)", text):
            self._fail(f"a value cannot begin with {text[0]}; put it in quotes")
        if re.search(r":(?:[ \t\n]|$)", text):
            self._fail("a value with a colon and a space has to be in quotes")
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            self._fail(f"{text} is no number of JSON; put it in quotes")
        number: float | None = None
        if _INTEGER.fullmatch(text):
            number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        elif _FLOAT.fullmatch(text):
            number = float(text)
        if number is None:
            return text
        if not math.isfinite(number) or (isinstance(number, int) and abs(number) > _LARGEST):
            self._fail("the number is too large; put it in quotes")
        return number

    def _quoted(self, text: str) -> str:
        if (found := _SINGLE.fullmatch(text)) is not None:
            return found[1].replace("''", "'")
        if text[0] == "'":
            self._fail("the value in quotes does not end, or something follows it")
        return str(self._json(text))

    def _json(self, text: str) -> Any:
        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            made = dict(pairs)
            if len(made) < len(pairs):
                self._fail("a name is given twice")
            return made

        def refuse(name: str) -> NoReturn:
            self._fail(f"{name} is no number of JSON")

        hooks: dict[str, Any] = {
            "object_pairs_hook": unique,
            "parse_constant": refuse,
            **dict.fromkeys(("parse_int", "parse_float"), self._scalar),
        }
        try:
            found, end = json.JSONDecoder(strict=False, **hooks).raw_decode(text)
            json.dumps(found, ensure_ascii=False).encode()  # an escape may be half a character
        except (json.JSONDecodeError, UnicodeEncodeError):
            self._fail("a value in double quotes, or in braces, has to be JSON")
        if not _REST.fullmatch(text, end):
            self._fail("something follows the value")
        return found

    def _collection(self, text: str) -> Any:
        """Return a flow collection: JSON, or plain scalars between brackets."""
        items = re.fullmatch(r"\[([^][{}\"']*)\](?:[ \t]+#.*)?", text)
        if items is None:
            return self._json(text)
        words = [word.strip(" \t") for word in items[1].split(",")]
        if not words[-1]:
            words.pop()
        if not all(words) or _COMMENT.search(items[1]):
            self._fail("an item of the list is empty, or a comment")
        return [self._scalar(word) for word in words]

    def _block(self, header: str, above: int) -> str:
        """Read a literal or folded scalar."""
        style = _BLOCK.fullmatch(header)
        if style is None:
            self._fail("only | or >, with - or + behind it, may begin a block of text")
        lines: list[str] = []
        indent = 0
        self._at += 1
        begin = self._at
        while self._at < len(self._lines):
            line = self._lines[self._at]
            found = len(line) - len(line.lstrip(" "))
            if line.strip(" "):
                if found <= above:
                    break
                if not indent and max(map(len, self._lines[begin : self._at]), default=0) > found:
                    self._fail("a blank line is longer than the indent of the block")
                indent = indent or found
                if found < indent:
                    self._line = self._at
                    self._fail("the line is indented less than those of its block")
            lines.append(line[indent:] if indent else "")
            self._at += 1
        kept = len(lines)
        while kept and not lines[kept - 1]:
            kept -= 1
        breaks = {"-": 0, "+": len(lines) - kept + bool(kept), "": bool(kept)}[style[2]]
        lines = lines[:kept]
        return ("\n".join(lines) if style[1] == "|" else _fold(lines)) + "\n" * breaks


def _fold(lines: list[str]) -> str:
    """Join the lines of a folded scalar; those that are indented deeper keep their line breaks."""
    made: list[str] = []
    breaks, before = 0, ""
    for line in lines:
        if not line:
            breaks += 1
            continue
        whole = before and (before[0] in " \t" or line[0] in " \t")
        joint = "\n" * (breaks + 1) if whole else "\n" * breaks or " " * bool(before)
        made += [joint, line]
        breaks, before = 0, line
    return "".join(made)
