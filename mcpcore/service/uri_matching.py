"""Matching of URIs against templates, in time linear in the length of the URI.

A template is compiled into pieces.  Two passes over a table replace backtracking. The first, from
the right, marks the positions from which the rest of the pieces matches the rest of the URI. The
second, from the left, takes the longest value that leads to such a position.
"""

import re

from msgspec import Struct

from mcpcore.service.uri_grammar import (
    RESERVED,
    TRIPLET,
    UNRESERVED,
    Expression,
    Literal,
    Operator,
    TemplateError,
)

Values = list[tuple[str, str]]
"""Names and undecoded values."""

_SIMPLE = frozenset(UNRESERVED)
_ANY = frozenset(UNRESERVED + RESERVED)
_PATH = _ANY.difference("?#[]")
"""Characters of the path of a URI (RFC 3986 section 3.3)."""
_PAIR = re.compile(r"([A-Za-z0-9_.%]+)(?:(=)((?:[A-Za-z0-9\-._~]|%[0-9A-Fa-f]{2})*))?")


class Span(Struct, frozen=True):
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


Piece = Literal | Span | Pairs


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
                pieces.append(Span(name, prefix, alphabet, skip))
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
    """Return the values, None if the URI does not match."""
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
    return 3 if TRIPLET.match(uri, at) else 0


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


def _longest(piece: Span, uri: str, at: int, after: bytearray) -> int:
    """Return the end of the longest value that leaves a matching rest, 0 if there is none."""
    if not uri.startswith(piece.prefix, at):
        return 0
    end = 0
    at += len(piece.prefix)
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
