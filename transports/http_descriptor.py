"""Writing to the socket beneath a stream of anyio, beside the stream and without waiting."""

import os
import socket
from asyncio.trsock import TransportSocket
from typing import TypeAlias

from anyio.abc import ByteStream, SocketAttribute

Descriptor: TypeAlias = socket.socket | TransportSocket
"""Knows its number, and when it has none any more."""


def descriptor_of(stream: ByteStream) -> Descriptor | None:
    """The socket of a stream if it can be written to; for whoever knows that nothing waits in it.

    That of uvloop cannot: it goes on telling its number when that is another socket's.  Nor can
    those of Windows, whose numbers are no file descriptors.
    """
    if os.name != "posix":
        return None
    try:
        found = stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610 - anyio's
    except AttributeError:  # uvloop's, lost already: see tcp_sockets.socket_of
        return None
    return found if isinstance(found, (socket.socket, TransportSocket)) else None


def write_some(descriptor: Descriptor, data: bytes) -> int:
    """Write what the system takes at once; how many bytes that were.

    None of them if the connection is lost: who waits until it takes more learns why.
    """
    try:
        return os.write(descriptor.fileno(), data)
    except OSError:
        return 0
