"""Server side of the stdio binding: this process's standard input and output.

Source: the stdio page of the specification.  Standard output belongs to the protocol alone.  While
the link runs, descriptor 1 leads to standard error, so that a stray ``print()`` or a child process
cannot corrupt the stream.  Descriptor 0 leads to the null device, so that no other code consumes a
message.  The link ends with the end of standard input (by which the client closes it), with SIGTERM
or SIGINT, and silently when standard output has no reader any more.

The client waits for the process to exit.  So a program that serves nothing else must exit soon
after the conversation has ended: it does not wait for handlers that ignore their cancellation, for
blocked worker threads (which the interpreter would wait for), or for programs that handlers have
started.
"""

import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import anyio

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore_transports.link import App, clock
from mcpcore_transports.stdio import reaper
from mcpcore_transports.stream.connection import StreamConnection, WritingHalf
from mcpcore_transports.stream.descriptors import CLOSED, DescriptorChannel, polling
from mcpcore_transports.stream.settings import StdioSettings

_TICK = 0.05
"""Seconds between two checks for the end of an input that is not read for now."""
_CAUGHT = b"\0"
"""Byte for a signal of ours in a pipe that gets the numbers of all signals, too."""
_PATIENCE = 0.1
"""Seconds between SIGTERM and SIGKILL for programs started by handlers."""
_JOIN = 0.05
"""Maximum seconds to wait for idle worker threads to end."""
_EXIT_TICK = 0.005
_LAST_WORDS = 0.05
"""Maximum seconds to flush the output that was printed and not yet written."""


class StdioServerLink(StreamConnection):
    """Link to one client on standard input and output; ``run()`` returns at its end.

    ``stdin`` and ``stdout`` are descriptor numbers, for embedders that were given other ones.
    ``on_begin`` is called with this link once it uses them, ``on_end`` when it no longer does.
    Raises AuthorizationError if the environment is to name the client, and does not.
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
        super().__init__(peer, app, settings=self._stdio.connection)
        if self._stdio.env_principal:
            # late: few authorize
            from mcpcore_transports.auth.environment import environment_principal

            peer.principal = environment_principal()
        self._stdin, self._stdout = stdin, stdout
        self._on_begin, self._on_end = on_begin, on_end
        self._source = self._sink = -1
        self._one_for_both = False
        self._errors: select.poll | None = None  # tells that standard error has lost its reader
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


# The end of the program


class ProgramExit:
    """Watchdog that ends this process after the conversation; create it before serving begins.

    ``linger`` is the seconds from the end of the conversation until the process exits with status
    0, even if handlers still run; None: it is never forced to exit.  ``end_children``: True to end
    the programs that were started meanwhile.
    """

    def __init__(self, linger: float | None, *, end_children: bool) -> None:
        self._linger = linger
        self._end_children = end_children and reaper.HAS_PROC
        self._returned = threading.Event()  # the event loop has ended
        self._over = threading.Event()  # the link no longer runs
        self._counting = False
        self._watcher: threading.Thread | None = None
        self._wake = (-1, -1)  # pipe that wakes the watcher
        self._threads = set(threading.enumerate())
        self._mark = os.urandom(8).hex()
        self._before: set[reaper.Process] = set()
        self._exiting = threading.Lock()
        self.more_time: Callable[[], float] = lambda: 0.0
        """Function that returns the seconds left; called from another thread when time is up."""
        if self._end_children:
            with suppress(ChildProcessError):  # there is none: that is cheaper than a look at all
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                self._before = reaper.offspring("")
            os.environ[reaper.MARK] = ":".join(
                filter(None, (os.environ.get(reaper.MARK), self._mark))
            )

    def __enter__(self) -> "ProgramExit":
        """Enter the context in which the program serves."""
        return self

    @contextmanager
    def signals(self, drain: float) -> Iterator[AsyncIterator[object] | None]:
        """Catch SIGINT and SIGTERM and yield an iterator of them; None where that is impossible.

        The signal handlers run even if the event loop is held up.  From the first signal on, it
        has ``drain`` seconds to end the conversation.
        """
        if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
            yield None
            return
        source, sink = os.pipe()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

        def caught(number: int, frame: object) -> None:
            self._begin(drain)
            with suppress(BlockingIOError):
                os.write(sink, _CAUGHT)

        async def received() -> AsyncIterator[object]:
            # Else one that comes just before the loop begins to wait is heard when it wakes up.
            other = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
            if other != -1:  # Trio has its own
                signal.set_wakeup_fd(other)
            while True:
                await anyio.wait_readable(source)
                with suppress(BlockingIOError):
                    if os.read(source, 1) == _CAUGHT:
                        yield _CAUGHT

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [(number, signal.signal(number, caught)) for number in numbers]
        try:
            yield received()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            os.close(source)
            os.close(sink)

    def watch(self, link: StdioServerLink) -> None:
        """Detect in a thread that the client has closed ``link``, even if the loop is held up."""
        poll = link.other_side()
        if self._linger is None or poll is None:
            return
        self._wake = os.pipe()
        poll.register(self._wake[0], select.POLLIN)
        patience = link.settings.drain + self._linger

        def wait() -> None:
            poll.poll(None)
            # The client has gone, but its requests are answered as long as there is progress.
            steps, since = link.steps, time.monotonic()
            while not self._over.wait(_EXIT_TICK):
                if link.steps != steps:
                    steps, since = link.steps, time.monotonic()
                elif time.monotonic() - since >= patience:
                    self._exit()

        self._watcher = self._start(wait)

    def over(self) -> None:
        """Stop watching the client, as the conversation has ended, and begin the countdown."""
        self._over.set()
        if self._watcher is not None:
            os.write(self._wake[1], b".")
            self._watcher.join()
            for end in self._wake:
                os.close(end)
            self._watcher = None
        self._begin(0.0)

    def _begin(self, drain: float) -> None:
        """Start the countdown to the exit: ``drain`` plus ``linger`` seconds; once only."""
        if self._linger is None or self._counting:
            return
        self._counting = True
        patience = drain + self._linger

        def count() -> None:
            left = patience
            while not self._returned.wait(left):
                left = self.more_time()
                if left <= 0:
                    self._exit()

        self._start(count)

    def __exit__(self, *exc: object) -> None:
        """End child programs and wait for threads, after the event loop has ended."""
        self._returned.set()
        self._end_programs()
        if self._linger is None:
            return
        deadline = time.monotonic() + _JOIN
        for thread in threading.enumerate():
            if thread.daemon or thread in self._threads:
                continue
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                # The interpreter would wait for it before it exits: exit before that.
                self._start(self._follow)
                return

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, name="mcpcore exit", daemon=True)
        thread.start()
        return thread

    def _end_programs(self) -> None:
        """End the programs that were started since serving began, and their descendants."""
        if not self._end_children:
            return
        os.environ[reaper.MARK] = (
            os.environ.get(reaper.MARK, "").removesuffix(self._mark).removesuffix(":")
        )
        if not os.environ[reaper.MARK]:
            del os.environ[reaper.MARK]
        left = reaper.offspring(self._mark) - self._before
        reaper.signal_all(left, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while left and time.monotonic() < deadline:
            time.sleep(_EXIT_TICK)
            left = {each for each in left if reaper.is_alive(each)}
        reaper.signal_all((reaper.offspring(self._mark) | left) - self._before, signal.SIGKILL)

    def _exit(self) -> None:
        with self._exiting:
            try:
                self._end_programs()
            finally:
                _exit()

    def _follow(self) -> None:
        threading.main_thread().join()
        _exit()


def _exit() -> None:
    # Flushing may block forever: the output may have no reader, or a held up handler writes to it.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_LAST_WORDS)
    os._exit(0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
