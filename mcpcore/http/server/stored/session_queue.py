"""Messages that belong to no request, on their way into the queue of their session.

They are handed over in rounds, as in :mod:`~mcpcore.http.server.stored.stream_writer`.  Each has a
name, by which the store recognizes one that it has taken although the step seemed to fail. A
message that the store has moved onto a stream that cannot carry it comes back from there.
"""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from mcpcore.engine.events import EndReason
from mcpcore.http.storing import LogPage, QueuePut, StoreFailure, StreamNumber, StreamRead
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:
    from mcpcore.http.server.stored.replica import SessionReplica

PAGE = 256 * 1024
"""Approximate number of bytes of a stream to ask for at a time."""
_UNREAD = 1000
"""Maximum streams of one session remembered after the store has failed to read them."""


class _Message(Struct):
    data: bytes
    once: str
    request: RequestId | None
    tried: bool = False


class SessionQueue:
    """Sender of messages that belong to no request into the queue of a session."""

    __slots__ = (
        "_failed",
        "_messages",
        "_open",
        "_reading",
        "_replica",
        "_size",
        "_unread",
        "deadline",
    )

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self._replica = replica
        self._messages: list[_Message] = []
        """Messages that are on their way, then messages that wait for the next round."""
        self._size = 0
        self._open = 0
        self._failed = False
        self._reading = 0
        """Number of streams being read for messages to take back."""
        self._unread: deque[tuple[StreamNumber, int]] = deque(maxlen=_UNREAD)
        """Streams that the store has failed to read, each with the position to read from; they are
        tried again."""

    def __bool__(self) -> bool:
        return bool(self._messages or self._reading or self._unread)

    def put(
        self, data: bytes, *, request: RequestId | None = None, once: str | None = None
    ) -> None:
        """Queue a message; ``request`` is its id if it is a request of ours."""
        replica = self._replica
        if once is None:
            once = replica.new_name()
        self._messages.append(_Message(data, once, request))
        self._size += len(data)
        while self._size > replica.settings.session_queue and len(self._messages) > self._open:
            self._give_up_one()
        self._pump()

    def again(self) -> None:
        """Retry failed reads and messages, and send those added since."""
        unread = list(self._unread)
        self._unread.clear()
        for stream, after in unread:
            self.take_back(stream, after)
        self._pump()

    def take_back(self, stream: StreamNumber, after: int) -> None:
        """Queue again the messages that a stream took after a position, for another stream.

        No event of that stream has been sent, so that no client can resume it.
        """
        replica = self._replica
        if not replica.over:
            self._reading += 1
            found = partial(self._found, stream, after)
            replica.steps.ask(StreamRead, replica.id, found, stream=stream, after=after, limit=PAGE)

    def _found(self, stream: StreamNumber, after: int, page: LogPage | StoreFailure | None) -> None:
        self._reading -= 1
        if isinstance(page, StoreFailure):
            if not self._replica.over:
                self._unread.append((stream, after))
                self._replica.steps.retry(self)
        elif page is not None and page.entries:
            for _, data in page.entries:
                self.put(data)
            self.take_back(stream, page.entries[-1][0])

    def _pump(self) -> None:
        if self._open or self.deadline is not None or self._replica.over:
            return
        self._failed = False
        for message in self._messages:
            self._open += 1
            self._replica.steps.ask(
                QueuePut, self._replica.id, self._put, data=message.data, once=message.once
            )

    def _put(self, outcome: bool | StoreFailure) -> None:
        self._open -= 1
        message = self._messages[0] if not self._failed else None
        if isinstance(outcome, StoreFailure):
            self._failed = True
        elif message is not None:
            del self._messages[0]
            self._size -= len(message.data)
            if not outcome and not message.tried:
                self._refused(message)
        if self._open:
            return
        if self._failed:
            for waiting in self._messages:
                waiting.tried = True
            self._replica.steps.retry(self)
        else:
            self._pump()

    def _give_up_one(self) -> None:
        """Drop the oldest notification that is not on its way, or else the oldest request."""
        waiting = self._messages[self._open :]
        victim = next((each for each in waiting if each.request is None), waiting[0])
        self._messages.remove(victim)
        self._size -= len(victim.data)
        self._refused(victim)

    def _refused(self, message: _Message) -> None:
        if message.request is not None:
            self._replica.peer.receive_failure(
                message.request,
                now=self._replica.log.owner.now,
                reason=EndReason.REFUSED,
                message="not sent: too much waits for a stream of the client",
            )
