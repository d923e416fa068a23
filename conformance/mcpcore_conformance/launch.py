"""Starting server programs, which announce themselves with ``listening on <url>`` on stderr."""

import os
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from time import monotonic, sleep

ANNOUNCEMENT = "listening on "


class LaunchError(Exception):
    """The program ended, or stayed silent, before it had announced all its addresses."""


def _read_stderr(
    process: subprocess.Popen[str], addresses: Queue[str | None], tail: deque[str]
) -> None:
    """Drain stderr to its end, so that the child never blocks on it; runs in a thread."""
    assert process.stderr is not None
    for line in process.stderr:
        tail.append(line.rstrip())
        if line.startswith(ANNOUNCEMENT):
            addresses.put(line.removeprefix(ANNOUNCEMENT).strip())
    addresses.put(None)


def _stop(process: subprocess.Popen[str], grace: float) -> None:
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _running(
    command: Sequence[str],
    grace: float,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[subprocess.Popen[str], Queue[str | None], deque[str]]]:
    """Run a program; yields it, its addresses as it announces them, and its last lines."""
    tail: deque[str] = deque(maxlen=20)
    announced: Queue[str | None] = Queue()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=env,
        cwd=cwd,
    )
    reader = threading.Thread(
        target=_read_stderr, args=(process, announced, tail), name="stderr", daemon=True
    )
    reader.start()
    try:
        yield process, announced, tail
    finally:
        _stop(process, grace)
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def _error(command: Sequence[str], problem: str, tail: deque[str]) -> LaunchError:
    said = "".join(f"\n  {line}" for line in tail)
    return LaunchError(f"{' '.join(command)}: {problem}{said}")


@contextmanager
def serving(
    command: Sequence[str],
    *,
    addresses: int = 1,
    timeout: float = 30.0,
    grace: float = 5.0,
    env: Mapping[str, str] | None = None,
) -> Iterator[list[str]]:
    """Run ``command`` for as long as the context lasts and yield the addresses it announces.

    Waits up to ``timeout`` seconds for as many ``addresses``; at the end sends SIGTERM and, after
    ``grace`` seconds, SIGKILL.  Raises LaunchError with the last lines of stderr.
    """
    with _running(command, grace, env) as (process, announced, tail):
        found: list[str] = []
        until = monotonic() + timeout
        while len(found) < addresses:
            try:
                address = announced.get(timeout=max(0.0, until - monotonic()))
            except Empty:
                problem = f"no address within {timeout:g} s"
            else:
                if address is not None:
                    found.append(address)
                    continue
                problem = f"ended with status {process.wait()}"
            raise _error(command, problem, tail)
        yield found


@contextmanager
def serving_at(
    command: Sequence[str],
    host: str,
    port: int,
    *,
    timeout: float = 30.0,
    grace: float = 5.0,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Iterator[None]:
    """Run ``command``, which listens at an address that was agreed on, and need not announce it.

    Waits up to ``timeout`` seconds until connections are taken there; see :func:`serving`.
    """
    if _taken(host, port):
        raise LaunchError(f"another program listens at {host}:{port}")
    with _running(command, grace, env, cwd) as (process, announced, tail):
        until = monotonic() + timeout
        while not _taken(host, port):
            if process.poll() is not None:
                with suppress(Empty):  # another process may hold its stderr open
                    while announced.get(timeout=1.0) is not None:
                        pass
                raise _error(command, f"ended with status {process.wait()}", tail)
            if monotonic() > until:
                raise _error(command, f"not at {host}:{port} within {timeout:g} s", tail)
            sleep(_PAUSE)
        yield


_PAUSE = 0.05
"""Seconds between two attempts to connect."""


def _taken(host: str, port: int) -> bool:
    """Whether connections are taken at an address."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True
