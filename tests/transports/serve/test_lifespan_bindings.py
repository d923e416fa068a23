"""The lifespan of a server on every binding: nothing happens before its start or after its end."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import structs

from mcpcore import Answer, ClientSettings, Context, HttpServerSettings, RuntimeSettings, Server
from mcpcore.errors import CallFailed, LifespanError, LinkError
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.running.middleware import Steps
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.server.notifications import NotificationContext
from mcpcore_transports.stream.settings import ConnectionSettings, SocketSettings
from mcpcore_transports.targets import MemoryTarget
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.clock import HOUR, PATIENCE, until
from tests.transports.serve.lives import Diary, declared
from tests.transports.served import reachable, served
from tests.transports.stream.test_custom_binding import framed as framed
from tests.transports.ways import anyio_backend as anyio_backend
from tests.transports.ways import on_this_way

pytestmark = pytest.mark.anyio

ANY = "127.0.0.1:0"
ERAS = ("2025-11-25", "2026-07-28")
NETWORK = ("http", "sse", "ws", "shared", "tcp", "unix", "custom")
MEMORY = {"memory": False, "memory-wire": True}
PUMP = ConnectionSettings(drain=0.05)
SETTINGS = ServeSettings(
    http_link=HttpServerSettings(drain_time=0.05),
    websocket=WebSocketSettings(connection=PUMP),
    socket=SocketSettings(connection=PUMP),
)
"""What does not end is not waited for: the calls of these tests do not."""
FOLLOWS = ClientSettings(tasks=TaskOptions(max_poll=0.01, min_poll=0.001))


def options(binding: str, folder: Path, framed: ModuleType, address: str = ANY) -> dict[str, Any]:
    """What :func:`serve` is told to serve on one binding."""
    settings = structs.replace(SETTINGS, http_link=on_this_way(SETTINGS.http_link))
    chosen: dict[str, Any] = {"settings": settings, binding: address}
    if binding == "shared":
        return {"settings": structs.replace(settings, shared=True), "http": address}
    if binding == "unix":
        chosen[binding] = str(folder / "socket")
    elif binding == "custom":
        chosen[binding] = [framed.listen_framed]
    return chosen


def target(binding: str, urls: list[str], framed: ModuleType) -> Any:
    url = urls[-1]
    return framed.FramedTarget("127.0.0.1", int(url.rpartition(":")[2])) if "framed" in url else url


async def life(client: Client) -> str:
    return (await client.call_tool("life")).text


async def call_until_cut_off(client: Client) -> None:
    with pytest.raises(CallFailed):
        await client.call_tool("wait")


@pytest.mark.turns("era")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("binding", NETWORK)
async def test_it_is_around_everything(
    binding: str, era: str, tmp_path: Path, framed: ModuleType
) -> None:
    diary, stop = Diary(), anyio.Event()
    server = declared(diary)
    urls: list[str] = []

    def listening(url: str) -> None:
        urls.append(url)
        diary.add("listening")

    serving = partial(
        serve,
        server,
        on_listening=listening,
        on_ready=partial(diary.add, "ready"),
        stop=stop,
        **options(binding, tmp_path, framed),
    )
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(serving)
            await diary.until("ready")
            revision = ERAS[0] if binding == "sse" else era
            where = target(binding, urls, framed)
            for _ in range(2):  # it is not that of a connection
                async with connect(where, revision=revision) as client:
                    assert await life(client) == "1"
            async with (
                connect(where, revision=revision) as client,
                anyio.create_task_group() as calls,
            ):
                calls.start_soon(call_until_cut_off, client)
                await diary.until("call begins")
                stop.set()
    order = list(dict.fromkeys(diary.entries))  # two are listening where a port is shared
    assert order == [
        *("start 1", "started 1", "listening", "ready"),
        *("call begins", "call ends in life 1", "end 1", "ended 1"),
    ]


@pytest.mark.parametrize("binding", NETWORK)
async def test_nothing_listens_before_it_has_started(
    binding: str, tmp_path: Path, framed: ModuleType, free_tcp_port: int
) -> None:
    diary, go, stop = Diary(), anyio.Event(), anyio.Event()
    server = declared(diary, start=go.wait)
    address = f"127.0.0.1:{free_tcp_port}"
    serving = partial(
        serve,
        server,
        on_listening=lambda url: diary.add("listening"),
        stop=stop,
        **options(binding, tmp_path, framed, address),
    )
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(serving)
            await diary.until("start 1")
            await anyio.wait_all_tasks_blocked()
            assert diary.entries == ["start 1"]
            assert not (tmp_path / "socket").exists()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", free_tcp_port), timeout=PATIENCE)
            go.set()
            await diary.until("listening")
            stop.set()
    assert diary.entries[-1] == "ended 1"


@pytest.mark.parametrize("binding", NETWORK)
async def test_a_failing_start_is_one_exception_and_nothing_listens(
    binding: str, tmp_path: Path, framed: ModuleType
) -> None:
    async def start() -> None:
        raise ConnectionRefusedError("no database")

    urls: list[str] = []
    said = "^the lifespan life failed at its start: ConnectionRefusedError: no database$"
    with anyio.fail_after(PATIENCE), pytest.raises(LifespanError, match=said):
        await serve(
            declared(Diary(), start=start),
            on_listening=urls.append,
            **options(binding, tmp_path, framed),
        )
    assert urls == []


async def test_what_cannot_be_served_is_said_before_anything_is_opened() -> None:
    diary = Diary()
    with pytest.raises(Exception, match="HOST:PORT"):
        await serve(declared(diary), http=ANY, tcp="nonsense")
    assert diary.entries == []


@pytest.mark.parametrize(("binding", "error"), [("http", OSError), ("ws", LinkError)])
async def test_an_address_in_use_leaves_it_again(binding: str, error: type[Exception]) -> None:
    diary = Diary()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address: Any = {binding: f"127.0.0.1:{taken.getsockname()[1]}"}
        with pytest.raises(error, match="in use"):
            await serve(declared(diary), **address)
    assert diary.entries == ["start 1", "started 1", "end 1", "ended 1"]


async def test_it_is_one_for_all_bindings_and_clients_in_memory(tmp_path: Path) -> None:
    diary = Diary()
    server = declared(diary)
    unix = str(tmp_path / "socket")
    async with served(server, http=[ANY, ANY], ws=ANY, tcp=ANY, unix=unix) as site:
        for where in (*site.urls, server):
            async with connect(where) as client:
                assert await life(client) == "1"
        async with connect(server) as client:
            site.stop.set()
            await site.ended.wait()
            assert await life(client) == "1"
    assert len(site.urls) == 5
    assert diary.entries == ["start 1", "started 1", "end 1", "ended 1"]


GONE = "^the lifespan pool failed while the server was running: ConnectionError: the pool is gone$"


def pool_until(crash: anyio.Event) -> Callable[[], AbstractAsyncContextManager[None]]:
    """A lifespan that fails once ``crash`` is set."""

    async def crashing() -> None:
        await crash.wait()
        raise ConnectionError("the pool is gone")

    @asynccontextmanager
    async def pool() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(crashing)
            yield

    return pool


async def test_a_lifespan_that_ends_by_itself_ends_the_server() -> None:
    crash = anyio.Event()
    with anyio.fail_after(PATIENCE), pytest.raises(LifespanError, match=GONE):
        await serve(
            Server("x", lifespan=pool_until(crash)), http=ANY, ws=ANY, tcp=ANY, on_ready=crash.set
        )


@pytest.mark.parametrize("binding", ["http", "ws", "tcp"])
async def test_its_own_end_ends_connections_that_are_open(binding: str) -> None:
    """Their runtimes are within the lifespan, which does not wait for its own limit for them."""
    crash = anyio.Event()
    urls: list[str] = []

    settings = ServeSettings(runtime=RuntimeSettings(lifespan_end=100 * HOUR))
    address: dict[str, Any] = {binding: ANY}
    serving = partial(serve, Server("x", lifespan=pool_until(crash)), settings=settings, **address)

    async def client() -> None:
        await until(lambda: urls)
        with suppress(LinkError, CallFailed):
            async with connect(urls[0]):
                crash.set()
                await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as group:
            group.start_soon(client)
            with pytest.raises(LifespanError, match="failed while the server was running"):
                await serving(on_listening=urls.append)
            group.cancel_scope.cancel()


async def test_it_outlives_the_tasks_of_tools() -> None:
    diary = Diary()
    async with served(declared(diary), ws=ANY, settings=SETTINGS) as site:
        async with connect(site.url, settings=FOLLOWS) as client:
            await client.tasks.start("wait")
            await diary.until("call begins")
        # its connection has gone, and it goes on
        await anyio.wait_all_tasks_blocked()
        assert diary.entries[-1] == "call begins"
    assert diary.entries[-3:] == ["call ends in life 1", "end 1", "ended 1"]


@pytest.mark.parametrize("wire", MEMORY.values(), ids=MEMORY)
@pytest.mark.parametrize("era", ERAS)
async def test_in_memory_it_is_around_the_connections(wire: bool, era: str) -> None:
    diary = Diary()
    memory = MemoryTarget(declared(diary), wire=wire)
    async with connect(memory, revision=era) as client:
        assert await life(client) == "1"
        async with connect(memory, revision=era) as other:
            assert await life(other) == "1"
        assert await life(client) == "1"
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "wait")
            await diary.until("call begins")
            group.cancel_scope.cancel()
        assert "end 1" not in diary.entries
    assert diary.entries[-2:] == ["end 1", "ended 1"]
    async with connect(memory, revision=era) as client:
        assert await life(client) == "2"
    assert diary.entries[-1] == "ended 2"


@pytest.mark.parametrize("wire", MEMORY.values(), ids=MEMORY)
async def test_in_memory_its_end_waits_for_calls_that_are_cut_off(wire: bool) -> None:
    diary = Diary()

    async def leave(group: Any) -> None:
        await diary.until("call begins")
        group.cancel_scope.cancel()

    memory = MemoryTarget(declared(diary), wire=wire)
    async with anyio.create_task_group() as group, connect(memory) as client:
        group.start_soon(leave, group)
        await client.call_tool("wait")
    assert diary.entries[2:] == ["call begins", "call ends in life 1", "end 1", "ended 1"]


@pytest.mark.parametrize("wire", MEMORY.values(), ids=MEMORY)
@pytest.mark.parametrize("when", ["start", "end"])
async def test_in_memory_what_fails_is_raised(when: str, wire: bool) -> None:
    """At the start by ``connect``, at the end behind its block."""

    async def fail() -> None:
        raise OSError("no database")

    async def use() -> None:
        async with connect(MemoryTarget(declared(Diary(), **{when: fail}), wire=wire)) as client:
            assert when == "end"
            assert await life(client) == "1"

    said = f"^the lifespan life failed at its {when}: OSError: no database$"
    with anyio.fail_after(PATIENCE), pytest.raises(LifespanError, match=said):
        await use()


@pytest.mark.parametrize("wire", MEMORY.values(), ids=MEMORY)
async def test_in_memory_one_that_ends_by_itself_ends_the_block(wire: bool) -> None:
    crash = anyio.Event()
    memory = MemoryTarget(Server("x", lifespan=pool_until(crash)), wire=wire)

    async def use() -> None:
        async with connect(memory):
            crash.set()
            await anyio.sleep_forever()

    with anyio.move_on_after(PATIENCE) as scope, pytest.raises(LifespanError, match=GONE):
        await use()
    assert not scope.cancel_called


class Database:
    """What is opened."""


def everywhere(server: Server, seen: dict[str, Any]) -> None:
    """Declare one of all that takes a context; what each finds is ``seen``."""

    @server.tool
    def plain(context: Context[Database]) -> None:
        seen["plain"] = context.lifespan

    @server.tool(thread=True)
    def thread(context: Context[Database]) -> None:
        seen["thread"] = context.lifespan

    @server.tool
    async def later(context: Context[Database]) -> None:
        await anyio.lowlevel.checkpoint()
        seen["later"] = context.lifespan

    @server.tool(task="optional", task_after=0, task_poll=0.01)
    async def task(context: Context[Database]) -> None:
        context.start_task()
        seen["task"] = context.lifespan

    @server.tool
    def without(context: Context) -> None:
        seen["without"] = context.lifespan

    @server.resource("test://{name}")
    def resource(name: str, context: Context[Database]) -> str:
        seen["resource"] = context.lifespan
        return name

    @server.prompt
    def prompt(context: Context[Database], name: str = "") -> str:
        seen["prompt"] = context.lifespan
        return "prompt"

    @server.completion(prompt="prompt", argument="name")
    def completion(typed: str, context: Context[Database]) -> list[str]:
        seen["completion"] = context.lifespan
        return []

    @server.method("acme/method")
    def method(context: Context[Database]) -> None:
        seen["method"] = context.lifespan

    @server.notification("notifications/acme/note")
    def notification(context: NotificationContext[Database]) -> None:
        seen["notification"] = context.lifespan


async def use_everything(client: Client) -> None:
    for name in ("plain", "thread", "later", "task", "without"):
        assert not (await client.call_tool(name)).is_error
    await client.read_resource("test://a")
    await client.get_prompt("prompt")
    await client.complete(PromptReference(name="prompt"), "name", "")
    client.notify("notifications/acme/note", {})
    await client.request("acme/method", {})


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("binding", ["memory", "http", "ws"])
@pytest.mark.parametrize("declares", [True, False], ids=["lifespan", "none"])
async def test_every_handler_and_middleware_sees_it(binding: str, era: str, declares: bool) -> None:
    database, seen = Database(), dict[str, Any]()

    @asynccontextmanager
    async def open_database() -> AsyncIterator[Database]:
        yield database

    def middleware(request: Context[Database]) -> Steps[Answer]:
        seen["middleware"] = request.lifespan
        yield

    server = Server("x", lifespan=open_database if declares else None)
    everywhere(server, seen)
    runtime = RuntimeSettings(middleware=(middleware,))
    kinds = {
        *("plain", "thread", "later", "task", "without", "resource", "prompt", "completion"),
        *("method", "notification", "middleware"),
    }
    with anyio.fail_after(PATIENCE):
        async with (
            reachable(binding, server, runtime) as where,
            connect(where, revision=era, settings=FOLLOWS) as client,
        ):
            await use_everything(client)
            await until(lambda: "notification" in seen)
    assert seen == dict.fromkeys(kinds, database if declares else None)
