"""State tables of the engine, the same for client and server.

Three machines: a *session* (one conversation), a *request* (inbound or outbound) and a *stream*
(a ``subscriptions/listen``).  A pair that is not in a table is a mistake: of the application
(:class:`~mcpcore.spec.errors.LocalProtocolError`) or of the other side (the engine answers).
The diagrams in ``docs/reference/protocol.md`` are generated from these tables.

Source: the lifecycle page of 2025-11-25, the versioning, cancellation and subscriptions pages of
2026-07-28.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar


class State(Enum):
    """Base of states and signals; members are singletons, so their identity is their hash."""

    __hash__ = object.__hash__


class Session(State):
    """States of a conversation. Modern requests are served until it is CLOSING."""

    NEW = "new"
    PROBING = "probing"
    """``server/discover`` is on its way."""
    OPENING = "opening"
    """``initialize`` is on its way, or answered and not yet confirmed."""
    OPEN = "open"
    CLOSING = "closing"
    """Shutdown: nothing new begins, requests in flight may finish."""
    CLOSED = "closed"


class SessionSignal(State):
    """Signals that move a session."""

    PROBE = "probe sent"
    DISCOVERED = "discovered"
    INITIALIZE = "initialize"
    INITIALIZED = "initialized"
    FAILED = "failed"
    RESTART = "session lost"
    CLOSE = "close"
    EOF = "end of transport"


class Request(State):
    """States of a request, in either direction."""

    HELD = "held"
    """Outbound: waiting for negotiation to end."""
    ACTIVE = "active"
    CANCELLED = "cancelled"
    """Inbound: no longer wanted, its handler still runs; counts against the limit."""
    DONE = "done"


class RequestSignal(State):
    """Signals that move a request."""

    SEND = "sent"
    ANSWER = "answered"
    CANCEL = "cancelled by its sender"
    EXPIRE = "timed out"
    END = "end of transport"
    LOST = "held for the next connection"
    RELEASE = "handler ended"


class Stream(State):
    """States of a listen stream."""

    OPENING = "opening"
    """Outbound: not yet acknowledged."""
    LISTENING = "listening"
    ENDED = "ended"


class StreamSignal(State):
    """Signals that move a listen stream."""

    ACKNOWLEDGE = "acknowledged"
    FINISH = "ended by the server"
    CANCEL = "cancelled by the client"
    END = "end of transport"
    LOST = "held for the next connection"


S = TypeVar("S", bound=Enum)
G = TypeVar("G", bound=Enum)
Table = Mapping[tuple[S, G], S]

_LIVE = (Session.NEW, Session.PROBING, Session.OPENING, Session.OPEN)

SESSION: Table[Session, SessionSignal] = {
    (Session.NEW, SessionSignal.PROBE): Session.PROBING,
    (Session.NEW, SessionSignal.INITIALIZE): Session.OPENING,
    (Session.NEW, SessionSignal.FAILED): Session.CLOSED,
    (Session.PROBING, SessionSignal.PROBE): Session.PROBING,
    (Session.PROBING, SessionSignal.DISCOVERED): Session.OPEN,
    (Session.PROBING, SessionSignal.INITIALIZE): Session.OPENING,
    (Session.PROBING, SessionSignal.FAILED): Session.CLOSED,
    (Session.OPENING, SessionSignal.INITIALIZED): Session.OPEN,
    # The handshake failed with a modern server that was slow to start and answered the probe late.
    (Session.OPENING, SessionSignal.DISCOVERED): Session.OPEN,
    (Session.OPENING, SessionSignal.PROBE): Session.PROBING,
    (Session.OPENING, SessionSignal.FAILED): Session.CLOSED,
    (Session.OPENING, SessionSignal.RESTART): Session.NEW,
    (Session.OPEN, SessionSignal.RESTART): Session.NEW,
    **{(state, SessionSignal.CLOSE): Session.CLOSING for state in _LIVE},
    **{(state, SessionSignal.EOF): Session.CLOSED for state in (*_LIVE, Session.CLOSING)},
}

REQUEST: Table[Request, RequestSignal] = {
    (Request.HELD, RequestSignal.SEND): Request.ACTIVE,
    (Request.HELD, RequestSignal.CANCEL): Request.DONE,
    (Request.HELD, RequestSignal.EXPIRE): Request.DONE,
    (Request.HELD, RequestSignal.END): Request.DONE,
    (Request.ACTIVE, RequestSignal.ANSWER): Request.DONE,
    (Request.ACTIVE, RequestSignal.CANCEL): Request.CANCELLED,
    (Request.ACTIVE, RequestSignal.EXPIRE): Request.DONE,
    (Request.ACTIVE, RequestSignal.END): Request.CANCELLED,
    (Request.ACTIVE, RequestSignal.LOST): Request.HELD,
    (Request.ACTIVE, RequestSignal.RELEASE): Request.DONE,
    (Request.CANCELLED, RequestSignal.ANSWER): Request.DONE,
    (Request.CANCELLED, RequestSignal.CANCEL): Request.CANCELLED,
    (Request.CANCELLED, RequestSignal.END): Request.CANCELLED,
    (Request.CANCELLED, RequestSignal.RELEASE): Request.DONE,
}

STREAM: Table[Stream, StreamSignal] = {
    (Stream.OPENING, StreamSignal.ACKNOWLEDGE): Stream.LISTENING,
    (Stream.OPENING, StreamSignal.FINISH): Stream.ENDED,
    (Stream.OPENING, StreamSignal.CANCEL): Stream.ENDED,
    (Stream.OPENING, StreamSignal.END): Stream.ENDED,
    (Stream.OPENING, StreamSignal.LOST): Stream.OPENING,
    (Stream.LISTENING, StreamSignal.LOST): Stream.OPENING,
    (Stream.LISTENING, StreamSignal.FINISH): Stream.ENDED,
    (Stream.LISTENING, StreamSignal.CANCEL): Stream.ENDED,
    (Stream.LISTENING, StreamSignal.END): Stream.ENDED,
}


def step(table: Table[S, G], state: S, signal: G) -> S | None:
    """Return the next state, or None if the table does not allow ``signal`` in ``state``."""
    return table.get((state, signal))
