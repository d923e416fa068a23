"""Sorting what an HTTP response brings: one message, an event stream, or neither."""

from collections.abc import Callable

import h11

from mcpcore_conformance.kit.bindings.event_stream import Event as SseEvent
from mcpcore_conformance.kit.bindings.event_stream import Reader
from mcpcore_conformance.kit.heard import Event, Head, Heard, Text, header

BODY_LIMIT = 64 * 1024 * 1024
BAD_REQUEST = 400


class Response:
    """Passes on the messages and events of one response as they come."""

    def __init__(
        self, exchange: int, took_head: Callable[[Head], None], took: Callable[[Heard], None]
    ) -> None:
        self.exchange = exchange
        self.head: Head | None = None
        self.body = bytearray()
        """What is no message; bounded."""
        self._took_head, self._took = took_head, took
        self._events: Reader | None = None
        self._json = False

    def start(self, response: h11.Response) -> None:
        """Take the head."""
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers
        ]
        kind = (header(headers, "content-type") or "").partition(";")[0].strip().lower()
        self._events = Reader() if kind == "text/event-stream" else None
        self._json = kind == "application/json"
        self.head = Head(self.exchange, response.status_code, headers)
        self._took_head(self.head)

    def data(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._events is None:
            if len(self.body) < BODY_LIMIT:
                self.body += data
            return
        for event in self._events.feed(data):
            self._took(_heard(event, self.exchange))

    def end(self) -> None:
        """Take the end: a body of JSON is a message, what is no event of a stream is a body.

        Of an error status only if it means to be one: what else a refusal says is free.
        """
        assert self.head is not None
        if self._events is not None:
            self.body += self._events.left
        elif (
            self._json
            and self.body
            and (self.head.status < BAD_REQUEST or b'"jsonrpc"' in self.body)
        ):
            self._took(Text(bytes(self.body), self.exchange))
            self.body.clear()


def _heard(event: SseEvent, exchange: int) -> Heard:
    if not event.comment and event.data and event.name in ("", "message"):
        return Text(event.data, exchange, event.id, retry=event.retry)
    return Event(
        exchange,
        name=event.name,
        data=event.data or b"",
        event_id=event.id,
        retry=event.retry,
        comment=event.comment,
    )
