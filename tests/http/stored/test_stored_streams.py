"""HttpServer with a store, streams: written down before they are sent, picked up at any worker."""

import sqlite3
from contextlib import closing

import pytest
from msgspec import structs

from mcpcore.engine.events import EndReason, RequestEnded, RequestReceived, StreamDrained
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import (
    LogPage,
    QueueTake,
    SessionTouch,
    Step,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamRead,
    StreamRelease,
)
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.http.stored.cluster import EPOCH, home_of
from tests.http.stored.storebench import (
    CALL,
    CUT,
    StoreBench,
    at_work,
    cursor,
    one_in_session,
    party,
    settle,
    shown,
    two_in_session,
)
from tests.http.support import LEGACY, MODERN, Reply, note, request

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
every_revision = pytest.mark.parametrize("version", NAMES)
UNPRIMED = "2025-06-18"
PLAIN = HttpSettings(heartbeat=None)


def assert_clear(reply: Reply, status: int, text: str) -> None:
    assert reply.status == status
    assert text in reply.json["error"]["message"]


def tell(bench: StoreBench, session: str, *numbers: int) -> None:
    """Say something that belongs to no request."""
    for number in numbers:
        bench.server.notify(f"notifications/{number}", session=session)
    bench.pump()


# The stream of a request


@every_revision
def test_events_keep_their_places_whatever_is_learned_first(version: str) -> None:
    one, session = one_in_session(version)
    one.slow = True
    route, key = one.call(session)
    one.progress(key, 1, 2)
    one.step()
    reply = one.replies[route]
    assert one.waiting() == ["StreamAppend"] * 2
    one.worker.carry_out(2, EPOCH + one.now)
    appended = [position for _, position in one.worker.outcomes]
    one.worker.learn(1, one.now)
    one.pump()
    assert shown(reply) == []
    one.worker.learn(0, one.now)
    one.pump()
    assert shown(reply) == [1, 2]
    assert [int(id.split(".")[1]) for id in reply.ids][-2:] == appended


@every_revision
def test_an_event_leaves_when_it_is_written_down(version: str) -> None:
    one, session = one_in_session(version)
    one.slow = True
    route, key = one.call(session)
    assert one.waiting() == []
    one.progress(key, 1, 2)
    reply = one.replies[route]
    assert one.waiting() == ["StreamBegin"]
    assert reply.head is None
    one.step()
    primed = version == LEGACY
    assert one.waiting() == ["StreamAppend"] * 2
    assert [event.data for event in reply.raw_events] == [""] * primed
    one.progress(key, 3)
    one.step(1)
    # One round after the other.
    assert shown(reply) == [1]
    assert one.waiting() == ["StreamAppend"]
    one.server.respond(key, {"content": []})
    one.step(1)
    assert shown(reply) == [1, 2]
    assert one.waiting() == ["StreamAppend"] * 2
    assert not reply.end
    one.step(2)
    assert shown(reply) == [1, 2, 3, "done"]
    assert reply.end
    positions = [id.split(".")[1] for id in reply.ids]
    assert positions == [*"01234"][not primed :]
    assert len({id.split(".")[0] for id in reply.ids}) == 1
    assert one.asked(StreamBegin)[0].request == b"1"
    assert not one.replica(session).writers


def test_an_answer_that_is_all_there_is_costs_the_store_nothing() -> None:
    one, session = one_in_session()
    one.post(request("ping"), mcp_session_id=session)
    before = len(one.worker.log)
    route, key = one.call(session)
    one.answer(key)
    assert one.replies[route].status == 200
    assert one.replies[route].json["result"] == {"content": []}
    assert len(one.worker.log) == before


@pytest.mark.parametrize("version", ["2025-03-26", UNPRIMED])
def test_a_client_that_leaves_without_an_id_can_ask_for_nothing(version: str) -> None:
    one, session = one_in_session(version)
    one.slow = True
    route, key = one.call(session)
    one.progress(key, 1)
    one.cut(route)
    one.step(10)
    one.step(10)
    assert len(one.asked(StreamBegin)) == 1
    assert [(step.data, step.ends) for step in one.asked(StreamAppend)] == [(b"", True)]
    asked = one.server.request("roots/list", now=one.now, parent=key)
    one.slow = False
    stream = one.replies[one.listen(session)]
    assert [event["id"] for event in stream.events] == [asked]
    one.answer(key)
    assert len(one.asked(StreamAppend)) == 1
    assert not one.replica(session).writers


def test_a_client_that_leaves_before_anything_is_sent_to_it() -> None:
    one, session = one_in_session(UNPRIMED)
    route, key = one.call(session)
    one.slow = True
    assert one.server.progress(key, 1)
    one.step()  # begun
    asked = one.server.request("roots/list", now=one.now, parent=key)
    one.server.writable()
    one.server.disconnect(route, now=one.now)
    one.replies[route].end = CUT
    one.go_on()
    last = one.asked(StreamAppend)[-1]
    assert (last.data, last.ends) == (b"", True)
    # Whatever still waits for an answer goes another way.
    stream = one.replies[one.listen(session)]
    assert [event["id"] for event in stream.events] == [asked]


@every_revision
@pytest.mark.parametrize("late", [False, True])
def test_a_stream_that_is_begun_late_ends_though_its_session_is_of_no_use(
    version: str, late: bool
) -> None:
    quick = HttpSettings(session_replica_idle=1, store_timeout=10, heartbeat=None)
    one, session = one_in_session(version, settings=quick)
    route, key = one.call(session)
    one.slow = True
    assert one.server.progress(key, 1)
    one.server.writable()
    one.server.disconnect(route, now=one.now)
    one.replies[route].end = CUT
    one.answer(key)
    assert one.waiting() == ["StreamBegin"]
    one.pass_time(5)
    assert one.server.sessions == 1
    if late:
        # Whether it was done is not known; it is, after that.
        one.pass_time(6)
        assert one.waiting()[0] == "StreamBegin"
    one.go_on()
    ended = one.asked(StreamAppend)[-1]
    assert (ended.stream, ended.ends) == (one.asked(StreamBegin)[-1].stream, True)
    one.pass_time(30)
    assert one.server.sessions == 0
    store = one.worker.store
    assert isinstance(store, MemoryStore)
    assert store._value("SELECT count(*) FROM streams WHERE NOT ended") == 0
    assert store._value("SELECT count(*) FROM calls") == 0


# Picking up


@every_revision
def test_a_stream_goes_on_at_another_worker(version: str) -> None:
    one, there = party("a", "b")
    session = one.session(version)
    route, key = one.call(session)
    one.progress(key, 1, 2)
    first = one.replies[route]
    id = cursor(first, -2)
    one.cut(route)
    one.progress(key, 3)
    resumed = there.replies[there.listen(session, last_event_id=id)]
    assert shown(resumed) == [2, 3]
    assert resumed.ids[0] == cursor(first)
    one.progress(key, 4)
    settle(one, there)
    asked = one.server.request("roots/list", now=one.now, parent=key)
    one.server.respond(key, {"content": []})
    settle(one, there)
    assert shown(resumed) == [2, 3, 4, "roots/list", "done"]
    assert resumed.events[3]["id"] == asked
    assert resumed.end is not None
    # It can be asked for again, all of it.
    again = there.replies[there.listen(session, last_event_id=id)]
    assert again.body == resumed.body
    assert again.end is not None
    assert not there.replica(session).readers


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_stream_has_one_connection(elsewhere: bool) -> None:
    one, other = party("a", "b")
    there = other if elsewhere else one
    session = one.session()
    route, key = one.call(session)
    one.progress(key, 1)
    resumed = there.replies[there.listen(session, last_event_id=cursor(one.replies[route]))]
    settle(one, other)
    first = one.replies[route]
    assert first.cut
    one.progress(key, 2)
    settle(one, other)
    assert shown(first) == [1]
    assert shown(resumed) == [2]
    back = one.replies[one.listen(session, last_event_id=cursor(first))]
    settle(one, other)
    assert resumed.cut
    one.server.respond(key, {"content": []})
    settle(one, other)
    assert shown(back) == [2, "done"]
    assert shown(resumed) == [2]


def test_an_old_note_of_a_move_closes_nothing() -> None:
    one, other, session, route, key = at_work()
    id = cursor(one.replies[route])
    other.listen(session, last_event_id=id)
    one.slow = True
    again = one.replies[one.listen(session, last_event_id=id)]
    one.step()  # the read; it claims now
    one.mail()
    one.slow = False
    one.progress(key, 2)
    settle(one, other)
    assert again.end is None
    assert shown(again) == [2]


def test_a_wake_that_comes_before_the_answer_to_the_read() -> None:
    one, other, session, route, key = at_work()
    resumed = other.replies[other.listen(session, last_event_id=one.replies[route].ids[0])]
    assert shown(resumed) == [1]
    other.slow = True
    one.progress(key, 2)
    other.mail()
    other.step()  # the read brings 2
    assert other.waiting() == ["StreamRead"]
    other.worker.carry_out(1, EPOCH + other.now)  # that finds nothing, and nobody knows yet
    one.progress(key, 3)
    other.mail()
    other.go_on()
    assert shown(resumed) == [1, 2, 3]


def test_a_wake_that_comes_before_the_answer_to_the_take() -> None:
    one, other, session = two_in_session()
    other.slow = True
    route = other.listen(session)
    other.step()  # the session
    other.look()
    other.worker.carry_out(2, EPOCH + other.now)  # begun, nothing there
    tell(one, session, 1)
    other.mail()
    other.go_on()
    assert shown(other.replies[route]) == ["1"]


def test_what_the_worker_took_that_had_the_stream_before() -> None:
    one, other, session = two_in_session()
    route = one.listen(session)
    tell(one, session, 1)
    id = cursor(one.replies[route])
    other.slow = True
    back = other.listen(session, last_event_id=id)
    other.step()  # the session
    other.step()  # the read; nothing more is there
    tell(one, session, 2)  # taken here, as nobody else has claimed the stream
    one.slow = True
    other.step()  # the claim
    one.slow = False
    one.server.notify("notifications/3", session=session)
    settle(one)
    other.slow = False
    settle(other, one)
    assert shown(other.replies[back]) == ["2", "3"]


def test_what_is_not_kept_any_more() -> None:
    one, other, session = two_in_session(store=StoreSettings(lease=1e9, events=3))
    route, key = one.call(session)
    one.progress(key, *range(1, 8))
    ids = one.replies[route].ids
    assert_clear(other.replies[other.listen(session, last_event_id=ids[2])], 410, "not kept")
    assert not other.asked(StreamClaim)
    assert one.replies[route].end is None
    assert shown(other.replies[other.listen(session, last_event_id=ids[5])]) == [6, 7]
    assert not other.replica(session).exchanges.keys() - {2}


def test_a_stream_that_nobody_knows_any_more() -> None:
    one, other, session, route, key = at_work(store=StoreSettings(lease=1e9, age=100))
    one.answer(key)
    other.now += 201
    assert_clear(
        other.replies[other.listen(session, last_event_id=one.replies[route].ids[0])], 410, "kept"
    )


@every_revision
def test_a_stream_whose_worker_is_gone_ends_in_one_error(version: str) -> None:
    one, other, session = two_in_session(version)
    route, key = one.call(session, id="my call")
    one.progress(key, 1, 2)
    resumed = other.replies[other.listen(session, last_event_id=cursor(one.replies[route], -2))]
    assert shown(resumed) == [2]
    other.worker.store.leave("a")
    settle(other)
    assert shown(resumed) == [2, "error"]
    error = resumed.events[-1]
    assert error["id"] == "my call"
    assert "gone" in error["error"]["message"]
    assert resumed.end is not None
    id = cursor(one.replies[route])
    assert shown(other.replies[other.listen(session, last_event_id=id)]) == ["error"]
    assert len(other.asked(StreamAppend)) == 1
    # Should it be alive after all, it can add nothing.
    one.progress(key, 3)
    assert one.outcomes(StreamAppend)[-1] is None
    assert one.replies[route].end is not None


def test_nothing_is_read_while_an_orphan_gets_its_end() -> None:
    one, other, session, route, _ = at_work()
    other.worker.store.leave("a")
    other.slow = True
    reply = other.replies[other.listen(session, last_event_id=cursor(one.replies[route]))]
    other.step()  # the session
    other.step(2)  # what its stream has, and what is announced to all
    assert other.waiting() == ["StreamClaim", "StreamAppend"]
    other.slow = False
    settle(other)
    assert shown(reply) == ["error"]
    assert len(other.asked(StreamRead)) == 2


def test_an_orphan_that_two_find() -> None:
    one, two, three = party("a", "b", "c")
    session = one.session()
    route, key = one.call(session)
    one.progress(key, 1)
    id = cursor(one.replies[route])
    two.worker.store.leave("a")
    two.slow = three.slow = True
    replies = [bench.replies[bench.listen(session, last_event_id=id)] for bench in (two, three)]
    for _ in range(5):
        for bench in (two, three):
            bench.step()
    three.slow = two.slow = False
    settle(two, three)
    # The second has taken the stream over.
    assert shown(replies[1]) == ["error"]
    assert [outcome for bench in (two, three) for outcome in bench.outcomes(StreamAppend)] == [
        2,
        None,
    ]


def test_a_batch_whose_worker_is_gone() -> None:
    one, other, session = two_in_session("2025-03-26")
    batch = [{**CALL, "id": 1}, note("notifications/x"), {**CALL, "id": "b"}]
    route = one.send(batch, mcp_session_id=session)
    key = next(event.key for event in one.events if getattr(event, "id", None) == 1)
    one.progress(key, 1)
    id = cursor(one.replies[route])
    other.worker.store.leave("a")
    reply = other.replies[other.listen(session, last_event_id=id)]
    (errors,) = reply.events
    assert [error["id"] for error in errors] == [1, "b"]
    assert all("gone" in error["error"]["message"] for error in errors)


def test_a_reader_that_does_not_keep_up() -> None:
    one, other, session, route, key = at_work(
        settings=HttpSettings(max_queued=1000, heartbeat=None)
    )
    id = cursor(one.replies[route])
    one.cut(route)
    text = "x" * 300
    for number in range(2, 30):
        one.server.progress(key, number, None, text)
        one.pump()
    other.worker.carry_out(0, 0)
    there = other.stored
    slow = other.listen(session, last_event_id=id, pump=False)
    reply = other.replies[slow]
    for _ in range(50):
        other.work()
        other.write(slow, 400)
    assert there._exchanges[slow].size < 300_000
    assert {step.limit for step in other.asked(StreamRead)} == {256 * 1024}
    other.pump()
    assert shown(reply) == [*range(2, 30)]


def test_pages_are_read_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore.http.server.stored.streams.PAGE", 1000)
    monkeypatch.setattr("mcpcore.http.server.stored.replica.PAGE", 1000)
    one, other, session, route, key = at_work(
        settings=HttpSettings(max_queued=1500, heartbeat=None)
    )
    id = cursor(one.replies[route])
    one.cut(route)
    for number in range(2, 40):
        one.server.progress(key, number, None, "x" * 300)
        one.pump()
    other.post(request("ping"), mcp_session_id=session)
    slow = other.listen(session, last_event_id=id, pump=False)
    for _ in range(10):
        other.work()
    exchange = other.stored._exchanges[slow]
    waits = exchange.size
    assert 1500 < waits < 3500
    assert len(other.asked(StreamRead)) == 2
    for taken in (10, 20, 400):  # parts of one event, and the rest of it with some of the next
        waits -= taken
        other.write(slow, taken)
        assert exchange.size == waits
    other.pump()
    assert shown(other.replies[slow]) == [*range(2, 40)]
    assert len(other.asked(StreamRead)) > 10
    assert other.asked(QueueTake) == [], "it answers a request: nothing is queued for it"


# Clients that do not read


def test_a_producer_waits_for_its_client() -> None:
    one, session = one_in_session(settings=HttpSettings(max_queued=1000, heartbeat=None))
    route, key = one.call(session)

    def work() -> None:
        one.work()
        one.look()

    for number in range(1, 8):
        one.server.notify("notifications/n", {"n": number, "text": "x" * 200}, parent=key)
        one.server.writable()
        work()
    assert one.server.queued(key) > 0
    assert len(one.asked(StreamAppend)) < 6
    one.pump()
    assert one.take(StreamDrained).key == key
    assert [event["params"]["n"] for event in one.replies[route].events] == [*range(1, 8)]


def test_a_client_that_reads_nothing_loses_its_connection_and_no_event() -> None:
    one, other, session, route, key = at_work(
        settings=HttpSettings(max_queued=1000, heartbeat=None)
    )
    for number in range(1, 40):
        one.server.notify("notifications/n", {"n": number, "text": "x" * 200}, parent=key)
        one.look()
        one.server.writable()
        one.work()
    one.pump()
    reply = one.replies[route]
    assert reply.cut
    id = cursor(reply)
    resumed = other.replies[other.listen(session, last_event_id=id)]
    assert [event["params"]["n"] for event in resumed.events] == [*range(1, 40)]


# What belongs to no request


@every_revision
def test_each_message_is_on_one_stream(version: str) -> None:
    one, other, session = two_in_session(version)
    tell(one, session, 1, 2)
    first = one.listen(session)
    settle(one, other)
    assert shown(one.replies[first]) == ["1", "2"]
    second = other.listen(session)
    settle(one, other)
    tell(one, session, 3)
    settle(one, other)
    tell(other, session, 4)
    settle(one, other)
    assert shown(one.replies[first]) == ["1", "2"]
    assert shown(other.replies[second]) == ["3", "4"]
    other.cut(second)
    settle(one, other)
    tell(other, session, 5)
    settle(one, other)
    assert shown(one.replies[first]) == ["1", "2", "5"]
    resumed = other.listen(session, last_event_id=other.replies[second].ids[-2])
    settle(one, other)
    tell(one, session, 6)
    settle(one, other)
    assert shown(other.replies[resumed]) == ["4", "6"]


def test_messages_that_were_on_their_way_to_a_dead_connection() -> None:
    one, other, session = two_in_session()
    route = one.listen(session)
    tell(one, session, 1)
    id = cursor(one.replies[route])
    one.slow = True
    tell(one, session, 2)
    back = other.listen(session, last_event_id=id)
    one.step(1)  # the put
    one.mail()
    one.slow = False
    settle(one, other)
    assert shown(other.replies[back]) == ["2"]
    assert one.replies[route].end is not None


def test_what_was_taken_for_a_client_with_an_id_waits_for_it_alone() -> None:
    one, session = one_in_session()
    route = one.listen(session)
    id = cursor(one.replies[route])  # which is all that came
    one.server.notify("notifications/1", session=session)
    for _ in range(4):
        one.work()
        one.mail()
    one.cut(route)  # the message has not been written
    assert shown(one.replies[one.listen(session)]) == []
    assert shown(one.replies[one.listen(session, last_event_id=id)]) == ["1"]


def test_what_is_taken_after_a_client_without_an_id_has_left() -> None:
    one, session = one_in_session(UNPRIMED)
    tell(one, session, 1)
    one.slow = True
    route = one.listen(session)
    one.look()
    assert one.waiting() == ["StreamBegin", "QueueTake"]
    one.worker.carry_out(2, EPOCH + one.now)
    one.server.disconnect(route, now=one.now)
    one.replies[route].end = one.replies[route].end or object()  # type: ignore[assignment]
    one.go_on()
    assert shown(one.replies[one.listen(session)]) == ["1"]


@pytest.mark.parametrize("unread", [False, True])
@pytest.mark.parametrize("done", [False, True])
def test_what_was_taken_without_a_word_of_it_is_given_to_the_next(done: bool, unread: bool) -> None:
    one, session = one_in_session(UNPRIMED)
    one.failing("QueueTake", *["StreamRead"] * unread, done=done)
    tell(one, session, 1, 2)
    first = one.replies[one.listen(session)]
    assert first.status == 503
    assert one.replica(session).repeats is unread
    one.recover(1.5)
    assert not one.replica(session).queue
    tell(one, session, 3)
    assert shown(one.replies[one.listen(session)]) == ["1", "2", "3"]


@pytest.mark.parametrize("leaves", [False, True])
def test_what_was_taken_too_late_is_given_to_the_next(leaves: bool) -> None:
    one, session = one_in_session(UNPRIMED)
    tell(one, session, 1, 2)
    one.slow = True
    route = one.listen(session)
    assert one.waiting() == ["StreamBegin", "QueueTake"]
    if leaves:
        one.cut(route)
    one.pass_time(PLAIN.store_timeout + 1)
    assert one.replies[route].end is not None
    one.go_on()
    assert shown(one.replies[one.listen(session)]) == ["1", "2"]
    assert not one.replica(session).queue


@pytest.mark.parametrize(
    ("taken", "first", "rest"),
    [(0, "", "123"), (100, "1", "23"), (1000, "123", "")],
)
def test_where_nothing_has_an_id_only_what_has_not_left_is_given_to_the_next(
    taken: int, first: str, rest: str
) -> None:
    one, session = one_in_session(UNPRIMED, settings=structs.replace(PLAIN, resumable=False))
    tell(one, session, 1, 2, 3)
    one.slow = True
    route = one.listen(session, pump=False)
    one.work()
    one.write(route, taken)
    assert shown(one.replies[route]) == [*first]
    one.slow = False
    one.cut(route)
    assert shown(one.replies[one.listen(session)]) == [*rest]


def test_what_leaves_before_the_end_of_a_stream_is_not_given_to_the_next() -> None:
    one, other, session = two_in_session(UNPRIMED)
    tell(one, session, 1, 2)
    route = one.listen(session, pump=False)
    one.work()
    one.server.close(now=one.now)
    settle(one, other)
    assert shown(one.replies[route]) == ["1", "2"]
    assert one.replies[route].end is not None
    assert shown(other.replies[other.listen(session)]) == []


def test_what_belongs_to_no_request_has_names_of_its_own_when_a_view_was_forgotten() -> None:
    one, other, session = two_in_session(settings=PLAIN)
    stream = other.replies[other.listen(session)]
    tell(one, session, 1, 2)
    one.pass_time(PLAIN.session_replica_idle + 1)
    assert home_of(one.stored)._replicas.replica(session) is None
    tell(one, session, 3, 4)
    settle(one, other)
    assert shown(stream) == ["1", "2", "3", "4"]


def test_requests_for_which_there_is_no_room_end() -> None:
    one, session = one_in_session(store=StoreSettings(lease=1e9, queue_bytes=300))
    asked = [
        one.server.request("roots/list", now=one.now, session=session, timeout=None)
        for _ in range(8)
    ]
    one.pump()
    refused = [event.request for event in one.events if isinstance(event, RequestEnded)]
    assert all(
        event.reason is EndReason.REFUSED for event in one.events if isinstance(event, RequestEnded)
    )
    stream = one.replies[one.listen(session)]
    assert [event["id"] for event in stream.events] + refused == asked
    assert refused


def test_what_waits_here_for_the_store_is_bounded() -> None:
    one, session = one_in_session(settings=HttpSettings(session_queue=1000))
    one.slow = True
    asked = [
        one.server.request("roots/list", now=one.now, session=session, timeout=None)
        for _ in range(3)
    ]
    tell(one, session, *range(1, 100))
    one.go_on()
    # The first was on its way; then notifications go before requests.
    stream = one.replies[one.listen(session)]
    got = [event.get("id") for event in stream.events]
    assert [id for id in got if id] == asked
    assert 5 < len(got) < 20
    assert not any(isinstance(event, RequestEnded) for event in one.events)
    one.slow = True
    more = [
        one.server.request("roots/list", now=one.now, session=session, timeout=None)
        for _ in range(40)
    ]
    one.go_on()
    refused = [event.request for event in one.events if isinstance(event, RequestEnded)]
    assert refused
    assert refused == more[1 : 1 + len(refused)]


# Polling


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_polled_stream(elsewhere: bool) -> None:
    one, other, session = two_in_session()
    route, key = one.call(session)
    one.slow = True
    assert one.server.progress(key, 1)
    assert one.server.close_stream(key, retry=2, now=one.now)
    one.step()
    one.step()
    reply = one.replies[route]
    assert shown(reply) == [1]
    assert reply.end is not None
    assert reply.raw_events[-1].retry == 2000
    one.slow = False
    assert not one.server.close_stream(key, now=one.now)
    one.progress(key, 2)
    there = other if elsewhere else one
    resumed = there.replies[there.listen(session, last_event_id=cursor(reply))]
    assert shown(resumed) == [2]
    settle(one, other)
    # The worker that has the connection is asked to close it.
    assert one.server.close_stream(key, retry=3, now=one.now)
    settle(one, other)
    assert resumed.end is not None
    assert resumed.raw_events[-1].retry == 3000
    one.server.respond(key, {"content": []})
    settle(one, other)
    last = there.replies[there.listen(session, last_event_id=cursor(reply))]
    assert shown(last) == [2, "done"]


def test_an_answer_that_a_store_fails_to_take_while_the_client_is_away_is_given_later() -> None:
    one, session = one_in_session()
    route, key = one.call(session)
    assert one.server.close_stream(key, retry=2, now=one.now)
    one.pump()
    one.failing("StreamAppend")
    one.answer(key)
    one.recover(3)
    resumed = one.replies[one.listen(session, last_event_id=cursor(one.replies[route]))]
    assert shown(resumed) == ["done"]


def test_a_polled_stream_that_ends_with_nothing_on_it() -> None:
    one, session = one_in_session()
    _, key = one.call(session)
    assert one.server.close_stream(key, retry=2, now=one.now)
    one.pump()
    assert one.replica(session).busy
    body = note("notifications/cancelled", {"requestId": 1})
    assert one.post(body, mcp_session_id=session).status == 202
    one.server.release(key)
    one.pump()
    assert not one.replica(session).repeats


def test_a_stream_is_closed_where_it_has_just_gone() -> None:
    one, other, session, route, key = at_work()
    one.cut(route)
    resumed = other.replies[other.listen(session, last_event_id=cursor(one.replies[route]))]
    # This worker has not heard of it.
    assert not one.server.close_stream(key, now=one.now)
    settle(one, other)
    assert resumed.end is not None


def test_polled_streams_of_a_session_at_all_workers() -> None:
    one, other, session = two_in_session()
    here, there = one.replies[one.listen(session)], other.replies[other.listen(session)]
    assert one.server.close_get_streams(session, retry=0.5, now=one.now) == 1
    settle(one, other)
    assert here.end is not None
    assert there.end is not None
    assert there.raw_events[-1].retry == 500


# Stores that fail


def test_a_stream_that_cannot_begin() -> None:
    one, session = one_in_session()
    route, key = one.call(session)
    one.failing("StreamBegin")
    one.progress(key, 1)
    assert one.replies[route].status == 503
    one.failing()
    one.answer(key)
    assert not one.replica(session).writers
    get = one.listen(session)
    one.failing("StreamBegin")
    assert one.replies[one.listen(session)].status == 503
    assert one.replies[get].end is None


def test_a_store_that_fails_is_not_asked_whether_the_session_is_there() -> None:
    one, session = one_in_session()
    one.post(request("ping", id=9), mcp_session_id=session)
    touched = len(one.asked(SessionTouch))
    one.failing("QueueTake")
    assert one.replies[one.listen(session)].status == 503
    assert len(one.asked(SessionTouch)) == touched


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("version", NAMES)
def test_events_that_the_store_does_not_take(version: str, done: bool) -> None:
    one, other, session, route, key = at_work(version)
    one.failing("StreamAppend", done=done)
    one.progress(key, 2, 3)
    reply = one.replies[route]
    assert shown(reply) == [1]
    assert reply.cut
    resumed = other.replies[other.listen(session, last_event_id=cursor(reply))]
    one.progress(key, 4)
    one.server.respond(key, {"content": []})
    one.pass_time(3)
    one.recover(3)
    settle(one, other)
    # Whether the store had them or not: each is there, once.
    assert shown(resumed) == [2, 3, 4, "done"]
    assert not one.replica(session).writers
    assert one.server.deadline() is None or one.server.deadline() > one.now  # type: ignore[operator]


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "kinds", [["StreamBegin"], ["StreamAppend"], ["StreamBegin", "StreamAppend"]]
)
def test_a_stream_that_is_given_up_does_not_stay_open(
    kinds: list[str], done: bool, leaves: bool
) -> None:
    one, session = one_in_session(UNPRIMED)
    route, key = one.call(session)
    one.slow = leaves
    one.failing(*kinds, done=done)
    one.progress(key, 1)
    if leaves:
        one.step()
        one.cut(route)
        one.go_on()
    assert one.replies[route].end is not None
    one.pass_time(3)
    one.recover(3)
    (begun,) = one.asked(StreamBegin)
    read = StreamRead(token=1, session=session, stream=begun.stream, after=0, limit=1000)
    page = one.worker.do(read, EPOCH + one.now)
    if kinds[0] == "StreamBegin" and not done:
        assert page is None
    else:
        assert isinstance(page, LogPage)
        assert page.ended
    assert not one.replica(session).repeats


def test_looking_how_far_a_stream_has_come_takes_several_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcpcore.http.server.stored.streams.PAGE", 100)
    monkeypatch.setattr("mcpcore.http.server.stored.replica.PAGE", 100)
    one, other, session, route, key = at_work()
    one.slow = True
    one.progress(key, *range(2, 9))
    one.failing("StreamAppend", done=True)
    one.step(1)
    one.slow = False
    one.recover(2)
    one.slow = True
    one.progress(key, *range(9, 16))
    one.step(1)
    one.failing("StreamAppend", done=True)
    one.step(100)
    one.slow = False
    one.recover(2)
    assert len(one.asked(StreamRead)) > 3
    resumed = other.replies[other.listen(session, last_event_id=cursor(one.replies[route], 1))]
    assert shown(resumed) == [*range(2, 16)]


def test_a_store_that_cannot_even_say_what_it_has() -> None:
    one, other, session, route, key = at_work()
    one.failing("StreamAppend", "StreamRead", done=True)
    one.progress(key, 2)
    one.pass_time(5)
    assert len(one.asked(StreamRead)) >= 4
    one.recover(2)
    one.progress(key, 3)
    resumed = other.replies[other.listen(session, last_event_id=cursor(one.replies[route]))]
    assert shown(resumed) == [2, 3]


def test_a_store_that_loses_an_event_in_between() -> None:
    one, other, session, route, key = at_work()
    id = cursor(one.replies[route])
    failed: list[Step] = []

    def first(step: Step) -> bool:
        if isinstance(step, StreamAppend) and b'"progress":3' in step.data and not failed:
            failed.append(step)
            return True
        return False

    one.worker.fails = first
    one.slow = True
    one.progress(key, 2, 3, 4)
    one.step(1)
    assert one.waiting() == ["StreamAppend"] * 2
    one.slow = False
    one.pass_time(3)
    one.answer(key)
    resumed = other.replies[other.listen(session, last_event_id=id)]
    assert shown(resumed) == [2, 4, "error"]
    assert "written down" in resumed.events[-1]["error"]["message"]


def test_what_was_written_down_by_a_step_that_failed_is_not_kept_any_more() -> None:
    one, other, session, route, key = at_work(store=StoreSettings(lease=1e9, age=100))
    id = cursor(one.replies[route])
    one.failing("StreamAppend", "StreamRead", done=True)
    one.progress(key, 2)
    one.pass_time(150)
    looks = len(one.asked(StreamRead))
    one.failing()
    one.slow = True
    one.pass_time(5)
    one.step(20)
    assert len(one.asked(StreamRead)) == looks + 1
    page = one.outcomes(StreamRead)[-1]
    assert isinstance(page, LogPage)
    assert page.lost == page.last == 2
    assert not page.entries
    one.slow = False
    one.answer(key)
    assert_clear(other.replies[other.listen(session, last_event_id=id)], 410, "not kept")
    assert not one.replica(session).writers


def test_a_store_that_fails_for_too_long() -> None:
    one, other, session, route, key = at_work(settings=HttpSettings(max_queued=1000))
    id = cursor(one.replies[route])
    one.failing("StreamAppend")
    one.progress(key, 2)
    for number in range(3, 60):
        one.server.notify("notifications/n", {"n": number, "text": "x" * 100}, parent=key)
    one.pump()
    one.recover(3)
    one.answer(key)
    resumed = other.replies[other.listen(session, last_event_id=id)]
    assert shown(resumed) == [2, "error"]
    assert "too much" in resumed.events[-1]["error"]["message"]


@pytest.mark.parametrize("kind", ["StreamRead", "StreamClaim"])
def test_a_stream_that_cannot_be_picked_up_yet(kind: str) -> None:
    one, other, session, route, _ = at_work()
    id = cursor(one.replies[route], 0)
    other.failing(kind)
    failed = other.replies[other.listen(session, last_event_id=id)]
    assert failed.end is not None
    assert failed.status == (503 if kind == "StreamRead" else 200)
    other.failing()
    assert shown(other.replies[other.listen(session, last_event_id=id)]) == [1]
    assert len(other.replica(session).readers) == 1


def test_a_stream_that_cannot_be_followed() -> None:
    one, other, session, route, key = at_work()
    resumed = other.replies[other.listen(session, last_event_id=one.replies[route].ids[0])]
    other.failing("StreamRead")
    one.progress(key, 2)
    settle(one, other)
    assert resumed.cut
    assert shown(resumed) == [1]
    other.failing()
    assert shown(other.replies[other.listen(session, last_event_id=cursor(resumed))]) == [2]


@pytest.mark.parametrize("done", [False, True])
def test_a_queue_that_cannot_be_emptied(done: bool) -> None:
    one, session = one_in_session()
    route = one.listen(session)
    tell(one, session, 1)
    one.failing("QueueTake", done=done)
    tell(one, session, 2)
    first = one.replies[route]
    assert first.cut
    one.failing()
    assert shown(one.replies[one.listen(session, last_event_id=cursor(first))]) == ["2"]
    assert shown(first) == ["1"]


@pytest.mark.parametrize("done", [False, True])
def test_a_queue_that_takes_nothing(done: bool) -> None:
    one, session = one_in_session()
    one.failing("QueuePut", done=done)
    tell(one, session, 1, 2)
    asked = one.server.request("roots/list", now=one.now, session=session, timeout=None)
    one.pass_time(2.5)
    one.recover(1.5)
    stream = one.replies[one.listen(session)]
    assert shown(stream) == ["1", "2", "roots/list"]
    assert stream.events[-1]["id"] == asked
    assert not one.replica(session).queue
    assert not any(isinstance(event, RequestEnded) for event in one.events)


def test_a_release_that_got_lost() -> None:
    one, session = one_in_session()
    older, newer = one.listen(session), one.listen(session)
    one.failing("StreamRelease")
    one.cut(newer)
    one.failing()
    tell(one, session, 1)
    settle(one)
    # The store wakes the dead stream, and learns.
    assert shown(one.replies[older]) == ["1"]
    assert len(one.asked(StreamRelease)) == 2


def test_a_wake_that_got_lost() -> None:
    one, other, session, route, key = at_work(settings=HttpSettings(heartbeat=15))
    resumed = other.replies[other.listen(session, last_event_id=cursor(one.replies[route]))]
    one.progress(key, 2)
    other.worker.store.receive("b", 0)
    settle(one, other)
    assert shown(resumed) == []
    other.pass_time(16)
    assert shown(resumed) == [2]


def test_steps_are_answered_in_any_order() -> None:
    one, session = one_in_session()
    calls = [one.call(session, id=id) for id in range(1, 6)]
    one.slow = True
    for number in (1, 2, 3):
        for _, key in calls:
            one.progress(key, number)
        one.look()
        one.worker.carry_out(100, EPOCH + one.now)
        while one.worker.outcomes:
            # The newest first, as far as they are of different streams.
            tokens = [token for token, _ in one.worker.outcomes]
            streams = {step.token: getattr(step, "stream", 0) for step, _ in one.worker.log}
            last = streams[tokens[-1]]
            index = next(i for i, token in enumerate(tokens) if streams[token] == last)
            one.worker.learn(index, one.now)
            one.look()
    one.slow = False
    for _, key in calls:
        one.server.respond(key, {"content": []})
    one.pump()
    for route, _ in calls:
        assert shown(one.replies[route]) == [1, 2, 3, "done"]


def test_modern_requests_have_nothing_to_do_with_the_store() -> None:
    (one,) = party("a")
    route = one.send_modern("tools/call", {"name": "x"})
    event = one.take(RequestReceived)
    assert event.revision.name == MODERN
    one.server.respond(event.key, {"content": []})
    one.pump()
    assert one.replies[route].status == 200
    assert not one.worker.log


def test_a_page_that_was_lost_while_it_was_followed() -> None:
    one, other, session, route, key = at_work(store=StoreSettings(lease=1e9, events=3))
    resumed = other.replies[other.listen(session, last_event_id=cursor(one.replies[route]))]
    one.progress(key, *range(2, 10))
    settle(one, other)
    assert resumed.end is not None
    assert shown(resumed) == []
    outcome = other.outcomes(StreamRead)[-1]
    assert isinstance(outcome, LogPage)
    assert outcome.lost > 1


@pytest.mark.parametrize("queue", [False, True])
def test_a_store_that_comes_back_without_its_last_events(queue: bool) -> None:
    one, other, session, route, key = at_work()
    followed = other.replies[
        other.listen(session, **({} if queue else {"last_event_id": cursor(one.replies[route])}))
    ]

    def say(*numbers: int) -> None:
        if queue:
            tell(one, session, *numbers)
        else:
            one.progress(key, *numbers)
        settle(one, other)

    store = one.worker.store
    assert isinstance(store, MemoryStore)
    with closing(sqlite3.connect(":memory:")) as before:
        settle(one, other)
        store._db.backup(before)
        say(2, 3, 4)
        assert len(shown(followed)) == 3
        before.backup(store._db)
    say(5)
    assert followed.end is not None
    assert other.replies[other.listen(session, last_event_id=cursor(followed))].status == 410
    if queue:
        assert shown(other.replies[other.listen(session)]) == ["5"]
