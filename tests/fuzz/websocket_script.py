"""Scripts of a WebSocket server, and the model of the client that reads them.

A script has parts, each of which ends with a ping if that can be answered: once it is answered the
client has read all that came before, and its owner acts.
"""

import json
from contextlib import suppress
from typing import Any

from msgspec import Struct, field

from mcpcore import CapabilityMissing, Config, Limits, LocalProtocolError, Negotiation, Peer, Role
from mcpcore.engine.events import Event, RequestCancelled, RequestReceived
from tests.engine.bench import client_config
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import helpful
from tests.websocket_table import codec

ACCEPT = b"<accept>"
"""Stands for the answer to the key of the client, where no text of ours would repeat it."""
_OPENING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\nSec-WebSocket-Protocol: mcp\r\n"
)
_PACKED = (
    b"Sec-WebSocket-Extensions: permessage-deflate; "
    b"server_no_context_takeover; client_no_context_takeover\r\n"
)
_INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
_REFUSALS = (
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 307 Elsewhere\r\nLocation: /x\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1a\r\n{"error":{"message":"no"}}\r\n0\r\n\r\n',
    b"HTTP/1.1 200 OK\r\n\r\nhello",
)
TOKENS = (
    *messages.TOKENS,
    *(b"\r\n\r\n", b"\r\n", b"\n", b" ", b"\t", b"HTTP/1.0", b"Connection: close\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: h2c\r\n", _PACKED),
    *(b"Sec-WebSocket-Protocol: x\r\n", b"Sec-WebSocket-Accept: x\r\n", b"HTTP/1.1 100 x\r\n\r\n"),
    *(b"\x81\x00", b"\x81\x7e", b"\x81\x7f", b"\x88\x02", b"\x89\x00", b"\x01\x05", b"\x80\x00"),
    *(b"\xc1\x00", b"\x82\x00", b"\x88\x00", b"\x03\xe8", b"\x03\xed", b"\x83\x00", b"\x81\x80"),
)
LIMITS = Limits(
    message_size=900,
    depth=12,
    in_flight=4,
    pending=6,
    batch=4,
    input_requests=2,
    probe_timeout=120.0,  # the clock is the real one, and no part of it
)
_CALLS = ("tools/call", "tools/list", "resources/read", "ping")
_PARTS = 5


class Act(Struct, frozen=True):
    """What the owner does between two parts."""

    calls: tuple[str, ...] = ()
    answers: bool = False
    """It answers what it was asked."""


class Part(Struct, frozen=True):
    """What the server sends, and what the owner does when the client has read it."""

    data: bytes
    mark: bytes = b""
    """Of the ping that ends it; empty where its answer cannot be waited for."""
    act: Act = Act()


class Script(Struct):
    """All that a server says to one client."""

    config: Config
    packed: bool
    opening: bytes
    right: bool = True
    """The opening is one, so that frames follow."""
    parts: list[Part] = field(default_factory=list)


class Owner:
    """Keeps what it is told, and acts when it is let."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.told: list[Event] = []
        self.issued: list[Any] = []
        self._open: list[int] = []

    def handle(self, event: Event) -> None:
        """Take an event."""
        self.told.append(event)
        if isinstance(event, RequestReceived):
            self._open.append(event.key)
        elif isinstance(event, RequestCancelled):
            self._open.remove(event.key)
            self.peer.release(event.key)

    def act(self, act: Act, *, now: float) -> None:
        """Ask and answer."""
        with suppress(LocalProtocolError, CapabilityMissing):
            for method in act.calls:
                self.issued.append(self.peer.request(method, {}, now=now, timeout=None))
        if act.answers:
            for key in self._open:
                self.peer.respond(key, {"roots": []})
            self._open.clear()


class Model:
    """The client as it must be: a strict reader of frames and a Peer, without a connection."""

    def __init__(self, config: Config, *, packed: bool) -> None:
        self.peer = Peer(Role.CLIENT, config)
        self.owner = Owner(self.peer)
        self.seen: list[codec.Seen] = []
        self.said: list[bytes] = []
        self.wrong = self.too_large = False
        self._reader = codec.Reader(client=False)
        if packed:
            self._reader.agree(fresh=True, bits=15)
        self.peer.start(now=0.0)
        self._settle()

    def hear(self, data: bytes) -> bool:
        """Take in what the server sends; whether the last of it was a whole frame."""
        found: list[codec.Seen] = []
        for at in range(len(data)):
            if self.wrong:
                return False
            try:
                found = self._reader.feed(data[at : at + 1])
            except Exception:  # also UTF-8 that is none, and what does not unfold
                self.wrong = True
                return False
            self.seen += found
            for seen in found:
                if seen.kind == "text":
                    self.too_large |= len(seen.data) > LIMITS.message_size
                    self.peer.receive(seen.data, now=0.0)
                    self._settle()
        return bool(found)

    def act(self, act: Act) -> None:
        """Let its owner act."""
        self.owner.act(act, now=0.0)
        self._settle()

    def _settle(self) -> None:
        while (event := self.peer.next_event()) is not None:
            self.owner.handle(event)
        self.said += [b"".join(frame.data) for frame in self.peer.data_to_send() if frame.data]

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests that it has sent."""
        found = [json.loads(line) for line in self.said]
        return [message for message in found if "method" in message and "id" in message]


# What the server says


def _opening(c: Choices, packed: bool) -> tuple[bytes, bool]:
    """What answers the request for an upgrade, and whether it does."""
    whole = _INTERIM * c.below(3) + _OPENING + (_PACKED if packed else b"") + b"\r\n"
    match c.below(8):
        case 5:
            at = c.below(len(whole))
            return whole[:at] + c.pick(TOKENS) + whole[at + c.below(4) :], False
        case 6:
            return c.pick(_REFUSALS), False
        case 7:
            return c.blob(40), False
        case _:
            return whole, True


def frame(
    c: Choices, text: bytes, packer: codec.Packer | None, key: bytes | None = None
) -> list[codec.Frame]:
    """A message as somebody may write it, or nearly; a client has a ``key`` for its mask."""
    bits = 0
    if packer is not None and c.flag():
        text, bits = packer(text), codec.RSV1
    if c.flag(3):
        at = c.below(len(text) + 1)
        between = [codec.ping(c.blob(4), key=key)] if c.flag() else []
        first = codec.text(text[:at], fin=False, bits=bits, key=key)
        return [first, *between, codec.more(text[at:], key=key)]
    return [codec.text(text, bits=bits, key=key)]


def _odd(c: Choices) -> codec.Frame:
    """A control frame, or a frame that is wrong in some way."""
    data = c.blob(8)
    limit = LIMITS.message_size
    match c.below(8):
        case 0:
            return codec.ping(data)
        case 1:
            return codec.pong(data)
        case 2:
            code = c.pick((1000, 1001, 1005, 1012, 1014, 3000, 999, 65535))
            return codec.Frame(codec.CLOSE, code.to_bytes(2, "big") + data)
        case 3:
            return codec.Frame(c.below(16), data)
        case 4:
            return codec.text(data, mask=True, key=b"\x01\x20\x03\x40")
        case 5:
            return codec.text(data, bits=c.pick((codec.RSV1, codec.RSV2)))
        case 6:
            return codec.text(data, length=c.pick((2**63, 127, limit + 1)), form=8)
        case _:
            return codec.text(b"x" * (limit + c.below(2)))


def _frames(c: Choices, model: Model, packer: codec.Packer | None) -> bytes:
    """Some frames, which know what the client has asked."""
    frames: list[codec.Frame] = []
    for _ in range(1 + c.below(3)):
        asked = model.asked[-4:]
        how = c.below(8)
        if how == 7:
            frames.append(_odd(c))
        elif how > 4 and asked:
            frames += frame(c, helpful(c.pick(asked)), packer)
        else:
            ids = [each["id"] for each in asked]
            frames += frame(c, messages.any_message(c, modern=c.flag(), ids=ids), packer)
    return b"".join(frame.encode(client=False) for frame in frames)


def written(c: Choices) -> tuple[Script, Model]:
    """A script, and the client at the end of it."""
    config = client_config(limits=LIMITS, negotiation=c.pick(tuple(Negotiation)))
    packed = c.flag(3)
    opening, right = _opening(c, packed)
    script = Script(config, packed, opening, right)
    model = Model(config, packed=packed)
    packer = codec.Packer(fresh=True) if packed else None
    if not right or c.flag(4):
        data = c.rest()
        model.hear(data)
        script.parts.append(Part(data))
        return script, model
    for number in range(_PARTS):
        data = b""
        if number == 0 and not c.flag(4):
            data = b"".join(
                codec.text(helpful(asked)).encode(client=False) for asked in model.asked
            )
        elif c:
            data = _frames(c, model, packer)
        mark = b"part %d" % number
        data += codec.ping(mark).encode(client=False)
        if not model.hear(data) or model.seen[-1] != codec.Seen("ping", mark) or model.too_large:
            script.parts.append(Part(data))
            break
        calls = tuple(c.pick(_CALLS) for _ in range(c.below(3)))
        act = Act(calls, answers=c.flag())
        model.act(act)
        script.parts.append(Part(data, mark, act))
    return script, model
