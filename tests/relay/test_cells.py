"""All four cells: what a client of either era gets from a server of either era."""

import tracemalloc
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.engine import InputRequest, Peer
from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.relay.settings import RelaySettings
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    UNSUPPORTED_PROTOCOL_VERSION,
    CapabilityMissing,
    ErrorData,
    LocalProtocolError,
)
from mcpcore.wire.jsontext import Body, to_json
from mcpcore_transports.gateway.route import GatewayRoute
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.gateway.upstreams import Fleet
from tests.relay.bench import CELLS, LEGACY, MODERN, Backend, Scene, relayed, text, tools

cells = pytest.mark.parametrize(("client", "server"), CELLS)


@cells
@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
def test_a_meta_of_null_is_none(client: str, server: str, method: str) -> None:
    """As servers write it that leave out no member without a value."""
    scene, backend = relayed(client, server, lambda backend, peer, event: None)
    scene.ask(method, {"name": "echo"})
    result: dict[str, Any] = {"tools": [], "content": [], "_meta": None}
    id = backend.requests(method)[-1].id
    near = backend.wires[-1][1]
    near.receive(json.encode({"jsonrpc": "2.0", "id": id, "result": result}), now=0.0)
    scene.move()
    [received] = scene.told(ResultReceived)
    assert json.decode(received.result)["tools"] == []


@cells
def test_the_server_learns_the_capabilities_of_the_client(client: str, server: str) -> None:
    scene, backend = relayed(client, server, capabilities={"roots": {"listChanged": True}})
    scene.call("echo")
    declared = backend.requests("tools/call")[0].client_capabilities
    assert declared.roots is not None
    assert declared.elicitation is None
    assert declared.sampling is None
    with pytest.raises(CapabilityMissing):  # the server may not ask
        scene.ask("tools/call", {"name": "ask"})


NO_META = "invalid params: _meta is missing 'io.modelcontextprotocol/protocolVersion'"


@pytest.mark.parametrize(
    ("server", "code", "message", "tells"),
    [
        (MODERN, UNSUPPORTED_PROTOCOL_VERSION, "of another revision", True),
        (LEGACY, INVALID_PARAMS, NO_META, True),
        (MODERN, INVALID_PARAMS, NO_META, False),
        (LEGACY, INVALID_PARAMS, f"unknown tool: {NO_META}", False),  # as the client has named it
    ],
)
def test_a_server_whose_errors_tell_of_another_era_but_which_opens_in_its_own(
    server: str, code: int, message: str, tells: bool
) -> None:
    """A conversation is begun anew and the call sent again, once in a while."""

    def refuses(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData(code, message))

    scene, backend = relayed(LEGACY, server, refuses)
    for sent in (1 + tells, 2 + tells):
        error = scene.error("tools/call", {"name": "echo"})
        assert error.message.endswith(message)
        assert len(backend.requests("tools/call")) == sent
    scene.wait(5.0)
    scene.error("tools/call", {"name": "echo"})
    assert len(backend.requests("tools/call")) == 3 + 2 * tells
    if code == UNSUPPORTED_PROTOCOL_VERSION:
        assert (error.code, error.message) == (INTERNAL_ERROR, f"a: {message}")


@cells
def test_a_question_that_the_client_refuses(client: str, server: str) -> None:
    scene = Scene(client, Backend("a", server, tools))
    scene.answers = None
    id = scene.client.request("tools/call", {"name": "ask"}, now=0.0)
    scene.move()
    if client == LEGACY:
        [question] = scene.told(RequestReceived)
        scene.client.fail(question.key, ErrorData(-1, "no"))
        scene.move()
        if server == MODERN:
            [failed] = scene.told(ErrorReceived)
            assert failed.request == id
            assert failed.error.message == "a: elicitation/create failed: no"
    else:
        scene.client.abandon(id)
        scene.wait(601)
    scene.wait(61)
    assert scene.relay.idle


def reports(backend: Backend, peer: Peer, event: RequestReceived) -> None:
    for value in (1, 2.5):
        peer.progress(event.key, value, 3, "on")
    peer.log(event.key, "info", {"a": 1}, "logger")
    peer.log(event.key, "debug", "details")
    peer.respond(event.key, text("done"))


@cells
def test_progress_and_log_messages_come_before_the_answer(client: str, server: str) -> None:
    scene = Scene(client, Backend("a", server, reports))
    level = {} if client == LEGACY else {"log_level": "info"}
    scene.result("tools/call", {"name": "x"}, progress=True, **level)
    kinds = [type(event) for event in scene.events[1:]]
    assert kinds == [ProgressReceived, ProgressReceived, NotificationReceived, ResultReceived]
    assert [event.progress for event in scene.told(ProgressReceived)] == [1, 2.5]
    logged = json.decode(scene.told(NotificationReceived)[0].params)
    assert logged["data"] == {"a": 1}
    assert (logged["level"], logged["logger"]) == ("info", "logger")


@cells
def test_a_call_that_is_cancelled(client: str, server: str) -> None:
    scene, backend = relayed(client, server)
    id = scene.ask("tools/call", {"name": "wait"})
    scene.cancel(id, reason="enough")
    [told] = [event for event in backend.events if isinstance(event, RequestCancelled)]
    assert told.reason == "enough"
    peer, key = backend.waiting["call"]
    assert peer.respond(key, text("late")) is False
    scene.move()
    assert scene.relay.idle
    assert scene.front.in_flight == 0
    assert [type(event) for event in scene.events[1:]] == [RequestEnded]


ERRORS = [
    ("tools/call", -32602, None, (-32602, -32602, -32602, -32602)),
    ("tools/call", -32602, {"uri": "x:1"}, (-32602, -32602, -32602, -32602)),
    ("tools/call", 17, {"a": 1}, (17, 17, 17, 17)),
    ("acme/dig", -32601, None, (-32601, -32601, -32601, -32601)),
    ("resources/read", -32602, {"uri": "x:1"}, (-32602, -32002, -32602, -32602)),
    ("resources/read", -32002, {"uri": "x:1"}, (-32002, -32002, -32602, -32602)),
]


@pytest.mark.parametrize(("method", "code", "data", "codes"), ERRORS)
def test_errors_have_the_codes_of_the_client_s_era(
    method: str, code: int, data: Any, codes: tuple[int, ...]
) -> None:
    def fails(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.fail(event.key, ErrorData.make(code, "no", data))

    found = []
    for client, server in CELLS:
        scene = Scene(client, Backend("a", server, fails))
        error = scene.error(method, {"name": "x", "uri": "x:1"})
        assert error.message == "no"
        assert (None if error.data is None else json.decode(error.data)) == data
        found.append(error.code)
    assert tuple(found) == codes


@cells
def test_a_server_that_goes_away_is_named(client: str, server: str) -> None:
    scene, backend = relayed(client, server)
    scene.ask("tools/call", {"name": "wait"})
    scene.lose(backend)
    [failed] = scene.told(ErrorReceived)
    assert failed.error.message.startswith("a: ")
    assert json.decode(failed.error.data)["server"] == "a"
    assert scene.call("echo") == "a: {}"  # a new conversation
    assert scene.relay.idle


HINTS = {"ttlMs", "cacheScope"}


@cells
def test_a_list_has_the_members_of_the_client_s_era(client: str, server: str) -> None:
    def lists(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        schema = {"type": "array", "items": {"type": "integer"}}
        tool = {"name": "x", "inputSchema": {"type": "object"}, "outputSchema": schema}
        hints = {"ttlMs": 5, "cacheScope": "public"} if server == MODERN else {}
        if event.method == "tools/list":
            peer.respond(event.key, {"tools": [tool], **hints})
        else:
            peer.respond(event.key, {"content": [], "structuredContent": [1]})

    scene = Scene(client, Backend("a", server, lists))
    listed = scene.result("tools/list")
    assert (listed.keys() & HINTS == HINTS) is (client == MODERN)
    if client == MODERN:
        assert listed["ttlMs"] == (5 if server == MODERN else 0)
    called = scene.result("tools/call", {"name": "x"})["structuredContent"]
    schema = listed["tools"][0]["outputSchema"]
    if (client, server) == (LEGACY, MODERN):
        assert called == {"result": [1]}
        assert schema["type"] == "object"
        assert schema["properties"]["result"]["type"] == "array"
    else:
        assert called == [1]
        assert schema["type"] == "array"


@pytest.mark.parametrize("client", [LEGACY, MODERN])
def test_a_result_that_is_none_ends_the_request_with_an_error(client: str) -> None:
    raw = b'{"resultType":"input_required","content":[]}'

    def breaks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, Raw(raw), bare=True)

    scene = Scene(client, Backend("a", LEGACY, breaks))
    assert "a: invalid result" in scene.error("tools/call", {"name": "x"}).message


@pytest.mark.parametrize(("other", "heard"), [("ann", 2), ("bob", 0)])
def test_a_log_message_that_names_no_request_crosses_to_nobody(other: str, heard: int) -> None:
    """A modern server's conversation is shared, and over one stream nothing tells whose it is."""
    scene, backend = relayed(MODERN, MODERN)
    for principal in ("ann", other):
        scene.front.principal = principal
        scene.ask("tools/call", {"name": "wait"}, log_level="info")
    peer, key = backend.waiting["call"]
    peer.log(key, "info", "whose?")
    scene.move()
    assert len(scene.told(NotificationReceived)) == heard
    assert scene.relay.dropped == (0 if heard else 1)


ANY_OBJECT = {"anyOf": [{"type": "object"}, {"type": "array"}]}


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (ANY_OBJECT, {"a": 1}, {"result": {"a": 1}}),
        ({"type": ["object", "null"]}, None, {"result": None}),
        ({"type": ["object", "null"]}, {"result": 1}, {"result": {"result": 1}}),
        ({"type": "object"}, {"a": 1}, {"a": 1}),
        (None, {"a": 1}, {"a": 1}),
        (None, [1], {"result": [1]}),
    ],
)
def test_content_is_wrapped_as_the_schema_of_its_tool_is(
    schema: Any, value: Any, expected: Any
) -> None:
    def structured(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        tool = {"name": "x", "inputSchema": {"type": "object"}}
        if event.method == "tools/list":
            listed = tool if schema is None else {**tool, "outputSchema": schema}
            peer.respond(event.key, {"tools": [listed, {**tool, "name": "y"}]})
        else:
            peer.respond(event.key, {"content": [], "structuredContent": value})

    for names in ("a", "ab"):
        scene = Scene(LEGACY, *(Backend(each, MODERN, structured) for each in names))
        listed = scene.result("tools/list")["tools"][0]
        called = scene.result("tools/call", {"name": listed["name"]})["structuredContent"]
        assert called == expected
        if "outputSchema" in listed:
            assert listed["outputSchema"]["type"] == "object"
        other = scene.result("tools/call", {"name": listed["name"][:-1] + "y"})
        assert other["structuredContent"] == (value if isinstance(value, dict | None) else expected)


URL = {"mode": "url", "url": "https://example.com/x", "message": "Sign in"}


def test_urls_that_a_legacy_server_wants_opened_are_questions_to_a_modern_client() -> None:
    opened: list[bool] = []

    def requires(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if opened:
            peer.respond(event.key, text("in"))
        else:
            data = {"elicitations": [{**URL, "elicitationId": "1"}]}
            peer.fail(event.key, ErrorData.make(-32042, "sign in first", data))
            opened.append(True)

    scene = Scene(MODERN, Backend("a", LEGACY, requires))
    assert scene.call("x") == "in"
    [asked] = scene.told(InputRequired)
    [question] = asked.requests.values()
    assert json.decode(question)["params"] == {**URL, "elicitationId": "1"}
    opened.clear()
    scene = Scene(MODERN, Backend("a", LEGACY, requires), capabilities={"elicitation": {}})
    assert scene.error("tools/call", {"name": "x"}).message == "a: sign in first"
    opened.clear()
    scene = Scene(LEGACY, Backend("a", LEGACY, requires))
    assert scene.error("tools/call", {"name": "x"}).code == -32042


def test_a_url_that_a_modern_server_wants_opened_has_an_id_for_a_legacy_client() -> None:
    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.input_responses is not None:
            peer.respond(event.key, text("in"))
        else:
            peer.require_input(event.key, {"u": InputRequest("elicitation/create", URL)})

    scene = Scene(LEGACY, Backend("a", MODERN, asks))
    scene.answers = {"action": "accept"}
    assert scene.call("x") == "in"
    [question] = scene.told(RequestReceived)
    params = json.decode(question.params)
    assert params.pop("elicitationId")
    assert params == URL


@pytest.mark.parametrize("client", [LEGACY, MODERN])
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("elicitation/create", URL, -32602),  # only forms are declared
        ("acme/ask", {}, -32603),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_to_the_server(
    client: str, method: str, params: Any, code: int
) -> None:
    """The call goes on without the answer."""

    def asks(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.request(method, params, now=0.0, parent=event.key, force=True)
        backend.waiting["call"] = peer, event.key

    scene, backend = relayed(client, LEGACY, asks, capabilities={"elicitation": {"form": {}}})
    scene.answers = None
    scene.ask("tools/call", {"name": "x"})
    refusals = [event for event in backend.events if isinstance(event, ErrorReceived)]
    if client == LEGACY and method == "acme/ask":  # a client of the same era decides itself
        assert refusals == []
    else:
        assert [event.error.code for event in refusals] == [code]
    peer, key = backend.waiting["call"]
    peer.respond(key, text("done"))
    scene.move()
    assert len(scene.told(ResultReceived)) == 1


def test_a_state_without_questions_is_returned_at_once() -> None:
    def stateful(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        if event.request_state is None:
            peer.require_input(event.key, {}, "state")
        else:
            peer.respond(event.key, text(event.request_state))

    scene = Scene(LEGACY, Backend("a", MODERN, stateful))
    assert scene.call("x") == "state"


def test_a_log_message_of_a_call_that_has_ended_crosses_to_nobody() -> None:
    scene, backend = relayed(MODERN, MODERN)
    id = scene.ask("tools/call", {"name": "wait"}, log_level="info")
    peer, key = backend.waiting["call"]
    scene.front.principal = "bob"
    scene.ask("tools/call", {"name": "wait"}, log_level="info")
    scene.front.principal = "ann"
    backend.down = True  # the server does not know of the cancellation
    scene.cancel(id)
    assert peer.log(key, "info", "secret of ann")
    backend.down = False
    scene.move()
    assert not scene.told(NotificationReceived)


class Closed:
    """Guard that lets no request through."""

    open = True

    def admit(self, now: float, method: str, params: object, caller: object = None) -> object:
        raise LocalProtocolError("closed")

    def settle(self, permit: object, event: object, now: float, caller: object = None) -> None: ...

    def again(self, call: object, event: object, now: float) -> float | None: ...


class Retrying:
    """Guard that has a call sent a second time, later, and notes the context of each."""

    open = False

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.asked: list[tuple[str, object]] = []

    def admit(self, now: float, method: str, params: Body, caller: object = None) -> object:
        self.seen.append(HANDLED.get())
        self.asked.append((method, to_json(params)))
        return None

    def settle(self, permit: object, event: object, now: float, caller: object = None) -> None: ...

    def again(self, call: object, event: object, now: float) -> float | None:
        return 1.0 if len(self.seen) == 1 else None


HANDLED = ContextVar("HANDLED", default="nothing")


@pytest.mark.parametrize("binds", [True, False])
def test_a_call_is_sent_again_in_the_context_of_its_answer(binds: bool) -> None:
    scene = Scene(MODERN, Backend("a", MODERN, tools))
    if binds:
        route = GatewayRoute({}, Fleet(GatewaySettings()), revisions=())
        scene.relay.bind = route.relay.bind
    scene.relay.targets["a"].guard = guard = Retrying()
    token = HANDLED.set("the call")
    scene.ask("tools/call", {"name": "echo"})
    HANDLED.reset(token)
    scene.wait(2.0)
    assert guard.seen == ["the call", "the call" if binds else "nothing"]
    assert guard.asked == [("tools/call", b'{"name":"echo"}')] * 2


@pytest.mark.parametrize("method", ["tools/call", "tools/list"])
def test_a_conversation_that_a_guard_lets_nobody_use_is_forgotten(method: str) -> None:
    scene = Scene(MODERN, Backend("a", LEGACY, tools), Backend("b", LEGACY, tools))
    target = scene.relay.targets["a"]
    target.guard = Closed()
    before = target.links
    scene.ask(method, {"name": "a__echo"})
    assert target.links == before + 1
    scene.wait(RelaySettings().link_idle + 1)
    assert target.links == 0


def test_a_guard_that_refuses_the_log_level_too() -> None:
    scene = Scene(MODERN, Backend("a", LEGACY, tools))
    scene.relay.targets["a"].guard = Closed()
    refused = scene.error("tools/call", {"name": "echo"}, log_level="info")
    assert refused.message == "a: closed"


def test_a_log_message_without_a_logger() -> None:
    def reports(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.log(event.key, "error", "x")
        peer.respond(event.key, text("done"))

    scene = Scene(MODERN, Backend("a", LEGACY, reports))
    scene.result("tools/call", {"name": "x"}, log_level="info")
    [logged] = scene.told(NotificationReceived)
    assert "logger" not in json.decode(logged.params)


@pytest.mark.parametrize(("client", "server"), CELLS)
def test_a_large_body_is_copied_once(client: str, server: str) -> None:
    """Params of a legacy client without ``_meta`` keep their spaces, which takes one copy more."""
    size = 1_000_000
    large = "x" * size

    def answers(backend: Backend, peer: Peer, event: RequestReceived) -> None:
        peer.respond(event.key, {**text(large), "_meta": {"other": 1}})

    scene = Scene(client, Backend("a", server, answers))
    scene.call("first")  # opens the conversation
    copied = []

    def counted(work: Callable[..., None]) -> Callable[..., None]:
        def call(*given: Any, **more: Any) -> None:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            work(*given, **more)
            copied.append(round((tracemalloc.get_traced_memory()[1] - before) / size))

        return call

    relay: Any = scene.relay
    relay.from_client, relay.from_server = counted(relay.from_client), counted(relay.from_server)
    tracemalloc.start()
    try:
        scene.call("big", text=large)
    finally:
        tracemalloc.stop()
    assert [each for each in copied if each] == [1 if client == MODERN else 2, 1]
