"""Validation by the ``jsonschema`` library.

The library walks the schema.  Keywords for which its work has no bound are implemented in
:mod:`mcpcore_transports.schema.keywords`.  Every evaluated keyword counts, and a value that needs
too many of them is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from jsonschema.exceptions import ValidationError

from mcpcore_transports.schema.dialects import Dialect
from mcpcore_transports.schema.document import Document, read_schema
from mcpcore_transports.schema.limits import TOO_MUCH, SchemaLimits, TooMuchWork, measure
from mcpcore_transports.schema.problems import MAX_PROBLEMS, describe, problem, quoted
from mcpcore_transports.schema.quiet import quiet
from mcpcore_transports.schema.run import RUN, Run

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
    return _Check(read_schema(schema, limits, _Judge().problem), limits).problems


class _Judge:
    """Check of the parts of one schema against its meta-schema, with a limit of work."""

    def __init__(self) -> None:
        self._left = _CHECKING

    def problem(self, dialect: Dialect, part: Any) -> str | None:
        run = Run(self._left, dialect.patterns, {})
        try:
            found = _found(dialect.meta, quiet(part), run, 1)
        except TooMuchWork:
            raise ValueError("the schema takes too much work to check") from None
        self._left = run.left
        return found[0] if found else None


class _Check:
    def __init__(self, document: Document, limits: SchemaLimits) -> None:
        self._limits = limits
        self._validator = document.dialect.validator(document.schema, registry=document.registry)
        self._run = partial(Run, limits.steps, document.patterns, {})

    def problems(self, value: Any) -> list[str]:
        """List the problems of a value."""
        if refused := measure(value, self._limits):
            return [refused]
        try:
            return _found(self._validator, quiet(value), self._run(), MAX_PROBLEMS)
        except TooMuchWork:
            return [TOO_MUCH]
        except RecursionError:
            return [": nested too deeply for this schema"]


def _found(validator: Any, value: Any, run: Run, most: int) -> list[str]:
    token = RUN.set(run)
    try:
        errors = islice(validator.iter_errors(value), most)
        return sorted({_problem(error, error.absolute_path) for error in errors})
    finally:
        RUN.reset(token)


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
