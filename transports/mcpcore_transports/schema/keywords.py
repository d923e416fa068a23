"""Keywords with implementations of their own, where those of ``jsonschema`` have no bound on work.

The library matches patterns by ``re``, compares values one by one, and divides floats.  Every
evaluated keyword counts as work, whether it is the library's or from here.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError

from mcpcore_transports.schema.equality import canonical, divides
from mcpcore_transports.schema.problems import unexpected
from mcpcore_transports.schema.run import PER_ENTRY, RUN, Errors, Schema, matches_any, need_stack
from mcpcore_transports.schema.unevaluated import unevaluated_items, unevaluated_properties

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
    RUN.get().take(work)
    return check(validator, rule, instance, schema) or ()


def _const(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    take = RUN.get().take_entries
    if canonical(instance, take) != canonical(rule, take):
        yield ValidationError("another")


def _enum(validator: Any, rule: list[Any], instance: Any, schema: Any) -> Errors:
    run = RUN.get()
    choices = run.choices.get(id(rule))
    if choices is None:
        choices = frozenset(canonical(each, run.take_entries) for each in rule)
        run.choices[id(rule)] = choices
    if canonical(instance, run.take_entries) not in choices:
        yield ValidationError("none of them")


def _unique_items(validator: Any, rule: bool, instance: Any, schema: Any) -> Errors:
    if rule and isinstance(instance, list):
        different = {canonical(each, RUN.get().take_entries) for each in instance}
        if len(different) < len(instance):
            yield ValidationError("not unique")


def _multiple_of(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "number") and not divides(rule, instance):
        yield ValidationError("no multiple")


def _pattern(validator: Any, rule: str, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, str) and not RUN.get().matches(rule, instance):
        yield ValidationError("no match")


def _pattern_properties(validator: Any, rule: Schema, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, dict):
        matches = RUN.get().matches
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


_OWN: dict[str, Callable[..., Errors]] = {
    "additionalProperties": _additional_properties,
    "const": _const,
    "enum": _enum,
    "multipleOf": _multiple_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "propertyNames": _property_names,
    "unevaluatedItems": unevaluated_items,
    "unevaluatedProperties": unevaluated_properties,
    "uniqueItems": _unique_items,
}
"""Implementations by keyword, in place of the library's."""
