"""Whether the server of a run is still there, and what becomes of its cases if it is not.

A server at an address is somebody else's process: after each case the kit sees whether it takes
connections.  Of a server over stdio each connection is a process of its own, so that an end
concerns one case; it is gone only if a new process says nothing at all.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

import anyio
from anyio.abc import ByteStream

from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.kit.unreachable import reason_of
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.plan import Unit

ADDRESSED = frozenset((Binding.HTTP, Binding.SSE, Binding.WS, Binding.TCP, Binding.UNIX))
PAUSE = 0.1
"""Seconds between attempts to reach a server that may come back."""
LINGER = 0.1
"""Seconds in which a connection ends that a process has let in while it was ending itself."""
_SECURE = ("https", "wss", "tls")

Play = Callable[[], Awaitable[Result]]
Starts = Callable[[], Awaitable[str]]


class Presence:
    """Tells of one server whether it is gone: then what is left of its cases is not played."""

    def __init__(self, stage: Stage, *, patience: float, starts: Starts) -> None:
        """Watch the server of a stage.

        ``patience``: seconds for a connection, and for a server that is gone to come back;
        ``starts``: starts a server over stdio anew, and says why nothing is heard of it.
        """
        self.gone = ""
        """How it went, in one sentence; empty as long as it is there."""
        self.away: list[str] = []
        """When it was gone and has come back, in one sentence each."""
        self._stage = stage
        self._addressed = stage.binding in ADDRESSED
        self._patience = patience
        self._starts = starts
        self._turn = anyio.Lock()
        """Who finds out whether the server is there; meanwhile no case begins."""
        self._playing: list[Unit] = []
        self._during: tuple[Unit, ...] = ()
        """What was being played when it was last found to be away."""
        self._away = 0
        """How often it was found to be away."""
        self._why = ""
        self._last: Unit | None = None
        """The last case after which it was there."""

    async def play(self, unit: Unit, play: Play) -> Result:
        """Play a case, and judge what came of it by whether the server has survived it."""
        async with self._turn:
            if self.gone:
                return self._unplayed(unit)
            before = self._away
            self._playing.append(unit)
        try:
            result = await play()
            async with self._turn:
                return await self._survived(unit, result, before, play)
        finally:
            self._playing.remove(unit)

    async def _survived(self, unit: Unit, result: Result, before: int, play: Play) -> Result:
        """The result, if the server was there all the time, else what becomes of it."""
        if self._away == before and await self._there(unit, result):
            self._last = unit
            return result
        if self.gone:
            return self._left(unit, result)
        if self._during == (unit,) and _touched(result):
            return self._blamed(unit, result)
        # others may have ended it, and it is back: now nothing new begins beside this case
        result = await play()
        if not await self._there(unit, result):
            return self._blamed(unit, result)
        result.notes.append("played again, as the server was gone meanwhile, and has come back")
        return result

    async def back(self, what: str) -> bool:
        """Whether a server that was heard, and could not be looked at, is there (again).

        ``what`` was being done when it went.
        """
        async with self._turn:
            if self._addressed and not self.gone and (why := await self._absence()):
                self._give_up(why, what)
            return not self.gone

    async def _there(self, unit: Unit, result: Result) -> bool:
        """Whether the server was there all the time; else it has come back, or is given up."""
        if not self._addressed:
            return await self._starts_anew(unit, result)
        well = result.verdict in (Verdict.PASSED, Verdict.NOT_APPLICABLE)
        why = await knock(self._stage.target, self._patience, linger=0.0 if well else LINGER)
        if not why:
            return True
        self._away += 1
        self._during = tuple(self._playing)
        self._why = why
        if still := await self._absence():
            self._give_up(still, self._when(unit, result))
        else:
            self.away.append(
                f"the server over {self._stage.binding} was gone and has come back ({why}); it went"
                f" {self._when(unit, result)}"
            )
        return False

    async def _starts_anew(self, unit: Unit, result: Result) -> bool:
        if result.verdict in (Verdict.PASSED, Verdict.NOT_APPLICABLE) or _heard(result):
            return True
        why = await self._starts()
        if not why:
            return True
        self._away += 1
        after = f"after {self._last}" if self._last else "before the first case was over"
        self.gone = f"the server over {self._stage.binding} does not start any more {after}: {why}"
        return False

    async def _absence(self) -> str:
        """Why it cannot be reached, also in a while; empty if it can."""
        why = "no connection"
        with anyio.move_on_after(self._patience):
            while why := await knock(self._stage.target, self._patience):
                self._why = why
                await anyio.sleep(PAUSE)
        return self._why if why else ""

    def _give_up(self, why: str, when: str) -> None:
        self.gone = (
            f"the server over {self._stage.binding} is gone: {self._stage.target} takes no"
            f" connection any more ({why}), nor did it within {self._patience:g} s; it went {when}"
        )

    def _when(self, unit: Unit, result: Result) -> str:
        suspects = [str(each) for each in self._during if each != unit or _touched(result)]
        after = f"after {self._last}" if self._last else "before the first case"
        if not suspects:
            return after
        if len(suspects) > 1:
            return f"during one of {', '.join(suspects)}"
        return f"during {suspects[0]}" + ("" if _heard(result) else f", or {after}")

    def _left(self, unit: Unit, result: Result) -> Result:
        """What becomes of a case at the end of which the server is gone for good."""
        if not (_touched(result) if self._addressed else _heard(result)):
            return self._unplayed(unit)
        if not self._addressed:
            return result
        if self._during == (unit,):
            return self._blamed(unit, result)
        if result.verdict in (Verdict.PASSED, Verdict.INFORMATIONAL):
            result.verdict = Verdict.INCONCLUSIVE
        if result.verdict is not Verdict.NOT_APPLICABLE:
            others = ", ".join(each.case.id for each in self._during if each != unit)
            result.detail = self._with(result, f"played beside {others}; --jobs 1 tells which")
        return result

    def _blamed(self, unit: Unit, result: Result) -> Result:
        """What becomes of a case that has ended the server."""
        result.verdict = Verdict.FAILED
        back = "it did not come back" if self.gone else "it has come back"
        result.detail = self._with(result, back)
        self._last = unit
        return result

    def _with(self, result: Result, more: str) -> str:
        said = f"{result.detail}; " if result.detail else ""
        return f"{said}the server was gone afterwards ({self._why}), {more}"

    def _unplayed(self, unit: Unit) -> Result:
        return Result(
            case=unit.case,
            revision=unit.revision.name,
            binding=unit.binding,
            verdict=Verdict.INCONCLUSIVE,
            detail=self.gone,
        )


async def knock(target: str, within: float, *, linger: float = 0.0) -> str:
    """Connect to a URL and leave at once; return why that fails, or nothing.

    ``linger``: seconds to stay; where the connection ends meanwhile, another one decides.
    """
    try:
        with anyio.fail_after(within):
            stream = await _connected(target)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return reason_of(error)
    ended = False
    try:
        with anyio.move_on_after(linger):
            await stream.receive(1)
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        ended = True
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
    return await knock(target, within) if ended else ""


async def _connected(target: str) -> ByteStream:
    parts = urlsplit(target)
    if parts.scheme == "unix":
        return await anyio.connect_unix(unquote(parts.path))
    port = parts.port or (443 if parts.scheme in _SECURE else 80)
    return await anyio.connect_tcp(parts.hostname or "127.0.0.1", port)


def _touched(result: Result) -> bool:
    """Whether the case had a connection."""
    return any(line.kind != "note" for line in result.transcript)


def _heard(result: Result) -> bool:
    """Whether anything was heard in the case."""
    return any(line.data and line.kind in _SAID and not line.sent for line in result.transcript)


_SAID = ("message", "head", "bytes")
