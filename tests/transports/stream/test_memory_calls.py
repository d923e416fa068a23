"""Calls in memory are carried out at once, and are awaited all the same."""

from contextvars import ContextVar

import anyio
import pytest

from mcpcore import Client, Server, connect

pytestmark = pytest.mark.anyio

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


def make_server() -> Server:
    server = Server("inline", version="1")

    @server.tool(structured_output=False)
    def who() -> str:
        return WHO.get()

    return server


async def said(client: Client) -> str:
    return (await client.call_tool("who")).text


async def test_a_call_can_be_cancelled_though_its_answer_is_there() -> None:
    async with connect(make_server()) as client:
        assert await said(client) == "nobody"
        with anyio.CancelScope() as scope:
            scope.cancel()
            await said(client)
        assert scope.cancelled_caught
        assert await said(client) == "nobody"


async def test_calls_one_after_the_other_let_others_run() -> None:
    turns = 0
    async with connect(make_server()) as client, anyio.create_task_group() as tasks:

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(count)
        for _ in range(10):
            await said(client)
        tasks.cancel_scope.cancel()
    assert turns >= 5


async def test_a_handler_does_not_run_in_the_context_of_its_caller() -> None:
    async with connect(make_server()) as client:
        token = WHO.set("the caller")
        assert await said(client) == "nobody"
        WHO.reset(token)
