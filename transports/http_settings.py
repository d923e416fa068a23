"""The bounds of HTTP connections, each with a safe default. Sizes in bytes, times in seconds."""

from typing import Literal

from msgspec import Struct

from mcpcore.http.principals import Authenticate
from mcpcore.spec.bounds import check_numbers

DriverName = Literal["auto", "anyio", "asyncio"]
ParserName = Literal["auto", "h11", "httptools"]


class HeadLimits(Struct, frozen=True):
    """Bounds of one head: bytes of its first line, bytes in all, and number of header lines."""

    first_line: int
    size: int
    count: int


class HttpServerSettings(Struct, frozen=True, kw_only=True):
    """Bounds of a server's connections."""

    driver: DriverName = "auto"
    """What moves the bytes: streams of anyio, on any event loop, or a protocol of asyncio, which
    takes less and behaves the same.  ``auto``: the latter on asyncio, but not on Windows."""
    parser: ParserName = "auto"
    """What reads heads: h11, or httptools (the extra ``speed``), which takes less and behaves the
    same.  ``auto``: httptools where it is installed."""
    usual_heads: Literal["plainly", "parsed"] = "plainly"
    """What reads the heads that most requests have: a reader of our own, which takes less and
    behaves the same, or the parser, as it does all others."""
    reuse_port: bool = False
    """Let other processes listen on the same address (SO_REUSEPORT); each gets a share."""

    request_line: int = 8 * 1024
    """Longer gives 414."""
    header_bytes: int = 32 * 1024
    """Size of a request's head; more gives 431."""
    header_count: int = 100
    """Header lines of a request; more give 431."""
    connections: int = 10_000
    """At a time; one more gets 503."""
    connections_per_client: int = 2_000
    """At a time, of one peer address (of one network, in IPv6); one more gets 503.  Behind a
    framework: requests.  To be raised behind a proxy, whose address all clients share."""
    turned_away: int = 100
    """Connections beyond those two that are told so at a time; more are closed without a word.
    TLS is agreed with them for that, which has ``head_time``."""
    head_time: float = 10.0
    """From the first byte of a request to the end of its head; longer gives 408.  Also what a new
    connection, TLS included, has until that first byte; longer closes it."""
    body_time: float = 30.0
    """From the end of the head to the end of the body; longer gives 408."""
    body_rate: int = 1024
    """Bytes of a body that must arrive per second, once ``body_grace`` is over; fewer give 408."""
    body_grace: float = 5.0
    """How long a body may be slower than ``body_rate``."""
    idle_time: float = 60.0
    """Between two requests; then the connection is closed."""
    write_time: float = 30.0
    """For the client to take ``write_size`` bytes; then the connection is closed."""
    linger_time: float = 1.0
    """For a client to read a refusal, or the last reply, and stop sending, before the connection
    is closed; it begins when that is written.  To a framework also for reading what is left of a
    refused body."""
    linger_bytes: int = 1024 * 1024
    """Most that is read, and thrown away, meanwhile."""
    drain_time: float = 10.0
    """What running requests get when the server closes."""
    notice_time: float = 0.0
    """Before that: so long everything is served as ever while ``/health/ready`` says no, so that
    a balancer can take notice."""
    log: bool = False
    """Log each exchange and session (:mod:`transports.http_log`)."""
    authenticate: Authenticate | None = None
    """Finds out who sends a request, or refuses it; None: nobody is asked.  It is called once for
    each request, and blocks the event loop unless it is ``async``."""
    authenticate_time: float = 10.0
    """What that may take; longer gives 503."""
    read_ahead: int = 64 * 1024
    """Most that is read while a request is running."""
    write_size: int = 64 * 1024
    """Most that is written at once, and of an event stream taken from the machine."""

    def __post_init__(self) -> None:
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
        """The bounds of a request's head."""
        return HeadLimits(self.request_line, self.header_bytes, self.header_count)

    def body_deadline(self, began: float, received: int) -> float:
        """When more of a body must have come than the ``received`` bytes."""
        return began + min(self.body_time, self.body_grace + received / max(self.body_rate, 1))


class HttpClientLinkSettings(Struct, frozen=True, kw_only=True):
    """Bounds of a client's connections."""

    connections: int = 100
    """At a time; event streams that stay open included.  Further requests wait."""
    connect_time: float = 10.0
    """For opening a connection, TLS included."""
    idle_time: float = 30.0
    """How long an unused connection is kept; 0: not at all."""
    write_time: float = 30.0
    """For the server to take ``write_size`` bytes of a request."""
    write_size: int = 64 * 1024
    """Most that is written at once."""
    body_time: float = 60.0
    """From the head of a response that is no event stream to its end."""
    close_time: float = 2.0
    """What the last requests get when the client closes."""
    compression: bool = False
    """Ask for compressed responses.  They save bytes, but some servers hold compressed events back.
    What comes compressed is taken either way: gzip and deflate."""
    inflate_ratio: int = 100
    """Bytes that a compressed response may unfold to for one received, beyond its first MiB."""
    header_bytes: int = 64 * 1024
    """Size of a response's head."""
    header_count: int = 200
    """Header lines of a response."""

    def __post_init__(self) -> None:
        check_numbers(self, "idle_time", "close_time")

    @property
    def head_limits(self) -> HeadLimits:
        """The bounds of a response's head."""
        return HeadLimits(8 * 1024, self.header_bytes, self.header_count)
