"""Validation by the ``jsonschema`` library, of schemas that were checked in every part before.

Every keyword of a schema that was read has a value that the meta-schema allows, every reference
leads to a place within the schema or to a published meta-schema of its dialect, and every pattern
is compiled.  Nothing is ever fetched.

Sources: JSON Schema 2020-12 core, sections 8 (identifiers, references) and 9; for keywords beside
``$ref`` draft-07 core, section 8.3; the meta-schemas of 2020-12, 2019-09, draft-07, draft-06,
draft-04; base protocol page, "Composition-Keyword Resource Use".
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from typing import Any
from urllib.parse import urljoin

import msgspec
from jsonschema import validators
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from msgspec import Struct, structs
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import specification_with

from mcpcore.errors import BadPattern
from mcpcore.spec.json_schema import DIALECT, SCHEMA, SCHEMA_LIST, SCHEMA_MAP
from mcpcore.wire.jsontext import deeper_than
from mcpcore_transports.schema.keywords import WORK, Schema, TooMuchWork, WorkCount, counted
from mcpcore_transports.schema.patterns import Pattern, compile_pattern
from mcpcore_transports.schema.problems import MAX_PROBLEMS, problem_of

_CHECKING = 1_000_000
"""Maximum work for checking a whole schema against its meta-schema, a few seconds' worth."""
_LONG = 100
"""Maximum characters of a string that is quoted in full."""
_QUOTED = 60
_SAME = frozenset(
    {"allOf", "anyOf", "dependencies", "dependentSchemas", "else", "if", "not", "oneOf", "then"}
)
"""Keywords whose subschemas are applied to the same value."""
_REST = frozenset(
    {"additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"}
)
"""Keywords whose true and false are kept: they have error messages of their own."""
_PLAIN: dict[bool, Schema] = {True: {}, False: {"not": {}}}
"""Replacements of boolean schemas elsewhere, which the library cannot locate or takes for lists."""
_REFERENCES = frozenset({"$ref", "$dynamicRef"})
_PATTERN_SHARE = 4
"""Divisor of the pattern memory: one pattern gets this fraction of it at most."""


class SchemaLimits(Struct, frozen=True, kw_only=True):
    """Limits of schemas and of the values that are validated."""

    schema_size: int = 1024 * 1024
    """Maximum bytes of a schema as JSON."""
    subschemas: int = 10_000
    """Maximum subschemas of one schema."""
    schema_depth: int = 64
    """Maximum nesting depth of subschemas."""
    pattern_length: int = 1_000
    """Maximum characters of one pattern."""
    pattern_memory: int = 32 * 1024 * 1024
    """Maximum bytes of all compiled patterns of a schema; one pattern gets a quarter at most."""
    value_size: int = 4 * 1024 * 1024
    """Maximum members, items and characters of a value, in total."""
    value_depth: int = 128
    """Maximum nesting depth of a value."""
    steps: int = 200_000
    """Maximum work for one value, in evaluated keywords: a second or two at most."""


def compile_schema(
    schema: Mapping[str, Any], *, limits: SchemaLimits | None = None
) -> Callable[[Any], list[str]]:
    """Compile a schema into a validator, see :data:`mcpcore.service.Validator`.

    Raises ValueError naming the place of a fault: a dialect that is not supported, a keyword with
    an invalid value, a reference without a target, or a number or size above the limits; and its
    subclass :class:`~mcpcore.errors.BadPattern` for a pattern that cannot be matched in
    linear time.  See docs/how-to/schemas.md.
    """
    limits = limits or SchemaLimits()
    own = _own(schema, limits)
    reader = _Reader(dialect_of(own, DIALECT), limits)
    reader.read(own, "", ())
    validator, patterns = reader.finish(own)
    choices: dict[int, frozenset[Any]] = {}

    def problems(value: Any) -> list[str]:
        if refused := measure(value, limits):
            return [refused]
        try:
            return _found(
                validator, value, WorkCount(limits.steps, patterns, choices), MAX_PROBLEMS
            )
        except TooMuchWork:
            return [": validating this takes too much work"]
        except RecursionError:
            return [": nested too deeply for this schema"]

    return problems


def _found(validator: Any, value: Any, work: WorkCount, most: int) -> list[str]:
    token = WORK.set(work)
    try:
        return sorted(set(map(problem_of, islice(validator.iter_errors(quiet(value)), most))))
    finally:
        WORK.reset(token)


# Values


def measure(value: Any, limits: SchemaLimits) -> str | None:
    """Return a message if a value is too large or too deep, else None; linear, not recursive."""
    depth = 0
    left = limits.value_size
    level = [value]
    while level:
        below: list[Any] = []
        size = len(level)
        containers = False
        for each in level:
            kind = each.__class__
            if kind is str:
                size += len(each)
            elif kind is dict:
                containers = True
                below.extend(each.values())
                size += sum(map(len, each))
            elif kind is list:
                containers = True
                below.extend(each)
        if containers and depth >= limits.value_depth:
            return f": nested deeper than {limits.value_depth} levels"
        left -= size
        if left < 0:
            return f": larger than {limits.value_size} members, items and characters together"
        depth += 1
        level = below
    return None


class _QuietObject(dict[str, Any]):
    def __repr__(self) -> str:
        return "{...}"


class _QuietArray(list[Any]):
    def __repr__(self) -> str:
        return "[...]"


class _QuietText(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "'...'"


def quiet(value: Any) -> Any:
    """Copy a JSON value into one with a short ``repr``: the library quotes values in messages."""
    if isinstance(value, dict):
        return _QuietObject((name, quiet(each)) for name, each in value.items())
    if isinstance(value, list):
        return _QuietArray(map(quiet, value))
    return _QuietText(value) if isinstance(value, str) and len(value) > _LONG else value


# Dialects


class Dialect:
    """A version of JSON Schema, as a class of validators with this package's keywords."""

    def __init__(self, uri: str, base: Any, *, booleans: bool = True, alone: bool = False) -> None:
        self.uri = uri
        self.validator = counted(base)
        self.specification: Any = specification_with(uri)
        self.booleans = booleans
        """True if the JSON values true and false are schemas."""
        self.alone = alone
        """True if all keywords beside ``$ref`` are ignored."""
        self.item_lists = "prefixItems" not in base.VALIDATORS
        """True if ``items`` may be an array of schemas."""
        self.patterns: dict[str, Pattern] = {}
        """Patterns of the meta-schema that were used, compiled."""

    @cached_property
    def published(self) -> Registry[Any]:
        """The meta-schema and its parts: the only targets of references outside of a schema.

        Their ``$schema`` is removed, as the library would switch to another class of validators.
        """
        parts = self.uri.removesuffix("schema") + "meta/"
        create = self.specification.create_resource
        registry: Registry[Any] = Registry()
        for uri in REGISTRY:
            if uri.removesuffix("#") == self.uri or uri.startswith(parts):
                copy = quiet(REGISTRY[uri].contents)
                copy.pop("$schema", None)
                registry = registry.with_resource(uri, create(copy))
        return registry.crawl()

    @cached_property
    def keywords(self) -> frozenset[str]:
        """All keywords that the meta-schema defines."""
        parts = (self.published[uri].contents for uri in self.published)
        return frozenset(word for part in parts for word in part.get("properties", ()))

    @cached_property
    def meta(self) -> Any:
        """Validator of schemas."""
        return self.validator(self.published[self.uri].contents, registry=self.published)


DIALECTS = {
    dialect.uri: dialect
    for dialect in (
        Dialect("https://json-schema.org/draft/2020-12/schema", validators.Draft202012Validator),
        Dialect("https://json-schema.org/draft/2019-09/schema", validators.Draft201909Validator),
        Dialect("http://json-schema.org/draft-07/schema", validators.Draft7Validator, alone=True),
        Dialect("http://json-schema.org/draft-06/schema", validators.Draft6Validator, alone=True),
        Dialect(
            "http://json-schema.org/draft-04/schema",
            validators.Draft4Validator,
            booleans=False,
            alone=True,
        ),
    )
}
"""Dialects by the URI in ``$schema``; the first is the default."""


def dialect_of(schema: Mapping[str, Any], default: str) -> Dialect:
    """Return the dialect that a schema declares, or the default.  Raises ValueError."""
    named = schema.get("$schema", default)
    found = DIALECTS.get(named.removesuffix("#")) if isinstance(named, str) else None
    if found is None:
        known = ", ".join(DIALECTS)
        raise ValueError(f"$schema {named!r:.200} is not supported; supported are: {known}")
    return found


# Reading schemas


def _own(schema: Mapping[str, Any], limits: SchemaLimits) -> Schema:
    """Copy a schema, so that later changes of the original have no effect."""
    # One part of a schema made in Python may occur in many places: it grows when it is encoded.
    bounds = structs.replace(limits, value_size=limits.schema_size, value_depth=limits.schema_size)
    if measure(dict(schema), bounds):
        raise ValueError(f"the schema is larger than {limits.schema_size} bytes")
    try:
        text = msgspec.json.encode(dict(schema))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the schema has no JSON form: {error}") from None
    if len(text) > limits.schema_size:
        raise ValueError(f"the schema is larger than {limits.schema_size} bytes")
    # At most a keyword and a name lie between a schema and its subschema.
    if deeper_than(text, 3 * limits.schema_depth + limits.value_depth):
        raise ValueError("the schema is nested too deeply")
    return quiet(msgspec.json.decode(text))  # type: ignore[no-any-return]


class _Reader:
    def __init__(self, dialect: Dialect, limits: SchemaLimits) -> None:
        self._dialect = dialect
        self._limits = limits
        self._work_left = _CHECKING
        self._nodes: dict[int, Schema] = {}
        self._sound: set[str] = set()
        """JSON text of the parts that were found valid, as some are repeated often."""
        self._same: dict[int, set[int]] = {}
        """Identities of the subschemas applied to the same value, by identity of the subschema."""
        self._identifiers: set[str] = set()
        self._references: list[tuple[Schema, str, str]] = []
        """References of all subschemas: the subschema, the keyword, and the absolute reference."""
        self._patterns: dict[str, None] = {}

    def read(self, root: Schema, base: str, path: tuple[str, ...]) -> None:
        """Read a schema with all of its subschemas; ``base`` is its base URI."""
        pending = [(root, base, path, 1)]
        while pending:
            node, base, path, depth = pending.pop()
            if id(node) in self._nodes:
                continue
            self._nodes[id(node)] = node
            limits = self._limits
            if depth > limits.schema_depth:
                raise ValueError(f"the schema is nested deeper than {limits.schema_depth} levels")
            if len(self._nodes) > limits.subschemas:
                raise ValueError(f"the schema has more than {limits.subschemas} subschemas")
            if dialect_of(node, self._dialect.uri) is not self._dialect:
                raise ValueError("a schema of one dialect cannot hold one of another")
            node.pop("$schema", None)  # the library would switch to another class of validators
            rest, inner = self._split(node)
            self._check(rest, path)
            base = self._identify(node, base)
            self._refer(node, base)
            self._patterns |= dict.fromkeys(node.get("patternProperties", ()))
            if "pattern" in node:
                self._patterns[node["pattern"]] = None
            alone = self._dialect.alone and "$ref" in node
            same = () if alone else (each for (word, *_), each in inner if word in _SAME)
            self._same[id(node)] = set(map(id, same))
            pending += [(each, base, path + steps, depth + 1) for steps, each in inner]

    def finish(self, root: Schema) -> tuple[Any, dict[str, Pattern]]:
        """Follow the references of everything that was read; return validator and patterns."""
        create = self._dialect.specification.create_resource
        registry = self._dialect.published.with_resource("", create(root)).crawl()
        while self._references:
            node, word, reference = self._references.pop()
            target = _lookup(registry, reference)
            uri, _, fragment = reference.partition("#")
            if uri in self._dialect.published and uri not in self._identifiers:
                continue
            if isinstance(target, dict):
                self.read(target, uri, tuple(fragment.split("/")[1:]))
                if word == "$ref":
                    self._same[id(node)].add(id(target))
        try:
            TopologicalSorter(self._same).prepare()
        except CycleError:
            text = "a reference leads back to where it stands without going into the value"
            raise ValueError(f"the schema refers to itself without end: {text}") from None
        return self._dialect.validator(root, registry=registry), dict(self._compiled())

    def _split(self, node: Schema) -> tuple[Schema, list[tuple[tuple[str, ...], Schema]]]:
        """Separate a schema from its subschemas, which are returned with the steps to them."""
        rest: Schema = {}
        inner: list[tuple[tuple[str, ...], Schema]] = []
        for word, rule in node.items():
            held: list[tuple[tuple[str, ...], Any, Any]]  # steps, container, key
            if word in SCHEMA & self._dialect.keywords and self._is_schema(rule):
                held = [((word,), node, word)]
            elif word in SCHEMA_LIST & self._dialect.keywords and self._are_schemas(word, rule):
                held = [((word, str(index)), rule, index) for index in range(len(rule))]
            elif word in SCHEMA_MAP & self._dialect.keywords and isinstance(rule, dict):
                held = [((word, name), rule, name) for name in rule if self._is_schema(rule[name])]
                others = {name: each for name, each in rule.items() if not self._is_schema(each)}
                rest[word] = others
            else:
                rest[word] = rule
                continue
            for steps, container, key in held:
                if isinstance(container[key], dict):
                    inner.append((steps, container[key]))
                elif word not in _REST:
                    container[key] = _PLAIN[container[key]]
        return rest, inner

    def _is_schema(self, rule: Any) -> bool:
        return isinstance(rule, dict) or (isinstance(rule, bool) and self._dialect.booleans)

    def _are_schemas(self, word: str, rule: Any) -> bool:
        if word == "items" and not self._dialect.item_lists:
            return False
        return isinstance(rule, list) and bool(rule) and all(map(self._is_schema, rule))

    def _check(self, rest: Schema, path: tuple[str, ...]) -> None:
        key = json.dumps(rest)
        if key in self._sound:
            return
        work = WorkCount(self._work_left, self._dialect.patterns, {})
        try:
            problems = _found(self._dialect.meta, rest, work, 1)
        except TooMuchWork:
            raise ValueError("the schema takes too much work to check") from None
        if problems:
            where = ".".join(path)[: _QUOTED * 4]
            raise ValueError(f"not a valid schema: {where}{'.' * bool(path)}{problems[0]}")
        self._work_left = work.left
        self._sound.add(key)

    def _identify(self, node: Schema, base: str) -> str:
        """Record the identifier of a schema; return the base URI of its references."""
        identifier = self._dialect.specification.id_of(node)
        if identifier is None:
            return base
        uri = _joined(base, identifier).removesuffix("#")
        if uri in self._identifiers:
            raise ValueError(f"two parts of the schema have the identifier {uri[:_QUOTED]!r}")
        self._identifiers.add(uri)
        return uri

    def _refer(self, node: Schema, base: str) -> None:
        """Make references absolute: the library does not always know their base URI."""
        for word in _REFERENCES & node.keys() & self._dialect.validator.VALIDATORS.keys():
            if not isinstance(reference := node[word], str):
                raise ValueError(f"not a valid schema: {word}: expected a URI reference")
            node[word] = _joined(base, reference)
            self._references.append((node, word, node[word]))

    def _compiled(self) -> Iterator[tuple[str, Pattern]]:
        memory = self._limits.pattern_memory // max(_PATTERN_SHARE, len(self._patterns))
        for text in self._patterns:
            try:
                if len(text) > self._limits.pattern_length:
                    raise BadPattern(f"it is longer than {self._limits.pattern_length} characters")
                yield text, compile_pattern(text, memory)
            except BadPattern as error:
                shown = str(text[:_QUOTED])
                raise BadPattern(f"the pattern {shown!r} is not supported: {error}") from None


def _lookup(registry: Registry[Any], reference: str) -> Any:
    target: Any = None
    with suppress(Unresolvable, LookupError, TypeError, ValueError):
        target = registry.resolver().lookup(reference).contents
    if not isinstance(target, dict | bool):
        text = f"the reference {reference[:_QUOTED]!r} leads nowhere within the schema"
        raise ValueError(f"{text}, and references are not fetched")
    return target


def _joined(base: str, reference: str) -> str:
    if not reference or reference.startswith("#"):  # urljoin does not support urn:
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        raise ValueError(f"{reference[:_QUOTED]!r} is no URI reference") from None
