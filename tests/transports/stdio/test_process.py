"""Spawned servers: real processes, how they start, speak, misbehave and end."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import ConnectionSettings, EndReason, LinkError, Negotiation, ProcessSettings
from mcpcore_transports.stdio.process import ProcessLink
from tests.clock import HOUR, PATIENCE, Clock
from tests.transports.apps import Caller, make_client

pytestmark = pytest.mark.anyio

CHILD = str(Path(__file__).with_name("child.py"))
FAST: dict[str, Any] = {"close_wait": 0.2, "term_wait": PATIENCE, "kill_wait": PATIENCE}
BRIEF: dict[str, Any] = {**FAST, "term_wait": 0.2}
PATIENT: dict[str, Any] = {
    "close_wait": PATIENCE,
    "term_wait": PATIENCE,
    "kill_wait": PATIENCE,
    "connection": ConnectionSettings(drain=PATIENCE),
}


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> set[int]:
    """Our child processes, dead ones that nobody has reaped included."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(number) for number in text.split()}


def alive(pid: int) -> bool:
    """Whether a process runs (one that is dead but not reaped does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def make_link(
    *command: str, negotiation: Negotiation = Negotiation.MODERN, **settings: Any
) -> tuple[Caller, ProcessLink]:
    client = Caller(make_client(negotiation))
    settings = {**PATIENT, "stderr": "discard", **settings}
    client.link = link = ProcessLink(
        client.peer, client, command, settings=ProcessSettings(**settings)
    )
    return client, link


@asynccontextmanager
async def spawned(
    backend: str, *modes: str, **settings: Any
) -> AsyncIterator[tuple[Caller, ProcessLink]]:
    """A connected client; afterwards nothing of the process may be left."""
    before, family = descriptors(), children()
    client, link = make_link(sys.executable, CHILD, backend, *modes, **settings)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        yield client, link
        await link.aclose()
    assert client.ended
    assert descriptors() == before
    assert children() == family
    assert link.returncode is not None


@pytest.mark.share(2)
@pytest.mark.requirement("basic/transports/stdio/client-support")
@pytest.mark.parametrize("negotiation", list(Negotiation))
async def test_calls_in_either_era(anyio_backend_name: str, negotiation: Negotiation) -> None:
    async with spawned(anyio_backend_name, negotiation=negotiation) as (client, link):
        for number in range(50):
            assert await client.echo(n=number) == {"n": number}
        assert link.pid in children()
        assert os.getpgid(link.pid or 0) == link.pid
    assert link.returncode == 0
    assert link.stderr_tail == ["after serving"]


@pytest.mark.requirement("basic/transports/stdio/stderr-not-error")
async def test_lines_of_standard_error_go_to_the_callback(anyio_backend_name: str) -> None:
    lines: list[str] = []
    async with spawned(anyio_backend_name, "noisy", stderr=lines.append) as (client, _):
        await client.ready()
    assert lines == ["starting up", "warning: � is no UTF-8", "after serving"]


async def test_a_failing_callback_does_not_stop_the_link(
    anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(line: str) -> None:
        raise ZeroDivisionError(line)

    async with spawned(anyio_backend_name, "noisy", stderr=fail) as (client, _):
        assert await client.echo(a=1) == {"a": 1}
    assert "the callback for standard error failed" in caplog.text


async def test_a_flood_on_standard_error_blocks_nobody(anyio_backend_name: str) -> None:
    async with spawned(anyio_backend_name, "flood", stderr_tail=3) as (client, link):
        assert await client.echo(a=1) == {"a": 1}
    assert link.stderr_tail == ["line of standard error"] * 2 + ["after serving"]


async def test_lines_are_logged_by_default(
    anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mcpcore.stdio")
    async with spawned(anyio_backend_name, "noisy", stderr="log") as (client, _):
        await client.ready()
    assert "starting up" in caplog.text


async def test_inherited_standard_error(
    anyio_backend_name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with spawned(anyio_backend_name, "noisy", stderr="inherit") as (client, link):
        await client.ready()
    assert "starting up" in capfd.readouterr().err
    assert link.stderr_tail == []


async def test_the_environment_is_reduced(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("TERM", "() { :; }")
    settings = {"env": {"GIVEN": "yes"}, "cwd": tmp_path, "stderr_tail": 100}
    async with spawned(anyio_backend_name, "environment", **settings) as (client, link):
        await client.ready()
    assert "SECRET_TOKEN" not in link.stderr_tail
    assert "TERM" not in link.stderr_tail
    assert {"GIVEN", "PATH", f"cwd={tmp_path}"} <= set(link.stderr_tail)


async def test_the_whole_environment_on_demand(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    settings = {"inherit_env": True, "stderr_tail": 1000}
    async with spawned(anyio_backend_name, "environment", **settings) as (client, link):
        await client.ready()
    assert "SECRET_TOKEN" in link.stderr_tail


@pytest.mark.parametrize(
    ("command", "cwd", "message"),
    [
        (["/no/such/program"], None, "command not found: /no/such/program"),
        (["no-such-program"], None, "command not found: no-such-program"),
        (["/"], None, "cannot start /: Permission denied"),
        (["a\0b"], None, "cannot start a\0b: embedded null byte"),
        ([sys.executable], "/no/such/directory", "directory not found: /no/such/directory"),
        ([], None, "no command was given"),
    ],
)
async def test_what_cannot_be_started_is_said_in_words(
    command: list[str], cwd: str | None, message: str
) -> None:
    before = descriptors()
    client, link = make_link(*command, cwd=cwd)
    client.begin()
    request = client.call("echo")
    with pytest.raises(LinkError) as caught:
        await link.run()
    assert str(caught.value) == message
    assert message in (await client.outcome(request)).message
    assert client.ended
    assert descriptors() == before


async def test_a_crash_is_told_with_code_and_last_words(anyio_backend_name: str) -> None:
    async with spawned(anyio_backend_name, "crash") as (client, link):
        ended = await client.outcome(client.call("echo"))
        assert ended.reason is EndReason.CLOSED
        assert "exited with code 3; its last words:\n  cannot read the configuration" in (
            ended.message
        )
    assert link.returncode == 3


async def test_a_killed_server_is_told_by_the_name_of_the_signal(anyio_backend_name: str) -> None:
    async with spawned(anyio_backend_name, "kill") as (client, link):
        ended = await client.outcome(client.call("echo"))
        assert "was ended by SIGKILL" in ended.message
    assert link.returncode == -signal.SIGKILL


HEIR = """
import json, os, sys, time
asked = json.loads(sys.stdin.readline())
if os.fork():
    os._exit(0)
time.sleep(0.3)
error = {"code": -32603, "message": "last words"}
print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}), flush=True)
"""


async def test_what_is_in_the_pipe_of_a_server_that_has_ended_is_read() -> None:
    client, link = make_link(sys.executable, "-c", HEIR)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        ended = await client.outcome(client.call("echo"))
        assert "last words" in ended.message
        await link.aclose()


async def test_a_server_that_closes_its_output(anyio_backend_name: str) -> None:
    settings = {**FAST, "connection": ConnectionSettings(drain=0.1)}
    async with spawned(anyio_backend_name, "mute", "sleep", **settings) as (client, link):
        ended = await client.outcome(client.call("echo"))
        assert "closed its output" in ended.message
    assert link.returncode == -signal.SIGTERM


async def test_a_server_may_say_much_while_it_ends(anyio_backend_name: str) -> None:
    async with spawned(anyio_backend_name, "bulky") as (client, link):
        await client.ready()
    assert link.returncode == 0


@pytest.mark.requirement(
    "basic/transports/stdio/shutdown", "basic/transports/stdio/shutdown-signals"
)
@pytest.mark.parametrize(
    ("modes", "signals"),
    [(["linger"], [signal.SIGTERM]), (["linger", "stubborn"], [signal.SIGTERM, signal.SIGKILL])],
)
async def test_signals_escalate(
    anyio_backend_name: str, modes: list[str], signals: list[int], clock: Clock
) -> None:
    lingers = anyio.Event()

    async def let_time_pass() -> None:
        await lingers.wait()
        for _ in signals:
            await clock.skip(HOUR)

    def hear(line: str) -> None:
        if line == "lingering":
            lingers.set()

    settings = {"close_wait": HOUR, "term_wait": HOUR, "stderr": hear}
    async with anyio.create_task_group() as group:
        group.start_soon(let_time_pass)
        async with spawned(anyio_backend_name, *modes, **settings) as (client, link):
            await client.ready()
    assert link.returncode == -signals[-1]


@pytest.mark.parametrize("modes", [["linger"], ["linger", "stubborn"], ["sleep"], []])
async def test_cancellation_leaves_nothing_behind(
    anyio_backend_name: str, modes: list[str]
) -> None:
    before, family = descriptors(), children()
    client, link = make_link(sys.executable, CHILD, anyio_backend_name, *modes, **BRIEF)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        request = client.call("echo")
        if "sleep" not in modes:
            await client.outcome(request)
        tasks.cancel_scope.cancel()
    assert client.ended
    assert link.returncode is not None
    assert descriptors() == before
    assert children() == family


@pytest.mark.parametrize("modes", [["grandchild"], ["grandchild", "linger"]])
async def test_the_whole_group_goes(anyio_backend_name: str, modes: list[str]) -> None:
    async with spawned(anyio_backend_name, *modes, **FAST) as (client, link):
        await client.ready()
        grandchild = int(link.stderr_tail[0].split()[1])
        assert alive(grandchild)
    assert not alive(grandchild)


async def test_a_grandchild_that_keeps_the_output_open_hides_no_death(
    anyio_backend_name: str,
) -> None:
    settings = {**FAST, "connection": ConnectionSettings(drain=0.1)}
    async with spawned(anyio_backend_name, "grandchild", **settings) as (client, link):
        await client.echo(a=1)
        request = client.call("hold")
        os.kill(link.pid or 0, signal.SIGKILL)
        ended = await client.outcome(request)
        assert "SIGKILL" in ended.message
        grandchild = int(link.stderr_tail[0].split()[1])
    assert not alive(grandchild)
