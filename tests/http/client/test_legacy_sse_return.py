"""HTTP+SSE without I/O: the stream ends, and the next conversation takes over what may go on."""

import pytest

from mcpcore.engine.events import (
    ConnectionEnded,
    FaultKind,
    NegotiationFailed,
    Ready,
    RequestEnded,
    ResultReceived,
)
from mcpcore.engine.reconnection import ReconnectSettings, breaks_for_good
from mcpcore.spec.errors import LocalProtocolError
from tests.http.client.test_legacy_sse_client import Piped, piped
from tests.http.support import result


def returning(**settings: int) -> Piped:
    hand = piped().open()
    hand.client.reconnects = ReconnectSettings(**settings)
    return hand


def lose(hand: Piped) -> None:
    """The stream breaks; the machine is made ready for the next conversation."""
    hand.client.response_end(hand.get.exchange, error="reset", now=hand.now)
    hand.pump()
    hand.take(ConnectionEnded)
    hand.client.succeed()
    hand.pump()


def come_back(hand: Piped) -> None:
    """Another stream, another endpoint, another handshake."""
    hand.begin().endpoint("/messages?session_id=2")
    hand.answer_initialize("2025-06-18")
    announced = hand.next()
    assert announced.target.endswith("session_id=2")
    hand.reply(announced, 202)
    assert hand.take(Ready).revision.name == "2025-06-18"


def test_what_is_safe_goes_on_in_the_next_conversation() -> None:
    hand = returning()
    safe = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 202)
    unsafe = hand.client.request("tools/call", {"name": "t"}, now=hand.now)
    hand.reply(hand.next(), 202)
    lose(hand)
    assert hand.take(RequestEnded).request == unsafe
    later = hand.client.request("tools/call", {"name": "t"}, now=hand.now)
    hand.pump()
    assert not hand.sent
    come_back(hand)
    bodies = {hand.body_of(send)["id"]: send for send in (hand.next(), hand.next())}
    assert set(bodies) == {safe, later}
    for request, send in bodies.items():
        assert send.target.endswith("session_id=2")
        hand.reply(send, 202)
        hand.say(result(request, {}))
        assert hand.take(ResultReceived).request == request


def test_what_was_on_its_way_to_the_last_session_is_given_up() -> None:
    hand = returning()
    hand.client.request("tools/call", {"name": "t"}, now=hand.now)
    waiting = hand.next()
    lose(hand)
    assert waiting.exchange in hand.aborted
    assert hand.client.exchanges == 0
    hand.reply(waiting, 404)
    come_back(hand)
    assert hand.client.revision is not None


def test_a_stream_that_cannot_be_had_is_a_failed_negotiation_and_another_may_follow() -> None:
    hand = returning()
    kept = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 202)
    lose(hand)
    hand.begin()
    hand.client.response_end(hand.get.exchange, error="refused", now=hand.now)
    hand.pump()
    hand.take(NegotiationFailed)
    hand.client.end(now=hand.now, reason="refused")
    hand.pump()
    hand.take(ConnectionEnded)
    assert "RequestEnded" not in hand.kinds()
    hand.client.succeed()
    come_back(hand)
    assert hand.body_of(hand.next())["id"] == kept


def test_what_waited_ends_when_nothing_follows() -> None:
    hand = returning()
    kept = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 202)
    hand.client.response_end(hand.get.exchange, error="reset", now=hand.now)
    hand.pump()
    hand.take(ConnectionEnded)
    hand.client.renounce("for good")
    hand.pump()
    assert hand.take(RequestEnded).request == kept
    assert hand.client.deadline() is None
    with pytest.raises(LocalProtocolError):
        hand.client.succeed()


def test_what_was_wrong_with_a_stream_is_known_when_it_has_ended() -> None:
    hand = returning()
    faults = [hand.client.stream_fault]
    lose(hand)
    faults.append(hand.client.stream_fault)
    come_back(hand)
    hand.name("/elsewhere")
    hand.take(ConnectionEnded)
    fault = hand.client.stream_fault
    assert faults == [None, None]
    assert fault is not None
    assert fault.kind is FaultKind.MALFORMED
    assert breaks_for_good(fault)
