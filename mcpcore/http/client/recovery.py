"""Recovery of a client's streams that break off, and the delay before each attempt.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Resumability and Redelivery"; for
``retry``, 2025-11-25, "Sending Messages to the Server".
"""

from enum import Enum

from mcpcore.engine.events import Event
from mcpcore.engine.reconnection import Chance, grown
from mcpcore.http.settings import HttpClientSettings
from mcpcore.wire.message import RequestId


class Recovery(Enum):
    """Action for a stream that broke off before its end."""

    RESUME = "resume"
    """The stream is resumed after the last event received: no event is missed."""
    REOPEN = "reopen"
    """The standalone stream begins anew: messages sent meanwhile may be missed."""
    FAIL = "fail"
    """The stream is given up; a request that waited on it has ended, and RequestEnded gives the
    reason."""


class StreamInterrupted(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: a stream's connection broke off; ``recovery`` is the action taken."""

    request: RequestId | None
    """Id of the request that the stream answers; None for the standalone stream."""
    recovery: Recovery
    attempt: int
    """Number of attempts in a row without an event in between; from 1."""
    delay: float
    """Seconds until the next attempt; 0 if there is none."""
    reason: str


class StreamReopened(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: the standalone stream is open again, and began anew.

    Messages that the server sent meanwhile may have been missed.
    """


class Backoff:
    """Delay before each attempt, in seconds; the same seed gives the same delays."""

    def __init__(self, settings: HttpClientSettings, seed: bytes) -> None:
        """Add a random part to the delays, unless ``seed`` is empty."""
        self._settings = settings
        self._chance = Chance(seed)

    def delay(self, attempt: int, retry: float | None) -> float:
        """Return the seconds before an attempt (from 1), after the server has asked for ``retry``.

        ``retry`` is the minimum. From the second attempt in a row on the delay doubles, whatever
        the server asked for.  Part of it is random, so that clients do not come back in step.
        """
        settings = self._settings
        delay = grown(settings.retry_delay, 2, attempt, settings.max_retry_delay)
        if retry is not None:
            delay = retry if attempt == 1 else max(delay, retry)
        delay = max(delay, settings.min_retry_delay) * (1 + settings.jitter * self._chance.next())
        return min(delay, settings.max_retry_delay)
