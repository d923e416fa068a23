r"""Patterns in the syntax of Rust's ``regex``, with nothing left to be read differently.

Every set is written as ranges of code points and general categories, as a dot or ``\w`` mean
something else there.
"""

from collections.abc import Iterable

from transports.json_schema.patterns import (
    CATEGORIES,
    Boundary,
    Chars,
    Choice,
    Look,
    Ranges,
    Repeat,
    Sequence,
    Tree,
)

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
"""They are no characters in Rust."""
_ALL = r"\u0000-\u{10FFFF}"
_GROUP_NAMES = {frozenset(members): name for name, members in CATEGORIES.items()}


def to_rust(tree: Tree) -> str:
    r"""Write a plain pattern (:func:`~transports.json_schema.patterns.is_plain`).

    >>> to_rust(parse_pattern("^[a-z]+$"))
    '^[\\u0061-\\u007A]{1,}$'
    """
    match tree:
        case Chars():
            return _class(tree)
        case Sequence():
            return "".join(map(_grouped, tree.parts))
        case Choice():
            return "|".join(map(_grouped, tree.branches))
        case Repeat():
            most = "" if tree.most is None else str(tree.most)
            return f"{_grouped(tree.tree)}{{{tree.least},{most}}}"
        case Boundary(kind="begin"):
            return "^"
        case Boundary(kind="end"):
            return "$"
        case Boundary() | Look():
            raise ValueError("the pattern is not plain")


def _grouped(tree: Tree) -> str:
    text = to_rust(tree)
    return text if isinstance(tree, Chars | Boundary) else f"(?:{text})"


def _class(chars: Chars) -> str:
    ranges: list[tuple[int, int]] = []
    named = ""
    for item in chars.items:
        if item.categories:
            name = _GROUP_NAMES.get(item.categories) or min(item.categories)
            named += f"\\{'P' if item.negated else 'p'}{{{name}}}"
        else:
            ranges += _complement(item.ranges) if item.negated else item.ranges
    if named:
        return f"[{'^' if chars.negated else ''}{named}{_written(_merged(ranges))}]"
    # Ranges are never negated there: Rust gets it wrong where they meet around the surrogates.
    return _one_of(_complement(ranges) if chars.negated else _merged(ranges))


def _one_of(ranges: Ranges) -> str:
    if not ranges:
        return rf"[^{_ALL}]"
    ((low, high), *others) = ranges
    if low == high and not others and chr(low).isascii() and chr(low).isalnum():
        return chr(low)  # so that the library sees fixed texts
    return f"[{_written(ranges)}]"


def _written(ranges: Ranges) -> str:
    return "".join(f"{_point(low)}-{_point(high)}" for low, high in ranges)


def _point(point: int) -> str:
    return f"\\u{point:04X}" if point <= 0xFFFF else f"\\u{{{point:X}}}"


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """In order, with no two that touch, and none that begins or ends among the surrogates."""
    first, last = _SURROGATES
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        low = last + 1 if first <= low <= last else low
        high = first - 1 if first <= high <= last else high
        if low > high:
            continue
        end = found[-1][1] if found else -2
        if low <= (last if end == first - 1 else end) + 1:
            found[-1] = (found[-1][0], max(end, high))
        else:
            found.append((low, high))
    return tuple(found)


def _complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found = []
    start = 0
    for low, high in _merged(ranges):
        if start < low:
            found.append((start, low - 1))
        start = high + 1
    if start <= _LAST:
        found.append((start, _LAST))
    return _merged(found)
