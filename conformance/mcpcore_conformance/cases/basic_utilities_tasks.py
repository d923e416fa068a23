"""Cases of the page basic/utilities/tasks: how tasks are made, followed and ended."""

from itertools import pairwise
from typing import Any

from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_PARAMS
from mcpcore_conformance.kit.model import ONLY_2025_11_25, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.running import over_too_soon
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.shown import Tasker
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tasks import (
    TERMINAL,
    call_of,
    create,
    creation,
    end,
    finish,
    is_result,
    look,
    looks,
    named,
    open_link,
    related,
    time_of,
    until,
)
from mcpcore_conformance.kit.trying_tasks import tasker, taskers
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/tasks")

SLOW = "slow_compute"
CALLS = "tasks.requests.tools.call"
NEEDS = (CALLS, "found:task")
case = page.server(ONLY_2025_11_25, needs=NEEDS)
QUICK: dict[str, Any] = {"seconds": 0}
SOON: dict[str, Any] = {"seconds": 0.1}
LATE: dict[str, Any] = {"seconds": 60}
LONGER = (0.15, 1.0, 4.0)
"""Seconds of tasks that have to run when the next message comes: one that had ended is no test."""
NOBODY = "mcpcore-conformance-no-such-task"
SHORTEST_ID = 16
"""Characters of an id that nobody is to guess, at 6 bits each hardly 96."""


@case.must(
    "creating-tasks/shape", "A result with a task that has an id, a status, both times and a ttl."
)
async def created(talk: ServerTalk) -> None:
    """A call that is to be a task is answered with the task."""
    link = await open_link(talk)
    for tool in await taskers(talk, SLOW):
        found = await creation(link, tool, QUICK)
        task = named(found, tool)
        problem = result_problem("tools/call", found, talk.revision)
        check(not problem, f"the result of a call that became a task: {problem}")
        await finish(link, tool, task)


@case.must("getting-tasks/shape", "The task, with an id, a status, both times and a ttl.")
async def got(talk: ServerTalk) -> None:
    """tasks/get gives the whole task."""
    link = await open_link(talk)
    for tool in await taskers(talk, SLOW):
        task = await create(link, tool, QUICK)
        async for found in looks(link, task, tool):
            problem = result_problem("tasks/get", found, talk.revision)
            check(not problem, f"the result of tasks/get: {problem}")
            if tool.known or found["status"] != "working":
                break
        await finish(link, tool, task)


@case.must("task-status-lifecycle/begins-working", "The status working.")
async def begins_working(talk: ServerTalk) -> None:
    """A task begins as working."""
    link = await open_link(talk)
    task = await create(link, await tasker(talk, SLOW), LATE)
    check(task.get("status") == "working", f"the task begins as {task.get('status')}")
    await end(link, task)


@case.should("result-retrieval/created-at-once", "The task, long before its end.")
async def at_once(talk: ServerTalk) -> None:
    """The task is answered as soon as it is accepted."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    await _ids(link, tool, 1)  # a process that starts with the session has started
    reply = await call_of(link, tool, LATE, within=min(2.0, talk.timing.answer))
    check(is_result(reply), f"a call that is to be a task got {reply}")
    await end(link, reply.result.get("task", {"taskId": NOBODY}))


@case.must("task-id-requirements/unique", "Another id for each task.")
async def unique_ids(talk: ServerTalk) -> None:
    """Task ids are unique."""
    link = await open_link(talk)
    found = await _ids(link, await tasker(talk, SLOW), 5)
    check(len(set(found)) == len(found), f"of five tasks, some have the same id: {found}")


async def _ids(link: Link, tool: Tasker, count: int) -> list[str]:
    """The ids of some tasks."""
    tasks = [await create(link, tool, QUICK) for _ in range(count)]
    for task in tasks:
        await finish(link, tool, task)
    return [str(task["taskId"]) for task in tasks]


@case.must(
    "task-isolation-and-access-control/ids-not-guessable",
    "Long ids that do not follow from each other.",
)
async def unguessable_ids(talk: ServerTalk) -> None:
    """Task ids cannot be guessed from each other."""
    link = await open_link(talk)
    found = await _ids(link, await tasker(talk, SLOW), 4)
    for id in found:
        check(len(id) >= SHORTEST_ID, f"the id {id!r} has {len(id)} characters")
    for one, other in pairwise(found):
        same = sum(a == b for a, b in zip(one, other, strict=False))
        check(same < len(one) * 3 // 4, f"the ids {one!r} and {other!r} are much alike")


@case.must("ttl-and-resource-management/times", "createdAt and lastUpdatedAt as times of ISO 8601.")
async def times(talk: ServerTalk) -> None:
    """A task says when it was made and when it was changed, in ISO 8601."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    task = await create(link, tool, QUICK)
    for found in (task, await look(link, task)):
        names = ("createdAt", "lastUpdatedAt")
        made, changed = (time_of(found.get(name), name) for name in names)
        check(made <= changed, "it was changed before it was made")
    await finish(link, tool, task)


@case.must("ttl-and-resource-management/ttl", "A ttl in milliseconds, or null.")
async def ttl(talk: ServerTalk) -> None:
    """tasks/get tells the ttl that the task really has."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    task = await create(link, tool, QUICK, ttl=60_000)
    found = await look(link, task)
    check("ttl" in found, "tasks/get says nothing of the ttl")
    value = found["ttl"]
    good = value is None or (isinstance(value, (int, float)) and value > 0)
    check(good, f"the ttl is {found['ttl']!r}")
    await finish(link, tool, task)


@case.must("result-retrieval/waits-for-the-end", "The result of the call, once there is one.")
async def waits(talk: ServerTalk) -> None:
    """tasks/result of a task that works waits for its end, and gives what the call would have."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW, end="completed")
    for seconds in LONGER:
        began = talk.stage.now()
        task = await create(link, tool, {"seconds": seconds, "label": "the kit"})
        trip = talk.stage.now() - began
        asked = {"taskId": task["taskId"]}
        reply = await link.request("tasks/result", asked, within=link.patience + seconds)
        await _of_the_call(link, tool, task, reply)
        # that it was asked for in time can be known of a tool that takes so long
        if not tool.known or 2 * trip < seconds:
            return
    raise over_too_soon("the request for its result")


async def _of_the_call(link: Link, tool: Tasker, task: dict[str, Any], reply: Reply) -> None:
    """Check that a result is that of a call, which has ended with it."""
    found = reply.result
    check("content" in found, f"tasks/result has no content: {found}")
    said = not tool.known or "the kit" in repr(found["content"])
    check(said, f"the result is another one: {found['content']}")
    after = await look(link, task)
    check(after["status"] == "completed", f"with its result there, the task is {after['status']}")


@case.must("related-task-metadata/of-the-result", "The id of the task in _meta.")
async def result_related(talk: ServerTalk) -> None:
    """The result of tasks/result names its task."""
    link = await open_link(talk)
    task = await create(link, await tasker(talk, SLOW, end="completed"), QUICK)
    reply = await link.request("tasks/result", {"taskId": task["taskId"]})
    found = related(reply.result)
    check(found == task["taskId"], f"_meta names the task {found!r}")


@case.must(
    "result-retrieval/error",
    "The error that the call would have had.",
    needs=(CALLS, "tool:protocol_error_job"),
)
async def result_error(talk: ServerTalk) -> None:
    """tasks/result of a call that broke gives its error: shown by a tool whose error is known."""
    link = await open_link(talk)
    task = await create(link, await tasker(talk, "protocol_error_job"))
    error = (await link.request("tasks/result", {"taskId": task["taskId"]})).error
    check("always" in error["message"], f"the error is another one: {error['message']!r}")
    found = await until(link, task, "failed")
    talk.should(found.get("statusMessage"), "the task does not say what went wrong")


@case.must(
    "task-execution-errors/failed",
    "The status failed, and a result with isError from tasks/result.",
    needs=(CALLS, "tool:failing_job"),
)
async def tool_failed(talk: ServerTalk) -> None:
    """A tool that fails makes its task fail: shown by a tool of which it is known that it fails."""
    link = await open_link(talk)
    task = await create(link, await tasker(talk, "failing_job"))
    result = (await link.request("tasks/result", {"taskId": task["taskId"]})).result
    check(result.get("isError") is True, "the tool failed, and isError is not true")
    talk.should((await look(link, task))["status"] == "failed", "the tool failed, the task did not")


@case.must("task-status-lifecycle/terminal-is-final", "The same status ever after.")
async def terminal(talk: ServerTalk) -> None:
    """A task that has ended keeps its status."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW, end=TERMINAL)
    task = await create(link, tool, QUICK)
    ends = ("completed",) if tool.known else TERMINAL
    before = await until(link, task, *ends, tool=tool)
    await link.request("tasks/cancel", {"taskId": task["taskId"]})
    after = await look(link, task)
    check(after["status"] == before["status"], f"a completed task became {after['status']}")


@case.must(
    "task-cancellation/cancelled",
    "The task with the status cancelled, and no other status from then on.",
    needs=(*NEEDS, "tasks.cancel"),
)
async def cancelled(talk: ServerTalk) -> None:
    """A task that is cancelled is cancelled before the answer, and stays so."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    for seconds in LONGER:
        task = await create(link, tool, {"seconds": seconds})
        reply = await link.request("tasks/cancel", {"taskId": task["taskId"]})
        if not reply.refused or (await look(link, task))["status"] not in TERMINAL:
            break
    else:
        talk.skip(f"no tool can be cancelled in time: {tool} had ended")
    status = reply.result.get("status")
    check(status == "cancelled", f"the answer has the status {status!r}")
    await talk.advance(seconds + 0.05 if tool.known else 1.0)
    reply = await link.request("tasks/get", {"taskId": task["taskId"]})
    if is_result(reply):
        status = reply.result.get("status")
        check(status == "cancelled", f"a cancelled task became {status}")


@case.must(
    "task-cancellation/of-a-finished-task", "The error -32602.", needs=(*NEEDS, "tasks.cancel")
)
async def cancel_finished(talk: ServerTalk) -> None:
    """A task that has ended cannot be cancelled."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW, end="completed")
    task = await create(link, tool, QUICK)
    await until(link, task, "completed", tool=tool)
    reply = await link.request("tasks/cancel", {"taskId": task["taskId"]})
    reply.failed_with(INVALID_PARAMS)
