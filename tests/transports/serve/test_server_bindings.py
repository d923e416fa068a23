"""serve(): several bindings at once, how they are announced, and how they end."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import (
    Client,
    Context,
    Server,
    ServeSettings,
    StdioTarget,
    asgi_app,
    connect,
    run,
    serve,
)
from mcpcore.errors import BadTarget, CallFailed, LinkError, LocalError, NegotiationError
from mcpcore.http.origin import LOOPBACK_HOSTS
from mcpcore.http.settings import HttpSettings
from mcpcore_transports.serve.settings import guard
from tests.clock import PATIENCE, patience
from tests.transports.served import Endless, served

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
ERAS = ("2025-11-25", "2026-07-28")


def counter() -> Server:
    server = Server("counter")
    calls = [0]

    @server.tool
    def count() -> str:
        calls[0] += 1
        return str(calls[0])

    return server


@pytest.mark.parametrize("revision", ERAS)
async def test_one_server_on_several_bindings(revision: str) -> None:
    bindings: Any = {"http": ["127.0.0.1:0", "localhost:0"], "ws": "127.0.0.1:0"}
    async with served(counter(), **bindings) as state:
        assert [url.partition(":")[0] for url in state.urls] == ["http", "http", "ws"]
        counts = []
        for url in state.urls:
            async with connect(url, revision=revision) as client:
                counts.append((await client.call_tool("count")).text)
        assert counts == ["1", "2", "3"]
    with pytest.raises(NegotiationError, match="connection refused"):
        async with connect(state.urls[0]):
            pytest.fail("still there")


async def test_what_the_caller_raises_comes_out_as_it_was() -> None:
    """... in no group of exceptions, and with its cause."""
    cause = OSError("there is no registry")

    def announce(url: str) -> None:
        raise LookupError(url) from cause

    with patience(), pytest.raises(LookupError, match="http:") as failed:
        await serve(counter(), http="127.0.0.1:0", on_listening=announce)
    assert failed.value.__cause__ is cause


@pytest.mark.parametrize("binding", ["http", "ws"])
async def test_stopping_lets_a_running_call_finish(binding: str) -> None:
    server = Server("s")
    started, go = anyio.Event(), anyio.Event()

    @server.tool
    async def slow() -> str:
        started.set()
        await go.wait()
        return "finished"

    results: list[str] = []
    chosen: Any = {binding: "127.0.0.1:0"}

    async def call(client: Client) -> None:
        results.append((await client.call_tool("slow")).text)

    async with (
        served(server, **chosen) as state,
        connect(state.urls[0]) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(call, client)
        await started.wait()
        state.stop.set()
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert results == ["finished"]


async def test_stopping_ends_what_does_not_finish() -> None:
    server = Endless()

    async def call(client: Client) -> None:
        with pytest.raises(CallFailed):
            await client.call_tool("wait")

    async with (
        served(server, ws="127.0.0.1:0") as state,
        connect(state.urls[0]) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(call, client)
        await server.started.wait()
        state.stop.set()
    assert server.stopped.is_set()


async def test_an_address_that_is_none() -> None:
    with pytest.raises(BadTarget, match="HOST:PORT"):
        await serve(counter(), http="nonsense")
    with pytest.raises(BadTarget, match="there is nothing to serve on: name a binding"):
        await serve(counter())
    for wrong in ({"http": 8000}, {"tcp": 8000}, {"unix": Path("x.sock")}):
        arguments: Any = wrong
        with pytest.raises(TypeError, match=r"an address is text, such as .*, not (8000|Posix)"):
            await serve(counter(), **arguments)


@pytest.mark.parametrize("make", [run, asgi_app, lambda server: anyio.run(serve, server)])
@pytest.mark.parametrize("given", [object(), Server, "server:server"])
def test_what_is_no_server(make: Any, given: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a Server, got (object|type|str); adapt\(\)"):
        make(given)


@pytest.mark.parametrize(("host", "named"), [("fe80::1%lo", "[fe80::1]"), ("h", "h")])
def test_the_host_that_is_bound_is_ours(host: str, named: str) -> None:
    assert guard(ServeSettings(), HttpSettings(), host).allowed_hosts == (*LOOPBACK_HOSTS, named)


def test_no_host_and_no_origin_are_none() -> None:
    chosen = guard(ServeSettings(allowed_hosts=(), allowed_origins=()), HttpSettings())
    assert (chosen.allowed_hosts, chosen.allowed_origins) == ((), ())
    binding = HttpSettings(allowed_hosts=("a",), allowed_origins=("https://a",))
    assert guard(ServeSettings(), binding) == binding


async def test_hosts_that_are_not_ours_are_refused() -> None:
    settings = ServeSettings(allowed_hosts=("mcp.example.com",))
    async with served(counter(), http="127.0.0.1:0", ws="127.0.0.1:0", settings=settings) as state:
        for url in state.urls:
            with pytest.raises((LinkError, NegotiationError), match="403"):
                async with connect(url):
                    pytest.fail("connected")


async def test_changes_reach_clients_of_all_bindings() -> None:
    server = counter()
    async with (
        served(server, http="127.0.0.1:0", ws="127.0.0.1:0") as state,
        connect(state.urls[0]) as first,
        connect(state.urls[1]) as second,
        first.listen(tools=True) as news,
        second.listen(tools=True) as more,
    ):
        server.remove_tool("count")
        assert (await anext(news)).kind == "tools"
        assert (await anext(more)).kind == "tools"


@pytest.mark.parametrize("binding", ["http", "sse", "ws", "tcp"])
@pytest.mark.parametrize("revision", ERAS)
async def test_what_is_told_at_once_is_heard_before_the_handler_goes_on(
    binding: str, revision: str
) -> None:
    """Only the first is pumped: who takes it must take the rest along, and all that follows."""
    if binding == "sse" and revision == ERAS[-1]:
        revision = ERAS[0]  # its only era
    server = Server("teller")
    heard: list[float] = []
    all_heard = [anyio.Event(), anyio.Event()]

    @server.tool
    async def tell(context: Context) -> str:
        for turn, first in enumerate((1, 4)):
            for value in range(first, first + 3):
                assert context.progress(value)
            if turn:
                await context.drained()
            await all_heard[turn].wait()
        return "told"

    def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)
        if progress in (3, 6):
            all_heard[progress == 6].set()

    served_on: Any = {binding: "127.0.0.1:0"}
    async with (
        served(server, **served_on) as state,
        connect(state.url, revision=revision) as client,
    ):
        with patience():  # before any timer of the server pumps
            await client.call_tool("tell", progress=hear)
    assert heard == [1, 2, 3, 4, 5, 6]


async def test_a_new_session_knows_what_the_lost_one_knew() -> None:
    server = counter()
    server.add_resource("test://a", "A")

    @server.tool
    def warn(context: Context) -> str:
        return str(context.info("quiet"))

    async with served(server, http="127.0.0.1:0") as first:
        address = first.urls[0].removeprefix("http://").removesuffix("/mcp")
        async with connect(first.urls[0], revision=ERAS[0]) as client:
            await client.set_log_level("error")
            async with client.listen(uris=["test://a"]) as changes:
                first.stop.set()
                await first.ended.wait()
                async with served(server, http=address):
                    while True:
                        try:
                            await client.call_tool("warn")
                            break
                        except CallFailed:
                            continue  # the connection of before was still thought to be alive
                    with patience():
                        while "False" not in str((await client.call_tool("warn")).content):
                            await anyio.lowlevel.checkpoint()
                    between = await anext(changes)
                    assert (between.uri, between.missed) == ("test://a", True)
                    server.resource_updated("test://a")
                    told = await anext(changes)
                    assert (told.uri, told.missed) == ("test://a", False)
                    assert changes.reopened == 1


PROGRAM = """
from mcpcore.service import Server
from mcpcore_transports.serve.serve import run

server = Server("program")

@server.tool
def hello() -> str:
    print("a stray print")
    return "hello"

if __name__ == "__main__":
    run(server{arguments})
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_whole_program_on_stdio(tmp_path: Path, backend: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("{arguments}", f", backend={backend!r}"))
    command = [sys.executable, str(program)]
    target = StdioTarget(command, env={"PYTHONPATH": str(ROOT)})
    async with connect(target) as client:
        assert (await client.call_tool("hello")).text == "hello"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_whole_program_tells_its_address(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing() -> None: ...

    run(Server("x"), http="127.0.0.1:0", tcp="127.0.0.1:0", until=nothing, backend=backend)
    assert re.sub(r":\d+\b", ":0", capsys.readouterr().err) == (
        "listening on http://127.0.0.1:0/mcp\nlistening on tcp://127.0.0.1:0\n"
    )


async def test_no_program_begins_within_an_event_loop() -> None:
    with pytest.raises(LocalError, match=r"await serve\(server, ...\)"):
        run(Server("x"), http="127.0.0.1:0")


@pytest.mark.requirement("basic/transports/stdio/exit-on-eof")
def test_end_of_standard_input_ends_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("{arguments}", ""))
    request = '{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    done = subprocess.run(
        [sys.executable, str(program)],
        input=request,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout == '{"jsonrpc":"2.0","id":1,"result":{}}\n'
