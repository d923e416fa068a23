"""`mcpcore serve` or `dev` as a process: for tests of what only whole processes show."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from tests.clock import PATIENCE, patience

ROOT = Path(__file__).parents[2]
APP = "tests.transports.worker_app:server"
_LISTENING = "listening on "


class Serving:
    """A running command; ``urls`` are those it has announced."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.urls: list[str] = []
        self.said = ""
        self._silent = False
        self._more = anyio.Event()

    @property
    def url(self) -> str:
        """The first URL."""
        return self.urls[0]

    @property
    def port(self) -> int:
        """The port of the first URL."""
        return int(self.url.split(":")[2].partition("/")[0])

    async def listen(self) -> None:
        """Read what the command says until it ends."""
        assert self.process.stderr is not None
        async for text in TextReceiveStream(self.process.stderr, errors="replace"):
            self.said += text
            lines = self.said.split("\n")[:-1]
            self.urls = [each[len(_LISTENING) :] for each in lines if each.startswith(_LISTENING)]
            self._more.set()
            self._more = anyio.Event()
        self._silent = True
        self._more.set()

    async def until(self, words: str, seconds: float = PATIENCE, *, times: int = 1) -> None:
        """Wait until the command has said so; fail at once if it ends without."""
        with anyio.move_on_after(seconds):
            while self.said.count(words) < times and not self._silent:
                await self._more.wait()
        assert self.said.count(words) >= times, f"it did not say {words!r}, but: {self.said}"

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for the end of the process; return its status."""
        with patience(seconds):
            return await self.process.wait()


@asynccontextmanager
async def serving(
    *words: str,
    ready: bool = True,
    app: str = APP,
    command: str = "serve",
    cwd: Path = ROOT,
    python: Sequence[str] = (sys.executable,),
) -> AsyncIterator[Serving]:
    """Run ``mcpcore serve APP`` with further words; wait until it listens.

    ``python``: that of :mod:`tests.warm` where the process is not killed, nor known by its id.
    """
    async with await anyio.open_process(
        [*python, "-m", "mcpcore_transports.commands.main", command, app, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        made = Serving(process)
        async with anyio.create_task_group() as group:
            group.start_soon(made.listen)
            try:
                if ready:
                    await made.until(_LISTENING)
                yield made
            finally:
                with suppress(ProcessLookupError):
                    process.terminate()
                with anyio.CancelScope(shield=True), anyio.move_on_after(PATIENCE):
                    await process.wait()
                with suppress(ProcessLookupError):
                    process.kill()
            group.cancel_scope.cancel()


async def gone(pid: int, seconds: float = PATIENCE) -> None:
    """Wait until there is no such process (a zombie that nobody has waited for is none)."""
    with patience(seconds):
        while runs(pid):  # noqa: ASYNC110 - nothing tells of the end of another's child
            await anyio.sleep(0.02)


def runs(pid: int) -> bool:
    """Return True if there is such a process."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def kill(pid: int) -> None:
    """End a process at once."""
    os.kill(pid, signal.SIGKILL)
