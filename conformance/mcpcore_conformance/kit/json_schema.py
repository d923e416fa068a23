"""JSON Schema 2020-12 as far as tools use it: is a schema one at all, does a value follow it.

What is not understood (``$dynamicRef``, references to other documents, ``unevaluated...``) is let
through: the kit must not call a server wrong for what it cannot judge.  Nothing is ever fetched.
Source: the drafts 2020-12 of JSON Schema Core and Validation.
"""

import re
from collections.abc import Iterator
from typing import Any

from mcpcore_conformance.kit.usable import members

_TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")
_SCHEMAS = (
    "additionalProperties",
    "items",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_COUNTS = (
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
)
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OLD_DIALECT = re.compile(r"draft-0[3-7]")
_WHOLE = 2**53
"""Up to here every whole number is a floating-point number, too."""
_DEPTH = 64
_STEPS = 20_000
"""A schema that takes longer than that to follow is not followed to its end."""


def schema_problem(schema: Any, at: str = "the schema") -> str:
    """Return the reason why this is no valid schema of 2020-12; empty if it is one."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return f"{at} is neither an object nor a boolean"
    if isinstance(dialect := schema.get("$schema"), str) and _OLD_DIALECT.search(dialect):
        return ""
    return _keyword_problem(schema, at) or _inner_problem(schema, at)


def _keyword_problem(schema: dict[str, Any], at: str) -> str:
    kinds = schema.get("type", "object")
    if kinds == []:
        return f"{at}.type is an empty array"
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            return f"{at}.type is {kind!r}"
    for name in _COUNTS:
        if name in schema and (not _is_integer(schema[name]) or schema[name] < 0):
            return f"{at}.{name} has to be an integer of at least 0, not {schema[name]!r}"
    for name in _NUMBERS:
        if name in schema and not _is_number(schema[name]):
            return f"{at}.{name} has to be a number, not {schema[name]!r}"
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        return f"{at}.required has to be an array of strings"
    if len(set(required)) != len(required):
        return f"{at}.required names a member twice"
    if not isinstance(schema.get("enum", []), list):
        return f"{at}.enum has to be an array"
    for name in ("$ref", "$id", "$anchor", "$schema", "pattern", "format", "title", "description"):
        if name in schema and not isinstance(schema[name], str):
            return f"{at}.{name} has to be a string"
    return ""


def _inner_problem(schema: dict[str, Any], at: str) -> str:
    for name in _SCHEMAS:
        if name in schema and (problem := schema_problem(schema[name], f"{at}.{name}")):
            return problem
    for name in _LISTS:
        if name not in schema:
            continue
        if not isinstance(schema[name], list) or not schema[name]:
            return f"{at}.{name} has to be an array with elements"
        for index, each in enumerate(schema[name]):
            if problem := schema_problem(each, f"{at}.{name}[{index}]"):
                return problem
    for name in _MAPS:
        if name not in schema:
            continue
        if not isinstance(schema[name], dict):
            return f"{at}.{name} has to be an object"
        for key, each in schema[name].items():
            if problem := schema_problem(each, f"{at}.{name}.{key}"):
                return problem
    return ""


def subschemas(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas within a schema, each with the keyword that has it; malformed ones, too."""
    for name, found in members(schema).items():
        if name in _MAPS:
            yield from ((name, each) for each in members(found).values())
        elif name in (*_SCHEMAS, *_LISTS):
            yield from ((name, each) for each in (found if isinstance(found, list) else [found]))


def value_problem(value: Any, schema: Any, at: str = "the value") -> str:
    """Return the problem of a value by a schema; empty if there is none.

    A malformed schema rules nothing out: that it is one is for others to say.
    """
    try:
        return _Check(schema).problem(value, schema, at, 0)
    except (AttributeError, TypeError):
        return ""


class _Check:
    """The root of references."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._steps = 0

    def problem(self, value: Any, schema: Any, at: str, depth: int) -> str:
        if schema is False:
            return f"{at} is not allowed"
        self._steps += 1
        if not isinstance(schema, dict) or depth > _DEPTH or self._steps > _STEPS:
            return ""
        parts = (self._plain, self._combined, self._object, self._array)
        return next(filter(None, (part(value, schema, at, depth + 1) for part in parts)), "")

    def _plain(self, value: Any, schema: dict[str, Any], at: str, depth: int) -> str:
        kinds = schema.get("type")
        if kinds is not None:
            wanted = kinds if isinstance(kinds, list) else [kinds]
            if not any(_is(value, kind) for kind in wanted):
                return f"{at} has to be of type {' or '.join(map(str, wanted))}, not {value!r:.60}"
        if "const" in schema and not _equal(value, schema["const"]):
            return f"{at} has to be {schema['const']!r}, not {value!r:.60}"
        if "enum" in schema and not any(_equal(value, each) for each in schema["enum"]):
            return f"{at} is not one of the enum: {value!r:.60}"
        if isinstance(value, str):
            return _string_problem(value, schema, at)
        return _number_problem(value, schema, at) if _is_number(value) else ""

    def _combined(self, value: Any, schema: dict[str, Any], at: str, depth: int) -> str:
        if isinstance(schema.get("$ref"), str):
            problem = self.problem(value, self._target(schema["$ref"]), at, depth)
            if problem:
                return problem
        for each in schema.get("allOf", []):
            if problem := self.problem(value, each, at, depth):
                return problem
        for name in ("anyOf", "oneOf"):
            if name not in schema:
                continue
            fits = sum(not self.problem(value, each, at, depth) for each in schema[name])
            if not fits or (name == "oneOf" and fits > 1):
                return f"{at} follows {fits} of {name}"
        if "not" in schema and not self.problem(value, schema["not"], at, depth):
            return f"{at} follows what it must not"
        if "if" in schema:
            way = "else" if self.problem(value, schema["if"], at, depth) else "then"
            return self.problem(value, schema.get(way, True), at, depth)
        return ""

    def _object(self, value: Any, schema: dict[str, Any], at: str, depth: int) -> str:
        if not isinstance(value, dict):
            return ""
        for name in schema.get("required", []):
            if name not in value:
                return f"{at}.{name} is missing"
        size = len(value)
        if not schema.get("minProperties", 0) <= size <= schema.get("maxProperties", size):
            return f"{at} has {size} members"
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", {})
        for name, inner in value.items():
            looked = [known[name]] if name in known else []
            looked += [each for pattern, each in patterns.items() if _found(pattern, name)]
            looked = looked or [schema.get("additionalProperties", True)]
            for each in looked:
                if problem := self.problem(inner, each, f"{at}.{name}", depth):
                    return problem
        return ""

    def _array(self, value: Any, schema: dict[str, Any], at: str, depth: int) -> str:
        if not isinstance(value, list):
            return ""
        size = len(value)
        if not schema.get("minItems", 0) <= size <= schema.get("maxItems", size):
            return f"{at} has {size} elements"
        if schema.get("uniqueItems") and any(
            _equal(each, other) for i, each in enumerate(value) for other in value[:i]
        ):
            return f"{at} has the same element twice"
        first = schema.get("prefixItems", [])
        for index, inner in enumerate(value):
            rules = first[index] if index < len(first) else schema.get("items", True)
            if problem := self.problem(inner, rules, f"{at}[{index}]", depth):
                return problem
        if "contains" in schema:
            fits = sum(not self.problem(each, schema["contains"], at, depth) for each in value)
            if not schema.get("minContains", 1) <= fits <= schema.get("maxContains", fits):
                return f"{at} has {fits} elements of those that it has to contain"
        return ""

    def _target(self, reference: str) -> Any:
        if reference == "#":
            return self.root
        if not reference.startswith("#/"):
            return _anchored(self.root, reference[1:]) if reference.startswith("#") else True
        found = self.root
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~").replace("%25", "%")
            if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                return True
        return found


def _anchored(schema: Any, name: str) -> Any:
    """The part of a schema with that ``$anchor``; True if there is none."""
    if isinstance(schema, dict):
        if schema.get("$anchor") == name:
            return schema
        schema = [*schema.values()]
    if isinstance(schema, list):
        found = (_anchored(each, name) for each in schema)
        return next((each for each in found if each is not True), True)
    return True


def _string_problem(value: str, schema: dict[str, Any], at: str) -> str:
    size = len(value)
    if not schema.get("minLength", 0) <= size <= schema.get("maxLength", size):
        return f"{at} has {size} characters"
    if isinstance(pattern := schema.get("pattern"), str) and not _found(pattern, value):
        return f"{at} does not match {pattern!r}"
    return ""


def _number_problem(value: float, schema: dict[str, Any], at: str) -> str:
    below = value < schema.get("minimum", value)
    above = value > schema.get("maximum", value)
    edge = "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]
    edge = edge or ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
    if below or above or edge:
        return f"{at} is out of range: {value}"
    step = schema.get("multipleOf")
    exact = isinstance(value, int) or (isinstance(step, int) and step <= _WHOLE)
    if isinstance(step, int) and exact and step > 0 and value % step:
        return f"{at} is no multiple of {step}: {value}"
    return ""


def _found(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        # a pattern of ECMA-262 that Python does not know
        return True


def _is(value: Any, kind: Any) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "number":
            return _is_number(value)
        case "integer":
            return _is_integer(value) or (isinstance(value, float) and value.is_integer())
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON: 1 is 1.0, but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)
