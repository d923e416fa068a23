"""HttpClient, what it says of one request of the server: in the order in which it was said."""

import json
from typing import Any

import pytest

from mcpcore.engine.events import Key, RequestCancelled, RequestReceived
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
    assert hand.client._turns == {}


def test_an_answer_alone_waits_for_nothing() -> None:
    hand, get = streaming()
    key = asked(hand, get)
    hand.client.progress(key, 1)
    hand.reply(hand.next(), 202)
    hand.client.respond(key, {"roots": []})
    assert posted(hand) == [1]
    assert hand.client._turns == {}


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
    assert hand.client._turns == {}
