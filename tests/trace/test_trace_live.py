"""One side of a trace is played against a live peer, over whatever binding that has."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from mcpcore.service import Server
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.base import Implementation
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.launch import serving
from mcpcore_conformance.run.stages import subject_of
from mcpcore_conformance.trace.against import Options, Outcome, play
from mcpcore_conformance.trace.compare import Memory, differences
from mcpcore_conformance.trace.hosted import hosted
from mcpcore_conformance.trace.live import revision_of
from mcpcore_conformance.trace.reading import TraceFile, read
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.server.context import Context
from mcpcore_transports.targets import MemoryTarget, parse_target
from tests.clock import PATIENCE
from tests.more_time import with_more_time
from tests.trace.recorded import ERAS, SECRET, answering, converse, server
from tests.trace.said import (
    READY,
    c,
    handshake,
    initialize,
    notice,
    request,
    result,
    s,
    trace,
)
from tests.transports.served import served
from tests.warm import PYTHON

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.usefixtures("warm_programs"),
]

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


@pytest.mark.share(5)
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
    command = [
        *PYTHON,
        "-m",
        "mcpcore_transports.commands.main",
        "serve",
        "tests.trace.recorded",
        "--stdio",
    ]
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

    async def attempt(seconds: float) -> None:
        async with served(changed()) as state:
            options = Options(timeout=seconds, notice=0.1)
            outcome, told = await played(recorded, state.url, options)
        differing = [line for line in told if "differs" in line]
        said = [line.partition("differs: ")[2] for line in differing]
        assert outcome.differences == len(said)
        assert 'result.serverInfo.version is "2", not "1"' in said
        assert 'result.content[0].text is "TÄGLICH", not "täglich"' in said
        assert "notification notifications/progress does not come" in said
        assert "error where the trace has result" in said or any("isError" in each for each in said)
        lines = [int(line.split()[0]) for line in differing if line.split()[0] != "0"]
        assert lines == sorted(lines)

    await with_more_time(attempt, 2.0, 10.0)  # once nothing comes, and it is waited for


async def test_only_members_and_types_may_be_compared(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "trace.jsonl", ERAS[0])

    async def attempt(seconds: float) -> None:
        options = Options(timeout=seconds, notice=0.1, shape=True)
        async with served(changed()) as state:
            _, told = await played(recorded, state.url, options)
        assert not any("TÄGLICH" in line for line in told)
        assert any("does not come" in line for line in told)

    await with_more_time(attempt, 2.0, 10.0)  # once nothing comes, and it is waited for


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
        _, told = await played(talk, state.url, Options(timeout=20.0, notice=0.4, shape=True))
    assert any("notifications/message is not in the trace" in line for line in told)


async def test_a_peer_that_goes_away() -> None:
    talk = trace(handshake(), c(request("ping")), s(result()), c(request("ping", id=2)))
    command = [sys.executable, "-c", "import sys; sys.stdin.readline()"]
    outcome, told = await played(talk, command, Options(timeout=20.0, notice=0.1))
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

    options = Options(timeout=20.0, notice=0.1, given={"<hidden-3>": SECRET}, shape=True)
    async with served(listening) as state:
        await played(talk, state.url, options)
        await played(talk, state.url, Options(timeout=20.0, notice=0.1))
    assert heard == [SECRET, "<hidden-3>"]


async def test_batches_are_sent_as_batches() -> None:
    talk = trace(
        handshake("2025-03-26"),
        c([request("ping"), request("ping", id=2)]),
        s([result(), result(id=2)]),
        c(notice("notifications/cancelled", {"requestId": 9})),
    )
    async with served(server, tcp="127.0.0.1:0") as state:
        outcome, told = await played(talk, state.url, Options(timeout=20.0, notice=0.1, shape=True))
    assert outcome.sent == 4
    assert not any("does not come" in line for line in told), told


async def test_the_time_of_the_trace_can_be_kept(tmp_path: Path) -> None:
    from time import monotonic

    talk = trace(handshake(), c(request("ping")), s(result()))
    async with served(server, tcp="127.0.0.1:0") as state:
        began = monotonic()
        await played(talk, state.url, Options(timeout=20.0, notice=0.1, paced=True, shape=True))
    assert monotonic() - began >= 0.4  # when the last record was made


@pytest.mark.parametrize("revision", ERAS)
async def test_the_server_is_played_for_the_client_that_starts_it(
    revision: str, tmp_path: Path
) -> None:
    file, log = tmp_path / "trace.jsonl", tmp_path / "log"
    await record(file, revision)
    words = ["trace", "replay", "--side", "server", "--stdio", str(file)]
    program = (
        f"import sys; sys.stderr = open({str(log)!r}, 'w');"
        f" from mcpcore_transports.commands.main import main; main({words!r})"
    )
    async with connect(
        [sys.executable, "-c", program], revision=revision, callbacks=answering()
    ) as client:
        await converse(client)
    assert "no difference" in log.read_text(), log.read_text()


async def hosting(
    recorded: TraceFile, binding: Binding, revision: str, client: Callable[[str], Awaitable[None]]
) -> tuple[Outcome, list[str]]:
    """Play the server of a trace at an address, for a client that is given the URL."""
    told: list[str] = []
    outcomes: list[Outcome] = []
    async with hosted(binding, ("127.0.0.1", 0), BY_NAME[revision]) as wire:

        async def serve() -> None:
            await wire.arrived()
            outcomes.append(
                await play(recorded, wire, side="server", options=QUICK, tell=told.append)
            )
            await wire.leave(QUICK.notice)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await client(wire.address)
    return outcomes[0], told


async def turned_away(url: str) -> None:
    """Open a WebSocket as a page of a browser would, and see it closed."""
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    fields = ["Origin: http://evil.example", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines = ["GET /mcp HTTP/1.1", "Host: h", "Upgrade: websocket", "Connection: Upgrade", *fields]
    async with await anyio.connect_tcp(place.hostname, place.port) as stream:
        await stream.send("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        assert [each async for each in stream]


HOSTED: dict[Binding, dict[str, Any]] = {
    Binding.HTTP: {"http": "127.0.0.1:0"},
    Binding.WS: {"ws": "127.0.0.1:0"},
}


@pytest.mark.parametrize("revision", ERAS)
@pytest.mark.parametrize("binding", HOSTED)
async def test_the_server_is_played_for_the_client_that_comes(
    binding: Binding, revision: str, tmp_path: Path
) -> None:
    async with served(server, **HOSTED[binding]) as state:
        recorded = await record(tmp_path / "trace.jsonl", revision, state.url)
    met: list[object] = []

    def answers(params: object) -> dict[str, str]:
        met.append("asked")
        return {"color": "red"}

    async def client(url: str) -> None:
        if binding is Binding.WS:
            await turned_away(url)
        again = Callbacks(elicitation=answers)
        async with connect(url, revision=revision, callbacks=again) as connected:
            await converse(connected)
            met.append(connected.server_info)

    outcome, told = await hosting(recorded, binding, revision, client)
    assert outcome.differences == 0, told
    assert met == ["asked", Implementation(name="recorded", version="1")]


async def test_where_the_client_differs_is_told_with_the_line(tmp_path: Path) -> None:
    async with served(server) as state:
        recorded = await record(tmp_path / "trace.jsonl", ERAS[0], state.url)

    async def client(url: str) -> None:
        async with connect(url, revision=ERAS[0], callbacks=answering()) as connected:
            await connected.call_tool("echo", {"text": "weekly", "api_key": SECRET})
            await connected.call_tool("steps", progress=lambda *_: None)
            await connected.call_tool("ask")

    outcome, told = await hosting(recorded, Binding.HTTP, ERAS[0], client)
    (differs,) = [line for line in told if "differs" in line]
    assert outcome.differences == 1
    assert differs.endswith('params.arguments.text is "weekly", not "täglich"')


async def test_what_belongs_to_no_request_waits_for_the_stream_of_the_client() -> None:
    talk = trace(handshake(), s(notice("notifications/tools/list_changed")))
    heard: list[str] = []

    async def client(url: str) -> None:
        async with httpx.AsyncClient() as http:
            accept = {"accept": "application/json, text/event-stream"}
            opened = await http.post(url, json=initialize(), headers=accept)
            session = {"mcp-session-id": opened.headers["mcp-session-id"]}
            assert opened.json()["result"]["serverInfo"] == {"name": "s", "version": "1"}
            ready = await http.post(url, json=READY, headers={**accept, **session})
            refused = [
                await http.get(url, headers={**accept, **session, "origin": "http://evil.example"}),
                await http.get(f"{url}/else", headers=accept),
                await http.get(url, headers={**accept, "mcp-session-id": "another"}),
                await http.put(url, headers=session),
            ]
            assert [each.status_code for each in (ready, *refused)] == [202, 403, 404, 404, 405]
            async with http.stream("GET", url, headers={**accept, **session}) as stream:
                heard.append(await anext(stream.aiter_lines()))
            assert (await http.delete(url, headers=session)).status_code == 200

    outcome, told = await hosting(talk, Binding.HTTP, ERAS[0], client)
    assert outcome.differences == 0, told
    assert heard == ['data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}']


def test_the_command_says_where_the_server_is_played(tmp_path: Path, anyio_backend: str) -> None:
    file = tmp_path / "trace.jsonl"
    run = partial(subprocess.run, capture_output=True, text=True, timeout=PATIENCE, check=False)
    mcpcore = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
    call = [*mcpcore, "call", "echo", "text=hi"]
    with serving([*mcpcore, "serve", "tests.trace.recorded", "--ws", "127.0.0.1:0"]) as (url,):
        assert run([*call, "--trace", str(file), url]).returncode == 0
    words = ["trace", "replay", "--side", "server", "--ws", "127.0.0.1:0", str(file)]
    with serving([*mcpcore, *words]) as (url,):
        assert run([*call, url]).stdout == "hi\n"


def test_nobody_to_play_with(tmp_path: Path, anyio_backend: str) -> None:
    run = partial(subprocess.run, capture_output=True, text=True, timeout=PATIENCE, check=False)
    file = tmp_path / "trace.jsonl"
    from mcpcore.trace.format import encode_line

    talk = trace(handshake())
    file.write_bytes(
        encode_line(talk.header) + b"".join(encode_line(each.record) for each in talk.entries)
    )
    mcpcore = [*PYTHON, "-m", "mcpcore_transports.commands.main"]
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
