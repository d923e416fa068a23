"""Events of a :class:`~mcpcore.engine.peer.Peer`: frozen Structs, complete when made.

Three families: what arrived (requests, notifications, subscriptions), the outcome of outbound
requests (exactly one terminal event each), and changes of the conversation itself.
"""

from collections.abc import Mapping
from enum import Enum

from msgspec import Raw, Struct

from mcpcore.engine.lifecycle import StreamSignal
from mcpcore.engine.mirror import Mirror
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, RequestMeta, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore.wire.message import RequestId

Key = int
"""Local handle of one inbound request; never the id on the wire."""
ENGINE: Key = 0
"""Key of frames for requests that the engine answers itself; never issued."""
Route = int
"""Number of the HTTP exchange or stream to which a frame belongs."""
MAIN: Route = 0
"""Only route of stdio, WebSocket, sockets and memory."""


class EndReason(Enum):
    """Reasons why an outbound request ended without an answer of the other side."""

    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    CLOSED = "connection closed"
    INVALID = "invalid response"
    REFUSED = "refused"
    """Request that was not sent: negotiation failed or the transport refused it."""


class FaultKind(Enum):
    """Kinds of failure of a transport, which names them; the engine passes them on untouched."""

    STATUS = "status"
    """HTTP status of the server that refuses the request."""
    REDIRECT = "redirect"
    """Redirect of the server, which is not followed."""
    TOO_LARGE = "too large"
    """Received data over a limit of this side, compressed or not."""
    ENCODING = "encoding"
    """Received data in a content coding that is not supported, or broken."""
    MALFORMED = "malformed"
    """Received data that breaks the protocol of the transport."""
    CONNECT = "connect"
    """No connection could be opened."""
    CONNECT_TIMEOUT = "connect timeout"
    """No connection was open in time."""
    TLS = "tls"
    """Failure to secure the connection, or lack of trust between the two sides."""
    PROXY = "proxy"
    """Failure of the proxy to do what was asked of it."""
    STALLED = "stalled"
    """No reading or writing by the other side for too long."""
    HEADERS = "headers"
    """Failure of the application to provide the headers to send."""
    AUTHORIZATION = "authorization"
    """Failure of the client's authorization, without which the server refuses the request."""


class Fault(Struct, frozen=True):
    """Details of a failure. ``status`` and ``retry_after`` (seconds) come from an HTTP response."""

    kind: FaultKind
    status: int | None = None
    retry_after: float | None = None
    location: str | None = None
    """Target of a redirect, as sent."""
    sent_before: bool = False
    """True if the request had reached the server before, in an earlier round of input or with the
    stream that could not be resumed."""
    passing: bool = False
    """True if the authorization failed by an outage, after which it may succeed."""


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """Base of all events; they hold no reference cycles."""


# Arrivals


class RequestReceived(Event, frozen=True, gc=False):
    """An inbound request; answer ``key`` with respond, fail or require_input."""

    key: Key
    id: RequestId
    method: str
    params: Raw
    """Params object as sent, ``{}`` if there were none."""
    meta: RequestMeta
    revision: Revision
    client_info: Implementation | None
    client_capabilities: ClientCapabilities
    """Server: capabilities that the client declared (modern: for this request)."""
    route: Route
    input_responses: Mapping[str, Raw] | None = None
    """Modern retry: the client's answers by key; None if this is not a retry with answers."""
    request_state: str | None = None
    """Modern retry: the state as echoed by the client; treat it as hostile."""
    session: str | None = None
    """HTTP legacy: id of the session."""
    principal: str | None = None
    skim: Skim | None = None
    """Members of ``params`` that the engine has read already, for further use."""
    request: RequestId | None = None
    """Client: outbound request whose stream carried it, where the transport tells (HTTP)."""
    mirror: Mirror | None = None
    """Claims of the HTTP headers (modern), for a server that learns late what they should be."""


class NotificationReceived(Event, frozen=True, gc=False):
    """A notification that the engine does not consume itself."""

    method: str
    params: Raw
    route: Route
    revision: Revision | None
    request: RequestId | None = None
    """Outbound request whose stream carried it, where the transport tells (HTTP)."""
    session: str | None = None
    client_capabilities: ClientCapabilities | None = None
    """Server: capabilities that the client declared in the handshake (legacy)."""
    principal: str | None = None
    """Server: authenticated party that sent it."""


class RequestCancelled(Event, frozen=True, gc=False):
    """The other side cancelled ``key``; stop, then call ``release(key)``."""

    key: Key
    reason: str | None


class SubscriptionOpened(Event, frozen=True, gc=False):
    """Server: a ``subscriptions/listen`` stream was opened and acknowledged with ``filter``."""

    key: Key
    id: RequestId
    """Id of the stream: that of its request."""
    filter: SubscriptionFilter
    meta: RequestMeta
    revision: Revision
    route: Route
    principal: str | None = None
    admitted: Key | None = None
    """Key of the RequestReceived that was admitted, where the application is asked first."""


class SubscriptionClosed(Event, frozen=True, gc=False):
    """Server: the ``subscriptions/listen`` stream with ``key`` has ended."""

    key: Key
    reason: StreamSignal


class ResourceSubscribed(Event, frozen=True, gc=False):
    """Server, legacy: the client subscribed to (or with ``active`` false, left) a resource."""

    uri: str
    active: bool
    session: str | None = None


# Outcome of an outbound request: exactly one of these four


class ResultReceived(Event, frozen=True, gc=False):
    """Success of an outbound request. ``result`` is the object as received."""

    request: RequestId
    method: str
    result: Raw
    revision: Revision


class ErrorReceived(Event, frozen=True, gc=False):
    """Error response of the other side to an outbound request."""

    request: RequestId
    method: str
    error: ErrorData
    fault: Fault | None = None
    """Refusal of the transport that brought it, with its status (HTTP); None if there was none."""


class InputRequired(Event, frozen=True, gc=False):
    """Client, modern: the server needs input; gather it and call ``retry``, or ``abandon``."""

    request: RequestId
    method: str
    requests: Mapping[str, Raw]
    """Request objects by key: ``{"method": ..., "params": ...}``; may be empty."""
    round: int
    """Number of the input round, from 1."""
    state: str | None = None
    """``requestState`` of the server, which ``retry`` returns to it; of use to a relay alone."""


class RequestEnded(Event, frozen=True, gc=False):
    """Local end of an outbound request without an answer; never an error that was received.

    At the end of the transport each request ends so, CLOSED, before :class:`ConnectionEnded`; but
    with a next connection those that are sent again on it get no event yet.
    """

    request: RequestId
    method: str
    reason: EndReason
    message: str
    fault: Fault | None = None
    """Details of the failure, where the transport tells."""


# Arrivals for an outbound request that is still running


class ProgressReceived(Event, frozen=True, gc=False):
    """Progress of an outbound request that asked for it."""

    request: RequestId
    progress: float
    total: float | None
    message: str | None


class SubscriptionAcknowledged(Event, frozen=True, gc=False):
    """Client: the server opened ``subscriptions/listen`` and honours ``filter``."""

    request: RequestId
    filter: SubscriptionFilter


class SubscriptionNotification(Event, frozen=True, gc=False):
    """Client: a notification on the listen stream of ``request``."""

    request: RequestId
    method: str
    params: Raw


# Changes of the conversation


class Ready(Event, frozen=True, gc=False):
    """Client: negotiation succeeded.  Server: a legacy client finished its handshake."""

    revision: Revision
    info: Implementation | None
    """Identity of the other side, self-reported."""
    capabilities: ServerCapabilities | ClientCapabilities
    instructions: str | None = None
    supported: tuple[str, ...] = ()
    """Client, modern: the revisions that the server named."""
    ttl_ms: int | None = None
    """Client, modern: milliseconds for which all this may be kept."""
    session: str | None = None
    principal: str | None = None
    """Server: the principal that has finished the handshake."""


class NegotiationFailed(Event, frozen=True, gc=False):
    """Client: no common ground; every pending request has ended or will with REFUSED."""

    message: str
    error: ErrorData | None = None
    fault: Fault | None = None
    """Details of the failure, where the transport tells."""


class LogLevelChanged(Event, frozen=True, gc=False):
    """Server, legacy: the client asked for log messages from this level on."""

    level: str
    session: str | None = None


class Violation(Event, frozen=True, gc=False):
    """Breach of a rule by the other side, which was told if it is owed an answer."""

    code: int
    message: str
    route: Route
    session: str | None = None
    refused: bool = False
    """True if it was a request, which was refused for this."""
    excerpt: str = ""
    """Beginning of a line that is no message, such as noise on a server's standard output."""
    principal: str | None = None


class StreamDrained(Event, frozen=True, gc=False):
    """All bytes waiting on the stream of ``key`` have been taken."""

    key: Key


class ConnectionEnded(Event, frozen=True, gc=False):
    """End of the conversation; nothing follows."""

    reason: str
    session: str | None = None
