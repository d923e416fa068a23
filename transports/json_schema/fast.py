"""Validation by the ``jsonschema-rs`` library, which is a few hundred times as fast.

Needs the extra: ``pip install mcpcore[schema-fast]``.  The library cannot be stopped while it
runs, so that what a value can cost is found out before, in the worst case, and a value that could
cost too much is refused.  Patterns run in its linear engine; the few that this has no syntax for
(lookaround, edges of words) or that grow too large in it run in ours.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, TypeVar

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
from transports.json_schema.graph import Graph, Plain, Schema
from transports.json_schema.limits import (
    TOO_MUCH,
    Measured,
    SchemaLimits,
    Steps,
    TooMuchWork,
    measure,
)
from transports.json_schema.matcher import Matcher
from transports.json_schema.patterns import Tree, is_plain
from transports.json_schema.problems import (
    MAX_PROBLEMS,
    UNEVALUATED_ITEMS,
    describe,
    problem,
    quoted,
    unexpected,
)
from transports.json_schema.rust import to_rust

try:
    import jsonschema_rs as library
except ImportError as error:
    raise ImportError(
        "validating JSON Schemas written by hand needs an extra: pip install mcpcore[schema-fast]"
    ) from error

STEPS = 10_000_000
"""Most that a value may cost by default, less than a second's work."""
_EXPLAINED = 20_000
"""Most that a value may cost of which all problems are told: telling is far slower."""
_STRINGS = 1_000
"""Characters that count as much as a value where problems are told, as they are copied."""
_PATTERN_STEPS = 100_000
_PROGRAM = 2 * 1024 * 1024
"""Bytes of one pattern in the library's engine."""

_LIBRARY: dict[str, Any] = {
    DRAFT_2020_12.uri: library.Draft202012Validator,
    DRAFT_2019_09.uri: library.Draft201909Validator,
    DRAFT_7.uri: library.Draft7Validator,
    DRAFT_6.uri: library.Draft6Validator,
    DRAFT_4.uri: library.Draft4Validator,
}
_DRAFTS = {
    DRAFT_2020_12.uri: library.Draft202012,
    DRAFT_2019_09.uri: library.Draft201909,
    DRAFT_7.uri: library.Draft7,
    DRAFT_6.uri: library.Draft6,
    DRAFT_4.uri: library.Draft4,
}
OWN_PATTERN = "mcpcore-pattern"
"""The keyword of patterns that run in our engine."""
PATTERN_OPTIONS = library.RegexOptions(size_limit=_PROGRAM)
_MASK = "the value"
_MESSAGE = 300

T = TypeVar("T")


def compile_schema(
    schema: Mapping[str, Any], *, limits: SchemaLimits | None = None
) -> Callable[[Any], list[str]]:
    """Compile a schema, see :data:`mcpcore.service.Validator`.

    Raises ValueError if the schema is not sound, see docs/schemas.md.
    """
    limits = limits or SchemaLimits()
    return _Check(make_plain(schema, limits, published), limits).problems


def published(uri: str, dialect: Dialect) -> Mapping[str, Any] | None:
    """Return a published meta-schema; the library carries them with it."""
    try:
        registry = library.Registry([("mcpcore:", {"$ref": uri})], draft=_DRAFTS[dialect.uri])
        contents = registry.resolver("mcpcore:").lookup(uri).contents
    except (library.ReferencingError, ValueError):
        return None
    return contents if isinstance(contents, dict) else None


class _Check:
    def __init__(self, plain: Plain, limits: SchemaLimits) -> None:
        self._dialect = plain.dialect
        self._limits = limits
        self._limit = limits.steps or STEPS
        graph = Graph(plain)
        self._costs = Costs(graph, self._limit, limits.value_depth + 1)
        self._has_alternatives = any(
            "anyOf" in node or "oneOf" in node for node in graph.nodes.values()
        )
        self._patterns = _Patterns(plain.patterns)
        self._lock = Lock()
        self._schema = self._adapted(plain.schema)
        options: dict[str, Any] = {}
        if self._patterns.matchers:
            options["keywords"] = {OWN_PATTERN: self._patterns.keyword}
        try:
            self._validator = _LIBRARY[plain.dialect.uri](
                self._schema,
                pattern_options=PATTERN_OPTIONS,
                offline=True,
                mask=_MASK,
                **options,
            )
        except ValueError as error:
            raise ValueError(f"not a valid schema: {error}"[:_MESSAGE]) from None

    def _adapted(self, schema: Any) -> Any:
        """Copy a plain schema with the patterns that the library is to have."""
        if not isinstance(schema, dict):
            return schema
        copy: Schema = {}
        for keyword, value in schema.items():
            if keyword == "pattern":
                copy |= self._patterns.adapted(value)
            elif keyword == "patternProperties":
                members: Schema = {}
                copy[keyword] = members
                for pattern, inner in value.items():
                    text = self._patterns.for_names(pattern)
                    both = [members[text]] if text in members else []
                    adapted = self._adapted(inner)
                    members[text] = {"allOf": [*both, adapted]} if both else adapted
            elif keyword in self._dialect.holders:
                copy[keyword] = self._adapted_inner(keyword, value)
            else:
                copy[keyword] = value
        return copy

    def _adapted_inner(self, keyword: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._adapted(each) for each in value]
        if isinstance(value, dict) and self._dialect.holders[keyword].members:
            return {key: self._adapted(each) for key, each in value.items()}
        return self._adapted(value)

    def problems(self, value: Any) -> list[str]:
        """List what is wrong with a value."""
        measured = measure(value, self._limits)
        if isinstance(measured, str):
            return [measured]
        if self._costs.steps(measured) > self._limit:
            return [TOO_MUCH]
        try:
            valid = self._guarded(self._validator.is_valid, value)
            if valid:
                return []
            return self._guarded(self._explain, value, measured)
        except TooMuchWork:
            return [TOO_MUCH]
        except ValueError as error:  # what is no JSON: a lone surrogate, an object of some type
            return [f": {error}"[:_MESSAGE]]

    def _guarded(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the library; what our patterns raise becomes a verdict there, maybe a wrong one."""
        if not self._patterns.matchers:
            return function(*arguments)
        steps = self._patterns.steps
        with self._lock:  # calls from several threads must not share their steps
            steps.left = _PATTERN_STEPS
            result = function(*arguments)
            if steps.left < 0:
                raise TooMuchWork
            return result

    def _explain(self, value: Any, measured: Measured) -> list[str]:
        if self._costs.problems(measured) * _copies(measured) <= _EXPLAINED:
            errors = list(self._validator.iter_errors(value))
        elif self._has_alternatives:
            return [": does not fit the schema; it is too large to say where"]
        else:
            try:
                self._validator.validate(value)
            except library.ValidationError as error:
                errors = [error]
        real = (error for error in errors if not _is_unfounded(error))
        return sorted({self._problem(error, value) for error in real})[:MAX_PROBLEMS]

    def _problem(self, error: Any, value: Any, start: int = 0) -> str:
        return problem(_path(error, value)[start:], self._words(error, value))

    def _words(self, error: Any, value: Any) -> str:
        """Say what an error is about; ``value`` is the whole."""
        kind = error.kind
        kinds = library.ValidationErrorKind
        if isinstance(kind, kinds.AdditionalProperties | kinds.UnevaluatedProperties):
            return unexpected(kind.unexpected)
        if isinstance(kind, kinds.UnevaluatedItems):
            return UNEVALUATED_ITEMS
        if isinstance(kind, kinds.PropertyNames):
            inner = kind.error
            return f"the name {quoted(inner.instance)}: {self._words(inner, inner.instance)}"
        *place, keyword = error.schema_path
        try:
            if keyword == "additionalProperties":  # and there are no others
                return unexpected(_walk(value, _path(error, value)))
            schema = _walk(self._schema, place)
            if keyword in ("pattern", OWN_PATTERN):
                written = {"pattern": self._patterns.written[schema[keyword]]}
                return describe("pattern", written, error.instance)
            start = len(error.instance_path)
            alternatives = [
                [self._problem(inner, value, start) for inner in branch[:1]]
                for branch in getattr(kind, "context", ())
            ]
            if isinstance(kind, library.ValidationErrorKind.OneOfMultipleValid):
                alternatives = []
            return describe(keyword, schema, error.instance, alternatives)
        except (KeyError, IndexError, ValueError):  # the library leaves empty names out of paths
            return str(error.message)


class _Patterns:
    """The patterns of a schema, each in the library's syntax or run by our engine."""

    def __init__(self, trees: Mapping[str, Tree]) -> None:
        self._trees = trees
        self._rust: dict[str, str | None] = {}
        self.written: dict[str, str] = {}
        """How a pattern was written, by what it was turned into."""
        self.matchers: dict[str, Matcher] = {}
        self.steps = Steps()

    def adapted(self, pattern: str) -> Schema:
        """Return the keyword that takes the place of ``pattern``."""
        text = self._in_rust(pattern)
        if text is not None:
            self.written[text] = pattern
            return {"pattern": text}
        self.written[pattern] = pattern
        self.matchers[pattern] = Matcher(self._trees[pattern])
        return {OWN_PATTERN: pattern}

    def for_names(self, pattern: str) -> str:
        """Return a pattern of ``patternProperties``.  Raises ValueError if it grows too large."""
        text = self._in_rust(pattern)
        if text is None:
            raise ValueError(f"the pattern {quoted(pattern)} is too large")
        return text

    @property
    def keyword(self) -> type:
        """The class that the library makes for each of our own keywords."""
        matchers, take = self.matchers, self.steps.take

        class Keyword:
            def __init__(self, schema: Any, pattern: str, path: Any) -> None:
                self._search = matchers[pattern].search

            def validate(self, instance: Any) -> None:
                if isinstance(instance, str) and not self._search(instance, take):
                    raise ValueError("no match")

        return Keyword

    def _in_rust(self, pattern: str) -> str | None:
        if pattern not in self._rust:
            text = None
            tree = self._trees[pattern]
            if is_plain(tree):
                text = to_rust(tree)
                try:
                    library.Draft202012Validator(
                        {"pattern": text}, pattern_options=PATTERN_OPTIONS, offline=True
                    )
                except ValueError:  # it has characters that Rust has not, or grows too large
                    text = None
            self._rust[pattern] = text
        return self._rust[pattern]


def _is_unfounded(error: Any) -> bool:
    """Whether it misses a member that is there: said of one that additionalProperties forbids."""
    missing = getattr(error.kind, "property", None)
    return missing is not None and missing in error.instance


def _copies(measured: Measured) -> int:
    """How much more problems cost where long strings are copied with them."""
    return 1 + sum(measured.characters) // _STRINGS


def _walk(node: Any, steps: Iterable[str | int]) -> Any:
    for step in steps:
        node = node[int(step)] if isinstance(node, list) else node[str(step)]
    return node


def _path(error: Any, value: Any) -> list[str | int]:
    """Where an error is; the library gives names made of digits as if they were indices."""
    path: list[str | int] = []
    for step in error.instance_path:
        path.append(step if isinstance(value, list) else str(step))
        try:
            value = _walk(value, path[-1:])
        except (KeyError, IndexError, TypeError, ValueError):  # behind an empty name
            value = None
    return path
