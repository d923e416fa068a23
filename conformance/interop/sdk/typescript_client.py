"""The client of the TypeScript SDK, either line, driven through the features of a given server.

The first argument is the command of ``typescript_client.mjs``, which does what it is told line by
line; see :mod:`conformance.interop.drivers.script` for the others.
"""

import json
import math
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Late, Object, Progress, Refused
from conformance.interop.drivers.script import Target, main

LONGEST = 1 << 24
"""Bytes of a line."""
TIMED_OUT = (-32001, "REQUEST_TIMEOUT")
"""Codes of the error that each line makes itself when no answer comes."""
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
LISTS = {
    "tools/list": "listTools",
    "resources/list": "listResources",
    "resources/templates/list": "listResourceTemplates",
}
CHANGES = {
    "toolsListChanged": ("tools", "notifications/tools/list_changed"),
    "promptsListChanged": ("prompts", "notifications/prompts/list_changed"),
    "resourcesListChanged": ("resources", "notifications/resources/list_changed"),
    "resourceSubscriptions": ("resource", "notifications/resources/updated"),
}
"""What each member of a filter is called here, and the notification that it asks for."""


class TypeScriptCaller(Caller):
    """One connection."""

    def __init__(self, facts: Mapping[str, Any], url: str | None, process: Process) -> None:
        super().__init__(facts, url)
        self.process = process
        self.numbers = count(1)
        self.done: dict[int, tuple[anyio.Event, Object]] = {}
        self.progress: dict[int, Progress] = {}
        self.http_session: str | None = None
        self.level: str | None = None

    async def write(self, message: Object) -> None:
        """Tell the program something."""
        await self.process.stdin.send(f"{json.dumps(message)}\n".encode())

    async def read_on(self) -> None:
        """Take what the program tells."""
        lines = BufferedByteReceiveStream(self.process.stdout)
        while True:
            try:
                message = json.loads(await lines.receive_until(b"\n", LONGEST))
            except anyio.IncompleteRead:
                break
            self.http_session = message.get("session", self.http_session)
            if "heard" in message:
                self.news.add(message["heard"], message["params"])
            elif "asked" in message:
                await self.write({"answered": message["asked"], **self.answer(message)})
            elif "progress" in message:
                said = message["params"]
                hear = self.progress[message["progress"]]
                hear(said["progress"], said.get("total"), said.get("message"))
            else:
                ended, outcome = self.done[message.get("id", 0)]
                outcome.update(message)
                ended.set()
        for ended, outcome in self.done.values():
            outcome.setdefault("error", {"message": "the program has ended"})
            ended.set()

    def answer(self, asked: Object) -> Object:
        """Answer as the user, the model or the file system."""
        answers = self.answers
        try:
            match asked["method"]:
                case "elicitation/create":
                    return {"result": answers.elicit(asked["params"])}
                case "sampling/createMessage":
                    return {"result": answers.sample(asked["params"])}
                case _:
                    return {"result": answers.list_roots()}
        except Refused as refused:
            return {"error": {"code": refused.code, "message": refused.text}}

    async def ended(self, number: int) -> Object:
        """Wait for the outcome of an order.  Raises Late and Refused."""
        await self.done[number][0].wait()
        outcome = self.done.pop(number)[1]
        if "error" not in outcome:
            return outcome.get("result", {})
        error = outcome["error"]
        if error.get("code") in TIMED_OUT:
            raise Late(error["message"])
        code = error.get("code")
        raise Refused(code if isinstance(code, int) else 0, error["message"], error.get("data"))

    async def order(
        self,
        verb: str,
        *given: Any,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Have a method of the client called."""
        number = next(self.numbers)
        self.done[number] = anyio.Event(), {}
        if progress is not None:
            self.progress[number] = progress
        milliseconds = None if timeout is None else math.ceil(timeout * 1000)
        order = {"id": number, "verb": verb, "given": given, "timeout": milliseconds}
        await self.write({**order, "progress": progress is not None})
        try:
            return await self.ended(number)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.write({"stop": number})
            raise

    async def opening(self) -> Object:
        """What came with the handshake or by discovery."""
        return await self.order("opening")

    async def ping(self) -> None:
        """Send a ping."""
        await self.order("ping")

    async def page(self, method: str, cursor: str | None = None) -> Object:
        """Fetch a page; by its own methods a client of 2.x gets all pages at once."""
        params = {} if cursor is None else {"cursor": cursor}
        if method in LISTS:
            return await self.order(LISTS[method], params)
        return await self.request(method, params)

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool."""
        params: Object = {"name": name, "arguments": arguments or {}}
        if self.level is not None:
            params["_meta"] = {LOG_LEVEL: self.level}
        return await self.order("call", params, progress=progress, timeout=timeout)

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        return await self.order("readResource", {"uri": uri})

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """Get a prompt."""
        return await self.order("getPrompt", {"name": name, "arguments": arguments or {}})

    async def complete(
        self, ref: Object, argument: str, value: str, known: dict[str, str] | None = None
    ) -> Object:
        """Complete an argument."""
        params = {"ref": ref, "argument": {"name": argument, "value": value}}
        if known:
            params["context"] = {"arguments": known}
        return await self.order("complete", params)

    async def set_level(self, level: str) -> None:
        """Set the level, or remember it for the next calls."""
        if self.modern:
            self.level = level
        else:
            await self.order("setLoggingLevel", level)

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.order("subscribeResource", {"uri": uri})

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.order("unsubscribeResource", {"uri": uri})

    @asynccontextmanager
    async def listen(self, wanted: Object) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a listen stream."""
        mark = self.news.mark
        await self.order("listen", wanted)
        try:
            yield self.changes(wanted, mark)
        finally:
            await self.order("unlisten")

    async def changes(self, wanted: Object, mark: int) -> AsyncIterator[Object]:
        """Yield the first change of each kind that is wanted."""
        for member in wanted:
            kind, method = CHANGES[member]
            (params, *_) = await self.news.wait(mark, method)
            yield {"kind": kind, "uri": params.get("uri")}

    async def roots_changed(self) -> None:
        """Announce new roots."""
        await self.order("sendRootsListChanged")

    async def request(self, method: str, params: Object) -> Object:
        """Send anything."""
        return await self.order("request", {"method": method, "params": params})

    @property
    def session(self) -> str | None:
        """The session's id."""
        return self.http_session


@asynccontextmanager
async def open_typescript(
    target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
) -> AsyncIterator[Caller]:
    """Connect."""
    url = target if isinstance(target, str) else None
    async with (
        await anyio.open_process(PROGRAM, stderr=None) as process,
        anyio.create_task_group() as group,
    ):
        caller = TypeScriptCaller(facts, url, process)
        caller.done[0] = anyio.Event(), {}
        group.start_soon(caller.read_on)
        where = [url] if url else [*target]
        await caller.write({"target": where, "bare": bare, "auto": automatic or caller.modern})
        await caller.ended(0)
        yield caller
        await process.stdin.aclose()
        await process.wait()


if __name__ == "__main__":
    PROGRAM = shlex.split(sys.argv.pop(1))
    sys.exit(main(open_typescript))
