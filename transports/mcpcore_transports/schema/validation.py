"""Validation by the ``jsonschema`` library.

The library walks the schema.  Keywords for which its work has no bound are implemented in
:mod:`mcpcore_transports.schema.keywords`.  Every evaluated keyword counts, and a value that needs
too many of them is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from jsonschema.exceptions import ValidationError

from mcpcore_transports.schema.dialects import Dialect
from mcpcore_transports.schema.document import read_schema
from mcpcore_transports.schema.limits import (
    TOO_MUCH,
    WORK,
    SchemaLimits,
    TooMuchWork,
    Work,
    measure,
)
from mcpcore_transports.schema.problems import MAX_PROBLEMS, describe, problem, quoted
from mcpcore_transports.schema.values import quiet

_CHECKING = 1_000_000
"""Maximum work for checking a whole schema against its meta-schema, a few seconds' worth."""
_OWN_WORDS = frozenset({"additionalProperties", "unevaluatedItems", "unevaluatedProperties"})


def compile_schema(
    schema: Mapping[str, Any], *, limits: SchemaLimits | None = None
) -> Callable[[Any], list[str]]:
    """Compile a schema into a validator, see :data:`mcpcore.service.Validator`.

    Raises ValueError for an invalid schema, see docs/how-to/schemas.md, and its subclass
    :class:`~mcpcore_transports.schema.patterns.BadPattern` for a pattern.
    """
    limits = limits or SchemaLimits()
    left = _CHECKING

    def judge(dialect: Dialect, part: Any) -> str | None:
        nonlocal left
        work = Work(left, dialect.patterns, {})
        try:
            found = _found(dialect.meta, quiet(part), work, 1)
        except TooMuchWork:
            raise ValueError("the schema takes too much work to check") from None
        left = work.left
        return found[0] if found else None

    document = read_schema(schema, limits, judge)
    validator = document.dialect.validator(document.schema, registry=document.registry)
    choices: dict[int, frozenset[Any]] = {}

    def problems(value: Any) -> list[str]:
        if refused := measure(value, limits):
            return [refused]
        work = Work(limits.steps, document.patterns, choices)
        try:
            return _found(validator, quiet(value), work, MAX_PROBLEMS)
        except TooMuchWork:
            return [TOO_MUCH]
        except RecursionError:
            return [": nested too deeply for this schema"]

    return problems


def _found(validator: Any, value: Any, work: Work, most: int) -> list[str]:
    token = WORK.set(work)
    try:
        errors = islice(validator.iter_errors(value), most)
        return sorted({_problem(error, error.absolute_path) for error in errors})
    finally:
        WORK.reset(token)


def _problem(error: ValidationError, path: Iterable[str | int]) -> str:
    return problem(path, _words(error))


def _words(error: ValidationError) -> str:
    keyword: Any = error.validator
    if keyword is None:  # the schema is False
        return "nothing may be here"
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
