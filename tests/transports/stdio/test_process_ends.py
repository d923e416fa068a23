"""Spawned servers that do not want to end: nothing of them is left, whatever becomes of us."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import Negotiation, ProcessSettings
from mcpcore_transports.stdio.process import ProcessLink
from mcpcore_transports.stdio.reaper import GUARD, ProcessGuard, ProcessTree
from tests.clock import PATIENCE
from tests.transports.apps import Caller, make_client
from tests.transports.remains import held, holders, new_token, wait_gone, wait_input_closed

pytestmark = pytest.mark.anyio

HABITS = str(Path(__file__).with_name("habits.py"))
CLIENT = str(Path(__file__).with_name("lone_client.py"))
BRIEF = {"close_wait": 0.2, "term_wait": 0.2, "kill_wait": 20.0}
EVERYBODY = ["child", "group", "session", "daemon", "hidden"]
BAD = [
    ["lingers", "stubborn", *EVERYBODY],
    ["stubborn", *EVERYBODY],  # it ends when it is asked to, and what it has started does not
    *(
        pytest.param(habits, marks=pytest.mark.long)
        for habits in (
            [],
            EVERYBODY,
            ["flood", "stubborn"],
            ["lingers"],
            ["lingers", "stubborn"],
            ["mute", "stubborn"],
            ["lingers", *EVERYBODY],
        )
    ),
]


def bad_link(token: str, *habits: str, **settings: Any) -> tuple[Caller, ProcessLink]:
    client = Caller(make_client(Negotiation.LEGACY))
    command = [sys.executable, "-S", "-E", HABITS, token, *habits]
    settings = {**BRIEF, "stderr": "discard", **settings}
    client.link = link = ProcessLink(
        client.peer, client, command, settings=ProcessSettings(**settings)
    )
    return client, link


@asynccontextmanager
async def bad_server(*habits: str, **settings: Any) -> AsyncIterator[tuple[Caller, ProcessLink]]:
    """A client of a server with such habits; afterwards nothing of it may be left."""
    token, before = new_token(), held()
    client, link = bad_link(token, *habits, **settings)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        yield client, link
        await link.aclose()
    assert client.ended
    assert holders(token) == {}
    assert held() == before


def guard_pid() -> int | None:
    return None if GUARD._process is None else GUARD._process.pid


async def until_up(link: ProcessLink) -> None:
    """Wait until the server has started its children (it says so)."""
    while not any(line.startswith("up") for line in link.stderr_tail):  # noqa: ASYNC110
        await anyio.sleep(0.001)


@pytest.mark.requirement("basic/transports/stdio/shutdown")
@pytest.mark.parametrize("habits", BAD)
async def test_nothing_is_left_after_the_close(habits: list[str]) -> None:
    async with bad_server(*habits) as (client, link):
        if "mute" in habits:
            await until_up(link)
        else:
            assert await client.echo(a=1) == {"a": 1}
    stubborn = {"lingers", "mute", "flood"} & set(habits)
    assert link.returncode == (0 if not stubborn else -9 if "stubborn" in habits else -15)


@pytest.mark.parametrize("habits", BAD)
async def test_nothing_is_left_after_cancellation(habits: list[str]) -> None:
    token, before = new_token(), held()
    client, link = bad_link(token, *habits)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        await until_up(link)
        tasks.cancel_scope.cancel()
    assert client.ended
    assert holders(token) == {}
    assert held() == before


async def test_a_server_that_dies_takes_its_children_along() -> None:
    async with bad_server("lingers", "child", "group", "session", "daemon") as (client, link):
        assert await client.echo(a=1) == {"a": 1}
        request = client.call("echo")
        os.kill(link.pid or 0, signal.SIGKILL)
        await client.outcome(request)


async def test_what_left_the_group_may_stay() -> None:
    token = new_token()
    client, link = bad_link(token, "child", "session", descendants=False)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        await client.echo(a=1)
        await link.aclose()
    [left] = holders(token)
    assert os.getsid(left) == left
    os.kill(left, signal.SIGKILL)
    wait_gone(token)


async def test_one_guard_looks_after_all_servers_and_goes_with_the_last() -> None:
    assert guard_pid() is None
    token, before = new_token(), held()
    async with anyio.create_task_group() as tasks:

        async def begin(**settings: Any) -> tuple[Caller, ProcessLink]:
            client, link = bad_link(token, **settings)
            await tasks.start(link.run)
            client.begin()
            assert await client.echo(a=1) == {"a": 1}
            return client, link

        _, alone = await begin(guard=False)
        assert guard_pid() is None
        _, first = await begin()
        guard = guard_pid()
        assert guard is not None
        _, second = await begin()
        assert guard_pid() == guard
        os.kill(guard, signal.SIGKILL)  # somebody thinks it useless
        await anyio.to_thread.run_sync(os.waitid, os.P_PID, guard, os.WEXITED | os.WNOWAIT)
        _, third = await begin()
        assert guard_pid() not in (None, guard)
        for link in (first, second, alone):
            await link.aclose()
        assert guard_pid() is not None
        await third.aclose()
        assert guard_pid() is None
    assert holders(token) == {}
    assert held()[:2] == before[:2]


# A client that is ended itself


@pytest.mark.share(3)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("habits", "end"),
    [
        (["lingers", "stubborn", *EVERYBODY], "killed"),
        (["child", "session"], "interrupted"),
        (["lingers", "stubborn", "session"], "interrupted twice"),
        *(
            pytest.param(habits, end, marks=pytest.mark.long)
            for habits in (["lingers", "stubborn", *EVERYBODY], ["session", "daemon"], [])
            for end in ("killed", "interrupted", "interrupted twice", "terminated")
        ),
    ],
)
def test_nothing_is_left_of_a_client_that_is_ended(
    backend: str, habits: list[str], end: str
) -> None:
    token = new_token()
    command = [sys.executable, CLIENT, backend, token, *habits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"connected\n"
        server = next(pid for pid, words in holders(token).items() if f" {HABITS} " in words)
        if end == "killed":
            client.kill()
        elif end == "terminated":
            client.terminate()
        else:
            client.send_signal(signal.SIGINT)
            assert client.stdout.readline() == b"closing\n"
            if end == "interrupted twice":
                if "lingers" in habits:
                    wait_input_closed(server, client.pid)
                client.send_signal(signal.SIGINT)
        insists = end == "interrupted twice" and "lingers" not in habits
        errors = errors_until_the_end(client, insists=insists)
    assert wait_gone(token) == {}
    # Where nothing lingers, the second one may come at any time, and strike where trio itself
    # cannot bear it: between the body of a nursery and its end, say.
    if end == "interrupted twice" and backend == "trio" and "lingers" in habits:
        assert b"KeyboardInterrupt" in errors.splitlines()
        assert b"TrioInternalError" not in errors


def errors_until_the_end(client: "subprocess.Popen[bytes]", *, insists: bool) -> bytes:
    """What it has said on its standard error.

    The second interruption may strike within a cancel scope of anyio that is being left, whose
    task group then waits for ever on asyncio: who insists on the end presses the keys once more.
    """
    try:
        return client.communicate(timeout=PATIENCE)[1]
    except subprocess.TimeoutExpired:
        if not insists:
            raise
        client.send_signal(signal.SIGINT)
        return client.communicate(timeout=PATIENCE)[1]
    finally:
        client.kill()  # else leaving it would wait for it, for ever


def test_a_guard_that_cannot_be_set_up_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, blocking: bool) -> None:
        raise PermissionError(1, "Operation not permitted")

    guard = ProcessGuard()
    first, later = ProcessTree(0.1, 0.1), ProcessTree(0.1, 0.1)

    def runs() -> bool:
        return guard._process is not None

    with monkeypatch.context() as patch:
        patch.setattr(os, "set_blocking", refuse)
        guard.watch(first)
    assert not runs()
    assert "would outlive a crash of this process: [Errno 1]" in caplog.text
    guard.forget(first)
    guard.watch(later)  # what was refused then may be granted now
    assert runs()
    guard.forget(later)
    assert not runs()


async def test_a_hurried_end_waits_no_longer_after_sigterm_either() -> None:
    times = {"close_wait": 3600.0, "term_wait": 3600.0}
    async with bad_server("lingers", "stubborn", **times) as (client, link):
        assert await client.echo(a=1) == {"a": 1}
        link.hurry(0.2)  # else the end of the block takes longer than any test may
    assert link.returncode == -9
