"""Byte stream of a connected socket without a buffer, so that a link may take its place.

A connection that begins as HTTP is read from the stream.  The protocol that takes over reads and
writes the descriptor itself (:mod:`mcpcore_transports.stream.descriptors`), as nothing has been
read ahead.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute

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
