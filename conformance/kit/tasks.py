"""Tasks as a client sees them: those of 2025-11-25, and those of the extension."""

import re
from typing import Any

from conformance.kit.answering import Answering
from conformance.kit.asking import call
from conformance.kit.link import Link
from conformance.kit.messages import Kind
from conformance.kit.shapes import TASKS
from conformance.kit.talk import ServerTalk, all_capabilities
from conformance.kit.verdicts import Broken, check

TERMINAL = ("completed", "failed", "cancelled")
RELATED = "io.modelcontextprotocol/related-task"
POLLS = 100
PAUSE = 0.02
"""Seconds between two looks at a task."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


async def open_link(talk: ServerTalk, answering: Answering | None = None) -> Link:
    """Open a connection as a client that follows tasks: in the extension it says so."""
    if not talk.revision.modern:
        if answering is None:
            return await talk.open()
        return await talk.open(answering=answering)
    declared = {**all_capabilities(talk.revision), "extensions": {TASKS: {}}}
    return await talk.open(capabilities=declared, answering=answering or Answering())


async def create(link: Link, tool: str, arguments: dict[str, Any], **task: Any) -> dict[str, Any]:
    """Have a call run as a task; returns the task, of which only the id has been checked."""
    return named((await creation(link, tool, arguments, **task)), tool)


async def creation(link: Link, tool: str, arguments: dict[str, Any], **task: Any) -> dict[str, Any]:
    """Have a call run as a task; returns the result of the call."""
    more = {} if link.revision.modern else {"task": task}
    return (await call(link, link.talk.tool(tool), arguments, **more)).result


def named(result: dict[str, Any], tool: str) -> dict[str, Any]:
    """The task that the result of a call has made; raises Broken if there is none."""
    found = result if "taskId" in result else result.get("task")
    if not isinstance(found, dict) or not isinstance(found.get("taskId"), str):
        raise Broken(f"{tool} was to run as a task, and gives none: {str(result)[:120]}")
    return found


async def look(link: Link, task: dict[str, Any]) -> dict[str, Any]:
    """Ask how a task does; only the status has been checked."""
    found = (await link.request("tasks/get", {"taskId": task["taskId"]})).result
    check(isinstance(found.get("status"), str), f"the status of a task is {found.get('status')!r}")
    return found


async def until(link: Link, task: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """Look at a task until it has one of the statuses; raises Broken if it ends otherwise."""
    seen: list[str] = []
    for _ in range(POLLS):
        found = await look(link, task)
        seen.append(found["status"])
        if found["status"] in statuses:
            return found
        if found["status"] in TERMINAL:
            break
        await link.talk.advance(PAUSE)
    raise Broken(f"a task should become {' or '.join(statuses)}, it was {', '.join(seen[-5:])}")


async def end(link: Link, task: dict[str, Any]) -> None:
    """Cancel a task so that nothing is left running; whatever the answer is."""
    await link.request("tasks/cancel", {"taskId": task["taskId"]})


def related(message: Any) -> Any:
    """The id of the task that a value with ``_meta`` names; None if it names none."""
    meta = message.get("_meta") if isinstance(message, dict) else None
    named = meta.get(RELATED) if isinstance(meta, dict) else None
    return named.get("taskId") if isinstance(named, dict) else None


def check_time(value: Any, where: str) -> None:
    """Check that this is a time of ISO 8601, with a zone."""
    check(_TIME.fullmatch(str(value)), f"{where} is {value!r:.60}, not a time of ISO 8601")


def inside(task: dict[str, Any], member: str) -> dict[str, Any]:
    """A member of a task that has to be an object."""
    found = task.get(member)
    if not isinstance(found, dict):
        raise Broken(f"{member} of a task that is {task.get('status')} is {found!r:.80}")
    return found


def is_result(reply: Any) -> bool:
    """Whether a reply is a good answer."""
    return reply.message is not None and reply.message.kind is Kind.RESULT
