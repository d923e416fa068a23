"""Prompt exit of a program that served standard input and output.

The client waits for the process to exit.  So it must exit soon after the conversation has ended.
It does not wait for handlers that ignore their cancellation, for blocked worker threads (which the
interpreter would wait for), or for programs that handlers have started.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from mcpcore_transports.stdio.reaper import (
    HAS_PROC,
    MARK,
    Process,
    is_alive,
    offspring,
    signal_all,
)
from mcpcore_transports.stdio.server import StdioServerLink

_PATIENCE = 0.1
"""Seconds between SIGTERM and SIGKILL for programs started by handlers."""
_JOIN = 0.05
"""Maximum seconds to wait for idle worker threads to end."""
_TICK = 0.005
_LAST_WORDS = 0.05
"""Maximum seconds to flush the output that was printed and not yet written."""


class ProgramExit:
    """Watchdog that ends this process after the conversation; create it before serving begins.

    ``linger`` is the seconds from the end of the conversation until the process exits with status
    0, even if handlers still run; None: it is never forced to exit.  ``end_children``: True to end
    the programs that were started meanwhile.
    """

    def __init__(self, linger: float | None, *, end_children: bool) -> None:
        self._linger = linger
        self._end_children = end_children and HAS_PROC
        self._returned = threading.Event()  # the event loop has ended
        self._over = threading.Event()  # the link no longer runs
        self._counting = False
        self._watcher: threading.Thread | None = None
        self._wake = -1  # the end of a pipe that wakes the watcher
        self._threads = set(threading.enumerate())
        self._mark = os.urandom(8).hex()
        self._before: set[Process] = set()
        self._exiting = threading.Lock()
        self.more_time: Callable[[], float] = lambda: 0.0
        """Function that returns the seconds left; called from another thread when time is up."""
        if self._end_children:
            with suppress(ChildProcessError):  # there is none: that is cheaper than a look at all
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                self._before = offspring("")
            os.environ[MARK] = ":".join(filter(None, (os.environ.get(MARK), self._mark)))

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
                os.write(sink, b".")

        async def received() -> AsyncIterator[object]:
            while True:
                await anyio.wait_readable(source)
                with suppress(BlockingIOError):
                    yield os.read(source, 1)

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [(number, signal.signal(number, caught)) for number in numbers]
        try:
            yield received()
        finally:
            for number, handler in before:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            os.close(source)
            os.close(sink)

    def watch(self, link: StdioServerLink) -> None:
        """Detect in a thread that the client has closed ``link``, even if the loop is held up."""
        poll = link.other_side()
        if self._linger is None or poll is None:
            return
        wake, self._wake = os.pipe()
        poll.register(wake, select.POLLIN)
        patience = link.settings.drain + self._linger

        def wait() -> None:
            poll.poll(None)
            # The client has gone, but its requests are answered as long as there is progress.
            steps, since = link.steps, time.monotonic()
            while not self._over.wait(_TICK):
                if link.steps != steps:
                    steps, since = link.steps, time.monotonic()
                elif time.monotonic() - since >= patience:
                    self._exit()
            os.close(wake)

        self._watcher = self._start(wait)

    def over(self) -> None:
        """Stop watching the client, as the conversation has ended, and begin the countdown."""
        self._over.set()
        if self._watcher is not None:
            os.write(self._wake, b".")
            self._watcher.join()
            os.close(self._wake)
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
        os.environ[MARK] = os.environ.get(MARK, "").removesuffix(self._mark).removesuffix(":")
        if not os.environ[MARK]:
            del os.environ[MARK]
        left = offspring(self._mark) - self._before
        signal_all(left, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while left and time.monotonic() < deadline:
            time.sleep(_TICK)
            left = {each for each in left if is_alive(each)}
        signal_all((offspring(self._mark) | left) - self._before, signal.SIGKILL)

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
