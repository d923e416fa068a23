"""Accepting connections as streams that hold nothing back, none of which is lost.

On asyncio ``listener.accept()`` forgets a connection that comes at the very moment at which it is
cancelled: the socket stays open in an error that nobody reads, and its client waits for a reply
until its own deadline.  Here nothing is waited for between the system's ``accept`` and its stream.

Nor is a stream of anyio what is wanted: on asyncio its transport reads from the first moment, for
as long as no ``receive`` has had to wait, and keeps whatever comes while nobody asks for it.
"""

import socket
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, SocketStream, UNIXSocketStream

from transports.plain_stream import DIRECT, PlainStream
from transports.tcp_sockets import keep_alive


async def accept(listener: SocketListener) -> tuple[ByteStream, Any]:
    """Wait for a connection; return it with the address of its client, as the system has it.

    Raises OSError if it could not be accepted, and anyio.ClosedResourceError once the listener is
    closed by :func:`~transports.tcp_sockets.close_listener`.
    """
    bound: socket.socket = listener.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
    while True:
        if bound.fileno() < 0:
            raise anyio.ClosedResourceError
        await anyio.wait_readable(bound)
        try:
            accepted, address = bound.accept()
        except (BlockingIOError, InterruptedError):
            continue  # another process was faster
        if accepted.family != socket.AF_UNIX:
            keep_alive(accepted, None)
        return await stream_of(accepted), address


async def stream_of(accepted: socket.socket) -> ByteStream:
    """A connection that was accepted, as a stream.  Raises ConnectionAbortedError if it is lost."""
    if DIRECT:
        accepted.setblocking(False)
        return PlainStream(accepted)
    return await paused_stream(accepted)


async def paused_stream(accepted: socket.socket) -> SocketStream:
    """The same by anyio, which knows how to wait for sockets that are no descriptors."""
    made = SocketStream
    if hasattr(socket, "AF_UNIX") and accepted.family == socket.AF_UNIX:
        made = UNIXSocketStream
    try:
        with anyio.CancelScope(shield=True):
            stream = await made.from_socket(accepted)
    except ValueError as error:  # not connected, it says
        accepted.close()
        raise ConnectionAbortedError("the client is gone") from error
    except BaseException:
        accepted.close()
        raise
    transport = getattr(stream, "_transport", None)  # asyncio's; anyio has no other way to it
    if transport is not None:
        transport.pause_reading()  # whoever receives resumes it, for as long as that takes
    return stream
