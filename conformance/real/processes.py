"""Processes of a run: started, and marked, so that what should be gone can be looked for.

A mark is a variable of the environment, which goes on to whatever a program starts.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import anyio
from anyio.abc import Process
from msgspec import Struct

MARK = "MCPCORE_REAL_RUN"
START = 180.0
"""Seconds for a server to listen."""
GRACE = 10.0
"""Seconds to end after SIGTERM."""
GONE = 90.0
"""Seconds for everything to end that has lost whom it talked to."""
PROC = Path("/proc")


class NotStarted(Exception):
    """A program ended, or did not listen, before it was to be talked to."""


class Done(Struct, frozen=True):
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """Its last words."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.status}"


async def run(command: Sequence[str], env: Mapping[str, str], seconds: float) -> Done:
    """Run a command to its end.  Raises NotStarted if that takes longer, and kills it then."""
    try:
        async with await anyio.open_process(
            command, stdin=subprocess.DEVNULL, env=dict(env)
        ) as process:
            with anyio.move_on_after(seconds) as limit, _stopping(process):
                out, err = b"", b""
                async with anyio.create_task_group() as tasks:

                    async def read_errors() -> None:
                        nonlocal err
                        err = await _drained(process, errors=True)

                    tasks.start_soon(read_errors)
                    out = await _drained(process, errors=False)
                status = await process.wait()
    except OSError as error:
        raise NotStarted(f"{command[0]}: {error}") from None
    if limit.cancelled_caught:
        raise NotStarted(f"{' '.join(command[:4])} ... has not ended within {seconds:g} s")
    return Done(status, out.decode(errors="replace"), err.decode(errors="replace"))


@asynccontextmanager
async def listening(
    command: Sequence[str], env: Mapping[str, str], ports: Sequence[int], log: Path
) -> AsyncIterator[None]:
    """Run a server until the block ends, which begins once it listens on its ports.

    What it prints goes into ``log``.  Raises NotStarted.
    """
    with log.open("wb") as said:
        try:
            process = await anyio.open_process(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=dict(env)
            )
        except OSError as error:
            raise NotStarted(f"{command[0]}: {error}") from None
        async with _ending(process):
            until = monotonic() + START
            for port in ports:
                while not await _accepts(port):
                    if process.returncode is not None or monotonic() > until:
                        raise NotStarted(f"nobody listens on port {port}: {_last_words(log)}")
                    await anyio.sleep(0.05)
            yield


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def marked(mark: str) -> dict[int, str]:
    """The command lines of all processes with a mark that begins so, by their ids (Linux)."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if f"\0{MARK}={mark}".encode() in b"\0" + (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode(errors="replace")
    found.pop(os.getpid(), None)
    return found


def traceable() -> bool:
    """Whether marks can be looked for."""
    return sys.platform == "linux"


async def left(mark: str, seconds: float = GONE) -> list[str]:
    """Wait until nothing with that mark runs any more; name what still does then."""
    with anyio.move_on_after(seconds):
        while marked(mark):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.1)
    return [f"{process} ({words})" for process, words in marked(mark).items()]


def sweep(mark: str) -> None:
    """Kill what has that mark."""
    for process in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@asynccontextmanager
async def _ending(process: Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.terminate()
            with anyio.move_on_after(GRACE):
                await process.wait()
            with suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "nothing was printed"


class _stopping:  # noqa: N801 - used like a function
    """Kill a process that is not over when the block is left."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __enter__(self) -> None: ...

    def __exit__(self, *raised: object) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


async def _drained(process: Process, *, errors: bool) -> bytes:
    stream = process.stderr if errors else process.stdout
    assert stream is not None
    return b"".join([piece async for piece in stream])


async def _accepts(port: int) -> bool:
    try:
        stream = await anyio.connect_tcp("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
