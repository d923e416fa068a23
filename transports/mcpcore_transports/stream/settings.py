"""Settings of connections over byte streams: standard streams, processes, TCP and Unix sockets.

They stand apart so that settings can be read without the drivers, which take time to import.  Sizes
are in bytes, times in seconds.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping

from msgspec import Struct, field

from mcpcore.errors import BadTarget
from mcpcore.http.principals import ClientCertificate, Verdict
from mcpcore.spec.bounds import check_kinds, check_numbers

SAFE_ENVIRONMENT = frozenset(
    (
        "APPDATA HOMEDRIVE HOMEPATH LOCALAPPDATA PATH PATHEXT PROCESSOR_ARCHITECTURE SYSTEMDRIVE"
        " SYSTEMROOT TEMP TMP USERNAME USERPROFILE"
        if sys.platform == "win32"
        else "HOME LANG LC_ALL LC_CTYPE LOGNAME PATH SHELL TERM TMPDIR TZ USER"
    ).split()
)
"""Variables that a child inherits by default: none that is likely to be a secret."""


class ConnectionSettings(Struct, frozen=True, kw_only=True):
    """Limits of one connection.  Sizes are in bytes, times in seconds."""

    read_size: int = 64 * 1024
    """Maximum bytes of one read."""
    queued: int = 1024 * 1024
    """Bytes of unsent output beyond which a server stops reading until some of it is written."""
    stall: float = 30.0
    """Seconds without any output taken by the peer after which the connection ends."""
    drain: float = 0.5
    """Seconds for running requests and unsent output after end of input, a signal or aclose()."""

    def __post_init__(self) -> None:
        check_numbers(self, "queued", "drain")


class StdioSettings(Struct, frozen=True, kw_only=True):
    """Settings for standard input and output."""

    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    """Limits of the connection."""
    redirect: bool = True
    """True to keep other code from using descriptors 0 and 1 while serving."""
    signals: bool = True
    """True if SIGTERM and SIGINT end the link gracefully; a second one ends it at once."""
    linger: float | None = 0.2
    """Seconds from the end of the link to the exit of the program, even if handlers still run.

    It applies to a whole program (``run``, the command) that serves nothing else.  None: it waits
    for the handlers.
    """
    end_children: bool = True
    """True to end also the programs that its handlers have started and left behind (Linux)."""
    env_principal: bool = False
    """True to take the client's name, scopes and roles from the environment.

    Their variables are MCPCORE_PRINCIPAL, MCPCORE_SCOPES and MCPCORE_ROLES; there is no OAuth on
    standard input and output.  False: the client is nobody in particular.
    """

    def __post_init__(self) -> None:
        check_kinds(self)
        check_numbers(self, "linger")


class ProcessSettings(Struct, frozen=True, kw_only=True):
    """Settings for the start, the supervision and the end of a server process."""

    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    """Limits of the connection."""
    env: Mapping[str, str] | None = None
    """Variables for the child, in addition to :data:`SAFE_ENVIRONMENT`."""
    inherit_env: bool | Collection[str] = False
    """Names of further variables of ours for the child; True: our whole environment."""
    cwd: str | os.PathLike[str] | None = None
    """Directory of the child; None: ours."""
    stderr: str | Callable[[str], None] = "log"
    """Use of its stderr: ``log``, ``inherit`` (it is ours), ``discard``, or a callback per line."""
    stderr_line: int = 64 * 1024
    """Maximum bytes of a line of standard error; longer ones are cut into pieces."""
    stderr_tail: int = 20
    """Maximum number of lines of standard error that are kept for the error message."""
    stderr_tail_size: int = 16 * 1024
    """Maximum characters of the kept lines together; the oldest are dropped first."""
    startup_timeout: float | None = 60.0
    """Seconds from process start to the end of negotiation; None: the timeout of requests."""
    close_wait: float = 2.0
    """Seconds to exit after its input was closed."""
    term_wait: float = 2.0
    """Seconds to exit after SIGTERM."""
    kill_wait: float = 2.0
    """Seconds for the system to remove it after SIGKILL."""
    descendants: bool = True
    """True to end also its descendants in process groups and sessions of their own (Linux)."""
    guard: bool = True
    """True to end it also if this process is killed, by a small process beside it (POSIX)."""
    memory_limit: int | None = None
    """Bytes of data memory for the process, and for each that it starts (not macOS)."""
    cpu_limit: float | None = None
    """Seconds of CPU for the process, and for each that it starts, before it is ended (POSIX).

    The system counts whole seconds.
    """


class Caller(Struct, frozen=True, kw_only=True):
    """Data about the client of a connection that is known before the first message."""

    scheme: str
    """Transport: ``tcp``, ``tls`` or ``unix``."""
    peer: str | None = None
    """Address of the client, for logs; None on a Unix socket."""
    certificate: ClientCertificate | None = None
    """Verified certificate of the client (``tls``), if it has sent one."""
    uid: int | None = None
    """User id of the client's process (``unix``), from the system; None if it cannot tell."""
    gid: int | None = None
    """Group id of that user."""
    pid: int | None = None
    """Id of the client's process when it connected (Linux only)."""


class SocketSettings(Struct, frozen=True, kw_only=True):
    """Limits of TCP and Unix sockets, for both sides.  Times are in seconds."""

    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    """Limits of each connection."""
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
        check_kinds(self)
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
