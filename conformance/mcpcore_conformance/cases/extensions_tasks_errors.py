"""Cases of the extension io.modelcontextprotocol/tasks: who may not, and what does not exist."""

from typing import Any

from mcpcore_conformance.cases.extensions_tasks import LATE, NOBODY, SLOW, declared, opened
from mcpcore_conformance.kit.asking import call
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    Kind,
)
from mcpcore_conformance.kit.model import MODERN, OTHER_PRINCIPAL, STREAMABLE, Page
from mcpcore_conformance.kit.shapes import TASKS
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tasks import create, end, look
from mcpcore_conformance.kit.trying_tasks import tasker, taskers
from mcpcore_conformance.kit.verdicts import check

page = Page("extensions/tasks")
case = page.server(MODERN)


async def plain(talk: ServerTalk) -> Link:
    """Open a connection as a client that knows nothing of tasks."""
    declared(talk)
    return await talk.open()


def check_missing(error: dict[str, Any]) -> None:
    """Check that an error says that the extension is missing."""
    data = error.get("data")
    needed = data.get("requiredCapabilities") if isinstance(data, dict) else None
    found = needed.get("extensions") if isinstance(needed, dict) else None
    named = isinstance(found, dict) and TASKS in found
    check(named, f"the error does not name the extension: {data!r:.120}")


@case.must(
    "capability-negotiation/task-needed",
    "The error -32021, which names the extension.",
    needs=("found:task",),
)
async def task_needed(talk: ServerTalk) -> None:
    """A tool that runs only as a task demands the extension."""
    link = await plain(talk)
    for tool in await taskers(talk, "failing_job"):
        reply = await call(link, talk.tool(tool.name), tool.arguments)
        if tool.known or reply.refused:
            check_missing(reply.failed_with(MISSING_CAPABILITY))
            return
    talk.skip("no tool that may be called needs to be a task")


def _undeclared(method: str) -> None:
    async def refused(talk: ServerTalk) -> None:
        params = {"taskId": NOBODY, "inputResponses": {}}
        reply = await (await plain(talk)).request(method, params)
        check_missing(reply.failed_with(MISSING_CAPABILITY))

    refused.__doc__ = f"{method} of a client that has not declared the extension is refused."
    case.must(
        f"protocol-errors/undeclared-{method.partition('/')[2]}",
        "The error -32021, which names the extension.",
    )(refused)


for _method in ("tasks/get", "tasks/update", "tasks/cancel"):
    _undeclared(_method)


@case.must("protocol-errors/undeclared-listen", "The error -32021, which names the extension.")
async def undeclared_listen(talk: ServerTalk) -> None:
    """A subscription to tasks of a client that has not declared the extension is refused."""
    link = await plain(talk)
    params = {"notifications": {"taskIds": [NOBODY]}}
    sent = await link.send("subscriptions/listen", params)
    # a server that takes it does not answer
    await link.until(lambda: link.answer_to(sent) or link.inbox)
    check(link.answer_to(sent) is not None, "the subscription was not refused")
    reply = await link.reply(sent)
    message = reply.message
    if message is not None and message.kind is Kind.ERROR and message.code == METHOD_NOT_FOUND:
        talk.skip("the server has no subscriptions")
    check_missing(reply.failed_with(MISSING_CAPABILITY))


@case.should(
    "security-considerations/other-principal",
    "Errors for the task of somebody else.",
    bindings=STREAMABLE,
    needs=("found:task", OTHER_PRINCIPAL),
)
async def other_principal(talk: ServerTalk) -> None:
    """A task is there for the principal that has made it, and for no other who knows its id."""
    link = await opened(talk)
    tool = await tasker(talk, SLOW)
    other = await talk.somebody_else()
    other.capabilities = link.capabilities
    task = await create(link, tool, LATE)
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        params = {"taskId": task["taskId"], "inputResponses": {}}
        reply = await other.request(method, params)
        check(reply.refused, f"{method} of the task of another principal got {reply}")
    await look(link, task)
    await end(link, task)


@case.must("protocol-errors/unknown-get", "The error -32602.")
async def unknown_get(talk: ServerTalk) -> None:
    """tasks/get of a task that does not exist is an invalid parameter."""
    link = await opened(talk)
    for id in (NOBODY, ""):
        (await link.request("tasks/get", {"taskId": id})).failed_with(INVALID_PARAMS)


@case.should("protocol-errors/unknown-update-and-cancel", "The error -32602.")
async def unknown_others(talk: ServerTalk) -> None:
    """tasks/update and tasks/cancel of a task that does not exist are invalid."""
    link = await opened(talk)
    for method in ("tasks/update", "tasks/cancel"):
        params = {"taskId": NOBODY, "inputResponses": {}}
        (await link.request(method, params)).failed_with(INVALID_PARAMS)
