"""The grammar of URI templates, RFC 6570 levels 1 to 3: operators, parsing, expansion."""

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
    """The text is no template of level 3 or below, or cannot be matched."""


class Operator(Struct, frozen=True):
    """One row of the table in RFC 6570 appendix A."""

    first: str = ""
    separator: str = ","
    named: bool = False
    empty: str = ""
    """What follows the name of a named variable that is empty."""
    reserved: bool = False


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


class Expression(Struct, frozen=True):
    """What stands between braces."""

    operator: Operator
    names: tuple[str, ...]


class Literal(Struct, frozen=True):
    """A piece of the URI that is always the same."""

    text: str


def parse(text: str) -> list[Literal | Expression]:
    """Take a template apart.  Raises :class:`TemplateError`."""
    parts: list[Literal | Expression] = []
    for index, chunk in enumerate(re.split(r"(\{[^{}]*\})", text)):
        if index % 2:
            parts.append(_parse_expression(text, chunk[1:-1]))
        elif chunk:
            if wrong := _NOT_LITERAL.search(chunk):
                raise TemplateError(f"template {text!r}: {wrong[0]!r} is not allowed in a literal")
            # RFC 6570 section 3.1: what may not stand in a URI is percent-encoded.
            parts.append(Literal(percent_encode(chunk, UNRESERVED + RESERVED, keep_triplets=True)))
    return parts


def _parse_expression(text: str, body: str) -> Expression:
    operator = body[:1] if body[:1] in OPERATORS else ""
    names = body[len(operator) :].split(",")
    for name in names:
        if name.endswith("*") or re.search(r":\d{1,4}$", name):
            raise TemplateError(
                f"template {text!r}: the modifier in {name!r} is level 4; levels 1 to 3 are known"
            )
        if not _NAME.fullmatch(name):
            raise TemplateError(f"template {text!r}: {name!r} is no variable name")
    return Expression(OPERATORS[operator], tuple(names))


def expand_expression(part: Expression, values: Mapping[str, Any]) -> str:
    """Expand one expression, RFC 6570 section 3.2."""
    operator = part.operator
    allowed = UNRESERVED + RESERVED if operator.reserved else UNRESERVED
    expanded = []
    for name in part.names:
        value = values.get(name)
        if value is None:
            continue
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
    """Encode what is not ``allowed``; triplets may be left as they are."""
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
