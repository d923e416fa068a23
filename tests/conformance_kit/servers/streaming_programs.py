"""Servers over Streamable HTTP, right and wrong ones, that give ids to the events of streams."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from msgspec import Struct, field

from mcpcore_conformance.kit.messages import error, notification, result

KINDS = ("application/json", "text/event-stream")
"""What a client of Streamable HTTP takes."""
READS, KEEPS = {"readOnlyHint": True}, {"destructiveHint": False}
STEP = 0.02
"""Seconds that a server takes for each step of a call ..."""
STEPS = {"forgets": 0.2, "cancels": 0.2}
"""... or, by its fault, so many that the kit breaks a stream off before its answer is there: only
then it sees the fault."""
Value = dict[str, Any]


def _unreadable(constant: str) -> None:
    raise ValueError(constant)


class SessionServer(ThreadingHTTPServer):
    """Speaks one revision, and keeps sessions."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self, handler: type["SessionHandler"], revision: str) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.revision = revision
        self.sessions: set[str] = set()

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def new_id(self) -> str:
        """Of a new session."""
        return uuid4().hex

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of the kit go whenever they like."""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in a thread of its own."""
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()


class SessionHandler(BaseHTTPRequestHandler):
    """What each request needs before it is known what it asks for."""

    protocol_version = "HTTP/1.1"
    server: SessionServer

    def serve(self, message: Value, session: str) -> None:
        """Answer a request."""
        raise NotImplementedError

    def take(self, message: Value, session: str) -> None:
        """Take a notification, or the answer to something that was asked."""
        self.say(202)

    def pick_up(self, mark: str | None, session: str) -> None:
        """Answer a GET; without a mark, one for what belongs to no request."""
        raise NotImplementedError

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def say(self, status: int, value: Value | None = None, **headers: str) -> None:
        """Answer with a status, and perhaps a message."""
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if body:
            self.send_header("content-type", KINDS[0])
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, data: bytes = b"") -> None:
        """Begin an event stream, which ends with the connection."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", KINDS[1])
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _refused(self) -> bool:
        own = [f"http://{self.server.authority}"]
        version = self.headers.get("mcp-protocol-version", self.server.revision).strip()
        foreign = self.headers.get("host") != self.server.authority
        if foreign or self.headers.get_all("origin", own) != own:
            self.say(403)
        elif urlsplit(self.path).path != "/mcp":
            self.say(404)
        elif version != self.server.revision:
            self.say(400, error(None, -32600, "no such version"))
        else:
            return False
        return True

    def _session(self) -> str | None:
        found = [each.strip() for each in self.headers.get_all("mcp-session-id", [])]
        if len(found) != 1:
            self.say(400, error(None, -32600, "which session?"))
        elif found[0] not in self.server.sessions:
            self.say(404)
        else:
            return found[0]
        return None

    def do_OPTIONS(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.say(405, allow="GET, POST, DELETE")

    def do_PUT(self) -> None:
        self.do_OPTIONS()

    def do_PATCH(self) -> None:
        self.do_OPTIONS()

    def do_DELETE(self) -> None:
        if not self._refused() and (session := self._session()) is not None:
            self.server.sessions.discard(session)
            self.say(204)

    def do_GET(self) -> None:
        if self._refused() or (session := self._session()) is None:
            return
        mark = self.headers.get("last-event-id")
        if KINDS[1] not in self.headers.get("accept", ""):
            self.say(405, allow="GET, POST, DELETE")
        else:
            self.pick_up(mark, session)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        accepted = self.headers.get("accept", "*/*").lower()
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._refused():
            return
        if kind != KINDS[0]:
            self.say(415)
        elif "*/*" not in accepted and not all(each in accepted for each in KINDS):
            self.say(406)
        else:
            self._post(body)

    def _post(self, body: bytes) -> None:
        try:
            message = json.loads(body.decode(), parse_constant=_unreadable)
        except (ValueError, RecursionError):
            self.say(400, error(None, -32700, "no JSON"))
            return
        id = message.get("id", "") if isinstance(message, dict) else None
        sound = isinstance(id, (str, int)) and not isinstance(id, bool)
        if not sound or message.get("jsonrpc") != "2.0" or isinstance(id, float):
            self.say(400, error(None, -32600, "no message"))
        elif not isinstance(message.get("method", ""), str):
            self.say(400, error(id, -32600, "no method"))
        elif message.get("method") == "initialize" and "id" in message:
            self._initialize(message)
        elif (session := self._session()) is None:
            return
        elif "method" not in message and ("result" in message) == ("error" in message):
            self.say(400, error(None, -32600, "no message"))
        elif "method" not in message or "id" not in message:
            self.take(message, session)
        else:
            self.serve(message, session)

    def _initialize(self, message: Value) -> None:
        params = message.get("params")
        needed = {"protocolVersion": str, "capabilities": dict, "clientInfo": dict}
        if not isinstance(params, dict) or any(
            not isinstance(params.get(name), kind) for name, kind in needed.items()
        ):
            self.say(200, error(message["id"], -32602, "what do you speak?"))
            return
        if self.headers.get("mcp-session-id"):
            self.say(400, error(message["id"], -32600, "there is a session already"))
            return
        session = self.server.new_id()
        self.server.sessions.add(session)
        told = {
            "protocolVersion": self.server.revision,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "streaming", "version": "1"},
        }
        self.say(200, result(message["id"], told), mcp_session_id=session)


class _Stream(Struct):
    """What came of one request: events with ids, the first of them empty."""

    session: str
    number: int
    events: list[tuple[str, str]] = field(default_factory=list)
    """Id and data of each."""
    done: bool = False
    cut: bool = False
    """Whether somebody has picked it up before it was done."""


class Streaming(SessionServer):
    """Answers with streams, of tools with names of its own; ``fault``: what it does wrong, but for
    ``ids of its own``: sessions in digits, and events that are counted by session, from 7 on.

    ``polls``: the streams of calls are closed behind their first event.  ``called`` counts calls.
    """

    def __init__(self, revision: str, tools: dict[str, Value], *, fault: str, polls: bool) -> None:
        super().__init__(_StreamingHandler, revision)
        self.tools, self.fault, self.polls = tools, fault, polls
        self.called: Counter[str] = Counter()
        self.streams: list[_Stream] = []
        self.grown = threading.Condition()

    def new_id(self) -> str:
        """See :class:`SessionServer`."""
        found = uuid4()
        return str(found.int) if self.fault == "ids of its own" else found.hex

    def opened(self, session: str) -> _Stream:
        """A new stream, with its first event."""
        with self.grown:
            stream = _Stream(session, len(self.streams))
            self.streams.append(stream)
        self.put(stream, None)
        return stream

    def put(self, stream: _Stream, message: Value | None, *, done: bool = False) -> None:
        """Add an event to a stream."""
        with self.grown:
            number = len(stream.events)
            id = f"{number}" if self.fault == "counts by stream" else f"{stream.number}-{number}"
            if self.fault == "ids of its own":
                own = [each for each in self.streams if each.session == stream.session]
                id = f"{7 + sum(len(each.events) for each in own):x}"
            stream.events.append((id, "" if message is None else json.dumps(message)))
            stream.done |= done
            self.grown.notify_all()

    def work(self, stream: _Stream, message: Value) -> None:
        """Do what a request asks for."""
        reports = self._reports(message)
        late = reports[-1:] if self.fault == "late" else []
        for each in reports[: len(reports) - len(late)]:
            self.put(stream, each)
            with self.grown:  # a step takes its time
                self.grown.wait_for(lambda: False, STEPS.get(self.fault, STEP))
        answer = self._answer(message)
        if self.fault == "cancels" and stream.cut:
            answer = result(message["id"], {"content": [], "isError": True})
        self.put(stream, answer, done=not late)
        for each in late:
            self.put(stream, each, done=True)

    def _reports(self, message: Value) -> list[Value]:
        params = message.get("params", {})
        if not isinstance(params, dict) or params.get("name") != "reindex":
            return []
        if self.fault == "once" and self.called["reindex"]:
            return []
        meta = params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        if token is None and self.fault == "unasked":
            token = message["id"]
        if isinstance(token, bool) or not isinstance(token, (str, int)):
            return []
        token = str(token) if self.fault == "tokens as texts" else token
        steps = (50, 10, 100) if self.fault == "backwards" else (10, 50, 100)
        said = [{"progressToken": token, "progress": each, "total": 100} for each in steps]
        return [notification("notifications/progress", each) for each in said]

    def _answer(self, message: Value) -> Value:
        id, params = message["id"], message.get("params", {})
        if not isinstance(params, dict):
            return error(id, -32602, "params is an object")
        match message["method"]:
            case "ping":
                return result(id, {})
            case "tools/list" if "cursor" not in params:
                schema = {"type": "object", "additionalProperties": False}
                tools = [
                    {"name": name, "description": "Does it.", "inputSchema": schema, **more}
                    for name, more in self.tools.items()
                ]
                return result(id, {"tools": tools})
            case "tools/call" if params.get("name") in self.tools:
                if not isinstance(params.get("arguments", {}), dict):
                    return error(id, -32602, "arguments is an object")
                if params.get("arguments"):
                    said = {"content": [{"type": "text", "text": "no arguments"}], "isError": True}
                    return result(id, said)
                self.called[params["name"]] += 1
                return result(id, {"content": [{"type": "text", "text": "done"}]})
            case "tools/list" | "tools/call":
                return error(id, -32602, "no such thing")
        return error(id, -32601, "no such method")


class _StreamingHandler(SessionHandler):
    server: Streaming

    def serve(self, message: Value, session: str) -> None:
        """See :class:`SessionHandler`."""
        server = self.server
        stream = server.opened(session)
        working = threading.Thread(target=server.work, args=(stream, message), daemon=True)
        self.stream()
        first = 1 if server.fault == "not primed" else 0
        if server.polls and message["method"] == "tools/call":
            if server.fault != "no retry":
                self.wfile.write(b"retry: 10\n")
            self._write(stream.events[:1])
            working.start()
            return
        working.start()
        self._follow(stream, first)

    def pick_up(self, mark: str | None, session: str) -> None:
        """See :class:`SessionHandler`."""
        server = self.server
        if mark is None:
            self.say(405, allow="GET, POST, DELETE")
            return
        with server.grown:
            found = [
                (stream, place)
                for stream in server.streams
                for place, (id, _) in enumerate(stream.events)
                if id == mark and (stream.session == session or server.fault == "leaks")
            ]
            if not found and server.fault == "takes any id":
                found = [(each, 0) for each in server.streams if each.session == session]
            if not found:
                self.say(400, error(None, -32600, "no such event"))
                return
            stream, place = found[-1]
            stream.cut |= not stream.done
        self.stream()
        if server.fault == "keeps nothing" and stream.done:
            return
        if server.fault != "forgets":
            self._follow(stream, 0 if server.fault == "replays all" else place + 1)
        if server.fault == "of other streams":
            others = server.streams[stream.number + 1 :]
            for each in (each for each in others if each.session == session):
                self._write(each.events)

    def _follow(self, stream: _Stream, place: int) -> None:
        """Write a stream from there to its end."""
        picked_up = self.command == "GET"
        while True:
            with self.server.grown:
                self.server.grown.wait_for(
                    partial(lambda at: stream.done or len(stream.events) > at, place)
                )
                new, done = stream.events[place:], stream.done
            for each in new:
                self._write([each] * (2 if self.server.fault == "repeats" and picked_up else 1))
            place += len(new)
            if done:
                return

    def _write(self, events: list[tuple[str, str]]) -> None:
        for id, data in events:
            try:
                self.wfile.write(f"id: {id}\ndata: {data}\n\n".encode())
                self.wfile.flush()
            except OSError:
                return  # whoever it was for comes back


ORDINARY: dict[str, Value] = {
    "look_up": {"annotations": READS},
    "reindex": {"annotations": KEEPS},
    "wipe": {},
}
"""One tool that answers, one that reports progress, and one that nobody may call."""


@contextmanager
def streaming(
    fault: str = "",
    *,
    polls: bool = False,
    revision: str = "2025-11-25",
    tools: dict[str, Value] | None = None,
) -> Iterator[Streaming]:
    """A server in a thread of its own."""
    known = ORDINARY if tools is None else tools
    with Streaming(revision, known, fault=fault, polls=polls) as server, server.serving():
        yield server
