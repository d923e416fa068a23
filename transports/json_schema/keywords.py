"""What single keywords do, where the ``jsonschema`` library would do it at a cost without bound.

Or differently: it has patterns matched by ``re``, compares values one by one, and divides floats.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

from jsonschema.exceptions import ValidationError

from transports.json_schema.equality import canonical, divides
from transports.json_schema.graph import Plain, Schema, schema_at
from transports.json_schema.limits import Steps
from transports.json_schema.matcher import Matcher
from transports.json_schema.problems import UNEVALUATED_ITEMS, unexpected

PER_ENTRY = 16
"""Entries of a keyword, such as names of members, that cost as much as evaluating one."""

Errors: TypeAlias = Iterable[ValidationError]


class Keywords:
    """The keywords of one schema, which count their steps.

    The methods in :data:`OWN` are called as the library calls its own functions: with the
    validator, what the keyword holds, the value, and the schema that the keyword stands in.
    """

    def __init__(self, plain: Plain, schema: Schema) -> None:
        self.steps = Steps()
        self.validator: Any = None
        """The library's, for the whole schema."""
        self._matchers = {text: Matcher(tree) for text, tree in plain.patterns.items()}
        self._targets = {address: schema_at(schema, address) for address in plain.targets}
        self._choices: dict[int, frozenset[Any]] = {}

    def fits(self, instance: Any, schema: Any) -> bool:
        """Whether a value fits a subschema."""
        return next(self.validator.descend(instance, schema), None) is None

    def _take_entries(self, count: int) -> None:
        self.steps.take(1 + count // PER_ENTRY)

    def reference(self, validator: Any, rule: str, instance: Any, schema: Any) -> Errors:
        """Go where the reference leads; nothing is looked up."""
        yield from validator.descend(instance, self._targets[rule])

    def const(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        """Compare by value."""
        take = self._take_entries
        if canonical(instance, take) != canonical(rule, take):
            yield ValidationError("another")

    def enum(self, validator: Any, rule: list[Any], instance: Any, schema: Any) -> Errors:
        """Look up the value among all choices at once."""
        choices = self._choices.get(id(rule))
        if choices is None:
            choices = frozenset(canonical(each, self._take_entries) for each in rule)
            self._choices[id(rule)] = choices
        if canonical(instance, self._take_entries) not in choices:
            yield ValidationError("none of them")

    def unique_items(self, validator: Any, rule: bool, instance: Any, schema: Any) -> Errors:
        """Compare all items at once."""
        if rule and isinstance(instance, list):
            different = {canonical(each, self._take_entries) for each in instance}
            if len(different) < len(instance):
                yield ValidationError("not unique")

    def pattern(self, validator: Any, rule: str, instance: Any, schema: Any) -> Errors:
        """Match in linear time."""
        if isinstance(instance, str) and not self._matches(rule, instance):
            yield ValidationError("no match")

    def _matches(self, pattern: str, text: str) -> bool:
        return self._matchers[pattern].search(text, self.steps.take)

    def pattern_properties(
        self, validator: Any, rule: Schema, instance: Any, schema: Any
    ) -> Errors:
        """Match names in linear time."""
        if isinstance(instance, dict):
            for pattern, inner in rule.items():
                for name, value in instance.items():
                    if self._matches(pattern, name):
                        yield from validator.descend(value, inner, path=name)

    def additional_properties(
        self, validator: Any, rule: Any, instance: Any, schema: Any
    ) -> Errors:
        """Match names in linear time."""
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

    def multiple_of(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        """Exact, as the numbers are written."""
        if validator.is_type(instance, "number") and not divides(rule, instance):
            yield ValidationError("no multiple")

    def items(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        """Of 2020-12; each item that is too many has its own path."""
        if isinstance(instance, list):
            start = len(schema.get("prefixItems", ()))
            for index, item in enumerate(islice(instance, start, None), start):
                yield from validator.descend(item, rule, path=index)

    def property_names(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        """The error of a name is in its context: a name has no path."""
        if isinstance(instance, dict):
            for name in instance:
                error = next(validator.descend(name, rule), None)
                if error is not None:
                    yield ValidationError(name, context=[error])

    def unevaluated_properties(
        self, validator: Any, rule: Any, instance: Any, schema: Any
    ) -> Errors:
        """Find members that nothing else has looked at."""
        if isinstance(instance, dict):
            yield from self._unevaluated("unevaluatedProperties", instance, instance, schema)

    def unevaluated_items(self, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        """Find items that nothing else has looked at."""
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
        extra = [key for key in keys if key not in evaluated and not self.fits(instance[key], rule)]
        if extra:
            members = isinstance(instance, dict)
            yield ValidationError(unexpected(extra) if members else UNEVALUATED_ITEMS)

    def _evaluated(self, instance: Any, schema: Any, *, besides: str = "") -> set[Any] | None:
        """Names or indices that a schema, which fits, has looked at; None for all of them."""
        if not isinstance(schema, dict):
            return set()
        self.steps.take(1 + len(schema) + len(instance) // PER_ENTRY)
        own = _evaluated_items if isinstance(instance, list) else self._evaluated_members
        found: set[Any] = set()
        for keyword, rule in schema.items():
            if keyword != besides:
                more = own(keyword, rule, instance, schema)
                if more is None:
                    return None
                found |= more
        if "contains" in schema and isinstance(instance, list):
            found |= {
                index for index, item in enumerate(instance) if self.fits(item, schema["contains"])
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
            fitting = [inner for inner in schema.get(keyword, ()) if self.fits(instance, inner)]
            if keyword != "oneOf" or len(fitting) == 1:
                yield from fitting
        if "if" in schema:
            branch = "else"
            if self.fits(instance, schema["if"]):
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


OWN = {
    "$ref": Keywords.reference,
    "additionalProperties": Keywords.additional_properties,
    "const": Keywords.const,
    "enum": Keywords.enum,
    "multipleOf": Keywords.multiple_of,
    "pattern": Keywords.pattern,
    "patternProperties": Keywords.pattern_properties,
    "propertyNames": Keywords.property_names,
    "unevaluatedItems": Keywords.unevaluated_items,
    "unevaluatedProperties": Keywords.unevaluated_properties,
    "uniqueItems": Keywords.unique_items,
}
"""Keywords whose functions of the library are replaced."""
