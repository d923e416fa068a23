"""Server side of TCP and Unix sockets: one JSON-RPC message per line.

Source: the stdio page of the specification, which asks channels of this kind to keep its framing:
messages are separated by newlines and contain none.  A connection is the session of the legacy era,
and carries self-contained requests in the modern one.
"""

import errno
import logging
import math
import re
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus
from anyio.streams.tls import TLSStream

from mcpcore.engine.peer import Peer
from mcpcore.http.principals import Principal, Refusal, address_of, quota_key
from mcpcore.spec.errors import INVALID_REQUEST, LEGACY_BUSY, ErrorData
from mcpcore.wire.message import encode_error
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.identity import identify
from mcpcore_transports.link import STREAM_ERRORS, App, clock, what_broke
from mcpcore_transports.sockets.unix import UnixFile, credentials, listen_unix, not_welcome
from mcpcore_transports.stream import plain
from mcpcore_transports.stream.channels import SecureStream, open_channel
from mcpcore_transports.stream.connection import StreamConnection, WritingHalf
from mcpcore_transports.stream.descriptors import DescriptorChannel, LoopReader
from mcpcore_transports.stream.settings import Caller, SocketSettings
from mcpcore_transports.targets import TcpTarget, UnixTarget
from mcpcore_transports.tls import client_certificate, tls_problem

if TYPE_CHECKING:  # not needed on trio
    import asyncio

logger = logging.getLogger("mcpcore.sockets")

Serve = Callable[[Callable[[Peer, App], StreamConnection]], Awaitable[None]]
"""Server of one connection: makes Peer, App and the link, and awaits ``link.run()``."""

_GONE = (OSError, ssl.SSLError, *STREAM_ERRORS)

# Bound once, as members of an Enum are slow to look up and these are needed for every turn.
_BLOCKED = WritingHalf.BLOCKED

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


# One connection


class SocketServerLink(StreamConnection):
    """Link of a server to an accepted connection, also with TLS, which it closes.

    A web page can have a browser send an HTTP request to any port, with a body of its choosing.
    Therefore input that begins like HTTP (or another protocol of browsers) is refused before any
    line of it is processed.
    """

    binding = "tcp"

    def __init__(
        self, peer: Peer, app: App, stream: ByteStream, *, settings: SocketSettings | None = None
    ) -> None:
        self._limits = settings or SocketSettings()
        super().__init__(peer, app, settings=self._limits.connection)
        self._began = self._heard = clock()  # the second is the time of the last input
        self._partial: float | None = None  # start of the message that is not complete yet
        self._head: bytes | None = b""  # first input, until it is known to be ours
        self._farewell = b""
        self._stream = stream
        self._early = b""  # input that came with the end of the handshake
        self._first: asyncio.Future[bytes] | None = None  # input that starts the reader task
        self._at_end = False

    async def _open(self) -> None:
        self._channel = open_channel(self._stream, self.settings.read_size, self._take_in)
        self._early = self._channel.early

    def _begin_reading(self) -> None:
        """Delay the reader task: it is not needed while all input is processed at once."""
        reader = self._channel.reader if isinstance(self._channel, DescriptorChannel) else None
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
        if self._early:
            early, self._early = self._early, b""
            return early
        if self._first is None:
            data = await super()._receive()
        else:
            first, self._first = self._first, None
            data = await first
        self._at_end = not data
        return data

    async def _close(self) -> None:
        with anyio.move_on_after(self.settings.drain), suppress(OSError, *STREAM_ERRORS):
            farewell = memoryview(self._farewell)
            while farewell:
                farewell = farewell[await self._send(farewell) :]
            ready = self._channel is not None and self._writing is WritingHalf.READY
            if ready and not isinstance(self._stream, SecureStream):  # TLS ends in both directions
                # Let the peer read the output, which unread input would discard.
                await self._stream.send_eof()
                left = self._limits.linger_bytes
                while not self._at_end and left > 0:
                    left -= len(await self._receive())
        if self._channel is None:
            await self._stream.aclose()
        await super()._close()

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
        if self._farewell or self._shutdown:
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
        if now >= when and not self._shutdown:
            self.leave(reason)

    def _overdue(self) -> tuple[float, str]:
        """Return the time at which waiting for the peer has taken too long, with the reason."""
        limits, peer = self._limits, self.peer
        if self._shutdown:
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


# All connections


class SocketServer:
    """Server of all connections of one TCP address or Unix socket.

    Made by :meth:`on_tcp` or :meth:`on_unix`, it listens already; then :meth:`run` it in a task.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        urls: Sequence[str],
        serve: Serve,
        settings: SocketSettings,
        ssl_context: ssl.SSLContext | None = None,
        file: UnixFile | None = None,
    ) -> None:
        self.urls = list(urls)
        """URLs on which it listens."""
        self._listeners = listeners
        self._serve = serve
        self._settings = settings
        self._ssl_context = ssl_context
        self._file = file
        self._scheme = urls[0].partition(":")[0]
        self._tasks: TaskGroup
        self._pending = plain.PendingConnections()
        self._shares: Counter[str] = Counter()
        self._turned_away = 0

    @classmethod
    async def on_tcp(
        cls,
        host: str,
        port: int,
        serve: Serve,
        settings: SocketSettings,
        ssl_context: ssl.SSLContext | None = None,
    ) -> "SocketServer":
        """Listen on every address of a host; port 0 picks a free one, the same for all.

        Raises LinkError if that fails, BadTarget if it is not allowed.
        """
        anywhere = ssl_context is not None or settings.insecure
        bound = await plain.listen_tcp(host, port, anywhere=anywhere)
        tls = ssl_context is not None
        urls = [TcpTarget(address[0], address[1], tls).url for address in bound.values()]
        return cls([*bound], urls, serve, settings, ssl_context)

    @classmethod
    async def on_unix(cls, path: str, serve: Serve, settings: SocketSettings) -> "SocketServer":
        """Listen on a socket file, in place of a stale one.

        Raises BadTarget for an invalid path; LinkError if another server answers there, if it is a
        file of another kind, or if the system refuses.
        """
        file = await listen_unix(
            path, mode=settings.mode, users=settings.users, lock_time=settings.lock_time
        )
        return cls([file.listener], [UnixTarget(file.path).url], serve, settings, file=file)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, or until it was stopped and the last connection has ended."""
        try:
            async with self._pending, anyio.create_task_group() as self._tasks:
                for listener in self._listeners:
                    self._tasks.start_soon(plain.accept_each, listener, self._let_in, logger)
                task_status.started()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop listening; open connections go on.  May be called more than once."""
        if self._file is not None:  # while we still listen
            self._file.remove()
            self._file = None
        for listener in self._listeners:
            plain.close_listener(listener)

    # Connections

    async def _let_in(self, stream: ByteStream, address: object) -> None:
        try:
            caller, refusal = self._look_at(plain.socket_of(stream), address)
        except (OSError, anyio.BrokenResourceError):  # it is gone already
            await anyio.aclose_forcefully(stream)
            return
        share, settings = _share(caller), self._settings
        if refusal is None and sum(self._shares.values()) >= settings.connections:
            refusal = _line(LEGACY_BUSY, "too many connections")
        elif refusal is None and self._shares[share] >= settings.connections_per_client:
            refusal = _line(LEGACY_BUSY, "too many connections from the same place")
        if refusal is None:
            self._shares[share] += 1
            work = partial(self._connection, stream, caller, share)
        elif self._ssl_context is None and self._turned_away < settings.turned_away:
            work = partial(self._turn_away, stream, refusal)
        else:
            await anyio.aclose_forcefully(stream)
            return
        self._pending.begin(self._tasks, stream, work, "connection")

    def _look_at(self, sock: socket.socket, address: object) -> tuple[Caller, bytes | None]:
        """Return the caller of a connection, and the line that refuses it, if any."""
        if self._scheme != "unix":
            plain.keep_alive(sock, self._settings.keep_alive)
            return Caller(scheme=self._scheme, peer=peer_name(address)), None
        found = credentials(sock)
        refusal = not_welcome(found, self._settings.users)
        if refusal is not None:
            logger.info("refused a connection: %s", refusal)
        line = None if refusal is None else _line(INVALID_REQUEST, refusal)
        if found is None:
            return Caller(scheme="unix"), line
        return Caller(scheme="unix", uid=found.uid, gid=found.gid, pid=found.pid), line

    async def _connection(self, stream: ByteStream, caller: Caller, share: str) -> None:
        try:
            await self._converse(stream, caller)
        except _GONE as error:
            # Failed before it was a connection, or its end could not be sent.
            logger.info("a connection ended: %s", tls_problem(error) or what_broke(error))
        except Exception:  # a fault of the server ends one connection, not all of them
            logger.exception("a connection failed")
        finally:
            self._shares[share] -= 1
            if not self._shares[share]:
                del self._shares[share]

    async def _converse(self, below: ByteStream, caller: Caller) -> None:
        stream: ByteStream = below
        try:
            if self._ssl_context is not None:
                stream = await self._secure(below, self._ssl_context)
                certificate = client_certificate(stream)
                caller = Caller(scheme="tls", peer=caller.peer, certificate=certificate)
            verdict = await self._identify(caller)
            if isinstance(verdict, Refusal):
                await self._tell(stream, _line(INVALID_REQUEST, verdict.message))
                return

            def make_link(peer: Peer, app: App) -> StreamConnection:
                peer.principal = verdict
                link = SocketServerLink(peer, app, stream, settings=self._settings)
                if self._scheme == "unix":
                    link.binding = "unix"
                return link

            await self._serve(make_link)
        finally:
            with anyio.CancelScope(shield=True), suppress(*_GONE):
                await anyio.aclose_forcefully(below)

    async def _secure(self, stream: ByteStream, context: ssl.SSLContext) -> TLSStream:
        with anyio.move_on_after(self._settings.handshake_time):
            return await SecureStream.wrap(stream, server_side=True, ssl_context=context)
        raise OSError(errno.ETIMEDOUT, "the TLS handshake took too long")

    async def _identify(self, caller: Caller) -> Principal | Refusal | None:
        settings = self._settings
        if settings.authenticate is not None:
            return await identify(settings.authenticate, caller, settings.authenticate_time)
        return None if caller.uid is None else Principal(f"uid:{caller.uid}")

    # Refused connections

    async def _turn_away(self, stream: ByteStream, line: bytes) -> None:
        self._turned_away += 1
        try:
            await self._tell(stream, line)
        finally:
            self._turned_away -= 1
            await anyio.aclose_forcefully(stream)

    async def _tell(self, stream: ByteStream, line: bytes) -> None:
        """Send a line, and leave the peer time to read it."""
        left = self._settings.linger_bytes
        with suppress(*_GONE), anyio.move_on_after(self._settings.linger_time):
            await stream.send(line)
            if isinstance(stream, SecureStream):  # TLS ends in both directions
                await stream.aclose()
                return
            await stream.send_eof()
            while left > 0:
                left -= len(await stream.receive(4096))


def _share(caller: Caller) -> str:
    if caller.uid is not None:
        return f"uid:{caller.uid}"
    return quota_key(address_of(caller.peer))


def _line(code: int, message: str) -> bytes:
    return encode_error(None, ErrorData(code, message)) + b"\n"
