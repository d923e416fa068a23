"""The sans-IO core alone, on virtual time: nothing waits, so a dialogue takes milliseconds."""

from collections import deque
from collections.abc import Awaitable, Generator
from typing import Any, TypeVar, cast

from mcpcore import Config, Peer, Role
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.heard import Gone, Heard, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.wire import Overrides, Stage, Wire
from mcpcore_conformance.subjects.core_app import CoreApp
from mcpcore_conformance.subjects.core_server import make_server

T = TypeVar("T")


class CoreStage(Stage):
    """Makes conversations with one server object, and is their clock."""

    binding = Binding.CORE
    target = "the sans-IO core"

    def __init__(self) -> None:
        self._server = make_server()
        self._time = 0.0
        self._wires: list[CoreWire] = []

    async def __aenter__(self) -> "CoreStage":
        """There is nothing to get ready."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all conversations."""
        for wire in [*self._wires]:
            await wire.close()

    def now(self) -> float:
        """Seconds of virtual time."""
        return self._time

    async def pause(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.pass_until(self._time + seconds)

    def pass_until(self, time: float, wire: "CoreWire | None" = None) -> None:
        """Let time pass, event after event, until then, or until that wire has heard something."""
        while wire is None or not wire.heard:
            first: CoreWire | None = None
            due = time
            for each in self._wires:
                if each.deadline is not None and each.deadline <= due:
                    first, due = each, each.deadline
            if first is None:
                self._time = time
                return
            self._time = max(self._time, due)
            first.pass_time()

    async def connect(self, revision: Revision, *, log: Log, **_options: Any) -> "CoreWire":
        """Begin a conversation."""
        config = Config(info=self._server.info, capabilities=self._server.capabilities())
        wire = CoreWire(self, CoreApp(Peer(Role.SERVER, config), self._server), log)
        self._wires.append(wire)
        return wire

    def forget(self, wire: "CoreWire") -> None:
        """A conversation is over."""
        if wire in self._wires:
            self._wires.remove(wire)


class CoreWire(Wire):
    """A conversation with a Peer, line by line."""

    binding = Binding.CORE

    def __init__(self, stage: CoreStage, app: CoreApp, log: Log) -> None:
        self.heard: deque[Heard] = deque()
        self.number = log.number()
        self._stage = stage
        self._app = app
        self._log = log
        self._ended = False

    @property
    def deadline(self) -> float | None:
        """When something is due."""
        return None if self._ended else self._app.deadline()

    def pass_time(self) -> None:
        """Do what is due now."""
        self._app.pass_time(self._stage.now())
        self._collect()

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        await self.write(payload + b"\n")
        return 0

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._log.add(True, self.number, "message", data)
        if not self._ended:
            self._app.peer.receive_data(data, now=self._stage.now())
            self._app.turn(self._stage.now())
            self._collect()

    async def hear(self, within: float) -> Heard | None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        if not self.heard:
            self._stage.pass_until(self._stage.now() + within, self)
        return self.heard.popleft() if self.heard else None

    async def finish(self) -> None:
        """Say that nothing more comes; answers still do."""
        self._log.add(True, self.number, "close", b"")
        self._app.peer.receive_eof(now=self._stage.now(), half=True)
        self._app.turn(self._stage.now())
        self._collect()
        await self._end("the server has closed")

    async def cut(self, exchange: int = 0) -> None:
        """Drop the conversation."""
        if not self._ended:
            self._app.peer.receive_eof(now=self._stage.now())
            self._app.turn(self._stage.now())
            await self._end("dropped")

    async def close(self) -> None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        await self.cut()
        self._stage.forget(self)

    async def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._app.close()
            self.heard.append(Gone(reason, at=self._stage.now()))

    def _collect(self) -> None:
        """Take what the Peer has to send."""
        for line in self._app.peer.lines_to_send().split(b"\n"):
            if line:
                self._log.add(False, self.number, "message", line + b"\n")
                self.heard.append(Text(line, at=self._stage.now()))


def at_once(dialogue: Awaitable[T]) -> T:
    """Run what never waits to its end, without an event loop.

    Raises RuntimeError if it waits for something after all.
    """
    steps = cast("Generator[Any, None, T]", dialogue.__await__())
    try:
        next(steps)
    except StopIteration as end:
        return cast("T", end.value)
    raise RuntimeError("the dialogue waits for something that is not virtual")
