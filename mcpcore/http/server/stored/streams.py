"""Event streams in a store: their writers, and the readers of those that a GET has asked for.

The stream of a request is written by the worker that runs it, in rounds: while one is on its way,
new events wait for the next.  A failed event is tried again, but never added twice: a stream has
one writer, which can read how far it has come.  A reader follows a stream that any worker may
write, or fills one of the session itself from the queue; if nothing is left, the store wakes it.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, structs

from mcpcore.engine.events import Route
from mcpcore.engine.lifecycle import State, Table
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http import storing
from mcpcore.http.principals import has_rights_of
from mcpcore.http.server.exchange import HARD_FACTOR, Exchange, ExchangeState, taken_over
from mcpcore.http.storing import LogPage, StoreFailure, StreamNumber
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore.spec.refusals import (
    EVENTS_GONE,
    NO_SESSION,
    STORE_UNAVAILABLE,
    TOO_MANY_STREAMS,
    RefusalRow,
)
from mcpcore.wire.message import encode_batch, encode_error
from mcpcore.wire.sse import encode_event

if TYPE_CHECKING:  # a type alone: it makes these streams
    from mcpcore.http.server.stored.replica import SessionReplica


PAGE = 256 * 1024


def failure(request: bytes, message: str) -> bytes:
    """Return the error response for ``request``, a JSON id or the list of ids of a batch."""
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


class WriterState(State):
    """States of the writer of a stored stream."""

    BEGINNING = "beginning"
    """The store has not begun the stream yet."""
    WRITING = "writing"
    INTERRUPTED = "interrupted"
    """An event may not be in the store: once all outcomes are known, the log is read."""
    OVER = "over"


class WriterSignal(State):
    """Signals that move the writer of a stored stream."""

    BEGUN = "begun in the store"
    FAIL = "event not stored"
    RESUME = "end of the log known"
    END = "stream removed here"


_BEGINNING, _WRITING, _INTERRUPTED, _REMOVED = WriterState
_BEGUN, _FAIL, _RESUME, _REMOVE = WriterSignal
WRITER: Table[WriterState, WriterSignal] = {
    (_BEGINNING, _BEGUN): _WRITING,
    (_WRITING, _FAIL): _INTERRUPTED,
    (_INTERRUPTED, _FAIL): _INTERRUPTED,
    (_INTERRUPTED, _RESUME): _WRITING,
    **{(each, _REMOVE): _REMOVED for each in WriterState},
}


class StreamWriter:
    """Stream of a request, at the worker that runs it; sends events while it is connected."""

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
        self._size = 0
        self._given: deque[_Given] = deque()
        """Events given to the store that are not known to be there with all events before them."""
        self._farewell: bytes | None = None
        """Error that ends the stream in place of all further events."""
        self._open = 1
        self._last = 0
        self._named = False
        """True if the client has an id, so that it can ask for the events that follow."""
        self._state = _BEGINNING
        self._primed = primed
        self._poll: float | None = None
        exchange.source = self
        exchange.hold()
        if primed:
            exchange.write(replica.poll_event(self.number, 0, replica.settings.reconnect_delay))
        replica.ask(
            storing.StreamBegin,
            lambda outcome: self._begin(exchange, outcome),
            stream=self.number,
            request=self._request,
        )

    def _move(self, signal: WriterSignal) -> None:
        self._state = WRITER[self._state, signal]

    # Output of the server

    @property
    def overfull(self) -> bool:
        """True if too much waits for the store or for the client."""
        waiting = self._size + (0 if self.exchange is None else self.exchange.size)
        return waiting > HARD_FACTOR * self._replica.settings.max_queued

    def add(self, frame: Transmit) -> None:
        """Add a frame to the stream, which outlives its connection."""
        if self._state is _REMOVED or self._farewell is not None:
            self._drop(frame)
            return
        self._frames.append(frame)
        self._size += frame.size
        if self.deadline is not None and self.overfull:
            self.abandon("too much could not be written down")
        else:
            self._advance()

    def hang_up(self, retry: float) -> bool:
        """Close the connection after all output so far was sent; the client is to come back."""
        if self.exchange is None or self._state is _REMOVED:
            return False
        self._poll = retry
        self._advance()
        return True

    def abandon(self, message: str) -> None:
        """End the stream with an error."""
        if self._state is not _REMOVED and self._farewell is None:
            self._farewell = failure(self._request, message)
            self._drop_all()
            self._advance()

    def close(self, row: RefusalRow, message: str) -> None:
        """End with the session; a client that waits for the answer gets an error."""
        exchange = self.exchange
        if self._state is not _BEGINNING:
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
        self._advance()

    def let_go(self) -> None:
        """Note that the connection is gone; a client without an id cannot resume the stream."""
        self.exchange = None
        self._poll = None
        if self._named:
            self._advance()
        elif self._state is not _REMOVED:
            if self._state is _BEGINNING:
                self._replica.giving_up.add(self.number)
            else:
                self._give_up()
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
        if not self._replica.over:
            self._replica.end_stream(self.number)

    def end(self) -> None:
        """Remove the stream here."""
        self._move(_REMOVE)
        self._replica.writers.pop(self.route, None)
        self._replica.steps.forget(self)
        self._drop_all()

    # RetryQueue

    def _advance(self) -> None:
        if self._open or self._state is _REMOVED or self.deadline is not None:
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
        self._replica.ask(
            storing.StreamAppend,
            lambda outcome: self._appended(event, outcome),
            stream=self.number,
            data=event.data,
            ends=event.ends,
        )

    def _begin(self, exchange: Exchange, outcome: StoreFailure | None) -> None:
        self._open -= 1
        failed = isinstance(outcome, StoreFailure)
        if failed and self._state is not _REMOVED:
            exchange.source = None
            exchange.fail(STORE_UNAVAILABLE)
            self.end()
        if self._state is _REMOVED:
            # The stream has no client any more; a failed step may have begun it all the same.
            self._give_up()
        else:
            self._move(_BEGUN)
            self._advance()
        exchange.release()

    def _appended(self, event: _Given, outcome: int | StoreFailure | None) -> None:
        self._open -= 1
        if self._state is _REMOVED:
            return
        if isinstance(outcome, StoreFailure) or self._state is _INTERRUPTED:
            self._move(_FAIL)
        elif outcome is None:
            self._lost("this stream has ended elsewhere")
            self._replica.touch()
            return
        else:
            event.position = outcome
            self._settle()
        if self._open:
            return
        if self._state is _INTERRUPTED:
            self._interrupted()
        else:
            self._advance()

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
        exchange = self.exchange
        if exchange is not None:
            exchange.write(encode_event(failure(self._request, message)))
            exchange.finish()
        self.end()

    # Failures of the store

    def _interrupted(self) -> None:
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
        self._replica.read(self.number, self._last, self._looked)

    def _looked(self, page: LogPage | StoreFailure | None) -> None:
        self._open -= 1
        if self._state is _REMOVED:
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
        self._move(_RESUME)
        for event in self._given:
            self._append(event)
        self._advance()

    def _missed(self) -> None:
        self._given.clear()
        self._move(_RESUME)
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


ORPHANED = "the process that worked on this request is gone"


class ReaderState(State):
    """States of the reader of a stored stream."""

    READ = "to read"
    """Read the log of the stream next, as it may have events."""
    READING = "reading"
    TAKE = "to take"
    """Take from the queue of the session next, as it may have messages."""
    TAKING = "taking"
    WAITING = "waiting"
    """Wait for the store, which wakes the reader."""
    OVER = "over"


class ReaderSignal(State):
    """Signals that move the reader of a stored stream."""

    ASK = "store asked"
    LOG = "more in the log"
    QUEUE = "more in the queue"
    NOTHING = "nothing left"
    END = "stream released"


_READ, _READING, _TAKE, _TAKING, _WAITING, _OVER = ReaderState
_ASK, _LOG, _QUEUE, _NOTHING, _END = ReaderSignal
READER: Table[ReaderState, ReaderSignal] = {
    (_READ, _ASK): _READING,
    (_TAKE, _ASK): _TAKING,
    **{(each, _LOG): _READ for each in (_READING, _TAKING, _WAITING)},
    **{(each, _QUEUE): _TAKE for each in (_READ, _READING, _TAKING, _WAITING)},
    **{(each, _NOTHING): _WAITING for each in (_READING, _TAKING)},
    **{(each, _END): _OVER for each in (_READ, _READING, _TAKE, _TAKING, _WAITING)},
}
DIAGRAMS = (
    (
        "Writer of a stored stream",
        "The stream of a request, at the worker that runs it.",
        WRITER,
    ),
    (
        "Reader of a stored stream",
        "One stream of a session in a store, on its way to the client: the log of the stream, and "
        "for one that belongs to no request the queue of the session.",
        READER,
    ),
)


class StreamReader:
    """Carrier of a stream of a session to the client that has asked for it."""

    def __init__(
        self,
        replica: "SessionReplica",
        exchange: Exchange,
        number: StreamNumber,
        position: int,
        *,
        queue: bool,
        numbered: bool,
    ) -> None:
        """Follow a stream from after ``position``; ``queue``: it belongs to no request."""
        self.number = number
        self.queue = queue
        self._replica = replica
        self.exchange = exchange
        self._position = position
        self._numbered = numbered
        self._primed = False
        self._named = False
        """True if the client has an id, so that it can ask for the events that follow."""
        self._unsent: deque[tuple[bytes, int]] = deque()
        """Messages for a client without an id, not sent as a whole, with the size of the event."""
        self._unsent_size = 0
        self._request: bytes | None = None
        """Ids of the requests that the stream answers, as JSON, once that is known."""
        self._known = False
        """True once the store has confirmed that the stream exists and has room."""
        self.claiming = False
        """True while the store has not answered to the claim of a stream that is resumed here."""
        self._state = _READ
        self._woken = False
        exchange.source = self
        replica.attach(exchange)

    def _move(self, signal: ReaderSignal) -> None:
        self._state = READER[self._state, signal]

    # Beginning

    def begin(self, *, primed: bool) -> None:
        """Open a stream for messages that belong to no request."""
        replica, exchange = self._replica, self.exchange
        self._primed = primed
        self._move(_QUEUE)
        replica.readers[self.number] = self
        exchange.hold()
        exchange.open_stream()
        if primed:
            exchange.write(replica.poll_event(self.number, 0, replica.settings.reconnect_delay))
        limit = replica.settings.session_streams
        replica.ask(storing.StreamBegin, self._begun, stream=self.number, limit=limit)
        self._advance()

    def _begun(self, outcome: StoreFailure | bool | None) -> None:
        """Handle the outcome of the begin; nothing is sent before there is room."""
        if isinstance(outcome, StoreFailure):
            self._fail()
        elif outcome is False and self._state is not _OVER:
            limit = self._replica.settings.session_streams
            text = f"the session has {limit} GET streams open already"
            self.exchange.fail(TOO_MANY_STREAMS, text)
            self.let_go()
        else:
            self._known = True
        self.exchange.release()

    def resume(self) -> None:
        """Resume a stream; nothing is sent before the store shows that no event is missing."""
        self._move(_ASK)
        self._replica.read(self.number, self._position, self._found)

    def _found(self, page: LogPage | StoreFailure | None) -> None:
        replica, exchange = self._replica, self.exchange
        if self._state is _OVER or replica.over:
            return
        if isinstance(page, StoreFailure):
            self._fail()
        elif self._is_early(page, self._found):
            return
        elif not has_rights_of(exchange.principal, replica.peer.principal):
            exchange.refuse(NO_SESSION)  # it was used with more rights meanwhile
            self.let_go()
        elif page is None or not page.lost <= self._position <= page.last:
            exchange.refuse(EVENTS_GONE)
            self.let_go()
        else:
            self._request = page.request
            self.queue = page.request is None
            self._known = not self.queue
            replica.moved(self.number, here=True)
            replica.readers[self.number] = self
            self._named = self.claiming = True
            limit = replica.settings.session_streams if self.queue else 0
            replica.ask(storing.StreamClaim, self._claimed, stream=self.number, limit=limit)
            if self.queue:
                exchange.hold()
            exchange.open_stream()
            replica.home.router.watch(exchange, replica.log.owner.now)
            self._read(page)

    def _claimed(self, outcome: StoreFailure | bool | None) -> None:
        self.claiming = False
        if self.queue:
            self._begun(outcome)
        elif isinstance(outcome, StoreFailure):
            self._fail()

    # Continuing

    def wake(self) -> None:
        """Read or take on, as there may be more."""
        self._woken = True
        if self._state is _WAITING:
            self._move(_QUEUE if self.queue else _LOG)
            self._advance()

    def drained(self) -> None:
        """Note that output goes out to the client, and ask for more."""
        if self._numbered and (self._primed or self._position):
            self._named = True
            self._unsent.clear()
        while self._unsent and self._unsent_size - self._unsent[0][1] >= self.exchange.size:
            self._unsent_size -= self._unsent.popleft()[1]
        self._advance()

    def _advance(self) -> None:
        replica = self._replica
        if self._state not in (_READ, _TAKE) or self.exchange.size > replica.settings.max_queued:
            return
        self._woken = False
        self._move(_ASK)
        if self._state is _READING:
            replica.read(self.number, self._position, self._answered)
        else:
            replica.ask(storing.QueueTake, self._took, stream=self.number, limit=PAGE)

    def _answered(self, page: LogPage | StoreFailure | None) -> None:
        if self._state is _OVER:
            return
        if page is None or isinstance(page, StoreFailure):
            self._fail()
        elif not page.lost <= self._position <= page.last:
            self._fail()  # events are gone, or the store has come back without the last ones
        elif not self._is_early(page, self._answered):
            self._read(page)

    def _read(self, page: LogPage) -> None:
        self._give(page)
        if page.last > self._position:
            self._move(_LOG)
        elif page.ended:
            self.exchange.finish()
            self.let_go()
        elif page.orphaned and page.request is not None:
            self._close_orphan(page.request)
        elif self.queue:
            self._move(_QUEUE)
        else:
            # Only a read that finds nothing is followed by a wake.
            self._move(_LOG if page.entries or self._woken else _NOTHING)
        self._advance()

    def _took(self, page: LogPage | StoreFailure | None) -> None:
        if isinstance(page, StoreFailure):
            self._fail()
            if not self._named:
                # The step may have taken messages all the same.
                self._replica.queue.take_back(self.number, self._position)
            return
        if self._state is _OVER:
            if page is not None and not self._named:
                for _, data in page.entries:
                    self._replica.queue.put(data)
            return
        if page is None or page.ended or page.last < self._position:
            for _, data in () if page is None else page.entries:
                self._replica.queue.put(data)
            self._fail()
            self._replica.touch()
            return
        if self._is_early(page, self._took):
            return
        if page.entries and page.entries[0][0] == self._position + 1:
            self._give(page)
        if page.last > self._position:
            # The previous worker of the stream took messages before it released the stream.
            self._move(_LOG)
        else:
            self._move(_QUEUE if page.entries or self._woken else _NOTHING)
        self._advance()

    def _is_early(self, page: LogPage | None, then: Callable[[Any], None]) -> bool:
        """Return True if a page has come before the record of its time; then load that first.

        The events may be for wider rights than those that the stream is known to need here.
        """
        replica = self._replica
        if page is None or not page.entries or not replica.is_behind(page.version):
            return False
        once = structs.replace(page, version=0)
        replica.home.load(replica.id, lambda failure: then(failure or once))
        return True

    def _give(self, page: LogPage) -> None:
        replica, exchange = self._replica, self.exchange
        for position, data in page.entries:
            id = replica.event_id(self.number, position) if self._numbered else None
            event = encode_event(data, id=id)
            exchange.write(event)
            self._position = position
            if not self._named:
                self._unsent.append((data, len(event)))
                self._unsent_size += len(event)

    def _close_orphan(self, request: bytes) -> None:
        self._replica.ask(
            storing.StreamAppend,
            self._closed,
            stream=self.number,
            data=failure(request, ORPHANED),
            ends=True,
        )

    def _closed(self, outcome: int | StoreFailure | None) -> None:
        if isinstance(outcome, StoreFailure):
            self._fail()
        elif self._state is not _OVER:
            self._move(_LOG)
            self._advance()

    # Ending

    def hang_up(self, retry: float) -> bool:
        """Close the connection and ask the client to come back; return True if done."""
        exchange = self.exchange
        streams = exchange.state is ExchangeState.STREAMING and self._numbered
        if self._state is _OVER or not streams:
            return False
        exchange.write(self._replica.poll_event(self.number, self._position, retry))
        self._named = True
        exchange.finish()
        self.let_go()
        return True

    def replaced(self) -> None:
        """Close this connection, as another one has taken the stream over."""
        self._move(_END)
        self._forget()
        self.exchange.drop_queued()
        self.exchange.finish(close=True)

    def finish(self) -> None:
        """End the connection in order; the client may come back to another worker."""
        if self._state is not _OVER:
            if self.exchange.state is ExchangeState.WAITING:
                self.exchange.fail(STORE_UNAVAILABLE)
            else:
                self.exchange.finish()
                self._unsent.clear()  # all output is sent before the end is
            self.let_go()

    def close(self, row: RefusalRow, message: str) -> None:
        """End with the session; a request that waits on the stream gets an error."""
        if self._state is _OVER:
            return
        if not self._known:
            self.exchange.fail(row, message)
        else:
            if self._request is not None:
                self.exchange.write(encode_event(failure(self._request, message)))
            self.exchange.finish()
        self.let_go()

    def _fail(self) -> None:
        if self._state is not _OVER:
            self.exchange.fail(STORE_UNAVAILABLE)
            self.let_go()

    def let_go(self) -> None:
        """Release the stream, and return the messages that did not reach the client."""
        if self._state is _OVER:
            return
        self._move(_END)
        replica = self._replica
        carries = self.queue and not replica.over and replica.readers.get(self.number) is self
        self._forget()
        if carries:
            self._replica.release_stream(self.number)
        if not self._named:
            for data, _ in self._unsent:
                replica.queue.put(data)

    def _forget(self) -> None:
        self.exchange.source = None
        if self._replica.readers.get(self.number) is self:
            del self._replica.readers[self.number]
