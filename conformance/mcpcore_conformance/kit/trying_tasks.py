"""Trying which calls become tasks, and what becomes of these.

This is done as in :mod:`mcpcore_conformance.kit.trying`: once, apart from all cases, and where
there is nothing of the fixture.
"""

from typing import Annotated, Any

from msgspec import structs

from mcpcore_conformance.kit.asking import at_rest
from mcpcore_conformance.kit.features import Tool
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.shown import Tasker
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tasks import (
    TERMINAL,
    asked_by_tasks,
    call_of,
    end,
    looks,
    named,
    open_link,
    related,
)
from mcpcore_conformance.kit.trying import MOST, PATIENCE, SILENT, tried_until
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import Ended

SLOW = "slow_compute"
"""Tool of the fixture that takes as long as it is told."""
LONG = 2.0
"""Seconds for which a task is looked at; less where answers have less."""
WHAT = "no tool that may be called becomes a task"


async def taskers(
    talk: ServerTalk, *names: str, end: str | tuple[str, ...] = (), questions: int = 0
) -> list[Tasker]:
    """Tools whose calls become tasks; with none, the case does not apply.

    ``names``: tools of the fixture; the first that is there is all.
    ``end``: only such as end with (one of) these statuses, in time; ``questions``: only such as
    ask for so many things at once.
    """
    for name in names:
        if name in talk.features.tools:
            return [Tasker(name, known=True)]
    shown = talk.features.shown
    async with shown.turn:
        if "taskers" not in shown.looked:
            try:
                await _look(talk.apart(), shown.taskers)
            finally:
                # whoever has no time left for it leaves what was found: nobody looks twice
                shown.looked.add("taskers")
    wanted = (end,) if isinstance(end, str) else end
    found = [
        each
        for each in shown.taskers
        if (not wanted or each.end in wanted) and each.questions >= questions
    ]
    if not found:
        how = f" that is soon {' or '.join(wanted)}" if wanted else ""
        how += f" and asks for {questions} things at once" if questions else ""
        talk.skip(WHAT + how)
    return found


async def tasker(
    talk: ServerTalk, *names: str, end: str | tuple[str, ...] = (), questions: int = 0
) -> Tasker:
    """The first of them."""
    return (await taskers(talk, *names, end=end, questions=questions))[0]


SlowTasker = Annotated[Tasker, lambda talk: tasker(talk, SLOW)]


def support(tool: Tool) -> str:
    """Return the tool's support of tasks, in 2025-11-25."""
    return str(members(tool.listed.get("execution")).get("taskSupport", "forbidden"))


async def _look(talk: ServerTalk, found: list[Tasker]) -> None:
    """Call what may be called, as a client that follows tasks; what goes wrong is for cases."""
    link: Link | None = None
    silent, before, late = 0, 0, tried_until(talk)
    try:
        for tool in talk.features.tried_tools(MOST):
            if talk.stage.now() >= late:
                break
            if not talk.revision.modern and support(tool) not in ("optional", "required"):
                continue
            tried = Tasker(tool.name, talk.arguments(tool))
            try:
                if link is None or link.gone is not None:
                    link = await open_link(talk)
                    await at_rest(link)
                # a task may ask before the answer that tells of it is written
                before = len(link.asked)
                reply = await call_of(link, tried, within=min(PATIENCE, talk.timing.answer))
                if reply.pending:
                    # what it asks late is not to be taken for what the next one asks
                    silent, link = silent + 1, None
                    late = min(PATIENCE, talk.timing.answer)
                    talk.features.shown.late.append(f"{tool.name} takes longer than {late:g} s")
                made = named(reply.result, tried)
            except Ended:
                if silent == SILENT:
                    break
                continue
            assert link is not None
            found.append(await _followed(link, tried, made, before))
    except Ended as error:
        talk.note(error.detail)
    finally:
        await talk.close(keep=False)


async def _followed(link: Link, tool: Tasker, task: dict[str, Any], before: int) -> Tasker:
    """Look at a task for a while, and end it; ``before``: what was asked until it was called."""
    last, questions = "", 0
    within = min(LONG, link.talk.timing.answer)
    try:
        async for found in looks(link, task, tool, within):
            last = found["status"]
            asked = found.get("inputRequests")
            on_the_wire = [
                each
                for each in asked_by_tasks(link, before)
                if related(each.params) in (None, task["taskId"])
            ]
            questions = len(asked if isinstance(asked, dict) else on_the_wire)
            questions = questions or int(last == "input_required")
            if last in TERMINAL or questions:
                break
        if last not in TERMINAL:
            await end(link, task)
    except Ended as error:
        # what cannot be looked at is for the cases about that
        link.talk.note(error.detail)
    return structs.replace(tool, end=last if last in TERMINAL else "", questions=questions)
