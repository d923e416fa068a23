"""Coming back after a connection broke: how often, how soon, and when not.

Several conversations follow each other, each with a Peer of its own
(:meth:`mcpcore.engine.peer.Peer.succeed`).  Who makes the connections asks :class:`Reconnection`
after each end whether, and when, there is to be another.
"""

from msgspec import Struct

from mcpcore.engine.backoff import Chance, grown
from mcpcore.engine.events import Event, Ready
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.errors import ERRORS, ErrorData


class ReconnectSettings(Struct, frozen=True, kw_only=True):
    """How a client comes back after its connection broke. Times in seconds."""

    attempts: int = 5
    """In a row, to a server that runs by itself (WebSocket, sockets, HTTP+SSE); 0: never."""
    max_restarts: int = 0
    """In a row, of a server that we start as a process; 0: never, as a start is more than a
    connection: a program is run again, with all its effects, after it has failed."""
    first_delay: float = 1.0
    """Before the first attempt."""
    growth: float = 2.0
    """By so much each delay is longer than the one before."""
    max_delay: float = 30.0
    """No delay is longer."""
    jitter: float = 0.2
    """So much of a delay is added at most, by chance, so that clients do not come in step."""
    lasting: float = 10.0
    """After a connection that was open for this long, attempts are counted anew."""
    opening: float = 60.0
    """What one attempt may take, negotiation included."""
    max_waiting: int = 1024
    """Requests made meanwhile that wait for the next connection, each until its own deadline; one
    more is refused at once, and with 0 all are."""
    parting: float = 1.0
    """A listen stream that its server ends no longer than this before the connection ends was ended
    because the server goes: it is asked for again on the next connection."""
    max_repeats: int = 1
    """How often a request is sent again that may have reached a server, if that is safe."""

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


# What became of the connection


class ConnectionLost(Event, frozen=True, kw_only=True, gc=False):
    """The connection ended, and another one is going to be tried."""

    reason: str


class Reconnecting(Event, frozen=True, kw_only=True, gc=False):
    """In ``delay`` seconds there is another attempt."""

    attempt: int
    """In a row, from 1."""
    attempts: int
    """So many there will be at most."""
    delay: float
    reason: str
    """How the connection, or the attempt before, ended."""


class Reconnected(Event, frozen=True, kw_only=True, gc=False):
    """There is a connection again, and a conversation: the server's state is a new one."""

    ready: Ready
    """What was negotiated this time; the revision may be another one of the same era."""
    attempt: int


class ReconnectingGivenUp(Event, frozen=True, kw_only=True, gc=False):
    """There is no connection any more, and none is tried: all that waited has ended."""

    reason: str
    attempts: int
    """How many there were, in a row."""


ConnectionEvent = ConnectionLost | Reconnecting | Reconnected | ReconnectingGivenUp


class Attempt(Struct, frozen=True):
    """The next attempt: which it is in a row, and how long to wait before it."""

    number: int
    delay: float


class Reconnection:
    """Counts the attempts to come back, and spaces them out.

    ``attempts``: how many in a row.  ``seed``: random bytes that spread the delays; the same ones
    give the same delays, none add nothing to them.
    """

    def __init__(self, settings: ReconnectSettings, attempts: int, *, seed: bytes = b"") -> None:
        self.settings = settings
        self.attempts = attempts
        self.made = 0
        """Attempts in a row so far."""
        self._chance = Chance(seed)
        self._since: float | None = None

    def opened(self, now: float) -> None:
        """A conversation has begun."""
        self._since = now

    def lost(
        self, now: float, *, final: bool = False, wanted: float | None = None
    ) -> Attempt | None:
        """The connection, or an attempt at one, has ended: what follows, None if nothing does.

        ``final``: it ended in a way after which another one would come to the same end.
        ``wanted``: seconds that the server wants us to wait, at least.
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
"""Client errors of HTTP with which a server, or what stands before it, says: not now."""


def fails_for_good(fault: Fault | None) -> bool:
    """Whether a connection that could not be opened will not be opened the next time either.

    So it is where the server, or a proxy, does not let us in: 401, 403, 407 and most other client
    errors, redirects.
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
    """Whether a stream that ended with ``fault`` is not to be asked for again.

    So it is where what came on it cannot be understood, or is over our limits.
    """
    return fault is not None and (fault.kind in _INCOMPREHENSIBLE or fails_for_good(fault))


_CLOSED_FOR_GOOD = frozenset({1000, 1002, 1003, 1007, 1008, 1010, 1015})
_PRIVATE = range(3000, 5000)


def closes_for_good(code: int) -> bool:
    """Whether a WebSocket that the server closed with ``code`` is not to be opened again.

    1000: it is done with us.  1002, 1003, 1007 and 1010: it did not understand us.  1008: it does
    not want us.  From 3000 on: reasons of its own, which we cannot know, but no accident.  Not so
    for 1001, 1011 to 1014 (it goes away, fails, restarts, is busy), 1009 (one message was too
    long; it is not sent again) and no code at all.  Source: RFC 6455 section 7.4, and its registry.
    """
    return code in _CLOSED_FOR_GOOD or code in _PRIVATE


def refuses_for_good(error: ErrorData | None) -> bool:
    """Whether a refusal to negotiate would be the same the next time."""
    if error is None:
        return False
    row = ERRORS.get(error.code)
    return row is None or not row.retryable
