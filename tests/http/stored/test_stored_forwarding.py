"""Workers of a store: what arrives at one worker and concerns another, and what concerns all."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from mcpcore import HttpSettings, Principal
from mcpcore.engine.events import (
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    RequestReceived,
    ResultReceived,
)
from mcpcore.http.storing import (
    Announce,
    Announced,
    AnyNote,
    Forwarded,
    NoteLost,
    NoteReceived,
    Post,
    QueuePut,
    SessionLoad,
)
from mcpcore.spec.errors import LEGACY_BUSY, LocalProtocolError
from tests.http.stored.cluster import home_of
from tests.http.stored.storebench import (
    CALL,
    StoreBench,
    one_in_session,
    party,
    settle,
    shown,
    two_in_session,
)
from tests.http.support import make_server, note, request


def notes(bench: StoreBench) -> list[tuple[str | None, Any]]:
    """To whom the worker has posted, and what."""
    sent = [step for step, _ in bench.worker.log if isinstance(step, Post | Announce)]
    return [
        (getattr(step, "to", None), msgspec.json.decode(step.note, type=AnyNote)) for step in sent
    ]


def forwarded(bench: StoreBench) -> list[str | None]:
    return [to for to, each in notes(bench) if isinstance(each, Forwarded)]


def result(id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": {"roots": []}}


# Answers


@pytest.mark.parametrize("principal", [None, "me", Principal("me", scopes=["a"])])
def test_an_answer_finds_the_worker_that_has_asked(principal: str | None) -> None:
    one, other, session = two_in_session(principal=principal)
    route, key = one.call(session, principal=principal)
    asked = one.question(key)
    assert one.replies[route].events[0]["id"] == asked
    other.slow = True
    reply = other.post(result(asked), mcp_session_id=session, principal=principal)
    other.step()
    assert other.waiting() == ["Post", "Announcements"]
    assert reply.head is None
    other.step()
    assert reply.status == 202
    assert reply.body == b""
    assert [step.session for step in other.asked(Post)] == [session]
    settle(one)
    assert one.take(ResultReceived).request == asked
    # The same answer again, wherever it comes, is an echo.
    other.slow = False
    for bench in (one, other):
        again = bench.post(result(asked), mcp_session_id=session, principal=principal)
        assert again.status == 202
    settle(one, other)
    assert one.kinds() == ["SessionOpened", "Ready"]
    assert other.kinds() == ["SessionRestored"]


def test_an_answer_that_cannot_be_passed_on() -> None:
    one, other, session = two_in_session()
    _, key = one.call(session)
    asked = one.question(key)
    other.failing("Post")
    reply = other.post(result(asked), mcp_session_id=session)
    assert reply.status == 503
    assert reply.code == LEGACY_BUSY
    other.failing()
    assert other.post(result(asked), mcp_session_id=session).status == 202
    settle(one)
    assert one.take(ResultReceived).request == asked


def test_answers_that_concern_nobody_go_no_further() -> None:
    one, other, session = two_in_session()
    for id in (7, "x", "a.b.1", "a.00000000.x", "..1", "a" * 70 + ".00000000.1", "b.00000000.1"):
        assert other.post(result(id), mcp_session_id=session).status == 202
    # A worker of that name may have been there.
    assert forwarded(other) == ["b"]
    settle(one, other)
    assert other.kinds() == ["SessionRestored"]


def test_an_answer_of_somebody_else_is_not_taken() -> None:
    one, other, session = two_in_session(principal="me")
    _, key = one.call(session, principal="me")
    asked = one.question(key)
    assert other.post(result(asked), mcp_session_id=session, principal="you").status == 404
    assert not forwarded(other)
    message = msgspec.Raw(msgspec.json.encode(result(asked)))
    for principal in (None, "you"):
        forged = Forwarded(session=session, message=message, principal=principal)
        one.stored.note(msgspec.json.encode(forged), now=one.now)
    one.pump()
    assert not any(isinstance(event, ResultReceived) for event in one.events)
    good = Forwarded(session=session, message=message, principal="me")
    one.stored.note(msgspec.json.encode(good), now=one.now)
    one.pump()
    assert one.take(ResultReceived).request == asked


def test_an_answer_of_another_session_is_not_taken() -> None:
    one, other = party("a", "b")
    session, foreign = one.session(), one.session()
    _, key = one.call(session)
    asked = one.question(key)
    assert other.post(result(asked), mcp_session_id=foreign).status == 202
    settle(one, other)
    assert not any(isinstance(event, ResultReceived) for event in one.events)
    assert other.post(result(asked), mcp_session_id=session).status == 202
    settle(one, other)
    assert one.take(ResultReceived).request == asked


# Progress and cancellations


def test_progress_finds_the_worker_that_has_asked() -> None:
    one, other, session = two_in_session()
    _, key = one.call(session)
    asked = one.server.request("roots/list", now=one.now, parent=key, progress=True)
    one.pump()
    body = note("notifications/progress", {"progressToken": asked, "progress": 3})
    assert other.post(body, mcp_session_id=session).status == 202
    assert forwarded(other) == ["a"]
    settle(one)
    assert one.take(ProgressReceived).progress == 3
    assert one.post(body, mcp_session_id=session).status == 202
    assert forwarded(one) == []


def test_a_cancellation_finds_the_request_wherever_it_is() -> None:
    one, two, three = party("a", "b", "c")
    session = one.session()
    route, key = one.call(session, id="mine")
    body = note("notifications/cancelled", {"requestId": "mine", "reason": "enough"})
    three.slow = True
    reply = three.post(body, mcp_session_id=session)
    three.step()
    assert reply.head is None
    three.step()
    assert reply.status == 202
    settle(one, two)
    cancelled = one.take(RequestCancelled)
    assert (cancelled.key, cancelled.reason) == (key, "enough")
    assert one.replies[route].status == 202
    assert one.replies[route].end is not None
    assert "RequestCancelled" not in two.kinds()
    assert forwarded(three) == [None]


def test_a_cancellation_of_what_is_known_here_goes_no_further() -> None:
    one, session = one_in_session()
    _, key = one.call(session)
    body = note("notifications/cancelled", {"requestId": 1})
    assert one.post(body, mcp_session_id=session).status == 202
    assert one.take(RequestCancelled).key == key
    assert forwarded(one) == []


def test_a_cancellation_right_behind_its_request() -> None:
    one, other, session = two_in_session()
    route = one.send(CALL, mcp_session_id=session, pump=False)
    body = note("notifications/cancelled", {"requestId": 1})
    one.send(body, mcp_session_id=session, pump=False)
    settle(one, other)
    assert one.take(RequestCancelled).key == one.take(RequestReceived).key
    assert one.replies[route].status == 202


@pytest.mark.parametrize(
    "body",
    [
        note("notifications/cancelled", {"requestId": [1]}),
        note("notifications/cancelled", {}),
        note("notifications/cancelled"),
        note("notifications/progress", {"progress": 1}),
        note("notifications/roots/list_changed"),
        note("notifications/x", {"requestId": 1}),
    ],
)
def test_what_is_for_this_worker_stays_here(body: Any) -> None:
    one, other, session = two_in_session()
    assert other.post(body, mcp_session_id=session).status == 202
    assert forwarded(other) == []
    settle(one)
    assert not any(isinstance(event, NotificationReceived) for event in one.events)


def test_a_batch_for_several_workers() -> None:
    one, two, three = party("a", "b", "c")
    session = one.session("2025-03-26")
    asked = []
    for bench in (one, two):
        _, key = bench.call(session, id=f"at {bench.worker.name}")
        asked.append(bench.server.request("roots/list", now=one.now, parent=key))
        bench.pump()
    batch = [
        result(asked[0]),
        {**CALL, "id": "here"},
        result(asked[1]),
        note("notifications/cancelled", {"requestId": "at a"}),
    ]
    route = three.send(batch, mcp_session_id=session)
    settle(one, two, three)
    assert forwarded(three) == ["a", "b", None]
    assert one.take(ResultReceived).request == asked[0]
    assert two.take(ResultReceived).request == asked[1]
    assert "RequestCancelled" in one.kinds()
    event = three.take(RequestReceived)
    assert event.id == "here"
    three.server.respond(event.key, {"content": []})
    three.pump()
    assert [answer["id"] for answer in three.replies[route].json] == ["here"]
    only = three.post([result(asked[0]), result(asked[1])], mcp_session_id=session)
    assert only.status == 202


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["mine", "theirs", "nobody's", "cancel", "ping", "note"]),
        min_size=1,
        max_size=8,
    )
)
def test_nothing_of_a_batch_is_lost(parts: list[str]) -> None:
    one, other, session = two_in_session("2025-03-26")
    asked: dict[int, Any] = {}
    batch: list[Any] = []
    _, far = one.call(session, id="far")
    _, near = other.call(session, id="near")
    for index, part in enumerate(parts):
        if part in ("mine", "theirs"):
            bench, key = (other, near) if part == "mine" else (one, far)
            asked[index] = bench.server.request("roots/list", now=one.now, parent=key)
            batch.append(result(asked[index]))
        elif part == "nobody's":
            batch.append(result(index))
        elif part == "cancel":
            batch.append(note("notifications/cancelled", {"requestId": f"none {index}"}))
        elif part == "ping":
            batch.append(request("ping", id=index))
        else:
            batch.append(note("notifications/x", {"index": index}))
    settle(one, other)
    reply = other.post(batch, mcp_session_id=session)
    settle(one, other)
    got = {
        event.request
        for bench in (one, other)
        for event in bench.events
        if isinstance(event, ResultReceived)
    }
    assert got == set(asked.values())
    pings = [index for index, part in enumerate(parts) if part == "ping"]
    assert reply.status == (200 if pings else 202)
    assert not pings or [answer["id"] for answer in reply.json] == pings
    heard = [event for event in other.events if isinstance(event, NotificationReceived)]
    assert len(heard) == parts.count("note")


# What concerns all


def test_everybody_hears_of_a_change_once() -> None:
    one, two, three = party("a", "b", "c")
    session = one.session()
    for bench in (two, three):
        bench.post(request("ping"), mcp_session_id=session)
    listens = [
        bench.replies[
            bench.send_modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        ]
        for bench in (one, two, three)
    ]
    stream = three.replies[three.listen(session)]
    settle(one, two, three)
    two.server.notify("notifications/tools/list_changed")
    settle(one, two, three)
    assert shown(stream) == ["tools/list_changed"]
    for reply in listens:
        assert shown(reply)[1:] == ["tools/list_changed"]
    puts = [outcome for bench in (one, two, three) for outcome in bench.outcomes(QueuePut)]
    assert sorted(map(bool, puts)) == [False, False, True]
    two.server.notify("notifications/tools/list_changed")
    two.server.notify("notifications/tools/list_changed")
    settle(one, two, three)
    assert shown(stream) == ["tools/list_changed"] * 3


@pytest.mark.parametrize("done", [False, True])
def test_a_note_that_the_store_fails_goes_again(done: bool) -> None:
    one, other, session = two_in_session()
    listen = other.replies[
        other.send_modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    ]
    stream = other.replies[other.listen(session)]
    one.failing("Post", "Announce", done=done)
    for _ in range(2):
        one.server.notify("notifications/tools/list_changed")
    set_level = request("logging/setLevel", {"level": "error"}, id=2)
    assert one.post(set_level, mcp_session_id=session).status == 200
    one.pass_time(2.5)
    settle(one, other)
    assert shown(listen)[1:] == ["tools/list_changed"] * (2 if done else 0)
    one.recover(2)
    settle(one, other)
    # What had arrived all the same is heard once.
    assert shown(listen)[1:] == ["tools/list_changed"] * 2
    assert shown(stream) == ["tools/list_changed"] * 2
    assert other.replica(session).peer._state.log_level == "error"
    assert one.server.deadline() is not None
    assert one.waiting() == []


def test_notes_that_go_again_keep_their_order() -> None:
    (one,) = party("a")
    one.slow = True
    for number in range(4):
        one.server.notify("notifications/x", {"n": number})
    one.step()
    one.failing("Announce")
    one.step(10)
    one.failing()
    one.slow = False
    one.pass_time(2)
    sent = [each for _, each in notes(one) if isinstance(each, Announced)]
    numbers = [msgspec.json.decode(each.params)["n"] for each in sent]  # type: ignore[arg-type]
    assert numbers == [0, 1, 2, 3, 1, 2, 3]


def test_what_is_said_to_one_and_to_all_is_said_twice() -> None:
    one, session = one_in_session()
    one.server.notify("notifications/x", {"n": 1}, session=session)
    one.server.notify("notifications/x", {"n": 1})
    one.server.notify("notifications/x", {"n": 1}, session=session)
    one.pump()
    assert shown(one.replies[one.listen(session)]) == ["x"] * 3


def test_notes_that_wait_for_the_store_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore.http.server.stored.sessions.MOST_NOTES", 5)
    one, other = party("a", "b")
    one.slow = True
    for number in range(20):
        one.server.notify("notifications/x", {"n": number})
    one.pump()
    one.slow = False
    settle(one, other)
    sent = [each for _, each in notes(one) if isinstance(each, Announced)]
    assert [msgspec.json.decode(each.params)["n"] for each in sent] == [0, *range(15, 20)]  # type: ignore[arg-type]
    last = msgspec.json.encode(sent[-1])
    other.stored.note(last, now=other.now)
    assert len(home_of(other.stored)._notes._heard) == 5


def test_only_those_who_subscribed_hear_of_a_resource() -> None:
    one, other = party("a", "b")
    session, deaf = one.session(), one.session()
    one.post(request("resources/subscribe", {"uri": "a://b"}, id=2), mcp_session_id=session)
    streams = [other.replies[other.listen(each)] for each in (session, deaf)]
    settle(one, other)
    for uri in ("a://b", "a://c"):
        one.server.notify(
            "notifications/resources/updated", {"uri": uri}, meta={"example.com/x": 1}
        )
    settle(one, other)
    assert [shown(stream) for stream in streams] == [["resources/updated"], []]
    (event,) = streams[0].events
    assert event["params"] == {"uri": "a://b", "_meta": {"example.com/x": 1}}


def test_everybody_hears_a_log_message_once() -> None:
    one, other = party("a", "b")
    session, quiet = one.session(), one.session()
    other.post(request("logging/setLevel", {"level": "error"}, id=2), mcp_session_id=quiet)
    other.post(request("ping"), mcp_session_id=session)
    settle(one, other)
    streams = [other.replies[other.listen(each)] for each in (session, quiet)]
    assert one.server.log(None, "warning", {"text": "é"}, "l", meta={"example.com/x": 1})
    settle(one, other)
    assert [shown(stream) for stream in streams] == [["message"], []]
    assert streams[0].events[0]["params"] == {
        "level": "warning",
        "data": {"text": "é"},
        "logger": "l",
        "_meta": {"example.com/x": 1},
    }
    assert one.server.log(None, "error", "x", session=quiet)
    assert not one.server.log(None, "debug", "x")
    settle(one, other)
    assert shown(streams[1]) == ["message"]


def test_mistakes_of_the_owner_reach_nobody() -> None:
    one, other, session = two_in_session()
    posted = len(one.asked(Post))
    with pytest.raises(LocalProtocolError):
        one.server.notify("notifications/cancelled")
    with pytest.raises(ValueError, match="object"):
        one.server.notify("notifications/x", msgspec.Raw(b"[1]"))
    with pytest.raises(LocalProtocolError, match="unknown log level 'loud'"):
        one.server.log(None, "loud", "x")
    with pytest.raises(LocalProtocolError, match="there is a call for it"):
        one.server.notify("notifications/message", {"level": "loud", "data": "x"})
    with pytest.raises(LocalProtocolError, match="no such session"):
        one.server.notify("notifications/x", session="x")
    with pytest.raises(LocalProtocolError, match="no such session"):
        other.server.request("roots/list", now=1.0, session=session)
    with pytest.raises(LocalProtocolError, match="no such session"):
        other.server.log(None, "error", "x", session=session)
    one.pump()
    assert len(one.asked(Post)) == posted
    assert not one.asked(Announce)


def test_a_session_is_told_something_by_a_worker_that_does_not_know_it() -> None:
    one, other, session = two_in_session()
    other.server.notify("notifications/x", {"n": 1}, session=session)
    other.server.notify("notifications/x", {"n": 2}, session=session)
    other.pump()
    assert len(other.asked(SessionLoad)) == 1
    stream = one.replies[one.listen(session)]
    assert [event["params"]["n"] for event in stream.events] == [1, 2]
    one.send(method="DELETE", mcp_session_id=session)
    settle(one, other)
    other.server.notify("notifications/x", session=session)
    other.pump()
    assert other.server.sessions == 0


def test_an_announcement_says_what_it_is() -> None:
    (one,) = party("a")
    one.server.notify("notifications/x", {"n": 1})
    one.server.notify("notifications/y")
    one.server.log(None, "error", "z")
    one.pump()
    first, second, third = (each for _, each in notes(one) if isinstance(each, Announced))
    assert (first.method, second.method) == ("notifications/x", "notifications/y")
    assert first.params == msgspec.Raw(b'{"n":1}')
    # Workers of another version know a line of a log by its method.
    assert third.method == "notifications/message"
    assert third.params == msgspec.Raw(b'{"level":"error","data":"z"}')
    assert len({first.once, second.once, third.once}) == 3


# Notes of the application


def test_a_note_of_the_application_reaches_that_of_another_worker() -> None:
    one, other, third = party("a", "b", "c")
    assert one.server.worker == "a"
    one.server.post_note("b", Raw(b'{"x":1}'), now=one.now)
    settle(one, other, third)
    event = other.take(NoteReceived)
    assert (event.sender, bytes(event.content)) == ("a", b'{"x":1}')
    one.server.post_note("gone", Raw(b"{}"), now=one.now)
    settle(one, other, third)
    assert one.kinds() == other.kinds() == third.kinds() == []


def test_a_note_that_the_store_fails_comes_back() -> None:
    one, other = party("a", "b")
    one.failing("Post")
    one.server.post_note("b", Raw(b"[1]"), now=one.now)
    settle(one, other)
    event = one.take(NoteLost)
    assert (bytes(event.content), event.reason) == (b"[1]", "it was told to fail")
    assert other.kinds() == []


def test_a_note_of_the_application_that_cannot_be_sent() -> None:
    [one] = party("a", settings=HttpSettings(max_body=100))
    with pytest.raises(LocalProtocolError, match="a note has at most 100 bytes, not 15"):
        one.server.post_note("b", Raw(b'"%s"' % (b"x" * 100)), now=one.now)
    assert one.waiting() == []
    local = make_server()
    assert local.worker == ""
    with pytest.raises(LocalProtocolError, match="in no store"):
        local.post_note("b", Raw(b"{}"), now=0.0)
