"""A client of this process, beside the kit: lines on streams that never leave memory."""

import math
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream, Listener, TaskGroup
from msgspec import Struct

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.client_launch import DRAIN
from mcpcore_conformance.kit.client_wire import Ended
from mcpcore_conformance.kit.hosts.lines import LinesWire, TcpHost
from mcpcore_conformance.kit.model import Binding


class Visit(Struct, frozen=True):
    """What a client is given of the kit."""

    enter: Callable[[ByteStream], None]
    """Opens a connection: takes the kit's end of it."""
    scenario: str
    revision: str
    context: Mapping[str, Any]
    """As in docs/how-to/conformance-clients.md."""
    write: Callable[[bytes], object]
    """Takes what is reported of the scenario ``script``."""


class InMemory(Struct, frozen=True):
    """A client that is met in memory."""

    play: Callable[[Visit], Awaitable[str]]
    """Plays a scenario; returns why it failed, or nothing.  It may be cancelled."""


class MemoryWire(LinesWire):
    """A connection of a client of this process."""

    binding = Binding.MEMORY


class _Doorway(Listener[ByteStream]):
    """Where connections come in."""

    def __init__(self) -> None:
        self._into, self._out_of = anyio.create_memory_object_stream[ByteStream](math.inf)

    def enter(self, stream: ByteStream) -> None:
        self._into.send_nowait(stream)

    async def serve(
        self, handler: Callable[[ByteStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        async with anyio.create_task_group() as tasks:
            async for stream in self._out_of:
                tasks.start_soon(handler, stream)

    async def aclose(self) -> None:
        self._into.close()
        self._out_of.close()


class MemoryHost(TcpHost):
    """Takes connections of this process."""

    binding = Binding.MEMORY
    wire_type = MemoryWire
    _doorway: _Doorway

    @property
    def address(self) -> str:
        """There is none."""
        return "memory:"

    def enter(self, stream: ByteStream) -> None:
        """Take one end of a connection, and serve it."""
        self._doorway.enter(stream)

    async def _listen(self) -> Listener[Any]:
        self._doorway = _Doorway()
        return self._doorway


class MemoryRun:
    """The runs of a client in one case, one after another."""

    def __init__(self, client: InMemory, host: MemoryHost, revision: Revision) -> None:
        self._client = client
        self._host = host
        self._revision = revision
        self._scope: anyio.CancelScope | None = None
        self._report: bytes | None = None
        self._said = ""
        self._signal = 0

    async def start(self, tasks: TaskGroup, scenario: str, context: Mapping[str, Any]) -> None:
        """Begin with a scenario."""
        visit = Visit(
            self._host.enter,
            scenario,
            self._revision.name,
            {**self._host.context(), **context},
            self._write,
        )
        self._signal, self._scope = 0, anyio.CancelScope()
        tasks.start_soon(self._run, visit, self._scope)

    @property
    def errors(self) -> bytes:
        """What it would have written to its standard error."""
        return self._said.encode()

    def report(self) -> bytes | None:
        """What it has written."""
        return self._report

    def said(self) -> str:
        """The last of its errors."""
        return self._said[-400:]

    def signal(self, number: int) -> None:
        """End it, as any signal does that is not handled."""
        if self._scope is not None:
            self._signal = number
            self._scope.cancel()

    async def aclose(self) -> None:
        """Leave nothing of it behind: its tasks are those of the host, and end with them."""

    async def _run(self, visit: Visit, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                self._said = await self._client.play(visit)
            except Exception:
                self._said = traceback.format_exc()
        self._scope = None
        await self._host.drained(DRAIN)
        code = -self._signal if scope.cancelled_caught else int(bool(self._said))
        self._host.put(None, Ended(code))

    def _write(self, report: bytes) -> None:
        self._report = report
