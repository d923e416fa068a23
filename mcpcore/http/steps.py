"""What a server has asked of its store and was not answered yet."""

from collections import deque
from collections.abc import Callable
from typing import Any

from mcpcore.engine.events import Event
from mcpcore.http.eventlog import EventLog
from mcpcore.http.storing import Step, StoreFailure

Then = Callable[[Any], None]
"""Takes the outcome of a step."""


class Steps:
    """Hands steps to the owner, in order, and brings each outcome to whoever waits for it."""

    __slots__ = ("_count", "_due", "_events", "_log", "_timeout", "_waiting")

    def __init__(self, events: deque[Event], log: EventLog, timeout: float) -> None:
        """Steps go into ``events``; one without an answer for ``timeout`` seconds has failed."""
        self._events = events
        self._log = log
        self._timeout = timeout
        self._waiting: dict[int, Then] = {}
        self._due: deque[tuple[float, int]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, kind: type[Step], session: str, then: Then, **members: Any) -> None:
        """Ask for a step of ``kind`` with ``members``; ``then`` is called with the outcome."""
        self._count += 1
        token = self._count
        self._waiting[token] = then
        self._due.append((self._log.now + self._timeout, token))
        self._events.append(kind(token=token, session=session, **members))

    def answer(self, token: int, outcome: Any) -> None:
        """Take an outcome; one that comes too late, or again, means nothing."""
        then = self._waiting.pop(token, None)
        if then is not None:
            then(outcome)

    def deadline(self) -> float | None:
        """When :meth:`expire` is next needed, None if never."""
        while self._due and self._due[0][1] not in self._waiting:
            self._due.popleft()
        return self._due[0][0] if self._due else None

    def expire(self, now: float) -> None:
        """Give up what has waited for too long."""
        while (due := self.deadline()) is not None and due <= now:
            self.answer(self._due[0][1], StoreFailure("no answer in time"))


def ignore(outcome: Any) -> None:
    """Take the outcome of a step on which nothing depends."""
