"""HttpServer with a store: what is said to everybody reaches sessions that no worker knew then."""

from typing import Any

import msgspec
import pytest

from mcpcore import HttpSettings
from mcpcore.http.storing import (
    Announce,
    Announced,
    Announcements,
    AnyNote,
    Ended,
    HangUp,
    Lost,
    Moved,
    Note,
    QueuePut,
    SessionDelete,
    SessionTouch,
    Wake,
)
from mcpcore_transports.stores.base import StoreSettings
from tests.http.stored.cluster import EPOCH
from tests.http.stored.storebench import (
    CALL,
    StoreBench,
    cursor,
    one_in_session,
    party,
    settle,
    shown,
    two_in_session,
)
from tests.http.support import initialize, request

TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
QUICK = HttpSettings(session_replica_idle=10)
PING = request("ping", id=9)
LOST = msgspec.json.encode(Lost(session=""))


@pytest.mark.parametrize(
    ("note", "written"),
    [
        (Wake(session="s", stream=1), {"note": "wake", "session": "s", "stream": 1}),
        (Moved(session="s", stream=1), {"note": "moved", "session": "s", "stream": 1}),
        (Ended(session="s", reason="r"), {"note": "ended", "session": "s", "reason": "r"}),
        (
            Announced(session="", method="m", once="o"),
            {"note": "announced", "session": "", "method": "m", "once": "o"},
        ),
        (HangUp(session="s", retry=2.5), {"note": "hang up", "session": "s", "retry": 2.5}),
        (
            HangUp(session="s", stream=1, retry=2.5),
            {"note": "hang up", "session": "s", "stream": 1, "retry": 2.5},
        ),
        (Lost(session=""), {"note": "lost", "session": ""}),
    ],
)
def test_notes_are_written_as_workers_of_another_version_read_them(
    note: Note, written: dict[str, Any]
) -> None:
    data = msgspec.json.encode(note)
    assert msgspec.json.decode(data) == written
    assert msgspec.json.decode(data, type=AnyNote) == note


def forgotten(bench: StoreBench, session: str) -> None:
    """Let a worker lose sight of a session."""
    bench.pass_time(11)
    assert bench.server.sessions == 0, session


def heard(bench: StoreBench, session: str) -> list[object]:
    """What a new GET stream brings."""
    route = bench.listen(session)
    bench.pump()
    seen = shown(bench.replies[route])
    bench.cut(route)
    return seen


@pytest.mark.parametrize("away", ["forgotten", "dead", "forgotten by who announces"])
def test_a_session_that_nobody_knew_hears_it_when_it_is_used(away: str) -> None:
    one, other, session = two_in_session(settings=QUICK)
    if away == "dead":
        one.worker.store.leave("a")
    else:
        forgotten(one, session)
    other.now = one.now
    says = other if away in ("forgotten", "dead") else one
    says.server.notify(TOOLS)
    says.server.notify("notifications/x", {"n": 1})
    says.pump()
    assert says.asked(QueuePut) == []
    assert says.server.sessions == 0
    assert says.post(PING, mcp_session_id=session).status == 200
    assert heard(says, session) == ["tools/list_changed", "x"]
    assert heard(says, session) == []


def test_what_is_said_again_and_again_is_heard_once_afterwards() -> None:
    one, session = one_in_session(settings=QUICK)
    uri = {"uri": "a://b"}
    for id, each in enumerate(("a://b", "a://c")):
        one.post(request("resources/subscribe", {"uri": each}, id=id), mcp_session_id=session)
    forgotten(one, session)
    for _ in range(50):
        one.server.notify(TOOLS)
        one.server.notify(UPDATED, uri)
        one.server.notify(UPDATED, {"uri": "a://unknown"})
        assert one.server.log(None, "error", "twice") is False
    one.server.notify(UPDATED, {"uri": "a://c"})
    one.pump()
    route = one.listen(session)
    events = one.replies[route].events
    assert [each["params"] for each in events if each["method"] == UPDATED] == [
        uri,
        {"uri": "a://c"},
    ]
    # Each line of a log counts.
    assert shown(one.replies[route]).count("message") == 50
    assert shown(one.replies[route]).count("tools/list_changed") == 1


def test_what_one_worker_knew_is_not_said_again_at_another() -> None:
    one, other, session = two_in_session()
    stream = one.listen(session)
    for number in range(3):
        one.server.notify(f"notifications/{number}")
        settle(one, other)
    other.server.notify("notifications/3")
    settle(other, one)
    # This worker has never seen the session, and looks for what it might have missed.
    assert heard(other, session) == []
    assert other.outcomes(QueuePut) == [False] * 4
    settle(one, other)
    assert shown(one.replies[stream]) == ["0", "1", "2", "3"]


def test_what_one_session_has_missed_is_said_to_no_other() -> None:
    one, other, session = two_in_session()
    listen = other.modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    one.server.notify(TOOLS)
    settle(one, other)
    assert heard(other, session) == ["tools/list_changed"]
    assert shown(listen)[1:] == ["tools/list_changed"]


def test_what_was_said_before_a_session_began_is_none_of_its_business() -> None:
    one, other = party("a", "b")
    one.server.notify("notifications/old")
    settle(one, other)
    one.now += 1
    other.now = one.now
    session = one.session()
    assert heard(other, session) == []
    assert other.asked(Announcements)[0].since == EPOCH + one.now


def test_what_a_worker_of_a_newer_version_has_announced_is_passed_over() -> None:
    one, other, session = two_in_session()
    for number, note in enumerate((b'{"note":"announced","about":"t"}', b"\xff")):
        strange = Announce(token=1, session="", note=note, topic=f"{number}")
        assert one.worker.do(strange, EPOCH + one.now) is None
    other.worker.read_mail()
    other.worker.notes.clear()  # of which the driver tells
    one.server.notify(TOOLS)
    one.pump()
    assert heard(other, session) == ["tools/list_changed"]


def test_a_session_in_use_is_not_told_old_stories() -> None:
    one, other, session = two_in_session(settings=HttpSettings(session_touch=5, store_timeout=5))
    one.server.notify("notifications/old")
    settle(one, other)
    one.pass_time(100)
    one.post(PING, mcp_session_id=session)
    used = one.now
    one.pass_time(50)
    other.now = one.now
    other.server.notify("notifications/new")
    other.pump()
    other.post(PING, mcp_session_id=session)
    assert other.asked(Announcements)[0].since == EPOCH + used - 10
    assert len(other.outcomes(QueuePut)) == 1


def test_the_store_is_asked_until_it_says_what_was_missed() -> None:
    one, other, session = two_in_session()
    one.worker.store.leave("a")
    other.server.notify(TOOLS)
    other.pump()
    other.failing("Announcements")
    stream = other.replies[other.listen(session)]
    other.pass_time(3)
    assert shown(stream) == []
    other.recover(1)
    assert shown(stream) == ["tools/list_changed"]
    asked = len(other.asked(Announcements))
    other.pass_time(20)
    assert len(other.asked(Announcements)) == asked


def test_what_is_said_before_it_is_known_what_was_missed_comes_behind_that() -> None:
    one, other, third = party("a", "b", "c")
    session, another = one.session(), other.session()
    one.worker.store.leave("a")
    third.server.notify("notifications/missed")
    third.pump()
    other.failing("Announcements")
    stream = other.replies[other.listen(session)]
    beside = other.replies[other.listen(another)]
    for here, name in ((other, "1"), (third, "2"), (other, "3")):
        here.server.notify(f"notifications/{name}")
        here.pump()
        other.pump()
    assert shown(beside) == ["missed", "1", "2", "3"]
    assert shown(stream) == []
    other.recover(2)
    assert shown(stream) == ["missed", "1", "2", "3"]
    other.server.notify("notifications/4")
    other.pump()
    assert shown(stream) == ["missed", "1", "2", "3", "4"]


@pytest.mark.parametrize(("most", "said"), [(1000, ["1", "2", "3"]), (2, ["2", "3"])])
def test_what_is_said_after_the_store_was_asked_what_was_missed_comes_behind_that(
    most: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpcore.http.server.stored.sessions.MOST_NOTES", most)
    one, other, third = party("a", "b", "c")
    session = one.session()
    one.worker.store.leave("a")
    third.server.notify("notifications/missed")
    third.pump()
    other.slow = True
    stream = other.replies[other.listen(session)]
    other.step()
    assert "Announcements" in other.waiting()
    other.worker.carry_out(100, EPOCH + other.now)  # and the answer is on its way
    for name in ("1", "2", "3"):
        third.server.notify(f"notifications/{name}")
        third.pump()
        other.mail()
    other.go_on()
    assert shown(stream) == ["missed", *said]


def test_what_is_on_its_way_to_the_store_is_said_to_a_session_that_becomes_known() -> None:
    one, other, session = two_in_session()
    one.worker.store.leave("a")
    other.slow = True
    route = other.listen(session)
    other.server.notify("notifications/1")
    other.server.notify("notifications/2")  # goes when the first has gone
    other.pump()
    assert other.waiting() == ["SessionLoad", "Announce"]
    other.step()  # now the store is asked what was announced before
    assert "Announcements" in other.waiting()
    other.go_on()
    assert shown(other.replies[route]) == ["1", "2"]


def test_nobody_asks_for_a_session_that_is_gone() -> None:
    _, other, session = two_in_session()
    other.failing("Announcements")
    other.post(PING, mcp_session_id=session)
    other.send(method="DELETE", mcp_session_id=session)
    other.failing()
    asked = len(other.asked(Announcements))
    other.pass_time(20)
    assert len(other.asked(Announcements)) == asked


def test_a_handshake_that_was_not_completed_hears_nothing() -> None:
    one, other = party("a", "b")
    session = one.post(initialize()).headers["mcp-session-id"]
    one.worker.store.leave("a")
    other.server.notify(TOOLS)
    other.pump()
    other.post(PING, mcp_session_id=session)
    assert other.outcomes(QueuePut) == []


def test_an_announcement_is_one_step_however_many_sessions_there_are() -> None:
    (one,) = party("a", settings=QUICK, store=StoreSettings(lease=1e9, announcements=2))
    sessions = [one.session() for _ in range(20)]
    forgotten(one, sessions[0])
    for number in range(5):
        one.server.notify(f"notifications/{number}")
    one.pump()
    assert len(one.asked(Announce)) == 5
    assert one.asked(QueuePut) == []
    assert heard(one, sessions[7]) == ["3", "4"]


def test_what_may_be_lost_is_looked_for_at_once() -> None:
    one, other = party("a", "b")
    kept, lost = one.session(), one.session()
    stream = one.replies[one.listen(lost)]
    one.call(kept)
    delete = SessionDelete(token=1, session=lost)
    assert one.worker.do(delete, EPOCH + one.now)
    one.stored.note(LOST, now=one.now)
    one.pump()
    assert len(one.asked(SessionTouch)) >= 2
    assert stream.end is not None
    assert one.server.sessions == 1
    assert one.post(CALL, mcp_session_id=lost).status == 404
    assert one.post(PING, mcp_session_id=kept).status == 200
    # One that cannot be asked keeps what it knows.
    one.failing("SessionTouch")
    one.stored.note(LOST, now=one.now)
    one.pump()
    assert one.post(PING, mcp_session_id=kept).status == 200
    assert cursor(one.replies[one.listen(kept)])
    assert other.server.sessions == 0
