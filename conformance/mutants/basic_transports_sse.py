"""Mutants of HTTP with SSE, the transport of 2024-11-05."""

from collections.abc import Iterable
from copy import copy
from itertools import count
from typing import ClassVar

from conformance.mutants.basic_transports_streams import is_response, message
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.http_faults import (
    calls,
    gets,
    header_of,
    overlooks,
    refuses,
    requests,
    status_of,
)
from conformance.mutants.model import Table
from conformance.mutants.rfc6455_opening import opens
from mcpcore_conformance.kit.heard import Event, Heard, Text

table = Table("basic/transports")

EVENTS = [("content-type", "text/event-stream")]
_numbers = count(1000)


class _Endpoint(Fault):
    """Knows where messages have to be posted."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoint = ""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            self.endpoint = heard.data.decode()
        return (heard,)

    def misplaced(self, asked: Asked) -> bool:
        """Whether something is posted elsewhere."""
        return asked.method == "POST" and asked.target not in (None, self.endpoint)


class _Greets(_Endpoint):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            return (Event(heard.exchange, name="hello", data=b"{}"), heard)
        return (heard,)


class _PointsElsewhere(_Endpoint):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            heard.data = b"http://evil.example/messages"
        return (heard,)


class _Numbers(_Endpoint):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            heard.data = b"/messages?session_id=%d" % next(_numbers)
        return (heard,)


class _AnswersInBody(Fault):
    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Text) and is_response(message(heard)) and self.exchanges:
            heard.exchange = max(self.exchanges)
        return (heard,)


class _AnyPlace(_Endpoint):
    def fetching(self, asked: Asked) -> Asked | None:
        if self.misplaced(asked):
            asked.target = self.endpoint
        return asked


class _AnySession(_Endpoint):
    def fetching(self, asked: Asked) -> Asked | None:
        if not self.misplaced(asked):
            return asked
        self.answer_http(202, None)
        return None


class _Broadcasts(Fault):
    """Sends answers over the streams of all clients."""

    said_to: ClassVar[list[tuple[Fault, Text]]] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        foreign = [copy(text) for owner, text in self.said_to if owner is not self]
        if foreign:
            self.said_to.clear()
        if isinstance(heard, Text) and message(heard).get("id") == "same":
            self.said_to[:] = [(self, heard)]
        return (*foreign, heard)


def _no_message(asked: Asked) -> bool:
    return asked.method == "POST" and not isinstance(asked.value, dict)


table.add(
    "greets-first",
    "http-with-sse/endpoint-first",
    "Says something else before the endpoint.",
    _Greets,
)
table.add(
    "points-elsewhere",
    "http-with-sse/endpoint-of-same-origin",
    "Has messages posted to another origin.",
    _PointsElsewhere,
)
table.add(
    "stream-as-text",
    "http-with-sse/event-stream",
    "Calls its event stream plain text.",
    header_of(gets, "content-type", "text/plain"),
)
table.add(
    "post-500",
    "http-with-sse/post-accepted",
    "Answers POSTs that it takes with 500.",
    status_of(calls("ping"), 500),
)
table.add(
    "answers-in-body",
    "http-with-sse/answers-on-the-stream",
    "Answers in the body of the POST.",
    _AnswersInBody,
)
table.add(
    "any-place",
    "http-with-sse/posted-elsewhere",
    "Takes messages wherever they are posted.",
    _AnyPlace,
)
table.add(
    "any-session",
    "http-with-sse/unknown-session",
    "Takes messages for sessions that never were.",
    _AnySession,
)
table.add("numbers", "http-with-sse/endpoints-differ", "Numbers its clients.", _Numbers)
table.add(
    "broadcasts",
    "http-with-sse/streams-apart",
    "Sends answers to all clients.",
    _Broadcasts,
)
table.add(
    "takes-from-the-gone",
    "http-with-sse/end-of-the-stream",
    "Takes messages of clients that have left.",
    refuses(lambda asked: requests(asked) and asked.value["id"] == "kit-late", 202),
)
table.add(
    "takes-malformed",
    "http-with-sse/malformed",
    "Says that it has taken what is no message.",
    refuses(_no_message, 202),
)
table.add(
    "stream-at-endpoint",
    "http-with-sse/get-at-the-endpoint",
    "Opens event streams where messages are posted.",
    refuses(lambda asked: gets(asked) and asked.target is not None, 200, headers=EVENTS),
)
table.add(
    "any-origin-of-streams",
    "security-warning/foreign-origin-stream",
    "Does not look at the Origin of GET.",
    opens("headers"),
)
table.add(
    "any-origin-of-posts",
    "security-warning/foreign-origin-post",
    "Does not look at the Origin of POST.",
    overlooks(requests, "origin"),
)
