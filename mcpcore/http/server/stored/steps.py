"""Steps that a server has asked of its store and that are not answered yet."""

import hmac
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import Event
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import Step, StoreFailure, StreamNumber

Then = Callable[[Any], None]

_NUMBER_BITS = 59
_ANSWERED = 64
"""Number of answered steps that may stay among the deadlines."""


class Retried(Protocol):
    """Operation that the store has failed and that is to be tried once more."""

    deadline: float | None

    def again(self) -> None:
        """Try the operation again."""


Item = TypeVar("Item")


class Rounds(Generic[Item]):
    """Queue of messages to the store, in order, handed over in rounds; failed ones are sent again.

    While a round is on its way, new messages wait for the next.
    """

    def __init__(self, steps: "Steps") -> None:
        self.deadline: float | None = None
        self._steps = steps
        self._items: deque[Item] = deque()
        """Items that are on their way, then items that wait for the next round."""
        self._open = 0
        self._failed: list[Item] = []

    def __len__(self) -> int:
        return len(self._items)

    def again(self) -> None:
        """Begin the next round, unless one is on its way or a failed one waits."""
        if not self._open and self.deadline is None:
            self._open = len(self._items)
            for item in list(self._items):
                self._send(item, partial(self._answered, item))

    def _send(self, item: Item, then: Then) -> None:
        raise NotImplementedError

    def _done(self, item: Item, outcome: Any) -> None:
        """Handle the outcome for an item that the store has taken or refused."""

    def _answered(self, item: Item, outcome: Any) -> None:
        self._open -= 1
        self._items.remove(item)
        if isinstance(outcome, StoreFailure):
            self._failed.append(item)
        else:
            self._done(item, outcome)
        if self._open:
            return
        if self._failed:
            self._items.extendleft(reversed(self._failed))
            self._failed = []
            self._steps.retry(self)
        else:
            self.again()


class Repeated:
    """Step that is asked for until the store does not fail it, or it is not wanted any more."""

    def __init__(
        self,
        steps: "Steps",
        wanted: Callable[[], bool],
        kind: type[Step],
        session: str,
        then: Then,
        **members: Any,
    ) -> None:
        self.deadline: float | None = None
        self.over = False
        self._steps = steps
        self._wanted = wanted
        self._ask = partial(steps.ask, kind, session, self._answered, **members)
        self._then = then
        self.again()

    def again(self) -> None:
        """Ask for the step if it is still wanted."""
        if self._wanted():
            self._ask()
        else:
            self.over = True

    def _answered(self, outcome: Any) -> None:
        if not isinstance(outcome, StoreFailure):
            self.over = True
            self._then(outcome)
        elif self._wanted():
            self._steps.retry(self)
        else:
            self.over = True


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
