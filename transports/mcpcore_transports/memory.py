"""Two Peers joined in one process, with only a bounded queue between them.

Messages are handed over unchanged: the text made by one Peer is the object whose envelope the other
one parses, and params and results are views of it.  Nothing is cut, joined or copied, and there is
no task, queue or lock per message.  A message counts towards limits and room with the length of its
text, as on a wire.  Messages that a wire would refuse are refused alike.

With ``wire=True`` messages go through bytes instead: joined with newlines, through a buffer with
room for ``ConnectionSettings.read_size`` bytes, and read in pieces by a task of the other end, as
over a socket.

:class:`MemoryPair` needs no event loop: one call moves everything until both sides are quiet.
:func:`memory_links` joins two links in one event loop.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import anyio

from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import Transmit
from mcpcore.wire.framing import TooLong
from mcpcore_transports.link import App, clock
from mcpcore_transports.running.functions import context_of_callbacks
from mcpcore_transports.stream import connection
from mcpcore_transports.stream.settings import ConnectionSettings

if TYPE_CHECKING:  # for recorded connections alone
    from mcpcore_transports.tracing.tracing import ConnectionTrace

# Bound once, as members of an Enum are slow to look up and these are needed for every turn.
_NEW = connection.Life.NEW
_ENDED = connection.Life.ENDED
_YIELDING = connection.ReadingHalf.YIELDING
_BLOCKED = connection.WritingHalf.BLOCKED
_BROKEN = connection.WritingHalf.BROKEN

_HEAD = 1024


def _texts(frames: Iterable[Transmit]) -> list[bytes]:
    return [b"".join(frame.data) for frame in frames if frame.data]  # one piece is not copied


def _hand_over(text: bytes, peer: Peer, now: float) -> None:
    limit = peer.config.limits.message_size
    if len(text) > limit:
        peer.receive(TooLong(limit, text[:_HEAD]), now=now)
    else:
        peer.receive(text, now=now)


class MemoryPair:
    """Client and server Peer, pumped by explicit calls; ``trace`` records the client's side."""

    def __init__(
        self,
        client: Peer,
        client_app: App,
        server: Peer,
        server_app: App,
        *,
        wire: bool = False,
        trace: "ConnectionTrace | None" = None,
    ) -> None:
        self._trace = trace
        self.client, self.client_app = client, client_app
        self.server, self.server_app = server, server_app
        self._wire = wire

    def pump(self, now: float | None = None) -> int:
        """Move messages until both sides are quiet; return the number of bytes moved."""
        now = clock() if now is None else now
        client, server = self.client, self.server
        to_client, to_server = self.client_app.handle, self.server_app.handle
        total = 0
        while True:
            while (event := client.next_event()) is not None:
                to_client(event)
            total += self._move(client, server, now)
            while (event := server.next_event()) is not None:
                to_server(event)
            moved = self._move(server, client, now)
            if not moved:
                return total
            total += moved

    def _move(self, source: Peer, sink: Peer, now: float) -> int:
        if self._wire:
            data = source.lines_to_send()
            if self._trace is not None:
                (self._trace.sent if source is self.client else self._trace.received)(data)
            sink.receive_data(data, now=now)
            return len(data)
        texts = _texts(source.data_to_send())
        for text in texts:
            if self._trace is not None:
                self._trace.message(text, incoming=sink is self.client)
            _hand_over(text, sink, now)
        return sum(map(len, texts))

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is due, if any."""
        due = [d for d in (self.client.deadline(), self.server.deadline()) if d is not None]
        return min(due, default=None)

    def handle_timeout(self, now: float) -> None:
        """Handle the deadlines of both sides up to ``now``; call :meth:`pump` afterwards."""
        self.client.handle_timeout(now)
        self.server.handle_timeout(now)

    def close(self, now: float | None = None) -> None:
        """Disconnect the two Peers: each has its terminal events when this returns."""
        now = clock() if now is None else now
        for peer, app in ((self.client, self.client_app), (self.server, self.server_app)):
            peer.receive_eof(now=now)
            while (event := peer.next_event()) is not None:
                app.handle(event)


class MemoryLink(connection.StreamConnection):
    """Link at one end of a joined pair; it hands messages to the other end, in the same task.

    Messages that the other end does not take wait there as long as there is room, and then here.
    """

    binding = "memory"
    _other: "MemoryLink"
    _paced = False  # both ends have one event loop: nothing would be read before

    def __init__(self, peer: Peer, app: App, *, settings: ConnectionSettings | None = None) -> None:
        super().__init__(peer, app, settings=settings)
        self._parted = anyio.Event()
        self._waiting: deque[bytes] = deque()  # arrived, not taken in
        self._held = 0  # bytes of them
        self._emptied = anyio.Event()
        self._context = context_of_callbacks()

    # Output

    def flush_soon(self) -> None:
        """Implement :meth:`Link.flush_soon` at once, in the context in which the link was made."""
        self._again = True  # for the turn that is being made, if one is
        if self._turning or self._life not in connection.AT_WORK:
            return
        try:
            self._context.run(self._turn)
        except Exception as error:
            self._fail(error)

    def _flush(self) -> None:
        other, room = self._other, self.settings.read_size
        while self.peer.output_size:
            if self._writing is _BROKEN:
                self.peer.data_to_send()
                return
            if other._held >= room and other._life is not _ENDED:
                self._move_writing(connection.WritingSignal.BLOCK)
                self._moved = clock()
                return
            texts = _texts(self.peer.data_to_send(room - other._held))
            if self.trace is not None:
                for text in texts:
                    self.trace.message(text, incoming=False)
            if not other._arrived(texts):
                self._write_failed()

    def _goes_on(self) -> None:
        """Resume writing: the other end has room again, or is gone."""
        if self._writing is _BLOCKED:
            self._move_writing(connection.WritingSignal.WRITTEN)
            self._moved = clock()
            self._make_room()
            self._wake.set()

    # Input

    def _turn(self) -> None:
        super()._turn()
        sends = self._writing is _BLOCKED
        if sends and self._waiting and not self._turning and not self._full():
            self._wake.set()  # it came while we were sending, and we go on reading

    def _arrived(self, texts: list[bytes]) -> bool:
        """Take messages; return False if the link has ended."""
        if self._life is _ENDED:
            return False
        self._waiting += texts
        self._held += sum(map(len, texts))
        if self._life is not _NEW:
            try:
                self._turn()
            except Exception as error:  # our application's, in a task of the other end
                self._fail(error)
        return True

    def _dispatch(self) -> bool:
        while not super()._dispatch():
            if self._reading is _YIELDING or not self._waiting:
                return False
            if self._full():
                return True
            text = self._waiting.popleft()
            self._held -= len(text)
            if self.trace is not None:
                self.trace.message(text, incoming=True)
            _hand_over(text, self.peer, clock())
            if not self._waiting:
                self._emptied.set()
            self._other._goes_on()
        return True

    async def _receive(self) -> bytes:
        await self._parted.wait()
        while self._waiting:
            self._emptied = anyio.Event()
            await self._emptied.wait()
        return b""

    async def _close(self) -> None:
        self._waiting.clear()
        self._held = 0
        self._other._parted.set()
        self._other._goes_on()


class WireLink(connection.StreamConnection):
    """Link at one end of a joined pair that goes through bytes; made by :func:`memory_links`."""

    binding = "memory"
    _other: "WireLink"

    def __init__(self, peer: Peer, app: App, *, settings: ConnectionSettings | None = None) -> None:
        super().__init__(peer, app, settings=settings)
        self._parted = False
        self._closed = False
        self._buffer = bytearray()  # sent by the other end, not yet read
        self._readable = anyio.Event()
        self._writable = anyio.Event()

    def _send_nowait(self, data: bytes | memoryview) -> int:
        other = self._other
        if other._closed:
            raise BrokenPipeError
        piece = data[: self.settings.read_size - len(other._buffer)]
        other._buffer += piece
        other._readable.set()
        return len(piece)

    async def _send(self, data: memoryview) -> int:
        while not (count := self._send_nowait(data)):
            self._writable = anyio.Event()
            await self._writable.wait()
        return count

    async def _receive(self) -> bytes:
        while not self._buffer:
            if self._parted:
                return b""
            self._readable = anyio.Event()
            await self._readable.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        self._other._writable.set()
        return data

    async def _close(self) -> None:
        self._closed = True
        self._other._parted = True
        self._other._readable.set()
        self._other._writable.set()


def memory_links(
    client: tuple[Peer, App],
    server: tuple[Peer, App],
    *,
    settings: ConnectionSettings | None = None,
    wire: bool = False,
) -> tuple[connection.StreamConnection, connection.StreamConnection]:
    """Join two Peers in one event loop; return the client's link and the server's, both to be run.

    ``settings.read_size``: room in bytes for messages that the other end has not taken in.
    """
    kind: Any = WireLink if wire else MemoryLink
    ours, theirs = kind(*client, settings=settings), kind(*server, settings=settings)
    ours._other, theirs._other = theirs, ours
    return ours, theirs
