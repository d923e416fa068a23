"""Rate limits for the activities of callers.

Source: "Security Considerations" of the pages on tools, completion, logging, progress, tasks,
sampling and elicitation.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Mapping
from enum import Enum
from typing import Protocol

from msgspec import Struct

from mcpcore.spec.errors import McpError, busy_code
from mcpcore.spec.revisions import Revision


class Activity(Enum):
    """Activity that can be limited: a class of requests, or of notifications."""

    TOOLS = "tool calls"
    READS = "reads of resources"
    PROMPTS = "prompts"
    LISTS = "requests for lists"
    COMPLETION = "completions"
    SUBSCRIPTIONS = "subscriptions"
    """``subscriptions/listen``, ``resources/subscribe`` and ``resources/unsubscribe``."""
    TASKS = "requests about tasks"
    EXTENSIONS = "requests of extensions"
    LOGGING = "log messages"
    PROGRESS = "progress notifications"
    SAMPLING = "requests for sampling"
    """Of a server to a client, as the two behind it."""
    ELICITATION = "requests for elicitation"
    ROOTS = "requests for roots"


_BY_METHOD: Mapping[str, Activity] = {
    "tools/call": Activity.TOOLS,
    "resources/read": Activity.READS,
    "resources/directory/read": Activity.READS,
    "skills/get": Activity.READS,
    "prompts/get": Activity.PROMPTS,
    "tools/list": Activity.LISTS,
    "prompts/list": Activity.LISTS,
    "resources/list": Activity.LISTS,
    "resources/templates/list": Activity.LISTS,
    "skills/list": Activity.LISTS,
    "completion/complete": Activity.COMPLETION,
    "subscriptions/listen": Activity.SUBSCRIPTIONS,
    "resources/subscribe": Activity.SUBSCRIPTIONS,
    "resources/unsubscribe": Activity.SUBSCRIPTIONS,
    **{f"tasks/{name}": Activity.TASKS for name in ("get", "update", "result", "list", "cancel")},
    "sampling/createMessage": Activity.SAMPLING,
    "elicitation/create": Activity.ELICITATION,
    "roots/list": Activity.ROOTS,
}


def activity_of(method: str) -> Activity:
    """Return the activity that a request belongs to."""
    return _BY_METHOD.get(method, Activity.EXTENSIONS)


def busy(activity: Activity, wait: float, revision: Revision) -> McpError:
    """Return the error for a request that may be tried again after ``wait`` seconds."""
    text = f"busy: too many {activity.value}; try again in {round(wait, 4):g} seconds"
    return McpError(busy_code(revision), text, {"retryAfterMs": math.ceil(wait * 1000)})


class RateLimiter(Protocol):
    """Interface of a rate limiter."""

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float | Awaitable[float]:
        """Return 0.0 and count the activity, or return the seconds after which to try again.

        ``caller``: the authenticated principal, else the session, else the connection; in stateless
        HTTP without authentication all callers are one; ``server`` on a client.  ``now``: seconds
        of a clock that never goes back.  ``tool``: name of the called tool, as sent.  A request
        that is not admitted is refused, a notification (LOGGING, PROGRESS) dropped.  For a request
        the result may be awaitable.
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

    @property
    def interval(self) -> float:
        """Seconds between two of them, if they come evenly."""
        return self.per / self.amount


RateKey = Activity | str
"""Key of a rate: an activity, or the calls of the tool of that name."""


class RateLimits:
    """Token buckets, one for each activity and caller; activities without a rate are not limited.

    ``per_tool``: rates for the calls of tools, by name, besides that of all calls.  At most
    ``callers`` buckets are kept for an activity or tool: the one unused for longest is dropped, so
    that it counts as full again.

    >>> limits = RateLimits({Activity.TOOLS: Rate(2, per=1.0, burst=2)})
    >>> waits = [limits.admit(Activity.TOOLS, "ada", now=now) for now in (0.0, 0.0, 0.25, 0.5)]
    >>> waits == [0.0, 0.0, 0.25, 0.0]
    True
    >>> limits.refused[Activity.TOOLS]
    1
    """

    def __init__(
        self,
        rates: Mapping[Activity, Rate],
        *,
        per_tool: Mapping[str, Rate] | None = None,
        callers: int = 10_000,
    ) -> None:
        if callers < 1:
            raise ValueError(f"callers must be at least 1, got {callers}")
        self._rates = joined(rates, per_tool)
        self._callers = callers
        self._full: dict[RateKey, OrderedDict[str, float]] = {
            key: OrderedDict() for key in self._rates
        }
        """Times at which buckets will be full, by caller, the one used last at the end."""
        self.refused: Counter[RateKey] = Counter()
        """Number of refusals by activity, and by the name of a tool with a rate of its own."""

    def admit(
        self, activity: Activity, caller: str, *, now: float, tool: str | None = None
    ) -> float:
        """Admit or refuse an activity, as :meth:`RateLimiter.admit` describes."""
        keys = limited(self._rates, activity, tool)
        longest = 0.0
        for key in keys:
            rate = self._rates[key]
            full = max(self._full[key].get(caller, now), now)
            wait = full - rate.interval * (rate.burst - 1) - now
            if wait > rate.interval * 1e-6:  # less is a rounding error
                self.refused[key] += 1
                longest = max(longest, wait)
        if not longest:
            for key in keys:
                self._take(key, caller, now)
        return longest

    def _take(self, key: RateKey, caller: str, now: float) -> None:
        buckets = self._full[key]
        buckets[caller] = max(buckets.get(caller, now), now) + self._rates[key].interval
        buckets.move_to_end(caller)
        if len(buckets) > self._callers:
            buckets.popitem(last=False)


def joined(
    rates: Mapping[Activity, Rate], per_tool: Mapping[str, Rate] | None
) -> dict[RateKey, Rate]:
    """Return the rates of activities and tools in one mapping.  Raises ValueError."""
    for key in rates:
        if not isinstance(key, Activity):
            raise ValueError(f"a rate is for an Activity, not {key!r}; for tools: per_tool")
    found: dict[RateKey, Rate] = dict(rates.items())
    found.update((per_tool or {}).items())
    return found


def limited(rates: Mapping[RateKey, Rate], activity: Activity, tool: str | None) -> list[RateKey]:
    """Return the keys of the rates that an activity counts for."""
    keys: list[RateKey] = [activity] if activity in rates else []
    return keys if tool is None or tool not in rates else [*keys, tool]
