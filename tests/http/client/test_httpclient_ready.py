"""HttpClient, ``notifications/initialized``: said until it is accepted, or the session ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import HttpClientSettings, HttpSend, LocalProtocolError, ReconnectSettings
from mcpcore.engine.config import Limits, Negotiation
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    Fault,
    FaultKind,
    NotificationReceived,
    Ready,
    RequestEnded,
    ResultReceived,
    Violation,
)
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.http.client.test_legacy_sse_client import Piped, piped
from tests.http.cutwire import CutWire, Point
from tests.http.support import (
    DONE,
    ECHO,
    LEGACY,
    Hand,
    initialize_result,
    legacy,
    make_client,
    result,
)

INITIALIZED = "notifications/initialized"
NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
every_revision = pytest.mark.parametrize("version", NAMES)

PASSING: list[int | FaultKind | None] = [
    *(408, 425, 429, 500, 502, 503, 504),
    *(None, FaultKind.CONNECT, FaultKind.CONNECT_TIMEOUT, FaultKind.STALLED, FaultKind.HEADERS),
    *(FaultKind.TLS, FaultKind.PROXY),
]
"""What it may meet with and be said again: statuses, and what is wrong with a connection."""
FINAL: list[int | Fault] = [
    *(301, 307, 400, 401, 403, 404, 405, 410, 413),
    *(Fault(FaultKind.MALFORMED), Fault(FaultKind.TOO_LARGE), Fault(FaultKind.PROXY, 407)),
]


def opening(version: str = LEGACY, session: str | None = "s-1", **options: Any) -> Hand:
    """A client whose ``initialize`` was answered, and that is about to say that it is ready."""
    hand = Hand(make_client(negotiation=Negotiation.LEGACY, **options))
    hand.client.start(now=hand.now)
    fields = {} if session is None else {"mcp_session_id": session}
    hand.result(hand.next(), initialize_result(version), **fields)
    return hand


def saying(hand: Hand) -> HttpSend:
    """The next message, which is the announcement, and the only one."""
    send = hand.next()
    assert (send.method, hand.body_of(send)["method"]) == ("POST", INITIALIZED)
    assert hand.sent == [], "nothing else goes out before it is accepted"
    return send


def meets(hand: Hand, send: HttpSend, how: int | FaultKind | Fault | None, **headers: str) -> None:
    """Refuse what was sent: with a status, or with the loss of its connection."""
    if isinstance(how, int):
        hand.reply(send, how, b"not now", "text/plain", **headers)
        return
    fault = Fault(how) if isinstance(how, FaultKind) else how
    hand.client.response_end(send.exchange, error="it went wrong", fault=fault, now=hand.now)
    hand.pump()


def comes_after(hand: Hand, send: HttpSend) -> None:
    """Let so much time pass as is to pass before ``send``."""
    hand.pass_time(send.after or 0.0)


def ended(hand: Hand) -> list[RequestEnded]:
    hand.pump()
    return [event for event in hand.events if isinstance(event, RequestEnded)]


# It is said again


@every_revision
@pytest.mark.turns("version")
@pytest.mark.parametrize("how", PASSING)
def test_it_is_said_again_until_it_is_accepted(how: int | FaultKind | None, version: str) -> None:
    hand = opening(version)
    first = hand.client.request("tools/list", now=hand.now)
    send = saying(hand)
    fields, body, delays = hand.fields_of(send), send.body, []
    for _ in range(3):
        meets(hand, send, how)
        assert INITIALIZED in hand.take(Violation).message
        send = saying(hand)
        assert (hand.fields_of(send), send.body) == (fields, body)
        delays.append(send.after)
        comes_after(hand, send)
    second = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.client.notify("notifications/roots/list_changed")
    assert hand.pump().sent == []
    hand.head(send, 202, None)
    assert delays == [1.0, 2.0, 4.0]
    assert hand.next().method == "GET"
    bodies = [hand.body_of(hand.next()) for _ in range(3)]
    assert [body.get("id") for body in bodies] == [first, second, None]
    assert hand.kinds() == ["Ready"]
    hand.end(send)
    assert hand.sent == []


@pytest.mark.parametrize("session", ["s-1", None])
def test_without_a_session_id_as_well(session: str | None) -> None:
    hand = opening(session=session)
    meets(hand, saying(hand), 503)
    again = saying(hand)
    assert hand.fields_of(again).get("mcp-session-id") == session
    hand.reply(again, 202)
    assert hand.next().method == "GET"


@pytest.mark.parametrize("status", [200, 202, 204])
def test_accepted_is_accepted_whatever_comes_after_the_head(status: int) -> None:
    hand = opening()
    send = saying(hand)
    hand.head(send, status, None)
    assert hand.next().method == "GET"
    hand.end(send, "connection reset")
    assert hand.sent == []
    assert hand.kinds() == ["Ready"]


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_when(status: int) -> None:
    hand = opening()
    meets(hand, saying(hand), status, retry_after="7")
    send = saying(hand)
    assert send.after == 7.0
    comes_after(hand, send)
    meets(hand, send, status)
    assert saying(hand).after == 2.0


def test_a_refusal_without_end_is_read_as_far_as_any() -> None:
    hand = opening(settings=HttpClientSettings(max_refusal=100))
    send = saying(hand)
    hand.head(send, 503, "text/html")
    hand.data(send, b"x" * 101)
    hand.data(send, b"x")
    assert saying(hand).after == 1.0
    assert hand.aborted == [send.exchange]


def test_a_request_may_end_meanwhile() -> None:
    hand = opening()
    late = hand.client.request("tools/list", now=hand.now, timeout=2)
    unwanted = hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), 503)
    again = saying(hand)
    hand.client.cancel(unwanted, now=hand.now)
    hand.pass_time(3)
    reasons = {event.request: event.reason for event in ended(hand)}
    assert reasons == {late: EndReason.TIMED_OUT, unwanted: EndReason.CANCELLED}
    assert hand.sent == []
    hand.reply(again, 202)
    assert [send.method for send in hand.sent] == ["GET"]


def test_closing_does_not_wait_for_it() -> None:
    hand = opening()
    hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), 503)
    again = saying(hand)
    hand.client.close(now=hand.now)
    delete = hand.next()
    assert (delete.method, hand.fields_of(delete)["mcp-session-id"]) == ("DELETE", "s-1")
    assert hand.aborted == [again.exchange]
    hand.reply(delete, 204)
    hand.take(ConnectionEnded)
    assert (hand.sent, hand.client.exchanges) == ([], 0)


@every_revision
@pytest.mark.parametrize("lost", ["request", "head"])
def test_a_server_that_had_heard_it_bears_it_twice(version: str, lost: str) -> None:
    wire = CutWire(version)

    def first_only(send: HttpSend) -> Point | None:
        said = [each for each in wire.sent if INITIALIZED.encode() in each.body]
        fresh = INITIALIZED.encode() in send.body and not said
        return Point(before=lost) if fresh else None

    wire.choose = first_only
    wire.start()
    assert wire.cuts == 1
    assert len(wire.server_saw(Ready)) == (lost == "head")
    wire.pass_time(2)
    assert wire.methods().count(INITIALIZED) == 2
    assert len(wire.server_saw(Ready)) == 1, "what the server speaks of itself may begin"
    session = wire.client.session
    wire.server.notify("notifications/tools/list_changed", session=session)
    wire.run()
    assert len(wire.client_saw(NotificationReceived)) == 1


# It is given up


def expect_over(hand: Hand, requests: list[Any], fault: Fault | None, reason: EndReason) -> None:
    """Check that all is over, and that everybody knows why."""
    for event in ended(hand):
        assert event.request in requests
        requests.remove(event.request)
        assert (event.fault, event.reason) == (fault, reason)
        assert INITIALIZED in event.message
    assert requests == []
    (end,) = [event for event in hand.events if isinstance(event, ConnectionEnded)]
    assert INITIALIZED in end.reason
    assert (hand.sent, hand.client.exchanges) == ([], 0)
    with pytest.raises(LocalProtocolError):
        hand.client.request("tools/list", now=hand.now)


@every_revision
@pytest.mark.turns("version")
@pytest.mark.parametrize("how", FINAL)
def test_what_will_not_change_ends_the_session_at_once(how: int | Fault, version: str) -> None:
    # With a session id 404 says that the server has lost it.
    hand = opening(version, session=None if how == 404 else "s-1")
    requests = [hand.client.request("tools/list", now=hand.now) for _ in range(2)]
    hand.client.notify("notifications/roots/list_changed")
    meets(hand, saying(hand), how)
    fault, reason = how, EndReason.REFUSED
    if isinstance(how, int):
        fault = Fault(FaultKind.REDIRECT if how < 400 else FaultKind.STATUS, how)
    elif how.kind is FaultKind.PROXY:
        reason = EndReason.CLOSED
    else:
        reason = EndReason.INVALID
    assert isinstance(fault, Fault)
    expect_over(hand, requests, fault, reason)


def test_what_the_server_says_about_it_is_told() -> None:
    hand = opening()
    error = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "not like this"}}
    hand.reply(saying(hand), 400, error)
    assert "not like this" in hand.take(ConnectionEnded).reason


def test_it_is_said_so_often_and_no_more() -> None:
    hand = opening(settings=HttpClientSettings(max_resumes=2))
    request = hand.client.request("tools/list", now=hand.now)
    for delay in (None, 1.0, 2.0):
        send = saying(hand)
        assert send.after == delay
        meets(hand, send, 503)
    expect_over(hand, [request], Fault(FaultKind.STATUS, 503), EndReason.REFUSED)


@pytest.mark.parametrize(("timeout", "times"), [(0.5, 1), (10.0, 4), (60.0, 6), (None, 6)])
def test_it_is_said_for_as_long_as_a_request_may_take(timeout: float | None, times: int) -> None:
    hand = opening(limits=Limits(request_timeout=timeout))
    for _ in range(times):
        send = saying(hand)
        comes_after(hand, send)
        meets(hand, send, None)
    expect_over(hand, [], None, EndReason.CLOSED)


def test_nobody_waits_for_longer_than_that_because_the_server_says_so() -> None:
    hand = opening()
    request = hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), 503, retry_after="61")
    expect_over(hand, [request], Fault(FaultKind.STATUS, 503, 61.0), EndReason.REFUSED)


def test_the_half_open_session_is_deleted() -> None:
    hand = opening()
    meets(hand, saying(hand), 400)
    hand.client.close(now=hand.now)
    delete = hand.next()
    assert (delete.method, hand.fields_of(delete)["mcp-session-id"]) == ("DELETE", "s-1")


# In the place of a session that was lost


def lost(hand: Hand, requests: int = 1) -> list[Any]:
    """Let calls find that the session is lost, and the next one be opened."""
    calls = [hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(requests)]
    for send in [hand.next() for _ in calls]:
        hand.reply(send, 404)
    hand.result(hand.next(), initialize_result(), mcp_session_id="s-2")
    return calls


def test_a_next_session_that_cannot_be_announced_ends_what_waited_for_it() -> None:
    hand = legacy()
    requests = lost(hand, 2)
    requests.append(hand.client.request("tools/list", now=hand.now))
    meets(hand, saying(hand), 403)
    expect_over(hand, requests, Fault(FaultKind.STATUS, 403), EndReason.REFUSED)


def test_each_session_has_all_its_tries() -> None:
    hand = legacy(settings=HttpClientSettings(max_resumes=1), limits=Limits(request_timeout=5))
    for session in range(3):
        if session:
            hand.pass_time(10)
        (request,) = lost(hand)
        send = saying(hand)
        meets(hand, send, 503)
        send = saying(hand)
        assert send.after == 1.0
        hand.reply(send, 202)
        hand.reply(hand.next(), 405)
        hand.reply(hand.next(), body=result(request))
        assert hand.take(ResultReceived).request == request


def test_a_session_that_is_lost_while_it_is_announced_is_opened_anew() -> None:
    hand = opening()
    request = hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), 503)
    hand.reply(saying(hand), 404)
    hand.result(hand.next(), initialize_result(), mcp_session_id="s-2")
    hand.reply(saying(hand), 202)
    assert hand.next().method == "GET"
    assert hand.body_of(hand.next())["id"] == request


# HTTP+SSE


def piped_opening() -> Piped:
    return piped().begin().endpoint().answer_initialize()


def test_over_sse_it_is_said_again() -> None:
    hand = piped_opening()
    request = hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), 503)
    again = saying(hand)
    assert (again.target, again.after) == ("/messages?session_id=1", 1.0)
    hand.reply(again, 202)
    assert hand.body_of(hand.next())["id"] == request


@pytest.mark.parametrize("status", [400, 404])
def test_over_sse_the_conversation_ends(status: int) -> None:
    hand = piped_opening()
    request = hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), status)
    fault = Fault(FaultKind.STATUS, status)
    assert hand.client.stream_fault == fault
    expect_over(hand, [request], fault, EndReason.REFUSED)
    assert hand.get.exchange in hand.aborted


def test_over_sse_requests_wait_for_the_next_conversation() -> None:
    hand = piped_opening()
    hand.client.reconnects = ReconnectSettings()
    request = hand.client.request("tools/list", now=hand.now)
    meets(hand, saying(hand), 400)
    hand.take(ConnectionEnded)
    hand.client.succeed()
    hand.begin().endpoint("/messages?session_id=2").answer_initialize()
    hand.reply(saying(hand), 202)
    assert hand.body_of(hand.next())["method"] == "tools/list"
    assert request not in [event.request for event in ended(hand)]


# Whatever it meets with


@given(st.lists(st.sampled_from([*PASSING, *FINAL]), max_size=8), st.integers(0, 4))
def test_a_session_begins_or_ends(hows: list[int | FaultKind | Fault | None], most: int) -> None:
    hand = opening(settings=HttpClientSettings(max_resumes=most))
    requests = [hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2)]
    said = 0
    for how in hows:
        send = saying(hand)
        said += 1
        comes_after(hand, send)
        if how == 404:
            how = 405
        meets(hand, send, how)
        if not hand.sent:
            break
    else:
        send = saying(hand)
        said += 1
        comes_after(hand, send)
        hand.reply(send, 202)
        hand.reply(hand.next(), 405)
        for request in requests:
            hand.reply(hand.next(), body=result(request, DONE))
        assert hand.kinds().count("ResultReceived") == 2
        assert "ConnectionEnded" not in hand.kinds()
        assert said <= most + 1
        return
    assert said <= most + 1
    assert sorted(event.request for event in ended(hand)) == requests
    assert hand.kinds().count("ConnectionEnded") == 1
    assert hand.client.exchanges == 0
