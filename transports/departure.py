"""The end of a program that served standard input and output: prompt, whatever its handlers do.

The client waits for the process, so that it must go soon after the conversation has ended: handlers
that do not heed their cancellation, worker threads that block (which the interpreter would wait
for) and programs that handlers have started do not keep it.
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

from transports.descriptors import Polling
from transports.process_tree import (
    HAS_PROC,
    MARK,
    Process,
    has_children,
    is_alive,
    offspring,
    signal_all,
)
from transports.stdio import StdioServerLink

_PATIENCE = 0.1
"""Seconds that programs started by handlers have after SIGTERM."""
_JOIN = 0.05
"""Seconds that idle worker threads have to end."""
_TICK = 0.005
_LAST_WORDS = 0.05
"""Seconds for what was printed and not yet written."""


class Departure:
    """Sees to the end of this process; made before serving begins.

    ``linger``: seconds from the end of the conversation until the process exits, with status 0,
    though handlers still run; None: never.  ``end_children``: end what was started meanwhile.
    """

    def __init__(self, linger: float | None, *, end_children: bool) -> None:
        self._linger = linger
        self._end_children = end_children and HAS_PROC
        self._returned = threading.Event()
        self._threads = set(threading.enumerate())
        self._mark = os.urandom(8).hex()
        self._before: set[Process] = set()
        self._watched = False
        self._over = threading.Event()  # the link no longer runs
        self._wake: list[int] = []  # a pipe
        self._watcher: threading.Thread | None = None
        self.more_time: Callable[[], float] = lambda: 0.0
        """Asked from another thread, when time is up, for how many seconds there are yet."""
        self._exiting = threading.Lock()
        if self._end_children:
            self._before = offspring("") if has_children() else set()
            os.environ[MARK] = ":".join(filter(None, (os.environ.get(MARK), self._mark)))

    def __enter__(self) -> "Departure":
        """Serve now."""
        return self

    @contextmanager
    def signals(self, drain: float) -> Iterator[AsyncIterator[object] | None]:
        """Catch SIGINT and SIGTERM and give them one by one; None where that cannot be done.

        The handlers run though the event loop is held up: with the first signal it has ``drain``
        seconds to end the conversation.
        """
        if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
            yield None
            return
        source, sink = os.pipe()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

        def caught(number: int, frame: object) -> None:
            self.begin(drain)
            with suppress(BlockingIOError):
                os.write(sink, b".")

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [(number, signal.signal(number, caught)) for number in numbers]
        try:
            yield _bytes_of(source)
        finally:
            for number, handler in before:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            os.close(source)
            os.close(sink)

    def watch(self, link: StdioServerLink) -> None:
        """Serve with this: notice the end of the other side though the event loop is held up."""
        poll = link.other_side()
        if self._linger is None or poll is None:
            return
        self._wake = list(os.pipe())
        poll.register(self._wake[0], select.POLLIN)
        patience = link.settings.drain + self._linger
        self._watcher = threading.Thread(
            target=self._watch_other_side, args=(link, poll, patience), name="ends", daemon=True
        )
        self._watcher.start()

    def over(self) -> None:
        """The conversation is over."""
        self._over.set()
        if self._watcher is not None:
            os.write(self._wake[1], b".")
            self._watcher.join()
            self._watcher = None
        while self._wake:
            os.close(self._wake.pop())
        self.begin()

    def begin(self, drain: float = 0.0) -> None:
        """The conversation is over, or will be within ``drain`` seconds."""
        if self._linger is not None and not self._watched:
            self._watched = True
            patience = drain + self._linger
            threading.Thread(
                target=self._watch, args=(patience,), name="departure", daemon=True
            ).start()

    def __exit__(self, *exc: object) -> None:
        """The event loop has ended: everything is as if it had never run, but for threads."""
        self._returned.set()
        self.end_children()
        if self._linger is None:
            return
        deadline = time.monotonic() + _JOIN
        for thread in threading.enumerate():
            if thread.daemon or thread in self._threads:
                continue
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                # The interpreter would wait for it before it exits: be there first.
                threading.Thread(target=self._follow, name="departure", daemon=True).start()
                return

    def end_children(self) -> None:
        """End the programs that were started since, and what those have started."""
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

    def _watch(self, patience: float) -> None:
        while not self._returned.wait(patience):
            patience = self.more_time()
            if patience <= 0:
                self._exit()

    def _watch_other_side(self, link: StdioServerLink, poll: Polling, patience: float) -> None:
        poll.poll(None)
        # It has gone, and what it has sent is still to be answered: as long as that goes on.
        steps, since = link.steps, time.monotonic()
        while not self._over.wait(_TICK):
            if link.steps != steps:
                steps, since = link.steps, time.monotonic()
            elif time.monotonic() - since >= patience:
                self._exit()

    def _exit(self) -> None:
        with self._exiting:
            try:
                self.end_children()
            finally:
                _exit()

    def _follow(self) -> None:
        threading.main_thread().join()
        _exit()


async def _bytes_of(fd: int) -> AsyncIterator[object]:
    while True:
        await anyio.wait_readable(fd)
        with suppress(BlockingIOError):
            yield os.read(fd, 1)


def _exit() -> None:
    # Nobody may read it: writing it may take forever, or the held up handler may just be doing so.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(_LAST_WORDS)
    os._exit(0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
