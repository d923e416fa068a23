"""`mcpcore load`: what is offered, in virtual time, and what the command says of it."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from mcpcore.errors import McpError, ToolFailed
from mcpcore.spec.errors import LocalError
from mcpcore.types import CallToolResult, TextContent
from mcpcore_bench.commands.load import is_local
from mcpcore_bench.load import offered
from mcpcore_bench.load.offered import OfferedLoad, OfferedResult, offer
from mcpcore_transports.targets import parse_target
from tests.command import mcpcore_here
from tests.warm import PYTHON

Call = Callable[[], Awaitable[object]]


def measured(call: Call, load: OfferedLoad, *, until: float | None = None) -> OfferedResult:
    """What comes of it, on a clock that only runs while all wait."""
    result = OfferedResult()

    async def run() -> None:
        with anyio.move_on_after(until or 1e9):
            await offer([call], load, result)

    trio.run(run, clock=MockClock(autojump_threshold=0))
    return result


def taking(seconds: float) -> Call:
    async def call() -> bool:
        await anyio.sleep(seconds)
        return True

    return call


def near(result: OfferedResult, share: float) -> float:
    """A percentile in seconds; buckets are 1/128 wide."""
    return result.times.percentile(share) / 1e9


def test_a_closed_loop_has_always_as_many_in_flight() -> None:
    result = measured(taking(0.125), OfferedLoad(seconds=1, in_flight=5))
    assert (result.ended, result.seconds) == (40, 1.0)
    assert near(result, 100) == pytest.approx(0.125, rel=0.01)


def test_an_open_loop_keeps_its_rate_while_there_is_room() -> None:
    result = measured(taking(0.5), OfferedLoad(seconds=2, in_flight=100, rate=10))
    assert (result.ended, result.unsent) == (20, 0)
    assert near(result, 100) == pytest.approx(0.5, rel=0.01)


def test_a_stall_is_charged_for_all_that_it_kept_waiting() -> None:
    stalls = iter([5.0])

    async def call() -> bool:
        await anyio.sleep(next(stalls, 0.0))
        return True

    result = measured(call, OfferedLoad(seconds=10, in_flight=1, rate=10))
    # All that was due in the first five seconds has waited for the rest of them: 2.5 s on average.
    assert result.ended == 100
    assert near(result, 25) == pytest.approx(0.0, abs=1e-6)
    assert near(result, 75) == pytest.approx(2.5, rel=0.02)
    assert near(result, 100) == pytest.approx(5.0, rel=0.01)


def test_what_was_due_and_never_sent_counts() -> None:
    result = measured(taking(3), OfferedLoad(seconds=2, in_flight=1, rate=10))
    assert (result.ended, result.unsent, len(result.times)) == (1, 19, 20)
    assert OfferedResult().percentiles() == {}
    assert near(result, 95) == pytest.approx(1.9, rel=0.02)


@pytest.mark.parametrize(("patience", "until"), [(1.0, None), (1000.0, 2.0)])
def test_what_is_unanswered_at_the_end_counts(patience: float, until: float | None) -> None:
    load = OfferedLoad(seconds=1, in_flight=3, patience=patience)
    result = measured(taking(50), load, until=until)
    assert (result.ended, result.unanswered, len(result.times)) == (0, 3, 3)
    assert near(result, 0) == pytest.approx(2.0, rel=0.02)


def test_errors_are_counted_by_kind_and_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Exception | None] = [
        None,
        ToolFailed(CallToolResult(content=[TextContent(text="broken")], is_error=True)),
        McpError(-32602, "no"),
        McpError(-32602, "other"),
        LocalError("gone"),
        ConnectionResetError(),
        McpError(1, "beyond"),
    ]

    async def call() -> None:
        await anyio.sleep(1)
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    monkeypatch.setattr(offered, "MOST_KINDS", 4)
    result = measured(call, OfferedLoad(seconds=7, in_flight=1))
    assert dict(result.errors) == {
        "the tool failed": 1,
        "error -32602": 2,
        "LocalError": 1,
        "ConnectionResetError": 1,
        "other errors": 1,
    }
    assert result.examples["the tool failed"] == "broken"
    assert (result.examples["error -32602"], result.examples["other errors"]) == ("no", "beyond")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1/mcp", True),
        ("http://[::1]:1/mcp", True),
        ("http://localhost/mcp", True),
        ("unix:///run/a.sock", True),
        ("tcp://127.9.9.9:1", True),
        ("http://127.0.0.1.example.com/mcp", False),
        ("https://mcp.example.com/mcp", False),
        ("ws://10.0.0.1/mcp", False),
        ("tcp://192.168.0.1:1", False),
    ],
)
def test_servers_of_this_machine_are_known_by_their_address(url: str, local: bool) -> None:
    assert is_local(parse_target(url)) is local


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("http://mcp.example.com/mcp", "--tool", "a"), "--remote says"),
        (("http://127.0.0.1:1/mcp", "--tool", "a", "--arguments", "[]"), "no JSON object, like"),
        (("a", "http://127.0.0.1:1/mcp", "--tool", "a"), "was not expected"),
        (("http://127.0.0.1:1/mcp",), "--tool"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_sent(words: tuple[str, ...], told: str) -> None:
    done = mcpcore_here("load", *words)
    assert (done.returncode, told in done.stderr) == (2, True)


SERVER = """
import os, signal
from mcpcore import Server, run
server = Server("s")
server.add_tool(lambda: "one", "one")
calls = 0

@server.tool
def interrupt() -> None:
    global calls
    calls += 1
    if calls == 50:  # once, and when there is something to show
        os.kill(os.getppid(), signal.SIGINT)

run(server)
"""


@pytest.mark.usefixtures("warm_programs")
def test_the_command_says_what_it_has_measured(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SERVER)
    words = ("--tool", "one", "--seconds", "0.1", "--in-flight", "2", "--connections", "2")
    done = mcpcore_here("load", *words, "--json", "--", *PYTHON, str(tmp_path / "program.py"))
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["calls"] > 0
    assert (told["errors"], told["unsent"], told["unanswered"]) == ({}, 0, 0)
    assert list(told["milliseconds"]) == ["p50", "p90", "p95", "p99", "p99.9", "p100"]


@pytest.mark.long
@pytest.mark.usefixtures("warm_programs")
def test_an_interrupt_shows_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(SERVER)
    words = ("load", "--tool", "interrupt", "--seconds", "3600")
    done = subprocess.run(
        [
            *(*PYTHON, "-m", "mcpcore_transports.commands.main", *words),
            *("--", sys.executable, str(tmp_path / "program.py")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert "closed loop, 10 at a time" in done.stdout
    assert "p99.9" in done.stdout
