"""Raw bytes to the real WebSocket client: its owner is told what a strict reader finds in them.

The same bytes go twice over a connection: in pieces and whole, on asyncio, uvloop and trio, read at
sight and with a trace.  A Peer without a connection, given the messages that a strict reader of
RFC 6455 finds, must tell and say the same.
"""

import re
import socket
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from msgspec import Struct, structs

from mcpcore.engine import Peer, Role
from mcpcore.engine.events import ConnectionEnded, Event, RequestEnded
from mcpcore.errors import LinkError
from mcpcore_transports.link import clock
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.tracing.tracing import Trace
from mcpcore_transports.websocket.client import websocket_client_link
from mcpcore_transports.websocket.link import WebSocketLink
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings
from tests.fuzz import messages, sockets, websocket_script
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import TERMINAL
from tests.fuzz.websocket_script import ACCEPT, Model, Owner, Script, written
from tests.websocket_table import codec

TOKENS = websocket_script.TOKENS
_DEFLATE = DeflateSettings(threshold=1)
_TOKEN = "fuzz-token-9d2c41"
_KEY = re.compile(rb"\r\nsec-websocket-key: ([^\r]+)\r\n", re.IGNORECASE)
_BROKEN = re.compile("(closed by this side with 1007): .*", re.DOTALL)
_INTERIM = re.compile(r"HTTP/1\.1 1(?!01)[0-9][0-9]\b")
_WAYS = [(loop, traced) for loop in sockets.LOOPS for traced in (False, True)]


class _Outcome(Struct):
    """What became of the client."""

    told: list[Event]
    issued: list[Any]
    error: str = ""
    said: bytes = b""
    """What it has sent behind its request."""
    sent: bytes = b""
    """What it was sent."""
    token: str = ""
    """What goes with the key that it has sent."""


_listener = sockets.Listener()


class _Server:
    """Says what stands in the script to one client, and nothing else."""

    def __init__(self, script: Script, cuts: Choices | None, owner: Owner) -> None:
        self.said = bytearray()
        self.sent = bytearray()
        self.token = ""
        self._script = script
        self._cuts = cuts
        self._owner = owner
        self._reader = codec.Reader(client=True)
        if script.packed:
            self._reader.agree(fresh=True, bits=15)
        self._pongs: set[bytes] = set()
        self._ended = False

    async def serve(self, listener: socket.socket, link: WebSocketLink) -> None:
        """Serve the next client."""
        await anyio.wait_readable(listener)
        sock, _ = listener.accept()
        with sock:
            sock.setblocking(False)
            # each piece goes at once, and waits for no acknowledgement of the one before
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):  # the client may have left in the middle
                await self._talk(sock, link)
            while not self._ended:
                await self._hear(sock)

    async def _talk(self, sock: socket.socket, link: WebSocketLink) -> None:
        head = bytearray()
        while b"\r\n\r\n" not in head:
            head += await sockets.hear(sock)
        assert f"Bearer {_TOKEN}".encode() in head
        key = _KEY.search(head)
        assert key is not None, head
        script = self._script
        self.token = codec.accept_token(key[1].decode())
        before = script.opening.replace(ACCEPT, self.token.encode())
        for part in script.parts:
            data, before = before + part.data, b""
            self.sent += data
            await sockets.say(sock, [data] if self._cuts is None else self._cuts.cuts(data))
            if part.mark:
                while part.mark not in self._pongs and not self._ended:
                    await self._hear(sock)
                self._owner.act(part.act, now=clock())
                link.flush_soon()
        sock.shutdown(socket.SHUT_WR)

    async def _hear(self, sock: socket.socket) -> None:
        data = await sockets.hear(sock)
        self._ended = not data
        self.said += data
        if self._script.right:
            found = self._reader.feed(data)
            self._pongs |= {seen.data for seen in found if seen.kind == "pong"}


async def _live(script: Script, cuts: Choices | None, traced: bool) -> _Outcome:
    listener = _listener.get()
    peer = Peer(Role.CLIENT, script.config)
    owner = Owner(peer)
    host, port = listener.getsockname()
    link = websocket_client_link(
        peer,
        owner,
        f"ws://{host}:{port}/mcp",
        headers={"Authorization": f"Bearer {_TOKEN}"},
        settings=WebSocketSettings(
            deflate=_DEFLATE if script.packed else None,
            ping_interval=None,
            # The clock is the real one, and no part of it.
            handshake_timeout=60.0,
            close_timeout=60.0,
            connection=ConnectionSettings(drain=60.0, stall=60.0),
        ),
    )
    lines: list[bytes] = []
    if traced:
        link.trace = Trace(lines.append).connection("client")
    server = _Server(script, cuts, owner)
    outcome = _Outcome(owner.told, owner.issued)
    peer.start(now=clock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, listener, link)
        try:
            await link.run()
        except LinkError as error:
            outcome.error = f"{error} {error.fault}"
    outcome.said, outcome.sent, outcome.token = bytes(server.said), bytes(server.sent), server.token
    assert _TOKEN not in outcome.error
    assert _TOKEN.encode() not in b"".join(lines)
    return outcome


def _run(script: Script, cuts: Choices | None, way: tuple[sockets.Loop, bool]) -> _Outcome:
    loop, traced = way
    return _listener.run(partial(_live, script, cuts, traced), loop)


# What must hold


def _check_opening(outcome: _Outcome) -> None:
    """It takes nothing for an upgrade but one that knows its key."""
    heads = iter(outcome.sent.decode("latin-1").split("\r\n\r\n"))
    final = next(head for head in heads if not _INTERIM.match(head))
    first, *lines = final.split("\r\n")
    fields = [line.partition(":") for line in lines]
    known = {name.lower(): value.strip(" \t") for name, _, value in fields}
    assert first.startswith("HTTP/1.1 101")
    assert known["upgrade"].lower() == "websocket"
    assert known["sec-websocket-accept"] == outcome.token
    assert sum(name.lower() == "sec-websocket-accept" for name, _, _ in fields) == 1


def _check_ends(outcome: _Outcome) -> None:
    """Every request has one end, and the connection has, in the end."""
    kinds = [type(event) for event in outcome.told]
    assert kinds.count(ConnectionEnded) == 1
    assert kinds[-1] is ConnectionEnded
    ends = Counter(event.request for event in outcome.told if isinstance(event, TERMINAL))
    assert set(ends.values()) <= {1}, "a second end of one request"
    assert set(outcome.issued) <= ends.keys(), "a request without an end"


def _check(model: Model, script: Script, outcome: _Outcome) -> None:
    """The client has read what is there, has told it, and has said what it must."""
    assert not outcome.error, "what is right is refused"
    reader = codec.Reader(client=True)
    if script.packed:
        reader.agree(fresh=True, bits=15)
    heard = reader.feed(outcome.said)
    texts = [seen.data for seen in heard if seen.kind == "text"]
    closes = [seen for seen in heard if seen.kind == "close"]
    assert closes, "it leaves without a word"
    told = closes[0].code
    assert messages.SECRET.encode() not in outcome.said
    assert texts == model.said[: len(texts)], "it says something else"
    if told == 1009:  # what is too large ends it before a strict reader, who has no limits
        return
    assert not model.too_large, "too large, and taken"
    before = model.owner.told
    assert outcome.told[: len(before)] == before, "its owner is told something else"
    kinds = Counter(seen.kind for seen in model.seen)
    if "close" in kinds:
        return
    if model.wrong:
        assert told not in (None, 1000, 1001), "what is wrong is told"
    else:
        pings = Counter(seen.data for seen in model.seen if seen.kind == "ping")
        assert Counter(seen.data for seen in heard if seen.kind == "pong") == pings
        if script.parts[-1].mark:
            assert texts == model.said, "it does not say all that it has to"


def _plainly(told: list[Event]) -> list[Event]:
    """Text that is broken when it is unfolded may be no UTF-8 as well: either may come first."""

    def plain(event: Event) -> Event:
        if isinstance(event, ConnectionEnded):
            return structs.replace(event, reason=_BROKEN.sub(r"\1", event.reason))
        if isinstance(event, RequestEnded):
            return structs.replace(event, message=_BROKEN.sub(r"\1", event.message))
        return event

    return [plain(event) for event in told]


def TARGET(data: bytes) -> None:
    sockets.scheduled_by(data)
    c = Choices(data)
    ways = c.pair(_WAYS)
    cuts = Choices(c.take(6))
    script, model = written(c)
    first, second = (_run(script, how, way) for how, way in zip((cuts, None), ways, strict=True))
    for outcome in (first, second):
        _check_ends(outcome)
        if not outcome.error:
            _check_opening(outcome)
        if script.right:
            _check(model, script, outcome)
    assert first.error == second.error
    assert _plainly(first.told) == _plainly(second.told)
