"""Non-blocking writes to the socket beneath a stream of anyio, past the stream."""

import os
import socket
from asyncio.trsock import TransportSocket
from typing import TypeAlias

from anyio.abc import ByteStream, SocketAttribute

Descriptor: TypeAlias = socket.socket | TransportSocket
"""Socket that tells its descriptor, and tells when it has none any more."""


def descriptor_of(stream: ByteStream) -> Descriptor | None:
    """Return the socket of a stream if it can be written to; the stream's buffer must be empty.

    The socket of uvloop cannot: it goes on returning its number when that belongs to another
    socket. On Windows the numbers are no file descriptors.
    """
    if os.name != "posix":
        return None
    try:
        found = stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610 - anyio's
    except AttributeError:  # uvloop's, lost already: see tcp_sockets.socket_of
        return None
    return found if isinstance(found, (socket.socket, TransportSocket)) else None


def write_some(descriptor: Descriptor, data: bytes) -> int:
    """Write the bytes that the system takes at once; return their number.

    Returns 0 if the connection is lost: the caller learns why when it waits to write the rest.
    """
    try:
        return os.write(descriptor.fileno(), data)
    except OSError:
        return 0
