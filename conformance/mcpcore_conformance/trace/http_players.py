"""The machines of HTTP that play a side of a trace.

Session ids are the core's own: where the trace has one (hidden or not), the core's takes its place.
"""

import msgspec
from msgspec import Raw, field

from mcpcore.engine.config import Config
from mcpcore.http.client.client import HttpClient
from mcpcore.http.messages import HttpAbort, HttpChunk, HttpEnd, HttpHead, HttpRequest, HttpSend
from mcpcore.http.server.server import HttpServer
from mcpcore.http.settings import HttpClientSettings, HttpSettings, SsePaths, SseUse
from mcpcore.trace.format import MESSAGES, TO_CLIENT, TO_SERVER, Record
from mcpcore.wire.sse import SseDecoder
from mcpcore_conformance.trace.actor import Actor, Own
from mcpcore_conformance.trace.dialogue import Exchange, Head, Said, parse_head, path_and_query
from mcpcore_conformance.trace.players import Player
from mcpcore_conformance.trace.reading import Entry
from mcpcore_conformance.trace.unasked import answer
from mcpcore_transports.tracing.tracing import ABORTED, LEFT

_SESSION = "mcp-session-id"
_BODY = frozenset((*MESSAGES, "http-body"))
_FORBIDDEN = 403
_SECRET = b"a replay has no secrets, only bytes"


class HttpServerPlayer(Player):
    """An HttpServer: it gets the requests of the trace, and its handlers answer as there."""

    def __init__(self, config: Config, entries: list[Entry]) -> None:
        self._server = _server(config, entries)
        self.actor = _ServerActor(self._server, "server")
        self._sessions = self.actor.sessions
        self._endpoints: dict[str, str] = {}
        self._labels: dict[int, str] = {}
        """Session ids of the core by the exchanges that are in the session, or have opened it."""
        self._stream = 0
        self._wanted: dict[int, int] = {}
        self._decoders: dict[int, SseDecoder | None] = {}
        self._bodies: dict[int, bytearray] = {}

    def begin(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """See :meth:`Player.begin`."""
        record = entry.record
        self._stream = record.stream
        if record.kind == "http-request" and exchange is not None and exchange.request is not None:
            self._open(record, exchange.request, now)
        elif record.kind == "http-response" and exchange is not None and exchange.response:
            label = exchange.response.get(_SESSION)
            if label is not None and record.stream in self._labels:
                self._sessions.setdefault(label, self._labels[record.stream])
        elif record.kind == "http-end" and record.text and record.stream in self._wanted:
            self._server.disconnect(record.stream, now=now)
            self._wanted.pop(record.stream, None)
        elif record.event == "endpoint" and record.text:
            own = self._endpoints.pop(f"own {record.stream}", None)
            if own is not None:
                self._endpoints[record.text.strip()] = own

    def _open(self, record: Record, head: Head, now: float) -> None:
        target = self._endpoints.get(head.target, head.target)
        path, query = path_and_query(target)
        headers = []
        for name, values in head.fields.items():
            if name == "content-length":
                continue  # what was hidden in the body has another length
            for value in values:
                own = value
                if name == _SESSION:
                    own = self._labels[record.stream] = self._sessions.get(value, value)
                headers.append((name.encode(), own.encode("latin-1", "replace")))
        if head.method == "POST":
            headers.append((b"transfer-encoding", b"chunked"))
        request = HttpRequest(method=head.method, path=path, query=query, headers=headers)
        self._wanted[record.stream] = self._server.open(record.stream, request, now=now)

    def hear(self, said: Said, now: float) -> None:
        """See :meth:`Player.hear`: a body of a client; a batch is fed with its first message."""
        exchange = said.exchange
        if exchange is None or exchange.asked[0] is not said:
            return
        stream = said.record.stream
        if self._wanted.get(stream):
            data = said.record.payload if said.batch else self.actor.translated(said)
            self._server.body(stream, data, end=True, now=now)

    def end(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """A body that is no message."""
        record = entry.record
        ours = record.kind == "http-body" and record.direction == TO_SERVER
        if ours and self._wanted.get(record.stream):
            self._server.body(record.stream, record.payload, end=True, now=now)

    def take(self, said: Said | None, now: float) -> list[str]:
        """See :meth:`Player.take`."""
        words: list[str] = []
        for stream in self._server.writable():
            while items := self._server.data_to_send(stream, 1 << 20):
                for item in items:
                    words += self._sent(stream, item, said)
        return words

    def _sent(
        self, stream: int, item: HttpHead | HttpChunk | HttpEnd, said: Said | None
    ) -> list[str]:
        if isinstance(item, HttpHead):
            fields = dict(item.headers)
            if b"mcp-session-id" in fields:
                self._labels[stream] = fields[b"mcp-session-id"].decode()
            streamed = b"event-stream" in fields.get(b"content-type", b"")
            self._decoders[stream] = SseDecoder() if streamed else None
            self._bodies[stream] = bytearray()
            return [f"HTTP {item.status}"]
        if isinstance(item, HttpChunk):
            decoder = self._decoders.get(stream)
            if decoder is None:
                self._bodies[stream] += item.data
                return []
            words = []
            for event in decoder.receive(item.data):
                if event.event == "endpoint":
                    self._endpoints[f"own {stream}"] = event.data
                    words.append("event endpoint")
                elif event.payload:
                    words += map(str, self.actor.made([event.payload], said))
            return words
        self._wanted.pop(stream, None)
        body = bytes(self._bodies.pop(stream, b""))
        self._decoders.pop(stream, None)
        return [*map(str, self._read(body, said)), "end"] if body else []

    def _read(self, body: bytes, said: Said | None) -> list[Own]:
        try:
            return self.actor.made([body], said)
        except (msgspec.DecodeError, AttributeError):
            return []

    def state(self) -> str:
        """See :meth:`Player.state`."""
        server, session = self._server, self._labels.get(self._stream)
        facts = [f"{server.sessions} sessions, {server.exchanges} exchanges, {server.calls} calls"]
        return ", ".join(([server.state_of(session).value] if session else []) + facts)


class _ServerActor(Actor):
    """What a server asks and tells goes with the exchange of the trace, or with its session."""

    sessions: dict[str, str] = field(default_factory=dict)
    """Session ids of the trace to those of the core."""

    def session_of(self, said: Said) -> str | None:
        """The session of the GET stream on which something is said."""
        head = said.exchange.request if said.exchange is not None else None
        label = head.get(_SESSION) if head is not None else None
        return self.sessions.get(label or "", self.session)

    def request(
        self,
        said: Said,
        params: Raw,
        meta: dict[str, object] | None,
        progress: bool,
        now: float,
    ) -> None:
        parent = self.about(said)
        identity = self.machine.request(
            said.method,
            params,
            now=now,
            meta=meta,
            progress=progress,
            parent=parent,
            session=self.session_of(said) if parent is None else None,
            force=True,
        )
        self.asked(said, identity)

    def notify(self, said: Said, params: Raw, meta: dict[str, object] | None) -> None:
        self.machine.notify(said.method, params, parent=self.about(said), meta=meta)


class HttpClientPlayer(Player):
    """An HttpClient: its requests are matched to those of the trace, whose responses it gets."""

    def __init__(self, config: Config, entries: list[Entry], unasked: str = "") -> None:
        """``unasked``: see :class:`PeerPlayer`."""
        self._unasked = unasked
        self._client = _client(config, entries)
        self.actor = Actor(self._client, "client")
        self._started = False
        self._plans: list[HttpSend] = []
        self._routes: dict[int, int] = {}
        """Exchanges of the trace to those of the core."""
        self._open: dict[int, Head] = {}
        self._told: list[str] = []

    def begin(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """See :meth:`Player.begin`."""
        record = entry.record
        if not self._started:
            self._started = True
            self._client.start(now=now)
            if self._unasked:
                self._settle(now)
        if record.kind == "http-request" and exchange is not None and exchange.request is not None:
            if exchange.request.method == "DELETE":
                self._client.close(now=now)  # which is when it does this
            self._gather(now)
            if exchange.request.method != "POST":
                self._assign(record.stream, exchange.request.method)
        elif record.kind == "http-response" and exchange is not None and exchange.response:
            self._response(record, exchange.response, now)
        elif record.kind == "http-end":
            if record.text not in (ABORTED, LEFT):  # which is for the core itself to do
                self._over(record.stream, record.text, now)
        elif record.direction == TO_CLIENT and record.kind in ("sse-event", "sse-comment"):
            # A URL has no such characters as what stands for a hidden part of it.
            data = record.payload.replace(b"<", b"").replace(b">", b"")
            self._data(record.stream, _written(record, data), now)
        elif record.kind == "closed":
            self._client.close(now=now)

    def _settle(self, now: float) -> None:
        """Answer what the client of the trace has not asked."""
        self._gather(now)
        if not self._plans or not self.actor.unsaid:
            return
        exchange, probe = self._plans.pop().exchange, self.actor.unsaid.pop()
        self._told.clear()
        head = [(b"content-type", b"application/json")]
        self._client.response_head(exchange, 200, head, now=now)
        self._client.response_data(exchange, answer(probe.id, self._unasked), now=now)
        self._client.response_end(exchange, error=None, now=now)

    def act(self, said: Said, now: float) -> None:
        """See :meth:`Player.act`."""
        super().act(said, now)
        self._gather(now, said)
        self._assign(said.record.stream, "POST", said)

    def hear(self, said: Said, now: float) -> None:
        """See :meth:`Player.hear`."""
        record = said.record
        data = self.actor.translated(said) if not said.batch else record.payload
        if record.event is not None:
            data = _written(record, data)
        self._data(record.stream, data, now)
        if record.event is None:
            self._over(record.stream, None, now)

    def end(self, entry: Entry, exchange: Exchange | None, now: float) -> None:
        """A body that is no message."""
        record = entry.record
        if record.kind == "http-body" and record.direction == TO_CLIENT:
            self._data(record.stream, record.payload, now)
            self._over(record.stream, None, now)

    def take(self, said: Said | None, now: float) -> list[str]:
        """See :meth:`Player.take`."""
        self._gather(now)
        told, self._told = self._told, []
        return told

    def state(self) -> str:
        """See :meth:`Player.state`."""
        client = self._client
        facts = [
            client.state.value,
            "" if client.revision is None else client.revision.name,
            f"{client.exchanges} exchanges",
            "in a session" if client.session else "",
        ]
        return ", ".join(filter(None, facts))

    def _gather(self, now: float, said: Said | None = None) -> None:
        for plan in self._client.requests_to_send():
            if isinstance(plan, HttpAbort):
                self._plans = [each for each in self._plans if each.exchange != plan.exchange]
                self._told.append("gives up an exchange")
                continue
            self._plans.append(plan)
            words = f"HTTP {plan.method}"
            if plan.body:
                words += "".join(f" {own}" for own in self.actor.made([plan.body], said))
            self._told.append(words)

    def _assign(self, stream: int, method: str, said: Said | None = None) -> None:
        """Find the request of the core that is the one of the trace."""
        for plan in self._plans:
            if plan.method != method:
                continue
            if said is not None:
                own = Own.of(plan.body)[0]
                same = own.method == said.method if said.method else own.id == said.id
                if own.kind != said.kind or not same:
                    continue
            self._plans.remove(plan)
            self._routes[stream] = plan.exchange
            return
        self.actor.remarks.append("the core sends no such request")

    def _response(self, record: Record, head: Head, now: float) -> None:
        route = self._routes.get(record.stream)
        if route is None:
            return
        headers = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, values in head.fields.items()
            for value in values
            if name not in ("content-length", "content-encoding")
        ]
        self._client.response_head(route, head.status, headers, now=now)
        self._open[record.stream] = head
        if head.status in (202, 204) or head.get("content-length") == "0":
            self._over(record.stream, None, now)

    def _data(self, stream: int, data: bytes, now: float) -> None:
        if stream in self._open:
            self._client.response_data(self._routes[stream], data, now=now)

    def _over(self, stream: int, reason: str | None, now: float) -> None:
        if self._open.pop(stream, None) is not None:
            self._client.response_end(self._routes.pop(stream), error=reason or None, now=now)


def _server(config: Config, entries: list[Entry]) -> HttpServer:
    """A server that is where the one of the trace was, and lets in whom that let in."""
    refused = {
        entry.record.stream
        for entry in entries
        if entry.record.kind == "http-response" and entry.record.status == _FORBIDDEN
    }
    heads = [
        _parsed(entry)
        for entry in entries
        if entry.record.kind == "http-request" and entry.record.stream not in refused
    ]
    hosts = {host for head in heads if (host := head.get("host"))}
    origins = {origin for head in heads if (origin := head.get("origin"))}
    try:
        path, pipe = _paths(entries)
        settings = HttpSettings(
            path=path,
            sse=pipe,
            allowed_hosts=tuple(sorted(hosts)) or None,
            allowed_origins=tuple(sorted(origins)) or None,
            json_delay=None,
        )
        return HttpServer(config, secret=_SECRET, settings=settings)
    except ValueError:  # what the heads say is not what a server can be
        return HttpServer(config, secret=_SECRET, settings=HttpSettings(json_delay=None))


def _client(config: Config, entries: list[Entry]) -> HttpClient:
    heads = [_parsed(each) for each in entries if each.record.kind == "http-request"]
    first = heads[0] if heads else Head(0, {})
    piped = any(entry.record.event == "endpoint" for entry in entries)
    settings = HttpClientSettings(legacy_sse=SseUse.ONLY if piped else SseUse.FALL_BACK)
    host, path = first.get("host") or "localhost", first.target.partition("?")[0] or "/mcp"
    try:
        return HttpClient(config, f"http://{host}{path}", settings=settings)
    except ValueError:  # of a revision that cannot go over HTTP+SSE, or at no such place
        return HttpClient(config, "http://localhost/mcp")


def _paths(entries: list[Entry]) -> tuple[str | None, SsePaths | None]:
    """Where Streamable HTTP was served, and HTTP+SSE."""
    heads = {
        entry.record.stream: _parsed(entry)
        for entry in entries
        if entry.record.kind == "http-request"
    }
    pipe: SsePaths | None = None
    for entry in entries:
        if entry.record.event == "endpoint" and entry.record.stream in heads:
            opened, _ = path_and_query(heads[entry.record.stream].target)
            pipe = SsePaths(stream=opened, messages=path_and_query(entry.record.text or "")[0])
            break
    posts = [path_and_query(head.target)[0] for head in heads.values() if head.method == "POST"]
    path = next((each for each in posts if pipe is None or each != pipe.messages), None)
    return (path or "/mcp") if pipe is None else path, pipe


def _written(record: Record, data: bytes) -> bytes:
    """A server-sent event as it was on the wire."""
    if record.kind == "sse-comment":
        return b": " + data + b"\n\n"
    lines = []
    if record.event is not None and record.event != "message":
        lines.append(f"event: {record.event}".encode())
    if record.event_id is not None:
        lines.append(f"id: {record.event_id}".encode())
    if record.retry is not None:
        lines.append(b"retry: %d" % record.retry)
    if record.text is not None or record.data is not None:
        lines += [b"data: " + line for line in data.split(b"\n")]
    return b"\n".join(lines) + b"\n\n"


def _parsed(entry: Entry) -> Head:
    return parse_head(entry.line, entry.record)
