"""Server side of a TCP or Unix socket: one JSON-RPC message per line.

Source: the stdio page of the specification, which asks channels of this kind to keep its framing:
messages are separated by newlines and contain none.  A connection is the session of the legacy era,
and carries self-contained requests in the modern one.
"""

import logging
import math
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream

from mcpcore.engine.peer import Peer
from mcpcore_transports.link import App, clock
from mcpcore_transports.link_errors import STREAM_ERRORS
from mcpcore_transports.sockets.settings import SocketSettings
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.descriptors import DescriptorChannel, LoopReader
from mcpcore_transports.stream.direct import DirectChannel
from mcpcore_transports.stream.states import Shutdown, Writing

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("mcpcore.sockets")

# Bound once, as members of an Enum are slow to look up and these are needed for every turn.
_NO_SHUTDOWN = Shutdown.NONE
_BLOCKED = Writing.BLOCKED

_BLANK = b" \t\r\n"
_ENOUGH = 16  # bytes that identify another protocol

_HTTP = re.compile(rb"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE|PRI) ")
_TLS = re.compile(rb"\x16\x03[\x00-\x04]")
_STUN = re.compile(rb"[\x00\x01]...\x21\x12\xa4\x42", re.DOTALL)
_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This is no HTTP server: it takes MCP messages, one a line, and this request was not read.\n"
)


def foreign(head: bytes) -> str | None:
    """Return the name of another protocol that begins like ``head``, or None."""
    for name, pattern in (("HTTP", _HTTP), ("TLS", _TLS), ("STUN", _STUN)):
        if pattern.match(head):
            return name
    return None


class SocketServerLink(StreamConnection):
    """Common base of both server sides: the check for other protocols, and the idle timeouts.

    A web page can have a browser send an HTTP request to any port, with a body of its choosing.
    Therefore input that begins like HTTP (or another protocol of browsers) is refused before any
    line of it is processed.
    """

    binding = "tcp"

    def __init__(self, peer: Peer, app: App, settings: SocketSettings | None) -> None:
        self._limits = settings or SocketSettings()
        super().__init__(peer, app, settings=self._limits.pump)
        self._began = self._heard = clock()  # the second is the time of the last input
        self._partial: float | None = None  # start of the message that is not complete yet
        self._head: bytes | None = b""  # first input, until it is known to be ours
        self._farewell = b""

    def _feed(self, data: bytes) -> None:
        now = self._heard = clock()
        if self.trace is not None:
            self.trace.received(data)
        if self._head is not None:
            data = self._look(data)
            if not data:
                return
        if data.endswith(b"\n"):
            self._partial = None
        elif self._partial is None or b"\n" in data:
            self._partial = now
        self.peer.receive_data(data, now=now)

    def _look(self, data: bytes, *, end: bool = False) -> bytes:
        """Check the first bytes; return the accepted input, empty while it is undecided."""
        assert self._head is not None  # noqa: S101 - asked by the caller
        if self._farewell or self._shutdown is not _NO_SHUTDOWN:
            return b""
        head = (self._head + data).lstrip(_BLANK)
        clear = end or len(head) >= _ENOUGH or head.startswith((b"{", b"[")) or b"\n" in head
        if not clear:
            self._head = head
            return b""
        name = foreign(head)
        if name is None:
            self._head = None
            return head
        self._head = b""
        if name == "HTTP":
            self._farewell = _HTTP_ANSWER
        logger.info("refused a connection that began with %s, not with a message", name)
        self._stop(f"refused: it began with {name}, not with a message", hard=True)
        return b""

    async def _end_of_input(self) -> str:
        if self._head and (rest := self._look(b"", end=True)):
            self.peer.receive_data(rest, now=clock())
        return await super()._end_of_input()

    # Timeouts

    def _deadline(self) -> float | None:
        due, own = self.peer.deadline(), self._overdue()[0]
        return own if due is None else min(due, own)

    def _timeout(self, now: float) -> None:
        self.peer.handle_timeout(now)
        when, reason = self._overdue()
        if now >= when and self._shutdown is _NO_SHUTDOWN:
            self._leave(reason)

    def _overdue(self) -> tuple[float, str]:
        """Return the time at which waiting for the peer has taken too long, with the reason."""
        limits, peer = self._limits, self.peer
        if self._shutdown is not _NO_SHUTDOWN:
            return math.inf, ""
        if self._partial is not None and not self._full():
            seconds = limits.message_time
            since = max(self._partial, self._moved)  # until then we may not have read
            return since + seconds, f"a message was not complete within {seconds:g} s"
        if self._head is not None:
            seconds = limits.first_time
            return self._began + seconds, f"nothing was sent within {seconds:g} s"
        if limits.idle_time is None or self._writing is _BLOCKED or not peer.idle:
            return math.inf, ""
        since = max(self._heard, self._moved)
        return since + limits.idle_time, f"nothing happened for {limits.idle_time:g} s"


class PlainServerLink(SocketServerLink):
    """Server side of an accepted socket, which it closes."""

    def __init__(
        self, peer: Peer, app: App, sock: socket.socket, *, settings: SocketSettings | None = None
    ) -> None:
        super().__init__(peer, app, settings)
        self._socket = sock
        self._descriptor: DescriptorChannel | None = None
        self._at_end = False
        self._first: asyncio.Future[bytes] | None = None  # input that starts the reader task

    async def _open(self) -> None:
        if self._socket.family != socket.AF_INET and self._socket.family != socket.AF_INET6:
            self.binding = "unix"
        fd = self._socket.fileno()
        self._channel = self._descriptor = DescriptorChannel(
            fd, fd, self.settings.read_size, self._take_in
        )

    def _begin_reading(self) -> None:
        """Delay the reader task: it is not needed while all input is processed at once."""
        reader = None if self._descriptor is None else self._descriptor.reader
        if isinstance(reader, LoopReader):
            self._first = reader.begin()
            self._first.add_done_callback(self._read_on)
        else:
            super()._begin_reading()

    def _read_on(self, first: "asyncio.Future[bytes]") -> None:
        super()._begin_reading()
        if not first.cancelled():
            first.exception()  # it may not be awaited, as the connection ends

    async def _receive(self) -> bytes:
        if self._first is None:
            data = await super()._receive()
        else:
            first, self._first = self._first, None
            data = await first
        self._at_end = not data
        return data

    async def _close(self) -> None:
        with anyio.move_on_after(self.settings.drain), suppress(OSError):
            farewell = memoryview(self._farewell)
            while farewell:
                farewell = farewell[await self._send(farewell) :]
            if self._writing is Writing.READY and self._descriptor is not None:
                await self._linger()
        await super()._close()
        self._socket.close()

    async def _linger(self) -> None:
        """Let the peer read the output: unread input would discard it."""
        self._socket.shutdown(socket.SHUT_WR)
        left = self._limits.linger_bytes
        while not self._at_end and left > 0:
            left -= len(await self._receive())


class StreamServerLink(SocketServerLink):
    """Server side of a TLS stream (or of any other), which it closes."""

    def __init__(
        self, peer: Peer, app: App, stream: ByteStream, *, settings: SocketSettings | None = None
    ) -> None:
        super().__init__(peer, app, settings)
        self.stream = stream
        self._early = b""  # came with the end of the handshake

    async def _open(self) -> None:
        channel = DirectChannel(self.stream, self.settings.read_size, self._take_in)
        self._channel, self._early = channel, channel.early

    async def _receive(self) -> bytes:
        if self._early:
            early, self._early = self._early, b""
            return early
        return await super()._receive()

    async def _close(self) -> None:
        if self._farewell:  # nothing was written before it
            with anyio.move_on_after(self.settings.drain), suppress(OSError, *STREAM_ERRORS):
                await self.stream.send(self._farewell)
        await super()._close()
