"""HTTP spoken by hand, as a client: Streamable HTTP of both eras, and the older HTTP+SSE.

Each message that is sent has a connection of its own; all that comes back, on whatever stream, is
received in the order in which it came.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
from anyio.abc import SocketStream, TaskGroup

from tests.bindings.inbox import Inbox
from tests.bindings.wires import LOST, Wire, cancelled, encode, reset
from tests.clock import PATIENCE

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


class Lost(anyio.EndOfStream):
    """There is nothing more to come."""


class Reply:
    """One response, read as it comes."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._rest = bytearray()
        self.status = 0
        self.headers: dict[str, str] = {}

    async def _more(self) -> None:
        self._rest += await self.stream.receive()

    async def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            await self._more()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return bytes(line)

    async def head(self) -> None:
        self.status = int((await self._line()).split()[1])
        while line := await self._line():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, piece by piece, whichever way it is framed."""
        if "content-length" in self.headers:
            size = int(self.headers["content-length"])
            while len(self._rest) < size:
                await self._more()
            yield bytes(self._rest[:size])
            return
        while size := int(await self._line(), 16):
            while len(self._rest) < size + 2:
                await self._more()
            yield bytes(self._rest[:size])
            del self._rest[: size + 2]

    async def events(self) -> AsyncIterator[tuple[str, str]]:
        """The events of an event stream: type and data, those without data left out."""
        rest = b""
        async for piece in self.pieces():
            *blocks, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            for block in blocks:
                fields = [line.partition(": ") for line in block.decode().split("\n")]
                kinds = [value for name, _, value in fields if name == "event"]
                data = "\n".join(value for name, _, value in fields if name == "data")
                if data:
                    yield (kinds or ["message"])[0], data


class HttpWire:
    """Streamable HTTP: a POST for each message, and the GET stream of a legacy session."""

    def __init__(self, url: str, tasks: TaskGroup, modern: str | None = None) -> None:
        self._url = url
        self._modern = modern
        self._parts = urlsplit(url)
        self._tasks = tasks
        self._inbox: Inbox[dict[str, Any] | None] = Inbox()
        self._session: str | None = None
        self._version: str | None = None
        self._open: dict[Any, SocketStream] = {}
        self.statuses: list[int] = []
        """Of the responses so far."""

    async def send(self, message: Any) -> None:
        given = message if isinstance(message, dict) else {}
        stream = await self._connect()
        method, id = given.get("method"), given.get("id")
        meta = given.get("params", {}).get("_meta", {})
        modern = meta.get(VERSION_KEY, self._modern if given else None)
        headers = {"Accept": "application/json, text/event-stream"}
        if modern is not None:
            headers["MCP-Protocol-Version"] = modern
            if method is not None:
                headers["Mcp-Method"] = method
            for member in ("name", "uri"):
                if method in ("tools/call", "prompts/get", "resources/read"):
                    name = given["params"].get(member)
                    headers |= {"Mcp-Name": name} if name is not None else {}
        else:
            headers |= {"MCP-Protocol-Version": self._version} if self._version else {}
            headers |= {"Mcp-Session-Id": self._session} if self._session else {}
        await self._request(stream, "POST", headers, encode(message))
        heard = anyio.Event()
        self._tasks.start_soon(self._answer, stream, id, heard)
        if id is None or method is None:  # nothing holds its response back
            with anyio.fail_after(PATIENCE):
                await heard.wait()
        if method == "notifications/initialized" and self._session is not None:
            await self._listen()

    async def _listen(self) -> None:
        stream = await self._connect()
        headers = {"Accept": "text/event-stream", "Mcp-Session-Id": self._session or ""}
        headers |= {"MCP-Protocol-Version": self._version} if self._version else {}
        await self._request(stream, "GET", headers)
        heard = anyio.Event()
        self._tasks.start_soon(self._answer, stream, object(), heard)
        with anyio.fail_after(PATIENCE):
            await heard.wait()

    async def _connect(self) -> SocketStream:
        return await anyio.connect_tcp(self._parts.hostname or "", self._parts.port or 80)

    async def _request(
        self, stream: SocketStream, method: str, headers: dict[str, str], body: bytes = b""
    ) -> None:
        headers = {"Host": self._parts.netloc, "Content-Length": str(len(body)), **headers}
        if body:
            headers["Content-Type"] = "application/json"
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([f"{method} {self._parts.path} HTTP/1.1", *lines, "", ""])
        await stream.send(head.encode() + body)

    async def _answer(self, stream: SocketStream, id: Any, heard: anyio.Event) -> None:
        if id is not None:
            self._open[id] = stream
        with suppress(*LOST):
            async with stream:
                await self._read(Reply(stream), heard)
        heard.set()
        self._open.pop(id, None)

    async def _read(self, reply: Reply, heard: anyio.Event) -> None:
        await reply.head()
        self.statuses.append(reply.status)
        self._session = reply.headers.get("mcp-session-id", self._session)
        heard.set()
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            async for _, data in reply.events():
                self._hear(json.loads(data))
        elif reply.headers.get("content-type", "").startswith("application/json"):
            body = b"".join([piece async for piece in reply.pieces()])
            found = json.loads(body)
            for message in found if isinstance(found, list) else [found]:
                self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        result = message.get("result")
        if isinstance(result, dict) and "protocolVersion" in result:
            self._version = result["protocolVersion"]
        self._inbox.put(message)

    async def begin(self, message: Any) -> None:
        raise NotImplementedError("a message is the whole body of a request")

    async def receive(self) -> dict[str, Any]:
        message = await self._inbox.get()
        if message is None:
            raise Lost
        return message

    async def cancel(self, id: Any, reason: str | None = None) -> None:
        if self._modern is not None:
            await self._open[id].aclose()
        else:
            await self.send(cancelled(id, reason))

    async def half_close(self) -> None:
        for stream in self._open.values():
            await stream.send_eof()

    async def close(self) -> None:
        if self._session is not None:
            stream = await self._connect()
            async with stream:
                await self._request(stream, "DELETE", {"Mcp-Session-Id": self._session})
                await Reply(stream).head()
        await self.abort()

    async def abort(self) -> None:
        for stream in list(self._open.values()):
            reset(stream)
            await stream.aclose()
        self._inbox.put(None)

    async def done(self) -> None:
        await self.abort()


class SseWire(HttpWire):
    """HTTP+SSE of 2024-11-05: one event stream, which names the endpoint for what is sent."""

    def __init__(self, url: str, tasks: TaskGroup) -> None:
        super().__init__(url, tasks)
        self._endpoint = anyio.Event()

    async def connect(self) -> None:
        stream = await self._connect()
        await self._request(stream, "GET", {"Accept": "text/event-stream"})
        self._tasks.start_soon(self._hear_all, stream)
        with anyio.fail_after(PATIENCE):
            await self._endpoint.wait()

    async def _hear_all(self, stream: SocketStream) -> None:
        self._open[None] = stream
        with suppress(*LOST):
            await self._follow(stream)
        self._inbox.put(None)

    async def _follow(self, stream: SocketStream) -> None:
        async with stream:
            reply = Reply(stream)
            await reply.head()
            async for kind, data in reply.events():
                if kind == "endpoint":
                    target = urlsplit(urljoin(self._url, data))
                    path = target.path + (f"?{target.query}" if target.query else "")
                    self._parts = self._parts._replace(path=path)
                    self._endpoint.set()
                else:
                    self._hear(json.loads(data))

    async def send(self, message: Any) -> None:
        stream = await self._connect()
        async with stream:
            await self._request(stream, "POST", {}, encode(message))
            reply = Reply(stream)
            with anyio.fail_after(PATIENCE):
                await reply.head()
                self.statuses.append(reply.status)
                if reply.headers.get("content-type", "").startswith("application/json"):
                    refusal = json.loads(b"".join([piece async for piece in reply.pieces()]))
                    if refusal.get("id") is None:  # the others come on the event stream, too
                        self._hear(refusal)

    async def close(self) -> None:
        await self.abort()


@asynccontextmanager
async def calling_http(binding: str, url: str, modern: str | None) -> AsyncIterator[Wire]:
    """Be a client of an HTTP server, by hand."""
    async with anyio.create_task_group() as tasks:
        if binding == "sse":
            wire = SseWire(url, tasks)
            await wire.connect()
            yield wire
        else:
            yield HttpWire(url, tasks, modern)
        tasks.cancel_scope.cancel()
