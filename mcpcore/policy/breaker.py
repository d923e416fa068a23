"""Circuit breaker: no calls to a server, or a tool, that keeps failing; then one, as a probe."""

from collections import Counter, deque
from collections.abc import Hashable
from typing import NamedTuple

from msgspec import Struct

from mcpcore.engine.events import Event
from mcpcore.engine.lifecycle import State, Table
from mcpcore.policy import EVENTS
from mcpcore.spec.bounds import check_numbers

_SLICES = 10
"""Number of parts in which the window of the rate moves on."""


class BreakerSettings(Struct, frozen=True, kw_only=True):
    """Settings of a circuit breaker.  Times are in seconds."""

    consecutive: int = 5
    """Failures in a row that open it."""
    rate: float = 0.5
    """Share of failures among the calls of ``window`` that opens it; above 1: none does."""
    window: float = 30.0
    """Time over which ``rate`` is taken."""
    min_calls: int = 20
    """Minimum calls within ``window`` for ``rate`` to count."""
    open_time: float = 10.0
    """Time for which it stays open at first."""
    growth: float = 2.0
    """Factor by which that time grows each time that the probe fails."""
    max_open_time: float = 300.0
    """Limit of that growth."""
    probe_time: float = 60.0
    """Time after which a probe without an outcome is given up, so that another may go."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if not self.growth >= 1:
            raise ValueError(f"growth must be at least 1, not {self.growth}")


class Circuit(State):
    """States of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"
    """The next call is the probe."""
    PROBING = "probing"
    """The probe is under way, and no other call is admitted."""


class CircuitSignal(State):
    """Signals that move a circuit breaker."""

    TRIP = "too many failures"
    ELAPSE = "time to probe"
    PROBE = "probe admitted"
    SUCCEED = "probe succeeded"
    FAIL = "probe failed"
    ABANDON = "probe without outcome"


CIRCUIT: Table[Circuit, CircuitSignal] = {
    (Circuit.CLOSED, CircuitSignal.TRIP): Circuit.OPEN,
    (Circuit.OPEN, CircuitSignal.ELAPSE): Circuit.HALF_OPEN,
    (Circuit.HALF_OPEN, CircuitSignal.PROBE): Circuit.PROBING,
    (Circuit.PROBING, CircuitSignal.SUCCEED): Circuit.CLOSED,
    (Circuit.PROBING, CircuitSignal.FAIL): Circuit.OPEN,
    (Circuit.PROBING, CircuitSignal.ABANDON): Circuit.HALF_OPEN,
}
DIAGRAMS = (
    (
        "Circuit breaker",
        "`Breaker.state`: calls are admitted in *closed*, and exactly one in *half open*.",
        CIRCUIT,
    ),
)
"""Title, text and table of each diagram."""


class CircuitChanged(Event, frozen=True, kw_only=True, gc=False):
    """Change of a circuit breaker from state ``before`` to ``after``."""

    name: str
    """Name of the breaker."""
    before: Circuit
    after: Circuit


class Permit(NamedTuple):
    """Permission for one call, to be given back with its outcome."""

    change: int
    """Number of changes of the breaker before it."""


class _Slice(Struct):
    began: float
    calls: int = 0
    failures: int = 0


class Breaker:
    """Circuit breaker for the calls to one server or tool, of which ``name`` tells in events.

    >>> breaker = Breaker(BreakerSettings(consecutive=1, open_time=10.0))
    >>> permit = breaker.admit(now=0.0)
    >>> breaker.record(permit, failed=True, now=1.0)
    >>> breaker.admit(now=2.0), breaker.deadline()
    (None, 11.0)
    >>> breaker.admit(now=11.0) is not None, breaker.admit(now=11.0)
    (True, None)
    """

    def __init__(self, settings: BreakerSettings | None = None, *, name: str = "") -> None:
        self.settings = settings or BreakerSettings()
        self.name = name
        self.state = Circuit.CLOSED
        self._changes = 0
        self._row: Counter[Hashable] = Counter()
        """Failures in a row by party."""
        self._slices: deque[_Slice] = deque()
        self._open_time = self.settings.open_time
        self._last: Hashable = None
        """Party whose probe has failed last."""
        self._last_until = 0.0
        """Time before which that party makes no other."""
        self._own_time = 0.0
        """Time for which it makes none."""
        self._deadline: float | None = None
        self._events: deque[CircuitChanged] = deque(maxlen=EVENTS)

    def next_event(self) -> CircuitChanged | None:
        """Return the oldest event that was not returned yet, or None."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout`, or None."""
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        """Become half open if it is time; give up a probe that had no outcome in its time."""
        if self._deadline is None or now < self._deadline:
            return
        probing = self.state is Circuit.PROBING
        self._step(CircuitSignal.ABANDON if probing else CircuitSignal.ELAPSE, None)

    def admit(self, *, now: float, party: Hashable = None) -> Permit | None:
        """Return a permit for a call of a party, or None if it must not be sent now."""
        self.handle_timeout(now)
        if self.state is Circuit.HALF_OPEN:
            if party is not None and party == self._last and now < self._last_until:
                return None  # the probe is for others first
            self._step(CircuitSignal.PROBE, now + self.settings.probe_time)
        elif self.state is not Circuit.CLOSED:
            return None
        return Permit(self._changes)

    def record(
        self,
        permit: Permit,
        *,
        failed: bool | None,
        now: float,
        party: Hashable = None,
        several: bool = False,
    ) -> None:
        """Take the outcome of a call; None: it says nothing of the server, such as a cancellation.

        Outcomes of calls that were admitted before the last change are ignored.  ``party``: the
        caller whose call has failed, if that may be its own fault.  Failures of one party alone
        open nothing and count in no rate, but for one that may be ``several`` callers: as many in a
        row as ``min_calls`` do.  A probe that fails opens it again, whosever it was; the time grows
        for the party alone unless that of another one, or of nobody, failed as well.
        """
        if permit.change != self._changes:
            return
        if self.state is Circuit.CLOSED:
            if failed is not None and self._trips(failed, now, party, several):
                self._last = None
                self._open(CircuitSignal.TRIP, self.settings.open_time, now)
        elif failed is None:
            self._step(CircuitSignal.ABANDON, None)
        elif failed:
            own = party is not None and self._last in (None, party)
            before = max(self._open_time, self._own_time if own else 0.0)
            grown = min(before * self.settings.growth, self.settings.max_open_time)
            self._last, self._own_time, self._last_until = party, grown, now + grown
            self._open(CircuitSignal.FAIL, self._open_time if own else grown, now)
        else:
            self._row.clear()
            self._step(CircuitSignal.SUCCEED, None)

    def _open(self, signal: CircuitSignal, seconds: float, now: float) -> None:
        self._open_time = seconds
        self._slices.clear()
        self._step(signal, now + seconds)

    def _step(self, signal: CircuitSignal, deadline: float | None) -> None:
        before, self.state = self.state, CIRCUIT[self.state, signal]
        self._changes += 1
        self._deadline = deadline
        self._events.append(CircuitChanged(name=self.name, before=before, after=self.state))

    def _trips(self, failed: bool, now: float, party: Hashable, several: bool) -> bool:
        """Count an outcome; return True if there are too many failures."""
        settings, slices, row = self.settings, self._slices, self._row
        if failed:
            row[party] += 1
            alone = len(row.keys() - {None}) == 1
            if (row[None] if alone else row.total()) >= settings.consecutive:
                return True
            if several and row[party] >= settings.min_calls:
                return True
            if party is not None:
                return False
        while slices and slices[0].began <= now - settings.window:
            slices.popleft()
        if not slices or now >= slices[-1].began + settings.window / _SLICES:
            slices.append(_Slice(now))
        slices[-1].calls += 1
        slices[-1].failures += failed
        if not failed:
            row.clear()
            return False
        calls = sum(each.calls for each in slices)
        share = sum(each.failures for each in slices) / calls
        return calls >= settings.min_calls and share >= settings.rate
