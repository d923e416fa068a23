"""Cases of the page basic/utilities/tasks: errors, lists, tools that allow it, and messages."""

from typing import Any

from mcpcore_conformance.cases.basic_utilities_tasks import (
    CALLS,
    LATE,
    NEEDS,
    NOBODY,
    QUICK,
    SLOW,
    SOON,
)
from mcpcore_conformance.kit.asking import at_rest, call
from mcpcore_conformance.kit.belonging import waited_for
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import INVALID_PARAMS, METHOD_NOT_FOUND, Kind, Message
from mcpcore_conformance.kit.model import ONLY_2025_11_25, OTHER_PRINCIPAL, STREAMABLE, Page
from mcpcore_conformance.kit.reply import Sent
from mcpcore_conformance.kit.shapes import params_problem
from mcpcore_conformance.kit.shown import Tasker, kind_of
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tasks import (
    RELATED,
    TERMINAL,
    asked_by_tasks,
    create,
    end,
    finish,
    look,
    open_link,
    related,
)
from mcpcore_conformance.kit.trying import MOST
from mcpcore_conformance.kit.trying_tasks import support, tasker
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/utilities/tasks")
case = page.server(ONLY_2025_11_25, needs=NEEDS)


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
async def listed(talk: ServerTalk) -> None:
    """What tasks/get finds is in the list."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
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
    "task-isolation-and-access-control/other-principal",
    "Errors for the task of somebody else, which is in no list of theirs.",
    bindings=STREAMABLE,
    needs=(*NEEDS, OTHER_PRINCIPAL),
)
async def other_principal(talk: ServerTalk) -> None:
    """A task is there for the principal that has made it, and for no other."""
    tool = await tasker(talk, SLOW)
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


@case.must("protocol-errors/unknown-cursor", "The error -32602.", needs=("tasks.list",))
async def unknown_cursor(talk: ServerTalk) -> None:
    """A cursor of tasks/list that does not exist is an invalid parameter."""
    link = await open_link(talk)
    reply = await link.request("tasks/list", {"cursor": "mcpcore-conformance"})
    reply.failed_with(INVALID_PARAMS)


@case.should("tool-level-negotiation/forbidden", "The error -32601.", needs=(CALLS,))
async def forbidden(talk: ServerTalk) -> None:
    """A tool that allows no tasks is not run as one."""
    for tool in talk.features.tried_tools(MOST):
        if support(tool) == "forbidden":
            break
    else:
        talk.skip("no harmless tool forbids tasks")
    reply = await call(await open_link(talk), tool, talk.arguments(tool), task={})
    reply.failed_with(METHOD_NOT_FOUND)


@case.must("tool-level-negotiation/required", "The error -32601.", needs=(CALLS, "tools"))
async def required(talk: ServerTalk) -> None:
    """A tool that runs only as a task cannot be called plainly."""
    known = talk.features.tools.get("failing_job")
    if known is not None:
        found = [known]
        check(support(known) == "required", f"taskSupport of failing_job is {support(known)!r}")
    else:
        tried = talk.features.tried_tools(MOST)
        found = [each for each in tried if support(each) == "required"]
    if not found:
        talk.skip("no tool that may be called has to be a task")
    link = await open_link(talk)
    for tool in found:
        reply = await call(link, tool, talk.arguments(tool))
        reply.failed_with(METHOD_NOT_FOUND)


@case.must("input-required-status/names-the-task", "The id of the task in _meta of the request.")
async def asks_for_task(talk: ServerTalk) -> None:
    """What a task asks of the client names the task."""
    link = await open_link(talk)
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
async def input_status(talk: ServerTalk) -> None:
    """A task that waits for an answer says so."""
    link = await open_link(talk)
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


@case.must(
    "associating-task-related-messages/parameter-decides", "The task that the parameter names."
)
async def parameter_decides(talk: ServerTalk) -> None:
    """The parameter taskId decides, whatever _meta says."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    one, other = [await create(link, tool, QUICK) for _ in range(2)]
    meta = {RELATED: {"taskId": other["taskId"]}}
    reply = await link.request("tasks/get", {"taskId": one["taskId"]}, meta=meta)
    found = reply.result.get("taskId")
    check(found == one["taskId"], "the task of _meta came, not that of the parameter")
    for task in (one, other):
        await finish(link, tool, task)


@case.should(
    "associating-task-related-messages/not-in-get",
    "No related task in _meta: the id is in the result already.",
)
async def not_in_get(talk: ServerTalk) -> None:
    """Results of tasks/get do not name the task in _meta besides."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    task = await create(link, tool, QUICK)
    check(related(await look(link, task)) is None, "_meta of tasks/get names the task")
    await finish(link, tool, task)


@case.should("task-notifications/status", "The whole task, without a related task in _meta.")
async def status_notification(talk: ServerTalk) -> None:
    """A notification of a task's status has the task, and does not name it in _meta."""
    link = await open_link(talk)
    await link.listen()
    task = await create(link, await tasker(talk, SLOW, end=TERMINAL), SOON)
    await link.request("tasks/result", {"taskId": task["taskId"]})
    await link.quiet()
    told = [each for each in link.inbox if each.method == "notifications/tasks/status"]
    if not told:
        talk.skip("the server sends no notifications of tasks")
    for each in told:
        problem = params_problem(each.method, each.params, talk.revision)
        check(not problem, f"the params of {each.method}: {problem}")
        check(related(each.params) is None, f"_meta of {each.method} names the task")


@case.should(
    "input-required-status/get-not-streamed", "tasks/get is answered as JSON.", bindings=STREAMABLE
)
async def not_streamed(talk: ServerTalk) -> None:
    """tasks/get is answered without an event stream."""
    link = await open_link(talk)
    tool = await tasker(talk, SLOW)
    task = await create(link, tool, QUICK)
    reply = await link.request("tasks/get", {"taskId": task["taskId"]})
    check(reply.message is not None and reply.message.kind is Kind.RESULT, f"it got {reply}")
    kind = header(reply.head.headers, "content-type") if reply.head is not None else None
    check(kind is not None and "event-stream" not in kind, f"tasks/get was answered as {kind}")
