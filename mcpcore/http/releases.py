"""Streams that are over here, until the store has heard of it."""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mcpcore.http.storing import StoreFailure, StreamAppend, StreamNumber, StreamRelease

if TYPE_CHECKING:
    from mcpcore.http.views import View

_RELEASES = 1000
"""So many streams of one session are remembered whose end the store has failed to take."""


class Releases:
    """Tells the store which streams are over at this worker, until it has heard of it."""

    __slots__ = ("_begins", "_failed", "_open", "_view", "deadline")

    def __init__(self, view: "View") -> None:
        self.deadline: float | None = None
        self._view = view
        self._open = 0
        """How many the store has not answered."""
        self._failed: deque[tuple[StreamNumber, bool]] = deque(maxlen=_RELEASES)
        """Those that it has failed, and whether they end; they go again."""
        self._begins = set[StreamNumber]()
        """Those that were given up before the store has said whether they are there."""

    def __bool__(self) -> bool:
        return bool(self._open or self._failed or self._begins)

    def add(self, stream: StreamNumber) -> None:
        """A GET stream has lost its connection: it carries no longer."""
        self._open += 1
        told = partial(self._told, stream, False)
        self._view.steps.ask(StreamRelease, self._view.id, told, stream=stream)

    def expect(self, stream: StreamNumber) -> None:
        """The stream of a request is given up while it is being begun: :meth:`end` follows."""
        self._begins.add(stream)

    def end(self, stream: StreamNumber) -> None:
        """The stream of a request is given up by its writer: nothing will be added to it.

        That it could not be begun does not mean that it is not there.
        """
        self._begins.discard(stream)
        self._open += 1
        told = partial(self._told, stream, True)
        self._view.steps.ask(StreamAppend, self._view.id, told, stream=stream, data=b"", ends=True)

    def again(self) -> None:
        """Try those that have failed, but for what a client has come back for."""
        failed = list(dict.fromkeys(self._failed))
        self._failed.clear()
        for stream, ends in failed:
            if ends:
                self.end(stream)
            elif stream not in self._view.followers:
                self.add(stream)

    def _told(self, stream: StreamNumber, ends: bool, outcome: StoreFailure | int | None) -> None:
        self._open -= 1
        if isinstance(outcome, StoreFailure) and not self._view.over:
            self._failed.append((stream, ends))
            self._view.steps.retry(self)
