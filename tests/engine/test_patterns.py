"""Batches, subscriptions, input rounds and header mirrors."""

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from mcpcore.engine import EndReason, FrameKind, InputRequest, Mirror, Peer, Role
from mcpcore.engine.config import ASKABLE
from mcpcore.engine.events import (
    Fault,
    FaultKind,
    InputRequired,
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionClosed,
    SubscriptionNotification,
    SubscriptionOpened,
    Violation,
)
from mcpcore.engine.lifecycle import StreamSignal
from mcpcore.engine.mirror import header_arguments, same_value, text_of
from mcpcore.service import Server
from mcpcore.spec.errors import CapabilityMissing, LocalProtocolError, McpError
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.base import RequestMeta, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from tests.engine.bench import (
    CLIENT_ALL,
    LEGACY_NAMES,
    META,
    MODERN_NAMES,
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

BATCHING = LEGACY_NAMES[1]


def requests_of(events: list[Any]) -> list[RequestReceived]:
    """The requests among events."""
    return [event for event in events if isinstance(event, RequestReceived)]


# Batches


@pytest.mark.requirement("basic/index/batch-received")
def test_a_batch_is_answered_by_one_array_when_the_last_answer_is_known() -> None:
    peer = legacy_server(BATCHING)
    batch = [
        call(1, "tools/list"),
        tell("notifications/roots/list_changed"),
        call("x", "ping"),
        call(2, "no/such"),
        {"jsonrpc": "2.0", "id": 9, "method": 7},
        call(3, "tools/list"),
    ]
    first, second = requests_of(feed(peer, batch))
    peer.respond(second.key, {"n": 2})
    assert sent(peer) == []
    peer.respond(first.key, {"n": 1})
    [frame] = peer.data_to_send()
    assert frame.revision is BY_NAME[BATCHING]
    replies = json.loads(b"".join(frame.data))
    assert len(replies) == 5
    by_id = {reply["id"]: reply for reply in replies}
    assert by_id[1]["result"] == {"n": 1}
    assert by_id[3]["result"] == {"n": 2}
    assert by_id["x"]["result"] == {}
    assert by_id[2]["error"]["code"] == -32601
    assert by_id[9]["error"]["code"] == -32600


def test_a_batch_without_requests_gets_no_answer() -> None:
    peer = legacy_server(BATCHING)
    message = [tell("notifications/roots/list_changed"), answer(99)]
    peer.receive(json.dumps(message).encode(), now=0, route=4)
    assert [type(event) for event in drain(peer)] == [NotificationReceived]
    [frame] = peer.data_to_send()
    assert (frame.kind, frame.route, frame.ends) == (FrameKind.ACCEPTED, 4, True)


def test_progress_of_a_member_leaves_at_once() -> None:
    peer = legacy_server(BATCHING)
    [event] = requests_of(feed(peer, [call(1, "tools/list", {"_meta": {"progressToken": 1}})]))
    peer.progress(event.key, 1)
    assert sent(peer)[0]["method"] == "notifications/progress"
    peer.respond(event.key, {})
    assert sent(peer) == [[answer(1)]]


@pytest.mark.requirement("basic/lifecycle/respect-version", "basic/lifecycle/respect-version-early")
@pytest.mark.parametrize("revision", [name for name in LEGACY_NAMES if name != BATCHING])
def test_other_revisions_refuse_batches_whole(revision: str) -> None:
    peer = legacy_server(revision)
    events = feed(peer, [call(1, "tools/list"), call(2, "ping")])
    assert [type(event) for event in events] == [Violation]
    [reply] = sent(peer)
    assert reply["error"]["code"] == -32600
    assert revision in reply["error"]["message"]


def test_batches_before_initialize_are_refused() -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, [initialize(1, BATCHING)])
    [reply] = sent(peer)
    text = "Invalid request: batches are not supported before initialize"
    assert (reply["error"]["code"], reply["error"]["message"]) == (-32600, text)


@pytest.mark.requirement("basic/lifecycle/initialize-not-batched")
def test_initialize_inside_a_batch_is_refused() -> None:
    peer = legacy_server(BATCHING)
    feed(peer, [initialize(1, BATCHING), call(2, "ping")])
    [replies] = sent(peer)
    assert [reply.get("error", {}).get("code") for reply in replies] == [-32600, None]
    assert "batch" in replies[0]["error"]["message"]


def test_batches_are_bounded_and_never_empty() -> None:
    peer = legacy_server(BATCHING, config=server_config(limits=limits(batch=2)))
    feed(peer, [call(n, "ping") for n in range(3)], [])
    codes = [reply["error"]["code"] for reply in sent(peer)]
    assert codes == [-32600, -32600]


def test_batch_members_report_their_params_errors_in_the_array() -> None:
    peer = legacy_server(BATCHING)
    members = [
        call(1, "tools/list", {"_meta": 7}),
        call(2, "logging/setLevel", {"level": "loud"}),
        call(3, "resources/subscribe", {}),
        call(4, "logging/setLevel", {"level": "info"}),
        call(5, "resources/subscribe", {"uri": "a:b"}),
    ]
    feed(peer, members)
    [replies] = sent(peer)
    codes = [reply.get("error", {}).get("code") for reply in replies]
    assert codes == [-32602, -32602, -32602, None, None]


# Legacy subscriptions


@pytest.mark.parametrize("principal", [None, "ann", "bob"])
def test_resource_updates_go_to_those_who_may_read(principal: str | None) -> None:
    """In both eras; other changes are for all."""
    config = server_config(may_read=lambda uri, who: uri == "a:1" or who == "ann")
    session, listener = legacy_server(config=config), modern_server(config)
    session.principal = principal
    for number, uri in enumerate(("a:1", "a:2")):
        feed(session, call(number, "resources/subscribe", {"uri": uri}))
    params = {"notifications": FILTER}
    listener.receive(
        json.dumps(call(1, "subscriptions/listen", params, modern=True)).encode(),
        now=0.0,
        principal=principal,
    )
    while listener.next_event() is not None:
        pass
    for peer in (session, listener):
        peer.data_to_send()
        told = [
            peer.notify("notifications/resources/updated", {"uri": uri}) for uri in ("a:1", "a:2")
        ]
        assert told == [True, principal == "ann"]
        assert [each["params"]["uri"] for each in sent(peer)] == ["a:1", "a:2"][: sum(told)]
        assert peer.notify("notifications/tools/list_changed")


@pytest.mark.parametrize(
    ("bounds", "uris", "codes"),
    [
        ({"max_uri": 5}, ["a:123", "a:1234"], [None, -32602]),
        ({"limits": limits(subscribed=8)}, ["a:12", "a:34", "a:12", "a:5"], [None] * 3 + [-32000]),
    ],
)
def test_legacy_subscriptions_are_bounded_in_size(
    bounds: dict[str, Any], uris: list[str], codes: list[int | None]
) -> None:
    peer = legacy_server(config=server_config(**bounds))
    for id, uri in enumerate(uris):
        feed(peer, call(id, "resources/subscribe", {"uri": uri}))
    replies = sent(peer)
    assert [reply.get("error", {}).get("code") for reply in replies] == codes
    assert "max_uri" not in bounds or "params: uri: " in replies[-1]["error"]["message"]
    assert sum(map(len, peer._state.uris)) <= 8
    feed(peer, call(9, "resources/unsubscribe", {"uri": uris[-1]}))
    [reply] = sent(peer)
    assert ("error" in reply) == ("max_uri" in bounds)


@pytest.mark.requirement(
    "server/tools/list-changed-legacy",
    "server/prompts/list-changed-legacy",
    "server/resources/list-changed",
)
@pytest.mark.parametrize("kind", ["tools", "prompts", "resources"])
def test_list_changes_are_sent_where_they_were_announced(kind: str) -> None:
    method = f"notifications/{kind}/list_changed"
    announced = legacy_server()
    announced.notify(method)
    assert [frame["method"] for frame in sent(announced)] == [method]
    silent = legacy_server(config=server_config({kind: {}}))
    silent.notify(method)
    assert sent(silent) == []
    unborn = Peer(Role.SERVER, server_config())
    unborn.notify(method)
    assert sent(unborn) == []


def test_other_notifications() -> None:
    peer = legacy_server()
    peer.notify("notifications/elicitation/complete", {"elicitationId": "e"}, meta={"k": 1})
    assert sent(peer)[0]["params"] == {"_meta": {"k": 1}, "elicitationId": "e"}
    peer.receive_eof(now=0)
    drain(peer)
    peer.notify("notifications/acme")
    assert sent(peer) == []
    client = legacy_client()
    client.notify("notifications/roots/list_changed")
    assert sent(client)[0]["method"] == "notifications/roots/list_changed"


# Listen streams, server side

FILTER = {
    "toolsListChanged": True,
    "resourceSubscriptions": ["a:1", "a:2"],
}


def listening(peer: Peer, id: Any = 1, notifications: Any = None) -> SubscriptionOpened:
    """Open a listen stream on a server."""
    params = {"notifications": FILTER if notifications is None else notifications}
    [event] = feed(peer, call(id, "subscriptions/listen", params, modern=True))
    assert isinstance(event, SubscriptionOpened)
    return event


@pytest.mark.requirement(
    "basic/patterns/subscriptions/acknowledged-first", "basic/index/subscription-id"
)
@pytest.mark.parametrize("id", [0, 1, "a", 2**53])
def test_listen_is_acknowledged_first_with_its_id(id: Any) -> None:
    peer = modern_server()
    listening(peer, id)
    peer.notify("notifications/tools/list_changed")
    acknowledged, changed = sent(peer)
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert acknowledged["params"]["notifications"] == FILTER
    for frame in (acknowledged, changed):
        found = frame["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
        assert found == id
        assert type(found) is type(id)


@pytest.mark.requirement(
    "basic/patterns/subscriptions/requested-only",
    "server/tools/list-changed",
    "server/prompts/list-changed",
    "server/resources/list-changed",
)
def test_listen_streams_carry_what_they_asked_for_and_nothing_else() -> None:
    peer = modern_server()
    listening(peer, 1, {"toolsListChanged": True})
    listening(peer, 2, {"promptsListChanged": True, "toolsListChanged": False})
    listening(peer, 3, {"resourceSubscriptions": ["a:1"], "resourcesListChanged": True})
    peer.data_to_send()
    for method, params, streams in (
        ("notifications/tools/list_changed", None, [1]),
        ("notifications/prompts/list_changed", None, [2]),
        ("notifications/resources/list_changed", None, [3]),
        ("notifications/resources/updated", {"uri": "a:1"}, [3]),
        ("notifications/resources/updated", {"uri": "a:2"}, []),
    ):
        peer.notify(method, params)
        found = [
            frame["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
            for frame in sent(peer)
        ]
        assert found == streams, method


def test_acknowledgement_names_only_what_is_honoured() -> None:
    peer = modern_server(server_config({"tools": {}, "resources": {"subscribe": True}}))
    event = listening(peer, 1, {**FILTER, "promptsListChanged": True})
    assert event.filter == SubscriptionFilter(resource_subscriptions=["a:1", "a:2"])
    [acknowledged] = sent(peer)
    assert acknowledged["params"]["notifications"] == {"resourceSubscriptions": ["a:1", "a:2"]}
    peer.notify("notifications/tools/list_changed")
    assert sent(peer) == []


@pytest.mark.parametrize(
    "params", [{}, {"notifications": 7}, {"notifications": {"toolsListChanged": 1}}]
)
def test_malformed_listen_is_refused(params: Any) -> None:
    peer = modern_server()
    feed(peer, call(1, "subscriptions/listen", params, modern=True))
    assert sent(peer)[0]["error"]["code"] == -32602
    assert peer.in_flight == 0


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (["a:1", "a:2"], None),
        (["a:1"] * 3, "more than 2 subjects"),
        (["a:123"], "notifications.resourceSubscriptions: longer than 4 characters"),
        (["a:1", "a:12"], "more than 6 characters"),
    ],
)
def test_what_a_listen_stream_keeps_is_bounded(listed: list[str], says: str | None) -> None:
    bounds = limits(subscriptions=2, subscribed=6)
    peer = modern_server(server_config(limits=bounds, max_uri=4))
    params: Any = {"notifications": {"resourceSubscriptions": listed}}
    feed(peer, call(1, "subscriptions/listen", params, modern=True))
    [reply] = sent(peer)
    if says is None:
        assert reply["method"] == "notifications/subscriptions/acknowledged"
    else:
        assert reply["error"]["code"] == -32602
        assert says in reply["error"]["message"]
    assert len(peer._state.streams) == (says is None)


@pytest.mark.parametrize("method", ["subscriptions/listen", "tools/list"])
@pytest.mark.parametrize("asked_first", [False, True])
@pytest.mark.parametrize(
    ("id", "token", "code"),
    [
        ("i" * 5, "t", None),
        ("i", "t" * 5, None),
        (10**6, 10**6, None),
        ("i" * 6, "t", -32600),
        ("i" * 6, 5, -32600),
        (1, "t" * 6, -32602),
    ],
)
def test_what_names_a_request_is_short(
    method: str, asked_first: bool, id: Any, token: Any, code: int | None
) -> None:
    asked = ASKABLE if asked_first else frozenset[str]()
    peer = modern_server(server_config(limits=limits(id=5), asked_first=asked))
    params: Any = {"notifications": {}, "_meta": {"progressToken": token}}
    feed(peer, call(id, method, params, modern=True))
    refused = [reply["error"] for reply in sent(peer) if "error" in reply]
    assert [error["code"] for error in refused] == ([] if code is None else [code])
    assert all("more than 5 characters" in error["message"] for error in refused)
    assert peer.in_flight == (code is None)


def test_a_listen_stream_keeps_nothing_of_how_it_was_asked_for() -> None:
    peer = modern_server()
    meta = {
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"experimental": {"much": {}}},
        "progressToken": "long",
    }
    params: Any = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    feed(peer, call(1, "subscriptions/listen", params, modern=True))
    [record] = peer._state.streams.values()
    assert (record.meta, record.skim, record.params) == (RequestMeta(), Skim(), Raw(b"{}"))
    assert (record.capabilities, record.client_info) == (ClientCapabilities(), None)


@pytest.mark.requirement(
    "basic/patterns/cancellation/server-ends-listen", "basic/patterns/subscriptions/server-ends"
)
def test_server_ends_a_listen_stream() -> None:
    peer = modern_server()
    event = listening(peer, "s")
    peer.data_to_send()
    peer.end_subscription(event.key)
    assert drain(peer) == [SubscriptionClosed(event.key, StreamSignal.FINISH)]
    cancelled, result = sent(peer)
    assert cancelled["method"] == "notifications/cancelled"
    assert cancelled["params"]["requestId"] == "s"
    assert result["id"] == "s"
    assert result["result"]["resultType"] == "complete"
    assert result["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "s"
    assert peer.end_subscription(event.key) is False


def test_a_listen_stream_can_be_narrowed() -> None:
    peer = modern_server()
    event = listening(peer, 1, {**FILTER, "promptsListChanged": True})
    peer.data_to_send()
    narrowing = SubscriptionFilter(
        prompts_list_changed=True, tools_list_changed=False, resource_subscriptions=["a:2", "a:3"]
    )
    peer.narrow(event.key, narrowing)
    peer.notify("notifications/tools/list_changed")
    peer.notify("notifications/resources/updated", {"uri": "a:1"})
    peer.notify("notifications/resources/updated", {"uri": "a:3"})
    assert sent(peer) == []
    peer.notify("notifications/prompts/list_changed")
    peer.notify("notifications/resources/updated", {"uri": "a:2"})
    assert len(sent(peer)) == 2


def test_only_listen_streams_can_be_narrowed_or_ended() -> None:
    peer = modern_server()
    [event] = requests_of(feed(peer, call(1, "tools/list", modern=True)))
    with pytest.raises(LocalProtocolError, match="no listen stream"):
        peer.narrow(event.key, SubscriptionFilter())
    with pytest.raises(LocalProtocolError, match="no listen stream"):
        peer.end_subscription(event.key)


# Listen streams, client side


def meta(id: Any) -> dict[str, Any]:
    """The metadata that ties a notification to a subscription."""
    return {"_meta": {"io.modelcontextprotocol/subscriptionId": id}}


@pytest.mark.requirement("basic/patterns/subscriptions/correlate")
def test_client_demultiplexes_its_streams() -> None:
    peer = modern_client()
    first, second = (
        peer.request("subscriptions/listen", {"notifications": FILTER}, now=0, timeout=5.0)
        for _ in range(2)
    )
    acknowledged = "notifications/subscriptions/acknowledged"
    events = feed(
        peer,
        tell(acknowledged, {**meta(second), "notifications": {"toolsListChanged": True}}),
        tell(acknowledged, {**meta(first), "notifications": {}}),
        tell("notifications/tools/list_changed", meta(second)),
        tell("notifications/resources/updated", {**meta(first), "uri": "a:1"}),
    )
    opened, _, changed, updated = events
    assert opened == SubscriptionAcknowledged(
        request=second, filter=SubscriptionFilter(tools_list_changed=True)
    )
    assert isinstance(changed, SubscriptionNotification)
    assert (changed.request, changed.method) == (second, "notifications/tools/list_changed")
    assert isinstance(updated, SubscriptionNotification)
    assert updated.request == first
    assert peer.deadline() is None, "an open stream does not time out"


def test_notifications_before_the_acknowledgement_are_violations() -> None:
    peer = modern_client()
    request = peer.request("subscriptions/listen", {"notifications": FILTER}, now=0)
    acknowledged = "notifications/subscriptions/acknowledged"
    good = {**meta(request), "notifications": {}}
    events = feed(
        peer,
        tell("notifications/tools/list_changed", meta(request)),
        tell(acknowledged, good),
        tell(acknowledged, good),
        tell("notifications/tools/list_changed", meta(999)),
        tell("notifications/tools/list_changed", {"_meta": 7}),
    )
    kinds = [type(event) for event in events]
    assert kinds == [Violation, SubscriptionAcknowledged, Violation]


def test_malformed_acknowledgement_is_a_violation() -> None:
    peer = modern_client()
    request = peer.request("subscriptions/listen", {"notifications": FILTER}, now=0)
    method = "notifications/subscriptions/acknowledged"
    expect(Violation, feed(peer, tell(method, {**meta(request), "notifications": 7})))


@pytest.mark.parametrize("params", [{}, {"_meta": {}}])
def test_an_acknowledgement_of_no_subscription_is_a_violation(params: Any) -> None:
    peer = modern_client()
    request = peer.request("subscriptions/listen", {"notifications": FILTER}, now=0)
    method = "notifications/subscriptions/acknowledged"
    message = json.dumps(tell(method, {"notifications": {}, **params})).encode()
    peer.receive(message, now=0, route=7)
    text = f"{method} names no subscription"
    assert drain(peer) == [Violation(code=-32600, message=text, route=7)]
    good = {**meta(request), "notifications": {}}
    assert [type(event) for event in feed(peer, tell(method, good))] == [SubscriptionAcknowledged]


def test_unacknowledged_listen_times_out() -> None:
    peer = modern_client()
    request = peer.request("subscriptions/listen", {"notifications": FILTER}, now=0, timeout=5.0)
    peer.handle_timeout(5.0)
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (request, EndReason.TIMED_OUT)


def test_modern_notifications_of_no_stream_reach_the_owner() -> None:
    peer = modern_client()
    [event] = feed(peer, tell("notifications/message", {"level": "info", "data": 1}))
    assert isinstance(event, NotificationReceived)


# Input rounds

QUESTION = InputRequest("elicitation/create", {"message": "Name?", "requestedSchema": {}})


def asking(peer: Peer, capabilities: Any = None, **params: Any) -> RequestReceived:
    """A tool call from a client with these capabilities."""
    declared = CLIENT_ALL if capabilities is None else capabilities
    own = {**META, "io.modelcontextprotocol/clientCapabilities": declared}
    message = call(1, "tools/call", {"name": "t", **params, "_meta": own})
    [event] = requests_of(feed(peer, message))
    return event


@pytest.mark.requirement("basic/patterns/mrtr/questions-by-result")
def test_server_requires_input() -> None:
    peer = modern_server()
    event = asking(peer)
    assert (event.input_responses, event.request_state) == (None, None)
    assert peer.require_input(event.key, {"name": QUESTION}, "state")
    result = sent(peer)[0]["result"]
    assert result["resultType"] == "input_required"
    assert result["requestState"] == "state"
    assert result["inputRequests"] == {
        "name": {
            "method": "elicitation/create",
            "params": {"message": "Name?", "requestedSchema": {}},
        }
    }
    assert "io.modelcontextprotocol/serverInfo" in result["_meta"]


@pytest.mark.requirement(
    "basic/patterns/mrtr/responses-validated", "basic/patterns/mrtr/protocol-errors"
)
@pytest.mark.parametrize(
    "params",
    [
        {"inputResponses": None},
        {"inputResponses": [1]},
        {"inputResponses": {str(number): {} for number in range(101)}},
        {"requestState": 7},
    ],
)
def test_malformed_answers_are_refused(params: Any) -> None:
    peer = modern_server()
    assert requests_of(feed(peer, call(1, "tools/call", params, modern=True))) == []
    assert sent(peer)[0]["error"]["code"] == -32602


def test_legacy_requests_know_no_answers() -> None:
    peer = legacy_server()
    [event] = requests_of(feed(peer, call(1, "tools/call", {"inputResponses": 7})))
    assert event.input_responses is None


@pytest.mark.requirement("basic/patterns/mrtr/request-kinds", "basic/patterns/mrtr/one-of-both")
@pytest.mark.parametrize(
    ("requests", "state", "match"),
    [
        ({}, None, "needs requests"),
        ({"a": InputRequest("tools/list")}, None, "tools/list"),
        ({"a": InputRequest("ping")}, None, "ping"),
    ],
)
def test_what_cannot_be_asked(requests: Any, state: Any, match: str) -> None:
    peer = modern_server()
    event = asking(peer)
    with pytest.raises(LocalProtocolError, match=match):
        peer.require_input(event.key, requests, state)
    assert peer.respond(event.key, {})


@pytest.mark.requirement(
    "basic/patterns/mrtr/declared-only",
    "basic/index/capabilities-not-assumed",
    "client/elicitation/declared-modes",
    "client/sampling/tools-undeclared",
    "client/roots/server-checks-capability",
)
@pytest.mark.parametrize(
    ("question", "declared", "missing"),
    [
        (QUESTION, {}, "elicitation.form"),
        (QUESTION, {"elicitation": {"url": {}}}, "elicitation.form"),
        (
            InputRequest("elicitation/create", {"mode": "url", "url": "https://x"}),
            {"elicitation": {}},
            "elicitation.url",
        ),
        (InputRequest("roots/list"), {"sampling": {}}, "roots"),
        (InputRequest("sampling/createMessage", {"tools": []}), {"sampling": {}}, "sampling.tools"),
    ],
)
def test_only_what_the_client_declared_is_asked(
    question: InputRequest, declared: Any, missing: str
) -> None:
    peer = modern_server()
    event = asking(peer, declared)
    with pytest.raises(CapabilityMissing) as caught:
        peer.require_input(event.key, {"a": question})
    assert caught.value.capability == missing


@pytest.mark.requirement("basic/patterns/mrtr/supported-methods")
def test_input_is_required_only_where_the_specification_allows_it() -> None:
    peer = modern_server()
    [event] = requests_of(feed(peer, call(1, "tools/list", modern=True)))
    with pytest.raises(LocalProtocolError, match="tools/list"):
        peer.require_input(event.key, {}, "s")
    legacy = legacy_server()
    [event] = requests_of(feed(legacy, call(1, "tools/call", {"name": "t"})))
    with pytest.raises(LocalProtocolError):
        legacy.require_input(event.key, {}, "s")


def asked(peer: Peer, **members: Any) -> tuple[Any, list[Any]]:
    """A tool call of ours that the server answers with input_required, and the events."""
    request = peer.request("tools/call", {"name": "t", "arguments": {"a": 1}}, now=0)
    peer.data_to_send()
    return request, feed(peer, answer(request, {"resultType": "input_required", **members}))


@pytest.mark.requirement(
    "basic/patterns/mrtr/state-opaque",
    "basic/patterns/mrtr/echo-state",
    "basic/patterns/mrtr/new-id",
    "basic/index/meta-required",
)
def test_client_retries_with_answers_and_the_state_byte_for_byte() -> None:
    peer = modern_client()
    question = {"method": "elicitation/create", "params": {"message": "m"}}
    state = 'AE\u00e9"\\\u2028+/='
    request, [event] = asked(peer, inputRequests={"k": question}, requestState=state)
    assert isinstance(event, InputRequired)
    assert (event.request, event.round) == (request, 1)
    assert json.loads(bytes(event.requests["k"])) == question
    again = peer.retry(request, {"k": {"action": "accept", "content": {}}}, now=0)
    assert again != request
    [frame] = sent(peer)
    params = frame["params"]
    assert frame["id"] == again
    assert params["inputResponses"] == {"k": {"action": "accept", "content": {}}}
    assert params["requestState"] == state
    assert (params["name"], params["arguments"]) == ("t", {"a": 1})
    assert META.keys() <= params["_meta"].keys()
    with pytest.raises(LocalProtocolError):
        peer.retry(request, {}, now=0)


def test_progress_of_a_retry_begins_anew() -> None:
    peer = modern_client()
    request = peer.request("tools/call", {"name": "t"}, now=0, progress=True)
    told = {"progressToken": request, "progress": 5}
    feed(peer, tell("notifications/progress", told))
    feed(peer, answer(request, {"resultType": "input_required", "requestState": "one"}))
    again = peer.retry(request, {}, now=0)
    [event] = feed(peer, tell("notifications/progress", {"progressToken": again, "progress": 1}))
    assert isinstance(event, ProgressReceived)


def test_a_failure_of_a_later_round_tells_of_the_earlier_one() -> None:
    peer, fault = modern_client(), Fault(FaultKind.CONNECT)
    request, _ = asked(peer, requestState="one")
    again = peer.retry(request, {}, now=0)
    first = peer.request("tools/call", {"name": "t"}, now=0)
    peer.data_to_send()
    for each in (again, first):
        peer.receive_failure(each, now=0, reason=EndReason.CLOSED, message="m", fault=fault)
    later, unsent = peer.next_event(), peer.next_event()
    assert isinstance(later, RequestEnded)
    assert isinstance(unsent, RequestEnded)
    assert later.fault == Fault(FaultKind.CONNECT, sent_before=True)
    assert unsent.fault == fault


@pytest.mark.requirement("basic/patterns/mrtr/echo-state", "basic/patterns/mrtr/one-retry-only")
def test_state_and_answers_are_used_once() -> None:
    peer = modern_client()
    request, _ = asked(peer, requestState="one")
    again = peer.retry(request, {}, now=0)
    assert sent(peer)[0]["params"]["requestState"] == "one"
    question = {"method": "roots/list"}
    result = {"resultType": "input_required", "inputRequests": {"r": question}}
    event = expect(InputRequired, feed(peer, answer(again, result)))
    assert event.round == 2
    last = peer.retry(again, {"r": {"roots": []}}, now=0)
    params = sent(peer)[0]["params"]
    assert "requestState" not in params
    assert params["inputResponses"] == {"r": {"roots": []}}
    expect(ResultReceived, feed(peer, answer(last, {"resultType": "complete", "content": []})))


@pytest.mark.requirement("basic/patterns/mrtr/echo-state", "basic/patterns/mrtr/one-retry-only")
@pytest.mark.parametrize("state", ["new", None])
@pytest.mark.parametrize("answers", [{"q": {"roots": []}}, {}])
def test_a_retry_of_a_retry_says_nothing_twice(answers: Any, state: str | None) -> None:
    peer = modern_client()
    passed_on = {"name": "t", "inputResponses": {"old": {}}, "requestState": "old"}
    request = peer.request("tools/call", passed_on, now=0)
    peer.data_to_send()
    question = {"method": "roots/list"}
    result: Any = {"resultType": "input_required", "inputRequests": {"q": question}}
    feed(peer, answer(request, result if state is None else {**result, "requestState": state}))
    peer.retry(request, answers, now=0)
    [frame] = peer.data_to_send()
    text = b"".join(frame.data)
    params = json.loads(text)["params"]
    del params["_meta"]
    expected: Any = {"name": "t"}
    if answers:
        expected["inputResponses"] = answers
    if state is not None:
        expected["requestState"] = state
    assert params == expected
    assert text.count(b'"inputResponses"') == bool(answers)
    assert text.count(b'"requestState"') == (state is not None)


def test_input_rounds_are_bounded() -> None:
    peer = modern_client(client_config(limits=limits(input_rounds=2)))
    request, _ = asked(peer, requestState="s")
    result = {"resultType": "input_required", "requestState": "s"}
    request = peer.retry(request, {}, now=0)
    expect(InputRequired, feed(peer, answer(request, result)))
    request = peer.retry(request, {}, now=0)
    ended = expect(RequestEnded, feed(peer, answer(request, result)))
    assert (ended.request, ended.reason) == (request, EndReason.INVALID)


@pytest.mark.parametrize(("count", "ends"), [(3, False), (4, True)])
def test_the_questions_of_a_round_are_bounded(count: int, ends: bool) -> None:
    peer = modern_client(client_config(limits=limits(input_requests=3)))
    request = peer.request("tools/call", {"name": "x"}, now=0)
    sent(peer)
    questions = {str(number): {"method": "roots/list"} for number in range(count)}
    result = {"resultType": "input_required", "inputRequests": questions}
    [event] = feed(peer, answer(request, result))
    if ends:
        assert isinstance(event, RequestEnded)
        assert event.reason is EndReason.INVALID
        assert "4 questions at once, the limit is 3" in event.message
    else:
        assert isinstance(event, InputRequired)


def test_abandoned_input_is_forgotten() -> None:
    peer = modern_client()
    request, _ = asked(peer, requestState="s")
    peer.abandon(request)
    peer.abandon(request)
    with pytest.raises(LocalProtocolError):
        peer.retry(request, {}, now=0)
    assert sent(peer) == []


@pytest.mark.requirement(
    "basic/index/result-type-unknown",
    "basic/index/result-type-set",
    "basic/versioning/extension-fallback",
)
@pytest.mark.parametrize(
    "result",
    [
        {"resultType": "mystery"},
        {"resultType": "task"},
        {"resultType": 7},
        {"resultType": "input_required"},
        {"resultType": "input_required", "inputRequests": 7},
    ],
)
def test_unknown_or_malformed_result_types_are_errors(result: Any) -> None:
    peer = modern_client()
    request = peer.request("tools/call", {"name": "t"}, now=0)
    ended = expect(RequestEnded, feed(peer, answer(request, result)))
    assert ended.reason is EndReason.INVALID


def test_input_required_on_a_method_without_it_is_an_error() -> None:
    peer = modern_client()
    request = peer.request("tools/list", now=0)
    [ended] = feed(peer, answer(request, {"resultType": "input_required", "requestState": "s"}))
    assert isinstance(ended, RequestEnded)


@pytest.mark.requirement("basic/index/result-type-set", "basic/versioning/extension-fallback")
def test_tasks_are_taken_by_clients_that_declared_them() -> None:
    declared: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    peer = modern_client(client_config(declared))
    request = peer.request("tools/call", {"name": "t"}, now=0)
    expect(ResultReceived, feed(peer, answer(request, {"resultType": "task", "taskId": "1"})))


@pytest.mark.requirement("basic/index/result-type-absent")
@pytest.mark.parametrize("result", [{}, {"resultType": "complete"}])
def test_absent_result_type_means_complete(result: Any) -> None:
    peer = modern_client()
    request = peer.request("tools/call", {"name": "t"}, now=0)
    expect(ResultReceived, feed(peer, answer(request, result)))


# Header mirrors

GOOD = Mirror(version=MODERN_NAMES[-1], method="tools/call", name="t", params={"region": "eu"})
HEADER_PARAMS = {"t": {"Region": ("region",), "Deep": ("a", "b")}}


def through_headers(mirror: Mirror, **params: Any) -> tuple[list[Any], list[Any]]:
    """Send a call with headers to a server that mirrors two arguments."""
    peer = modern_server(server_config(header_params=HEADER_PARAMS))
    body = {"name": "t", "arguments": {"region": "eu"}, **params}
    message = json.dumps(call(1, "tools/call", body, modern=True)).encode()
    peer.receive(message, now=0, mirror=mirror)
    return drain(peer), sent(peer)


def changed(**changes: Any) -> Mirror:
    """GOOD with some members changed."""
    values: dict[str, Any] = {
        "version": GOOD.version,
        "method": GOOD.method,
        "name": GOOD.name,
        "params": GOOD.params,
    }
    return Mirror(**{**values, **changes})


@pytest.mark.parametrize(
    ("mirror", "params", "said"),
    [
        (changed(version=None), {}, "MCP-Protocol-Version"),
        (changed(version=LEGACY_NAMES[-1]), {}, "MCP-Protocol-Version"),
        (changed(method=None), {}, "Mcp-Method"),
        (changed(method="TOOLS/CALL"), {}, "Mcp-Method"),
        (changed(name=None), {}, "Mcp-Name"),
        (changed(name="T"), {}, "Mcp-Name"),
        (changed(params={}), {}, "Mcp-Param-Region header is missing; arguments.region has"),
        (changed(params={"region": "us"}), {}, "Region header does not match arguments.region"),
        (GOOD, {"arguments": {}}, "Mcp-Param-Region header is present, arguments.region is not"),
        (
            GOOD,
            {"arguments": {"region": "eu", "a": {"b": True}}},
            "Mcp-Param-Deep header is missing; arguments.a.b has a value",
        ),
    ],
)
def test_contradicting_headers_are_refused(mirror: Mirror, params: Any, said: str) -> None:
    events, [reply] = through_headers(mirror, **params)
    assert requests_of(events) == []
    assert reply["error"]["code"] == -32020
    assert said in reply["error"]["message"]


@pytest.mark.parametrize(("principal", "refused"), [("root", 1), ("ada", 0), (None, 0)])
def test_headers_of_arguments_are_compared_for_those_who_see_the_tool(
    principal: str | None, refused: int
) -> None:
    config = server_config(header_params=HEADER_PARAMS, has_tool=lambda _, who: who == "root")
    peer = modern_server(config)
    body = {"name": "t", "arguments": {"region": "eu"}}
    message = json.dumps(call(1, "tools/call", body, modern=True)).encode()
    peer.receive(message, now=0, mirror=changed(params={}), principal=principal)
    passed = requests_of(drain(peer))
    assert (len(sent(peer)), len(passed)) == (refused, 1 - refused)


@pytest.mark.parametrize(
    "params",
    [{"arguments": 7}, {"name": 7}, {"name": None}, {"arguments": {"region": "eu", "a": 7}}],
)
def test_params_of_the_wrong_type_are_left_to_their_reader(params: Any) -> None:
    events, _ = through_headers(GOOD, **params)
    [event] = requests_of(events)
    assert event.mirror == GOOD


NO_FLOAT, LONG_INTEGER = Raw(b"1e999"), Raw(b"9" * 5000)
"""Sound JSON, of which Python makes no number."""
either_number = pytest.mark.parametrize("number", [NO_FLOAT, LONG_INTEGER], ids=["float", "int"])


@either_number
@pytest.mark.parametrize(
    ("method", "member"),
    [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")],
)
def test_a_mirrored_number_that_cannot_be_read_is_left_to_its_reader(
    method: str, member: str, number: Raw
) -> None:
    peer = modern_server(server_config(header_params=HEADER_PARAMS))
    message = msgspec.json.encode(call(1, method, {member: number}, modern=True))
    peer.receive(message, now=0, mirror=changed(method=method, params={}))
    [event] = requests_of(drain(peer))
    with pytest.raises(McpError) as refused:
        Server("s", version="1").prepare(method, event.params, event.revision, skim=event.skim)
    assert refused.value.error.code == -32602


@either_number
@pytest.mark.parametrize(
    ("arguments", "params", "said"),
    [
        ({"region": "us", "opts": {"junk": "N"}}, {"region": "eu"}, "not match arguments.region"),
        ({"region": "eu", "opts": "N"}, {"region": "eu"}, None),
        ({"region": "eu", "a": "N"}, {"region": "eu"}, None),
        ({"region": "eu", "a": {"b": "N"}}, {"region": "eu"}, "Deep header is missing"),
        (
            {"region": "eu", "a": {"b": "N"}},
            {"region": "eu", "deep": "1e999"},
            "Deep header does not match arguments.a.b",
        ),
        ({"region": "N"}, {"region": "eu"}, "not match arguments.region"),
    ],
)
def test_numbers_that_cannot_be_read_hide_no_contradiction(
    arguments: Any, params: dict[str, str], said: str | None, number: Raw
) -> None:
    peer = modern_server(server_config(header_params=HEADER_PARAMS))
    message = call(1, "tools/call", {"name": "t", "arguments": arguments}, modern=True)
    text = json.dumps(message).replace('"N"', bytes(number).decode())
    peer.receive(text.encode(), now=0, mirror=changed(params=params))
    assert len(requests_of(drain(peer))) == (said is None)
    for reply in sent(peer):
        assert reply["error"]["code"] == -32020
        assert said is not None
        assert said in reply["error"]["message"]


def test_metadata_is_checked_before_headers_and_headers_before_the_version() -> None:
    peer = modern_server()
    bare = Mirror(version=MODERN_NAMES[-1])
    peer.receive(json.dumps(call(1, "server/discover", {})).encode(), now=0, mirror=bare)
    future = {**META, "io.modelcontextprotocol/protocolVersion": "v9"}
    message = json.dumps(call(2, "tools/list", {"_meta": future})).encode()
    peer.receive(message, now=0, mirror=Mirror(version=MODERN_NAMES[-1], method="tools/list"))
    peer.receive(message, now=0, mirror=Mirror(version="v9", method="tools/list"))
    drain(peer)
    assert [reply["error"]["code"] for reply in sent(peer)] == [-32602, -32020, -32022]


@pytest.mark.requirement("basic/transports/streamable-http/param-type")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (42, "42"),
        (-7, "-7"),
        (2**53 - 1, "9007199254740991"),
        (2**53, None),
        (1.5, None),
        (None, None),
        ([], None),
        ({}, None),
    ],
)
def test_header_text_of_arguments(value: Any, text: str | None) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("claimed", "value", "same"),
    [
        ("42", 42, True),
        ("42.0", 42, True),
        ("4.2e1", 42, True),
        ("43", 42, False),
        ("9007199254740991", 2**53 - 1, True),
        ("9007199254740991.4", 2**53 - 1, False),
        ("0.99999999999999999999", 1, False),
        ("\uff17", 7, False),
        ("0" * 65 + "7", 7, False),
        ("4_2", 42, False),
        (" 42", 42, False),
        ("x", 42, False),
        ("nan", 42, False),
        ("9007199254740992", 2**53, False),
        ("true", True, True),
        ("True", True, False),
        ("1", True, False),
        ("eu", "eu", True),
        ("EU", "eu", False),
        ("1.5", 1.5, False),
    ],
)
def test_header_values_compare_with_the_body(claimed: str, value: Any, same: bool) -> None:
    assert same_value(claimed, value) is same


@pytest.mark.parametrize(
    ("number", "text", "said"),
    [
        ("42", "42", None),
        ("42.0", "42", None),
        ("4.2e1", "42.0", None),
        ("42.0", "43", "does not match arguments.region"),
        ("1e300", "1e300", "does not match arguments.region"),
        ("42.5", "42.5", "does not match arguments.region"),
    ],
)
def test_a_whole_number_is_mirrored_in_any_notation(
    number: str, text: str, said: str | None
) -> None:
    arguments = Raw(b'{"region":%b}' % number.encode())
    peer = modern_server(server_config(header_params=HEADER_PARAMS))
    message = call(1, "tools/call", {"name": "t", "arguments": arguments}, modern=True)
    peer.receive(msgspec.json.encode(message), now=0, mirror=changed(params={"region": text}))
    assert len(requests_of(drain(peer))) == (said is None)
    assert all(said in reply["error"]["message"] for reply in sent(peer))
    if said is None:
        body = b'{"arguments":%b}' % bytes(arguments)
        assert header_arguments(body, HEADER_PARAMS["t"]) == {"Region": "42"}


@pytest.mark.requirement("basic/transports/streamable-http/param-mirrored")
def test_client_computes_its_headers() -> None:
    config = client_config(header_params=HEADER_PARAMS)
    peer = Peer(Role.CLIENT, config, mirrors=True)
    peer.start(now=0)
    [probe] = peer.data_to_send()
    assert probe.mirror == Mirror(version=MODERN_NAMES[-1], method="server/discover")
    result = {"supportedVersions": MODERN_NAMES, "capabilities": {"tools": {}, "resources": {}}}
    feed(peer, answer(probe.request, result))
    arguments = {"region": "eu", "a": {"b": False}, "c": 1}
    peer.request("tools/call", {"name": "t", "arguments": arguments}, now=0)
    peer.request("tools/call", {"name": "t", "arguments": {"region": None}}, now=0)
    peer.request("resources/read", {"uri": "a:b"}, now=0)
    peer.request("tools/call", {"name": 7}, now=0)
    peer.request("tasks/get", {"taskId": "t-1"}, now=0, force=True)
    peer.request("prompts/get", {"name": "t", "arguments": {"region": "eu"}}, now=0, force=True)
    full, empty, read, odd, task, prompt = (frame.mirror for frame in peer.data_to_send())
    assert prompt == Mirror(version=MODERN_NAMES[-1], method="prompts/get", name="t")
    assert task is not None
    assert task.name == "t-1"
    assert full == Mirror(
        version=MODERN_NAMES[-1],
        method="tools/call",
        name="t",
        params={"Region": "eu", "Deep": "false"},
    )
    assert empty is not None
    assert dict(empty.params) == {}
    assert read is not None
    assert read.name == "a:b"
    assert odd is not None
    assert odd.name is None
    assert header_arguments(b"{}", {"X": ("a",)}) == {}
    for large in (b"%d" % 2**53, b"1e300"):
        body = b'{"arguments":{"a":{"n":%b}}}' % large
        with pytest.raises(LocalProtocolError, match=r"arguments\.a\.n .* Mcp-Param-X: integers"):
            header_arguments(body, {"X": ("a", "n")})
    endless = Raw(b'{"arguments":{"a":{"n":1e999},"b":"x"}}')
    assert header_arguments(endless, {"X": ("b",)}) == {"X": "x"}
    with pytest.raises(LocalProtocolError, match=r"arguments\.a\.n"):
        header_arguments(endless, {"X": ("a", "n")})


def test_legacy_clients_mirror_nothing() -> None:
    peer = Peer(Role.CLIENT, client_config(), mirrors=True)
    peer.start(now=0)
    [probe] = peer.data_to_send()
    feed(peer, error(probe.request, -32601))
    [handshake] = peer.data_to_send()
    assert handshake.mirror is None


def test_cancelled_route_of_a_listen_stream_over_http() -> None:
    peer = modern_server(server_config(route_scoped_ids=True))
    message = json.dumps(call(1, "subscriptions/listen", {"notifications": FILTER}, modern=True))
    peer.receive(message.encode(), now=0, route=5)
    event = expect(SubscriptionOpened, drain(peer))
    peer.receive_eof(now=0, route=5)
    assert drain(peer) == [SubscriptionClosed(event.key, StreamSignal.END)]
    assert not any(isinstance(event, RequestCancelled) for event in drain(peer))
