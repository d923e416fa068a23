"""Servers of HTTP without sockets, visited by a client that does anything: heads, bodies, acts."""

import json
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from mcpcore import HttpRequest, HttpSettings, Limits, Message, SseDecoder, decode
from mcpcore.engine.events import (
    RequestCancelled,
    RequestReceived,
    SubscriptionClosed,
    SubscriptionOpened,
)
from mcpcore.http.server.sessions import SessionClosed, SessionOpened
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.messages import Identity
from tests.fuzz.replies import BUSY, asked_for, check, kind, parts
from tests.http.support import LEGACY, META, Bench, Reply, initialize, note, request

TOKENS = messages.TOKENS
_PATHS = (
    "/mcp",
    "/mcp",
    "/mcp",
    "/",
    "/health",
    "/health/ready",
    "/mcp/",
    "/sse",
    "/messages",
    "*",
)
_METHODS = ("POST", "POST", "GET", "DELETE", "OPTIONS", "HEAD", "PUT", "")
_HEADERS = (
    *(b"mcp-session-id", b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"accept", b"host"),
    *(b"content-type", b"content-length", b"transfer-encoding", b"last-event-id", b"origin"),
    *(b"content-encoding", b"mcp-param-a", b"access-control-request-method", b"x"),
)
_VALUES = (
    *(b"application/json", b"text/event-stream", b"*/*", b"gzip", b"0", b"5", b"chunked", b""),
    *(messages.MODERN.encode(), LEGACY.encode(), b"2025-03-26", b"tools/call", b"http://evil"),
    *(b"=?base64?QQ==?=", b"=?base64?!?=", b"localhost", b"evil.example", b"\xff", b"a\x00b"),
)
Cut = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    """Bodies arrive at once."""
    return [data]


def bytewise(data: bytes) -> list[bytes]:
    """Bodies arrive byte by byte."""
    return [data[at : at + 1] for at in range(len(data))] or [b""]


class Visit:
    """Somebody at a server, and the owner of it.

    ``benches``: workers that serve together, within ``settings`` and ``limits``; ``failing``: where
    they keep their sessions may fail.
    """

    def __init__(
        self,
        benches: list[Bench],
        c: Choices,
        cut: Cut,
        settle: Callable[[], None],
        *,
        settings: HttpSettings,
        limits: Limits,
        failing: bool = False,
    ) -> None:
        self.c = c
        self.benches = benches
        self.delivered = 0
        """Messages that have arrived."""
        self._cut = cut
        self._settle = settle
        self._calls = min(settings.max_calls, limits.in_flight)
        self._listening = limits.listen_streams
        self._excused = failing
        """It may be busy at any time."""
        self._judged: set[tuple[int, int]] = set()
        self.sessions: list[str] = []
        self.ids: list[str] = []
        """Event ids that were seen."""
        self.open: dict[int, Bench] = {}
        """Keys of requests that nobody has answered."""
        self.requests: dict[int, RequestReceived] = {}
        """What was asked with each key, be it answered or not."""
        self.streams: dict[int, int] = {}
        """Routes of the listen streams that are open, by key."""
        self.left: set[tuple[int, int]] = set()
        """Exchanges that the client has left: the bench's place, and the route."""
        self.bodies: dict[tuple[int, int], bytes] = {}
        self.asked: list[Any] = []
        """Requests that the server has sent."""
        self._revoked: set[tuple[str, Identity]] = set()
        """What the body that is on its way calls off: the session that it names, and the id."""
        self.called_off: set[int] = set()
        """Keys of requests that were."""
        self._ended: set[str] = set()
        """Sessions that are gone, and with them what was asked in them."""
        self._came_back = False
        """Somebody has asked for what a stream said before, which may be answers."""
        self._closing = False

    # The client

    def send(self, method: str, path: str, lines: list[tuple[bytes, bytes]], body: bytes) -> None:
        """One request, whole or in pieces."""
        at = self.c.below(len(self.benches))
        bench = self.benches[at]
        route = next(bench._routes)
        bench.replies[route] = Reply()
        place, _, query = path.partition("?")
        head = HttpRequest(method=method, path=place, query=query, headers=lines)
        self.bodies[at, route] = body
        self._revoked = _revoked(head, body)
        self._came_back |= any(name == b"last-event-id" for name, _ in lines)
        wanted = bench.server.open(route, head, now=bench.now)
        assert wanted >= 0
        if wanted:
            self._feed(bench, route, lines, body, wanted)
        self.pump()
        self._revoked.clear()

    def _feed(
        self, bench: Bench, route: int, lines: list[tuple[bytes, bytes]], body: bytes, wanted: int
    ) -> None:
        """As a driver does: so many bytes as are announced, or all that come in chunks."""
        if any(name == b"content-length" for name, _ in lines):
            body = body[:wanted].ljust(min(wanted, 1000), b" ")
            if len(body) < wanted:
                bench.server.disconnect(route, now=bench.now)
                self.left.add((self.benches.index(bench), route))
                return
        self.delivered += 1
        pieces = self._cut(body)
        for piece in pieces[:-1]:
            bench.server.body(route, piece, end=False, now=bench.now)
        bench.server.body(route, pieces[-1], end=True, now=bench.now)

    def lines(self, body: bytes, **more: str) -> list[tuple[bytes, bytes]]:
        """The header lines that a right client sends."""
        given = {
            "host": "localhost",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        return [(name.encode(), value.encode("utf-8", "replace")) for name, value in given.items()]

    def post(self, message: Any, **more: str) -> None:
        """A right POST of a message."""
        body = json.dumps(message).encode()
        self.send("POST", "/mcp", self.lines(body, **more), body)

    def visit(self) -> None:
        """Send one request of any kind."""
        c = self.c
        session = c.pick(self.sessions) if self.sessions and not c.flag(8) else c.text(8)
        modern = c.flag()
        body = messages.any_message(
            c, modern=modern, ids=[asked["id"] for asked in self.asked[-3:]]
        )
        method, path = "POST", "/mcp"
        named = self._named(body) if modern else {"mcp_session_id": session}
        what = c.byte()
        match what % 8:
            case 0:
                version = c.seldom(messages.VERSIONS, messages.NUMBERS)
                body = messages.text(Choices(b""), initialize(version))
                named = {}
            case 1:
                method, body = c.pick(("GET", "GET", "DELETE")), b""
                if self.ids and c.flag():
                    named = {**named, "last_event_id": c.pick(self.ids)}
            case 2:
                method, path = c.pick(_METHODS), c.pick(_PATHS)
            case 3:
                name = "x" if what < 128 else messages.NUMBERS[what // 8 % len(messages.NUMBERS)]
                call = request("tools/call", {"name": name, "_meta": META})
                body = messages.text(Choices(b""), call)
                named = self._named(body)
        lines = self.lines(body, **named)
        if c.flag(3):
            lines = self._bent(lines)
        self.send(method, path, lines, body)

    def _named(self, body: bytes) -> dict[str, str]:
        """The headers of the modern era that go with a body."""
        found = {"mcp_protocol_version": messages.MODERN}
        frame = decode(body)
        if isinstance(frame, Message) and isinstance(frame.method, str):
            found["mcp_method"] = frame.method
            params = messages.read(bytes(frame.params)) if frame.params else {}
            named = params.get("name") or params.get("uri")
            if isinstance(named, (str, int, float)):
                found["mcp_name"] = str(named)
        return found

    def _bent(self, lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        c = self.c
        lines = list(lines)
        for _ in range(1 + c.below(2)):
            at = c.below(len(lines) + 1)
            match c.below(4):
                case 0:
                    del lines[at : at + 1]
                case 1 if at < len(lines):
                    lines[at] = (lines[at][0], c.pick(_VALUES))
                case 2 if at < len(lines):
                    lines.append(lines[at])
                case _:
                    lines.append((c.pick(_HEADERS), c.pick(_VALUES) if c.flag() else c.blob(12)))
        return lines

    def leave(self) -> None:
        """Leave an exchange that is not complete."""
        going = [
            (at, route)
            for at, bench in enumerate(self.benches)
            for route, reply in bench.replies.items()
            if reply.end is None and (at, route) not in self.left
        ]
        if going:
            at, route = self.c.pick(going)
            self.left.add((at, route))
            self.benches[at].server.disconnect(route, now=self.benches[at].now)
            self.pump()

    # The owner

    def pump(self) -> None:
        """Let everything move that can, and take note of what is told."""
        self._settle()
        told = [(at, event) for at, bench in enumerate(self.benches) for event in bench.events]
        self._ended |= {event.session for _, event in told if isinstance(event, SessionClosed)}
        for at, event in told:
            self._event(at, event)
        for bench in self.benches:
            bench.events.clear()
        for at, bench in enumerate(self.benches):
            for route, reply in bench.replies.items():
                self._look(reply)
                if reply.head is not None and (at, route) not in self._judged:
                    self._judged.add((at, route))
                    self._judge(reply)
            due = bench.server.deadline()
            assert due is None or math.isfinite(due)

    def _event(self, at: int, event: Any) -> None:
        bench = self.benches[at]
        key = getattr(event, "key", 0) + at * _KEYS
        if isinstance(event, RequestReceived):
            assert key not in self.requests
            self.open[key] = bench
            self.requests[key] = event
        elif isinstance(event, RequestCancelled):
            self._cancelled(at, key)
            bench.server.release(event.key)
            self.open.pop(key, None)
        elif isinstance(event, SubscriptionOpened):
            self.streams[key] = event.route
        elif isinstance(event, SubscriptionClosed):
            route = self.streams.pop(key)
            assert self._closing or (at, route) in self.left, "nobody has ended this stream"
        elif isinstance(event, SessionOpened):
            self.sessions.append(event.session)
        elif isinstance(event, SessionClosed) and event.session in self.sessions:
            self.sessions.remove(event.session)

    def _cancelled(self, at: int, key: int) -> None:
        """A request is not wanted any more: somebody must have said so, or have left."""
        asked = self.requests[key]
        if asked.session is None:
            assert (at, asked.route) in self.left, f"nobody has left {asked}"
        elif asked.session not in self._ended:
            named = (asked.session, messages.identity(asked.id))
            assert named in self._revoked, f"nobody has called off {asked}"
            self.called_off.add(key)

    def _look(self, reply: Reply) -> None:
        """Event ids, and what the server asks, come with replies."""
        if reply.head is None or len(self.ids) > 20 or b"event-stream" not in kind(reply):
            return
        for event in SseDecoder().receive(reply.body):
            if event.id and event.id not in self.ids:
                self.ids.append(event.id)
            if event.data:
                found = json.loads(event.data)
                if isinstance(found, dict) and "method" in found and "id" in found:
                    self.asked.append(found)

    def _judge(self, reply: Reply) -> None:
        """Nobody is told that the server is busy unless it is, by our own count."""
        if reply.status == BUSY:
            streams = len(self.streams)
            full = len(self.open) + streams >= self._calls or streams >= self._listening
            assert self._excused or full, f"busy with nothing: {reply}"

    def act(self) -> None:
        """Let the owner, or time, do something."""
        c = self.c
        key = c.pick(list(self.open)) if self.open else c.below(4)
        bench = self.open.get(key) or self.benches[0]
        server, own = bench.server, key % _KEYS
        name = c.pick(self.sessions) if self.sessions else "none"
        try:
            match c.below(9):
                case 0 | 1:
                    self.answer(key)
                case 2:
                    server.progress(own, float(c.byte()), None, "m" * c.below(64))
                case 3:
                    server.fail(own, ErrorData(c.pick((-7, -32601, -32602)), "no"))
                    self.open.pop(key, None)
                case 4:
                    method = c.pick(messages.METHODS)
                    server.notify(method, messages.params(c, method), parent=c.pick((None, own)))
                case 5:
                    parent, session = (own, None) if c.flag() else (None, name)
                    server.request(
                        "elicitation/create", {}, now=bench.now, parent=parent, session=session
                    )
                case 6:
                    server.log(c.pick((own, None)), "error", "x")
                case 7:
                    self.pass_time(c.pick((0.1, 2.0, 20.0, 100.0)))
                case _:
                    self.leave()
        except (LocalProtocolError, CapabilityMissing):
            pass
        self.pump()

    def answer(self, key: int) -> None:
        """Answer an open request."""
        bench = self.open.pop(key, None)
        if bench is not None:
            bench.server.respond(key % _KEYS, {"content": []})

    def pass_time(self, seconds: float) -> None:
        """Let time pass everywhere."""
        for bench in self.benches:
            until = bench.now + seconds
            for _ in range(1000):
                due = bench.server.deadline()
                if due is None or due > until:
                    break
                bench.now = max(bench.now, due)
                bench.server.handle_timeout(bench.now)
                after = bench.server.deadline()
                assert after is None or after > bench.now, "what is due is done"
                self.pump()
            else:
                raise AssertionError("time does not pass: there is always something due")
            bench.now = until

    # The end

    def finish(self) -> None:
        """Answer everything and close: every exchange that is complete has its reply."""
        for key in list(self.open):
            self.answer(key)
        self.pump()
        self.pass_time(5.0)
        for at, bench in enumerate(self.benches):
            for route, reply in bench.replies.items():
                if (at, route) not in self.left:
                    assert reply.head is not None, "an exchange without a reply"
        self._all_answered()
        self._excused = self._closing = True
        for bench in self.benches:
            bench.server.close(now=bench.now)
        self.pump()
        for key in list(self.open):
            self.answer(key)
        self.pump()
        for at, bench in enumerate(self.benches):
            for route, reply in bench.replies.items():
                check(reply, self.bodies[at, route], left=(at, route) in self.left)
            assert bench.server.exchanges == 0
            assert bench.server.calls == 0

    def _all_answered(self) -> None:
        """What the owner was asked is answered where it was asked, unless nobody wants it."""
        if self._excused:
            return
        off = Counter(self._place(key) for key in self.called_off)
        for key, asked in self.requests.items():
            at, route, id = place = self._place(key)
            if asked.session in self._ended or (at, route) in self.left:
                continue
            reply = self.benches[at].replies[route]
            if not (self._came_back and b"event-stream" in kind(reply)):
                found = [part.get("id") for part in parts(reply) if "method" not in part]
                answers = [messages.identity(each) for each in found].count(id)
                # One batch may have an id more than once; it is answered as often.
                wanted = asked_for(self.bodies[at, route])[id] - off[place]
                assert answers == wanted, f"{answers} answers instead of {wanted}: {asked}"

    def _place(self, key: int) -> tuple[int, int, Identity]:
        asked = self.requests[key]
        return key // _KEYS, asked.route, messages.identity(asked.id)


_KEYS = 1 << 20
"""Keys of several servers are told apart by what is added to them."""


def _revoked(head: HttpRequest, body: bytes) -> set[tuple[str, Identity]]:
    """What a request calls off in the session that it names."""
    frame = decode(body)
    parts = frame if isinstance(frame, list) else [frame]
    named = [messages.called_off(part) for part in parts if isinstance(part, Message)]
    sessions = [
        value.decode("latin-1") for name, value in head.headers if name == b"mcp-session-id"
    ]
    return {(session, id) for session in sessions for id in named if id is not None}


def open_session(visit: Visit, version: str) -> None:
    """A legacy session, opened by the book."""
    visit.post(initialize(version))
    if visit.sessions:
        visit.post(note("notifications/initialized"), mcp_session_id=visit.sessions[-1])


def wander(visit: Visit, steps: int = 16) -> None:
    """Any requests and any acts, as long as there are choices; then the end."""
    if visit.c.flag():
        open_session(visit, visit.c.pick((LEGACY, "2025-03-26", "2025-06-18")))
    for _ in range(steps):
        if not visit.c:
            break
        if visit.c.below(3):
            visit.visit()
        else:
            visit.act()
    visit.finish()
