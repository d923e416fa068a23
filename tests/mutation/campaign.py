"""A campaign: a sample of mutants, the tests for each, and what became of it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import msgspec
from msgspec import Struct

from tests.mutation.children import Plan, Verdict, Warm, apart, collect_warm, run_cold
from tests.mutation.mutants import Key, Mutant, mutants, population, sample
from tests.mutation.reach import Reach, measure
from tests.mutation.selection import Names, candidates

PACKAGES = (
    *("mcpcore/wire", "mcpcore/engine", "mcpcore/http", "mcpcore/trace", "mcpcore/auth"),
    *("mcpcore/relay", "mcpcore/policy"),
)
TESTS = (
    *("tests/wire", "tests/spec", "tests/engine", "tests/http", "tests/service", "tests/auth"),
    *("tests/relay", "tests/policy"),
)


class Scope(Struct, frozen=True):
    """What is mutated, by whom it is tested, and how long a mutant may take."""

    packages: Sequence[str] = PACKAGES
    tests: Sequence[str] = TESTS
    budget: float = 20.0
    """Seconds of CPU time for the tests of one mutant."""


class Outcome(Struct):
    """A mutant and its verdict."""

    mutant: Mutant
    tests: int
    """How many reach it."""
    verdict: Verdict
    killer: str = ""
    """The name of the test that killed it."""


Tell = Callable[[Outcome], None]


def draw(
    scope: Scope, count: int, seed: int, only: str = ""
) -> tuple[dict[str, int], list[Mutant]]:
    """How many mutants there are by package, and those of the sample."""
    possible = population(scope.packages, only)
    return {name: len(each) for name, each in possible.items()}, sample(possible, count, seed)


def find(keys: Sequence[Key]) -> list[Mutant]:
    """The mutants of these keys, as far as their code is still there."""
    wanted = set(keys)
    places = {key[:2] for key in keys}
    found = {
        mutant.key(): mutant
        for path in sorted({path for path, _ in places})
        for mutant in mutants(path)
        if (path, mutant.function) in places and mutant.key() in wanted
    }
    return list(found.values())


def measured(scope: Scope, tests: Sequence[str]) -> Reach:
    """Which of ``tests`` reach what, found out in a process of its own."""
    with apart(lambda out: _measure(scope, tests, out)) as come:
        reach = come.read()
    if not reach:
        raise RuntimeError("the tests fail without any change")
    return msgspec.json.decode(reach, type=Reach)


def _measure(scope: Scope, tests: Sequence[str], out: int) -> None:
    reach = measure(scope.packages, tests)
    with os.fdopen(out, "wb") as stream:
        stream.write(msgspec.json.encode(reach))


class _Planner:
    """Knows which tests to ask first: those that have killed mutants of the same module."""

    def __init__(self, scope: Scope, chosen: Sequence[Mutant], reach: Reach) -> None:
        names = Names(scope.packages, (test.partition("::")[0] for test in reach.tests))
        self.tests = {mutant: candidates(mutant, reach, names) for mutant in chosen}
        self.killers: Counter[tuple[str, int]] = Counter()
        self._budget = scope.budget
        self._reach = reach

    def plan(self, mutant: Mutant) -> Plan:
        tests, _ = self.tests[mutant]
        order = sorted(tests, key=lambda test: -self.killers[mutant.path, test])
        return self._planned(mutant, order, self._budget)

    def control(self) -> Plan:
        """All tests that have killed anything, over the code as it is."""
        return self._planned(None, sorted({test for _, test in self.killers}), float("inf"))

    def learn(self, mutant: Mutant, verdict: Verdict) -> None:
        if verdict.test is not None:
            self.killers[mutant.path, verdict.test] += 1

    def _planned(self, mutant: Mutant | None, tests: list[int], budget: float) -> Plan:
        ids = [self._reach.tests[test] for test in tests]
        return Plan(mutant, tests, ids, [self._reach.seconds[test] for test in tests], budget)


def run(scope: Scope, chosen: Sequence[Mutant], reach: Reach, tell: Tell) -> str | None:
    """Try each of ``chosen``, telling of each; returns a test that fails without any change."""
    planner = _Planner(scope, chosen, reach)

    def done(mutant: Mutant, verdict: Verdict) -> None:
        planner.learn(mutant, verdict)
        killer = "" if verdict.test is None else reach.tests[verdict.test]
        tell(Outcome(mutant, len(planner.tests[mutant][0]), verdict, killer))

    warm: list[Mutant] = []
    cold: list[Mutant] = []
    for mutant in chosen:
        tests, early = planner.tests[mutant]
        if tests:
            (cold if early else warm).append(mutant)
        else:
            done(mutant, Verdict("survived", 0))
    for mutant, verdict in _warm(scope, warm, planner):
        if verdict is None:
            cold.append(mutant)
        else:
            done(mutant, verdict)
    for mutant in cold:
        done(mutant, run_cold(planner.plan(mutant)))
    control = run_cold(planner.control())
    return None if control.test is None else reach.tests[control.test]


def _warm(
    scope: Scope, chosen: Sequence[Mutant], planner: _Planner
) -> Iterator[tuple[Mutant, Verdict | None]]:
    """Those whose function can be exchanged in a process that has collected all tests."""

    def work(out: int) -> None:
        with os.fdopen(out, "wb") as stream:
            collect_warm(scope.tests, lambda collected: _each(collected, stream))

    def _each(collected: Warm, stream: BinaryIO) -> None:
        for mutant in chosen:
            verdict = collected.run(planner.plan(mutant))
            if verdict is not None:
                planner.learn(mutant, verdict)
            stream.write(msgspec.json.encode(verdict) + b"\n")
            stream.flush()

    if chosen:
        with apart(work) as come:
            for mutant, line in zip(chosen, come, strict=True):
                yield mutant, msgspec.json.decode(line, type=Verdict | None)
