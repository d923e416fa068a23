"""From records to what was said by whom in which conversation.

Over HTTP a conversation is found by its session id (which is hidden, but the same wherever it
stands), in the trace of a client by the client; without sessions each exchange of a server's trace
stands alone.  Elsewhere a connection is a conversation.
"""

from collections.abc import Hashable, Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw, Struct, field

from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData
from mcpcore.trace.format import MESSAGES, TO_CLIENT, TO_SERVER, Direction, Header, Record, classify
from mcpcore.wire.redaction import HIDDEN
from mcpcore_conformance.trace.reading import Entry

Key = Hashable


class Head(Struct, frozen=True):
    """The head of an HTTP request or response; names of fields are in lower case."""

    line: int
    fields: dict[str, list[str]]
    method: str = ""
    target: str = ""
    status: int = 0
    time: float = 0.0

    def get(self, name: str) -> str | None:
        """The first value of a field."""
        values = self.fields.get(name)
        return values[0] if values else None

    def media(self, name: str = "content-type") -> str:
        """A media type without its parameters."""
        return (self.get(name) or "").partition(";")[0].strip().lower()


class Exchange(Struct):
    """A request and its response, as far as they have come."""

    key: Key
    request: Head | None = None
    response: Head | None = None
    asked: "list[Said]" = field(default_factory=list)
    """What the request's body held."""
    told: "list[Said]" = field(default_factory=list)
    """What the response to a POST has held so far, but for requests and notifications: a stream
    may bring those for ever, and one of GET anything."""
    messages: int = 0
    """How many messages the response has held so far."""
    alone: bool = False
    """Nothing says which other exchanges are of the same conversation."""
    events: int = 0

    def add(self, said: "Said") -> None:
        """Take a message of the request or of the response."""
        if said.direction == TO_SERVER:
            self.asked.append(said)
            return
        self.messages += 1
        posted = self.request is not None and self.request.method == "POST"
        if posted and said.kind not in ("request", "notification"):
            self.told.append(said)


class Said(Struct):
    """One message, or what should have been one; a batch gives one for each of its messages."""

    line: int
    time: float
    key: Key
    direction: Direction
    kind: str
    record: Record
    message: dict[str, Any] | None = None
    """As decoded; None if that was not possible, or if it was cut."""
    exchange: Exchange | None = None
    batch: int = 0
    """Of how many messages, if it came in a batch."""

    @property
    def id(self) -> Any:
        """The id, None without one."""
        return self.record.id if self.message is None else self.message.get("id")

    @property
    def method(self) -> str:
        """The method, "" without one."""
        method = self.record.method if self.message is None else self.message.get("method")
        return method if isinstance(method, str) else ""

    @property
    def params(self) -> dict[str, Any]:
        """The params if they are an object."""
        params = (self.message or {}).get("params")
        return params if isinstance(params, dict) else {}

    @property
    def result(self) -> dict[str, Any]:
        """The result if it is an object."""
        result = (self.message or {}).get("result")
        return result if isinstance(result, dict) else {}

    @property
    def error(self) -> dict[str, Any]:
        """The error if it is an object."""
        error = (self.message or {}).get("error")
        return error if isinstance(error, dict) else {}

    @property
    def meta(self) -> dict[str, Any]:
        """``_meta`` of the params or of the result."""
        meta = (self.params or self.result).get("_meta")
        return meta if isinstance(meta, dict) else {}


class Router:
    """Follows the records of one trace."""

    def __init__(self, header: Header) -> None:
        self.side = header.side
        self.bindings: dict[int, str] = {}
        """By connection."""
        self._default = header.binding
        self._exchanges: dict[tuple[int, int], Exchange] = {}
        self._sessions: dict[str, Key] = {}
        self._endpoints: dict[str, Key] = {}

    def binding(self, connection: int) -> str:
        """What a connection is, "" if the trace does not say."""
        return self.bindings.get(connection, self._default)

    def exchange(self, record: Record) -> Exchange | None:
        """The exchange that a record belongs to, None outside of HTTP."""
        return self._exchanges.get((record.connection, record.stream)) if record.stream else None

    def end(self, record: Record) -> None:
        """Drop the exchange that a record belongs to."""
        self._exchanges.pop((record.connection, record.stream), None)

    def follow(self, entry: Entry) -> Iterator[Said]:
        """Take one record; what was said in it."""
        line, record = entry
        if record.kind == "opened":
            self.bindings[record.connection] = record.binding or self._default
        elif record.kind == "http-request":
            self._request(line, record)
        elif record.kind == "http-response":
            self._response(line, record)
        elif record.kind in MESSAGES:
            yield from self._messages(line, record)
        elif record.event == "endpoint" and record.text is not None:
            exchange = self.exchange(record)
            place = _place(record.text)
            if exchange is not None and HIDDEN not in place:
                self._endpoints[place] = exchange.key

    def _request(self, line: int, record: Record) -> None:
        head = parse_head(line, record)
        session = session_of(head)
        alone = False
        key: Key = ("client", record.connection)
        if self.side == "server":
            endpoint = self._endpoints.get(_place(head.target))
            if session is not None:
                key = self._sessions.setdefault(session, ("session", session))
            elif endpoint is not None:
                key = endpoint
            else:
                key, alone = ("exchange", record.connection, record.stream), True
        if record.stream:
            self._exchanges[record.connection, record.stream] = Exchange(
                key, request=head, alone=alone
            )

    def _response(self, line: int, record: Record) -> None:
        exchange = self.exchange(record)
        if exchange is None:
            return
        if exchange.response is not None:
            exchange.told.clear()  # the response to what was sent behind it, without waiting
            exchange.messages = 0
        exchange.response = head = parse_head(line, record)
        session = session_of(head)
        if session is not None and exchange.alone:
            exchange.alone = False
            self._sessions[session] = exchange.key  # it begins here, whatever had that id before

    def _messages(self, line: int, record: Record) -> Iterator[Said]:
        exchange = self.exchange(record)
        key: Key = exchange.key if exchange else ("connection", record.connection)
        direction = record.direction or TO_SERVER
        values: list[Any] = [_decoded(record)]
        batch = 0
        if record.kind == "batch" and isinstance(values[0], list):
            values = values[0]
            batch = max(1, len(values))
        for value in values or [None]:
            message = value if isinstance(value, dict) else None
            kind: str = record.kind
            if batch:
                kind = classify(msgspec.json.encode(value))[0] if values else "invalid"
            said = Said(line, record.time, key, direction, kind, record, message, exchange, batch)
            if exchange is not None:
                exchange.add(said)
            yield said


def questions(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return key, method and params of what a result asks for, "" and {} for wrong ones."""
    requests = result.get("inputRequests")
    for name, request in (requests if isinstance(requests, dict) else {}).items():
        body = request if isinstance(request, dict) else {}
        method, params = body.get("method"), body.get("params")
        yield (
            name,
            method if isinstance(method, str) else "",
            params if isinstance(params, dict) else {},
        )


def error_of(said: Said) -> ErrorData:
    """Return the error that was said; where its code is none, that of an internal error."""
    found, code = said.error, said.error.get("code")
    if not isinstance(code, int) or isinstance(code, bool):
        code = INTERNAL_ERROR
    data = {"data": Raw(msgspec.json.encode(found["data"]))} if "data" in found else {}
    return ErrorData.make(code, str(found.get("message", "")), **data)


def _decoded(record: Record) -> Any:
    if record.cut or record.text is None:
        return None
    try:
        return msgspec.json.decode(record.text)
    except (msgspec.DecodeError, RecursionError):
        return None


def parse_head(line: int, record: Record) -> Head:
    """Read the head of a request or a response out of its record."""
    start, *lines = record.payload.decode("utf-8", "replace").split("\n")
    fields: dict[str, list[str]] = {}
    for text in lines:
        name, _, value = text.partition(":")
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    method, _, target = start.partition(" ")
    if record.direction == TO_CLIENT:
        return Head(line, fields, status=record.status or 0, time=record.time)
    return Head(line, fields, method=method, target=target, time=record.time)


def session_of(head: Head) -> str | None:
    """Return the session id, None without one and for the mark that many hidden ids share."""
    session = head.get("mcp-session-id")
    return None if session == HIDDEN else session


def path_and_query(target: str) -> tuple[str, str]:
    """Path and query of a target or a URL; what is neither counts as a path."""
    try:
        parts = urlsplit(target.strip())
    except ValueError:
        return target, ""
    return parts.path, parts.query


def _place(target: str) -> str:
    return "?".join(path_and_query(target))
