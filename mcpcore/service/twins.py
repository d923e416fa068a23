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

_PLAIN: dict[type, Any] = {
    types.AnyType: Any,
    types.NoneType: None,
    types.BoolType: bool,
    types.RawType: Raw,
}
_LIMITED: dict[type, tuple[Any, tuple[str, ...]]] = {
    types.StrType: (str, ("min_length", "max_length")),
    types.IntType: (int, ("gt", "ge", "lt", "le", "multiple_of")),
    types.FloatType: (float, ("gt", "ge", "lt", "le", "multiple_of")),
}
_COLLECTIONS: dict[type, Any] = {
    types.ListType: list,
    types.SetType: set,
    types.FrozenSetType: frozenset,
}
_LENGTHS = ("min_length", "max_length")
_SCALARS: dict[type, Any] = {
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
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in _LIMITED:
            return _limited(_LIMITED[kind][0], info, _LIMITED[kind][1])
        if kind is types.UnionType:
            return Union[tuple(map(self.annotation, info.types))]  # noqa: UP007 - made at run time
        if kind in _COLLECTIONS:
            item = self.annotation(info.item_type)
            return _limited(GenericAlias(_COLLECTIONS[kind], (item,)), info, _LENGTHS)
        if kind is types.VarTupleType:
            items = (self.annotation(info.item_type), ...)
            return _limited(GenericAlias(tuple, items), info, _LENGTHS)
        if kind is types.TupleType:
            return GenericAlias(tuple, tuple(map(self.annotation, info.item_types)))
        if kind is types.DictType:
            inner = (self.annotation(info.key_type), self.annotation(info.value_type))
            return _limited(GenericAlias(dict, inner), info, _LENGTHS)
        if kind is types.LiteralType:
            return Literal[tuple(info.values)]
        if hasattr(info, "fields"):
            return self._twin(info) if has_patterns(info) else info.cls
        return _whole(info)

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
            members = {
                field.encode_name: kind if field.required else NotRequired[kind]
                for field, kind in fields
            }
            return TypedDict(original.__name__, members)  # type: ignore[operator]
        parameters = inspect.signature(original).parameters
        if missing := [field.name for field in info.fields if field.name not in parameters]:
            raise TypeError(
                f"{original.__name__} has a pattern and cannot be made of its fields: "
                f"{missing[0]!r} is no parameter"
            )
        is_struct = isinstance(info, types.StructType)
        options: dict[str, Any] = {"array_like": isinstance(info, types.NamedTupleType)}
        options["forbid_unknown_fields"] = options["array_like"]
        if is_struct:
            options = {
                "array_like": info.array_like,
                "forbid_unknown_fields": info.forbid_unknown_fields,
                "tag_field": info.tag_field,
                "tag": info.tag,
            }
        twin = msgspec.defstruct(
            original.__name__,
            [
                # An absent value is left to the original, which has its default.
                (
                    field.name,
                    kind,
                    msgspec.field(
                        name=field.encode_name, default=NODEFAULT if field.required else UNSET
                    ),
                )
                for field, kind in fields
            ],
            kw_only=True,
            frozen=True,
            **options,
        )
        self._made[twin] = original
        return twin

    def original(self, value: Any) -> Any:
        """Convert a value that was read as twins to the original types."""
        kind = type(value)
        original = self._made.get(kind)
        if original is not None:
            members = {name: getattr(value, name) for name in kind.__struct_fields__}
            return original(
                **{
                    name: self.original(member)
                    for name, member in members.items()
                    if member is not UNSET
                }
            )
        if kind is dict:
            return {self.original(key): self.original(inner) for key, inner in value.items()}
        if kind in (list, tuple, set, frozenset):
            return kind(map(self.original, value))
        return value


def _limited(annotation: Any, info: Any, limits: tuple[str, ...]) -> Any:
    given = {name: value for name in limits if (value := getattr(info, name)) is not None}
    return Annotated[annotation, Meta(**given)] if given else annotation


def _whole(info: Any) -> Any:
    """Return the annotation of a type that has no parts."""
    if hasattr(info, "cls"):  # an enum, or a class that msgspec does not know
        return info.cls
    if isinstance(info, types.DateTimeType | types.TimeType):
        bare: Any = _SCALARS[type(info)]
        return bare if info.tz is None else Annotated[bare, Meta(tz=info.tz)]
    if isinstance(info, types.BytesType | types.ByteArrayType | types.MemoryViewType):
        return _limited(_SCALARS[type(info)], info, _LENGTHS)
    if type(info) not in _SCALARS:
        raise TypeError(f"{type(info).__name__} cannot be read beside a type with a pattern")
    return _SCALARS[type(info)]
