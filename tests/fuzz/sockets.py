"""The real drivers of the HTTP server, each over a real socket, and what a strict client reads.

Everything here runs on asyncio and on trio.
"""

import asyncio
import atexit
import os
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import trio._core._run
from msgspec import Struct, structs

from mcpcore import Config, HttpServer, HttpSettings, Implementation, Limits, ServerCapabilities
from mcpcore.engine.events import RequestCancelled, RequestReceived
from mcpcore_transports.http.server.listening import HttpServerLink
from mcpcore_transports.http1.settings import DriverName, HttpServerSettings, ParserName
from mcpcore_transports.tls import server_tls
from tests.faults.complaints import no_complaints
from tests.http.support import SERVER_OFFERS
from tests.transports.certificates import papers
from tests.transports.tls_by_hand import ByHand

SECRET = bytes(range(32))
LIMITS = Limits(message_size=900, depth=12, in_flight=4, batch=4, listen_streams=2)
HTTP = HttpSettings(max_body=900, max_sessions=3)
_PATIENCE = 60.0
_PATIENT = HttpServerSettings(
    # The clock is the real one, and no part of it.
    head_time=60.0,
    body_time=60.0,
    body_grace=60.0,
    write_time=60.0,
    linger_time=60.0,
    drain_time=60.0,
)
_TURNS = 2
"""Turns of the event loop after which a server has read what was sent."""
SINGLE = 32
"""Bytes that most streams sent byte by byte have one by one, in the middle of them or elsewhere."""
_PIECES = 150
"""Pieces that are sent one by one; what is left goes at once."""

T = TypeVar("T")
Loop = Literal["asyncio", "trio", "uvloop"]
LOOPS: tuple[Loop, ...] = ("asyncio", "trio")
if find_spec("uvloop") is not None:
    LOOPS = (*LOOPS, "uvloop")


class Listener:
    """Where the clients of one target connect; made when it is needed."""

    def __init__(self) -> None:
        self._made: socket.socket | None = None

    def get(self) -> socket.socket:
        """The socket, which does not block."""
        if self._made is None:
            self._made = socket.create_server(("127.0.0.1", 0))
            self._made.setblocking(False)
        return self._made

    def run(self, work: Callable[[], Awaitable[T]], loop: "Loop") -> T:
        """Run what uses it; if that fails, where somebody may wait, the next gets another one."""
        try:
            return run(work, loop)
        except BaseException:
            if self._made is not None:
                self._made.close()
                self._made = None
            raise


class Way(Struct, frozen=True):
    """A driver with a parser, on an event loop."""

    driver: DriverName
    parser: ParserName
    loop: Loop
    parsed: bool = False
    """The parser reads usual heads, too."""
    tls: bool = False


_PARSERS: list[ParserName] = ["h11"]
if find_spec("httptools") is not None:
    _PARSERS.append("httptools")
WAYS = [
    way
    for parser in _PARSERS
    for way in (
        Way("anyio", parser, "asyncio", parsed=True),
        Way("asyncio", parser, "asyncio"),
        Way("anyio", parser, "trio"),
        Way("asyncio", parser, "asyncio", tls=True),
        Way("anyio", parser, "trio", tls=True),
        *([Way("asyncio", parser, "uvloop", parsed=True)] if "uvloop" in LOOPS else ()),
    )
]


_loops: dict[Loop, asyncio.AbstractEventLoop] = {}


def _new(loop: Loop) -> asyncio.AbstractEventLoop:
    if loop == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def scheduled_by(data: bytes) -> None:
    """Have trio, which mixes the tasks that may go on, do it alike for one input, whenever it runs.

    Hypothesis does this, too.
    """
    trio._core._run._r.seed(data)


def run(work: Callable[[], Awaitable[T]], loop: Loop) -> T:
    """Run something for a bounded time: on this process's loop of asyncio, or on trio."""

    async def bounded() -> T:
        with anyio.fail_after(_PATIENCE):
            return await work()

    with no_complaints():
        if loop == "trio":
            return anyio.run(bounded, backend="trio")
        if loop not in _loops:
            _loops[loop] = _new(loop)
        try:
            return _loops[loop].run_until_complete(bounded())
        except BaseException:
            del _loops[loop]  # what is left in it is nobody's any more
            raise


class Echo:
    """Answers every request at once."""

    def __init__(self, machine: HttpServer) -> None:
        self._machine = machine
        self.link: HttpServerLink

    def handle(self, event: Any) -> None:
        """Take an event."""
        if isinstance(event, RequestReceived):
            self._machine.respond(event.key, {"content": [{"type": "text", "text": "echo"}]})
        elif isinstance(event, RequestCancelled):
            self._machine.release(event.key)


def make_machine() -> HttpServer:
    """A server whose session ids are the same every time."""
    config = Config(
        info=Implementation(name="fuzz", version="1"),
        capabilities=msgspec.convert(SERVER_OFFERS, ServerCapabilities),
        limits=LIMITS,
    )
    return HttpServer(config, secret=SECRET, settings=HTTP)


@cache
def _folder() -> Path:
    made = tempfile.mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


async def _converse(way: Way, pieces: list[bytes]) -> bytes:
    machine = make_machine()
    app = Echo(machine)
    settings = structs.replace(
        _PATIENT,
        driver=way.driver,
        parser=way.parser,
        usual_heads="parsed" if way.parsed else "plainly",
    )
    context = secured() if way.tls else None
    link = app.link = HttpServerLink(machine, app, settings=settings, ssl_context=context)
    path = str(_folder() / "socket")
    with suppress(FileNotFoundError):
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX)
    bound.setblocking(False)
    bound.bind(path)
    bound.listen()
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.serve_listeners, [bound])
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(path)
            said = await (speak_tls if way.tls else speak)(client, pieces)
        await link.aclose()
    assert link.connections == 0
    assert machine.exchanges == 0
    return said


async def say(sock: socket.socket, pieces: list[bytes]) -> None:
    """Send ``pieces``, with turns of the event loop between them."""
    pieces = [*pieces[:_PIECES], b"".join(pieces[_PIECES:])]
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            try:
                rest = rest[sock.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(sock)
        if len(pieces) > 1:
            for _ in range(_TURNS):
                await anyio.lowlevel.checkpoint()


async def hear(sock: socket.socket) -> bytes:
    """What comes next; nothing at the end."""
    while True:
        try:
            return sock.recv(65536)
        except BlockingIOError:
            await anyio.wait_readable(sock)
        except ConnectionResetError:
            return b""


async def speak(client: socket.socket, pieces: list[bytes]) -> bytes:
    """Say ``pieces`` and no more; what comes back until the other side closes."""
    with suppress(BrokenPipeError, ConnectionResetError):
        await say(client, pieces)
        client.shutdown(socket.SHUT_WR)
    said = bytearray()
    while data := await hear(client):
        said += data
    return bytes(said)


@cache
def secured() -> ssl.SSLContext:
    """What a server has for TLS."""
    return server_tls(papers().server)


async def speak_tls(client: socket.socket, pieces: list[bytes]) -> bytes:
    """As :func:`speak`, with TLS: a record for each piece, in two parts, and a word at the end."""
    near = ByHand(str(papers().trusted.file))
    near.take(b"")
    while not near.established:
        await say(client, [near.ready()])
        near.take(await hear(client))
    records = [near.ready(), *map(near.write, pieces), near.write(b"", last=True)]
    halves = [(each[: len(each) // 2], each[len(each) // 2 :]) for each in records]
    return near.take(await speak(client, [*chain.from_iterable(halves)]))


def converse(way: Way, pieces: list[bytes]) -> bytes:
    """Send ``pieces`` to a server, then no more; all that it says until it closes."""
    return run(lambda: _converse(way, pieces), way.loop)


class Answer(Struct):
    """One response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool = True
    """Its end was seen."""


_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*")
_FIELD = re.compile(rb"([-a-z]+): ([\t\x20-\x7e]*)")


def answers(said: bytes) -> list[Answer]:
    """Read responses as strictly as can be; interim ones and dates are left out."""
    found = []
    at = 0
    while at < len(said):
        end = said.index(b"\r\n\r\n", at)
        first, *lines = said[at:end].split(b"\r\n")
        status = _STATUS.fullmatch(first)
        assert status is not None, first
        fields = []
        for line in lines:
            field = _FIELD.fullmatch(line)
            assert field is not None, line
            fields.append((field[1].decode(), field[2].decode()))
        answer = Answer(int(status[1]), fields, b"")
        at = _body(answer, said, end + 4)
        if answer.status >= 200:
            answer.headers = [field for field in fields if field[0] != "date"]
            found.append(answer)
    return found


def _body(answer: Answer, said: bytes, at: int) -> int:
    """Read a body from ``at``; where it ends.  That of a HEAD is announced and not there."""
    fields = dict(answer.headers)
    if answer.status < 200 or answer.status in (204, 304):
        return at
    if "transfer-encoding" in fields:
        assert "content-length" not in fields
        while True:
            end = said.find(b"\r\n", at)
            if end < 0:
                answer.whole = False
                return len(said)
            size = int(said[at:end], 16)
            answer.body += said[end + 2 : end + 2 + size]
            at = end + 2 + size
            assert said[at : at + 2] == b"\r\n"
            at += 2
            if not size:
                return at
    if "content-length" not in fields:
        assert fields.get("connection") == "close"
        answer.body = said[at:]
        return len(said)
    size = int(fields["content-length"])
    if said[at : at + 5] == b"HTTP/" or (at == len(said) and size):
        return at
    answer.body = said[at : at + size]
    assert len(answer.body) == size
    return at + size
