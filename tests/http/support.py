"""Real servers and clients for these tests, and the virtual wire between them."""

import heapq
import json
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Any

import msgspec
from msgspec import Struct

from mcpcore import HttpClient, HttpServer, Implementation, Refusal, StreamInterrupted
from mcpcore.engine.config import Config, Limits, Negotiation
from mcpcore.engine.events import EndReason, Event, RequestEnded
from mcpcore.http import headers
from mcpcore.http.messages import HttpAbort, HttpChunk, HttpEnd, HttpHead, HttpRequest, HttpSend
from mcpcore.http.settings import HttpClientSettings, HttpSettings
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.sse import ServerSentEvent, SseDecoder, encode_event

URL = "http://localhost:8000/mcp"
SECRET = bytes(range(32))
MODERN = REVISIONS[-1].name
LEGACY = REVISIONS[-2].name
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
SERVER_OFFERS = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
    "completions": {},
}
ECHO = {"name": "echo", "arguments": {}}
NOTHING: dict[str, Any] = {"content": []}
"""What a tool gives that has nothing to say."""
CLIENT_OFFERS = {"sampling": {}, "elicitation": {}, "roots": {"listChanged": True}}


def make_server(
    settings: HttpSettings | None = None,
    *,
    revisions: tuple[Revision, ...] = REVISIONS,
    limits: Limits | None = None,
    secret: bytes = SECRET,
    **config: Any,
) -> HttpServer:
    return HttpServer(
        Config(
            info=Implementation(name="server", version="1"),
            capabilities=msgspec.convert(SERVER_OFFERS, ServerCapabilities),
            revisions=revisions,
            limits=limits or Limits(),
            **config,
        ),
        secret=secret,
        settings=settings,
    )


def make_client(
    settings: HttpClientSettings | None = None,
    *,
    url: str = URL,
    negotiation: Negotiation = Negotiation.AUTO,
    revisions: tuple[Revision, ...] = REVISIONS,
    limits: Limits | None = None,
    seed: bytes = b"",
    assume_sse: bool = False,
    **config: Any,
) -> HttpClient:
    return HttpClient(
        Config(
            info=Implementation(name="client", version="1"),
            capabilities=msgspec.convert(CLIENT_OFFERS, ClientCapabilities),
            negotiation=negotiation,
            revisions=revisions,
            limits=limits or Limits(),
            **config,
        ),
        url,
        settings=settings,
        seed=seed,
        assume_sse=assume_sse,
    )


class Reply(Struct):
    """What has been written on an exchange so far."""

    head: HttpHead | None = None
    body: bytes = b""
    end: HttpEnd | None = None

    @property
    def cut(self) -> bool:
        """Whether it has ended with its connection."""
        return self.end is not None and self.end.close

    @property
    def status(self) -> int:
        assert self.head is not None, "no head yet"
        return self.head.status

    @property
    def headers(self) -> dict[str, str]:
        assert self.head is not None, "no head yet"
        return {name.decode(): value.decode() for name, value in self.head.headers}

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        assert self.end is not None
        return json.loads(self.body)

    @property
    def code(self) -> int:
        return int(self.json["error"]["code"])

    @property
    def events(self) -> list[Any]:
        assert self.headers["content-type"] == "text/event-stream"
        assert "content-length" not in self.headers
        events = SseDecoder().receive(self.body)
        return [json.loads(event.data) for event in events if event.data]

    @property
    def raw_events(self) -> list[ServerSentEvent]:
        """All events, those without data included."""
        return SseDecoder().receive(self.body)

    @property
    def ids(self) -> list[str]:
        """The ids of the events."""
        return [event.id or "" for event in self.raw_events]

    @property
    def comments(self) -> bytes:
        """What the stream holds besides events."""
        blocks = self.body.split(b"\n\n")
        return b"".join(block + b"\n\n" for block in blocks if block.startswith(b":"))


SECURITY = {name.decode(): value.decode() for name, value in headers.SECURITY}
"""Header lines of every reply."""


class Bench:
    """A server without a client: requests written by hand."""

    def __init__(self, server: HttpServer | None = None) -> None:
        self.server = make_server() if server is None else server
        self.now = 100.0
        self.events: list[Any] = []
        self.replies: dict[int, Reply] = {}
        self._routes = count(1)

    def send(
        self,
        body: Any = None,
        *,
        method: str = "POST",
        path: str = "/mcp",
        principal: str | Refusal | None = None,
        remove: tuple[str, ...] = (),
        repeat: tuple[str, ...] = (),
        pump: bool = True,
        peer: str | None = None,
        root: str = "",
        scheme: str = "http",
        **headers: str,
    ) -> int:
        """Send one request; give its exchange. Keyword ``mcp_name`` is the header mcp-name.

        ``remove`` and ``repeat`` name headers that are not there, or twice.
        """
        path, _, query = path.partition("?")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is None:
            data = b""
        lines = {
            "host": "localhost:8000",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "content-length": str(len(data)),
        }
        lines.update({name.replace("_", "-"): value for name, value in headers.items()})
        head = HttpRequest(
            method=method,
            path=path,
            query=query,
            root=root,
            headers=[
                (name.encode(), value.encode("latin-1"))
                for name, value in lines.items()
                if name not in remove
                for _ in range(1 + (name in repeat))
            ],
            peer=peer,
            scheme=scheme,
        )
        route = next(self._routes)
        self.replies[route] = Reply()
        wanted = self.server.open(route, head, principal=principal, now=self.now)
        if wanted:
            assert len(data) <= wanted
            self.server.body(route, data, end=True, now=self.now)
        if pump:
            self.pump()
        return route

    def post(self, body: Any, **options: Any) -> Reply:
        """Send a POST and give its reply (which goes on growing)."""
        return self.replies[self.send(body, **options)]

    def modern(self, method: str, params: dict[str, Any] | None = None, **options: Any) -> Reply:
        """Send a modern request with the headers it should have."""
        return self.replies[self.send_modern(method, params, **options)]

    def send_modern(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        id: Any = 1,
        meta: dict[str, Any] = META,
        **options: Any,
    ) -> int:
        body = request(method, {"_meta": meta, **(params or {})}, id=id)
        named = (params or {}).get("name") or (params or {}).get("uri")
        headers = {"mcp_protocol_version": MODERN, "mcp_method": method}
        if named is not None:
            headers["mcp_name"] = named
        return self.send(body, **{**headers, **options})

    def answer(self, key: int, result: Any = NOTHING) -> None:
        """Answer a request, and write that."""
        self.server.respond(key, result)
        self.pump()

    def look(self) -> None:
        """Take all events, and write nothing."""
        while (event := self.server.next_event()) is not None:
            self.events.append(event)

    def pump(self) -> None:
        """Take all events and write everything that can be written."""
        while True:
            self.look()
            told = self.server.writable()
            # What was told of before and not taken is still there.
            open_routes = [route for route, reply in self.replies.items() if reply.end is None]
            written = [self.write(route, 1 << 20) for route in open_routes]
            assert set(told) <= set(open_routes)
            if not any(written):
                return

    def write(self, route: int, limit: int) -> list[Any]:
        items = self.server.data_to_send(route, limit)
        reply = self.replies[route]
        for item in items:
            assert reply.end is None
            assert item.exchange == route
            if isinstance(item, HttpHead):
                assert reply.head is None
                reply.head = item
            elif isinstance(item, HttpChunk):
                assert reply.head is not None
                assert 0 < len(item.data) <= limit
                reply.body += item.data
            else:
                reply.end = item
                length = reply.headers.get("content-length")
                assert length is None or int(length) == len(reply.body)
        return list(items)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        until = self.now + seconds
        while (due := self.server.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.server.handle_timeout(self.now)
            self.pump()
        self.now = until

    def take(self, kind: type[Any]) -> Any:
        """Remove and give the first event of a kind."""
        for event in self.events:
            if isinstance(event, kind):
                self.events.remove(event)
                return event
        raise AssertionError(f"no {kind.__name__} among {self.events}")

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def session(self, version: str = LEGACY, **options: Any) -> str:
        """Open a legacy session; give its id."""
        reply = self.post(initialize(version), **options)
        assert reply.status == 200
        id = reply.headers["mcp-session-id"]
        options.pop("id", None)
        done = self.post(note("notifications/initialized"), mcp_session_id=id, **options)
        assert done.status == 202
        assert done.body == b""
        return id


def in_session(
    version: str = LEGACY, *, server: HttpServer | None = None, **options: Any
) -> tuple[Bench, str]:
    """A server without a client, and a session."""
    bench = Bench(server)
    return bench, bench.session(version, **options)


def request(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": id, "method": method}
    return message if params is None else {**message, "params": params}


def note(method: str, params: Any = None) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": method}
    return message if params is None else {**message, "params": params}


def initialize(version: str = LEGACY, *, id: Any = 0) -> dict[str, Any]:
    return request(
        "initialize",
        {
            "protocolVersion": version,
            "capabilities": CLIENT_OFFERS,
            "clientInfo": {"name": "hand", "version": "1"},
        },
        id=id,
    )


class Wire:
    """A client and a server joined without sockets, in virtual time.

    ``sizes`` are the sizes in which bodies travel, used in turn.  ``on_server`` and ``on_client``
    see each event as it comes.  ``broken`` may name exchanges whose connection fails.
    """

    def __init__(
        self,
        client: HttpClient,
        server: Any,
        *,
        sizes: tuple[int, ...] = (1 << 20,),
    ) -> None:
        self.client = client
        self.server = server
        self.now = 1000.0
        self.peer: str | None = None
        self.client_events: list[Any] = []
        self.server_events: list[Any] = []
        self.on_server: Callable[[Any], None] = lambda event: None
        self.on_client: Callable[[Any], None] = lambda event: None
        self.sent: list[HttpSend] = []
        self.heads: dict[int, HttpHead] = {}
        self.aborted: list[int] = []
        self.refuse: Callable[[HttpSend], str | None] = lambda send: None
        self._sizes: Iterator[int] = cycle(sizes)
        self._delayed: list[tuple[float, int, HttpSend]] = []
        self._open: set[int] = set()

    def run(self) -> "Wire":
        """Move everything that can move without time passing."""
        for _ in range(10_000):
            moved = self._events()
            for plan in self.client.requests_to_send():
                moved = True
                self._take(plan)
            moved = self._events() or moved
            for route in self._writable():
                moved = True
                self._deliver(route)
            if not moved:
                return self
        raise AssertionError("the wire does not come to rest")

    def _writable(self) -> list[int]:
        told: list[int] = self.server.writable()
        return told

    def _take(self, plan: HttpSend | HttpAbort) -> None:
        if isinstance(plan, HttpAbort):
            self._abort(plan.exchange)
        elif plan.after:
            heapq.heappush(self._delayed, (self.now + plan.after, plan.exchange, plan))
        else:
            self._send(plan)

    def _events(self) -> bool:
        moved = False
        for machine, seen, react in (
            (self.server, self.server_events, self.on_server),
            (self.client, self.client_events, self.on_client),
        ):
            while (event := machine.next_event()) is not None:
                moved = True
                seen.append(event)
                react(event)
        return moved

    def _send(self, plan: HttpSend) -> None:
        self.sent.append(plan)
        problem = self.refuse(plan)
        if problem is not None:
            self.client.response_end(plan.exchange, error=problem, now=self.now)
            return
        path, _, query = plan.target.partition("?")
        head = HttpRequest(
            method=plan.method, path=path, query=query, headers=plan.headers, peer=self.peer
        )
        self._open.add(plan.exchange)
        wanted = self.server.open(plan.exchange, head, now=self.now)
        rest = plan.body if wanted else b""
        while rest:
            size = next(self._sizes)
            part, rest = rest[:size], rest[size:]
            self.server.body(plan.exchange, part, end=not rest, now=self.now)

    def _deliver(self, route: int) -> None:
        for item in self.server.data_to_send(route, next(self._sizes)):
            if route not in self._open:
                continue
            if isinstance(item, HttpHead):
                self.heads[route] = item
                self.client.response_head(route, item.status, item.headers, now=self.now)
            elif isinstance(item, HttpChunk):
                self.client.response_data(route, item.data, now=self.now)
            else:
                self._open.discard(route)
                self.client.response_end(route, now=self.now)

    def _abort(self, exchange: int) -> None:
        self.aborted.append(exchange)
        self._delayed = [entry for entry in self._delayed if entry[1] != exchange]
        if exchange in self._open:
            self._open.discard(exchange)
            self.server.disconnect(exchange, now=self.now)

    def cut(self, exchange: int, error: str | None = "connection reset") -> None:
        """Break the connection of an exchange, seen by both sides."""
        self._open.discard(exchange)
        self.server.disconnect(exchange, now=self.now)
        self.client.response_end(exchange, error=error, now=self.now)

    def pass_time(self, seconds: float) -> "Wire":
        """Let time pass, from deadline to deadline."""
        until = self.now + seconds
        while True:
            self.run()
            dues = [machine.deadline() for machine in (self.client, self.server)]
            dues += [self._delayed[0][0]] if self._delayed else []
            due = min((each for each in dues if each is not None), default=until)
            if due > until:
                break
            self.now = max(self.now, due)
            while self._delayed and self._delayed[0][0] <= self.now:
                self._send(heapq.heappop(self._delayed)[2])
            for machine in (self.client, self.server):
                deadline = machine.deadline()
                if deadline is not None and deadline <= self.now:
                    machine.handle_timeout(self.now)
            if due >= until:
                break
        self.now = until
        return self.run()

    def start(self) -> "Wire":
        self.client.start(now=self.now)
        return self.run()

    def server_saw(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.server_events if isinstance(event, kind)]

    def client_saw(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.client_events if isinstance(event, kind)]

    def exchange_of(self, text: str) -> int:
        """The exchange of the last request sent whose body or method contains ``text``."""
        for plan in reversed(self.sent):
            if text.encode() in plan.body or plan.method == text:
                return plan.exchange
        raise AssertionError(f"nothing sent with {text}")

    def methods(self) -> list[str]:
        """What was sent: HTTP method, or JSON-RPC method of a POST."""
        return [
            json.loads(plan.body).get("method", "response") if plan.body else plan.method
            for plan in self.sent
        ]


class Hand:
    """A client without a server: responses written by hand."""

    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.now = 50.0
        self.events: list[Any] = []
        self.sent: list[HttpSend] = []
        self.aborted: list[int] = []

    def pump(self) -> "Hand":
        while True:
            while (event := self.client.next_event()) is not None:
                self.events.append(event)
            plans = self.client.requests_to_send()
            if not plans:
                return self
            for plan in plans:
                if isinstance(plan, HttpSend):
                    self.sent.append(plan)
                else:
                    self.aborted.append(plan.exchange)

    def next(self) -> HttpSend:
        """The oldest request that was not looked at."""
        self.pump()
        assert self.sent, "nothing is sent"
        return self.sent.pop(0)

    def call(self, **options: Any) -> tuple[Any, HttpSend]:
        """Call a tool; give the request, and what is to be sent."""
        made = self.client.request("tools/call", ECHO, now=self.now, **options)
        return made, self.next()

    def body_of(self, send: HttpSend) -> Any:
        return json.loads(send.body)

    def fields_of(self, send: HttpSend) -> dict[str, str]:
        names = [name for name, _ in send.headers]
        assert len(names) == len(set(names))
        return {name.decode(): value.decode() for name, value in send.headers}

    def head(self, send: HttpSend, status: int, kind: str | None, **headers: str) -> None:
        lines = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        if kind is not None:
            lines.append((b"content-type", kind.encode()))
        self.client.response_head(send.exchange, status, lines, now=self.now)

    def data(self, send: HttpSend, data: bytes) -> None:
        self.client.response_data(send.exchange, data, now=self.now)

    def end(self, send: HttpSend, error: str | None = None) -> None:
        self.client.response_end(send.exchange, error=error, now=self.now)
        self.pump()

    def reply(
        self,
        send: HttpSend,
        status: int = 200,
        body: Any = None,
        kind: str | None = "application/json",
        **headers: str,
    ) -> None:
        """Answer at once."""
        self.head(send, status, kind if body is not None else None, **headers)
        if body is not None:
            self.data(send, body if isinstance(body, bytes) else json.dumps(body).encode())
        self.end(send)

    def result(self, send: HttpSend, result: Any, **headers: str) -> None:
        """Answer a request with a result, as JSON."""
        message = {"jsonrpc": "2.0", "id": self.body_of(send)["id"], "result": result}
        self.reply(send, 200, message, "application/json", **headers)

    def stream(self, send: HttpSend, *messages: Any, id: str | None = None) -> None:
        """Begin an event stream and send messages on it."""
        self.head(send, 200, "text/event-stream")
        for message in messages:
            self.event(send, message, id=id)

    def event(self, send: HttpSend, message: Any, *, id: str | None = None) -> None:
        self.data(send, encode_event(json.dumps(message).encode(), id=id))
        self.pump()

    def take(self, kind: type[Any]) -> Any:
        self.pump()
        for event in self.events:
            if isinstance(event, kind):
                self.events.remove(event)
                return event
        raise AssertionError(f"no {kind.__name__} among {self.events}")

    def kinds(self) -> list[str]:
        """What happened, interruptions aside."""
        self.pump()
        seen = [event for event in self.events if not isinstance(event, StreamInterrupted)]
        return [type(event).__name__ for event in seen]

    def interruptions(self) -> list[StreamInterrupted]:
        self.pump()
        return [event for event in self.events if isinstance(event, StreamInterrupted)]

    def ended(self, request: Any, reason: EndReason) -> RequestEnded:
        """The end of a request: whose it is, and why."""
        ended: RequestEnded = self.take(RequestEnded)
        assert (ended.request, ended.reason) == (request, reason)
        return ended

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.client.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.client.handle_timeout(self.now)
            self.pump()
        self.now = until

    def open_modern(self) -> "Hand":
        """Negotiate the modern era."""
        self.client.start(now=self.now)
        self.result(self.next(), DISCOVERED)
        self.events.clear()
        return self

    def shake_hands(self, version: str = LEGACY, session: str | None = "s-1") -> "Hand":
        """Answer ``initialize``, and accept what follows."""
        fields = {} if session is None else {"mcp_session_id": session}
        self.result(self.next(), initialize_result(version), **fields)
        self.reply(self.next(), 202)
        return self

    def open_legacy(
        self, version: str = LEGACY, session: str | None = "s-1", *, stream: bool = False
    ) -> "Hand":
        """Go through the handshake of a client that speaks the legacy era only."""
        self.client.start(now=self.now)
        get = self.shake_hands(version, session).next()
        assert get.method == "GET"
        if stream:
            self.stream(get)
            self.sent.insert(0, get)
        else:
            self.reply(get, 405)
        self.events.clear()
        return self


def starting(
    settings: HttpClientSettings | None = None,
    *,
    negotiation: Negotiation = Negotiation.LEGACY,
    **options: Any,
) -> Hand:
    """A client that is about to send its first message."""
    hand = Hand(make_client(settings, negotiation=negotiation, **options))
    hand.client.start(now=hand.now)
    return hand


def modern(**options: Any) -> Hand:
    """A client that has negotiated the modern era."""
    return Hand(make_client(**options)).open_modern()


def legacy(
    version: str = LEGACY, session: str | None = "s-1", *, stream: bool = False, **options: Any
) -> Hand:
    """A client in a session."""
    hand = Hand(make_client(negotiation=Negotiation.LEGACY, **options))
    return hand.open_legacy(version, session, stream=stream)


DONE: dict[str, Any] = {"resultType": "complete", "content": []}


def result(id: Any, value: Any = DONE) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


def error(id: Any, code: int, message: str = "no", **more: Any) -> dict[str, Any]:
    """An error, without an id where that is None."""
    body = {"jsonrpc": "2.0", "error": {"code": code, "message": message, **more}}
    return body if id is None else {**body, "id": id}


DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": [MODERN, LEGACY],
    "capabilities": SERVER_OFFERS,
    "ttlMs": 1000,
    "cacheScope": "public",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "hand", "version": "1"}},
}


def initialize_result(version: str = LEGACY) -> dict[str, Any]:
    return {
        "protocolVersion": version,
        "capabilities": SERVER_OFFERS,
        "serverInfo": {"name": "hand", "version": "1"},
    }
