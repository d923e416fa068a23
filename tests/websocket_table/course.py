"""Trying a row: against our server, and against our client, over real sockets."""

import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import SocketStream

from mcpcore.engine.config import Limits
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import CallFailed
from mcpcore.service import Server
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import WebSocketTarget
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.clock import PATIENCE
from tests.faults.cutting import listening
from tests.transports.served import served
from tests.websocket_table.codec import Seen
from tests.websocket_table.rows import (
    Course,
    Grade,
    Row,
    Side,
    grade,
)
from tests.websocket_table.wire import KEY, LOST, REVISION, Wire, given_up


def websocket_settings(row: Row) -> WebSocketSettings:
    """Those of the side under test; the time that a close may take is no matter of a row."""
    given: dict[str, Any] = {"fragments": row.fragments} if row.fragments else {}
    deflate = row.agreed.settings if row.agreed else None
    return WebSocketSettings(
        deflate=deflate, ping_interval=None, close_timeout=2 * PATIENCE, **given
    )


def limits(row: Row) -> Limits:
    """Those of the side under test."""
    return Limits(message_size=row.limit) if row.limit else Limits()


async def try_server(row: Row) -> Course:
    """Send a row to our server."""
    settings = ServeSettings(
        websocket=websocket_settings(row), runtime=RuntimeSettings(limits=limits(row))
    )
    async with (
        served(Server("table"), ws="127.0.0.1:0", settings=settings, seconds=PATIENCE) as site,
        await anyio.connect_tcp("127.0.0.1", site.port) as stream,
    ):
        wire = Wire(stream, client=True)
        lines = [
            "GET /mcp HTTP/1.1",
            f"Host: 127.0.0.1:{site.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Protocol: mcp",
        ]
        if row.agreed:
            lines.append(f"Sec-WebSocket-Extensions: {row.agreed.offer}")
        notes = []
        async with given_up(wire):
            await stream.send("\r\n".join([*lines, "", ""]).encode())
            first, fields = await wire.head()
            if not first.startswith("HTTP/1.1 101 "):
                notes.append(first)
            _agree(wire, row, "server")
            answer = fields.get("sec-websocket-extensions")
            if answer != (row.agreed.answer if row.agreed else None):
                notes.append(f"it answers {answer}")
            await wire.converse(row, site.stop.set)
        course = wire.course("server")
        course.notes += notes
        return course


def _agree(wire: Wire, row: Row, side: Side) -> None:
    if row.agreed is not None:
        wire.reader.agree(fresh=row.agreed.fresh(side), bits=row.agreed.bits(side))


class ByHand:
    """A server that accepts one client of ours and then sends it a row."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.wire: Wire | None = None
        self.leave = anyio.Event()
        self.done = anyio.Event()

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            wire = Wire(stream, client=False)
            async with given_up(wire):
                try:
                    head = await wire.accepting()
                except LOST:
                    return  # another program has looked whether anybody listens here
                self.wire = wire
                if self.row.agreed:
                    answer = f"Sec-WebSocket-Extensions: {self.row.agreed.answer}"
                    head = head[:-2] + answer.encode() + b"\r\n\r\n"
                await stream.send(head)
                _agree(wire, self.row, "client")
                with suppress(*LOST):
                    await wire.greet("tools/call")
                    await wire.converse(self.row, self.leave.set)
        self.done.set()


async def try_client(row: Row) -> Course:
    """Have our client connect to a server that sends the row while a call is under way."""
    hand = ByHand(row)
    settings = ClientSettings(
        limits=limits(row),
        websocket=websocket_settings(row),
        reconnect=ReconnectSettings(attempts=0),
        look_up_tools=False,
    )
    outcome = ""

    async def call(url: str) -> None:
        nonlocal outcome
        try:
            async with (
                connect(WebSocketTarget(url), revision=REVISION, settings=settings) as client,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_leave, hand, tasks.cancel_scope)
                outcome = "it left"
                outcome = await _settled(client)
                if outcome == "answered":
                    await hand.done.wait()
                tasks.cancel_scope.cancel()
        except CallFailed as error:
            outcome = f"{type(error).__name__}: {error}"

    async with listening(hand.serve) as port:
        with anyio.move_on_after(3 * PATIENCE):
            await call(f"ws://127.0.0.1:{port}/mcp")
            await hand.done.wait()
    if hand.wire is None:
        return Course([Seen("wrong", b"it does not connect")], "client", call=outcome)
    course = hand.wire.course("client")
    course.call = outcome
    return course


async def _settled(client: Any) -> str:
    """What becomes of a call of the client."""
    try:
        result = await client.call_tool("echo", {"text": "done"})
    except CallFailed as error:
        return f"{type(error).__name__}: {error}"
    return "answered" if result.content[0].text == "done" else "answered wrongly"


async def _leave(hand: ByHand, scope: anyio.CancelScope) -> None:
    await hand.leave.wait()
    scope.cancel()


TRY: dict[str, Callable[[Row], Awaitable[Course]]] = {"server": try_server, "client": try_client}


async def attempt(row: Row, side: Side) -> Grade:
    """Try a row against one side, and judge what happened."""
    if not row.memory:
        return grade(row, await TRY[side](row))
    tracemalloc.start()
    try:
        course = await TRY[side](row)
        course.memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return grade(row, course)
