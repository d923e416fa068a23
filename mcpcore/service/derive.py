"""JSON Schema of types: derived by msgspec, and completed here.

msgspec leaves out the formats of dates and times if several are allowed, and all descriptions of
fields outside of ``Meta``. It copies docstrings as they stand in the code.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin, get_type_hints

import msgspec
from msgspec import _json_schema
from msgspec import inspect as types

from mcpcore.service.custom_types import describe, read_by_pydantic
from mcpcore.service.docstrings import parse_docstring
from mcpcore.spec.json_schema import walk
from mcpcore.spec.types.model import Model
from mcpcore.wire.jsontext import encodable

Schema = dict[str, Any]

_DEFINITIONS = "#/$defs/"
_PLACES = {"$defs", "$ref"}
_FORMATS: dict[type, str] = {types.DateTimeType: "date-time", types.TimeType: "time"}
"""Formats that msgspec names only if the type demands an offset (``Meta(tz=True)``)."""


def derive(type: Any, *, output: bool = False) -> Schema:
    """Return the schema of a type; an object schema is inlined at the root.

    ``output``: the schema of the written form, which differs from the read one for pydantic types.
    Raises TypeError or NotImplementedError if the type has none.
    """
    found = read_by_pydantic(type)
    if found is not None:
        schema = found.schema(output=output)
    else:
        schema = _generate(type, partial(describe, output=output))
        _Finisher(schema.get("$defs", {})).finish(types.type_info(type), schema)
        gather_definitions(schema)
        for node in walk(schema):
            _name_type_of_enum(node)
    return _in_plain_sight(schema)


def _generate(type: Any, hook: Callable[[Any], Schema]) -> Schema:
    try:
        return msgspec.json.schema(type, schema_hook=hook)
    except TypeError:  # raised for defaults of members too, as msgspec takes no hook to write them
        info = types.type_info(type)
        named = _json_schema._collect_component_types([info])
        for each in named.values():
            for field in getattr(each, "fields", ()):
                field.default = _sayable(field.default)
        to_schema = _json_schema._SchemaGenerator(
            names := _json_schema._build_name_map(named), hook
        ).to_schema
        schema = to_schema(info)
        schema["$defs"] = {names[cls]: to_schema(each, False) for cls, each in named.items()}
        return schema


def _sayable(default: Any) -> Any:
    try:
        return msgspec.to_builtins(default, str_keys=True, enc_hook=encodable)
    except (TypeError, ValueError):
        return msgspec.NODEFAULT


def _in_plain_sight(schema: Schema) -> Schema:
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
    """Move the definitions of nested schemas up to the root of ``schema``.

    Each nested schema refers to its own definitions. If a name is taken by another definition, it
    gets a number.
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
        while isinstance(info, types.Metadata):
            info = info.type
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
        structs = [each for each in info.types if _is_object(each)]
        others = [each for each in info.types if each not in structs and not _is_none(each)]
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


def _is_object(info: types.Type) -> bool:
    bare = _bare(info)
    return isinstance(bare, types.StructType) and not bare.array_like


def _is_none(info: types.Type) -> bool:
    return isinstance(_bare(info), types.NoneType)


def _name_type_of_enum(node: Schema) -> None:
    """Add the type that msgspec leaves out of enums; some clients rely on it."""
    values = node.get("enum")
    if values and "type" not in node:
        if all(isinstance(value, str) for value in values):
            node["type"] = "string"
        elif all(isinstance(value, int) for value in values):
            node["type"] = "integer"
