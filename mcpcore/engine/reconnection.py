"""Reconnection after a connection broke: the number of attempts, their delays, and when to stop.

Several conversations follow each other, each with a Peer of its own
(:meth:`mcpcore.engine.peer.Peer.succeed`).  The code that makes the connections asks
:class:`Reconnection` after each end if, and when, there is to be another.
"""

from msgspec import Struct

from mcpcore.engine.backoff import Chance, grown
from mcpcore.engine.events import Event, Ready
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.errors import ERRORS, ErrorData


class ReconnectSettings(Struct, frozen=True, kw_only=True):
    """Settings for a client that reconnects after its connection broke. Times in seconds."""

    attempts: int = 5
    """Maximum attempts in a row, to a server that runs by itself (WebSocket, sockets, HTTP+SSE);
    0: never."""
    max_restarts: int = 0
    """Maximum restarts in a row of a server that this client starts as a process.  0: never, as a
    restart runs a program again, with all its effects, after it has failed."""
    first_delay: float = 1.0
    """Seconds before the first attempt."""
    growth: float = 2.0
    """Factor by which each delay is longer than the one before."""
    max_delay: float = 30.0
    """Maximum seconds of a delay."""
    jitter: float = 0.2
    """Maximum part of a delay that chance adds, so that clients do not come in step."""
    lasting: float = 10.0
    """Seconds that a connection must have been open for attempts to be counted anew."""
    opening: float = 60.0
    """Maximum seconds of one attempt, negotiation included."""
    max_waiting: int = 1024
    """Maximum requests that wait for the next connection, each until its own deadline.  One more is
    refused at once, and with 0 all are."""
    parting: float = 1.0
    """Maximum seconds between a server's end of a listen stream and the end of the connection for
    the stream to be requested again: the server ended it because it was shutting down."""
    max_repeats: int = 1
    """Maximum times that a request which may have reached a server is sent again, if that is
    safe."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            "attempts",
            "max_restarts",
            "first_delay",
            "max_delay",
            "jitter",
            "lasting",
            "max_waiting",
            "parting",
            "max_repeats",
        )
        if not self.growth >= 1:
            raise ValueError(f"growth must be at least 1, not {self.growth}")


# Events of the connection


class ConnectionLost(Event, frozen=True, kw_only=True, gc=False):
    """End of the connection; another one is going to be tried."""

    reason: str


class Reconnecting(Event, frozen=True, kw_only=True, gc=False):
    """Announcement of another attempt in ``delay`` seconds."""

    attempt: int
    """Number of the attempt in a row, from 1."""
    attempts: int
    """Maximum attempts in a row."""
    delay: float
    reason: str
    """Reason why the connection, or the attempt before, ended."""


class Reconnected(Event, frozen=True, kw_only=True, gc=False):
    """New connection and new conversation: the server's state is a new one."""

    ready: Ready
    """Outcome of this negotiation; the revision may be another one of the same era."""
    attempt: int


class ReconnectingGivenUp(Event, frozen=True, kw_only=True, gc=False):
    """End of the attempts: there is no connection, and all waiting requests have ended."""

    reason: str
    attempts: int
    """Number of attempts made in a row."""


ConnectionEvent = ConnectionLost | Reconnecting | Reconnected | ReconnectingGivenUp


class Attempt(Struct, frozen=True):
    """Next attempt: its number in a row, and the seconds to wait before it."""

    number: int
    delay: float


class Reconnection:
    """Counter of the attempts to reconnect, with the delays between them.

    ``attempts``: the maximum in a row.  ``seed``: random bytes that spread the delays; the same
    bytes give the same delays, and without any the delays are not spread.
    """

    def __init__(self, settings: ReconnectSettings, attempts: int, *, seed: bytes = b"") -> None:
        self.settings = settings
        self.attempts = attempts
        self.made = 0
        """Attempts in a row so far."""
        self._chance = Chance(seed)
        self._since: float | None = None

    def opened(self, now: float) -> None:
        """Note that a conversation has begun."""
        self._since = now

    def lost(
        self, now: float, *, final: bool = False, wanted: float | None = None
    ) -> Attempt | None:
        """Return the next attempt after a connection or an attempt has ended, or None.

        ``final``: it ended in a way after which another one would come to the same end.
        ``wanted``: minimum seconds that the server wants this client to wait.
        """
        since, self._since = self._since, None
        settings = self.settings
        if since is not None and now - since >= settings.lasting:
            self.made = 0
        if final or self.made >= self.attempts:
            return None
        self.made += 1
        delay = grown(settings.first_delay, settings.growth, self.made, settings.max_delay)
        delay = max(delay, wanted or 0.0)
        delay *= 1 + settings.jitter * self._chance.next()
        return Attempt(self.made, min(delay, settings.max_delay))


_PASSING = frozenset({404, 408, 425, 429})
"""HTTP client errors by which a server, or a proxy in front of it, refuses only for now."""


def fails_for_good(fault: Fault | None) -> bool:
    """Return True if a connection that could not be opened will fail the next time too.

    True if the server, or a proxy, refuses access: 401, 403, 407 and most other client errors,
    redirects.
    """
    if fault is None:
        return False
    if fault.status is None:
        return fault.kind is FaultKind.REDIRECT
    return 300 <= fault.status < 500 and fault.status not in _PASSING


_INCOMPREHENSIBLE = frozenset(
    {FaultKind.TOO_LARGE, FaultKind.ENCODING, FaultKind.MALFORMED, FaultKind.HEADERS}
)


def breaks_for_good(fault: Fault | None) -> bool:
    """Return True if a stream that ended with ``fault`` is not to be requested again.

    True if its content cannot be understood, or is over our limits.
    """
    return fault is not None and (fault.kind in _INCOMPREHENSIBLE or fails_for_good(fault))


_CLOSED_FOR_GOOD = frozenset({1000, 1002, 1003, 1007, 1008, 1010, 1015})
_PRIVATE = range(3000, 5000)


def closes_for_good(code: int) -> bool:
    """Return True if a WebSocket that the server closed with ``code`` is not to be reopened.

    1000: it is done with us.  1002, 1003, 1007 and 1010: it did not understand us.  1008: it does
    not want us.  From 3000 on: reasons of its own, unknown but deliberate.  False for 1001, 1011
    to 1014 (it goes away, fails, restarts, is busy), 1009 (one message was too long; it is not sent
    again) and no code at all.  Source: RFC 6455 section 7.4, and its registry.
    """
    return code in _CLOSED_FOR_GOOD or code in _PRIVATE


def refuses_for_good(error: ErrorData | None) -> bool:
    """Return True if a refusal to negotiate would be the same the next time."""
    if error is None:
        return False
    row = ERRORS.get(error.code)
    return row is None or not row.retryable
