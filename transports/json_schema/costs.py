"""What a schema can cost, found out beforehand: for validators that cannot be stopped.

From the graph of a schema follows how often each subschema is evaluated for a value at a certain
depth, in the worst case and with nothing remembered.  Together with the size of a value on each
level that bounds the work, before any of it is done.  Units are evaluations of one keyword.
"""

from collections import Counter
from typing import Any, TypeAlias

from msgspec import Struct

from transports.json_schema.graph import Graph, Schema
from transports.json_schema.limits import Measured
from transports.json_schema.patterns import positions

_MOST_VISITS = 300_000
"""How much is looked at to find out the cost of one schema."""
_CEILING = 10**15
"""Counts are not followed beyond this."""
_PATTERN = 8
"""What a pattern costs for each character besides its positions, which count one each."""
_PATTERN_UNIT = 64
"""Positions times characters that cost as much as evaluating one keyword."""


class Work(Struct, frozen=True):
    """What something costs, at most."""

    steps: int
    """Evaluations of a keyword, and of each of its entries."""
    patterns: int
    """Positions of patterns, for each character."""
    problems: int
    """Evaluations of a keyword: what can go wrong."""

    def added(self, times: int, other: "Work") -> "Work":
        """Add another, so many times."""
        return Work(
            min(self.steps + times * other.steps, _CEILING),
            min(self.patterns + times * other.patterns, _CEILING),
            min(self.problems + times * other.problems, _CEILING),
        )

    def or_more(self, other: "Work") -> "Work":
        """Return the larger one, in each respect."""
        return Work(
            max(self.steps, other.steps),
            max(self.patterns, other.patterns),
            max(self.problems, other.problems),
        )


NOTHING = Work(0, 0, 0)

_Times: TypeAlias = dict[int, int]
"""How often each schema is evaluated."""


class _Row(Struct, frozen=True):
    """What evaluating a schema once entails."""

    work: Work
    """For the value itself."""
    named: list[_Times]
    """For each member with a name of its own."""
    below: _Times
    """For any member, item or name."""


class Costs:
    """The costs of a schema for values of up to ``depth`` levels.

    ``limit``: costs above it need not be told apart.  Raises ValueError if every value costs more,
    or the schema is too entangled to tell.
    """

    def __init__(self, graph: Graph, limit: int, depth: int) -> None:
        self._graph = graph
        self._visits = 0
        self._rows: dict[int, _Row] = {}
        pending = [id(graph.plain.schema)]
        while pending:
            identity = pending.pop()
            if identity not in self._rows:
                row = self._rows[identity] = self._add_up(graph.nodes[identity])
                pending += [inner for each in (*row.named, row.below) for inner in each]
        self._levels = self._levels_of(id(graph.plain.schema), limit, depth)
        """What one value at each depth costs; what is deeper cannot be afforded."""
        if not self._levels:
            raise ValueError(
                "the schema takes too much work: its parts refer to one another too often"
            )

    def steps(self, measured: Measured) -> int:
        """Return the most that holding a value against the schema can cost, patterns included."""
        if len(measured.nodes) > len(self._levels):
            return _CEILING
        total = above = 0
        for nodes, characters, level in zip(
            measured.nodes, measured.characters, self._levels, strict=False
        ):
            total += nodes * level.steps
            if level.patterns:
                # The names of members count on the level above, where patternProperties read
                # them; here they are read by propertyNames.
                total += (characters + above) * level.patterns // _PATTERN_UNIT
            above = characters
        return total

    def problems(self, measured: Measured) -> int:
        """Return how many keywords a value can break at most, in all alternatives together."""
        return sum(
            nodes * level.problems
            for nodes, level in zip(measured.nodes, self._levels, strict=False)
        )

    def _levels_of(self, root: int, limit: int, depth: int) -> list[Work]:
        """The costs for the root's value, for one inside of it, for one inside of that ..."""
        levels: list[Work] = []
        costs = {identity: row.work for identity, row in self._rows.items()}
        seen: dict[tuple[Work, ...], int] = {}
        while len(levels) < depth and costs[root].steps <= limit and self._visits <= _MOST_VISITS:
            state = tuple(costs.values())
            if (first := seen.setdefault(state, len(levels))) < len(levels):
                # Each level follows from the one above: from here on they repeat themselves.
                period = levels[first:]
                return [*levels, *(period * depth)[: depth - len(levels)]]
            levels.append(costs[root])
            costs = {identity: self._inside(row, costs) for identity, row in self._rows.items()}
        return levels

    def _inside(self, row: _Row, costs: dict[int, Work]) -> Work:
        """What a value inside of one costs, at most, given what each schema costs for it."""
        most = NOTHING
        for times in row.named:
            most = most.or_more(self._sum(times, costs))
        return self._sum(row.below, costs).added(1, most)

    def _sum(self, times: _Times, costs: dict[int, Work]) -> Work:
        self._visits += 1 + len(times)
        total = NOTHING
        for identity, count in times.items():
            total = total.added(count, costs[identity])
        return total

    def _add_up(self, start: Schema) -> _Row:
        evaluated = Counter({id(start): 1})
        collected: Counter[int] = Counter()
        named: dict[str, Counter[int]] = {}
        below: Counter[int] = Counter()
        work = NOTHING
        for node in self._graph.order([start]):
            times, again = evaluated[id(node)], collected[id(node)]
            if "unevaluatedProperties" in node or "unevaluatedItems" in node:
                # To find out what the others have evaluated, they are evaluated once more.
                again += times
            both = min(times + again, _CEILING)
            work = work.added(both, self._weigh(node))
            edges = self._graph.edges[id(node)]
            for inner in edges.same:
                evaluated[id(inner)] += both
                collected[id(inner)] += again
            for key, inner in edges.named.items():
                named.setdefault(key, Counter())[id(inner)] += both
            for inner in edges.below:
                below[id(inner)] += both
            self._visits += 1 + len(edges.same) + len(edges.named) + len(edges.below)
            if self._visits > _MOST_VISITS:
                raise ValueError("the schema is too entangled to tell what it costs")
        return _Row(work, [dict(each) for each in named.values()], dict(below))

    def _weigh(self, node: Schema) -> Work:
        texts = [node["pattern"]] if "pattern" in node else []
        texts += node.get("patternProperties", ())
        trees = self._graph.plain.patterns
        patterns = sum(_PATTERN + positions(trees[text]) for text in texts)
        steps = 1 + sum(_entries(keyword, value) for keyword, value in node.items())
        return Work(steps, patterns, len(node))


def _entries(keyword: str, value: Any) -> int:
    """How much a keyword holds itself, subschemas aside."""
    if keyword in ("enum", "const"):
        return _size(value)
    return 1 + (len(value) if isinstance(value, list | dict) else 0)


def _size(value: Any) -> int:
    total = 0
    pending = [value]
    while pending:
        each = pending.pop()
        total += 1
        if isinstance(each, dict):
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    return total
