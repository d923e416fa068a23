"""Keywords with implementations of their own, where those of ``jsonschema`` have no bound on work.

The library matches patterns by ``re``, compares values one by one, and divides floats.  Every
evaluated keyword counts as work, whether it is the library's or from here.

Source: JSON Schema 2020-12 core, section 11; 2019-09 core, section 9.3.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any, TypeAlias

from jsonschema import validators
from jsonschema.exceptions import ValidationError
from referencing.jsonschema import lookup_recursive_ref

from mcpcore_transports.schema.limits import PER_ENTRY, WORK, matches_any, need_stack
from mcpcore_transports.schema.problems import UNEVALUATED_ITEMS, unexpected
from mcpcore_transports.schema.values import canonical, divides

Schema: TypeAlias = dict[str, Any]
Errors: TypeAlias = Iterable[ValidationError]

_REFERENCES = frozenset({"$dynamicRef", "$recursiveRef", "$ref"})
_EACH = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "items", "patternProperties",
        "propertyNames", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
    }
)  # fmt: skip
"""Keywords that visit every member or item."""


@cache
def counted(base: Any) -> Any:
    """Return the library's class of validators with these keywords; each evaluation counts."""
    checks = {
        keyword: partial(_counted, keyword, _OWN.get(keyword, check))
        for keyword, check in base.VALIDATORS.items()
    }
    return validators.extend(base, checks)  # type: ignore[no-untyped-call]


def _counted(
    keyword: str,
    check: Callable[..., Errors],
    validator: Any,
    rule: Any,
    instance: Any,
    schema: Any,
) -> Errors:
    work = 1
    if keyword in _REFERENCES:
        need_stack()
        work = 3
    if isinstance(rule, dict | list):
        work += len(rule) // PER_ENTRY
    if keyword in _EACH and isinstance(instance, dict | list):
        work += len(instance)
    WORK.get().take(work)
    return check(validator, rule, instance, schema) or ()


def _const(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    take = WORK.get().take_entries
    if canonical(instance, take) != canonical(rule, take):
        yield ValidationError("another")


def _enum(validator: Any, rule: list[Any], instance: Any, schema: Any) -> Errors:
    work = WORK.get()
    choices = work.choices.get(id(rule))
    if choices is None:
        choices = frozenset(canonical(each, work.take_entries) for each in rule)
        work.choices[id(rule)] = choices
    if canonical(instance, work.take_entries) not in choices:
        yield ValidationError("none of them")


def _unique_items(validator: Any, rule: bool, instance: Any, schema: Any) -> Errors:
    if rule and isinstance(instance, list):
        different = {canonical(each, WORK.get().take_entries) for each in instance}
        if len(different) < len(instance):
            yield ValidationError("not unique")


def _multiple_of(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "number") and not divides(rule, instance):
        yield ValidationError("no multiple")


def _pattern(validator: Any, rule: str, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, str) and not WORK.get().matches(rule, instance):
        yield ValidationError("no match")


def _pattern_properties(validator: Any, rule: Schema, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, dict):
        matches = WORK.get().matches
        for pattern, inner in rule.items():
            for name, value in instance.items():
                if matches(pattern, name):
                    yield from validator.descend(value, inner, path=name)


def _additional_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    extra = [name for name in instance if name not in known and not matches_any(schema, name)]
    if rule is False and extra:
        yield ValidationError(unexpected(extra))
    elif rule is not True:
        for name in extra:
            yield from validator.descend(instance[name], rule, path=name)


def _property_names(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    """Validate the names of members; errors of a name are in its context, as names have no path."""
    if isinstance(instance, dict):
        for name in instance:
            error = next(validator.descend(name, rule), None)
            if error is not None:
                yield ValidationError(name, context=[error])


def _unevaluated_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    """Find members that no other keyword has evaluated, and that do not fit."""
    if isinstance(instance, dict):
        others = {word: rule for word, rule in schema.items() if word != "unevaluatedProperties"}
        if extra := _unevaluated(validator, rule, instance, instance, others):
            yield ValidationError(unexpected(extra))


def _unevaluated_items(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    """Find items that no other keyword has evaluated, and that do not fit."""
    if isinstance(instance, list):
        others = {word: rule for word, rule in schema.items() if word != "unevaluatedItems"}
        if _unevaluated(validator, rule, range(len(instance)), instance, others):
            yield ValidationError(UNEVALUATED_ITEMS)


def _unevaluated(
    validator: Any, rule: Any, keys: Iterable[Any], instance: Any, others: Schema
) -> list[Any]:
    evaluated = _evaluated(validator, instance, others)
    if evaluated is None:
        return []
    rest = (key for key in keys if key not in evaluated)
    return [key for key in rest if not _fits(validator, instance[key], rule)]


def _fits(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[Any] | None:
    """Return the names or indices that a fitting schema has evaluated; None for all of them."""
    if not isinstance(schema, dict):
        return set()
    WORK.get().take(1 + len(schema) + len(instance) // PER_ENTRY)
    is_object = isinstance(instance, dict)
    found = _members(instance, schema) if is_object else _items(validator, instance, schema)
    if found is not None:
        for where, inner in _applied(validator, instance, schema):
            more = _evaluated(where, instance, inner)
            if more is None:
                return None
            found |= more
    return found


def _members(instance: Any, schema: Schema) -> set[Any] | None:
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return None
    known = schema.get("properties", {})
    return {name for name in instance if name in known or matches_any(schema, name)}


def _items(validator: Any, instance: Any, schema: Schema) -> set[Any] | None:
    first = schema.get("prefixItems", ())
    rest = "items"
    if isinstance(schema.get("items"), list):  # the form of 2019-09
        first, rest = schema["items"], "additionalItems"
    if rest in schema or "unevaluatedItems" in schema:
        return None
    found = set(range(len(first)))
    is_new = "prefixItems" in validator.VALIDATORS  # in older dialects `contains` does not count
    if is_new and (rule := schema.get("contains")) is not None:
        found |= {i for i, item in enumerate(instance) if _fits(validator, item, rule)}
    return found


def _applied(validator: Any, instance: Any, schema: Schema) -> Iterator[tuple[Any, Any]]:
    """Yield the subschemas that apply to the same value and that it fits, with their validators."""
    # The library has no public way to follow a reference; its own keywords use this one, too.
    resolver = validator._resolver
    need_stack()
    followed = [resolver.lookup(schema[each]) for each in ("$ref", "$dynamicRef") if each in schema]
    if "$recursiveRef" in schema:
        followed.append(lookup_recursive_ref(resolver))
    for found in followed:
        where = validator.evolve(schema=found.contents, _resolver=found.resolver)
        yield where, found.contents
    for keyword in ("allOf", "anyOf", "oneOf"):
        fitting = [inner for inner in schema.get(keyword, ()) if _fits(validator, instance, inner)]
        if keyword != "oneOf" or len(fitting) == 1:
            yield from ((validator, inner) for inner in fitting)
    if "if" in schema:
        branch = "else"
        if _fits(validator, instance, schema["if"]):
            yield validator, schema["if"]
            branch = "then"
        if branch in schema:
            yield validator, schema[branch]
    if isinstance(instance, dict):
        for name, inner in schema.get("dependentSchemas", {}).items():
            if name in instance:
                yield validator, inner


_OWN: dict[str, Callable[..., Errors]] = {
    "additionalProperties": _additional_properties,
    "const": _const,
    "enum": _enum,
    "multipleOf": _multiple_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "propertyNames": _property_names,
    "unevaluatedItems": _unevaluated_items,
    "unevaluatedProperties": _unevaluated_properties,
    "uniqueItems": _unique_items,
}
"""Implementations by keyword, in place of the library's."""
