"""Byte streams of sockets that read nothing ahead, and the accepting of connections as such.

A connection that begins as HTTP is read from the stream.  The protocol that takes over reads and
writes the descriptor itself (:mod:`mcpcore_transports.stream.descriptors`), as nothing has been
read ahead.  (anyio's streams read from the start on asyncio, as long as no ``receive`` has had to
wait, and buffer everything that arrives unasked.)

On asyncio a cancelled ``listener.accept()`` of anyio can lose a connection that arrives at that
moment: its socket stays open in an exception that nothing reads, and the client waits for a reply
until its own deadline.  Here nothing is awaited between the system's ``accept`` and the stream.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import (
    ByteStream,
    SocketAttribute,
    SocketListener,
    SocketStream,
    TaskGroup,
    UNIXSocketStream,
)

from mcpcore_transports.sockets.tcp import keep_alive

DIRECT = os.name == "posix"
"""True if sockets are file descriptors on this system."""


class PlainStream(ByteStream):
    """Byte stream of a socket in non-blocking mode, which it closes."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @property
    def descriptor(self) -> int:
        """File descriptor of the socket."""
        return self._socket.fileno()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Implement :meth:`anyio.abc.ByteReceiveStream.receive`."""
        await anyio.lowlevel.checkpoint()
        while True:
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                await self._until(anyio.wait_readable)
            except OSError as error:
                raise self._broken() from error
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        """Implement :meth:`anyio.abc.ByteSendStream.send`."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(item)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await self._until(anyio.wait_writable)
            except OSError as error:
                raise self._broken() from error
        await anyio.lowlevel.cancel_shielded_checkpoint()  # last, so that data is sent first

    async def _until(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            await ready(self._socket)
        except OSError as error:  # the event loop can watch no more
            raise self._broken() from error

    def _broken(self) -> Exception:
        closed = self._socket.fileno() < 0
        return anyio.ClosedResourceError() if closed else anyio.BrokenResourceError()

    async def send_eof(self) -> None:
        """Implement :meth:`anyio.abc.ByteStream.send_eof`."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._broken() from error

    async def aclose(self) -> None:
        """Implement :meth:`anyio.abc.AsyncResource.aclose`."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()
        await anyio.lowlevel.checkpoint()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Implement :attr:`anyio.TypedAttributeProvider.extra_attributes`."""
        return {SocketAttribute.raw_socket: lambda: self._socket}


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
