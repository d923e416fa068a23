"""A server to be driven over real sockets, and a raw client that writes and reads plain bytes."""

import json
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream
from msgspec import Struct, field, structs

from mcpcore.engine.config import Config, Limits
from mcpcore.engine.events import Event, Key, RequestCancelled, RequestReceived
from mcpcore.http.server.server import HttpServer
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ServerCapabilities, ToolsCapability
from mcpcore_transports.http.server.listening import HttpServerLink
from mcpcore_transports.http.server.protocol import Upgrade
from mcpcore_transports.http1.settings import HttpServerSettings
from tests.clock import HOUR, PATIENCE, patience
from tests.faults.http_by_hand import HandConnection
from tests.transports.malformed import META
from tests.transports.ways import on_this_way


class Tools:
    """An application: ``echo`` and ``big`` answer at once, ``wait`` when the test says so."""

    def __init__(self) -> None:
        self.machine: HttpServer
        self.link: HttpServerLink
        self.events: list[Event] = []
        self.waiting: list[Key] = []
        self.cancelled: list[Key] = []
        self._changed = anyio.Event()

    def handle(self, event: Event) -> None:
        self.events.append(event)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        if isinstance(event, RequestCancelled):
            self.cancelled.append(event.key)
            self.machine.release(event.key)
        elif isinstance(event, RequestReceived):
            params = json.loads(bytes(event.params))
            arguments = params.get("arguments", {})
            match params.get("name", ""):
                case "wait":
                    self.waiting.append(event.key)
                case "big":
                    self.machine.respond(event.key, text("x" * arguments["size"]))
                case "progress":
                    for step in range(arguments["steps"]):
                        self.machine.progress(event.key, step + 1, message="m" * 1000)
                    self.waiting.append(event.key)
                case "crash":
                    raise RuntimeError("the application broke")
                case _:
                    self.machine.respond(event.key, text(json.dumps(arguments)))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until an event makes ``condition`` true."""
        with patience():
            while not condition():
                await self._changed.wait()

    def finish(self, key: Key, answer: str = "late") -> bool:
        """Answer from outside of handle()."""
        answered = self.machine.respond(key, text(answer))
        self.link.flush_soon()
        return answered


def text(content: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": content}]}


class Running(Struct):
    """A server that is being served."""

    app: Tools
    link: HttpServerLink
    machine: HttpServer
    port: int
    clients: list["Client"] = field(default_factory=list)

    async def connect(
        self, ssl_context: ssl.SSLContext | None = None, *, narrow: bool = False
    ) -> "Client":
        """Open a connection, to be closed by the end of the test at the latest.

        ``narrow``: of 100 kB that the client does not read some wait in the server.
        """
        if narrow:
            for bound in self.link._listeners:  # what is accepted inherits it
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024)
        connected = await anyio.connect_tcp("127.0.0.1", self.port)
        if narrow:
            own = connected.extra(SocketAttribute.raw_socket)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        stream: ByteStream = connected
        if ssl_context is not None:
            stream = await TLSStream.wrap(
                stream, hostname="localhost", ssl_context=ssl_context, standard_compatible=False
            )
        client = Client(stream)
        self.clients.append(client)
        return client


def link_for(
    machine: HttpServer, app: Tools, settings: HttpServerSettings | None = None, **options: Any
) -> HttpServerLink:
    """Make a link of the driver and with the parser that the test is about."""
    settings = on_this_way(settings)
    return HttpServerLink(machine, app, settings=settings, **options)


@asynccontextmanager
async def server(
    settings: HttpServerSettings | None = None,
    *,
    http: HttpSettings | None = None,
    limits: Limits | None = None,
    ssl_context: ssl.SSLContext | None = None,
    upgrade: Upgrade | None = None,
) -> AsyncIterator[Running]:
    """Serve a fresh machine; check in the end that nothing is left.

    A reply is JSON however late it is, unless ``http`` says otherwise.
    """
    config = Config(
        info=Implementation(name="test", version="1"),
        capabilities=ServerCapabilities(tools=ToolsCapability(list_changed=True)),
        limits=limits or Limits(),
    )
    app = Tools()
    http = http or HttpSettings()
    if http.json_delay == HttpSettings().json_delay:
        http = structs.replace(http, json_delay=1000 * HOUR)
    app.machine = machine = HttpServer(config, secret=secrets.token_bytes(32), settings=http)
    app.link = link = link_for(machine, app, settings, ssl_context=ssl_context, upgrade=upgrade)
    with patience(2 * PATIENCE):
        async with anyio.create_task_group() as tasks:
            addresses = await tasks.start(link.serve, "127.0.0.1", 0)
            running = Running(app, link, machine, addresses[0][1])
            try:
                yield running
                for key in set(app.waiting) - set(app.cancelled):
                    machine.fail(key, GONE)
                link.flush_soon()
                await link.aclose()
            finally:
                for client in running.clients:
                    await client.aclose()
        assert link.connections == 0
        assert machine.exchanges == 0


GONE = ErrorData(1, "the test is over")


class Response(Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> str:
        """The text of a tool result."""
        content = self.json["result"]["content"][0]["text"]
        assert isinstance(content, str)
        return content


class Client(HandConnection):
    """One connection, spoken to in bytes."""

    async def call(self, data: bytes) -> Response:
        await self.send(data)
        return await self.response()

    async def more(self) -> None:
        with patience():
            await super().more()

    async def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            await self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    async def head(self) -> Response:
        version, status, _ = (await self.line()).decode().split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        while line := await self.line():
            name, _, value = line.decode("latin-1").partition(": ")
            if name == "vary":  # a list, of which each line may bring a part
                value = ", ".join([*filter(None, [headers.pop(name, None)]), value])
            assert name not in headers
            headers[name] = value
        return Response(int(status), headers, b"")

    async def chunk(self) -> bytes:
        size = int(await self.line(), 16)
        data = await self.exactly(size)
        assert await self.line() == b""
        return data

    async def response(self, *, bodiless: bool = False) -> Response:
        response = await self.head()
        if bodiless or response.status in (100, 102, 204):
            return response
        if response.headers.get("transfer-encoding") == "chunked":
            parts: list[bytes] = []
            while data := await self.chunk():
                parts.append(data)
            response.body = b"".join(parts)
        elif "content-length" in response.headers:
            response.body = await self.exactly(int(response.headers["content-length"]))
        else:
            response.body = await self.rest()
        return response

    async def final(self) -> Response:
        """The response behind any interim ones."""
        while (response := await self.response()).status < 200:
            pass
        return response

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            while True:
                await self.more()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            data, self.buffer = self.buffer, b""
            return data

    async def closed(self) -> bool:
        """Whether the server closes now, without another byte and without a reset."""
        data, self.buffer = self.buffer, b""
        with patience():
            try:
                return not data + await self.stream.receive()
            except anyio.EndOfStream:
                return not data

    async def aclose(self) -> None:
        await self.stream.aclose()


def http(
    body: bytes | None = None,
    *,
    method: str = "POST",
    target: str = "/mcp",
    version: str = "1.1",
    headers: Mapping[str, str | None] | None = None,
) -> bytes:
    """A request; ``headers`` replace the usual ones, None removes one."""
    lines: dict[str, str | None] = {"Host": "localhost"}
    if body is not None:
        lines |= {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Content-Length": str(len(body)),
        }
    lines |= headers or {}
    head = f"{method} {target} HTTP/{version}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"{head}\r\n".encode("latin-1") + (body or b"")


def tool(
    name: str,
    *,
    id: int = 1,
    meta: Mapping[str, Any] | None = None,
    headers: Mapping[str, str | None] | None = None,
    version: str = "1.1",
    **arguments: Any,
) -> bytes:
    """A modern tools/call as a whole HTTP request."""
    params = {"name": name, "arguments": arguments, "_meta": {**META, **(meta or {})}}
    body = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
    mirrored = {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    return http(json.dumps(body).encode(), headers={**mirrored, **(headers or {})}, version=version)


LEGACY = "2025-11-25"
UPGRADE: dict[str, str | None] = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""Headers of the handshake of a WebSocket."""


def legacy(
    method: str,
    params: Any = None,
    *,
    id: int | None = 1,
    session: str | None = None,
) -> bytes:
    """A legacy message as a whole HTTP request."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    if id is not None:
        body["id"] = id
    headers = {"Mcp-Session-Id": session, "MCP-Protocol-Version": LEGACY if session else None}
    return http(json.dumps(body).encode(), headers=headers)


def hello(revision: str = LEGACY) -> dict[str, Any]:
    """The params of a handshake."""
    info = {"name": "raw", "version": "1"}
    return {"protocolVersion": revision, "capabilities": {}, "clientInfo": info}


async def initialize(client: Client) -> str:
    """Open a legacy session and return its id."""
    response = await client.call(legacy("initialize", hello()))
    assert response.status == 200
    session = response.headers["mcp-session-id"]
    accepted = await client.call(legacy("notifications/initialized", id=None, session=session))
    assert accepted.status == 202
    return session
