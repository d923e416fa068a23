"""JSON Schema of the application's types, dialect 2020-12: derived by msgspec, completed here.

msgspec leaves out the formats of dates and times if several are allowed, and all descriptions of
fields outside of ``Meta``, and it copies docstrings as they stand in the code.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, _json_schema
from msgspec import inspect as types

from mcpcore.service.custom_types import describe, read_by_pydantic, read_custom
from mcpcore.service.docstrings import parse_docstring
from mcpcore.service.handlers import Parameter
from mcpcore.spec.json_schema import ANNOTATION, walk
from mcpcore.spec.types.model import Model
from mcpcore.wire.jsontext import encodable

Schema = dict[str, Any]

Validator = Callable[[Mapping[str, Any]], Callable[[Any], list[str]]]
"""Function that compiles a JSON Schema; the result lists the problems of a value decoded from JSON.

Each entry is ``path: text``, the path relative to the value.  Raises ValueError, naming the place,
if the schema itself is not valid or its dialect is not supported.  Both calls end within a bounded
time, whatever schema and value hold, and fetch nothing.  :mod:`mcpcore_transports.schema` has one.
"""

_DEFINITIONS = "#/$defs/"
_PLACES = {"$defs", "$ref"}
_FORMATS: dict[type, str] = {types.DateTimeType: "date-time", types.TimeType: "time"}
"""Formats that msgspec names only if the type demands an offset (``Meta(tz=True)``)."""


def mirrored(header: str) -> Meta:
    """Annotate a parameter of a tool to be mirrored into the HTTP header ``Mcp-Param-<header>``.

    >>> from typing import Annotated
    >>> region: Annotated[str, mirrored("Region")]
    """
    return Meta(extra_json_schema={ANNOTATION: header})


def input_schema(
    type: type[Struct], parameters: tuple[Parameter, ...], descriptions: Mapping[str, str]
) -> Schema:
    """Return the schema of a handler's arguments.

    ``type``: of these, by :func:`~mcpcore.service.handlers.values_type`.  ``descriptions``: of
    parameters whose types have none.  Raises TypeError naming the parameter whose type has no
    schema.
    """
    try:
        schema = derive(type)
    except (TypeError, NotImplementedError):
        for parameter in parameters:
            with _explained(f"parameter {parameter.name!r}"):
                derive(parameter.type)
        raise
    del schema["title"]
    if not schema["required"]:
        del schema["required"]
    for parameter in parameters:
        rules = schema["properties"][parameter.name]
        if parameter.foreign is not None:
            with _explained(f"parameter {parameter.name!r}"):
                rules |= parameter.foreign.schema()
        words = described(parameter.type) or descriptions.get(parameter.name)
        if words:
            rules.setdefault("description", words)
        if not parameter.required:
            _set_default(rules, parameter)
    gather_definitions(schema)
    return schema


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Name ``what`` has no schema; msgspec names the type in the last line of an explanation."""
    try:
        yield
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"{what}: {str(error).strip().splitlines()[-1]}") from None


def output_schema(type: Any) -> Schema:
    """Return the schema of a value of ``type``.  Raises TypeError if it has none."""
    with _explained("return type"):
        return derive(type, output=True)


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


# Types


def derive(type: Any, *, output: bool = False) -> Schema:
    """Return the schema of a type; an object schema is inlined at the root.

    ``output``: the schema of the written form, which differs from the read one for pydantic types.
    Raises TypeError or NotImplementedError if the type has none.
    """
    found = read_by_pydantic(type)
    if found is not None:
        return _inlined(found.schema(output=output))
    schema = _generate(type, partial(describe, output=output))
    _Finisher(schema.get("$defs", {})).finish(types.type_info(type), schema)
    gather_definitions(schema)
    for node in walk(schema):
        _name_type_of_enum(node)
    return _inlined(schema)


def _generate(type: Any, hook: Callable[[Any], Schema]) -> Schema:
    try:
        return msgspec.json.schema(type, schema_hook=hook)
    except TypeError:  # raised for defaults of members too, as msgspec takes no hook to write them
        info = types.type_info(type)
        named = _json_schema._collect_component_types([info])
        for each in named.values():
            for field in getattr(each, "fields", ()):
                try:
                    field.default = msgspec.to_builtins(
                        field.default, str_keys=True, enc_hook=encodable
                    )
                except (TypeError, ValueError):
                    field.default = msgspec.NODEFAULT
        to_schema = _json_schema._SchemaGenerator(
            names := _json_schema._build_name_map(named), hook
        ).to_schema
        schema = to_schema(info)
        schema["$defs"] = {names[cls]: to_schema(each, False) for cls, each in named.items()}
        return schema


def _inlined(schema: Schema) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    definitions = schema["$defs"]
    name = reference.removeprefix(_DEFINITIONS)
    root = {**definitions[name], **{word: schema[word] for word in schema.keys() - _PLACES}}
    others = [root, *(body for key, body in definitions.items() if key != name)]
    if not any(node.get("$ref") == reference for body in others for node in walk(body)):
        del definitions[name]
    if definitions:
        root["$defs"] = definitions
    return root


def gather_definitions(schema: Schema) -> None:
    """Move the definitions of nested schemas, which each refers to as its own, up to the root.

    A name that is taken by another definition gets a number.
    """
    nodes = [node for node in walk(schema) if "$defs" in node and node is not schema]
    if not nodes:
        return
    definitions = schema.setdefault("$defs", {})
    taken = {name: _reachable(name, definitions) for name in definitions}
    for node in reversed(nodes):
        own = node.pop("$defs")
        names: dict[str, str] = {}
        for name in own:
            meant, free, number = _reachable(name, own), name, 1
            while taken.setdefault(free, meant) != meant:
                number += 1
                free = f"{name}_{number}"
            names[name] = free
        for each in (node, *own.values()):
            for inner in walk(each):
                _rename(inner, names)
        definitions.update((names[name], body) for name, body in own.items())


def _reachable(name: str, definitions: Schema) -> bytes:
    """Return the JSON of a definition and of all definitions that it refers to."""
    found: Schema = {}
    pending = [name]
    while pending:
        name = pending.pop()
        if name in definitions and name not in found:
            found[name] = definitions[name]
            refs = (node.get("$ref", "") for node in walk(found[name]))
            pending += [ref.removeprefix(_DEFINITIONS) for ref in refs]
    return msgspec.json.encode(found, order="deterministic")


def _rename(node: Schema, names: dict[str, str]) -> None:
    targets = {_DEFINITIONS + old: _DEFINITIONS + new for old, new in names.items()}
    if node.get("$ref") in targets:
        node["$ref"] = targets[node["$ref"]]
    discriminator = node.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(tags := discriminator.get("mapping"), dict):
        tags |= {tag: targets[to] for tag, to in tags.items() if to in targets}


def described(annotation: Any) -> str | None:
    """Return the description in ``Annotated[int, "how many"]``, if there is one."""
    if get_origin(annotation) in (Required, NotRequired):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Annotated:
        return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, str)), None)
    return None


class _Finisher:
    """Pass over a type and its schema side by side."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions
        self._done: set[str] = set()

    def finish(self, info: types.Type, node: Schema) -> None:
        """Add to ``node``, the schema of ``info``, the parts that msgspec leaves out."""
        info = _bare(info)
        if isinstance(info, types.CustomType):
            return
        if (reference := node.get("$ref")) is not None:
            if reference in self._done:
                return
            self._done.add(reference)
            node = self._definitions[reference.removeprefix(_DEFINITIONS)]
            self._finish_class(info, node)
        elif isinstance(info, types.DateTimeType | types.TimeType):
            if info.tz is None:
                node.setdefault("format", _FORMATS[type(info)])
        elif isinstance(info, types.UnionType):
            self._finish_union(info, node)
        elif isinstance(info, types.TupleType):
            for item, rules in zip(info.item_types, node.get("prefixItems", ()), strict=True):
                self.finish(item, rules)
        elif isinstance(info, types.CollectionType) and "items" in node:
            self.finish(info.item_type, node["items"])
        elif hasattr(info, "value_type") and "additionalProperties" in node:
            self.finish(info.value_type, node["additionalProperties"])

    def _finish_class(self, info: Any, node: Schema) -> None:
        cls = getattr(info.cls, "__origin__", info.cls)
        if "description" in node:
            node["description"] = parse_docstring(cls.__doc__).description
            if not node["description"]:
                del node["description"]
        if isinstance(info, types.EnumType):
            return
        told = _told(cls)
        for field, rules in zip(info.fields, _field_schemas(info, node), strict=True):
            if field.name in told:
                rules.setdefault("description", told[field.name])
            if field.default is None and issubclass(cls, Model):
                del rules["default"]  # it stands for an absent member, which null would not be
            self.finish(field.type, rules)

    def _finish_union(self, info: types.UnionType, node: Schema) -> None:
        """Finish the branches: msgspec puts structs last, several as one branch, then None."""
        structs: list[types.Type] = []
        others: list[types.Type] = []
        for each in map(_bare, info.types):
            is_struct = isinstance(each, types.StructType) and not each.array_like
            if not isinstance(each, types.NoneType):
                (structs if is_struct else others).append(each)
        options = node["anyOf"]
        if "discriminator" not in node:
            for each, rules in zip(others, options, strict=False):
                self.finish(each, rules)
            options = options[len(others) :]
            if len(structs) > 1:
                options = options[0]["anyOf"]
        for each, rules in zip(structs, options, strict=False):
            self.finish(each, rules)


def _field_schemas(info: Any, node: Schema) -> list[Schema]:
    """Return the schemas of the fields of a class, in their order."""
    if "prefixItems" in node:
        slots: list[Schema] = node["prefixItems"]
        return slots[len(slots) - len(info.fields) :]  # the tag comes first
    properties = node.get("properties", {})
    return [properties[field.encode_name] for field in info.fields]


def _told(cls: Any) -> dict[str, str]:
    """Return descriptions of the fields of a class, from its annotations and docstrings."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = inspect.get_annotations(base)
        if own:
            words = parse_docstring(base.__dict__.get("__doc__")).parameters
            told |= {name: text for name, text in words.items() if name in own}
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # msgspec finds names in more places
        hints = {}
    return told | {name: text for name, hint in hints.items() if (text := described(hint))}


def _bare(info: types.Type) -> types.Type:
    while isinstance(info, types.Metadata):
        info = info.type
    return info


def _name_type_of_enum(node: Schema) -> None:
    """Add the type that msgspec leaves out of enums; some clients rely on it."""
    values = node.get("enum")
    if values and "type" not in node:
        if all(isinstance(value, str) for value in values):
            node["type"] = "string"
        elif all(isinstance(value, int) for value in values):
            node["type"] = "integer"


# Forms

_FORM_KEYWORDS = {
    "string": ("minLength", "maxLength", "pattern", "format", "enum", "default"),
    "integer": ("minimum", "maximum", "default"),
    "number": ("minimum", "maximum", "default"),
    "boolean": ("default",),
    "array": ("minItems", "maxItems", "items", "default"),
}
_FORM_FORMATS = ("email", "uri", "date", "date-time")


def form_type(type: Any) -> Any:
    """Return a type with fields as it is, and one of a value in a type with the field ``value``.

    Raises TypeError for a type without a schema.
    """
    with _explained("a form cannot hold this type"):
        fields = derive(type).get("type") == "object"
    return type if fields else msgspec.defstruct("Form", [("value", type)])


def form_schema(type: Any) -> Schema:
    """Return the schema of a form (elicitation page, "Requested Schema") with the fields of a type.

    The fields are strings, numbers, booleans, choices (Literal or enum of strings) or lists of
    choices, or any of these or None.  Raises TypeError naming the first field of another kind.

    >>> form_schema(msgspec.defstruct("Login", [("user", str)]))
    {'type': 'object', 'properties': {'user': {'type': 'string'}}, 'required': ['user']}
    """
    with _explained("a form cannot hold this type"):
        schema = derive(type)
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
    rules = resolved(rules, definitions)
    optional = False
    if "anyOf" in rules:
        branches = [resolved(branch, definitions) for branch in rules["anyOf"]]
        others = [branch for branch in branches if branch != {"type": "null"}]
        optional = len(others) < len(branches)
        if len(others) == 1:
            rules = {**others[0], **rules}
    if "const" in rules:
        rules = {**rules, "enum": [rules["const"]]}
    kind = rules.get("type")
    items = resolved(rules.get("items") or {}, definitions)
    is_choices = items.get("type") == "string" and "enum" in items
    if (
        kind not in _FORM_KEYWORDS
        or (kind == "array" and not is_choices)
        or (kind != "string" and "enum" in rules)
    ):
        raise TypeError(
            f"field {name!r}: a form holds strings, numbers, booleans, choices and lists of "
            "choices (which are strings) only"
        )
    words = ("type", "title", "description", *_FORM_KEYWORDS[kind])
    field: Schema = {word: rules[word] for word in words if rules.get(word) is not None}
    if field.get("format", "email") not in _FORM_FORMATS:
        del field["format"]
    if kind == "array":
        field["items"] = {"type": "string", "enum": items["enum"]}
    return field, optional


def resolved(rules: Schema, definitions: Schema) -> Schema:
    """Return a schema with the definition that it refers to, if it does, in its place."""
    if "$ref" not in rules:
        return rules
    name = rules["$ref"].removeprefix(_DEFINITIONS)
    definition = {word: value for word, value in definitions[name].items() if word != "title"}
    return {**definition, **{word: value for word, value in rules.items() if word != "$ref"}}
