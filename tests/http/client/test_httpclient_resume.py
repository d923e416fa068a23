"""HttpClient, streams that break off: when it comes back, with what, and when it gives up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore import HttpClientSettings, HttpSend
from mcpcore.engine.events import (
    EndReason,
    Fault,
    FaultKind,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore.http.client.call import Backoff, Recovery
from tests.http.client.test_httpclient_sessions import reopen, streaming
from tests.http.support import ECHO, Hand, error, legacy, note, result, starting

SEED = bytes(range(16))


def broken(method: str = "tools/call", params: Any = ECHO, **options: Any) -> tuple[Hand, int]:
    """A client whose call has broken off after an event with an id."""
    hand = legacy(**options)
    request = hand.client.request(method, params, now=hand.now)
    send = hand.next()
    hand.stream(send)
    hand.data(send, b"id: e-1\ndata:\n\n")
    hand.end(send, "connection reset")
    assert isinstance(request, int)
    return hand, request


def cursor(hand: Hand, send: HttpSend) -> str | None:
    return hand.fields_of(send).get("last-event-id")


# How long it waits


@given(
    attempt=st.integers(1, 5000),
    retry=st.none() | st.floats(0, 1e12),
    seed=st.binary(max_size=100),
)
def test_delays_are_within_bounds(attempt: int, retry: float | None, seed: bytes) -> None:
    settings = HttpClientSettings()
    delay = Backoff(settings, seed).delay(attempt, retry)
    assert settings.min_retry_delay <= delay <= settings.max_retry_delay
    assert delay >= min(retry or 0.0, settings.max_retry_delay)
    assert delay == Backoff(settings, seed).delay(attempt, retry)


@pytest.mark.parametrize(
    ("retry", "delays"),
    [
        (None, [1, 2, 4, 8, 16]),
        (0.0, [0.1, 2, 4, 8, 16]),
        (0.5, [0.5, 2, 4, 8, 16]),
        (5.0, [5, 5, 5, 8, 16]),
    ],
)
def test_delays_double_whatever_the_server_asks_for(
    retry: float | None, delays: list[float]
) -> None:
    backoff = Backoff(HttpClientSettings(), b"")
    assert [backoff.delay(attempt, retry) for attempt in range(1, 6)] == delays


def test_clients_do_not_come_back_in_step() -> None:
    settings = HttpClientSettings(jitter=0.5)
    one, two = (Backoff(settings, seed) for seed in (SEED, SEED[::-1]))
    delays = [each.delay(1, 1.0) for each in (one, two) for _ in range(50)]
    assert len(set(delays)) == 100
    assert all(1.0 <= delay <= 1.5 for delay in delays)
    assert min(delays) < 1.1
    assert max(delays) > 1.4


def test_the_seed_of_a_client_spreads_its_times() -> None:
    hand, _ = broken(seed=SEED)
    after = hand.next().after
    assert after is not None
    assert 1.0 < after <= 1.2


# What it does, and says


def test_what_is_done_is_told() -> None:
    hand, request = broken(settings=HttpClientSettings(max_resumes=2))
    hand.end(hand.next(), "connection refused")
    hand.reply(hand.next(), 503)
    told = [
        (event.request, event.recovery, event.attempt, event.delay)
        for event in hand.interruptions()
    ]
    assert told == [
        (request, Recovery.RESUME, 1, 1.0),
        (request, Recovery.RESUME, 2, 2.0),
        (request, Recovery.FAIL, 2, 0.0),
    ]
    assert "connection reset" in hand.interruptions()[0].reason
    assert "connection refused" in hand.interruptions()[1].reason
    ended = hand.take(RequestEnded)
    assert ended.reason is EndReason.CLOSED
    assert "resuming failed 2 times" in ended.message
    assert hand.kinds() == []


@pytest.mark.parametrize(
    ("how", "attempts"),
    [
        *((status, 1) for status in (400, 405, 408, 410)),
        *((how, 2) for how in (503, "no connection", "cut")),
        ("json", 1),
    ],
)
def test_resuming_is_given_up(how: int | str, attempts: int) -> None:
    hand, request = broken(settings=HttpClientSettings(max_resumes=2))
    tried = 0
    while hand.sent:
        tried += 1
        again = hand.next()
        if isinstance(how, int):
            hand.reply(again, how, error(None, 1))
        elif how == "json":
            hand.reply(again, 200, result(request))
        elif how == "cut":
            hand.stream(again)
            hand.end(again, "connection reset")
        else:
            fault = Fault(FaultKind.CONNECT)
            hand.client.response_end(again.exchange, error="refused", fault=fault, now=hand.now)
            hand.pump()
    assert tried == attempts
    ended = hand.ended(request, EndReason.CLOSED)
    if isinstance(how, int) and attempts == 1:
        assert ended.fault == Fault(FaultKind.STATUS, how, sent_before=True)
        assert str(how) in ended.message
    elif how == "no connection":
        assert ended.fault == Fault(FaultKind.CONNECT, sent_before=True)
    assert hand.kinds() == []
    assert hand.interruptions()[-1].recovery is Recovery.FAIL


def test_what_is_told_follows_what_had_arrived() -> None:
    hand = legacy()
    request, send = hand.call()
    client = hand.client
    head = [(b"content-type", b"text/event-stream")]
    client.response_head(send.exchange, 200, head, now=0)
    body = b'id: 1\ndata: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'
    client.response_data(send.exchange, body, now=0)
    client.response_end(send.exchange, now=0)
    hand.pump()
    kinds = [type(event).__name__ for event in hand.events]
    assert kinds == ["NotificationReceived", "StreamInterrupted"]
    assert hand.interruptions()[0].request == request


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_cursor_that_the_server_does_not_take_begins_the_stream_anew(status: int) -> None:
    hand, get = streaming()
    hand.event(get, note("notifications/a"), id="e-1")
    hand.end(get)
    again = hand.next()
    assert cursor(hand, again) == "e-1"
    if status == 404:
        hand.client._state.session = None  # a server without sessions: 404 means this stream
        hand.client._state.calls[again.exchange].in_session = False
    hand.reply(again, status, b"no", "text/plain")
    new = hand.next()
    assert (new.method, cursor(hand, new), new.after) == ("GET", None, 2.0)
    hand.stream(new)
    recoveries = [event.recovery for event in hand.interruptions()]
    assert recoveries == [Recovery.RESUME, Recovery.REOPEN]
    assert [each.value for each in recoveries] == ["resume", "reopen"], "as it is logged"
    assert hand.kinds() == ["NotificationReceived", "StreamReopened"]
    assert hand.interruptions()[0].request is None


def test_a_server_may_not_have_noticed_yet_that_a_connection_is_dead() -> None:
    hand, get = streaming()
    hand.event(get, note("notifications/a"), id="e-1")
    hand.end(get)
    hand.reply(hand.next(), 409)
    again = hand.next()
    assert (cursor(hand, again), again.after) == ("e-1", 2.0)
    hand.stream(again)
    assert hand.kinds() == ["NotificationReceived"], "nothing was missed"


@pytest.mark.parametrize("status", [401, 403, 405])
def test_a_refusal_that_is_final(status: int) -> None:
    hand, get = streaming()
    hand.event(get, note("notifications/a"), id="e-1")
    hand.end(get)
    hand.reply(hand.next(), status)
    assert hand.sent == []
    assert [event.recovery for event in hand.interruptions()] == [Recovery.RESUME, Recovery.FAIL]


def test_resuming_can_be_switched_off() -> None:
    hand, _ = broken(settings=HttpClientSettings(resume=False))
    assert hand.sent == []
    assert hand.kinds() == ["RequestEnded"]
    hand, get = streaming(settings=HttpClientSettings(resume=False))
    hand.event(get, note("notifications/a"), id="e-1")
    hand.end(get)
    again = hand.next()
    assert cursor(hand, again) is None
    hand.stream(again)
    hand.event(again, note("notifications/b"))
    assert [event.recovery for event in hand.interruptions()] == [Recovery.REOPEN]


def test_reopening_can_be_switched_off() -> None:
    hand, get = streaming(settings=HttpClientSettings(reopen=False))
    hand.end(get)
    assert hand.sent == []
    (told,) = hand.interruptions()
    assert (told.recovery, told.attempt, told.delay) == (Recovery.FAIL, 1, 0.0)


def test_the_cursor_is_kept_over_any_number_of_drops() -> None:
    hand, request = broken(settings=HttpClientSettings(max_resumes=4))
    for _ in range(3):
        again = hand.next()
        assert cursor(hand, again) == "e-1"
        hand.stream(again)
        hand.data(again, b"id: e-2\ndata: {")  # an event that is cut does not count
        hand.end(again, "connection reset")
    again = hand.next()
    hand.stream(again, result(request), id="e-2")
    assert hand.take(ResultReceived).request == request
    assert len(hand.interruptions()) == 4


@pytest.mark.parametrize(("stood", "attempts"), [(9.9, 3), (10.0, 20)])
def test_a_stream_that_is_silent_and_cut_now_and_then_is_kept(stood: float, attempts: int) -> None:
    hand, get = streaming(settings=HttpClientSettings(max_resumes=2))
    cuts = 0
    while cuts < 20:
        hand.now += stood
        hand.end(get)
        cuts += 1
        if not hand.sent:
            break
        get = hand.next()
        hand.stream(get)
    assert cuts == attempts


# Sessions that are lost on the way


@pytest.mark.parametrize(
    ("method", "params", "saved"),
    [
        ("tools/list", None, True),
        ("resources/read", {"uri": "file:///a"}, True),
        ("prompts/list", None, True),
        ("tools/call", ECHO, False),
        ("prompts/get", {"name": "x"}, False),
        ("completion/complete", None, False),
    ],
)
@pytest.mark.parametrize("seen", ["by itself", "by another"])
def test_only_what_is_safe_is_asked_again(method: str, params: Any, saved: bool, seen: str) -> None:
    hand, request = broken(method, params)
    again = hand.next()
    if seen == "by itself":
        hand.reply(again, 404)
    else:
        other = hand.client.request("tools/list", now=hand.now)
        hand.reply(hand.next(), 404)
        reopen(hand)
        late = hand.next()
        hand.reply(late, body=result(other))
        hand.end(again, "connection refused")
    if seen == "by itself":
        reopen(hand)
    if saved:
        retried = hand.next()
        assert hand.body_of(retried)["id"] == request
        assert hand.fields_of(retried)["mcp-session-id"] == "s-2"
        hand.reply(retried, body=result(request))
        assert [event.request for event in hand.events if isinstance(event, ResultReceived)][
            -1
        ] == request
        assert "RequestEnded" not in hand.kinds()
    else:
        ended = hand.ended(request, EndReason.CLOSED)
        assert "session" in ended.message
        assert hand.kinds().count("RequestEnded") == 0
    assert hand.sent == []
    assert hand.client.exchanges == 0


def test_what_was_asked_again_is_not_asked_a_third_time() -> None:
    hand, request = broken("tools/list", None)
    hand.reply(hand.next(), 404)
    reopen(hand)
    hand.reply(hand.next(), 404)
    assert hand.take(RequestEnded).request == request


def test_a_client_without_a_get_stream_resumes_all_the_same() -> None:
    hand = starting(HttpClientSettings(get_stream=False)).shake_hands()
    request, send = hand.call()
    hand.stream(send)
    hand.data(send, b"id: e-1\ndata:\n\n")
    hand.end(send)
    hand.stream(hand.next(), result(request))
    assert hand.take(ResultReceived).request == request


def test_a_question_ends_with_its_call_wherever_the_stream_was_picked_up() -> None:
    hand, request = broken()
    for number in range(3):
        again = hand.next()
        hand.stream(again, {"jsonrpc": "2.0", "id": f"q{number}", "method": "roots/list"}, id="e")
        # One is answered before the stream breaks off again, one comes with its very end.
        key = hand.take(RequestReceived).key
        if number == 1:
            hand.client.respond(key, {"roots": []})
            hand.reply(hand.next(), 202)
        hand.data(again, b'data:{"jsonrpc":"2.0","id":"e%d","method":"roots/list"}\n\n' % number)
        hand.end(again, "connection reset")
    hand.client.cancel(request, now=hand.now)
    hand.pump()
    ended = [event.key for event in hand.events if isinstance(event, RequestCancelled)]
    assert len(ended) == 5
    for gone in ended:
        assert hand.client.respond(gone, {"roots": []}) is False
        hand.client.release(gone)
    assert hand.client.exchanges == 1, "the cancellation alone"


def test_a_stream_that_is_picked_up_for_ever_takes_no_more_room() -> None:
    hand, _ = broken()
    for number in range(50):
        again = hand.next()
        hand.stream(again, id=str(number))
        hand.data(again, b"id: e-%d\ndata:\n\n" % number)
        hand.end(again, "connection reset")
    [call] = hand.client._state.calls.values()
    assert call.earlier == []
