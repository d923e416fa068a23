"""Rows about the opening handshake: a request for our server, or a response for our client."""

from collections.abc import Callable, Sequence

import anyio
from anyio.abc import SocketStream
from msgspec import Struct

from mcpcore.errors import LinkError
from mcpcore.service import Server
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.targets import WebSocketTarget
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings
from tests.clock import PATIENCE
from tests.faults.cutting import listening
from tests.transports.served import served
from tests.websocket_table.codec import close, text
from tests.websocket_table.rows import FAILED, OK, PROBE, Grade, Side, message
from tests.websocket_table.wire import KEY, LOST, REVISION, Wire, given_up

Head = Callable[[bytes], bytes]
"""Changes the head of a request or response that is as it should be."""


class Opening(Struct, frozen=True, kw_only=True):
    """One row: a head, and what must come of it."""

    id: str
    title: str
    sides: tuple[Side, ...]
    change: Head
    status: int = 101
    """At a server: that of its response."""
    fields: tuple[tuple[str, str | None], ...] = ()
    """Fields that the response must have; None: must not have."""
    says: str = ""
    """At a client: what its error says; nothing: it opens."""
    deflate: DeflateSettings | None = None
    shared: bool = False
    """At a server: on the port of Streamable HTTP."""
    behind: int = 0
    """So many messages come in one piece with the head."""
    chop: int = 0
    long: bool = False


OPENINGS: list[Opening] = []
"""The rows about openings; the chapters fill it when they are imported."""

FIELDS = (
    ("Host", "127.0.0.1"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Protocol", "mcp"),
)
REQUEST = "GET /mcp HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in FIELDS)


def same(head: bytes) -> bytes:
    """No change."""
    return head


def line(old: str, *new: str) -> Head:
    """Put lines in the place of the one that begins so; of none at the end."""

    def change(head: bytes) -> bytes:
        lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        at = next((n for n, each in enumerate(lines) if old and each.startswith(old)), None)
        assert at is not None or not old, old
        lines[len(lines) if at is None else at : len(lines) if at is None else at + 1] = new
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    return change


async def attempt(row: Opening) -> Grade:
    """Try a row and judge what happened."""
    settings = WebSocketSettings(
        deflate=row.deflate, ping_interval=None, close_timeout=2 * PATIENCE
    )
    return await (_server if row.sides == ("server",) else _client)(row, settings)


def _verdict(good: bool) -> str:
    return OK if good else FAILED


async def _server(row: Opening, settings: WebSocketSettings) -> Grade:
    whole = ServeSettings(websocket=settings, shared=row.shared)
    place = {"http" if row.shared else "ws": "127.0.0.1:0"}
    async with (
        served(Server("table"), **place, settings=whole, seconds=PATIENCE) as site,
        await anyio.connect_tcp("127.0.0.1", site.port) as stream,
    ):
        wire = Wire(stream, client=True)
        first, told = "", dict[str, str]()
        async with given_up(wire):
            data = row.change(REQUEST.encode() + b"\r\n")
            ids = [str(number) for number in range(row.behind)]
            data += b"".join(text(message(id)).encode(client=True) for id in ids)
            size = row.chop or len(data) or 1
            try:
                for start in range(0, len(data), size):
                    await stream.send(data[start : start + size])
                first, told = await wire.head()
                if row.status == first_status(first) == 101:
                    await stream.send(text(message(PROBE)).encode(client=True))
                    await wire.stream.send(close(1000).encode(client=True))
                    await wire.listen()
                else:
                    await wire.rest_of_stream()
            except LOST:
                wire.lost()
        return _judge_response(row, wire, first, told)


def first_status(first: str) -> int:
    """The status of the first line of a response."""
    return int(first.split()[1]) if first else 0


def _judge_response(row: Opening, wire: Wire, first: str, told: dict[str, str]) -> Grade:
    status = first_status(first)
    course = wire.course("server")
    good = status == row.status
    good &= all(told.get(name) == value for name, value in row.fields)
    ends = [(seen.kind, seen.code) for seen in wire.seen if seen.kind != "text"]
    if status == 101:
        good &= told.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        good &= course.answers == [*(str(number) for number in range(row.behind)), PROBE]
        closed = ends == [("close", 1000), ("end", None)]
    else:
        # Why is said in one line, of the length that was announced, and that is the end.
        good &= wire.rest.count(b"\n") == 1 and len(wire.rest) > 9
        good &= told.get("content-length") == str(len(wire.rest))
        closed = ends == [("end", None)] and "close" in told.get("connection", "")
    said = wire.rest.decode("utf-8", "replace").strip()
    return Grade(_verdict(good), _verdict(closed), f"{first} {told}; {said}; then {ends}")


async def _client(row: Opening, settings: WebSocketSettings) -> Grade:
    wires: list[Wire] = []
    done = anyio.Event()

    async def respond(stream: SocketStream) -> None:
        async with stream:
            wire = Wire(stream, client=False)
            wires.append(wire)
            async with given_up(wire):
                try:
                    await _respond(wire, row)
                except LOST:
                    wire.lost()
        done.set()

    outcome = ""
    options = ClientSettings(websocket=settings)
    async with listening(respond) as port:
        target = WebSocketTarget(f"ws://127.0.0.1:{port}/mcp")
        with anyio.move_on_after(3 * PATIENCE):
            try:
                async with connect(target, revision=REVISION, settings=options):
                    outcome = "it opens"
            except LinkError as error:
                outcome = str(error)
            await done.wait()
    ends = [(seen.kind, seen.code) for wire in wires for seen in wire.seen if seen.kind != "text"]
    answers = wires[0].course("client").answers if wires else []
    if row.says:
        good = row.says in outcome
        closed = ends == [("end", None)]
    else:
        good = outcome == "it opens" and answers == [str(number) for number in range(row.behind)]
        closed = ends == [("close", 1000), ("end", None)]
    return Grade(_verdict(good), _verdict(closed), f"{outcome}; {answers}; then {ends}")


async def _respond(wire: Wire, row: Opening) -> None:
    data = row.change(await wire.accepting())
    ids = [str(number) for number in range(row.behind)]
    data += b"".join(text(message(id)).encode(client=False) for id in ids)
    size = row.chop or len(data) or 1
    for start in range(0, len(data), size):
        await wire.stream.send(data[start : start + size])
    if row.says:
        if row.says.startswith("closed while"):
            await wire.stream.send_eof()
        await wire.rest_of_stream()
    else:
        await wire.greet("notifications/initialized")
        await wire.listen()


class Openings:
    """Adds rows, numbered in their order."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._count: dict[str, int] = {}

    def add(self, group: str, title: str, change: Head, **more: object) -> None:
        """Add a row to a group such as ``20.1``."""
        number = self._count[group] = self._count.get(group, 0) + 1
        sides: Sequence[Side] = (self._side,)
        row = Opening(
            id=f"{group}.{number}",
            title=title,
            sides=tuple(sides),
            change=change,
            **more,  # type: ignore[arg-type]
        )
        OPENINGS.append(row)
