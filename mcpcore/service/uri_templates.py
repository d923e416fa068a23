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
  (see :func:`hazard`), unless the variable was declared unchecked;
- literals match as they are written, and where that is asked for also percent-encoded, with scheme
  and host in any case, and with segments between them that a path does without (see
  :func:`without_idle_segments`).

Time is linear in the length of the URI for a given template.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes

from msgspec import Struct

from mcpcore.errors import TemplateError, UnsafeValue
from mcpcore.service.declarations import MAX_URI

_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_URI = _UNRESERVED + ":/?#[]@!$&'()*+,;="
"""Characters that a URI consists of, apart from percent triplets."""
_NAME = re.compile(r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+(?:\.(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+)*")
_TRIPLET = re.compile(r"%[0-9A-Fa-f]{2}")
_ASCII = "".join(map(chr, range(128)))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_PLACE = re.compile(r"([^:/?#]*:(?://)?)([^?#]*)(.*)", re.DOTALL)
"""Scheme, authority with path, and the rest of a URI."""
_ORIGIN = re.compile(r"(?:[^:/?#]*:(?://[^/?#]*)?)?")
"""Scheme and authority, whose case does not matter (RFC 3986 section 6.2.2.1)."""
_IDLE = frozenset({"", ".", "%2e", "%2E"})
_NOT_LITERAL = re.compile(r"""[\x00-\x20"<>\\^`{|}\x7f]|%(?![0-9A-Fa-f]{2})""")


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

In RFC 6570 it splits a list, with ``/`` into segments of a path, as here.  Without an operator the
RFC joins the parts by commas; here it means a path, as is widely understood.
"""


class Expression(Struct, frozen=True):
    """Expression between braces."""

    operator: Operator
    names: tuple[str, ...]


class Literal(Struct, frozen=True):
    """Constant part of the URI."""

    text: str


class Spelling(Struct, frozen=True):
    """Literal of which any character may be percent-encoded, or not."""

    pattern: re.Pattern[str]
    """Pattern that finds it at each place; what it matches is its first group."""


# Parsing and expansion


def parse(text: str) -> list[Literal | Expression]:
    """Split a template into its parts.  Raises TemplateError."""
    parts: list[Literal | Expression] = []
    for index, chunk in enumerate(re.split(r"(\{[^{}]*\})", text)):
        if index % 2:
            parts.append(_parse_expression(text, chunk[1:-1]))
        elif chunk:
            if wrong := _NOT_LITERAL.search(chunk):
                raise TemplateError(f"template {text!r}: {wrong[0]!r} is not allowed in a literal")
            # RFC 6570 section 3.1: characters not allowed in a URI are percent-encoded.
            parts.append(Literal(_encode_rest(chunk)))
    return parts


def _parse_expression(text: str, body: str) -> Expression:
    operator = body[:1] if body[:1] in _OPERATORS else ""
    operators = _OPERATORS
    names = body[len(operator) :].split(",")
    if operator in _EXPLODED and len(names) == 1 and names[0].endswith("*"):
        operators, names = _EXPLODED, [names[0][:-1]]
    for name in names:
        if name.endswith("*") or re.search(r":\d{1,4}$", name):
            known = "of that only {x*} and {/x*} are known, one variable for the rest of a path"
            raise TemplateError(f"template {text!r}: the modifier in {name!r} is level 4; {known}")
        if not _NAME.fullmatch(name):
            raise TemplateError(f"template {text!r}: {name!r} is no variable name")
    return Expression(operators[operator], tuple(names))


def _expand(part: Expression, values: Mapping[str, Any]) -> str:
    """Expand one expression, RFC 6570 section 3.2."""
    operator = part.operator
    expanded = []
    for name in part.names:
        value = values.get(name)
        if value is None or (operator.path and value in ([], ())):
            continue
        if operator.path:
            segments = value if isinstance(value, list | tuple) else _text(name, value).split("/")
            encoded = "/".join(quote(_text(name, each), safe="~") for each in segments)
        else:
            text = _text(name, value)
            encoded = _encode_rest(text) if operator.reserved else quote(text, safe="~")
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


def _encode_rest(text: str) -> str:
    """Percent-encode the characters that a URI cannot have; triplets stay."""
    pieces = re.split(f"({_TRIPLET.pattern})", text)
    return "".join(
        piece if index % 2 else quote(piece, safe=_URI) for index, piece in enumerate(pieces)
    )


def _percent_decode(raw: str) -> str | None:
    """Percent-decode once; None if the bytes are not UTF-8."""
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=16)  # a URI is held against one template after the other
def without_idle_segments(uri: str, end: str = "") -> str:
    """Return a URI without empty segments of its path and those that are a dot.

    A file system takes both for one name; for the dot see RFC 3986 section 6.2.2.3.  A slash at the
    beginning stays; the path ends with ``end``.
    """
    found = _PLACE.fullmatch(uri)
    if found is None:
        return uri
    scheme, place, rest = found.groups()
    first, *others = place.split("/")
    steps = [each for each in others if each not in _IDLE]
    if first not in _IDLE or (not first and others):
        steps.insert(0, first)
    return f"{scheme}{'/'.join(steps)}{end}{rest}"


def place_of(uri: str) -> str:
    """Return the form that all spellings of a URI without variables share."""
    text = unquote(uri)
    origin = _ORIGIN.match(text)[0]  # type: ignore[index]  # it matches everywhere
    return without_idle_segments(origin.lower() + text[len(origin) :])


# Matching

Values = list[tuple[str, str]]
"""Names and undecoded values."""

_SIMPLE = frozenset(_UNRESERVED)
_ANY = frozenset(_URI)
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


Piece = Literal | Spelling | Variable | Pairs


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


def spelled(pieces: list[Piece]) -> list[Piece]:
    """Return pieces that match literals in any spelling, and the others as they are."""
    found: list[Piece] = []
    caseless = _ORIGIN
    for piece in pieces:
        if not isinstance(piece, Literal):
            found.append(piece)
            continue
        text = unquote_to_bytes(piece.text).decode("latin-1")
        end = len(caseless.match(text)[0])  # type: ignore[index]  # as above
        letters = [*map(_any_case, text[:end]), *map(_any_spelling, text[end:])]
        # Without moving on: places may overlap.
        found.append(Spelling(re.compile(f"(?=({''.join(letters)}))")))
        goes_on = end == len(text) and (caseless is _AUTHORITY or "//" in text)
        caseless = _AUTHORITY if goes_on else _NOTHING
    return found


_AUTHORITY, _NOTHING = re.compile("[^/?#]*"), re.compile("")
"""Text whose case does not matter: the rest of an authority that has begun, or none."""


def _any_case(char: str) -> str:
    """Return the pattern of a character in whatever case."""
    if not (char.isascii() and char.isalpha()):
        return _any_spelling(char)
    return f"(?:{_any_spelling(char.lower())}|{_any_spelling(char.upper())})"


def _any_spelling(char: str) -> str:
    """Return the pattern of a character: as it is, if a URI may have it so, or percent-encoded."""
    triplet = f"(?i:%{ord(char):02X})"
    return f"(?:{re.escape(char)}|{triplet})" if char in _ANY else triplet


def _check_end_of_pairs(text: str, pairs: Pairs, rest: list[Piece]) -> None:
    for piece in rest:
        if isinstance(piece, Pairs):
            opening = piece.operator.first
        elif isinstance(piece, Variable):
            opening = piece.prefix[:1]
        else:
            assert isinstance(piece, Literal)  # noqa: S101 - as compiled
            opening = piece.text[0]
        if not opening or opening in _SIMPLE or opening in ("%", "=", pairs.operator.separator):
            what = f"what follows {{{pairs.operator.first}...}} cannot be told from its values"
            raise TemplateError(f"template {text!r}: {what}; put all of them into one expression")
        if isinstance(piece, Literal):
            return


def match_pieces(pieces: list[Piece], uri: str) -> Values | None:
    """Return the values, None if the URI does not match.

    A table replaces backtracking: ``ends[index][at]`` is the longest end of the piece that begins
    at ``at``, if it and all pieces after it match the rest of the URI, else -1.  It is filled from
    the right and followed from the left.
    """
    if pieces and not _may_begin(pieces[0], uri):
        return None
    size = len(uri)
    ends = [[-1] * (size + 1) for _ in range(len(pieces) + 1)]
    ends[-1][size] = size
    for index in range(len(pieces) - 1, -1, -1):
        _fill(pieces[index], uri, ends, index)
    found: Values = []
    at = index = 0
    while index < len(pieces):
        piece, end = pieces[index], ends[index][at]
        if end < 0:
            return None
        if isinstance(piece, Variable):
            if end > at:
                found.append((piece.name, uri[at + len(piece.prefix) : end]))
            else:
                index += piece.skip - 1
        elif isinstance(piece, Pairs) and (taken := _pairs(piece, uri, at)) and end > at:
            found += taken[0]
        at = end
        index += 1
    return found if at == size else None


def _may_begin(piece: Piece, uri: str) -> bool:
    """Return False if a URI does not begin with the literal that a template begins with."""
    if isinstance(piece, Spelling):
        return piece.pattern.match(uri) is not None
    return not isinstance(piece, Literal) or uri.startswith(piece.text)


def _fill(piece: Piece, uri: str, ends: list[list[int]], index: int) -> None:
    here, after = ends[index], ends[index + 1]
    if isinstance(piece, Literal):
        at = uri.find(piece.text)
        while at >= 0:
            if after[end := at + len(piece.text)] >= 0:
                here[at] = end
            at = uri.find(piece.text, at + 1)
    elif isinstance(piece, Spelling):
        for found in piece.pattern.finditer(uri):
            if after[end := found.end(1)] >= 0:
                here[found.start()] = end
    elif isinstance(piece, Pairs):
        here[:] = [at if reached >= 0 else -1 for at, reached in enumerate(after)]
        at = uri.find(piece.operator.first)
        while at >= 0:
            taken = _pairs(piece, uri, at)
            if taken and after[taken[1]] >= 0:
                here[at] = taken[1]
            at = uri.find(piece.operator.first, at + 1)
    else:
        runs = [-1] * len(here)  # the longest value from each position that leaves a matching rest
        steps = _steps(uri, piece.alphabet)
        for at in range(len(uri) - 1, -1, -1):
            if step := steps[at]:
                end = at + step
                runs[at] = end if runs[end] < 0 <= after[end] else runs[end]
        prefix, size = piece.prefix, len(uri)
        if not prefix:
            here[:size] = runs[:size]
        else:
            at = uri.find(prefix, 0, size - 1)
            while at >= 0:
                here[at] = runs[at + len(prefix)]
                at = uri.find(prefix, at + 1, size - 1)
        if piece.skip:
            for at, reached in enumerate(ends[index + piece.skip]):
                if here[at] < 0 <= reached:
                    here[at] = at


@lru_cache(maxsize=16)  # a URI is held against one template after the other
def _steps(uri: str, alphabet: frozenset[str]) -> bytearray:
    """Return the width of the character at each place: 3 for a triplet, 0 for one of others."""
    steps = bytearray(char in alphabet for char in uri)
    for found in _TRIPLET.finditer(uri):
        steps[found.start()] = 3
    return steps


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


class UriTemplate:
    """Parsed template.

    ``unchecked`` names variables whose values are not checked.  Raises :class:`TemplateError` if
    the text is no template of the kinds described above.

    >>> template = UriTemplate("file:///{+path}{?line}")
    >>> template.expand({"path": "src/main.rs", "line": 7})
    'file:///src/main.rs?line=7'
    >>> template.match("file:///src/main.rs?line=7")
    {'path': 'src/main.rs', 'line': '7'}
    >>> template.match("file:///src/../../etc/passwd")
    Traceback (most recent call last):
    mcpcore.errors.UnsafeValue: variable 'path': it holds the segment '..'
    """

    __slots__ = (
        "_limit",
        "_parts",
        "_pieces",
        "_spelled",
        "paths",
        "text",
        "unchecked",
        "variables",
    )

    def __init__(
        self, text: str, *, unchecked: Collection[str] = (), max_length: int = MAX_URI
    ) -> None:
        self.text = text
        self._parts = parse(text)
        expressions = [part for part in self._parts if isinstance(part, Expression)]
        self.variables = tuple(chain.from_iterable(part.names for part in expressions))
        """Names in the order of the template."""
        paths = (part.names for part in expressions if part.operator.path)
        self.paths = frozenset(chain.from_iterable(paths))
        """Names of variables that stand for a path of any length."""
        if len(set(self.variables)) != len(self.variables):
            raise TemplateError(f"template {text!r} names a variable twice")
        self.unchecked = frozenset(unchecked)
        if unknown := self.unchecked.difference(self.variables):
            raise TemplateError(f"template {text!r} has no variable {min(unknown)!r}")
        self._pieces = compile_pieces(text, self._parts)
        self._spelled: list[Piece] | None = None
        self._limit = max_length

    def __repr__(self) -> str:
        return f"UriTemplate({self.text!r})"

    def renamed(self, text: str) -> "UriTemplate":
        """Return the template of another text with the same variables and settings."""
        return UriTemplate(text, unchecked=self.unchecked, max_length=self._limit)

    def expand(self, values: Mapping[str, Any]) -> str:
        """Fill in ``values`` (strings, numbers, booleans); absent ones and None are undefined.

        A path (``{x*}``) may be a list of its segments.  RFC 6570 section 3.2.  Raises TypeError.
        """
        return "".join(
            part.text if isinstance(part, Literal) else _expand(part, values)
            for part in self._parts
        )

    def samples(self) -> tuple[str, str]:
        """Return a URI with a letter for each variable, and one with paths where these may be."""
        long = {
            name: "x/x"
            for part in self._parts
            if isinstance(part, Expression) and (part.operator.path or part.operator.reserved)
            for name in part.names
        }
        short = dict.fromkeys(self.variables, "x")
        return self.expand(short), self.expand(short | long)

    def match(self, uri: str, *, spelled_anyhow: bool = False) -> dict[str, str] | None:
        """Return the decoded values by name, or None if the URI is no expansion of the template.

        Characters outside ASCII count as their percent-encoded form (RFC 3987 section 3.1).
        ``spelled_anyhow``: a URI that does not match as it is may have characters of literals
        percent-encoded, its scheme and host in another case, idle segments, a fragment and an empty
        query.  Raises :class:`UnsafeValue` if it matches but a value is dangerous.
        """
        if len(uri) > self._limit:
            return None
        if not uri.isascii():
            try:
                uri = quote(uri, safe=_ASCII)
            except UnicodeEncodeError:  # a lone surrogate
                return None
        found = match_pieces(self._pieces, uri)
        if found is None and spelled_anyhow:
            found = self._match_anyhow(uri)
        if found is None:
            return None
        values: dict[str, str] = {}
        for name, raw in found:
            value = _percent_decode(raw)
            if value is None:
                return None
            if name not in self.unchecked and (reason := hazard(raw, value)):
                raise UnsafeValue(name, reason)
            values[name] = value
        return values

    def _match_anyhow(self, uri: str) -> Values | None:
        """Return the values of a URI that does not match as it is written."""
        bare = uri.partition("#")[0]
        forms: dict[str, None] = {}
        for each in (uri, bare, bare.removesuffix("?")):  # what HTTP sends is the same for all
            short = without_idle_segments(each)
            forms |= dict.fromkeys((each, short))
            if short != each:
                forms[without_idle_segments(each, end="/")] = None
        if self._spelled is None:
            self._spelled = spelled(self._pieces)
        found = (match_pieces(self._spelled, each) for each in forms)
        return next((values for values in found if values is not None), None)


def hazard(raw: str, value: str) -> str | None:
    """Return the reason for which a matched value is dangerous as part of a path, or None.

    ``raw`` is the value as it stands in the URI, ``value`` the same, decoded.
    """
    lowered = raw.lower()
    if "%2f" in lowered or "%5c" in lowered:
        return "it holds an encoded slash or backslash"
    # A handler may decode once more, so the result of that is checked as well.
    for text in (value, _percent_decode(value) or value) if "%" in value else (value,):
        if _CONTROL.search(text):
            return "it holds a control character"
        path = text.replace("\\", "/")
        if ".." in path and any(segment.strip() == ".." for segment in path.split("/")):
            return "it holds the segment '..'"
        if path.startswith("/") or _DRIVE.match(path):
            return "it is an absolute path"
    return None
