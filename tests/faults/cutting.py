"""Networks between clients and servers of a test: carry connections, and break them on purpose.

Each of them listens on this host and carries what comes to a server behind it.
"""

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from ssl import SSLContext
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream, TaskGroup
from anyio.streams.tls import TLSStream

from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.targets import UnixTarget

LOST = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""Exceptions of a connection that has ended."""

Tap = Callable[[bytes], tuple[bytes, bool]]
"""Takes what comes, b"" at its end; returns what goes on, and True if that is the last of it."""


# Listening and carrying


@asynccontextmanager
async def listening(
    serve: Callable[[Any], Awaitable[object]], ssl_context: SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve connections to a port of this host until the block ends; yields the port."""

    async def secured(plain: SocketStream) -> None:
        try:
            stream = await TLSStream.wrap(
                plain, server_side=True, ssl_context=ssl_context, standard_compatible=False
            )
        except LOST:
            await plain.aclose()
        else:
            await serve(stream)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as multi,
        anyio.create_task_group() as group,
    ):
        for each in multi.listeners:
            group.start_soon(_accept_always, each, secured if ssl_context else serve, group)
        yield multi.extra(SocketAttribute.local_port)
        group.cancel_scope.cancel()


async def _accept_always(
    listener: Listener[SocketStream],
    serve: Callable[[SocketStream], Awaitable[object]],
    group: TaskGroup,
) -> None:
    """Accept connections, also after one that could not be accepted."""
    while True:
        with suppress(OSError, anyio.BrokenResourceError):
            await listener.serve(serve, group)


def dial(target: Any, room: int | None = None) -> socket.socket:
    """Connect a plain socket, which does not block, to a target of this host.

    ``room``: what it takes in before it is read.
    """
    if isinstance(target, UnixTarget):
        sock, address = socket.socket(socket.AF_UNIX), target.path
    else:
        parts = urlsplit(target.url)
        sock, address = socket.socket(), (parts.hostname, parts.port)  # type: ignore[assignment]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if room is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    try:
        sock.connect(address)  # to a listener on this machine: there is nothing to wait for
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def passed(data: bytes) -> tuple[bytes, bool]:
    """Pass everything on."""
    return data, not data


def first(size: int) -> Tap:
    """Pass the first bytes on, and no more."""

    def tap(data: bytes) -> tuple[bytes, bool]:
        nonlocal size
        data = data[:size]
        size -= len(data)
        return data, not data or not size

    return tap


def until_said(words: bytes, times: int) -> Tap:
    """Pass everything on; end at a piece with ``words``, so many times."""

    def tap(data: bytes) -> tuple[bytes, bool]:
        nonlocal times
        said = times > 0 and words in data
        times -= said
        return data, said or not data

    return tap


async def join(near: ByteStream, far: ByteStream, *, up: Tap = passed, down: Tap = passed) -> None:
    """Carry bytes between a client (``near``) and a server until one of the ways ends."""
    async with anyio.create_task_group() as group:

        async def carry(source: ByteStream, sink: ByteStream, tap: Tap) -> None:
            over = False
            with suppress(*LOST):
                while not over:
                    try:
                        data = await source.receive()
                    except anyio.EndOfStream:
                        data = b""
                    data, over = tap(data)
                    if data:
                        await sink.send(data)
            group.cancel_scope.cancel()

        group.start_soon(carry, near, far, up)
        group.start_soon(carry, far, near, down)


# Connections that break


Fate = Literal["drop", "hang"] | bytes | int | Tap
_URLS = {"ws": ("ws", "/mcp"), "tcp": ("tcp", ""), "sse": ("sse+http", "/sse")}


class Road:
    """A way to port ``upstream`` of this host that breaks, leads astray, or nowhere.

    ``fates``: what becomes of the next connections, in order; beyond them all are ``usual``.
    ``drop``: closed at once.  ``hang``: accepted and never answered.  Bytes: answered with these,
    and closed.  A number: cut after so many bytes of the server.  A tap: what the server sends goes
    through it.
    """

    def __init__(
        self, upstream: int | None, fates: Iterable[Fate] = (), usual: Tap = passed
    ) -> None:
        self.upstream = upstream
        """None: nobody is there."""
        self.fates = list(fates)
        self.usual = usual
        self.url = ""
        self.taken = 0
        """Connections so far."""
        self.cuts = 0
        self._open: set[anyio.CancelScope] = set()
        self._parting = b""
        self._changed = anyio.Event()

    def cut(self, parting: bytes = b"") -> None:
        """Break all connections; ``parting`` is the last that their clients hear."""
        self.cuts += 1
        self._parting = parting
        for scope in tuple(self._open):
            scope.cancel()

    def calm(self) -> None:
        """Break no further connection."""
        self.fates.clear()
        self.usual = passed

    async def until(self, taken: int) -> None:
        """Wait until so many connections were taken."""
        while self.taken < taken:
            await self._changed.wait()

    async def carry_unix(self, near: ByteStream) -> None:
        """As :meth:`carry`: on asyncio anyio's stream fails the loop if it is cut as bytes come."""
        await self.carry(PlainStream(near.extra(SocketAttribute.raw_socket)))

    async def carry(self, near: ByteStream) -> None:
        """Do with a connection what its fate is."""
        fate = self.fates.pop(0) if self.fates else self.usual
        self.taken += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        async with near:
            with anyio.CancelScope() as scope, suppress(*LOST):
                self._open.add(scope)
                if fate == "hang":
                    await anyio.sleep_forever()
                elif isinstance(fate, bytes):
                    await near.receive()
                    await near.send(fate)
                elif not isinstance(fate, str) and self.upstream is not None:
                    tap = first(fate) if isinstance(fate, int) else fate
                    async with await anyio.connect_tcp("127.0.0.1", self.upstream) as far:
                        await join(near, far, down=tap)
            self._open.discard(scope)
            if scope.cancel_called and self._parting:
                with suppress(*LOST):
                    await near.send(self._parting)


@asynccontextmanager
async def road(binding: str, upstream: int, folder: Path) -> AsyncIterator[Road]:
    """Run a road of ``binding`` (``ws``, ``tcp``, ``unix`` or ``sse``) to a port of this host."""
    made = Road(upstream)
    if binding != "unix":
        async with listening(made.carry) as port:
            scheme, path = _URLS[binding]
            made.url = f"{scheme}://127.0.0.1:{port}{path}"
            yield made
        return
    made.url = f"unix://{folder / 's'}"
    async with (
        await anyio.create_unix_listener(folder / "s") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, made.carry_unix)
        yield made
        group.cancel_scope.cancel()


# Responses that break


HEAD_END = b"\r\n\r\n"
EVENT_END = re.compile(rb"\n\n|\r\n\r\n")


class Place:
    """So many bytes (``extra``) behind the end of event ``events`` of the response.

    Event 0 is the head; ``head`` counts from the beginning of the response instead.  ``end``: after
    the last byte, in the place of a proper end.
    """

    def __init__(
        self, events: int = 0, extra: int = 0, *, head: int | None = None, end: bool = False
    ) -> None:
        self.events = events
        self.extra = extra
        self.head = head
        self.end = end

    def __repr__(self) -> str:
        if self.end:
            return "end"
        return f"head{self.head}" if self.head is not None else f"{self.events}+{self.extra}"

    def find(self, seen: bytes) -> int | None:
        """Where the connection breaks in a response, None while that has not come."""
        if self.end:
            return len(seen) if seen.endswith(b"0\r\n\r\n") else None
        if self.head is not None:
            return self.head if len(seen) >= self.head else None
        place = seen.find(HEAD_END)
        if place < 0:
            return None
        place += len(HEAD_END)
        for _ in range(self.events):
            found = EVENT_END.search(seen, place)
            if found is None:
                return None
            place = found.end()
        place += self.extra
        return place if len(seen) >= place else None


class CutProxy:
    """Breaks off the connections of one stream at ``places``, one after the other.

    They are that of the first request whose text has ``first`` in it, and of each GET with a cursor
    behind it.  A connection may carry one request after the other.
    """

    def __init__(self, upstream: int, places: Sequence[Place], first: bytes) -> None:
        self.port = 0
        self.cuts = 0
        """Connections broken off so far."""
        self.passed: list[bytes] = []
        """What of the response each of them has let through."""
        self._upstream = upstream
        self._left = list(places)
        self._first = first
        self._begun = False
        self._changed = anyio.Event()

    def arm(self, places: Sequence[Place]) -> None:
        """Begin anew: the next stream breaks off at ``places``."""
        self._left, self._begun = list(places), False

    async def until(self, cuts: int) -> None:
        """Wait until so many connections were broken off."""
        while self.cuts < cuts:
            await self._changed.wait()

    async def carry(self, near: SocketStream) -> None:
        """Carry one connection, with one request after the other."""
        place: Place | None = None
        seen = b""

        def up(data: bytes) -> tuple[bytes, bool]:
            nonlocal place, seen
            if data.startswith((b"POST ", b"GET ", b"DELETE ")):
                seen, place = b"", None
            place = place or self._choose(data)
            cut = place is not None and place.head == 0
            if cut:
                self._cut(b"")
            return data, cut or not data

        def down(data: bytes) -> tuple[bytes, bool]:
            nonlocal seen
            before, seen = len(seen), seen + data
            at = None if place is None else place.find(seen)
            if at is None and (data or place is None):
                return data, not data
            self._cut(seen[:at])
            return seen[before:at], True

        async with near:
            with suppress(OSError):  # nobody is there at present
                async with await anyio.connect_tcp("127.0.0.1", self._upstream) as far:
                    await join(near, far, up=up, down=down)

    def _choose(self, request: bytes) -> Place | None:
        """Where to break off the response to what this is the beginning, or the body, of."""
        mine = request.startswith(b"GET ") and b"last-event-id" in request.lower()
        if not self._begun:
            mine = self._begun = self._first in request
        return self._left.pop(0) if mine and self._left else None

    def _cut(self, through: bytes) -> None:
        self.passed.append(through)
        self.cuts += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


@asynccontextmanager
async def cut_proxy(
    upstream: int, places: Sequence[Place], first: bytes
) -> AsyncIterator[CutProxy]:
    """Run a proxy before a port of this host."""
    proxy = CutProxy(upstream, places, first)
    async with listening(proxy.carry) as proxy.port:
        yield proxy


# Proxies


@asynccontextmanager
async def tunnelling(
    upstream: int | None, ssl_context: SSLContext | None = None
) -> AsyncIterator[int]:
    """Run a proxy that is asked for each connection to a port; without one it says no to each."""

    async def carry(near: ByteStream) -> None:
        with suppress(*LOST):
            async with near:
                head = b""
                while HEAD_END not in head:
                    head += await near.receive()
                if upstream is None:
                    await near.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    return
                await near.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 20")
                await near.send(b"0 OK\r\n\r\n")
                async with await anyio.connect_tcp("127.0.0.1", upstream) as far:
                    await join(near, far)

    async with listening(carry, ssl_context) as port:
        yield port


class Balancer:
    """Brings each connection to the next of its servers that takes it.

    ``port`` is where it listens; ``taken`` counts the connections of each server.
    """

    def __init__(self, servers: Sequence[int]) -> None:
        self.port = 0
        self.taken = dict.fromkeys(servers, 0)
        self._servers = list(servers)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}/mcp"

    async def carry(self, near: SocketStream) -> None:
        """Join a client to a server."""
        servers = list(self._servers)
        self._servers.append(self._servers.pop(0))
        async with near:
            for port in servers:
                try:
                    far = await anyio.connect_tcp("127.0.0.1", port)
                except OSError:
                    continue
                self.taken[port] += 1
                async with far:
                    await join(near, far)
                return


@asynccontextmanager
async def balanced(servers: Sequence[int]) -> AsyncIterator[Balancer]:
    """Run a balancer before ``servers``, which are ports of this host."""
    balancer = Balancer(servers)
    async with listening(balancer.carry) as balancer.port:
        yield balancer
