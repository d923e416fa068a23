"""HttpClient, what it says of one request of the server: in the order in which it was said."""

import json
from typing import Any

import pytest

from mcpcore.engine.events import Fault, FaultKind, Key, RequestCancelled, RequestReceived
from mcpcore.http.messages import HttpSend
from tests.http.support import Hand, note
from tests.http.test_httpclient_sessions import streaming


def asked(hand: Hand, get: HttpSend, id: int = 1) -> Key:
    """The server asks something, and wants to hear of its progress."""
    params = {"_meta": {"progressToken": f"t{id}"}}
    hand.event(get, {"jsonrpc": "2.0", "id": id, "method": "roots/list", "params": params})
    key: Key = hand.take(RequestReceived).key
    return key


def posted(hand: Hand) -> list[Any]:
    """What was posted since the last look, in short."""
    hand.pump()
    bodies = [json.loads(send.body) for send in hand.sent]
    return [body["params"]["progress"] if "method" in body else body["id"] for body in bodies]


@pytest.mark.requirement("basic/patterns/progress/stops")
@pytest.mark.parametrize("ends", ["accepted", "failed", "refused"])
def test_reports_and_the_answer_that_follows_do_not_overtake_each_other(ends: str) -> None:
    hand, get = streaming()
    one, other = asked(hand, get), asked(hand, get, 2)
    for value in (1, 2, 3):
        hand.client.progress(one, value)
        hand.pump()
    hand.client.respond(one, {"roots": []})
    hand.client.respond(other, {"roots": []})
    assert posted(hand) == [1, 2], "the other request has nothing to wait for"
    report = hand.sent[0]
    hand.sent.clear()
    if ends == "failed":
        hand.end(report, "connection reset")
    else:
        hand.reply(report, 202 if ends == "accepted" else 500)
    assert posted(hand) == [3], "what came in between is out of date"
    hand.reply(hand.next(), 202)
    assert posted(hand) == [1]
    assert hand.client._state.turns == {}


def test_no_report_follows_a_cancellation() -> None:
    hand, get = streaming()
    key = asked(hand, get)
    hand.client.progress(key, 1)
    report = hand.next()
    hand.client.progress(key, 2)
    hand.event(get, note("notifications/cancelled", {"requestId": 1}))
    hand.take(RequestCancelled)
    hand.client.release(key)
    hand.reply(report, 202)
    assert posted(hand) == []
    assert hand.client._state.turns == {}


# Answers on connections that break


def answered(**options: Any) -> tuple[Hand, HttpSend]:
    """A client whose answer to a question of the server is on its way."""
    hand, get = streaming(**options)
    hand.event(get, {"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    hand.client.respond(hand.take(RequestReceived).key, {"roots": []})
    return hand, hand.next()


@pytest.mark.parametrize("fault", [None, Fault(FaultKind.CONNECT)])
def test_an_answer_is_sent_once_more_if_its_connection_breaks(fault: Fault | None) -> None:
    hand, send = answered()
    hand.client.response_end(send.exchange, error="reset", fault=fault, now=hand.now)
    again = hand.pump().next()
    assert (again.body, again.after) == (send.body, 1.0)
    assert hand.fields_of(again)["mcp-session-id"] == "s-1"
    hand.client.response_end(again.exchange, error="reset", now=hand.now)
    assert hand.pump().sent == [], "once"
    assert hand.kinds() == ["Violation"]


def test_an_answer_that_is_repeated_may_find_its_session_lost() -> None:
    hand, send = answered()
    hand.end(send, "reset")
    hand.reply(hand.next(), 404)
    assert hand.body_of(hand.next())["method"] == "initialize"


@pytest.mark.parametrize("how", ["refused", "stalled", "closing", "lost", "cut"])
def test_an_answer_is_not_sent_again_where_that_is_no_use(how: str) -> None:
    hand, send = answered()
    error, fault = "no", None
    if how == "refused":
        hand.reply(send, 500)
    elif how == "stalled":
        fault = Fault(FaultKind.STALLED)
    elif how == "closing":
        hand.client.close(now=hand.now)
    elif how == "cut":
        hand.head(send, 202, "text/plain")
    else:
        hand.client.request("tools/list", now=hand.now)
        hand.reply(hand.next(), 404)
    hand.client.response_end(send.exchange, error=error, fault=fault, now=hand.now)
    hand.pump()
    assert all(each.body != send.body for each in hand.sent)


def test_a_notification_is_not_repeated() -> None:
    hand, _ = streaming()
    hand.client.notify("notifications/roots/list_changed")
    hand.end(hand.next(), "reset")
    assert hand.sent == []
