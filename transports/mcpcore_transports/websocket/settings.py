"""Limits of WebSocket connections, each with a safe default.  Units: bytes and seconds."""

from collections.abc import Callable

from msgspec import Struct, field

from mcpcore.spec.bounds import check_kinds, check_numbers
from mcpcore_transports.http1.settings import HeadLimits
from mcpcore_transports.stream.settings import ConnectionSettings


class DeflateSettings(Struct, frozen=True, kw_only=True):
    """Settings for the compression of messages (RFC 7692), if the peer agrees.

    Compression of attacker-controlled data together with a secret reveals the secret by the length
    (CRIME, BREACH): leave it off where both are in one message.
    """

    context_takeover: bool = False
    """True to keep the window from message to message, in both directions.

    Similar messages become much smaller, for up to 300 KiB of memory per connection.  False: each
    message is compressed independently.
    """
    window_bits: int = 15
    """Binary logarithm of the window size, 9 to 15.  15 is 32 KiB."""
    level: int = 6
    """Compression level, 1 to 9."""
    threshold: int = 1024
    """Bytes below which a message is sent uncompressed."""
    ratio: int = 100
    """Maximum bytes decompressed for one byte received, beyond a message's first MiB.

    In any case a message may not decompress to more than the maximum size of a message.
    """

    def __post_init__(self) -> None:
        """Raise ValueError for values that zlib does not support."""
        check_numbers(self, "threshold")
        if not 9 <= self.window_bits <= 15:
            raise ValueError("window_bits is a number from 9 to 15")
        if not 1 <= self.level <= 9:
            raise ValueError("level is a number from 1 to 9")


class WebSocketSettings(Struct, frozen=True, kw_only=True):
    """Settings of WebSocket connections.

    The size of a message is bounded by ``Limits.message_size``.
    """

    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    """Limits of each connection."""
    path: str = "/mcp"
    """Server: path of the endpoint."""
    allowed_hosts: tuple[str, ...] | None = None
    """Server: allowed hosts, see :class:`~mcpcore.http.origin.OriginPolicy`; None: loopback."""
    allowed_origins: tuple[str, ...] | None = None
    """Server: origins of web pages that may connect; None means its own pages."""
    mcp_v1: bool = False
    """Server: True to accept an offer of ``mcp-v1`` as one of ``mcp``."""
    max_connections: int = 10_000
    """Server: maximum connections at a time; further ones are refused with 503."""
    max_connections_per_client: int = 2_000
    """Server: maximum connections at a time of one peer address (of one network, in IPv6).

    Further ones are refused with 503.  Raise it behind a proxy, whose address all clients share.
    """
    turned_away: int = 100
    """Server: maximum connections at a time that end with the reason for their refusal, or with a
    document; others just close."""
    handshake_timeout: float = 10.0
    """Seconds for the whole opening, TLS included; at a client with name resolution and TCP."""
    request_line: int = 8 * 1024
    """Maximum bytes of the first line of the upgrade's request (else 414) or response."""
    header_bytes: int = 32 * 1024
    """Maximum bytes of that head; more gives 431."""
    header_count: int = 100
    """Maximum number of header lines in it; more give 431."""
    fragments: int = 131_072
    """Maximum number of frames of one message; more close the connection with 1008."""
    deflate: DeflateSettings | None = None
    """Settings for compression if the peer agrees; None: never compress."""
    ping_interval: float | None = 20.0
    """Seconds from the answer to the last ping to the next ping; None sends none."""
    ping_timeout: float = 20.0
    """Seconds for the answer to a ping; longer ends the connection with 1008.

    While a long message is in transit, in or out, each part of it restarts that time.
    """
    on_latency: Callable[[float], None] | None = None
    """Callback with the seconds that the answer to each ping took; its exceptions are logged."""
    close_timeout: float = 1.0
    """Seconds for the closing handshake."""
    linger_bytes: int = 1024 * 1024
    """Maximum bytes read and discarded after the last output, which an early close would lose."""

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(self, "turned_away", "close_timeout", "linger_bytes")

    @property
    def head_limits(self) -> HeadLimits:
        """Limits of a head, as the parser takes them."""
        return HeadLimits(self.request_line, self.header_bytes, self.header_count)
