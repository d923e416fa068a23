"""Cases of the extension io.modelcontextprotocol/tasks."""

from typing import Annotated, Any

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import call, check_asks
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.lists import acknowledged, leave, listen
from mcpcore_conformance.kit.messages import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    Kind,
)
from mcpcore_conformance.kit.model import MODERN, OTHER_PRINCIPAL, STREAMABLE, Page
from mcpcore_conformance.kit.shapes import TASKS, result_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tasks import (
    TERMINAL,
    create,
    creation,
    end,
    inside,
    look,
    looks,
    named,
    open_link,
    related,
    time_of,
    until,
)
from mcpcore_conformance.kit.trying_tasks import SLOW, SlowTasker, tasker, taskers
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import check

page = Page("extensions/tasks")

TASK = ("found:task",)
case = page.server(MODERN, needs=TASK)
task_update_requests = case.at("task-update-requests")
EXTENSION = f"extensions.{TASKS}"
QUICK: dict[str, Any] = {"seconds": 0}
SOON: dict[str, Any] = {"seconds": 0.1}
LATE: dict[str, Any] = {"seconds": 60}
LONGER = (0.2, 1.0, 4.0)
"""Seconds of tasks that have to run when the next message comes: one that had ended is no test."""
UNDECLARED: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {}}
NOBODY = "mcpcore-conformance-no-such-task"
SHORTEST_ID = 16


def declared(talk: ServerTalk) -> None:
    """Go on only if the server declares the extension, whose name has dots in it."""
    extensions = talk.features.capabilities.get("extensions")
    if not isinstance(extensions, dict) or TASKS not in extensions:
        talk.skip(f"the server does not declare {EXTENSION}")


async def opened(talk: ServerTalk, answering: Answering | None = None) -> Link:
    """Open a connection as a client that follows tasks."""
    declared(talk)
    return await open_link(talk, answering)


async def update(link: Link, task: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    """Send ``tasks/update``; the acknowledgement has its shape."""
    return await link.ask("tasks/update", {"taskId": task["taskId"], "inputResponses": answers})


@case.must(
    "task-creation", "resultType task, and a task that has an id, a status, both times and ttlMs."
)
async def shape(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A call that becomes a task is answered with the task."""
    for tool in await taskers(talk, SLOW):
        found = await creation(link, tool, LATE)
        task = named(found, tool)
        problem = result_problem("tools/call", found, talk.revision)
        check(not problem, f"the result of a call that became a task: {problem}")
        kind = found.get("resultType")
        check(kind == "task", f"resultType of a call that became a task is {kind!r}")
        for name in ("createdAt", "lastUpdatedAt"):
            time_of(task[name], name)
        strange = sorted({"result", "error", "inputRequests", "requestState"} & set(task))
        check(not strange, f"a task that was just made has {', '.join(strange)}")
        await end(link, task)


@case.must("task-creation/resolves-at-once", "The task by its id, at once.")
async def resolves(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task that was answered can be looked at."""
    task = await create(link, await tasker(talk, SLOW), LATE)
    found = await look(link, task)
    check(found.get("taskId") == task["taskId"], "another task came")
    problem = result_problem("tasks/get", found, talk.revision)
    check(not problem, f"the result of tasks/get: {problem}")
    await end(link, task)


@case.must("capability-negotiation", "A result, or an error; no task.")
async def undeclared(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A client that does not declare the extension gets no task, whatever it declared before."""
    for tool in await taskers(talk, SLOW):
        await end(link, await create(link, tool, LATE))
        arguments = QUICK if tool.known else tool.arguments
        params = {"name": tool.name, "arguments": arguments}
        reply = await link.request("tools/call", params, meta=UNDECLARED)
        if not tool.known and reply.silent:
            talk.skip(f"{tool} takes too long without a task")
        check(reply.message is not None, f"the call got {reply}")
        if reply.good:
            kind = reply.result.get("resultType")
            check(kind != "task", "a task for a client that has not declared the extension")


@case.must("task-polling", "The result in the task, and resultType complete.")
async def completed(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task that is completed carries the result of the call."""
    tool = await tasker(talk, SLOW, end="completed")
    task = await create(link, tool, {**SOON, "label": "the kit"})
    found = await until(link, task, "completed", tool=tool)
    result = inside(found, "result")
    said = not tool.known or "the kit" in repr(result)
    check(said, f"the result is another one: {result}")
    problem = result_problem("tools/call", {"resultType": "complete", **result}, talk.revision)
    check(not problem, f"the result in the task: {problem}")
    kind = found.get("resultType")
    check(kind == "complete", f"resultType of tasks/get is {kind!r}")


@case.must(
    "task-polling",
    "One of the five statuses, with what belongs to it, and the same one after an end.",
)
async def every_look(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task is whole whenever one looks at it, and keeps the status with which it has ended."""
    for tool in await taskers(talk, SLOW):
        task = await create(link, tool, SOON)
        ended = ""
        async for found in looks(link, task, tool):
            problem = result_problem("tasks/get", found, talk.revision)
            check(not problem, f"the result of tasks/get: {problem}")
            for name in ("taskId", "createdAt"):
                same = found.get(name) == task.get(name)
                check(same, f"{name} was {task.get(name)!r:.60}, and is {found.get(name)!r:.60}")
            if ended:
                check(found["status"] == ended, f"a task that is {ended} became {found['status']}")
                break
            ended = found["status"] if found["status"] in TERMINAL else ""
            if found["status"] == "input_required":
                break
        await end(link, task)


@case.must("task-execution-errors/failed", "The status failed, and the error in the task.")
async def broken(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task whose call broke is failed, and carries the error."""
    tool = await tasker(talk, "protocol_error_job", end="failed")
    found = await until(link, await create(link, tool), "failed", tool=tool)
    error = inside(found, "error")
    told = "always" in str(error.get("message")) if tool.known else "code" in error
    check(told, f"the error is {error}")
    check("result" not in found, "a failed task has a result")
    talk.should(found.get("statusMessage"), "the task does not say what went wrong")


@case.must(
    "task-execution-errors/tool-error-is-completed",
    "The status completed, and a result with isError.",
    needs=("tool:failing_job",),
)
async def tool_failed(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task whose tool failed is completed: shown by a tool of which it is known that it fails."""
    tool = await tasker(talk, "failing_job")
    found = await until(link, await create(link, tool), "completed")
    check(
        inside(found, "result").get("isError") is True, "the tool failed, and isError is not true"
    )


@case.must(
    "task-cancellation/acknowledged",
    "An empty result, for a task that works and for one that has ended.",
)
async def cancelled(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A request to cancel a task is acknowledged with an empty result."""
    task = await create(link, await tasker(talk, SLOW), LATE)
    for _ in range(2):
        found = (await link.request("tasks/cancel", {"taskId": task["taskId"]})).result
        check(found.get("resultType") == "complete", f"resultType is {found.get('resultType')!r}")
        strange = sorted(set(found) - {"resultType", "_meta"})
        check(not strange, f"the acknowledgement has {', '.join(strange)}")


@case.should(
    "task-cancellation/cancelled", "A status that is an end, soon.", needs=(f"tool:{SLOW}",)
)
async def cancelled_soon(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task that was cancelled comes to its end: shown by a tool that is known to stop."""
    task = await create(link, await tasker(talk, SLOW), LATE)
    await end(link, task)
    await until(link, task, "cancelled", "completed", "failed")


@task_update_requests.must("input_required with the requests, and a result once they are answered.")
async def answered(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task that needs input says which, and goes on once it has it."""
    tool = await tasker(talk, "confirm_delete", questions=1)
    task = await create(link, tool, {"filename": "kit"})
    found = await until(link, task, "input_required", tool=tool)
    await update(link, task, link.again({}, found)["inputResponses"])
    if tool.known:
        after = await until(link, task, "completed")
        check("was deleted" in repr(after.get("result")), f"the answer was lost: {after}")
        return
    asked = set(inside(found, "inputRequests"))
    async for after in looks(link, task, tool):
        again = asked & set(members(after.get("inputRequests")))
        if not again:
            break
    check(not again, f"{', '.join(again)} is asked for, and was answered")
    await end(link, task)


@task_update_requests.should("An acknowledgement, and the request as it was.")
async def unknown_keys(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """Answers that nobody asked for are ignored."""
    tool = await tasker(talk, "confirm_delete", questions=1)
    task = await create(link, tool, {"filename": "kit"})
    before = await until(link, task, "input_required", tool=tool)
    answers = link.again({}, before)["inputResponses"]
    await update(link, task, {"mcpcore_conformance": next(iter(answers.values()))})
    after = await until(link, task, "input_required", tool=tool)
    same = inside(before, "inputRequests") == inside(after, "inputRequests")
    check(same, "the requests are others now")
    await end(link, task)


@task_update_requests.must("The other requests only, until they are answered as well.")
async def partial(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """All requests that are not answered yet are there, and no others."""
    tool = await tasker(talk, "multi_input", questions=2)
    task = await create(link, tool)
    found = await until(link, task, "input_required", tool=tool)
    keys = sorted(inside(found, "inputRequests"))
    check(not tool.known or len(keys) == 2, f"two things are asked for, not {keys}")
    answers = link.again({}, found)["inputResponses"]
    await update(link, task, {keys[0]: answers[keys[0]]})
    after = await until(link, task, "input_required", tool=tool)
    left = sorted(inside(after, "inputRequests"))
    check(keys[0] not in left, f"{keys[0]} was answered, asked for is {', '.join(left)}")
    lost = sorted({*keys[1:]} - {*left})
    check(not lost, f"{', '.join(lost)} was not answered, and is not asked for")
    await update(link, task, {key: answers[key] for key in keys[1:]})
    if tool.known:
        await until(link, task, "completed")
    await end(link, task)


@case.should(
    "task-creation/input-before-the-task",
    "input_required for the call, and the task for its retry.",
    needs=("tool:test_tool_with_task",),
)
async def input_first(link: Annotated[Link, opened]) -> None:
    """What is asked first is asked in rounds of the call: shown by a tool that asks, then works."""
    params = {"name": "test_tool_with_task", "arguments": {}}
    first = await link.request("tools/call", params)
    check_asks(first, "the call")
    check("taskId" not in first.result, "a result that requires input names a task")
    reply = await link.request("tools/call", link.again(params, first.result))
    found = reply.result
    check(found.get("resultType") == "task", f"the retry got {found.get('resultType')!r}")
    after = await until(link, found, "completed")
    check("kit" in repr(after.get("result")), f"the answer was lost: {after}")


@case.must("security-considerations/ids-not-guessable", "Long ids, another one each time.")
async def unguessable(link: Annotated[Link, opened], tool: SlowTasker) -> None:
    """Task ids cannot be guessed."""
    tasks = [await create(link, tool, QUICK) for _ in range(4)]
    found = [each["taskId"] for each in tasks]
    check(len(set(found)) == len(found), f"tasks have the same id: {found}")
    for id in found:
        check(len(id) >= SHORTEST_ID, f"the id {id!r} has {len(id)} characters")
        check(not id.isdigit() or len(id) > 2 * SHORTEST_ID, f"the id {id!r} is a number")
    for task in tasks:
        await end(link, task)


@case.should(
    "backwards-compatibility/nothing-of-2025-11-25",
    "No tasks/list, no tasks/result, no capability tasks, no related task in _meta.",
)
async def nothing_old(talk: ServerTalk, link: Annotated[Link, opened], tool: SlowTasker) -> None:
    """The experimental tasks of 2025-11-25 are gone."""
    for method in ("tasks/list", "tasks/result"):
        reply = await link.request(method, {"taskId": NOBODY})
        reply.failed_with(METHOD_NOT_FOUND)
    check("tasks" not in talk.features.capabilities, "the capability tasks is declared")
    task = await create(link, tool, QUICK)
    check(related(await look(link, task)) is None, "_meta names the task")
    strange = sorted({"ttl", "pollInterval", "task"} & set(task))
    check(not strange, f"the task has {', '.join(strange)}")
    await end(link, task)


@case.must("task-status-notifications", "The same that tasks/get gives, under the subscription.")
async def whole_task(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A notification of a task has the whole task."""
    tool = await tasker(talk, SLOW, end="completed")
    for seconds in LONGER:
        task = await create(link, tool, {"seconds": seconds})
        sent = await listen(link, {"taskIds": [task["taskId"]]})
        honoured = (await acknowledged(link, sent)).params.get("notifications", {})
        if task["taskId"] not in honoured.get("taskIds", []):
            talk.skip("the server sends no notifications of tasks")
        if (await look(link, task))["status"] not in TERMINAL:
            break
        # it may have ended before anybody listened
        await leave(link, sent)
    else:
        talk.skip(f"no task goes on until its end can be told: one of {tool} had ended")

    last = await link.wait_for(
        lambda each: (
            each.method == "notifications/tasks" and each.params.get("status") == "completed"
        )
    )
    if last is None and not tool.known:
        talk.skip("the server sends no notification of the end of its task")
    check(last is not None, "the end of the task was not told")
    assert last is not None
    told = {"resultType": "complete", **last.params}
    problem = result_problem("tasks/get", {**told, "_meta": {}}, talk.revision)
    check(not problem, f"the params of notifications/tasks: {problem}")
    found = await look(link, task)
    for name in ("taskId", "status", "result", "createdAt"):
        check(told.get(name) == found.get(name), f"{name} is another one than in tasks/get")


# Who may not, and what does not exist

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
    "capability-negotiation", "The error -32021, which names the extension.", needs=("found:task",)
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


@case.must("protocol-errors", "The error -32021, which names the extension.")
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
    "security-considerations",
    "Errors for the task of somebody else.",
    bindings=STREAMABLE,
    needs=("found:task", OTHER_PRINCIPAL),
)
async def other_principal(talk: ServerTalk, link: Annotated[Link, opened]) -> None:
    """A task is there for the principal that has made it, and for no other who knows its id."""
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


@case.must("protocol-errors", "The error -32602.")
async def unknown_get(link: Annotated[Link, opened]) -> None:
    """tasks/get of a task that does not exist is an invalid parameter."""
    for id in (NOBODY, ""):
        (await link.request("tasks/get", {"taskId": id})).failed_with(INVALID_PARAMS)


@case.should("protocol-errors/unknown-update-and-cancel", "The error -32602.")
async def unknown_others(link: Annotated[Link, opened]) -> None:
    """tasks/update and tasks/cancel of a task that does not exist are invalid."""
    for method in ("tasks/update", "tasks/cancel"):
        params = {"taskId": NOBODY, "inputResponses": {}}
        (await link.request(method, params)).failed_with(INVALID_PARAMS)
