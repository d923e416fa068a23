"""Raw bytes to the real HTTP client: each request ends once, and no connection stays.

The same server answers the same requests twice over TCP: in pieces and whole, on asyncio, uvloop
and trio, with a trace and without.  What is a result in plain words must be told as that one, what
is not whole as none; and where one request does not depend on when another one came, both times
all requests have the same end.
"""

import json
import socket
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from msgspec import Struct, structs

from mcpcore import HttpClient, HttpClientSettings, Limits, Negotiation, SseUse
from mcpcore.engine.events import (
    ConnectionEnded,
    Event,
    FaultKind,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.spec.errors import CapabilityMissing, LocalProtocolError
from mcpcore_transports.http.client.client import HttpClientLink
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.link import clock
from mcpcore_transports.tracing.tracing import HttpTrace, Trace
from tests.fuzz import http_script, sockets
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import TERMINAL
from tests.fuzz.http_script import Saying, right, said
from tests.http.support import make_client

TOKENS = http_script.TOKENS
_TOKEN = "fuzz-token-9d2c41"
_WAYS = [(loop, traced) for loop in sockets.LOOPS for traced in (False, True)]
_CALLS = ("tools/call", "tools/list", "resources/read", "prompts/get")
_ENOUGH = 4 * 1024 * 1024
"""Bytes of what has no end that nobody reads, whatever is on its way."""
_TURNS = 4
"""Turns of the event loop after which a client has read what was sent."""
_RETURNS = 30
"""How often somebody may come back before streams cannot be picked up any more."""
_LIMITS = Limits(message_size=http_script.BODY, depth=12, in_flight=4, pending=8)
_SETTINGS = HttpClientSettings(
    headers=(("Authorization", f"Bearer {_TOKEN}"),),
    legacy_sse=SseUse.NEVER,  # it holds two connections at a time, of which each waits
    get_stream=False,
    max_body=http_script.BODY,
    max_event=http_script.BODY,
    max_refusal=700,
    max_violations=4,
    max_resumes=2,
    retry_delay=0.001,
    min_retry_delay=0.0,
    max_retry_delay=0.001,
    jitter=0.0,
    linger=60.0,  # the clock is the real one, and no part of it
)
_LINK = HttpClientLinkSettings(
    connections=8,
    header_bytes=http_script.HEAD,
    header_count=http_script.LINES,
    connect_time=60.0,
    idle_time=60.0,
    write_time=60.0,
    close_time=60.0,
)


class _Script(Struct):
    """What the client is, what it asks, and what it is told."""

    negotiation: Negotiation
    settings: HttpClientSettings
    link: HttpClientLinkSettings
    opening: bytes
    """Choices of what is said to how it opens; empty: what is right."""
    batches: list[list[str]]
    """Methods that it asks for at the same time; each batch after the end of the one before."""
    sayings: list[bytes]
    """Choices of what is said to each of them."""
    leaves: bool
    """It closes while the last batch is being answered."""

    @property
    def apart(self) -> bool:
        """What becomes of a request does not depend on when another one came."""
        return not (
            self.opening or self.leaves or self.settings.resume or self.link.connections == 1
        )


class _Outcome(Struct):
    """What became of the client."""

    told: list[Event] = []
    said: dict[Any, Saying] = {}
    """What each of its requests was told, by id."""
    issued: list[Any] = []

    @property
    def ends(self) -> dict[Any, Event]:
        """The end of each of its requests."""
        return {event.request: event for event in self.told if isinstance(event, TERMINAL)}


_listener = sockets.Listener()


class _Server:
    """Says to each request what stands in the script."""

    def __init__(self, script: _Script, cuts: bytes | None, outcome: _Outcome) -> None:
        self._script = script
        self._cuts = cuts
        self._outcome = outcome
        self._busy = 0
        self._returns = 0
        self._news = anyio.Event()
        self.begun = anyio.Event()
        """It has said something to one of the requests of the last batch."""

    async def serve(self, listener: socket.socket, tasks: TaskGroup) -> None:
        """Serve whoever comes."""
        while True:
            await anyio.wait_readable(listener)
            sock, _ = listener.accept()
            sock.setblocking(False)
            # each piece goes at once, and waits for no acknowledgement of the one before
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.start_soon(self._serve, sock)

    def heard_of(self) -> None:
        """Something may have changed that :meth:`until` waits for."""
        self._news.set()
        self._news = anyio.Event()

    async def rest(self) -> None:
        """Wait until all is said of what was asked for."""
        while self._busy:
            await self._news.wait()

    async def told(self, requests: list[Any]) -> None:
        """Wait until each of some requests has its end, and all is said."""
        while not set(requests) <= self._outcome.ends.keys():
            await self._news.wait()
        await self.rest()

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            buffer = bytearray()
            with suppress(OSError):  # the client may leave in the middle
                while head := await _head(sock, buffer):
                    self._busy += 1
                    try:
                        if await self._answer(sock, head, buffer):
                            break
                    finally:
                        self._busy -= 1
                        self.heard_of()
            with suppress(OSError):
                while await sockets.hear(sock):
                    pass

    async def _answer(self, sock: socket.socket, head: bytes, buffer: bytearray) -> bool:
        """Answer a request; whether nothing more is said."""
        assert f"authorization: Bearer {_TOKEN}\r\n".encode() in head
        method, _, rest = head.partition(b" ")
        if method != b"POST":
            status = b"204 No Content" if method == b"DELETE" else b"405 No"
            answer = Saying(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status, ends=False)
            self._returns += method == b"GET"
            # Who has no deadline comes back for as long as each time something comes of it.
            if method == b"GET" and self._script.sayings and self._returns <= _RETURNS:
                answer = said(Choices(self._script.sayings[-1]), {"id": 1, "method": "ping"})
            await self._say(sock, answer)
            return answer.ends or bool(answer.endless)
        length = int(rest.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
        # The body is all that is known of the request; an early answer comes before its last byte.
        body = await _body(sock, buffer, length - 1)
        asked = json.loads(body + b"}")
        answer = self._answer_to(asked)
        if not answer.early:
            await _body(sock, buffer, 1)
        await self._say(sock, answer)
        if answer.early:
            await _body(sock, buffer, 1)
        return answer.ends or bool(answer.endless)

    def _answer_to(self, asked: dict[str, Any]) -> Saying:
        issued, script = self._outcome.issued, self._script
        if asked.get("id") in issued and asked.get("method") in _CALLS:
            id = asked["id"]
            answer = said(Choices(script.sayings[issued.index(id)]), asked)
            self._outcome.said[id] = answer
            if issued.index(id) >= len(issued) - len(script.batches[-1]):
                self.begun.set()
            return answer
        if script.opening and "id" in asked and "method" in asked:
            return said(Choices(script.opening), asked)
        return right(asked)

    async def _say(self, sock: socket.socket, answer: Saying) -> None:
        data = answer.data
        if not data and not answer.endless:
            sock.shutdown(socket.SHUT_WR)
            return
        pieces = [data] if self._cuts is None else Choices(self._cuts).cuts(data)
        *pieces, last = pieces
        if pieces:
            await sockets.say(sock, pieces)
        if not answer.ends:
            await sockets.say(sock, [last + answer.surplus])
            if answer.endless:
                await _say_on(sock, answer.endless)
            return
        # The end comes with what is before it, so that the client can never take it for later.
        while True:
            try:
                last = last[sock.send(last, socket.MSG_MORE) :]
            except BlockingIOError:
                await anyio.wait_writable(sock)
            if not last:
                break
        sock.shutdown(socket.SHUT_WR)


async def _say_on(sock: socket.socket, again: bytes) -> None:
    """Say something without an end, until the client leaves."""
    piece = again * (1 + 65536 // len(again))
    for _ in range(_ENOUGH // 65536):
        await sockets.say(sock, [piece])
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()
    raise AssertionError("it reads what has no end")


async def _head(sock: socket.socket, buffer: bytearray) -> bytes:
    """The head of the next request; nothing at the end."""
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        data = await sockets.hear(sock)
        if not data:
            return b""
        buffer += data
    head = bytes(buffer[: end + 4])
    del buffer[: end + 4]
    return head


async def _body(sock: socket.socket, buffer: bytearray, length: int) -> bytes:
    while len(buffer) < length:
        data = await sockets.hear(sock)
        if not data:
            raise BrokenPipeError
        buffer += data
    body = bytes(buffer[:length])
    del buffer[:length]
    return body


class _Owner:
    """Keeps what it is told, and answers what it is asked."""

    def __init__(self, machine: HttpClient, outcome: _Outcome) -> None:
        self._machine = machine
        self._outcome = outcome
        self.server: _Server

    def handle(self, event: Event) -> None:
        """Take an event."""
        self._outcome.told.append(event)
        self.server.heard_of()
        if isinstance(event, RequestReceived):
            with suppress(LocalProtocolError):
                self._machine.respond(event.key, {"roots": []})


async def _ask(
    machine: HttpClient, link: HttpClientLink, script: _Script, server: _Server, outcome: _Outcome
) -> None:
    for batch in script.batches:
        issued = []
        for method in batch:
            with suppress(LocalProtocolError, CapabilityMissing):
                issued.append(machine.request(method, {}, now=clock(), timeout=None))
                outcome.issued.append(issued[-1])
        link.flush_soon()
        if script.leaves and batch is script.batches[-1]:
            with anyio.move_on_after(0.05):
                await server.begun.wait()
            return
        await server.told(issued)
        assert link.connections <= script.link.connections


async def _live(script: _Script, cuts: bytes | None, traced: bool) -> _Outcome:
    listener = _listener.get()
    host, port = listener.getsockname()
    url = f"http://{host}:{port}/mcp"
    outcome = _Outcome()
    machine = make_client(script.settings, url=url, negotiation=script.negotiation, limits=_LIMITS)
    owner = _Owner(machine, outcome)
    link = HttpClientLink(machine, owner, settings=script.link)
    server = owner.server = _Server(script, cuts, outcome)
    lines: list[bytes] = []
    if traced:
        link.trace = HttpTrace(Trace(lines.append), "client")
    machine.start(now=clock())
    async with anyio.create_task_group() as accepting:
        async with anyio.create_task_group() as tasks:
            accepting.start_soon(server.serve, listener, tasks)
            async with anyio.create_task_group() as client:
                await client.start(link.run)
                await _ask(machine, link, script, server, outcome)
                await link.aclose()
            assert link.connections == 0
            assert machine.exchanges == 0
        accepting.cancel_scope.cancel()
    assert _TOKEN not in repr(outcome.told)
    assert _TOKEN.encode() not in b"".join(lines)
    return outcome


def _run(script: _Script, cuts: bytes | None, way: tuple[sockets.Loop, bool]) -> _Outcome:
    loop, traced = way
    return _listener.run(partial(_live, script, cuts, traced), loop)


# What must hold


def _check(script: _Script, outcome: _Outcome) -> None:
    """Every request has one end, and it is the right one where that is known."""
    kinds = [type(event) for event in outcome.told]
    assert kinds.count(ConnectionEnded) == 1
    counts = Counter(event.request for event in outcome.told if isinstance(event, TERMINAL))
    assert set(counts.values()) <= {1}, "a second end of one request"
    assert set(outcome.issued) == counts.keys(), "a request without an end"
    for id, answer in outcome.said.items():
        end = outcome.ends[id]
        found = json.loads(bytes(end.result)) if isinstance(end, ResultReceived) else None
        if script.apart and answer.result is not None:
            assert found == answer.result, f"a right answer is told as {end}"
        assert found is None or not answer.broken, "what is not whole is taken for whole"


def _script(c: Choices) -> _Script:
    single = c.flag(6)
    settings = structs.replace(_SETTINGS, resume=c.flag(6))
    link = structs.replace(
        _LINK,
        connections=1 if single else _LINK.connections,
        write_size=c.pick((64 * 1024, 64)),
        compression=c.flag(),
        idle_time=c.pick((30.0, 30.0, 0.0)),
    )
    negotiation = c.pick(tuple(Negotiation))
    opening = c.take(12) if c.flag(8) else b""
    leaves = c.flag(8)
    batches = [[c.pick(_CALLS) for _ in range(1 + c.below(3))] for _ in range(1 + c.below(3))]
    count = sum(map(len, batches))
    rest = c.rest()
    each = -(-len(rest) // count)
    sayings = [rest[at * each : (at + 1) * each] for at in range(count)]
    return _Script(negotiation, settings, link, opening, batches, sayings, leaves)


def _plain(end: Event) -> Any:
    """What an end says, without the words: of two things that are wrong either may come first."""
    return (end.method, end.reason) if isinstance(end, RequestEnded) else end


def _miscoded(end: Event) -> bool:
    """Whether compressed data was broken: what comes with that in one piece cannot be unfolded."""
    if not isinstance(end, RequestEnded) or end.fault is None:
        return False
    return end.fault.kind is FaultKind.ENCODING and "data of the response is broken" in end.message


def TARGET(data: bytes) -> None:
    sockets.scheduled_by(data)
    c = Choices(data)
    ways = c.pair(_WAYS)
    cuts = c.take(6)
    script = _script(c)
    first, second = (_run(script, how, way) for how, way in zip((cuts, None), ways, strict=True))
    for outcome in (first, second):
        _check(script, outcome)
    if script.apart:
        assert first.ends.keys() == second.ends.keys()
        for id, end in first.ends.items():
            if not (_miscoded(end) or _miscoded(second.ends[id])):
                assert _plain(end) == _plain(second.ends[id])
