"""Sockets: listeners, byte streams that read nothing ahead, and the accepting of such connections.

A connection that begins as HTTP is read from the stream.  The protocol that takes over reads and
writes the descriptor itself (:mod:`mcpcore_transports.stream.descriptors`), as nothing has been
read ahead.  (anyio's streams read from the start on asyncio, as long as no ``receive`` has had to
wait, and buffer everything that arrives unasked.)

On asyncio a cancelled ``listener.accept()`` of anyio can lose a connection that arrives at that
moment: its socket stays open in an exception that nothing reads, and the client waits for a reply
until its own deadline.  Here nothing is awaited between the system's ``accept`` and the stream.
"""

import errno
import ipaddress
import logging
import os
import socket
import struct
import sys
from array import array
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup, UNIXSocketStream

from mcpcore.errors import BadTarget, LinkError
from mcpcore_transports.link import cannot_listen

Address = tuple[Any, ...]
"""Address of a TCP socket as the system gives it: host, port, and more in IPv6."""

DIRECT = os.name == "posix"
"""True if sockets are file descriptors on this system."""

PAUSE = 0.1
"""Seconds between a failure to accept and the next attempt, to avoid a busy loop."""
_BACKLOG = 128
_SO_ATTACH_FILTER = 26
_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
"""Filter of packets for Linux: return 0, the number of bytes to keep."""
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for addresses of a name that this machine lacks: ``localhost`` without IPv6."""


# Listeners


async def listen_tcp(host: str, port: int, *, anywhere: bool) -> dict[socket.socket, Address]:
    """Listen on every address of a host; port 0 picks a free one, the same for all.

    Returns the listeners with their addresses.  ``anywhere``: allow addresses that other machines
    can connect to.  Raises BadTarget for such an address otherwise, LinkError if an address cannot
    be bound.
    """
    listeners: dict[socket.socket, Address] = {}
    unusable: OSError | None = None
    try:
        for family, address in await _addresses(host, port):
            if not anywhere:
                _must_be_ours(address[0], host)
            bound = (address[0], port, *address[2:])
            try:
                listener = socket.create_server(bound, family=family, backlog=_BACKLOG)
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                unusable = error
                continue
            listeners[listener] = ()
            listener.setblocking(False)
            listeners[listener] = bound = listener.getsockname()
            port = bound[1]
        if not listeners and unusable is not None:
            raise unusable
    except BaseException as error:
        for listener in listeners:
            listener.close()
        if isinstance(error, (OSError, UnicodeError)):
            raise LinkError(cannot_listen(host, port, error)) from error
        raise
    return listeners


async def _addresses(host: str, port: int) -> list[tuple[int, Address]]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [*dict.fromkeys((int(family), address) for family, _, _, _, address in found)]


def _must_be_ours(address: str, host: str) -> None:
    """Raise BadTarget for an address that other machines may reach."""
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise BadTarget(
            f"tcp on {host} could be used, and read along, by everybody on the network: "
            "serve it over TLS, listen on 127.0.0.1, or allow it (SocketSettings.insecure, "
            "--insecure-tcp)"
        )


def drop_new(bound: socket.socket) -> None:
    """Drop further attempts to connect to a listener that no other process has.

    TCP repeats them a second later, and they reach another listener of the port or are refused.
    Otherwise a connection that is made just before the listener is closed, and is not accepted
    any more, would be reset with the request on it.  Linux alone can do that, by a filter of the
    listener (``SO_ATTACH_FILTER``, socket(7)); elsewhere nothing is done.
    """
    if sys.platform == "linux" and bound.family in (socket.AF_INET, socket.AF_INET6):
        program = array("B", _DROP)
        with suppress(OSError):  # a kernel without filters
            filters = struct.pack("HP", 1, program.buffer_info()[0])
            bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filters)


def close_listener(bound: socket.socket) -> None:
    """Close a listener, also while a task waits for a connection; may be repeated."""
    if bound.fileno() >= 0:
        anyio.notify_closing(bound)
        bound.close()


# Connections


def socket_of(stream: ByteStream) -> socket.socket:
    """Return the socket beneath a stream of anyio.  Raises BrokenResourceError if it is lost."""
    try:
        found: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
    except AttributeError:
        # anyio reads all attributes of the socket, and uvloop's streams have none any more.
        raise anyio.BrokenResourceError from None
    return found


def keep_alive(sock: socket.socket, seconds: float | None) -> None:
    """Set TCP keep-alive after ``seconds`` of silence, and sending of small messages at once."""
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if seconds is None:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = "TCP_KEEPALIVE" if hasattr(socket, "TCP_KEEPALIVE") else "TCP_KEEPIDLE"  # macOS
        for name, value in (
            (idle, max(1, int(seconds))),
            ("TCP_KEEPINTVL", 15),
            ("TCP_KEEPCNT", 4),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


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


# Accepting


async def accept_each(
    bound: socket.socket,
    let_in: Callable[[ByteStream, object], Awaitable[None]],
    logger: logging.Logger,
) -> None:
    """Accept connections until the listener is closed; log failures, and pause after them."""
    while True:
        try:
            stream, address = await accept(bound)
        except anyio.ClosedResourceError:
            return
        except ConnectionAbortedError:  # the client was gone before it was accepted
            continue
        except (OSError, anyio.BrokenResourceError) as error:
            # No descriptors are left, or the event loop can watch no more.
            logger.warning("cannot accept a connection: %s", error.__cause__ or error)
            await anyio.sleep(PAUSE)
            continue
        await let_in(stream, address)
        del stream  # it would be kept alive until the next one comes


async def accept(bound: socket.socket) -> tuple[ByteStream, Any]:
    """Wait for a connection; return its stream and the client's address as the system gives it.

    Raises OSError if it could not be accepted, and anyio.ClosedResourceError once the listener is
    closed by :func:`close_listener`.
    """
    while True:
        if bound.fileno() < 0:
            raise anyio.ClosedResourceError
        await anyio.wait_readable(bound)
        with suppress(BlockingIOError, InterruptedError):  # another process was faster
            return await _accept_now(bound)


async def accept_waiting(
    bound: socket.socket, let_in: Callable[[ByteStream, object], Awaitable[None]]
) -> None:
    """Accept the connections that wait in the system, which would reset them with the listener."""
    with suppress(OSError):
        for _ in range(socket.SOMAXCONN):
            await let_in(*await _accept_now(bound))


async def _accept_now(bound: socket.socket) -> tuple[ByteStream, Any]:
    accepted, address = bound.accept()
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
