"""Addresses and settings of TCP and Unix sockets: limits, timeouts and access."""

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from msgspec import Struct, field

from mcpcore.errors import BadTarget
from mcpcore.http.principals import Verdict
from mcpcore.spec.bounds import check_numbers
from mcpcore_transports.stream.settings import PumpSettings

if TYPE_CHECKING:
    from mcpcore.http.certificates import ClientCertificate


class Caller(Struct, frozen=True, kw_only=True):
    """Data about the client of a connection that is known before the first message."""

    scheme: str
    """Transport: ``tcp``, ``tls`` or ``unix``."""
    peer: str | None = None
    """Address of the client, for logs; None on a Unix socket."""
    certificate: "ClientCertificate | None" = None
    """Verified certificate of the client (``tls``), if it has sent one."""
    uid: int | None = None
    """User id of the client's process (``unix``), from the system; None if it cannot tell."""
    gid: int | None = None
    """Group id of that user."""
    pid: int | None = None
    """Id of the client's process when it connected (Linux only)."""


class SocketSettings(Struct, frozen=True, kw_only=True):
    """Limits of TCP and Unix sockets, for both sides.  Times are in seconds."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    connections: int = 1_000
    """Server: maximum connections at a time on one address or file; further ones are refused."""
    connections_per_client: int = 500
    """Server: maximum connections at a time of one peer address (IPv6: network) or one user."""
    handshake_time: float = 10.0
    """Seconds for TLS; at a client also for resolving the host and connecting."""
    first_time: float = 60.0
    """Server: seconds until the first byte of the first message."""
    message_time: float = 30.0
    """Server: seconds from the first byte of a message to its end."""
    idle_time: float | None = 1_800.0
    """Server: seconds without message, running request or open subscription; None: unlimited."""
    turned_away: int = 100
    """Server: maximum refused connections at a time that are sent a reason; others just close."""
    linger_time: float = 1.0
    """Server: seconds for a refused client to read the reason."""
    linger_bytes: int = 64 * 1024
    """Server: maximum bytes of a client's input that are read after the end of a connection."""
    keep_alive: float | None = 60.0
    """TCP: seconds of silence after which the system probes the peer; None: never.

    The peer then has a minute to answer.
    """
    insecure: bool = False
    """Server: True to listen without TLS also where other machines can connect.

    Anyone who reaches the port then has full access, and anyone on the network path can read along.
    """
    users: Collection[int] | None = ()
    """Unix: uids that are allowed on the other side, in addition to our own.

    Empty, of any type: no others.  None: all of them.
    """
    lock_time: float = 5.0
    """Unix server: seconds to wait for other servers that start in the same directory."""
    mode: int | None = None
    """Unix server: permissions of the file; None: 0600, or 0666 if ``users`` allows others."""
    authenticate: Callable[[Caller], Verdict | Awaitable[Verdict]] | None = None
    """Server: hook that authenticates or refuses a connection.

    Without it the principal is ``uid:<number>`` on a Unix socket, and None on TCP.  It is called
    once for each connection, after the check of ``users``, and blocks the event loop unless it is
    ``async``.
    """
    authenticate_time: float = 10.0
    """Seconds for authentication; longer refuses the connection."""

    def __post_init__(self) -> None:
        check_numbers(
            self,
            "connections",
            "connections_per_client",
            "turned_away",
            "linger_time",
            "linger_bytes",
            "lock_time",
            "mode",
        )


def parse_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, ``[v6]:PORT``, ``:PORT`` or ``PORT``; the default host is loopback.

    Raises :class:`BadTarget`.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = "", text
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise BadTarget(f"{text!r} is not an address: expected HOST:PORT with a port up to 65535")
    return host, int(port)


def authority(host: str, port: int | None = None) -> str:
    """Return a host, with a port if there is one, as in a URL."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"
