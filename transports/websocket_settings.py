"""The bounds of WebSocket connections, each with a safe default. Bytes and seconds."""

from collections.abc import Callable

from msgspec import Struct, field

from mcpcore.spec.bounds import check_numbers
from transports.http_settings import HeadLimits
from transports.pump_settings import PumpSettings


class DeflateSettings(Struct, frozen=True, kw_only=True):
    """How messages are compressed (RFC 7692), if the other side agrees.

    Compressing what an attacker can write together with what is secret tells him of the secret by
    the length (CRIME, BREACH): leave it off where both travel in one message.
    """

    context_takeover: bool = False
    """Keep the window from message to message, both ways: similar messages become much smaller, for
    up to 300 KiB of memory per connection.  Without it each message stands on its own."""
    window_bits: int = 15
    """Size of the windows, 9 to 15: the binary logarithm.  15 are 32 KiB."""
    level: int = 6
    """Effort of compression, 1 to 9."""
    threshold: int = 1024
    """Shorter messages go as they are."""
    ratio: int = 100
    """Bytes that a message may unfold to for one received, beyond its first MiB; whatever this
    says, it may not unfold to more than a message may have."""

    def __post_init__(self) -> None:
        """Raise ValueError for what zlib cannot do."""
        check_numbers(self, "threshold")
        if not 9 <= self.window_bits <= 15:
            raise ValueError("window_bits is a number from 9 to 15")
        if not 1 <= self.level <= 9:
            raise ValueError("level is a number from 1 to 9")


class WebSocketSettings(Struct, frozen=True, kw_only=True):
    """How WebSocket connections are made and kept.

    The size of a message is bounded by ``Limits.message_size``.
    """

    pump: PumpSettings = field(default_factory=PumpSettings)
    path: str = "/mcp"
    """Server: where it is served."""
    allowed_hosts: tuple[str, ...] | None = None
    """Server: see :class:`~mcpcore.http.origin.OriginPolicy`; None means loopback names."""
    allowed_origins: tuple[str, ...] | None = None
    """Server: origins of web pages that may connect; None means its own pages."""
    mcp_v1: bool = False
    """Server: take the offer of ``mcp-v1`` for one of ``mcp``."""
    max_connections: int = 10_000
    """Server: at a time; one more is refused with 503."""
    max_connections_per_client: int = 2_000
    """Server: at a time, of one peer address (of one network, in IPv6); one more is refused with
    503.  To be raised behind a proxy, whose address all clients share."""
    turned_away: int = 100
    """Server: connections that are told why they are refused, at a time; others are just closed."""
    handshake_timeout: float = 10.0
    """For the whole opening, TLS included; at a client with name resolution and TCP."""
    request_line: int = 8 * 1024
    """First line of the request for the upgrade, or of the response; longer gives 414."""
    header_bytes: int = 32 * 1024
    """Size of that head; more gives 431."""
    header_count: int = 100
    """Header lines in it; more give 431."""
    fragments: int = 131_072
    """Frames that one message may come in; more close the connection with 1008."""
    deflate: DeflateSettings | None = None
    """Compress messages if the other side agrees; None: never."""
    ping_interval: float | None = 20.0
    """A ping is sent this long after the answer to the last one; None sends none."""
    ping_timeout: float = 20.0
    """The connection ends with 1008 if the answer to a ping takes longer.  While a long message is
    on its way, in or out, each part of it begins that time anew."""
    on_latency: Callable[[float], None] | None = None
    """Is told how long the answer to each ping took; what it raises is logged."""
    close_timeout: float = 1.0
    """For the closing handshake."""
    linger_bytes: int = 1024 * 1024
    """Most that is read, and thrown away, behind the last that is said, lest it be taken back."""

    def __post_init__(self) -> None:
        check_numbers(self, "turned_away", "close_timeout", "linger_bytes")

    @property
    def head_limits(self) -> HeadLimits:
        """The bounds of a head, as the parser takes them."""
        return HeadLimits(self.request_line, self.header_bytes, self.header_count)
