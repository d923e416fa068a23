"""``connect(server, raise_exceptions=True)``: what handlers raise reaches the test, as it is."""

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import Struct

from mcpcore import Callbacks, ClientSettings, Context, McpError, RuntimeSettings, Server
from mcpcore.errors import BadTarget, PeerError, ToolError
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.server.failures import RaisedExceptions
from mcpcore_transports.targets import MemoryTarget, StdioTarget, UnixTarget
from tests.leaving import ENDS
from tests.transports.runtime_bench import LEGACY, MODERN

pytestmark = pytest.mark.anyio

eras = pytest.mark.parametrize("revision", [LEGACY, MODERN])
TASKS = ClientSettings(tasks=TaskOptions(max_poll=0.01, min_poll=0.001))


class Name(Struct):
    name: str


class Failing:
    """A server whose handlers raise what a test says."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.server = server = Server("failing")
        server.add_tool(lambda: "fine", "fine")
        server.add_tool(self.fail, "plain")
        server.add_tool(self.fail, "thread", thread=True)
        server.add_tool(self.fail_later, "later")
        server.add_tool(self.fail_in_group, "group")
        server.add_tool(self.ask_and_fail, "ask")
        server.add_tool(self.fail_later, "task", task="required", task_poll=0.001)
        server.add_resource("test://x", lambda: self.fail(), name="x")
        server.add_resource("test://{x}/y", lambda x: self.fail(), name="y")
        server.add_prompt(lambda: self.fail(), "prompt")
        server.completion(prompt="prompt", argument="x")(lambda typed: self.fail())
        server.method("acme/fail")(self.fail)
        server.notification("notifications/acme/fail")(self.fail)
        server.notification("notifications/acme/later")(self.fail_later)

    def fail(self) -> str:
        raise self.error

    async def fail_later(self) -> str:
        await anyio.lowlevel.checkpoint()
        return self.fail()

    async def fail_in_group(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.fail_later)
            await anyio.sleep_forever()

    async def ask_and_fail(self, context: Context) -> str:
        await context.elicit("Who?", Name)
        return self.fail()


def connected(server: Server | MemoryTarget, revision: str) -> connect:
    callbacks = Callbacks(elicitation=lambda form: {"name": "Ada"})
    return connect(
        server,
        revision=revision,
        callbacks=callbacks,
        settings=TASKS,
        raise_exceptions=True,
    )


CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    **{
        name: lambda client, name=name: client.call_tool(name)  # type: ignore[misc]
        for name in ("plain", "thread", "later", "group", "ask", "task")
    },
    "resource": lambda client: client.read_resource("test://x"),
    "template": lambda client: client.read_resource("test://x/y"),
    "prompt": lambda client: client.get_prompt("prompt"),
    "completion": lambda client: client.complete(PromptReference(name="prompt"), "x", ""),
    "method": lambda client: client.request("acme/fail"),
}


async def fine(client: Client) -> None:
    assert (await client.call_tool("fine")).text == "fine"


@eras
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wire", [False, True])
async def test_the_very_exception(call: str, wire: bool, revision: str) -> None:
    failing = Failing(LookupError("a secret"))
    target = MemoryTarget(failing.server, wire=wire)
    async with connected(target, revision) as client:
        for _ in range(2):
            with pytest.raises(LookupError) as caught:
                await CALLS[call](client)
            assert caught.value is failing.error
            shown = "".join(traceback.format_exception(caught.value))
            assert "in fail\n" in shown
            assert "in test_the_very_exception\n" in shown
            await fine(client)


@eras
@pytest.mark.parametrize("how", [*ENDS, "pytest.fail", "pytest.skip"])
@pytest.mark.parametrize("call", ["plain", "thread", "later", "task", "resource"])
@pytest.mark.share(2)
async def test_what_is_no_exception_reaches_the_test_as_well(
    call: str, how: str, revision: str
) -> None:
    made: dict[str, Callable[[str], BaseException]] = {
        **ENDS,
        "pytest.fail": pytest.fail.Exception,
        "pytest.skip": pytest.skip.Exception,
    }
    failing = Failing(made[how]("a secret"))
    async with connected(failing.server, revision) as client:
        try:
            await CALLS[call](client)
        except BaseException as error:
            found: BaseException | None = error
        else:
            found = None
        assert found is failing.error
        await fine(client)


@eras
@pytest.mark.parametrize(
    "error", [ToolError("for the model"), McpError(-5, "for the client")], ids=["tool", "protocol"]
)
async def test_what_is_meant_for_the_client_stays_an_answer(
    error: Exception, revision: str
) -> None:
    failing = Failing(error)
    async with connected(failing.server, revision) as client:
        if isinstance(error, McpError):
            with pytest.raises(PeerError, match="for the client"):
                await client.call_tool("later")
        else:
            assert (await client.call_tool("later")).is_error
        with pytest.raises(PeerError, match="Unknown tool"):
            await client.call_tool("unknown")


async def told_of_failures(client: Client, method: str, times: int) -> None:
    for _ in range(times):
        client.notify(method)
    await fine(client)


@eras
@pytest.mark.parametrize("method", ["notifications/acme/fail", "notifications/acme/later"])
@pytest.mark.parametrize("times", [1, 2])
async def test_what_no_call_waits_for_comes_at_the_end(
    times: int, method: str, revision: str
) -> None:
    failing = Failing(LookupError("a secret"))
    connecting = connected(failing.server, revision)
    await told_of_failures(await connecting.__aenter__(), method, times)
    with pytest.raises((LookupError, ExceptionGroup)) as caught:
        await connecting.__aexit__(None, None, None)
    if times == 1:
        assert caught.value is failing.error
    else:
        assert isinstance(caught.value, ExceptionGroup)
        assert caught.value.exceptions == (failing.error,) * 2


async def test_what_the_test_itself_raises_goes_first() -> None:
    failing = Failing(LookupError("a secret"))
    connecting = connected(failing.server, MODERN)
    await told_of_failures(await connecting.__aenter__(), "notifications/acme/fail", 1)
    error = AssertionError("of the test")
    await connecting.__aexit__(AssertionError, error, None)  # which raises nothing else


HOOKS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "tools/call": lambda client: client.call_tool("fine"),
    "tools/list": lambda client: client.list_tools(),
    "subscriptions/listen": lambda client: client.listen(tools=True).__aenter__(),
    "the limiter": lambda client: client.call_tool("fine"),
}


@pytest.mark.parametrize("hook", HOOKS)
async def test_hooks(hook: str) -> None:
    error = LookupError("a secret")
    armed = True

    def middleware(request: Context) -> Any:
        if armed and request.method == hook:
            raise error
        yield

    class Limiter:
        def admit(self, *_: object, **__: object) -> float:
            if armed and hook == "the limiter":
                raise error
            return 0.0

    settings = RuntimeSettings(limiter=Limiter(), middleware=(middleware,))
    target = MemoryTarget(Failing(error).server, settings)
    async with connected(target, MODERN) as client:
        with pytest.raises(LookupError) as caught:
            await HOOKS[hook](client)
        assert caught.value is error
        armed = False
        await fine(client)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/mcp",
        "ws://127.0.0.1:1/",
        "tcp://127.0.0.1:1",
        StdioTarget(["python", "-c", "secret"]),
        UnixTarget("/nowhere"),
    ],
    ids=str,
)
def test_it_is_for_a_server_of_this_process(target: Any) -> None:
    with pytest.raises(BadTarget, match="raise_exceptions is for a Server of this process") as e:
        connect(target, raise_exceptions=True)
    assert "secret" not in str(e.value)


def test_so_many_are_kept() -> None:
    raised = RaisedExceptions()
    errors = [ValueError(str(number)) for number in range(1500)]
    for number, error in enumerate(errors):
        raised.keep(f"{number:08}", error)
    with pytest.raises(ExceptionGroup) as caught:
        raised.raise_rest()
    assert list(caught.value.exceptions) == errors[-1000:]
    raised.raise_rest()
