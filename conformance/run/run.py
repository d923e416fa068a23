"""Cases side by side, and what came of them."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

import anyio
from msgspec import Struct, field

from conformance.kit.features import Features
from conformance.kit.model import Binding, Result, Side, Verdict
from conformance.run.plan import Settings, Unit
from mcpcore.spec.revisions import Revision

Play = Callable[[Unit], Awaitable[Result]]


class Listener:
    """Is told how a run goes; what is not overridden is not heard."""

    def planned(self, units: Sequence[Unit]) -> None:
        """These are going to be played."""

    def looked(self, binding: Binding, revision: Revision, features: Features) -> None:
        """This was found before the first case."""

    def began(self, unit: Unit) -> None:
        """A case is being played."""

    def ended(self, unit: Unit, result: Result) -> None:
        """A case is over."""


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
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every case was played to its end."""
        return len(self.results) == len(self.units)

    def count(self) -> Counter[Verdict]:
        """How often each verdict was given."""
        return Counter(result.verdict for result in self.results)

    def sort(self) -> None:
        """Put the results into the order of the units."""
        place = {unit.key: number for number, unit in enumerate(self.units)}
        self.results.sort(key=lambda result: place[result.case.id, result.revision, result.binding])


async def side_by_side(run: Run, play: Play, listener: Listener) -> None:
    """Play the units of a run, as many at a time as its settings say; results come as they end."""
    waiting = deque(run.units)

    async def work() -> None:
        while waiting:
            unit = waiting.popleft()
            listener.began(unit)
            result = await play(unit)
            run.results.append(result)
            listener.ended(unit, result)
            # cases on virtual time never wait: between many of them nobody else would have a turn
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(run.settings.jobs):
            tasks.start_soon(work)


def only_one(group: BaseException) -> BaseException:
    """What a group of exceptions comes to if there is but one in it; else the group."""
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group
