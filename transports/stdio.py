"""The server's side of the stdio binding: this process's standard input and output.

Source: the stdio page of the specification.  Standard output belongs to the protocol alone: while
the link runs, descriptor 1 leads to standard error, so that a stray ``print()`` or a child process
cannot corrupt the stream, and descriptor 0 leads to nowhere, so that nobody else eats a message.
The link ends with standard input (the client's way to say that it is done), with SIGTERM or SIGINT,
and, without a word, when nobody reads standard output any more.
"""

import os
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
from transports.descriptors import CLOSED, DescriptorLink, Polling, polling
from transports.link import App, clock
from transports.link_errors import LinkError
from transports.stdio_settings import StdioSettings as StdioSettings

_TICK = 0.05
"""Seconds between two looks at an input that is not read for now."""


class StdioServerLink(DescriptorLink):
    """Serves one client on standard input and output; ``run()`` returns when it is over.

    ``stdin`` and ``stdout`` are descriptor numbers, for embedders that were handed others;
    ``on_begin`` is called with this link once it has them, ``on_end`` when they are no longer used.
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
        self._source = -1
        self._one_for_both = False
        self._errors: Polling | None = None  # tells that nobody reads standard error any more
        self._undo: list[Callable[[], object]] = []

    async def _open(self) -> None:
        source, sink = self._stdin, self._stdout
        # A number that was closed when we were started may belong to anything by now.
        if (source == 0 and sys.__stdin__ is None) or (sink == 1 and sys.__stdout__ is None):
            raise LinkError("standard input or output cannot be used: it is closed")
        try:
            for fd in (source, sink):
                self._undo.append(_restorer(fd))
            if self._stdio.redirect:
                source, sink = self._guard()
            self._one_for_both = os.path.samestat(os.fstat(source), os.fstat(sink))
            self._attach(source, sink)
            self._source = source
            if self._on_begin is not None:
                self._on_begin(self)
        except OSError as error:
            raise LinkError(f"standard input or output cannot be used: {error}") from error

    def _guard(self) -> tuple[int, int]:
        """Move the two descriptors out of everybody's reach; where they are now."""
        source, sink = _duplicate(self._stdin), _duplicate(self._stdout)
        self._undo += [partial(os.close, source), partial(os.close, sink)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            self._replace(self._stdin, source, nowhere)
            # Was standard error closed when we were started, its number is somebody else's.
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
        # What is printed later to an output that nobody reads would be an error at exit.
        if fd != 1 or not self._broken:
            os.dup2(kept, fd, inheritable)

    def _flush_print(self) -> None:
        """Send what was printed while serving to standard error, before the stream is given back.

        If standard error takes nothing, it goes nowhere: else it would be tried again at exit.
        """
        try:
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            self._silence()
            with suppress(OSError, ValueError, AttributeError):
                sys.stdout.flush()
        if self._broken:
            self._silence()

    def _silence(self, fd: int = 1) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, fd, os.get_inheritable(fd))
        os.close(nowhere)

    def other_side(self) -> Polling | None:
        """What tells from any thread, without reading, that the other side has closed a stream."""
        sinks = [] if self._one_for_both else [(self._output, 0)]
        return polling((self._source, CLOSED), *sinks)

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        main = threading.current_thread() is threading.main_thread()
        signals = (self._watch_signals,) if self._stdio.signals and main else ()
        errors = (self._watch_errors,) if self._errors is not None else ()
        return (self._watch_output, *errors, *signals)

    def _feed(self, data: bytes) -> None:
        if self._errors is not None:
            self._check_errors()  # before handlers run that print
        super()._feed(data)

    def _check_errors(self) -> None:
        """Let what is printed go nowhere if nobody reads it, in the place of failing handlers."""
        if self._errors is not None and self._errors.poll(0):
            self._errors = None
            self._silence(1)
            self._silence(2)

    async def _watch_errors(self) -> None:
        with suppress(OSError):
            await anyio.wait_readable(2)  # nobody writes: this waits for its end
        self._check_errors()

    async def _wait_for_room(self, room: anyio.Event) -> None:
        """Meanwhile the end of input cannot be read, and who has gone will hardly read more."""
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
        """Notice that nobody reads our output any more, though there is nothing to write."""
        if sys.platform == "win32" or self._one_for_both or not _can_end(self._output):
            return
        try:
            await anyio.wait_readable(self._output)  # nobody writes: this waits for its end
        except OSError:
            return
        gone = polling((self._output, 0))
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
                    self._leave(reason)
                    again = True
        except NotImplementedError:  # Windows: the loop takes none; KeyboardInterrupt cancels run()
            return
        finally:
            for number, handler in handlers:  # asyncio leaves the system's default behind
                if handler is not None:  # None: it was not set from Python
                    signal.signal(number, handler)

    async def _close(self) -> None:
        self._detach()
        while self._undo:
            with suppress(OSError):
                self._undo.pop()()
        if self._on_end is not None:
            self._on_end()


def _can_end(fd: int) -> bool:
    """Whether it has another side that may go."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _restorer(fd: int) -> Callable[[], object]:
    """What restores O_NONBLOCK: it belongs to the open file, shared with a terminal's shell."""
    os.fstat(fd)
    try:
        blocking = os.get_blocking(fd)
    except (AttributeError, OSError):  # pipes on Windows
        return bool
    return lambda: os.set_blocking(fd, blocking)


def _duplicate(fd: int) -> int:
    """Another number for an open file, beyond those that stand for standard streams."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.dup(fd)
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
