"""Legacy servers that do not bear the era probe: started once more, with the handshake first."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from msgspec import structs

from mcpcore.engine.config import Limits, Negotiation
from mcpcore.engine.reconnection import Reconnected, ReconnectSettings
from mcpcore.errors import ConnectionClosed, LinkError, NegotiationError
from mcpcore.spec.revisions import LATEST, LEGACY
from mcpcore_transports.client.cache import EraCache, place_of
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.link import clock
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.targets import StdioTarget, parse_target
from tests.command import mcpcore_here
from tests.more_time import with_more_time
from tests.transports.serving import gone
from tests.warm import PYTHON

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the daemons of the servers"),
    pytest.mark.usefixtures("warm_programs"),
]

ROOT = Path(__file__).parents[3]
PROBED = str(Path(__file__).with_name("probed.py"))
HANDSHAKE = ["initialize", "notifications/initialized"]
PROBE = "server/discover"
KINDS = {"exit": [PROBE], "refuse": [PROBE, "initialize"], "babble": [PROBE, "initialize"]}
"""What a server of each kind gets to hear at its first start."""
KINDS["exit-late"] = KINDS["refuse"]


def target(folder: Path, *fates: str, revision: str = "2025-06-18") -> StdioTarget:
    return StdioTarget([*PYTHON, PROBED, str(folder), revision, *fates])


def settings(probe: float = 20.0, startup: float = 60.0, **more: Any) -> ClientSettings:
    """Settings without a memory, and with processes that are not waited for."""
    return ClientSettings(
        **{"eras": EraCache(), "limits": Limits(probe_timeout=probe), **more},
        process=ProcessSettings(
            stderr="discard", close_wait=0.2, term_wait=0.2, startup_timeout=startup
        ),
    )


def starts(folder: Path) -> list[list[str]]:
    """What was asked at each start of the program, none of which met another."""
    lines = (folder / "log").read_text().splitlines()
    assert "overlap" not in lines
    asked: list[list[str]] = []
    for line in lines:
        if line.startswith("start"):
            asked.append([])
        else:
            asked[-1].append(line)
    return asked


async def nothing_left(folder: Path) -> None:
    lines = (folder / "log").read_text().splitlines()
    for line in lines:
        if line.startswith("start"):
            for pid in line.split()[1:]:
                await gone(int(pid))


async def started(folder: Path, count: int) -> None:
    """Wait until the program has been started so often, and has begun to read."""
    with anyio.fail_after(60):
        while not ((folder / "log").exists() and len(starts(folder)) >= count):  # noqa: ASYNC110
            await anyio.sleep(0.01)  # nobody tells of the starts of others' programs


async def says(client: Client, text: str) -> str:
    return (await client.call_tool("echo", {"text": text})).text


@pytest.mark.share(5)
@pytest.mark.requirement("basic/transports/stdio/probe-fallback")
@pytest.mark.parametrize("revision", [row.name for row in LEGACY])
@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_started_once_more_and_remembered(
    kind: str, revision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mcpcore.client")
    server = target(tmp_path, kind, revision=revision)
    silent = kind in ("babble", "exit-late")
    options = settings(probe=0.3 if silent else 20.0)
    for _ in range(2):
        async with connect(server, settings=options) as client:
            assert client.revision.name == revision
            assert await says(client, "hello") == "hello"
        await nothing_left(tmp_path)
    calls = [*HANDSHAKE, "tools/call"]
    assert starts(tmp_path) == [KINDS[kind], calls, calls]
    assert options.eras is not None
    assert options.eras.get(place_of(server), now=clock()) is Negotiation.LEGACY
    [told] = [record for record in caplog.records if PROBE in record.getMessage()]
    assert told.name == "mcpcore.client"
    assert told.levelno == logging.WARNING
    did = "ended" if "exit" in kind else "refused initialize"
    name = os.path.basename(sys.executable)
    assert told.getMessage() == (
        f"{name} {did} after it was asked server/discover, as some legacy servers do: it is "
        "started once more, with the handshake first, and remembered as one of them if it "
        "answers that"
    )


@pytest.mark.requirement("basic/transports/stdio/probe-fallback")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_modern_server_is_started_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = target(tmp_path, kind, revision=LATEST.name)
    async with connect(server, settings=settings()) as client:
        assert client.revision is LATEST
        assert await says(client, "hello") == "hello"
    assert starts(tmp_path) == [[PROBE, "tools/call"]]
    assert not caplog.records
    await nothing_left(tmp_path)


# What is no reason to start it again


async def test_not_if_it_ended_before_it_could_read_the_probe(tmp_path: Path) -> None:
    options = settings()
    for count in (1, 2):
        with pytest.raises(LinkError, match=r"exited with code 1.*\n  no configuration$"):
            await connect(target(tmp_path, "deaf"), settings=options).__aenter__()
        assert starts(tmp_path) == [[]] * count


# Starts that come to nothing


@pytest.mark.parametrize(
    ("fates", "kind", "first", "second"),
    [
        (["exit", "refuse-all"], NegotiationError, "exited with code 1", "already received"),
        (["refuse", "deaf"], LinkError, "already received", "no configuration"),
        (["exit", "deaf"], LinkError, "what is server/discover", "no configuration"),
    ],
)
async def test_both_failures_are_told(
    fates: list[str], kind: type[Exception], first: str, second: str, tmp_path: Path
) -> None:
    options = settings()
    with pytest.raises(kind) as failure:
        await connect(target(tmp_path, *fates), settings=options).__aenter__()
    told, _, before = str(failure.value).partition(
        "\n(with the handshake first; before, after server/discover: "
    )
    assert second in told
    assert first in before
    assert len(starts(tmp_path)) == 2
    assert options.eras is not None
    assert len(options.eras) == 0  # nothing is known of it
    await nothing_left(tmp_path)


async def test_a_failure_that_repeats_itself_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(NegotiationError) as failure:
        await connect(target(tmp_path, "refuse-all"), settings=settings()).__aenter__()
    assert str(failure.value).count("already received") == 1
    assert "(so it was twice: after server/discover, and with the handshake first)" in str(
        failure.value
    )
    assert failure.value.error is not None
    assert starts(tmp_path) == [[PROBE, "initialize"], ["initialize"]]


async def test_one_limit_is_for_both_starts(tmp_path: Path) -> None:
    async def attempt(seconds: float) -> None:
        folder = tmp_path / str(seconds)
        folder.mkdir()
        options = settings(startup=seconds)
        with pytest.raises(LinkError, match="startup_timeout, which is for both") as failure:
            await connect(target(folder, "refuse", "mute-stay"), settings=options).__aenter__()
        assert "already received" in str(failure.value)
        assert starts(folder)[0] == [PROBE, "initialize"]
        assert len(starts(folder)) == 2
        await nothing_left(folder)

    await with_more_time(attempt, 2.0, 20.0)


async def test_no_second_start_when_the_time_is_over(tmp_path: Path) -> None:
    async def attempt(seconds: float) -> None:
        folder = tmp_path / str(seconds)
        folder.mkdir()
        process = ProcessSettings(stderr="discard", close_wait=seconds, startup_timeout=seconds)
        options = structs.replace(settings(), process=process)
        with pytest.raises(NegotiationError, match="already received") as failure:
            await connect(target(folder, "refuse-stay"), settings=options).__aenter__()
        assert "handshake first" not in str(failure.value)
        assert starts(folder) == [[PROBE, "initialize"]]

    await with_more_time(attempt, 2.0, 20.0)


async def test_who_was_given_up_is_not_started_again(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"within 1 s of its start$") as failure:
        await connect(target(tmp_path, "mute-stay"), settings=settings(startup=1)).__aenter__()
    assert "handshake first" not in str(failure.value)


async def test_cancelled_during_the_second_start(tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:

        async def never() -> None:
            async with connect(target(tmp_path, "refuse", "mute-stay"), settings=settings()):
                raise AssertionError("it answers nothing")

        group.start_soon(never)
        await started(tmp_path, 2)
        group.cancel_scope.cancel()
    await nothing_left(tmp_path)
    assert len(starts(tmp_path)) == 2


# On the command line


def command(tmp_path: Path, *words: str, fates: tuple[str, ...]) -> list[str]:
    return [*words, "--", *target(tmp_path, *fates).command]


@pytest.mark.parametrize("kind", ["exit", "refuse"])
@pytest.mark.parametrize(
    ("words", "shown"),
    [(["call", "echo", "text=hello"], "hello"), (["list", "tools"], "echo")],
)
def test_commands_get_along_with_it(
    words: list[str], shown: str, kind: str, tmp_path: Path
) -> None:
    done = mcpcore_here(*command(tmp_path, *words, fates=(kind,)))
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout
    assert [asked[0] for asked in starts(tmp_path)] == [PROBE, "initialize"]


@pytest.mark.parametrize("kind", ["exit", "refuse"])
def test_probe_tells_what_it_speaks_with_one_start_at_a_time(kind: str, tmp_path: Path) -> None:
    done = mcpcore_here(*command(tmp_path, "probe", "--json", fates=(kind,)))
    found = json.loads(done.stdout)
    assert (found["era"], found["revision"]) == ("legacy", "2025-06-18")
    assert found["revisions"] == ["2025-06-18"]
    assert [asked[0] for asked in starts(tmp_path)] == [PROBE, *["initialize"] * 4]


async def test_the_command_leaves_nothing_when_it_is_interrupted(tmp_path: Path) -> None:
    words = command(tmp_path, "call", "echo", fates=("refuse", "mute-stay"))
    process = subprocess.Popen(  # noqa: ASYNC220
        [*PYTHON, "-m", "mcpcore_transports.commands.main", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        await started(tmp_path, 2)
        process.send_signal(signal.SIGINT)
        await anyio.to_thread.run_sync(process.communicate)
    finally:
        process.kill()
    assert process.returncode == 130
    await nothing_left(tmp_path)


# Later connections


async def test_a_connection_that_comes_back_does_not_probe_again(tmp_path: Path) -> None:
    back = anyio.Event()

    def hear(event: object) -> None:
        if isinstance(event, Reconnected):
            back.set()

    options = settings(reconnect=ReconnectSettings(max_restarts=1, first_delay=0.01))
    callbacks = Callbacks(connection=hear)
    async with connect(target(tmp_path, "exit"), settings=options, callbacks=callbacks) as client:
        with pytest.raises(ConnectionClosed):
            await client.call_tool("echo", {"die": True})
        with anyio.fail_after(60):
            await back.wait()
        assert await says(client, "again") == "again"
    calls = [*HANDSHAKE, "tools/call"]
    assert starts(tmp_path) == [[PROBE], calls, calls]


# Other connections that can be made again


@asynccontextmanager
async def listening(kind: str, folder: Path) -> AsyncIterator[tuple[str, list[list[str]]]]:
    """A legacy server on a socket, which keeps what it is asked on each connection."""
    asked: list[list[str]] = []

    async def serve(stream: anyio.abc.SocketStream) -> None:
        methods: list[str] = []
        asked.append(methods)
        async with stream:
            buffer = b""
            async for data in stream:
                *lines, buffer = (buffer + data).split(b"\n")
                for line in map(json.loads, lines):
                    methods.append(line["method"])
                    if methods == [PROBE] and kind == "exit":
                        return
                    result = {
                        "protocolVersion": "2025-03-26",
                        "capabilities": {},
                        "serverInfo": {"name": "s", "version": "1"},
                    }
                    body: dict[str, Any] = {"result": result}
                    if methods[0] == PROBE:
                        body = {"error": {"code": -32600, "message": "no"}}
                    if "id" in line:
                        answer = {"jsonrpc": "2.0", "id": line["id"], **body}
                        await stream.send(json.dumps(answer).encode() + b"\n")

    path = folder / "socket"
    listener: Any = (
        await anyio.create_unix_listener(path)
        if kind == "unix"
        else await anyio.create_tcp_listener(local_host="127.0.0.1")
    )
    port = "" if kind == "unix" else listener.extra(anyio.abc.SocketAttribute.local_port)
    url = f"unix://{path}" if kind == "unix" else f"tcp://127.0.0.1:{port}"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield url, asked
        group.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["exit", "refuse", "unix"])
async def test_a_socket_is_connected_to_once_more(kind: str, tmp_path: Path) -> None:
    async with listening(kind, tmp_path) as (url, asked):
        options = settings()
        for _ in range(2):
            async with connect(url, settings=options) as client:
                assert client.revision.name == "2025-03-26"
        assert options.eras is not None
        assert options.eras.get(place_of(parse_target(url)), now=clock()) is Negotiation.LEGACY
        first = [PROBE] if kind == "exit" else [PROBE, "initialize"]
        assert asked == [first, HANDSHAKE, HANDSHAKE]
