"""A server object in this process: its runtime on a byte stream that never leaves memory."""

from typing import Any

import anyio
from anyio.abc import ByteStream, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from mcpcore.service import Service
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.lines import LinesWire
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_transports.serve.serve import Accept, ServeSettings, serve
from mcpcore_transports.stream.channels import StreamLink

ROOM = 64
"""Pieces that wait between the two ends."""


class MemoryStream(ByteStream):
    """One end of a pair; what the other sends is received in pieces as they were sent."""

    def __init__(
        self, into: MemoryObjectSendStream[bytes], out_of: MemoryObjectReceiveStream[bytes]
    ) -> None:
        self._into, self._out_of = into, out_of
        self._rest = b""

    async def send(self, item: bytes) -> None:
        """See :class:`anyio.abc.ByteStream`."""
        await self._into.send(item)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See :class:`anyio.abc.ByteStream`."""
        data = self._rest or await self._out_of.receive()
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def send_eof(self) -> None:
        """See :class:`anyio.abc.ByteStream`."""
        self._into.close()

    async def aclose(self) -> None:
        """See :class:`anyio.abc.ByteStream`."""
        self._into.close()
        self._out_of.close()


def memory_streams() -> tuple[MemoryStream, MemoryStream]:
    """Make the two ends of a connection."""
    into, out_of = anyio.create_memory_object_stream[bytes](ROOM)
    back_into, back_out_of = anyio.create_memory_object_stream[bytes](ROOM)
    return MemoryStream(into, back_out_of), MemoryStream(back_into, out_of)


class MemoryStage(Staging):
    """Serves ``server`` for as long as the context lasts."""

    binding = Binding.MEMORY

    def __init__(
        self, server: Service, *, target: str = "memory", settings: ServeSettings | None = None
    ) -> None:
        super().__init__()
        self._server = server
        self.target = target
        self._settings = settings
        self._accept: Accept
        self._ready = anyio.Event()

    async def __aenter__(self) -> "MemoryStage":
        """Start serving."""
        await super().__aenter__()
        self.tasks.start_soon(self._serve)
        await self._ready.wait()
        return self

    async def _serve(self) -> None:
        await serve(self._server, custom=[self._listen], settings=self._settings)

    async def _listen(self, accept: Accept, *, task_status: TaskStatus[str]) -> None:
        self._accept = accept
        task_status.started("memory")
        self._ready.set()
        await anyio.sleep_forever()

    async def connect(self, revision: Revision, *, log: Log, **_options: Any) -> LinesWire:
        """Open a connection."""
        ours, theirs = memory_streams()

        async def run() -> None:
            await self._accept(lambda peer, app: StreamLink(peer, app, theirs))

        self.tasks.start_soon(run)
        wire = LinesWire(self, Binding.MEMORY, ours, log)
        self.tasks.start_soon(wire.read)
        return wire
