"""Health of a server: by the outcomes of its requests, and by probes when there are none."""

from collections import deque

from msgspec import Struct

from mcpcore.engine.events import Event
from mcpcore.engine.lifecycle import State, Table
from mcpcore.policy import EVENTS
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.methods import probe_method
from mcpcore.spec.revisions import Revision


class HealthSettings(Struct, frozen=True, kw_only=True):
    """Settings for the health of a server.  Times are in seconds."""

    interval: float = 30.0
    """Time without an outcome after which a probe is due."""
    probe_time: float = 10.0
    """Time after which a probe without an outcome has failed."""
    down_after: int = 3
    """Failures in a row after which a server is down."""
    up_after: int = 1
    """Successes in a row after which it is up again."""

    def __post_init__(self) -> None:
        check_numbers(self)


class Condition(State):
    """States of a server's health."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class ConditionSignal(State):
    """Signals that move a server's health."""

    RISE = "enough successes in a row"
    FALL = "enough failures in a row"


CONDITION: Table[Condition, ConditionSignal] = {
    (Condition.UNKNOWN, ConditionSignal.RISE): Condition.UP,
    (Condition.UNKNOWN, ConditionSignal.FALL): Condition.DOWN,
    (Condition.UP, ConditionSignal.RISE): Condition.UP,
    (Condition.UP, ConditionSignal.FALL): Condition.DOWN,
    (Condition.DOWN, ConditionSignal.RISE): Condition.UP,
    (Condition.DOWN, ConditionSignal.FALL): Condition.DOWN,
}
DIAGRAMS = (("Health of a server", "`Health.condition`, by requests and probes.", CONDITION),)
"""Title, text and table of each diagram."""


class ConditionChanged(Event, frozen=True, kw_only=True, gc=False):
    """Change of a server's health."""

    before: Condition
    after: Condition


class ProbeDue(Event, frozen=True, kw_only=True, gc=False):
    """Order to send a request and :meth:`~Health.record` its outcome."""

    method: str
    """Method of that request, without params: ``ping``, in the modern era ``server/discover``."""


class Health:
    """Health of one server, whose conversation has ``revision``.

    >>> from mcpcore.spec.revisions import LATEST
    >>> health = Health(LATEST, now=0.0)
    >>> health.deadline()
    30.0
    >>> health.handle_timeout(30.0)
    >>> health.next_event()
    ProbeDue(method='server/discover')
    """

    def __init__(
        self, revision: Revision, settings: HealthSettings | None = None, *, now: float
    ) -> None:
        self.settings = settings or HealthSettings()
        self.condition = Condition.UNKNOWN
        self._method = probe_method(revision)
        self._probing = False
        self._deadline = now + self.settings.interval
        self._successes = self._failures = 0
        """Numbers in a row; one of them is 0."""
        self._events: deque[Event] = deque(maxlen=EVENTS)

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet, or None."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> float:
        """Return the time of the next :meth:`handle_timeout`."""
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        """Order a probe if one is due; count one without an outcome as failed."""
        if now < self._deadline:
            return
        if self._probing:
            self.record(failed=True, now=now)
            return
        self._probing = True
        self._deadline = now + self.settings.probe_time
        self._events.append(ProbeDue(method=self._method))

    def postpone(self, now: float) -> None:
        """Take note that a probe is not sent, and tells nothing."""
        self._probing = False
        self._deadline = now + self.settings.interval

    def record(self, *, failed: bool, now: float) -> None:
        """Take the outcome of a request or a probe."""
        settings = self.settings
        self.postpone(now)
        if failed:
            self._successes, self._failures = 0, self._failures + 1
        else:
            self._successes, self._failures = self._successes + 1, 0
        if self._failures >= settings.down_after:
            self._step(ConditionSignal.FALL)
        elif self._successes >= settings.up_after:
            self._step(ConditionSignal.RISE)

    def _step(self, signal: ConditionSignal) -> None:
        before, self.condition = self.condition, CONDITION[self.condition, signal]
        if before is not self.condition:
            self._events.append(ConditionChanged(before=before, after=self.condition))
