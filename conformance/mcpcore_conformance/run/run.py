"""Cases side by side, and what came of them."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import anyio
from msgspec import Struct, field

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.model import Binding, Result, Side, Verdict
from mcpcore_conformance.run.plan import Settings, Unit

Play = Callable[[Unit], Awaitable[Result]]

SILENT = 2
"""Revisions in which nothing was heard of a program, after which it is given up."""
UNHEARD = "given up: nothing at all was heard of it"


class Listener:
    """Is told how a run goes; what is not overridden is not heard."""

    def planned(self, units: Sequence[Unit]) -> None:
        """These are going to be played."""

    def looks(self, binding: Binding, target: str) -> None:
        """What a program speaks over a binding is going to be found out."""

    def looked(self, binding: Binding, revision: Revision, features: Features) -> None:
        """This was found before the first case."""

    def began(self, unit: Unit) -> None:
        """A case is being played."""

    def gone(self, binding: Binding, how: str) -> None:
        """The server is gone: what is left of its cases will be inconclusive, for that reason."""

    def came_back(self, binding: Binding, how: str) -> None:
        """The server was gone, and is there again."""

    def ended(self, unit: Unit, result: Result) -> None:
        """A case is over."""


class Silence:
    """Tells which programs are given up, as nothing at all was heard of them; by binding."""

    def __init__(self) -> None:
        self._silent: Counter[Binding] = Counter()
        self._heard: set[Binding] = set()

    def learn(self, binding: Binding, *, silent: bool) -> None:
        """A program was looked at, in one revision."""
        if silent:
            self._silent[binding] += 1
        else:
            self._heard.add(binding)

    def given_up(self, binding: Binding) -> bool:
        """Whether it is not looked at in more revisions."""
        return binding not in self._heard and self._silent[binding] >= SILENT


class Run(Struct, kw_only=True):
    """What was run and what came of it, as far as it got."""

    side: Side
    targets: dict[Binding, str]
    """What is tested, for reports."""
    settings: Settings
    units: list[Unit] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    """In the order of the units, once the run is over."""
    features: dict[tuple[Binding, str], Features] = field(default_factory=dict)
    """Of servers: what each binding showed in each revision."""
    gone: dict[Binding, str] = field(default_factory=dict)
    """Servers that did not survive the run, and how they went, in one sentence each."""
    away: list[str] = field(default_factory=list)
    """When servers were gone and have come back, in one sentence each."""
    seconds: float = 0.0
    took: dict[Binding, float] = field(default_factory=dict)
    """Seconds for the cases of each binding, from its first to its last."""

    @property
    def complete(self) -> bool:
        """Whether every case was played to its end."""
        return len(self.results) == len(self.units)

    def slow(self) -> list[str]:
        """What takes longer than an answer may, or nearly, and where, in one sentence each."""
        places: dict[str, list[str]] = {}
        timeout = self.settings.timeout
        for (binding, revision), found in self.features.items():
            if found.pace.silent and found.pace.longest > timeout / 2:
                said = (
                    f"some answers took more than {timeout / 2:g} s: what had none within"
                    f" {timeout:g} s may be slow; --timeout SECONDS gives it more time"
                )
                places.setdefault(said, []).append(f"{binding} {revision}")
            for (_, name), seconds in found.pace.slow.items():
                said = f"{name} takes longer than {seconds:g} s, and is not judged by its silence"
                places.setdefault(said, []).append(f"{binding} {revision}")
        return [f"{', '.join(where)}: {said}" for said, where in places.items()]

    def finds(self, binding: Binding) -> bool:
        """Whether something was found to be broken over a binding."""
        broken = (Verdict.FAILED, Verdict.WEAK)
        return any(each.binding is binding and each.verdict in broken for each in self.results)

    def unplayed(self) -> list[Unit]:
        """What was planned, and was not played to its end."""
        played = {(each.case.id, each.revision, each.binding) for each in self.results}
        return [unit for unit in self.units if unit.key not in played]

    def count(self) -> Counter[Verdict]:
        """How often each verdict was given."""
        return Counter(result.verdict for result in self.results)

    def sort(self) -> None:
        """Put the results into the order of the units."""
        place = {unit.key: number for number, unit in enumerate(self.units)}
        self.results.sort(key=lambda result: place[result.case.id, result.revision, result.binding])


async def side_by_side(run: Run, play: Play, listener: Listener, *groups: Sequence[Unit]) -> None:
    """Play the units of a run, as many at a time as its settings say; results come as they end.

    ``groups``: all of them, one group after the other; by default there is one.
    """
    began: dict[Binding, float] = {}
    for group in groups or (run.units,):
        await _group(run, play, listener, deque(group), began)


async def _group(
    run: Run, play: Play, listener: Listener, waiting: deque[Unit], began: dict[Binding, float]
) -> None:

    async def work() -> None:
        while waiting:
            unit = waiting.popleft()
            began.setdefault(unit.binding, monotonic())
            listener.began(unit)
            result = await play(unit)
            run.results.append(result)
            run.took[unit.binding] = monotonic() - began[unit.binding]
            listener.ended(unit, result)
            # cases on virtual time never wait: between many of them nobody else would have a turn
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(run.settings.jobs):
            tasks.start_soon(work)


async def at_once(works: Sequence[Callable[[], Awaitable[None]]], jobs: int) -> None:
    """Do these in order, so many at a time."""
    waiting = deque(works)

    async def work() -> None:
        while waiting:
            await waiting.popleft()()

    async with anyio.create_task_group() as tasks:
        for _ in range(jobs):
            tasks.start_soon(work)
