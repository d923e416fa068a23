"""Validation by the ``jsonschema`` library, which runs everywhere.

Needs the extra: ``pip install mcpcore[schema]``.  The library walks the schema; what it would do
at a cost without bound is done here: patterns, evaluated members and items, equality of many
values.  Every keyword that is evaluated counts, and a value that takes too many of them is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
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
from transports.json_schema.graph import Graph, Plain
from transports.json_schema.limits import TOO_MUCH, SchemaLimits, TooMuchWork, measure
from transports.json_schema.problems import (
    MAX_PROBLEMS,
    describe,
    problem,
    quoted,
)

try:
    from jsonschema import validators
    from jsonschema.exceptions import ValidationError
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    from transports.json_schema.keywords import OWN, PER_ENTRY, Errors, Keywords
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


@cache
def _library_class(dialect_uri: str) -> Any:
    """The library's validator with our keywords; each evaluation counts."""
    base = _LIBRARY[dialect_uri]
    own: dict[str, Any] = dict(OWN)
    if dialect_uri == DRAFT_2020_12.uri:
        own["items"] = Keywords.items
    checks = {
        keyword: partial(_counted, keyword, own.get(keyword), check)
        for keyword, check in base.VALIDATORS.items()
    }
    return validators.extend(base, checks)  # type: ignore[no-untyped-call]


def _counted(
    keyword: str,
    own: Callable[..., Errors] | None,
    check: Callable[..., Errors],
    validator: Any,
    rule: Any,
    instance: Any,
    schema: Any,
) -> Errors:
    # Formats are not checked: what the library has for them takes the schema's state everywhere.
    keywords: Keywords = validator.format_checker
    work = 1
    if isinstance(rule, dict | list):
        work += len(rule) // PER_ENTRY
    if keyword in _EACH and isinstance(instance, dict | list):
        work += len(instance)
    keywords.steps.take(work)
    if own is not None:
        return own(keywords, validator, rule, instance, schema)
    return check(validator, rule, instance, schema) or ()


class _Check:
    def __init__(self, plain: Plain, limits: SchemaLimits) -> None:
        self._limits = limits
        self._lock = Lock()
        schema = _quiet(plain.schema)
        self._keywords = Keywords(plain, schema)
        self._validator = _library_class(plain.dialect.uri)(schema, format_checker=self._keywords)
        self._keywords.validator = self._validator

    def problems(self, value: Any) -> list[str]:
        """List what is wrong with a value."""
        measured = measure(value, self._limits)
        if isinstance(measured, str):
            return [measured]
        try:
            with self._lock:  # calls from several threads must not share their steps
                self._keywords.steps.left = self._limits.steps or STEPS
                found = islice(self._validator.iter_errors(_quiet(value)), MAX_PROBLEMS)
                return sorted({_problem(error, error.absolute_path) for error in found})
        except TooMuchWork:
            return [TOO_MUCH]
        except RecursionError:
            return [": nested too deeply for this schema"]


# Problems

_OWN_WORDS = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})


def _problem(error: ValidationError, path: Iterable[str | int]) -> str:
    return problem(path, _words(error))


def _words(error: ValidationError) -> str:
    keyword: Any = error.validator
    if keyword in _OWN_WORDS:
        return error.message
    if keyword == "propertyNames":
        inner = (error.context or [error])[0]
        return f"the name {quoted(error.message)}: {_words(inner)}"
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
