"""HttpClient, refusals that the application answers by authorizing: states, deadlines, ends."""

import json
from itertools import product
from typing import Any

import pytest

from mcpcore import HttpClientSettings, HttpSend, Limits, LocalProtocolError, Negotiation, SseUse
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    FaultKind,
    NegotiationFailed,
    Ready,
    RequestEnded,
    ResultReceived,
    Violation,
)
from mcpcore.engine.lifecycle import step
from mcpcore.http.client.call import ADMISSION, Admission, AdmissionSignal
from mcpcore.http.client.challenges import Unauthorized
from mcpcore.wire.sse import encode_event
from tests.http.support import (
    DISCOVERED,
    DONE,
    ECHO,
    LEGACY,
    MODERN,
    Hand,
    initialize_result,
    legacy,
    modern,
    starting,
)

NAMED = 'Bearer resource_metadata="http://localhost/x"'
ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])


def hand_of(era: str, *, stream: bool = False, **settings: Any) -> Hand:
    made = HttpClientSettings(answer_challenges=True, **settings)
    limits = Limits(request_timeout=20, max_timeout=60)
    if era == "legacy":
        return legacy(stream=stream, settings=made, limits=limits)
    return modern(settings=made, limits=limits)


def beginning(negotiation: Negotiation = Negotiation.LEGACY, **settings: Any) -> Hand:
    """A client that is about to send its first message."""
    made = HttpClientSettings(answer_challenges=True, **settings)
    return starting(made, negotiation=negotiation)


def refuse(hand: Hand, send: HttpSend, status: int = 401, *lines: str) -> Unauthorized:
    """Refuse a request; return what the application is told."""
    headers = [(b"www-authenticate", line.encode()) for line in lines or (NAMED,)]
    hand.client.response_head(send.exchange, status, headers, now=hand.now)
    hand.end(send)
    told: Unauthorized = hand.take(Unauthorized)
    return told


def retry(hand: Hand, told: Unauthorized) -> HttpSend:
    route = hand.client.retry_exchange(told.exchange, now=hand.now)
    send = hand.next()
    assert send.exchange == route
    return send


def same(one: HttpSend, other: HttpSend) -> bool:
    parts = ("method", "target", "headers", "body", "timeout", "head_timeout", "repeatable")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


# The table


def test_each_pair_of_the_table() -> None:
    moves = {
        (state, signal): step(ADMISSION, state, signal)
        for state, signal in product(Admission, AdmissionSignal)
    }
    assert {pair: after for pair, after in moves.items() if after is not None} == {
        (Admission.SENT, AdmissionSignal.CHALLENGE): Admission.REFUSED,
        (Admission.REFUSED, AdmissionSignal.END): Admission.PARKED,
        (Admission.PARKED, AdmissionSignal.RETRY): Admission.SENT,
        (Admission.PARKED, AdmissionSignal.GIVE_UP): Admission.OVER,
    }


@ERAS
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_call_is_sent_again_as_it_was(era: str, status: int) -> None:
    hand = hand_of(era)
    request, first = hand.call()
    told = refuse(hand, first, status, NAMED, 'DPoP error="x"')
    assert told == Unauthorized(
        exchange=first.exchange,
        status=status,
        challenges=(NAMED, 'DPoP error="x"'),
        operation="tools/call echo",
    )
    assert hand.client.parked(first.exchange)
    again = retry(hand, told)
    assert same(first, again)
    assert again.exchange > first.exchange
    hand.result(again, DONE)
    assert hand.take(ResultReceived).request == request
    assert hand.client.exchanges == 0
    assert hand.aborted == []


@ERAS
def test_a_call_is_given_up(era: str) -> None:
    hand = hand_of(era)
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    told = refuse(hand, hand.next())
    hand.client.give_up_exchange(told.exchange, "nobody signed in", now=hand.now)
    ended = hand.ended(request, EndReason.REFUSED)
    assert ended.fault is not None
    assert (ended.fault.kind, ended.fault.status) == (FaultKind.AUTHORIZATION, 401)
    assert ended.message.startswith("tools/call: the server answered with HTTP status 401 ")
    assert ended.message.endswith("; nobody signed in")
    assert hand.client.exchanges == 0


@pytest.mark.parametrize(
    ("status", "lines", "settings"),
    [
        (401, [NAMED], {"answer_challenges": False}),
        (403, [], {}),
        (404, [NAMED], {}),
        (407, [NAMED], {}),
        (401, [NAMED], {"max_challenges": 0}),
    ],
)
def test_other_refusals_stand(status: int, lines: list[str], settings: dict[str, Any]) -> None:
    hand = modern(settings=HttpClientSettings(**{"answer_challenges": True, **settings}))
    _, send = hand.call()
    headers = [(b"www-authenticate", line.encode()) for line in lines]
    hand.client.response_head(send.exchange, status, headers, now=hand.now)
    hand.end(send)
    assert hand.take(RequestEnded).fault.status == status
    assert hand.kinds() == []


def test_no_refusal_is_answered_without_end() -> None:
    hand = hand_of("modern", max_challenges=3)
    _, send = hand.call()
    for _ in range(3):
        send = retry(hand, refuse(hand, send))
    hand.reply(send, 401, www_authenticate=NAMED)
    assert hand.take(RequestEnded).fault.kind is FaultKind.STATUS


@pytest.mark.parametrize("call", ["retry", "give up"])
def test_an_exchange_that_was_not_refused_is_not_answered(call: str) -> None:
    hand = hand_of("modern")
    _, send = hand.call()

    def answer() -> Any:
        if call == "retry":
            return hand.client.retry_exchange(send.exchange, now=hand.now)
        return hand.client.give_up_exchange(send.exchange, "x", now=hand.now)

    with pytest.raises(LocalProtocolError, match="the exchange is sent"):
        answer()
    hand.client.response_head(send.exchange, 401, [], now=hand.now)
    assert not hand.client.parked(send.exchange)
    with pytest.raises(LocalProtocolError, match="the exchange is refused"):
        answer()
    hand.result(send, DONE)  # the rest of the refusal is not read as an answer
    assert hand.kinds() == ["Unauthorized"]


def test_a_refusal_without_end_is_cut_off() -> None:
    hand = hand_of("modern")
    _, send = hand.call()
    hand.head(send, 401, "text/html", www_authenticate=NAMED)
    for _ in range(2 * 65):  # more may be on its way, and its end
        hand.data(send, bytes(1024))
    hand.end(send)
    assert hand.kinds() == ["Unauthorized"]
    assert hand.aborted == [send.exchange]
    assert hand.client.parked(send.exchange)


# Deadlines


@ERAS
def test_the_deadline_stands_still(era: str) -> None:
    hand = hand_of(era)
    _, send = hand.call()
    hand.pass_time(15)
    told = refuse(hand, send)
    hand.pass_time(500)
    assert hand.kinds() == []
    send = retry(hand, told)
    hand.pass_time(4.9)
    assert hand.kinds() == []
    hand.pass_time(0.2)
    assert hand.take(RequestEnded).reason is EndReason.TIMED_OUT


@pytest.mark.parametrize("then", ["cancelled", "answered"])
def test_the_deadlines_of_others_go_on_while_a_later_discovery_is_refused(then: str) -> None:
    """Nothing waits for one that does not open the conversation, such as a ping."""
    hand = hand_of("modern")
    request, _ = hand.call()
    asked = hand.client.request("server/discover", now=hand.now)
    told = refuse(hand, hand.next())
    if then == "cancelled":
        hand.client.cancel(asked, now=hand.now)
        assert hand.take(RequestEnded).request == asked
    hand.pass_time(20.5)
    hand.ended(request, EndReason.TIMED_OUT)
    if then == "answered":
        hand.result(retry(hand, told), DISCOVERED)
        assert hand.take(ResultReceived).request == asked


def test_progress_after_the_pause_counts_from_there() -> None:
    hand = hand_of("modern")
    request, send = hand.call(progress=True)
    told = refuse(hand, send)
    hand.pass_time(500)
    send = retry(hand, told)
    hand.pass_time(10)
    note = {"progressToken": request, "progress": 1}
    hand.stream(send, {"jsonrpc": "2.0", "method": "notifications/progress", "params": note})
    hand.pass_time(19)
    assert hand.kinds() == ["ProgressReceived"]
    hand.pass_time(2)
    assert hand.take(RequestEnded).reason is EndReason.TIMED_OUT


def test_the_limit_of_the_pause_ends_with_it() -> None:
    hand = modern(settings=HttpClientSettings(answer_challenges=True, answer_timeout=100.0))
    hand.client.request("tools/call", ECHO, now=hand.now, timeout=None)
    send = retry(hand, refuse(hand, hand.next()))
    hand.pass_time(1000)
    assert hand.aborted == []
    hand.result(send, DONE)
    hand.take(ResultReceived)


def test_the_pause_has_an_end() -> None:
    hand = hand_of("modern", answer_timeout=100.0)
    hand.client.request("tools/call", ECHO, now=hand.now, timeout=None)
    told = refuse(hand, hand.next())
    hand.pass_time(99)
    assert hand.kinds() == []
    hand.pass_time(1)
    assert hand.take(RequestEnded).message.endswith("; there was no authorization within 100 s")
    hand.client.requests_to_send()
    assert hand.aborted == [told.exchange]  # whoever is to answer may stop
    assert hand.client.retry_exchange(told.exchange, now=hand.now) is None
    hand.client.give_up_exchange(told.exchange, "late", now=hand.now)
    assert hand.kinds() == []
    assert hand.client.deadline() is None


# Cancellation and ends


@ERAS
def test_a_cancelled_call_leaves_nothing_behind(era: str) -> None:
    hand = hand_of(era)
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    told = refuse(hand, hand.next())
    hand.client.cancel(request, now=hand.now, reason="no")
    hand.pump()
    assert hand.aborted == [told.exchange]
    assert hand.sent == []  # the server has not begun with it
    assert hand.client.retry_exchange(told.exchange, now=hand.now) is None
    assert hand.client.exchanges == 0
    assert hand.client.deadline() is None


@pytest.mark.parametrize("what", ["call", "cancellation"])
def test_closing_ends_what_is_parked(what: str) -> None:
    hand = hand_of("legacy", delete_session=False)
    request, send = hand.call()
    if what == "cancellation":
        hand.client.cancel(request, now=hand.now)
        send = hand.next()
    refuse(hand, send)
    hand.client.close(now=hand.now)
    hand.pump()
    assert hand.client.exchanges == 0
    hand.take(ConnectionEnded)


def test_nothing_is_parked_while_closing_but_the_end_of_the_session() -> None:
    hand = hand_of("legacy")
    hand.client.close(now=hand.now)
    delete = hand.next()
    assert delete.method == "DELETE"
    again = retry(hand, refuse(hand, delete))
    assert same(delete, again)
    told = refuse(hand, again)
    hand.client.give_up_exchange(told.exchange, "no", now=hand.now)
    hand.take(ConnectionEnded)
    assert hand.client.exchanges == 0


def test_a_parked_call_goes_to_the_next_session() -> None:
    hand = hand_of("legacy")
    one = hand.client.request("tools/call", ECHO, now=hand.now)
    told = refuse(hand, hand.next())
    hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 404)
    first = hand.next()
    assert hand.body_of(first)["method"] == "initialize"
    assert hand.client.retry_exchange(told.exchange, now=hand.now) is None
    hand.result(first, initialize_result(), mcp_session_id="s-2")
    hand.reply(hand.next(), 202)
    sent = {hand.fields_of(send)["mcp-session-id"] for send in hand.sent}
    assert sent == {"s-2"}
    (again,) = (send for send in hand.sent if b'"tools/call"' in send.body)
    hand.result(again, DONE)
    assert hand.take(ResultReceived).request == one


def test_what_opens_a_session_in_place_of_a_lost_one_waits_for_an_outage_to_pass() -> None:
    hand = hand_of("legacy", max_resumes=2)
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 404)
    for number in range(2):
        told = refuse(hand, hand.next())
        assert told.operation == "initialize"
        hand.client.give_up_exchange(told.exchange, "status 503", now=hand.now, passing=True)
        again = hand.next()
        assert hand.body_of(again)["method"] == "initialize"
        assert again.after is not None
        assert again.after > number
        hand.sent.insert(0, again)
    told = refuse(hand, hand.next())
    hand.client.give_up_exchange(told.exchange, "status 503", now=hand.now, passing=True)
    ended = hand.take(RequestEnded)
    assert (ended.request, ended.fault.kind) == (request, FaultKind.AUTHORIZATION)
    assert "status 503" in hand.take(NegotiationFailed).message


# Messages that open a conversation


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("negotiation", [Negotiation.AUTO, Negotiation.LEGACY])
def test_the_first_message_is_refused(negotiation: Negotiation, good: bool) -> None:
    hand = beginning(negotiation)
    told = refuse(hand, hand.next())
    auto = negotiation is Negotiation.AUTO
    assert told.operation == ("server/discover" if auto else "initialize")
    hand.pass_time(300)
    if good:
        hand.result(retry(hand, told), DISCOVERED if auto else initialize_result())
        assert hand.take(Ready).revision.name == (MODERN if auto else LEGACY)
        return
    hand.client.give_up_exchange(told.exchange, "nobody signed in", now=hand.now)
    failed = hand.take(NegotiationFailed)
    assert failed.fault.kind is FaultKind.AUTHORIZATION
    assert "nobody signed in" in failed.message
    assert hand.sent == [], "it is no evidence of another era"


@pytest.mark.parametrize("then", ["good", "given up", "cancelled", "an outage"])
def test_the_message_that_opens_a_session_is_refused(then: str) -> None:
    hand = beginning(get_stream=False)
    hand.result(hand.next(), initialize_result(), mcp_session_id="s-1")
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    told = refuse(hand, hand.next())
    assert told.operation == "notifications/initialized"
    hand.pass_time(400)  # the call that waits for it has not timed out
    if then == "an outage":
        hand.client.give_up_exchange(told.exchange, "503", now=hand.now, passing=True)
        again = hand.next()
        assert again.after
        told = refuse(hand, again)
    if then == "given up":
        hand.client.give_up_exchange(told.exchange, "nobody signed in", now=hand.now)
        ended = hand.take(RequestEnded)
        assert (ended.method, ended.fault.kind) == ("tools/call", FaultKind.AUTHORIZATION)
        assert "nobody signed in" in hand.take(ConnectionEnded).reason
        return
    if then == "cancelled":
        hand.client.cancel(request, now=hand.now)
    hand.reply(retry(hand, told), 202)
    if then != "cancelled":
        hand.result(hand.next(), DONE)
        hand.take(ResultReceived)
    assert hand.sent == []
    assert hand.client.deadline() is None


def test_messages_after_a_refused_report_keep_their_order() -> None:
    hand = hand_of("legacy", stream=True)
    get = hand.next()
    ask = {"jsonrpc": "2.0", "id": 7, "method": "roots/list"}
    hand.event(get, ask)
    key = next(event.key for event in hand.events if hasattr(event, "key"))
    hand.events.clear()
    hand.client.respond(key, {"roots": []})
    told = refuse(hand, hand.next())
    hand.pump()
    again = retry(hand, told)
    assert json.loads(again.body)["id"] == 7
    hand.reply(again, 202)
    assert hand.kinds() == []


def test_a_notification_is_given_up() -> None:
    hand = hand_of("legacy")
    hand.client.notify("notifications/roots/list_changed")
    told = refuse(hand, hand.next())
    hand.client.give_up_exchange(told.exchange, "no", now=hand.now)
    assert "status 401" in hand.take(Violation).message


# GETs


def test_the_standalone_stream_is_refused() -> None:
    hand = beginning().shake_hands()
    get = hand.next()
    again = retry(hand, refuse(hand, get))
    assert same(get, again)
    told = refuse(hand, again)
    hand.client.give_up_exchange(told.exchange, "no", now=hand.now)
    assert [event.recovery.value for event in hand.interruptions()] == ["fail"]
    assert hand.client.exchanges == 0


def test_a_stream_that_lasts_may_be_refused_each_time_that_it_is_opened_again() -> None:
    hand = starting(HttpClientSettings(answer_challenges=True, max_challenges=1))
    hand.result(hand.next(), initialize_result(LEGACY), mcp_session_id="s-1")
    hand.reply(hand.next(), 202)
    get = hand.next()
    for number in range(3):  # a token of a short life, or a nonce
        get = retry(hand, refuse(hand, get))
        hand.stream(get, {"jsonrpc": "2.0", "method": "notifications/x"}, id=f"e{number}")
        hand.pass_time(10)
        hand.end(get, "reset")
        get = hand.next()
    assert [each.recovery.value for each in hand.interruptions()] == ["resume"] * 3


def test_a_stream_waits_for_an_outage_to_pass() -> None:
    hand = starting(HttpClientSettings(answer_challenges=True, max_resumes=2))
    hand.result(hand.next(), initialize_result(LEGACY), mcp_session_id="s-1")
    hand.reply(hand.next(), 202)
    for _ in range(3):
        told = refuse(hand, hand.next())
        hand.client.give_up_exchange(told.exchange, "status 503", now=hand.now, passing=True)
    seen = hand.interruptions()
    assert [each.recovery.value for each in seen] == ["reopen", "reopen", "fail"]
    assert all("status 401" in each.reason and "status 503" in each.reason for each in seen)
    assert hand.client.exchanges == 0


def test_the_deadlines_of_all_stand_still_while_what_opens_a_session_is_refused() -> None:
    hand = hand_of("legacy")
    asked = [hand.client.request("tools/list", now=hand.now)]
    hand.reply(hand.next(), 404)
    told = refuse(hand, hand.next())
    assert told.operation == "initialize"
    hand.pass_time(100)
    asked.append(hand.client.request("tools/call", ECHO, now=hand.now))
    hand.pass_time(200)
    assert hand.kinds() == []
    retry(hand, told)
    hand.pass_time(19.9)
    assert hand.kinds() == []
    hand.pass_time(0.2)
    ended = [hand.take(RequestEnded) for _ in asked]
    assert [each.request for each in ended] == asked
    assert all("no answer within 20 seconds" in each.message for each in ended)


@pytest.mark.parametrize("outage", [False, True])
def test_a_resumption_is_refused(outage: bool) -> None:
    hand = hand_of("legacy")
    request, send = hand.call()
    hand.stream(send, {"jsonrpc": "2.0", "method": "notifications/x"}, id="e1")
    hand.end(send, "reset")
    get = hand.next()
    assert hand.fields_of(get)["last-event-id"] == "e1"
    if outage:
        told = refuse(hand, get)
        hand.client.give_up_exchange(told.exchange, "status 503", now=hand.now, passing=True)
        get = hand.next()
        assert get.after
    again = retry(hand, refuse(hand, get))
    assert hand.fields_of(again)["last-event-id"] == "e1"
    assert again.after is None
    body = {"jsonrpc": "2.0", "id": hand.body_of(send)["id"], "result": DONE}
    hand.stream(again, body)
    assert hand.take(ResultReceived).request == request


# HTTP+SSE


@pytest.mark.parametrize("good", [True, False])
def test_the_stream_of_http_sse_is_refused(good: bool) -> None:
    hand = beginning(legacy_sse=SseUse.ONLY)
    told = refuse(hand, hand.next())
    hand.pass_time(300)
    if not good:
        hand.client.give_up_exchange(told.exchange, "nobody signed in", now=hand.now)
        assert hand.take(NegotiationFailed).fault.kind is FaultKind.AUTHORIZATION
        return
    get = retry(hand, told)
    hand.head(get, 200, "text/event-stream")
    hand.data(get, encode_event(b"/messages", event="endpoint"))
    post = hand.next()
    again = retry(hand, refuse(hand, post))
    assert same(post, again)
    assert again.target == "/messages"
    hand.reply(again, 202)
    answer = {"jsonrpc": "2.0", "id": hand.body_of(post)["id"], "result": initialize_result()}
    hand.event(get, answer)
    hand.take(Ready)


def test_the_stream_that_is_tried_after_a_refusal_wants_authorization() -> None:
    hand = beginning()
    hand.reply(hand.next(), 405)
    told = refuse(hand, hand.next())
    hand.client.give_up_exchange(told.exchange, "nobody signed in", now=hand.now)
    failed = hand.take(NegotiationFailed)
    assert (failed.fault.kind, failed.fault.status) == (FaultKind.AUTHORIZATION, 401)


def test_the_stream_of_http_sse_names_no_endpoint_after_the_retry() -> None:
    hand = beginning(legacy_sse=SseUse.ONLY, endpoint_timeout=5.0)
    retry(hand, refuse(hand, hand.next()))
    hand.pass_time(5)
    assert "no endpoint within 5 s" in hand.take(NegotiationFailed).message


def test_a_stream_of_a_lost_session_is_not_sent_again() -> None:
    hand = hand_of("legacy")
    _, send = hand.call()
    hand.stream(send, {"jsonrpc": "2.0", "method": "notifications/x"}, id="e1")
    hand.end(send, "reset")
    told = refuse(hand, hand.next())
    hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 404)
    assert hand.client.retry_exchange(told.exchange, now=hand.now) is None
    assert hand.take(RequestEnded).method == "tools/call"


@pytest.mark.parametrize(
    ("params", "operation"),
    [
        ({"uri": "file:///x"}, "resources/read file:///x"),
        ({"name": 5}, "resources/read"),
        ({}, "resources/read"),
    ],
)
def test_what_was_refused_has_a_name(params: dict[str, Any], operation: str) -> None:
    hand = hand_of("legacy")
    hand.client.request("resources/read", params, now=hand.now)
    assert refuse(hand, hand.next()).operation == operation
