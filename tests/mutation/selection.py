"""Which tests are asked about a mutant, and in which order."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutation.mutants import MODULE, Mutant, Place, places
from tests.mutation.reach import Reach

Statement = tuple[str, int]
"""A path and a first line."""
_WORD = re.compile(r"[^\W\d]\w*")
_STEPS = 3
"""How many names deep it is followed where a value goes that is made while modules are loaded."""


class Names:
    """Where the names of the packages are used, and in which files of tests they stand."""

    def __init__(self, packages: Sequence[str], tests: Iterable[str]) -> None:
        self._places: dict[str, dict[int, Place]] = {}
        self._uses: dict[str, set[Statement]] = defaultdict(set)
        self._binds: dict[Statement, set[str]] = defaultdict(set)
        self._tests: dict[str, set[str]] = defaultdict(set)
        for package in packages:
            for file in sorted(Path(package).rglob("*.py")):
                self._read(file.as_posix(), file.read_text())
        for test in sorted(set(tests)):
            for name in set(_WORD.findall(Path(test).read_text())):
                self._tests[name].add(test)

    def _read(self, path: str, source: str) -> None:
        where = self._places[path] = places(source)
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    statement = path, where[node.lineno].line
                    self._uses[name].add(statement)
                    if isinstance(node.ctx, ast.Store):
                        self._binds[statement].add(name)
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    self._binds[path, where[node.lineno].line].add(name)

    def users(
        self, mutant: Mutant, loaded: dict[str, list[int]]
    ) -> tuple[set[tuple[str, int]], set[str]]:
        """For whom it matters what a line makes that runs while modules are loaded.

        Paths and lines, and files of tests that name it.
        """
        found = self._within(mutant)
        names = self._made(mutant.path, mutant.line)
        named = set(names)
        seen: set[str] = set()
        for _ in range(_STEPS):
            seen |= names
            made: set[str] = set()
            for path, line in {use for name in names for use in self._uses[name]}:
                place = self._places[path][line]
                found |= {(path, each) for each in range(place.line, place.last + 1)}
                if line in loaded.get(path, ()):
                    made |= self._made(path, line)
                    if place.function == MODULE:
                        named |= self._binds[path, line]
            names = made - seen
        return found, {test for name in named for test in self._tests[name]}

    def _made(self, path: str, line: int) -> set[str]:
        """What the statement at ``line`` binds, and the class that it stands in."""
        owner = self._places[path][line].function
        names = set(self._binds[path, line])
        return names if owner == MODULE else {*names, owner.rpartition(".")[2]}

    def _within(self, mutant: Mutant) -> set[tuple[str, int]]:
        """Lines of its function, or of its class and all methods; none of a module."""
        return {
            (mutant.path, line)
            for line, place in self._places[mutant.path].items()
            if f"{place.function}.".startswith(f"{mutant.function}.") and mutant.function != MODULE
        }


def candidates(mutant: Mutant, reach: Reach, names: Names) -> tuple[list[int], bool]:
    """Tests that can notice it, and whether its line runs while modules are loaded."""
    lines = range(mutant.line, mutant.last + 1)
    by_line = reach.lines.get(mutant.path, {})
    found = {test for line in lines for test in by_line.get(line, ())}
    early = not set(lines).isdisjoint(reach.loaded.get(mutant.path, ()))
    if early:
        users, files = names.users(mutant, reach.loaded)
        for path, line in users:
            found.update(reach.lines.get(path, {}).get(line, ()))
        for number, test in enumerate(reach.tests):
            if test.partition("::")[0] in files:
                found.add(number)
    return _in_turn(found, reach), early


def _in_turn(tests: set[int], reach: Reach) -> list[int]:
    """The cheapest row of each test function, then the second row of each, and so on."""
    rows: dict[str, list[int]] = defaultdict(list)
    for test in sorted(tests, key=lambda test: (reach.seconds[test], test)):
        rows[reach.tests[test].partition("[")[0]].append(test)
    turn = {test: number for each in rows.values() for number, test in enumerate(each)}
    return sorted(turn, key=lambda test: (turn[test], reach.seconds[test], test))
