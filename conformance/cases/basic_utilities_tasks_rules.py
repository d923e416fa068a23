"""Cases of the page basic/utilities/tasks: errors, lists, tools that allow it, and messages."""

from typing import Any

from conformance.cases.basic_utilities_tasks import CALLS, HERE, NEEDS, NOBODY, QUICK, SLOW, SOON
from conformance.kit.asking import call
from conformance.kit.heard import header
from conformance.kit.messages import INVALID_PARAMS, METHOD_NOT_FOUND, Kind
from conformance.kit.model import MUST, SHOULD, STREAMABLE, Page
from conformance.kit.shapes import params_problem
from conformance.kit.talk import ServerTalk
from conformance.kit.tasks import RELATED, create, look, open_link, related
from conformance.kit.usable import members
from conformance.kit.verdicts import check

page = Page("basic/utilities/tasks")


def _unknown(method: str, needs: tuple[str, ...]) -> None:
    async def unknown(talk: ServerTalk) -> None:
        link = await open_link(talk)
        for id in (NOBODY, "", "../1"):
            (await link.request(method, {"taskId": id})).failed_with(INVALID_PARAMS)

    unknown.__doc__ = f"{method} of a task that does not exist is an invalid parameter."
    place = f"protocol-errors/unknown-{method.partition('/')[2]}"
    page.server(MUST, place, HERE, expects="The error -32602.", needs=needs)(unknown)


_unknown("tasks/get", (CALLS,))
_unknown("tasks/result", (CALLS,))
_unknown("tasks/cancel", (CALLS, "tasks.cancel"))


@page.server(
    MUST,
    "task-listing/complete",
    HERE,
    expects="The tasks that tasks/get finds, on one of the pages.",
    needs=(*NEEDS, "tasks.list"),
)
async def listed(talk: ServerTalk) -> None:
    """What tasks/get finds is in the list."""
    link = await open_link(talk)
    made = {(await create(link, SLOW, QUICK))["taskId"] for _ in range(3)}
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


@page.server(
    MUST,
    "protocol-errors/unknown-cursor",
    HERE,
    expects="The error -32602.",
    needs=("tasks.list",),
)
async def unknown_cursor(talk: ServerTalk) -> None:
    """A cursor of tasks/list that does not exist is an invalid parameter."""
    link = await open_link(talk)
    reply = await link.request("tasks/list", {"cursor": "mcpcore-conformance"})
    reply.failed_with(INVALID_PARAMS)


@page.server(
    SHOULD,
    "tool-level-negotiation/forbidden",
    HERE,
    expects="The error -32601.",
    needs=(CALLS,),
)
async def forbidden(talk: ServerTalk) -> None:
    """A tool that allows no tasks is not run as one."""
    for tool in talk.features.tools.values():
        support = members(tool.listed.get("execution")).get("taskSupport", "forbidden")
        if support == "forbidden" and not tool.input_schema.get("required"):
            break
    else:
        talk.skip("no tool forbids tasks")
    reply = await call(await open_link(talk), tool, {}, task={})
    reply.failed_with(METHOD_NOT_FOUND)


@page.server(
    MUST,
    "tool-level-negotiation/required",
    HERE,
    expects="The error -32601.",
    needs=(CALLS, "tool:failing_job"),
)
async def required(talk: ServerTalk) -> None:
    """A tool that runs only as a task cannot be called plainly."""
    tool = talk.tool("failing_job")
    support = members(tool.listed.get("execution")).get("taskSupport")
    check(support == "required", f"taskSupport of failing_job is {support!r}")
    (await call(await open_link(talk), tool, {})).failed_with(METHOD_NOT_FOUND)


@page.server(
    MUST,
    "input-required-status/names-the-task",
    HERE,
    expects="The id of the task in _meta of the request.",
    needs=(CALLS, "tool:confirm_delete"),
)
async def asks_for_task(talk: ServerTalk) -> None:
    """What a task asks of the client names the task."""
    link = await open_link(talk)
    task = await create(link, "confirm_delete", {"filename": "kit"})
    reply = await link.request("tasks/result", {"taskId": task["taskId"]})
    check(reply.message is not None, f"tasks/result got {reply}")
    asked = [each for each in link.asked if each.method == "elicitation/create"]
    check(asked, "the task asked for nothing")
    found = related(asked[0].params)
    check(found == task["taskId"], f"the request names the task {found!r}")


@page.server(
    SHOULD,
    "input-required-status/status",
    HERE,
    expects="The status input_required, until there is an answer.",
    needs=(CALLS, "tool:confirm_delete"),
)
async def input_status(talk: ServerTalk) -> None:
    """A task that waits for an answer says so."""
    link = await open_link(talk)
    task = await create(link, "confirm_delete", {"filename": "kit"})
    found = [(await look(link, task))["status"]]
    for _ in range(50):
        if found[-1] != "working":
            break
        await talk.advance(0.02)
        found.append((await look(link, task))["status"])
    # over one channel the question may have been asked, and answered, at once
    answered = bool(link.asked)
    check("input_required" in found or answered, f"the task was {', '.join(found[-3:])}")
    await link.request("tasks/result", {"taskId": task["taskId"]})
    after = (await look(link, task))["status"]
    check(after != "input_required", "all was answered, and the task still waits for input")


@page.server(
    MUST,
    "associating-task-related-messages/parameter-decides",
    HERE,
    expects="The task that the parameter names.",
    needs=NEEDS,
)
async def parameter_decides(talk: ServerTalk) -> None:
    """The parameter taskId decides, whatever _meta says."""
    link = await open_link(talk)
    one, other = [await create(link, SLOW, QUICK) for _ in range(2)]
    meta = {RELATED: {"taskId": other["taskId"]}}
    reply = await link.request("tasks/get", {"taskId": one["taskId"]}, meta=meta)
    found = reply.result.get("taskId")
    check(found == one["taskId"], "the task of _meta came, not that of the parameter")


@page.server(
    SHOULD,
    "associating-task-related-messages/not-in-get",
    HERE,
    expects="No related task in _meta: the id is in the result already.",
    needs=NEEDS,
)
async def not_in_get(talk: ServerTalk) -> None:
    """Results of tasks/get do not name the task in _meta besides."""
    link = await open_link(talk)
    task = await create(link, SLOW, QUICK)
    check(related(await look(link, task)) is None, "_meta of tasks/get names the task")


@page.server(
    SHOULD,
    "task-notifications/status",
    HERE,
    expects="The whole task, without a related task in _meta.",
    needs=NEEDS,
)
async def status_notification(talk: ServerTalk) -> None:
    """A notification of a task's status has the task, and does not name it in _meta."""
    link = await open_link(talk)
    await link.listen()
    task = await create(link, SLOW, SOON)
    await link.request("tasks/result", {"taskId": task["taskId"]})
    await link.quiet()
    told = [each for each in link.inbox if each.method == "notifications/tasks/status"]
    if not told:
        talk.skip("the server sends no notifications of tasks")
    for each in told:
        problem = params_problem(each.method, each.params, talk.revision)
        check(not problem, f"the params of {each.method}: {problem}")
        check(related(each.params) is None, f"_meta of {each.method} names the task")


@page.server(
    SHOULD,
    "input-required-status/get-not-streamed",
    HERE,
    expects="tasks/get is answered as JSON.",
    bindings=STREAMABLE,
    needs=NEEDS,
)
async def not_streamed(talk: ServerTalk) -> None:
    """tasks/get is answered without an event stream."""
    link = await open_link(talk)
    task = await create(link, SLOW, QUICK)
    reply = await link.request("tasks/get", {"taskId": task["taskId"]})
    check(reply.message is not None and reply.message.kind is Kind.RESULT, f"it got {reply}")
    kind = header(reply.head.headers, "content-type") if reply.head is not None else None
    check(kind is not None and "event-stream" not in kind, f"tasks/get was answered as {kind}")


__all__ = ["page"]
