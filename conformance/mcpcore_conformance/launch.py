"""Starting server programs that announce themselves with ``listening on <url>`` on stderr."""

import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from time import monotonic

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
    )
    reader = threading.Thread(
        target=_read_stderr, args=(process, announced, tail), name="stderr", daemon=True
    )
    reader.start()
    try:
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
            said = "".join(f"\n  {line}" for line in tail)
            raise LaunchError(f"{' '.join(command)}: {problem}{said}")
        yield found
    finally:
        _stop(process, grace)
        reader.join()
        assert process.stderr is not None
        process.stderr.close()
