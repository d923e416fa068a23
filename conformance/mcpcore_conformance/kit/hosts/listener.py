"""What all hosts share: a listening socket, tasks, and one queue for everything that comes."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Self

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup

from mcpcore_conformance.kit.client_wire import Arrival, HostSettings, HostWire
from mcpcore_conformance.kit.hosts.door import Door
from mcpcore_conformance.kit.log import Log

CHUNK = 65536
LOOPBACK = "127.0.0.1"


class ListeningHost:
    """Listens on a free port of the loopback interface for the time of an ``async with`` block."""

    def __init__(self, settings: HostSettings | None = None) -> None:
        self.settings = settings or HostSettings()
        self.log = Log(anyio.current_time)
        self.port = 0
        self.connections = 0
        """TCP connections so far."""
        self.tasks: TaskGroup
        self._listener: Listener[Any]
        self._queue: deque[tuple[HostWire | None, Arrival]] = deque()
        self._news = anyio.Event()
        self._open = 0
        self._shut = anyio.Event()

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._listener = await self._listen()
        self.tasks = await anyio.create_task_group().__aenter__()
        self.tasks.start_soon(self._listener.serve, self._accept)
        return self

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Close all connections and stop listening."""
        self.tasks.cancel_scope.cancel()
        try:
            return await self.tasks.__aexit__(*raised)
        finally:
            with anyio.CancelScope(shield=True):
                await self._listener.aclose()

    async def _listen(self) -> Listener[Any]:
        listener = Door(await anyio.create_tcp_listener(local_host=LOOPBACK))
        address = listener.extra(SocketAttribute.local_address)  # noqa: S610 - no Django
        self.port = int(address[1])
        return listener

    def context(self) -> Mapping[str, Any]:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        return {}

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return anyio.current_time()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    def put(self, wire: HostWire | None, arrival: Arrival) -> None:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        arrival.at = anyio.current_time()
        self._queue.append((wire, arrival))
        self._news.set()

    async def hear(self, within: float) -> tuple[HostWire | None, Arrival] | None:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        if not self._queue:
            self._news = anyio.Event()
            with anyio.move_on_after(within):
                await self._news.wait()
        return self._queue.popleft() if self._queue else None

    async def drained(self, within: float) -> None:
        """See :class:`~mcpcore_conformance.kit.client_wire.Host`."""
        # what the kernel has accepted and we have not seen yet becomes a connection of ours here
        await anyio.sleep(0.01)
        with anyio.move_on_after(within):
            while self._open:
                self._shut = anyio.Event()
                await self._shut.wait()

    async def _accept(self, stream: ByteStream) -> None:
        self.connections += 1
        self._open += 1
        try:
            await self.serve(stream, self.connections)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # the client has left, which its wire has said
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            self._open -= 1
            self._shut.set()

    async def serve(self, stream: ByteStream, connection: int) -> None:
        """Read one connection to its end."""
        raise NotImplementedError


async def write(stream: ByteStream, data: bytes, within: float) -> bool:
    """Write all of it; False if the client does not read any more, or not in so many seconds."""
    try:
        with anyio.fail_after(within):
            await stream.send(data)
    except (TimeoutError, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return False
    return True


async def receive(stream: ByteStream) -> bytes:
    """Read what is there; empty at the end, however it came."""
    try:
        return await stream.receive(CHUNK)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return b""
