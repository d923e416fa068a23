"""Reaper of spawned process trees: how their processes are found, and a guard for a killed client.

A process belongs to a tree by its group, its session, its parent, or the mark of the tree in its
environment.  The mark also finds processes that have left session and parents, as launchers and
daemons do.  All but the group needs ``/proc`` (Linux); elsewhere only the group can be reached.  A
process is identified by its id and its start time, so that an id that was reused is never mistaken.

A client that is killed with SIGKILL runs no code; its servers see the end of their input, and some
ignore it.  The guard, a process beside the client, then sees the end of its own input and does what
the client would have done: wait, SIGTERM, wait, SIGKILL.  There is one guard for all servers of a
process, from the first to the last; it costs a bare interpreter, which runs this file without a
search path.  (A signal that the kernel sends at a parent's death would reach only the server, not
its descendants, and would already come with the end of the thread that started it.)
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # late: slow to import, and servers spawn nothing
    import subprocess

MARK = "MCPCORE_PROCESS"
"""Variable that marks a server and its descendants; nested marks are joined by colons."""

HAS_PROC = os.path.exists("/proc/self/stat")

KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Signal that cannot be ignored; Windows has only SIGTERM."""

_TICK = 0.02
_ROUNDS = 50


# Processes


class Process(NamedTuple):
    """Process: its id, and its start time (clock ticks since the system was started)."""

    pid: int
    start: int


class _Status(NamedTuple):
    process: Process
    parent: int
    group: int
    session: int
    dead: bool


def _read(path: str) -> bytes:
    """Read a whole file, without ``open``, which is gone when coroutines are closed at exit."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _status(pid: int) -> _Status | None:
    try:
        # The name is in parentheses and may contain anything.
        words = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return None
    if len(words) < 20:
        return None
    parent, group, session = map(int, words[1:4])
    return _Status(Process(pid, int(words[19])), parent, group, session, words[0] in (b"Z", b"X"))


def identify(pid: int) -> Process | None:
    """Return the process that has this id now, also a dead one that was not reaped."""
    status = _status(pid)
    return None if status is None else status.process


def is_alive(process: Process) -> bool:
    """Return True if the process still runs; a dead one that was not reaped does not."""
    status = _status(process.pid)
    return status is not None and status.process == process and not status.dead


def offspring(mark: str) -> set[Process]:
    """Return our children, the processes with this mark, and the descendants of both."""
    return _find(identify(os.getpid()), mark, lambda each: each.parent == os.getpid())


def signal_all(processes: set[Process], number: int, *, spared: int = 0) -> None:
    """Signal processes, but never others with their ids, nor members of the group ``spared``."""
    for process in processes:
        with suppress(OSError):
            fd = os.pidfd_open(process.pid)
            try:
                status = _status(process.pid)
                same = status is not None and status.process == process and not status.dead
                if status is not None and same and not (spared and status.group == spared):
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)


def _find(
    root: Process | None, mark: str, belongs: Callable[[_Status], bool] | None = None
) -> set[Process]:
    """Return the processes that belong to ``root`` or carry the mark, and their descendants.

    Neither ``root`` nor this process is one of them, and none is older than ``root``.
    """
    known: list[_Status] = []
    with suppress(OSError):  # perhaps out of descriptors: those in the group are reached anyway
        found = (_status(int(name)) for name in os.listdir("/proc") if name.isdigit())
        known = [each for each in found if each is not None and not each.dead]
    since = 0 if root is None else root.start
    word = mark.encode()
    children: dict[int, list[_Status]] = {}
    todo: list[_Status] = []
    for each in known:
        children.setdefault(each.parent, []).append(each)
        if each.process.start >= since and (
            (belongs is not None and belongs(each)) or (word and _carries(each.process.pid, word))
        ):
            todo.append(each)
    tree: set[Process] = set()
    ours = os.getpid()
    while todo:
        process = todo.pop().process
        if process not in tree and process.pid != ours:
            tree.add(process)
            todo += children.get(process.pid, ())
    return tree - {root}


def _carries(pid: int, word: bytes) -> bool:
    try:
        environment = _read(f"/proc/{pid}/environ")
    except OSError:  # gone, or another user's
        return False
    name = MARK.encode() + b"="
    return any(
        entry.startswith(name) and word in entry[len(name) :].split(b":")
        for entry in environment.split(b"\0")
    )


class ProcessTree:
    """Process that is started by a client, its *root*, with all processes that belong to it.

    The root has a group of its own.  ``close_wait`` and ``term_wait`` are the seconds to exit after
    the end of its input and after SIGTERM.  Without ``descendants`` its group is all there is.
    """

    def __init__(
        self, close_wait: float, term_wait: float, *, mark: str = "", descendants: bool = True
    ) -> None:
        self.close_wait, self.term_wait = close_wait, term_wait
        self.mark = mark or os.urandom(8).hex()
        self.pid = 0
        """Process id of the root; 0 before it was started."""
        self._visible = HAS_PROC and descendants
        self._root: Process | None = None
        self._seen: set[Process] = set()

    @property
    def variable(self) -> str:
        """Value of :data:`MARK` in the environment of the root."""
        return ":".join(filter(None, (os.environ.get(MARK), self.mark)))

    def started(self, pid: int) -> None:
        """Set the process id of the root, which was just started."""
        self.pid = pid
        self._root = identify(pid) if self._visible else None
        self._seen = set() if self._root is None else {self._root}

    def look(self) -> None:
        """Look for processes of the tree: some can be found only as long as their parents run."""
        if self._visible:
            self._seen |= _find(self._root, self.mark, self._belongs)

    def _belongs(self, each: _Status) -> bool:
        return self._root is not None and self.pid in (each.parent, each.group, each.session)

    def remains(self) -> bool:
        """Return True if a known process still runs."""
        if self._visible:
            self._seen = {each for each in self._seen if is_alive(each)}
            return bool(self._seen)
        with suppress(ProcessLookupError, PermissionError, AttributeError):
            if self.pid:
                os.killpg(self.pid, 0)
                return True
        return False

    def send(self, number: int) -> bool:
        """Signal all processes, known or not; return True if there were any."""
        self.look()
        present = self.remains()
        spared = 0
        # While a group has members its id is given to no other process.
        if self.pid and (not self._visible or identify(self.pid) in (self._root, None)):
            try:
                if hasattr(os, "killpg"):
                    os.killpg(self.pid, number)
                    spared = self.pid
                else:
                    os.kill(self.pid, number)
            except PermissionError:  # macOS says this also if one of the group is a zombie
                with suppress(OSError):
                    os.kill(self.pid, number)
            except OSError:
                pass
        signal_all(self._seen, number, spared=spared)
        return present


def bury(trees: list[ProcessTree]) -> None:
    """End all trees at the same time, each within its own times; blocks."""
    now = time.monotonic()
    steps = [(now + each.close_wait, int(signal.SIGTERM), each) for each in trees]
    while steps:
        later = []
        for due, number, tree in steps:
            tree.look()
            if not tree.remains():
                continue
            if time.monotonic() < due:
                later.append((due, number, tree))
            elif number == signal.SIGTERM:
                tree.send(number)
                later.append((due + tree.term_wait, KILL, tree))
            else:
                for _ in range(_ROUNDS):  # they may be starting others
                    if not tree.send(number):
                        break
                    time.sleep(_TICK)
        steps = later
        time.sleep(_TICK)


# The guard


class ProcessGuard:
    """Guard of the trees of this process, which are told to it; safe from any thread.

    A line for each: ``MARK PID CLOSE TERM``, or ``MARK`` alone once it is gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._usable = True

    def watch(self, tree: ProcessTree) -> None:
        """Watch a tree: call this before its root is started, and again afterwards."""
        line = f"{tree.mark} {tree.pid} {tree.close_wait} {tree.term_wait}\n"
        with self._lock:
            self._lines[tree.mark] = line
            self._tell(line)

    def forget(self, tree: ProcessTree) -> None:
        """Forget a tree, of which nothing is left; the guard ends with the last one."""
        with self._lock:
            if self._lines.pop(tree.mark, None) is None:
                return
            if self._lines:
                self._tell(f"{tree.mark}\n")
            else:
                self._dismiss()
                self._usable = True  # a later start of the guard may succeed

    def reset(self) -> None:
        """Reset the state in a forked process: guard and trees belong to the parent."""
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
        self._dismiss()
        try:
            self._hire()
        except (OSError, ValueError) as error:
            import logging

            self._dismiss()
            self._usable = False
            logging.getLogger("mcpcore.stdio").warning(
                "servers would outlive a crash of this process: %s", error
            )

    def _hire(self) -> None:
        import subprocess  # imported late: the guard itself, which runs this file, needs none

        self._process = process = subprocess.Popen(  # noqa: S603  (this interpreter)
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,  # not reached by a terminal's Ctrl-C
        )
        assert process.stdin is not None  # noqa: S101
        os.set_blocking(process.stdin.fileno(), False)
        with suppress(OSError):
            os.write(process.stdin.fileno(), "".join(self._lines.values()).encode())

    def _dismiss(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdin is not None  # noqa: S101
            process.stdin.close()


def _told() -> list[ProcessTree]:
    """Read until the client has died; return the trees that it leaves behind."""
    trees: dict[str, ProcessTree] = {}
    for line in sys.stdin:
        mark, *rest = line.split()
        if not rest:
            trees.pop(mark, None)
            continue
        trees[mark] = tree = ProcessTree(float(rest[1]), float(rest[2]), mark=mark)
        if int(rest[0]):
            tree.started(int(rest[0]))
    return list(trees.values())


if __name__ == "__main__":
    bury(_told())
else:
    GUARD = ProcessGuard()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=GUARD.reset)
