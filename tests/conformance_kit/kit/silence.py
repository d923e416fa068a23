"""A stage on which it is counted how long the kit waits for what does not come.

What is counted is the time that the kit allows, not what a clock shows: a busy machine changes
nothing of it.
"""

from typing import Any, cast

from msgspec import Struct, structs

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.http import HttpWire
from mcpcore_conformance.kit.bindings.stdio import StdioWire
from mcpcore_conformance.kit.heard import Heard
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.wire import Kept, Overrides, Poured, Stage, Wire


class Silence(Struct):
    """Seconds in which nothing came, one after another."""

    seconds: float = 0.0


class CountedWire:
    """A wire; everything goes straight through."""

    binding: Binding
    number: int

    def __init__(self, wire: Wire, silence: Silence) -> None:
        self._wire = wire
        self._silence = silence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._wire, name, value)

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        return await self._wire.say(payload, headers=headers)

    async def hear(self, within: float) -> Heard | None:
        heard = await self._wire.hear(within)
        if heard is None:
            self._silence.seconds += within
        return heard

    async def pour(
        self, *pieces: bytes, within: float = 2.0, first: float = 2.0, **options: Any
    ) -> Poured:
        wire = cast("HttpWire", self._wire)
        found = await wire.pour(*pieces, within=within, first=first, **options)
        if not found.closed:
            self._silence.seconds += within if found.responses else first
        return found

    async def exited(self, within: float) -> int | None:
        status = await cast("StdioWire", self._wire).exited(within)
        if status is None:
            self._silence.seconds += within
        return status

    async def listen(self, last_event_id: str | None = None) -> int:
        return await self._wire.listen(last_event_id)

    async def cut(self, exchange: int = 0) -> None:
        await self._wire.cut(exchange)

    async def finish(self) -> None:
        await self._wire.finish()

    async def close(self) -> None:
        await self._wire.close()


class CountedStage:
    """A stage whose every connection is counted."""

    binding: Binding
    target: str
    keeps: bool

    def __init__(self, stage: Stage, silence: Silence) -> None:
        self._stage = stage
        self._silence = silence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def now(self) -> float:
        return self._stage.now()

    async def pause(self, seconds: float) -> None:
        self._silence.seconds += seconds
        await self._stage.pause(seconds)

    async def connect(self, revision: Revision, *, log: Log, **options: Any) -> Wire:
        return CountedWire(await self._stage.connect(revision, log=log, **options), self._silence)

    async def kept(self, revision: Revision, said: str, log: Log, *, wait: bool) -> Kept | None:
        found = await self._stage.kept(revision, said, log, wait=wait)
        if found is None:
            return None
        return structs.replace(found, wire=CountedWire(found.wire, self._silence))

    def keep(self, revision: Revision, said: str, kept: Kept) -> None:
        assert isinstance(kept.wire, CountedWire)
        own = kept.wire._wire
        self._stage.keep(revision, said, structs.replace(kept, wire=own))
