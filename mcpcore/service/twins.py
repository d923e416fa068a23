"""Types without patterns: twins of types whose strings have some.

A value read as a twin has the shape of the original; :meth:`Twins.original` converts it to the
original type.
"""

import datetime
import decimal
import inspect
import uuid
from types import GenericAlias
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Union

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Raw
from msgspec import inspect as types

from mcpcore.service.reading import has_patterns

_SCALARS: dict[type, Any] = {
    types.AnyType: Any,
    types.NoneType: None,
    types.BoolType: bool,
    types.IntType: int,
    types.FloatType: float,
    types.StrType: str,
    types.RawType: Raw,
    types.BytesType: bytes,
    types.ByteArrayType: bytearray,
    types.MemoryViewType: memoryview,
    types.DateType: datetime.date,
    types.DateTimeType: datetime.datetime,
    types.TimeType: datetime.time,
    types.TimeDeltaType: datetime.timedelta,
    types.UUIDType: uuid.UUID,
    types.DecimalType: decimal.Decimal,
}
_COLLECTIONS: dict[type, Any] = {
    types.ListType: list,
    types.SetType: set,
    types.FrozenSetType: frozenset,
}
_LIMITS = ("min_length", "max_length", "gt", "ge", "lt", "le", "multiple_of", "tz")


class Twins:
    """Maker of types without patterns, and of original values from values of these."""

    def __init__(self) -> None:
        self._made: dict[type, Any] = {}
        """Original of each twin."""
        self._twins: dict[Any, Any] = {}
        """Twin of each original; None while it is being made."""

    def annotation(self, info: Any) -> Any:
        """Return the annotation of a type without its patterns."""
        kind = type(info)
        if kind is types.Metadata:
            return self.annotation(info.type)
        if kind is types.UnionType:
            return Union[tuple(map(self.annotation, info.types))]  # noqa: UP007 - made at run time
        if kind in _COLLECTIONS:
            item = self.annotation(info.item_type)
            return _limited(GenericAlias(_COLLECTIONS[kind], (item,)), info)
        if kind is types.VarTupleType:
            return _limited(GenericAlias(tuple, (self.annotation(info.item_type), ...)), info)
        if kind is types.TupleType:
            return GenericAlias(tuple, tuple(map(self.annotation, info.item_types)))
        if kind is types.DictType:
            inner = (self.annotation(info.key_type), self.annotation(info.value_type))
            return _limited(GenericAlias(dict, inner), info)
        if kind is types.LiteralType:
            return Literal[tuple(info.values)]
        if hasattr(info, "fields"):
            return self._twin(info) if has_patterns(info) else info.cls
        if hasattr(info, "cls"):  # an enum, or a class that msgspec does not know
            return info.cls
        if kind not in _SCALARS:
            raise TypeError(f"{kind.__name__} cannot be read beside a type with a pattern")
        return _limited(_SCALARS[kind], info)

    def _twin(self, info: Any) -> Any:
        twin = self._twins.get(info.cls, UNSET)
        if twin is None:
            name = getattr(info.cls, "__name__", info.cls)
            raise TypeError(f"{name} has a pattern and contains itself; pass a schema by hand")
        if twin is UNSET:
            self._twins[info.cls] = None
            twin = self._twins[info.cls] = self._make(info)
        return twin

    def _make(self, info: Any) -> Any:
        original = getattr(info.cls, "__origin__", info.cls)
        fields = [(field, self.annotation(field.type)) for field in info.fields]
        if isinstance(info, types.TypedDictType):
            named = {
                field.encode_name: kind if field.required else NotRequired[kind]
                for field, kind in fields
            }
            return TypedDict(original.__name__, named)  # type: ignore[operator]
        parameters = inspect.signature(original).parameters
        if missing := [field.name for field in info.fields if field.name not in parameters]:
            raise TypeError(
                f"{original.__name__} has a pattern and cannot be made of its fields: "
                f"{missing[0]!r} is no parameter"
            )
        is_tuple = isinstance(info, types.NamedTupleType)
        options: dict[str, Any] = {"array_like": is_tuple, "forbid_unknown_fields": is_tuple}
        if isinstance(info, types.StructType):
            names = ("array_like", "forbid_unknown_fields", "tag_field", "tag")
            options = {name: getattr(info, name) for name in names}
        members: list[Any] = []
        for field, kind in fields:
            # An absent value is left to the original, which has its default.
            default = NODEFAULT if field.required else UNSET
            form = msgspec.field(name=field.encode_name, default=default)
            members.append((field.name, kind, form))
        twin = msgspec.defstruct(original.__name__, members, kw_only=True, frozen=True, **options)
        self._made[twin] = original
        return twin

    def original(self, value: Any) -> Any:
        """Convert a value that was read as twins to the original types."""
        kind = type(value)
        original = self._made.get(kind)
        if original is not None:
            members = ((name, getattr(value, name)) for name in kind.__struct_fields__)
            return original(**{n: self.original(each) for n, each in members if each is not UNSET})
        if kind is dict:
            return {self.original(key): self.original(inner) for key, inner in value.items()}
        if kind in (list, tuple, set, frozenset):
            return kind(map(self.original, value))
        return value


def _limited(annotation: Any, info: Any) -> Any:
    limits = {name: limit for name in _LIMITS if (limit := getattr(info, name, None)) is not None}
    return Annotated[annotation, Meta(**limits)] if limits else annotation
