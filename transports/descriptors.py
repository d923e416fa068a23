"""Reading and writing file descriptors by readiness, without worker threads where possible.

On asyncio a descriptor stays registered with the event loop, is read in the loop's callback, and
what was read is taken in there and then: no task is woken for it.  Registering anew for each read
costs three times as much as all of that, and a worker thread more than ten times.  Output that is
not taken at once is written in such a callback, too, until all of it has been.
On trio the wait is trio's own.  What the selector refuses because it is always ready (a regular
file) is read directly; where nothing can wait (pipes on Windows) a worker thread reads.
"""

import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from transports.pump import Connection

if TYPE_CHECKING:
    import asyncio

Take = Callable[[bytes], bytes | None]
"""Takes in what was just read, at once; returns what somebody has to be woken for, if anything."""

Decrypt = Callable[[bytes], bytes]
"""Makes of what was just read what it holds; BlockingIOError if that is nothing yet."""

Write = Callable[[memoryview], int]
"""Writes what can be written at once; how much that was."""


class Reader(Protocol):
    """Reads one descriptor; the descriptor itself belongs to somebody else."""

    async def read(self) -> bytes:
        """Wait for some bytes; empty at the end of input.  Raises OSError."""

    def close(self) -> None:
        """Stop watching the descriptor."""


class Writer(Protocol):
    """Writes to one descriptor; the descriptor itself belongs to somebody else."""

    async def write(self, data: memoryview) -> int:
        """Wait until some of ``data`` is written; how much.  Raises OSError.

        Who is cancelled may have written some, and does not get to know it.
        """

    def close(self) -> None:
        """Stop watching the descriptor."""


class LoopReader:
    """Asyncio: the descriptor stays registered while somebody reads.

    What ``take`` takes in is not what :meth:`read` waits for.
    """

    def __init__(
        self, fd: int, size: int, take: Take | None = None, decrypt: Decrypt | None = None
    ) -> None:
        self._fd = fd
        self._size = size
        self._take = take
        self._decrypt = decrypt
        from asyncio import get_running_loop  # here and not above: on trio nobody needs it

        self._loop = get_running_loop()
        self._loop.add_reader(fd, self._ready)
        self._watched = True
        self._waiter: asyncio.Future[bytes] | None = None

    def _ready(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # nobody reads now: leave the bytes where they are
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
        """See :class:`Reader`."""
        return await self.begin()

    def begin(self) -> "asyncio.Future[bytes]":
        """Begin to read, for who does not want to have a task that waits for it."""
        if not self._watched:
            self._loop.add_reader(self._fd, self._ready)
            self._watched = True
        self._waiter = self._loop.create_future()
        return self._waiter

    def close(self) -> None:
        """See :class:`Reader`."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._fd)


class LoopWriter:
    """Asyncio: writes in the loop's callback; stays registered while somebody has more to write."""

    def __init__(self, fd: int, write: Write) -> None:
        self._fd = fd
        self._write = write
        from asyncio import get_running_loop  # as above

        self._loop = get_running_loop()
        self._loop.add_writer(fd, self._ready)
        self._watched = True
        self._data = memoryview(b"")
        self._waiter: asyncio.Future[int] | None = None

    def _ready(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():  # nobody has more to write, or has given up
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
        """See :class:`Writer`."""
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
        """See :class:`Writer`."""
        if self._watched:
            self._watched = False
            self._loop.remove_writer(self._fd)


class WaitReader:
    """Any event loop that can wait for a descriptor, and descriptors that are always ready."""

    def __init__(self, fd: int, size: int, decrypt: Decrypt | None = None) -> None:
        self._fd = fd
        self._size = size
        self._decrypt = decrypt

    async def read(self) -> bytes:
        """See :class:`Reader`."""
        while True:
            try:
                await anyio.wait_readable(self._fd)
            except PermissionError:  # epoll knows only what can be unready
                await checkpoint()
            try:
                data = os.read(self._fd, self._size)
                return data if self._decrypt is None else self._decrypt(data)
            except BlockingIOError:
                continue

    def close(self) -> None:
        """Nothing is kept between reads."""


class WaitWriter:
    """Any event loop that can wait for a descriptor."""

    def __init__(self, fd: int, write: Write) -> None:
        self._fd = fd
        self._write = write

    async def write(self, data: memoryview) -> int:
        """See :class:`Writer`."""
        while True:
            await anyio.wait_writable(self._fd)
            if count := self._write(data):
                return count

    def close(self) -> None:
        """Nothing is kept between writes."""


class ThreadReader:
    """Where nothing can wait for the descriptor: a worker thread per read."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    async def read(self) -> bytes:
        """See :class:`Reader`."""
        return await anyio.to_thread.run_sync(os.read, self._fd, self._size, abandon_on_cancel=True)

    def close(self) -> None:
        """A thread that still reads ends with the next byte or the end of input."""


def open_reader(
    fd: int, size: int, take: Take | None = None, decrypt: Decrypt | None = None
) -> Reader:
    """Choose how to read ``fd``, ``size`` bytes at most; call it in the loop that will read.

    ``take`` is offered what was read where that saves waking a task; ``decrypt`` is for sockets,
    which can be waited for.
    """
    if not make_nonblocking(fd):
        return ThreadReader(fd, size)
    if _in_trio():
        return WaitReader(fd, size, decrypt)
    try:
        return LoopReader(fd, size, take, decrypt)
    except NotImplementedError:
        return ThreadReader(fd, size)
    except OSError:  # it is always ready, or the event loop can watch no more at present
        return WaitReader(fd, size, decrypt)


def open_writer(fd: int, write: Write) -> Writer:
    """Choose how to wait for a descriptor that is in non-blocking mode; ``write`` writes to it.

    Call it in the loop that will write, once something is to be written.  Raises OSError.
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
    """Set O_NONBLOCK; whether the platform can."""
    try:
        os.set_blocking(fd, False)
    except (AttributeError, OSError):
        return False
    return True


def has_unread(fd: int) -> bool:
    """Whether a pipe holds something that was written to ``fd``; False where nobody can tell."""
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
"""What to ask :func:`polling` for, of an input: of a socket one half alone may be closed."""


class Polling(Protocol):
    """What ``select.poll()`` returns."""

    def register(self, fd: int, eventmask: int = ..., /) -> None:
        """Look at this one, too."""

    def poll(self, timeout: float | None = ..., /) -> list[tuple[int, int]]:
        """Wait so many milliseconds."""


def polling(*descriptors: tuple[int, int]) -> Polling | None:
    """Watch descriptors for the end of their other sides, which needs no asking, and for more.

    It comes though there is unread data.  None where the platform cannot.
    """
    if not hasattr(select, "poll"):
        return None
    poll = select.poll()
    for fd, events in descriptors:
        poll.register(fd, events)
    return poll


class DescriptorLink(Connection):
    """Newline-framed messages over a pair of descriptors: :meth:`_attach` them in ``_open``."""

    _reader: Reader | None = None
    _writer: Writer | None = None  # not before something had to wait
    _output = -1
    _direct = False  # writes never block

    def _attach(self, source: int, sink: int, decrypt: Decrypt | None = None) -> None:
        self._reader = open_reader(source, self.settings.read_size, self._take_in, decrypt)
        self._output = sink
        self._direct = make_nonblocking(sink)

    def _detach(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _receive(self) -> bytes:
        assert self._reader is not None, "attached in _open"  # noqa: S101
        return await self._reader.read()

    def _send_nowait(self, data: bytes | memoryview) -> int:
        if not self._direct:
            return 0
        try:
            return os.write(self._output, data)
        except BlockingIOError:
            return 0

    async def _send(self, data: memoryview) -> int:
        if not self._direct:
            return await anyio.to_thread.run_sync(
                os.write, self._output, data, abandon_on_cancel=True
            )
        if self._writer is None:
            self._writer = open_writer(self._output, self._send_nowait)
        return await self._writer.write(data)
