"""Servers with a store: a session that it has ended, wherever and however that is noticed."""

from typing import Any

import pytest

from mcpcore import ExchangeEnded, HttpSettings, SessionClosed, SsePaths
from mcpcore.engine.events import RequestCancelled
from mcpcore.http.storing import NoSession, SessionDelete, SessionTouch
from mcpcore.spec.errors import INVALID_REQUEST
from mcpcore_transports.stores.base import StoreSettings
from tests.http.stored.cluster import EPOCH
from tests.http.stored.storebench import (
    CALL,
    StoreBench,
    at_work,
    cursor,
    one_in_session,
    party,
    settle,
    shown,
    two_in_session,
)
from tests.http.support import Reply, initialize, note, request

PING = request("ping")
INITIALIZED = note("notifications/initialized")
MISSING = "there is no such session (any more)"


def lose(bench: StoreBench, session: str) -> None:
    """The store ends a session, and tells nobody."""
    delete = SessionDelete(token=1, session=session)
    assert bench.worker.do(delete, EPOCH + bench.now)


def closed(bench: StoreBench) -> list[str]:
    return [event.reason for event in bench.events if isinstance(event, SessionClosed)]


def assert_gone(reply: Reply, reason: str = "") -> None:
    assert reply.status == 404
    assert reason in reply.json["error"]["message"]
    assert "busy" not in reply.json["error"]["message"]
    assert reply.end is not None


@pytest.mark.parametrize("way", ["stream", "get", "resume", "delete", "level"])
def test_who_needs_a_session_that_is_gone_gets_404(way: str) -> None:
    one, session = one_in_session()
    first = one.listen(session)
    one.server.notify("notifications/x", session=session)
    one.pump()
    id = cursor(one.replies[first])
    one.cut(first)
    one.post(PING, mcp_session_id=session)
    lose(one, session)
    if way == "stream":
        route, key = one.call(session)
        one.progress(key, 1)
        reply = one.replies[route]
    elif way == "level":
        reply = one.post(request("logging/setLevel", {"level": "error"}), mcp_session_id=session)
    elif way == "delete":
        reply = one.replies[one.send(method="DELETE", mcp_session_id=session)]
    else:
        options = {"last_event_id": id} if way == "resume" else {}
        reply = one.replies[one.listen(session, **options)]
    assert_gone(reply, MISSING if way in ("delete", "level") else "it is not kept any more")
    assert way == "level" or reply.code == INVALID_REQUEST
    assert len(closed(one)) == 1
    assert_gone(one.post(PING, mcp_session_id=session))
    assert one.server.sessions == 0
    assert not one.waiting()
    one.pass_time(60)
    assert not one.waiting()


def test_what_is_refused_for_want_of_a_session_is_reported_without_a_stream() -> None:
    one, session = one_in_session()
    one.server.reports = True
    one.post(PING, mcp_session_id=session)
    one.events.clear()
    lose(one, session)
    route, key = one.call(session)
    one.progress(key, 1)
    assert one.replies[route].status == 404
    told = one.take(ExchangeEnded)
    assert (told.exchange, told.status, told.stream) == (route, 404, None)


@pytest.mark.parametrize("step", ["StreamAppend", "QueuePut", "QueueTake", "SessionCalls"])
def test_a_session_whose_loss_any_step_shows(step: str) -> None:
    one, session = one_in_session()
    get = one.listen(session)
    route, key = one.call(session)
    one.progress(key, 1)
    plain, _ = one.call(session, id=2)
    asked = one.question(key)
    lose(one, session)
    if step == "StreamAppend":
        one.progress(key, 2)
    elif step == "QueuePut":
        one.server.notify("notifications/x", session=session)
    elif step == "QueueTake":
        one.replica(session).wake(next(iter(one.replica(session).readers)))
    else:
        for number in range(20):
            one.send({**CALL, "id": f"more {number}"}, mcp_session_id=session)
    one.pump()
    assert closed(one) == ["it is not kept any more"]
    assert one.replies[get].end is not None
    errors = [event["error"]["message"] for event in one.replies[route].events if "error" in event]
    assert errors == ["the session has ended: it is not kept any more"]
    assert one.replies[route].end is not None
    assert_gone(one.replies[plain], "the session has ended: it is not kept any more")
    assert one.kinds().count("RequestCancelled") >= 2
    assert not one.server.respond(key, {"content": []})
    assert_gone(one.post({"jsonrpc": "2.0", "id": asked, "result": {}}, mcp_session_id=session))


def test_nothing_more_is_read_of_a_stream_whose_session_ends_while_it_is_looked_for() -> None:
    one, other, session, route, _ = at_work()
    one.cut(route)
    id = cursor(one.replies[route], 0)
    one.slow = True
    again = one.listen(session, last_event_id=id, pump=False)
    assert one.waiting() == ["StreamRead"]
    other.send(method="DELETE", mcp_session_id=session)
    one.mail()
    one.write(again, 10)  # a part of the refusal
    assert one.waiting().count("StreamRead") == 1
    one.step(10)
    one.write(again, 10)
    assert "StreamRead" not in one.waiting()
    one.go_on()
    assert_gone(one.replies[again], "the session has ended: ended by the client")


def test_a_session_that_made_room_is_gone_at_all_workers() -> None:
    one, other, session = two_in_session(store=StoreSettings(lease=1e9, sessions_per_client=2))
    for bench in (one, other):
        bench.post(PING, mcp_session_id=session)
    plain, _ = one.call(session)
    for _ in range(2):
        fresh = other.session()
        other.post(PING, mcp_session_id=fresh)
    settle(one, other)
    for bench in (one, other):
        assert closed(bench) == ["it made room for others"]
        assert_gone(bench.post(PING, mcp_session_id=session))
    assert_gone(one.replies[plain], "the session has ended: it made room for others")
    assert one.take(RequestCancelled)


def test_handshakes_end_no_session_that_is_at_work() -> None:
    one, other, session = two_in_session(store=StoreSettings(lease=1e9, sessions_per_client=5))
    get = one.listen(session)
    route, key = one.call(session)
    one.progress(key, 1)
    for number in range(40):
        made = other.post(initialize()).headers["mcp-session-id"]
        (one if number % 2 else other).post(INITIALIZED, mcp_session_id=made)
        settle(one, other)
    # Whoever comes meanwhile gets the first call, too.
    newcomer = one.session()
    for _ in range(3):
        other.session()
    settle(one, other)
    assert one.post(PING, mcp_session_id=newcomer).status == 200
    assert one.replies[get].end is None
    one.answer(key)
    assert shown(one.replies[route]) == [1, "done"]
    assert one.post(PING, mcp_session_id=session).status == 200
    # As many as there may be, whatever each worker knows.
    assert one.server.sessions <= 5
    assert other.server.sessions <= 5


@pytest.mark.parametrize(
    ("lives", "seconds"), [({"absolute": 5}, 5), ({"idle": 5, "unused": 5}, 5)]
)
def test_a_session_that_has_expired_is_gone_at_once(lives: dict[str, Any], seconds: int) -> None:
    one, other, session = two_in_session(store=StoreSettings(lease=1e9, **lives))
    for bench in (one, other):
        assert bench.post(PING, mcp_session_id=session).status == 200
    plain, _ = one.call(session)
    for bench in (one, other):
        bench.now += seconds
        assert_gone(bench.post(PING, mcp_session_id=session))
        assert closed(bench) == ["it has expired"]
    assert_gone(one.replies[plain], "the session has ended: it has expired")


def test_streams_of_a_session_that_has_expired_end_with_the_next_heartbeat() -> None:
    one, _ = party("a", "b", store=StoreSettings(lease=1e9, absolute=5))
    session = one.session()
    get = one.listen(session)
    one.pass_time(16)
    assert one.replies[get].end is not None
    assert closed(one) == ["it has expired"]


def test_a_session_in_use_is_told_of_in_time() -> None:
    one, session = one_in_session(store=StoreSettings(lease=1e9, idle=5, unused=5))
    for _ in range(20):
        one.pass_time(1)
        assert one.post(PING, mcp_session_id=session).status == 200
    # No more often than it takes.
    assert len(one.asked(SessionTouch)) <= 8


def test_a_session_that_another_worker_uses_has_not_expired() -> None:
    one, other, session = two_in_session(store=StoreSettings(lease=1e9, idle=5, unused=5))
    for _ in range(4):
        other.now += 2
        assert other.post(PING, mcp_session_id=session).status == 200
    one.now = other.now
    assert one.post(PING, mcp_session_id=session).status == 200
    assert not closed(one)


def test_who_comes_back_for_an_answer_learns_that_the_session_has_ended() -> None:
    one, other, session, route, key = at_work(store=StoreSettings(lease=1e9, sessions_per_client=1))
    one.cut(route)
    back = other.replies[other.listen(session, last_event_id=cursor(one.replies[route]))]
    one.progress(key, 2)
    settle(one, other)
    assert shown(back)[-1] == 2
    other.session()
    settle(one, other)
    assert back.events[-1]["error"]["message"] == "the session has ended: it made room for others"
    assert back.end is not None


def test_an_outcome_that_comes_when_the_session_is_known_no_more() -> None:
    (one,) = party("a")
    one.stored.stored(12345, NoSession(), now=1.0)
    session = one.session()
    one.slow = True
    route, key = one.call(session)
    one.progress(key, 1)
    one.listen(session)
    token = one.worker.asked[0].token
    one.stored.stored(token, NoSession(), now=1.0)
    one.go_on()
    assert_gone(one.replies[route])
    assert len(closed(one)) == 1


def test_sessions_of_http_sse_are_bounded_here() -> None:
    settings = HttpSettings(sse=SsePaths(), max_sessions=4, sessions_per_client=2)
    (one,) = party("a", settings=settings)
    sessions = [one.session() for _ in range(3)]
    calls = [one.call(session) for session in sessions]

    def opened(peer: str) -> Reply:
        return one.replies[one.send(method="GET", path="/sse", peer=peer)]

    mine = [opened("192.0.2.1:1") for _ in range(4)]
    assert [each.end is not None for each in mine] == [True, True, False, False]
    others = [opened(f"192.0.2.{number}:1") for number in range(2, 6)]
    ended = [each.end is not None for each in mine[2:] + others]
    assert ended == [True, True, False, False, False, False]
    # They take nothing from those in the store, which are at work.
    for route, key in calls:
        one.answer(key)
        assert one.replies[route].status == 200
