"""Guard process that ends the servers of this process if it is killed.

A client that is killed with SIGKILL runs no code; its servers see the end of their input, and some
ignore it.  The guard then sees the end of its own input and does what the client would have done:
wait, SIGTERM, wait, SIGKILL, to the servers and to all their descendants.  There is one guard for
all servers of a process, from the first to the last; it costs a bare interpreter.  (A signal that
the kernel sends at a parent's death would reach only the server, not its descendants, and would
already come with the end of the thread that started it.)
"""

import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import chain
from pathlib import Path

_log = logging.getLogger("mcpcore.stdio")

_PROGRAM = str(Path(__file__).with_name("reaper_program.py"))


class Guard:
    """Guard of this process; safe from any thread, and never blocks for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, list[str]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._usable = True

    @property
    def pid(self) -> int | None:
        """Process id of the guard while it runs."""
        process = self._process
        return None if process is None else process.pid

    def expect(self, mark: str, close_wait: float, term_wait: float) -> None:
        """Announce a server that is about to be started with ``mark``."""
        with self._lock:
            self._lines[mark] = [f"expect {mark} {close_wait} {term_wait}\n"]
            self._tell(self._lines[mark][-1])

    def born(self, mark: str, pid: int) -> None:
        """Report the process id of a started server."""
        with self._lock:
            self._lines[mark].append(f"born {mark} {pid}\n")
            self._tell(self._lines[mark][-1])

    def gone(self, mark: str) -> None:
        """Report the end of a server and of its descendants."""
        with self._lock:
            if self._lines.pop(mark, None) is None:
                return
            if self._lines:
                self._tell(f"gone {mark}\n")
            else:
                self._dismiss()
                self._usable = True  # a later start of the guard may succeed

    def forget(self) -> None:
        """Reset the state in a forked process: guard and servers belong to the parent."""
        self._lock = threading.Lock()
        self._lines.clear()
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.returncode = 0  # not ours to wait for
            with suppress(OSError):
                process.stdin.close()

    def _tell(self, line: str) -> None:
        if not self._usable:
            return
        process = self._process
        if process is not None and process.poll() is None:
            assert process.stdin is not None  # noqa: S101
            with suppress(OSError):  # it was stopped or killed just now
                os.write(process.stdin.fileno(), line.encode())
                return
        if process is not None:
            self._dismiss()
        self._hire()

    def _hire(self) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603  (this interpreter)
                [sys.executable, "-I", "-S", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                start_new_session=True,  # not reached by a terminal's Ctrl-C
            )
        except (OSError, ValueError) as error:
            self._give_up(error)
            return
        self._process = process
        assert process.stdin is not None  # noqa: S101
        try:
            os.set_blocking(process.stdin.fileno(), False)
        except OSError as error:
            self._dismiss()
            self._give_up(error)
            return
        with suppress(OSError):
            os.write(process.stdin.fileno(), "".join(chain(*self._lines.values())).encode())

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        _log.warning("servers would outlive a crash of this process: %s", error)

    def _dismiss(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdin is not None  # noqa: S101
            process.stdin.close()


GUARD = Guard()
"""Guard of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=GUARD.forget)
