"""The relay between an HttpServer and HttpClients, in all four cells."""

from functools import partial
from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.engine import ANY_EXTENSION, Config
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import (
    InputRequired,
    NotificationReceived,
    ProgressReceived,
    RequestReceived,
    ResultReceived,
    SubscriptionNotification,
)
from mcpcore.http.client.client import HttpClient
from mcpcore.relay.link import Target, UpstreamLink
from mcpcore.relay.relay import Relay
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore_transports.server.seal import make_seal
from tests.engine.bench import rows
from tests.http.support import URL, Wire, make_client, make_server
from tests.relay.bench import ANSWER, CELLS, LEGACY, ME, WALL, Backend, tools
from tests.relay.test_cells import reports

cells = pytest.mark.parametrize(("client", "server"), CELLS)


class Web:
    """A client, the relay and one server, over HTTP without sockets."""

    def __init__(self, client: str, server: str, backend: Backend) -> None:
        self.server, self.backend = server, backend
        self.client = make_client(revisions=rows(client))
        front = make_server(asked_first=ASKABLE, extension_methods=ANY_EXTENSION)
        self.front = Wire(self.client, front)
        self.backs: list[Wire] = []
        targets = [Target(backend.name, self.connect)]
        self.relay = Relay(front, targets, seal=make_seal())
        self.front.on_server = self.from_client
        self.front.on_client = self.answer
        self.relay.start(now=self.front.now)
        self.client.start(now=self.front.now)
        self.run()

    def connect(self, link: UpstreamLink) -> HttpClient:
        base = Config(info=ME, capabilities=ClientCapabilities())
        client = HttpClient(link.config(base), URL)
        wire = Wire(client, make_server(revisions=rows(self.server)))
        wire.on_client = partial(self.from_server, link)
        wire.on_server = partial(self.backend.take, wire.server)
        self.backs.append(wire)
        client.start(now=wire.now)
        return client

    def from_client(self, event: Any) -> None:
        self.relay.from_client(event, now=self.front.now, wall=WALL)

    def from_server(self, link: UpstreamLink, event: Any) -> None:
        self.relay.from_server(link, event, now=self.front.now, wall=WALL)

    def answer(self, event: Any) -> None:
        if isinstance(event, RequestReceived):
            self.client.respond(event.key, ANSWER)
        elif isinstance(event, InputRequired):
            answers = dict.fromkeys(event.requests, ANSWER)
            self.client.retry(event.request, answers, now=self.front.now)

    def run(self) -> None:
        for _ in range(8):
            self.front.run()
            for wire in self.backs:
                wire.run()

    def ask(self, method: str, params: Any = None, **more: Any) -> Any:
        """Make a request and return its result, decoded; None if there is none."""
        self.client.request(method, params, now=self.front.now, force=True, **more)
        before = len(self.front.client_events)
        self.run()
        for event in self.front.client_events[before:]:
            if isinstance(event, ResultReceived) and event.method == method:
                return json.decode(event.result)
        return None


@cells
def test_calls_and_questions(client: str, server: str) -> None:
    web = Web(client, server, Backend("a", server, tools))
    for name, said in (("echo", "a: None"), ("ask", "Hello Ada")):
        assert web.ask("tools/call", {"name": name})["content"][0]["text"] == said


@cells
def test_progress_and_log_messages(client: str, server: str) -> None:
    web = Web(client, server, Backend("a", server, reports))
    level = {} if client == LEGACY else {"log_level": "info"}
    assert web.ask("tools/call", {"name": "x"}, progress=True, **level) is not None
    assert [event.progress for event in web.front.client_saw(ProgressReceived)] == [1, 2.5]
    [logged] = web.front.client_saw(NotificationReceived)
    assert json.decode(logged.params)["data"] == {"a": 1}


@cells
def test_changes(client: str, server: str) -> None:
    web = Web(client, server, Backend("a", server, tools))
    if client == LEGACY:
        assert web.ask("resources/subscribe", {"uri": "x:1"}) == {}
    else:
        web.ask("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["x:1"]}})
    for wire in web.backs:
        wire.server.notify("notifications/resources/updated", {"uri": "x:1"})
        wire.server.notify("notifications/resources/updated", {"uri": "x:2"})
    web.run()
    kinds = NotificationReceived | SubscriptionNotification
    told = [event for event in web.front.client_events if isinstance(event, kinds)]
    assert [json.decode(event.params)["uri"] for event in told] == ["x:1"]


def test_header_mirrors_are_those_of_the_server() -> None:
    """The relay learns them from the list, and the headers are made anew for each hop."""
    schema = {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    }

    def regional(backend: Backend, peer: Any, event: RequestReceived) -> None:
        if event.method == "tools/list":
            tool = {"name": "r", "inputSchema": schema}
            peer.respond(event.key, {"tools": [tool], "ttlMs": 0, "cacheScope": "private"})
        else:
            peer.respond(event.key, Raw(b'{"content":[]}'))

    server = CELLS[-1][1]
    web = Web(LEGACY, server, Backend("a", server, regional))
    web.ask("tools/list")
    assert web.relay.header_params == {"r": {"Region": ("region",)}}
    web.ask("tools/call", {"name": "r", "arguments": {"region": "eu"}})
    [call] = [plan for plan in web.backs[0].sent if b"tools/call" in plan.body]
    assert (b"mcp-name", b"r") in call.headers
    assert (b"mcp-param-region", b"eu") in call.headers
