"""Keywords ``unevaluatedProperties`` and ``unevaluatedItems``: rules for the rest of a value.

The library's own implementations match patterns by ``re``, and do not count their work.

Source: JSON Schema 2020-12 core, section 11; 2019-09 core, section 9.3.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema.exceptions import ValidationError
from referencing.jsonschema import lookup_recursive_ref

from mcpcore_transports.schema.problems import UNEVALUATED_ITEMS, unexpected
from mcpcore_transports.schema.run import PER_ENTRY, RUN, Errors, Schema, matches_any, need_stack


def unevaluated_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    """Find members that no other keyword has evaluated, and that do not fit."""
    if isinstance(instance, dict):
        others = {word: rule for word, rule in schema.items() if word != "unevaluatedProperties"}
        if extra := _unevaluated(validator, rule, instance, instance, others):
            yield ValidationError(unexpected(extra))


def unevaluated_items(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
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
    RUN.get().take(1 + len(schema) + len(instance) // PER_ENTRY)
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
