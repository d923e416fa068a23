"""JSON Schema from type hints, and values checked against the types they came from.

msgspec derives the schemas and enforces them, so that the checks agree with the schemas.  The
dialect is 2020-12.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from mcpcore.errors import InvalidValue
from mcpcore.service.custom_types import read_custom
from mcpcore.service.derive import Schema as Schema
from mcpcore.service.derive import derive, described, gather_definitions
from mcpcore.service.errors import Misfit
from mcpcore.service.handlers import Parameter
from mcpcore.spec.header_params import ANNOTATION
from mcpcore.spec.json_schema import subschemas
from mcpcore.wire.jsontext import encodable

T = TypeVar("T")

Validator = Callable[[Mapping[str, Any]], Callable[[Any], list[str]]]
"""Function that compiles a JSON Schema; the result lists the problems of a value decoded from JSON.

Each entry is ``path: text``, the path relative to the value.  Raises ValueError, naming the place,
if the schema itself is not valid or its dialect is not supported.  Both calls end within a bounded
time, whatever schema and value hold, and fetch nothing.  :mod:`mcpcore_transports.schema` has one.
"""

WRAPPED = "result"
"""Member that holds a value that is not an object, in revisions with objects only."""

_MESSAGE = 500
"""Maximum characters of a message about a value: names in it come from the client."""
_PROBLEMS = 10
"""Maximum problems named in one message."""


def mirrored(header: str) -> Meta:
    """Annotate a parameter of a tool to be mirrored into the HTTP header ``Mcp-Param-<header>``.

    >>> from typing import Annotated
    >>> region: Annotated[str, mirrored("Region")]
    """
    return Meta(extra_json_schema={ANNOTATION: header})


# Deriving


def input_schema(
    type: type[Struct], parameters: tuple[Parameter, ...], descriptions: Mapping[str, str]
) -> Schema:
    """Return the schema of a tool's arguments.

    ``type``: result of :func:`mcpcore.service.handlers.values_type` for ``parameters``.
    ``descriptions``: of parameters whose types have none.
    Raises TypeError naming the parameter whose type has no schema.
    """
    try:
        schema = derive(type)
    except (TypeError, NotImplementedError):
        for parameter in parameters:
            _named(parameter, derive, parameter.type)
        raise
    del schema["title"]
    if not schema["required"]:
        del schema["required"]
    for parameter in parameters:
        rules = schema["properties"][parameter.name]
        if parameter.foreign is not None:
            rules |= _named(parameter, parameter.foreign.schema)
        words = described(parameter.type) or descriptions.get(parameter.name)
        if words:
            rules.setdefault("description", words)
        if not parameter.required:
            _set_default(rules, parameter)
    gather_definitions(schema)
    return schema


def _named(parameter: Parameter, make: Callable[..., Schema], *args: Any) -> Schema:
    """Call the maker of a schema; name the parameter in the error."""
    try:
        return make(*args)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"parameter {parameter.name!r}: {_last_line(error)}") from None


def output_schema(type: Any) -> Schema:
    """Return the schema of a value of ``type``.  Raises TypeError if it has none."""
    try:
        return derive(type, output=True)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"return type: {_last_line(error)}") from None


_FORM_KEYWORDS = {
    "string": ("minLength", "maxLength", "pattern", "format", "enum", "default"),
    "integer": ("minimum", "maximum", "default"),
    "number": ("minimum", "maximum", "default"),
    "boolean": ("default",),
    "array": ("minItems", "maxItems", "items", "default"),
}
_FORM_FORMATS = ("email", "uri", "date", "date-time")


def form_schema(type: Any) -> Schema:
    """Return the schema of a form (elicitation) with the fields of ``type``.

    ``type``: a Struct, dataclass or TypedDict whose fields are strings, numbers, booleans,
    choices (Literal or enum of strings) or lists of choices, or any of these or None.  Raises
    TypeError naming the first field that a form cannot hold.

    Source: elicitation page, "Requested Schema".

    >>> form_schema(msgspec.defstruct("Login", [("user", str)]))
    {'type': 'object', 'properties': {'user': {'type': 'string'}}, 'required': ['user']}
    """
    try:
        schema = derive(type)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"a form cannot hold this type: {_last_line(error)}") from None
    if schema.get("type") != "object" or "properties" not in schema:
        raise TypeError(f"a form needs a type with named fields, not {type!r}")
    definitions = schema.get("$defs", {})
    form: Schema = {"type": "object", "properties": {}}
    required = []
    for name, rules in schema["properties"].items():
        field, optional = _form_field(name, rules, definitions)
        form["properties"][name] = field
        if name in schema.get("required", ()) and not optional:
            required.append(name)
    if required:
        form["required"] = required
    return form


def _form_field(name: str, rules: Schema, definitions: Schema) -> tuple[Schema, bool]:
    """Return the field's schema as the specification allows it, and True if null is allowed."""
    rules = _resolved(rules, definitions)
    optional = False
    if "anyOf" in rules:
        branches = [_resolved(branch, definitions) for branch in rules["anyOf"]]
        others = [branch for branch in branches if branch != {"type": "null"}]
        optional = len(others) < len(branches)
        if len(others) == 1:
            rules = {**others[0], **rules}
    if "const" in rules:
        rules = {**rules, "enum": [rules["const"]]}
    kind = rules.get("type")
    items = _resolved(rules.get("items") or {}, definitions)
    if (
        kind not in _FORM_KEYWORDS
        or (kind == "array" and items.get("type") != "string")
        or (kind == "array" and "enum" not in items)
        or (kind != "string" and "enum" in rules)
    ):
        raise TypeError(
            f"field {name!r}: a form holds strings, numbers, booleans, choices and lists of "
            "choices (which are strings) only"
        )
    field: Schema = {w: rules[w] for w in ("type", "title", "description") if w in rules}
    for word in _FORM_KEYWORDS[kind]:
        if rules.get(word) is not None:
            field[word] = rules[word]
    if field.get("format", "email") not in _FORM_FORMATS:
        del field["format"]
    if kind == "array":
        field["items"] = {"type": "string", "enum": items["enum"]}
    return field, optional


def _resolved(rules: Schema, definitions: Schema) -> Schema:
    if "$ref" not in rules:
        return rules
    name = rules["$ref"].removeprefix("#/$defs/")
    definition = {word: value for word, value in definitions[name].items() if word != "title"}
    return {**definition, **{word: value for word, value in rules.items() if word != "$ref"}}


def _set_default(rules: Schema, parameter: Parameter) -> None:
    """Add the default if it has a JSON form that the type itself accepts."""
    if parameter.factory is not None:
        return  # pydantic adds it, if there is one
    try:
        text = msgspec.json.encode(parameter.default, enc_hook=encodable)
        if parameter.foreign is not None:
            parameter.foreign.read(text, "")
        else:
            msgspec.json.decode(text, type=parameter.type, dec_hook=read_custom)
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        return
    rules["default"] = msgspec.json.decode(text)


def _last_line(error: Exception) -> str:
    # msgspec names the type in the last line of a longer explanation.
    return str(error).strip().splitlines()[-1]


# Wrapping


def is_object_schema(schema: Mapping[str, Any]) -> bool:
    """Return True if the schema says explicitly that the value is an object."""
    return schema.get("type") == "object"


def wrap_schema(schema: Schema) -> Schema:
    """Return the schema of ``{"result": value}`` for a ``value`` of ``schema``.

    References into the document follow the schema to its new place.
    """
    inner = {word: value for word, value in schema.items() if word != "$schema"}
    wrapped: Schema = {"$schema": schema["$schema"]} if "$schema" in schema else {}
    return {
        **wrapped,
        "type": "object",
        "properties": {WRAPPED: _moved(inner)},
        "required": [WRAPPED],
    }


def _moved(schema: Schema) -> Schema:
    if "$id" in schema:
        return schema  # its references start from itself, wherever it stands
    copy = dict(schema)
    for word in ("$ref", "$dynamicRef"):
        target = copy.get(word)
        if isinstance(target, str) and (target == "#" or target.startswith("#/")):
            copy[word] = f"#/properties/{WRAPPED}{target[1:]}"
    for steps, inner in subschemas(schema):
        if len(steps) == 1:
            copy[steps[0]] = _moved(inner)
        else:
            keyword, key = steps
            if isinstance(schema[keyword], list):
                if copy[keyword] is schema[keyword]:
                    copy[keyword] = list(schema[keyword])
                copy[keyword][int(key)] = _moved(inner)
            else:
                copy[keyword] = {**copy[keyword], key: _moved(inner)}
    return copy


# Checking

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
            return decoder.decode(msgspec.json.encode(_whole(msgspec.json.decode(raw))))
    except msgspec.ValidationError as error:
        raise InvalidValue(explain(error, root)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"{root}: {error}") from None


def read_tree(raw: bytes | Raw, root: str) -> Any:
    """Decode a value for a validator.

    Raises :class:`InvalidValue` for a number that Python cannot read (1e999), at any place: a type
    does not check members that it does not know.
    """
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
    named = [
        f"{root}{'' if problem[:1] in '[:' else '.'}{problem}" for problem in problems[:_PROBLEMS]
    ]
    return shorten("; ".join(named))


def shorten(message: str) -> str:
    """Shorten a message that a client could make long."""
    return message if len(message) <= _MESSAGE else message[: _MESSAGE - 3] + "..."


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return value
