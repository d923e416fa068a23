"""The relay between an HttpServer and HttpClients, in all four cells."""

from functools import partial
from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.engine import ANY_EXTENSION, Config
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import (
    ErrorReceived,
    Fault,
    FaultKind,
    InputRequired,
    NotificationReceived,
    ProgressReceived,
    RequestReceived,
    ResultReceived,
    SubscriptionNotification,
)
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.client.client import HttpClient
from mcpcore.http.messages import HttpSend
from mcpcore.http.principals import Refusal
from mcpcore.relay.link import Target, UpstreamLink
from mcpcore.relay.names import Naming
from mcpcore.relay.relay import Relay
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import HEADER_MISMATCH, INVALID_PARAMS, ErrorData, Forbidden
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore_transports.server.seal import make_seal
from tests.engine.bench import rows
from tests.http.support import URL, Wire, make_client, make_server
from tests.relay.bench import ANSWER, CELLS, LEGACY, ME, MODERN, WALL, Backend, tools
from tests.relay.test_cells import reports
from tests.relay.test_subscriptions import CHANGED

cells = pytest.mark.parametrize(("client", "server"), CELLS)


class Web:
    """A client, the relay and one server, over HTTP without sockets."""

    def __init__(
        self, client: str, server: str, backend: Backend, status: int | None = None, **settings: Any
    ) -> None:
        self.status = status
        self.server, self.backend = server, backend
        self.client = make_client(revisions=rows(client))
        front = make_server(asked_first=ASKABLE, extension_methods=ANY_EXTENSION)
        self.front = Wire(self.client, front)
        self.backs: list[Denying] = []
        targets = [Target(backend.name, self.connect)]
        self.relay = Relay(targets, seal=make_seal(), settings=RelaySettings(**settings))
        self.front.on_server = self.from_client
        self.front.on_client = self.answer
        self.relay.start(now=self.front.now)
        self.client.start(now=self.front.now)
        self.run()

    def connect(self, link: UpstreamLink) -> HttpClient:
        base = Config(info=ME, capabilities=ClientCapabilities())
        client = HttpClient(link.config(base), URL)
        wire = Denying(client, make_server(revisions=rows(self.server)))
        wire.status = self.status
        wire.on_client = partial(self.from_server, link)
        wire.on_server = partial(self.backend.take, wire.server)
        self.backs.append(wire)
        client.start(now=wire.now)
        return client

    def from_client(self, event: Any) -> None:
        self.relay.from_client(self.front.server, event, now=self.front.now, wall=WALL)

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


def test_a_client_polls_while_the_relay_does() -> None:
    """The server closes the stream of a call, and wants the client to come back for the answer."""
    waiting: list[Any] = []

    def polls(backend: Backend, peer: Any, event: RequestReceived) -> None:
        waiting.append((peer, event.key))

    web = Web(LEGACY, LEGACY, Backend("a", LEGACY, polls))
    web.ask("tools/call", {"name": "t"})
    [(peer, key)] = waiting
    assert peer.close_stream(key, retry=2.5, now=web.front.now)
    web.run()
    [interrupted] = web.front.client_saw(StreamInterrupted)
    assert (interrupted.recovery, interrupted.delay) == (Recovery.RESUME, 2.5)


class Denying(Wire):
    """A server, or what stands before it, that wants other credentials for a call."""

    status: int | None = None
    down = False
    fault: Fault | None = Fault(FaultKind.CONNECT)

    def _send(self, plan: HttpSend) -> None:
        if self.down:
            self.client.response_end(plan.exchange, error="gone", fault=self.fault, now=self.now)
            return
        if self.status is None or b"tools/call" not in plan.body:
            super()._send(plan)
            return
        challenge = ((b"www-authenticate", b'Bearer scope="x:write"'),)
        self.client.response_head(plan.exchange, self.status, challenge, now=self.now)
        self.client.response_data(plan.exchange, b"who are you?", now=self.now)
        self.client.response_end(plan.exchange, now=self.now)


@cells
@pytest.mark.parametrize("status", [401, 403, None])
def test_a_server_that_refuses_the_credentials_of_the_relay(
    client: str, server: str, status: int | None
) -> None:
    """Nothing tells the client that its own were refused, or what the server asks for."""

    def forbids(backend: Backend, peer: Any, event: RequestReceived) -> None:
        peer.forbid(event.key, Forbidden({"x:write"}).error, Refusal(status=403))

    web = Web(client, server, Backend("a", server, forbids), status=status)
    assert web.ask("tools/call", {"name": "t"}) is None
    [failed] = web.front.client_saw(ErrorReceived)
    assert failed.error.code == -32603
    assert failed.error.message.startswith("a: ")
    assert "x:write" not in str(failed.error)
    assert all(head.status not in (401, 403) for head in web.front.heads.values())
    lines = [line for head in web.front.heads.values() for line in head.headers]
    assert b"www-authenticate" not in dict(lines)


@cells
@pytest.mark.parametrize("fault", [Fault(FaultKind.CONNECT), None])
def test_a_server_that_cannot_be_connected_to_is_away(
    client: str, server: str, fault: Fault | None
) -> None:
    """Its conversation goes on; clients hear of its lists when they go and when they are back."""
    web = Web(
        client, server, Backend("a", server, tools), naming=Naming.ALWAYS, grace=30.0, list_ttl=1.0
    )
    if client == MODERN:
        web.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}})

    def seen() -> tuple[int, int, bool]:
        page = web.ask("tools/list")
        kinds = NotificationReceived | SubscriptionNotification
        heard = [event for event in web.front.client_events if isinstance(event, kinds)]
        told = [event for event in heard if event.method == CHANGED]
        return len(page["tools"]), len(told), "mcpcore/unavailable" in page.get("_meta", {})

    def wait(seconds: float) -> None:
        web.front.now += seconds
        web.relay.handle_timeout(web.front.now)
        web.run()

    assert seen() == (1, 0, False)
    for wire in web.backs:
        wire.down, wire.fault = True, fault
    wait(2.0)
    assert seen() == (1, 0, False)
    wait(29.0)
    assert seen() == (1, 0, False)
    wait(2.0)
    assert seen() == (0, 1, True)
    for wire in web.backs:
        wire.down = False
    wait(1.0)
    assert seen() == (1, 2, False)


def test_params_without_the_name_that_a_header_mirrors() -> None:
    """The client has no part in the headers of the next hop."""
    web = Web(LEGACY, MODERN, Backend("a", MODERN, tools))
    assert web.ask("tools/call", {}) is None
    [refused] = web.front.client_saw(ErrorReceived)
    assert refused.error.code == INVALID_PARAMS
    assert "Mcp-Name" in refused.error.message


@pytest.mark.parametrize("prefix", ["", "a__"])
def test_header_mirrors_are_those_of_the_server(prefix: str) -> None:
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
    naming = Naming.ALWAYS if prefix else Naming.NEVER
    web = Web(LEGACY, server, Backend("a", server, regional), naming=naming)
    name = f"{prefix}r"
    web.ask("tools/list")
    assert web.relay.header_params == {name: {"Region": ("region",)}}
    web.ask("tools/call", {"name": name, "arguments": {"region": "eu"}})
    [call] = [plan for plan in web.backs[0].sent if b"tools/call" in plan.body]
    assert (b"mcp-name", b"r") in call.headers
    assert (b"mcp-param-region", b"eu") in call.headers
    del schema["properties"]["region"]["x-mcp-header"]  # type: ignore[index]
    web.ask("tools/list")
    assert web.relay.header_params == web.relay.targets["a"].header_params == {}


BROKEN: list[dict[str, Any]] = [
    {"inputSchema": {"properties": {"a": {"type": "string", "x-mcp-header": "no token"}}}},
    {"inputSchema": {}, "annotations": {"readOnlyHint": "perhaps"}},
    {"inputSchema": []},
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("prefix", ["", "a__"])
def test_a_tool_that_breaks_rules_hides_no_other(prefix: str, broken: dict[str, Any]) -> None:
    """It passes as well, as the rules are for clients: these leave it out."""
    region = {"type": "string", "x-mcp-header": "Region"}
    right = {"name": "r", "inputSchema": {"type": "object", "properties": {"region": region}}}

    def regional(backend: Backend, peer: Any, event: RequestReceived) -> None:
        tools = [{"name": "broken", **broken}, right]
        peer.respond(event.key, {"tools": tools, "ttlMs": 0, "cacheScope": "private"})

    naming = Naming.ALWAYS if prefix else Naming.NEVER
    web = Web(MODERN, MODERN, Backend("a", MODERN, regional), naming=naming)
    listed = web.ask("tools/list")["tools"]
    assert [tool["name"] for tool in listed] == [f"{prefix}broken", f"{prefix}r"]
    assert web.relay.header_params == {f"{prefix}r": {"Region": ("region",)}}


@pytest.mark.parametrize("misses", [1, 2])
@pytest.mark.parametrize("prefix", ["", "a__"])
def test_a_missing_header_makes_the_relay_read_the_tools_once(prefix: str, misses: int) -> None:
    """A client may know the tools from elsewhere, so that no list has passed here."""
    mirrored = {"type": "string", "x-mcp-header": "Region"}
    schema = {"type": "object", "properties": {"region": mirrored}}
    left = misses

    def regional(backend: Backend, peer: Any, event: RequestReceived) -> None:
        nonlocal left
        if event.method == "tools/list":
            tool = {"name": "r", "inputSchema": schema}
            peer.respond(event.key, {"tools": [tool], "ttlMs": 0, "cacheScope": "private"})
        elif left:
            left -= 1
            peer.fail(event.key, ErrorData(HEADER_MISMATCH, "header mismatch: Mcp-Param-Region"))
        else:
            peer.respond(event.key, Raw(b'{"content":[]}'))

    naming = Naming.ALWAYS if prefix else Naming.NEVER
    web = Web(MODERN, MODERN, Backend("a", MODERN, regional), naming=naming)
    answer = web.ask("tools/call", {"name": f"{prefix}r", "arguments": {"region": "eu"}})
    calls = [plan for plan in web.backs[0].sent if b"tools/call" in plan.body]
    lists = [plan for plan in web.backs[0].sent if b"tools/list" in plan.body]
    assert [(b"mcp-param-region", b"eu") in call.headers for call in calls] == [False, True]
    assert len(lists) == 1
    assert (answer is None) is (misses == 2)
    failed = [event.error.code for event in web.front.client_saw(ErrorReceived)]
    assert failed == [INVALID_PARAMS] * (misses - 1)


@pytest.mark.parametrize("prefix", ["", "a__"])
def test_a_missing_header_makes_the_relay_read_tools_again_that_it_has_kept(prefix: str) -> None:
    """The server has changed the tool, and nobody listens for that."""
    region = {"type": "string"}
    schema = {"type": "object", "properties": {"region": region}}

    def regional(backend: Backend, peer: Any, event: RequestReceived) -> None:
        if event.method == "tools/list":
            tool = {"name": "r", "inputSchema": schema}
            peer.respond(event.key, {"tools": [tool], "ttlMs": 60_000, "cacheScope": "public"})
        elif (b"mcp-param-region", b"eu") not in web.backs[0].sent[-1].headers:
            peer.fail(event.key, ErrorData(HEADER_MISMATCH, "header mismatch: Mcp-Param-Region"))
        else:
            peer.respond(event.key, Raw(b'{"content":[]}'))

    naming = Naming.ALWAYS if prefix else Naming.NEVER
    web = Web(MODERN, MODERN, Backend("a", MODERN, regional), naming=naming)
    web.ask("tools/list")
    region["x-mcp-header"] = "Region"
    assert web.ask("tools/call", {"name": f"{prefix}r", "arguments": {"region": "eu"}}) is not None
    lists = [plan for plan in web.backs[0].sent if b"tools/list" in plan.body]
    assert len(lists) == 2


@pytest.mark.parametrize(
    ("status", "again"), [(400, True), (404, True), (403, False), (503, False)]
)
def test_a_modern_server_that_refuses_even_to_be_discovered(status: int, again: bool) -> None:
    """So does a legacy one, which wants a session: it is negotiated with anew."""
    web = Web(MODERN, MODERN, Backend("a", MODERN, tools))
    [wire] = web.backs
    wire.down, wire.fault = True, Fault(FaultKind.STATUS, status)
    web.front.now += 6.0
    assert web.ask("tools/call", {"name": "echo"}) is None
    assert len(web.backs) == 1 + again
    if again:
        assert web.ask("tools/call", {"name": "echo"}) is not None
