"""Tasks as a client sees them: those of 2025-11-25, and those of the extension."""

import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from mcpcore_conformance.kit.answering import Answering
from mcpcore_conformance.kit.asking import QUESTIONS, send_call
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import Message
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.shapes import TASKS
from mcpcore_conformance.kit.shown import Tasker
from mcpcore_conformance.kit.talk import ServerTalk, all_capabilities
from mcpcore_conformance.kit.usable import whole
from mcpcore_conformance.kit.verdicts import Broken, check

TERMINAL = ("completed", "failed", "cancelled")
RELATED = "io.modelcontextprotocol/related-task"
POLLS = 100
PAUSE = 0.02
"""Seconds between two looks at a task."""
LONGEST = 1.0
"""Seconds between two looks, at most, for which a task may ask."""
PATIENCE = 5.0
"""Seconds in which a task of any tool may come to where a case wants it."""
BRIEF = 1.0
"""Seconds for that where no task of the tool was seen to come to anything."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


async def open_link(talk: ServerTalk, answering: Answering | None = None) -> Link:
    """Open a connection as a client that follows tasks: in the extension it says so."""
    declared = None
    if talk.revision.modern:
        declared = {**all_capabilities(talk.revision), "extensions": {TASKS: {}}}
    return await talk.open(capabilities=declared, answering=answering)


FollowingLink = Annotated[Link, open_link]


async def create(
    link: Link, tool: Tasker, arguments: dict[str, Any] | None = None, **task: Any
) -> dict[str, Any]:
    """Have a call run as a task; returns the task, of which only the id has been checked.

    ``arguments`` are for a tool of the fixture; any other has its own.
    """
    return named((await creation(link, tool, arguments, **task)), tool)


async def creation(
    link: Link, tool: Tasker, arguments: dict[str, Any] | None = None, **task: Any
) -> dict[str, Any]:
    """Have a call run as a task; returns the result of the call."""
    return (await call_of(link, tool, arguments, **task)).result


async def call_of(
    link: Link,
    tool: Tasker,
    arguments: dict[str, Any] | None = None,
    *,
    within: float | None = None,
    **task: Any,
) -> Reply:
    """Call a tool so that it becomes a task; return what comes of that."""
    more = {} if link.revision.modern else {"task": task}
    given = arguments if tool.known and arguments is not None else tool.arguments
    sent = await send_call(link, link.talk.tool(tool.name), given, **more)
    return await link.reply(sent, within)


def named(result: dict[str, Any], tool: Tasker) -> dict[str, Any]:
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


async def until(
    link: Link, task: dict[str, Any], *statuses: str, tool: Tasker | None = None
) -> dict[str, Any]:
    """Look at a task until it has one of the statuses; raises Broken if it ends otherwise.

    ``tool``: of the task; for one that is not of the fixture it is waited longer, and as long
    between two looks as the task says.
    """
    seen: list[str] = []
    async for found in looks(link, task, tool):
        seen.append(found["status"])
        if found["status"] in statuses:
            return found
        if found["status"] in TERMINAL:
            break
    raise Broken(f"a task should become {' or '.join(statuses)}, it was {', '.join(seen[-5:])}")


def looks(
    link: Link, task: dict[str, Any], tool: Tasker | None = None, within: float | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Look at a task again and again, ``within`` so many seconds, or as :func:`until` does."""
    pause, patience = PAUSE, POLLS * PAUSE
    if tool is not None and not tool.known:
        wanted = task.get("pollIntervalMs" if link.revision.modern else "pollInterval")
        pause = min(max(PAUSE, whole(wanted) / 1000), LONGEST)
        patience = PATIENCE if tool.end or tool.questions else BRIEF
    return _Looks(link, task, pause, patience if within is None else within)


class _Looks:
    """No generator, so that whoever has seen enough just leaves it."""

    def __init__(self, link: Link, task: dict[str, Any], pause: float, patience: float) -> None:
        self._link, self._task, self._pause = link, task, pause
        self._end = link.talk.stage.now() + patience
        self._begun = False

    def __aiter__(self) -> "_Looks":
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._begun:
            if self._link.talk.stage.now() >= self._end:
                raise StopAsyncIteration
            await self._link.talk.advance(self._pause)
        self._begun = True
        return await look(self._link, self._task)


async def end(link: Link, task: dict[str, Any]) -> None:
    """Cancel a task so that nothing is left running; whatever the answer is."""
    await link.request("tasks/cancel", {"taskId": task["taskId"]})


async def finish(link: Link, tool: Tasker, task: dict[str, Any]) -> None:
    """Do so for a task of which nobody knows when it ends."""
    if not tool.known:
        await end(link, task)


def related(message: Any) -> Any:
    """The id of the task that a value with ``_meta`` names; None if it names none."""
    meta = message.get("_meta") if isinstance(message, dict) else None
    named = meta.get(RELATED) if isinstance(meta, dict) else None
    return named.get("taskId") if isinstance(named, dict) else None


def asked_by_tasks(link: Link, before: int) -> list[Message]:
    """Return the requests of tasks for input, after the first ``before`` requests.

    Roots of which no task is named need not be for one: many servers ask for them of their own
    accord.
    """
    found = [each for each in link.asked[before:] if each.method in QUESTIONS]
    return [each for each in found if each.method != "roots/list" or related(each.params)]


def time_of(value: Any, where: str) -> datetime:
    """The time that this is; raises Broken if it is none of ISO 8601, with a zone."""
    good = _TIME.fullmatch(str(value))
    try:
        return datetime.fromisoformat(str(value) if good else "")
    except ValueError:
        raise Broken(f"{where} is {value!r:.60}, not a time of ISO 8601") from None


def inside(task: dict[str, Any], member: str) -> dict[str, Any]:
    """A member of a task that has to be an object."""
    found = task.get(member)
    if not isinstance(found, dict):
        raise Broken(f"{member} of a task that is {task.get('status')} is {found!r:.80}")
    return found
