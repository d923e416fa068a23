"""Functions of the user's that end the program, or try to: the failure of one call, or of less.

What handlers and callbacks do on every binding is shown by ``tests/bindings/exits.py``; here are
the hooks around them.
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from msgspec import Struct

from mcpcore import HttpTarget, MemoryTarget, Server, StdioTarget, UnixTarget, WebSocketTarget
from mcpcore.errors import HandlerExit, LinkError, NegotiationError, PeerError
from mcpcore.http.principals import Principal
from mcpcore.spec.errors import INTERNAL_ERROR
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.middleware import OutgoingRequest
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.running.middleware import CallNext, Steps
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer, ServerMiddleware
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from mcpcore_transports.stream.settings import ProcessSettings, SocketSettings
from mcpcore_transports.tracing.tracing import Trace
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.clock import PATIENCE
from tests.error_ids import id_of, without_id
from tests.leaving import ENDS, TOLD, leave, words_in
from tests.transports.http_fixture import tool as tool_call
from tests.transports.runtime_bench import LEGACY, MODERN
from tests.transports.serve.test_handle import framework
from tests.transports.served import ANY_PORT, reachable, served

pytestmark = pytest.mark.anyio

WORD = "secret-word"
ends = pytest.mark.parametrize("how", ENDS)
eras = pytest.mark.parametrize("revision", [LEGACY, MODERN])


class Name(Struct):
    name: str


def greeter() -> Server:
    """A server with one tool that works."""
    server = Server("greeter", offers=("resources",))

    @server.tool
    def greet() -> str:
        return "hello"

    @server.resource("test://greeting")
    def greeting() -> str:
        return "hello"

    return server


async def works(client: Client) -> None:
    assert (await client.call_tool("greet")).text == "hello"


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.001)


async def check_logged(logger: str, entry: str, act: Callable[[], Awaitable[object]]) -> None:
    """Do something; it is in a log before long."""
    with words_in(logger) as words:
        await act()
        await until(lambda: entry in words)


async def check_failed(asking: Awaitable[object], said: str) -> None:
    """A request is refused with ``said`` and an error id, which the log has beside the word."""
    with words_in("mcpcore.server") as words, pytest.raises(PeerError) as caught:
        await asking
    message = caught.value.error.message
    assert without_id(message) == said
    assert f"{id_of(message)} {WORD}" in words


class Once:
    """Leaves when it is asked for the first time."""

    def __init__(self, how: str) -> None:
        self._how: str | None = how

    def __call__(self) -> None:
        how, self._how = self._how, None
        if how is not None:
            leave(how, WORD)


@pytest.mark.parametrize("transport", ["memory", "http"])
async def test_what_a_thread_ends_with_that_a_tool_waits_for(transport: str) -> None:
    """asyncio closes a coroutine whose future ends with GeneratorExit."""
    server = greeter()

    def leave() -> None:
        raise GeneratorExit

    @server.tool
    async def threaded() -> None:
        await anyio.to_thread.run_sync(leave)

    async with reachable(transport, server) as target, connect(target) as client:
        assert (await client.call_tool("threaded")).is_error
        await works(client)


# Middleware


def before(how: str) -> ServerMiddleware:
    once = Once(how)

    def middleware(request: Context) -> Steps[Answer]:
        once()
        yield

    return middleware


def after(how: str) -> ServerMiddleware:
    once = Once(how)

    def middleware(request: Context) -> Steps[Answer]:
        try:
            yield
        finally:
            once()

    return middleware


def awaiting(how: str) -> ServerMiddleware:
    once = Once(how)

    async def middleware(request: Context, call_next: CallNext[Answer]) -> Answer:
        await anyio.lowlevel.checkpoint()
        once()
        return await call_next()

    return middleware


def in_task(how: str) -> ServerMiddleware:
    once = Once(how)

    async def leaving() -> None:
        once()

    async def middleware(request: Context, call_next: CallNext[Answer]) -> Answer:
        async with anyio.create_task_group() as group:
            group.start_soon(leaving)
        return await call_next()

    return middleware


@pytest.mark.share(2)
@eras
@ends
@pytest.mark.parametrize("kind", [before, after, awaiting, in_task])
async def test_middleware(kind: Callable[[str], ServerMiddleware], how: str, revision: str) -> None:
    """Whoever is around it sees an Exception."""
    seen: list[Exception] = []

    def around(request: Context) -> Steps[Answer]:
        try:
            yield
        except Exception as error:
            seen.append(error)
            raise

    async def also_around(request: Context, call_next: CallNext[Answer]) -> Answer:
        try:
            return await call_next()
        except Exception as error:
            seen.append(error)
            raise

    for ways in ((around,), (also_around, around), (around, also_around)):
        for asks in ("tool", "unknown", "resource", "list"):
            seen.clear()
            target = MemoryTarget(greeter(), RuntimeSettings(middleware=(*ways, kind(how))))
            with words_in("mcpcore.server") as words:
                async with connect(target, revision=revision) as client:
                    said = await _told(client, asks)
                    assert said.endswith(TOLD[how]) is False  # there is an id behind it
                    assert without_id(said) == TOLD[how]
                    assert f"{id_of(said)} {WORD}" in words
                    await works(client)
            assert len(seen) >= len(ways)
            assert isinstance(seen[0], HandlerExit)


async def _told(client: Client, asks: str) -> str:
    """What comes of a call that fails."""
    if asks == "tool":
        result = await client.call_tool("greet")
        assert result.is_error
        return result.text
    asking: dict[str, Callable[[], Awaitable[object]]] = {
        "unknown": lambda: client.call_tool("unknown"),
        "resource": lambda: client.read_resource("test://greeting"),
        "list": client.list_tools,
    }
    with pytest.raises(PeerError) as caught:
        await asking[asks]()
    assert caught.value.code == INTERNAL_ERROR
    return caught.value.error.message


# Hooks of a server


class Limiter:
    def __init__(self, once: Once) -> None:
        self._once = once

    def admit(self, activity: object, caller: str, *, now: float, tool: str | None = None) -> float:
        self._once()
        return 0.0


@eras
@ends
async def test_a_rate_limiter(how: str, revision: str) -> None:
    target = MemoryTarget(greeter(), RuntimeSettings(limiter=Limiter(Once(how))))
    async with connect(target, revision=revision) as client:
        said = f"{TOLD[how]}: the rate of tool calls is unknown"
        await check_failed(client.call_tool("greet"), said)
        await works(client)


@eras
@ends
async def test_who_may_see_something(how: str, revision: str) -> None:
    server = greeter()
    once = Once(how)

    def seen(principal: str | None) -> bool:
        once()
        return True

    server.add_tool(lambda: "hello", "hidden", visible=seen)
    async with connect(server, revision=revision) as client:
        await check_failed(client.list_tools(), TOLD[how])
        assert [tool.name for tool in await client.tools()] == ["greet", "hidden"]


@eras
@ends
async def test_a_type_that_is_read(how: str, revision: str) -> None:
    """Of arguments, and of what a notification says."""
    once = Once(how)

    class Odd(Struct):
        n: int

        def __post_init__(self) -> None:
            once()

    server = greeter()
    heard: list[int] = []

    @server.tool
    def take(odd: Odd) -> str:
        return "hello"

    @server.notification("notifications/acme/odd")
    def hear(odd: Odd) -> None:
        heard.append(odd.n)

    async with connect(server, revision=revision) as client:
        await check_failed(client.call_tool("take", {"odd": {"n": 1}}), TOLD[how])
        once = Once(how)
        await check_logged("mcpcore.server", WORD, _notifying(client, "notifications/acme/odd", 1))
        client.notify("notifications/acme/odd", {"odd": {"n": 2}})
        await until(lambda: heard)
        assert heard == [2]
        await works(client)


def _notifying(client: Client, method: str, n: int) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        assert client.notify(method, {"odd": {"n": n}})

    return act


class BrokenSeal:
    """Leaves when it seals or opens, as ``when`` says."""

    def __init__(self, how: str, when: str) -> None:
        self._how, self._when = how, when

    def seal(self, payload: bytes, binding: object, *, wall: float) -> str:
        if self._when == "seal":
            leave(self._how, WORD)
        return payload.decode()

    def open(self, text: str, binding: object, *, wall: float) -> bytes:
        leave(self._how, WORD)
        return b""


@ends
@pytest.mark.parametrize("when", ["seal", "open"])
async def test_a_seal(when: str, how: str) -> None:
    server = greeter()

    @server.tool
    async def ask(context: Context) -> str:
        answer = await context.elicit("Who?", Name)
        return answer.action

    seal: Any = BrokenSeal(how, when)
    callbacks = Callbacks(elicitation=lambda form: {"name": "Ada"})
    target = MemoryTarget(server, RuntimeSettings(seal=seal))
    async with connect(target, revision=MODERN, callbacks=callbacks) as client:
        await check_failed(client.call_tool("ask"), TOLD[how])
        await works(client)


@ends
@pytest.mark.parametrize("later", [False, True])
async def test_who_hears_of_the_progress_of_a_question(later: bool, how: str) -> None:
    server = greeter()

    def hear(*_: object) -> None:
        leave(how, WORD)

    async def hear_later(*_: object) -> None:
        leave(how, WORD)

    @server.tool
    async def ask(context: Context) -> str:
        answer = await context.elicit("Who?", Name, progress=hear_later if later else hear)
        return answer.action

    def answer(form: Any, context: Any) -> dict[str, str]:
        assert context.progress(1.0)
        return {"name": "Ada"}

    async with connect(server, revision=LEGACY, callbacks=Callbacks(elicitation=answer)) as client:

        async def act() -> None:
            assert (await client.call_tool("ask")).text == "accept"

        await check_logged("mcpcore.server", WORD, act)
        await works(client)


@pytest.mark.share(2)
@eras
@ends
@pytest.mark.parametrize("transport", ["memory", "http"])
async def test_a_task(transport: str, how: str, revision: str) -> None:
    """The task ends with the error; others go on, and so does who looks after them."""
    server = greeter()

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        leave(how, WORD)

    server.add_tool(work, "work", task="required", task_poll=0.001)
    server.add_tool(work, "work_later", task="optional", task_after=None)
    settings = ClientSettings(tasks=TaskOptions(max_poll=0.01, min_poll=0.001))
    async with (
        reachable(transport, server) as target,
        connect(target, revision=revision, settings=settings) as client,
    ):
        for name in ("work", "work_later", "work"):
            with words_in("mcpcore.server") as words:
                result = await client.call_tool(name)
            assert (result.is_error, without_id(result.text)) == (True, TOLD[how])
            assert f"{id_of(result.text)} {WORD}" in words
        await works(client)


# Who asks


def verdicts(how: str) -> list[Callable[[object], Any]]:
    """Hooks that leave when they are asked first: at once, later, in a task."""
    once, later, in_task = Once(how), Once(how), Once(how)

    def plain(asking: object) -> Principal:
        once()
        return Principal("ann")

    async def coroutine(asking: object) -> Principal:
        await anyio.lowlevel.checkpoint()
        later()
        return Principal("ann")

    async def leaving() -> None:
        in_task()

    async def with_task(asking: object) -> Principal:
        async with anyio.create_task_group() as group:
            group.start_soon(leaving)
        return Principal("ann")

    return [plain, coroutine, with_task]


@pytest.mark.turns("driver")
@pytest.mark.parametrize("driver", ["anyio", "asyncio"])
@ends
async def test_who_asks_over_http(how: str, driver: Any, anyio_backend_name: str) -> None:
    if (driver, anyio_backend_name) == ("asyncio", "trio"):
        pytest.skip("the driver of asyncio is for asyncio")
    for hook in verdicts(how):
        link = HttpServerSettings(authenticate=hook, driver=driver)
        settings = ServeSettings(http_link=link, shared=True)
        async with served(greeter(), http=ANY_PORT, settings=settings) as site:
            with pytest.raises(NegotiationError, match="500"):
                await _greets(site.url)
            await _greets(site.url)


@ends
async def test_who_asks_over_websocket(how: str) -> None:
    for hook in verdicts(how):
        settings = ServeSettings(http_link=HttpServerSettings(authenticate=hook))
        async with served(greeter(), ws=ANY_PORT, settings=settings) as site:
            with pytest.raises(LinkError, match="500"):
                await _greets(site.url)
            await _greets(site.url)


@ends
async def test_who_asks_on_a_socket(how: str, tmp_path: Path) -> None:
    for number, hook in enumerate(verdicts(how)):
        settings = ServeSettings(socket=SocketSettings(authenticate=hook))
        path = str(tmp_path / f"{number}")
        async with served(greeter(), unix=path, settings=settings):
            with pytest.raises(LinkError):
                await _greets(UnixTarget(path))
            await _greets(UnixTarget(path))


async def _greets(target: Any) -> None:
    async with connect(target, revision=MODERN) as client:
        await works(client)


@ends
async def test_whom_middleware_of_asgi_has_let_in(how: str) -> None:
    once = Once(how)

    def principal(scope: object) -> str:
        once()
        return "ann"

    app = asgi_app(greeter(), principal=principal)
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/mcp",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    for _ in range(2):
        await app(scope, _nothing, send)
    await app.aclose()
    assert statuses[0] == 500
    assert statuses[1] != 500


async def _nothing() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


@ends
@pytest.mark.parametrize("later", [False, True])
async def test_a_tool_behind_a_plain_function(later: bool, how: str) -> None:
    async with framework() as site:

        async def leave_later(how: str, word: str) -> None:
            leave(how, word)

        site.site.server.add_tool(leave_later if later else leave, "leave")
        with words_in("mcpcore.server") as words:
            reply = await site.ask(tool_call("leave", how=how, word=WORD))
        assert without_id(reply.result) == TOLD[how]
        assert f"{id_of(reply.result)} {WORD}" in words
        assert (await site.ask(tool_call("add", a=2, b=3))).result == "5"


@pytest.mark.parametrize("how", sorted(ENDS.keys() - {"generator"}))
async def test_a_store(how: str) -> None:
    """What needs it fails; what does not is served, and so is what comes when it is well again."""
    once = Once(how)

    class Leaving(MemoryStore):
        def commit(self, *steps: Any) -> Any:
            once()
            return super().commit(*steps)

    settings = ServeSettings(store=Leaving())
    async with served(greeter(), http=ANY_PORT, settings=settings) as site:
        with words_in("mcpcore.store") as words, pytest.raises(NegotiationError):
            async with connect(site.url, revision=LEGACY) as client:
                await works(client)
        assert WORD in words
        async with connect(site.url, revision=LEGACY) as client:
            await works(client)


# Hooks of a client


def headers_of(how: str, *, later: bool) -> Any:
    """A function for headers that leaves when it is called first."""
    once = Once(how)

    def headers(request: object) -> dict[str, str]:
        once()
        return {}

    async def leaving() -> None:
        once()

    async def headers_later(request: object) -> dict[str, str]:
        async with anyio.create_task_group() as group:
            group.start_soon(leaving)
        return {}

    return headers_later if later else headers


@pytest.mark.share(2)
@ends
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("binding", "made"), [("http", HttpTarget), ("ws", WebSocketTarget)], ids=["http", "ws"]
)
async def test_headers(binding: str, made: type[Any], later: bool, how: str) -> None:
    address: Any = {binding: ANY_PORT}
    async with served(greeter(), **address) as site:
        target = made(site.url, headers_of(how, later=later))
        with pytest.raises((LinkError, NegotiationError), match="HandlerExit"):
            await _greets(target)
        await _greets(target)


@pytest.mark.share(2)
@eras
@ends
@pytest.mark.parametrize("kind", ["plain", "awaiting", "in_task"])
async def test_middleware_of_a_client(kind: str, how: str, revision: str) -> None:
    once: Callable[[], None] = lambda: None  # noqa: E731 - until it is connected

    def plain(request: OutgoingRequest) -> Steps[Any]:
        yield
        once()

    async def awaiting(request: OutgoingRequest, call_next: CallNext[Any]) -> Any:
        outcome = await call_next()
        once()
        return outcome

    async def leaving() -> None:
        once()

    async def in_task(request: OutgoingRequest, call_next: CallNext[Any]) -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(leaving)
        return await call_next()

    middleware: Any = {"plain": plain, "awaiting": awaiting, "in_task": in_task}[kind]
    async with connect(greeter(), revision=revision, middleware=[middleware]) as client:
        once = Once(how)
        with pytest.raises(HandlerExit) as caught:
            await client.call_tool("greet")
        assert isinstance(caught.value.__cause__, BaseException)
        await works(client)


@ends
@pytest.mark.parametrize("sinks", ["trace", "latency", "stderr"])
async def test_functions_that_are_told_things(how: str, sinks: str) -> None:
    """What is traced, how long a ping took, what a child says: the conversation goes on."""

    def told(*_: object) -> None:
        leave(how, WORD)

    if sinks == "trace":

        async def act() -> None:
            async with connect(greeter(), trace=Trace(told)) as client:
                await works(client)

        await check_logged("mcpcore.tracing", WORD, act)
    elif sinks == "latency":
        quick = WebSocketSettings(ping_interval=0.01, on_latency=told)
        async with served(greeter(), ws=ANY_PORT) as site:
            settings = ClientSettings(websocket=quick)
            async with connect(site.url, settings=settings) as client:
                await check_logged("mcpcore.websocket", WORD, lambda: works(client))
                await works(client)
    else:
        program = (sys.executable, str(PROGRAM))
        settings = ClientSettings(process=ProcessSettings(stderr=told))

        async def act() -> None:
            async with connect(StdioTarget(program), settings=settings) as client:
                await works(client)

        await check_logged("mcpcore.stdio", WORD, act)


PROGRAM = Path(__file__)

if __name__ == "__main__":
    sys.stderr.write("something\n")
    run(greeter())
