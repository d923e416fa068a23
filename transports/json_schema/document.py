"""Schemas made plain: checked, with every reference resolved, so that nothing is left to look up.

What comes in may be spread over embedded resources, name its parts by anchors and refer to them
statically or by the dynamic scope.  What comes out is one document without identifiers whose
``$ref`` are JSON pointers into it.  A resource that can be entered with different dynamic scopes
stands in it once for each.  References lead to the schema itself and to the published
meta-schemas; nothing is ever fetched.

Source: JSON Schema 2020-12 core, sections 8 (identifiers, references, dynamic scope) and 9; for
``$recursiveRef`` 2019-09 core, section 8.2.4.2; for what stands beside ``$ref`` draft-07 core,
section 8.3.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urljoin

import msgspec
from msgspec import Struct

from mcpcore.wire.jsontext import deeper_than
from transports.json_schema.dialects import Dialect, children, dialect_of
from transports.json_schema.graph import Plain, Schema, schema_at
from transports.json_schema.limits import SchemaLimits
from transports.json_schema.patterns import (
    BadPattern,
    Tree,
    is_plain,
    parse_pattern,
    positions,
)

Published: TypeAlias = Callable[[str, Dialect], Mapping[str, Any] | None]
"""Returns the published part of a dialect's meta-schema with this URI, None if there is none."""

_QUOTED = 60
_NO_ASSERTIONS = frozenset(
    {
        "$anchor",
        "$comment",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$recursiveAnchor",
        "$recursiveRef",
        "$ref",
        "$schema",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
        "deprecated",
        "description",
        "examples",
        "format",
        "id",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that no value breaks, or that are replaced; ``format`` is an annotation everywhere."""
_REST = frozenset(
    {"additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"}
)
"""Keywords of which True and False stay what they are: there is more to say than "nothing"."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_RECURSIVE = ""
"""The name under which ``$recursiveAnchor`` is kept among the dynamic anchors."""


class _Resource:
    """A schema with an identifier of its own, and what can be referred to in it."""

    def __init__(self, uri: str, root: Schema) -> None:
        self.uri = uri
        self.root = root
        self.anchors: dict[str, Schema] = {}
        self.dynamic: dict[str, tuple[_Resource, Schema]] = {}


class _Place(Struct, frozen=True):
    """Where a subschema stands."""

    resource: _Resource
    pointer: str
    kept: bool
    """It stands there in the plain document too."""
    depth: int


_Scope: TypeAlias = dict[str, tuple[_Resource, Schema]]
"""Where each dynamic anchor leads: to the outermost resource entered that has it."""


def make_plain(schema: Mapping[str, Any], limits: SchemaLimits, published: Published) -> Plain:
    """Check a schema and make it plain.

    Raises ValueError naming the place if the schema is not sound: a dialect that is not supported,
    a keyword that holds what it may not, a reference that leads nowhere, a pattern
    that cannot be matched in linear time, or more of anything than the limits allow.
    """
    own = _own(schema, limits)
    reader = _Reader(dialect_of(own), limits, published)
    reader.add(own.get(reader.dialect.id, ""), own)
    return _Writer(reader).write(own)


def _own(schema: Mapping[str, Any], limits: SchemaLimits) -> Schema:
    """Copy a schema, as nobody else may change it later."""
    try:
        text = msgspec.json.encode(dict(schema))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the schema has no JSON form: {error}") from None
    if len(text) > limits.schema_size:
        raise ValueError(f"the schema is larger than {limits.schema_size} bytes")
    # Between one schema and the next there are at most a keyword and a name.
    if deeper_than(text, 3 * limits.schema_depth + limits.value_depth):
        raise ValueError("the schema is nested too deeply")
    copy: Schema = msgspec.json.decode(text)
    return copy


class _Reader:
    """Finds resources, anchors and subschemas, and checks what stands in them."""

    def __init__(self, dialect: Dialect, limits: SchemaLimits, published: Published) -> None:
        self.dialect = dialect
        self.limits = limits
        self.places: dict[int, _Place] = {}
        self.patterns: dict[str, Tree] = {}
        self._published = published
        self._resources: dict[str, _Resource] = {}
        self._unread = 0
        self._positions = 0

    def add(self, uri: Any, root: Schema) -> _Resource:
        """Read a schema with all that it holds."""
        resource = self._identify(uri if isinstance(uri, str) else "", root)
        self._read(resource, root, "", kept=True, depth=1)
        return resource

    def resolve(self, start: _Resource, reference: str) -> Schema | bool:
        """Return what a reference leads to."""
        uri, _, fragment = _joined(start.uri, reference).partition("#")
        resource = self._resources.get(uri)
        if resource is None and self.dialect.may_publish(uri):
            found = self._published(uri, self.dialect)
            resource = None if found is None else self.add(uri, _own(found, self.limits))
        target: Any = None
        if resource is not None:
            if not fragment:
                target = resource.root
            elif fragment.startswith("/"):
                target = self._pointed_at(resource, unquote(fragment))
            else:
                target = resource.anchors.get(unquote(fragment))
        if target is None:
            raise ValueError(
                f"the reference {reference[:_QUOTED]!r} leads nowhere within the schema, and "
                "references are not fetched"
            )
        return target  # type: ignore[no-any-return]

    def resource_of(self, schema: Schema) -> _Resource:
        """The resource that a subschema is part of."""
        return self.places[id(schema)].resource

    def _identify(self, uri: str, root: Schema) -> _Resource:
        uri = uri.removesuffix("#")
        if uri in self._resources:
            raise ValueError(f"two parts of the schema have the identifier {uri[:_QUOTED]!r}")
        resource = self._resources[uri] = _Resource(uri, root)
        return resource

    def _pointed_at(self, resource: _Resource, pointer: str) -> Schema | bool | None:
        """What a JSON pointer leads to (RFC 6901); it need not have been known as a schema."""
        node: Any = resource.root
        for token in pointer.split("/")[1:]:
            if id(node) in self.places:
                resource = self.resource_of(node)
            token = token.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(token)] if isinstance(node, list) else node[token]
            except (KeyError, IndexError, ValueError, TypeError):
                return None
        if isinstance(node, dict):
            if id(node) not in self.places:
                self._read(resource, node, "", kept=False, depth=1)
            return node
        return node if isinstance(node, bool) else None

    def _read(
        self, resource: _Resource, schema: Schema, pointer: str, *, kept: bool, depth: int
    ) -> None:
        pending = [(schema, _Place(resource, pointer, kept, depth))]
        while pending:
            node, place = pending.pop()
            if id(node) in self.places:
                continue
            place = self._settle(node, place)
            self.places[id(node)] = place
            if place.depth > self.limits.schema_depth:
                raise ValueError(
                    f"the schema is nested deeper than {self.limits.schema_depth} levels"
                )
            if len(self.places) > self.limits.subschemas:
                raise ValueError(f"the schema has more than {self.limits.subschemas} subschemas")
            self._check(node, place)
            for keyword, key, inner in self._inner(node, place):
                if isinstance(inner, dict):
                    steps = keyword if key is None else f"{keyword}/{_token(key)}"
                    stays = place.kept and self.dialect.holders[keyword].assertion
                    below = f"{place.pointer}/{steps}"
                    pending.append((inner, _Place(place.resource, below, stays, place.depth + 1)))

    def _settle(self, node: Schema, place: _Place) -> _Place:
        """Note the identifiers of a subschema; one may make it a resource of its own."""
        if self._is_reference_alone(node):
            return place
        resource = place.resource
        identifier = node.get(self.dialect.id)
        if isinstance(identifier, str) and node is not resource.root:
            if identifier.startswith("#"):
                resource.anchors[identifier[1:]] = node
            else:
                resource = self._identify(_joined(resource.uri, identifier), node)
                place = _Place(resource, "", kept=True, depth=place.depth)
        if isinstance(anchor := node.get("$anchor"), str):
            resource.anchors[anchor] = node
        if isinstance(anchor := node.get("$dynamicAnchor"), str):
            resource.anchors[anchor] = node
            resource.dynamic[anchor] = (resource, node)
        if node.get("$recursiveAnchor") is True:
            resource.dynamic[_RECURSIVE] = (resource, node)
        return place

    def _is_reference_alone(self, node: Schema) -> bool:
        return self.dialect.references_alone and isinstance(node.get("$ref"), str)

    def _inner(self, node: Schema, place: _Place) -> Iterator[tuple[str, str | None, Any]]:
        for keyword, value in node.items():
            holder = self.dialect.holders.get(keyword)
            if holder is None:
                continue
            found = children(holder, value, self.dialect.boolean_schemas)
            if found is None:
                raise _unsound(place, keyword, holder.words)
            for key, inner in found:
                yield keyword, key, inner

    def _check(self, node: Schema, place: _Place) -> None:
        for keyword, value in node.items():
            shape = self.dialect.plain.get(keyword)
            if shape is not None and not shape.fits(value):
                raise _unsound(place, keyword, shape.words)
        if dialect_of({"$schema": self.dialect.uri, **node}) is not self.dialect:
            raise ValueError("a schema of one dialect cannot hold one of another")
        if isinstance(pattern := node.get("pattern"), str):
            self._add_pattern(pattern)
        for pattern in node.get("patternProperties", ()):
            if not is_plain(self._add_pattern(pattern)):
                raise ValueError(
                    f"the pattern {pattern[:_QUOTED]!r} is not supported: for the names of "
                    "members there is no lookaround, no \\b, no [^\\p{..}...]"
                )

    def _add_pattern(self, pattern: str) -> Tree:
        if (tree := self.patterns.get(pattern)) is not None:
            return tree
        try:
            if len(pattern) > self.limits.pattern_length:
                raise BadPattern(f"it is longer than {self.limits.pattern_length} characters")
            tree = self.patterns[pattern] = parse_pattern(pattern)
        except BadPattern as error:
            raise ValueError(
                f"the pattern {pattern[:_QUOTED]!r} is not supported: {error}"
            ) from None
        self._positions += positions(tree)
        if self._positions > self.limits.pattern_positions:
            raise ValueError(
                "all patterns together, written out, are longer than "
                f"{self.limits.pattern_positions} characters"
            )
        return tree


class _Writer:
    """Writes the plain document, with one copy of a resource for each scope it is entered with."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._dialect = reader.dialect
        self._entries: dict[tuple[int, frozenset[tuple[str, int]]], str] = {}
        self._booleans: dict[bool, str] = {}
        self._pending: list[tuple[str, Schema, _Resource, _Scope]] = []
        self._others: Schema = {}
        self._taken: frozenset[str] = frozenset()
        self._targets: set[str] = set()
        self._copied = 0

    def write(self, root: Schema) -> Plain:
        """Copy the schema, then everything that turns out to be referred to."""
        container = self._dialect.definitions
        self._taken = frozenset(root.get(container, ()))
        resource = self._reader.resource_of(root)
        self._entries[id(root), _frozen(resource.dynamic)] = "#"
        schema = self._copy(root, resource, resource.dynamic)
        while self._pending:
            name, node, resource, scope = self._pending.pop()
            self._others[name] = self._copy(node, resource, scope)
        if self._others:
            schema[container] = {**schema.get(container, {}), **self._others}
        targets = {address: schema_at(schema, address) for address in self._targets}
        return Plain(schema, self._dialect, targets, self._reader.patterns)

    def _copy(self, node: Schema, resource: _Resource, scope: _Scope) -> Schema:
        self._copied += 1
        if self._copied > self._reader.limits.subschemas:
            raise ValueError(
                f"the schema has more than {self._reader.limits.subschemas} subschemas, counted "
                "for each dynamic scope"
            )
        dialect = self._dialect
        alone = dialect.references_alone and "$ref" in node
        copy: Schema = {}
        for keyword, value in node.items():
            if (holder := dialect.holders.get(keyword)) is not None:
                if holder.assertion:
                    kept = keyword in _REST and isinstance(value, bool)
                    copy[keyword] = value if kept else self._copy_inner(value, resource, scope)
            elif keyword in dialect.plain and keyword not in _NO_ASSERTIONS and not alone:
                copy[keyword] = value
        references = [
            {"$ref": self._refer(keyword, node[keyword], resource, scope)}
            for keyword in _REFERENCES
            if keyword in node and keyword in dialect.plain
        ]
        if references:
            copy |= references[0]
            if references[1:]:
                copy["allOf"] = [*copy.get("allOf", ()), *references[1:]]
        return copy

    def _copy_inner(self, value: Any, resource: _Resource, scope: _Scope) -> Any:
        """Copy what a keyword holds: a schema, or several of them, or arrays of names."""
        if isinstance(value, list):
            return [self._copy_inner(each, resource, scope) for each in value]
        if isinstance(value, bool):
            return _boolean(value)
        if not isinstance(value, dict):
            return value
        place = self._reader.places.get(id(value))
        if place is None:
            return {key: self._copy_inner(each, resource, scope) for key, each in value.items()}
        if place.resource is not resource:
            return {"$ref": self._address(value, scope)}
        return self._copy(value, resource, scope)

    def _refer(self, keyword: str, reference: str, resource: _Resource, scope: _Scope) -> str:
        target = self._reader.resolve(resource, reference)
        if isinstance(target, bool):
            return self._address_of_boolean(target)
        if keyword != "$ref":
            name = (
                _RECURSIVE if keyword == "$recursiveRef" else unquote(reference.partition("#")[2])
            )
            # Only a reference that could end at a dynamic anchor statically is a dynamic one.
            static = self._reader.resource_of(target).dynamic.get(name)
            if static is not None and static[1] is target and name in scope:
                target = scope[name][1]
        return self._address(target, scope)

    def _address(self, node: Schema, scope: _Scope) -> str:
        """Return the pointer to a schema that is entered with a scope."""
        place = self._reader.places[id(node)]
        resource = place.resource
        entered = {**resource.dynamic, **scope}
        if place.kept:
            address = self._entry(resource.root, resource, entered) + quote(place.pointer)
        else:
            address = self._entry(node, resource, entered)
        self._targets.add(address)
        return address

    def _entry(self, node: Schema, resource: _Resource, scope: _Scope) -> str:
        key = (id(node), _frozen(scope))
        if (address := self._entries.get(key)) is None:
            name, address = self._new()
            self._entries[key] = address
            self._pending.append((name, node, resource, scope))
        return address

    def _address_of_boolean(self, value: bool) -> str:
        if value not in self._booleans:
            name, self._booleans[value] = self._new()
            self._others[name] = _boolean(value)
            self._targets.add(self._booleans[value])
        return self._booleans[value]

    def _new(self) -> tuple[str, str]:
        number = len(self._entries) + len(self._booleans)
        while (name := f"part-{number}") in self._taken:
            number += 1
        self._taken |= {name}
        return name, f"#/{self._dialect.definitions}/{name}"


def _boolean(value: bool) -> Schema:
    """True and False as objects, so that every subschema is one."""
    return {} if value else {"not": {}}


def _frozen(scope: _Scope) -> frozenset[tuple[str, int]]:
    return frozenset((name, id(node)) for name, (_, node) in scope.items())


def _joined(base: str, reference: str) -> str:
    if not reference or reference.startswith("#"):  # urljoin does not know of urn:
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:
        raise ValueError(f"{reference[:_QUOTED]!r} is no URI reference") from None


def _token(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unsound(place: _Place, keyword: str, words: str) -> ValueError:
    path = ".".join(unquote(f"{place.pointer}/{keyword}").split("/")[1:])
    return ValueError(f"not a valid schema: {path[:300]}: expected {words}")
