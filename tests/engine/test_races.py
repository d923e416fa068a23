"""What crosses on its way: ends, cancellations and calls of the application that come too late."""

import json
from typing import Any

import pytest
from msgspec import Raw

from mcpcore.engine import Endpoint, EndReason, FrameKind, Peer, Role
from mcpcore.engine.events import (
    ConnectionEnded,
    Event,
    InputRequired,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    StreamDrained,
    SubscriptionAcknowledged,
    SubscriptionClosed,
    SubscriptionOpened,
    Violation,
)
from mcpcore.engine.lifecycle import StreamSignal
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from tests.engine.bench import (
    LEGACY_NAMES,
    answer,
    call,
    client_config,
    drain,
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

LISTEN = {"notifications": {"toolsListChanged": True}}
CHANGED = "notifications/tools/list_changed"


def received(peer: Peer, message: Any) -> RequestReceived:
    """Feed a request and return its event."""
    return expect(RequestReceived, feed(peer, message))


def opened(peer: Peer, id: Any = 1, notifications: Any = None) -> SubscriptionOpened:
    """Open a listen stream on a server and take its acknowledgement."""
    params = LISTEN if notifications is None else {"notifications": notifications}
    [event] = feed(peer, call(id, "subscriptions/listen", params, modern=True))
    assert isinstance(event, SubscriptionOpened)
    peer.data_to_send()
    return event


# Notifications for a request that is over


def test_a_notification_for_a_cancelled_request_goes_nowhere() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list"))
    assert peer.notify("notifications/acme", {"a": 1}, parent=event.key) is True
    assert len(sent(peer)) == 1
    feed(peer, tell("notifications/cancelled", {"requestId": 1}))
    assert peer.notify("notifications/acme", parent=event.key) is False
    peer.release(event.key)
    assert peer.notify("notifications/acme", parent=event.key) is False
    assert sent(peer) == []


def test_a_listen_stream_that_the_client_cancelled_can_no_longer_be_changed() -> None:
    peer = modern_server()
    event = opened(peer)
    feed(peer, tell("notifications/cancelled", {"requestId": 1}))
    assert peer.narrow(event.key, SubscriptionFilter()) is False
    assert peer.end_subscription(event.key) is False
    assert peer.notify(CHANGED, parent=event.key) is False
    assert sent(peer) == []


# What waits to be sent for a request that is cancelled


def test_nothing_more_is_sent_for_a_cancelled_request() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/list", {"_meta": {"progressToken": 1}}))
    other = received(peer, call(2, "tools/list", {"_meta": {"progressToken": 2}}))
    assert peer.progress(event.key, 1)
    assert peer.progress(other.key, 1)
    assert peer.log(event.key, "error", "x")
    assert peer.queued(event.key) > 0
    events = feed(peer, tell("notifications/cancelled", {"requestId": 1}))
    assert events == [RequestCancelled(key=event.key, reason=None), StreamDrained(key=event.key)]
    assert [frame["params"]["progressToken"] for frame in sent(peer)] == [2]
    assert peer.queued(event.key) == 0


def test_nothing_more_is_sent_on_a_cancelled_listen_stream() -> None:
    peer = modern_server()
    opened(peer)
    opened(peer, 2)
    peer.notify(CHANGED)
    feed(peer, tell("notifications/cancelled", {"requestId": 1}))
    key = "io.modelcontextprotocol/subscriptionId"
    assert [frame["params"]["_meta"][key] for frame in sent(peer)] == [2]


def test_questions_on_a_stream_count_as_its_bytes() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/call", {"name": "x", "_meta": {"progressToken": 1}}))
    peer.progress(event.key, 1)
    progress = peer.queued(event.key)
    peer.request("roots/list", now=0, parent=event.key)
    assert peer.queued(event.key) > progress
    peer.data_to_send(limit=progress)
    assert drain(peer) == []
    peer.data_to_send()
    assert drain(peer) == [StreamDrained(key=event.key)]


# The end of the other side's writing


def test_nobody_is_asked_who_has_finished_writing() -> None:
    peer = legacy_server()
    event = received(peer, call(1, "tools/call", {"name": "x"}))
    peer.receive_eof(now=0, half=True)
    assert drain(peer) == []
    with pytest.raises(LocalProtocolError, match="finished writing"):
        peer.request("roots/list", now=0, parent=event.key)
    assert (peer.pending, peer.deadline()) == (0, None)
    assert peer.notify("notifications/acme", parent=event.key)
    assert peer.log(event.key, "error", "x")
    assert peer.respond(event.key, {})
    assert len(sent(peer)) == 3


# Input rounds and ends


def waiting_for_input(peer: Peer, **members: Any) -> Any:
    """A tool call of ours whose server waits for input."""
    request = peer.request("tools/call", {"name": "t"}, now=0)
    peer.data_to_send()
    members = members or {"requestState": "s"}
    [event] = feed(peer, answer(request, {"resultType": "input_required", **members}))
    assert isinstance(event, InputRequired)
    return request


def test_no_retry_after_close() -> None:
    peer = modern_client()
    request = waiting_for_input(peer)
    peer.close(now=0)
    with pytest.raises(LocalProtocolError, match="closed"):
        peer.retry(request, {}, now=0)
    assert sent(peer) == []


def test_a_retry_that_cannot_be_made_changes_nothing() -> None:
    peer = modern_client()
    request = waiting_for_input(peer)
    with pytest.raises(ValueError, match="NaN"):
        peer.retry(request, {"k": {"x": float("nan")}}, now=0)
    again = peer.retry(request, {"k": {"x": 1}}, now=0)
    assert sent(peer)[0]["params"]["inputResponses"] == {"k": {"x": 1}}
    expect(ResultReceived, feed(peer, answer(again)))


def test_requests_that_wait_for_input_take_their_place() -> None:
    peer = modern_client(client_config(limits=limits(pending=2)))
    request = waiting_for_input(peer)
    peer.request("tools/list", now=0)
    with pytest.raises(LocalProtocolError, match="2 requests"):
        peer.request("tools/list", now=0)
    peer.retry(request, {}, now=0)
    with pytest.raises(LocalProtocolError, match="2 requests"):
        peer.request("tools/list", now=0)


def test_a_reason_that_json_cannot_say_is_told_as_far_as_it_can() -> None:
    peer = modern_client()
    request = peer.request("tools/list", now=0)
    sent(peer)
    peer.cancel(request, now=0, reason="cannot open \udcff")
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (request, EndReason.CANCELLED)
    [told] = sent(peer)
    assert told["params"] == {"requestId": request, "reason": "cannot open ?"}


def test_cancelling_a_request_that_waits_for_input_abandons_it() -> None:
    peer = modern_client()
    request = waiting_for_input(peer)
    peer.cancel(request, now=0)
    assert drain(peer) == []
    with pytest.raises(LocalProtocolError):
        peer.retry(request, {}, now=0)


def test_a_retry_has_a_timeout_of_its_own() -> None:
    peer = modern_client()
    request = waiting_for_input(peer)
    again = peer.retry(request, {}, now=100.0, timeout=3.0)
    sent(peer)
    assert peer.deadline() == 103.0
    peer.handle_timeout(103.0)
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (again, EndReason.TIMED_OUT)
    assert "within 3 seconds" in ended.message
    assert sent(peer)[0]["params"]["requestId"] == again
    assert feed(peer, answer(again)) == []


# A server ends a subscription


def listening(peer: Peer, **settings: Any) -> Any:
    """A listen stream of ours that the server has acknowledged."""
    request = peer.request("subscriptions/listen", LISTEN, now=0, **settings)
    peer.data_to_send()
    [event] = feed(peer, tell("notifications/subscriptions/acknowledged", acknowledged(request)))
    assert isinstance(event, SubscriptionAcknowledged)
    return request


def acknowledged(id: Any) -> dict[str, Any]:
    """The params of an acknowledgement."""
    return {"_meta": {"io.modelcontextprotocol/subscriptionId": id}, **LISTEN}


def test_a_subscription_that_the_server_cancels_ends() -> None:
    peer = modern_client(client_config(limits=limits(farewell=2.0)))
    request = listening(peer)
    cancelled = tell("notifications/cancelled", {"requestId": request, "reason": "bye"})
    assert feed(peer, cancelled, now=10.0) == []
    assert feed(peer, cancelled, now=11.0) == [], "told once is enough"
    changed = tell(CHANGED, acknowledged(request))
    violation = expect(Violation, feed(peer, changed))
    text = f"{CHANGED} came while its subscription is ended"
    assert (violation.code, violation.message) == (-32600, text)
    assert peer.deadline() == 12.0
    peer.handle_timeout(12.0)
    ended = expect(RequestEnded, drain(peer))
    assert (ended.request, ended.reason) == (request, EndReason.CLOSED)
    assert "bye" in ended.message
    assert sent(peer) == [], "there is nothing left to cancel"


def test_the_result_of_a_subscription_that_was_cancelled_still_counts() -> None:
    peer = modern_client()
    request = listening(peer)
    [event] = feed(
        peer, tell("notifications/cancelled", {"requestId": request}), answer(request, {})
    )
    assert isinstance(event, ResultReceived)
    assert (peer.pending, peer.deadline()) == (0, None)


def test_a_server_cancels_nothing_but_subscriptions() -> None:
    peer = modern_client()
    request = peer.request("tools/list", now=0)
    event = expect(Violation, feed(peer, tell("notifications/cancelled", {"requestId": request})))
    assert "tools/list" in event.message
    assert feed(peer, tell("notifications/cancelled", {"requestId": 999})) == []
    expect(ResultReceived, feed(peer, answer(request)))


# Nothing follows the end


@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_nothing_is_told_after_the_end(role: Role) -> None:
    peer = legacy_server() if role is Role.SERVER else legacy_client()
    peer.receive_eof(now=0)
    assert drain(peer) == [ConnectionEnded(reason="closed")]
    messages = [
        tell("notifications/acme"),
        tell("notifications/cancelled", {"requestId": {}}),
        call(1, "ping"),
        call(2, "tools/list"),
        answer(3),
        [call(4, "ping")],
        b"nonsense",
    ]
    assert feed(peer, *messages) == []
    assert sent(peer) == []
    peer.receive_eof(now=0)
    peer.receive_failure(1, now=0, reason=EndReason.CLOSED, message="x")
    assert drain(peer) == []


def test_an_exchange_that_comes_after_the_end_is_still_answered() -> None:
    peer = legacy_server()
    peer.receive_eof(now=0)
    drain(peer)
    for route, message in enumerate([call(1, "tools/list"), tell("notifications/acme"), 7], 1):
        peer.receive(json.dumps(message).encode(), now=0, route=route)
    assert drain(peer) == []
    frames = [(frame.route, frame.kind, frame.ends) for frame in peer.data_to_send()]
    assert frames == [
        (1, FrameKind.ERROR, True),
        (2, FrameKind.ACCEPTED, True),
        (3, FrameKind.ERROR, True),
    ]


def test_the_end_of_a_stream_is_not_the_end_of_a_session() -> None:
    peer = legacy_server()
    peer.receive(json.dumps(call(1, "tools/list")).encode(), now=0, route=3)
    event = expect(RequestReceived, drain(peer))
    peer.receive_eof(now=0, route=3)
    assert drain(peer) == []
    assert peer.respond(event.key, {})


# A Peer leaves its endpoint


def on_endpoint(endpoint: Endpoint, name: str) -> Peer:
    """An initialized server session of an endpoint."""
    peer = Peer(Role.SERVER, server_config(), endpoint=endpoint, session=name)
    for message in (initialize(1, roots={}), tell("notifications/initialized")):
        peer.receive(json.dumps(message).encode(), now=0)
    drain(peer)
    endpoint.data_to_send()
    return peer


def test_a_peer_that_ends_leaves_nothing_in_its_endpoint_but_running_handlers() -> None:
    endpoint = Endpoint()
    leaving, staying = on_endpoint(endpoint, "a"), on_endpoint(endpoint, "b")
    events: dict[Peer, Event] = {}
    for peer in (leaving, staying):
        params = {"name": "x", "_meta": {"progressToken": 1}}
        peer.receive(json.dumps(call(5, "tools/call", params)).encode(), now=0, route=7)
        [events[peer]] = drain(peer)
    key, other = (event.key for event in events.values() if isinstance(event, RequestReceived))
    asked = leaving.request("roots/list", now=0, parent=key)
    kept = staying.request("roots/list", now=0, parent=other)
    leaving.progress(key, 1)
    leaving.receive(json.dumps(call(6, "resources/subscribe", {"uri": "a:b"})).encode(), now=0)
    leaving.end(now=0, reason="deleted")
    leaving.receive(json.dumps(tell("notifications/acme")).encode(), now=0)
    told = drain(staying)
    assert [type(event).__name__ for event in told] == [
        "ResourceSubscribed",
        "RequestEnded",
        "RequestCancelled",
        "ConnectionEnded",
    ]
    assert isinstance(told[1], RequestEnded)
    assert (told[1].request, told[1].reason) == (asked, EndReason.CLOSED)
    assert told[-1] == ConnectionEnded(reason="deleted", session="a")
    assert list(endpoint.outbound) == [kept]
    assert list(endpoint.inbound) == [key, other]
    assert {frame.peer for frame in endpoint.data_to_send()} == {staying._state}
    assert leaving.progress(key, 2) is False
    assert leaving.respond(key, {}) is False
    assert (leaving.in_flight, leaving.finished) == (0, True)
    assert list(endpoint.inbound) == [other]
    assert staying.respond(other, {})


def test_ending_twice_is_ending_once() -> None:
    peer = legacy_server()
    peer.end(now=0, reason="one")
    peer.end(now=0, reason="two")
    assert drain(peer) == [ConnectionEnded(reason="one")]


def test_close_of_one_session_leaves_the_others_of_its_endpoint() -> None:
    endpoint = Endpoint()
    first, second = on_endpoint(endpoint, "a"), on_endpoint(endpoint, "b")
    asked = second.request("roots/list", now=0)
    first.request("roots/list", now=0)
    first.close(now=0)
    expect(RequestEnded, drain(second))
    assert list(endpoint.outbound) == [asked]
    assert endpoint.deadlines.next() is not None
    assert second.notify("notifications/tools/list_changed")
    assert not first.notify("notifications/tools/list_changed")


# A lost session


def test_what_the_server_of_a_lost_session_asked_is_cancelled() -> None:
    peer = legacy_client()
    event = received(peer, call(5, "elicitation/create", {"message": "m"}))
    peer._inbound.restart(now=0)
    assert drain(peer) == [RequestCancelled(key=event.key, reason="the session was lost")]
    assert peer.respond(event.key, {}) is False


def test_a_handshake_that_was_lost_with_its_session_is_forgotten() -> None:
    peer = legacy_client()
    peer._inbound.restart(now=0)
    [first] = sent(peer)
    peer._inbound.restart(now=0)
    [second] = sent(peer)
    result = {
        "protocolVersion": LEGACY_NAMES[0],
        "capabilities": {},
        "serverInfo": {"name": "s", "version": "1"},
    }
    assert feed(peer, answer(first["id"], result)) == []
    assert len(feed(peer, answer(second["id"], result))) == 1
    assert peer.pending == 0


# Answers that are too late for their application


def test_an_error_for_a_cancelled_request_is_dropped_in_a_batch() -> None:
    peer = legacy_server(LEGACY_NAMES[1])
    events = feed(peer, [call(1, "tools/list"), call(2, "tools/list")])
    first, second = (event for event in events if isinstance(event, RequestReceived))
    cancelled = [tell("notifications/cancelled", {"requestId": 1})]
    assert [type(event) for event in feed(peer, cancelled)] == [RequestCancelled]
    assert peer.fail(first.key, ErrorData(-32603, "late")) is False
    assert peer.fail(second.key, ErrorData(-32603, "no")) is True
    [[reply]] = sent(peer)
    assert reply["id"] == 2


def test_a_batch_whose_requests_are_all_cancelled_gets_no_answer() -> None:
    peer = legacy_server(LEGACY_NAMES[1])
    peer.receive(json.dumps([call(1, "tools/list")]).encode(), now=0, route=3)
    drain(peer)
    feed(peer, tell("notifications/cancelled", {"requestId": 1}))
    [frame] = peer.data_to_send()
    assert (frame.route, frame.kind, frame.ends) == (3, FrameKind.ACCEPTED, True)


def test_subscriptions_end_before_the_connection_does() -> None:
    peer = modern_server()
    event = opened(peer)
    peer.end(now=0)
    assert drain(peer) == [
        SubscriptionClosed(event.key, StreamSignal.END),
        ConnectionEnded(reason="closed"),
    ]
    assert sent(peer) == []


def test_raw_that_is_no_json_ends_its_held_request_and_nothing_else() -> None:
    peer = Peer(Role.SERVER, server_config())
    feed(peer, initialize(0, elicitation={}))
    broken = peer.request("elicitation/create", Raw(b'{"mode":}'), now=0)
    good = peer.request("elicitation/create", {"message": "m"}, now=0)
    peer.data_to_send()
    _, ended = feed(peer, tell("notifications/initialized"))
    assert isinstance(ended, RequestEnded)
    assert (ended.request, ended.reason) == (broken, EndReason.REFUSED)
    assert [frame["id"] for frame in sent(peer)] == [good]
