"""Handlers that block run in threads: they hold up nobody, and may still talk to the client."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
from msgspec import Raw

from mcpcore import Callbacks, Context, MemoryTarget, RuntimeSettings, Server, ToolError, connect
from mcpcore_transports.running.functions import call_in_loop, current_loop, in_thread, is_over
from mcpcore_transports.running.middleware import CallNext, Steps
from mcpcore_transports.server.elicitation import ElicitUrl
from mcpcore_transports.server.middleware import Answer, ServerMiddleware
from mcpcore_transports.server.notifications import NotificationContext
from tests.clock import PATIENCE, patience
from tests.transports.runtime_bench import Bench, bench

pytestmark = pytest.mark.anyio

ERAS = ("2025-11-25", "2026-07-28")


@pytest.fixture(params=ERAS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_blocking_handler_holds_up_nobody(revision: str) -> None:
    server = Server("s")
    released = threading.Event()

    @server.tool(thread=True)
    def block(words: str) -> str:
        assert released.wait(PATIENCE)
        return f"{words} {threading.current_thread() is threading.main_thread()}"

    results: list[str] = []
    with patience():
        async with connect(server, revision=revision) as client, anyio.create_task_group() as group:

            async def call(words: str) -> None:
                results.append((await client.call_tool("block", {"words": words})).text)

            group.start_soon(call, "a")
            group.start_soon(call, "b")
            await client.ping()
            assert results == []
            released.set()
    assert sorted(results) == ["a False", "b False"]


@pytest.mark.parametrize("guarded", [False, True])
async def test_it_may_talk_to_the_client(revision: str, guarded: bool) -> None:
    server = Server("s")
    told: list[Any] = []

    @server.tool(thread=True)
    def work(context: Context) -> str:
        sent = [context.progress(1, 2, "half"), context.info("done")]
        return f"{sent} {context.cancelled}"

    around: tuple[ServerMiddleware, ...] = ()
    if guarded:

        async def note(context: Context, proceed: CallNext[Answer]) -> Answer:
            told.append(context.method)
            return await proceed()

        around = (note,)
    target = MemoryTarget(server, RuntimeSettings(middleware=around))
    callbacks = Callbacks(log=lambda message: told.append(message.data))
    async with connect(target, revision=revision, callbacks=callbacks) as client:
        await client.set_log_level("info")
        result = await client.call_tool("work", progress=lambda *args: told.append(args))
    assert result.text == "[True, True] False"
    assert told == [*(["tools/call"] if guarded else []), (1, 2, "half"), "done"]


@pytest.mark.parametrize("guarded", [False, True])
async def test_its_errors_are_like_any_others(
    guarded: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server("s")

    @server.tool(thread=True)
    def fail(secret: bool) -> str:
        if secret:
            raise RuntimeError("a secret")
        raise ToolError("no such city")

    def steps(context: Context) -> Steps[Answer]:
        yield

    target = MemoryTarget(server, RuntimeSettings(middleware=(steps,) if guarded else ()))
    async with connect(target) as client:
        assert "no such city" in (await client.call_tool("fail", {"secret": False})).text
        with caplog.at_level(logging.ERROR):
            result = await client.call_tool("fail", {"secret": True})
    assert result.is_error is True
    assert "secret" not in result.text
    assert "a secret" in str(caplog.records[0].exc_info)


async def test_all_kinds_of_handlers(revision: str) -> None:
    server = Server("s")
    main = threading.get_ident()

    def where() -> str:
        return "here" if threading.get_ident() == main else "elsewhere"

    server.add_resource("t:x", where, name="x", thread=True)
    server.add_resource("t:y", where, name="y")
    server.add_prompt(where, "x", thread=True)
    async with connect(server, revision=revision) as client:
        assert (await client.read_resource("t:x")).contents[0].text == "elsewhere"
        assert (await client.read_resource("t:y")).contents[0].text == "here"
        assert "elsewhere" in str(await client.get_prompt("x"))


async def test_a_thread_that_nobody_waits_for_runs_on(revision: str) -> None:
    server = Server("s")
    begun, noticed = threading.Event(), threading.Event()

    @server.tool(thread=True)
    def patient(context: Context) -> str:
        begun.set()
        while not context.cancelled:
            time.sleep(0.001)  # a thread is told of it only when it asks
        noticed.set()
        return "nobody hears this"

    with patience():
        async with connect(server, revision=revision) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "patient")
                assert await anyio.to_thread.run_sync(begun.wait, 10)
                group.cancel_scope.cancel()
            await client.ping()
            assert await anyio.to_thread.run_sync(noticed.wait, 10)


async def test_a_thread_that_nobody_waits_for_keeps_its_place() -> None:
    places, begun, ended = anyio.CapacityLimiter(1), threading.Event(), threading.Event()
    running: list[str] = []

    def work(name: str) -> None:
        running.append(name)
        begun.set()
        assert ended.wait(PATIENCE)

    with patience():
        for name in ("first", "second"):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(in_thread, work, name, limiter=places))
                await anyio.to_thread.run_sync(begun.wait, PATIENCE)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            assert (running, places.borrowed_tokens) == (["first"], 1)
        ended.set()
        await in_thread(work, "third", limiter=places)
        assert (running, places.borrowed_tokens) == (["first", "third"], 0)


async def test_it_may_require_a_visit() -> None:
    server = Server("s")

    @server.tool(thread=True)
    def files(context: Context) -> str:
        context.url_elicitation_required(ElicitUrl("Sign in", "https://x.test/"))

    asked: list[Any] = []

    async with connect(server, callbacks=Callbacks(elicitation_url=asked.append)) as client:
        result = await client.call_tool("files")
    assert len(asked) == 1
    assert "does not visit" in result.text


def from_a_thread(change: Callable[[], object]) -> list[BaseException]:
    """Make a change in a thread that nobody but the test has started; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            change()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    return raised


async def test_changes_may_be_made_in_any_thread(revision: str) -> None:
    server = Server("s", offers=["tools", "resources"])
    server.add_resource("t:x", "text")
    with patience():
        async with connect(server, revision=revision) as client:
            async with client.listen(tools=True, uris=["t:x"]) as changes:
                heard = aiter(changes)
                assert from_a_thread(lambda: server.resource_updated("t:x")) == []
                assert (await anext(heard)).uri == "t:x"
                assert from_a_thread(lambda: server.add_tool(lambda: "y", "y")) == []
                assert (await anext(heard)).method == "notifications/tools/list_changed"
            assert [tool.name for tool in await client.tools()] == ["y"]


def told(made: Bench) -> list[str]:
    return [message["method"] for message in made.sent if "method" in message]


async def test_a_change_of_a_thread_waits_for_its_turn() -> None:
    server = Server("s", offers=["tools"])
    async with bench(server) as made:
        made.open_legacy()
        assert from_a_thread(lambda: server.list_changed("tools")) == []
        assert told(made) == []  # all is done in the thread of the event loop
        await anyio.wait_all_tasks_blocked()
        assert told(made) == ["notifications/tools/list_changed"]


async def test_a_change_that_comes_too_late_is_told_nobody() -> None:
    server = Server("s", offers=["tools"])
    made = Bench(server, RuntimeSettings())

    async def run() -> None:
        made.open_legacy()
        assert from_a_thread(lambda: server.list_changed("tools")) == []

    await made.runtime.run(run)
    await anyio.wait_all_tasks_blocked()
    assert from_a_thread(lambda: server.list_changed("tools")) == []
    assert told(made) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_that_is_over_takes_nothing(backend: str) -> None:
    called: list[int] = []

    async def work() -> object:
        loop = current_loop()
        assert not is_over(loop)
        assert call_in_loop(loop, lambda: called.append(1))
        await anyio.wait_all_tasks_blocked()
        return loop

    loop = anyio.run(work, backend=backend)
    assert called == [1]
    assert is_over(loop)
    assert not call_in_loop(loop, lambda: called.append(2))
    assert called == [1]


async def test_threads_of_others_are_told_apart() -> None:
    server = Server("s")
    failures: list[BaseException] = []

    @server.tool(thread=True)
    def work(context: Context) -> str:
        def report() -> None:
            try:
                context.info("x")
            except RuntimeError as error:
                failures.append(error)

        thread = threading.Thread(target=report)
        thread.start()
        thread.join(PATIENCE)
        return "done"

    async with connect(server) as client:
        assert (await client.call_tool("work")).text == "done"
    assert len(failures) == 1
    assert "thread" in str(failures[0])


NOTE = "notifications/acme/note"


async def test_what_blocks_while_it_hears_holds_up_no_end(revision: str) -> None:
    server = Server("s")
    begun, released = threading.Event(), threading.Event()

    @server.notification(NOTE, thread=True)
    def hear() -> None:
        begun.set()
        released.wait(PATIENCE)

    try:
        with patience():
            async with connect(server, revision=revision) as client:
                assert client.notify(NOTE, {})
                assert await anyio.to_thread.run_sync(begun.wait, 10)
    finally:
        released.set()


async def test_what_hears_in_a_thread_may_tell_something_in_turn() -> None:
    server = Server("s")
    more = anyio.Event()
    heard: list[str] = []
    threads: list[int] = []

    @server.notification(NOTE, thread=True)
    def hear(context: NotificationContext) -> None:
        assert context.notify(NOTE, {"value": 1})

    def notified(method: str, params: Raw) -> None:
        threads.append(threading.get_ident())
        heard.append(method)
        more.set()

    with patience():
        callbacks = Callbacks(notification=notified)
        async with connect(server, revision="2025-11-25", callbacks=callbacks) as client:
            assert client.notify(NOTE, {})
            await more.wait()
    assert heard == [NOTE]
    assert threads == [threading.get_ident()]
