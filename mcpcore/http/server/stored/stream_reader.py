"""GET streams at a server with a store: each follows a stream that any worker may write.

The stream of a request is read. A stream of the session itself is filled by its reader, which
takes messages from the queue. When there are no more, the store wakes the reader later.
"""

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from mcpcore.http.server.exchange import Exchange, ExchangeState
from mcpcore.http.server.stored.session_queue import PAGE
from mcpcore.http.server.stored.stream_writer import failure
from mcpcore.http.storing import (
    LogPage,
    QueueTake,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamNumber,
    StreamRead,
)
from mcpcore.spec.refusals import (
    EVENTS_GONE,
    STORE_UNAVAILABLE,
    TOO_MANY_STREAMS,
    RefusalRow,
)
from mcpcore.wire.sse import encode_event

if TYPE_CHECKING:
    from mcpcore.http.server.stored.replica import SessionReplica

ORPHANED = "the process that worked on this request is gone"


class _Next(Enum):
    """Next step of a reader."""

    READ = "read"
    TAKE = "take"
    WAIT = "wait"


class StreamReader:
    """Carrier of a stream of a session to the client that has asked for it."""

    __slots__ = (
        "_busy",
        "_claiming",
        "_exchange",
        "_known",
        "_named",
        "_next",
        "_numbered",
        "_over",
        "_position",
        "_primed",
        "_replica",
        "_request",
        "_unsent",
        "_unsent_size",
        "_woken",
        "number",
        "queue",
    )

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
        self._exchange = exchange
        self._position = position
        self._numbered = numbered
        self._primed = False
        self._named = False
        """True if the client has an id, so that it can ask for the events that follow."""
        self._unsent: deque[tuple[bytes, int]] = deque()
        """Messages taken from the queue for a client without an id that have not been sent as a
        whole, each with the size of its event."""
        self._unsent_size = 0
        self._request: bytes | None = None
        """Ids of the requests that the stream answers, as JSON, once that is known."""
        self._known = False
        """True once the store has confirmed that the stream exists and has room."""
        self._busy = self._woken = self._claiming = self._over = False
        self._next = _Next.READ
        exchange.source = self
        exchange.session = replica
        replica.exchanges[exchange.route] = exchange

    # Beginning

    def begin(self, *, primed: bool) -> None:
        """Open a stream for messages that belong to no request."""
        replica, exchange = self._replica, self._exchange
        self._primed = primed
        self._next = _Next.TAKE
        replica.readers[self.number] = self
        exchange.hold()
        exchange.open_stream()
        if primed:
            exchange.write(replica.poll_event(self.number, 0, replica.settings.reconnect_delay))
        limit = replica.settings.session_streams
        replica.steps.ask(StreamBegin, replica.id, self._begun, stream=self.number, limit=limit)
        self._advance()

    def _begun(self, outcome: StoreFailure | bool | None) -> None:
        """Handle the outcome of the begin; nothing is sent before there is room."""
        if isinstance(outcome, StoreFailure):
            self._fail()
        elif outcome is False and not self._over:
            limit = self._replica.settings.session_streams
            text = f"the session has {limit} GET streams open already"
            self._exchange.fail(TOO_MANY_STREAMS, text)
            self._leave()
        else:
            self._known = True
        self._exchange.release()

    def resume(self) -> None:
        """Resume a stream; nothing is sent before the store shows that no event is missing."""
        replica = self._replica
        replica.steps.ask(
            StreamRead,
            replica.id,
            self._found,
            stream=self.number,
            after=self._position,
            limit=PAGE,
        )

    def _found(self, page: LogPage | StoreFailure | None) -> None:
        replica, exchange = self._replica, self._exchange
        if self._over or replica.over:
            return
        if isinstance(page, StoreFailure):
            self._fail()
        elif page is None or not page.lost <= self._position <= page.last:
            exchange.refuse(EVENTS_GONE)
            self._leave()
        else:
            self._request = page.request
            self.queue = page.request is None
            self._known = not self.queue
            replica.take_over(self.number)
            replica.readers[self.number] = self
            self._named = self._claiming = True
            limit = replica.settings.session_streams if self.queue else 0
            replica.steps.ask(
                StreamClaim, replica.id, self._claimed, stream=self.number, limit=limit
            )
            if self.queue:
                exchange.hold()
            exchange.open_stream()
            replica.watch(exchange)
            self._read(page)

    def _claimed(self, outcome: StoreFailure | bool | None) -> None:
        self._claiming = False
        if self.queue:
            self._begun(outcome)
        elif isinstance(outcome, StoreFailure):
            self._fail()

    # Continuing

    def wake(self) -> None:
        """Read or take on, as there may be more."""
        self._woken = True
        if self._next is _Next.WAIT:
            self._next = _Next.TAKE if self.queue else _Next.READ
            self._advance()

    def drained(self) -> None:
        """Note that output goes out to the client, and ask for more."""
        if self._numbered and (self._primed or self._position):
            self._named = True
            self._unsent.clear()
        while self._unsent and self._unsent_size - self._unsent[0][1] >= self._exchange.size:
            self._unsent_size -= self._unsent.popleft()[1]
        self._advance()

    def _advance(self) -> None:
        """Ask for more unless too much output waits for the client."""
        replica = self._replica
        if self._busy or self._over or self._next is _Next.WAIT:
            return
        if self._exchange.size > replica.settings.max_queued:
            return
        self._busy = True
        self._woken = False
        if self._next is _Next.READ:
            replica.steps.ask(
                StreamRead,
                replica.id,
                self._answered,
                stream=self.number,
                after=self._position,
                limit=PAGE,
            )
        else:
            replica.steps.ask(QueueTake, replica.id, self._took, stream=self.number, limit=PAGE)

    def _answered(self, page: LogPage | StoreFailure | None) -> None:
        self._busy = False
        if self._over:
            return
        if page is None or isinstance(page, StoreFailure) or page.lost > self._position:
            self._fail()
        else:
            self._read(page)

    def _read(self, page: LogPage) -> None:
        """Send a page of the stream, and choose the next step."""
        self._give(page)
        if page.last > self._position:
            self._next = _Next.READ
        elif page.ended:
            self._exchange.finish()
            self._leave()
        elif page.orphaned and page.request is not None:
            self._close_orphan(page.request)
        elif self.queue:
            self._next = _Next.TAKE
        else:
            # Only a read that finds nothing is followed by a wake.
            self._next = _Next.READ if page.entries or self._woken else _Next.WAIT
        self._advance()

    def _took(self, page: LogPage | StoreFailure | None) -> None:
        self._busy = False
        if isinstance(page, StoreFailure):
            self._fail()
            if not self._named:
                # The step may have taken messages all the same.
                self._replica.queue.take_back(self.number, self._position)
            return
        if self._over:
            if page is not None and not self._named:
                self._put_back([data for _, data in page.entries])
            return
        if page is None or page.ended:
            self._fail()
            self._replica.touch()
            return
        if page.entries and page.entries[0][0] == self._position + 1:
            self._give(page)
        if page.last > self._position:
            # The previous worker of the stream took messages before it released the stream.
            self._next = _Next.READ
        else:
            self._next = _Next.TAKE if page.entries or self._woken else _Next.WAIT
        self._advance()

    def _give(self, page: LogPage) -> None:
        replica, exchange = self._replica, self._exchange
        for position, data in page.entries:
            id = replica.event_id(self.number, position) if self._numbered else None
            event = encode_event(data, id=id)
            exchange.write(event)
            self._position = position
            if not self._named:
                self._unsent.append((data, len(event)))
                self._unsent_size += len(event)

    def _close_orphan(self, request: bytes) -> None:
        """Answer a request with an error whose worker is gone."""
        self._busy = True
        self._next = _Next.READ
        self._replica.steps.ask(
            StreamAppend,
            self._replica.id,
            self._closed,
            stream=self.number,
            data=failure(request, ORPHANED),
            ends=True,
        )

    def _closed(self, outcome: int | StoreFailure | None) -> None:
        self._busy = False
        if isinstance(outcome, StoreFailure):
            self._fail()
        self._advance()

    # Ending

    def hang_up(self, retry: float) -> bool:
        """Close the connection and ask the client to come back; return True if done."""
        if self._over or self._exchange.state is not ExchangeState.STREAMING or not self._numbered:
            return False
        exchange = self._exchange
        exchange.write(self._replica.poll_event(self.number, self._position, retry))
        self._named = True
        exchange.finish()
        self._leave()
        return True

    def let_go(self) -> None:
        """Stop following, as the connection is gone."""
        self._leave()

    def moved(self) -> None:
        """Give up the stream, as the client has resumed it at another worker."""
        if not self._claiming:
            self.replaced()

    def replaced(self) -> None:
        """Close this connection, as another one has taken the stream over."""
        self._over = True
        self._forget()
        self._exchange.drop_queued()
        self._exchange.finish(close=True)

    def finish(self) -> None:
        """End the connection in order; the client may come back to another worker."""
        if not self._over:
            if self._exchange.state is ExchangeState.WAITING:
                self._exchange.fail(STORE_UNAVAILABLE)
            else:
                self._exchange.finish()
                self._unsent.clear()  # all output is sent before the end is
            self._leave()

    def close(self, row: RefusalRow, message: str) -> None:
        """End with the session; a request that waits on the stream gets an error."""
        if self._over:
            return
        if not self._known:
            self._exchange.fail(row, message)
        else:
            if self._request is not None:
                self._exchange.write(encode_event(failure(self._request, message)))
            self._exchange.finish()
        self._leave()

    def _fail(self) -> None:
        """Refuse or end the response as the store has failed; the client has to come back."""
        if not self._over:
            self._exchange.fail(STORE_UNAVAILABLE)
            self._leave()

    def _leave(self) -> None:
        """Release the stream, and return the messages that did not reach the client."""
        if self._over:
            return
        self._over = True
        replica = self._replica
        carries = self.queue and not replica.over and replica.readers.get(self.number) is self
        self._forget()
        if carries:
            self._replica.releases.add(self.number)
        if not self._named:
            self._put_back([data for data, _ in self._unsent])

    def _forget(self) -> None:
        self._exchange.source = None
        if self._replica.readers.get(self.number) is self:
            del self._replica.readers[self.number]

    def _put_back(self, messages: list[bytes]) -> None:
        """Return messages to the queue that were taken here and cannot be resumed."""
        for data in messages:
            self._replica.queue.put(data)
