"""HttpServer, how answers travel: JSON or events, streams, back-pressure, disconnects, time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import HttpChunk, HttpSettings, Limits, LocalProtocolError
from mcpcore.engine.events import (
    EndReason,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    StreamDrained,
    SubscriptionClosed,
    SubscriptionOpened,
)
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from tests.http.support import LEGACY, META, SECURITY, Bench, in_session, make_server, note, request

PROGRESS = {"_meta": {**META, "progressToken": "p"}}
LISTEN = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]}}
CALL = request("tools/call", {"name": "x", "_meta": {"progressToken": "p"}})


def methods(events: list[Any]) -> list[str]:
    return [event.get("method", "answer") for event in events]


# The lazily written head


@pytest.mark.requirement(
    "basic/transports/streamable-http/json-or-sse",
    "basic/transports/streamable-http/response-ends",
    "basic/transports/streamable-http/no-buffering",
)
def test_anything_else_first_makes_an_event_stream() -> None:
    bench = Bench()
    reply = bench.modern("tools/list", PROGRESS)
    key = bench.take(RequestReceived).key
    assert bench.server.progress(key, 1, 2, "half")
    bench.pump()
    of_streams = {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }
    assert reply.headers == {**SECURITY, **of_streams}
    assert reply.end is None
    bench.answer(key, {"tools": []})
    progress, answer = reply.events
    assert progress["params"] == {
        "progressToken": "p",
        "progress": 1,
        "total": 2,
        "message": "half",
    }
    assert answer["id"] == 1
    assert reply.end is not None


@pytest.mark.parametrize("heartbeat", [None, 10.0])
@pytest.mark.parametrize(("delay", "silent"), [(2.0, 1.9), (0.0, 0.0), (None, 1000.0)])
def test_an_answer_that_takes_too_long_becomes_an_event_stream(
    delay: float | None, silent: float, heartbeat: float | None
) -> None:
    bench = Bench(make_server(HttpSettings(json_delay=delay, heartbeat=heartbeat)))
    at_once = bench.modern("server/discover")
    assert at_once.headers["content-type"] == "application/json"
    reply = bench.modern("tools/list")
    if silent:
        bench.pass_time(silent)
    assert reply.head is None
    bench.pass_time(0.2)
    assert (reply.head is not None) is (delay is not None)
    bench.answer(bench.take(RequestReceived).key, {"tools": []})
    kind = "application/json" if delay is None else "text/event-stream"
    assert reply.headers["content-type"] == kind
    assert delay is None or methods(reply.events) == ["answer"]


def test_a_client_that_takes_json_only_gets_nothing_but_its_answer() -> None:
    bench = Bench()
    reply = bench.modern("tools/list", PROGRESS, accept="application/json")
    key = bench.take(RequestReceived).key
    bench.server.progress(key, 1)
    bench.pump()
    bench.pass_time(100)
    assert reply.head is None
    bench.answer(key, {"tools": []})
    assert reply.json["result"]["tools"] == []


# Back-pressure


@given(limits=st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_output_in_pieces_of_any_size(limits: list[int]) -> None:
    bench = Bench()
    route = bench.send_modern("tools/list", PROGRESS)
    key = bench.take(RequestReceived).key
    bench.server.progress(key, 1)
    bench.server.respond(key, {"tools": [], "x": "ä" * 40})
    reply = bench.replies[route]
    turn = 0
    while reply.end is None:
        assert bench.write(route, limits[turn % len(limits)])
        turn += 1
    assert methods(reply.events) == ["notifications/progress", "answer"]
    assert bench.server.data_to_send(route, 100) == []


@pytest.mark.parametrize("limit", [400, 500, 1000, 1500])
def test_a_part_of_a_stream_ends_with_an_event_that_fits(limit: int) -> None:
    """None is torn whose better part would only travel in another write, and held up for it."""
    bench = Bench()
    meta = {**PROGRESS["_meta"], "io.modelcontextprotocol/logLevel": "debug"}
    route = bench.send_modern("tools/list", {"_meta": meta})
    key = bench.take(RequestReceived).key
    for number in range(20):
        bench.server.log(key, "info", f"{number} {'x' * 200}")
    chunks: list[bytes] = []
    while taken := bench.server.data_to_send(route, limit):
        chunks += [each.data for each in taken if isinstance(each, HttpChunk)]
    assert max(map(len, chunks)) <= limit
    assert [chunk.count(b"event: ") for chunk in chunks] == [
        chunk.count(b"\n\n") for chunk in chunks
    ]
    body = b"".join(chunks)
    assert [body.find(b'"%d x' % number) > 0 for number in range(20)] == [True] * 20
    assert bench.server.queued(key) == 0


def test_what_is_not_taken_waits_and_is_reported_when_gone() -> None:
    bench = Bench()
    route = bench.send_modern("tools/list", PROGRESS)
    key = bench.take(RequestReceived).key
    assert bench.server.queued(key) == 0
    bench.server.progress(key, 1)
    assert bench.server.writable() == [route]
    assert bench.server.queued(key) > 0
    assert bench.server.next_event() is None
    bench.write(route, 1 << 20)
    bench.pump()
    assert bench.take(StreamDrained).key == key
    assert bench.server.queued(key) == 0


def test_progress_and_logs_of_a_client_that_does_not_read_are_bounded() -> None:
    bench = Bench(make_server(limits=Limits(queued=1000)))
    meta = {**PROGRESS["_meta"], "io.modelcontextprotocol/logLevel": "debug"}
    route = bench.send_modern("tools/list", {"_meta": meta})
    key = bench.take(RequestReceived).key
    for value in range(1, 500):
        bench.server.progress(key, value)
        bench.server.log(key, "info", "x" * 50)
        # It is told of once; whoever does not take anything costs nothing more.
        assert bench.server.writable() == ([route] if value == 1 else [])
    assert bench.server.queued(key) < 1500
    bench.answer(key, {"tools": []})
    reply = bench.replies[route]
    progress = [
        event["params"]["progress"]
        for event in reply.events
        if "progress" in event.get("params", {})
    ]
    assert progress == sorted(progress)
    assert progress[-1] == 499
    assert reply.events[-1]["id"] == 1


@pytest.mark.parametrize(("heartbeat", "looks"), [(10, 5), (None, 2)])
@pytest.mark.parametrize("began", [0.0, *(17.317 * number for number in range(1, 20))])
def test_a_stream_that_stays_full_is_closed(
    heartbeat: float | None, looks: int, began: float
) -> None:
    settings = HttpSettings(max_queued=500, stall_timeout=40, heartbeat=heartbeat)
    bench = Bench(make_server(settings))
    bench.now = began
    route = bench.send_modern("subscriptions/listen", LISTEN)
    opened = bench.take(SubscriptionOpened)
    assert len(bench.replies[route].events) == 1
    for _ in range(8):
        bench.server.notify("notifications/tools/list_changed")
    server = bench.server
    for step in range(looks):
        assert server.writable() == ([] if step else [route])
        due = server.deadline()
        assert due is not None
        server.handle_timeout(due)
    bench.pump()
    assert bench.take(SubscriptionClosed).key == opened.key
    assert bench.replies[route].cut
    assert len(bench.replies[route].events) == 1
    server.disconnect(route, now=bench.now)
    assert server.exchanges == 0


@pytest.mark.parametrize(("limit", "closed"), [(499, True), (500, False)])
def test_a_stream_may_be_as_full_as_its_limit(limit: int, closed: bool) -> None:
    bench = Bench(make_server(HttpSettings(max_queued=limit, stall_timeout=40, heartbeat=None)))
    route = bench.send_modern("subscriptions/listen", LISTEN)
    opened = bench.take(SubscriptionOpened)
    for _ in range(4):
        bench.server.notify("notifications/tools/list_changed")
    assert bench.server.writable() == [route]
    assert bench.server.queued(opened.key) == 500
    for _ in range(3):
        bench.now += 40
        bench.server.handle_timeout(bench.now)
    bench.pump()
    assert (bench.replies[route].end is not None) is closed
    assert len(bench.replies[route].events) == (1 if closed else 5)


def test_a_stream_that_drains_in_time_is_not_closed() -> None:
    bench = Bench(make_server(HttpSettings(max_queued=500, stall_timeout=40, heartbeat=10)))
    route = bench.send_modern("subscriptions/listen", LISTEN)
    for _ in range(8):
        bench.server.notify("notifications/tools/list_changed")
    for step in range(3):
        assert bench.server.writable() == ([] if step else [route])
        bench.now += 10
        bench.server.handle_timeout(bench.now)
    bench.pump()
    bench.pass_time(100)
    assert bench.replies[route].end is None
    assert len(bench.replies[route].events) == 9


def test_what_is_left_of_a_stream_is_told_of_again() -> None:
    bench = Bench()
    route = bench.send_modern("subscriptions/listen", LISTEN)
    for _ in range(8):
        bench.server.notify("notifications/tools/list_changed")
    assert bench.server.writable() == [route]
    assert bench.server.writable() == []
    assert bench.write(route, 100)
    assert bench.server.writable() == [route]
    assert bench.write(route, 1 << 20)
    assert bench.server.writable() == []
    assert bench.write(route, 100) == []
    bench.server.notify("notifications/tools/list_changed")
    assert bench.server.writable() == [route]


def test_a_large_answer_is_not_cut() -> None:
    bench = Bench(make_server(HttpSettings(max_queued=100, stall_timeout=10, heartbeat=5)))
    routes = [bench.send_modern("tools/list", PROGRESS), bench.send_modern("tools/list")]
    keys = [bench.take(RequestReceived).key for _ in routes]
    bench.server.progress(keys[0], 1)
    for key in keys:
        bench.server.respond(key, {"tools": [], "x": "x" * 5000})
    assert bench.server.writable() == routes
    for _ in range(20):
        bench.now += 5
        bench.server.handle_timeout(bench.now)
    assert bench.server.deadline() is None
    bench.pump()
    for route in routes:
        reply = bench.replies[route]
        assert len(reply.body) > 5000
        assert reply.end is not None
        assert not reply.end.close


def test_a_stream_far_over_its_limit_is_closed_at_once_and_its_request_cancelled() -> None:
    bench = Bench(make_server(HttpSettings(max_queued=100)))
    calling = bench.send_modern("tools/list", PROGRESS)
    key = bench.take(RequestReceived).key
    listening = bench.send_modern("subscriptions/listen", LISTEN)
    session = bench.session()
    get = bench.send(None, method="GET", mcp_session_id=session)
    for _ in range(20):
        bench.server.notify("notifications/x", {"text": "x" * 50}, parent=key)
        bench.server.notify("notifications/tools/list_changed")
        bench.server.writable()
    bench.pump()
    cancelled = bench.take(RequestCancelled)
    assert (cancelled.key, cancelled.reason) == (key, "the client does not read its stream")
    assert bench.kinds().count("SubscriptionClosed") == 1
    for route in (calling, listening, get):
        assert bench.replies[route].cut


# Disconnects


@pytest.mark.requirement("basic/patterns/cancellation/http-disconnect")
def test_a_modern_disconnect_cancels() -> None:
    bench = Bench()
    route = bench.send_modern("tools/list", PROGRESS)
    key = bench.take(RequestReceived).key
    bench.server.disconnect(route, now=bench.now)
    bench.pump()
    cancelled = bench.take(RequestCancelled)
    assert (cancelled.key, cancelled.reason) == (key, "the client disconnected")
    assert bench.server.progress(key, 1) is False
    assert bench.server.respond(key, {"tools": []}) is False
    bench.server.disconnect(route, now=bench.now)
    assert bench.server.writable() == []
    assert bench.server.exchanges == 0


def test_a_disconnect_within_the_body_leaves_nothing_behind() -> None:
    bench = Bench()
    route = bench.send(None, content_length="10", pump=False)
    bench.server.body(route, b"{", end=False, now=bench.now)
    bench.server.disconnect(route, now=bench.now)
    bench.server.body(route, b"}", end=True, now=bench.now)
    bench.pump()
    assert bench.events == []
    assert bench.server.exchanges == 0


def test_a_cancelled_legacy_request_ends_its_exchange_without_an_answer() -> None:
    bench, session = in_session()
    waiting = bench.post(CALL, mcp_session_id=session)
    streaming = bench.post({**CALL, "id": 2}, mcp_session_id=session)
    bench.take(RequestReceived)
    key = bench.take(RequestReceived).key
    bench.server.progress(key, 1)
    bench.pump()
    for id in (1, 2):
        reply = bench.post(
            note("notifications/cancelled", {"requestId": id}), mcp_session_id=session
        )
        assert reply.status == 202
    assert bench.kinds().count("RequestCancelled") == 2
    assert (waiting.status, waiting.body) == (202, b"")
    assert methods(streaming.events) == ["notifications/progress"]
    assert streaming.end is not None


def test_notifications_of_a_request_and_the_place_of_a_cancelled_one() -> None:
    bench = Bench(make_server(HttpSettings(max_calls=1)))
    route = bench.send_modern("tools/list")
    key = bench.take(RequestReceived).key
    bench.server.notify("notifications/custom", {"a": 1}, parent=key)
    bench.pump()
    assert methods(bench.replies[route].events) == ["notifications/custom"]
    bench.server.notify("notifications/custom", {"a": 2}, parent=key)
    assert bench.server.writable() == [route]
    bench.server.disconnect(route, now=bench.now)
    bench.pump()
    assert bench.modern("tools/list").status == 503
    bench.server.release(key)
    assert bench.modern("tools/list").head is None


# Requests of ours, legacy


@pytest.mark.requirement(
    "basic/transports/related-messages",
    "basic/transports/response-comes",
    "basic/transports/stream-kept-open",
)
def test_elicitation_travels_on_the_stream_of_its_call() -> None:
    bench, session = in_session()
    call = bench.post(CALL, mcp_session_id=session)
    get = bench.post(None, method="GET", mcp_session_id=session)
    key = bench.take(RequestReceived).key
    params = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
    asked = bench.server.request("elicitation/create", params, now=bench.now, parent=key)
    bench.pump()
    (question,) = call.events
    assert question["id"] == asked
    answer = {"jsonrpc": "2.0", "id": asked, "result": {"action": "decline"}}
    assert bench.post(answer, mcp_session_id=session).status == 202
    result = bench.take(ResultReceived)
    assert result.request == asked
    bench.answer(key)
    assert methods(call.events) == ["elicitation/create", "answer"]
    assert get.events == []


def test_ids_of_our_requests_are_unique_across_sessions_and_answers_stay_in_theirs() -> None:
    bench = Bench()
    sessions = [bench.session() for _ in range(3)]
    asked = [
        bench.server.request("roots/list", now=bench.now, session=session) for session in sessions
    ]
    assert len(set(asked)) == 3
    foreign: dict[str, Any] = {"jsonrpc": "2.0", "id": asked[0], "result": {"roots": []}}
    assert bench.post(foreign, mcp_session_id=sessions[1]).status == 202
    assert "ResultReceived" not in bench.kinds()
    assert bench.post(foreign, mcp_session_id=sessions[0]).status == 202
    assert bench.take(ResultReceived).request == asked[0]
    bench.server.cancel(asked[1], now=bench.now, reason="enough")
    bench.server.cancel(asked[1], now=bench.now)
    bench.server.cancel("nothing", now=bench.now)
    bench.pump()
    assert bench.take(RequestEnded).reason is EndReason.CANCELLED
    get = bench.post(None, method="GET", mcp_session_id=sessions[1])
    assert methods(get.events) == ["roots/list", "notifications/cancelled"]


def test_a_request_needs_somebody_to_ask() -> None:
    bench = Bench()
    with pytest.raises(LocalProtocolError, match="parent= or session="):
        bench.server.request("roots/list", now=0)
    with pytest.raises(LocalProtocolError, match="no such session"):
        bench.server.request("roots/list", now=0, session="x")
    with pytest.raises(LocalProtocolError, match="no request with key 5"):
        bench.server.request("roots/list", now=0, parent=5)
    with pytest.raises(LocalProtocolError, match="no request with key 5"):
        bench.server.notify("notifications/progress", parent=5)


# Streams of events


@pytest.mark.requirement(
    "basic/transports/no-broadcast",
    "basic/transports/get-stream-unrelated",
    "basic/transports/get-stream-no-response",
    "basic/transports/related-messages",
)
def test_each_message_appears_on_exactly_one_stream() -> None:
    bench, session = in_session()
    gets = [bench.post(None, method="GET", mcp_session_id=session) for _ in range(2)]
    posts = [bench.post({**CALL, "id": id}, mcp_session_id=session) for id in range(1, 4)]
    keys = [bench.take(RequestReceived).key for _ in posts]
    for number, key in enumerate(keys):
        bench.server.progress(key, number + 1)
        bench.server.notify("notifications/custom", {"n": number})
    for key in keys:
        bench.server.respond(key, {"content": []})
    bench.pump()
    for number, post in enumerate(posts):
        progress, answer = post.events
        assert progress["params"]["progress"] == number + 1
        assert answer["id"] == number + 1
    seen = [event["params"]["n"] for get in gets for event in get.events]
    assert seen == [0, 1, 2]
    assert all("result" not in event for get in gets for event in get.events)


@pytest.mark.requirement(
    "basic/index/subscription-id",
    "basic/patterns/subscriptions/requested-only",
    "basic/patterns/subscriptions/acknowledged-first",
    "basic/patterns/subscriptions/server-ends",
)
def test_a_listen_stream() -> None:
    bench = Bench()
    reply = bench.modern("subscriptions/listen", LISTEN, id="sub")
    opened = bench.take(SubscriptionOpened)
    bench.server.notify("notifications/tools/list_changed")
    bench.server.notify("notifications/prompts/list_changed")
    bench.server.notify("notifications/resources/updated", {"uri": "file:///a"})
    bench.server.notify("notifications/resources/updated", {"uri": "file:///b"})
    bench.pump()
    assert methods(reply.events) == [
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
        "notifications/resources/updated",
    ]
    assert all(
        event["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "sub"
        for event in reply.events
    )
    bench.server.narrow(opened.key, SubscriptionFilter(tools_list_changed=True))
    bench.server.notify("notifications/resources/updated", {"uri": "file:///a"})
    bench.server.end_subscription(opened.key)
    bench.pump()
    assert reply.events[-1]["result"]["resultType"] == "complete"
    assert "notifications/resources/updated" not in methods(reply.events[3:])
    assert reply.end is not None
    assert bench.take(SubscriptionClosed).key == opened.key


def test_a_listen_stream_needs_a_client_that_takes_streams() -> None:
    bench = Bench()
    reply = bench.modern("subscriptions/listen", LISTEN, accept="application/json")
    assert (reply.status, reply.json["id"]) == (406, 1)
    assert bench.events == []


def test_logs_to_sessions_and_requests() -> None:
    bench = Bench()
    sessions = [bench.session() for _ in range(2)]
    gets = [bench.post(None, method="GET", mcp_session_id=session) for session in sessions]
    level = request("logging/setLevel", {"level": "error"})
    assert bench.post(level, mcp_session_id=sessions[1]).status == 200
    assert bench.server.log(None, "info", "to all who want it")
    assert not bench.server.log(None, "debug", "to nobody")
    assert not bench.server.log(None, "info", "not wanted", session=sessions[1])
    assert bench.server.log(None, "error", "wanted", session=sessions[1])
    call = bench.post(CALL, mcp_session_id=sessions[0])
    key = bench.take(RequestReceived).key
    assert bench.server.log(key, "warning", {"a": 1}, "logger")
    bench.answer(key)
    data = [[event["params"]["data"] for event in get.events] for get in gets]
    assert data == [["to all who want it"], ["wanted"]]
    assert call.events[0]["params"] == {"level": "warning", "data": {"a": 1}, "logger": "logger"}


def test_what_a_request_wants_to_hear() -> None:
    bench = Bench()
    bench.modern("tools/list", PROGRESS)
    key = bench.take(RequestReceived).key
    assert bench.server.wants_progress(key)
    assert not bench.server.wants_log(key, "error")


# Time


def test_silent_streams_get_comments_and_others_do_not() -> None:
    bench, session = in_session("2025-06-18", server=make_server(HttpSettings(heartbeat=10)))
    get = bench.post(None, method="GET", mcp_session_id=session)
    bench.pass_time(9)
    assert get.comments == b""
    bench.pass_time(2)
    assert get.comments == b":\n\n"
    bench.server.notify("notifications/custom")
    bench.pump()
    before = len(get.body)
    bench.pass_time(10)
    assert len(get.body) == before
    bench.pass_time(10)
    assert get.body.endswith(b"\n\n:\n\n")
    assert methods(get.events) == ["notifications/custom"]


def test_comments_do_not_pile_up() -> None:
    bench, session = in_session(server=make_server(HttpSettings(heartbeat=10)))
    route = bench.send(None, method="GET", mcp_session_id=session)
    for _ in range(20):
        bench.now += 10
        bench.server.handle_timeout(bench.now)
    bench.pump()
    assert bench.replies[route].comments == b":\n\n"


def test_the_deadline_is_the_nearest() -> None:
    timeless = HttpSettings(session_age=None, session_idle=None, session_unused=80, heartbeat=10)
    bench = Bench(make_server(timeless))
    assert bench.server.deadline() is None
    session = bench.session()
    assert bench.server.deadline() == bench.now + 80
    bench.server.request("roots/list", now=bench.now, session=session, timeout=3)
    assert bench.server.deadline() == bench.now + 3
    bench.post(None, method="GET", mcp_session_id=session)
    assert bench.server.deadline() == bench.now + 3
    bench.pass_time(4)
    assert bench.take(RequestEnded).reason is EndReason.TIMED_OUT
    assert bench.server.deadline() == bench.now + 6


# The end


def test_a_graceful_end() -> None:
    bench, session = in_session()
    get = bench.post(None, method="GET", mcp_session_id=session)
    listen = bench.modern("subscriptions/listen", LISTEN)
    working = bench.modern("tools/list", id=2)
    modern_key = bench.take(RequestReceived).key
    legacy = bench.post(CALL, mcp_session_id=session)
    key = bench.take(RequestReceived).key
    idle = bench.session()
    server = bench.server
    server.close(now=bench.now)
    server.close(now=bench.now)
    bench.pump()
    assert listen.events[-1]["result"]["resultType"] == "complete"
    assert listen.end is not None
    assert get.end is not None
    closed = [event.session for event in bench.events if type(event).__name__ == "SessionClosed"]
    assert closed == [idle]
    finished = server.finished
    refused = bench.modern("tools/list", id=3)
    assert (refused.status, refused.code) == (503, 1001)
    assert refused.headers["retry-after"] == "1"
    assert refused.cut
    refused = bench.post(CALL, mcp_session_id=session, mcp_protocol_version=LEGACY)
    assert (refused.status, refused.code) == (503, -32000)
    server.respond(modern_key, {"tools": []})
    server.respond(key, {"content": []})
    bench.pump()
    assert working.json["id"] == 2
    assert legacy.json["id"] == 1
    assert (finished, server.finished) == (False, True)
    assert server.sessions == 0
    bench.pump()
    assert "SessionClosed" in bench.kinds()
