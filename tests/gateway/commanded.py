"""A gateway as a process: `mcpcore gateway`, until the test has seen enough."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.clock import patience
from tests.warm import PYTHON

ROOT = str(Path(__file__).parents[2])


@asynccontextmanager
async def commanded(*words: str) -> AsyncIterator[str]:
    """Run the command; the URL of its first binding."""
    command = [*PYTHON, "-m", "mcpcore_transports.commands.main", "gateway", *words]
    environment = {**os.environ, "PYTHONPATH": ROOT, "TERM": "dumb"}
    async with await anyio.open_process(command, stdin=None, env=environment) as process:
        assert process.stderr is not None
        lines = BufferedByteReceiveStream(process.stderr)
        try:
            with patience():
                line = (await lines.receive_until(b"\n", 4096)).decode()
            assert line.startswith("listening on "), line
            async with anyio.create_task_group() as group:
                group.start_soon(_drain, lines)
                yield line.removeprefix("listening on ").strip()
                group.cancel_scope.cancel()
        finally:
            process.terminate()


async def _drain(lines: BufferedByteReceiveStream) -> None:
    async for _ in lines:
        pass
