"""Reading a schema: every part is checked before a value is validated against it.

A schema that was read holds no surprises: every keyword has a value that the meta-schema allows,
every reference leads to a place within the schema or to a published meta-schema of its dialect,
and every pattern is compiled.  Nothing is ever fetched.

Source: JSON Schema 2020-12 core, sections 8 (identifiers, references) and 9; for keywords
beside ``$ref`` draft-07 core, section 8.3.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import urljoin

import msgspec
from msgspec import Struct, structs
from referencing import Registry
from referencing.exceptions import Unresolvable

from mcpcore.spec.json_schema import DIALECT, SCHEMA, SCHEMA_LIST, SCHEMA_MAP
from mcpcore.wire.jsontext import deeper_than
from mcpcore_transports.schema.dialects import Dialect, dialect_of
from mcpcore_transports.schema.keywords import Schema
from mcpcore_transports.schema.limits import SchemaLimits, measure
from mcpcore_transports.schema.patterns import BadPattern, Pattern, compile_pattern
from mcpcore_transports.schema.values import quiet

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

Judge = Callable[[Dialect, Any], str | None]
"""Function that checks a part of a schema against the meta-schema; returns the problem or None."""


class Document(Struct, frozen=True):
    """A valid schema, ready for validation."""

    schema: Schema
    dialect: Dialect
    registry: Registry[Any]
    """Targets of all of its references."""
    patterns: dict[str, Pattern]


def read_schema(schema: Mapping[str, Any], limits: SchemaLimits, judge: Judge) -> Document:
    """Copy a schema and check it.

    Raises ValueError naming the place of a fault: a dialect that is not supported, a keyword with
    an invalid value, a reference without a target, a pattern that cannot be matched in linear
    time, or a number or size above the limits.
    """
    own = _own(schema, limits)
    reader = _Reader(dialect_of(own, DIALECT), limits, judge)
    reader.read(own, "", ())
    return reader.finish(own)


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
    def __init__(self, dialect: Dialect, limits: SchemaLimits, judge: Judge) -> None:
        self._dialect = dialect
        self._limits = limits
        self._judge = judge
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
            if depth > self._limits.schema_depth:
                raise ValueError(
                    f"the schema is nested deeper than {self._limits.schema_depth} levels"
                )
            if len(self._nodes) > self._limits.subschemas:
                raise ValueError(f"the schema has more than {self._limits.subschemas} subschemas")
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

    def finish(self, root: Schema) -> Document:
        """Follow the references and compile the patterns of everything that was read."""
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
            raise ValueError(
                "the schema refers to itself without end: a reference leads back to where it "
                "stands without going into the value"
            ) from None
        return Document(root, self._dialect, registry, dict(self._compiled()))

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
        if key not in self._sound:
            if problem := self._judge(self._dialect, rest):
                where = ".".join(path)[: _QUOTED * 4]
                raise ValueError(f"not a valid schema: {where}{'.' * bool(path)}{problem}")
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
                raise BadPattern(
                    f"the pattern {str(text[:_QUOTED])!r} is not supported: {error}"
                ) from None


def _lookup(registry: Registry[Any], reference: str) -> Any:
    try:
        target = registry.resolver().lookup(reference).contents
    except (Unresolvable, LookupError, TypeError, ValueError):
        target = None
    if not isinstance(target, dict | bool):
        raise ValueError(
            f"the reference {reference[:_QUOTED]!r} leads nowhere within the schema, and "
            "references are not fetched"
        )
    return target


def _joined(base: str, reference: str) -> str:
    if not reference or reference.startswith("#"):  # urljoin does not support urn:
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        raise ValueError(f"{reference[:_QUOTED]!r} is no URI reference") from None
