"""What may be said to whom: revision, capability and subscription gate it, in both directions."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from mcpcore.engine import EndReason, InputRequest, Peer, Role
from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionOpened,
    Violation,
)
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from mcpcore.spec.types.base import NotificationParams, RequestParams
from mcpcore.spec.types.resources import ResourceUpdatedParams
from mcpcore.wire.message import Message
from tests.engine.bench import (
    CLIENT_ALL,
    LEGACY_NAMES,
    META,
    MODERN_NAMES,
    answer,
    call,
    client_config,
    drain,
    expect,
    feed,
    initialize,
    legacy_client,
    legacy_server,
    modern_client,
    modern_server,
    sent,
    server_config,
    tell,
)

TASKS: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"


def received(peer: Peer, message: Any) -> RequestReceived:
    """Feed a request and return its event."""
    return expect(RequestReceived, feed(peer, message))


def opened(peer: Peer, id: Any = 1, **notifications: Any) -> SubscriptionOpened:
    """Open a listen stream on a server and take its acknowledgement."""
    params = {"notifications": notifications or {"toolsListChanged": True}}
    [event] = feed(peer, call(id, "subscriptions/listen", params, modern=True))
    assert isinstance(event, SubscriptionOpened)
    peer.data_to_send()
    return event


# Notifications of ours


@pytest.mark.parametrize(
    ("revision", "declared", "heard"),
    [
        (LEGACY_NAMES[-1], CLIENT_ALL, True),
        (LEGACY_NAMES[-1], {"elicitation": {}}, False),
        (LEGACY_NAMES[-2], CLIENT_ALL, False),
        (LEGACY_NAMES[0], CLIENT_ALL, False),
    ],
)
def test_a_client_hears_what_its_revision_has_and_it_declared(
    revision: str, declared: Any, heard: bool
) -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, initialize(revision=revision, **declared), tell("notifications/initialized"))
    peer.data_to_send()
    method = "notifications/elicitation/complete"
    assert peer.notify(method, {"elicitationId": "e"}) is heard
    assert [frame["method"] for frame in sent(peer)] == [method] * heard


@pytest.mark.parametrize(
    ("capabilities", "told"), [(CLIENT_ALL, True), ({"roots": {}}, False), ({}, False)]
)
def test_a_client_announces_what_it_declared(capabilities: Any, told: bool) -> None:
    peer = legacy_client(config=client_config(capabilities))
    peer._state.revision = peer._state.profile.legacy[-1]
    assert peer.notify("notifications/roots/list_changed") is told
    modern = modern_client(client_config(capabilities))
    assert modern.notify("notifications/roots/list_changed") is False, "not in this revision"
    assert sent(modern) == []


def test_nobody_hears_what_is_said_before_the_beginning_or_after_the_end() -> None:
    peer = Peer(Role.CLIENT, client_config())
    assert peer.notify("notifications/acme") is False
    peer.start(now=0)
    assert peer.notify("notifications/acme") is False
    peer.receive_eof(now=0)
    drain(peer)
    assert peer.notify("notifications/acme") is False
    assert modern_server().notify("notifications/acme") is False


def test_requests_are_no_notifications() -> None:
    peer = legacy_server()
    assert peer.notify("notifications/roots/list_changed") is False, "clients send it"
    assert peer.notify("notifications/acme/custom", {"a": 1})
    assert sent(peer) == [tell("notifications/acme/custom", {"a": 1})]


@pytest.mark.parametrize(
    "method",
    [
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/message",
        "notifications/subscriptions/acknowledged",
    ],
)
def test_what_has_rules_of_its_own_is_not_sent_by_hand(method: str) -> None:
    for peer in (legacy_server(), legacy_client()):
        with pytest.raises(LocalProtocolError, match=method):
            peer.notify(method)
        assert sent(peer) == []


@pytest.mark.parametrize("params", [{"uri": "a:1"}, ResourceUpdatedParams(uri="a:1"), None])
def test_meta_reaches_all_who_hear_of_a_change(params: Any) -> None:
    peer = legacy_server()
    opened(peer, 1, resourceSubscriptions=["a:1"], toolsListChanged=True)
    feed(peer, call(2, "resources/subscribe", {"uri": "a:1"}))
    peer.data_to_send()
    method = "notifications/resources/updated"
    if params is None:
        method = "notifications/tools/list_changed"
    assert peer.notify(method, params, meta={"acme": 1})
    legacy, modern = sent(peer)
    assert legacy["params"].pop("_meta") == {"acme": 1}
    assert modern["params"].pop("_meta") == {"acme": 1, SUBSCRIPTION_ID: 1}
    assert legacy["params"] == modern["params"] == ({} if params is None else {"uri": "a:1"})


def test_a_change_that_came_on_a_stream_goes_out_on_others() -> None:
    peer = legacy_server()
    opened(peer, 7)
    peer.notify("notifications/tools/list_changed", {"_meta": {SUBSCRIPTION_ID: 99, "a": 1}})
    modern = peer.data_to_send()[1]
    text = b"".join(modern.data)
    assert text.count(SUBSCRIPTION_ID.encode()) == 1
    assert json.loads(text)["params"]["_meta"] == {SUBSCRIPTION_ID: 7, "a": 1}


@pytest.mark.parametrize("uri", [b"1e999", b"9" * 5000, b"7", b"null"])
def test_nobody_hears_of_a_change_of_what_has_no_name(uri: bytes) -> None:
    peer = legacy_server()
    opened(peer, 1, resourceSubscriptions=["7"])
    feed(peer, call(2, "resources/subscribe", {"uri": "7"}))
    peer.data_to_send()
    assert peer.notify("notifications/resources/updated", Raw(b'{"uri":%b}' % uri)) is False
    assert sent(peer) == []


def test_meta_of_a_body_is_kept_and_never_written_twice() -> None:
    peer = legacy_server()
    opened(peer)
    bodies: list[Any] = [
        {"_meta": {"a": 1, "b": 1}},
        NotificationParams(meta=Raw(b'{"a":1,"b":1}')),
        Raw(b'{"_meta" : {"a":1,"b":1} }'),
        Raw(b'{"\\u005fmeta":{"a":1,"\\u0062":1}}'),
        Raw(b'{"_meta":{},"_\\u006Deta":{"a":1,"b":1}}'),
    ]
    for body in bodies:
        peer.notify("notifications/tools/list_changed", body, meta={"b": 2})
        frames = [b"".join(frame.data) for frame in peer.data_to_send()]
        assert [frame.count(b'"_meta"') for frame in frames] == [1, 1]
        assert b"\\u" not in b"".join(frames)
        legacy, modern = (json.loads(frame)["params"]["_meta"] for frame in frames)
        assert legacy == {"a": 1, "b": 2}
        assert modern == {"a": 1, "b": 2, SUBSCRIPTION_ID: 1}


def test_meta_of_params_joins_that_of_the_engine() -> None:
    peer = modern_client()
    bodies: list[Any] = [
        {"name": "t", "_meta": {"a": 1, "b": 1}},
        RequestParams(meta=Raw(b'{"a":1,"b":1}')),
        Raw(b'{"name":"t","_meta":{"a":1,"b":1}}'),
        Raw(b'{"name":"t","\\u005Fmeta":{"a":1,"b":1}}'),
    ]
    for body in bodies:
        peer.request("tools/call", body, now=0, meta={"b": 2}, progress=True)
        [frame] = peer.data_to_send()
        text = b"".join(frame.data)
        assert text.count(b'"_meta"') == 1
        assert b"\\u" not in text
        meta = json.loads(text)["params"]["_meta"]
        assert (meta["a"], meta["b"], meta["progressToken"]) == (1, 2, frame.request)
        assert META.keys() <= meta.keys()


@pytest.mark.parametrize(
    "body",
    [
        {"a": {"_meta": {"x": 1}}},
        {"a": '"_meta"'},
        {"a": '"resultType"', "b": {}},
        {"a": "\x1b[0m", "\x1b": "\\u005fmeta"},
    ],
)
def test_what_only_looks_like_meta_stays_where_it_is(body: Any) -> None:
    peer = legacy_client()
    request = peer.request("tools/call", body, now=0)
    assert sent(peer) == [call(request, "tools/call", body)]
    server = legacy_server()
    server.respond(received(server, call(1, "tools/list")).key, body)
    assert sent(server) == [answer(1, body)]


@pytest.mark.parametrize(
    "body", [Raw(b'{"_meta":7}'), Raw(b'{"_meta":}'), Raw(b'{"resultType":7,"_meta":{}}')]
)
def test_meta_that_cannot_be_read_changes_nothing(body: Raw) -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    with pytest.raises(ValueError, match="malformed"):
        peer.respond(event.key, body)
    assert peer.respond(event.key, {})


@pytest.mark.parametrize(
    "body",
    [
        {"_meta": {"io.modelcontextprotocol/protocolVersion": "v9"}},
        Raw(b'{"\\u005fmeta":{"io.modelcontextprotocol/protocolVersion":"v9"}}'),
        Raw(b'{"_meta":{"io.modelcontextprotocol\\/protocolVersio\\u006e":"v9"}}'),
    ],
)
def test_reserved_meta_in_a_body_is_refused_too(body: Any) -> None:
    peer = modern_client()
    with pytest.raises(LocalProtocolError, match="protocolVersion"):
        peer.request("tools/list", body, now=0)
    assert peer.pending == 0


def test_numbers_in_meta_travel_as_they_are_written() -> None:
    body = Raw(b'{"_meta":{"large":1e999,"exact":0.10000000000000000001}}')
    server = legacy_server()
    assert server.respond(received(server, call(1, "tools/list")).key, body)
    client = legacy_client()
    client.request("tools/list", body, now=0)
    for peer in (server, client):
        [frame] = peer.data_to_send()
        assert b'{"large":1e999,"exact":0.10000000000000000001}' in b"".join(frame.data)


# Changes on the stream of a request


def test_changes_do_not_travel_on_the_stream_of_a_modern_call() -> None:
    peer = modern_server()
    event = received(peer, call(1, "tools/list", modern=True))
    with pytest.raises(LocalProtocolError, match="listen streams only"):
        peer.notify("notifications/tools/list_changed", parent=event.key)
    legacy = legacy_server()
    event = received(legacy, call(1, "tools/list"))
    assert legacy.notify("notifications/tools/list_changed", parent=event.key)
    assert len(sent(legacy)) == 1


def test_a_listen_stream_carries_only_its_changes() -> None:
    peer = modern_server()
    event = opened(peer, 7, toolsListChanged=True, resourceSubscriptions=["a:1"])
    assert peer.notify("notifications/tools/list_changed", parent=event.key)
    assert peer.notify("notifications/resources/updated", {"uri": "a:1"}, parent=event.key)
    assert not peer.notify("notifications/resources/updated", {"uri": "a:2"}, parent=event.key)
    assert not peer.notify("notifications/prompts/list_changed", parent=event.key)
    assert not peer.notify("notifications/acme", parent=event.key)
    frames = sent(peer)
    assert [frame["params"] for frame in frames] == [
        {"_meta": {SUBSCRIPTION_ID: 7}},
        {"_meta": {SUBSCRIPTION_ID: 7}, "uri": "a:1"},
    ]


def test_progress_and_logs_never_travel_on_a_listen_stream() -> None:
    peer = modern_server()
    meta = {**META, "progressToken": "p", "io.modelcontextprotocol/logLevel": "debug"}
    params = {"notifications": {}, "_meta": meta}
    event = expect(SubscriptionOpened, feed(peer, call(1, "subscriptions/listen", params)))
    peer.data_to_send()
    assert peer.progress(event.key, 1) is False
    assert peer.log(event.key, "error", "x") is False
    assert (peer.wants_progress(event.key), peer.wants_log(event.key, "error")) == (False, False)
    assert sent(peer) == []


def test_a_listen_stream_is_answered_by_its_end_alone() -> None:
    peer = modern_server()
    event = opened(peer)
    acts: list[Callable[[], object]] = [
        lambda: peer.respond(event.key, {}),
        lambda: peer.fail(event.key, ErrorData(-32603, "x")),
        lambda: peer.require_input(event.key, {}, "s"),
    ]
    for act in acts:
        with pytest.raises(LocalProtocolError, match="end_subscription"):
            act()
    assert peer.end_subscription(event.key)


def test_changes_of_tasks_go_to_those_who_follow_them() -> None:
    peer = modern_server(server_config({"tools": {}, **TASKS}))
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": TASKS}
    for id, tasks in enumerate((["t1", "t2"], ["t3"])):
        params = {"notifications": {"taskIds": tasks}, "_meta": meta}
        feed(peer, call(id, "subscriptions/listen", params))
    peer.data_to_send()
    assert peer.notify("notifications/tasks", {"taskId": "t3", "status": "working"})
    assert not peer.notify("notifications/tasks", {"taskId": "t4", "status": "working"})
    assert not peer.notify("notifications/tasks", {"status": "working"})
    assert [frame["params"]["_meta"][SUBSCRIPTION_ID] for frame in sent(peer)] == [1]


def test_following_tasks_takes_the_capability() -> None:
    peer = modern_server(server_config({"tools": {}, **TASKS}))
    params = {"notifications": {"taskIds": ["t1"]}}
    feed(peer, call(1, "subscriptions/listen", params, modern=True))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32021
    assert reply["error"]["data"] == {"requiredCapabilities": TASKS}


# Answers


@pytest.mark.parametrize("code", [-32099, -32050, -32023, -32042, -32002])
def test_codes_of_the_specification_are_not_made_up(code: int) -> None:
    peer = modern_server()
    event = received(peer, call(1, "tools/call", {"name": "x"}, modern=True))
    peer.fail(event.key, ErrorData(code, "no"))
    expected = -32602 if code == -32002 else -32603
    assert sent(peer)[0]["error"] == {"code": expected, "message": "no"}


@pytest.mark.parametrize("code", [-32099, -32050, -32000, 0, 7])
def test_codes_of_our_owner_are_its_own_in_the_legacy_era(code: int) -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/call", {"name": "x"}))
    peer.fail(event.key, ErrorData(code, "no"))
    assert sent(peer)[0]["error"]["code"] == code


def test_input_is_required_by_its_own_call_only() -> None:
    peer = modern_server()
    event = received(peer, call(1, "tools/call", {"name": "x"}, modern=True))
    with pytest.raises(LocalProtocolError, match="require_input"):
        peer.respond(event.key, {}, result_type="input_required")
    with pytest.raises(LocalProtocolError, match="require_input"):
        peer.respond(event.key, {"resultType": "input_required"})
    hidden = Raw(b'{"content":[],"result\\u0054ype":"input_required","\\u005fmeta":{}}')
    with pytest.raises(LocalProtocolError, match="require_input"):
        peer.respond(event.key, hidden)
    assert peer.respond(event.key, {})


@pytest.mark.parametrize("declared", [False, True])
def test_only_who_follows_tasks_is_answered_by_one(declared: bool) -> None:
    peer = modern_server()
    capabilities = TASKS if declared else {}
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": capabilities}
    event = received(peer, call(1, "tools/call", {"name": "x", "_meta": meta}))
    if declared:
        assert peer.respond(event.key, {"taskId": "t"}, result_type="task")
        assert sent(peer)[0]["result"]["resultType"] == "task"
    else:
        with pytest.raises(CapabilityMissing, match="tasks"):
            peer.respond(event.key, {"taskId": "t"}, result_type="task")
        assert peer.respond(event.key, {})


def test_a_result_may_bring_its_type_along() -> None:
    peer = modern_server()
    bodies: list[Any] = [
        {"a": 1, "resultType": "acme"},
        Raw(b'{"a":1,"resultType":"acme"}'),
        Raw(b'{"a":1,"result\\u0054ype":"acme"}'),
        Raw(b'{"resultType":"complete","a":1,"resul\\u0074Type":"acme"}'),
    ]
    for id, body in enumerate(bodies):
        peer.respond(received(peer, call(id, "tools/list", modern=True)).key, body)
        [frame] = peer.data_to_send()
        text = b"".join(frame.data)
        assert text.count(b'"resultType"') == 1
        assert json.loads(text)["result"]["resultType"] == "acme"
        assert b"\\u" not in text
    legacy = legacy_server()
    for body in bodies:
        legacy.respond(received(legacy, call(1, "tools/list")).key, body)
        assert sent(legacy) == [answer(1, {"a": 1})]


# Requests of ours


def test_a_server_asks_nothing_for_a_modern_request() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/call", {"name": "x"}, modern=True))
    with pytest.raises(LocalProtocolError, match=MODERN_NAMES[-1]):
        peer.request("roots/list", now=0, parent=event.key)
    assert peer.request("roots/list", now=0)


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_timeout_is_a_time(timeout: float) -> None:
    peer = legacy_client()
    with pytest.raises(LocalProtocolError, match="timeout"):
        peer.request("tools/list", now=0, timeout=timeout)
    assert peer.pending == 0


def test_log_levels_are_asked_for_where_requests_have_them() -> None:
    key = "io.modelcontextprotocol/logLevel"
    modern, legacy = modern_client(), legacy_client()
    for peer in (modern, legacy):
        with pytest.raises(LocalProtocolError, match="loud"):
            peer.request("tools/list", now=0, log_level="loud")
        peer.request("tools/list", now=0, log_level="info")
    assert sent(modern)[0]["params"]["_meta"][key] == "info"
    assert "_meta" not in sent(legacy)[0]["params"]


def test_a_request_that_runs_as_a_task_is_not_cancelled_by_a_notification() -> None:
    peer = legacy_client()
    task = peer.request("tools/call", {"name": "x", "task": {"ttl": 1}}, now=0)
    plain = peer.request("tools/call", {"name": "task"}, now=0)
    peer.data_to_send()
    peer.cancel(task, now=0)
    assert sent(peer) == []
    peer.cancel(plain, now=0)
    assert len(sent(peer)) == 1
    assert [type(event) for event in drain(peer)] == [RequestEnded] * 2


# Questions of a modern server


def asked(peer: Peer, question: Any) -> Any:
    """A tool call of ours that is answered with a question; the event that follows."""
    request = peer.request("tools/call", {"name": "x"}, now=0)
    peer.data_to_send()
    result = {"resultType": "input_required", "inputRequests": {"k": question}}
    [event] = feed(peer, answer(request, result))
    return event


@pytest.mark.parametrize(
    ("declared", "question", "missing"),
    [
        ({}, {"method": "roots/list"}, "roots"),
        ({"roots": {}}, {"method": "elicitation/create", "params": {}}, "elicitation.form"),
        (
            {"elicitation": {}},
            {"method": "elicitation/create", "params": {"mode": "url"}},
            "elicitation.url",
        ),
        (
            {"sampling": {}},
            {"method": "sampling/createMessage", "params": {"tools": []}},
            "sampling.tools",
        ),
    ],
)
def test_a_server_that_asks_what_we_did_not_declare(
    declared: Any, question: Any, missing: str
) -> None:
    event = asked(modern_client(client_config(declared)), question)
    assert isinstance(event, RequestEnded)
    assert event.reason is EndReason.INVALID
    assert missing in event.message
    assert isinstance(asked(modern_client(), question), InputRequired)


@pytest.mark.parametrize(
    "question",
    [
        {"method": "tools/list"},
        {"method": "acme/ask"},
        {"method": "ping"},
        {"method": 7},
        {},
        7,
        {"method": "elicitation/create", "params": 7},
    ],
)
def test_a_server_that_asks_what_cannot_be_asked(question: Any) -> None:
    event = asked(modern_client(), question)
    assert isinstance(event, RequestEnded)
    assert event.reason is EndReason.INVALID


def test_questions_of_an_extension_reach_our_owner() -> None:
    peer = modern_client(client_config(extension_methods=frozenset({"acme/ask"})))
    assert isinstance(asked(peer, {"method": "acme/ask"}), InputRequired)


def test_questions_about_nothing() -> None:
    peer = modern_server()
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": CLIENT_ALL}
    event = received(peer, call(1, "tools/call", {"name": "x", "_meta": meta}))
    assert peer.require_input(event.key, {"r": InputRequest("roots/list")})
    result = sent(peer)[0]["result"]
    assert result["inputRequests"] == {"r": {"method": "roots/list", "params": {}}}
    assert "requestState" not in result


# Tasks


@pytest.mark.parametrize(
    ("method", "declared", "taken"),
    [
        ("tools/call", TASKS, True),
        ("tools/call", {}, False),
        ("prompts/get", TASKS, False),
    ],
)
def test_a_task_answers_what_can_become_one(method: str, declared: Any, taken: bool) -> None:
    peer = modern_client(client_config(declared))
    request = peer.request(method, {"name": "x"}, now=0)
    [event] = feed(peer, answer(request, {"resultType": "task", "taskId": "t"}))
    assert isinstance(event, ResultReceived if taken else RequestEnded)


# Methods


@pytest.mark.parametrize(
    ("method", "known"),
    [("ping", True), ("sampling/createMessage", True), ("no/such", False), ("Tools/List", False)],
)
def test_a_method_of_elsewhere_is_told_from_an_unknown_one(method: str, known: bool) -> None:
    peer = modern_server()
    feed(peer, call(1, method, modern=True))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32601
    assert (MODERN_NAMES[-1] in reply["error"]["message"]) is known


def test_a_response_where_nothing_can_be_asked_is_a_violation() -> None:
    peer = modern_server()
    expect(Violation, feed(peer, answer(1)))
    assert sent(peer) == []
    assert feed(legacy_server(), answer(1)) == []


@pytest.mark.parametrize(
    ("call", "cancellation"),
    [(b'{"_meta":{"progressToken":"\xff"}}', b'{"requestId":"\xff"}'), (b'{"_meta":', b"{")],
)
def test_messages_made_by_hand_are_not_trusted(call: bytes, cancellation: bytes) -> None:
    peer = modern_server()
    peer.receive(Message("2.0", id=1, method="tools/list", params=Raw(call)), now=0)
    method = "notifications/cancelled"
    peer.receive(Message("2.0", method=method, params=Raw(cancellation)), now=0)
    assert [type(event) for event in drain(peer)] == [Violation] * 2
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32602


def test_an_error_of_the_other_side_is_kept_as_it_came() -> None:
    peer = modern_client()
    request = peer.request("tools/call", {"name": "x"}, now=0)
    error = {"code": -32002, "message": "not found", "data": {"uri": "a:b"}}
    event = expect(ErrorReceived, feed(peer, {"jsonrpc": "2.0", "id": request, "error": error}))
    assert event.error.code == -32002
    assert json.loads(bytes(Raw(event.error.data or b"{}"))) == {"uri": "a:b"}
