"""Balancing of requests over several servers: weighted, the less busy of two, by session if asked.

A target that keeps failing is ejected for a while.  If too few targets are left, ejections are
ignored: a target that may fail is better than a certain overload of the others.  Source: the power
of two choices (Mitzenmacher, 2001).
"""

from bisect import bisect
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate

from msgspec import Struct

from mcpcore.engine.events import Event
from mcpcore.engine.lifecycle import State, Table, step
from mcpcore.engine.reconnection import Chance, grown
from mcpcore.policy import EVENTS
from mcpcore.spec.bounds import check_numbers

_HALF = 1 << 24
"""Factor that brings the second half of a fraction of 48 bits to the front."""


class BalanceSettings(Struct, frozen=True, kw_only=True):
    """Settings for balancing.  Times are in seconds."""

    consecutive: int = 5
    """Failures in a row after which a target is ejected."""
    ejection_time: float = 30.0
    """Time for which it is ejected at first; each ejection in a row doubles it."""
    max_ejection_time: float = 300.0
    """Limit of that growth."""
    max_ejected: float = 0.5
    """Maximum share of the targets that may be ejected at a time."""
    panic: float = 0.5
    """Share of usable targets below which requests go to all targets."""
    max_sessions: int = 100_000
    """Maximum sessions whose target is remembered; the one unused for longest is dropped first."""

    def __post_init__(self) -> None:
        check_numbers(self, "max_ejected", "panic")


class Standing(State):
    """States of a target."""

    USABLE = "usable"
    EJECTED = "ejected"
    DOWN = "down"
    """Target without requests, by its health or its circuit breaker."""


class StandingSignal(State):
    """Signals that move a target."""

    EJECT = "too many failures"
    RETURN = "ejection is over"
    LOSE = "marked as down"
    RECOVER = "marked as up"


STANDING: Table[Standing, StandingSignal] = {
    (Standing.USABLE, StandingSignal.EJECT): Standing.EJECTED,
    (Standing.USABLE, StandingSignal.LOSE): Standing.DOWN,
    (Standing.EJECTED, StandingSignal.RETURN): Standing.USABLE,
    (Standing.EJECTED, StandingSignal.LOSE): Standing.DOWN,
    (Standing.DOWN, StandingSignal.RECOVER): Standing.USABLE,
}
DIAGRAMS = (("Target of a balancer", "Each target that requests are balanced over.", STANDING),)
"""Title, text and table of each diagram."""


class StandingChanged(Event, frozen=True, kw_only=True, gc=False):
    """Change of a target's state."""

    target: str
    before: Standing
    after: Standing


class PanicChanged(Event, frozen=True, kw_only=True, gc=False):
    """Beginning or end of a time in which requests go to all targets, as too few are usable."""

    panic: bool


class _Weighted(Struct, eq=False):
    name: str
    weight: float
    standing: Standing = Standing.USABLE
    in_flight: int = 0
    failures: int = 0
    """Failures in a row."""
    ejections: int = 0
    """Ejections in a row."""
    until: float = 0.0
    """End of the ejection."""


class _Draw:
    """Draw of targets by chance, in proportion to their weights."""

    def __init__(self, targets: Iterable[_Weighted]) -> None:
        self.targets = list(targets)
        self._ends = list(accumulate(each.weight for each in self.targets))

    def two(self, fraction: float) -> tuple[_Weighted, _Weighted]:
        """Return two targets, which may be the same, for a fraction of 48 bits."""
        ends, last = self._ends, len(self.targets) - 1
        rest = fraction * _HALF % 1
        one, other = bisect(ends, fraction * ends[-1]), bisect(ends, rest * ends[-1])
        return self.targets[min(one, last)], self.targets[min(other, last)]


class Balancer:
    """Balancer of requests over targets, each with a ``weight`` above 0.

    ``seed``: random bytes that spread the requests; the same bytes make the same choices.  Raises
    ValueError for no targets, no seed, or a weight that is not positive.
    """

    def __init__(
        self, weights: Mapping[str, float], settings: BalanceSettings | None = None, *, seed: bytes
    ) -> None:
        if not weights or not seed:
            raise ValueError("a balancer needs at least one target and a seed")
        for name, weight in weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {name} must be positive, got {weight}")
        self.settings = settings or BalanceSettings()
        self.panic = False
        """True while requests go to all targets."""
        self._targets = {name: _Weighted(name, weight) for name, weight in weights.items()}
        self._candidates = _Draw(self._targets.values())
        """Targets to choose from: the usable ones or, in panic, all."""
        self._deadline: float | None = None
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._chance = Chance(seed)
        self._events: deque[Event] = deque(maxlen=EVENTS)

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet, or None."""
        return self._events.popleft() if self._events else None

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout`, or None."""
        return self._deadline

    def handle_timeout(self, now: float) -> None:
        """End the ejections that are over."""
        if self._deadline is None or now < self._deadline:
            return
        for target in self._ejected():
            if target.until <= now:
                self._step(target, StandingSignal.RETURN)

    def choose(
        self, *, now: float, session: str | None = None, without: Collection[str] = ()
    ) -> str | None:
        """Return the target for a request, which is in flight until :meth:`record`, or None.

        ``session``: all requests of a session (legacy) go to the target of its first one, whatever
        its state, as nobody else knows the session.  ``without``: targets not to be chosen, for
        instance those that this request was tried at before.
        """
        name = None if session is None else self._sessions.get(session)
        if name is None:
            name = self.pick(now=now, without=without)
        if name is None:
            return None
        if session is not None:
            self._sessions[session] = name
            self._sessions.move_to_end(session)
            if len(self._sessions) > self.settings.max_sessions:
                self._sessions.popitem(last=False)
        self.begin(name)
        return name

    def pick(self, *, now: float, without: Collection[str] = ()) -> str | None:
        """Return the target for what begins later, or never; None if there is none."""
        self.handle_timeout(now)
        candidates = self._candidates
        if without:
            candidates = _Draw(each for each in candidates.targets if each.name not in without)
        if not candidates.targets:
            return None
        one, other = candidates.two(self._chance.next())
        if other.in_flight / other.weight < one.in_flight / one.weight:
            return other.name
        return one.name

    def begin(self, target: str) -> None:
        """Count a request that is in flight at a target until :meth:`record`."""
        self._targets[target].in_flight += 1

    @property
    def standings(self) -> dict[str, Standing]:
        """States of the targets."""
        return {name: each.standing for name, each in self._targets.items()}

    def record(self, target: str, *, failed: bool | None, now: float) -> None:
        """End a request at a target; None: its outcome says nothing of the target."""
        settings, known = self.settings, self._targets[target]
        known.in_flight -= 1
        if failed is None:
            return
        if not failed:
            known.failures = known.ejections = 0
            return
        known.failures += 1
        if known.failures < settings.consecutive or known.standing is not Standing.USABLE:
            return
        if len(self._ejected()) + 1 <= settings.max_ejected * len(self._targets):
            known.failures, known.ejections = 0, known.ejections + 1
            first, longest = settings.ejection_time, settings.max_ejection_time
            known.until = now + grown(first, 2, known.ejections, longest)
            self._step(known, StandingSignal.EJECT)

    def mark(self, target: str, *, up: bool) -> None:
        """Mark a target as up or down, as its health or its circuit breaker says."""
        self._step(self._targets[target], StandingSignal.RECOVER if up else StandingSignal.LOSE)

    def forget(self, session: str) -> None:
        """Forget the target of a session that has ended."""
        self._sessions.pop(session, None)

    def _ejected(self) -> list[_Weighted]:
        return [each for each in self._targets.values() if each.standing is Standing.EJECTED]

    def _step(self, target: _Weighted, signal: StandingSignal) -> None:
        before, after = target.standing, step(STANDING, target.standing, signal)
        if after is None:
            return
        target.standing = after
        self._events.append(StandingChanged(target=target.name, before=before, after=after))
        every = self._targets.values()
        usable = [each for each in every if each.standing is Standing.USABLE]
        panic = len(usable) < self.settings.panic * len(every)
        self._candidates = _Draw(every if panic else usable)
        self._deadline = min((each.until for each in self._ejected()), default=None)
        if panic is not self.panic:
            self.panic = panic
            self._events.append(PanicChanged(panic=panic))
