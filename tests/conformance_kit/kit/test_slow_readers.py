"""A client that reads nothing for a moment: programs that wait for it, and one that does not."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import anyio
import pytest
import trio
from trio.testing import MockClock

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.bindings.inbox import Rest
from mcpcore_conformance.kit.bindings.stdio import StdioWire
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.messages import encode, request
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.run.stages import everything
from tests.conformance_kit.runs import cases_of, run_of

SERVER = """
import json, os, sys

HOW = sys.argv[1]

def put(id, result):
    line = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode() + b"\\n"
    if HOW == "drops":
        os.set_blocking(1, False)
    while line:
        try:
            line = line[os.write(1, line):]
        except BlockingIOError:
            return

for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said:
        continue
    who = {"serverInfo": {"name": HOW, "version": "1"}, "capabilities": {}}
    opened = {"protocolVersion": "2025-11-25", **who}
    put(said["id"], opened if said["method"] == "initialize" else {})
"""
"""Answers one request after the other, and reads nothing while it writes; or drops what it cannot
write at once."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("how", "patience", "verdict"), [("waits", 20.0, Verdict.PASSED), ("drops", 3.0, Verdict.WEAK)]
)
async def test_what_is_dropped_while_nobody_reads_is_missed(
    how: str, patience: float, verdict: Verdict, tmp_path: Path
) -> None:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    cases = cases_of("basic/transports/stdio/stdio/slow-reader")
    run = await run_of([sys.executable, str(path), how], cases, timeout=patience)
    (result,) = run.results
    assert result.verdict is verdict, result.detail


@pytest.mark.anyio
@pytest.mark.parametrize("binding", [Binding.STDIO, Binding.WS])
async def test_who_rests_takes_what_it_waits_for_and_nothing_more(binding: Binding) -> None:
    async with AsyncExitStack() as stack:
        stage = await everything(binding).make(stack)
        wire = await stage.connect(BY_NAME["2025-11-25"], log=Log(stage.now))
        heard = []
        for number in range(3):
            if number == 1:
                await cast("StdioWire", wire).rest(3600.0)
            await wire.say(encode(request(number, "ping")))
            heard.append(await wire.hear(20.0 if number < 2 else 0.3))
        await wire.cut()
        assert [each is None for each in heard] == [False, False, True]


def test_a_rest_lasts_for_a_moment_longer_than_something_is_written() -> None:
    async def rested() -> tuple[float, float]:
        rest, began = Rest(), anyio.current_time()

        async def write() -> None:
            for _ in range(4):
                await anyio.sleep(0.5)
                rest.wrote()

        rest.begin(1.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await rest.over()
        over = anyio.current_time()
        rest.wrote()
        await rest.over()
        return over - began, anyio.current_time() - began

    found = trio.run(rested, clock=MockClock(autojump_threshold=0))
    assert found == pytest.approx((3.0, 3.0))
