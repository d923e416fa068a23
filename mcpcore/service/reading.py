"""Readers of values: typed parts of messages, and the application's arguments, results, forms.

msgspec matches ``Meta(pattern=...)`` with Python's ``re``, which may take time exponential in the
length of a text that the peer chooses. A type with patterns is therefore read as a twin without
them, and the server's validator, whose work is bounded, checks the value against its JSON Schema.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as types
from msgspec.structs import astuple

from mcpcore.errors import InvalidValue, Malformed, OutputMismatch, ValidatorMissing
from mcpcore.service.custom_types import read_custom
from mcpcore.service.docstrings import parse_docstring
from mcpcore.service.handlers import Handler, Parameter, values_type
from mcpcore.service.schema import Schema, Validator, derive, input_schema, resolved
from mcpcore.spec.decoding import decode
from mcpcore.wire.jsontext import encodable

if TYPE_CHECKING:  # imported with pydantic, and with the first type that has patterns
    from mcpcore.service.pydantic_types import PydanticType
    from mcpcore.service.twins import Twins

T = TypeVar("T")

_FLAWS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_INNER = ("type", "item_type", "key_type", "value_type")
_SCALARS = {"string", "integer", "number", "boolean", "null"}
_MESSAGE = 500
"""Maximum characters of a message about a value: names in it come from the client."""
_PROBLEMS = 10
"""Maximum problems named in one message."""
_SHORT, _LARGE = 4096, 2.0**64
"""Maximum bytes of a text in which whole floats beyond ``_LARGE`` are integers, too: 1e308 has 309
digits then, so that a long text of such numbers would take seconds."""

_anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def read(decoder: msgspec.json.Decoder[T], raw: bytes | Raw, root: str) -> T:
    """Decode and check a value; ``root`` is its name in messages.

    Raises :class:`InvalidValue` with a message like ``arguments.user.age: Expected int, got str``.
    """
    try:
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            # In JSON Schema 1.0 is an integer, to msgspec it is not; the schema is authoritative.
            most = math.inf if len(raw) <= _SHORT else _LARGE
            return decoder.decode(msgspec.json.encode(_whole(msgspec.json.decode(raw), most)))
    except msgspec.ValidationError as error:
        raise InvalidValue(explain(error, root)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"{root}: {error}") from None


def typed(raw: bytes | Raw, expected: type[T]) -> T:
    """Decode JSON into a type of the protocol.  Raises :class:`Malformed`."""
    try:
        return decode(raw, expected)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def read_tree(raw: bytes | Raw, root: str) -> Any:
    """Decode a value for a validator, members that a type does not know included."""
    return read(_anything, raw, root)


def explain(error: msgspec.ValidationError, root: str) -> str:
    """Turn msgspec's message into one that begins with the name of the field.

    >>> explain(msgspec.ValidationError("Expected `int`, got `str` - at `$.user.age`"), "arguments")
    'arguments.user.age: Expected int, got str'
    """
    message, _, place = str(error).rpartition(" - at `")
    if not message:
        message, place = place, "$"
    path = root + place.rstrip("`").rpartition("$")[2]
    if isinstance(error.__cause__, Misfit):
        return in_one_line(error.__cause__.problems, path)
    if member := re.fullmatch(r"Object missing required field `(.*)`", message, re.DOTALL):
        message, path = "Missing required field", f"{path}.{member[1]}"
    elif member := re.fullmatch(r"Object contains unknown field `(.*)`", message, re.DOTALL):
        message, path = "Unknown field", f"{path}.{member[1]}"
    elif place.startswith("key`"):
        message = f"{message} (as a key)"
    return shorten(f"{path}: {message.replace('`', '')}")


def in_one_line(problems: list[str], root: str) -> str:
    """Join problems into one message; each entry, ``path: text``, begins below ``root``.

    >>> in_one_line(["age: expected int", "[0].x: missing", ": too short"], "user")
    'user.age: expected int; user[0].x: missing; user: too short'
    """
    named = (f"{root}{'' if each[:1] in '[:' else '.'}{each}" for each in problems[:_PROBLEMS])
    return shorten("; ".join(named))


def shorten(message: str) -> str:
    """Shorten a message that a client could make long."""
    return message if len(message) <= _MESSAGE else message[: _MESSAGE - 3] + "..."


def _whole(value: Any, most: float) -> Any:
    """Return a value with integers in place of whole floats up to ``most``."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= most:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner, most) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner, most) for inner in value]
    return value


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


class Misfit(ValueError):
    """Part of a value that does not fit; each of ``problems``, ``path: text``, is below it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def schema_not_met(why: object) -> OutputMismatch:
    """Return the error for a result that its output schema does not allow."""
    rule = "the result does not meet the output schema"
    return OutputMismatch(f"the output schema is not met: {why}", rule)


def refuse(problems: list[str], root: str) -> None:
    """Raise :class:`InvalidValue` if there are problems; each names a field below ``root``."""
    if problems:
        raise InvalidValue(in_one_line(problems, root))


# Readers


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
            pending.extend(field.type for field in each.fields)
        pending.extend(getattr(each, name) for name in _INNER if hasattr(each, name))
        pending.extend([*getattr(each, "types", ()), *getattr(each, "item_types", ())])
    return False


class ValueReader(Generic[T]):
    """Reader of values of a type, patterns included.

    ``schema`` returns the JSON Schema of a type with patterns, for which this raises
    ValidatorMissing without a ``validator``, ValueError for a pattern that it refuses, and
    TypeError if the type cannot be read without its patterns; ``what`` names the value.  ``custom``
    reads types that msgspec does not know, ``foreign`` the members that are for pydantic, by name.
    """

    def __init__(
        self,
        type: type[T],
        schema: Callable[[], Schema],
        validator: Validator | None,
        what: str,
        *,
        custom: Callable[[Any, Any], Any] = read_custom,
        foreign: "Mapping[str, PydanticType] | None" = None,
    ) -> None:
        self._problems: Callable[[Any], list[str]] | None = None
        self._twins: Twins | None = None
        info = types.type_info(type)
        if has_patterns(info):
            if validator is None:
                raise ValidatorMissing(what, "has a type with a pattern")
            self._problems = validator(schema())
            from mcpcore.service import twins  # late: few types have patterns

            self._twins = twins.Twins()
            type = self._twins.annotation(info)
        self.type: Any = type
        """Decoded type: the type itself, or its twin."""
        self._foreign = foreign or {}
        self._plain = self._problems is None and not self._foreign
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(type, dec_hook=custom)
        self._decode = self._decoder.decode

    def read(self, raw: bytes | Raw, root: str) -> T:
        """Decode and check a JSON text; ``root`` is its name in messages.  Raises InvalidValue."""
        if self._plain:
            try:
                return self._decode(raw)
            except _FLAWS:  # rare; the second try finds the message, or takes 1.0 for 1
                return read(self._decoder, raw, root)
        value = self._original(self.check(raw, root), root)
        for name, foreign in self._foreign.items():
            given = getattr(value, name)
            if isinstance(given, Raw):  # and not a default
                setattr(value, name, foreign.read(given, f"{root}.{name}"))
        return value

    def check(self, raw: bytes | Raw, root: str) -> Any:
        """Decode and check as :meth:`read` does; the value returned may be of a twin."""
        value = read(self._decoder, raw, root)
        if self._problems is not None:
            refuse(self._problems(read_tree(raw, root)), root)
        return value

    def convert(self, values: Mapping[str, str], root: str) -> T:
        """Make a value of the type, which has named fields, from strings.  Raises InvalidValue."""
        try:
            value: T = msgspec.convert(values, self.type, strict=False, dec_hook=read_custom)
        except msgspec.ValidationError as error:
            raise InvalidValue(explain(error, root)) from None
        except ValueError as error:  # of datetime, for seconds out of range
            raise InvalidValue(shorten(f"{root}: {error}")) from None
        for name in values:
            if not _is_finite(getattr(value, name)):
                # The schema, which has numbers of JSON alone, allows neither NaN nor infinity.
                raise InvalidValue(f"{root}.{name}: Expected a finite number")
        if self._problems is not None:
            refuse(self._problems(msgspec.to_builtins(value, enc_hook=encodable)), root)
            value = self._original(value, root)
        for name, foreign in self._foreign.items():
            if name in values:
                setattr(value, name, foreign.read_text(values[name], f"{root}.{name}"))
        return value

    def _original(self, value: Any, root: str) -> T:
        try:
            original: T = value if self._twins is None else self._twins.original(value)
        except (ValueError, TypeError) as error:  # of __post_init__, which msgspec reports alike
            raise InvalidValue(f"{root}: {error}") from None
        return original


def arguments_reader(
    type: type[Struct], parameters: tuple[Parameter, ...], validator: Validator | None
) -> ValueReader[Any]:
    """Return the reader of the arguments of a handler; ``type``: its :func:`values_type`."""
    foreign = {each.name: each.foreign for each in parameters if each.foreign}
    return ValueReader(type, partial(derive, type), validator, "the input", foreign=foreign)


class StringHandler(Handler):
    """Handler of a prompt or a template, whose values arrive as strings.

    ``paths``: names of parameters whose strings are paths; they may be lists, of the segments.
    Raises TypeError for a parameter that no string can fill, ValidatorMissing and ValueError as
    :class:`ValueReader` does.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        validator: Validator | None,
        *,
        thread: bool,
        paths: Collection[str] = (),
    ) -> None:
        super().__init__(function, thread=thread)
        if self.rest is not None:
            raise TypeError(f"**{self.rest} cannot be filled from named values")
        type = values_type(self.parameters, text=True)
        doc = parse_docstring(self.doc)
        self.description = doc.description
        schema = input_schema(type, self.parameters, doc.parameters)
        self._values = arguments_reader(type, self.parameters, validator)
        self.properties: dict[str, Schema] = schema["properties"]
        """Schema of each parameter, from its type and the docstring."""
        self._lists: list[Parameter] = []
        definitions = schema.get("$defs", {})
        for parameter in self.parameters:
            rules = self.properties[parameter.name]
            if parameter.name in paths and parameter.foreign is None and "items" in rules:
                self._lists.append(parameter)
                rules = rules["items"]
            if not _is_scalar(rules, definitions):
                raise TypeError(f"parameter {parameter.name!r} cannot be made from a string")

    def bind(self, values: Mapping[str, str], root: str) -> tuple[Any, ...]:
        """Convert the values.  Raises :class:`InvalidValue` naming the one that does not fit."""
        given: dict[str, Any] = dict(values)
        for parameter in self._lists:
            if parameter.name in given:
                given[parameter.name] = given[parameter.name].split("/")
            elif parameter.required:
                given[parameter.name] = []
        return astuple(self._values.convert(given, root))


def _is_scalar(rules: Schema, definitions: Schema) -> bool:
    rules = resolved(rules, definitions)
    if "anyOf" in rules:
        return all(_is_scalar(branch, definitions) for branch in rules["anyOf"])
    return rules.get("type", "string") in _SCALARS
