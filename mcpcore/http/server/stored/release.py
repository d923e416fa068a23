"""Streams that are over at this worker, kept until the store has confirmed it."""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mcpcore.http.storing import StoreFailure, StreamAppend, StreamNumber, StreamRelease

if TYPE_CHECKING:
    from mcpcore.http.server.stored.replica import SessionReplica

_RELEASES = 1000
"""Maximum streams of one session remembered after the store has failed to end them."""


class Releases:
    """Releases of streams that are over at this worker, repeated until the store confirms."""

    __slots__ = ("_begins", "_failed", "_open", "_replica", "deadline")

    def __init__(self, replica: "SessionReplica") -> None:
        self.deadline: float | None = None
        self._replica = replica
        self._open = 0
        """Number of releases that the store has not answered."""
        self._failed: deque[tuple[StreamNumber, bool]] = deque(maxlen=_RELEASES)
        """Streams whose release failed, each with True if it ends; they are tried again."""
        self._begins = set[StreamNumber]()
        """Streams given up before the store has confirmed that they exist."""

    def __bool__(self) -> bool:
        return bool(self._open or self._failed or self._begins)

    def add(self, stream: StreamNumber) -> None:
        """Release a GET stream that has lost its connection."""
        self._open += 1
        told = partial(self._told, stream, False)
        self._replica.steps.ask(StreamRelease, self._replica.id, told, stream=stream)

    def expect(self, stream: StreamNumber) -> None:
        """Note a request's stream that is given up while it begins: :meth:`end` follows."""
        self._begins.add(stream)

    def end(self, stream: StreamNumber) -> None:
        """End the stream of a request that its writer gives up: no event will be added to it.

        A failure to begin it does not mean that it does not exist.
        """
        self._begins.discard(stream)
        self._open += 1
        told = partial(self._told, stream, True)
        self._replica.steps.ask(
            StreamAppend, self._replica.id, told, stream=stream, data=b"", ends=True
        )

    def again(self) -> None:
        """Retry failed releases, except of streams that a client has come back for."""
        failed = list(dict.fromkeys(self._failed))
        self._failed.clear()
        for stream, ends in failed:
            if ends:
                self.end(stream)
            elif stream not in self._replica.readers:
                self.add(stream)

    def _told(self, stream: StreamNumber, ends: bool, outcome: StoreFailure | int | None) -> None:
        self._open -= 1
        if isinstance(outcome, StoreFailure) and not self._replica.over:
            self._failed.append((stream, ends))
            self._replica.steps.retry(self)
