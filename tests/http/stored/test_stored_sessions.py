"""Workers of a store, sessions: written down before the client hears of them, taken up anywhere."""

from typing import Any

import msgspec
import pytest

from mcpcore import HttpServer, HttpSettings, Principal, SessionClosed, SessionOpened
from mcpcore.engine.events import (
    LogLevelChanged,
    Ready,
    RequestReceived,
)
from mcpcore.engine.lifecycle import SessionState
from mcpcore.http.storing import (
    Changed,
    Ended,
    LogPage,
    NoSession,
    Post,
    SessionDelete,
    SessionForgotten,
    SessionLoad,
    SessionRecord,
    SessionRestored,
    SessionSave,
    SessionTouch,
    StoreBinding,
    StoreFailure,
)
from mcpcore.spec.errors import LEGACY_BUSY, LocalProtocolError
from mcpcore.spec.revisions import BY_NAME
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.http.stored.cluster import EPOCH, make_stored
from tests.http.stored.storebench import (
    CALL,
    StoreBench,
    one_in_session,
    party,
    settle,
    shown,
    two_in_session,
)
from tests.http.support import CLIENT_OFFERS, LEGACY, Reply, initialize, note, request

INITIALIZED = note("notifications/initialized")
SET_LEVEL = request("logging/setLevel", {"level": "error"}, id=7)
SUBSCRIBE = request("resources/subscribe", {"uri": "a://b"}, id=8)
UNSUBSCRIBE = request("resources/unsubscribe", {"uri": "a://b"}, id=9)
LIST = request("tools/list", id=3)


def record_of(bench: StoreBench, session: str) -> SessionRecord:
    record = bench.worker.do(SessionLoad(token=1, session=session), EPOCH + bench.now)
    assert isinstance(record, SessionRecord)
    return msgspec.structs.replace(record, used=None)


def assert_busy(reply: Reply) -> None:
    assert reply.status == 503
    assert reply.code == LEGACY_BUSY
    assert reply.headers["retry-after"] == "1"
    assert "mcp-session-id" not in reply.headers


def test_what_a_store_says_of_a_session_that_it_does_not_have() -> None:
    assert NoSession().reason == "there is no such session (any more)"


def test_what_a_store_leaves_out() -> None:
    text = b'{"id":"s","revision":"2025-11-25","capabilities":{},"created":1.0}'
    record = msgspec.json.decode(text, type=SessionRecord)
    assert (record.subscriptions, record.initialized, record.version) == ((), False, 1)
    page = LogPage()
    assert (page.entries, page.lost, page.last) == ((), 0, 0)
    assert (page.ended, page.orphaned, page.request) == (False, False, None)
    for kept in (record, page):  # as who has it may share it with whoever asked
        with pytest.raises(AttributeError, match="immutable"):
            setattr(kept, kept.__struct_fields__[0], "other")


def test_a_server_with_a_store_always_has_to_be_called_in_time() -> None:
    (one,) = party("a", settings=HttpSettings(heartbeat=None, session_idle=None))
    assert one.server.timed


# Opening


def test_a_session_is_in_the_store_before_the_client_knows_of_it() -> None:
    (one,) = party("a")
    one.slow = True
    reply = one.post(initialize())
    assert reply.head is None
    assert one.waiting() == ["SessionSave"]
    one.step()
    assert reply.status == 200
    session = reply.headers["mcp-session-id"]
    assert [step.session for step in one.asked(SessionSave)] == [session]
    record = record_of(one, session)
    assert record.revision == LEGACY
    assert record.created == EPOCH + one.now
    assert not record.initialized
    assert one.kinds() == ["SessionOpened"]


def test_a_session_that_cannot_be_written_down_is_refused() -> None:
    (one,) = party("a")
    one.failing("SessionSave")
    reply = one.post(initialize())
    assert_busy(reply)
    assert reply.end is not None
    assert one.server.sessions == 0
    assert one.take(SessionOpened).session == one.take(SessionClosed).session
    one.failing()
    assert one.session()


def test_a_step_without_an_answer_has_failed() -> None:
    (one,) = party("a", settings=HttpSettings(store_timeout=5))
    one.slow = True
    reply = one.post(initialize())
    one.pass_time(4.9)
    assert reply.head is None
    one.pass_time(0.2)
    assert_busy(reply)
    one.step()  # the answer comes after all, and means nothing
    assert one.server.sessions == 0
    assert one.server.deadline() is None


@pytest.mark.parametrize(
    ("body", "status", "changed"),
    [
        (INITIALIZED, 202, {"initialized": True}),
        (SET_LEVEL, 200, {"log_level": "error"}),
        (SUBSCRIBE, 200, {"subscriptions": ("a://b",)}),
        (UNSUBSCRIBE, 200, {"subscriptions": ()}),
    ],
)
def test_a_change_is_in_the_store_before_it_is_answered(
    body: Any, status: int, changed: dict[str, Any]
) -> None:
    one, other = party("a", "b")
    session = one.post(initialize()).headers["mcp-session-id"]
    other.post(INITIALIZED if body is not INITIALIZED else LIST, mcp_session_id=session)
    if body is UNSUBSCRIBE:
        other.post(SUBSCRIBE, mcp_session_id=session)
    settle(one, other)
    before = record_of(one, session)
    one.slow = True
    reply = one.post(body, mcp_session_id=session)
    if one.waiting() == ["SessionLoad"]:
        one.step()
    assert one.waiting() == ["SessionSave"]
    assert reply.head is None
    # Nothing else of the session waits.
    quick, key = one.call(session, id=20)
    one.answer(key)
    assert one.replies[quick].status == 200
    one.step()
    assert reply.status == status
    after = record_of(one, session)
    assert after.version == before.version + 1
    for name, value in changed.items():
        assert getattr(after, name) == value
    assert one.waiting() == ["Post"]
    one.slow = False
    settle(one, other)
    replica = other.replica(session)
    assert replica.base == after
    assert replica.describe().subscriptions == after.subscriptions
    assert replica.describe().log_level == after.log_level
    assert len(other.asked(SessionLoad)) == 1
    told = [each for each in other.events if isinstance(each, SessionRestored)][-1]
    assert (told.subscriptions, told.log_level) == (after.subscriptions, after.log_level)


@pytest.mark.parametrize(
    ("first", "refused", "newer"),
    [
        (SUBSCRIBE, UNSUBSCRIBE, SUBSCRIBE),
        (SET_LEVEL, {**SET_LEVEL, "params": {"level": "info"}}, SET_LEVEL),
    ],
)
def test_what_cannot_be_written_down_is_refused_and_not_done_later(
    first: Any, refused: Any, newer: Any
) -> None:
    one, other, session = two_in_session()
    one.post(first, mcp_session_id=session)
    before = record_of(one, session)
    one.failing("SessionSave")
    assert_busy(one.post(refused, mcp_session_id=session))
    told = one.take(SessionRestored)  # the application has heard of what was refused
    assert (told.subscriptions, told.log_level) == (before.subscriptions, before.log_level)
    one.failing()
    # a client whose request was refused may have gone to another worker
    assert other.post(newer, mcp_session_id=session).status == 200
    assert one.post(request("ping"), mcp_session_id=session).status == 200
    settle(one, other)
    after = record_of(one, session)
    assert (after.subscriptions, after.log_level) == (before.subscriptions, before.log_level)
    for bench in (one, other):
        peer = bench.replica(session).peer
        assert (peer._state.uris, peer._state.log_level) == (
            {*after.subscriptions},
            after.log_level,
        )


@pytest.mark.parametrize("body", [SUBSCRIBE, SET_LEVEL])
def test_what_is_confirmed_stays_though_another_worker_has_changed_it(body: Any) -> None:
    one, other, session = two_in_session()
    one.post(body, mcp_session_id=session)
    settle(one, other)
    other.post(request("ping"), mcp_session_id=session)
    settle(one, other)
    undone = UNSUBSCRIBE if body is SUBSCRIBE else {**SET_LEVEL, "params": {"level": "info"}}
    other.slow = True
    confirmed = other.post(body, mcp_session_id=session)
    assert one.post(undone, mcp_session_id=session).status == 200
    other.slow = False
    settle(one, other)
    assert confirmed.status == 200
    record = record_of(one, session)
    if body is SUBSCRIBE:
        assert "a://b" in record.subscriptions
    else:
        assert record.log_level == "error"


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    ("body", "back"),
    [
        (UNSUBSCRIBE, SUBSCRIBE),
        ({**SET_LEVEL, "params": {"level": "info"}}, SET_LEVEL),
    ],
)
def test_a_change_back_is_one_whatever_became_of_the_change(
    body: Any, back: Any, done: bool, foreign: bool
) -> None:
    one, other, session = two_in_session()
    one.post(back, mcp_session_id=session)
    one.failing("SessionSave", done=done)
    assert_busy(one.post(body, mcp_session_id=session))
    one.failing()
    if foreign:
        extra = request("resources/subscribe", {"uri": "a://c"}, id=30)
        assert other.post(extra, mcp_session_id=session).status == 200
    assert one.post(back, mcp_session_id=session).status == 200
    settle(one, other)
    record = record_of(one, session)
    assert ("a://c" in record.subscriptions) == foreign
    for bench in (one, other)[: 1 + foreign]:
        replica = bench.replica(session)
        if back is SUBSCRIBE:
            assert "a://b" in record.subscriptions
            assert replica.peer._state.uris == {*record.subscriptions}
        else:
            assert record.log_level == replica.peer._state.log_level == "error"


def test_a_change_that_comes_while_another_is_written_down() -> None:
    one, session = one_in_session()
    one.slow = True
    first = one.post(SET_LEVEL, mcp_session_id=session)
    second = one.post(SUBSCRIBE, mcp_session_id=session)
    assert one.waiting() == ["SessionSave"]
    one.step()
    assert one.waiting() == ["Post", "SessionSave"]
    assert first.head is None
    assert second.head is None
    one.step(2)
    assert first.status == second.status == 200
    assert record_of(one, session).subscriptions == ("a://b",)
    assert record_of(one, session).version == 4


def test_an_old_note_of_a_change_changes_nothing() -> None:
    one, session = one_in_session()
    old = record_of(one, session)
    one.post(SET_LEVEL, mcp_session_id=session)
    one.stored.note(msgspec.json.encode(Changed(session=session, record=old)), now=one.now)
    assert one.replica(session).peer._state.log_level == "error"
    assert one.replica(session).base == record_of(one, session)


def test_a_change_of_a_session_that_is_ended_meanwhile() -> None:
    one, session = one_in_session()
    one.slow = True
    reply = one.post(SET_LEVEL, mcp_session_id=session)
    one.stored.note(msgspec.json.encode(Ended(session=session, reason="so")), now=one.now)
    one.pump()
    assert reply.status == 404
    one.step()
    assert one.server.sessions == 0


@pytest.mark.parametrize("bodies", [(SET_LEVEL, SUBSCRIBE), (SUBSCRIBE, SET_LEVEL)])
def test_two_workers_change_a_session_at_once(bodies: tuple[Any, Any]) -> None:
    one, other, session = two_in_session()
    other.post(LIST, mcp_session_id=session)
    settle(one, other)
    one.slow = other.slow = True
    first = one.post(bodies[0], mcp_session_id=session)
    second = other.post(bodies[1], mcp_session_id=session)
    one.step()
    other.step()
    assert first.status == 200
    assert isinstance(other.outcomes(SessionSave)[-1], SessionRecord)
    assert second.head is None
    other.step()
    assert second.status == 200
    record = record_of(one, session)
    assert record.log_level == "error"
    assert record.subscriptions == ("a://b",)
    one.slow = other.slow = False
    settle(one, other)
    for bench in (one, other):
        replica = bench.replica(session)
        assert replica.peer._state.log_level == "error"
        assert replica.peer._state.uris == {"a://b"}


# Taking up


def test_a_session_is_taken_up_with_all_its_facts() -> None:
    one, other, session = two_in_session("2025-06-18", principal="me")
    one.post(SET_LEVEL, mcp_session_id=session, principal="me")
    one.post(SUBSCRIBE, mcp_session_id=session, principal="me")
    reply = other.post(CALL, mcp_session_id=session, principal="me")
    restored, event = other.events
    assert isinstance(event, RequestReceived)
    assert event.session == session
    assert event.principal == "me"
    assert restored == SessionRestored(
        session=session,
        principal="me",
        revision=event.revision,
        capabilities=event.client_capabilities,
        log_level="error",
        subscriptions=("a://b",),
    )
    assert event.revision.name == "2025-06-18"
    assert event.client_info is not None
    assert event.client_info.name == "hand"
    assert set(CLIENT_OFFERS) == {
        name
        for name in ("sampling", "elicitation", "roots")
        if getattr(event.client_capabilities, name)
    }
    assert not other.server.log(event.key, "warning", "no")
    assert other.server.log(event.key, "error", "yes")
    other.server.notify("notifications/resources/updated", {"uri": "a://b"}, session=session)
    other.server.notify("notifications/resources/updated", {"uri": "a://c"}, session=session)
    other.pump()
    assert shown(reply) == ["message"]
    route = one.listen(session, principal="me")
    assert shown(one.replies[route]) == ["resources/updated"]


def test_a_principal_of_whom_more_is_known() -> None:
    one, other = party("a", "b")
    me = Principal("me", scopes=frozenset({"x"}))
    session = one.session(principal=me)
    assert type(record_of(one, session).principal) is str
    assert other.post(CALL, mcp_session_id=session, principal=me).head is None
    assert other.take(RequestReceived).principal is me
    assert other.post(LIST, mcp_session_id=session, principal=Principal("you")).status == 404


POOR, RICH = Principal("me", scopes={"r"}), Principal("me", scopes={"r", "w"})


def test_the_rights_of_a_session_are_those_used_at_all_workers() -> None:
    one, other = party("a", "b")
    rich = Principal("me", scopes={"r", "w"}, roles={"admin"}, claims={"sub": "me"})
    session = one.session(principal=POOR)
    stream = one.replies[one.listen(session, principal=POOR)]
    before = stream.end
    assert before is None
    other.post(CALL, mcp_session_id=session, principal=rich)
    other.server.progress(other.take(RequestReceived).key, 1)
    settle(one, other)
    record = record_of(one, session)
    assert (record.scopes, record.roles) == (("r", "w"), ("admin",))
    assert stream.end is not None
    for bench in (one, other):
        assert bench.replies[bench.listen(session, principal=POOR)].status == 404
        assert bench.replies[bench.listen(session, principal=rich)].status == 200
    known = other.replica(session).peer.principal
    assert isinstance(known, Principal)
    assert known.claims == {"sub": "me"}


def test_wider_rights_are_known_to_all_workers_before_what_they_were_needed_for() -> None:
    one, other = party("a", "b")
    session = one.session(principal=POOR)
    stream = one.replies[one.listen(session, principal=POOR)]
    other.slow = True
    other.post(CALL, mcp_session_id=session, principal=RICH)
    other.step()  # it loads the session
    other.server.notify("notifications/tools/list_changed", session=session)
    assert other.waiting() == ["SessionSave", "Announcements"]
    other.step(2)
    assert other.waiting() == ["Post", "QueuePut"]
    other.slow = False
    settle(other, one)
    assert record_of(one, session).scopes == ("r", "w")
    assert stream.end is not None
    assert shown(stream) == []
    again = one.replies[one.listen(session, principal=RICH)]
    assert shown(again) == ["tools/list_changed"]


@pytest.mark.parametrize("failing", [(), ("SessionLoad",)], ids=["loaded", "not loaded"])
@pytest.mark.parametrize("way", ["new stream", "resumed", "resumed behind it"])
def test_what_wider_rights_were_needed_for_waits_for_the_record_of_its_time(
    way: str, failing: tuple[str, ...]
) -> None:
    one, other = party("a", "b")
    session = one.session(principal=POOR)
    route = one.listen(session, principal=POOR)
    one.cut(route)
    id = one.replies[route].ids[0]
    one.slow = True  # and reads no notes
    other.post(CALL, mcp_session_id=session, principal=RICH)
    other.server.notify("notifications/tools/list_changed", session=session)
    other.pump()
    if way == "resumed behind it":
        carried = other.listen(session, principal=RICH, last_event_id=id)
        assert shown(other.replies[carried]) == ["tools/list_changed"]
        other.cut(carried)
    one.failing(*failing)
    headers = {} if way == "new stream" else {"last_event_id": id}
    stream = one.replies[one.listen(session, principal=POOR, **headers)]
    for _ in range(8):
        one.work()
        one.pump()
    assert b"list_changed" not in stream.body
    assert stream.end is not None
    one.failing()
    one.slow = False
    one.pass_time(1)
    settle(one, other)
    id = stream.ids[0] if way == "new stream" else id
    again = one.replies[one.listen(session, principal=RICH, last_event_id=id)]
    assert shown(again) == ["tools/list_changed"]


def test_wider_rights_that_the_store_does_not_take_hold_up_what_they_were_needed_for() -> None:
    one, other = party("a", "b")
    session = one.session(principal=POOR)
    stream = one.replies[one.listen(session, principal=POOR)]
    other.failing("SessionSave")
    other.post(CALL, mcp_session_id=session, principal=RICH)
    for _ in range(2):
        other.server.notify("notifications/tools/list_changed", session=session)
        settle(other, one)
    assert shown(stream) == []
    tried = len(other.asked(SessionSave))
    other.pass_time(1)
    assert len(other.asked(SessionSave)) == tried + 1
    other.recover(1)
    settle(other, one)
    assert record_of(one, session).scopes == ("r", "w")
    assert stream.end is not None
    assert shown(stream) == []
    again = one.replies[one.listen(session, principal=RICH)]
    assert shown(again) == ["tools/list_changed"] * 2


def test_a_stream_is_not_resumed_with_fewer_rights_than_were_used_meanwhile() -> None:
    (one,) = party("a")
    session = one.session(principal=POOR)
    route = one.listen(session, principal=POOR)
    one.cut(route)
    one.slow = True
    id = one.replies[route].ids[0]
    back = one.replies[one.listen(session, principal=POOR, last_event_id=id)]
    assert "StreamRead" in one.waiting()
    one.post(CALL, mcp_session_id=session, principal=RICH)
    one.slow = False
    settle(one)
    assert back.status == 404
    again = one.replies[one.listen(session, principal=RICH, last_event_id=id)]
    assert again.status == 200


def test_a_client_without_information_about_itself() -> None:
    one, other = party("a", "b")
    hello = initialize()
    hello["params"]["capabilities"] = {}
    session = one.post(hello).headers["mcp-session-id"]
    other.post(INITIALIZED, mcp_session_id=session)
    other.post(CALL, mcp_session_id=session)
    assert other.take(Ready).session == session
    assert other.take(RequestReceived).client_capabilities.sampling is not True


def test_what_nobody_has_made_never_reaches_the_store() -> None:
    _, other, session = two_in_session()
    tail = session[-1]
    forged = [
        session[:-1] + ("A" if tail != "A" else "B"),
        "A" + session[1:],
        session.partition(".")[0],
        "",
        "x",
        "é",
    ]
    for id in forged:
        for options in ({"body": LIST}, {"method": "GET"}, {"method": "DELETE"}):
            reply = other.replies[other.send(mcp_session_id=id, **options)]
            assert reply.status == 404
    assert not other.worker.log


def test_a_foreign_session_looks_like_none() -> None:
    one, other, session = two_in_session(principal="me")
    gone = one.session()
    one.send(method="DELETE", mcp_session_id=gone)
    for bench in (one, other):
        for options in ({"body": LIST}, {"method": "GET"}, {"method": "DELETE"}):
            foreign, absent = (
                bench.replies[bench.send(mcp_session_id=id, principal="you", **options)]
                for id in (session, gone)
            )
            assert foreign.status == absent.status == 404
            assert foreign.body == absent.body
            assert foreign.headers == absent.headers
    assert other.post(CALL, mcp_session_id=session, principal="me").head is None
    assert other.kinds() == ["SessionRestored", "RequestReceived"]


@pytest.mark.parametrize("options", [{"body": LIST}, {"method": "GET"}, {"method": "DELETE"}])
def test_a_store_that_cannot_tell(options: dict[str, Any]) -> None:
    _, other, session = two_in_session()
    other.failing("SessionLoad")
    assert_busy(other.replies[other.send(mcp_session_id=session, **options)])
    other.failing()
    assert other.replies[other.send(LIST, mcp_session_id=session)].head is None
    assert other.kinds() == ["SessionRestored", "RequestReceived"]


def test_many_wait_for_one_load_and_go_on_in_order() -> None:
    _, other, session = two_in_session()
    other.slow = True
    for id in range(1, 6):
        other.post({**CALL, "id": id}, mcp_session_id=session)
    foreign = other.post(CALL, mcp_session_id=session, principal="you")
    assert other.waiting() == ["SessionLoad"]
    other.step()
    assert other.take(SessionRestored).session == session
    assert [event.id for event in other.events] == [1, 2, 3, 4, 5]
    assert foreign.status == 404


def test_a_client_that_leaves_while_its_session_is_looked_for() -> None:
    _, other, session = two_in_session()
    other.slow = True
    other.cut(other.send(CALL, mcp_session_id=session))
    other.cut(other.listen(session))
    other.step()
    # A disconnect is no cancellation.
    assert other.kinds() == ["SessionRestored", "RequestReceived"]
    assert other.server.exchanges == 0
    assert other.waiting() == ["Announcements"]


def test_a_handshake_that_another_worker_has_completed() -> None:
    one, other = party("a", "b")
    session = one.post(initialize()).headers["mcp-session-id"]
    one.slow = True
    other.post(INITIALIZED, mcp_session_id=session)
    other.post(SET_LEVEL, mcp_session_id=session)
    one.post(LIST, mcp_session_id=session)
    assert one.waiting() == ["SessionLoad"]
    one.step()
    replica = one.replica(session)
    assert replica.peer.state is SessionState.OPEN
    assert replica.peer._state.log_level == "error"
    one.post({**LIST, "id": 4}, mcp_session_id=session)
    assert one.waiting() == []


def test_a_revision_that_is_not_served_here() -> None:
    one, _ = party("a", "b")
    session = one.session("2025-03-26")
    narrow = StoreBench(one.worker.store, "c", revisions=(BY_NAME[LEGACY],))
    reply = narrow.post(LIST, mcp_session_id=session)
    assert reply.status == 404
    assert narrow.server.sessions == 0


# Use


def test_a_view_without_use_is_forgotten_and_the_session_lives() -> None:
    one, other, session = two_in_session(settings=HttpSettings(session_replica_idle=60))
    other.post(LIST, mcp_session_id=session)
    key = other.take(RequestReceived).key
    one.pass_time(61)
    other.now = one.now
    other.server.handle_timeout(other.now)
    assert one.server.sessions == 0
    assert one.server.deadline() is None
    assert not any(isinstance(event, SessionClosed) for event in one.events)
    assert one.take(SessionForgotten).session == session
    # What is being worked on keeps a replica.
    assert other.server.sessions == 1
    other.server.respond(key, {"tools": []})
    other.pass_time(200)
    assert other.server.sessions == 0
    assert one.post(SET_LEVEL, mcp_session_id=session).status == 200
    assert record_of(one, session).version == 3


def test_the_store_hears_now_and_then_that_a_session_is_used() -> None:
    one, session = one_in_session(settings=HttpSettings(session_touch=30, heartbeat=15))
    for _ in range(10):
        one.post(request("ping"), mcp_session_id=session)
        one.pass_time(1)
    # The first time at once: from then on the session is more than a handshake.
    assert len(one.asked(SessionTouch)) == 1
    one.pass_time(25)
    for _ in range(3):
        one.post(request("ping"), mcp_session_id=session)
    assert len(one.asked(SessionTouch)) == 2
    one.listen(session)
    one.pass_time(301)
    assert 9 <= len(one.asked(SessionTouch)) <= 12


def test_a_handshake_is_no_use_of_a_session() -> None:
    one, other = party("a", "b", settings=HttpSettings(json_delay=1, heartbeat=1))
    session = one.post(initialize()).headers["mcp-session-id"]
    other.post(INITIALIZED, mcp_session_id=session)
    settle(one, other)
    assert not one.asked(SessionTouch) + other.asked(SessionTouch)
    one.slow = True
    one.post(initialize())
    one.pass_time(3)
    assert one.waiting() == ["SessionSave"]
    one.step()
    assert not one.asked(SessionTouch)
    other.listen(session)
    other.listen(session)
    assert len(other.asked(SessionTouch)) == 1


# Shares


@pytest.mark.parametrize(
    ("options", "owner"),
    [
        ({"peer": "192.0.2.1:80"}, "address 192.0.2.1"),
        ({"peer": "[2001:db8::1]:80"}, "address 2001:db8::/64"),
        ({"peer": "192.0.2.1:80", "principal": "ann"}, "principal ann"),
    ],
)
def test_a_session_takes_the_share_of_who_opened_it(options: dict[str, str], owner: str) -> None:
    one, other = party("a", "b")
    session = one.post(initialize(), **options).headers["mcp-session-id"]
    assert record_of(one, session).owner == owner
    options["peer"] = "192.0.2.9:80"
    reply = other.post(INITIALIZED, mcp_session_id=session, **options)
    assert reply.status == 202
    assert record_of(one, session).version == 2
    assert record_of(one, session).owner == owner


def test_a_flood_at_one_worker_takes_sessions_of_its_own_only_wherever_they_are() -> None:
    one, other, third = party("a", "b", "c", store=StoreSettings(lease=1e9, sessions_per_client=3))
    evil, honest = {"peer": "192.0.2.1:80"}, {"peer": "192.0.2.2:80"}
    first = one.post(initialize(), **evil).headers["mcp-session-id"]
    newcomer = one.post(initialize(), **evil).headers["mcp-session-id"]
    assert other.post(INITIALIZED, mcp_session_id=newcomer, **evil).status == 202
    bystander = one.post(initialize(), **honest).headers["mcp-session-id"]
    for _ in range(9):
        assert other.post(initialize(), **evil).status == 200
    assert third.post(LIST, mcp_session_id=first, **evil).status == 404
    for each in (newcomer, bystander):
        assert record_of(one, each).id == each


# The end


def test_a_deleted_session_is_gone_everywhere() -> None:
    one, other, session = two_in_session()
    stream = other.replies[other.listen(session)]
    call, _ = other.call(session)
    one.slow = True
    reply = one.replies[one.send(method="DELETE", mcp_session_id=session)]
    again = one.replies[one.send(method="DELETE", mcp_session_id=session)]
    assert one.waiting() == ["SessionDelete"] * 2
    assert reply.head is None
    one.step()
    assert reply.status == 204
    one.slow = False
    settle(one, other)
    assert again.status == 404
    assert stream.end is not None
    assert other.replies[call].status == 404
    assert "ended by the client" in other.replies[call].json["error"]["message"]
    for bench in (one, other):
        assert bench.take(SessionClosed).session == session
        assert bench.post(LIST, mcp_session_id=session).status == 404
        assert bench.server.sessions == 0
    assert "RequestCancelled" in other.kinds()


def test_a_session_that_cannot_be_deleted_lives() -> None:
    one, session = one_in_session()
    one.failing("SessionDelete")
    assert_busy(one.replies[one.send(method="DELETE", mcp_session_id=session)])
    one.failing()
    assert one.post(request("ping"), mcp_session_id=session).status == 200
    assert one.replies[one.send(method="DELETE", mcp_session_id=session)].status == 204
    assert len(one.outcomes(SessionDelete)) == 2


def ended(bench: StoreBench) -> bool:
    return bench.server.finished


def test_closing_a_worker_ends_no_session() -> None:
    one, other, session = two_in_session()
    stream = one.replies[one.listen(session)]
    route, key = one.call(session)
    one.progress(key, 1)
    one.cut(route)
    one.server.close(now=one.now)
    one.pump()
    assert stream.end is not None
    assert not ended(one)  # a call is being worked on, though nobody is connected
    assert one.post(LIST, mcp_session_id=session).status == 503
    one.server.respond(key, {"content": []})
    assert not ended(one)
    one.pump()
    assert ended(one)
    assert not any(isinstance(event, SessionClosed) for event in one.events)
    id = [each for each in one.replies[route].ids if each][-1]
    assert shown(other.replies[other.listen(session, last_event_id=id)]) == ["done"]
    assert other.post(SET_LEVEL, mcp_session_id=session).status == 200


def test_what_others_must_know_is_sent_before_the_end() -> None:
    (one,) = party("a")
    one.failing("Announce")
    one.server.notify("notifications/x")
    one.pump()
    one.server.close(now=one.now)
    one.pump()
    assert not ended(one)
    one.recover(2)
    assert ended(one)


def test_a_change_that_is_written_down_while_closing() -> None:
    one, session = one_in_session()
    route = one.send(SET_LEVEL, mcp_session_id=session, pump=False)
    one.server.close(now=one.now)
    one.pump()
    assert one.replies[route].status == 200
    record = record_of(one, session)
    assert record.log_level == "error"
    assert record.initialized


def test_a_session_that_is_asked_for_while_closing() -> None:
    _, other, session = two_in_session()
    other.slow = True
    reply = other.post(LIST, mcp_session_id=session)
    other.server.close(now=other.now)
    other.step()
    assert_busy(reply)
    assert other.server.finished


def test_too_many_views_push_out_views_not_sessions() -> None:
    (one,) = party("a", settings=HttpSettings(max_sessions=3))
    sessions = [one.session() for _ in range(8)]
    assert one.server.sessions == 3
    for session in sessions:
        assert one.post(request("ping"), mcp_session_id=session).status == 200
    assert not any(isinstance(event, SessionClosed) for event in one.events)


def test_views_of_what_is_at_work_stay() -> None:
    settings = HttpSettings(max_sessions=2, sessions_per_client=1)
    (one,) = party("a", settings=settings)
    sessions = [one.session() for _ in range(5)]
    calls = [one.call(session) for session in sessions]
    for session in sessions:
        one.progress(one.call(session, id=2)[1], 1)
    idle = [one.session() for _ in range(3)]
    assert one.server.sessions == 6
    one.pass_time(1)
    for (route, key), session in zip(calls, sessions, strict=True):
        one.answer(key)
        assert one.replies[route].status == 200
        assert one.post(request("ping"), mcp_session_id=session).status == 200
    for session in idle:
        assert one.post(request("ping"), mcp_session_id=session).status == 200
    assert not any(isinstance(event, SessionClosed) for event in one.events)


def test_a_view_that_waits_to_be_saved_stays() -> None:
    (one,) = party("a", settings=HttpSettings(max_sessions=1))
    one.slow = True
    replies = [one.post(initialize()) for _ in range(3)]
    one.step(5)
    assert [reply.status for reply in replies] == [200] * 3


# Bindings and notes


@pytest.mark.parametrize(
    ("name", "secret", "says"),
    [("", 32, "called"), ("a.b", 32, "called"), ("a" * 65, 32, "called"), ("a", 31, "secret")],
)
def test_bindings_that_make_no_sense(name: str, secret: int, says: str) -> None:
    server = make_stored(MemoryStore(), "ok")
    with pytest.raises(ValueError, match=says):
        HttpServer(
            server._router.session_config,
            secret=bytes(32),
            store=StoreBinding(worker=name, secret=bytes(secret)),
        )


def test_notes_that_say_nothing_here() -> None:
    (one,) = party("a")
    for data in (b"", b"{}", b'{"note":"x","session":""}', b"\xff", b'{"note":"wake"}'):
        with pytest.raises(LocalProtocolError, match="no note"):
            one.stored.note(data, now=1.0)
    one.stored.note(b'{"note":"wake","session":"s","stream":1}', now=1.0)
    one.stored.stored(12345, StoreFailure("what?"), now=1.0)
    assert one.waiting() == []


def test_without_sessions_nothing_is_stored() -> None:
    (one,) = party("a", settings=HttpSettings(sessions=False))
    route = one.send(LIST)
    one.answer(one.take(RequestReceived).key, {"tools": []})
    assert one.replies[route].status == 200
    assert not one.worker.log


def test_the_level_is_told_where_it_was_set() -> None:
    one, other, session = two_in_session()
    other.post(SET_LEVEL, mcp_session_id=session)
    settle(one, other)
    assert other.take(LogLevelChanged).level == "error"
    assert not any(isinstance(event, LogLevelChanged) for event in one.events)
    assert one.asked(Post)
