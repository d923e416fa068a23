"""A TCP proxy that breaks chosen connections off at chosen places of the response."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream

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
            return None
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

    async def _carry(self, near: SocketStream) -> None:
        try:
            far = await anyio.connect_tcp("127.0.0.1", self._upstream)
        except OSError:  # nobody there at present
            await near.aclose()
            return
        async with near, far:
            try:
                async with anyio.create_task_group() as group:
                    connection = _Connection(self, near, far)

                    async def upwards() -> None:
                        await connection.upwards()
                        group.cancel_scope.cancel()

                    group.start_soon(upwards)
                    await connection.downwards()
                    group.cancel_scope.cancel()
            except* (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # one of the two has left

    def choose(self, request: bytes) -> Place | None:
        """Where to break off the response to what this is the beginning, or the body, of."""
        mine = request.startswith(b"GET ") and b"last-event-id" in request.lower()
        if not self._begun:
            mine = self._begun = self._first in request
        return self._left.pop(0) if mine and self._left else None

    def cut(self, passed: bytes) -> None:
        """A connection was broken off; ``passed`` of the response has gone through."""
        self.passed.append(passed)
        self.cuts += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class _Connection:
    """One connection of a client, with one request after the other."""

    def __init__(self, proxy: CutProxy, near: SocketStream, far: SocketStream) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self._place: Place | None = None
        self._seen = b""

    async def upwards(self) -> None:
        """Pass on what the client sends, until it ends."""
        while True:
            try:
                data = await self._near.receive()
            except anyio.EndOfStream:
                return
            if data.startswith((b"POST ", b"GET ", b"DELETE ")):
                self._seen, self._place = b"", None
            if self._place is None:
                self._place = self._proxy.choose(data)
            await self._far.send(data)
            if self._place is not None and self._place.head == 0:
                self._proxy.cut(b"")
                return

    async def downwards(self) -> None:
        """Pass on what the server sends, until it ends or the place is reached."""
        while True:
            try:
                data = await self._far.receive()
            except anyio.EndOfStream:
                if self._place is not None:
                    self._proxy.cut(self._seen)
                return
            self._seen += data
            place, seen = self._place, self._seen
            at = None if place is None else place.find(seen)
            if at is not None:
                await self._near.send(seen[len(seen) - len(data) : at])
                self._proxy.cut(seen[:at])
                return
            await self._near.send(data)
            if place is not None and place.end and seen.endswith(b"0\r\n\r\n"):
                self._proxy.cut(seen)
                return


@asynccontextmanager
async def cut_proxy(
    upstream: int, places: Sequence[Place], first: bytes
) -> AsyncIterator[CutProxy]:
    """Run a proxy before a port of this host."""
    proxy = CutProxy(upstream, places, first)
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy.port = multi.extra(SocketAttribute.local_port)
    async with multi, anyio.create_task_group() as group:
        group.start_soon(multi.serve, proxy._carry)
        yield proxy
        group.cancel_scope.cancel()
