"""Keywords with implementations of their own, where those of ``jsonschema`` have no bound on work.

The library matches patterns by ``re``, compares values one by one, and divides floats.  Every
evaluated keyword counts as work, whether it is the library's or from here.

Source: JSON Schema 2020-12 core, sections 4.2.2 "Instance Equality" and 11; validation, section
6.2.1; 2019-09 core, section 9.3.
"""

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from fractions import Fraction
from functools import cache, partial
from typing import Any, TypeAlias

from jsonschema import validators
from jsonschema.exceptions import ValidationError
from referencing.jsonschema import lookup_recursive_ref

from mcpcore_transports.schema.patterns import Pattern, compile_pattern
from mcpcore_transports.schema.problems import UNEVALUATED_ITEMS, unexpected

Schema: TypeAlias = dict[str, Any]
Errors: TypeAlias = Iterable[ValidationError]

_PER_ENTRY = 16
"""Entries of a keyword, such as names of members, that cost as much as one evaluation."""
_STACK = 40
"""Nested calls needed to follow a reference, generously."""
_PUBLISHED_PATTERN = 1024 * 1024
"""Maximum bytes of a pattern of a published meta-schema."""
_REFERENCES = frozenset({"$dynamicRef", "$recursiveRef", "$ref"})
_EACH = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "items", "patternProperties",
        "propertyNames", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
    }
)  # fmt: skip
"""Keywords that visit every member or item."""


class TooMuchWork(Exception):
    """The work that is allowed for one value is used up."""


class WorkCount:
    """Remaining work of one validation, with caches that several validations share."""

    __slots__ = ("choices", "left", "patterns")

    def __init__(
        self, steps: int, patterns: dict[str, Pattern], choices: dict[int, frozenset[Any]]
    ) -> None:
        self.left = steps
        self.patterns = patterns
        self.choices = choices
        """Hashable choices of each ``enum``, by the identity of the keyword's value."""

    def take(self, count: int) -> None:
        """Use up ``count`` units of work, some microseconds each.  Raises TooMuchWork."""
        self.left -= count
        if self.left < 0:
            raise TooMuchWork

    def matches(self, text: str, subject: str) -> bool:
        """Return True if a pattern matches anywhere in ``subject``."""
        pattern = self.patterns.get(text)
        if pattern is None:  # a meta-schema's; a schema's are compiled when it is read
            pattern = self.patterns[text] = compile_pattern(text, _PUBLISHED_PATTERN)
        encoded = subject.encode("utf-8", "surrogatepass")
        self.take(pattern.work(len(encoded)))
        return pattern.matches(encoded)


WORK: ContextVar[WorkCount] = ContextVar("WORK")
"""The current validation: the library passes no state to the functions of keywords."""


def canonical(value: Any) -> Any:
    """Return a hashable form of a JSON value, in which 1 and 1.0 are equal, and 1 and true not."""
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, dict | list):
        WORK.get().take(1 + len(value) // _PER_ENTRY)
    if isinstance(value, dict):
        return frozenset((name, canonical(each)) for name, each in value.items())
    return ("[", *map(canonical, value)) if isinstance(value, list) else value


def divides(divisor: float, value: float) -> bool:
    """Return True if ``value`` is a multiple of ``divisor``, both in their decimal notation."""
    if isinstance(divisor, int) and isinstance(value, int):
        return value % divisor == 0
    return Fraction(repr(value)) % Fraction(repr(divisor)) == 0


def _need_stack(calls: int = _STACK) -> None:
    """Raise RecursionError if fewer than ``calls`` nested calls are left.

    References are followed by a library in Rust, which panics at the end of the stack.
    """
    if calls:
        _need_stack(calls - 1)


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
        _need_stack()
        work = 3
    if isinstance(rule, dict | list):
        work += len(rule) // _PER_ENTRY
    if keyword in _EACH and isinstance(instance, dict | list):
        work += len(instance)
    WORK.get().take(work)
    return check(validator, rule, instance, schema) or ()


def _unless(meets: Callable[[Any, Any], bool], kind: type = object) -> Callable[..., Errors]:
    """Return a keyword whose errors need no details: values of ``kind`` must meet the rule."""

    def check(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
        if isinstance(instance, kind) and not meets(rule, instance):
            yield ValidationError("")

    return check


def _is_choice(rule: list[Any], instance: Any) -> bool:
    work = WORK.get()
    choices = work.choices.get(id(rule))
    if choices is None:
        choices = work.choices[id(rule)] = frozenset(map(canonical, rule))
    return canonical(instance) in choices


def _is_unique(rule: bool, instance: list[Any]) -> bool:
    return not rule or len(set(map(canonical, instance))) == len(instance)


def _multiple_of(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    if validator.is_type(instance, "number") and not divides(rule, instance):
        yield ValidationError("")


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
    extra = [name for name in instance if name not in known and not _matches_any(schema, name)]
    if rule is False and extra:
        yield ValidationError(unexpected(extra))
    elif rule is not True:
        for name in extra:
            yield from validator.descend(instance[name], rule, path=name)


def _matches_any(schema: Schema, name: str) -> bool:
    """Return True if a pattern of ``patternProperties`` matches a name."""
    return any(WORK.get().matches(each, name) for each in schema.get("patternProperties", ()))


def _property_names(validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    """Validate the names of members; errors of a name are in its context, as names have no path."""
    if isinstance(instance, dict):
        for name in instance:
            error = next(validator.descend(name, rule), None)
            if error is not None:
                yield ValidationError(name, context=[error])


def _unevaluated(keyword: str, validator: Any, rule: Any, instance: Any, schema: Any) -> Errors:
    """Find the members or items that no other keyword has evaluated, and that do not fit."""
    is_list = keyword == "unevaluatedItems"
    if not isinstance(instance, list if is_list else dict):
        return
    others = {word: other for word, other in schema.items() if word != keyword}
    if (evaluated := _evaluated(validator, instance, others)) is None:
        return
    keys: Iterable[Any] = range(len(instance)) if is_list else instance
    rest = (key for key in keys if key not in evaluated)
    if extra := [key for key in rest if not _fits(validator, instance[key], rule)]:
        yield ValidationError(UNEVALUATED_ITEMS if is_list else unexpected(extra))


def _fits(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[Any] | None:
    """Return the names or indices that a fitting schema has evaluated; None for all of them."""
    if not isinstance(schema, dict):
        return set()
    WORK.get().take(1 + len(schema) + len(instance) // _PER_ENTRY)
    is_object = isinstance(instance, dict)
    found = _members(instance, schema) if is_object else _items(validator, instance, schema)
    if found is None:
        return None
    for where, inner in _applied(validator, instance, schema):
        if (more := _evaluated(where, instance, inner)) is None:
            return None
        found |= more
    return found


def _members(instance: Any, schema: Schema) -> set[Any] | None:
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return None
    known = schema.get("properties", {})
    return {name for name in instance if name in known or _matches_any(schema, name)}


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
    _need_stack()
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
    "const": _unless(lambda rule, value: canonical(value) == canonical(rule)),
    "enum": _unless(_is_choice),
    "multipleOf": _multiple_of,
    "pattern": _unless(lambda rule, text: WORK.get().matches(rule, text), str),
    "patternProperties": _pattern_properties,
    "propertyNames": _property_names,
    "unevaluatedItems": partial(_unevaluated, "unevaluatedItems"),
    "unevaluatedProperties": partial(_unevaluated, "unevaluatedProperties"),
    "uniqueItems": _unless(_is_unique, list),
}
"""Implementations by keyword, in place of the library's."""
