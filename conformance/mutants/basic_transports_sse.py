"""Mutants of HTTP with SSE, the transport of 2024-11-05."""

from collections.abc import Iterable
from copy import copy
from itertools import count
from typing import ClassVar

from conformance.mutants.basic_transports_streams import is_response, message
from conformance.mutants.fault import Asked, Fault
from conformance.mutants.faults import alters
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

    endpoint = ""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            self.endpoint = heard.data.decode()
        return (heard,)

    def misplaced(self, asked: Asked) -> bool:
        """Whether something is posted elsewhere."""
        return asked.method == "POST" and asked.target not in (None, self.endpoint)


@table.server("greets-first", "http-with-sse/endpoint-first")
class _Greets(_Endpoint):
    """Says something else before the endpoint."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            return (Event(heard.exchange, name="hello", data=b"{}"), heard)
        return (heard,)


table.server("points-elsewhere", "http-with-sse/endpoint-of-same-origin").does(
    "Has messages posted to another origin.",
    alters(Event, lambda event: event.name == "endpoint", data=b"http://evil.example/messages"),
)


@table.server("numbers", "http-with-sse/endpoints-differ")
class _Numbers(_Endpoint):
    """Numbers its clients."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Event) and heard.name == "endpoint":
            heard.data = b"/messages?session_id=%d" % next(_numbers)
        return (heard,)


@table.server("answers-in-body", "http-with-sse/answers-on-the-stream")
class _AnswersInBody(Fault):
    """Answers in the body of the POST."""

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Text) and is_response(message(heard)) and self.exchanges:
            heard.exchange = max(self.exchanges)
        return (heard,)


@table.server("any-place", "http-with-sse/posted-elsewhere")
class _AnyPlace(_Endpoint):
    """Takes messages wherever they are posted."""

    def fetching(self, asked: Asked) -> Asked | None:
        if self.misplaced(asked):
            asked.target = self.endpoint
        return asked


@table.server("any-session", "http-with-sse/unknown-session")
class _AnySession(_Endpoint):
    """Takes messages for sessions that never were."""

    def fetching(self, asked: Asked) -> Asked | None:
        if not self.misplaced(asked):
            return asked
        self.answer_http(202, None)
        return None


@table.server("broadcasts", "http-with-sse/streams-apart")
class _Broadcasts(Fault):
    """Sends answers to all clients."""

    said_to: ClassVar[list[tuple[Fault, Text]]] = []

    def heard(self, heard: Heard) -> Iterable[Heard]:
        foreign = [copy(text) for owner, text in self.said_to if owner is not self]
        if foreign:
            self.said_to.clear()
        if isinstance(heard, Text) and message(heard).get("id") == "same":
            self.said_to[:] = [(self, heard)]
        return (*foreign, heard)


table.server("stream-as-text", "http-with-sse/event-stream").does(
    "Calls its event stream plain text.", header_of(gets, "content-type", "text/plain")
)
table.server("post-500", "http-with-sse/post-accepted").does(
    "Answers POSTs that it takes with 500.", status_of(calls("ping"), 500)
)
table.server("takes-from-the-gone", "http-with-sse/end-of-the-stream").does(
    "Takes messages of clients that have left.",
    refuses(lambda asked: requests(asked) and asked.value["id"] == "kit-late", 202),
)
table.server("takes-malformed", "http-with-sse/malformed").does(
    "Says that it has taken what is no message.",
    refuses(lambda asked: asked.method == "POST" and not isinstance(asked.value, dict), 202),
)
table.server("stream-at-endpoint", "http-with-sse/get-at-the-endpoint").does(
    "Opens event streams where messages are posted.",
    refuses(lambda asked: gets(asked) and asked.target is not None, 200, headers=EVENTS),
)
table.server("any-origin-of-streams", "security-warning/foreign-origin-stream").does(
    "Does not look at the Origin of GET.", opens("headers")
)
table.server("any-origin-of-posts", "security-warning/foreign-origin-post").does(
    "Does not look at the Origin of POST.", overlooks(requests, "origin")
)
