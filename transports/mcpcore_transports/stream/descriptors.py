"""Reading and writing file descriptors by readiness, without worker threads where possible.

On asyncio a descriptor stays registered with the event loop.  It is read in the loop's callback,
and the bytes are processed right there, without waking a task.  Registering anew for each read
costs three times as much as all of that, and a worker thread more than ten times.  Output that
cannot be written at once is written in such a callback, too.
On trio the wait is trio's own.  Descriptors that the selector refuses because they are always ready
(regular files) are read directly.  Where no event loop can wait (pipes on Windows) a worker thread
reads.
"""

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from mcpcore_transports.link import STREAM_ERRORS

if TYPE_CHECKING:
    import asyncio

Take = Callable[[bytes], bytes | None]
"""Synchronous consumer of bytes just read; returns bytes to wake the reading task for, or None."""

Decrypt = Callable[[bytes], bytes]
"""Decryption of bytes just read; raises BlockingIOError if they yield no plain bytes yet."""

Write = Callable[[memoryview], int]
"""Function that writes as much as possible at once and returns the number of bytes written."""


class DescriptorReader:
    """Reader of one descriptor, which it does not own."""

    async def read(self) -> bytes:
        """Wait for some bytes and return them; empty at the end of input.  Raises OSError."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching the descriptor, if it is watched between reads."""


class DescriptorWriter:
    """Writer to one descriptor, which it does not own."""

    async def write(self, data: memoryview) -> int:
        """Wait until some of ``data`` is written; return the number of bytes.  Raises OSError.

        A cancelled call may have written some bytes without reporting it.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching the descriptor, if it is watched between writes."""


class LoopReader(DescriptorReader):
    """Reader for asyncio; the descriptor stays registered as long as there is a pending read.

    :meth:`read` does not return for bytes that ``take`` has consumed.
    """

    def __init__(
        self, fd: int, size: int, take: Take | None = None, decrypt: Decrypt | None = None
    ) -> None:
        self._fd = fd
        self._size = size
        self._take = take
        self._decrypt = decrypt
        from asyncio import get_running_loop  # imported late: not needed on trio

        self._loop = get_running_loop()
        self._loop.add_reader(fd, self._ready)
        self._watched = True
        self._waiter: asyncio.Future[bytes] | None = None

    def _ready(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # no pending read: leave the bytes where they are
            self.close()
            return
        try:
            data = os.read(self._fd, self._size)
            if self._decrypt is not None:
                data = self._decrypt(data)
        except BlockingIOError:
            return
        except OSError as error:
            waiter.set_exception(error)
            return
        left = self._take(data) if data and self._take is not None else data
        if left is not None:
            waiter.set_result(left)

    async def read(self) -> bytes:
        """Implement :meth:`DescriptorReader.read`."""
        return await self.begin()

    def begin(self) -> "asyncio.Future[bytes]":
        """Begin a read and return its future, for callers without a task that waits."""
        if not self._watched:
            self._loop.add_reader(self._fd, self._ready)
            self._watched = True
        self._waiter = self._loop.create_future()
        return self._waiter

    def close(self) -> None:
        """Implement :meth:`DescriptorReader.close`."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._fd)


class LoopWriter(DescriptorWriter):
    """Writer for asyncio, in the loop's callback; registered as long as output is pending."""

    def __init__(self, fd: int, write: Write) -> None:
        self._fd = fd
        self._write = write
        from asyncio import get_running_loop  # imported late, as above

        self._loop = get_running_loop()
        self._loop.add_writer(fd, self._ready)
        self._watched = True
        self._data = memoryview(b"")
        self._waiter: asyncio.Future[int] | None = None

    def _ready(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # no pending write, or it was cancelled
            self.close()
            return
        try:
            count = self._write(self._data)
        except OSError as error:
            waiter.set_exception(error)
            return
        if count:
            waiter.set_result(count)

    async def write(self, data: memoryview) -> int:
        """Implement :meth:`DescriptorWriter.write`."""
        if not self._watched:
            self._loop.add_writer(self._fd, self._ready)
            self._watched = True
        self._data = data
        self._waiter = self._loop.create_future()
        try:
            count = await self._waiter
        finally:
            self._waiter = None
            self._data = memoryview(b"")
        if count == len(data):
            self.close()
        return count

    def close(self) -> None:
        """Implement :meth:`DescriptorWriter.close`."""
        if self._watched:
            self._watched = False
            self._loop.remove_writer(self._fd)


class WaitReader(DescriptorReader):
    """Reader for any event loop that can wait for a descriptor, and for always ready ones."""

    def __init__(self, fd: int, size: int, decrypt: Decrypt | None = None) -> None:
        self._fd = fd
        self._size = size
        self._decrypt = decrypt

    async def read(self) -> bytes:
        """Implement :meth:`DescriptorReader.read`."""
        while True:
            try:
                await anyio.wait_readable(self._fd)
            except PermissionError:  # epoll refuses descriptors that are always ready
                await checkpoint()
            try:
                data = os.read(self._fd, self._size)
                return data if self._decrypt is None else self._decrypt(data)
            except BlockingIOError:
                continue


class WaitWriter(DescriptorWriter):
    """Writer for any event loop that can wait for a descriptor."""

    def __init__(self, fd: int, write: Write) -> None:
        self._fd = fd
        self._write = write

    async def write(self, data: memoryview) -> int:
        """Implement :meth:`DescriptorWriter.write`."""
        while True:
            await anyio.wait_writable(self._fd)
            if count := self._write(data):
                return count


class ThreadReader(DescriptorReader):
    """Reader with a worker thread per read, for event loops that cannot wait for the descriptor.

    A pending thread ends with the next byte, or with the end of the input.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    async def read(self) -> bytes:
        """Implement :meth:`DescriptorReader.read`."""
        return await anyio.to_thread.run_sync(os.read, self._fd, self._size, abandon_on_cancel=True)


def open_reader(
    fd: int, size: int, take: Take | None = None, decrypt: Decrypt | None = None
) -> DescriptorReader:
    """Return a reader of ``fd``, with at most ``size`` bytes per read; call it in the event loop.

    ``take`` is offered the bytes where that saves waking a task.  ``decrypt`` is for sockets, for
    which every event loop can wait.
    """
    if not make_nonblocking(fd):
        return ThreadReader(fd, size)
    if _in_trio():
        return WaitReader(fd, size, decrypt)
    try:
        return LoopReader(fd, size, take, decrypt)
    except NotImplementedError:
        return ThreadReader(fd, size)
    except OSError:  # it is always ready, or the event loop cannot watch another descriptor
        return WaitReader(fd, size, decrypt)


def open_writer(fd: int, write: Write) -> DescriptorWriter:
    """Return a writer to ``fd``, which is in non-blocking mode; ``write`` does the writing.

    Call it in the event loop that will write, once there is output.  Raises OSError.
    """
    if _in_trio():
        return WaitWriter(fd, write)
    try:
        return LoopWriter(fd, write)
    except NotImplementedError:
        return WaitWriter(fd, write)


def _in_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


def make_nonblocking(fd: int) -> bool:
    """Set O_NONBLOCK; return True if the platform supports it."""
    try:
        os.set_blocking(fd, False)
    except (AttributeError, OSError):
        return False
    return True


def has_unread(fd: int) -> bool:
    """Return True if a pipe holds unread bytes written to ``fd``; False where that is unknown."""
    if sys.platform == "win32":
        return False
    import fcntl
    import termios

    try:
        count = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    except OSError:
        return False
    return any(count)


CLOSED: int = getattr(select, "POLLRDHUP", 0)
"""Event mask for :func:`polling` of an input, as one half of a socket may be closed alone."""


def polling(*descriptors: tuple[int, int]) -> "select.poll | None":
    """Watch descriptors for the end of their other sides, and for the events given with each.

    The end is reported even if it was not asked for and there is unread data.  None where the
    platform has no ``poll``.
    """
    if not hasattr(select, "poll"):
        return None
    poll = select.poll()
    for fd, events in descriptors:
        poll.register(fd, events)
    return poll


class DescriptorChannel:
    """Bytes in and out of two descriptors: a channel of a StreamConnection.

    Make it in the event loop.  ``take`` and ``decrypt``: see :func:`open_reader`.  ``write`` is
    what writes output that had to wait, by default :meth:`send_nowait`.  ``owner`` is the stream to
    be closed with it; without, the descriptors are not closed.
    """

    early = b""

    def __init__(
        self,
        source: int,
        sink: int,
        size: int,
        take: Take,
        decrypt: Decrypt | None = None,
        write: Write | None = None,
        owner: ByteStream | None = None,
    ) -> None:
        self._owner = owner
        self.reader: DescriptorReader | None = open_reader(source, size, take, decrypt)
        self.direct = make_nonblocking(sink)
        """True if writes never block."""
        self._sink = sink
        self._write = write or self.send_nowait
        self._writer: DescriptorWriter | None = None  # made when output has to wait

    def unwatch(self) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.unwatch`."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def receive(self) -> bytes:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.receive`."""
        assert self.reader is not None, "not unwatched"  # noqa: S101
        return await self.reader.read()

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send_nowait`."""
        if not self.direct:
            return 0
        try:
            return os.write(self._sink, data)
        except BlockingIOError:
            return 0

    async def send(self, data: memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send`."""
        if not self.direct:
            return await anyio.to_thread.run_sync(
                os.write, self._sink, data, abandon_on_cancel=True
            )
        if self._writer is None:
            self._writer = open_writer(self._sink, self._write)
        return await self._writer.write(data)

    async def settle(self) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.settle`."""
        return 0

    async def aclose(self, seconds: float) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.aclose`."""
        self.unwatch()
        if self._owner is not None:
            with anyio.move_on_after(seconds), suppress(OSError, *STREAM_ERRORS):
                await self._owner.aclose()
