"""The scenario ``script`` of the conformance kit, over whatever a library offers.

What a script looks like is in ``docs/how-to/conformance-clients.md``.  A library says how it
connects and does each step; a script with a step that it has no call for is declined before
anything is sent.
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import anyio

from conformance.interop.sdk.calling import ProtocolError
from conformance.interop.sdk.kit_client import Connection, Failed, Line, Outcome, Step, Wishes
from conformance.interop.sdk.kit_scenarios import CONTEXT, SCENARIO, play

PATIENCE = 20.0
"""Seconds for a step that says nothing about it."""


async def main(line: Line, address: str) -> None:
    """Connect, play what the environment asks for, leave."""
    if os.environ.get(SCENARIO) == "script":
        await play_script(line, address)
        return
    async with line.connect(Wishes(address, {})) as connection:
        await play(connection, ProtocolError)


async def play_script(line: Line, address: str) -> None:
    """Play what the environment asks for, and write the report."""
    context = json.loads(os.environ.get(CONTEXT) or "{}")
    wishes = Wishes(address, context)
    why = line.unsuited(wishes)
    steps = [*_flat(context.get("steps", []))]
    reasons = filter(None, [why, *map(_about_skills, steps), *map(line.unable, steps)])
    reason = next(reasons, "")
    report: dict[str, Any] = {"unsupported": reason}
    if not reason:
        report = await Script(line, wishes).play()
    await anyio.Path(context["report"]).write_text(json.dumps(report), encoding="utf-8")


def _about_skills(step: Step) -> str:
    skills = step["do"] in ("skill", "directory") or step.get("what") == "skills"
    return "no line of the SDK has calls for skills" if skills else ""


def _flat(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        yield from _flat(step.get("steps", []))


class Script:
    """Plays the steps of one context against one server."""

    def __init__(self, line: Line, wishes: Wishes) -> None:
        self._line = line
        self._wishes = wishes
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None

    async def play(self) -> dict[str, Any]:
        """Connect, do every step, disconnect; the report of it."""
        steps: list[Step] = self._wishes.context.get("steps", [])
        report: dict[str, Any] = {"opened": {}, "steps": []}
        over = ""
        try:
            report["opened"] = await self._outcome(self._open)
            if "result" in report["opened"]:
                for step in steps:
                    report["steps"].append(await self._do(step))
            await self._outcome(self._close)
        except BaseException as error:  # a transport that breaks takes its user's task along
            over = await self._unwound(error)
        if over and "result" in report["opened"]:
            missing = len(steps) - len(report["steps"])
            report["steps"] += [{"failure": "closed", "message": over}] * missing
        report["notifications"] = self._wishes.heard
        return report

    async def _open(self) -> dict[str, Any]:
        await self._close()
        connecting = self._line.connect(self._wishes)
        self._connection = await self._stack.enter_async_context(connecting)
        return {"revision": self._connection.revision}

    async def _close(self) -> dict[str, Any]:
        self._connection = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        return {}

    async def _unwound(self, error: BaseException) -> str:
        """Leave the connection with what went wrong in it; returns what that was."""
        try:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
        except BaseException as end:
            error = end
        return str(leaf(error)) or "the connection ended the script"

    async def _do(self, step: Step) -> Outcome:
        if step["do"] == "together":
            outcomes: list[Outcome] = [{} for _ in step["steps"]]

            async def one(place: int, each: Step) -> None:
                outcomes[place] = await self._do(each)

            async with anyio.create_task_group() as tasks:
                for place, each in enumerate(step["steps"]):
                    tasks.start_soon(one, place, each)
            return {"result": {}, "steps": outcomes}
        if step["do"] == "open":
            self._wishes.headers = step.get("headers", self._wishes.headers)
            return await self._outcome(self._open)
        if step["do"] == "close":
            return await self._outcome(self._close)
        progress: list[dict[str, Any]] = []
        outcome: Outcome = {"failure": "cancelled"}
        with anyio.move_on_after(step.get("cancel_after")):
            outcome = await self._outcome(lambda: self._step(step, progress))
        return {**outcome, "progress": progress} if progress else outcome

    async def _outcome(self, action: Callable[[], Awaitable[Any]]) -> Outcome:
        try:
            return {"result": await action()}
        except Failed as error:
            return {"failure": error.kind, "message": str(error)}
        except TimeoutError as error:
            return {"failure": "timeout", "message": str(error)}
        except (Exception, BaseExceptionGroup) as error:
            return self._line.outcome(leaf(error))

    async def _step(self, step: Step, progress: list[dict[str, Any]]) -> Any:
        if step["do"] == "pause":
            await anyio.sleep(step["seconds"])
            return {}
        connection, timeout = self._connection, step.get("timeout", PATIENCE)
        if connection is None:
            raise Failed("refused", "the connection has been closed by the script")

        async def told(value: float, total: float | None, message: str | None) -> None:
            progress.append({"progress": value, "total": total, "message": message})

        if step["do"] == "call":
            listener = told if step.get("progress") else None
            return await connection.call(step["tool"], step.get("arguments"), timeout, listener)
        if step["do"] == "listen":
            return await self._listen(connection, step, timeout)
        if step["do"] == "wait":
            return await self._wait(step["notification"], timeout)
        with anyio.fail_after(timeout):  # these calls take no timeout of their own
            return await self._plain(connection, step)

    async def _plain(self, connection: Connection, step: Step) -> Any:
        match step["do"]:
            case "list":
                return await connection.listing(step["what"])
            case "read":
                return await connection.read(step["uri"])
            case "prompt":
                return await connection.prompt(step["name"], step.get("arguments"))
            case "complete":
                return await connection.complete(step)
            case "subscribe":
                await connection.subscribe(step["uri"])
            case "unsubscribe":
                await connection.unsubscribe(step["uri"])
            case "level":
                await connection.level(step["level"])
            case "ping":
                await connection.ping()
            case "roots":
                self._wishes.roots = step["roots"]
                await connection.roots_changed()
            case kind:
                raise Failed("other", f"no step {kind!r} is known")
        return {}

    async def _listen(self, connection: Connection, step: Step, timeout: float) -> Any:
        seen: dict[str, Any] = {"honoured": None, "changes": [], "ended": False}
        with anyio.move_on_after(timeout):
            await connection.listen(step, seen)
        return seen

    async def _wait(self, method: str, timeout: float) -> dict[str, Any]:
        with anyio.fail_after(timeout):
            while all(each["method"] != method for each in self._wishes.heard):
                await self._wishes.news.wait()
        return {}


def leaf(error: BaseException) -> BaseException:
    """The first error of a group that is none itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
