"""Readers of values of the application's types.

msgspec matches ``Meta(pattern=...)`` with Python's ``re``, which for some patterns takes time
exponential in the length of the text, and the peer chooses the text. A type with patterns is
therefore read as a twin without them. The server's validator, whose work is bounded, then checks
the value against the type's JSON Schema, patterns included.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as types

from mcpcore.errors import InvalidValue, ValidatorMissing
from mcpcore.service.custom_types import read_by_pydantic, read_custom
from mcpcore.service.derive import derive
from mcpcore.service.handlers import Parameter
from mcpcore.service.schema import (
    Schema,
    Validator,
    explain,
    in_one_line,
    read,
    read_tree,
    shorten,
)
from mcpcore.wire.jsontext import encodable

if TYPE_CHECKING:
    from mcpcore.service.pydantic_types import PydanticType
    from mcpcore.service.twins import Twins

T = TypeVar("T")

_FLAWS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_INNER = ("type", "item_type", "key_type", "value_type")


def refuse(problems: list[str], root: str) -> None:
    """Raise :class:`InvalidValue` if there are problems; each names a field below ``root``."""
    if problems:
        raise InvalidValue(in_one_line(problems, root))


def has_patterns(info: types.Type) -> bool:
    """Return True if a type has patterns, at any depth."""
    seen: set[Any] = set()
    pending: list[Any] = [info]
    while pending:
        each = pending.pop()
        if isinstance(each, types.StrType) and each.pattern is not None:
            return True
        if hasattr(each, "fields"):
            if each.cls in seen:
                continue
            seen.add(each.cls)
        pending.extend(_parts(each))
    return False


def _parts(info: Any) -> list[types.Type]:
    found = [getattr(info, name) for name in _INNER if hasattr(info, name)]
    for name in ("types", "item_types"):
        found.extend(getattr(info, name, ()))
    found.extend(field.type for field in getattr(info, "fields", ()))
    return found


class Reader(Generic[T]):
    """Reader of values of a type, patterns included.

    ``schema`` returns the type's JSON Schema, and is called if the type has patterns. In that case
    raises ValidatorMissing without a ``validator``, ValueError for a pattern that it refuses, and
    TypeError for a type that cannot be read without its patterns; ``what`` names its owner.
    ``custom`` reads types that msgspec does not know.
    """

    __slots__ = ("_decode", "_decoder", "_problems", "_twins", "type")

    def __init__(
        self,
        type: type[T],
        schema: Callable[[], Schema],
        validator: Validator | None,
        what: str,
        custom: Callable[[Any, Any], Any] = read_custom,
    ) -> None:
        self._problems: Callable[[Any], list[str]] | None = None
        self._twins: Twins | None = None
        info = types.type_info(type)
        if has_patterns(info):
            if validator is None:
                raise ValidatorMissing(what, "has a type with a pattern")
            self._problems = validator(schema())
            from mcpcore.service import twins  # here and not above: such types are few

            self._twins = twins.Twins()
            type = self._twins.annotation(info)
        self.type: Any = type
        """Decoded type: the type itself, or its twin."""
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type, dec_hook=custom)
        self._decode = self._decoder.decode

    def read(self, raw: bytes | Raw, root: str) -> T:
        """Decode and check a JSON text; ``root`` is its name in messages.

        Raises :class:`InvalidValue` naming the field.
        """
        if self._problems is None:
            try:
                return self._decode(raw)
            except _FLAWS:  # rare; the second try finds the message, or takes 1.0 for 1
                return read(self._decoder, raw, root)
        return self._original(self.check(raw, root), root)

    def check(self, raw: bytes | Raw, root: str) -> Any:
        """Decode and check as :meth:`read` does; the value returned may be of a twin."""
        value = read(self._decoder, raw, root)
        if self._problems is not None:
            refuse(self._problems(read_tree(raw, root)), root)
        return value

    def convert(self, values: Mapping[str, str], root: str) -> T:
        """Make a value of the type, which has named fields, from strings.

        Raises :class:`InvalidValue` naming the field.
        """
        try:
            value: T = msgspec.convert(values, self.type, strict=False, dec_hook=read_custom)
        except msgspec.ValidationError as error:
            raise InvalidValue(explain(error, root)) from None
        except ValueError as error:  # of datetime, for seconds out of range
            raise InvalidValue(shorten(f"{root}: {error}")) from None
        if self._problems is not None:
            refuse(self._problems(msgspec.to_builtins(value, enc_hook=encodable)), root)
            return self._original(value, root)
        return value

    def _original(self, value: Any, root: str) -> T:
        try:
            original: T = value if self._twins is None else self._twins.original(value)
        except (ValueError, TypeError) as error:  # of __post_init__, which msgspec reports alike
            raise InvalidValue(f"{root}: {error}") from None
        return original


def reader_of(
    type: Any, schema: Callable[[], Schema], validator: Validator | None, what: str
) -> "Reader[Any] | PydanticType":
    """Return the reader of values of a type, of pydantic or of msgspec.

    Raises as :class:`Reader` does, and TypeError for a type that neither can read.
    """
    return read_by_pydantic(type) or Reader(type, schema, validator, what)


class MixedReader(Reader[Any]):
    """Reader of arguments some of which pydantic reads."""

    __slots__ = ("_foreign",)

    def __init__(self, type: type[Struct], parameters: Sequence[Parameter], *rest: Any) -> None:
        super().__init__(type, *rest)
        self._foreign = {each.name: each.foreign for each in parameters if each.foreign}

    def read(self, raw: bytes | Raw, root: str) -> Any:
        """Decode and check the arguments, with pydantic for its part of them."""
        values = super().read(raw, root)
        for name, foreign in self._foreign.items():
            given = getattr(values, name)
            if isinstance(given, Raw):  # and not a default
                setattr(values, name, foreign.read(given, f"{root}.{name}"))
        return values

    def convert(self, values: Mapping[str, str], root: str) -> Any:
        """Make the arguments from strings, with pydantic for its part of them."""
        made = super().convert(values, root)
        for name, foreign in self._foreign.items():
            if name in values:
                setattr(made, name, foreign.read_text(values[name], f"{root}.{name}"))
        return made


def arguments_reader(
    type: type[Struct],
    parameters: tuple[Parameter, ...],
    validator: Validator | None,
    what: str,
) -> Reader[Any]:
    """Return the reader of the arguments of a handler.

    ``type``: result of :func:`mcpcore.service.handlers.values_type` for ``parameters``.  Raises as
    :class:`Reader` does.
    """
    rest = (partial(derive, type), validator, what)
    if any(parameter.foreign for parameter in parameters):
        return MixedReader(type, parameters, *rest)
    return Reader(type, *rest)
