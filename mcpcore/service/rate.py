"""Rate limits for the activities of callers.  Pure state; the time is passed in.

Source: "Security Considerations" of the pages on tools, completion, logging, progress and tasks.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from msgspec import Struct


class Activity(Enum):
    """Activity that can be limited."""

    TOOLS = "tool calls"
    COMPLETION = "completions"
    TASKS = "requests about tasks"
    LOGGING = "log messages"
    PROGRESS = "progress notifications"


class RateLimiter(Protocol):
    """Interface of a rate limiter."""

    def admit(self, activity: Activity, caller: str, *, now: float) -> float:
        """Return 0.0 and count the activity, or return the seconds after which to try again.

        ``caller``: the authenticated principal, else the session, else the connection; in stateless
        HTTP without authentication all callers are one.  ``now``: seconds of a clock that never
        goes back.  A request that is not admitted is refused, a notification dropped.
        """


class Rate(Struct, frozen=True):
    """Rate of ``amount`` in ``per`` seconds, evenly; up to ``burst`` at once after a pause.

    Raises ValueError for values that are not positive.
    """

    amount: float
    per: float = 1.0
    burst: int = 1

    def __post_init__(self) -> None:
        for name in ("amount", "per", "burst"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"the {name} of a rate must be positive, got {value}")


class RateLimits:
    """Token buckets, one for each activity and caller; activities without a rate are not limited.

    At most ``callers`` buckets are kept for an activity: the one unused for longest is dropped, so
    that it counts as full again.

    >>> limits = RateLimits({Activity.TOOLS: Rate(2, per=1.0, burst=2)})
    >>> waits = [limits.admit(Activity.TOOLS, "ada", now=now) for now in (0.0, 0.0, 0.25, 0.5)]
    >>> waits == [0.0, 0.0, 0.25, 0.0]
    True
    >>> limits.refused[Activity.TOOLS]
    1
    """

    def __init__(self, rates: Mapping[Activity, Rate], *, callers: int = 10_000) -> None:
        if callers < 1:
            raise ValueError(f"callers must be at least 1, got {callers}")
        self._rates = dict(rates)
        self._callers = callers
        self._full: dict[Activity, OrderedDict[str, float]] = {
            activity: OrderedDict() for activity in rates
        }
        """Times at which buckets will be full, by caller, the one used last at the end."""
        self.refused: Counter[Activity] = Counter()
        """Number of refusals by activity."""

    def admit(self, activity: Activity, caller: str, *, now: float) -> float:
        """Admit or refuse an activity, as :meth:`RateLimiter.admit` describes."""
        rate = self._rates.get(activity)
        if rate is None:
            return 0.0
        buckets, interval = self._full[activity], rate.per / rate.amount
        full = max(buckets.get(caller, now), now)
        wait = full - interval * (rate.burst - 1) - now
        if wait > interval * 1e-6:  # less is a rounding error
            self.refused[activity] += 1
            return wait
        buckets[caller] = full + interval
        buckets.move_to_end(caller)
        if len(buckets) > self._callers:
            buckets.popitem(last=False)
        return 0.0
