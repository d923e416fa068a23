"""An act with calls that become tasks, on both sides, and are followed to their end or left."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from mcpcore.errors import RequestTimeout, TaskCancelled
from mcpcore.service import Server
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore.spec.types.tasks import Task
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.client import Client
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicit
from tests.torture.acts import Act, said
from tests.torture.server import Point
from tests.torture.story import Story, connected
from tests.torture.users import FallibleServer, fallible_settings

_POLL = 0.01


def make_task_server(released: anyio.Event) -> Server:
    """Make a server whose tools run as tasks; ``hold`` does until ``released``."""
    server = FallibleServer("tasks", version="1")

    @server.tool
    def echo(text: str) -> str:
        return text

    @server.tool(task="optional", task_poll=_POLL)
    async def later(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text

    @server.tool(task="optional", task_poll=_POLL)
    async def reports(context: Context) -> str:
        context.progress(1, 2, "half")
        context.log("info", "working")
        await anyio.lowlevel.checkpoint()
        return "reported"

    @server.tool(task="optional", task_poll=_POLL)
    async def asks(context: Context) -> str:
        answer = await context.elicit("Where?", Point)
        return f"{answer.action} {answer.content}"

    @server.tool
    async def asks_a_task(context: Context) -> str:
        """Have the client make a task of what it is asked, where it can."""
        wanted = Elicit("Where?", Point)
        if context.revision.server_requests:
            wanted = wanted.as_task()
        answer = await context.ask(wanted)
        return f"{answer.action} {answer.content}"

    @server.tool(task="optional", task_poll=_POLL)
    async def hold() -> str:
        await released.wait()
        return "released"

    return server


async def _fill_in(form: ElicitParams, context: CallbackContext) -> ElicitResult:
    await anyio.lowlevel.checkpoint()
    context.progress(1)
    return ElicitResult(action="accept", content={"x": 1})


@asynccontextmanager
async def _with_tasks(story: Story, target: Any, era: str) -> AsyncIterator[Client]:
    callbacks = fallible_settings(Callbacks(elicitation=_fill_in), "callbacks.")
    async with connected(story, target, era, callbacks) as client:
        await client.tools()  # what may be a task is known to who has listed it
        yield client


def _legacy(client: Client) -> bool:
    return client.revision.server_requests


async def _later(client: Client) -> str:
    return said(await client.call_tool("later", {"text": "a"}))


async def _reports(client: Client) -> str:
    return said(await client.call_tool("reports", progress=lambda *_: None))


async def _asks(client: Client) -> str:
    return said(await client.call_tool("asks"))


async def _asks_a_task(client: Client) -> str:
    return said(await client.call_tool("asks_a_task"))


async def _comes_back(client: Client) -> str:
    """Begin a task, and wait for it later."""
    task = await client.tasks.start("later", {"text": "b"})
    assert isinstance(task, Task)
    await client.tasks.get(task.task_id)
    if _legacy(client):
        await client.tasks.list()
    found = said(await client.tasks.wait(task))
    if _legacy(client):
        found = said(await client.tasks.result(task.task_id))
    return found


async def _answers(client: Client) -> str:
    """Answer a task by hand."""
    task = await client.tasks.start("asks")
    assert isinstance(task, Task)
    if _legacy(client):
        return said(await client.tasks.result(task.task_id))
    while (state := await client.tasks.get(task.task_id)).status == "working":  # noqa: ASYNC110
        await anyio.sleep(_POLL)
    if state.input_requests:  # or it has failed
        answer = ElicitResult(action="accept", content={"x": 1})
        await client.tasks.update(task.task_id, dict.fromkeys(state.input_requests, answer))
    return said(await client.tasks.wait(task.task_id))


async def _cancels(client: Client) -> str:
    """Begin a task, and have it cancelled."""
    task = await client.tasks.start("hold")
    assert isinstance(task, Task)
    await client.tasks.cancel(task.task_id)
    try:
        return said(await client.tasks.wait(task))
    except TaskCancelled:
        return "cancelled"


async def _gives_up(client: Client) -> str:
    """Wait for a task too short, so that it is cancelled."""
    try:
        return said(await client.call_tool("hold", timeout=0.1))
    except RequestTimeout:
        return "too late"


async def _later_once_more(client: Client) -> str:
    return said(await client.call_tool("later", {"text": "again"}))


_ACCEPTED = "accept Point(x=1)"
TASKS = Act(
    meet=_with_tasks,
    calls={
        _later: "a",
        _reports: "reported",
        _asks: _ACCEPTED,
        _asks_a_task: _ACCEPTED,
        _comes_back: "b",
        _answers: _ACCEPTED,
        _cancels: "cancelled",
        _gives_up: "too late",
    },
    last=(_later_once_more, "again"),
)
"""Tasks."""
