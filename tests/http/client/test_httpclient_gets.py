"""HttpClient, 404 to a GET of a session: the session is lost, or nothing is there for GET."""

from collections.abc import Callable

import pytest

from mcpcore import HttpClientSettings, HttpSend
from mcpcore.engine.events import ConnectionEnded, EndReason, Ready, RequestEnded, ResultReceived
from tests.http.client.test_httpclient_resume import broken
from tests.http.client.test_httpclient_sessions import begin_anew, reopen, streaming
from tests.http.support import ECHO, Hand, initialize_result, note, result, starting


def fresh(most: int = 2) -> tuple[Hand, HttpSend]:
    """A client in its first session, and the GET that it begins with."""
    settings = HttpClientSettings(max_lost_sessions=most)
    hand = starting(settings).shake_hands()
    return hand, hand.next()


def reconnecting(id: str | None = None) -> tuple[Hand, HttpSend]:
    """A client that comes back to its standalone stream, perhaps after an event."""
    hand, get = streaming()
    hand.event(get, note("notifications/a"), id=id)
    hand.end(get, "connection reset")
    return hand, hand.next()


def resuming() -> tuple[Hand, HttpSend]:
    """A client that comes back for the answer to a call."""
    hand, _ = broken()
    return hand, hand.next()


def called(hand: Hand) -> None:
    """A call is answered, in the session in use."""
    request, send = hand.call()
    assert hand.fields_of(send)["mcp-session-id"] == hand.client.session
    hand.reply(send, body=result(request))
    assert hand.take(ResultReceived).request == request
    assert hand.sent == []


@pytest.mark.requirement("basic/transports/session-lost")
@pytest.mark.parametrize(
    "begin",
    [fresh, reconnecting, lambda: reconnecting("e-1"), resuming],
    ids=["the first", "a stream anew", "after an event", "for an answer"],
)
def test_a_get_that_finds_no_session_begins_a_new_one(
    begin: Callable[[], tuple[Hand, HttpSend]],
) -> None:
    hand, get = begin()
    assert get.method == "GET"
    assert hand.fields_of(get)["mcp-session-id"] == "s-1"
    hand.events.clear()
    hand.head(get, 404, None)
    assert hand.client.session != "s-1"
    hand.stream(begin_anew(hand))
    hand.end(get)
    assert hand.client.session == "s-2"
    assert hand.take(Ready)
    called(hand)


@pytest.mark.parametrize(
    ("answers", "session", "left"),
    [
        # To one GET after the other; "cut" is the end of the stream of the last.
        ([200], "s-1", 1),
        ([405], "s-1", 0),
        ([404, 200], "s-2", 1),
        ([404, 405], "s-2", 0),
        ([404, 404], "s-2", 0),
        ([404, 503, 404], "s-2", 0),
        ([404, 503, 200], "s-2", 1),
        ([404, 200, "cut", 404, 200], "s-3", 1),
        ([404, 200, "cut", 404, 404], "s-3", 0),
        ([404, 200, "cut", 503, 404, 405], "s-3", 0),
    ],
    ids=str,
)
@pytest.mark.parametrize("most", [2, 3])
def test_how_many_sessions_the_answers_to_gets_cost(
    answers: list[int | str], session: str, left: int, most: int
) -> None:
    hand, get = fresh(most)
    opened = 1
    for answer in answers:
        if answer == "cut":
            hand.end(get, "connection reset")
        elif answer == 200:
            hand.stream(get)
        else:
            assert isinstance(answer, int)
            hand.reply(get, answer)
        if not hand.pump().sent:
            continue
        if hand.sent[0].method == "POST":
            opened += 1
            get = begin_anew(hand, f"s-{opened}")
        else:
            get = hand.next()
    assert hand.sent == []
    assert hand.client.session == session
    assert hand.client.exchanges == left
    assert "ConnectionEnded" not in hand.kinds()
    called(hand)


def test_where_nothing_is_there_for_get_no_call_is_resumed() -> None:
    hand, get = fresh()
    hand.reply(get, 404)
    hand.reply(begin_anew(hand), 404)
    request, send = hand.call()
    hand.stream(send, note("notifications/a"), id="e-1")
    hand.end(send, "connection reset")
    assert hand.sent == []
    hand.ended(request, EndReason.CLOSED)
    assert "RequestEnded" not in hand.kinds()
    called(hand)


def test_a_later_session_asks_by_get_once_more() -> None:
    hand, get = fresh()
    hand.reply(get, 404)
    hand.reply(begin_anew(hand), 404)
    for session, status in (("s-3", 404), ("s-4", 503), ("s-5", 200)):
        request = hand.client.request("tools/call", ECHO, now=hand.now)
        hand.reply(hand.next(), 404)
        get, again = begin_anew(hand, session), hand.next()
        if status == 200:
            hand.stream(get)
        else:
            hand.reply(get, status)
        if status == 503:
            hand.reply(hand.next(), 404)
        hand.reply(again, body=result(request))
        assert hand.take(ResultReceived).request == request
        assert (hand.client.session, hand.sent) == (session, [])
    # There is a stream after all: 404 tells of the session again.
    hand.end(get, "connection reset")
    hand.reply(hand.next(), 404)
    hand.stream(begin_anew(hand, "s-6"))
    called(hand)


def test_a_call_that_cannot_be_resumed_ends_once_in_either_session() -> None:
    hand, get = resuming()
    hand.reply(get, 404)
    ended = hand.take(RequestEnded)
    assert ended.reason is EndReason.CLOSED
    assert "lost the session" in ended.message
    reopen(hand)
    for gets in (1, 0):  # its 404 once more, and then none is asked
        request, send = hand.call()
        hand.stream(send, note("notifications/a"), id="e-2")
        hand.end(send, "connection reset")
        for _ in range(gets):
            hand.reply(hand.next(), 404)
        assert hand.take(RequestEnded).request == request
        assert hand.sent == []
        assert hand.client.session == "s-2"
    assert "RequestEnded" not in hand.kinds()
    assert hand.client.exchanges == 0


def test_calls_under_way_are_answered_where_they_were_asked() -> None:
    hand, get = fresh()
    request, send = hand.call()
    hand.reply(get, 404)
    later = hand.client.request("tools/call", ECHO, now=hand.now)
    get = begin_anew(hand)
    again = hand.next()
    assert hand.body_of(again)["id"] == later
    assert hand.fields_of(again)["mcp-session-id"] == "s-2"
    hand.reply(get, 404)
    hand.reply(send, body=result(request))
    hand.reply(again, body=result(later))
    assert [hand.take(ResultReceived).request for _ in range(2)] == [request, later]
    assert hand.sent == []
    assert hand.client.exchanges == 0


def test_a_late_404_of_the_session_before_says_nothing() -> None:
    hand, get = fresh()
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 404)
    second = begin_anew(hand)
    hand.reply(hand.next(), body=result(request))
    assert hand.take(ResultReceived).request == request
    hand.reply(get, 404)
    assert (hand.client.session, hand.sent) == ("s-2", [])
    # Nor does it count as the first that a GET has met.
    hand.reply(second, 404)
    hand.stream(begin_anew(hand, "s-3"))
    called(hand)


def cut(hand: Hand, method: str = "tools/call") -> tuple[int, HttpSend | None]:
    """A request whose stream breaks off behind an event, and the GET that picks it up, if any."""
    params = ECHO if method == "tools/call" else None
    request = hand.client.request(method, params, now=hand.now)
    send = hand.next()
    hand.stream(send, note("notifications/a"), id="e-1")
    hand.end(send, "connection reset")
    assert isinstance(request, int)
    return request, hand.next() if hand.sent else None


@pytest.mark.parametrize("missing", [False, True])
def test_late_news_of_the_session_before_concerns_that_one_alone(missing: bool) -> None:
    hand, get = fresh()
    request, late = cut(hand, "tools/list")
    assert late is not None
    hand.reply(get, 404)
    hand.reply(begin_anew(hand), 404 if missing else 405)
    hand.reply(late, 404)
    again = hand.next()
    assert (hand.body_of(again)["id"], hand.fields_of(again)["mcp-session-id"]) == (request, "s-2")
    hand.reply(again, body=result(request, {"tools": []}))
    assert hand.take(ResultReceived).request == request
    resumed = cut(hand)[1] is not None
    assert resumed is not missing


def test_a_stream_shows_that_something_is_there() -> None:
    hand, get = fresh()
    hand.reply(get, 404)
    get = begin_anew(hand)
    request, resumption = cut(hand)
    assert resumption is not None
    hand.reply(resumption, 404)
    assert hand.take(RequestEnded).request == request
    assert cut(hand)[1] is None
    hand.stream(get)
    assert cut(hand)[1] is not None
    assert hand.client.session == "s-2"


def announced(hand: Hand, session: str) -> None:
    """The session is lost when we say that we are ready."""
    hand.result(hand.next(), initialize_result(), mcp_session_id=session)
    hand.reply(hand.next(), 404)


def begun(hand: Hand, session: str) -> None:
    """The stream of the handshake can be picked up once, so that 404 is about the session."""
    both: list[dict[str, str]] = [{"mcp_session_id": session}, {}]
    for fields in both:
        send = hand.next()
        hand.head(send, 200, "text/event-stream", **fields)
        hand.data(send, b"id: e-1\nretry: 1000\ndata:\n\n")
        hand.end(send, "connection reset")
    hand.reply(hand.next(), 404)


def streamed(hand: Hand, session: str) -> None:
    """The stream breaks off, and the session is lost when it is opened again."""
    get = hand.shake_hands(session=session).next()
    hand.stream(get)
    hand.end(get, "connection reset")
    hand.reply(hand.next(), 404)


def asked(hand: Hand, session: str) -> None:
    """The session is lost when a question of the server is answered."""
    get = hand.shake_hands(session=session).next()
    hand.stream(get, {"jsonrpc": "2.0", "id": session, "method": "ping"})
    hand.reply(hand.next(), 404)


@pytest.mark.parametrize("most", [1, 2, 3, 4])
@pytest.mark.parametrize("lose", [announced, begun, streamed, asked])
def test_a_server_that_keeps_no_session_is_given_up(
    lose: Callable[[Hand, str], None], most: int
) -> None:
    hand = starting(HttpClientSettings(max_lost_sessions=most))
    waits = lose in (announced, begun)
    request = hand.client.request("tools/list", now=0) if waits else None
    rounds = 0
    while hand.pump().sent:
        rounds += 1
        assert rounds < 6
        lose(hand, f"s-{rounds}")
    assert rounds == most
    assert not waits or hand.take(RequestEnded).request == request
    assert hand.take(ConnectionEnded).reason == "the server does not keep its sessions"
    assert hand.client.exchanges == 0
