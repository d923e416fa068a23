"""Checking a server: look at it in each revision, then play every case."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from time import monotonic
from urllib.parse import urljoin, urlsplit

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.discover import REDIRECTIONS, discover
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.link import UNAUTHORIZED
from mcpcore_conformance.kit.model import Binding, Case, Result, Side
from mcpcore_conformance.kit.play import not_applicable, play
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.followers import Followers
from mcpcore_conformance.run.hints import hint
from mcpcore_conformance.run.plan import Settings, Unit, plan
from mcpcore_conformance.run.presence import Presence
from mcpcore_conformance.run.run import UNHEARD, Listener, Run, Silence, at_once, side_by_side
from mcpcore_conformance.run.stages import Subject
from mcpcore_transports.serve.serve import ungrouped

_WITHIN = (Binding.MEMORY, Binding.CORE)
"""In this process: what ends there ends the run as well."""


NOT_FOUND, METHOD_NOT_ALLOWED = 404, 405
NO_ENDPOINT = (NOT_FOUND, METHOD_NOT_ALLOWED)
CREDENTIALS = "--header 'Authorization: Bearer TOKEN'"
USUAL = "/mcp"
"""Where an endpoint is, by custom."""


class CannotRun(Exception):
    """There is no server to check; the message says why."""


def prepare(subjects: Sequence[Subject], cases: Sequence[Case], settings: Settings) -> Run:
    """Plan a run.  Raises ValueError if two subjects have one binding."""
    targets: dict[Binding, str] = {}
    for subject in subjects:
        if subject.binding in targets:
            raise ValueError(f"two servers over {subject.binding}; a run has one of each binding")
        targets[subject.binding] = subject.target
    units = plan(cases, Side.SERVER, [*targets], settings.revisions)
    return Run(side=Side.SERVER, targets=targets, settings=settings, units=units)


async def run_server(run: Run, subjects: Sequence[Subject], listener: Listener) -> None:
    """Play a run that was prepared for these subjects; ``run`` holds what came of it.

    May be cancelled: what was opened is closed, and what is done stays in ``run``.  Raises
    CannotStart, and CannotRun for a server that was not heard, or of which nothing can be said but
    that it speaks none of the revisions.
    """
    started = monotonic()
    try:
        with ungrouped():
            async with AsyncExitStack() as stack:
                stages = {subject.binding: await subject.make(stack) for subject in subjects}
                await Servers(run, stages, listener).run()
    finally:
        run.seconds = monotonic() - started
        run.sort()


class Servers:
    """The servers of a run, and how they are looked at and played with."""

    def __init__(self, run: Run, stages: dict[Binding, Stage], listener: Listener) -> None:
        self.run_ = run
        self.stages = stages
        self.listener = listener
        self.timing = Timing(answer=run.settings.timeout, start=run.settings.start)
        for stage in stages.values():
            if isinstance(stage, Staging):
                stage.patience = run.settings.timeout
        self.presences = {
            binding: Presence(
                stage, patience=run.settings.timeout, starts=partial(self._starts, stage)
            )
            for binding, stage in stages.items()
        }
        self.followers = Followers(Side.SERVER)
        self._unseen: set[tuple[Binding, str]] = set()
        """Where a server was gone before it was looked at."""

    async def run(self) -> None:
        """Look, then play."""
        await self.look()
        self.listener.planned(self.run_.units)
        groups = self.followers.in_turn(self.run_.units)
        await side_by_side(self.run_, self.play, self.listener, *groups)
        for binding, stage in self.stages.items():
            found = self._found(binding)
            if not spoken(found) and not self.run_.finds(binding):
                raise speaks_none(found, stage)

    def _found(self, binding: Binding) -> dict[str, Features]:
        """What was found over a binding, by the names of the revisions."""
        names = [each.name for each in self.run_.settings.revisions]
        return {name: self.run_.features[binding, name] for name in names}

    async def look(self) -> None:
        """See what each server speaks and offers.  Raises CannotRun."""
        silence = Silence()
        mute: set[str] = set()

        async def look(stage: Stage, revision: Revision) -> None:
            found = Features(revision="", problems=[UNHEARD], silent=True)
            if not silence.given_up(stage.binding):
                found = await self._look(stage, revision)
            silence.learn(stage.binding, silent=found.silent)
            # what was waited for in vain in one revision is not waited for in the others
            found.mute = mute
            self.run_.features[stage.binding, revision.name] = found
            self.listener.looked(stage.binding, revision, found)

        for binding in self.stages:
            self.listener.looks(binding, self.run_.targets[binding])
        looks = [
            partial(look, stage, revision)
            for stage in self.stages.values()
            for revision in self.run_.settings.revisions
        ]
        await at_once(looks, self.run_.settings.jobs)
        for binding, stage in self.stages.items():
            consider(self._found(binding), self.run_.settings, stage)

    async def _look(self, stage: Stage, revision: Revision) -> Features:
        """Look at a server; once more if it was there, went, and has come back."""
        found = await look_at_server(stage, revision, self.run_.settings, self.timing)
        looked = self.run_.features.items()
        seen = any(each.heard for (place, _), each in looked if place is stage.binding)
        if found.heard or found.silent or not seen:
            return found
        what = f"while it was looked at in {revision.name}"
        if await self.presences[stage.binding].back(what):
            return await look_at_server(stage, revision, self.run_.settings, self.timing)
        self._unseen.add((stage.binding, revision.name))
        return found

    async def _starts(self, stage: Stage) -> str:
        """Start a server anew, and look at it where it was heard; why it is not heard any more."""
        for revision in self.run_.settings.revisions:
            if self.run_.features[stage.binding, revision.name].heard:
                found = await look_at_server(stage, revision, self.run_.settings, self.timing)
                return "" if found.heard else "; ".join(found.problems)
        return ""

    def reason(self, unit: Unit) -> str:
        """Why a case does not apply to what was found; empty if it does."""
        found = self.run_.features[unit.binding, unit.revision.name]
        return not_applicable(unit.case, self.stages[unit.binding], unit.revision, found)

    async def play(self, unit: Unit) -> Result:
        """Play one case; what it takes is told in real time, wherever it is played."""
        started = monotonic()
        found = self.run_.features[unit.binding, unit.revision.name]
        stage = self.stages[unit.binding]
        presence = self.presences[unit.binding]

        async def once() -> Result:
            return await play_server(unit, stage, found, self.run_.settings, self.timing)

        unseen = (unit.binding, unit.revision.name) in self._unseen
        if (self.reason(unit) and not unseen) or unit.binding in _WITHIN:
            result = await once()
        else:
            result = await presence.play(unit, once)
        for how in presence.away:
            self.run_.away.append(how)
            self.listener.came_back(unit.binding, how)
        presence.away.clear()
        if presence.gone and unit.binding not in self.run_.gone:
            self.run_.gone[unit.binding] = presence.gone
            self.listener.gone(unit.binding, presence.gone)
        self.followers.consider(unit, result, found)
        result.seconds = monotonic() - started
        return result


async def look_at_server(
    stage: Stage, revision: Revision, settings: Settings, timing: Timing
) -> Features:
    """See what a server speaks and offers in one revision, within the time of a case."""
    found = await discover(stage, revision, timing, limit=settings.limit)
    found.allowed = settings.tools
    return found


def consider(found: Mapping[str, Features], settings: Settings, stage: Stage) -> None:
    """Decide in which revisions bare cases are played on a server that was looked at in these.

    Where something was heard and the look came to nothing; but what a server declines in an
    orderly way is not held against it, unless it was asked for, or the server declines everything.
    Raises CannotRun for a server that was not heard at all, or lets nobody in.
    """
    none = not spoken(found)
    if none and (hint := shut(found, stage)):
        raise speaks_none(found, stage, f": {hint}")
    if none and not any(each.heard for each in found.values()):
        raise speaks_none(found, stage)
    odd = {name for name, each in found.items() if each.heard and not each.declined}
    for name, each in found.items():
        if each.revision != name:
            each.tried = settings.named or name in odd or (none and not odd)


def shut(found: Mapping[str, Features], stage: Stage) -> str:
    """What to do about a server that lets nobody in, or has no endpoint there, or has it elsewhere.

    Empty for all others.
    """
    heard = [each for each in found.values() if each.heard]
    statuses = sorted({each.status for each in heard if each.status is not None})
    said = " and ".join(map(str, statuses))
    if UNAUTHORIZED in statuses or (heard and all(each.guarded for each in heard)):
        other = "other credentials" if getattr(stage, "headers", {}) else "credentials"
        return f"it answers with status {said}, and wants {other} ({CREDENTIALS})"
    closed = (*NO_ENDPOINT, *REDIRECTIONS)
    if not statuses or any(each.status not in closed for each in heard):
        return ""
    if place := next((each.location for each in heard if each.location), ""):
        url = urljoin(stage.target, place)
        return f"it answers with status {said}, which points to {url}: give that URL"
    path = urlsplit(stage.target).path or "/"
    usual = "" if path == USUAL else f", such as {USUAL}"
    hint = f"it answers with status {said}: is the path right, {path}{usual}"
    if stage.binding is Binding.HTTP and METHOD_NOT_ALLOWED in statuses:
        hint += ", or is it a server over HTTP+SSE (--transport sse)"
    return f"{hint}?"


def spoken(found: Mapping[str, Features]) -> bool:
    """Whether one of the revisions is spoken."""
    return any(each.revision == name for name, each in found.items())


def speaks_none(found: Mapping[str, Features], stage: Stage, more: str = "") -> CannotRun:
    """What is to be said of a server that speaks none of the revisions, with what was heard."""
    why = dict.fromkeys(each for one in found.values() for each in one.problems)
    tip = hint(
        stage.binding,
        why,
        silent=any(each.silent for each in found.values()),
        withheld=getattr(stage, "withheld", False),
    )
    said = "".join(f"\n  {each}" for each in (*why, tip) if each)
    names = ", ".join(found)
    return CannotRun(f"{stage.target} speaks none of {names} over {stage.binding}{more}{said}")


async def play_server(
    unit: Unit, stage: Stage, found: Features, settings: Settings, timing: Timing
) -> Result:
    """Play one case on a server that was looked at."""
    return await play(
        unit.case,
        stage,
        unit.revision,
        found,
        timing=timing,
        seed=unit.seed(settings.seed),
        thorough=settings.thorough,
        limit=settings.limit,
    )
