"""GET streams that have lost their connection, until the store has heard of it."""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from mcpcore.http.storing import StoreFailure, StreamNumber, StreamRelease

if TYPE_CHECKING:
    from mcpcore.http.views import View

_RELEASES = 1000
"""So many streams of one session are remembered whose end the store has failed to take."""


class Releases:
    """Tells the store that GET streams have no connection here, until it has heard of it."""

    __slots__ = ("_failed", "_open", "_view", "deadline")

    def __init__(self, view: "View") -> None:
        self.deadline: float | None = None
        self._view = view
        self._open = 0
        """How many the store has not answered."""
        self._failed: deque[StreamNumber] = deque(maxlen=_RELEASES)
        """Those that it has failed; they go again."""

    def __bool__(self) -> bool:
        return bool(self._open or self._failed)

    def add(self, stream: StreamNumber) -> None:
        """A stream carries no longer."""
        self._open += 1
        self._view.steps.ask(
            StreamRelease, self._view.id, partial(self._told, stream), stream=stream
        )

    def again(self) -> None:
        """Try those that have failed, but for what a client has come back for."""
        failed = list(dict.fromkeys(self._failed))
        self._failed.clear()
        for stream in failed:
            if stream not in self._view.followers:
                self.add(stream)

    def _told(self, stream: StreamNumber, outcome: StoreFailure | None) -> None:
        self._open -= 1
        if isinstance(outcome, StoreFailure) and not self._view.over:
            self._failed.append(stream)
            self._view.steps.retry(self)
