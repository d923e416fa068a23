"""Types that pydantic, which the application has imported, reads and writes.

pydantic handles a type as a whole, with its own validation, coercion and schema, unless a part of
it is known to msgspec alone (a Struct, an attrs class, ``msgspec.Meta``). Then msgspec reads it,
and asks pydantic for the models in it (:mod:`mcpcore.service.custom_types`).
"""

import sys
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Raw, Struct

from mcpcore.errors import InvalidValue
from mcpcore.service.content import json_value
from mcpcore.service.reading import Misfit, in_one_line, schema_not_met
from mcpcore.service.schema import Schema
from mcpcore.wire.jsontext import without_input

_MODEL = "__pydantic_validator__"
_HOMES = {"annotated_types", "pydantic", "pydantic_core", "pydantic_extra_types"}
"""Packages whose objects in ``Annotated`` are rules for pydantic."""
_NOT_A_NUMBER = (b"null", b"NaN", b"Infinity")
"""JSON that pydantic may write for a float that is not finite; each may also be a proper value."""

_NAMED = 1000
"""Maximum problems of one value that are named."""


class PydanticType:
    """Type that pydantic reads and writes.  Raises TypeError if it cannot."""

    def __init__(self, annotation: Any) -> None:
        pydantic = sys.modules["pydantic"]
        self._invalid: type[Any] = pydantic.ValidationError
        self._adapter = _sound(lambda: pydantic.TypeAdapter(annotation))

    def schema(self, *, output: bool = False) -> Schema:
        """Return the JSON Schema of the read or the written form.  Raises TypeError."""
        mode = "serialization" if output else "validation"
        schema: Schema = _sound(self._adapter.json_schema, mode=mode)
        return schema

    def read(self, raw: bytes | Raw, root: str) -> Any:
        """Decode and check a JSON text; ``root`` is its name in messages.  Raises InvalidValue."""
        try:
            return self._adapter.validate_json(bytes(raw))
        except self._invalid as error:
            raise InvalidValue(in_one_line(_problems(error, raw), root)) from None

    def read_text(self, text: str, root: str) -> Any:
        """Make a value from a string that is not JSON.  Raises :class:`InvalidValue`."""
        try:
            return self._adapter.validate_strings(text)
        except self._invalid as error:
            raise InvalidValue(in_one_line(_problems(error, b"null"), root)) from None

    def encode(self, value: Any) -> bytes:
        """Check the return value of a handler, and write it as JSON.  Raises OutputMismatch."""
        try:
            value = self._adapter.validate_python(value)
            # pydantic warns of a model that was changed since it was checked.
            text: bytes = self._adapter.dump_json(value, by_alias=True, warnings="error")
            if any(word in text for word in _NOT_A_NUMBER):
                return json_value(self._adapter.dump_python(value, mode="json", by_alias=True))
        except self._invalid as error:
            places = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in _found(error))
            raise schema_not_met("; ".join(places)) from None
        except ValueError as error:
            raise schema_not_met(without_input(error)) from None
        return text


def pydantic_type(annotation: Any) -> PydanticType | None:
    """Return the reader of a type that pydantic handles, or None.

    Raises TypeError for one that neither pydantic nor msgspec can read as a whole.
    """
    models, rules, foreign = _inspect(annotation)
    if not (models or rules):
        return None
    if foreign is None:
        return PydanticType(annotation)
    if rules:
        raise TypeError(
            f"{rules} is for pydantic, which knows nothing of {foreign}: use msgspec.Meta, or make "
            "a pydantic model of it"
        )
    return None


def read_model(model: Any, value: Any) -> Any:
    """Make a model from a value decoded from JSON.  Raises :class:`Misfit`."""
    text = msgspec.json.encode(value)
    try:
        return model.model_validate_json(text)
    except sys.modules["pydantic"].ValidationError as error:
        raise Misfit(_problems(error, text)) from None


def parameter_of(
    annotation: Any, default: Any
) -> tuple[PydanticType | None, Any, Callable[[], Any] | None]:
    """Return the reader of a parameter, its default (NODEFAULT), and its default factory."""
    fields = sys.modules.get("pydantic.fields")
    if fields is None:  # no Field and no model has been made yet
        return None, default, None
    field_type = fields.FieldInfo
    if isinstance(default, field_type):
        annotation, default = Annotated[annotation, default], msgspec.NODEFAULT
    found = pydantic_type(annotation)
    if found is None or not any(isinstance(rule, field_type) for rule in _metadata(annotation)):
        return found, default, None
    field = field_type.from_annotation(annotation)
    if field.alias or field.validation_alias:
        raise TypeError("it has an alias: call the parameter as the argument is to be called")
    if default is not msgspec.NODEFAULT or field.is_required():
        return found, default, None
    return found, default, lambda: field.get_default(call_default_factory=True)


# Classifying types


def _inspect(annotation: Any) -> tuple[bool, str | None, str | None]:
    """Return True for models in a type, and the names of a rule for pydantic and a foreign part."""
    models = False
    rules: str | None = None
    foreign: str | None = None
    seen: set[Any] = set()
    pending = [annotation]
    while pending:
        each = pending.pop()
        for extra in _metadata(each):
            if isinstance(extra, Meta):
                foreign = foreign or "msgspec.Meta"
            elif _is_rule(extra):
                rules = rules or _name(extra)
        if not isinstance(each, type):
            pending.extend(_parts(each))
        elif each not in seen:
            seen.add(each)
            if hasattr(each, _MODEL):
                if hasattr(each, "model_validate_json"):
                    models = True
                else:
                    rules = rules or f"{_name(each)}, a dataclass,"
            elif hasattr(each, "parse_obj") and hasattr(each, "__get_validators__"):
                raise TypeError(f"{_name(each)} is a model of pydantic 1; those of 2 are supported")
            elif not _is_foreign(each) and hasattr(each, "__get_pydantic_core_schema__"):
                rules = rules or _name(each)
            else:
                if _is_foreign(each):
                    foreign = foreign or _name(each)
                pending.extend(_members(each))
    return models, rules, foreign


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the types that a type which is not a class consists of."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield get_args(annotation)[0]
    elif origin is not typing.Literal:
        yield from get_args(annotation)
        for name in ("__value__", "__supertype__"):  # of an alias, of a NewType
            if (inner := getattr(origin or annotation, name, None)) is not None:
                yield inner
        if isinstance(origin, type):
            yield origin


def _members(cls: type) -> Iterator[Any]:
    """Yield the types of the members of a class, if it has members in JSON."""
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__annotations__"):
        try:
            yield from get_type_hints(cls, include_extras=True).values()
        except (NameError, TypeError):  # msgspec and pydantic find names in more places
            return


def _is_foreign(cls: type) -> bool:
    """Return True if msgspec can read a class and pydantic cannot."""
    if typing.is_typeddict(cls):
        return sys.version_info < (3, 12) and type(cls).__module__ == "typing"
    return issubclass(cls, Struct) or hasattr(cls, "__attrs_attrs__")


def _is_rule(extra: Any) -> bool:
    home = str(getattr(extra, "__module__", "")).partition(".")[0]
    return home in _HOMES or hasattr(extra, "__get_pydantic_core_schema__")


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", type(thing).__name__)


# Messages


def _sound(make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call pydantic.  Raises TypeError with the first line of its message."""
    try:
        return make(*args, **options)
    except Exception as error:
        first = str(error).strip().partition("\n")[0]
        raise TypeError(f"pydantic: {first}") from error


def _problems(error: Any, raw: bytes | Raw) -> list[str]:
    """Return the problems, each ``path: text``; the value tells which steps are members of it.

    To name those of a long list of wrong items takes hundreds of times its bytes: of so many only
    the number is told.
    """
    count = error.error_count()
    if count > _NAMED:
        return [f": {count} problems, too many to name"]
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):  # unknown members are not decoded by a type
        value = None
    return [f"{_path(each['loc'], value, each['type'])}: {each['msg']}" for each in _found(error)]


def _found(error: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return found


def _path(steps: tuple[str | int, ...], value: Any, kind: str) -> str:
    """Return the path in the value; pydantic's steps also name union branches and validators."""
    path = ""
    for position, step in enumerate(steps):
        if isinstance(value, list) and isinstance(step, int):
            path += f"[{step}]"
            value = value[step] if step < len(value) else None
        elif isinstance(value, dict) and str(step) in value:
            path += f".{step}"
            value = value[str(step)]
        elif kind == "missing" and position == len(steps) - 1:
            path += f".{step}"
    return path.removeprefix(".")
