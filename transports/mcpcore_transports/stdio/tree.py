"""Descendants of a process: how they are found and ended.

This works on Linux, through ``/proc``; elsewhere only the process group can be reached.  To a
process belong its group, its session, its descendants, and all processes that carry its mark in the
environment.  The mark also finds processes that have left session and parents (as launchers and
daemons do).  A process is identified by its id and its start time, so that an id that was reused is
never mistaken.

Only the standard library is imported, because :mod:`mcpcore_transports.stdio.reaper_program` runs
on this.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

MARK = "MCPCORE_PROCESS"
"""Variable that marks a server and its descendants; nested marks are joined by colons."""

HAS_PROC = os.path.exists("/proc/self/stat")


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
    return _Status(
        Process(pid, int(words[19])),
        int(words[1]),
        int(words[2]),
        int(words[3]),
        words[0] in (b"Z", b"X"),
    )


def identify(pid: int) -> Process | None:
    """Return the process that has this id now, also a dead one that was not reaped."""
    status = _status(pid)
    return None if status is None else status.process


def is_alive(process: Process) -> bool:
    """Return True if the process still runs; a dead one that was not reaped does not."""
    status = _status(process.pid)
    return status is not None and status.process == process and not status.dead


def family(root: Process, mark: str | None = "") -> set[Process]:
    """Return the processes that belong to ``root``, without itself and us; it may have ended.

    ``mark`` is its mark, empty for none; None: return only its process group.
    """
    known = _living()
    present = known.get(root.pid)
    if present is not None and present.process != root:
        # Its id was reused, which happens only after all of its group are gone.
        return set() if mark is None else _spread(known, (), root, mark)
    number = root.pid
    if mark is None:
        return {each.process for each in known.values() if each.group == number} - {root}
    seeds = [each for each in known.values() if number in (each.parent, each.group, each.session)]
    return _spread(known, seeds, root, mark)


def has_children() -> bool:
    """Return True if we have a child that was not reaped; much cheaper than :func:`offspring`."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def offspring(mark: str) -> set[Process]:
    """Return our children, the processes with this mark, and the descendants of both."""
    root = identify(os.getpid())
    if root is None:
        return set()
    known = _living()
    return _spread(known, [each for each in known.values() if each.parent == root.pid], root, mark)


def _living() -> dict[int, _Status]:
    known: dict[int, _Status] = {}
    try:
        names = os.listdir("/proc")
    except OSError:  # perhaps out of descriptors: those in the group are reached anyway
        return known
    for name in names:
        if name.isdigit() and (status := _status(int(name))) is not None and not status.dead:
            known[status.process.pid] = status
    return known


def _spread(
    known: dict[int, _Status], seeds: Iterable[_Status], root: Process, mark: str
) -> set[Process]:
    """Return the seeds, the marked processes and the descendants of both, if younger than root."""
    children: dict[int, list[_Status]] = {}
    for status in known.values():
        children.setdefault(status.parent, []).append(status)
    word = mark.encode()
    todo = [*seeds]
    if word:
        chosen = {each.process for each in todo}
        todo += [
            each
            for each in known.values()
            if each.process.start >= root.start
            and each.process not in chosen
            and _carries(each, word)
        ]
    found: set[Process] = set()
    ours = os.getpid()
    while todo:
        process = todo.pop().process
        if process not in found and process.pid != ours and process.start >= root.start:
            found.add(process)
            todo += children.get(process.pid, ())
    return found - {root}


def marked(mark: str) -> set[Process]:
    """Return the processes that carry this mark in their environment."""
    word = mark.encode()
    return {
        each.process
        for each in _living().values()
        if each.process.pid != os.getpid() and _carries(each, word)
    }


def _carries(status: _Status, word: bytes) -> bool:
    try:
        environment = _read(f"/proc/{status.process.pid}/environ")
    except OSError:  # gone, or another user's
        return False
    name = MARK.encode() + b"="
    return any(
        entry.startswith(name) and word in entry[len(name) :].split(b":")
        for entry in environment.split(b"\0")
    )


def send_signal(process: Process, number: int, *, spare_group: int = 0) -> bool:
    """Signal a process, never another one with its id; return True if it was present.

    No signal is sent to a member of the group ``spare_group``.
    """
    with suppress(OSError):
        fd = os.pidfd_open(process.pid)
        try:
            status = _status(process.pid)
            if status is not None and status.process == process and not status.dead:
                if not spare_group or status.group != spare_group:
                    signal.pidfd_send_signal(fd, number)
                return True
        finally:
            os.close(fd)
    return False


def signal_all(processes: set[Process], number: int, *, spare_group: int = 0) -> set[Process]:
    """Signal all processes; return those that were present."""
    return {each for each in processes if send_signal(each, number, spare_group=spare_group)}
