"""A server by hand: what it answers by itself, and what a test takes into its own hands."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup

from mcpcore.spec.revisions import Revision
from tests.bindings.hosts import Host, HttpHostWire, SseHostWire
from tests.bindings.wires import LOST
from tests.clock import PATIENCE

Message = dict[str, Any]
CAPABILITIES: Message = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    "logging": {},
}
INFO = {"name": "by-hand", "version": "1"}


class Script:
    """A server that opens conversations by itself, and leaves the rest to the test."""

    def __init__(self, host: Host, revision: Revision, tasks: TaskGroup) -> None:
        self.host = host
        self.revision = revision
        self.wire: Any = None
        """The latest conversation."""
        self.conversations = 0
        self.deaf = False
        """It answers nothing."""
        self.capabilities = CAPABILITIES
        self.instructions: str | None = "Be patient."
        self.version: str | None = None
        """The revision that it claims to speak, in the place of that of the test."""
        self.refusal: str | None = None
        """Why it refuses the handshake."""
        self.noise = b""
        """What it sends before anything else."""
        self.ends: list[Exception] = []
        """How conversations ended."""
        self.dies_of: tuple[str, ...] = ()
        """The methods upon which it dies."""
        self._tasks = tasks
        self._kept: list[Message] = []
        self._more = anyio.Event()
        tasks.start_soon(self._accept)

    @property
    def target(self) -> Any:
        """What a client connects to."""
        return self.host.target

    @property
    def streams_are_per_request(self) -> bool:
        """Whether each answer has a connection of its own, as over Streamable HTTP."""
        return isinstance(self.wire, HttpHostWire) and not isinstance(self.wire, SseHostWire)

    async def _accept(self) -> None:
        with suppress(TimeoutError):
            while True:
                self.wire = await self.host.accept()
                self.conversations += 1
                if self.noise:
                    await self.wire.frames.stream.send(self.noise)
                self._tasks.start_soon(self._hear, self.wire)

    async def _hear(self, wire: Any) -> None:
        try:
            while True:
                try:
                    message = await wire.receive()
                except TimeoutError:
                    continue
                if not await self._greeted(wire, message):
                    self._kept.append(message)
                    more, self._more = self._more, anyio.Event()
                    more.set()
        except LOST as error:
            self.ends.append(error)
            more, self._more = self._more, anyio.Event()
            more.set()
            with suppress(*LOST):
                await wire.done()

    async def _greeted(self, wire: Any, message: Message) -> bool:
        """Answer what opens a conversation; whether it was that."""
        method = message.get("method")
        if self.deaf:
            return True
        if method in self.dies_of:
            await self.die()
            return True
        opening: Message = {"capabilities": self.capabilities}
        if self.instructions is not None:
            opening["instructions"] = self.instructions
        match method:
            case "initialize":
                if self.refusal is not None:
                    await self.refuse(message, -32603, self.refusal)
                    return True
                version = self.version or message["params"]["protocolVersion"]
                result = {"protocolVersion": version, "serverInfo": INFO, **opening}
            case "server/discover":
                versions = [self.version or self.revision.name]
                hints = {"ttlMs": 0, "cacheScope": "public"}
                result = self.complete({"supportedVersions": versions, **hints, **opening})
            case "notifications/initialized":
                return True
            case _:
                return False
        await wire.send({"jsonrpc": "2.0", "id": message["id"], "result": result})
        return True

    def complete(self, result: Message) -> Message:
        """A result as the era wants it."""
        return {"resultType": "complete", **result} if self.revision.modern else result

    def text(self, text: str) -> Message:
        """The result of a tool."""
        return self.complete({"content": [{"type": "text", "text": text}]})

    async def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Wait for the next message of a kind; the others are kept."""
        with anyio.fail_after(PATIENCE):
            while True:
                for index, message in enumerate(self._kept):
                    if wanted(message):
                        return self._kept.pop(index)
                await self._more.wait()

    async def ended(self) -> Exception:
        """Wait for the end of a conversation; how it came."""
        with anyio.fail_after(PATIENCE):
            while not self.ends:
                await self._more.wait()
        return self.ends.pop(0)

    async def next(self, method: str) -> Message:
        """Wait for the next request or notification with this method."""
        return await self.until(lambda message: message.get("method") == method)

    async def called(self, tool: str) -> Message:
        """Wait for the next call of a tool."""
        return await self.until(
            lambda message: (
                message.get("method") == "tools/call" and message["params"]["name"] == tool
            )
        )

    async def answered(self, id: Any) -> Message:
        """Wait for the client's answer to a request of ours."""
        return await self.until(lambda message: "method" not in message and message.get("id") == id)

    async def reply(self, request: Message, result: Message) -> None:
        """Answer a request of the client."""
        await self.wire.send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    async def refuse(self, request: Message, code: int, message: str) -> None:
        """Answer it with an error."""
        error = {"code": code, "message": message}
        await self.wire.send({"jsonrpc": "2.0", "id": request["id"], "error": error})

    async def tell(self, method: str, params: Message, during: Message | None = None) -> None:
        """Send a notification, over HTTP on the stream of the request ``during`` which it falls."""
        await self.send({"jsonrpc": "2.0", "method": method, "params": params}, during)

    async def send(self, message: Any, during: Message | None = None) -> None:
        """Send anything."""
        if during is not None and self.streams_are_per_request:
            await self.wire.send(message, to=during["id"])
        else:
            await self.wire.send(message)

    async def ask_user(self, request: Message) -> None:
        """Ask the client's user something, as the answer to ``request`` or while it waits."""
        form = {"type": "object", "properties": {"x": {"type": "integer"}}}
        params = {"mode": "form", "message": "Where?", "requestedSchema": form}
        question: Message = {"method": "elicitation/create", "params": params}
        if self.revision.modern:
            result = {"resultType": "input_required", "inputRequests": {"q": question}}
            await self.reply(request, {**result, "requestState": "state"})
        else:
            await self.send({"jsonrpc": "2.0", "id": "question", **question}, request)

    async def die(self, *, orderly: bool = False) -> None:
        """Be gone for good: as if killed, or in good order."""
        await self.host.refuse()
        await (self.wire.close() if orderly else self.wire.abort())

    async def given_up(self, request: Message, *, unheard: int = 0) -> None:
        """Wait until the client wants no answer to a request any more, as era and binding say.

        ``unheard``: so many others at most may have been given up that never came here.
        """
        if self.revision.modern and self.streams_are_per_request:
            await self.wire.until_left(request["id"])
            return
        told = [await self._cancelled()]
        while told[-1] != request["id"] and len(told) <= unheard:
            told.append(await self._cancelled())
        assert told[-1] == request["id"]

    async def _cancelled(self) -> Any:
        return (await self.next("notifications/cancelled"))["params"]["requestId"]
