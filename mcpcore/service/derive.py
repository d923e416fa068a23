"""JSON Schema of types: msgspec derives it, and here it is told in full.

msgspec leaves out how dates and times are written where it takes several forms, what is said of
fields anywhere but in ``Meta``, and gives docstrings as they stand in the code.
"""

import inspect
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as types

from mcpcore.service.docstrings import parse_docstring
from mcpcore.spec.json_schema import walk

Schema = dict[str, Any]

_DEFINITIONS = "#/$defs/"
_PLACES = {"$defs", "$ref"}
_FORMATS: dict[type, str] = {types.DateTimeType: "date-time", types.TimeType: "time"}
"""msgspec says them only where the type demands an offset (``Meta(tz=True)``)."""


def derive(type: Any) -> Schema:
    """Return the schema of a type, with an object in plain sight at the root where it is one.

    Raises TypeError or NotImplementedError if it has none.
    """
    schema = msgspec.json.schema(type)
    _Finisher(schema.get("$defs", {})).finish(types.type_info(type), schema)
    for node in walk(schema):
        _name_type_of_enum(node)
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


def described(annotation: Any) -> str | None:
    """The description in ``Annotated[int, "how many"]``."""
    if get_origin(annotation) in (Required, NotRequired):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Annotated:
        return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, str)), None)
    return None


class _Finisher:
    """Goes through a type and its schema side by side."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions
        self._done: set[str] = set()

    def finish(self, info: types.Type, node: Schema) -> None:
        """Add to ``node``, the schema of ``info``, what msgspec leaves out."""
        while isinstance(info, types.Metadata):
            info = info.type
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
            self.finish(field.type, rules)

    def _finish_union(self, info: types.UnionType, node: Schema) -> None:
        """Msgspec puts structs behind the others, as one where there are several, and None last."""
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
    """The schemas of the fields of a class, in their order."""
    if "prefixItems" in node:
        slots: list[Schema] = node["prefixItems"]
        return slots[len(slots) - len(info.fields) :]  # the tag comes first
    properties = node.get("properties", {})
    return [properties[field.encode_name] for field in info.fields]


def _told(cls: Any) -> dict[str, str]:
    """What is said of the fields of a class, in their annotations or in docstrings."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = inspect.get_annotations(base)
        if own:
            words = parse_docstring(base.__dict__.get("__doc__")).parameters
            told |= {name: text for name, text in words.items() if name in own}
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # msgspec finds names in places where this does not
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
    """Add the type that msgspec leaves out of choices; some readers rely on it."""
    values = node.get("enum")
    if values and "type" not in node:
        if all(isinstance(value, str) for value in values):
            node["type"] = "string"
        elif all(isinstance(value, int) for value in values):
            node["type"] = "integer"
