"""HttpClient under any responses: every request ends once, and what is sent can be sent."""

import json
import math
from collections import Counter
from typing import Any

from mcpcore import HttpClientSettings, HttpSend, Limits, Message, Negotiation, SseUse, decode
from mcpcore.engine.events import ConnectionEnded, RequestReceived
from mcpcore.http.headers import is_field_text, is_token
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from mcpcore.wire.sse import encode_comment, encode_event
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import TERMINAL, helpful
from tests.fuzz.site import Cut, bytewise, whole
from tests.http.support import Hand, make_client

TOKENS = (
    *messages.TOKENS,
    *(
        b"data: ",
        b"\n\n",
        b"id: 1.0.x\n",
        b"retry: 0\n",
        b"event: endpoint\ndata: /m\n\n",
        b": \n\n",
    ),
)
_LIMITS = Limits(message_size=900, depth=12, in_flight=4, pending=6, request_timeout=20.0)
_TOKEN = "fuzz-token-9d2c41"
_STATUSES = (
    200,
    200,
    200,
    202,
    204,
    301,
    307,
    400,
    401,
    404,
    405,
    406,
    429,
    500,
    503,
    100,
    299,
    600,
)
_KINDS = (
    b"application/json",
    b"text/event-stream",
    b"text/html",
    b"",
    b"application/json; x",
    b"\xff",
)
_EXTRA = (
    *((b"mcp-session-id", b"s-1"), (b"mcp-session-id", b"bad id"), (b"retry-after", b"1")),
    *(
        (b"location", b"/elsewhere"),
        (b"location", b"http://evil.example/"),
        (b"content-length", b"9"),
    ),
    *(
        (b"mcp-session-id", b"s-2"),
        (b"retry-after", b"99999999999"),
        (b"content-encoding", b"gzip"),
    ),
)
_REQUESTS = (
    "tools/call",
    "tools/list",
    "resources/read",
    "subscriptions/listen",
    "prompts/get",
    "ping",
)
_MOST = 60
"""Requests that one response may lead to."""


class _Run:
    """A client, its owner, and whatever answers it."""

    def __init__(self, c: Choices, cut: Cut) -> None:
        self.c = c
        self._cut = cut
        settings = HttpClientSettings(
            headers=(("Authorization", f"Bearer {_TOKEN}"),),
            max_body=1500,
            max_event=1500,
            max_refusal=700,
            max_violations=4,
            legacy_sse=c.pick(tuple(SseUse)),
        )
        way = c.pick(tuple(Negotiation))
        only = settings.legacy_sse is SseUse.ONLY
        client = make_client(
            settings,
            negotiation=Negotiation.AUTO if only else way,
            limits=_LIMITS,
            assume_sse=c.flag(8),
        )
        self.hand = Hand(client)
        self.client = client
        self.open: list[HttpSend] = []
        self.begun: set[int] = set()
        """Exchanges whose head has come."""
        self.issued: list[Any] = []
        self.ends: Counter[Any] = Counter()
        self.over = False
        self.keys: list[int] = []
        self.transcript: list[Any] = []

    def settle(self) -> None:
        """Take what it tells and sends, and check it."""
        hand = self.hand
        hand.pump()
        assert len(hand.sent) <= _MOST, "one thing leads to endless requests"
        for send in hand.sent:
            _check(send)
        self.open += hand.sent
        self.transcript += hand.sent
        hand.sent.clear()
        gone = set(hand.aborted)
        self.open = [send for send in self.open if send.exchange not in gone]
        for event in hand.events:
            self._event(event)
        self.transcript += hand.events
        hand.events.clear()
        due = self.client.deadline()
        assert due is None or math.isfinite(due)

    def _event(self, event: Any) -> None:
        assert not self.over, f"after the end: {event}"
        assert _TOKEN not in repr(event)
        if isinstance(event, RequestReceived):
            self.keys.append(event.key)
        elif isinstance(event, TERMINAL):
            assert event.request in self.issued
            self.ends[event.request] += 1
            assert self.ends[event.request] == 1, "a second end of one request"
        elif isinstance(event, ConnectionEnded):
            self.over = True

    # The server

    def respond(self) -> None:
        """Give one open exchange the next part of some response."""
        if not self.open:
            return
        c = self.c
        send = c.pick(self.open)
        if c.flag():
            self._helpfully(send)
        elif send.exchange not in self.begun:
            self._head(send)
        elif c.flag(3):
            self._end(send, c.pick((None, None, "connection reset")))
        else:
            self._data(send, self._body(send))
        self.settle()

    def _head(self, send: HttpSend) -> None:
        c = self.c
        lines = [(b"content-type", c.pick(_KINDS))]
        for _ in range(c.below(3)):
            odd = (c.pick((b"x", b"retry-after")), c.blob(8))
            lines += [c.pick(_EXTRA) if c.flag() else odd]
        status = c.pick(_STATUSES)
        if status >= 200:
            self.begun.add(send.exchange)
        self.client.response_head(send.exchange, status, lines, now=self.hand.now)

    def _data(self, send: HttpSend, data: bytes) -> None:
        for piece in self._cut(data):
            if piece:
                self.client.response_data(send.exchange, piece, now=self.hand.now)

    def _end(self, send: HttpSend, error: str | None) -> None:
        if send.exchange in self.begun or error is not None:
            self.open.remove(send)
            self.client.response_end(send.exchange, error=error, now=self.hand.now)

    def _body(self, send: HttpSend) -> bytes:
        c = self.c
        ids = _ids(send)
        text = messages.any_message(c, modern=c.flag(), ids=ids)
        match c.below(6):
            case 0:
                return c.blob(40)
            case 1:
                return text
            case 2:
                return encode_event(b"/messages?s=1", event="endpoint")
            case 3:
                return encode_comment("x") + encode_event(
                    b"", id=c.text(3).translate(_PLAIN), retry=c.byte()
                )
            case _:
                return encode_event(text, id="1.1.x" if c.flag() else None)

    def _helpfully(self, send: HttpSend) -> None:
        """What a good server would say, as JSON or on a stream."""
        frame = decode(send.body)
        asks = isinstance(frame, Message) and frame.method and isinstance(frame.id, (str, int))
        now = self.hand.now
        if not asks or send.exchange in self.begun:
            if send.exchange not in self.begun:
                stream = send.method == "GET" and self.c.flag()
                lines = [(b"content-type", b"text/event-stream")] if stream else []
                status = 200 if stream else 202 if send.method == "POST" else 405
                self.begun.add(send.exchange)
                self.client.response_head(send.exchange, status, lines, now=now)
                if stream:
                    return
            self._end(send, None)
            return
        answer = helpful(json.loads(send.body))
        streams = self.c.flag()
        kind = b"text/event-stream" if streams else b"application/json"
        self.begun.add(send.exchange)
        lines = [(b"content-type", kind)]
        if b'"initialize"' in send.body:
            lines.append((b"mcp-session-id", b"s-1"))
        self.client.response_head(send.exchange, 200, lines, now=now)
        self._data(send, encode_event(answer) if streams else answer)
        self._end(send, None)

    # The owner

    def act(self) -> None:
        """Let the owner, or time, do something."""
        c, now = self.c, self.hand.now
        method = c.pick(_REQUESTS)
        try:
            match c.below(8):
                case 0 | 1 | 2:
                    body = messages.params(c, method)
                    self.issued.append(
                        self.client.request(method, body, now=now, timeout=c.pick((None, 3.0)))
                    )
                case 3:
                    self.client.notify("notifications/roots/list_changed", {})
                case 4 if self.issued:
                    self.client.cancel(c.pick(self.issued), now=now)
                case 5 if self.keys:
                    key = self.keys.pop()
                    if c.flag():
                        self.client.respond(key, {"roots": []})
                    else:
                        self.client.fail(key, ErrorData(-32601, "no"))
                case 6 if self.keys:
                    self.client.release(c.pick(self.keys))
                case _:
                    self.pass_time(c.pick((0.5, 2.0, 12.0, 70.0)))
        except (LocalProtocolError, CapabilityMissing):
            pass
        self.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        until = self.hand.now + seconds
        for _ in range(1000):
            due = self.client.deadline()
            if due is None or due > until:
                break
            self.hand.now = max(self.hand.now, due)
            self.client.handle_timeout(self.hand.now)
            self.settle()
            after = self.client.deadline()
            assert after is None or after > self.hand.now, "what is due is done"
        else:
            raise AssertionError("time does not pass: there is always something due")
        self.hand.now = until

    def finish(self) -> None:
        """Close: whatever was asked has one end then, and nothing is left open."""
        waiting = set(self.client._state.peer._state.waiting_input)
        self.client.close(now=self.hand.now)
        self.settle()
        while self.open:
            self._end(self.open[0], "gone")
            self.settle()
        assert self.over
        assert self.client.exchanges == 0
        for id in self.issued:
            assert self.ends[id] == 1 or id in waiting, f"{id} has no end"


_PLAIN = {ord(char): None for char in "\r\n\0"}


def _ids(send: HttpSend) -> list[Any]:
    frame = decode(send.body)
    return [frame.id] if isinstance(frame, Message) and isinstance(frame.id, (str, int)) else []


def _check(send: HttpSend) -> None:
    """What is sent can be sent, and means what it says."""
    names = [name for name, _ in send.headers]
    assert len(set(names)) == len(names)
    assert all(is_token(name) for name in names)
    for name, value in send.headers:
        if name == b"last-event-id":  # UTF-8, as HTML has it
            assert min(value.decode()) >= " "
        else:
            assert is_field_text(value)
    assert send.target.startswith("/")
    assert all("!" <= char <= "~" for char in send.target)
    fields = dict(send.headers)
    assert fields[b"host"] == b"localhost:8000", "a request that goes elsewhere"
    if send.method == "POST":
        assert int(fields[b"content-length"]) == len(send.body)
        assert isinstance(decode(send.body), Message)
    assert send.after is None or 0 <= send.after <= 400
    assert _TOKEN not in repr(send)


def _run(data: bytes, cut: Cut) -> _Run:
    run = _Run(Choices(data), cut)
    run.client.start(now=run.hand.now)
    run.settle()
    if not run.c.flag(4):
        for send in list(run.open):
            run._helpfully(send)
            run.settle()
    for _ in range(40):
        if not run.c or run.over:
            break
        if run.c.below(3):
            run.respond()
        else:
            run.act()
    run.finish()
    return run


def TARGET(data: bytes) -> None:
    assert _run(data, whole).transcript == _run(data, bytewise).transcript
