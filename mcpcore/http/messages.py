"""Messages between an HTTP state machine and the driver that owns the sockets."""

from collections.abc import Mapping

from msgspec import Struct, structs

from mcpcore.engine.events import Route
from mcpcore.http.headers import HeaderLines, Headers
from mcpcore.http.principals import ClientCertificate
from mcpcore.wire.redaction import HIDDEN, Discreet, shown_headers, shown_target


class HttpRequest(Discreet, frozen=True, kw_only=True):
    """Head of a request as a server received it; its ``repr`` shows no credentials and no query.

    ``path`` is without the query; ``headers`` are pairs of bytes.  A driver of HTTP/2 gives the
    ``:authority`` as ``host``.  A driver that receives the same head again may pass the same
    object, or the same ``headers`` in another: their parsed values are kept with them.
    """

    method: str
    path: str
    headers: Headers
    query: str = ""
    peer: str | None = None
    """Address of the other side, or of the client as trusted proxies name it."""
    proxy: str | None = None
    """Address of the other side where ``peer`` is as trusted proxies name it."""
    scheme: str = "http"
    """``https`` if the client has reached this server, or the one in front, over TLS."""
    certificate: ClientCertificate | None = None
    """Certificate with which the client has proved its identity; None without one."""
    root: str = ""
    """Prefix that a framework has removed from ``path``, for paths that are sent to a client."""

    def __post_init__(self) -> None:
        if type(self.headers) is not HeaderLines:
            structs.force_setattr(self, "headers", HeaderLines(self.headers))

    def __shown__(self) -> Mapping[str, object]:
        query = HIDDEN if self.query else ""
        return {"headers": shown_headers(self.headers), "query": query}


class HttpHead(Discreet, frozen=True):
    """Status and headers of a response; without ``content-length`` its body ends with HttpEnd."""

    exchange: Route
    status: int
    headers: list[tuple[bytes, bytes]]

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers)}


class HttpChunk(Struct, frozen=True):
    """Part of a response body."""

    exchange: Route
    data: bytes


class HttpEnd(Struct, frozen=True):
    """End of a response; with ``close`` the connection must not be used again."""

    exchange: Route
    close: bool = False


class HttpReply(Discreet, frozen=True):
    """Response in one piece; ``headers`` leave out the length, which is that of ``body``."""

    exchange: Route
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers)}


class HttpSend(Discreet, frozen=True, kw_only=True):
    """Request that a client must send, to ``target`` (path and query).

    ``headers`` are complete (``host`` and ``content-length`` included) but for the connection's.
    """

    exchange: Route
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    after: float | None = None
    """Seconds to wait first; an abort may come meanwhile."""
    timeout: float | None = None
    """Seconds after sending until the response must be complete, else the driver gives up; None:
    the machine watches it."""
    head_timeout: float | None = None
    """Seconds after sending until the response head must be complete, else the driver gives up."""
    repeatable: bool = True
    """True if it does no harm when the request reaches the server twice. It may then be sent again
    if a connection that was kept open turns out to be closed."""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers), "target": shown_target(self.target)}


class HttpAbort(Struct, frozen=True):
    """Order to close an exchange at once, sent or not; no further input of it may be fed in."""

    exchange: Route
