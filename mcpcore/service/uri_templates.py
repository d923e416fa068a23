"""URI templates, RFC 6570: expansion, and matching that cannot be tricked.

Levels 1 to 3, and of level 4 ``{path*}`` and ``{/path*}``: one variable for the rest of a path.

Matching is the inverse of expansion, which the RFC leaves open.  The choices made here:

- a variable of ``{x}``, ``{+x}`` stands for at least one character; the parts of ``{#x}``,
  ``{.x}``, ``{/x}`` may be missing from the right; those of ``{;x}``, ``{?x}``, ``{&x}`` may be
  missing one by one, come in any order and have empty values;
- that of ``{x*}`` stands for one segment of a path or more, that of ``{/x*}`` for any number, each
  with its slash before it;
- where several splits are possible, each variable takes as much as it can, from the left, but
  ``{+x}``, ``{x*}`` and ``{/x*}`` stop before the first character of a later ``{?...}``,
  ``{&...}``, ``{;...}``, ``{#x}``;
- values are percent-decoded once and refused when they could escape the place they are meant for
  (see :func:`hazard`), unless the variable was declared unchecked.

Time is linear in the length of the URI for a given template.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from mcpcore.service.declarations import MAX_URI

__all__ = ["TemplateError", "UnsafeValue", "UriTemplate", "hazard"]

_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_RESERVED = ":/?#[]@!$&'()*+,;="
_NAME = re.compile(r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+(?:\.(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+)*")
_TRIPLET = re.compile(r"%[0-9A-Fa-f]{2}")
_ASCII = "".join(map(chr, range(128)))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_NOT_LITERAL = re.compile(r"""[\x00-\x20"<>\\^`{|}\x7f]|%(?![0-9A-Fa-f]{2})""")


class TemplateError(ValueError):
    """Text that is not a supported template, or cannot be matched."""


class Operator(Struct, frozen=True):
    """Row of the table in RFC 6570 appendix A."""

    first: str = ""
    separator: str = ","
    named: bool = False
    empty: str = ""
    """Text after the name of a named variable that is empty."""
    reserved: bool = False
    path: bool = False
    """True if the variable stands for a path of any length: its slashes are those of the URI."""


_OPERATORS = {
    "": Operator(),
    "+": Operator(reserved=True),
    "#": Operator(first="#", reserved=True),
    ".": Operator(first=".", separator="."),
    "/": Operator(first="/", separator="/"),
    ";": Operator(first=";", separator=";", named=True),
    "?": Operator(first="?", separator="&", named=True, empty="="),
    "&": Operator(first="&", separator="&", named=True, empty="="),
}


_EXPLODED = {"": Operator(path=True), "/": Operator(first="/", separator="/", path=True)}
"""Operators whose variable may have the modifier ``*``.

In RFC 6570 it splits a list into as many parts; with ``/`` these are segments of a path, as here.
Without an operator the RFC joins them by commas, which no URI needs; here it means a path, as is
widely understood.
"""


class Expression(Struct, frozen=True):
    """Expression between braces."""

    operator: Operator
    names: tuple[str, ...]


class Literal(Struct, frozen=True):
    """Constant part of the URI."""

    text: str


# Parsing and expansion


def parse(text: str) -> list[Literal | Expression]:
    """Split a template into its parts.  Raises :class:`TemplateError`."""
    parts: list[Literal | Expression] = []
    for index, chunk in enumerate(re.split(r"(\{[^{}]*\})", text)):
        if index % 2:
            parts.append(_parse_expression(text, chunk[1:-1]))
        elif chunk:
            if wrong := _NOT_LITERAL.search(chunk):
                raise TemplateError(f"template {text!r}: {wrong[0]!r} is not allowed in a literal")
            # RFC 6570 section 3.1: characters not allowed in a URI are percent-encoded.
            parts.append(
                Literal(percent_encode(chunk, _UNRESERVED + _RESERVED, keep_triplets=True))
            )
    return parts


def _parse_expression(text: str, body: str) -> Expression:
    operator = body[:1] if body[:1] in _OPERATORS else ""
    operators = _OPERATORS
    names = body[len(operator) :].split(",")
    if operator in _EXPLODED and len(names) == 1 and names[0].endswith("*"):
        operators, names = _EXPLODED, [names[0][:-1]]
    for name in names:
        if name.endswith("*") or re.search(r":\d{1,4}$", name):
            raise TemplateError(
                f"template {text!r}: the modifier in {name!r} is level 4; of that only {{x*}} and "
                "{/x*} are known, one variable for the rest of a path"
            )
        if not _NAME.fullmatch(name):
            raise TemplateError(f"template {text!r}: {name!r} is no variable name")
    return Expression(operators[operator], tuple(names))


def expand_expression(part: Expression, values: Mapping[str, Any]) -> str:
    """Expand one expression, RFC 6570 section 3.2."""
    operator = part.operator
    allowed = _UNRESERVED + _RESERVED if operator.reserved else _UNRESERVED
    expanded = []
    for name in part.names:
        value = values.get(name)
        if value is None or (operator.path and value in ([], ())):
            continue
        if operator.path:
            segments = value if isinstance(value, list | tuple) else _text(name, value).split("/")
            encoded = "/".join(quote(_text(name, each), safe=allowed) for each in segments)
        else:
            text = _text(name, value)
            encoded = percent_encode(text, allowed, keep_triplets=operator.reserved)
        if operator.named:
            encoded = f"{name}={encoded}" if encoded else name + operator.empty
        expanded.append(encoded)
    return operator.first + operator.separator.join(expanded) if expanded else ""


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError(f"variable {name!r}: expected a string or a number, got {type(value).__name__}")


def percent_encode(text: str, allowed: str, *, keep_triplets: bool) -> str:
    """Encode characters that are not ``allowed``; ``keep_triplets`` leaves triplets unchanged."""
    if not keep_triplets:
        return quote(text, safe=allowed)
    pieces = re.split(f"({_TRIPLET.pattern})", text)
    return "".join(
        piece if index % 2 else quote(piece, safe=allowed) for index, piece in enumerate(pieces)
    )


def percent_decode(raw: str) -> str | None:
    """Percent-decode once; None if the bytes are not UTF-8."""
    if "%" not in raw:
        return raw
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None


# Matching

Values = list[tuple[str, str]]
"""Names and undecoded values."""

_SIMPLE = frozenset(_UNRESERVED)
_ANY = frozenset(_UNRESERVED + _RESERVED)
_PATH = _ANY.difference("?#[]")
"""Characters of the path of a URI (RFC 3986 section 3.3)."""
_PAIR = re.compile(r"([A-Za-z0-9_.%]+)(?:(=)((?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})*))?")


class Variable(Struct, frozen=True):
    """Piece of ``prefix`` and at least one character for the variable ``name``."""

    name: str
    prefix: str
    alphabet: frozenset[str]
    skip: int = 0
    """Number of pieces to skip if this one is missing; 0: it is required."""


class Pairs(Struct, frozen=True):
    """Piece of ``name=value`` pairs, each at most once, in any order; all may be missing."""

    names: frozenset[str]
    operator: Operator


Piece = Literal | Variable | Pairs


def compile_pieces(text: str, parts: list[Literal | Expression]) -> list[Piece]:
    """Compile the parts into pieces to match; refuse templates in which pairs have no clear end."""
    pieces: list[Piece] = []
    for position, part in enumerate(parts):
        if isinstance(part, Literal):
            pieces.append(part)
        elif part.operator.named:
            pieces.append(Pairs(frozenset(part.names), part.operator))
        else:
            operator = part.operator
            alphabet = _SIMPLE
            if operator.reserved or operator.path:
                later = (p.operator for p in parts[position + 1 :] if isinstance(p, Expression))
                alphabet = (_PATH if operator.path else _ANY).difference(
                    op.first for op in later if op.named or (op.reserved and op.first)
                )
            for index, name in enumerate(part.names):
                prefix = operator.separator if index else operator.first
                skip = len(part.names) - index if operator.first else 0
                pieces.append(Variable(name, prefix, alphabet, skip))
    for index, piece in enumerate(pieces):
        if isinstance(piece, Pairs):
            _check_end_of_pairs(text, piece, pieces[index + 1 :])
    return pieces


def _check_end_of_pairs(text: str, pairs: Pairs, rest: list[Piece]) -> None:
    for piece in rest:
        if isinstance(piece, Pairs):
            opening = piece.operator.first
        else:
            opening = piece.text[0] if isinstance(piece, Literal) else piece.prefix[:1]
        if not opening or opening in _SIMPLE or opening in ("%", "=", pairs.operator.separator):
            raise TemplateError(
                f"template {text!r}: what follows {{{pairs.operator.first}...}} cannot be told "
                f"from its values; put all of them into one expression"
            )
        if isinstance(piece, Literal):
            return


def match_pieces(pieces: list[Piece], uri: str) -> Values | None:
    """Return the values, None if the URI does not match.

    Two passes over a table replace backtracking.  The first, from the right, marks the positions
    from which the rest of the pieces matches the rest of the URI.  The second, from the left, takes
    the longest value that leads to such a position.
    """
    start, end = 0, len(uri)
    low, high = 0, len(pieces)
    # Literals at both ends are cheap to check and leave little to the table.
    while low < high and isinstance(piece := pieces[low], Literal):
        if not uri.startswith(piece.text, start):
            return None
        start, low = start + len(piece.text), low + 1
    while low < high and isinstance(piece := pieces[high - 1], Literal):
        if not uri.endswith(piece.text, start, end):
            return None
        end, high = end - len(piece.text), high - 1
    pieces, uri = pieces[low:high], uri[start:end]
    size = len(uri)
    reach = [bytearray(size + 1) for _ in range(len(pieces) + 1)]
    reach[-1][size] = 1
    for index in range(len(pieces) - 1, -1, -1):
        _fill(pieces[index], uri, reach, index)
    if not reach[0][0]:
        return None
    return _take(pieces, uri, reach)


def _fill(piece: Piece, uri: str, reach: list[bytearray], index: int) -> None:
    """Set ``reach[index][i]`` where ``piece`` and all after it match ``uri[i:]``."""
    here, after = reach[index], reach[index + 1]
    if isinstance(piece, Literal):
        at = uri.find(piece.text)
        while at >= 0:
            here[at] = after[at + len(piece.text)]
            at = uri.find(piece.text, at + 1)
    elif isinstance(piece, Pairs):
        here[:] = after
        for at in range(len(uri)):
            if uri[at] == piece.operator.first and (taken := _pairs(piece, uri, at)):
                here[at] = here[at] or after[taken[1]]
    else:
        ends = _run_ends(uri, piece.alphabet, after)
        width = len(piece.prefix)
        for at in range(len(uri) - width):
            here[at] = ends[at + width] and uri.startswith(piece.prefix, at)
        if piece.skip:
            skipped = reach[index + piece.skip]
            for at, reached in enumerate(skipped):
                here[at] |= reached


def _run_ends(uri: str, alphabet: frozenset[str], after: bytearray) -> bytearray:
    """Mark where a non-empty run of the alphabet starts that ends at a marked position."""
    size = len(uri)
    marks = bytearray(size + 1)
    for at in range(size - 1, -1, -1):
        step = _step(uri, at, alphabet)
        if step:
            marks[at] = after[at + step] | marks[at + step]
    return marks


def _step(uri: str, at: int, alphabet: frozenset[str]) -> int:
    """Return the width of the character at ``at``: 3 for a percent triplet, 0 for any other."""
    if uri[at] in alphabet:
        return 1
    return 3 if _TRIPLET.match(uri, at) else 0


def _take(pieces: list[Piece], uri: str, reach: list[bytearray]) -> Values:
    found: Values = []
    at = index = 0
    while index < len(pieces):
        piece = pieces[index]
        if isinstance(piece, Literal):
            at += len(piece.text)
        elif isinstance(piece, Pairs):
            taken = _pairs(piece, uri, at)
            if taken and reach[index + 1][taken[1]]:
                found += taken[0]
                at = taken[1]
        else:
            end = _longest(piece, uri, at, reach[index + 1])
            if end:
                found.append((piece.name, uri[at + len(piece.prefix) : end]))
                at = end
            else:
                index += piece.skip - 1
        index += 1
    return found


def _longest(piece: Variable, uri: str, at: int, after: bytearray) -> int:
    """Return the end of the longest value that leaves a matching rest, 0 if there is none."""
    if not uri.startswith(piece.prefix, at):
        return 0
    end, at = 0, at + len(piece.prefix)
    while at < len(uri) and (step := _step(uri, at, piece.alphabet)):
        at += step
        if after[at]:
            end = at
    return end


def _pairs(piece: Pairs, uri: str, at: int) -> tuple[Values, int] | None:
    """Read pairs from ``at``: the values and the end; None for unknown or repeated names."""
    operator = piece.operator
    opening = operator.first
    values: dict[str, str] = {}
    while uri.startswith(opening, at):
        pair = _PAIR.match(uri, at + 1)
        if pair is None:
            return None
        name, equals, value = pair.groups()
        if name not in piece.names or name in values or (operator.empty and not equals):
            return None
        values[name] = value or ""
        at, opening = pair.end(), operator.separator
    return (list(values.items()), at) if values else None


class UnsafeValue(ValueError):
    """Dangerous value of ``variable`` in a URI that matches; the message names the reason."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"variable {variable!r}: {reason}")
        self.variable = variable


class UriTemplate:
    """Parsed template: ``variables``, :meth:`expand`, :meth:`match`.

    ``unchecked`` names variables whose values are not checked.  Raises :class:`TemplateError` if
    the text is no template of the kinds described above.

    >>> template = UriTemplate("file:///{+path}{?line}")
    >>> template.expand({"path": "src/main.rs", "line": 7})
    'file:///src/main.rs?line=7'
    >>> template.match("file:///src/main.rs?line=7")
    {'path': 'src/main.rs', 'line': '7'}
    >>> template.match("file:///src/../../etc/passwd")
    Traceback (most recent call last):
    mcpcore.service.uri_templates.UnsafeValue: variable 'path': it holds the segment '..'
    """

    __slots__ = ("_limit", "_parts", "_pieces", "paths", "text", "unchecked", "variables")

    def __init__(
        self, text: str, *, unchecked: Collection[str] = (), max_length: int = MAX_URI
    ) -> None:
        self.text = text
        self._parts = parse(text)
        self.variables: tuple[str, ...] = tuple(
            name for part in self._parts if isinstance(part, Expression) for name in part.names
        )
        """Names in the order of the template."""
        self.paths = frozenset(
            name
            for part in self._parts
            if isinstance(part, Expression) and part.operator.path
            for name in part.names
        )
        """Names of variables that stand for a path of any length."""
        if len(set(self.variables)) != len(self.variables):
            raise TemplateError(f"template {text!r} names a variable twice")
        self.unchecked = frozenset(unchecked)
        if unknown := self.unchecked.difference(self.variables):
            raise TemplateError(f"template {text!r} has no variable {min(unknown)!r}")
        self._pieces = compile_pieces(text, self._parts)
        self._limit = max_length

    def __repr__(self) -> str:
        return f"UriTemplate({self.text!r})"

    def expand(self, values: Mapping[str, Any]) -> str:
        """Fill in ``values`` (strings, numbers, booleans); absent ones and None are undefined.

        A path (``{x*}``) may be a list of its segments.  RFC 6570 section 3.2.  Raises TypeError
        for any other compound value (level 4).
        """
        return "".join(
            part.text if isinstance(part, Literal) else expand_expression(part, values)
            for part in self._parts
        )

    def match(self, uri: str) -> dict[str, str] | None:
        """Return the decoded values by name, or None if the URI is no expansion of the template.

        Variables that are missing from the URI are missing from the result.  Characters outside
        ASCII count as their percent-encoded form (RFC 3987 section 3.1).  Raises
        :class:`UnsafeValue` if the URI matches but a value is dangerous.
        """
        if len(uri) > self._limit:
            return None
        if not uri.isascii():
            try:
                uri = quote(uri, safe=_ASCII)
            except UnicodeEncodeError:  # a lone surrogate
                return None
        found = match_pieces(self._pieces, uri)
        if found is None:
            return None
        values: dict[str, str] = {}
        for name, raw in found:
            value = percent_decode(raw)
            if value is None:
                return None
            if name not in self.unchecked and (reason := hazard(raw, value)):
                raise UnsafeValue(name, reason)
            values[name] = value
        return values


def hazard(raw: str, value: str) -> str | None:
    """Return the reason for which a matched value is dangerous as part of a path, or None.

    ``raw`` is the value as it stands in the URI, ``value`` the same, decoded.  Dangerous are
    control characters, encoded slashes and backslashes, the segment ``..`` (encoded twice too), and
    absolute paths of an operating system.
    """
    lowered = raw.lower()
    if "%2f" in lowered or "%5c" in lowered:
        return "it holds an encoded slash or backslash"
    # A handler may decode once more, so the result of that is checked as well.
    for text in (value, percent_decode(value) or value) if "%" in value else (value,):
        if _CONTROL.search(text):
            return "it holds a control character"
        path = text.replace("\\", "/")
        if ".." in path and any(segment.strip() == ".." for segment in path.split("/")):
            return "it holds the segment '..'"
        if path.startswith("/") or _DRIVE.match(path):
            return "it is an absolute path"
    return None
