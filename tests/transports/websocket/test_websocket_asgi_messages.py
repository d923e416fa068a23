"""WebSocket in the ASGI application, message by message: what an ASGI server gets to see."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import HttpServerSettings, Server, ServeSettings, WebSocketSettings
from mcpcore_transports.running.audit import AUDIT_LOGGER
from mcpcore_transports.serve.asgi import AsgiApp, AsgiMessage, asgi_app
from mcpcore_transports.stream.settings import ConnectionSettings
from tests.clock import patience
from tests.transports.malformed import good
from tests.transports.sites import call

pytestmark = pytest.mark.anyio


class Wire:
    """One WebSocket scope, from the side of the ASGI server."""

    def __init__(self, app: AsgiApp, *protocols: str, **scope: Any) -> None:
        self.app = app
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/mcp",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"Host", b"127.0.0.1:80")],
            "client": ["192.0.2.1", 5000],
            "subprotocols": list(protocols),
            "extensions": {"websocket.http.response": {}},
            **scope,
        }
        self.broken = self.ended = False
        self._to_app: list[AsgiMessage] = [{"type": "websocket.connect"}]
        self._from_app: list[AsgiMessage] = []
        self._news = anyio.Event()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    def say(self, message: AsgiMessage) -> None:
        self._to_app.append(message)
        self._tell()

    def text(self, data: bytes) -> None:
        self.say({"type": "websocket.receive", "text": data.decode()})

    async def hear(self) -> AsgiMessage:
        """The next message of the application; none where it has ended."""
        with patience():
            while not self._from_app and not self.ended:
                await self._news.wait()
        return self._from_app.pop(0) if self._from_app else {"type": "the end"}

    async def receive(self) -> AsgiMessage:
        while not self._to_app:
            await self._news.wait()
        return self._to_app.pop(0)

    async def send(self, message: AsgiMessage) -> None:
        if self.broken:
            raise RuntimeError("the client is gone")
        self._from_app.append(message)
        self._tell()

    async def run(self) -> None:
        await self.app(self.scope, self.receive, self.send)
        self.ended = True
        self._tell()


@asynccontextmanager
async def application(**websocket: Any) -> AsyncIterator[tuple[AsgiApp, anyio.abc.TaskGroup]]:
    server = Server("messages")

    @server.tool
    def echo() -> str:
        return "echo"

    settings = ServeSettings(shared=True, websocket=WebSocketSettings(**websocket))
    app = asgi_app(server, settings=settings)
    async with anyio.create_task_group() as tasks:
        yield app, tasks
        await app.aclose()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def accepted(*protocols: str) -> AsyncIterator[tuple[AsgiApp, Wire, AsgiMessage]]:
    """An application, a connection that it has accepted, and how."""
    async with application() as (app, tasks):
        wire = Wire(app, *protocols)
        tasks.start_soon(wire.run)
        message = await wire.hear()
        assert message["type"] == "websocket.accept"
        yield app, wire, message


@pytest.mark.parametrize("protocol", ["mcp", "other"])
async def test_a_client_that_has_left_before_it_is_answered(protocol: str) -> None:
    async with application() as (app, _):
        wire = Wire(app, protocol)

        async def send(message: AsgiMessage) -> None:
            raise OSError("the client is gone")  # as ASGI has it since 2.4

        wire.say({"type": "websocket.disconnect", "code": 1006})
        with patience():
            await app(wire.scope, wire.receive, send)


async def test_all_that_close_the_application_wait_for_its_connections() -> None:
    server, begun, cancelled, go = Server("slow"), anyio.Event(), anyio.Event(), anyio.Event()

    @server.tool
    async def slow() -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
            with anyio.CancelScope(shield=True):
                await go.wait()

    link = HttpServerSettings(drain_time=0.0)
    websocket = WebSocketSettings(connection=ConnectionSettings(drain=0.0))
    app = asgi_app(server, settings=ServeSettings(shared=True, http_link=link, websocket=websocket))
    wire = Wire(app, "mcp")
    with patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.run)
            assert (await wire.hear())["type"] == "websocket.accept"
            wire.text(call(1, "slow"))
            await begun.wait()
            for _ in "ab":
                tasks.start_soon(app.aclose)
            await cancelled.wait()
            await anyio.wait_all_tasks_blocked()
            go.set()


@pytest.mark.parametrize("before", [False, True])
async def test_a_connection_is_closed_that_is_accepted_while_the_application_ends(
    before: bool,
) -> None:
    async with application() as (app, tasks):
        if before:
            first = Wire(app, "mcp")
            tasks.start_soon(first.run)
            assert (await first.hear())["type"] == "websocket.accept"
        wire = Wire(app, "mcp")
        send = wire.send

        async def slowly(message: AsgiMessage) -> None:
            if message["type"] == "websocket.accept":
                await app.aclose()
            await send(message)

        wire.app = lambda scope, receive, _: app(scope, receive, slowly)  # type: ignore[assignment]
        tasks.start_soon(wire.run)
        assert (await wire.hear())["type"] == "websocket.accept"
        assert await wire.hear() == {"type": "websocket.close", "code": 1001, "reason": ""}
        assert (await wire.hear())["type"] == "the end"


async def test_a_conversation() -> None:
    async with accepted("mcp.version.2026-07-28", "mcp") as (_, wire, message):
        assert message == {"type": "websocket.accept", "subprotocol": "mcp", "headers": []}
        for id in range(20):
            wire.text(call(id))
        for id in range(20):
            assert json.loads((await wire.hear())["text"])["id"] == id
        wire.say({"type": "websocket.disconnect", "code": 1000, "reason": ""})
        assert (await wire.hear())["type"] == "the end"


@pytest.mark.parametrize("end", ["lifespan", "aclose", "cancelled"])
async def test_a_shutdown_that_reaches_us_closes_with_1001(end: str) -> None:
    async with application() as (app, tasks):
        wire = Wire(app, "mcp")
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await wire.run()

        tasks.start_soon(run)
        assert (await wire.hear())["type"] == "websocket.accept"
        wire.text(call(1))
        assert json.loads((await wire.hear())["text"])["id"] == 1
        if end == "cancelled":
            scope.cancel()
        elif end == "aclose":
            await app.aclose()
        else:
            told, said = ["startup", "shutdown"], list[AsgiMessage]()

            async def receive() -> AsgiMessage:
                return {"type": f"lifespan.{told.pop(0)}"}

            async def send(message: AsgiMessage) -> None:
                said.append(message)

            await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
            assert [each["type"] for each in said] == [
                "lifespan.startup.complete",
                "lifespan.shutdown.complete",
            ]
        closed = await wire.hear()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1001)


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"bytes": b"{}"}, 1003, "messages are text frames"),
        ({"bytes": b"{}", "text": None}, 1003, "messages are text frames"),
        ({"text": "x" * 5_000_000}, 1009, "longer than 4194304 bytes"),
        ({"text": "\ud800"}, 1007, "text that is not UTF-8"),
    ],
)
async def test_what_is_no_message_closes(message: dict[str, Any], code: int, reason: str) -> None:
    async with accepted() as (_, wire, accept):
        assert accept["subprotocol"] is None
        wire.say({"type": "websocket.receive", **message})
        assert await wire.hear() == {"type": "websocket.close", "code": code, "reason": reason}


async def test_the_end_of_the_application_lets_nobody_in() -> None:
    async with application() as (app, _):
        await app.aclose()
        late = Wire(app)
        await late.run()
        start = await late.hear()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)


async def test_a_client_that_is_gone_ends_the_connection() -> None:
    async with accepted() as (_, wire, _):
        wire.broken = True
        wire.text(good(1))
        assert (await wire.hear())["type"] == "the end"


async def test_a_client_that_leaves_before_it_is_let_in() -> None:
    async with application() as (app, _):
        wire = Wire(app)
        assert (await wire.receive())["type"] == "websocket.connect"
        wire.say({"type": "websocket.disconnect", "code": 1006})
        await wire.run()
        assert (await wire.hear())["type"] == "the end"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"path": "/other"}, 404),
        ({"subprotocols": ["chat"]}, 400),
        ({"headers": [(b"host", b"evil.example")]}, 403),
        ({"headers": [(b"host", b"127.0.0.1"), (b"origin", b"null")]}, 403),
        ({"headers": [(b"host", b"127.0.0.1"), (b"origin", b"https://127.0.0.1")]}, 403),
        ({"headers": [(b"host", b"127.0.0.1"), *[(b"x", b"y")] * 200]}, 431),
        ({"query_string": b"x" * 9000}, 414),
    ],
)
async def test_refusals(
    change: dict[str, Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOGGER)
    async with application() as (app, _):
        ways: list[Any] = [{"websocket.http.response": {}}, {}, None]
        for extensions in ways:
            wire = Wire(app, **{"extensions": extensions, **change})
            await wire.run()
            said = await wire.hear()
            if extensions:
                assert (said["type"], said["status"]) == ("websocket.http.response.start", status)
                assert (await wire.hear())["body"].endswith(b"\n")
            else:
                assert said == {"type": "websocket.close", "code": 1008, "reason": ""}
            audited = [each for each in caplog.records if each.name == AUDIT_LOGGER]
            assert len(audited) == (status == 403)
            caplog.clear()


@pytest.mark.parametrize("who", ["", "a\nb", False, 0, b"ann", object()])
async def test_a_principal_that_is_none_lets_nobody_in(who: Any) -> None:
    app = asgi_app(Server("s"), settings=ServeSettings(shared=True), principal=lambda scope: who)
    wire = Wire(app)
    with patience():
        await wire.run()
    message = await wire.hear()
    assert (message["type"], message.get("status")) == ("websocket.http.response.start", 500)
    await app.aclose()


async def test_connections_are_bounded() -> None:
    async with application(max_connections=1) as (app, tasks):
        first, second = Wire(app), Wire(app)
        tasks.start_soon(first.run)
        await first.hear()
        await second.run()
        assert (await second.hear())["status"] == 503


async def test_mounted_below_a_path() -> None:
    async with application() as (app, tasks):
        wire = Wire(app, path="/inner/mcp", root_path="/inner", scheme="wss")
        tasks.start_soon(wire.run)
        assert (await wire.hear())["type"] == "websocket.accept"
