"""Validation by the ``jsonschema`` library, which runs everywhere.

Needs the extra: ``pip install mcpcore[schema]``.  The library walks the schema; what it would do
at a cost without bound is done here: patterns, evaluated members and items, equality of many
values.  Every keyword that is evaluated counts, and a value that takes too many of them is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

from transports.json_schema.costs import Costs
from transports.json_schema.dialects import (
    DRAFT_4,
    DRAFT_6,
    DRAFT_7,
    DRAFT_2019_09,
    DRAFT_2020_12,
    Dialect,
)
from transports.json_schema.document import make_plain
from transports.json_schema.equality import canonical, divides
from transports.json_schema.graph import Graph, Plain, Schema, schema_at
from transports.json_schema.limits import TOO_MUCH, SchemaLimits, Steps, TooMuchWork, measure
from transports.json_schema.matcher import Matcher
from transports.json_schema.problems import (
    MAX_PROBLEMS,
    UNEVALUATED_ITEMS,
    describe,
    problem,
    quoted,
    unexpected,
)

try:
    from jsonschema import validators
    from jsonschema.exceptions import ValidationError
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError(
        "validating JSON Schemas written by hand needs an extra: pip install mcpcore[schema]"
    ) from error

STEPS = 100_000
"""Keywords evaluated for one value by default, about a second's work."""
_STATIC = 10_000_000
"""A schema of which one part alone could cost more than this is refused."""
_LONG = 100
"""Strings above this many characters are not quoted."""
_PER_ENTRY = 16
"""Entries of a keyword, such as names of members, that cost as much as evaluating one."""

_LIBRARY: dict[str, Any] = {
    DRAFT_2020_12.uri: validators.Draft202012Validator,
    DRAFT_2019_09.uri: validators.Draft201909Validator,
    DRAFT_7.uri: validators.Draft7Validator,
    DRAFT_6.uri: validators.Draft6Validator,
    DRAFT_4.uri: validators.Draft4Validator,
}
_EACH = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "items",
        "patternProperties",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""Keywords that look at every member or item."""

Errors = Iterable[ValidationError]
Check = Callable[[Any, Any, Any, Any], Errors]
"""As the library calls it: validator, what the keyword holds, instance, schema."""


def compile_schema(
    schema: Mapping[str, Any], *, limits: SchemaLimits | None = None
) -> Callable[[Any], list[str]]:
    """Compile a schema, see :data:`mcpcore.service.Validator`.

    Raises ValueError if the schema is not sound, see docs/schemas.md.
    """
    limits = limits or SchemaLimits()
    plain = make_plain(schema, limits, published)
    Costs(Graph(plain), _STATIC, 1)
    return _Check(plain, limits).problems


def published(uri: str, dialect: Dialect) -> Mapping[str, Any] | None:
    """Return a published meta-schema."""
    for name in (uri, f"{uri}#"):
        if name in REGISTRY:
            contents = REGISTRY[name].contents
            return contents if isinstance(contents, Mapping) else None
    return None


class _Check:
    def __init__(self, plain: Plain, limits: SchemaLimits) -> None:
        self._dialect = plain.dialect
        self._limits = limits
        self._steps = Steps()
        self._lock = Lock()
        self._matchers = {text: Matcher(tree) for text, tree in plain.patterns.items()}
        self._choices: dict[int, frozenset[Any]] = {}
        base = _LIBRARY[plain.dialect.uri]
        own: dict[str, Check] = {
            "$ref": self._reference,
            "additionalProperties": self._additional_properties,
            "const": self._const,
            "enum": self._enum,
            "multipleOf": _multiple_of,
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "propertyNames": _property_names,
            "unevaluatedItems": self._unevaluated_items,
            "unevaluatedProperties": self._unevaluated_properties,
            "uniqueItems": self._unique_items,
        }
        if plain.dialect is DRAFT_2020_12:
            own["items"] = _items
        checks = {
            keyword: partial(self._counted, keyword, own.get(keyword, check))
            for keyword, check in base.VALIDATORS.items()
        }
        extended: Any = validators.extend(base, checks)  # type: ignore[no-untyped-call]
        schema = _quiet(plain.schema)
        self._targets = {address: schema_at(schema, address) for address in plain.targets}
        self._validator = extended(schema)

    def problems(self, value: Any) -> list[str]:
        """List what is wrong with a value."""
        measured = measure(value, self._limits)
        if isinstance(measured, str):
            return [measured]
        try:
            with self._lock:  # calls from several threads must not share their steps
                self._steps.left = self._limits.steps or STEPS
                found = islice(self._validator.iter_errors(_quiet(value)), MAX_PROBLEMS)
                return sorted({_problem(error, error.absolute_path) for error in found})
        except TooMuchWork:
            return [TOO_MUCH]
        except RecursionError:
            return [": nested too deeply for this schema"]

    def _counted(
        self, keyword: str, check: Check, validator: Any, rule: Any, instance: Any, schema: Any
    ) -> Errors:
        work = 1
        if isinstance(rule, dict | list):
            work += len(rule) // _PER_ENTRY
        if keyword in _EACH and isinstance(instance, dict | list):
            work += len(instance)
        self._steps.take(work)
        return check(validator, rule, instance, schema) or ()

    def _take_entries(self, count: int) -> None:
        self._steps.take(1 + count // _PER_ENTRY)

    def _fits(self, instance: Any, schema: Any) -> bool:
        return next(self._validator.descend(instance, schema), None) is None

    # Keywords

    def _reference(self, validator: Any, rule: str, instance: Any, schema: Any) -> Errors:
        yield from validator.descend(instance, self._targets[rule])

    def _const(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        take = self._take_entries
        if canonical(instance, take) != canonical(rule, take):
            yield ValidationError("another")

    def _enum(self, validator: Any, rule: list[Any], instance: Any, schema: Any) -> Errors:
        choices = self._choices.get(id(rule))
        if choices is None:
            choices = frozenset(canonical(each, self._take_entries) for each in rule)
            self._choices[id(rule)] = choices
        if canonical(instance, self._take_entries) not in choices:
            yield ValidationError("none of them")

    def _unique_items(self, validator: Any, rule: bool, instance: Any, schema: Any) -> Errors:
        if rule and isinstance(instance, list):
            different = {canonical(each, self._take_entries) for each in instance}
            if len(different) < len(instance):
                yield ValidationError("not unique")

    def _pattern(self, validator: Any, rule: str, instance: Any, schema: Any) -> Errors:
        if isinstance(instance, str) and not self._matches(rule, instance):
            yield ValidationError("no match")

    def _matches(self, pattern: str, text: str) -> bool:
        return self._matchers[pattern].search(text, self._steps.take)

    def _pattern_properties(
        self, validator: Any, rule: Schema, instance: Any, schema: Any
    ) -> Errors:
        if isinstance(instance, dict):
            for pattern, inner in rule.items():
                for name, value in instance.items():
                    if self._matches(pattern, name):
                        yield from validator.descend(value, inner, path=name)

    def _additional_properties(
        self, validator: Any, rule: Any, instance: Any, schema: Any
    ) -> Errors:
        if not isinstance(instance, dict):
            return
        known = schema.get("properties", {})
        patterns = schema.get("patternProperties", ())
        extra = [
            name
            for name in instance
            if name not in known and not any(self._matches(each, name) for each in patterns)
        ]
        if rule is False and extra:
            yield ValidationError(unexpected(extra))
        elif rule is not True:
            for name in extra:
                yield from validator.descend(instance[name], rule, path=name)

    def _unevaluated_properties(
        self, validator: Any, rule: Any, instance: Any, schema: Any
    ) -> Errors:
        if isinstance(instance, dict):
            yield from self._unevaluated("unevaluatedProperties", instance, instance, schema)

    def _unevaluated_items(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        if isinstance(instance, list):
            keys = range(len(instance))
            yield from self._unevaluated("unevaluatedItems", keys, instance, schema)

    def _unevaluated(
        self, keyword: str, keys: Iterable[Any], instance: Any, schema: Schema
    ) -> Errors:
        evaluated = self._evaluated(instance, schema, besides=keyword)
        if evaluated is None:
            return
        rule = schema[keyword]
        extra = [
            key for key in keys if key not in evaluated and not self._fits(instance[key], rule)
        ]
        if extra:
            members = isinstance(instance, dict)
            yield ValidationError(unexpected(extra) if members else UNEVALUATED_ITEMS)

    def _evaluated(self, instance: Any, schema: Any, *, besides: str = "") -> set[Any] | None:
        """Names or indices that a schema, which fits, has looked at; None for all of them."""
        if not isinstance(schema, dict):
            return set()
        self._steps.take(1 + len(schema) + len(instance) // _PER_ENTRY)
        own = _evaluated_items if isinstance(instance, list) else self._evaluated_members
        found: set[Any] = set()
        if "$ref" in schema and self._dialect.references_alone:
            return found
        for keyword, rule in schema.items():
            if keyword != besides:
                more = own(keyword, rule, instance, schema)
                if more is None:
                    return None
                found |= more
        if "contains" in schema and isinstance(instance, list):
            found |= {
                index for index, item in enumerate(instance) if self._fits(item, schema["contains"])
            }
        for inner in self._applied(instance, schema):
            more = self._evaluated(instance, inner)
            if more is None:
                return None
            found |= more
        return found

    def _evaluated_members(
        self, keyword: str, rule: Any, instance: Any, schema: Schema
    ) -> set[Any] | None:
        if keyword in ("additionalProperties", "unevaluatedProperties"):
            return None
        if keyword == "properties":
            return {name for name in instance if name in rule}
        if keyword == "patternProperties":
            return {name for name in instance if any(self._matches(each, name) for each in rule)}
        return set()

    def _applied(self, instance: Any, schema: Schema) -> Iterator[Any]:
        """The subschemas that apply to the same value, and that it fits."""
        if "$ref" in schema:
            yield self._targets[schema["$ref"]]
        for keyword in ("allOf", "anyOf", "oneOf"):
            fitting = [inner for inner in schema.get(keyword, ()) if self._fits(instance, inner)]
            if keyword != "oneOf" or len(fitting) == 1:
                yield from fitting
        if "if" in schema:
            branch = "else"
            if self._fits(instance, schema["if"]):
                yield schema["if"]
                branch = "then"
            if branch in schema:
                yield schema[branch]
        if isinstance(instance, dict):
            for name, inner in schema.get("dependentSchemas", {}).items():
                if name in instance:
                    yield inner


def _evaluated_items(keyword: str, rule: Any, instance: Any, schema: Schema) -> set[Any] | None:
    listed = isinstance(schema.get("items"), list)
    if keyword == "unevaluatedItems" or (keyword == "additionalItems" and listed):
        return None
    if keyword == "items" and not listed:
        return None
    return set(range(len(rule))) if keyword in ("items", "prefixItems") else set()


def _multiple_of(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "number") and not divides(rule, instance):
        yield ValidationError("no multiple")


def _items(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, list):
        start = len(schema.get("prefixItems", ()))
        for index, item in enumerate(islice(instance, start, None), start):
            yield from validator.descend(item, rule, path=index)


def _property_names(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, dict):
        for name in instance:
            error = next(validator.descend(name, rule), None)
            if error is not None:
                yield ValidationError(f"the name {quoted(name)}: {_words(error)}")


# Problems

_OWN_WORDS = frozenset(
    {"additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
)


def _problem(error: ValidationError, path: Iterable[str | int]) -> str:
    return problem(path, _words(error))


def _words(error: ValidationError) -> str:
    keyword: Any = error.validator
    if keyword in _OWN_WORDS:
        return error.message
    branches: dict[Any, list[str]] = {}
    for inner in error.context or ():
        branches.setdefault(inner.schema_path[0], []).append(_problem(inner, inner.path))
    schema: Any = error.schema
    return describe(keyword, schema, error.instance, list(branches.values()))


# Values that say little of themselves: the library quotes them in messages, at any length.


class _Object(dict[str, Any]):
    __slots__ = ()

    def __repr__(self) -> str:
        return "{...}"


class _Array(list[Any]):
    __slots__ = ()

    def __repr__(self) -> str:
        return "[...]"


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "'...'"


def _quiet(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object((name, _quiet(each)) for name, each in value.items())
    if isinstance(value, list):
        return _Array(map(_quiet, value))
    return _Text(value) if isinstance(value, str) and len(value) > _LONG else value
