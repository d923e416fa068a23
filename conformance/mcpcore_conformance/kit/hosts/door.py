"""A listening socket that forgets no connection.

On asyncio the ``accept`` of a listener of anyio forgets a connection that comes at the very moment
at which it is cancelled: nobody closes it, and its client waits until its own deadline.  Here
nothing that can be cancelled lies between the system's ``accept`` and the stream.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import (
    ByteStream,
    Listener,
    SocketAttribute,
    SocketListener,
    SocketStream,
    TaskGroup,
    UNIXSocketStream,
)
from anyio.streams.stapled import MultiListener


class Door(Listener[ByteStream]):
    """Takes connections at the sockets of a listener of anyio, and closes them with itself."""

    def __init__(self, listener: MultiListener[SocketStream] | SocketListener) -> None:
        self._listener = listener
        self._listeners: Sequence[Listener[SocketStream]] = (
            listener.listeners if isinstance(listener, MultiListener) else [listener]
        )

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the listener."""
        return self._listener.extra_attributes

    async def serve(
        self, handler: Callable[[ByteStream], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Have each connection served by a task of its own, of ``task_group`` or else of ours."""
        async with anyio.create_task_group() as tasks:
            for each in self._listeners:
                bound: socket.socket = each.extra(SocketAttribute.raw_socket)  # noqa: S610
                tasks.start_soon(_serve, bound, handler, task_group or tasks)

    async def aclose(self) -> None:
        """Stop listening."""
        await self._listener.aclose()


async def _serve(
    bound: socket.socket, handler: Callable[[ByteStream], Any], tasks: TaskGroup
) -> None:
    while True:
        await anyio.wait_readable(bound)
        try:
            accepted, _ = bound.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            continue  # it has left again
        if (stream := await _stream_of(accepted)) is not None:
            tasks.start_soon(handler, stream)


async def _stream_of(accepted: socket.socket) -> SocketStream | None:
    """A connection as a stream; None if its client has gone again."""
    made = SocketStream
    if hasattr(socket, "AF_UNIX") and accepted.family == socket.AF_UNIX:
        made = UNIXSocketStream
    with anyio.CancelScope(shield=True):
        try:
            if made is SocketStream:  # what is written in pieces waits for no acknowledgement
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return await made.from_socket(accepted)
        except (ValueError, OSError):  # not connected, it says
            accepted.close()
        except BaseException:
            accepted.close()
            raise
    return None
