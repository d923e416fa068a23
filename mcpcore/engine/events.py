"""What a :class:`~mcpcore.engine.peer.Peer` tells its owner: frozen Structs, complete when made.

Three families: what arrived (requests, notifications, subscriptions), what became of a request of
ours (exactly one terminal event each), and what happened to the conversation.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Raw, Struct

from mcpcore.engine.faults import Fault
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, RequestMeta, Skim
from mcpcore.spec.types.lifecycle import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.wire.message import RequestId

Key = int
"""Our handle for one inbound request; never the id on the wire."""
ENGINE: Key = 0
"""Stands in a frame for the key of a request that the engine answers itself; never issued."""
Route = int
"""Which HTTP exchange or stream a frame belongs to."""
MAIN: Route = 0
"""The only route of stdio, WebSocket, sockets and memory."""


class EndReason(Enum):
    """Why a request of ours ended without an answer of the other side."""

    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    CLOSED = "connection closed"
    INVALID = "invalid response"
    REFUSED = "refused"
    """Not sent: negotiation failed or the transport refused it."""


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """Base of all events; they refer to nothing that refers back."""


# What arrived


class RequestReceived(Event, frozen=True, gc=False):
    """The other side asks for something; answer ``key`` with respond, fail or require_input."""

    key: Key
    id: RequestId
    method: str
    params: Raw
    """The params object as sent, ``{}`` if there were none."""
    meta: RequestMeta
    revision: Revision
    client_info: Implementation | None
    client_capabilities: ClientCapabilities
    """On a server: what the client declared (for this request in the modern era)."""
    route: Route
    input_responses: Mapping[str, Raw] | None = None
    """Modern retry: the client's answers by key; None if this is not a retry with answers."""
    request_state: str | None = None
    """Modern retry: the state as echoed by the client; treat it as hostile."""
    session: str | None = None
    """HTTP legacy: the session's id."""
    principal: str | None = None
    skim: Skim | None = None
    """What the engine has read of ``params``, for who goes on from there."""


class NotificationReceived(Event, frozen=True, gc=False):
    """A notification that the engine does not consume itself."""

    method: str
    params: Raw
    route: Route
    revision: Revision | None
    request: RequestId | None = None
    """Our request whose stream carried it, where the transport tells (HTTP)."""
    session: str | None = None
    client_capabilities: ClientCapabilities | None = None
    """On a server: what the client declared in the handshake (legacy)."""


class RequestCancelled(Event, frozen=True, gc=False):
    """The other side no longer wants ``key``; stop, then call ``release(key)``."""

    key: Key
    reason: str | None


class SubscriptionOpened(Event, frozen=True, gc=False):
    """Server: a ``subscriptions/listen`` stream was opened and acknowledged with ``filter``."""

    key: Key
    filter: SubscriptionFilter
    route: Route
    principal: str | None = None


class SubscriptionClosed(Event, frozen=True, gc=False):
    """Server: that stream has ended."""

    key: Key


class ResourceSubscribed(Event, frozen=True, gc=False):
    """Server, legacy: the client subscribed to (or with ``active`` false, left) a resource."""

    uri: str
    active: bool
    session: str | None = None


# What became of a request of ours: exactly one of these four


class ResultReceived(Event, frozen=True, gc=False):
    """The request succeeded. ``result`` is the object as received."""

    request: RequestId
    method: str
    result: Raw
    revision: Revision


class ErrorReceived(Event, frozen=True, gc=False):
    """The other side answered with an error."""

    request: RequestId
    method: str
    error: ErrorData


class InputRequired(Event, frozen=True, gc=False):
    """Client, modern: the server needs input; gather it and call ``retry``, or ``abandon``."""

    request: RequestId
    method: str
    requests: Mapping[str, Raw]
    """Each value is a request object: ``{"method": ..., "params": ...}``; may be empty."""
    round: int
    """1 for the first."""


class RequestEnded(Event, frozen=True, gc=False):
    """The request ended here, without an answer; never to be mistaken for an error received."""

    request: RequestId
    method: str
    reason: EndReason
    message: str
    fault: Fault | None = None
    """What exactly happened, where the transport tells."""


# What arrived for a request of ours that is still running


class ProgressReceived(Event, frozen=True, gc=False):
    """Progress of a request of ours that asked for it."""

    request: RequestId
    progress: float
    total: float | None
    message: str | None


class SubscriptionAcknowledged(Event, frozen=True, gc=False):
    """Client: our ``subscriptions/listen`` is open; ``filter`` is what the server honours."""

    request: RequestId
    filter: SubscriptionFilter


class SubscriptionNotification(Event, frozen=True, gc=False):
    """Client: a notification on the listen stream of ``request``."""

    request: RequestId
    method: str
    params: Raw


# What happened to the conversation


class Ready(Event, frozen=True, gc=False):
    """Client: negotiation succeeded.  Server: a legacy client finished its handshake."""

    revision: Revision
    info: Implementation | None
    """The other side's identity, self-reported."""
    capabilities: ServerCapabilities | ClientCapabilities
    instructions: str | None = None
    supported: tuple[str, ...] = ()
    """Client, modern: the revisions the server named."""
    session: str | None = None


class NegotiationFailed(Event, frozen=True, gc=False):
    """Client: no common ground; every pending request has ended or will with REFUSED."""

    message: str
    error: ErrorData | None = None
    fault: Fault | None = None
    """What happened on the way, where the transport tells."""


class LogLevelChanged(Event, frozen=True, gc=False):
    """Server, legacy: the client asked for log messages from this level on."""

    level: str
    session: str | None = None


class Violation(Event, frozen=True, gc=False):
    """The other side broke a rule and was told so, where it is owed an answer."""

    code: int
    message: str
    route: Route
    session: str | None = None
    refused: bool = False
    """It was a request, which was refused for it."""
    excerpt: str = ""
    """The beginning of a line that is no message, such as noise on a server's standard output."""


class StreamDrained(Event, frozen=True, gc=False):
    """The bytes waiting on the stream of ``key`` have been taken."""

    key: Key


class ConnectionEnded(Event, frozen=True, gc=False):
    """The conversation is over; nothing follows."""

    reason: str
    session: str | None = None
