"""The server that asks at odd times, on virtual time: what the kit finds depends on no machine."""

import json
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.heard import Gone, Heard, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.wire import Kept, Overrides
from mcpcore_conformance.run.stages import Subject
from tests.conformance_kit.servers.odd_times import OWN, OddServer, Schedule, Value


class OddWire:
    """A conversation with a server of its own."""

    def __init__(self, stage: "OddStage", server: OddServer, log: Log) -> None:
        self.server = server
        self.heard: deque[Heard] = deque()
        self._stage = stage
        self._log = log
        self._rest = b""
        self.number = log.number()
        self.binding = Binding.MEMORY
        server.say = self._say

    def _say(self, message: Value, _about: Any) -> None:
        data = json.dumps(message).encode()
        self._log.add(False, self.number, "message", data)
        self.heard.append(Text(data, at=self.server.now))

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        await self.write(payload + b"\n")
        return 0

    async def write(self, data: bytes) -> None:
        self._log.add(True, self.number, "message", data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in filter(None, map(bytes.strip, lines)):
            self.server.hear(line, self._stage.now())

    async def hear(self, within: float) -> Heard | None:
        end = self._stage.now() + within
        while not self.heard:
            due = self.server.due()
            if due is None or due > end:
                self._stage.pass_until(end)
                break
            self._stage.pass_until(due)
        return self.heard.popleft() if self.heard else None

    async def listen(self, last_event_id: str | None = None) -> int:
        return 0

    async def cut(self, exchange: int = 0) -> None:
        self._stage.wires.discard(self)
        self.heard.append(Gone("dropped", at=self._stage.now()))

    async def finish(self) -> None:
        await self.cut()

    async def close(self) -> None:
        await self.cut()


class OddStage:
    """Conversations with such servers, and their clock."""

    binding = Binding.MEMORY
    target = "a server that asks at odd times"
    keeps = False

    def __init__(self, make: Callable[[], OddServer]) -> None:
        self._make = make
        self._time = 0.0
        self.wires: set[OddWire] = set()

    def now(self) -> float:
        return self._time

    def pass_until(self, time: float) -> None:
        for wire in self.wires:
            wire.server.pass_time(time)
        self._time = time

    async def pause(self, seconds: float) -> None:
        self.pass_until(self._time + seconds)

    async def connect(self, revision: Revision, *, log: Log, **_options: Any) -> OddWire:
        wire = OddWire(self, self._make(), log)
        self.wires.add(wire)
        return wire

    async def kept(self, revision: Revision, said: str, log: Log, *, wait: bool) -> Kept | None:
        return None

    def keep(self, revision: Revision, said: str, kept: Kept) -> None:
        raise AssertionError("nothing is kept")


def odd_subject(ways: str = "", own: Schedule = OWN) -> Subject:
    """Such a server, with these ways, which asks of its own accord at these times."""

    async def make(stack: AsyncExitStack) -> OddStage:
        return OddStage(lambda: OddServer(lambda _message, _about: None, ways, own))

    return Subject(Binding.MEMORY, OddStage.target, make)
