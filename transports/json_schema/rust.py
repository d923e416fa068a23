r"""Patterns in the syntax of Rust's ``regex``, with nothing left to be read differently.

Every set is written as ranges of code points and general categories, as a dot or ``\w`` mean
something else there.
"""

from collections.abc import Iterator

from transports.json_schema.patterns import (
    CATEGORIES,
    Boundary,
    Chars,
    Choice,
    Item,
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
    match chars:
        case Chars(
            items=[Item(ranges=[(low, high)], categories=[], negated=False)], negated=False
        ) if low == high and chr(low).isascii() and chr(low).isalnum():
            return chr(low)  # so that the library sees fixed texts
    text = "".join(map(_item, chars.items))
    if not text:
        return f"[{_ALL}]" if chars.negated else f"[^{_ALL}]"
    return f"[{'^' if chars.negated else ''}{text}]"


def _item(item: Item) -> str:
    if item.categories:
        name = _GROUP_NAMES.get(item.categories) or min(item.categories)
        return f"\\{'P' if item.negated else 'p'}{{{name}}}"
    ranges = _complement(item.ranges) if item.negated else item.ranges
    return "".join(f"{_point(low)}-{_point(high)}" for low, high in _without_surrogates(ranges))


def _point(point: int) -> str:
    return f"\\u{point:04X}" if point <= 0xFFFF else f"\\u{{{point:X}}}"


def _complement(ranges: Ranges) -> Ranges:
    found = []
    start = 0
    for low, high in sorted(ranges):
        if start < low:
            found.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        found.append((start, _LAST))
    return tuple(found)


def _without_surrogates(ranges: Ranges) -> Iterator[tuple[int, int]]:
    first, last = _SURROGATES
    for low, high in ranges:
        if low < first:
            yield low, min(high, first - 1)
        if high > last:
            yield max(low, last + 1), high
