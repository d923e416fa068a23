"""Rules of resumed streams over HTTP: from which event on, and for which request.

What a client has got is read from the bytes that have reached it.
"""

from typing import Any

from tests.simulation.rules import demand
from tests.simulation.wires import Exchange

_BACK = "whoever comes back to a stream names the last event it has got"
_LATER = frozenset({409, 429})
"""Refusals after which the same is asked again."""


class Returns:
    """The streams of one client."""

    def __init__(self) -> None:
        self._begun: dict[int, Any] = {}
        """By stream: the request whose answer it brings."""
        self._stream: dict[int, int] = {}
        """By exchange of the client: the stream that it carries."""
        self._last: dict[int, str] = {}
        """By stream: the last event that has come whole."""
        self._rest: dict[Exchange, bytes] = {}
        self._open: set[Exchange] = set()
        """Where the last piece ended with a CR, which ends a line; a LF behind it is part of it."""
        self._standing: tuple[str, int] | None = None
        """The newest stream for what belongs to no request: its session, and the stream."""

    def request_of(self, exchange: int) -> Any:
        """The request on whose stream something came by an exchange; None if it has none."""
        return self._begun.get(self._stream.get(exchange, 0))

    def asks(self, wire: Exchange, exchange: int) -> None:
        """A request has left the client."""
        self._stream[exchange] = wire.stream
        if wire.request is not None:
            self._begun[wire.stream] = wire.request
        if wire.cursor:
            last = self._last.get(wire.stream)
            demand(wire.cursor == last, _BACK, wire.cursor, last)
        elif wire.listens and wire.session is not None:
            session, stream = self._standing or (None, 0)
            lost = session == wire.session and stream in self._last
            demand(not lost, _BACK, "nothing", self._last.get(stream))
            self._standing = wire.session, wire.stream

    def refused(self, wire: Exchange, status: int) -> None:
        """The head of a response has come: what is not kept any more cannot be asked for."""
        final = 400 <= status < 500 and status not in _LATER
        if final and self._standing is not None and self._standing[1] == wire.stream:
            self._standing = None

    def got(self, wire: Exchange, data: bytes) -> None:
        """A part of an event stream has come."""
        if wire in self._open:
            self._open.remove(wire)
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            if data.endswith(b"\r"):
                self._open.add(wire)
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        text = self._rest.get(wire, b"") + data
        *blocks, self._rest[wire] = text.split(b"\n\n")
        for block in blocks:
            place = block.find(b"id: ")
            if place == 0 or (place > 0 and block[place - 1] == 0x0A):
                self._last[wire.stream] = block[place + 4 :].partition(b"\n")[0].decode()
