"""One side of a trace is played against a live peer, over whatever binding that has."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance.kit.log import Log
from conformance.run.stages import subject_of
from conformance.trace.against import Options, Outcome, play
from conformance.trace.compare import Memory, differences
from conformance.trace.live import revision_of
from conformance.trace.reading import TraceFile, read
from mcpcore.service import Server
from tests.trace.recorded import ERAS, SECRET, answering, converse, server
from tests.trace.said import c, handshake, notice, request, result, s, trace
from tests.transports.served import served
from transports.client import connect
from transports.context import Context
from transports.targets import MemoryTarget, parse_target

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

QUICK = Options(timeout=10.0, notice=4.0)


async def played(
    recorded: TraceFile, url: Any, options: Options = QUICK, conversation: int = 1
) -> tuple[Outcome, list[str]]:
    from contextlib import AsyncExitStack

    told: list[str] = []
    async with AsyncExitStack() as stack:
        stage = await subject_of(parse_target(url)).make(stack)
        wire = await stage.connect(revision_of(recorded, conversation), log=Log(stage.now))
        outcome = await play(
            recorded,
            wire,
            side="client",
            conversation=conversation,
            options=options,
            tell=told.append,
        )
        await wire.close()
    return outcome, told


async def record(file: Path, revision: str, target: Any = None) -> TraceFile:
    async with connect(
        MemoryTarget(server) if target is None else target,
        revision=revision,
        trace=file,
        callbacks=answering(),
    ) as client:
        await converse(client)
    return read(file)


def bindings(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        "http": {"http": "127.0.0.1:0"},
        "websocket": {"ws": "127.0.0.1:0"},
        "sse": {"sse": "127.0.0.1:0"},
        "tcp": {"tcp": "127.0.0.1:0"},
        "unix": {"unix": str(folder / "s")},
    }


@pytest.mark.parametrize("revision", ERAS)
@pytest.mark.parametrize("binding", ["http", "websocket", "sse", "tcp", "unix"])
async def test_a_trace_of_memory_is_played_over_every_binding(
    binding: str, revision: str, tmp_path: Path
) -> None:
    if binding == "sse" and revision == ERAS[1]:
        pytest.skip("HTTP+SSE has no modern era")
    recorded = await record(tmp_path / "trace.jsonl", revision)
    async with served(server, **bindings(tmp_path)[binding]) as state:
        outcome, told = await played(recorded, state.url)
    assert outcome.differences == 0, told
    assert outcome.sent > 4
    assert outcome.heard > 6
    assert any("hidden is sent as it stands (params.arguments.api_key)" in line for line in told)


@pytest.mark.parametrize("revision", ERAS)
async def test_a_trace_of_http_is_played_over_stdio(revision: str, tmp_path: Path) -> None:
    async with served(server) as state:
        recorded = await record(tmp_path / "trace.jsonl", revision, state.url)
    command = [sys.executable, "-m", "transports.cli", "serve", "tests.trace.recorded", "--stdio"]
    outcome, told = await played(recorded, command)
    assert outcome.differences == 0, told


async def test_one_of_the_conversations_of_a_servers_trace(tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    async with served(server, trace=file) as state:
        for revision in ERAS[:1] * 2:
            async with connect(state.url, revision=revision, callbacks=answering()) as client:
                await converse(client)
    async with served(server) as state:
        outcome, told = await played(read(file), state.url, conversation=2)
    assert outcome.differences == 0, told


def changed() -> Server:
    other = Server("recorded", version="2")

    @other.tool
    def echo(text: str, api_key: str = "") -> str:
        return text.upper()

    @other.tool
    async def steps(context: Context) -> str:
        context.progress(1, 2)
        return "done"

    return other


async def test_where_the_peer_differs_is_told_with_the_line(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "trace.jsonl", ERAS[0])
    async with served(changed()) as state:
        outcome, told = await played(recorded, state.url, Options(timeout=2.0, notice=0.1))
    said = [line.partition("differs: ")[2] for line in told if "differs" in line]
    assert outcome.differences == len(said)
    assert 'result.serverInfo.version is "2", not "1"' in said
    assert 'result.content[0].text is "TÄGLICH", not "täglich"' in said
    assert "notification notifications/progress does not come" in said
    assert "error where the trace has result" in said or any("isError" in each for each in said)
    lines = [int(line.split()[0]) for line in told if "differs" in line and line.split()[0] != "0"]
    assert lines == sorted(lines)


async def test_only_members_and_types_may_be_compared(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "trace.jsonl", ERAS[0])
    options = Options(timeout=2.0, notice=0.1, shape=True)
    async with served(changed()) as state:
        _, told = await played(recorded, state.url, options)
    assert not any("TÄGLICH" in line for line in told)
    assert any("does not come" in line for line in told)


async def test_a_peer_that_says_more(tmp_path: Path) -> None:
    talk = trace(handshake(), c(request("ping")), s(result()))
    lively = Server("lively")

    @lively.tool
    def unused() -> str:
        return ""

    @lively.tool
    async def noisy(context: Context) -> str:
        context.log("info", "one thing more")
        return "x"

    call = request("tools/call", {"name": "noisy", "arguments": {}}, 2)
    answer = result({"content": [{"type": "text", "text": "x"}]}, 2)
    talk = trace(handshake(), c(call), s(answer))
    async with served(lively, tcp="127.0.0.1:0") as state:
        _, told = await played(talk, state.url, Options(timeout=2.0, notice=0.4, shape=True))
    assert any("notifications/message is not in the trace" in line for line in told)


async def test_a_peer_that_goes_away() -> None:
    talk = trace(handshake(), c(request("ping")), s(result()), c(request("ping", id=2)))
    command = [sys.executable, "-c", "import sys; sys.stdin.readline()"]
    outcome, told = await played(talk, command, Options(timeout=5.0, notice=0.1))
    assert outcome.differences
    assert any("does not come: the connection is gone" in line for line in told), told


async def test_what_was_hidden_can_be_given() -> None:
    call = request("tools/call", {"name": "echo", "arguments": {"text": "<hidden-3>"}})
    answer = result({"content": [{"type": "text", "text": "<hidden-3>"}]})
    talk = trace(handshake(), c(call), s(answer))
    heard: list[str] = []
    listening = Server("listening")

    @listening.tool
    def echo(text: str) -> str:
        heard.append(text)
        return text

    options = Options(timeout=2.0, notice=0.1, given={"<hidden-3>": SECRET}, shape=True)
    async with served(listening) as state:
        await played(talk, state.url, options)
        await played(talk, state.url, Options(timeout=2.0, notice=0.1))
    assert heard == [SECRET, "<hidden-3>"]


async def test_batches_are_sent_as_batches() -> None:
    talk = trace(
        handshake("2025-03-26"),
        c([request("ping"), request("ping", id=2)]),
        s([result(), result(id=2)]),
        c(notice("notifications/cancelled", {"requestId": 9})),
    )
    async with served(server, tcp="127.0.0.1:0") as state:
        outcome, told = await played(talk, state.url, Options(timeout=2.0, notice=0.1, shape=True))
    assert outcome.sent == 4
    assert not any("does not come" in line for line in told), told


async def test_the_time_of_the_trace_can_be_kept(tmp_path: Path) -> None:
    from time import monotonic

    talk = trace(handshake(), c(request("ping")), s(result()))
    async with served(server, tcp="127.0.0.1:0") as state:
        began = monotonic()
        await played(talk, state.url, Options(timeout=2.0, notice=0.1, paced=True, shape=True))
    assert monotonic() - began >= 0.4  # when the last record was made


@pytest.mark.parametrize("revision", ERAS)
async def test_the_server_is_played_for_the_client_that_starts_it(
    revision: str, tmp_path: Path
) -> None:
    file, log = tmp_path / "trace.jsonl", tmp_path / "log"
    await record(file, revision)
    words = ["trace", "replay", "--side", "server", "--stdio", str(file)]
    program = (
        f"import sys; sys.stderr = open({str(log)!r}, 'w'); from transports.cli import main;"
        f" main({words!r})"
    )
    async with connect(
        [sys.executable, "-c", program], revision=revision, callbacks=answering()
    ) as client:
        await converse(client)
    assert "no difference" in log.read_text(), log.read_text()


def test_nobody_to_play_with(tmp_path: Path, anyio_backend: str) -> None:
    run = partial(subprocess.run, capture_output=True, text=True, timeout=30, check=False)
    file = tmp_path / "trace.jsonl"
    from mcpcore.wire.trace import encode_line

    talk = trace(handshake())
    file.write_bytes(
        encode_line(talk.header) + b"".join(encode_line(each.record) for each in talk.entries)
    )
    mcpcore = [sys.executable, "-m", "transports.cli"]
    done = run([*mcpcore, "trace", "replay", "--against", "tcp://127.0.0.1:9", str(file)])
    assert done.returncode == 3
    assert "error: " in done.stderr
    silent = run(
        [*mcpcore, "trace", "replay", "--side", "server", "--stdio", str(file)],
        stdin=subprocess.DEVNULL,
    )
    assert silent.returncode == 1
    assert "does not come" in silent.stderr
    assert silent.stdout == ""


# Comparing


@pytest.mark.parametrize(
    ("wanted", "found", "shape", "told"),
    [
        ({"a": 1}, {"a": 1}, False, []),
        ({"a": 1}, {"a": 2}, False, ["a is 2, not 1"]),
        ({"a": 1}, {"a": 2}, True, []),
        ({"a": 1}, {"a": 2.5}, True, []),
        ({"a": 1}, {"a": "1"}, True, ['a is "1", not 1']),
        ({"a": True}, {"a": 1}, True, ["a is 1, not true"]),
        ({"a": None}, {"a": 1}, True, ["a is 1, not null"]),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, True, ["a.b is missing", "a.c is not in the trace"]),
        ([1, 2], [1], False, [" has 1 items, not 2"]),
        ({"a": "<hidden-1>"}, {"a": "what ever"}, False, []),
        ({"a": "x <hidden-1> y"}, {"a": "x 5 y"}, False, []),
        ({"a": "x <hidden-1> y"}, {"a": "x 5 z"}, False, ['a is "x 5 z", not "x <hidden-1> y"']),
        ({"a": "<hidden-1>"}, {"a": 5}, False, []),
        ({"nextCursor": "1"}, {"nextCursor": "2"}, False, []),
        ({"progressToken": 1}, {"progressToken": 2}, False, []),
        ([{"name": "a"}, {"name": "b"}], [{"name": "b"}], False, [" has no a"]),
    ],
)
def test_differences(
    wanted: Any, found: Any, shape: bool, told: list[str], anyio_backend: str
) -> None:
    assert list(differences(wanted, found, Memory(), shape=shape)) == told


def test_what_a_side_has_made_up_comes_back_as_it_is_now(anyio_backend: str) -> None:
    memory = Memory()
    assert not list(differences({"nextCursor": "old"}, {"nextCursor": "new"}, memory))
    assert memory.replaced({"params": [{"cursor": "old"}, "older"]}) == {
        "params": [{"cursor": "new"}, "older"]
    }
