"""Messages as lines on a connection: what stdio, TCP and Unix sockets have in common."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from anyio.abc import ByteStream, Listener

from mcpcore_conformance.kit.bindings.lines import Splitter
from mcpcore_conformance.kit.client_wire import Came, HostSettings
from mcpcore_conformance.kit.heard import Gone, Text
from mcpcore_conformance.kit.hosts.door import Door
from mcpcore_conformance.kit.hosts.listener import LOOPBACK, ListeningHost, receive, write
from mcpcore_conformance.kit.model import Binding

LINE_LIMIT = 64 * 1024 * 1024


class LinesWire:
    """A connection with newlines between messages."""

    binding = Binding.TCP

    def __init__(self, host: ListeningHost) -> None:
        self.number = host.log.number()
        self.host = host
        self.stream: ByteStream | None = None
        self.ready = anyio.Event()

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """See :class:`~mcpcore_conformance.kit.client_wire.HostWire`."""
        return await self.write(payload + b"\n")

    async def write(self, data: bytes) -> bool:
        """Send bytes as they are."""
        self.host.log.add(True, self.number, "message", data)
        if self.stream is None:
            return False
        return await write(self.stream, data, self.host.settings.patience)

    async def finish(self) -> None:
        """Close the connection."""
        await self.cut()

    async def cut(self, exchange: int = 0) -> None:
        """Close the connection."""
        self.host.log.add(True, self.number, "close", b"")
        if self.stream is not None:
            await anyio.aclose_forcefully(self.stream)

    async def read(self, rest: bytes = b"") -> None:
        """Read lines to the end; blank ones are no messages."""
        assert self.stream is not None
        splitter = Splitter(self._line, LINE_LIMIT)
        data = rest or await receive(self.stream)
        while data and splitter.feed(data):
            data = await receive(self.stream)
        splitter.end()

    def _line(self, line: bytes) -> None:
        self.host.log.add(False, self.number, "message", line + b"\n")
        if line.strip(b"\r"):
            self.host.put(self, Text(line))


class UnixWire(LinesWire):
    """A connection of a Unix socket."""

    binding = Binding.UNIX


class TcpHost(ListeningHost):
    """Takes connections at ``tcp://host:port``."""

    binding: Binding = Binding.TCP
    wire_type: type[LinesWire] = LinesWire

    @property
    def address(self) -> str:
        """The URL."""
        return f"tcp://{LOOPBACK}:{self.port}"

    async def serve(self, stream: ByteStream, connection: int) -> None:
        """Read one connection."""
        if self.settings.refuse:
            self.settings.refuse -= 1
            return
        wire = self.wire_type(self)
        wire.stream = stream
        self.put(wire, Came())
        await wire.read()
        self.log.add(False, wire.number, "close", b"")
        self.put(wire, Gone("the connection is closed"))


class UnixHost(TcpHost):
    """Takes connections at a socket of the file system."""

    binding = Binding.UNIX
    wire_type = UnixWire

    def __init__(self, settings: HostSettings | None = None) -> None:
        super().__init__(settings)
        self._directory = TemporaryDirectory(prefix="mcp-kit-")
        self._path = Path(self._directory.name) / "socket"

    @property
    def address(self) -> str:
        """The URL."""
        return f"unix://{self._path}"

    async def _listen(self) -> Listener[Any]:
        return Door(await anyio.create_unix_listener(self._path))

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Stop listening and remove the socket."""
        try:
            return await super().__aexit__(*raised)
        finally:
            self._directory.cleanup()
