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
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from mcpcore_transports.running.functions import in_trio
from mcpcore_transports.stream.connection import Channel

if TYPE_CHECKING:  # late: not needed on trio
    import asyncio

T = TypeVar("T")

Take = Callable[[bytes], bytes | None]
"""Synchronous consumer of bytes just read; returns bytes to wake the reading task for, or None."""

Decrypt = Callable[[bytes], bytes]
"""Decryption of bytes just read; raises BlockingIOError if they yield no plain bytes yet."""

Write = Callable[[memoryview], int]
"""Function that writes as much as possible at once and returns the number of bytes written."""


class _LoopOperation(Generic[T]):
    """Repeated operation on a descriptor for asyncio, attempted in the loop's callback.

    The descriptor, which it does not own, stays registered as long as there is a pending operation.
    """

    def __init__(self, fd: int, *, writes: bool) -> None:
        from asyncio import get_running_loop  # imported late: not needed on trio

        self._fd = fd
        self._loop = loop = get_running_loop()
        self._add, self._remove = (
            (loop.add_writer, loop.remove_writer)
            if writes
            else (loop.add_reader, loop.remove_reader)
        )
        self._waiter: asyncio.Future[T] | None = None
        self._watched = False
        self._watch()

    def _watch(self) -> None:
        if not self._watched:
            self._add(self._fd, self._ready)
            self._watched = True

    def _attempt(self) -> T | None:
        """Return a result for the pending operation, or None; BlockingIOError says the same."""
        raise NotImplementedError

    def _ready(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # no pending operation: leave the bytes where they are
            self.close()
            return
        try:
            result = self._attempt()
        except BlockingIOError:
            return
        except OSError as error:
            waiter.set_exception(error)
            return
        if result is not None:
            waiter.set_result(result)

    def begin(self) -> "asyncio.Future[T]":
        """Begin an operation and return its future, also for callers without a task that waits."""
        self._watch()
        self._waiter = self._loop.create_future()
        return self._waiter

    def close(self) -> None:
        """Stop watching the descriptor."""
        if self._watched:
            self._watched = False
            self._remove(self._fd)


class LoopReader(_LoopOperation[bytes]):
    """Reader for asyncio; :meth:`read` does not return for bytes that ``take`` has consumed."""

    def __init__(
        self, fd: int, size: int, take: Take | None = None, decrypt: Decrypt | None = None
    ) -> None:
        self._size = size
        self._take = take
        self._decrypt = decrypt
        super().__init__(fd, writes=False)

    def _attempt(self) -> bytes | None:
        data = os.read(self._fd, self._size)
        if self._decrypt is not None:
            data = self._decrypt(data)
        return self._take(data) if data and self._take is not None else data

    async def read(self) -> bytes:
        """Wait for some bytes and return them; empty at the end of input.  Raises OSError."""
        return await self.begin()


class LoopWriter(_LoopOperation[int]):
    """Writer for asyncio; registered as long as output is pending."""

    def __init__(self, fd: int, write: Write) -> None:
        self._write = write
        self._data = memoryview(b"")
        super().__init__(fd, writes=True)

    def _attempt(self) -> int | None:
        return self._write(self._data) or None

    async def write(self, data: memoryview) -> int:
        """Wait until some of ``data`` is written; return the number of bytes.  Raises OSError.

        A cancelled call may have written some bytes without reporting it.
        """
        self._data = data
        count = 0
        try:
            count = await self.begin()
        finally:
            self._waiter = None
            self._data = memoryview(b"")
            if count in (0, len(data)):  # nobody waits any more: it may be closed, and be another's
                self.close()
        return count


class _Unwatched:
    """Operation on a descriptor that is watched only while it waits."""

    def close(self) -> None:
        """Do nothing: nothing is watched."""


class WaitReader(_Unwatched):
    """Reader for any event loop that can wait for a descriptor, and for always ready ones."""

    def __init__(self, fd: int, size: int, decrypt: Decrypt | None = None) -> None:
        self._fd = fd
        self._size = size
        self._decrypt = decrypt

    async def read(self) -> bytes:
        """See :meth:`LoopReader.read`."""
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


class WaitWriter(_Unwatched):
    """Writer for any event loop that can wait for a descriptor."""

    def __init__(self, fd: int, write: Write) -> None:
        self._fd = fd
        self._write = write

    async def write(self, data: memoryview) -> int:
        """See :meth:`LoopWriter.write`."""
        while True:
            await anyio.wait_writable(self._fd)
            if count := self._write(data):
                return count


class ThreadReader(_Unwatched):
    """Reader with a worker thread per read, for event loops that cannot wait for the descriptor.

    A pending thread ends with the next byte, or with the end of the input.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    async def read(self) -> bytes:
        """See :meth:`LoopReader.read`."""
        own = anyio.CapacityLimiter(1)  # none of the threads that handlers may keep busy
        return await anyio.to_thread.run_sync(
            os.read, self._fd, self._size, abandon_on_cancel=True, limiter=own
        )


DescriptorReader = LoopReader | WaitReader | ThreadReader
DescriptorWriter = LoopWriter | WaitWriter


def open_reader(
    fd: int, size: int, take: Take | None = None, decrypt: Decrypt | None = None
) -> DescriptorReader:
    """Return a reader of ``fd``, with at most ``size`` bytes per read; call it in the event loop.

    ``take`` is offered the bytes where that saves waking a task.  ``decrypt`` is for sockets, for
    which every event loop can wait.
    """
    if not make_nonblocking(fd):
        return ThreadReader(fd, size)
    if in_trio():
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
    if in_trio():
        return WaitWriter(fd, write)
    try:
        return LoopWriter(fd, write)
    except NotImplementedError:
        return WaitWriter(fd, write)


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


class DescriptorChannel(Channel):
    """Bytes in and out of two descriptors: a channel of a StreamConnection.

    Make it in the event loop.  ``take`` and ``decrypt``: see :func:`open_reader`.  ``write`` is
    what writes output that had to wait, by default :meth:`send_nowait`.  ``owner`` is the stream to
    be closed with it; without, the descriptors are not closed.
    """

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
        super().__init__(owner)
        self.reader: DescriptorReader | None = open_reader(source, size, take, decrypt)
        self.direct = make_nonblocking(sink)
        """True if writes never block."""
        self._sink = sink
        self._write = write or self.send_nowait
        self._writer: DescriptorWriter | None = None  # made when output has to wait

    def unwatch(self) -> None:
        """See :meth:`Channel.unwatch`."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def receive(self) -> bytes:
        """See :meth:`Channel.receive`."""
        assert self.reader is not None, "not unwatched"  # noqa: S101
        return await self.reader.read()

    def send_nowait(self, data: bytes | memoryview) -> int:
        """See :meth:`Channel.send_nowait`."""
        if not self.direct:
            return 0
        try:
            return os.write(self._sink, data)
        except BlockingIOError:
            return 0

    async def send(self, data: memoryview) -> int:
        """See :meth:`Channel.send`."""
        if not self.direct:
            own = anyio.CapacityLimiter(1)  # as in ThreadReader.read
            return await anyio.to_thread.run_sync(
                os.write, self._sink, data, abandon_on_cancel=True, limiter=own
            )
        if self._writer is None:
            self._writer = open_writer(self._sink, self._write)
        return await self._writer.write(data)
