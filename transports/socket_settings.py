"""How TCP and Unix sockets are listened on and connected to, and who may."""

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from msgspec import Struct, field

from mcpcore.http.principals import Verdict
from mcpcore.spec.bounds import check_numbers
from transports.pump_settings import PumpSettings

if TYPE_CHECKING:
    from mcpcore.http.certificates import ClientCertificate


class Caller(Struct, frozen=True, kw_only=True):
    """Who opens a connection, as far as that is known before the first message."""

    scheme: str
    """``tcp``, ``tls`` or ``unix``."""
    peer: str | None = None
    """The address, for logs; None on a Unix socket."""
    certificate: "ClientCertificate | None" = None
    """What the client has shown (``tls``); None without one."""
    uid: int | None = None
    """The user who runs the other process (``unix``), as the system says; None if it cannot."""
    gid: int | None = None
    """That user's group."""
    pid: int | None = None
    """The other process, at the time it connected (Linux only)."""


class SocketSettings(Struct, frozen=True, kw_only=True):
    """Bounds of TCP and Unix sockets, of both sides. Times in seconds."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    connections: int = 1_000
    """Server: at a time, on one address or file; one more is told so and closed."""
    connections_per_client: int = 500
    """Server: at a time, of one peer address (of one network, in IPv6) or of one user."""
    handshake_time: float = 10.0
    """For TLS; at a client for finding the host and connecting, too."""
    first_time: float = 60.0
    """Server: until the first byte of the first message."""
    message_time: float = 30.0
    """Server: from the first byte of a message to its end."""
    idle_time: float | None = 1_800.0
    """Server: without a message of the other side, a running request or an open subscription; None:
    for ever."""
    turned_away: int = 100
    """Server: refused connections that are told why at a time; others are closed without a word."""
    linger_time: float = 1.0
    """Server: what those have to read it."""
    linger_bytes: int = 64 * 1024
    """Server: most that is read of what a client had sent to a connection that ends."""
    keep_alive: float | None = 60.0
    """TCP: after so much silence the system looks whether the other side is still there, and gives
    it a minute to answer.  None: never."""
    insecure: bool = False
    """Server: listen without TLS also where other machines can connect.  Whoever reaches the port
    may then do everything, and whoever sees the network reads along."""
    users: Collection[int] | None = ()
    """Unix: uids that may be on the other side, beside our own.  Empty, of whatever type: nobody
    else.  None: all of them."""
    lock_time: float = 5.0
    """Unix server: how long to wait for others that start in the same directory."""
    mode: int | None = None
    """Unix server: permissions of the file; None: 0600, or 0666 if ``users`` lets others in."""
    authenticate: Callable[[Caller], Verdict | Awaitable[Verdict]] | None = None
    """Server: finds out who connects, or refuses it.  Without it the principal is ``uid:<number>``
    on a Unix socket, and nobody on TCP.  It is called once for each connection, after the check of
    ``users``, and blocks the event loop unless it is ``async``."""
    authenticate_time: float = 10.0
    """What that may take; longer refuses the connection."""

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
