"""JSON Schema for schemas written by hand: the ``jsonschema`` library behind a Validator.

Needs the extra: ``pip install mcpcore[schema]``.  Use: ``Server(..., validator=compile_schema)``.

Dialects: 2020-12 (the default), 2019-09, draft-07, draft-06, draft-04, by ``$schema``.  References
are resolved within the schema and the published meta-schemas only; nothing is ever fetched.
``format`` is an annotation and not checked.  Schemas are bounded in size and depth, and the work
for one value is bounded too.  Patterns run on Python's ``re``, whose worst case is not bounded: for
schemas of others say ``trusted=False``, which lets pass only patterns that cannot run away.

Source: base protocol page, "JSON Schema Usage"; JSON Schema 2020-12.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from mcpcore.spec.json_schema import DIALECT, subschemas, walk

try:
    from jsonschema import validators
    from jsonschema.exceptions import SchemaError, ValidationError
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing import Resource, Specification
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with
except ImportError as error:
    raise ImportError(
        "validating JSON Schemas written by hand needs an extra: pip install mcpcore[schema]"
    ) from error

MAX_SUBSCHEMAS = 10_000
MAX_DEPTH = 64
MAX_STEPS = 100_000
"""Keywords evaluated for one value, less than a second's work; a reference counts as several."""
_REFERENCE_STEPS = 5

_DIALECTS: dict[str, Any] = {
    DIALECT: validators.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": validators.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": validators.Draft7Validator,
    "http://json-schema.org/draft-06/schema": validators.Draft6Validator,
    "http://json-schema.org/draft-04/schema": validators.Draft4Validator,
}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_PROBLEMS = 10
"""Most problems that are reported of one value."""
_QUOTED = 60
"""Longest value, in characters, that is quoted in a problem."""
_MESSAGE = 300
_MATCHED = 2000
"""Longest string that a pattern of somebody else is matched against."""


class _TooMuchWork(Exception):
    """The steps for one value are used up."""


class _Undecided(Exception):
    """Whether a value fits cannot be said at a bounded cost."""


class _Steps:
    """Counts the steps for one value."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _TooMuchWork


def compile_schema(
    schema: Mapping[str, Any],
    *,
    max_subschemas: int = MAX_SUBSCHEMAS,
    max_depth: int = MAX_DEPTH,
    max_steps: int = MAX_STEPS,
    trusted: bool = True,
) -> Callable[[Any], list[str]]:
    """Compile a schema; the result says what is wrong with a value (``path: what``).

    The path is relative to the value: ``user.age``, ``[0].name``, nothing for the value itself.
    Raises ValueError if the schema is not sound: unknown dialect, not valid in its dialect, a
    reference that leads out of it or nowhere, too large or too deep, and unless it is ``trusted``
    a pattern that could take very long.

    >>> check = compile_schema({"type": "object", "properties": {"age": {"type": "integer"}}})
    >>> check({"age": "old"})
    ["age: 'old' is not of type 'integer'"]
    """
    # A copy of our own: what is taken out below must stay in the original.
    own: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(schema)), type=dict)
    dialect = _dialect(own)
    _check_bounds(own, max_subschemas, max_depth)
    base = _DIALECTS[dialect]
    try:
        base.check_schema(own)
    except SchemaError as error:
        raise ValueError(f"not a valid schema: {_problem(error)}") from None
    for node in walk(own):
        # The library would go back to its own validator, which counts no steps.
        if node.pop("$schema", dialect).rstrip("#") != dialect:
            raise ValueError("a schema of one dialect cannot hold one of another")
        if not trusted:
            _check_patterns(node)
    specification = specification_with(dialect)
    _check_references(own, specification)

    steps = _Steps()
    checks = dict(base.VALIDATORS)
    if not trusted:
        checks["pattern"] = _on_short_strings(checks["pattern"])
    counting = {
        keyword: _counted(check, steps, _REFERENCE_STEPS if keyword in _REFERENCES else 1)
        for keyword, check in checks.items()
    }
    counting_validator: Any = validators.extend(base, counting)  # type: ignore[no-untyped-call]
    validator = counting_validator(own, registry=REGISTRY)

    def problems(value: Any) -> list[str]:
        steps.left = max_steps
        try:
            return [_problem(error) for error in islice(validator.iter_errors(value), _PROBLEMS)]
        except _TooMuchWork:
            return [": validating this takes too much work"]
        except _Undecided:
            return []
        except RecursionError:
            return [": nested too deeply, or the schema refers to itself without end"]

    return problems


def _dialect(schema: Mapping[str, Any]) -> str:
    named = schema.get("$schema", DIALECT)
    dialect = named.rstrip("#") if isinstance(named, str) else ""
    if dialect not in _DIALECTS:
        known = ", ".join(_DIALECTS)
        raise ValueError(f"$schema {named!r} is not supported; supported are: {known}")
    return dialect


def _check_bounds(schema: dict[str, Any], max_subschemas: int, max_depth: int) -> None:
    pending = [(schema, 1)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if depth > max_depth:
            raise ValueError(f"the schema is nested deeper than {max_depth} levels")
        if count > max_subschemas:
            raise ValueError(f"the schema has more than {max_subschemas} subschemas")
        pending.extend((inner, depth + 1) for _, inner in subschemas(node))


def _check_references(schema: dict[str, Any], specification: Specification[Any]) -> None:
    root = specification.create_resource(schema)
    pending: list[tuple[Resource[Any], Any]] = [(root, REGISTRY.resolver_with_root(root))]
    while pending:
        resource, resolver = pending.pop()
        if isinstance(resource.contents, Mapping):
            for reference in _references(resource.contents):
                try:
                    resolver.lookup(reference)
                except Unresolvable:
                    raise ValueError(
                        f"the reference {reference!r} leads nowhere within the schema, and "
                        "references are not fetched"
                    ) from None
        pending.extend((inner, resolver.in_subresource(inner)) for inner in resource.subresources())


def _references(node: Mapping[str, Any]) -> Iterator[str]:
    for keyword in _REFERENCES:
        if isinstance(node.get(keyword), str):
            yield node[keyword]


def _counted(check: Callable[..., Any], steps: _Steps, cost: int) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        steps.take(cost)
        return check(*arguments)

    return counted


# What a pattern of somebody else may hold: its escapes and sets stand for single characters.
_SINGLE = re.compile(r"\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEATED = re.compile(r"[*+{]")
_RISKY = re.compile(r"\)[*+{]|\(\?[P(]|\\[1-9]")
"""A repeated group, a reference back."""
_OPTIONAL = re.compile(r"(?<!\()\?")
_MOST_OPTIONAL = 8


def _check_patterns(node: Mapping[str, Any]) -> None:
    """Refuse what could take more than quadratic time, and more than linear time on names."""
    patterns = [(pattern, 0) for pattern in node.get("patternProperties", ())]
    if "pattern" in node:
        patterns.append((node["pattern"], 1))
    for pattern, allowed in patterns:
        plain = _SINGLE.sub("a", pattern)
        if (
            _RISKY.search(plain)
            or len(_REPEATED.findall(plain)) > allowed
            or len(_OPTIONAL.findall(plain)) > _MOST_OPTIONAL
        ):
            raise ValueError(f"the pattern {pattern[:_QUOTED]!r} could take very long")


def _on_short_strings(check: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(validator: Any, pattern: str, value: Any, schema: Any) -> Any:
        if isinstance(value, str) and len(value) > _MATCHED:
            raise _Undecided
        return check(validator, pattern, value, schema)

    return bounded


def _problem(error: ValidationError | SchemaError) -> str:
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path
    )
    message = error.message
    value = repr(error.instance)
    if len(value) > _QUOTED and message.startswith(value):
        message = f"the value{message[len(value) :]}"
    problem = f"{path.removeprefix('.')}: {message}"
    return problem if len(problem) <= _MESSAGE else problem[: _MESSAGE - 3] + "..."
