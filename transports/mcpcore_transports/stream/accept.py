"""Accepting connections without losing any, as streams that read nothing ahead.

On asyncio a cancelled ``listener.accept()`` can lose a connection that arrives at that moment: its
socket stays open in an exception that nothing reads, and the client waits for a reply until its own
deadline.  Here nothing is awaited between the system's ``accept`` and the stream.

anyio's streams have another flaw: on asyncio their transport reads from the start, as long as no
``receive`` has had to wait, and buffers everything that arrives unasked.
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import (
    ByteStream,
    SocketAttribute,
    SocketListener,
    SocketStream,
    TaskGroup,
    UNIXSocketStream,
)

from mcpcore_transports.sockets.tcp import keep_alive
from mcpcore_transports.stream.plain import DIRECT, PlainStream


async def accept(listener: SocketListener) -> tuple[ByteStream, Any]:
    """Wait for a connection; return its stream and the client's address as the system gives it.

    Raises OSError if it could not be accepted, and anyio.ClosedResourceError once the listener is
    closed by :func:`~mcpcore_transports.sockets.tcp.close_listener`.
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
    """Return the stream of an accepted connection.  Raises ConnectionAbortedError if it is lost."""
    if DIRECT:
        accepted.setblocking(False)
        return PlainStream(accepted)
    return await paused_stream(accepted)


async def paused_stream(accepted: socket.socket) -> SocketStream:
    """Return anyio's stream of a connection, for event loops whose sockets are no descriptors."""
    made = SocketStream
    if hasattr(socket, "AF_UNIX") and accepted.family == socket.AF_UNIX:
        made = UNIXSocketStream
    try:
        with anyio.CancelScope(shield=True):
            stream = await made.from_socket(accepted)
    except ValueError as error:  # anyio says "not connected"
        accepted.close()
        raise ConnectionAbortedError("the client is gone") from error
    except BaseException:
        accepted.close()
        raise
    transport = getattr(stream, "_transport", None)  # asyncio's; anyio has no public access to it
    if transport is not None:
        transport.pause_reading()  # each receive resumes it while it waits
    return stream


class PendingConnections:
    """Starter of a task for each connection, which at exit closes connections without a task.

    A task that is cancelled before it has begun does nothing at all: it closes nothing, either.
    Therefore leave this context after the task group.
    """

    def __init__(self) -> None:
        self._streams: set[ByteStream] = set()

    def begin(
        self, group: TaskGroup, stream: ByteStream, work: Callable[[], Awaitable[None]], name: str
    ) -> None:
        """Run ``work``, which closes ``stream`` in the end, in a task of ``group``."""
        self._streams.add(stream)
        group.start_soon(self._run, stream, work, name=name)

    async def _run(self, stream: ByteStream, work: Callable[[], Awaitable[None]]) -> None:
        self._streams.discard(stream)
        await work()

    async def __aenter__(self) -> "PendingConnections":
        return self

    async def __aexit__(self, *error: object) -> None:
        with anyio.CancelScope(shield=True):
            while self._streams:
                await anyio.aclose_forcefully(self._streams.pop())
