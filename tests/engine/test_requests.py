"""Requests in flight in both directions: ids, cancellation, progress, timeouts, ends."""

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec import Raw, structs

from mcpcore.engine import Endpoint, EndReason, FrameKind, Limits, Negotiation, Peer, Role
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import (
    MAIN,
    ConnectionEnded,
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    Violation,
)
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError, McpError
from mcpcore.spec.types.base import EmptyResult, Icon, Implementation, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.jsontext import splice
from mcpcore.wire.message import Reject, decode
from tests.engine.bench import (
    ALL_NAMES,
    CLIENT_ALL,
    LEGACY_NAMES,
    META,
    Pair,
    answer,
    call,
    client_config,
    drain,
    error,
    expect,
    feed,
    initialize,
    legacy_client,
    legacy_server,
    limits,
    modern_client,
    modern_server,
    sent,
    server_config,
    tell,
)


def received(peer: Peer, *messages: Any) -> RequestReceived:
    """Feed messages whose last event is a request, and return that."""
    event = feed(peer, *messages)[-1]
    assert isinstance(event, RequestReceived)
    return event


@pytest.mark.parametrize(("given", "found"), [(None, "ann"), ("bob", "bob")])
def test_a_message_is_of_the_principal_of_the_conversation_unless_it_names_another(
    given: str | None, found: str
) -> None:
    peer = modern_server()
    peer.principal = "ann"
    asked = json.dumps(call(1, "tools/list", modern=True)).encode()
    peer.receive_data(asked + b"\n", now=0.0)
    peer.receive(json.dumps(call(2, "tools/list", modern=True)).encode(), now=0.0, principal=given)
    whose = [event.principal for event in drain(peer) if isinstance(event, RequestReceived)]
    assert whose == ["ann", found]


# Theirs: ids and limits


@pytest.mark.requirement("basic/index/result-id")
@pytest.mark.parametrize("id", [0, -1, 7, "7", "", 2**53 + 1, 10**30, "ü", '"'])
def test_ids_are_echoed_in_type_and_value(id: Any) -> None:
    peer = modern_server()
    event = received(peer, call(id, "tools/list", modern=True))
    assert event.id == id
    peer.respond(event.key, {})
    [reply] = sent(peer)
    assert reply["id"] == id
    assert type(reply["id"]) is type(id)


@pytest.mark.parametrize(("modern", "code"), [(False, -32000), (True, 1001)])
def test_full_table_answers_busy_and_cancellations_get_through(modern: bool, code: int) -> None:
    config = server_config(limits=limits(in_flight=2))
    peer = modern_server(config) if modern else legacy_server(config=config)
    first = received(peer, call(1, "tools/list", modern=modern))
    received(peer, call(2, "tools/list", modern=modern))
    feed(peer, call(3, "tools/list", modern=modern))
    [busy] = sent(peer)
    assert (busy["id"], busy["error"]["code"]) == (3, code)
    feed(peer, tell("notifications/cancelled", {"requestId": 1}))
    feed(peer, call(4, "tools/list", modern=modern))
    assert sent(peer)[0]["error"]["code"] == code, "a cancelled request holds its place"
    peer.release(first.key)
    assert isinstance(received(peer, call(5, "tools/list", modern=modern)), RequestReceived)


@pytest.mark.requirement("server/prompts/capabilities-respected")
@pytest.mark.parametrize(
    ("method", "capability"),
    [
        ("tools/list", "tools"),
        ("prompts/get", "prompts"),
        ("resources/subscribe", "resources.subscribe"),
        ("completion/complete", "completions"),
        ("logging/setLevel", "logging"),
    ],
)
def test_undeclared_methods_are_not_found(method: str, capability: str) -> None:
    peer = legacy_server(config=server_config({}))
    feed(peer, call(1, method, {"uri": "x:y", "level": "info"}))
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32601
    assert capability in reply["error"]["message"]


@pytest.mark.requirement("basic/index/notification-no-id")
def test_notification_method_with_an_id_is_refused() -> None:
    peer = legacy_server()
    feed(peer, call(1, "notifications/initialized"))
    assert sent(peer)[0]["error"]["code"] == -32600
    peer = modern_server()
    feed(peer, call(1, "notifications/cancelled", {"requestId": 2}, modern=True))
    assert sent(peer)[0]["error"]["code"] == -32600


@pytest.mark.requirement("basic/index/notification-unanswered")
def test_request_method_without_an_id_is_a_violation_without_answer() -> None:
    peer = legacy_server()
    expect(Violation, feed(peer, tell("tools/list")))
    assert sent(peer) == []


@pytest.mark.requirement("basic/index/notification-unanswered")
def test_unknown_notifications_reach_the_owner_and_foreign_ones_do_not() -> None:
    peer = legacy_server(LEGACY_NAMES[0])
    custom = expect(NotificationReceived, feed(peer, tell("notifications/acme/custom", {"a": 1})))
    assert json.loads(bytes(custom.params)) == {"a": 1}
    assert custom.route == MAIN
    assert isinstance(custom.client_capabilities, ClientCapabilities)
    assert custom.client_capabilities == peer._state.peer_capabilities
    expect(Violation, feed(peer, tell("notifications/tools/list_changed")))
    expect(NotificationReceived, feed(peer, tell("notifications/roots/list_changed")))
    assert sent(peer) == []


@pytest.mark.requirement("basic/index/notification-unanswered")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("notifications/cancelled", {"requestId": {}}),
        ("notifications/roots/list_changed", {"_meta": 5}),
        ("notifications/acme/custom", {"_meta": []}),
    ],
)
def test_what_is_wrong_with_a_notification_is_said(method: str, params: Any) -> None:
    peer = legacy_server()
    violation = expect(Violation, feed(peer, tell(method, params)))
    assert violation.code == -32602
    assert violation.message.startswith(f"{method}: ")
    assert violation.excerpt == "", "of what is a message"
    assert sent(peer) == []


def test_what_a_server_asks_comes_with_no_capabilities_of_a_client() -> None:
    peer = legacy_client()
    event = received(peer, call(1, "roots/list"))
    assert event.client_capabilities == ClientCapabilities()


# Theirs: answers


def test_answers_come_once() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    assert peer.respond(event.key, {})
    with pytest.raises(LocalProtocolError):
        peer.respond(event.key, {})
    with pytest.raises(LocalProtocolError):
        peer.fail(event.key, ErrorData(-32603, "again"))
    assert sent(peer) == [answer(1)]


def test_unknown_keys_are_mistakes_of_the_owner() -> None:
    peer = legacy_server()
    acts: list[Callable[[], object]] = [
        lambda: peer.respond(99, {}),
        lambda: peer.fail(99, ErrorData(1, "x")),
        lambda: peer.require_input(99, {}, "s"),
        lambda: peer.request("roots/list", now=0, parent=99),
        lambda: peer.notify("notifications/x", parent=99),
        lambda: peer.narrow(99, None),  # type: ignore[arg-type]
        lambda: peer.end_subscription(99),
    ]
    for act in acts:
        with pytest.raises(LocalProtocolError):
            act()
    assert peer.progress(99, 1) is False
    assert peer.log(99, "info", "x") is False
    assert peer.queued(99) == 0
    peer.release(99)
    assert sent(peer) == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (McpError(-32000, "no"), "an error is an ErrorData, not a McpError"),
        ({"code": -32000, "message": "no"}, "an error is an ErrorData, not a dict"),
        (ErrorData(cast(Any, "-32000"), "no"), "the code is an integer"),
        (ErrorData(-32000, cast(Any, None)), "the message a string"),
    ],
)
def test_an_error_that_is_none_changes_nothing(error: Any, says: str) -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    with pytest.raises(TypeError, match=says):
        peer.fail(event.key, error)
    assert sent(peer) == []
    assert peer.respond(event.key, {})


@pytest.mark.parametrize("body", [7, "x", [], float("nan")])
def test_a_result_that_is_no_object_changes_nothing(body: Any) -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    with pytest.raises((TypeError, ValueError)):
        peer.respond(event.key, body)
    assert peer.respond(event.key, {})


@pytest.mark.parametrize("body", [b"{}", b'{"a":1}', b'{"b":{"_meta":1,"resultType":2}}'])
@pytest.mark.parametrize("make", [modern_server, legacy_server])
@pytest.mark.parametrize("meta", [None, {"own": 1}])
@pytest.mark.parametrize("members", [b"", b'"c":[1]'])
def test_a_bare_result_is_sent_as_any_other(
    make: Callable[[], Peer], body: bytes, meta: dict[str, Any] | None, members: bytes
) -> None:
    whole, lines = splice(body, members), []
    for more in ({}, {"bare": True}, {"bare": True, "members": members}):
        peer = make()
        modern = make is modern_server
        event = received(peer, call(1, "tools/list", modern=modern))
        result = Raw(body if "members" in more else whole)
        assert peer.respond(event.key, result, meta=meta, **more)
        lines.append(peer.lines_to_send())
    assert lines[0] == lines[1] == lines[2]
    assert json.loads(lines[2])["result"].items() >= json.loads(whole).items()


FAKE = {
    "io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "0"},
    "io.modelcontextprotocol/subscriptionId": 1,
    "io.modelcontextprotocol/protocolVersion": "1999-01-01",
    "progressToken": 1,
}
"""What only the engine says."""


@pytest.mark.requirement("basic/index/result-type", "basic/index/server-info")
@pytest.mark.parametrize(
    ("body", "meta", "expected"),
    [
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1, "_meta": {"x": 1}}, None, {"a": 1, "_meta": {"x": 1}}),
        ({"a": 1}, {"x": 1}, {"a": 1, "_meta": {"x": 1}}),
        ({"_meta": {"x": 1, "y": 1}}, {"x": 2}, {"_meta": {"x": 2, "y": 1}}),
        (EmptyResult(meta={"x": 1}), None, {"_meta": {"x": 1}}),
        (EmptyResult(result_type="complete"), None, {}),
        (None, None, {}),
        (Raw(b'{"a":\n1}'), None, {"a": 1}),
        ({"_meta": FAKE}, None, {}),
        ({"a": 1}, FAKE, {"a": 1}),
        ({"_meta": {"x": 1, **FAKE}}, {"y": 2, **FAKE}, {"_meta": {"x": 1, "y": 2}}),
    ],
)
def test_result_bodies_and_their_meta(body: Any, meta: Any, expected: Any) -> None:
    peer = legacy_server()
    peer.respond(received(peer, call(1, "tools/list")).key, body, meta=meta)
    assert sent(peer) == [answer(1, expected)]
    modern = modern_server()
    modern.respond(received(modern, call(1, "tools/list", modern=True)).key, body, meta=meta)
    result = sent(modern)[0]["result"]
    assert result.pop("resultType") == "complete"
    own = result.pop("_meta")
    assert own.pop("io.modelcontextprotocol/serverInfo") == {"name": "server", "version": "1"}
    assert {**result, **({"_meta": own} if own else {})} == expected


@pytest.mark.requirement("basic/index/retired-codes", "basic/index/reserved-codes")
@pytest.mark.parametrize(
    ("modern", "code", "expected"),
    [
        (False, -32002, -32002),
        (True, -32002, -32602),
        (False, -32042, -32042),
        (True, -32042, -32603),
        (True, -32021, -32021),
        (False, -32021, -32603),
        (True, 4711, 4711),
        (False, 4711, 4711),
    ],
)
def test_error_codes_of_another_era_are_not_sent(modern: bool, code: int, expected: int) -> None:
    peer = modern_server() if modern else legacy_server()
    event = received(peer, call(1, "resources/read", {"uri": "x:y"}, modern=modern))
    assert peer.fail(event.key, ErrorData.make(code, "no", {"uri": "x:y"}))
    [frame] = peer.data_to_send()
    assert (frame.kind, frame.code, frame.key) == (FrameKind.ERROR, expected, event.key)
    said = json.loads(b"".join(frame.data))["error"]
    assert said == {"code": expected, "message": "no", "data": {"uri": "x:y"}}


# Theirs: cancellation


@pytest.mark.requirement(
    "basic/patterns/cancellation/no-response", "basic/transports/stdio/cancelled-silent"
)
def test_a_cancelled_request_is_never_answered() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list", {"_meta": {"progressToken": "t"}}))
    [cancelled] = feed(peer, tell("notifications/cancelled", {"requestId": 1, "reason": "late"}))
    assert isinstance(cancelled, RequestCancelled)
    assert (cancelled.key, cancelled.reason) == (event.key, "late")
    assert feed(peer, tell("notifications/cancelled", {"requestId": 1})) == []
    assert peer.progress(event.key, 1) is False
    assert peer.log(event.key, "error", "x") is False
    with pytest.raises(LocalProtocolError):
        peer.request("roots/list", now=0, parent=event.key)
    assert peer.in_flight == 1
    assert peer.respond(event.key, {}) is False
    assert peer.in_flight == 0
    assert sent(peer) == []


@pytest.mark.requirement("basic/patterns/cancellation/invalid-ignored")
@pytest.mark.parametrize(
    ("params", "violation"),
    [
        ({"requestId": 99}, False),
        ({}, False),
        ({"requestId": None}, True),
        ({"requestId": 1.5}, True),
        ({"requestId": 1, "reason": 7}, True),
    ],
)
def test_odd_cancellations_are_ignored(params: Any, violation: bool) -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    events = feed(peer, tell("notifications/cancelled", params))
    assert [type(e) for e in events] == ([Violation] if violation else [])
    assert peer.respond(event.key, {})


@pytest.mark.requirement("basic/patterns/cancellation/races")
def test_cancellation_after_the_answer_is_ignored() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    peer.respond(event.key, {})
    assert feed(peer, tell("notifications/cancelled", {"requestId": 1})) == []


def test_release_is_for_cancelled_requests_only() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    peer.release(event.key)
    assert peer.respond(event.key, {})


# Theirs: progress and log messages


@pytest.mark.requirement("basic/patterns/progress/token-type")
@pytest.mark.parametrize("token", ["t", "", 0, 1, "1", 10**20])
def test_progress_carries_the_token_as_it_came(token: Any) -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/call", {"name": "x", "_meta": {"progressToken": token}}))
    assert peer.progress(event.key, 0.5, 2, "half")
    assert peer.progress(event.key, 2)
    peer.respond(event.key, {})
    first, second, reply = sent(peer)
    assert first["method"] == "notifications/progress"
    assert first["params"] == {
        "progressToken": token,
        "progress": 0.5,
        "total": 2,
        "message": "half",
    }
    assert type(first["params"]["progressToken"]) is type(token)
    assert second["params"]["progress"] == 2
    assert reply == answer(1)


@pytest.mark.requirement(
    "basic/patterns/progress/increases",
    "basic/patterns/progress/active-tokens-only",
    "basic/patterns/progress/stops",
)
def test_progress_must_increase_and_be_asked_for() -> None:
    peer = legacy_server()
    silent = received(peer, call(1, "tools/list"))
    assert peer.progress(silent.key, 1) is False
    event = received(peer, call(2, "tools/list", {"_meta": {"progressToken": 2}}))
    assert peer.progress(event.key, 1)
    for value in (1, 0.5, float("nan"), float("inf"), -1, -(10**400)):
        assert peer.progress(event.key, value) is False
    assert peer.progress(event.key, 10**400, 10**401)
    peer.respond(event.key, {})
    assert peer.progress(event.key, 10**402) is False
    assert len(sent(peer)) == 3


def test_progress_that_cannot_be_sent_changes_nothing() -> None:
    peer = legacy_server()
    event = received(peer, call(2, "tools/list", {"_meta": {"progressToken": 2}}))
    with pytest.raises(ValueError, match="NaN"):
        peer.progress(event.key, 3, float("nan"))
    assert peer.progress(event.key, 3, 4)
    [progress] = sent(peer)
    assert progress["params"]["progress"] == 3


def test_a_limit_takes_whole_frames_and_at_least_one() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list", {"_meta": {"progressToken": 1}}))
    for value in range(1, 4):
        peer.progress(event.key, value)
    assert len(peer.data_to_send(limit=1)) == 1
    assert len(peer.data_to_send(limit=10**6)) == 2
    assert peer.data_to_send(limit=1) == []


LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]


@pytest.mark.parametrize("wanted", LEVELS)
@pytest.mark.parametrize("modern", [False, True])
def test_log_levels(wanted: str, modern: bool) -> None:
    if modern:
        peer = modern_server()
        meta = {**META, "io.modelcontextprotocol/logLevel": wanted}
        event = received(peer, call(1, "tools/list", {"_meta": meta}))
    else:
        peer = legacy_server()
        feed(peer, call(0, "logging/setLevel", {"level": wanted}))
        assert sent(peer) == [answer(0)]
        event = received(peer, call(1, "tools/list"))
    for level in LEVELS:
        expected = LEVELS.index(level) >= LEVELS.index(wanted)
        assert peer.log(event.key, level, {"a": 1}, "me") is expected
    frames = sent(peer)
    assert [frame["params"]["level"] for frame in frames] == LEVELS[LEVELS.index(wanted) :]
    assert frames[0]["params"] == {"level": wanted, "data": {"a": 1}, "logger": "me"}


@pytest.mark.requirement("server/utilities/logging/level-needed")
def test_modern_requests_without_a_level_get_no_log_messages() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list", modern=True))
    assert peer.log(event.key, "emergency", "x") is False


def test_legacy_log_messages_outside_of_requests() -> None:
    peer = legacy_server()
    assert peer.log(None, "info", "hello")
    assert peer.log(None, "debug", "hello") is False
    assert sent(peer)[0]["params"] == {"level": "info", "data": "hello"}
    assert modern_server().log(None, "error", "nobody") is False


@pytest.mark.requirement("server/utilities/logging/declared")
def test_log_messages_need_the_capability_and_a_known_level() -> None:
    peer = legacy_server(config=server_config({"tools": {}}))
    assert peer.log(None, "error", "x") is False
    with pytest.raises(LocalProtocolError, match="loud"):
        peer.log(None, "loud", "x")


@pytest.mark.requirement("server/utilities/logging/level-invalid-legacy")
@pytest.mark.parametrize("level", [None, "loud", 3])
def test_unknown_level_is_refused(level: Any) -> None:
    peer = legacy_server()
    feed(peer, call(1, "logging/setLevel", {"level": level}))
    assert sent(peer)[0]["error"]["code"] == -32602
    assert peer._state.log_level is None


# Ours


@pytest.mark.requirement("basic/index/request-id-unique", "basic/index/request-id-fresh")
def test_requests_of_ours_never_share_an_id() -> None:
    peer = legacy_client()
    ids = [peer.request("tools/list", now=0) for _ in range(500)]
    assert len(set(ids)) == 500
    assert [frame["id"] for frame in sent(peer)] == ids


def test_id_prefix() -> None:
    config = client_config(negotiation=Negotiation.LEGACY, id_prefix="w3-")
    peer = legacy_client(config=config)
    assert str(peer.request("tools/list", now=0)).startswith("w3-")


@pytest.mark.parametrize("id", [999, "1", "x"])
def test_answers_to_nothing_are_dropped(id: Any) -> None:
    peer = legacy_client()
    request = peer.request("tools/list", now=0)
    assert feed(peer, answer(id), error(id, 1)) == []
    expect(ResultReceived, feed(peer, answer(request)))
    assert feed(peer, answer(request)) == []


def test_error_without_id_is_a_violation() -> None:
    peer = legacy_client()
    [event] = feed(peer, {"jsonrpc": "2.0", "error": {"code": -32700, "message": "what"}})
    assert isinstance(event, Violation)
    assert "what" in event.message


@pytest.mark.requirement(
    "basic/index/result-xor-error", "basic/index/error-member", "basic/index/error-code-integer"
)
@pytest.mark.parametrize(
    "broken",
    [
        {"result": {}, "error": {"code": 1, "message": "x"}},
        {"result": 7},
        {"result": None},
        {"error": {"code": "x", "message": "y"}},
        {"error": {"code": 1}},
        {"error": 7},
    ],
)
def test_a_broken_answer_ends_its_request_once(broken: Any) -> None:
    peer = legacy_client()
    request = peer.request("tools/list", now=0)
    events = feed(peer, {"jsonrpc": "2.0", "id": request, **broken})
    ended, violation = events
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason) == (request, EndReason.INVALID)
    assert isinstance(violation, Violation)
    assert sent(peer)[1:] == []
    assert feed(peer, answer(request)) == []


@pytest.mark.requirement(
    "basic/patterns/cancellation/send-cancellation",
    "basic/patterns/cancellation/own-requests-only",
    "basic/patterns/cancellation/late-response-ignored",
)
def test_cancelling_ends_at_once_and_tells_the_server() -> None:
    peer = legacy_client()
    request = peer.request("tools/list", now=0)
    sent(peer)
    peer.cancel(request, now=1, reason="enough")
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (request, EndReason.CANCELLED)
    assert ended.message == "enough"
    [frame] = peer.data_to_send()
    assert frame.request == request
    assert json.loads(b"".join(frame.data))["params"] == {"requestId": request, "reason": "enough"}
    peer.cancel(request, now=1)
    assert feed(peer, answer(request)) == []
    assert sent(peer) == []


def test_timeouts_stand_still_for_as_long_as_they_are_told_to() -> None:
    peer = legacy_client()
    first = peer.request("tools/list", now=10.0, timeout=2.5)
    second = peer.request("tools/list", now=20.0, timeout=2.5)
    peer.request("tools/list", now=20.0, timeout=None)
    peer.postpone(11.0, 31.0)
    assert peer.deadline() == 32.5
    for now, ended in ((32.5, first), (33.4, None), (33.5, second)):
        peer.handle_timeout(now)
        told = [each.request for each in drain(peer) if isinstance(each, RequestEnded)]
        assert told == ([] if ended is None else [ended])


@pytest.mark.requirement(
    "basic/patterns/cancellation/timeout-cancels", "basic/patterns/cancellation/timeout-per-request"
)
def test_timeout_ends_and_cancels() -> None:
    peer = legacy_client()
    request = peer.request("tools/list", now=10.0, timeout=2.5)
    sent(peer)
    assert peer.deadline() == 12.5
    peer.handle_timeout(12.4)
    assert drain(peer) == []
    peer.handle_timeout(12.5)
    ended = expect(RequestEnded, drain(peer))
    assert ended.reason is EndReason.TIMED_OUT
    assert ended.message == "tools/list: no answer within 2.5 seconds"
    assert sent(peer) == [
        tell("notifications/cancelled", {"requestId": request, "reason": "timed out"})
    ]
    assert feed(peer, answer(request)) == []


@pytest.mark.requirement("basic/patterns/cancellation/timeouts")
def test_default_timeout_is_the_configured_one() -> None:
    config = client_config(negotiation=Negotiation.LEGACY, limits=limits(request_timeout=7.0))
    peer = legacy_client(config=config)
    peer.request("tools/list", now=1.0)
    assert peer.deadline() == 8.0


@pytest.mark.requirement("basic/patterns/cancellation/timeout-maximum")
def test_progress_restarts_the_timeout_up_to_the_maximum() -> None:
    config = client_config(negotiation=Negotiation.LEGACY, limits=limits(max_timeout=25.0))
    peer = legacy_client(config=config)
    request = peer.request("tools/list", now=0.0, timeout=10.0, progress=True)
    [frame] = sent(peer)
    token = frame["params"]["_meta"]["progressToken"]
    for value, now, deadline in ((1, 8.0, 18.0), (2, 16.0, 25.0), (3, 24.0, 25.0)):
        [event] = feed(
            peer,
            tell("notifications/progress", {"progressToken": token, "progress": value}),
            now=now,
        )
        assert event == ProgressReceived(request=request, progress=value, total=None, message=None)
        assert peer.deadline() == deadline
    peer.handle_timeout(25.01)
    ended = expect(RequestEnded, drain(peer))
    assert ended.message == "tools/list: no answer within 25 seconds, for all its progress"


@pytest.mark.parametrize("maximum", [None, 25.0])
def test_a_timeout_after_progress_names_the_limit_and_not_the_time(maximum: float | None) -> None:
    config = client_config(negotiation=Negotiation.LEGACY, limits=limits(max_timeout=maximum))
    peer = legacy_client(config=config)
    token = peer.request("tools/list", now=0.0, timeout=10.0, progress=True)
    params = {"progressToken": token, "progress": 1}
    feed(peer, tell("notifications/progress", params), now=3.0)
    peer.handle_timeout(13.02)
    ended = drain(peer)[-1]
    assert isinstance(ended, RequestEnded)
    assert ended.message == "tools/list: no answer within 10 seconds of its last progress"


def test_progress_without_timeout() -> None:
    peer = legacy_client()
    token = peer.request("tools/list", now=0.0, timeout=None, progress=True)
    params = {"progressToken": token, "progress": 1, "total": 2, "message": "m"}
    event = expect(ProgressReceived, feed(peer, tell("notifications/progress", params)))
    assert (event.total, event.message) == (2, "m")
    assert peer.deadline() is None


@pytest.mark.requirement("basic/patterns/progress/tokens-tracked")
@pytest.mark.parametrize(
    ("params", "violation"),
    [
        ({"progressToken": 999, "progress": 5}, False),
        ({"progressToken": "{token}", "progress": 5}, False),
        ({"progress": 5}, True),
        ({"progressToken": None, "progress": 5}, True),
        ({"progressToken": 1, "progress": "x"}, True),
    ],
)
def test_odd_progress_is_ignored(params: Any, violation: bool) -> None:
    peer = legacy_client()
    peer.request("tools/list", now=0, progress=True)
    events = feed(peer, tell("notifications/progress", params))
    assert [type(event) for event in events] == ([Violation] if violation else [])


def test_progress_that_does_not_increase_is_a_violation() -> None:
    peer = legacy_client()
    token = peer.request("tools/list", now=0, progress=True)
    messages = [
        tell("notifications/progress", {"progressToken": token, "progress": value})
        for value in (1, 1, 0.5, 1.5)
    ]
    kinds = [type(event) for event in feed(peer, *messages)]
    assert kinds == [ProgressReceived, Violation, Violation, ProgressReceived]
    peer.receive(json.dumps(messages[0]).encode(), now=0.0, route=7)
    violation = expect(Violation, drain(peer))
    assert (violation.code, violation.route, violation.refused) == (-32602, 7, False)
    assert violation.message == "progress went from 1.5 to 1; it must increase"


def test_own_metadata_travels_and_reserved_keys_are_refused() -> None:
    for peer in (legacy_client(), modern_client()):
        peer.request("tools/list", now=0, meta={"traceparent": "00-1-2-01"}, log_level="info")
        meta = sent(peer)[0]["params"]["_meta"]
        assert meta["traceparent"] == "00-1-2-01"
        for key in ("progressToken", "io.modelcontextprotocol/protocolVersion"):
            with pytest.raises(LocalProtocolError, match=key):
                peer.request("tools/list", now=0, meta={key: 1})
        assert peer.pending == 1


def served(revision: str, meta: dict[str, Any]) -> RequestReceived:
    """What the application of a server is told of a request with this ``_meta``."""
    modern = revision not in LEGACY_NAMES
    peer = modern_server() if modern else legacy_server(revision)
    terms = META if modern else {}
    return received(peer, call(1, "tools/list", {"_meta": {**terms, **meta}, "cursor": "c"}))


@pytest.mark.parametrize("revision", ALL_NAMES)
def test_trace_context_reaches_the_handler(revision: str) -> None:
    meta = {"traceparent": "00-a-b-01", "tracestate": "v=1", "baggage": "k=v"}
    event = served(revision, meta)
    assert event.meta.traceparent == "00-a-b-01"
    assert event.meta.tracestate == "v=1"
    assert event.meta.baggage == "k=v"


@pytest.mark.parametrize("revision", ALL_NAMES)
@pytest.mark.parametrize("key", ["traceparent", "tracestate", "baggage"])
@pytest.mark.parametrize("value", [5, None, {}, ["x"], True])
def test_trace_context_that_is_malformed_counts_as_absent(
    key: str, value: Any, revision: str
) -> None:
    event = served(revision, {"progressToken": "p", "traceparent": "00-a-b-01", key: value})
    assert getattr(event.meta, key) is None
    assert (event.meta.traceparent is None) is (key == "traceparent")
    assert event.meta.progress_token == "p"
    assert event.revision.name == revision
    assert (
        json.loads(bytes(event.params))["_meta"][key] == value
    )  # what came is passed on as it came


PREFIX = "io.modelcontextprotocol/"


@pytest.mark.parametrize("revision", ALL_NAMES)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("logLevel", "bogus"),
        ("logLevel", None),
        ("clientInfo", 5),
        ("clientInfo", {}),
        ("subscriptionId", {}),
    ],
)
def test_keys_of_the_modern_era_bind_nobody_before(key: str, value: Any, revision: str) -> None:
    meta = {PREFIX + key: value, "progressToken": 7, "traceparent": "00-a-b-01"}
    if revision in LEGACY_NAMES:
        event = served(revision, meta)
        assert event.meta.progress_token == 7
        assert event.meta.traceparent == "00-a-b-01"
        assert json.loads(bytes(event.params))["cursor"] == "c"
    else:
        peer = modern_server()
        assert feed(peer, call(1, "tools/list", {"_meta": meta}, modern=True)) != []
        assert sent(peer)[0]["error"]["code"] == -32602


@pytest.mark.parametrize("revision", LEGACY_NAMES)
@pytest.mark.parametrize("meta", [5, [], {"progressToken": {}}, {"progressToken": None, "x": 1}])
def test_metadata_that_no_revision_allows_is_refused(meta: Any, revision: str) -> None:
    peer = legacy_server(revision)
    feed(peer, call(1, "tools/list", {"_meta": meta}))
    assert sent(peer)[0]["error"]["code"] == -32602


@pytest.mark.parametrize("revision", LEGACY_NAMES)
def test_clients_are_as_tolerant(revision: str) -> None:
    peer = legacy_client(revision)
    meta = {"traceparent": 5, PREFIX + "logLevel": "bogus", PREFIX + "protocolVersion": 7}
    event = received(peer, call(1, "roots/list", {"_meta": meta}))
    assert event.meta == RequestMeta()


@pytest.mark.parametrize(
    ("src", "fits"),
    [("https://x.test/i.png", True), ("data:image/png;base64,AA==", True), ("javascript:x", False)],
)
def test_icons_of_either_side_are_checked(src: str, fits: bool) -> None:
    info = Implementation(name="x", version="1", icons=[Icon(src=src)])
    for role, config in ((Role.SERVER, server_config()), (Role.CLIENT, client_config())):
        changed = structs.replace(config, info=info)
        if fits:
            Peer(role, changed)
        else:
            with pytest.raises(ValueError, match="icon 'javascript:x': expected an https:"):
                Peer(role, changed)


@pytest.mark.requirement(
    "basic/lifecycle/respect-capabilities", "basic/lifecycle/respect-capabilities-early"
)
@pytest.mark.parametrize("method", ["prompts/list", "resources/subscribe", "logging/setLevel"])
def test_client_does_not_use_what_the_server_lacks(method: str) -> None:
    peer = Peer(Role.CLIENT, client_config(negotiation=Negotiation.LEGACY))
    peer.start(now=0)
    [request] = sent(peer)
    result = {
        "protocolVersion": LEGACY_NAMES[-1],
        "capabilities": {"tools": {}, "resources": {}},
        "serverInfo": {"name": "s", "version": "1"},
    }
    feed(peer, answer(request["id"], result))
    peer.data_to_send()
    with pytest.raises(CapabilityMissing):
        peer.request(method, now=0)
    assert peer.pending == 0
    peer.request(method, now=0, force=True)
    assert len(sent(peer)) == 1


@pytest.mark.requirement(
    "basic/lifecycle/respect-capabilities",
    "basic/lifecycle/respect-capabilities-early",
    "client/elicitation/declared-modes",
    "client/sampling/tools-undeclared",
    "client/roots/server-checks-capability",
)
@pytest.mark.parametrize(
    ("method", "params", "declared", "missing"),
    [
        ("roots/list", None, {}, "roots"),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}, {"roots": {}}, "sampling"),
        (
            "sampling/createMessage",
            {"messages": [], "maxTokens": 1, "tools": []},
            {"sampling": {}},
            "sampling.tools",
        ),
        ("elicitation/create", {"message": "m"}, {"sampling": {}}, "elicitation.form"),
        (
            "elicitation/create",
            {"mode": "url", "message": "m", "url": "https://x"},
            {"elicitation": {}},
            "elicitation.url",
        ),
    ],
)
def test_server_does_not_ask_what_the_client_lacks(
    method: str, params: Any, declared: Any, missing: str
) -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, initialize(**declared), tell("notifications/initialized"))
    peer.data_to_send()
    with pytest.raises(CapabilityMissing) as caught:
        peer.request(method, params, now=0)
    assert caught.value.capability == missing
    assert sent(peer) == []


@pytest.mark.requirement("basic/patterns/index/no-server-requests")
def test_server_has_no_requests_of_its_own_in_the_modern_era() -> None:
    peer = modern_server()
    received(peer, call(1, "tools/list", modern=True))
    with pytest.raises(LocalProtocolError):
        peer.request("roots/list", now=0)


@pytest.mark.requirement(
    "basic/patterns/index/no-client-responses", "basic/transports/index/directions"
)
def test_modern_client_never_responds() -> None:
    peer = modern_client()
    events = feed(peer, call(1, "roots/list"), call(2, "ping"), b'{"jsonrpc":"1.0","id":3}')
    assert [type(event) for event in events] == [Violation] * 3
    told = [(event.code, event.refused) for event in events if isinstance(event, Violation)]
    assert told == [(-32601, True), (-32601, True), (-32600, False)]
    assert sent(peer) == []


def test_pending_requests_are_bounded() -> None:
    config = client_config(negotiation=Negotiation.LEGACY, limits=limits(pending=3))
    peer = legacy_client(config=config)
    for _ in range(3):
        peer.request("tools/list", now=0)
    with pytest.raises(LocalProtocolError, match="3 requests"):
        peer.request("tools/list", now=0)


# Ends


def test_end_of_transport_ends_everything_once_after_what_had_arrived() -> None:
    pair = Pair()
    pair.start()
    client = pair.client
    first, second = (client.request("tools/list", now=0) for _ in range(2))
    client.data_to_send()
    client.receive_data(json.dumps(answer(first)).encode() + b"\n", now=0)
    client.receive_eof(now=0, reason="exit code 3")
    result, ended, closed = drain(client)
    assert isinstance(result, ResultReceived)
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason) == (second, EndReason.CLOSED)
    assert "exit code 3" in ended.message
    assert closed == ConnectionEnded(reason="exit code 3")
    assert client.finished
    with pytest.raises(LocalProtocolError):
        client.request("tools/list", now=0)
    client.receive_eof(now=0)
    assert drain(client) == []


def test_half_closed_peer_still_gets_its_answers() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    asked = peer.request("roots/list", now=0, parent=event.key)
    sent(peer)
    peer.receive_data(json.dumps(call(2, "tools/list")).encode(), now=0)
    peer.receive_eof(now=0, half=True, reason="end of input")
    second, ended = drain(peer)
    assert isinstance(second, RequestReceived)
    assert isinstance(ended, RequestEnded)
    assert ended.request == asked
    waiting = peer.finished
    assert peer.respond(event.key, {})
    assert peer.respond(second.key, {})
    assert (waiting, peer.finished) == (False, True)
    assert len(sent(peer)) == 2
    peer.receive_eof(now=0)
    assert drain(peer) == [ConnectionEnded(reason="closed")]


def test_requests_are_cancelled_with_the_reason_of_the_end() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    peer.receive_eof(now=0, reason="end of input")
    assert drain(peer) == [
        RequestCancelled(key=event.key, reason="end of input"),
        ConnectionEnded(reason="end of input"),
    ]


def test_close_refuses_what_is_new_and_answers_what_runs() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    asked = peer.request("roots/list", now=0, parent=event.key)
    peer.close(now=0)
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (asked, EndReason.CLOSED)
    feed(peer, call(2, "tools/list"))
    assert peer.respond(event.key, {})
    codes = [frame.get("error", {}).get("code") for frame in sent(peer)[-2:]]
    assert codes == [-32000, None]
    with pytest.raises(LocalProtocolError):
        peer.request("roots/list", now=0)
    peer.close(now=0)


# Peers that share an endpoint, ids scoped by route


def test_peers_of_one_endpoint_share_keys_and_events() -> None:
    endpoint = Endpoint()
    peers = [Peer(Role.SERVER, server_config(), endpoint=endpoint, session=name) for name in "ab"]
    for route, peer in enumerate(peers, 1):
        for message in (initialize(1, **CLIENT_ALL), call(2, "tools/list")):
            peer.receive(json.dumps(message).encode(), now=0, route=route)
    events = []
    while (event := endpoint.next_event()) is not None:
        events.append(event)
    requests = [event for event in events if isinstance(event, RequestReceived)]
    assert [event.session for event in requests] == ["a", "b"]
    assert requests[0].key != requests[1].key
    peers[0].respond(requests[1].key, {})
    frame = endpoint.data_to_send()[-1]
    assert (frame.peer, frame.route, frame.ends) == (peers[1]._state, 2, True)


def test_each_peer_of_an_endpoint_has_room_of_its_own() -> None:
    endpoint, config = Endpoint(), server_config(limits=limits(in_flight=1))
    peers = [Peer(Role.SERVER, config, endpoint=endpoint) for _ in range(3)]
    for peer in (*peers, peers[1]):
        id = peer.in_flight + 1
        peer.receive(json.dumps(call(id, "tools/list", modern=True)).encode(), now=0)
        assert isinstance(endpoint.next_event(), RequestReceived if id == 1 else Violation)
    assert [peer.in_flight for peer in peers] == [1, 1, 1]


def test_ids_scoped_by_route() -> None:
    peer = modern_server(server_config(route_scoped_ids=True))
    for route in (1, 2):
        peer.receive(json.dumps(call(1, "tools/list", modern=True)).encode(), now=0, route=route)
    first, second = drain(peer)
    assert isinstance(first, RequestReceived)
    assert isinstance(second, RequestReceived)
    peer.receive(
        json.dumps(tell("notifications/cancelled", {"requestId": 1})).encode(), now=0, route=3
    )
    assert drain(peer) == []
    peer.receive_eof(now=0, route=1, reason="disconnected")
    assert drain(peer) == [RequestCancelled(key=first.key, reason="disconnected")]
    peer.receive_eof(now=0, route=9)
    assert peer.respond(first.key, {}) is False
    assert peer.respond(second.key, {})
    kinds = [(frame.route, frame.kind) for frame in peer.data_to_send()]
    assert kinds == [(3, FrameKind.ACCEPTED), (2, FrameKind.RESULT)]


def test_what_arrived_on_a_route_is_forgotten_but_for_answers() -> None:
    peer = modern_client()
    malformed: list[Any] = [
        {"jsonrpc": "2.0", "id": 1, "method": 7},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
    ]
    proper = [call(1, "ping"), tell("notifications/message"), answer(1), error(1, -1)]
    frames = [decode(json.dumps(each).encode()) for each in (*malformed, *proper)]
    for route in (1, 2):
        for frame in frames:
            peer.receive(frame, now=0, route=route)
    peer._endpoint.discard(1)
    _, both, _, _, result, failure = frames
    assert isinstance(both, Reject)
    assert both.response
    assert [item[1] for item in peer._endpoint.inbox if item[3] == 1] == [both, result, failure]
    assert [item[1] for item in peer._endpoint.inbox if item[3] == 2] == frames


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        *((b"x" * size, "x" * min(size, 200)) for size in (199, 200, 201)),
        (b"\xff no UTF-8", "\ufffd no UTF-8"),
        (b"x" * 199 + "ä".encode(), "x" * 199 + "\ufffd"),
    ],
)
def test_of_what_is_no_message_the_beginning_is_shown(line: bytes, shown: str) -> None:
    event = expect(Violation, feed(legacy_client(), line))
    assert event.excerpt == shown


@pytest.mark.parametrize(
    ("method", "code", "said"),
    [
        ("notifications/tools/list_changed", -32601, "is not sent by a client"),
        ("notifications/initialized", -32600, "while the session is open"),
    ],
)
def test_a_notification_out_of_place_is_a_violation_on_its_route(
    method: str, code: int, said: str
) -> None:
    peer = legacy_server()
    peer.receive(json.dumps(tell(method)).encode(), now=0, route=7)
    event = expect(Violation, drain(peer))
    assert (event.code, event.route) == (code, 7)
    assert event.message.startswith(f"{method} {said}")


def test_every_route_gets_one_end() -> None:
    peer = legacy_server()
    messages = [
        (1, tell("notifications/roots/list_changed")),
        (2, answer(999)),
        (3, call(1, "tools/list")),
        (4, tell("notifications/cancelled", {"requestId": 1})),
        (5, {"jsonrpc": "2.0", "method": 7}),
        (6, call(2, "ping")),
    ]
    for route, message in messages:
        peer.receive(json.dumps(message).encode(), now=0, route=route)
    drain(peer)
    ends = sorted(frame.route for frame in peer.data_to_send() if frame.ends)
    assert ends == [1, 2, 3, 4, 5, 6]


# What the engine answers once its application has been asked

ASKED: dict[str, Any] = {"asked_first": ASKABLE}
SUBSCRIBE = {"uri": "test://a"}
LISTEN = {"notifications": {"resourceSubscriptions": ["test://a"]}}
HELD = [
    ("resources/subscribe", SUBSCRIBE, False),
    ("resources/unsubscribe", SUBSCRIBE, False),
    ("subscriptions/listen", LISTEN, True),
]


@pytest.mark.parametrize(("method", "params", "modern"), HELD)
def test_what_the_owner_admits_is_answered_as_ever(method: str, params: Any, modern: bool) -> None:
    answers: list[Any] = []
    told: list[Any] = []
    for settings in (dict[str, Any](), ASKED):
        config = server_config(**settings)
        peer = modern_server(config) if modern else legacy_server(config=config)
        events = feed(peer, call(1, method, params, modern=modern))
        if settings:
            asked = expect(RequestReceived, events)
            assert (asked.method, asked.id, sent(peer)) == (method, 1, [])
            assert peer.admit(asked.key) is True
            events = drain(peer)
            with pytest.raises(LocalProtocolError):
                peer.admit(asked.key)
        answers.append(sent(peer))
        told.append([type(event) for event in events])
        peer.notify("notifications/resources/updated", SUBSCRIBE)
        answers.append(sent(peer))
    assert answers[:2] == answers[2:]
    assert told[0] == told[1]
    assert len(answers[1]) == (0 if method == "resources/unsubscribe" else 1)


@pytest.mark.parametrize(("method", "params", "modern"), HELD)
@pytest.mark.parametrize("how", ["refused", "cancelled"])
def test_what_the_owner_does_not_admit(method: str, params: Any, modern: bool, how: str) -> None:
    config = server_config(**ASKED)
    peer = modern_server(config) if modern else legacy_server(config=config)
    asked = received(peer, call(1, method, params, modern=modern))
    if how == "refused":
        assert peer.fail(asked.key, ErrorData(-31999, "no entry"))
        assert sent(peer) == [error(1, -31999, "no entry")]
    else:
        feed(peer, tell("notifications/cancelled", {"requestId": 1}))
        assert peer.admit(asked.key) is False
        peer.release(asked.key)
        assert sent(peer) == []
    assert peer.in_flight == 0
    peer.notify("notifications/resources/updated", SUBSCRIBE)
    assert sent(peer) == []


@pytest.mark.parametrize(("method", "params", "modern"), HELD)
@pytest.mark.parametrize("how", ["malformed", "too long", "too many"])
def test_what_exceeds_a_limit_is_refused_before_the_owner_is_asked(
    method: str, params: Any, modern: bool, how: str
) -> None:
    limits = Limits(subscriptions=0) if how == "too many" else Limits()
    config = server_config(**ASKED, limits=limits, max_uri=1 if how == "too long" else 8192)
    peer = modern_server(config) if modern else legacy_server(config=config)
    if how == "malformed":
        params = {"uri": 5, "notifications": 5}
    events = feed(peer, call(1, method, params, modern=modern))
    if (how, method) == ("too many", "resources/unsubscribe"):
        assert [type(event) for event in events] == [RequestReceived]
        return
    assert [type(event) for event in events] == [Violation]
    [reply] = sent(peer)
    busy = how == "too many" and not modern
    assert reply["error"]["code"] == (-32000 if busy else -32602)
    assert peer.in_flight == 0


@pytest.mark.parametrize(("method", "params", "modern"), HELD)
def test_what_is_admitted_once_the_end_has_begun_is_too_late(
    method: str, params: Any, modern: bool
) -> None:
    config = server_config(**ASKED)
    peer = modern_server(config) if modern else legacy_server(config=config)
    asked = received(peer, call(1, method, params, modern=modern))
    peer.close(now=0)
    assert peer.admit(asked.key) is False
    code = 1001 if modern else -32000
    assert sent(peer) == [error(1, code, "this server is shutting down")]
    assert peer.in_flight == 0


@pytest.mark.parametrize(("method", "params", "modern"), HELD)
def test_nothing_comes_before_what_is_admitted(method: str, params: Any, modern: bool) -> None:
    config = server_config(**ASKED)
    peer = modern_server(config) if modern else legacy_server(config=config)
    meta = {"progressToken": 7, "io.modelcontextprotocol/logLevel": "debug"}
    asked = received(peer, call(1, method, {**params, "_meta": meta}, modern=modern))
    assert not peer.wants_progress(asked.key)
    assert not peer.progress(asked.key, 1)
    assert not peer.wants_log(asked.key, "error")
    assert not peer.log(asked.key, "error", "x")
    with pytest.raises(LocalProtocolError, match="is answered by the engine"):
        peer.respond(asked.key, {})
    with pytest.raises(LocalProtocolError, match="is answered by the engine"):
        peer.require_input(asked.key, {}, "s")
    assert sent(peer) == []
    assert peer.admit(asked.key)


@pytest.mark.parametrize(
    ("method", "params", "modern"),
    [
        ("x" * 9000, {}, True),
        ("x" * 9000, {}, False),
        (
            "tools/list",
            {"_meta": {"io.modelcontextprotocol/protocolVersion": "x" * 9000}},
            True,
        ),
    ],
)
def test_what_is_not_known_is_repeated_in_part(method: str, params: Any, modern: bool) -> None:
    peer = modern_server() if modern else legacy_server()
    events = feed(peer, call(1, method, params, modern=modern))
    [reply] = sent(peer)
    assert "x" * 100 + "..." in reply["error"]["message"]
    assert len(json.dumps(reply)) < 900
    assert all(len(str(event)) < 900 for event in events)


def test_only_what_the_owner_was_asked_about_is_admitted() -> None:
    peer = legacy_server(config=server_config(**ASKED))
    event = received(peer, call(1, "tools/list"))
    with pytest.raises(LocalProtocolError, match="is not answered by the engine"):
        peer.admit(event.key)
    assert peer.respond(event.key, {})
    with pytest.raises(ValueError, match="does not ask its application about ping"):
        Peer(Role.SERVER, server_config(asked_first=frozenset({"ping"})))


def test_a_line_that_is_too_long_is_refused_by_its_id() -> None:
    peer = modern_server(server_config(limits=limits(message_size=400)))
    told = "Parse error: the text is longer than 400 bytes"
    violation = expect(Violation, feed(peer, call(7, "ping", {"x": "y" * 400}, modern=True)))
    assert (violation.code, violation.message) == (-32700, told)
    feed(peer, call(8, "server/discover", modern=True))
    refusal, reply = sent(peer)
    assert (refusal["id"], refusal["error"]) == (7, {"code": -32700, "message": told})
    assert (reply["id"], "result" in reply) == (8, True)


def test_a_response_that_is_too_long_ends_its_request() -> None:
    config = client_config(negotiation=Negotiation.LEGACY, limits=limits(message_size=2000))
    peer = legacy_client(config=config)
    request = peer.request("ping", {}, now=1.0)
    response = {"jsonrpc": "2.0", "id": request, "result": {"x": "y" * 2000}}
    ended, violation = feed(peer, response, now=2.0)
    told = "Parse error: the text is longer than 2000 bytes"
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason, ended.message) == (request, EndReason.INVALID, told)
    assert isinstance(violation, Violation)
    assert violation.message == told
