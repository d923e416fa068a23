"""Messages of calls beside their answers, as far as no list has them: progress, logs, and streams.

Cases take a tool of the fixture where there is one, as they know what it does; where there is none
they take what was seen.
"""

from typing import Any

import anyio
from msgspec import Struct, field

WATCHED = {
    "progress": "what reports progress",
    "stream": "what is answered by a stream of events",
    "event-ids": "what is answered by a stream whose events have ids",
    "polling": "what closes the stream of its request before the answer",
    "logs": "what logs to its client",
}
"""Needs of a case that are seen by calling (``found:NAME`` in its needs)."""
REPORTING, POLLED, LOGGING = (
    "test_tool_with_progress",
    "test_reconnection",
    "test_tool_with_logging",
)
FIXTURES = {
    "progress": REPORTING,
    "stream": REPORTING,
    "event-ids": REPORTING,
    "polling": POLLED,
    "logs": LOGGING,
}
"""The tool of the fixture that is taken, where there is one."""


class Watched(Struct, frozen=True):
    """A request of which it was seen, or is known, what comes of it."""

    method: str
    params: dict[str, Any]
    reports: bool = False
    """True if it reports progress."""
    known: bool = False
    """True for one of the fixture, whose behaviour is known."""

    def asking(self, token: Any) -> dict[str, Any]:
        """The params, with a token for progress."""
        return {**self.params, "_meta": {"progressToken": token}}


class Seen(Struct):
    """Requests that were seen; none as long as no case needed them."""

    by_kind: dict[str, Watched] = field(default_factory=dict)
    looked: bool = False
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """Lock of the case that is looking; others wait, and take the result."""
