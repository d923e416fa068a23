"""Accepting connections as streams of anyio, none of which is lost.

On asyncio ``listener.accept()`` forgets a connection that comes at the very moment at which it is
cancelled: the socket stays open in an error that nobody reads, and its client waits for a reply
until its own deadline.  Here nothing is waited for between the system's ``accept`` and its stream.
"""

import socket

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream, UNIXSocketStream

from transports.tcp_sockets import keep_alive


async def accept(listener: SocketListener) -> SocketStream:
    """Wait for a connection.

    Raises OSError if it could not be accepted, and anyio.ClosedResourceError once the listener is
    closed by :func:`close_listener`.
    """
    bound: socket.socket = listener.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
    while True:
        if bound.fileno() < 0:
            raise anyio.ClosedResourceError
        await anyio.wait_readable(bound)
        try:
            accepted, _ = bound.accept()
        except (BlockingIOError, InterruptedError):
            continue  # another process was faster
        return await _stream(accepted)


async def _stream(accepted: socket.socket) -> SocketStream:
    made = UNIXSocketStream if accepted.family == socket.AF_UNIX else SocketStream
    if made is SocketStream:
        keep_alive(accepted, None)
    try:
        with anyio.CancelScope(shield=True):
            stream = await made.from_socket(accepted)
    except ValueError as error:  # not connected, it says
        accepted.close()
        raise ConnectionAbortedError("the client is gone") from error
    except BaseException:
        accepted.close()
        raise
    return stream


async def close_listener(listener: SocketListener) -> None:
    """Close it, whoever waits for a connection, and however often."""
    bound: socket.socket = listener.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
    if bound.fileno() >= 0:
        anyio.notify_closing(bound)
    await listener.aclose()
