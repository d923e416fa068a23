"""Limits of HTTP connections and of the use of a store; sizes in bytes, times in seconds."""

from typing import Literal

from msgspec import Struct

from mcpcore.http.principals import Authenticate
from mcpcore.http.proxies import read_networks
from mcpcore.spec.bounds import check_kinds, check_numbers

DriverName = Literal["auto", "anyio", "asyncio"]
ParserName = Literal["auto", "h11", "httptools"]


class HeadLimits(Struct, frozen=True):
    """Limits of one head: bytes of its first line, bytes in all, and number of header lines."""

    first_line: int
    """Maximum bytes of the first line."""
    size: int
    """Maximum bytes in all."""
    count: int
    """Maximum header lines."""


class HttpServerSettings(Struct, frozen=True, kw_only=True):
    """Limits of a server's connections."""

    driver: DriverName = "auto"
    """Driver of the connections: streams of anyio, on any event loop, or a protocol of asyncio,
    which costs less and behaves the same.  ``auto``: the latter on asyncio, but not on Windows."""
    parser: ParserName = "auto"
    """Parser of heads: h11, or httptools (the extra ``speed``), which costs less and behaves the
    same.  ``auto``: httptools where it is installed."""
    usual_heads: Literal["plainly", "parsed"] = "plainly"
    """Reader of the heads that most requests have: one of our own, which costs less and behaves the
    same (``plainly``), or the parser, as for all other heads (``parsed``)."""
    reuse_port: bool = False
    """Let other processes listen on the same address (SO_REUSEPORT); each gets a share."""

    request_line: int = 8 * 1024
    """Maximum bytes of a request's first line; more give 414."""
    header_bytes: int = 32 * 1024
    """Maximum bytes of a request's head; more give 431."""
    header_count: int = 100
    """Maximum header lines of a request; more give 431."""
    connections: int = 10_000
    """Maximum connections at a time; one more gets 503."""
    connections_per_client: int = 2_000
    """Maximum connections at a time of one peer address (of one network, in IPv6); one more gets
    503.  Behind a framework: requests.  Raise it behind a proxy, whose address all clients share.
    """
    turned_away: int = 100
    """Maximum connections at a time, beyond those two limits, that get a 503; more are closed
    without a reply.  The TLS handshake for that reply has ``head_time``."""
    head_time: float = 10.0
    """Seconds from the first byte of a request to the end of its head; more give 408.  Also seconds
    from the start of a connection, TLS included, to that first byte; more close it."""
    body_time: float = 30.0
    """Seconds from the end of the head to the end of the body; more give 408."""
    body_rate: int = 1024
    """Minimum bytes of a body per second, once ``body_grace`` is over; fewer give 408."""
    body_grace: float = 5.0
    """Seconds in which a body may be slower than ``body_rate``."""
    idle_time: float = 60.0
    """Seconds between two requests after which the connection is closed."""
    write_time: float = 30.0
    """Seconds for the client to take ``write_size`` bytes; then the connection is closed."""
    linger_time: float = 1.0
    """Seconds for a client to read a refusal, or the last reply, and stop sending, before the
    connection is closed; they begin when that is written.  Behind a framework also seconds for
    reading the rest of a refused body."""
    linger_bytes: int = 1024 * 1024
    """Maximum bytes that are read, and thrown away, within ``linger_time``."""
    drain_time: float = 10.0
    """Seconds that running requests have when the server closes."""
    notice_time: float = 0.0
    """Seconds before ``drain_time`` in which everything is still served while ``/health/ready``
    already says no, so that a load balancer can react.  The first reply on each connection is
    its last.  Connections that are there then are served for ``linger_time`` longer, at most a
    tenth of ``drain_time``, so that no request meets the end of an idle connection."""
    log: bool = False
    """Log each exchange and session (:mod:`mcpcore_transports.http.server.log`)."""
    authenticate: Authenticate | None = None
    """Function that returns the principal of a request or refuses it; None: no authentication.  It
    is called once for each request, and blocks the event loop unless it is ``async``."""
    authenticate_time: float = 10.0
    """Maximum seconds of ``authenticate``; more give 503."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies in front, which add the address of their client to
    X-Forwarded-For: it counts as that of the request.  From others the header counts for nothing.
    Connections count for the address that they come from."""
    read_ahead: int = 64 * 1024
    """Maximum bytes that are read while a request is running."""
    write_size: int = 64 * 1024
    """Maximum bytes that are written at once, and taken at once from the machine for a stream."""

    def __post_init__(self) -> None:
        check_kinds(self)
        read_networks(self.trusted_proxies)
        check_numbers(
            self,
            "turned_away",
            "body_rate",
            "body_grace",
            "linger_time",
            "linger_bytes",
            "drain_time",
            "notice_time",
        )

    @property
    def head_limits(self) -> HeadLimits:
        """Limits of a request's head."""
        return HeadLimits(self.request_line, self.header_bytes, self.header_count)

    def body_deadline(self, began: float, received: int) -> float:
        """Return the time by which more of a body than ``received`` bytes must have arrived."""
        return began + min(self.body_time, self.body_grace + received / max(self.body_rate, 1))


class HttpClientLinkSettings(Struct, frozen=True, kw_only=True):
    """Limits of a client's connections."""

    connections: int = 100
    """Maximum connections at a time, including open event streams.  Further requests wait."""
    connect_time: float = 10.0
    """Seconds for opening a connection, TLS included."""
    idle_time: float = 30.0
    """Seconds that an unused connection is kept; 0: not at all."""
    write_time: float = 30.0
    """Seconds for the server to take ``write_size`` bytes of a request."""
    write_size: int = 64 * 1024
    """Maximum bytes that are written at once."""
    body_time: float = 60.0
    """Seconds from the head of a response that is no event stream to its end."""
    close_time: float = 2.0
    """Seconds that the last requests have when the client closes."""
    compression: bool = False
    """True to ask for compressed responses.  They save bytes, but some servers hold compressed
    events back.  Compressed responses are accepted either way: gzip and deflate."""
    inflate_ratio: int = 100
    """Maximum bytes of an inflated response per byte received, beyond its first MiB."""
    header_bytes: int = 64 * 1024
    """Maximum bytes of a response's head."""
    header_count: int = 200
    """Maximum header lines of a response."""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(self, "idle_time", "close_time")

    @property
    def head_limits(self) -> HeadLimits:
        """Limits of a response's head."""
        return HeadLimits(8 * 1024, self.header_bytes, self.header_count)


class StoreLinkSettings(Struct, frozen=True, kw_only=True):
    """Settings for a server's use of its store.  Times are in seconds."""

    batch: int = 500
    """Maximum number of steps in one batch."""
    waiting: int = 10_000
    """Maximum number of steps that wait for the store; further ones fail at once, as busy."""
    listen: float = 3.0
    """Seconds of one wait for the mailbox, which also shows that the worker is alive."""
    pause: float = 0.5
    """Seconds from a failure to the next read of the mailbox."""
    farewell: float = 5.0
    """Seconds at the end for steps that are in progress."""

    def __post_init__(self) -> None:
        check_numbers(self, "waiting", "farewell")
