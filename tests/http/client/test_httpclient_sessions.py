"""HttpClient, legacy sessions: the standalone stream, resuming, and sessions that are lost."""

import json
from typing import Any

import pytest

from mcpcore import HttpClientSettings, HttpSend, Limits, Negotiation
from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    Fault,
    FaultKind,
    Ready,
    RequestEnded,
    ResultReceived,
)
from tests.http.support import (
    ECHO,
    LEGACY,
    Hand,
    initialize_result,
    legacy,
    make_client,
    modern,
    note,
    result,
    starting,
)


def streaming(**options: Any) -> tuple[Hand, HttpSend]:
    """A client in a session with its standalone stream open."""
    hand = Hand(make_client(negotiation=Negotiation.LEGACY, **options)).open_legacy(stream=True)
    return hand, hand.next()


# The standalone stream


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        *((status, b"no", "text/plain") for status in (400, 401, 403, 405, 406, 409)),
        *((status, b"no", "text/event-stream") for status in (300, 405)),
        (200, {"hello": 1}, "application/json"),
        (404, None, None),  # where there is no session that it could tell of
    ],
)
def test_a_server_need_not_offer_it(status: int, body: Any, kind: str | None) -> None:
    session = None if status == 404 else "s-1"
    hand = starting().shake_hands(session=session)
    hand.reply(hand.next(), status, body, kind)
    assert hand.sent == []
    assert hand.client.session == session
    assert hand.kinds() == ["Ready"]
    assert hand.client.exchanges == 0


@pytest.mark.parametrize("error", [None, "connection reset"])
def test_it_is_opened_again(error: str | None) -> None:
    hand, get = streaming()
    hand.event(get, note("notifications/a"))
    hand.end(get, error)
    again = hand.next()
    assert (again.method, again.after) == ("GET", 1.0)
    assert "last-event-id" not in hand.fields_of(again)
    hand.stream(again)
    hand.event(again, note("notifications/b"), id="e 7 é")
    hand.end(again)
    third = hand.next()
    assert third.after == 1.0
    assert dict(third.headers)[b"last-event-id"] == "e 7 é".encode()


def test_it_is_given_up_if_it_never_lasts() -> None:
    hand, get = streaming(settings=HttpClientSettings(max_resumes=3, retry_delay=2.0))
    delays = []
    hand.end(get)
    while hand.sent:
        again = hand.next()
        delays.append(again.after)
        if len(delays) == 2:
            hand.reply(again, 503)
        else:
            hand.end(again, "connection refused")
    assert delays == [2.0, 4.0, 8.0]
    assert hand.client.exchanges == 0
    request = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), body=result(request, {"tools": []}))
    assert hand.kinds() == ["ResultReceived"]


# Resuming


@pytest.mark.requirement(
    "basic/transports/client-polls", "basic/transports/resume", "basic/transports/retry-respected"
)
def test_a_broken_answer_is_resumed() -> None:
    hand = legacy()
    request, send = hand.call(progress=True)
    hand.head(send, 200, "text/event-stream")
    hand.data(send, b"id: e-1\nretry: 500\ndata:\n\n")
    hand.end(send)
    again = hand.next()
    fields = hand.fields_of(again)
    assert (again.method, again.after, again.body) == ("GET", 0.5, b"")
    assert fields["last-event-id"] == "e-1"
    assert fields["mcp-session-id"] == "s-1"
    assert fields["mcp-protocol-version"] == LEGACY
    assert fields["accept"] == "text/event-stream"
    hand.stream(again)
    hand.event(again, note("notifications/x"), id="e-2")
    hand.end(again, "connection reset")
    third = hand.next()
    assert hand.fields_of(third)["last-event-id"] == "e-2"
    assert third.after == 0.5
    hand.stream(third, result(request), id="e-3")
    hand.end(third)
    assert hand.kinds() == ["NotificationReceived", "ResultReceived"]
    assert hand.client.exchanges == 0


@pytest.mark.parametrize("id", [None, "a\x01b", "", "x" * 4097])
def test_without_an_event_id_that_can_be_sent_back_nothing_is_resumed(id: str | None) -> None:
    hand = legacy()
    request, send = hand.call()
    hand.stream(send, note("notifications/x"), id=id)
    hand.end(send)
    hand.ended(request, EndReason.CLOSED)
    assert hand.sent == []


def test_modern_streams_are_never_resumed() -> None:
    hand = modern()
    _, send = hand.call()
    hand.stream(send, note("notifications/x"), id="e-1")
    hand.end(send)
    assert hand.kinds() == ["NotificationReceived", "RequestEnded"]
    assert (hand.sent, hand.interruptions()) == ([], [])
    assert hand.client.deadline() is None, "nothing is left to be waited for"
    hand.pass_time(60)
    assert hand.aborted == []


@pytest.mark.requirement("basic/transports/retry-respected")
@pytest.mark.parametrize(
    ("retry", "after"), [(b"0", 0.1), (b"1500", 1.5), (b"999999999", 20.0), (b"x", 1.0)]
)
def test_the_delay_is_the_servers_within_bounds(retry: bytes, after: float) -> None:
    hand = legacy(settings=HttpClientSettings(max_retry_delay=20.0))
    _, send = hand.call()
    hand.stream(send)
    hand.data(send, b"id: 1\nretry: " + retry + b"\n\n")
    hand.end(send)
    assert hand.next().after == after


def test_nothing_is_resumed_while_closing() -> None:
    hand, get = streaming()
    hand.client.close(now=hand.now)
    hand.end(get)
    hand.reply(hand.next(), 204)
    assert hand.sent == []


# Lost sessions


def begin_anew(hand: Hand, session: str = "s-2") -> HttpSend:
    """Answer the handshake of a new session; give its GET."""
    again = hand.next()
    assert hand.body_of(again)["method"] == "initialize"
    assert "mcp-session-id" not in hand.fields_of(again)
    assert "mcp-protocol-version" not in hand.fields_of(again)
    hand.result(again, initialize_result(), mcp_session_id=session)
    initialized = hand.next()
    assert hand.body_of(initialized)["method"] == "notifications/initialized"
    assert hand.fields_of(initialized)["mcp-session-id"] == session
    assert hand.sent == []
    hand.reply(initialized, 202)
    get = hand.next()
    assert get.method == "GET"
    assert hand.fields_of(get)["mcp-session-id"] == session
    return get


def reopen(hand: Hand, session: str = "s-2") -> None:
    """The same, where there is no stream by GET."""
    hand.reply(begin_anew(hand, session), 405)


@pytest.mark.requirement("basic/transports/session-lost")
def test_a_lost_session_is_opened_again_and_its_requests_are_saved() -> None:
    hand = legacy()
    requests = [hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(3)]
    sends = [hand.next() for _ in requests]
    for send in sends[:2]:
        hand.reply(send, 404, {"jsonrpc": "2.0", "error": {"code": -32600, "message": "lost"}})
    assert hand.client.session is None
    assert len(hand.sent) == 1
    later = hand.client.request("prompts/list", now=hand.now)
    reopen(hand)
    hand.reply(sends[2], 404)
    # the two saved ones, the one that waited, and the one that noticed late
    ids = []
    while hand.sent:
        send = hand.next()
        assert hand.fields_of(send)["mcp-session-id"] == "s-2"
        ids.append(hand.body_of(send)["id"])
        hand.reply(send, body=result(ids[-1]))
    assert ids == [*requests[:2], later, requests[2]]
    assert hand.take(Ready).revision.name == LEGACY
    received = {hand.take(ResultReceived).request for _ in range(4)}
    assert received == {*requests, later}
    assert hand.kinds() == []
    assert hand.client.exchanges == 0


def test_what_cannot_be_saved_ends_once() -> None:
    hand = legacy()
    streamed, first = hand.call()
    hand.stream(first)
    hand.data(first, b"id: 1\n\n")
    noticed = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 404)
    hand.end(first)
    ended = hand.ended(streamed, EndReason.CLOSED)
    assert "session was lost" in ended.message
    reopen(hand)
    again = hand.next()
    hand.reply(again, body=result(noticed))
    assert hand.kinds() == ["Ready", "ResultReceived"]


def test_one_that_notices_late_is_sent_once_more_only() -> None:
    hand = legacy()
    early, late = (hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2))
    first, second = hand.next(), hand.next()
    hand.reply(first, 404)
    reopen(hand)
    hand.reply(hand.next(), body=result(early))
    hand.reply(second, 404)
    hand.reply(hand.next(), 404)
    hand.ended(late, EndReason.REFUSED)
    assert hand.client.session == "s-2"
    assert hand.sent == []


def test_what_is_refused_with_404_ends_alone() -> None:
    hand = legacy()
    beside, waiting = hand.call()
    hand.stream(waiting)
    for session in ("s-2", "s-3", "s-4", "s-5"):
        bad = hand.client.request("tools/call", ECHO, now=hand.now)
        hand.reply(hand.next(), 404)
        reopen(hand, session)
        hand.reply(hand.next(), 404)
        assert hand.take(RequestEnded).request == bad
        for _ in range(3):
            # So soon after that it would be the same again: no session is opened for it.
            bad = hand.client.request("tools/call", ECHO, now=hand.now)
            hand.reply(hand.next(), 404)
            assert hand.take(RequestEnded).request == bad
            assert hand.client.session == session
        hand.pass_time(1)
    hand.event(waiting, result(beside))
    assert hand.take(ResultReceived).request == beside
    good = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), body=result(good))
    assert hand.take(ResultReceived).request == good


def test_a_session_that_cannot_be_opened_again_ends_everything() -> None:
    hand = legacy()
    requests = [hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2)]
    sends = [hand.next() for _ in requests]
    hand.stream(sends[1])
    hand.reply(sends[0], 404)
    hand.reply(hand.next(), 500)
    ended = [event for event in hand.events if isinstance(event, RequestEnded)]
    assert sorted(event.request for event in ended) == requests
    assert "NegotiationFailed" in hand.kinds()
    assert hand.aborted == [sends[1].exchange]
    assert hand.client.exchanges == 0


@pytest.mark.parametrize("how", [429, 502, 503, 504, "refused", "reset", "cut"])
def test_a_server_that_restarts_is_waited_for(how: int | str) -> None:
    hand = legacy()
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 404)
    delays = []
    for _ in range(3):
        opening = hand.next()
        delays.append(opening.after)
        if isinstance(how, int):
            hand.reply(opening, how, b"restarting", "text/plain")
        else:
            assert "mcp-session-id" not in hand.fields_of(opening)
            if how == "cut":  # of this session nobody has heard to the end
                hand.head(opening, 200, "application/json", mcp_session_id="half")
                hand.data(opening, b'{"jsonrpc":')
            fault = Fault(FaultKind.CONNECT) if how == "refused" else None
            hand.client.response_end(opening.exchange, error=how, fault=fault, now=hand.now)
        hand.pump()
    assert delays == [None, 1.0, 2.0]
    assert hand.sent[0].after == 4.0
    reopen(hand)
    again = hand.next()
    hand.reply(again, body=result(request))
    assert hand.kinds() == ["Ready", "ResultReceived"]


def test_a_server_that_restarts_is_waited_for_whatever_it_says_meanwhile() -> None:
    hand = legacy(settings=HttpClientSettings(max_refusal=100))
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 404)
    opening = hand.next()
    hand.head(opening, 503, "text/html")
    hand.data(opening, b"x" * 101)
    assert hand.pump().aborted == [opening.exchange]
    hand.data(opening, b"x")
    reopen(hand)
    hand.reply(hand.next(), body=result(request))
    assert hand.kinds() == ["Ready", "ResultReceived"]


def test_a_server_that_stays_away_is_given_up() -> None:
    hand = legacy(settings=HttpClientSettings(max_resumes=2))
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 404)
    tries = 0
    while hand.pump().sent:
        hand.end(hand.next(), "connection refused")
        tries += 1
    assert tries == 3
    assert hand.take(RequestEnded).request == request
    assert hand.kinds() == ["NegotiationFailed"]
    assert hand.client.exchanges == 0


def test_a_loss_while_closing_opens_nothing() -> None:
    hand = legacy()
    _, send = hand.call()
    hand.client.response_head(send.exchange, 404, [], now=hand.now)
    hand.client.close(now=hand.now)
    assert hand.pump().sent == []
    assert hand.kinds() == ["RequestEnded", "ConnectionEnded"]


def test_answers_before_the_loss_come_first() -> None:
    hand = legacy()
    requests = [hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2)]
    sends = [hand.next() for _ in requests]
    client = hand.client
    client.response_head(sends[0].exchange, 200, [(b"content-type", b"application/json")], now=0)
    answer = json.dumps(result(requests[0])).encode()
    client.response_data(sends[0].exchange, answer, now=0)
    client.response_end(sends[0].exchange, now=0)
    client.response_head(sends[1].exchange, 404, [], now=0)
    client.response_end(sends[1].exchange, now=0)
    assert hand.take(ResultReceived).request == requests[0]
    reopen(hand)
    assert hand.body_of(hand.next())["id"] == requests[1]


def test_the_probe_of_a_server_without_sessions_is_no_loss() -> None:
    hand = Hand(make_client(limits=Limits(probe_timeout=5)))
    hand.client.start(now=0)
    hand.reply(hand.next(), 404)
    hand.result(hand.next(), initialize_result())
    hand.reply(hand.next(), 202)
    hand.reply(hand.next(), 405)
    request = hand.client.request("tools/call", ECHO, now=0)
    hand.reply(hand.next(), 404)
    hand.ended(request, EndReason.REFUSED)
    assert hand.sent == []


def refusal(id: Any, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}


@pytest.mark.parametrize("way", ["json", "stream", "status"])
@pytest.mark.parametrize(
    ("code", "text", "lost"),
    [
        (-32001, "Session not found", True),
        (-32000, "Bad Request: No valid session ID provided", True),
        (-32600, "invalid request: unknown session", True),
        (-32001, "Request timed out", False),
        (-32000, "busy: the session has too many requests", False),
        (-32603, "Session not found", False),
    ],
)
def test_an_error_that_says_that_the_session_is_lost(
    way: str, code: int, text: str, lost: bool
) -> None:
    """With a status of a refusal it counts as 404 does: the request is sent again, once.

    Any other is of the method, such as one whose own sessions are of another kind: it has run.
    """
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy()

    def refuse(send: HttpSend) -> None:
        body = refusal(hand.body_of(send)["id"], code, text)
        if way == "stream":
            hand.stream(send, body)
            hand.end(send)
        else:
            hand.reply(send, 200 if way == "json" else 400, body)

    hand.client.request("tools/call", {"name": "book"}, now=hand.now)
    first = hand.next()
    refuse(first)
    if lost and way == "status":
        reopen(hand)
        second = hand.next()
        assert (second.body, hand.fields_of(second)["mcp-session-id"]) == (first.body, "s-2")
        refuse(second)
    assert hand.take(ErrorReceived).error.code == code
    assert hand.sent == []
