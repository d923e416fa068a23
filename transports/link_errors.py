"""Connections that cannot be opened or that break: how that is told, whatever they run over."""

import errno
import os
import socket

import anyio

from mcpcore.engine.faults import Fault
from mcpcore.spec.errors import LocalError

STREAM_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
"""How anyio's streams say that they are at their end."""


class LinkError(LocalError):
    """A connection could not be opened; the message is one sentence for the user.

    ``fault`` says what kind of failure it was, where that is known: with the status and the
    ``Retry-After`` of a server that refused, for instance.  ``final``: trying again would not
    help; by default what the fault says of that.
    """

    def __init__(
        self, message: str, fault: Fault | None = None, *, final: bool | None = None
    ) -> None:
        super().__init__(message)
        self.fault = fault
        if final is None:
            # Here and not above: what a server cannot open is no connection.
            from mcpcore.engine.reconnecting import fails_for_good

            final = fails_for_good(fault)
        self.final = final


_WORDS: dict[type[BaseException], str] = {
    anyio.BrokenResourceError: "the other side broke it off",
    anyio.ClosedResourceError: "it was closed on this side",
    anyio.EndOfStream: "the other side closed it",
}


def cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> str:
    """One sentence about an address that cannot be had; UnicodeError: the name can be no host's."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        reason = "unknown host"
    elif error.errno is not None and error.errno in errno.errorcode:
        reason = os.strerror(error.errno).lower()
    else:
        reason = str(error)
    return f"cannot listen on {host}:{port}: {reason}"


def what_broke(error: BaseException) -> str:
    """The reason at the bottom of a chain or group of connection errors, in words."""
    import ssl  # here and not above: what needs no TLS has no use for it

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause = error.__cause__
    if cause is not None and not isinstance(error, ssl.SSLError):
        return what_broke(cause)
    said = getattr(error, "strerror", None) or str(error)
    return said or _WORDS.get(type(error)) or type(error).__name__
