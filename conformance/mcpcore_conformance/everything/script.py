"""The scenario ``script``: do what the context says, step by step, and report what came of it.

What a script looks like is in ``docs/how-to/conformance-clients.md``.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, Protocol

import anyio
import msgspec
from msgspec import Raw

from mcpcore import (
    Callbacks,
    Client,
    ConnectionClosed,
    ErrorData,
    LinkError,
    LocalError,
    LocalProtocolError,
    McpError,
    NegotiationError,
    PeerError,
    RequestTimeout,
)
from mcpcore.errors import InputFailed, InvalidResponse, RequestRefused
from mcpcore.types import PromptReference, ResourceTemplateReference

Step = Mapping[str, Any]
Outcome = dict[str, Any]
Work = Callable[[], Coroutine[Any, Any, None]]
Connect = Callable[..., AbstractAsyncContextManager[Client]]
"""Takes ``headers``, which are for HTTP."""

PATIENCE = 20.0
"""Seconds for a step that says nothing about it."""

_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (RequestTimeout, "timeout"),
    (ConnectionClosed, "closed"),
    (LinkError, "closed"),
    (InvalidResponse, "invalid"),
    (InputFailed, "refused"),
    (RequestRefused, "refused"),
    (LocalProtocolError, "refused"),
)


class Event(Protocol):
    """Something that may be waited for."""

    def set(self) -> None:
        """It has happened."""

    async def wait(self) -> object:
        """Wait for it."""


class Pace(Protocol):
    """How a script waits: by an event loop, or on virtual time."""

    def event(self) -> Event:
        """Make something to wait for."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    async def within(self, seconds: float | None, work: Work) -> bool:
        """Do something, for so many seconds at most; whether it came to its end."""

    async def together(self, works: Sequence[Work]) -> None:
        """Do several things at the same time."""


class AnyioPace:
    """Waits by the event loop that runs."""

    def event(self) -> Event:
        """See :class:`Pace`."""
        return anyio.Event()

    async def sleep(self, seconds: float) -> None:
        """See :class:`Pace`."""
        await anyio.sleep(seconds)

    async def within(self, seconds: float | None, work: Work) -> bool:
        """See :class:`Pace`."""
        with anyio.move_on_after(seconds) as scope:
            await work()
        return not scope.cancelled_caught

    async def together(self, works: Sequence[Work]) -> None:
        """See :class:`Pace`."""
        async with anyio.create_task_group() as tasks:
            for work in works:
                tasks.start_soon(work)


class Script:
    """Plays the steps of one context against one server; ``write`` takes the report."""

    def __init__(
        self,
        connect: Connect,
        context: Mapping[str, Any],
        callbacks: Callbacks,
        write: Callable[[bytes], object],
        pace: Pace,
    ) -> None:
        callbacks.notification = self._heard
        self._steps: list[Step] = context.get("steps", [])
        self._headers = context.get("headers")
        self._connect = connect
        self._write = write
        self._pace = pace
        self._connection = AsyncExitStack()
        self._client: Client | None = None
        self._notifications: list[dict[str, Any]] = []
        self._news = pace.event()

    async def play(self) -> None:
        """Connect, do every step, disconnect, and write the report, whatever happens."""
        report: dict[str, Any] = {"opened": {}, "steps": []}
        try:
            report["opened"] = await self._outcome(self._open)
            if "result" in report["opened"]:
                for step in self._steps:
                    report["steps"].append(await self._do(step))
        finally:
            report["notifications"] = self._notifications
            self._write(msgspec.json.encode(report))
            await self._close()

    async def _open(self) -> dict[str, Any]:
        await self._close()
        client = self._client = await self._connection.enter_async_context(
            self._connect(headers=self._headers)
        )
        return {"revision": client.revision.name}

    async def _close(self) -> dict[str, Any]:
        self._client = None
        await self._connection.aclose()
        return {}

    def _heard(self, method: str, params: Raw) -> None:
        self._notifications.append({"method": method, "params": params})
        self._news.set()
        self._news = self._pace.event()

    async def _do(self, step: Step) -> Outcome:
        if step["do"] == "together":
            outcomes: list[Outcome] = [{} for _ in step["steps"]]

            async def one(place: int, each: Step) -> None:
                outcomes[place] = await self._do(each)

            works = [partial(one, place, each) for place, each in enumerate(step["steps"])]
            await self._pace.together(works)
            return {"result": {}, "steps": outcomes}
        if step["do"] in ("open", "close"):
            # a connection ends in the scope in which it began
            return await self._outcome(partial(self._turn, step))
        progress: list[dict[str, Any]] = []
        outcome: Outcome = {"failure": "cancelled"}

        async def work() -> None:
            nonlocal outcome
            outcome = await self._outcome(lambda: self._step(step, progress))

        await self._pace.within(step.get("cancel_after"), work)
        return {**outcome, "progress": progress} if progress else outcome

    async def _outcome(self, action: Callable[[], Awaitable[Any]]) -> Outcome:
        try:
            return {"result": await action()}
        except PeerError as error:
            return _refusal(error.error)
        except NegotiationError as error:
            if error.error is not None:
                return _refusal(error.error)
            return _failure(error.__cause__ or error)
        except (McpError, LocalError, OSError) as error:
            return _failure(error)

    async def _turn(self, step: Step) -> dict[str, Any]:
        if step["do"] == "close":
            return await self._close()
        self._headers = step.get("headers", self._headers)
        return await self._open()

    async def _step(self, step: Step, progress: list[dict[str, Any]]) -> Any:
        kind = step["do"]
        if kind == "pause":
            await self._pace.sleep(step["seconds"])
            return {}
        client = self._client
        if client is None:
            raise LocalProtocolError("the connection has been closed by the script")
        timeout = step.get("timeout", PATIENCE)

        def told(value: float, total: float | None, message: str | None) -> None:
            progress.append({"progress": value, "total": total, "message": message})

        listener = told if step.get("progress") else None
        match kind:
            case "call":
                return await client.call_tool(
                    step["tool"], step.get("arguments"), timeout=timeout, progress=listener
                )
            case "list":
                return await _list(client, step["what"])
            case "read":
                return await client.read_resource(step["uri"], timeout=timeout, progress=listener)
            case "skill":
                return await _load(client, step)
            case "directory":
                return await client.read_directory(step["uri"], timeout=timeout)
            case "prompt":
                return await client.get_prompt(
                    step["name"], step.get("arguments"), timeout=timeout, progress=listener
                )
            case "complete":
                return await _complete(client, step, timeout)
            case "subscribe":
                await client.subscribe(step["uri"])
            case "unsubscribe":
                await client.unsubscribe(step["uri"])
            case "listen":
                return await self._listen(client, step, timeout)
            case "level":
                await client.set_log_level(step["level"])
            case "ping":
                await client.ping(timeout=timeout)
            case "roots":
                client.set_roots(step["roots"])
            case "wait":
                await self._wait(step["notification"], timeout)
            case _:
                raise LocalProtocolError(f"no step {kind!r} is known")
        return {}

    async def _wait(self, method: str, timeout: float) -> None:
        async def heard() -> None:
            while all(each["method"] != method for each in self._notifications):
                await self._news.wait()

        if not await self._pace.within(timeout, heard):
            raise RequestTimeout(method, "it did not come in time")

    async def _listen(self, client: Client, step: Step, timeout: float) -> dict[str, Any]:
        """Listen until so many changes have come, the stream has ended, or the time is over."""
        changes: list[dict[str, Any]] = []
        stream = client.listen(
            tools=step.get("tools", False),
            prompts=step.get("prompts", False),
            resources=step.get("resources", False),
            uris=step.get("uris", []),
        )
        ended = False

        async def hear() -> None:
            nonlocal ended
            async with stream as news:
                if len(changes) < step.get("changes", 1):
                    ended = True
                    async for change in news:
                        changes.append({"method": change.method, "uri": change.uri})
                        if len(changes) >= step.get("changes", 1):
                            ended = False
                            break

        await self._pace.within(timeout, hear)
        return {"honoured": stream.filter, "changes": changes, "ended": ended}


def _refusal(error: ErrorData) -> Outcome:
    found = {"code": error.code, "message": error.message}
    return {"error": found if error.data is None else {**found, "data": error.data}}


def _failure(error: BaseException) -> Outcome:
    kinds = (kind for of, kind in _FAILURES if isinstance(error, of))
    return {"failure": next(kinds, "other"), "message": str(error)}


async def _list(client: Client, what: str) -> Any:
    match what:
        case "tools":
            return await client.tools()
        case "resources":
            return await client.resources()
        case "templates":
            return await client.resource_templates()
        case "prompts":
            return await client.prompts()
        case "skills":
            return await client.skills()
    raise LocalProtocolError(f"no list of {what!r} is known")


async def _load(client: Client, step: Step) -> dict[str, Any]:
    """Load a skill and read files of it; all of them were text."""
    skill = await client.load_skill(step["uri"])
    files = {path: (await skill.read(path)).decode() for path in step["read"]}
    return {"files": {"SKILL.md": skill.text, **files}}


async def _complete(client: Client, step: Step, timeout: float) -> Any:
    reference = step["ref"]
    ref = (
        PromptReference(name=reference["name"])
        if reference["type"] == "ref/prompt"
        else ResourceTemplateReference(uri=reference["uri"])
    )
    return await client.complete(
        ref, step["argument"], step["value"], known=step.get("known"), timeout=timeout
    )
