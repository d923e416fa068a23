"""What servers do wrong is told to whoever connected, each time, and logged within bounds."""

import sys
from pathlib import Path

import anyio
import pytest

from mcpcore.engine.events import Violation
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from tests.clock import patience

pytestmark = pytest.mark.anyio

NOISE = 50

SERVER = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from mcpcore.service import Server
from mcpcore_transports.serve.serve import run
for number in range({NOISE}):
    os.write(1, b"noise %d " % number + b"x" * 100_000 + b"\\n")
server = Server("loud")

@server.tool
def echo(text: str) -> str:
    return text

run(server)
"""
COMMAND = [sys.executable, "-c", SERVER]


async def test_noise_of_a_process_is_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Violation] = []
    async with connect(COMMAND, callbacks=Callbacks(violation=told.append)) as client:
        assert (await client.call_tool("echo", {"text": "hello"})).text == "hello"
    assert [event.excerpt.split()[1] for event in told] == [str(n) for n in range(NOISE)]
    assert all(event.excerpt.startswith("noise ") for event in told)
    assert all(len(event.excerpt) < 1000 for event in told), "the excerpt is bounded"
    logged = [text for text in caplog.messages if "the server broke a rule" in text]
    assert 0 < len(logged) < NOISE, "the log is, too"


async def test_a_coroutine_function_is_told_in_order_and_within_a_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    go = anyio.Event()

    async def tell(event: Violation) -> None:
        await go.wait()
        told.append(event.excerpt.split()[1])

    async with connect(COMMAND, callbacks=Callbacks(violation=tell, waiting=5)) as client:
        await client.call_tool("echo", {"text": "hello"})
        assert told == []
        go.set()
        with patience():
            while len(told) < 5:
                await anyio.lowlevel.checkpoint()
    assert told == [str(number) for number in range(len(told))]
    assert len(told) < 10
    assert any("is dropped: 5 wait already" in text for text in caplog.messages)


async def test_a_failing_callback_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Violation) -> None:
        raise ZeroDivisionError

    async with connect(COMMAND, callbacks=Callbacks(violation=fail)) as client:
        assert (await client.call_tool("echo", {"text": "hello"})).text == "hello"
    assert "a callback failed" in caplog.messages
