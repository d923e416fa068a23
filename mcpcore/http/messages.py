"""What passes between an HTTP machine and the driver that owns the sockets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from mcpcore.engine.events import Route
from mcpcore.http.headers import HeaderLines, Headers
from mcpcore.wire.redaction import HIDDEN, Discreet, shown_headers, shown_target

if TYPE_CHECKING:
    from mcpcore.http.certificates import ClientCertificate


class HttpRequest(Discreet, frozen=True, kw_only=True):
    """The head of a request as a server received it.

    ``path`` is without the query; header names are lower-case.  A driver of HTTP/2 gives the
    ``:authority`` as ``host``.  Its ``repr`` shows no credentials, and nothing of the query.

    A driver to which the same head has come again may give the same object again, or the same
    ``headers`` in another: what was found out about them is kept with them.
    """

    method: str
    path: str
    headers: Headers
    query: str = ""
    peer: str | None = None
    """Address of the other side, for logs."""
    scheme: str = "http"
    """``https`` if the client has reached this server, or the one in front, over TLS."""
    certificate: "ClientCertificate | None" = None
    """The certificate with which the client has proved who it is; None without one."""
    root: str = ""
    """What a framework has taken from the front of ``path``, for paths that a client is told."""

    def __post_init__(self) -> None:
        if type(self.headers) is not HeaderLines:
            structs.force_setattr(self, "headers", HeaderLines(self.headers))

    def __shown__(self) -> Mapping[str, object]:
        query = HIDDEN if self.query else ""
        return {"headers": shown_headers(self.headers), "query": query}


class HttpHead(Discreet, frozen=True):
    """Status and headers of a response.

    ``content-length`` is among them where it is known; where it is not, the body ends with
    :class:`HttpEnd` (chunked in HTTP/1.1).
    """

    exchange: Route
    status: int
    headers: list[tuple[bytes, bytes]]

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers)}


class HttpChunk(Struct, frozen=True):
    """A part of a response body."""

    exchange: Route
    data: bytes


class HttpEnd(Struct, frozen=True):
    """The response is complete; with ``close`` the connection must not be used again."""

    exchange: Route
    close: bool = False


class HttpReply(Discreet, frozen=True):
    """A whole response in one: ``headers`` leave out the length, which is that of ``body``."""

    exchange: Route
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers)}


class HttpSend(Discreet, frozen=True, kw_only=True):
    """A request that a client wants sent.

    ``headers`` are complete (``host`` and ``content-length`` included); the driver adds what
    concerns its connection only.  ``target`` is path and query.
    """

    exchange: Route
    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    after: float | None = None
    """Wait this many seconds first; an abort may come meanwhile."""
    timeout: float | None = None
    """Give it up if the response is not complete so many seconds after it was sent; None: the
    machine watches it."""
    head_timeout: float | None = None
    """Give it up if no response has begun, its head complete, so many seconds after it was sent."""
    repeatable: bool = True
    """It does no harm if it reaches the server twice, so that it may be sent again if a connection
    that was kept open turns out to be closed."""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers), "target": shown_target(self.target)}


class HttpAbort(Struct, frozen=True):
    """Close the exchange at once, unsent or not; nothing of it is to be fed in any more."""

    exchange: Route
