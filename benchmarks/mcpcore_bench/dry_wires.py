"""Connections without sockets: ours and those of the raw programs, in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus
from msgspec import structs

from mcpcore.engine.peer import Peer
from mcpcore_bench.programs.offer import FILLERS_FROM
from mcpcore_bench.programs.ours import make, settings
from mcpcore_bench.programs.raw_codec import Codec
from mcpcore_bench.programs.raw_http import Site
from mcpcore_bench.programs.raw_stdio import answer
from mcpcore_transports.http.server.listening import Address, HttpServerLink
from mcpcore_transports.http.server.protocol import HttpProtocol
from mcpcore_transports.link import App, Handshake
from mcpcore_transports.serve.assembling import assemble_http, serve_connection
from mcpcore_transports.stream.connection import StreamConnection

END = b"\r\n0\r\n\r\n"
"""Of a chunked body."""
PATIENCE = 600.0
"""Seconds that a call may take."""
Written = Callable[[], object]
"""Called whenever a connection has written."""


class Outlet(asyncio.Transport):
    """In the place of a transport: keeps what is written."""

    def __init__(self, written: Written) -> None:
        super().__init__()
        self._data: list[bytes] = []
        self._written = written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self._data.append(bytes(data))
        self._written()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is room for everything."""

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def abort(self) -> None:
        """There is nothing to be closed."""

    @property
    def ended(self) -> bool:
        """A chunked body, if that is what was written, is complete."""
        return self._data[-1].endswith(END)

    def take(self) -> bytes:
        """All that was written since it was taken last."""
        data, self._data = b"".join(self._data), []
        return data


class Wire(NamedTuple):
    """One connection: where requests go, and what comes back."""

    deliver: Callable[[bytes], object]
    outlet: Outlet


Opener = Callable[[int, Written], AbstractAsyncContextManager[list[Wire]]]
"""Has so many connections of a program."""


@asynccontextmanager
async def ours_http(tools: int, count: int, written: Written) -> AsyncIterator[list[Wire]]:
    """Our asyncio driver with its own parser, in a server that listens nowhere."""
    chosen = settings("asyncio")
    # Counting takes its time, for which no reply is to become an event stream.
    chosen = structs.replace(chosen, http=structs.replace(chosen.http, json_delay=PATIENCE))
    link, runtime = assemble_http(
        make(tools), partial(HttpServerLink, settings=chosen.http_link), settings=chosen
    )

    def connect() -> Wire:
        protocol, outlet = HttpProtocol(link, "127.0.0.1:1"), Outlet(written)
        link.add(protocol)
        protocol.connection_made(outlet)
        return Wire(partial(into_buffer, protocol), outlet)

    async def serve(*, task_status: TaskStatus[list[Address]]) -> None:
        await runtime.run(partial(link.serve_listeners, (), task_status=task_status))

    async with anyio.create_task_group() as group:
        await group.start(serve)
        yield [connect() for _ in range(count)]
        group.cancel_scope.cancel()


def into_buffer(protocol: HttpProtocol, data: bytes) -> None:
    """Hand over what has come, as much at a time as there is room for."""
    at = 0
    while at < len(data):
        room = protocol.get_buffer(-1)
        part = data[at : at + len(room)]
        room[: len(part)] = part
        protocol.buffer_updated(len(part))
        at += len(part)


@asynccontextmanager
async def raw_http(
    module: str, tools: int, count: int, written: Written
) -> AsyncIterator[list[Wire]]:
    """The protocol of a raw program, by the name of its module."""
    site = Site(Codec(tools))
    wires = []
    for _ in range(count):
        protocol, outlet = import_module(module).Protocol(site), Outlet(written)
        protocol.connection_made(outlet)
        wires.append(Wire(protocol.data_received, outlet))
    yield wires


class Fed(StreamConnection):
    """Our pump, where what is read is handed in, and what is written is kept."""

    def __init__(self, peer: Peer, app: App, outlet: Outlet) -> None:
        super().__init__(peer, app)
        self._outlet = outlet

    def deliver(self, data: bytes) -> None:
        """Take in what was read."""
        self._take_in(data)

    async def _receive(self) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError("it is cancelled")

    def _send_nowait(self, data: bytes) -> int:
        self._outlet.write(data)
        return len(data)


@asynccontextmanager
async def ours_lines(count: int, written: Written) -> AsyncIterator[list[Wire]]:
    """Connections of lines, as on standard input, without a descriptor."""
    wires: list[Wire] = []

    def make_link(peer: Peer, app: App) -> Fed:
        outlet = Outlet(written)
        link = Fed(peer, app, outlet)
        wires.append(Wire(link.deliver, outlet))
        return link

    server, chosen = make(FILLERS_FROM), settings("").runtime
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(
                partial(serve_connection, server, make_link, Handshake(), settings=chosen)
            )
        await anyio.wait_all_tasks_blocked()  # they run
        yield wires
        group.cancel_scope.cancel()


@asynccontextmanager
async def raw_lines(count: int, written: Written) -> AsyncIterator[list[Wire]]:
    """The raw program's answer to a line."""
    codec = Codec(FILLERS_FROM)

    def connect() -> Wire:
        outlet = Outlet(written)
        return Wire(lambda data: outlet.write(answer(codec, data)), outlet)

    yield [connect() for _ in range(count)]


def programs(*, lines: bool, tools: int = FILLERS_FROM) -> dict[str, Opener]:
    """Who is measured: ours first, then the raw programs that are installed.

    ``tools``: how many they have, over HTTP.
    """
    if lines:
        return {"ours": ours_lines, "raw": raw_lines}
    found: dict[str, Opener] = {"ours, asyncio, own parser": partial(ours_http, tools)}
    raws = {"raw protocol, httptools": "raw_httptools", "raw protocol and h11": "raw_h11"}
    for name, module in raws.items():
        if module != "raw_httptools" or find_spec("httptools") is not None:
            found[name] = partial(raw_http, f"mcpcore_bench.programs.{module}", tools)
    return found
