"""State tables of the engine, the same for client and server.

Three machines: a *session* (one conversation), a *request* (inbound or outbound) and a *stream*
(a ``subscriptions/listen``).  A pair that is not in a table is a mistake: of the application
(:class:`~mcpcore.spec.errors.LocalProtocolError`) or of the other side (the engine answers).
Source: the lifecycle page of 2025-11-25; the versioning, cancellation and subscriptions pages of
2026-07-28.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar


class State(Enum):
    """Base of states and signals; members are singletons, so their identity is their hash."""

    __hash__ = object.__hash__


class SessionState(State):
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


class RequestState(State):
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


class StreamState(State):
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

_LIVE = (SessionState.NEW, SessionState.PROBING, SessionState.OPENING, SessionState.OPEN)

SESSION: Table[SessionState, SessionSignal] = {
    (SessionState.NEW, SessionSignal.PROBE): SessionState.PROBING,
    (SessionState.NEW, SessionSignal.INITIALIZE): SessionState.OPENING,
    (SessionState.NEW, SessionSignal.FAILED): SessionState.CLOSED,
    (SessionState.PROBING, SessionSignal.PROBE): SessionState.PROBING,
    (SessionState.PROBING, SessionSignal.DISCOVERED): SessionState.OPEN,
    (SessionState.PROBING, SessionSignal.INITIALIZE): SessionState.OPENING,
    (SessionState.PROBING, SessionSignal.FAILED): SessionState.CLOSED,
    (SessionState.OPENING, SessionSignal.INITIALIZED): SessionState.OPEN,
    # The handshake failed with a modern server that was slow to start and answered the probe late.
    (SessionState.OPENING, SessionSignal.DISCOVERED): SessionState.OPEN,
    (SessionState.OPENING, SessionSignal.PROBE): SessionState.PROBING,
    (SessionState.OPENING, SessionSignal.FAILED): SessionState.CLOSED,
    (SessionState.OPENING, SessionSignal.RESTART): SessionState.NEW,
    (SessionState.OPEN, SessionSignal.RESTART): SessionState.NEW,
    **{(state, SessionSignal.CLOSE): SessionState.CLOSING for state in _LIVE},
    **{(state, SessionSignal.EOF): SessionState.CLOSED for state in (*_LIVE, SessionState.CLOSING)},
}

REQUEST: Table[RequestState, RequestSignal] = {
    (RequestState.HELD, RequestSignal.SEND): RequestState.ACTIVE,
    (RequestState.HELD, RequestSignal.CANCEL): RequestState.DONE,
    (RequestState.HELD, RequestSignal.EXPIRE): RequestState.DONE,
    (RequestState.HELD, RequestSignal.END): RequestState.DONE,
    (RequestState.ACTIVE, RequestSignal.ANSWER): RequestState.DONE,
    (RequestState.ACTIVE, RequestSignal.CANCEL): RequestState.CANCELLED,
    (RequestState.ACTIVE, RequestSignal.EXPIRE): RequestState.DONE,
    (RequestState.ACTIVE, RequestSignal.END): RequestState.CANCELLED,
    (RequestState.ACTIVE, RequestSignal.LOST): RequestState.HELD,
    (RequestState.ACTIVE, RequestSignal.RELEASE): RequestState.DONE,
    (RequestState.CANCELLED, RequestSignal.ANSWER): RequestState.DONE,
    (RequestState.CANCELLED, RequestSignal.CANCEL): RequestState.CANCELLED,
    (RequestState.CANCELLED, RequestSignal.END): RequestState.CANCELLED,
    (RequestState.CANCELLED, RequestSignal.RELEASE): RequestState.DONE,
}

STREAM: Table[StreamState, StreamSignal] = {
    (StreamState.OPENING, StreamSignal.ACKNOWLEDGE): StreamState.LISTENING,
    (StreamState.OPENING, StreamSignal.FINISH): StreamState.ENDED,
    (StreamState.OPENING, StreamSignal.CANCEL): StreamState.ENDED,
    (StreamState.OPENING, StreamSignal.END): StreamState.ENDED,
    (StreamState.OPENING, StreamSignal.LOST): StreamState.OPENING,
    (StreamState.LISTENING, StreamSignal.LOST): StreamState.OPENING,
    (StreamState.LISTENING, StreamSignal.FINISH): StreamState.ENDED,
    (StreamState.LISTENING, StreamSignal.CANCEL): StreamState.ENDED,
    (StreamState.LISTENING, StreamSignal.END): StreamState.ENDED,
}

DIAGRAMS = (
    (
        "Conversation",
        "`Peer.state`: negotiation, use, end. *probe sent*, *discovered*, *failed* and "
        "*session lost* are signals of a client. *initialize* was sent by the client, or received "
        "and answered by the server; *initialized*: its result has arrived at the client, or "
        "`notifications/initialized` at the server. (A session of `Mcp-Session-Id` has a diagram "
        "of its own.)",
        SESSION,
    ),
    (
        "Request",
        "One request that was received; *cancelled* waits for the end of its handler. A request of "
        "ours is *held* until the negotiation is over, then *active*, and *done* with its answer, "
        "its cancellation or the end of the transport.",
        REQUEST,
    ),
    ("Stream", "One `subscriptions/listen`, in either direction.", STREAM),
)
"""Title, text and table of each diagram."""


def step(table: Table[S, G], state: S, signal: G) -> S | None:
    """Return the next state, or None if the table does not allow ``signal`` in ``state``."""
    return table.get((state, signal))
