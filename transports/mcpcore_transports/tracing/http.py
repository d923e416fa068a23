"""Recording of HTTP exchanges: heads, bodies, and the events of event streams as they arrive."""

from collections.abc import Callable, Iterable
from functools import partial

from msgspec import Struct

from mcpcore.engine.events import Route
from mcpcore.http.headers import GZIP_LINE, unpacker
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.trace.format import TO_CLIENT, TO_SERVER, Direction, Kind, RecordBuilder, Side
from mcpcore.trace.framing import EventFrame, Events, Gatherer, Held
from mcpcore_transports.tracing.tracing import Trace, target_of

GIVEN_UP = "given up by this side"
LEFT = "the client has left"
"""Reasons of incomplete exchanges that the client ended, as either side records them."""

_TYPE = b"content-type"


class _Exchange(Struct):
    """State of an exchange that is not over."""

    request: Gatherer
    response: Gatherer
    json: tuple[bool, bool] = (False, False)
    """True for each of request and response whose Content-Type is JSON."""
    events: Events | None = None
    unpack: Callable[[bytes], bytes] | None = None
    """Decoder of a response that is sent compressed."""


class HttpTrace:
    """Recorder of the exchanges of one endpoint or one client."""

    def __init__(self, trace: Trace, side: Side) -> None:
        trace.begin(side)
        self._record = partial(trace.record, connection=trace.number())
        self._limit = trace.settings.held_size
        self._exchanges: dict[Route, _Exchange] = {}
        self._record(RecordBuilder.note, "opened", binding="http")

    # Request

    def asked(self, exchange: Route, request: HttpRequest) -> None:
        """Record the head of a request that a server has received."""
        self.request(exchange, request.method, target_of(request), request.headers)

    def request(
        self,
        exchange: Route,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | None = None,
    ) -> None:
        """Record the head of a request, received or sent; with ``body`` the whole request."""
        lines = list(headers)
        self._exchanges[exchange] = _Exchange(
            Gatherer(self._limit), Gatherer(self._limit), (_is_json(lines), False)
        )
        self._record(
            RecordBuilder.head,
            lines,
            method=method,
            target=target,
            direction=TO_SERVER,
            stream=exchange,
        )
        if body is not None:
            self.request_body(exchange, body, end=True)

    def request_body(self, exchange: Route, data: bytes, *, end: bool) -> None:
        """Record a part of a request's body."""
        state = self._exchanges.get(exchange)
        if state is None:
            return
        state.request.add(data)
        if end and state.request:
            self._body(exchange, TO_SERVER, state.request.take(), state.json[0])

    # Response

    def replied(self, items: Iterable[HttpHead | HttpChunk | HttpEnd]) -> None:
        """Record parts of a response that a server sends."""
        for item in items:
            if isinstance(item, HttpHead):
                self.response(item.exchange, item.status, item.headers)
                state = self._exchanges.get(item.exchange)
                if state is not None and GZIP_LINE in item.headers:
                    state.unpack = unpacker()
            elif isinstance(item, HttpChunk):
                state = self._exchanges.get(item.exchange)
                unpack = None if state is None else state.unpack
                self.response_data(item.exchange, unpack(item.data) if unpack else item.data)
            else:
                self.over(item.exchange)

    def response(
        self, exchange: Route, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Record the head of a response."""
        lines = list(headers)
        self._record(RecordBuilder.head, lines, status=status, direction=TO_CLIENT, stream=exchange)
        state = self._exchanges.get(exchange)
        if state is not None:
            state.json = (state.json[0], _is_json(lines))
            if b"text/event-stream" in _content_type(lines):
                state.events = Events(self._limit)

    def response_data(self, exchange: Route, data: bytes) -> None:
        """Record a part of a response's body."""
        state = self._exchanges.get(exchange)
        if state is None:
            return
        if state.events is None:
            state.response.add(data)
            return
        for frame in state.events.receive(data):
            self._event(exchange, frame)

    def over(self, exchange: Route, reason: str = "") -> None:
        """Record the end of an exchange, with a ``reason`` if it is not complete."""
        state = self._exchanges.pop(exchange, None)
        if state is None:
            return
        if state.request:  # it was not read, or not sent, to its end
            self._body(exchange, TO_SERVER, state.request.take(), state.json[0])
        if state.response:
            self._body(exchange, TO_CLIENT, state.response.take(), state.json[1])
        if state.events is not None:
            for frame in state.events.eof():
                self._event(exchange, frame)
        if state.events is not None or reason:
            self._note("http-end", exchange, None, reason.encode() if reason else None)

    def given_up(self, exchange: Route) -> None:
        """Record that this client has aborted the exchange."""
        self.over(exchange, GIVEN_UP)

    def left(self, exchange: Route) -> None:
        """Record that the client of this server has left."""
        self.over(exchange, LEFT)

    def undecodable(self, data: bytes) -> None:
        """Record received data that is no request."""
        self._record(RecordBuilder.unread_head, data[: self._limit], direction=TO_SERVER)

    def refused(self, status: int, message: str) -> None:
        """Record a refusal by the driver itself, of input that did not become a request."""
        self._record(RecordBuilder.head, [], status=status, direction=TO_CLIENT, stream=0)
        self._note("http-body", 0, TO_CLIENT, message.encode())

    # Records

    def _body(self, exchange: Route, direction: Direction, held: Held, json: bool) -> None:
        self._record(
            RecordBuilder.message,
            held.data,
            dropped=held.dropped,
            otherwise="invalid" if json else "http-body",
            direction=direction,
            stream=exchange,
        )

    def _event(self, exchange: Route, frame: EventFrame) -> None:
        if frame.comment:
            self._note("sse-comment", exchange, TO_CLIENT, frame.data)
            return
        record = (
            partial(self._record, RecordBuilder.message, frame.data, otherwise="sse-event")
            if frame.data
            else partial(self._record, RecordBuilder.note, "sse-event", data=frame.data)
        )
        record(
            direction=TO_CLIENT,
            stream=exchange,
            event=frame.event or "message",
            event_id=frame.id,
            retry=frame.retry,
            dropped=frame.dropped,
        )

    def _note(
        self, kind: Kind, exchange: Route, direction: Direction | None, data: bytes | None
    ) -> None:
        self._record(RecordBuilder.note, kind, data=data, direction=direction, stream=exchange)


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return next((value.lower() for name, value in headers if name.lower() == _TYPE), b"")


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return b"json" in _content_type(headers)
