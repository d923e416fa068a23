"""A client by hand: requests of either era over any wire, and what comes back."""

from collections.abc import Callable
from itertools import count
from typing import Any

import anyio

from mcpcore.spec.revisions import Revision
from tests.bindings.wires import Wire

META = "io.modelcontextprotocol/"
CAPABILITIES: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {"listChanged": True}}
INFO = {"name": "by-hand", "version": "1"}
Message = dict[str, Any]


class Talk:
    """One conversation. What nobody has asked for yet is kept until somebody does."""

    def __init__(self, wire: Wire, revision: Revision) -> None:
        self.wire = wire
        self.revision = revision
        self._ids = count(1)
        self.kept: list[Message] = []
        """What has come and was not asked for."""

    async def open(self) -> None:
        """Begin as the era has it: with a handshake, or with nothing."""
        if self.revision.modern:
            return
        params = {
            "protocolVersion": self.revision.name,
            "capabilities": CAPABILITIES,
            "clientInfo": INFO,
        }
        answer = await self.answer(await self.ask("initialize", params))
        assert answer["result"]["protocolVersion"] == self.revision.name
        await self.tell("notifications/initialized")

    def request(self, method: str, params: Message | None = None, *, id: Any = None) -> Message:
        """Make a request as the era wants it."""
        id = next(self._ids) if id is None else id
        return {"jsonrpc": "2.0", "id": id, "method": method, "params": self.params(params)}

    def params(self, params: Message | None = None) -> Message:
        """Complete params with what the era wants on every request."""
        given = dict(params or {})
        if self.revision.modern:
            given["_meta"] = {
                META + "protocolVersion": self.revision.name,
                META + "clientCapabilities": CAPABILITIES,
                META + "clientInfo": INFO,
                **given.get("_meta", {}),
            }
        return given

    async def ask(self, method: str, params: Message | None = None, *, id: Any = None) -> Any:
        """Send a request; returns its id."""
        message = self.request(method, params, id=id)
        await self.wire.send(message)
        return message["id"]

    async def call(self, tool: str, *, id: Any = None, **arguments: Any) -> Any:
        """Send the call of a tool; returns its id."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments}, id=id)

    async def tell(self, method: str, params: Message | None = None) -> None:
        """Send a notification."""
        message: Message = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        await self.wire.send(message)

    async def reply(self, question: Message, result: Message) -> None:
        """Answer a request of the server."""
        await self.wire.send({"jsonrpc": "2.0", "id": question["id"], "result": result})

    async def until(self, wanted: Callable[[Message], bool]) -> Message:
        """Wait for the next message of a kind; the others are kept."""
        for index, message in enumerate(self.kept):
            if wanted(message):
                return self.kept.pop(index)
        while True:
            message = await self.wire.receive()
            if wanted(message):
                return message
            self.kept.append(message)

    async def answer(self, id: Any) -> Message:
        """Wait for the answer with this id, exactly."""

        def wanted(message: Message) -> bool:
            found = message.get("id")
            return "method" not in message and found == id and type(found) is type(id)

        return await self.until(wanted)

    async def next(self, method: str) -> Message:
        """Wait for the next request or notification with this method."""
        return await self.until(lambda message: message.get("method") == method)

    async def text(self, id: Any) -> str:
        """Wait for the result of a call; its text."""
        answer = await self.answer(id)
        assert "result" in answer, answer
        return "".join(block["text"] for block in answer["result"]["content"])

    async def check(self) -> None:
        """Show that the conversation goes on."""
        assert await self.text(await self.call("echo", text="still here")) == "still here"


class Pondering:
    """A callback that never answers, and when it was asked and cancelled."""

    def __init__(self) -> None:
        self.asked, self.ended = anyio.Event(), anyio.Event()

    async def __call__(self, params: object) -> None:
        self.asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()
