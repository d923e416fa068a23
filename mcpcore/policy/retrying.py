"""Retries of failed requests: which, when, and how many of them a budget allows.

Delays have full jitter: each is a random part of a limit that grows with the attempts.
"""

from collections import deque
from enum import Enum

from msgspec import Struct

from mcpcore.engine.events import Event
from mcpcore.engine.reconnection import Chance, grown
from mcpcore.policy import EVENTS
from mcpcore.policy.failures import RequestFailure
from mcpcore.spec.bounds import check_numbers


class RetrySettings(Struct, frozen=True, kw_only=True):
    """Settings for retries.  Times are in seconds."""

    attempts: int = 3
    """Maximum attempts of one call, the first included."""
    first_delay: float = 0.5
    """Maximum delay before the second attempt."""
    growth: float = 2.0
    """Factor by which that maximum grows with each attempt."""
    max_delay: float = 10.0
    """Limit of that growth."""
    max_wait: float = 60.0
    """Maximum time that the server may ask to wait; after a longer one a call is not retried."""
    budget_share: float = 0.2
    """Retries that each call allows, on average; one call or many may use them."""
    budget_rate: float = 3.0
    """Retries per second that are allowed besides."""
    budget_size: float = 30.0
    """Maximum retries that the budget saves up."""

    def __post_init__(self) -> None:
        check_numbers(self, "first_delay", "max_delay", "max_wait", "budget_share", "budget_rate")
        if not self.growth >= 1:
            raise ValueError(f"growth must be at least 1, not {self.growth}")


class NoRetry(Enum):
    """Reasons for which a failed request is not retried."""

    UNSAFE = "it may have been carried out and must not be repeated"
    ATTEMPTS = "all attempts are used up"
    WAIT = "the server asked for a longer wait than is allowed"
    DEADLINE = "the deadline of the call is too near"
    BUDGET = "the budget for retries is used up"


class RetryPlanned(Event, frozen=True, kw_only=True, gc=False):
    """Decision to retry a request ``delay`` seconds after its failure."""

    attempt: int
    """Number of the coming attempt; 2 is the first retry."""
    delay: float


class RetryDenied(Event, frozen=True, kw_only=True, gc=False):
    """Decision to give up a request that might have succeeded later."""

    attempts: int
    """Number of attempts made."""
    reason: NoRetry


class RetriedCall(Struct, eq=False):
    """Call that may be attempted several times; made by :meth:`Retrying.begin`."""

    deadline: float | None
    attempts: int = 1
    """Attempts so far, the current one included."""


class Retrying:
    """Retries of the calls to one server, which share a budget.

    ``seed``: random bytes that spread the delays; the same bytes give the same delays, and without
    any each delay has its maximum.

    >>> retrying = Retrying()
    >>> call = retrying.begin(now=0.0, timeout=60.0)
    >>> retrying.failed(call, RequestFailure(passing=True), repeatable=True, now=1.0)
    0.5
    """

    def __init__(self, settings: RetrySettings | None = None, *, seed: bytes = b"") -> None:
        self.settings = settings or RetrySettings()
        self._chance = Chance(seed)
        self._budget = self.settings.budget_size
        self._since: float | None = None
        self._events: deque[Event] = deque(maxlen=EVENTS)

    def next_event(self) -> Event | None:
        """Return the oldest event that was not returned yet, or None."""
        return self._events.popleft() if self._events else None

    def begin(self, *, now: float, timeout: float | None) -> RetriedCall:
        """Begin a call, which adds to the budget.

        ``timeout``: seconds for all attempts and delays together, None for no limit.
        """
        self._save(self.settings.budget_share, now)
        return RetriedCall(None if timeout is None else now + timeout)

    def failed(
        self, call: RetriedCall, failure: RequestFailure, *, repeatable: bool, now: float
    ) -> float | None:
        """Return the seconds until the next attempt of a failed call, or None to give it up.

        ``repeatable``: True if it may be carried out twice, as
        :func:`~mcpcore.engine.outbound.may_repeat` decides.
        """
        self._save(0.0, now)
        if not failure.passing:
            return None
        settings, wait = self.settings, failure.wait or 0.0
        most = grown(settings.first_delay, settings.growth, call.attempts, settings.max_delay)
        delay = wait + most * (1 - self._chance.next())
        rules = (
            (repeatable or failure.not_carried_out, NoRetry.UNSAFE),
            (call.attempts < settings.attempts, NoRetry.ATTEMPTS),
            (wait <= settings.max_wait, NoRetry.WAIT),
            (call.deadline is None or now + delay < call.deadline, NoRetry.DEADLINE),
            (self._budget >= 1, NoRetry.BUDGET),
        )
        for allowed, reason in rules:
            if not allowed:
                self._events.append(RetryDenied(attempts=call.attempts, reason=reason))
                return None
        self._budget -= 1
        call.attempts += 1
        self._events.append(RetryPlanned(attempt=call.attempts, delay=delay))
        return delay

    def _save(self, retries: float, now: float) -> None:
        """Add to the budget, and what the time since the last change allows."""
        settings = self.settings
        if self._since is not None:
            retries += settings.budget_rate * (now - self._since)
        self._since = now
        self._budget = min(self._budget + retries, settings.budget_size)
