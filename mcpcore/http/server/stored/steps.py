"""Steps that a server has asked of its store and that are not answered yet."""

import hmac
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import Event
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import Step, StoreFailure, StreamNumber

Then = Callable[[Any], None]
"""Callback that takes the outcome of a step."""

_NUMBER_BITS = 59
_ANSWERED = 64
"""Minimum number of answered steps kept among the deadlines while an earlier one waits; as many as
wait may be kept, too."""


class Retried(Protocol):
    """Operation that the store has failed and that is to be tried once more."""

    deadline: float | None

    def again(self) -> None:
        """Try the operation again."""


class Steps:
    """Queue of steps for the application, in order, and of callbacks for their outcomes."""

    def __init__(
        self, events: deque[Event], log: EventLog, settings: HttpSettings, secret: bytes
    ) -> None:
        """Put steps into ``events``; ``secret`` is the worker's own."""
        self.log = log
        self.settings = settings
        self._events = events
        self._key = hmac.digest(secret, b"mcpcore streams", "sha256")
        self._numbers = 0
        self._waiting: dict[int, tuple[str, Then]] = {}
        """Session and callback of each unanswered step, by token."""
        self._due: deque[tuple[float, int]] = deque()
        self._retries: Deadlines[Retried] = Deadlines()
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, kind: type[Step], session: str, then: Then, **members: Any) -> None:
        """Ask for a step of ``kind`` with ``members``; ``then`` is called with the outcome."""
        self._count += 1
        token = self._count
        self._waiting[token] = session, then
        if len(self._due) > _ANSWERED + 2 * len(self._waiting):
            self._due = deque(due for due in self._due if due[1] in self._waiting)
        self._due.append((self.log.now + self.settings.store_timeout, token))
        self._events.append(kind(token=token, session=session, **members))

    def answer(self, token: int, outcome: Any) -> None:
        """Handle an outcome; one that comes too late, or again, is ignored."""
        _, then = self._waiting.pop(token, ("", ignore))
        then(outcome)

    def session_of(self, token: int) -> str:
        """Return the session of an unanswered step; "" if there is none."""
        return self._waiting.get(token, ("", ignore))[0]

    def new_number(self) -> StreamNumber:
        """Return a number that no other worker gives to a stream."""
        self._numbers += 1
        digest = hmac.digest(self._key, b"%d" % self._numbers, "sha256")
        return int.from_bytes(digest[:8]) >> (64 - _NUMBER_BITS) or 1

    # Time

    def retry(self, what: Retried) -> None:
        """Schedule another attempt of ``what`` after ``store_retry``."""
        self._retries.set(what, self.log.now + self.settings.store_retry)

    def forget(self, what: Retried) -> None:
        """Cancel the next attempt of ``what``."""
        self._retries.set(what, None)

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never."""
        while self._due and self._due[0][1] not in self._waiting:
            self._due.popleft()
        dues = [self._due[0][0]] if self._due else []
        retry = self._retries.next()
        return min(dues if retry is None else [*dues, retry], default=None)

    def handle_timeout(self, now: float) -> None:
        """Fail steps that have waited for too long; retry operations that are due."""
        while self._due and self._due[0][0] <= now:
            self.answer(self._due.popleft()[1], StoreFailure("no answer in time"))
        for what in self._retries.due(now):
            what.again()


def ignore(outcome: Any) -> None:
    """Ignore the outcome of a step on which nothing depends."""
