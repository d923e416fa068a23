"""Writers of the streams of requests into a store.

Events are handed over in *rounds*: while one is on its way, new events wait for the next.  That
costs no time, as a store takes a batch at a time, and keeps the order when it fails. A failed event
is tried again, but never added twice: a stream has one writer, which can read how far it has come.
"""

from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from mcpcore.engine.events import Route
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.server.exchange import HARD_FACTOR, Exchange, taken_over
from mcpcore.http.storing import (
    LogPage,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamNumber,
    StreamRead,
)
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore.spec.refusals import STORE_UNAVAILABLE, RefusalRow
from mcpcore.wire.message import encode_batch, encode_error
from mcpcore.wire.sse import encode_event

if TYPE_CHECKING:
    from mcpcore.http.server.stored.replica import SessionReplica

_PAGE = 256 * 1024
"""Approximate number of bytes to read at a time."""


def failure(request: bytes, message: str) -> bytes:
    """Return the error response for every request of a stream that cannot be answered.

    ``request`` is the value of :attr:`StreamBegin.request`: an id, or a list of ids for a batch.
    """
    error = ErrorData(INTERNAL_ERROR, message)
    ids = msgspec.json.decode(request)
    if isinstance(ids, list):
        return encode_batch(encode_error(id, error) for id in ids)
    return encode_error(ids, error)


class _Given(Struct):
    """Event that was given to the store."""

    data: bytes
    ends: bool
    position: int | None = None
    """Position of the event, once that is known; 0 for an end with nothing before it."""


class StreamWriter:
    """Stream of a request, at the worker that runs it; sends events while it is connected."""

    __slots__ = (
        "_begun",
        "_failed",
        "_farewell",
        "_frames",
        "_given",
        "_last",
        "_named",
        "_open",
        "_over",
        "_poll",
        "_primed",
        "_replica",
        "_request",
        "_size",
        "deadline",
        "elsewhere",
        "exchange",
        "number",
        "route",
    )

    def __init__(
        self, replica: "SessionReplica", exchange: Exchange, route: Route, *, primed: bool
    ) -> None:
        """Begin the stream; ``exchange`` gives out nothing before that is stored."""
        self.number: StreamNumber = replica.steps.new_number()
        self.route = route
        self.exchange: Exchange | None = exchange
        self.elsewhere = False
        """True if the client was last seen at another worker."""
        self.deadline: float | None = None
        self._replica = replica
        self._request = exchange.asked
        self._frames: deque[Transmit] = deque()
        """Frames that wait for the next round."""
        self._size = 0
        """Number of bytes in ``_frames``."""
        self._given: deque[_Given] = deque()
        """Events given to the store that are not known to be there with all events before them."""
        self._farewell: bytes | None = None
        """Error that ends the stream in place of all further events."""
        self._open = 1
        """Number of steps that are not answered yet."""
        self._last = 0
        self._begun = self._failed = self._named = self._over = False
        self._primed = primed
        self._poll: float | None = None
        exchange.source = self
        exchange.hold()
        if primed:
            exchange.write(replica.poll_event(self.number, 0, replica.settings.reconnect_delay))
        replica.steps.ask(
            StreamBegin,
            replica.id,
            lambda outcome: self._begin(exchange, outcome),
            stream=self.number,
            request=self._request,
        )

    # Output of the server

    @property
    def overfull(self) -> bool:
        """True if too much waits for the store or for the client."""
        waiting = self._size + (0 if self.exchange is None else self.exchange.size)
        return waiting > HARD_FACTOR * self._replica.settings.max_queued

    def add(self, frame: Transmit) -> None:
        """Add a frame to the stream, which outlives its connection."""
        if self._over or self._farewell is not None:
            self._drop(frame)
            return
        self._frames.append(frame)
        self._size += frame.size
        if self.deadline is not None and self.overfull:
            self.abandon("too much could not be written down")
        else:
            self._pump()

    def hang_up(self, retry: float) -> bool:
        """Close the connection after all output so far was sent; the client is to come back."""
        if self.exchange is None or self._over:
            return False
        self._poll = retry
        self._pump()
        return True

    def abandon(self, message: str) -> None:
        """End the stream with an error."""
        if not self._over and self._farewell is None:
            self._farewell = failure(self._request, message)
            self._drop_all()
            self._pump()

    def close(self, row: RefusalRow, message: str) -> None:
        """End with the session; a client that waits for the answer gets an error."""
        exchange = self.exchange
        if self._begun:
            self._lost(message)
            return
        self.end()
        if exchange is not None:
            exchange.source = None
            exchange.fail(row, message)

    # The connection

    def drained(self) -> None:
        """Note that output goes out to the client, and begin the next round."""
        self._named = self._primed or self._last > 0
        self._pump()

    def let_go(self) -> None:
        """Note that the connection is gone; events are stored all the same.

        If the client was given no id, it cannot resume the stream, which is given up.
        """
        self.exchange = None
        self._poll = None
        if self._named:
            self._pump()
        elif not self._over:
            if self._begun:
                self._give_up()
            else:
                self._replica.releases.expect(self.number)
            self.end()

    def moved(self) -> None:
        """Close this connection, as the client has resumed the stream at another worker."""
        exchange = self.exchange
        self.elsewhere = True
        if exchange is not None:
            exchange.source = None
            exchange.drop_queued()
            exchange.finish(close=True)
            self.let_go()

    def _give_up(self) -> None:
        """Tell the store that the stream gets no more events, as it would keep it open."""
        if not self._replica.over:
            self._replica.releases.end(self.number)

    def end(self) -> None:
        """Remove the stream here."""
        self._over = True
        self._replica.writers.pop(self.route, None)
        self._replica.steps.forget(self)
        self._drop_all()

    # Rounds

    def _pump(self) -> None:
        """Begin the next round if there are frames for it, and the client keeps up."""
        if self._open or self._over or self.deadline is not None:
            return
        exchange = self.exchange
        if exchange is not None and exchange.size > self._replica.settings.max_queued:
            return
        while self._frames:
            frame = self._frames.popleft()
            self._ask(b"".join(frame.data), ends=frame.ends)
            taken_over(frame)
        self._size = 0
        if self._farewell is not None and not self._given:
            self._ask(self._farewell, ends=True)
        if not self._given and self._poll is not None and exchange is not None:
            replica, retry, self._poll = self._replica, self._poll, None
            exchange.write(replica.poll_event(self.number, self._last, retry))
            exchange.source = self.exchange = None
            self._named = True
            exchange.finish()

    def _ask(self, data: bytes, *, ends: bool) -> None:
        event = _Given(data, ends)
        self._given.append(event)
        self._append(event)

    def _append(self, event: _Given) -> None:
        self._open += 1
        self._replica.steps.ask(
            StreamAppend,
            self._replica.id,
            lambda outcome: self._appended(event, outcome),
            stream=self.number,
            data=event.data,
            ends=event.ends,
        )

    def _begin(self, exchange: Exchange, outcome: StoreFailure | None) -> None:
        self._open -= 1
        failed = isinstance(outcome, StoreFailure)
        if failed and not self._over:
            exchange.source = None
            exchange.fail(STORE_UNAVAILABLE)
            self.end()
        if self._over:
            # The stream has no client any more; a failed step may have begun it all the same.
            self._give_up()
        else:
            self._begun = True
            self._pump()
        exchange.release()

    def _appended(self, event: _Given, outcome: int | StoreFailure | None) -> None:
        self._open -= 1
        if self._over:
            return
        if isinstance(outcome, StoreFailure) or self._failed:
            self._failed = True
        elif outcome is None:
            self._lost("this stream has ended elsewhere")
            self._replica.touch()
            return
        else:
            event.position = outcome
            self._settle()
        if self._open:
            return
        if self._failed:
            self._interrupted()
        else:
            self._pump()

    def _settle(self) -> None:
        """Send the oldest stored events; outcomes may come in any order, events may not."""
        while self._given and (position := self._given[0].position) is not None:
            event = self._given.popleft()
            self._last = position
            exchange = self.exchange
            if exchange is not None:
                if event.data:
                    id = self._replica.event_id(self.number, position)
                    exchange.write(encode_event(event.data, id=id))
                if event.ends:
                    exchange.finish()
            if event.ends:
                self.end()

    def _lost(self, message: str) -> None:
        """End the stream, which takes no more events, with an error to a connected client."""
        exchange = self.exchange
        if exchange is not None:
            exchange.write(encode_event(failure(self._request, message)))
            exchange.finish()
        self.end()

    # Failures of the store

    def _interrupted(self) -> None:
        """End the connection; keep the stream if the client can resume it."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.source = None
            exchange.fail(STORE_UNAVAILABLE)
        if self._named:
            self._replica.steps.retry(self)
        else:
            self._give_up()
            self.end()

    def again(self) -> None:
        """Read how far the stream has come, which a failure does not tell."""
        self._open += 1
        self._replica.steps.ask(
            StreamRead,
            self._replica.id,
            self._looked,
            stream=self.number,
            after=self._last,
            limit=_PAGE,
        )

    def _looked(self, page: LogPage | StoreFailure | None) -> None:
        self._open -= 1
        if self._over:
            return
        if isinstance(page, StoreFailure):
            self._replica.steps.retry(self)
            return
        if page is None or page.ended:
            self.end()
            return
        if page.lost > self._last:
            # It is unknown which events were stored; nor can the client resume here any more.
            self._missed()
            return
        for position, data in page.entries:
            if not self._given or self._given[0].data != data:
                self._missed()
                return
            self._given.popleft()
            self._last = position
        if page.last > self._last:
            self.again()
            return
        self._failed = False
        for event in self._given:
            self._append(event)
        self._pump()

    def _missed(self) -> None:
        """End the stream with an error, as an event in between is missing."""
        self._given.clear()
        self._failed = False
        self.abandon("an event could not be written down")

    # Frames that are not sent

    def _drop_all(self) -> None:
        frames, self._frames, self._size = self._frames, deque(), 0
        for frame in frames:
            self._drop(frame)

    def _drop(self, frame: Transmit) -> None:
        if frame.kind is FrameKind.REQUEST and not self._replica.over:
            self._replica.place(frame, self._replica.log.owner.now)
        else:
            taken_over(frame)
