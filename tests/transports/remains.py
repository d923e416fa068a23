"""What a process has left behind: for tests of how servers end."""

import os
import secrets
import select
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.clock import PATIENCE


def new_token() -> str:
    """A word for :func:`holders`: digits, so that it can be the argument of ``sleep``."""
    return f"{secrets.randbelow(10**18):018}"


def holders(token: str) -> dict[int, str]:
    """The processes whose command line holds ``token``, other than this one; dead ones too."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            )
        except OSError:
            continue
        if token in words:
            found[int(folder.name)] = words
    return found


def wait_held(token: str, count: int, timeout: float = PATIENCE) -> None:
    """Wait until so many hold ``token``: one that was just started does not yet."""
    deadline = time.monotonic() + timeout
    while len(found := holders(token)) != count:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)  # nobody tells of what others start


def wait_gone(token: str, timeout: float = PATIENCE) -> dict[int, str]:
    """Wait until nobody holds ``token``; who still does after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while (found := holders(token)) and time.monotonic() < deadline:
        for pid in found:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(fd)
    return found


def wait_input_closed(pid: int, writer: int, timeout: float = PATIENCE) -> None:
    """Wait until ``writer`` has closed the pipe that ``pid`` reads as its standard input."""
    pipe = os.readlink(f"/proc/{pid}/fd/0")
    deadline = time.monotonic() + timeout
    while pipe in _open_files(writer):
        assert time.monotonic() < deadline, pipe
        time.sleep(0.001)  # nobody tells of what others close


def _open_files(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(each))
    return found


def children() -> set[int]:
    """Our child processes, dead ones that nobody has reaped included."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(number) for number in text.split()}


def held() -> tuple[set[str], set[int], int]:
    """What this process has of what may leak: descriptors, children, threads."""
    # Trio keeps idle threads of its own for a while.
    threads = [each for each in threading.enumerate() if not each.name.startswith("Trio")]
    return set(os.listdir("/proc/self/fd")), children(), len(threads)
