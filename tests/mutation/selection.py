"""Which tests are asked about a mutant, and in which order."""

import ast
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.mutants import MODULE, Mutant, places
from tests.mutation.reach import Reach

_STEPS = 3
"""How many names deep it is followed where a value goes that is made while modules are loaded."""


class Names:
    """Where the names of the packages are used."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._uses: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._binds: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._inside: dict[tuple[str, str], set[int]] = defaultdict(set)
        for package in packages:
            for file in sorted(Path(package).rglob("*.py")):
                self._read(file.as_posix(), file.read_text())

    def _read(self, path: str, source: str) -> None:
        where = places(source)
        for line, place in where.items():
            self._inside[path, place.function].add(line)
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    self._uses[name].add((path, node.lineno))
                    if isinstance(node.ctx, ast.Store):
                        self._binds[path, where[node.lineno].line].add(name)
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    self._binds[path, where[node.lineno].line].add(name)

    def users(self, mutant: Mutant, loaded: dict[str, list[int]]) -> set[tuple[str, int]]:
        """Paths and lines where it matters what a line makes that runs while modules are loaded."""
        found: set[tuple[str, int]] = set()
        if mutant.function != MODULE:
            found |= {(mutant.path, line) for line in self._within(mutant)}
        names = set(self._binds[mutant.path, mutant.line])
        if mutant.function != MODULE:
            names.add(mutant.function.rpartition(".")[2])
        seen: set[str] = set()
        for _ in range(_STEPS):
            seen |= names
            uses = {use for name in names for use in self._uses[name]}
            found |= uses
            early = {(path, line) for path, line in uses if line in loaded.get(path, ())}
            names = {name for use in early for name in self._binds[use]} - seen
        return found

    def _within(self, mutant: Mutant) -> set[int]:
        """Lines of its function, or of its class and all methods."""
        return {
            line
            for (path, function), lines in self._inside.items()
            if path == mutant.path and f"{function}.".startswith(f"{mutant.function}.")
            for line in lines
        }


def candidates(mutant: Mutant, reach: Reach, names: Names) -> tuple[list[int], bool]:
    """Tests that can notice it, and whether its line runs while modules are loaded."""
    lines = range(mutant.line, mutant.last + 1)
    by_line = reach.lines.get(mutant.path, {})
    found = {test for line in lines for test in by_line.get(line, ())}
    early = not set(lines).isdisjoint(reach.loaded.get(mutant.path, ()))
    if early:
        for path, line in names.users(mutant, reach.loaded):
            found.update(reach.lines.get(path, {}).get(line, ()))
    return _in_turn(found, reach), early


def _in_turn(tests: set[int], reach: Reach) -> list[int]:
    """The cheapest row of each test function, then the second row of each, and so on."""
    rows: dict[str, list[int]] = defaultdict(list)
    for test in sorted(tests, key=lambda test: (reach.seconds[test], test)):
        rows[reach.tests[test].partition("[")[0]].append(test)
    turn = {test: number for each in rows.values() for number, test in enumerate(each)}
    return sorted(turn, key=lambda test: (turn[test], reach.seconds[test], test))
