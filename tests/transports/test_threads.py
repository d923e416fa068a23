"""Handlers that block run in threads: they hold up nobody, and may still talk to the client."""

import logging
import threading
import time
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mcpcore.service import Server, ToolError
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tools import CallToolResult
from transports.callbacks import Callbacks
from transports.client import connect
from transports.context import Context
from transports.inputs import ElicitUrl
from transports.middleware import CallNext, Steps
from transports.runtime import RuntimeSettings
from transports.server_middleware import Answer, ServerMiddleware
from transports.targets import MemoryTarget

pytestmark = pytest.mark.anyio

ERAS = ("2025-11-25", "2026-07-28")


@pytest.fixture(params=ERAS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


async def test_a_blocking_handler_holds_up_nobody(revision: str) -> None:
    server = Server("s")
    released = threading.Event()

    @server.tool(thread=True)
    def block(words: str) -> str:
        assert released.wait(10)
        return f"{words} {threading.current_thread() is threading.main_thread()}"

    results: list[str] = []
    with anyio.fail_after(20):
        async with connect(server, revision=revision) as client, anyio.create_task_group() as group:

            async def call(words: str) -> None:
                results.append(text(await client.call_tool("block", {"words": words})))

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
    assert text(result) == "[True, True] False"
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
        assert "no such city" in text(await client.call_tool("fail", {"secret": False}))
        with caplog.at_level(logging.ERROR):
            result = await client.call_tool("fail", {"secret": True})
    assert result.is_error is True
    assert "secret" not in text(result)
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

    with anyio.fail_after(20):
        async with connect(server, revision=revision) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "patient")
                assert await anyio.to_thread.run_sync(begun.wait, 10)
                group.cancel_scope.cancel()
            await client.ping()
            assert await anyio.to_thread.run_sync(noticed.wait, 10)


async def test_it_may_require_a_visit() -> None:
    server = Server("s")

    @server.tool(thread=True)
    def files(context: Context) -> str:
        context.url_elicitation_required(ElicitUrl("Sign in", "https://x.test/"))

    asked: list[Any] = []

    async with connect(server, callbacks=Callbacks(elicitation_url=asked.append)) as client:
        result = await client.call_tool("files")
    assert len(asked) == 1
    assert "does not visit" in text(result)


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
        thread.join(10)
        return "done"

    async with connect(server) as client:
        assert text(await client.call_tool("work")) == "done"
    assert len(failures) == 1
    assert "thread" in str(failures[0])
