"""The server's side of the stdio binding: this process's standard input and output.

Source: the stdio page of the specification.  Standard output belongs to the protocol alone: while
the link runs, descriptor 1 leads to standard error, so that a stray ``print()`` or a child process
cannot corrupt the stream, and descriptor 0 leads to nowhere, so that nobody else eats a message.
The link ends with standard input (the client's way to say that it is done), with SIGTERM or SIGINT,
and, without a word, when nobody reads standard output any more.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from msgspec import Struct, field

from mcpcore.engine.peer import Peer
from transports.descriptors import DescriptorLink
from transports.link import App
from transports.link_errors import LinkError
from transports.pump import PumpSettings


class StdioSettings(Struct, frozen=True, kw_only=True):
    """How standard input and output are used."""

    pump: PumpSettings = field(default_factory=PumpSettings)
    redirect: bool = True
    """Guard descriptors 0 and 1 against everybody else while serving."""
    signals: bool = True
    """SIGTERM and SIGINT end the link in good order; a second one ends it at once."""


class StdioServerLink(DescriptorLink):
    """Serves one client on standard input and output; ``run()`` returns when it is over.

    ``stdin`` and ``stdout`` are descriptor numbers, for embedders that were handed others.
    """

    def __init__(
        self,
        peer: Peer,
        app: App,
        *,
        settings: StdioSettings | None = None,
        stdin: int = 0,
        stdout: int = 1,
    ) -> None:
        self._stdio = settings or StdioSettings()
        super().__init__(peer, app, settings=self._stdio.pump)
        self._stdin, self._stdout = stdin, stdout
        self._undo: list[Callable[[], object]] = []

    async def _open(self) -> None:
        source, sink = self._stdin, self._stdout
        try:
            for fd in (source, sink):
                self._undo.append(_restorer(fd))
            if self._stdio.redirect:
                source, sink = self._guard()
            self._attach(source, sink)
        except OSError as error:
            raise LinkError(f"standard input or output cannot be used: {error}") from error

    def _guard(self) -> tuple[int, int]:
        """Move the two descriptors out of everybody's reach; where they are now."""
        source, sink = os.dup(self._stdin), os.dup(self._stdout)
        self._undo += [partial(os.close, source), partial(os.close, sink)]
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            self._replace(self._stdin, source, nowhere)
            try:
                self._replace(self._stdout, sink, 2)
            except OSError:  # standard error is closed
                self._replace(self._stdout, sink, nowhere)
        finally:
            os.close(nowhere)
        self._undo.append(_flush_print)
        return source, sink

    def _replace(self, fd: int, kept: int, other: int) -> None:
        inheritable = os.get_inheritable(fd)
        os.dup2(other, fd, inheritable)
        self._undo.append(lambda: os.dup2(kept, fd, inheritable))

    def _background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        main = threading.current_thread() is threading.main_thread()
        return (self._watch_signals,) if self._stdio.signals and main else ()

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


def _restorer(fd: int) -> Callable[[], object]:
    """What restores O_NONBLOCK: it belongs to the open file, shared with a terminal's shell."""
    os.fstat(fd)
    try:
        blocking = os.get_blocking(fd)
    except (AttributeError, OSError):  # pipes on Windows
        return bool
    return lambda: os.set_blocking(fd, blocking)


def _flush_print() -> None:
    """Send what was printed while serving to standard error, before the stream is given back."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
