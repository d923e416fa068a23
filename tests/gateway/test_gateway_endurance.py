"""A gateway over time: many sessions, servers that are killed, clients that do not read.

``GATEWAY_SESSIONS`` and ``GATEWAY_SECONDS`` make the runs longer.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from mcpcore import PeerError, connect
from mcpcore.policy.retrying import RetrySettings
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.targets import StdioTarget
from tests.clock import PATIENCE, patience
from tests.gateway.test_gateway import ERAS, LEGACY, MODERN, alive, gateway, gone, text
from tests.transports.served import ANY_PORT

PROGRAM = str(Path(__file__).with_name("quick_backend.py"))
SESSIONS = int(os.environ.get("GATEWAY_SESSIONS", "100"))
SECONDS = int(os.environ.get("GATEWAY_SECONDS", "10"))
pytestmark = [pytest.mark.anyio, pytest.mark.long]


def quick(revision: str, log: Path) -> StdioTarget:
    return StdioTarget((sys.executable, "-SIE", PROGRAM, revision, str(log)))


def children() -> set[int]:
    """Return the processes that this one has started and that are still there."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has ended
            found |= {int(each) for each in (task / "children").read_text().split()}
    return found


def servers(log: Path) -> set[int]:
    """Return the processes of the program with this log: others of this run are left alone."""
    found = set()
    for process in children():
        with suppress(OSError):
            if bytes(log) in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0"):
                found.add(process)
    return found


async def test_sessions_over_processes_leave_none(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    before, seen, most = children(), set[int](), 0

    async def sessions(url: str, number: int) -> None:
        nonlocal most
        for _ in range(number):
            async with connect(url, revision=LEGACY) as client:
                process = int(text(await client.call_tool("process")))
                assert process not in seen
                seen.add(process)
                most = max(most, len(children() - before))

    behind = {"only": quick(LEGACY, tmp_path / "log")}
    async with gateway(behind, http=ANY_PORT, seconds=PATIENCE + SESSIONS) as front:
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(sessions, front.url, SESSIONS // 8)
        for process in seen:
            await gone(process)
    record_property("figures", f"{len(seen)} sessions, at most {most} processes at a time")
    assert len(seen) == SESSIONS // 8 * 8
    assert most <= 8 + 1 + 4  # with that of before and those that are ending
    assert children() <= before


@pytest.mark.parametrize("revision", ERAS)
async def test_a_server_that_is_killed_all_the_time(
    revision: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    log = tmp_path / "log"
    log.touch()
    settings = GatewaySettings(
        retry=RetrySettings(attempts=6, first_delay=0.05, budget_rate=100.0),
        breaker=None,
        first_delay=0.01,
        max_delay=0.05,
    )
    ended, kills = anyio.Event(), 0
    outcomes: Counter[str] = Counter()
    succeeded: set[str] = set()
    refusals: list[str] = []

    async def killer() -> None:
        nonlocal kills
        for _ in range(SECONDS):
            await anyio.sleep(1)
            for process in servers(log):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    kills += 1
        ended.set()

    async def calls(url: str, place: int) -> None:
        number = 0
        async with connect(url, revision=revision) as client:
            await client.tools()
            while not ended.is_set():
                number += 1
                name = f"{place}-{number}"
                result = await client.call_tool("look", {"number": name})
                assert text(result) == name
                outcomes["looked"] += 1
                try:
                    result = await client.call_tool("book", {"number": name})
                except PeerError as error:
                    refusals.append(error.error.message)
                else:
                    assert text(result) == name
                    succeeded.add(name)
                    outcomes["booked"] += 1

    async with (
        gateway(
            {"only": quick(revision, log)}, settings, http=ANY_PORT, seconds=PATIENCE + SECONDS
        ) as front,
        anyio.create_task_group() as group,
    ):
        group.start_soon(killer)
        for place in range(4):
            group.start_soon(calls, front.url, place)
    booked = Counter(log.read_text().split())
    record_property("figures", f"{kills} kills, {dict(outcomes)}, {len(refusals)} refused")
    assert kills >= SECONDS // 2
    assert max(booked.values()) == 1
    assert succeeded <= set(booked)
    assert min(outcomes["looked"], outcomes["booked"], len(refusals)) > 0
    assert [each for each in refusals if not each.startswith("only: ")] == []


async def deaf(url: str, name: str) -> SocketStream:
    """Call a tool over and over, and read nothing of what comes."""
    host, _, rest = url.removeprefix("http://").partition(":")
    stream = await anyio.connect_tcp(host, int(rest.partition("/")[0]))
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "look",
                "arguments": {"number": name},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientInfo": {"name": "deaf", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        }
    ).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2026-07-28\r\n"
        f"Mcp-Method: tools/call\r\nMcp-Name: look\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with anyio.move_on_after(1):
        while True:
            await stream.send(head + body)
    return stream


async def test_a_client_that_does_not_read_stops_nobody_else(tmp_path: Path) -> None:
    async with (
        gateway({"only": quick(MODERN, tmp_path / "log")}, http=ANY_PORT) as front,
        await deaf(front.url, "x" * 100_000),
        connect(front.url) as client,
    ):
        for number in range(20):
            with patience():
                result = await client.call_tool("look", {"number": str(number)})
            assert text(result) == str(number)


async def test_the_end_of_a_gateway_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    async with (
        gateway({"only": quick(LEGACY, tmp_path / "log")}, http=ANY_PORT) as front,
        connect(front.url, revision=LEGACY) as client,
    ):
        process = int(text(await client.call_tool("process")))
        assert alive(process)
        front.stop.set()
        with patience():
            await front.ended.wait()
        await gone(process)
    assert children() <= before
