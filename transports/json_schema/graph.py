"""A plain schema as a graph: what is applied to a value, and what to that which is in it."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from transports.json_schema.dialects import Dialect, Role, children
from transports.json_schema.patterns import Tree

Schema: TypeAlias = dict[str, Any]


class Plain(Struct, frozen=True):
    """A schema without identifiers; its ``$ref`` are JSON pointers into itself."""

    schema: Schema
    dialect: Dialect
    targets: Mapping[str, Schema]
    """What each ``$ref`` leads to."""
    patterns: Mapping[str, Tree]
    """All patterns, by their text."""


def schema_at(schema: Schema, address: str) -> Schema:
    """Return the subschema that a ``$ref`` of a plain schema leads to."""
    node: Any = schema
    for token in unquote(address).split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        node = node[int(token)] if isinstance(node, list) else node[token]
    return node  # type: ignore[no-any-return]


class Edges(Struct, frozen=True):
    """Where a subschema leads to. True and False are left out: they lead nowhere."""

    same: list[Schema]
    """Applied to the same value."""
    named: dict[str, Schema]
    """Applied to the member of that name."""
    below: list[Schema]
    """Applied to some of the members, items or names."""


def edges(plain: Plain, node: Schema) -> Edges:
    """Follow all keywords of a subschema."""
    found = Edges([], {}, [])
    if "$ref" in node:
        found.same.append(plain.targets[node["$ref"]])
        if plain.dialect.references_alone:
            return found
    for keyword, value in node.items():
        holder = plain.dialect.holders.get(keyword)
        if holder is None or holder.role is Role.NOTHING:
            continue
        for key, inner in children(holder, value, plain.dialect.boolean_schemas) or ():
            if not isinstance(inner, dict):
                continue
            if holder.role is Role.SAME:
                found.same.append(inner)
            elif holder.role is Role.NAMED and key is not None:
                found.named[key] = inner
            else:
                found.below.append(inner)
    return found


class Graph:
    """All subschemas that can be applied to anything, with their edges.

    Raises ValueError if one leads back to itself without going into a value: it would be applied
    without end.
    """

    def __init__(self, plain: Plain) -> None:
        self.plain = plain
        self.edges: dict[int, Edges] = {}
        """By the identity of the subschema."""
        self.nodes: dict[int, Schema] = {}
        pending = [plain.schema]
        while pending:
            node = pending.pop()
            if id(node) not in self.edges:
                found = self.edges[id(node)] = edges(plain, node)
                self.nodes[id(node)] = node
                pending += [*found.same, *found.named.values(), *found.below]
        self.order(self.nodes.values())

    def order(self, starts: Iterable[Schema]) -> list[Schema]:
        """Return ``starts`` and what is applied to the same value, those that lead there first."""
        done: list[Schema] = []
        left: dict[int, bool] = {}
        for start in starts:
            pending = [(start, False)]
            while pending:
                node, leaving = pending.pop()
                if leaving:
                    left[id(node)] = True
                    done.append(node)
                elif id(node) not in left:
                    left[id(node)] = False
                    pending.append((node, True))
                    pending += [(inner, False) for inner in self.edges[id(node)].same]
                elif not left[id(node)]:
                    raise ValueError(
                        "the schema refers to itself without end: a reference leads back to where "
                        "it stands without going into the value"
                    )
        return done[::-1]
