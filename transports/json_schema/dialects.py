"""The dialects of JSON Schema that are supported, as tables: which keywords, holding what.

What a keyword may hold is checked with these tables and not with the meta-schemas: it is the same,
at a hundredth of the cost.

Sources: the meta-schemas of 2020-12, 2019-09, draft-07, draft-06, draft-04.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


class Role(Enum):
    """What a subschema is applied to."""

    SAME = "the same value as the schema that holds it"
    NAMED = "the member of the same name"
    BELOW = "some members, items or names of members"
    NOTHING = "nothing, unless something refers to it"


class Shape(Struct, frozen=True):
    """What a keyword may hold: ``words`` say it, ``fits`` tests it, subschemas aside."""

    words: str
    fits: Callable[[Any], bool]


class Holder(Struct, frozen=True):
    """What a keyword may hold that holds subschemas: the first of these forms that fits."""

    role: Role
    single: bool = False
    """A schema."""
    array: bool = False
    """A non-empty array of schemas."""
    members: bool = False
    """An object with schemas as its values."""
    names: Callable[[Any], bool] | None = None
    """... or with arrays of names as its values: tests one."""
    boolean: bool = False
    """True and False, even where they are no schemas."""
    assertion: bool = True
    """Or a place for definitions; else only an annotation."""

    @property
    def words(self) -> str:
        """What may be there."""
        forms = ["a schema"] * self.single + ["a non-empty array of schemas"] * self.array
        return " or ".join(forms + ["an object of schemas"] * self.members)


class Dialect(Struct, frozen=True):
    """One version of JSON Schema."""

    uri: str
    plain: Mapping[str, Shape]
    """Keywords without subschemas."""
    holders: Mapping[str, Holder]
    """Keywords with subschemas."""
    id: str = "$id"
    boolean_schemas: bool = True
    references_alone: bool = False
    """What stands beside ``$ref`` does not count."""
    definitions: str = "$defs"
    """Where definitions are kept."""

    def may_publish(self, uri: str) -> bool:
        """Whether a URI is that of the meta-schema, or of one of its parts."""
        return uri == self.uri or uri.startswith(self.uri.removesuffix("schema") + "meta/")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(each, str) for each in value)
        and len(set(value)) == len(value)
    )


def _are_some_names(value: Any) -> bool:
    return _are_names(value) and bool(value)


def _are_types(value: Any) -> bool:
    if isinstance(value, str):
        return value in TYPES
    return _are_names(value) and bool(value) and TYPES.issuperset(value)


def _of(kind: type, words: str) -> Shape:
    return Shape(words, lambda value: isinstance(value, kind))


def _matching(pattern: str, words: str) -> Shape:
    fits = re.compile(pattern).fullmatch
    return Shape(words, lambda value: isinstance(value, str) and fits(value) is not None)


_STRING = _of(str, "a string")
_BOOLEAN = _of(bool, "a boolean")
_ARRAY = _of(list, "an array")
_ANYTHING = Shape("anything", lambda value: True)
_NUMBER = Shape("a number", _is_number)
_COUNT = Shape("a whole number that is not negative", _is_count)
_NAMES = Shape("an array of different strings", _are_names)
_INTEGER = Shape(
    "an integer that is not negative",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
)
_WITHOUT_FRAGMENT = _matching(r"[^#]*#?", "a URI reference without a fragment")
_ANCHOR = _matching(r"[A-Za-z_][-A-Za-z0-9._]*", "a name made of letters, digits and _ - .")

_SINGLE = Holder(Role.SAME, single=True)
_LIST = Holder(Role.SAME, array=True)
_BELOW = Holder(Role.BELOW, single=True)
_REST = Holder(Role.BELOW, single=True, boolean=True)
_NAMED = Holder(Role.NAMED, members=True)
_DEFINITIONS = Holder(Role.NOTHING, members=True)

_COMMON: dict[str, Shape] = {
    "$ref": _STRING,
    "$schema": _STRING,
    "description": _STRING,
    "enum": _ARRAY,
    "format": _STRING,
    "maxItems": _COUNT,
    "maxLength": _COUNT,
    "maxProperties": _COUNT,
    "maximum": _NUMBER,
    "minItems": _COUNT,
    "minLength": _COUNT,
    "minProperties": _COUNT,
    "minimum": _NUMBER,
    "multipleOf": Shape("a number above 0", lambda value: _is_number(value) and value > 0),
    "pattern": _STRING,
    "required": _NAMES,
    "title": _STRING,
    "type": Shape("a type or a non-empty array of different types", _are_types),
    "uniqueItems": _BOOLEAN,
}
_COMMON_HOLDERS: dict[str, Holder] = {
    "additionalItems": _REST,
    "additionalProperties": _REST,
    "allOf": _LIST,
    "anyOf": _LIST,
    "definitions": _DEFINITIONS,
    "dependencies": Holder(Role.SAME, members=True, names=_are_names),
    "items": Holder(Role.BELOW, single=True, array=True),
    "not": _SINGLE,
    "oneOf": _LIST,
    "patternProperties": Holder(Role.BELOW, members=True),
    "properties": _NAMED,
}

_SINCE_6: dict[str, Shape] = {
    "$id": _STRING,
    "const": _ANYTHING,
    "examples": _ARRAY,
    "exclusiveMaximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
}
_HOLDERS_SINCE_6 = {"contains": _BELOW, "propertyNames": _BELOW}

_SINCE_7: dict[str, Shape] = {
    "$comment": _STRING,
    "contentEncoding": _STRING,
    "contentMediaType": _STRING,
    "readOnly": _BOOLEAN,
}
_HOLDERS_SINCE_7 = {"if": _SINGLE, "then": _SINGLE, "else": _SINGLE}

_SINCE_2019: dict[str, Shape] = {
    "$id": _WITHOUT_FRAGMENT,
    "$anchor": _ANCHOR,
    "$vocabulary": Shape(
        "an object of booleans",
        lambda value: (
            isinstance(value, dict) and all(isinstance(each, bool) for each in value.values())
        ),
    ),
    "dependentRequired": Shape(
        "an object of arrays of different strings",
        lambda value: isinstance(value, dict) and all(map(_are_names, value.values())),
    ),
    "deprecated": _BOOLEAN,
    "maxContains": _COUNT,
    "minContains": _COUNT,
    "writeOnly": _BOOLEAN,
}
_HOLDERS_SINCE_2019 = {
    "$defs": _DEFINITIONS,
    "contentSchema": Holder(Role.NOTHING, single=True, assertion=False),
    "dependencies": Holder(Role.NOTHING, members=True, names=_are_names, assertion=False),
    "dependentSchemas": Holder(Role.SAME, members=True),
    "unevaluatedItems": _BELOW,
    "unevaluatedProperties": _BELOW,
}

DRAFT_4 = Dialect(
    uri="http://json-schema.org/draft-04/schema",
    plain={
        **{word: _INTEGER if shape is _COUNT else shape for word, shape in _COMMON.items()},
        "exclusiveMaximum": _BOOLEAN,
        "exclusiveMinimum": _BOOLEAN,
        "id": _STRING,
        "required": Shape(
            "a non-empty array of different strings",
            lambda value: _are_names(value) and bool(value),
        ),
    },
    holders={
        **_COMMON_HOLDERS,
        "dependencies": Holder(Role.SAME, members=True, names=_are_some_names),
    },
    id="id",
    boolean_schemas=False,
    references_alone=True,
    definitions="definitions",
)
DRAFT_6 = Dialect(
    uri="http://json-schema.org/draft-06/schema",
    plain={**_COMMON, **_SINCE_6},
    holders={**_COMMON_HOLDERS, **_HOLDERS_SINCE_6},
    references_alone=True,
    definitions="definitions",
)
DRAFT_7 = Dialect(
    uri="http://json-schema.org/draft-07/schema",
    plain={**_COMMON, **_SINCE_6, **_SINCE_7},
    holders={**_COMMON_HOLDERS, **_HOLDERS_SINCE_6, **_HOLDERS_SINCE_7},
    references_alone=True,
    definitions="definitions",
)
DRAFT_2019_09 = Dialect(
    uri="https://json-schema.org/draft/2019-09/schema",
    plain={
        **_COMMON,
        **_SINCE_6,
        **_SINCE_7,
        **_SINCE_2019,
        "$recursiveAnchor": _BOOLEAN,
        "$recursiveRef": _STRING,
    },
    holders={**_COMMON_HOLDERS, **_HOLDERS_SINCE_6, **_HOLDERS_SINCE_7, **_HOLDERS_SINCE_2019},
)
_HOLDERS_2020_12 = {
    **_COMMON_HOLDERS,
    **_HOLDERS_SINCE_6,
    **_HOLDERS_SINCE_7,
    **_HOLDERS_SINCE_2019,
    "items": _BELOW,
    "prefixItems": Holder(Role.BELOW, array=True),
}
del _HOLDERS_2020_12["additionalItems"]
DRAFT_2020_12 = Dialect(
    uri="https://json-schema.org/draft/2020-12/schema",
    plain={
        **_COMMON,
        **_SINCE_6,
        **_SINCE_7,
        **_SINCE_2019,
        "$dynamicAnchor": _ANCHOR,
        "$dynamicRef": _STRING,
    },
    holders=_HOLDERS_2020_12,
)

DIALECTS = {
    dialect.uri: dialect for dialect in (DRAFT_2020_12, DRAFT_2019_09, DRAFT_7, DRAFT_6, DRAFT_4)
}


def dialect_of(schema: Mapping[str, Any]) -> Dialect:
    """Return the dialect that a schema declares, 2020-12 if it declares none.

    Raises ValueError for one that is not supported.
    """
    named = schema.get("$schema", DRAFT_2020_12.uri)
    found = DIALECTS.get(named.removesuffix("#")) if isinstance(named, str) else None
    if found is None:
        known = ", ".join(DIALECTS)
        raise ValueError(f"$schema {named!r:.200} is not supported; supported are: {known}")
    return found


def children(
    holder: Holder, value: Any, boolean_schemas: bool
) -> Iterator[tuple[str | None, Any]] | None:
    """Yield (key, subschema) for what a keyword holds; None if it may not hold that.

    ``key`` is None for a single schema.  Arrays of names in ``dependencies`` are left out.
    """
    if isinstance(value, bool):
        allowed = holder.single and (boolean_schemas or holder.boolean)
        return iter(((None, value),)) if allowed else None
    if isinstance(value, dict):
        if holder.single:
            return iter(((None, value),))
        if holder.members and all(
            _is_schema(each, boolean_schemas) or (holder.names is not None and holder.names(each))
            for each in value.values()
        ):
            return ((key, each) for key, each in value.items() if not isinstance(each, list))
    elif (
        holder.array
        and isinstance(value, list)
        and value
        and all(_is_schema(each, boolean_schemas) for each in value)
    ):
        return ((str(index), each) for index, each in enumerate(value))
    return None


def _is_schema(value: Any, boolean_schemas: bool) -> bool:
    return isinstance(value, dict) or (boolean_schemas and isinstance(value, bool))
