"""HttpServer with a store: what a session may have open, at all workers together."""

from typing import Any

import pytest

from mcpcore import HttpSettings, Limits
from mcpcore.engine.events import RequestCancelled, RequestReceived
from mcpcore.http.storing import SessionCalls
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.http.stored.storebench import (
    CALL,
    StoreBench,
    cursor,
    party,
    settle,
    shown,
    two_in_session,
)
from tests.http.support import Reply, note, request

TWO = HttpSettings(session_streams=2)


def opened(bench: StoreBench, session: str, **options: Any) -> Reply:
    """Ask for a GET stream."""
    return bench.replies[bench.listen(session, **options)]


def assert_full(reply: Reply) -> None:
    assert reply.status == 409
    assert "2 GET streams open already" in reply.json["error"]["message"]
    assert reply.end is not None


# GET streams


def test_get_streams_are_counted_at_all_workers() -> None:
    one, other, session = two_in_session(settings=TWO)
    first = one.listen(session)
    assert opened(other, session).status == 200
    for bench in (one, other):
        assert_full(opened(bench, session))
        assert len(bench.replica(session).readers) == 1
    one.cut(first)
    assert opened(other, session).status == 200
    assert_full(opened(one, session))
    # Another session has streams of its own.
    assert opened(one, one.session()).status == 200


def test_a_get_stream_comes_back_if_there_is_room() -> None:
    one, other, session = two_in_session(settings=TWO)
    first = one.listen(session)
    second = other.listen(session)
    one.cut(first)
    one.server.notify("notifications/x", session=session)
    third = other.listen(session)
    id = cursor(one.replies[first])
    for bench in (one, other):
        assert_full(opened(bench, session, last_event_id=id))
    # It is still there, and so is what went on another one.
    other.cut(third)
    back = opened(one, session, last_event_id=id)
    assert back.status == 200
    # A stream that moves to another worker counts once.
    settle(one, other)
    moved = opened(one, session, last_event_id=cursor(other.replies[second]))
    assert moved.status == 200
    settle(one, other)
    assert other.replies[second].end is not None
    assert_full(opened(other, session))


def die_but_for(alive: StoreBench, first: StoreBench) -> None:
    """Let the leases of all workers end but of one; the first has their clock."""
    for seconds in (6, 5):
        first.now += seconds
        alive.mail()


def test_streams_of_a_dead_worker_make_room() -> None:
    store = StoreSettings(lease=10)
    one, other, session = two_in_session(settings=TWO, store=store)
    for _ in range(2):
        assert opened(other, session).status == 200
    assert_full(opened(one, session))
    die_but_for(one, one)
    assert opened(one, session).status == 200


def test_what_the_store_did_not_hear_of_a_lost_connection_it_hears_later() -> None:
    one, other, session = two_in_session(settings=TWO)
    routes = [one.listen(session) for _ in range(2)]
    one.failing("StreamRelease")
    for route in routes:
        one.cut(route)
    assert_full(opened(other, session))
    assert one.replica(session).busy
    one.recover(2)
    assert not one.replica(session).busy
    for _ in range(2):
        assert opened(other, session).status == 200


def test_a_stream_that_came_back_meanwhile_is_not_let_go() -> None:
    one, other, session = two_in_session(settings=TWO)
    route = one.listen(session)
    one.server.notify("notifications/1", session=session)
    one.failing("StreamRelease")
    one.cut(route)
    one.failing()
    back = opened(one, session, last_event_id=cursor(one.replies[route]))
    one.pass_time(2)
    other.server.notify("notifications/2", session=session)
    settle(other, one)
    assert shown(back)[-1] == "2"


# Requests


def limited(*names: str, count: int = 3, **options: Any) -> list[StoreBench]:
    return party(*names, limits=Limits(in_flight=count), **options)


def received(bench: StoreBench) -> list[RequestReceived]:
    return [event for event in bench.events if isinstance(event, RequestReceived)]


def assert_busy(reply: Reply, count: int = 3) -> None:
    assert reply.status == 200
    assert reply.json["error"] == {
        "code": -32000,
        "message": f"busy: {count} requests are in flight",
    }


def test_requests_are_counted_at_all_workers() -> None:
    one, other = limited("a", "b")
    session = one.session()
    keys = [bench.call(session, id=f"{number}") for number, bench in enumerate([one, other, one])]
    for bench in (one, other):
        assert_busy(bench.post({**CALL, "id": "more"}, mcp_session_id=session))
        # What is never busy:
        assert bench.post(request("ping", id="p"), mcp_session_id=session).json["result"] == {}
        assert bench.post(note("notifications/x"), mcp_session_id=session).status == 202
    # A cancellation gets through from anywhere, and makes room.
    cancel = note("notifications/cancelled", {"requestId": "1"})
    assert one.post(cancel, mcp_session_id=session).status == 202
    settle(one, other)
    assert other.take(RequestCancelled).key == keys[1][1]
    other.server.release(keys[1][1])
    other.pass_time(2)
    _, key = one.call(session, id="now")
    assert_busy(other.post({**CALL, "id": "more"}, mcp_session_id=session))
    one.answer(key)
    one.pass_time(2)
    other.call(session, id="then")
    # Another session has requests of its own.
    one.call(one.session())


def test_requests_of_a_dead_worker_make_room() -> None:
    one, other = limited("a", "b", store=StoreSettings(lease=10))
    session = one.session()
    for number in range(3):
        other.call(session, id=number)
    assert_busy(one.post({**CALL, "id": 7}, mcp_session_id=session))
    die_but_for(one, one)
    one.call(session, id=8)


def test_few_requests_wait_for_nothing() -> None:
    (one,) = limited("a", count=128)
    session = one.session()
    one.slow = True
    calls = [one.call(session, id=number)[1] for number in range(2)]
    assert one.waiting() == []
    one.send({**CALL, "id": 3}, mcp_session_id=session)
    assert one.waiting() == ["SessionCalls"]
    assert one.replica(session).busy
    # Others come while the store is asked; what is there already goes on.
    for id in (4, 5, 6):
        one.send({**CALL, "id": id}, mcp_session_id=session)
    one.server.respond(calls[0], {"content": []})
    assert "RequestReceived" not in one.kinds()
    one.step(10)
    assert [each.id for each in received(one)] == [3]
    assert one.waiting() == ["SessionCalls"]
    one.step()
    assert [each.id for each in received(one)] == [3, 4, 5, 6]
    one.slow = False
    for each in received(one):
        one.server.respond(each.key, {"content": []})
    one.server.respond(calls[1], {"content": []})
    one.pump()
    one.pass_time(5)
    assert one.outcomes(SessionCalls)[-1] == 0
    assert [step.calls for step in one.asked(SessionCalls)] == [4, 6, 0]
    asked = len(one.asked(SessionCalls))
    one.pass_time(100)
    assert len(one.asked(SessionCalls)) == asked


def test_a_share_that_stays_as_it_is_is_told_from_time_to_time() -> None:
    (one,) = limited("a", count=4)
    session = one.session()
    for number in range(4):
        one.call(session, id=number)
    asked = len(one.asked(SessionCalls))
    one.pass_time(25)
    assert len(one.asked(SessionCalls)) == asked
    one.pass_time(10)
    assert len(one.asked(SessionCalls)) == asked + 1


def test_a_share_that_is_far_too_large_is_given_back_at_once() -> None:
    one, other = limited("a", "b", count=4)
    session = one.session()
    keys = [one.call(session, id=number)[1] for number in range(4)]
    for key in keys[:2]:
        one.server.respond(key, {"content": []})
    one.pump()
    assert one.outcomes(SessionCalls)[-1] == 2
    for number in range(2):
        other.call(session, id=f"{number}")
    assert_busy(one.post({**CALL, "id": 7}, mcp_session_id=session), 4)


def test_a_burst_takes_few_steps_and_gives_everything_back() -> None:
    one, other = limited("a", "b", count=640)
    session = one.session()
    one.slow = True
    for number in range(640):
        one.send({**CALL, "id": number}, mcp_session_id=session)
    one.go_on()
    assert len(received(one)) == 640
    assert one.outcomes(SessionCalls)[-1] == 640
    for number in range(10):
        other.call(session, id=f"few {number}")
    assert_busy(other.post({**CALL, "id": "x"}, mcp_session_id=session), 640)
    assert_busy(one.post({**CALL, "id": "x"}, mcp_session_id=session), 640)
    for each in received(one):
        one.server.respond(each.key, {"content": []})
    one.pump()
    one.pass_time(2)
    assert one.outcomes(SessionCalls)[-1] == 0
    assert len(one.asked(SessionCalls)) < 20
    other.call(session, id="y")


@pytest.mark.parametrize("together", [1, 7, 100])
def test_a_burst_at_two_workers_fills_the_limit(together: int) -> None:
    benches = one, other = limited("a", "b", count=640)
    session = one.session()
    other.post(request("ping"), mcp_session_id=session)
    for start in range(0, 800, together):
        for bench in benches:
            bench.slow = True
            for number in range(together):
                bench.send({**CALL, "id": f"{start + number}"}, mcp_session_id=session)
        for bench in benches:
            bench.go_on()
    # A worker has its share in blocks of ten.
    assert 640 - 20 < len(received(one)) + len(received(other)) <= 640


def test_a_small_limit_is_filled_to_the_last() -> None:
    benches = one, other = limited("a", "b", count=4)
    session = one.session()
    other.post(request("ping"), mcp_session_id=session)
    for bench in benches:
        bench.slow = True
        for number in range(2):
            bench.send({**CALL, "id": f"{number}"}, mcp_session_id=session)
    for bench in benches:
        bench.go_on()
    assert [len(received(bench)) for bench in benches] == [2, 2]


def test_what_a_worker_has_is_said_again_from_time_to_time() -> None:
    often = HttpSettings(session_touch=5)
    one, other = limited("a", "b", store=StoreSettings(lease=10), settings=often)
    session = one.session()
    for number in range(3):
        one.call(session, id=number)
    # It was taken for dead, and is not.
    die_but_for(other, one)
    other.post(request("ping"), mcp_session_id=session)
    other.call(session, id=3)
    one.pass_time(8)
    assert one.outcomes(SessionCalls)[-1] == 2


def test_where_the_store_is_away_few_requests_are_served() -> None:
    (one,) = limited("a", count=128)
    session = one.session()
    one.failing("SessionCalls")
    calls = [one.call(session, id=number) for number in range(2)]
    refused = one.post({**CALL, "id": 3}, mcp_session_id=session)
    assert refused.status == 503
    assert "RequestReceived" not in one.kinds()
    one.server.respond(calls[0][1], {"content": []})
    one.pump()
    one.call(session, id=4)
    one.failing()
    one.call(session, id=5)


@pytest.mark.parametrize("closes", [False, True])
def test_a_share_that_the_store_gave_and_said_it_had_not_is_given_back(closes: bool) -> None:
    (one,) = limited("a", count=1)
    session = one.session()
    one.failing("SessionCalls", done=True)
    assert one.post(CALL, mcp_session_id=session).status == 503
    store = one.worker.store
    assert isinstance(store, MemoryStore)
    assert store._row("SELECT worker, calls FROM calls") == ("a", 1)
    assert one.replica(session).busy
    one.failing()
    if closes:
        one.server.close(now=one.now)
        assert not one.server.finished
    one.pass_time(3)
    assert store._row("SELECT worker, calls FROM calls") is None
    assert one.server.finished == closes


@pytest.mark.parametrize("way", ["left", "ended", "closed"])
def test_what_becomes_of_a_request_that_waits_for_its_share(way: str) -> None:
    one, other = limited("a", "b", count=1)
    session = one.session()
    one.slow = True
    route = one.send(CALL, mcp_session_id=session)
    assert one.waiting() == ["SessionCalls"]
    if way == "left":
        one.cut(route)
        one.step()
        # A disconnect is no cancellation.
        assert one.kinds()[-1] == "RequestReceived"
        return
    if way == "ended":
        other.send(method="DELETE", mcp_session_id=session)
        one.step()
        assert one.replies[route].status == 404
        return
    one.server.close(now=one.now)
    one.go_on()
    assert one.replies[route].code == -32000
    assert one.server.finished


def test_a_session_that_is_deleted_has_no_share() -> None:
    one, other = limited("a", "b")
    session = one.session()
    for number in range(3):
        one.call(session, id=number)
    assert_busy(other.post({**CALL, "id": 3}, mcp_session_id=session))
    assert one.asked(SessionCalls)[-1].calls == 3
    one.send(method="DELETE", mcp_session_id=session)
    given_back = one.asked(SessionCalls)[-1]
    assert (given_back.calls, given_back.limit) == (0, 3)
    assert one.outcomes(SessionCalls)[-1] is None
