"""Masked errors: the id that the log has, too, what ``reveal_errors`` shows, and who is warned."""

import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import ClientSettings, HttpServerSettings, RuntimeSettings, Server, ServeSettings
from mcpcore.errors import LinkError, NegotiationError, PeerError
from mcpcore.http.principals import Principal
from mcpcore.spec.errors import INTERNAL_ERROR
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint
from mcpcore_transports.server.middleware import Answer
from mcpcore_transports.stream.settings import ProcessSettings, SocketSettings
from mcpcore_transports.targets import MemoryTarget, StdioTarget, UnixTarget
from tests.error_ids import id_of, without_id
from tests.transports.runtime_bench import LEGACY, MODERN
from tests.transports.served import ANY_PORT, reachable, served
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

eras = pytest.mark.parametrize("revision", [LEGACY, MODERN])
ROOT = Path(__file__).parents[3]
REVEALED = ": LookupError: the password is 1234"
TASKS = ClientSettings(tasks=TaskOptions(max_poll=0.01, min_poll=0.001))


def fail() -> str:
    raise LookupError("the password is 1234")


async def fail_later() -> str:
    await anyio.lowlevel.checkpoint()
    return fail()


def broken() -> Server:
    server = Server("broken")
    server.add_tool(fail, "plain")
    server.add_tool(fail_later, "later")
    server.add_tool(fail, "thread", thread=True)
    server.add_tool(fail_later, "task", task="required", task_poll=0.001)
    server.add_tool(lambda: "x" * 100, "large", max_result=50)
    server.add_resource("test://x", lambda: fail(), name="x")
    server.add_prompt(lambda: fail(), "prompt")
    server.completion(prompt="prompt", argument="x")(lambda typed: fail())
    server.method("acme/fail")(fail)
    return server


async def _tool(client: Client, name: str) -> str:
    result = await client.call_tool(name)
    assert result.is_error
    return result.text


async def _error(asking: Awaitable[object]) -> str:
    with pytest.raises(PeerError) as caught:
        await asking
    assert caught.value.code == INTERNAL_ERROR
    return caught.value.error.message


ASKING: dict[str, Callable[[Client], Awaitable[str]]] = {
    "tools/call 'plain'": lambda client: _tool(client, "plain"),
    "tools/call 'later'": lambda client: _tool(client, "later"),
    "tools/call 'thread'": lambda client: _tool(client, "thread"),
    "tools/call 'task'": lambda client: _tool(client, "task"),
    "resources/read 'test://x'": lambda client: _error(client.read_resource("test://x")),
    "prompts/get 'prompt'": lambda client: _error(client.get_prompt("prompt")),
    "completion/complete 'prompt'": lambda client: _error(
        client.complete(PromptReference(name="prompt"), "x", "")
    ),
    "acme/fail": lambda client: _error(client.request("acme/fail")),
}


@eras
@pytest.mark.requirement("server/resources/internal-errors")
@pytest.mark.parametrize("asks", ASKING)
@pytest.mark.parametrize("binding", ["memory", "http", "ws", "tcp"])
@pytest.mark.share(2)
async def test_the_log_has_the_id_that_the_client_is_told(
    binding: str, asks: str, revision: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        reachable(binding, broken()) as target,
        connect(target, revision=revision, settings=TASKS) as client,
    ):
        said = [await ASKING[asks](client) for _ in range(2)]
    assert [without_id(each) for each in said] == ["Internal error"] * 2
    made = [id_of(each) for each in said]
    assert made[0] != made[1]
    failed = [record for record in caplog.records if record.name == "mcpcore.server"]
    assert [record.getMessage() for record in failed] == [
        f"the handler of {asks} failed (error id {each})" for each in made
    ]
    for record in failed:
        assert record.exc_info is not None
        assert "1234" in str(record.exc_info[1])


@eras
async def test_what_a_middleware_sees_of_it(revision: str) -> None:
    answers: list[str] = []

    def middleware(request: object) -> Any:
        answer: Answer = yield
        answers.append(bytes(answer.result).decode())

    target = MemoryTarget(broken(), RuntimeSettings(middleware=(middleware,)))
    async with connect(target, revision=revision) as client:
        assert id_of(await _tool(client, "plain")) == id_of(answers[0])


@eras
@pytest.mark.parametrize("asks", ASKING)
async def test_ids_can_be_given_and_errors_revealed(asks: str, revision: str) -> None:
    numbers = iter(range(10**9))
    given = RuntimeSettings(error_ids=lambda: f"{next(numbers):08}", reveal_errors=True)
    async with connect(MemoryTarget(broken(), given), revision=revision, settings=TASKS) as client:
        for number in range(2):
            assert (
                await ASKING[asks](client) == f"Internal error{REVEALED} (error id 0000000{number})"
            )


@eras
async def test_a_result_that_is_too_large(revision: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(broken(), revision=revision) as client:
        said = await _tool(client, "large")
    found = re.fullmatch(
        r"Internal error: the result takes (\d+) bytes, and the tool may return 50 .*", said
    )
    assert found is not None
    assert int(found[1]) > 100
    [record] = caplog.records
    assert id_of(said) in record.getMessage()
    assert f"takes {found[1]} bytes" in caplog.text


TOKEN = "a-token-1234"


def refuses(asking: object) -> Principal:
    raise LookupError(TOKEN)


async def test_who_is_not_recognized_has_an_id_as_well(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The same, whether or not errors are revealed: there may be a token in them."""
    path = str(tmp_path / "socket")
    settings = ServeSettings(
        runtime=RuntimeSettings(reveal_errors=True),
        http_link=HttpServerSettings(authenticate=refuses),
        socket=SocketSettings(authenticate=refuses),
    )
    bindings: dict[str, Any] = {"http": ANY_PORT, "ws": ANY_PORT, "unix": path}
    async with served(broken(), settings=settings, **bindings) as site:
        for target in (*site.urls[:2], UnixTarget(path)):
            caplog.clear()
            with pytest.raises((NegotiationError, LinkError)) as caught:
                async with connect(target, revision=MODERN):
                    pass
            said = f"{caught.value} {caught.value.__cause__}"
            assert "could not be found out" in said, target
            assert id_of(said) in caplog.text
            assert TOKEN not in said + caplog.text


def warned(caplog: pytest.LogCaptureFixture) -> int:
    records = [each for each in caplog.records if each.levelno == logging.WARNING]
    return sum("reveal_errors is on" in each.getMessage() for each in records)


@pytest.mark.parametrize("reveals", [False, True])
async def test_whoever_serves_is_warned_once(
    reveals: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ServeSettings(runtime=RuntimeSettings(reveal_errors=reveals))
    bindings: dict[str, Any] = {"http": ANY_PORT, "ws": ANY_PORT, "tcp": ANY_PORT}
    async with served(broken(), settings=settings, **bindings) as site:
        for url in site.urls * 2:
            async with connect(url) as client:
                said = await _tool(client, "plain")
                assert ("1234" in said) is reveals
    assert warned(caplog) == reveals
    for make in (asgi_app, HttpEndpoint):
        caplog.clear()
        make(broken(), settings=settings)
        assert warned(caplog) == reveals


PROGRAM = """
from mcpcore.service import Server

server = Server("program")


@server.tool
def fail() -> str:
    raise LookupError("the password is 1234")
"""


@pytest.mark.parametrize("reveals", [False, True])
async def test_the_command(reveals: bool, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    words = ("serve", "program:server", "--stdio", *(["--reveal-errors"] if reveals else []))
    lines: list[str] = []
    settings = ClientSettings(process=ProcessSettings(stderr=lines.append))
    command = (*PYTHON, "-m", "mcpcore_transports.commands.main", *words)
    target = StdioTarget(command, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    async with connect(target, settings=settings) as client:
        said = await _tool(client, "fail")
    assert without_id(said) == f"Internal error{REVEALED if reveals else ''}"
    assert any(id_of(said) in line for line in lines)
    assert sum("reveal_errors is on" in line for line in lines) == reveals
