"""Raw bytes to the real WebSocket server: every good message is answered, what is wrong ends it.

A strict reader of RFC 6455 reads both directions.  Over a stream, over a socket and over a socket
with TLS, on asyncio, uvloop and trio it is the same.
"""

import json
import socket
import ssl
from collections import Counter, deque
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import sniffio
from anyio.abc import ByteStream
from msgspec import UNSET

from mcpcore import Message, Peer, Role, decode
from mcpcore.engine.events import RequestCancelled, RequestReceived
from mcpcore_transports.serve.assembling import LinkFactory
from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.websocket.server import UpgradeRules, WebSocketServer
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings
from tests.engine.bench import server_config
from tests.fuzz import messages, sockets
from tests.fuzz.choices import Choices
from tests.fuzz.websocket_script import frame
from tests.websocket_table import codec

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_MASK = b"\x01\x20\x03\x40"
OPENING = (
    "GET /mcp HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Protocol: mcp\r\n"
)
_PACKED = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
TOKENS = (
    *messages.TOKENS,
    *(b"\x81\x80", b"\x81\xfe", b"\x81\xff", b"\x88\x82", b"\x89\x80", b"\x01\x85", b"\x80\x80"),
    *(b"\xc1\x80", b"\x82\x80", b"\x88\x80", b"\x03\xe8", b"\x03\xed", b"\x83\x80"),
)
_SETTINGS = WebSocketSettings(
    deflate=DeflateSettings(threshold=1),
    ping_interval=None,
    # The clock is the real one, and no part of it.
    handshake_timeout=60.0,
    close_timeout=60.0,
    connection=ConnectionSettings(drain=60.0, stall=60.0),
)
_RULES = UpgradeRules(_SETTINGS)
_LIMIT = sockets.LIMITS.message_size
_TURNS = 4
"""Turns of the event loop after which most servers have written what they have to."""


class Scripted(ByteStream):
    """A connection whose client has said everything beforehand, in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = deque(piece for piece in pieces if piece)
        self._ended = False
        self.said = bytearray()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See ByteReceiveStream."""
        await anyio.lowlevel.checkpoint()
        if self._ended:
            raise anyio.EndOfStream
        if not self._pieces:
            # The end cuts off what is not written yet: it comes when nothing is being done, and
            # who finds on asyncio that something is looks again after a tenth of a second only.
            if sniffio.current_async_library() == "asyncio":
                for _ in range(_TURNS):
                    await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            self._ended = True
            raise anyio.EndOfStream
        piece = self._pieces.popleft()
        if len(piece) > max_bytes:
            self._pieces.appendleft(piece[max_bytes:])
        return piece[:max_bytes]

    async def send(self, item: bytes) -> None:
        """See ByteSendStream."""
        await anyio.lowlevel.checkpoint()
        self.said += item

    async def send_eof(self) -> None:
        """See ByteStream."""

    async def aclose(self) -> None:
        """See AsyncResource."""


class _Echo:
    """Answers every request at once."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def handle(self, event: Any) -> None:
        """Take an event."""
        if isinstance(event, RequestReceived):
            self._peer.respond(event.key, {"content": []})
        elif isinstance(event, RequestCancelled):
            self._peer.release(event.key)


async def serve(stream: ByteStream, context: ssl.SSLContext | None = None) -> None:
    """A connection to the real server, whose owner answers every request at once."""

    async def serve(make_link: LinkFactory, handshake: object) -> None:
        peer = Peer(Role.SERVER, server_config(limits=sockets.LIMITS))
        await make_link(peer, _Echo(peer)).run()
        assert not peer._endpoint.inbound

    await WebSocketServer(serve, _RULES).connection(stream, None, context)


async def _in_memory(pieces: list[bytes]) -> bytes:
    """Over a stream of anyio."""
    stream = Scripted(pieces)
    await serve(stream)
    return bytes(stream.said)


async def _over_socket(pieces: list[bytes], *, tls: bool = False) -> bytes:
    """Over a plain socket, which is read by readiness; with TLS or without."""
    near, far = socket.socketpair()
    with near, far:
        for end in (near, far):
            end.setblocking(False)
        context = sockets.secured() if tls else None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, PlainStream(far), context)
            said = await (sockets.speak_tls if tls else sockets.speak)(near, pieces)
    return said


_TALKS = (_in_memory, _over_socket, partial(_over_socket, tls=True))
_WAYS = [(talk, loop) for talk in _TALKS for loop in sockets.LOOPS]


class _Heard:
    """What a strict reader finds in one direction, up to the first thing that must not be there."""

    def __init__(self, data: bytes, *, client: bool, packed: bool) -> None:
        self.seen: list[codec.Seen] = []
        self.wrong = ""
        reader = codec.Reader(client=client)
        if packed:
            reader.agree(fresh=True, bits=15)
        try:
            for seen in reader.read(data):
                self.seen.append(seen)
        except Exception as error:  # also UTF-8 that is none, and what does not unfold
            self.wrong = str(error) or type(error).__name__


def _odd(c: Choices) -> codec.Frame:
    """A control frame, or a frame that is wrong in some way."""
    data = c.blob(8)
    match c.below(8):
        case 0:
            return codec.ping(data, key=_MASK)
        case 1:
            return codec.pong(data, key=_MASK)
        case 2:
            code = c.pick((1000, 1001, 1005, 1014, 3000, 999, 65535))
            return codec.Frame(codec.CLOSE, code.to_bytes(2, "big") + data, key=_MASK)
        case 3:
            return codec.Frame(c.below(16), data, key=_MASK)
        case 4:
            return codec.text(data, mask=False)
        case 5:
            return codec.text(data, bits=c.pick((codec.RSV1, codec.RSV2)), key=_MASK)
        case 6:
            return codec.text(data, length=c.pick((2**63, 127, _LIMIT + 1)), form=8, key=_MASK)
        case _:
            return codec.text(b"x" * (_LIMIT + c.below(2)), key=_MASK)


def _frames(c: Choices, packed: bool) -> bytes:
    if c.flag(4):
        return c.rest()
    packer = codec.Packer(fresh=True) if packed else None
    frames: list[codec.Frame] = []
    for _ in range(c.below(8)):
        if c.below(4):
            frames += frame(c, messages.any_message(c, modern=c.flag()), packer, _MASK)
        else:
            frames.append(_odd(c))
    return b"".join(frame.encode(client=True) for frame in frames)


def _owed(text: bytes) -> bool | None:
    """Whether a message is answered by itself; None: that depends on what came before."""
    frame = decode(text, max_depth=12, max_batch=4)
    if isinstance(frame, list):
        return None
    if not isinstance(frame, Message):
        return frame.owed
    if frame.method == "subscriptions/listen" or frame.method == "notifications/cancelled":
        return None
    return frame.method is not UNSET and frame.id is not UNSET


def _check(sent: _Heard, heard: _Heard) -> None:
    assert not heard.wrong, f"what the server has sent: {heard.wrong}"
    texts = [seen.data for seen in heard.seen if seen.kind == "text"]
    for text in texts:
        assert messages.SECRET.encode() not in text
    answers = [part for text in texts for part in _parts(text) if "method" not in part]
    kinds = Counter(seen.kind for seen in sent.seen)
    asked = [seen.data for seen in sent.seen if seen.kind == "text"]
    close = [seen for seen in heard.seen if seen.kind == "close"]
    assert len(close) <= 1
    assert not heard.seen or heard.seen[-1].kind == "close" or not close
    if sent.wrong or "close" in kinds:
        assert close, "what is wrong is told"
    told = close[0].code if close else None
    if not sent.wrong and "close" not in kinds and told in (None, 1000, 1001):
        pongs = Counter(seen.data for seen in heard.seen if seen.kind == "pong")
        assert pongs == Counter(seen.data for seen in sent.seen if seen.kind == "ping")
    owed = [_owed(text) for text in asked]
    if None not in owed:
        assert len(answers) <= owed.count(True)
        # What is too large ends it before a strict reader, who has no limits, would see an end.
        assert told == 1009 or len(answers) == owed.count(True), "each once"


def _parts(text: bytes) -> list[Any]:
    found = json.loads(text)
    return found if isinstance(found, list) else [found]


def TARGET(data: bytes) -> None:
    sockets.scheduled_by(data)
    c = Choices(data)
    packed = c.flag(3)
    ways = c.pair(_WAYS)
    cuts = Choices(c.take(6))
    frames = _frames(c, packed)
    opening = (OPENING + (_PACKED if packed else "") + "\r\n").encode()
    together = not c.flag()
    whole = [opening + frames] if together else [opening, frames]
    outcomes = []
    cut = [opening, *cuts.cuts(frames, single=sockets.SINGLE)]
    for (talk, loop), pieces in zip(ways, (cut, whole), strict=True):
        said = sockets.run(partial(talk, pieces), loop)
        head, _, rest = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert (b"permessage-deflate" in head) is packed
        outcomes.append(_Heard(rest, client=False, packed=packed))
    sent = _Heard(frames, client=True, packed=packed)
    for heard in outcomes:
        _check(sent, heard)
    for kind in ("text", "pong"):  # answers to pings may overtake others
        first, second = (
            [seen.data for seen in heard.seen if seen.kind == kind] for heard in outcomes
        )
        assert first == second
