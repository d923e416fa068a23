"""Values of a type of ``mcpcore.spec.types``, as the JSON that it is written as."""

from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import ValidationError, inspect, json

_LEAVES = 6
_SAFE = 2**53 - 1
_DEPTH = 3
"""Structures within structures, after which what may be left out is left out."""


def text(max_size: int = 12) -> SearchStrategy[str]:
    """Text that UTF-8 can hold: no lone surrogates."""
    return st.text(st.characters(codec="utf-8"), max_size=max_size)


def json_values(max_leaves: int = _LEAVES) -> SearchStrategy[Any]:
    """Any JSON value."""
    leaves = st.none() | st.booleans() | numbers() | text()
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text(), inner, max_size=3),
        max_leaves=max_leaves,
    )


def numbers() -> SearchStrategy[int | float]:
    """Numbers that every JSON reader takes exactly."""
    return st.integers(-_SAFE, _SAFE) | st.floats(allow_nan=False, allow_infinity=False, width=32)


def json_objects() -> SearchStrategy[dict[str, Any]]:
    """Any JSON object."""
    return st.dictionaries(text(), json_values(3), max_size=3)


@cache
def values_of(type: Any, depth: int = _DEPTH) -> SearchStrategy[Any]:
    """Values of a type, as JSON; members that may be absent sometimes are."""
    return _of(inspect.type_info(type), depth)


def _of(info: inspect.Type, depth: int) -> SearchStrategy[Any]:
    match info:
        case inspect.StructType():
            return _struct(info, depth)
        case inspect.UnionType(types=types):
            return st.one_of([_of(each, depth) for each in types])
        case inspect.LiteralType(values=values):
            return st.sampled_from(sorted(values, key=str))
        case inspect.ListType(item_type=item) | inspect.CollectionType(item_type=item):
            return st.just([]) if depth <= 0 else st.lists(_of(item, depth - 1), max_size=2)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key, 0), _of(value, depth - 1), max_size=2)
        case inspect.StrType():
            return text()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            return st.integers(-_SAFE if least is None else least, _SAFE if most is None else most)
        case inspect.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False, allow_infinity=False, width=32)
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return json_values(3)
        case inspect.EnumType(cls=kind):
            return st.sampled_from([member.value for member in kind])
        case inspect.RawType() | inspect.CustomType():
            return json_objects()
        case inspect.Metadata(type=inner):
            return _of(inner, depth)
    raise NotImplementedError(f"no values are known for {info!r}")


def _struct(info: inspect.StructType, depth: int) -> SearchStrategy[dict[str, Any]]:
    ruled = hasattr(info.cls, "__post_init__")
    required: dict[str, SearchStrategy[Any]] = {}
    optional: dict[str, SearchStrategy[Any]] = {}
    if info.tag_field is not None:
        required[info.tag_field] = st.just(info.tag)
    for member in info.fields:
        if member.encode_name == "_meta":
            continue
        if member.required:
            required[member.encode_name] = _of(member.type, depth - 1)
        elif depth > 0 or ruled:
            optional[member.encode_name] = _of(member.type, depth - 1)
    made = st.fixed_dictionaries(required, optional=optional)
    return made.filter(lambda value: _fits(value, info.cls)) if ruled else made


def _fits(value: Any, type: Any) -> bool:
    """Whether a value keeps the rules of a type that go beyond those of its members."""
    try:
        json.decode(json.encode(value), type=type)
    except ValidationError:
        return False
    return True
