"""Grammar of URI templates: operators, parsing, expansion.

RFC 6570 levels 1 to 3, and of level 4 the modifier that makes a path of a variable: ``{path*}`` and
``{/path*}``.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
RESERVED = ":/?#[]@!$&'()*+,;="
_NAME = re.compile(r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+(?:\.(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+)*")
TRIPLET = re.compile(r"%[0-9A-Fa-f]{2}")
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


OPERATORS = {
    "": Operator(),
    "+": Operator(reserved=True),
    "#": Operator(first="#", reserved=True),
    ".": Operator(first=".", separator="."),
    "/": Operator(first="/", separator="/"),
    ";": Operator(first=";", separator=";", named=True),
    "?": Operator(first="?", separator="&", named=True, empty="="),
    "&": Operator(first="&", separator="&", named=True, empty="="),
}


EXPLODED = {"": Operator(path=True), "/": Operator(first="/", separator="/", path=True)}
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
            parts.append(Literal(percent_encode(chunk, UNRESERVED + RESERVED, keep_triplets=True)))
    return parts


def _parse_expression(text: str, body: str) -> Expression:
    operator = body[:1] if body[:1] in OPERATORS else ""
    operators = OPERATORS
    names = body[len(operator) :].split(",")
    if operator in EXPLODED and len(names) == 1 and names[0].endswith("*"):
        operators, names = EXPLODED, [names[0][:-1]]
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
    allowed = UNRESERVED + RESERVED if operator.reserved else UNRESERVED
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
    pieces = re.split(f"({TRIPLET.pattern})", text)
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
