"""Messages as lines over any byte stream."""

from collections.abc import Callable

import anyio
from anyio.abc import ByteStream

from mcpcore_conformance.kit.bindings.inbox import Inbox, Rest
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.heard import Gone, Heard, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.wire import Overrides, Wire

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes taken from a server while no newline comes: twice the largest message of a case."""
BEGINNING = 4096
"""Bytes of a longer line that are handed on."""
ENDLESS = f"the kit reads no further: {LINE_LIMIT // 2**20} MiB came without a newline"


class Splitter:
    """Cuts what is read into lines; tells the log and hands on those that are not blank."""

    def __init__(self, take: Callable[[bytes], None], limit: int = LINE_LIMIT) -> None:
        self._take = take
        self._limit = limit
        self._rest: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> bool:
        """Take what was read; False once a line is longer than anybody should send.

        Of such a line the beginning is kept, and handed on at the end.
        """
        *lines, last = data.split(b"\n")
        for line in lines:
            self._take(b"".join([*self._rest, line]))
            self._rest, self._held = [], 0
        if last:
            self._rest.append(last)
            self._held += len(last)
        if self._held > self._limit:
            self._rest = [b"".join(self._rest)[:BEGINNING]]
            return False
        return True

    def end(self) -> None:
        """What has no newline is a line as well."""
        if self._rest:
            self._take(b"".join(self._rest))
            self._rest = []


class LinesWire(Wire):
    """One connection of newline-separated messages; its stage runs :meth:`read`."""

    def __init__(self, stage: Staging, binding: Binding, stream: ByteStream, log: Log) -> None:
        self._stage = stage
        self.binding = binding
        self.number = log.number()
        self._stream = stream
        self._log = log
        self._inbox = Inbox(anyio.current_time)
        self._rest = Rest()
        self._scope = anyio.CancelScope()

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        await self.write(payload + b"\n")
        return 0

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._log.add(True, self.number, "message", data)
        try:
            with self._stage.writing(data):
                await self._stream.send(data)
            self._rest.wrote()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # whether that is a fault is for the case to say: the end will be heard
            self._log.add(True, self.number, "note", b"the server does not read any more")

    async def rest(self, seconds: float) -> None:
        """Read nothing from now on, until nothing was written for so many seconds."""
        self._rest.begin(seconds)

    async def hear(self, within: float) -> Heard | None:
        """See :class:`~mcpcore_conformance.kit.wire.Wire`."""
        return await self._inbox.get(within)

    async def finish(self) -> None:
        """Close the sending side."""
        self._log.add(True, self.number, "close", b"")
        try:
            await self._stream.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return

    async def cut(self, exchange: int = 0) -> None:
        """Drop the connection."""
        self._log.add(True, self.number, "close", b"dropped")
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def close(self) -> None:
        """Close the sending side, drop what is left."""
        with anyio.CancelScope(shield=True):
            await self.finish()
        await self.cut()

    async def read(self) -> None:
        """Read until the end."""
        splitter = Splitter(self._line)
        lost = ""
        with self._scope:
            lost = await self._taken(splitter)
        splitter.end()
        self._over(lost or "the connection has ended")

    async def _taken(self, splitter: Splitter) -> str:
        """Take what comes until nothing does; returns why that is, if it is no plain end."""
        try:
            async for data in self._stream:
                if not splitter.feed(data):
                    return ENDLESS
                await self._rest.over()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            return f"the connection is lost ({str(error) or type(error).__name__})"
        return ""

    def _over(self, reason: str) -> None:
        self._log.add(False, self.number, "close", reason.encode())
        self._inbox.put(Gone(reason))

    def _line(self, line: bytes) -> None:
        self._log.add(False, self.number, "message", line + b"\n")
        if line.strip(b"\r"):
            self._inbox.put(Text(line))
