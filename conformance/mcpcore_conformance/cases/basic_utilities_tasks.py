"""Cases of the page basic/utilities/tasks."""

from itertools import pairwise
from typing import Any

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import at_rest, call, listen_too
from mcpcore_conformance.kit.belonging import waited_for
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_PARAMS, METHOD_NOT_FOUND, Message
from mcpcore_conformance.kit.model import ONLY_2025_11_25, OTHER_PRINCIPAL, STREAMABLE, Page
from mcpcore_conformance.kit.reply import Reply, Sent
from mcpcore_conformance.kit.running import over_too_soon
from mcpcore_conformance.kit.shapes import params_problem, result_problem
from mcpcore_conformance.kit.shown import Tasker, kind_of
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tasks import (
    RELATED,
    TERMINAL,
    FollowingLink,
    asked_by_tasks,
    call_of,
    create,
    creation,
    end,
    finish,
    look,
    looks,
    named,
    open_link,
    related,
    time_of,
    until,
)
from mcpcore_conformance.kit.trying import MOST, askers, own_questions
from mcpcore_conformance.kit.trying_tasks import SLOW, SlowTasker, support, tasker, taskers
from mcpcore_conformance.kit.verdicts import check, need

page = Page("basic/utilities/tasks")

CALLS = "tasks.requests.tools.call"
LISTS = ("tools", "prompts", "resources")
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
async def created(talk: ServerTalk, link: FollowingLink) -> None:
    """A call that is to be a task is answered with the task."""
    for tool in await taskers(talk, SLOW):
        found = await creation(link, tool, QUICK)
        task = named(found, tool)
        problem = result_problem("tools/call", found, talk.revision)
        check(not problem, f"the result of a call that became a task: {problem}")
        await finish(link, tool, task)


@case.must("getting-tasks/shape", "The task, with an id, a status, both times and a ttl.")
async def got(talk: ServerTalk, link: FollowingLink) -> None:
    """tasks/get gives the whole task."""
    for tool in await taskers(talk, SLOW):
        task = await create(link, tool, QUICK)
        async for found in looks(link, task, tool):
            problem = result_problem("tasks/get", found, talk.revision)
            check(not problem, f"the result of tasks/get: {problem}")
            if tool.known or found["status"] != "working":
                break
        await finish(link, tool, task)


@case.must("task-status-lifecycle", "The status working.")
async def begins_working(talk: ServerTalk, link: FollowingLink) -> None:
    """A task begins as working."""
    task = await create(link, await tasker(talk, SLOW), LATE)
    check(task.get("status") == "working", f"the task begins as {task.get('status')}")
    await end(link, task)


@case.should("result-retrieval/created-at-once", "The task, long before its end.")
async def at_once(talk: ServerTalk, link: FollowingLink, tool: SlowTasker) -> None:
    """The task is answered as soon as it is accepted."""
    await _ids(link, tool, 1)  # a process that starts with the session has started
    reply = await call_of(link, tool, LATE, within=min(2.0, talk.timing.answer))
    check(reply.good, f"a call that is to be a task got {reply}")
    await end(link, reply.result.get("task", {"taskId": NOBODY}))


@case.must("task-id-requirements/unique", "Another id for each task.")
async def unique_ids(talk: ServerTalk, link: FollowingLink) -> None:
    """Task ids are unique."""
    found = await _ids(link, await tasker(talk, SLOW), 5)
    check(len(set(found)) == len(found), f"of five tasks, some have the same id: {found}")


async def _ids(link: Link, tool: Tasker, count: int) -> list[str]:
    """The ids of some tasks."""
    tasks = [await create(link, tool, QUICK) for _ in range(count)]
    for task in tasks:
        await finish(link, tool, task)
    return [str(task["taskId"]) for task in tasks]


@case.must("task-isolation-and-access-control", "Long ids that do not follow from each other.")
async def ids_not_guessable(talk: ServerTalk, link: FollowingLink) -> None:
    """Task ids cannot be guessed from each other."""
    found = await _ids(link, await tasker(talk, SLOW), 4)
    for id in found:
        check(len(id) >= SHORTEST_ID, f"the id {id!r} has {len(id)} characters")
    for one, other in pairwise(found):
        same = sum(a == b for a, b in zip(one, other, strict=False))
        check(same < len(one) * 3 // 4, f"the ids {one!r} and {other!r} are much alike")


@case.must("ttl-and-resource-management", "createdAt and lastUpdatedAt as times of ISO 8601.")
async def times(link: FollowingLink, tool: SlowTasker) -> None:
    """A task says when it was made and when it was changed, in ISO 8601."""
    task = await create(link, tool, QUICK)
    for found in (task, await look(link, task)):
        names = ("createdAt", "lastUpdatedAt")
        made, changed = (time_of(found.get(name), name) for name in names)
        check(made <= changed, "it was changed before it was made")
    await finish(link, tool, task)


@case.must("ttl-and-resource-management", "A ttl in milliseconds, or null.")
async def ttl(link: FollowingLink, tool: SlowTasker) -> None:
    """tasks/get tells the ttl that the task really has."""
    task = await create(link, tool, QUICK, ttl=60_000)
    found = await look(link, task)
    check("ttl" in found, "tasks/get says nothing of the ttl")
    value = found["ttl"]
    good = value is None or (isinstance(value, (int, float)) and value > 0)
    check(good, f"the ttl is {found['ttl']!r}")
    await finish(link, tool, task)


@case.must("result-retrieval/waits-for-the-end", "The result of the call, once there is one.")
async def waits(talk: ServerTalk, link: FollowingLink) -> None:
    """tasks/result of a task that works waits for its end, and gives what the call would have."""
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
async def result_related(talk: ServerTalk, link: FollowingLink) -> None:
    """The result of tasks/result names its task."""
    task = await create(link, await tasker(talk, SLOW, end="completed"), QUICK)
    reply = await link.request("tasks/result", {"taskId": task["taskId"]})
    found = related(reply.result)
    check(found == task["taskId"], f"_meta names the task {found!r}")


@case.must(
    "result-retrieval/error",
    "The error that the call would have had.",
    needs=(CALLS, "tool:protocol_error_job"),
)
async def result_error(talk: ServerTalk, link: FollowingLink) -> None:
    """tasks/result of a call that broke gives its error: shown by a tool whose error is known."""
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
async def tool_failed(talk: ServerTalk, link: FollowingLink) -> None:
    """A tool that fails makes its task fail: shown by a tool of which it is known that it fails."""
    task = await create(link, await tasker(talk, "failing_job"))
    result = (await link.request("tasks/result", {"taskId": task["taskId"]})).result
    check(result.get("isError") is True, "the tool failed, and isError is not true")
    talk.should((await look(link, task))["status"] == "failed", "the tool failed, the task did not")


@case.must("task-status-lifecycle/terminal-is-final", "The same status ever after.")
async def terminal(talk: ServerTalk, link: FollowingLink) -> None:
    """A task that has ended keeps its status."""
    tool = await tasker(talk, SLOW, end=TERMINAL)
    task = await create(link, tool, QUICK)
    ends = ("completed",) if tool.known else TERMINAL
    before = await until(link, task, *ends, tool=tool)
    await link.request("tasks/cancel", {"taskId": task["taskId"]})
    after = await look(link, task)
    check(after["status"] == before["status"], f"a completed task became {after['status']}")


@case.must(
    "task-cancellation",
    "The task with the status cancelled, and no other status from then on.",
    needs=(*NEEDS, "tasks.cancel"),
)
async def cancelled(talk: ServerTalk, link: FollowingLink, tool: SlowTasker) -> None:
    """A task that is cancelled is cancelled before the answer, and stays so."""
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
    if reply.good:
        status = reply.result.get("status")
        check(status == "cancelled", f"a cancelled task became {status}")


@case.must("task-cancellation", "The error -32602.", needs=(*NEEDS, "tasks.cancel"))
async def of_a_finished_task(talk: ServerTalk, link: FollowingLink) -> None:
    """A task that has ended cannot be cancelled."""
    tool = await tasker(talk, SLOW, end="completed")
    task = await create(link, tool, QUICK)
    await until(link, task, "completed", tool=tool)
    reply = await link.request("tasks/cancel", {"taskId": task["taskId"]})
    reply.failed_with(INVALID_PARAMS)


# Errors, lists, tools that allow it, and messages


def _unknown(method: str, needs: tuple[str, ...]) -> None:
    async def unknown(talk: ServerTalk) -> None:
        link = await open_link(talk)
        for id in (NOBODY, "", "../1"):
            (await link.request(method, {"taskId": id})).failed_with(INVALID_PARAMS)

    unknown.__doc__ = f"{method} of a task that does not exist is an invalid parameter."
    place = f"protocol-errors/unknown-{method.partition('/')[2]}"
    case.must(place, "The error -32602.", needs=needs)(unknown)


_unknown("tasks/get", (CALLS,))
_unknown("tasks/result", (CALLS,))
_unknown("tasks/cancel", (CALLS, "tasks.cancel"))


@case.must(
    "task-listing/complete",
    "The tasks that tasks/get finds, on one of the pages.",
    needs=(*NEEDS, "tasks.list"),
)
async def listed(link: FollowingLink, tool: SlowTasker) -> None:
    """What tasks/get finds is in the list."""
    created = [await create(link, tool, QUICK) for _ in range(3)]
    made = {task["taskId"] for task in created}
    found: set[str] = set()
    params: dict[str, Any] = {}
    for _ in range(1000):
        part = (await link.request("tasks/list", params)).result
        tasks = part.get("tasks")
        check(isinstance(tasks, list), f"tasks is {tasks!r:.80}")
        found |= {str(each.get("taskId")) for each in tasks or [] if isinstance(each, dict)}
        if part.get("nextCursor") is None:
            break
        params = {"cursor": part["nextCursor"]}
    check(made <= found, f"{len(made - found)} of 3 tasks are on no page of the list")
    for task in created:
        await finish(link, tool, task)


@case.must(
    "task-isolation-and-access-control",
    "Errors for the task of somebody else, which is in no list of theirs.",
    bindings=STREAMABLE,
    needs=(*NEEDS, OTHER_PRINCIPAL),
)
async def other_principal(talk: ServerTalk, tool: SlowTasker) -> None:
    """A task is there for the principal that has made it, and for no other."""
    link, other = await open_link(talk), await talk.somebody_else()
    await other.initialize()
    task = await create(link, tool, LATE)
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        reply = await other.request(method, {"taskId": task["taskId"]})
        check(reply.refused, f"{method} of the task of another principal got {reply}")
    if talk.features.declares("tasks.list"):
        listed = (await other.request("tasks/list", {})).result.get("tasks")
        strange = task["taskId"] in repr(listed)
        check(not strange, "the list has the task of another principal")
    await look(link, task)
    await end(link, task)


@case.must("protocol-errors", "The error -32602.", needs=("tasks.list",))
async def unknown_cursor(link: FollowingLink) -> None:
    """A cursor of tasks/list that does not exist is an invalid parameter."""
    reply = await link.request("tasks/list", {"cursor": "mcpcore-conformance"})
    reply.failed_with(INVALID_PARAMS)


@case.should("tool-level-negotiation", "The error -32601.", needs=(CALLS,))
async def forbidden(talk: ServerTalk) -> None:
    """A tool that allows no tasks is not run as one."""
    for tool in talk.features.tried_tools(MOST):
        if support(tool) == "forbidden":
            break
    else:
        talk.skip("no harmless tool forbids tasks")
    reply = await call(await open_link(talk), tool, talk.arguments(tool), task={})
    reply.failed_with(METHOD_NOT_FOUND)


@case.must("tool-level-negotiation", "The error -32601.", needs=(CALLS, "tools"))
async def required(talk: ServerTalk) -> None:
    """A tool that runs only as a task cannot be called plainly."""
    known = talk.features.tools.get("failing_job")
    if known is not None:
        found = [known]
        check(support(known) == "required", f"taskSupport of failing_job is {support(known)!r}")
    else:
        tried = talk.features.tried_tools(MOST)
        found = [each for each in tried if support(each) == "required"]
    need(found, "no tool that may be called has to be a task")
    link = await open_link(talk)
    for tool in found:
        reply = await call(link, tool, talk.arguments(tool))
        reply.failed_with(METHOD_NOT_FOUND)


@case.must("task-support-and-handling", "What comes without task metadata.", needs=())
async def undeclared(talk: ServerTalk) -> None:
    """Requests that the server makes no tasks of are answered as ever."""
    features = talk.features
    lists = [each for each in LISTS if features.declares(each) and features.serves(f"{each}/list")]
    asked: list[tuple[str, dict[str, Any]]] = [(f"{each}/list", {}) for each in lists]
    if not features.declares(CALLS):
        named = [(each.name, talk.arguments(each)) for each in features.tried_tools(1)]
        asked += [("tools/call", {"name": name, "arguments": given}) for name, given in named]
    need(asked, "the server has no lists and no tool that may be called")
    link = await talk.open()
    for method, params in asked:
        before = await link.request(method, params)
        reply = await link.request(method, {**params, "task": {"ttl": 60_000}})
        check(reply.good or not before.good, f"{method} with task metadata got {reply}")
        made = reply.good and "task" in reply.result
        check(not made, f"{method}, which is not declared, became a task")


@case.should("capability-negotiation", "No task metadata.")
async def asks_plainly(talk: ServerTalk) -> None:
    """A client that declares no tasks is not asked for one."""
    for each in await askers(talk, "question", "test_sampling"):
        link = await talk.open(answering=Answering())
        await listen_too(link)
        for one in await own_questions(link, each):
            message = one.message
            check("task" not in message.params, f"{message.method} asks for a task")


@case.must("input-required-status/names-the-task", "The id of the task in _meta of the request.")
async def asks_for_task(talk: ServerTalk, link: FollowingLink) -> None:
    """What a task asks of the client names the task."""
    tool = await tasker(talk, "confirm_delete", questions=1)
    before, began = await at_rest(link), talk.stage.now()
    task = await create(link, tool, {"filename": "kit"})
    reply = await link.request("tasks/result", {"taskId": task["taskId"]})
    check(reply.message is not None, f"tasks/result got {reply}")
    asked = asked_by_tasks(link, before)
    if not tool.known and not any(related(each.params) for each in asked):
        # what names no task need not be asked for one
        asked = await _waited_for(link, tool, asked, talk.stage.now() - began)
    if not asked and not tool.known:
        talk.skip(f"no tool that is a task asks for something: {tool} did not")
    check(asked, "the task asked for nothing")
    names = [related(each.params) for each in asked]
    check(task["taskId"] in names, f"the request names the task {names[0]!r}")
    await finish(link, tool, task)


async def _waited_for(link: Link, tool: Tasker, asked: list[Message], took: float) -> list[Message]:
    """Those of the questions without a task for whose answers a task waits if it is made again."""

    async def begin(link: Link) -> Sent:
        task = await create(link, tool)
        return await link.send("tasks/result", {"taskId": task["taskId"]})

    kinds = {kind_of(each.value) for each in asked}
    found = [each.message for each in await waited_for(link, kinds, took, begin)]
    return [each for each in found if related(each.params) is None]


@case.should("input-required-status/status", "The status input_required, until there is an answer.")
async def input_status(talk: ServerTalk, link: FollowingLink) -> None:
    """A task that waits for an answer says so."""
    tool = await tasker(talk, "confirm_delete", questions=1)
    before = await at_rest(link)
    task = await create(link, tool, {"filename": "kit"})
    found = [(await look(link, task))["status"]]
    for _ in range(50):
        if found[-1] != "working":
            break
        await talk.advance(0.02)
        found.append((await look(link, task))["status"])
    # over one channel the question may have been asked, and answered, at once
    waited = "input_required" in found or bool(asked_by_tasks(link, before))
    if not waited and not tool.known:
        talk.skip(f"no tool that is a task asks for something: {tool} did not")
    check(waited, f"the task was {', '.join(found[-3:])}")
    await link.request("tasks/result", {"taskId": task["taskId"]})
    after = (await look(link, task))["status"]
    check(after != "input_required", "all was answered, and the task still waits for input")


@case.must("associating-task-related-messages", "The task that the parameter names.")
async def parameter_decides(link: FollowingLink, tool: SlowTasker) -> None:
    """The parameter taskId decides, whatever _meta says."""
    one, other = [await create(link, tool, QUICK) for _ in range(2)]
    meta = {RELATED: {"taskId": other["taskId"]}}
    reply = await link.request("tasks/get", {"taskId": one["taskId"]}, meta=meta)
    found = reply.result.get("taskId")
    check(found == one["taskId"], "the task of _meta came, not that of the parameter")
    for task in (one, other):
        await finish(link, tool, task)


@case.should(
    "associating-task-related-messages",
    "No related task in _meta: the id is in the result already.",
)
async def not_in_get(link: FollowingLink, tool: SlowTasker) -> None:
    """Results of tasks/get do not name the task in _meta besides."""
    task = await create(link, tool, QUICK)
    check(related(await look(link, task)) is None, "_meta of tasks/get names the task")
    await finish(link, tool, task)


@case.should("task-notifications/status", "The whole task, without a related task in _meta.")
async def status_notification(talk: ServerTalk, link: FollowingLink) -> None:
    """A notification of a task's status has the task, and does not name it in _meta."""
    await link.listen()
    task = await create(link, await tasker(talk, SLOW, end=TERMINAL), SOON)
    await link.request("tasks/result", {"taskId": task["taskId"]})
    await link.quiet()
    told = [each for each in link.inbox if each.method == "notifications/tasks/status"]
    need(told, "the server sends no notifications of tasks")
    for each in told:
        problem = params_problem(each.method, each.params, talk.revision)
        check(not problem, f"the params of {each.method}: {problem}")
        check(related(each.params) is None, f"_meta of {each.method} names the task")


@case.should("input-required-status", "tasks/get is answered as JSON.", bindings=STREAMABLE)
async def get_not_streamed(link: FollowingLink, tool: SlowTasker) -> None:
    """tasks/get is answered without an event stream."""
    task = await create(link, tool, QUICK)
    reply = await link.request("tasks/get", {"taskId": task["taskId"]})
    check(reply.good, f"it got {reply}")
    kind = header(reply.head.headers, "content-type") if reply.head is not None else None
    check(kind is not None and "event-stream" not in kind, f"tasks/get was answered as {kind}")
