"""What a client does about streams that break off, and how long it waits before.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Resumability and Redelivery"; for
``retry``, 2025-11-25, "Sending Messages to the Server".
"""

from enum import Enum

from mcpcore.engine.backoff import Chance, grown
from mcpcore.engine.events import Event
from mcpcore.engine.requests import Hub
from mcpcore.http.settings import HttpClientSettings
from mcpcore.wire.message import RequestId


class Recovery(Enum):
    """What is done about a stream that broke off before its end."""

    RESUME = "resume"
    """It is picked up after the last event that arrived: nothing is missed."""
    REOPEN = "reopen"
    """The standalone stream begins anew: what was sent meanwhile may be missed."""
    FAIL = "fail"
    """It is given up; a request that waited on it has ended, and RequestEnded says why."""


class StreamInterrupted(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: the connection of an event stream broke off, and this is done about it."""

    request: RequestId | None
    """Whose answer the stream brings; None for the standalone stream."""
    recovery: Recovery
    attempt: int
    """How often in a row, without an event in between; from 1."""
    delay: float
    """Seconds until the next attempt; 0 if there is none."""
    reason: str


class StreamReopened(Event, frozen=True, kw_only=True, gc=False):
    """Client, legacy: the standalone stream is open again, and began anew.

    What the server sent while there was none may have been missed.
    """


class Backoff:
    """How long to wait before an attempt, in seconds; the same seed gives the same delays."""

    def __init__(self, settings: HttpClientSettings, seed: bytes) -> None:
        """Without a ``seed`` nothing is added to the delays."""
        self._settings = settings
        self._chance = Chance(seed)

    def delay(self, attempt: int, retry: float | None) -> float:
        """The time before an attempt (from 1), after the server has asked for ``retry``.

        What it asked for is the least; from the second attempt in a row on the delay doubles
        whatever it asked for.  Part of it is random, so that clients do not come back in step.
        """
        settings = self._settings
        delay = grown(settings.retry_delay, 2, attempt, settings.max_retry_delay)
        if retry is not None:
            delay = retry if attempt == 1 else max(delay, retry)
        delay = max(delay, settings.min_retry_delay) * (1 + settings.jitter * self._chance.next())
        return min(delay, settings.max_retry_delay)


class Relay:
    """Puts events of our own behind those that the queue of what arrived will give."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def push(self, event: Event) -> None:
        """Tell our owner ``event`` after everything that arrived before."""
        self._hub.inbox.append((self, event))

    def take_in(self, event: Event) -> None:
        """Pass on an event at its place in the queue (called by the hub)."""
        self._hub.events.append(event)
