"""Errors of connections that cannot be opened or that break, for every transport."""

import errno
import os
import signal
import socket

import anyio

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
    if isinstance(error, OSError) and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return ""


def signal_name(number: int) -> str:
    """Return the name of a signal, as far as it has one here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
