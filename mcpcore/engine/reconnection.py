"""Reconnection after a connection broke: attempts, their delays, and what outlives a connection.

The code that makes the connections asks :class:`Reconnection` after each end if, and when, there
is to be another; each has a Peer of its own (:meth:`mcpcore.engine.peer.Peer.succeed`).
"""

from msgspec import Struct, structs

from mcpcore.engine.config import Config
from mcpcore.engine.events import Event, Fault, FaultKind, Ready
from mcpcore.engine.lifecycle import (
    REQUEST,
    STREAM,
    RequestSignal,
    RequestState,
    SessionState,
    StreamSignal,
    step,
)
from mcpcore.engine.outbound import Sender, may_repeat
from mcpcore.engine.state import Outbound, PeerState, Purpose
from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.closes import OUTLIVED
from mcpcore.spec.errors import ERRORS, ErrorData, LocalProtocolError
from mcpcore.wire.message import RequestId


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
        above_zero = ("opening", "growth")
        check_numbers(self, *(name for name in self.__struct_fields__ if name not in above_zero))
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


# Attempts and their delays


class Chance(Struct, eq=False):
    """Deterministic random fractions in [0, 1) for jitter; always 0 without a seed."""

    _seed: bytes
    _count: int = 0

    def next(self) -> float:
        """Return the next fraction."""
        if not self._seed:
            return 0.0
        from hashlib import blake2b  # imported late: most programs never need it

        self._count += 1
        digest = blake2b(b"%d" % self._count, key=self._seed[:64], digest_size=6).digest()
        return int.from_bytes(digest) / 2**48


def grown(first: float, growth: float, attempt: int, longest: float) -> float:
    """Return the delay before an attempt (from 1), growing from ``first`` up to ``longest``."""
    delay = first
    for _ in range(attempt - 1):
        if not 0 < delay < longest or growth <= 1:
            break
        delay *= growth
    return min(delay, longest)


class Attempt(Struct, frozen=True):
    """Next attempt: its number in a row, and the seconds to wait before it."""

    number: int
    delay: float


class Reconnection:
    """Counter of the attempts to reconnect, with the delays between them.

    ``attempts``: the maximum in a row.  ``seed``: random bytes that spread the delays; the same
    bytes give the same delays, and without any the delays are not spread.  ``unmarked``: True if
    the end of a token looks like any other end, as over HTTP+SSE.
    """

    def __init__(
        self,
        settings: ReconnectSettings,
        attempts: int,
        *,
        seed: bytes = b"",
        unmarked: bool = False,
    ) -> None:
        self.settings = settings
        self.attempts = attempts
        self.unmarked = unmarked
        self.made = 0
        """Attempts in a row so far."""
        self._chance = Chance(seed)
        self._since: float | None = None
        self._lasting = settings.lasting
        """Seconds that this conversation must last for attempts to be counted anew after an end
        that may be that of its token."""
        self._renewed = False
        """True if one of the attempts in a row was for the sake of a fresh token."""

    def opened(self, now: float, *, expires_in: float | None = None) -> None:
        """Note that a conversation has begun.

        ``expires_in``: seconds until its token expires, None if it does not, or nobody knows when.
        An end at half that time or later counts as that of the token.
        """
        self._since = now
        self._lasting = self.settings.lasting
        if expires_in is not None and expires_in > 0:
            self._lasting = min(self._lasting, expires_in / 2)

    def lost(
        self, now: float, *, final: bool = False, fault: Fault | None = None
    ) -> Attempt | None:
        """Return the next attempt after a connection or an attempt has ended, or None.

        ``final``: it ended in a way after which another one would come to the same end.  ``fault``:
        its ``retry_after`` is the minimum delay; after a fault of the authorization that does not
        pass a fresh token is tried, once among the attempts in a row.
        """
        since, self._since = self._since, None
        settings = self.settings
        unauthorized = (
            fault is not None and fault.kind is FaultKind.AUTHORIZATION and not fault.passing
        )
        lasting = self._lasting if unauthorized or self.unmarked else settings.lasting
        if since is not None and now - since >= lasting:
            self.made, self._renewed = 0, False
        if final or self.made >= self.attempts or (unauthorized and self._renewed):
            return None
        self._renewed |= unauthorized
        wanted = None if fault is None else fault.retry_after
        self.made += 1
        delay = grown(settings.first_delay, settings.growth, self.made, settings.max_delay)
        delay = max(delay, wanted or 0.0)
        delay *= 1 + settings.jitter * self._chance.next()
        return Attempt(self.made, min(delay, settings.max_delay))

    def replaced(self) -> Attempt:
        """Return the attempt after a connection that this side has ended for the sake of a token.

        It comes at once, and is not counted.
        """
        self._since = None
        return Attempt(1, 0.0)


_PASSING = frozenset({404, 408, 425, 429})
"""HTTP client errors by which a server, or a proxy in front of it, refuses only for now."""


def fails_for_good(fault: Fault | None) -> bool:
    """Return True if a server, or a proxy, refuses access: redirects and most client errors.

    False for an outage of the authorization server.
    """
    if fault is None or fault.passing:
        return False
    if fault.status is None:
        return fault.kind in (FaultKind.REDIRECT, FaultKind.AUTHORIZATION)
    return 300 <= fault.status < 500 and fault.status not in _PASSING


_INCOMPREHENSIBLE = frozenset(
    {FaultKind.TOO_LARGE, FaultKind.ENCODING, FaultKind.MALFORMED, FaultKind.HEADERS}
)


def breaks_for_good(fault: Fault | None) -> bool:
    """Return True if a stream ended with content that is over our limits, or not understood."""
    return fault is not None and (fault.kind in _INCOMPREHENSIBLE or fails_for_good(fault))


_CLOSED_FOR_GOOD = frozenset({1000, 1002, 1003, 1007, 1008, 1010, 1015})
_PRIVATE = range(3000, 5000)


def closes_for_good(code: int, fault: Fault | None = None) -> bool:
    """Return True if a WebSocket that the server closed with ``code`` is not to be reopened.

    1000: it is done with us.  1002, 1003, 1007, 1010: it did not understand us.  1008: it does not
    want us, unless ``fault`` says that it may want another token.  From 3000 on: reasons of its
    own.  Source: RFC 6455 section 7.4, and its registry.
    """
    return fault is None and (code in _CLOSED_FOR_GOOD or code in _PRIVATE)


def fault_of_close(code: int, *, authorized: bool) -> Fault | None:
    """Return the fault that a server's close tells of, None if it tells of none.

    1008 ends a connection whose authorization has ended (:data:`mcpcore.spec.closes.OUTLIVED`), and
    others: which it was, no code says.  ``authorized``: the connection was opened with a token.
    """
    return Fault(FaultKind.AUTHORIZATION) if authorized and code == OUTLIVED.code else None


def refuses_for_good(error: ErrorData | None) -> bool:
    """Return True if a refusal to negotiate would be the same the next time."""
    if error is None:
        return False
    row = ERRORS.get(error.code)
    return row is None or not row.retryable


# Handover of a conversation to its successor


class Handover(Struct, frozen=True, weakref=False, eq=False):
    """Part of a Peer that reconnects: the next conversation of a client takes over its requests.

    When the transport ends, requests that were never sent or may be repeated, and listen streams,
    are held for the Peer that :meth:`Peer.succeed <mcpcore.engine.peer.Peer.succeed>` makes.  Ids
    and keys go on where they ended, so that the two conversations cannot be confused.
    """

    _state: PeerState
    settings: ReconnectSettings

    def keeps(self, request: Outbound, unsent: set[RequestId | None]) -> bool:
        """Return True if a request need not end with this conversation; then it is held."""
        settings = self.settings
        if request.purpose is not Purpose.APPLICATION or request.farewell is not None:
            return False
        if request.state is RequestState.HELD:
            return True
        if request.stream is None and request.id not in unsent:
            body, tools = request.original, self._state.config.repeatable_tools
            again = may_repeat(request.method, body, request.repeat, tools)
            if not again or request.repeats >= settings.max_repeats:
                return False
            request.repeats += 1
        request.state = step(REQUEST, request.state, RequestSignal.LOST) or request.state
        if request.stream is not None:
            request.stream = step(STREAM, request.stream, StreamSignal.LOST) or request.stream
        request.revision, request.row, request.progress = None, None, None
        self._state.held[request.id] = request
        return True

    def check_room(self) -> None:
        """Raise LocalProtocolError if no further request may wait for the next connection."""
        state, limit = self._state, self.settings.max_waiting
        if state.lifecycle is not SessionState.OPEN and len(state.held) >= limit:
            text = f"the connection is lost, and {limit} requests wait for the next one already"
            raise LocalProtocolError(text)

    def config_of_successor(self) -> Config:
        """Return the config of the next conversation, which speaks the era of this one."""
        config, revision = self._state.config, self._state.revision
        if revision is None:
            return config
        era = tuple(each for each in config.revisions if each.modern == revision.modern)
        return config if era == config.revisions else structs.replace(config, revisions=era)

    def hand_over(self, successor: PeerState, sender: Sender) -> None:
        """Give the requests that are held or wait for input to the next conversation."""
        state = self._state
        state.drop_unsent()
        successor.handover, successor.expected = Handover(successor, self.settings), True
        for request in (*state.held.values(), *state.waiting_input.values()):
            request.sender = sender
        successor.held, successor.pending = state.held, dict(state.held)
        successor.waiting_input = state.waiting_input
        state.held, state.pending, state.waiting_input = {}, {}, {}
        state.handover = None
