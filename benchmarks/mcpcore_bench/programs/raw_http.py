"""What the raw HTTP servers share: from a whole request to the parts of its response.

The head of a response is written by hand: httptools writes none, and those of h11 cost more.
"""

import secrets
from collections.abc import Iterator

from msgspec import UNSET

from mcpcore_bench.programs import raw_codec
from mcpcore_bench.programs.raw_codec import Codec, Headers, Request

JSON = (b"content-type", b"application/json")
EVENT_STREAM = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"transfer-encoding", b"chunked"),
]
_REASONS = {200: b"OK", 202: b"Accepted", 400: b"Bad Request"}


class Answer:
    """One response: ``events`` instead of ``body`` where it is an event stream."""

    __slots__ = ("body", "headers", "late", "request", "status", "stream")

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        self.status, self.body, self.headers = status, body, headers
        self.stream = False
        """The body is an event of a stream."""
        self.late = 0.0
        """Seconds after which it is to be sent."""
        self.request: Request | None = None
        """The ``events`` that are to precede it."""


class Site:
    """Answers whole HTTP requests.  ``checked``: look at headers; else only at the body."""

    def __init__(self, codec: Codec, *, checked: bool = True) -> None:
        self._codec = codec
        self._checked = checked
        self._told: dict[bytes, list[bytes]] = {}
        """The events of the last stream of a session, the first of which has the id 1."""

    def respond(self, method: bytes, target: bytes, headers: Headers, body: bytes) -> Answer:
        """Answer a request; the names of ``headers`` are lower case."""
        codec = self._codec
        try:
            if method == b"GET" and (rest := self._missed(dict(headers))) is not None:
                return _streamed(rest)
            if self._checked:
                fields = raw_codec.check_head(method, target, headers)
                request = raw_codec.read(body)
                modern = raw_codec.check_request(fields, request, codec.sessions)
                accept = fields[b"accept"]
            else:
                request = raw_codec.read(body)
                modern, accept = True, b"application/json"
            if request.id is UNSET:
                return Answer(202, b"", [])
            name = request.params.name if request.params is not UNSET else ""
            if name == "events" and request.method == "tools/call":
                reply = codec.reply(request.id, [], modern=modern)
                if not modern:
                    return self._kept(fields[b"mcp-session-id"], request, reply)
                answer = Answer(200, reply, EVENT_STREAM)
                answer.stream, answer.request = True, request
                return answer
            if late := codec.waits(request):
                answer = Answer(200, codec.late(request, modern=modern), [JSON])
                answer.late = late
                return answer
            reply = codec.answer(request, modern=modern)
        except (ValueError, raw_codec.ToolError) as error:
            status, body = raw_codec.refused(error)
            return Answer(status, body, [JSON])
        if b"application/json" not in accept:
            answer = Answer(200, event(1, reply), EVENT_STREAM)
            answer.stream = True
            return answer
        answer = Answer(200, reply, [JSON])
        if request.method == "initialize":
            session = secrets.token_hex(16)
            codec.sessions.add(session)
            answer.headers = [JSON, (b"mcp-session-id", session.encode())]
        return answer

    def _kept(self, session: bytes, request: Request, reply: bytes) -> Answer:
        """A stream that can be picked up: all its events at once."""
        found = enumerate(steps(request), 1)
        told = [b"id: %d\n%b" % (number, step) for number, step in found]
        told.append(event(len(told) + 1, reply))
        self._told[session] = told
        return _streamed(told)

    def _missed(self, fields: dict[bytes, bytes]) -> list[bytes] | None:
        """The rest of the last stream of a session, if it had one and that is asked for."""
        told = self._told.get(fields.get(b"mcp-session-id", b""))
        last = fields.get(b"last-event-id")
        return None if told is None or last is None else told[int(last) :]


def _streamed(events: list[bytes]) -> Answer:
    answer = Answer(200, b"".join(events), EVENT_STREAM)
    answer.stream = True
    return answer


def event(number: int, data: bytes) -> bytes:
    """One server-sent event."""
    return b"id: %d\ndata: %b\n\n" % (number, data)


def steps(request: Request) -> Iterator[bytes]:
    """The progress events that ``events`` asks for, each encoded when it is wanted."""
    params = request.params
    assert params is not UNSET
    meta = params.meta
    assert meta is not UNSET
    assert meta.token is not UNSET
    count = raw_codec.events_arguments(params.arguments).count
    for number in range(1, count + 1):
        yield framed(meta.token, number, count)


def framed(token: int | str, number: int, count: int) -> bytes:
    """One progress event."""
    return b"data: %b\n\n" % raw_codec.progress(token, number, count)


def together(request: Request) -> bool:
    """Whether all of them are ready at once."""
    params = request.params
    assert params is not UNSET
    return raw_codec.events_arguments(params.arguments).together


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def by_hand(answer: Answer) -> bytes:
    """The whole response, or its head and first event."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (answer.status, _REASONS.get(answer.status, b"Error"))]
    lines += [b"%b: %b\r\n" % header for header in answer.headers]
    if answer.request is not None:
        lines.append(b"\r\n")
    elif answer.stream:
        lines += (b"\r\n", chunk(answer.body), b"0\r\n\r\n")
    else:
        lines += (b"content-length: %d\r\n\r\n" % len(answer.body), answer.body)
    return b"".join(lines)
