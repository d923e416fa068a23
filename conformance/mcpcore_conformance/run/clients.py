"""Checking a client: look at it in each revision, then start it once for every case."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import monotonic

from msgspec import Struct

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.client_play import (
    HOSTS,
    ClientFeatures,
    Tested,
    look_at_client,
    not_applicable,
    play_client,
)
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.model import Binding, Case, Result, Side
from mcpcore_conformance.run.followers import Followers
from mcpcore_conformance.run.hints import hint_of_client
from mcpcore_conformance.run.plan import Settings, Unit, plan
from mcpcore_conformance.run.run import (
    SILENT,
    UNHEARD,
    Listener,
    Run,
    Silence,
    at_once,
    side_by_side,
)
from mcpcore_conformance.run.servers import CannotRun
from mcpcore_transports.serve.serve import ungrouped

Look = Callable[[], Awaitable[None]]
MEETING = tuple(HOSTS)
"""The bindings over which the kit can meet a program."""
HERE = {Binding.CORE: "the sans-IO core", Binding.MEMORY: "the client of this process"}
"""What is tested there, for reports."""
STARTS = 4
"""Answers that a client may take to show itself, and to end."""


class Command(Struct, frozen=True):
    """How a client is started."""

    words: Sequence[str]
    env: Mapping[str, str] | None = None
    """Its whole environment; None: ours."""
    cwd: str | None = None
    here: Mapping[Binding, Tested] = {}
    """What is met in this process, where there is such a thing."""

    @property
    def shown(self) -> str:
        """For reports."""
        return " ".join(self.words)

    def over(self, binding: Binding) -> Tested:
        """What is tested over a binding."""
        return self.here.get(binding, self.words)


def prepare_client(
    command: Command, bindings: Sequence[Binding], cases: Sequence[Case], settings: Settings
) -> Run:
    """Plan a run."""
    targets = {each: HERE.get(each, command.shown) for each in bindings}
    units = [
        unit
        for unit in plan(cases, Side.CLIENT, bindings, settings.revisions)
        if unit.binding is not Binding.SSE or unit.revision.sessions
    ]
    return Run(side=Side.CLIENT, targets=targets, settings=settings, units=units)


async def run_client(run: Run, command: Command, listener: Listener) -> None:
    """Play a run that was prepared for this command; ``run`` holds what came of it.

    May be cancelled: what was started is ended, and what is done stays in ``run``.  Raises
    CannotRun for a client that was not heard, or of which nothing can be said but that it speaks
    none of the revisions.
    """
    started = monotonic()
    try:
        with ungrouped():
            await Clients(run, command, listener).run()
    finally:
        run.seconds = monotonic() - started
        run.sort()


class Clients:
    """The client of a run, and how it is looked at and played with."""

    def __init__(self, run: Run, command: Command, listener: Listener) -> None:
        self.run_ = run
        self.command = command
        self.listener = listener
        answer = run.settings.timeout
        start = STARTS * answer
        self.timing = ClientTiming(start=start, answer=answer, exit=start)
        self.features: dict[tuple[Binding, str], ClientFeatures] = {}
        self.followers = Followers(Side.CLIENT)

    async def run(self) -> None:
        """Look, then play."""
        await self.look()
        self.listener.planned(self.run_.units)
        groups = self.followers.in_turn(self.run_.units)
        await side_by_side(self.run_, self.play, self.listener, *groups)
        bindings = [*self.run_.targets]
        if not heard_to_speak(self.features) and not any(map(self.run_.finds, bindings)):
            raise speaks_nothing(self.features, self.command.shown)

    async def look(self) -> None:
        """See what the client speaks, and over what.  Raises CannotRun."""
        silence = Silence()

        async def look(binding: Binding, revision: Revision) -> None:
            found = ClientFeatures(problems=[UNHEARD], silent=True)
            if not silence.given_up(binding):
                found = await look_at_client(
                    self.command.over(binding),
                    binding,
                    revision,
                    timing=self.timing,
                    limit=self.run_.settings.limit,
                    env=self.command.env,
                    cwd=self.command.cwd,
                )
            silence.learn(binding, silent=found.silent)
            self.features[binding, revision.name] = found

        for binding, target in self.run_.targets.items():
            self.listener.looks(binding, target)
        units = dict.fromkeys((unit.binding, unit.revision) for unit in self.run_.units)
        first: list[Look] = []
        others: list[Look] = []
        for binding in self.run_.targets:
            looks: list[Look] = [partial(look, *each) for each in units if each[0] is binding]
            first += looks[:SILENT]
            others += looks[SILENT:]
        # a silent look takes all its time: the others wait until it is known of the first
        for each in (first, others):
            await at_once(each, self.run_.settings.jobs)
        consider_client(self.features, self.run_.settings, self.command.shown)

    def reason(self, unit: Unit) -> str:
        """Why a case does not apply to what was found; empty if it does."""
        found = self.features[unit.binding, unit.revision.name]
        return not_applicable(unit.case, unit.binding, unit.revision, found)

    async def play(self, unit: Unit) -> Result:
        """Play one case."""
        settings = self.run_.settings
        found = self.features[unit.binding, unit.revision.name]
        result = await play_client(
            unit.case,
            self.command.over(unit.binding),
            unit.binding,
            unit.revision,
            features=found,
            timing=self.timing,
            limit=settings.limit,
            seed=unit.seed(settings.seed),
            env=self.command.env,
            cwd=self.command.cwd,
        )
        self.followers.consider(unit, result, found)
        return result


def consider_client(
    found: Mapping[tuple[Binding, str], ClientFeatures], settings: Settings, target: str
) -> None:
    """Decide where bare cases are played on a client that was looked at there, as for servers.

    Raises CannotRun for a client that was not heard at all.
    """
    none = not heard_to_speak(found)
    if none and not any(each.heard for each in found.values()):
        raise speaks_nothing(found, target)
    for (_, name), each in found.items():
        if each.revision != name:
            each.tried = settings.named or none or (each.heard and each.broken)


def heard_to_speak(found: Mapping[tuple[Binding, str], ClientFeatures]) -> bool:
    """Whether one of the revisions is spoken."""
    return any(each.revision == name for (_, name), each in found.items())


def speaks_nothing(found: Mapping[tuple[Binding, str], ClientFeatures], target: str) -> CannotRun:
    """What is to be said of a client that speaks none of the revisions, with what was heard."""
    why = dict.fromkeys(each for one in found.values() for each in one.problems)
    places = ", ".join(dict.fromkeys(binding for binding, _ in found))
    said = "".join(f"\n  {each}" for each in (*why, hint_of_client(why)) if each)
    return CannotRun(f"{target} was not seen to speak any revision over {places}{said}")
