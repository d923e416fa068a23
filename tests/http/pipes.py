"""A server of HTTP+SSE without a client: its event streams, and messages written by hand."""

import json
from typing import Any

from mcpcore import HttpServer, HttpSettings, SsePaths
from mcpcore.wire.sse import ServerSentEvent
from tests.http.support import Bench, Reply, initialize, make_server, note

PATHS = SsePaths()


def sse_server(**settings: Any) -> HttpServer:
    """A server with both kinds of endpoints."""
    return make_server(HttpSettings(**{"sse": PATHS, **settings}))


class Stream:
    """One event stream and what it has brought."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self.bench = bench
        self.options = options
        self.route = bench.send(
            method="GET",
            path=PATHS.stream,
            accept="text/event-stream",
            remove=("content-type", "content-length"),
            **options,
        )

    @property
    def reply(self) -> Reply:
        return self.bench.replies[self.route]

    @property
    def events(self) -> list[ServerSentEvent]:
        return self.reply.raw_events

    @property
    def uri(self) -> str:
        first = self.events[0]
        assert first.event == "endpoint"
        return first.data

    @property
    def id(self) -> str:
        return self.uri.partition("session_id=")[2]

    @property
    def messages(self) -> list[Any]:
        """The messages so far, in order."""
        rest = self.events[1:]
        assert all(event.event == "message" for event in rest)
        return [json.loads(event.data) for event in rest]

    def ended(self) -> bool:
        return self.reply.end is not None

    def post(self, body: Any, **options: Any) -> Reply:
        return self.bench.post(body, path=self.uri, **{**self.options, **options})

    def open(self, version: str = "2024-11-05") -> "Stream":
        """Shake hands."""
        assert self.post(initialize(version)).status == 202
        assert self.post(note("notifications/initialized")).status == 202
        assert self.messages[-1]["result"]["protocolVersion"] == version
        return self

    def disconnect(self) -> None:
        self.bench.server.disconnect(self.route, now=self.bench.now)
        self.bench.replies.pop(self.route)
        self.bench.pump()
