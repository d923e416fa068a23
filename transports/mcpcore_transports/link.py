"""Interfaces between drivers and runtime: an application that takes events, a link, its errors."""

import errno
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import anyio

from mcpcore.engine.events import Event, Fault
from mcpcore.http.principals import Principal
from mcpcore.wire.redaction import Discreet, shown_headers

if TYPE_CHECKING:  # late: few drivers have processes
    from anyio.abc import Process

clock = time.monotonic
"""Clock of all drivers, in seconds."""


class App(Protocol):
    """Application of a machine: the server runtime, the client, or an embedder's own code."""

    def handle(self, event: Event) -> None:
        """Take one event: never block or await; call the machine or start a task."""


class Link(Protocol):
    """Interface of the I/O beneath one machine: a connection, an HTTP endpoint or client."""

    unprovoked: bool = False
    """True if the link ended for a reason unrelated to the messages sent on it."""
    final: bool = False
    """True after the end if a new connection to the same server would fail or is not wanted."""
    fault: Fault | None = None
    """Fault that kept the link from being opened, if known."""

    def flush_soon(self) -> None:
        """Drain the machine's events and write what it has to send, soon; never blocks.

        Must be called whenever the machine was used outside of :meth:`App.handle`.
        """

    def write_now(self) -> None:
        """Write as much as possible, for a task that waits for room; not in :meth:`App.handle`."""
        return

    async def aclose(self) -> None:
        """Close the I/O; safe from any task, and more than once."""


class Handshake(Discreet, frozen=True, kw_only=True):
    """Data about a connection that is known before its first message."""

    path: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Header lines as received, names in lower case, without those that offer subprotocols."""
    peer: str | None = None
    """Address of the peer, for logs."""
    revision: str | None = None
    """Revision offered by the subprotocol ``mcp.version.<revision>``."""
    principal: Principal | None = None
    """Authenticated principal."""

    def __shown__(self) -> Mapping[str, object]:
        return {"headers": shown_headers(self.headers)}


STREAM_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""Exceptions with which anyio's streams report their end."""
LOST = (*STREAM_ERRORS, OSError)
"""Exceptions with which streams and sockets report their end."""


_WORDS: dict[type[BaseException], str] = {
    anyio.BrokenResourceError: "the other side broke it off",
    anyio.ClosedResourceError: "it was closed on this side",
    anyio.EndOfStream: "the other side closed it",
}


def cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> str:
    """Return a message about an address that cannot be bound; UnicodeError: invalid host name."""
    return f"cannot listen on {host}:{port}: {system_reason(error) or error}"


def system_reason(error: BaseException) -> str:
    """Return the reason for an error of the system or a host name that cannot be used, else ""."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "unknown host"
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number in errno.errorcode:
        return os.strerror(number).lower()
    return ""


def not_reached(error: BaseException) -> str:
    """Return the reason why a connection could not be opened; anyio hides it in the cause."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = error.__cause__
    if isinstance(error, OSError) and error.errno is None and cause is not None:
        return not_reached(cause)
    return system_reason(error) or what_broke(error)


def signal_name(number: int) -> str:
    """Return the name of a signal, as far as it has one here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_child(process: "Process", number: int) -> None:
    """Signal a process, unless its end is known.

    asyncio's ``terminate()`` and ``kill()`` look first whether it runs: if it has just ended, they
    take its exit status away from the event loop, which then logs a warning and reports 255.
    """
    if process.returncode is None:
        with suppress(OSError):
            os.kill(process.pid, number)


def what_broke(error: BaseException) -> str:
    """Return the reason at the bottom of a chain or group of connection errors, as text."""
    import ssl  # imported late: connections without TLS do not need it

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = error.__cause__
    if cause is not None and not isinstance(error, ssl.SSLError):
        return what_broke(cause)
    said = getattr(error, "strerror", None) or str(error)
    return said or _WORDS.get(type(error)) or type(error).__name__
