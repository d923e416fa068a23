"""Counter of the rules that callers break: it tells who breaks more than happens by mistake.

It refuses nothing: what follows is for the application.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import log

from msgspec import Struct


class Suspicious(Struct, frozen=True):
    """Caller that has broken many rules within a short time."""

    caller: str
    """Name of the caller, as a :class:`~mcpcore.policy.rates.RateLimiter` gets it."""
    reason: str
    """Message of the last violation; it may quote what the caller has sent."""
    rate: float
    """Violations a second, older ones counted less."""


class _Violations(Struct):
    at: float
    count: float = 0.0
    told: bool = False


class Suspicion:
    """Numbers of violations by caller, which halve in a time.

    ``violations``: number that makes a caller suspicious.  ``half_life``: seconds in which a number
    halves.  ``callers``: maximum callers that are counted; the one without a violation for longest
    goes first.  ``tell``: function for the events, which raises nothing.  Raises ValueError for a
    number that is not positive.

    >>> suspicion = Suspicion(violations=2)
    >>> events = [suspicion.note("ada", "bad", now=now) for now in (0.0, 0.0, 0.0, 600.0)]
    >>> print(*(event.caller for event in events if event))
    ada
    """

    def __init__(
        self,
        *,
        violations: float = 20,
        half_life: float = 60.0,
        callers: int = 10_000,
        tell: Callable[[Suspicious], object] | None = None,
    ) -> None:
        if min(violations, half_life, callers) <= 0:
            raise ValueError("violations, half_life and callers must be positive")
        self.tell = tell
        self._limit = violations
        self._half_life = half_life
        self._callers = callers
        self._known: OrderedDict[str, _Violations] = OrderedDict()

    def note(self, caller: str, reason: str, *, now: float) -> Suspicious | None:
        """Count a violation; return an event for a caller that becomes suspicious by it.

        There is none for the next ones, until the number has fallen below a half.  ``now``:
        seconds of a clock that never goes back.
        """
        known = self._known.setdefault(caller, _Violations(at=now))
        self._known.move_to_end(caller)
        if len(self._known) > self._callers:
            self._known.popitem(last=False)
        known.count *= 0.5 ** ((now - known.at) / self._half_life)
        known.told &= known.count >= self._limit / 2
        known.count, known.at = known.count + 1, now
        if known.told or known.count < self._limit:
            return None
        known.told = True
        return Suspicious(caller, reason, known.count * log(2) / self._half_life)
