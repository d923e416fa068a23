"""Server side of the stdio binding: this process's standard input and output.

Source: the stdio page of the specification.  Standard output belongs to the protocol alone.  While
the link runs, descriptor 1 leads to standard error, so that a stray ``print()`` or a child process
cannot corrupt the stream.  Descriptor 0 leads to the null device, so that no other code consumes a
message.  The link ends with the end of standard input (by which the client closes it), with SIGTERM
or SIGINT, and silently when standard output has no reader any more.
"""

import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import anyio

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore_transports.link import App, clock
from mcpcore_transports.stdio.settings import StdioSettings as StdioSettings
from mcpcore_transports.stream.connection import StreamConnection, WritingHalf
from mcpcore_transports.stream.descriptors import CLOSED, DescriptorChannel, polling

_TICK = 0.05
"""Seconds between two checks for the end of an input that is not read for now."""


class StdioServerLink(StreamConnection):
    """Link to one client on standard input and output; ``run()`` returns at its end.

    ``stdin`` and ``stdout`` are descriptor numbers, for embedders that were given other ones.
    ``on_begin`` is called with this link once it uses them, ``on_end`` when it no longer does.
    """

    binding = "stdio"

    def __init__(
        self,
        peer: Peer,
        app: App,
        *,
        settings: StdioSettings | None = None,
        stdin: int = 0,
        stdout: int = 1,
        on_begin: Callable[["StdioServerLink"], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._stdio = settings or StdioSettings()
        super().__init__(peer, app, settings=self._stdio.pump)
        self._stdin, self._stdout = stdin, stdout
        self._on_begin, self._on_end = on_begin, on_end
        self._source = self._sink = -1
        self._one_for_both = False
        self._errors: select.poll | None = (
            None  # reports that standard error has no reader any more
        )
        self._undo: list[Callable[[], object]] = []

    async def _open(self) -> None:
        source, sink = self._stdin, self._stdout
        # A number that was closed at the start of the process may belong to any file by now.
        if (source == 0 and sys.__stdin__ is None) or (sink == 1 and sys.__stdout__ is None):
            raise LinkError("standard input or output cannot be used: it is closed")
        try:
            for fd in (source, sink):
                self._undo.append(_restorer(fd))
            if self._stdio.redirect:
                source, sink = self._guard()
            self._one_for_both = os.path.samestat(os.fstat(source), os.fstat(sink))
            self._channel = DescriptorChannel(source, sink, self.settings.read_size, self._take_in)
            self._source, self._sink = source, sink
            if self._on_begin is not None:
                self._on_begin(self)
        except OSError as error:
            raise LinkError(f"standard input or output cannot be used: {error}") from error

    def _guard(self) -> tuple[int, int]:
        """Move the two descriptors out of reach of other code; return their new numbers."""
        source, sink = _duplicate(self._stdin), _duplicate(self._stdout)
        self._undo += [partial(os.close, source), partial(os.close, sink)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            self._replace(self._stdin, source, nowhere)
            # If standard error was closed at the start, its number may belong to another file.
            silent = sys.__stderr__ is None
            self._replace(self._stdout, sink, nowhere if silent else 2)
        finally:
            os.close(nowhere)
        if self._stdout == 1 and not silent and _can_end(2):
            self._errors = polling((2, 0))
        if self._stdout == 1:
            self._undo.append(self._flush_print)
        return source, sink

    def _replace(self, fd: int, kept: int, other: int) -> None:
        inheritable = os.get_inheritable(fd)
        os.dup2(other, fd, inheritable)
        self._undo.append(lambda: self._put_back(kept, fd, inheritable))

    def _put_back(self, kept: int, fd: int, inheritable: bool) -> None:
        # Text that is printed later to an output without a reader would be an error at exit.
        if fd != 1 or self._writing is not WritingHalf.BROKEN:
            os.dup2(kept, fd, inheritable)

    def _flush_print(self) -> None:
        """Send the text printed while serving to standard error, before the stream is restored.

        If standard error takes nothing, the text is dropped: else it would be tried again at exit.
        """
        try:
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            self._silence()
            with suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()
        if self._writing is WritingHalf.BROKEN:
            self._silence()

    def _silence(self, fd: int = 1) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, fd, os.get_inheritable(fd))
        os.close(nowhere)

    def other_side(self) -> "select.poll | None":
        """Return a poll object that detects, from any thread, that the client closed a stream.

        It does not read.  None where the platform cannot poll.
        """
        sinks = [] if self._one_for_both else [(self._sink, 0)]
        return polling((self._source, CLOSED), *sinks)

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        main = threading.current_thread() is threading.main_thread()
        signals = (self._watch_signals,) if self._stdio.signals and main else ()
        errors = (self._watch_errors,) if self._errors is not None else ()
        return (self._watch_output, *errors, *signals)

    def _feed(self, data: bytes) -> None:
        if self._errors is not None:
            self._check_errors()  # before handlers run, which may print
        super()._feed(data)

    def _check_errors(self) -> None:
        """Drop printed text if standard error has no reader, so that handlers do not fail."""
        if self._errors is not None and self._errors.poll(0):
            self._errors = None
            self._silence(1)
            self._silence(2)

    async def _watch_errors(self) -> None:
        with suppress(OSError):
            await anyio.wait_readable(2)  # it is never written to: this waits for its end
        self._check_errors()

    async def _wait_for_room(self, room: anyio.Event) -> None:
        """Wait for room; shorten the stall timeout if the client closes its stream meanwhile.

        The end of input cannot be read meanwhile, and a client that has gone will hardly read more.
        """
        gone = polling((self._source, CLOSED))
        while gone is not None and not room.is_set():
            with anyio.move_on_after(_TICK):
                await room.wait()
            if gone.poll(0):
                self._stall = min(self._stall, self.settings.drain)
                self._moved = max(self._moved, clock())
                self._arm(self._due())
                gone = None
        await room.wait()

    async def _watch_output(self) -> None:
        """Detect that our output has no reader any more, even if there is nothing to write."""
        if sys.platform == "win32" or self._one_for_both or not _can_end(self._sink):
            return
        try:
            await anyio.wait_readable(self._sink)  # never written to: this waits for its end
        except OSError:
            return
        gone = polling((self._sink, 0))
        if gone is not None and gone.poll(0):  # of a socket only one half may have been closed
            self._write_failed()

    async def _watch_signals(self) -> None:
        numbers = (signal.SIGTERM, signal.SIGINT)
        handlers = [(number, signal.getsignal(number)) for number in numbers]
        try:
            with anyio.open_signal_receiver(*numbers) as signals:
                again = False
                async for number in signals:
                    reason = f"ended by {signal.Signals(number).name}"
                    if again:
                        self._stop(reason, hard=True)
                    self.leave(reason)
                    again = True
        except NotImplementedError:  # Windows: the loop takes none; KeyboardInterrupt cancels run()
            return
        finally:
            for number, handler in handlers:  # asyncio leaves the system's default behind
                if handler is not None:  # None: it was not set from Python
                    signal.signal(number, handler)

    async def _close(self) -> None:
        await super()._close()
        while self._undo:
            with suppress(OSError):
                self._undo.pop()()
        if self._on_end is not None:
            self._on_end()


def _can_end(fd: int) -> bool:
    """Return True if the descriptor has another side that may close (a pipe or a socket)."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _restorer(fd: int) -> Callable[[], object]:
    """Return a function that restores O_NONBLOCK, which is shared with a terminal's shell.

    The flag belongs to the open file, not to the descriptor.  Raises OSError for a closed one.
    """
    os.fstat(fd)
    try:
        blocking = os.get_blocking(fd)
    except (AttributeError, OSError):  # pipes on Windows
        return bool
    return lambda: os.set_blocking(fd, blocking)


def _duplicate(fd: int) -> int:
    """Duplicate a descriptor to a number beyond those of the standard streams."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.dup(fd)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
