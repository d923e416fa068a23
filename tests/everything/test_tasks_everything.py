"""Tasks of the reference server over every transport, in both forms, with our own client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.errors import PeerError, RequestTimeout, TaskCancelled
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tasks import Task
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.tasks import TaskOptions
from tests.clock import patience

pytestmark = pytest.mark.anyio

FOLLOWING = TaskOptions(max_poll=0.05)


def elicit(params: ElicitParams) -> dict[str, Any]:
    schema = params.requested_schema
    properties = schema["properties"] if schema else {}
    answers = {"name": "Ada", "confirm": True}
    return {name: answers[name] for name in properties}


@asynccontextmanager
async def connected(
    target: Any, revision: str, options: TaskOptions | None = FOLLOWING, **more: Any
) -> AsyncIterator[Client]:
    callbacks = Callbacks(**{"elicitation": elicit, **more})
    settings = ClientSettings(tasks=options)
    with patience():
        async with connect(
            target, revision=revision, callbacks=callbacks, settings=settings
        ) as client:
            if options is not None:
                await client.tools()  # so that it knows what may be a task in 2025-11-25
            yield client


def text(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.share(4)
async def test_calls_are_followed_to_their_ends(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        arguments = {"seconds": 0.01, "label": "it"}
        assert text(await client.call_tool("slow_compute", arguments)) == "it took 0.01 s"
        assert text(await client.call_tool("greet", {"name": "Ada"})) == "Hello, Ada!"
        failed = await client.call_tool("failing_job")
        assert failed.is_error is True
        assert text(failed) == "This job fails, always"
        with pytest.raises(PeerError, match="This job breaks, always") as caught:
            await client.call_tool("protocol_error_job")
        assert caught.value.code == -32603


async def test_tasks_ask_through_the_same_callbacks(target: Any, revision: str) -> None:
    asked: list[str] = []

    async def answer(params: ElicitParams) -> dict[str, Any]:
        asked.append(params.message)
        return elicit(params)

    async with connected(target, revision, elicitation=answer) as client:
        deleted = await client.call_tool("confirm_delete", {"filename": "x"})
        assert text(deleted) == "x was deleted"
        both = await client.call_tool("multi_input")
        assert text(both) == "name: accept, confirmation: accept"
        greeted = await client.call_tool("test_tool_with_task")
        assert text(greeted) == "Hello, Ada!"
    # Each question once, however often the task was looked at.
    assert sorted(asked) == sorted(
        ["Delete x?", "What is your name?", "Shall we go on?", "What is your name?"]
    )


async def test_the_user_may_say_no(target: Any, revision: str) -> None:
    async with connected(
        target, revision, elicitation=lambda params: ElicitResult(action="decline")
    ) as client:
        kept = await client.call_tool("confirm_delete", {"filename": "x"})
        assert text(kept) == "x was kept"


async def test_who_does_not_follow_tasks_is_served_without(target: Any, revision: str) -> None:
    async with connected(target, revision, None) as client:
        quick = await client.call_tool("slow_compute", {"seconds": 0})
        assert text(quick) == "the computation took 0 s"
        assert text(await client.call_tool("confirm_delete", {"filename": "x"})) == "x was deleted"
        with pytest.raises(PeerError) as caught:
            await client.call_tool("failing_job")
        assert caught.value.code == (-32021 if client.revision.modern else -32601)


async def test_who_merely_waits_leaves_the_task_alone(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        started = await client.tasks.start("slow_compute", {"seconds": 60})
        assert isinstance(started, Task)
        with pytest.raises(RequestTimeout, match=r"did not end within 0\.05 s"):
            await client.tasks.wait(started, timeout=0.05)
        assert (await client.tasks.get(started.task_id)).status == "working"
        await client.tasks.cancel(started.task_id)
        assert (await client.tasks.get(started.task_id)).status == "cancelled"
        with pytest.raises(TaskCancelled, match="was cancelled") as caught:
            await client.tasks.wait(started)
        assert caught.value.task.task_id == started.task_id


async def test_news_instead_of_questions(target: Any) -> None:
    options = TaskOptions(max_poll=3600, poll=3600, min_poll=3600, listen=True)
    async with connected(target, "2026-07-28", options) as client:
        result = await client.call_tool("slow_compute", {"seconds": 0.1, "label": "it"})
        assert text(result) == "it took 0.1 s"
        assert text(await client.call_tool("confirm_delete", {"filename": "x"})) == "x was deleted"


async def test_a_task_is_watched_on_a_listen_stream(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        started = await client.tasks.start("slow_compute", {"seconds": 60})
        assert isinstance(started, Task)
        async with client.listen(task_ids=[started.task_id, "unknown"]) as changes:
            await client.tasks.cancel(started.task_id)
            async for change in changes:
                assert (change.kind, change.task_id) == ("task", started.task_id)
                if changes.tasks[started.task_id].status == "cancelled":
                    break


async def test_what_only_one_form_has(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        started = await client.tasks.start("confirm_delete", {"filename": "x"}, ttl=60)
        assert isinstance(started, Task)
        if client.revision.modern:
            while not (state := await client.tasks.get(started.task_id)).input_requests:
                await anyio.lowlevel.checkpoint()
            assert state.ttl_ms == 3_600_000
            answer = ElicitResult(action="accept", content={"confirm": True})
            await client.tasks.update(started.task_id, {"confirm": answer})
        else:
            assert started.ttl == 60_000
            listed = await client.tasks.list()
            assert [task.task_id for task in listed.tasks] == [started.task_id]
            assert text(await client.tasks.result(started.task_id)) == "x was deleted"
        assert text(await client.tasks.wait(started.task_id)) == "x was deleted"
