"""HTTP+SSE at an HttpClient: the event stream, where it leads, and when it is tried at all."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore import HttpClientSettings, HttpSend, Limits, LocalProtocolError, Negotiation, SseUse
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    ErrorReceived,
    Fault,
    FaultKind,
    NegotiationFailed,
    NotificationReceived,
    Ready,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    Violation,
)
from mcpcore.spec.revisions import REVISIONS
from mcpcore.wire.sse import encode_event
from tests.http.pipes import sse_server
from tests.http.support import (
    DISCOVERED,
    MODERN,
    Hand,
    Wire,
    error,
    initialize_result,
    make_client,
    note,
    result,
)

URL = "http://localhost:8000/sse"
ONLY = HttpClientSettings(legacy_sse=SseUse.ONLY)
LEGACY_NAMES = [revision.name for revision in REVISIONS if revision.handshake]


class Piped(Hand):
    """A server of HTTP+SSE, written by hand."""

    get: HttpSend

    def begin(self) -> "Piped":
        self.client.start(now=self.now)
        self.get = self.next()
        return self

    def endpoint(self, uri: str = "/messages?session_id=1") -> "Piped":
        self.head(self.get, 200, "text/event-stream")
        self.name(uri)
        return self

    def name(self, uri: str) -> None:
        self.data(self.get, encode_event(uri.encode(), event="endpoint"))
        self.pump()

    def say(self, message: Any) -> None:
        self.event(self.get, message)

    def answer_initialize(self, version: str = "2024-11-05") -> "Piped":
        first = self.next()
        assert self.body_of(first)["method"] == "initialize"
        self.reply(first, 202)
        self.say(result(self.body_of(first)["id"], initialize_result(version)))
        return self

    def open(self, version: str = "2024-11-05") -> "Piped":
        self.begin().endpoint().answer_initialize(version)
        self.reply(self.next(), 202)
        assert self.take(Ready).revision.name == version
        self.events.clear()
        return self


def piped(settings: HttpClientSettings = ONLY, *, url: str = URL, **options: Any) -> Piped:
    return Piped(make_client(settings, url=url, **options))


def speaks_sse(hand: Hand) -> bool:
    return hand.client.uses_sse


# The conversation


@pytest.mark.requirement("basic/transports/sse-client-posts")
@pytest.mark.parametrize("version", LEGACY_NAMES)
def test_everything_is_posted_to_the_endpoint(version: str) -> None:
    hand = piped().begin()
    assert (hand.get.method, hand.get.target, hand.get.body) == ("GET", "/sse", b"")
    assert hand.fields_of(hand.get)["accept"] == "text/event-stream"
    hand.pump()
    assert hand.sent == [], "nothing is said before there is a place for it"
    assert not speaks_sse(hand)
    hand.endpoint("/messages?session_id=a%20b")
    assert speaks_sse(hand)
    first = hand.next()
    assert (first.method, first.target) == ("POST", "/messages?session_id=a%20b")
    assert hand.body_of(first)["method"] == "initialize"
    assert "mcp-protocol-version" not in hand.fields_of(first)
    hand.reply(first, 202, b"Accepted", "text/plain")
    hand.say(result(hand.body_of(first)["id"], initialize_result(version)))
    done = hand.next()
    assert hand.body_of(done)["method"] == "notifications/initialized"
    asked = hand.client.request("tools/list", now=hand.now)
    hand.pump()
    assert hand.sent == [], "requests wait until the server knows that we are ready"
    hand.reply(done, 202)
    call = hand.next()
    assert (call.method, call.target) == ("POST", "/messages?session_id=a%20b")
    hand.reply(call, 202)
    hand.say(result(asked, {"tools": []}))
    assert hand.take(ResultReceived).request == asked
    hand.pump()
    assert hand.sent == [], "there is no other stream"


@pytest.mark.parametrize("then", ["accepted", "breaks", "silent"])
def test_an_answer_may_come_before_its_message_is_accepted(then: str) -> None:
    hand = piped().open()
    asked = hand.client.request("tools/list", now=hand.now)
    call = hand.next()
    hand.say(result(asked, {"tools": []}))
    assert hand.take(ResultReceived).request == asked
    if then == "accepted":
        hand.reply(call, 202)
    elif then == "breaks":
        hand.end(call, "connection reset")
    else:
        hand.pass_time(6)
    assert hand.aborted == ([call.exchange] if then == "silent" else [])
    assert (hand.kinds(), hand.client.exchanges) == ([], 1)


def test_batches_of_the_revision_that_has_them() -> None:
    for version, taken in (("2025-03-26", True), ("2024-11-05", False)):
        hand = piped().open(version)
        hand.say([note("notifications/tools/list_changed")])
        assert hand.kinds() == (["NotificationReceived"] if taken else ["Violation"])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
def test_a_message_that_is_refused_ends_its_request_alone(status: int) -> None:
    hand = piped().open()
    refused = hand.client.request("tools/list", now=hand.now)
    fine = hand.client.request("prompts/list", now=hand.now)
    hand.reply(hand.next(), status, b"no", "text/plain")
    hand.reply(hand.next(), 202)
    ended = hand.take(RequestEnded)
    assert ended.request == refused
    assert ended.fault == Fault(FaultKind.STATUS, status)
    hand.say(result(fine, {"prompts": []}))
    assert hand.take(ResultReceived).request == fine


def test_an_error_in_the_refusal_and_on_the_stream_counts_once() -> None:
    for order in ("post", "stream"):
        hand = piped().open()
        asked = hand.client.request("tools/list", now=hand.now)
        call = hand.next()
        if order == "stream":
            hand.say(error(asked, -32600))
        hand.reply(call, 400, error(asked, -32600))
        if order == "post":
            hand.say(error(asked, -32600))
        received = [each for each in hand.events if isinstance(each, ErrorReceived)]
        assert len(received) == 1


def test_redirects_of_messages_are_followed_as_over_http() -> None:
    hand = piped().open()
    hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 307, location="?moved")
    hand.reply(again := hand.next(), 302, location="/elsewhere")
    assert again.target.endswith("messages?moved")
    ended = hand.take(RequestEnded)
    assert ended.fault is not None
    assert ended.fault.kind is FaultKind.REDIRECT


# The endpoint

BASE = "http://localhost:8000/a/sse?key=1"


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("/messages?session_id=1", "/messages?session_id=1"),
        ("messages?session_id=1", "/a/messages?session_id=1"),
        ("?session_id=1", "/a/sse?session_id=1"),
        ("../m", "/m"),
        ("http://localhost:8000/m?x=1#part", "/m?x=1"),
        ("HTTP://LOCALHOST:8000/m", "/m"),
        ("//localhost:8000/m", "/m"),
        ("/", "/"),
        ("/m?to=http://evil.example", "/m?to=http://evil.example"),
    ],
)
def test_where_the_endpoint_is(uri: str, target: str) -> None:
    hand = piped(url=BASE).begin().endpoint(uri)
    assert hand.next().target == target


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.example/m",
        "https://localhost:8000/m",
        "http://localhost/m",
        "http://localhost:8001/m",
        "http://localhost:80000/m",
        "//evil/m",
        "//evil:8000/m",
        "http://localhost:8000@evil/m",
        "http://user@localhost:8000/m",
        "http://user:pw@localhost:8000/m",
        "//@localhost:8000/m",
        "http://localhost:8000.evil/m",
        "http://localhost.:8000/m",
        "http://[::1/m",
        "javascript:alert(1)",
        "data:text/plain,x",
        "file:///etc/passwd",
        "\\\\evil\\m",
        "/\\evil/m",
        "/m x",
        "/m\tx",
        "/m\x00",
        "/m\x7f",
        "/méssages",
        "",
        "/" + "m" * 5000,
    ],
)
def test_endpoints_that_are_refused(uri: str) -> None:
    hand = piped(url=URL).begin().endpoint(uri)
    failed = hand.take(NegotiationFailed)
    assert "endpoint that cannot be used" in failed.message
    assert failed.fault == Fault(FaultKind.MALFORMED)
    assert hand.sent == []
    assert hand.aborted == [hand.get.exchange]
    assert hand.client.exchanges == 0


@pytest.mark.parametrize(
    ("data", "ends", "says", "kind"),
    [
        (b"event: endpoint\ndata: /m\xff\n\n", False, "cannot be used", FaultKind.MALFORMED),
        (encode_event(b'{"jsonrpc":"2.0"}'), False, "does not begin with", FaultKind.MALFORMED),
        (b"", True, "broke off", None),
    ],
    ids=["no text", "a message", "the end"],
)
def test_what_comes_in_the_place_of_the_endpoint(
    data: bytes, ends: bool, says: str, kind: FaultKind | None
) -> None:
    hand = piped().begin()
    hand.head(hand.get, 200, "text/event-stream")
    hand.data(hand.get, data)
    if ends:
        hand.end(hand.get)
    failed = hand.take(NegotiationFailed)
    assert says in failed.message
    assert failed.fault == (None if kind is None else Fault(kind))
    assert (hand.sent, hand.client.exchanges) == ([], 0)


def test_ports_that_need_not_be_written() -> None:
    hand = piped(url="https://server.example/sse").begin()
    hand.endpoint("https://server.example:443/m")
    assert hand.next().target == "/m"


def test_the_endpoint_never_comes() -> None:
    for begun in (False, True):
        hand = piped(HttpClientSettings(legacy_sse=SseUse.ONLY, endpoint_timeout=3)).begin()
        if begun:
            hand.head(hand.get, 200, "text/event-stream")
            hand.data(hand.get, b": still here\n\nevent: ping\ndata: 1\n\nevent: endpoint\n\n")
        hand.pass_time(2.9)
        assert hand.kinds() == []
        hand.pass_time(0.2)
        assert "named no endpoint within 3 s" in hand.take(NegotiationFailed).message
        assert hand.aborted == [hand.get.exchange]


def test_the_time_for_the_endpoint_stands_still_with_those_of_requests() -> None:
    hand = piped(HttpClientSettings(legacy_sse=SseUse.ONLY, endpoint_timeout=3)).begin()
    hand.client.postpone(hand.now, hand.now + 10)
    hand.pass_time(12.9)
    assert hand.kinds() == []
    hand.pass_time(0.2)
    assert "named no endpoint within 3 s" in hand.take(NegotiationFailed).message


def test_the_same_endpoint_twice_is_a_violation() -> None:
    hand = piped().open()
    hand.name("/messages?session_id=1")
    assert "second time" in hand.take(Violation).message
    assert hand.kinds() == []


def test_another_endpoint_ends_the_conversation() -> None:
    hand = piped().open()
    asked = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 202)
    hand.name("/messages?session_id=2")
    hand.ended(asked, EndReason.CLOSED)
    assert "second endpoint" in hand.take(ConnectionEnded).reason
    assert hand.aborted == [hand.get.exchange]


def test_nothing_is_read_behind_what_has_ended_the_conversation() -> None:
    hand = piped().open()
    other, first = (
        encode_event(b"/messages?session_id=%d" % number, event="endpoint") for number in (2, 1)
    )
    hand.data(hand.get, other + first)
    assert "second endpoint" in hand.take(ConnectionEnded).reason
    assert hand.kinds() == []
    assert hand.aborted == [hand.get.exchange]


@pytest.mark.parametrize(
    ("status", "kind", "fault"),
    [
        (200, "application/json", FaultKind.HEADERS),
        (200, None, FaultKind.HEADERS),
        (204, None, FaultKind.HEADERS),
        (401, None, FaultKind.STATUS),
        (403, None, FaultKind.STATUS),
        (404, None, FaultKind.STATUS),
        (405, None, FaultKind.STATUS),
        (429, None, FaultKind.STATUS),
        (500, None, FaultKind.STATUS),
        (503, None, FaultKind.STATUS),
    ],
)
def test_the_stream_is_refused(status: int, kind: str | None, fault: FaultKind) -> None:
    hand = piped().begin()
    hand.head(hand.get, status, kind, retry_after="7")
    failed = hand.take(NegotiationFailed)
    assert failed.fault is not None
    assert failed.fault.kind is fault
    if fault is FaultKind.STATUS:
        assert (failed.fault.status, failed.fault.retry_after) == (status, 7.0)
        assert str(status) in failed.message
    hand.pump()
    assert hand.client.exchanges == 0


def test_redirects_of_the_stream_within_its_origin() -> None:
    hand = piped().begin()
    first = hand.get
    hand.head(first, 307, None, location="/v1/sse")
    hand.get = hand.next()
    assert (hand.get.method, hand.get.target) == ("GET", "/v1/sse")
    hand.end(first)
    hand.endpoint("messages")
    assert hand.next().target == "/v1/messages"


@pytest.mark.parametrize("location", ["http://evil/sse", "//evil/sse", "", "javascript:1"])
def test_redirects_of_the_stream_elsewhere(location: str) -> None:
    hand = piped().begin()
    hand.head(hand.get, 302, None, location=location)
    failed = hand.take(NegotiationFailed)
    assert failed.fault is not None
    assert failed.fault.kind is FaultKind.REDIRECT
    assert hand.sent == []


def test_redirects_of_the_stream_have_an_end() -> None:
    hand = piped().begin()
    for _ in range(ONLY.max_redirects):
        hand.head(hand.get, 302, None, location="/sse")
        hand.get = hand.next()
    hand.head(hand.get, 302, None, location="/sse")
    assert "redirects" in hand.take(NegotiationFailed).message
    hand.pass_time(10)
    assert hand.client.exchanges == 0


# The end of the stream


@pytest.mark.parametrize("broken", [None, "connection reset"])
def test_the_end_of_the_stream_ends_each_request_once(broken: str | None) -> None:
    hand = piped().open()
    asked = [hand.client.request("tools/list", now=hand.now) for _ in range(3)]
    for _ in asked[:2]:
        hand.reply(hand.next(), 202)
    unanswered = hand.next()
    hand.event(hand.get, result(asked[0], {"tools": []}))
    hand.client.response_end(hand.get.exchange, error=broken, now=hand.now)
    hand.pump()
    assert hand.take(ResultReceived).request == asked[0]
    ended = [each for each in hand.events if isinstance(each, RequestEnded)]
    assert [each.request for each in ended] == asked[1:]
    assert {each.reason for each in ended} == {EndReason.CLOSED}
    assert all("broke off" in each.message for each in ended)
    assert hand.kinds()[-1] == "ConnectionEnded"
    assert hand.aborted == [unanswered.exchange]
    assert hand.client.exchanges == 0
    assert hand.client.deadline() is None
    with pytest.raises(LocalProtocolError, match="closed"):
        hand.client.request("tools/list", now=hand.now)


def test_the_connection_fails() -> None:
    hand = piped().begin()
    hand.client.response_end(
        hand.get.exchange,
        error="connection refused",
        fault=Fault(FaultKind.CONNECT),
        now=hand.now,
    )
    failed = hand.take(NegotiationFailed)
    assert "connection refused" in failed.message
    assert failed.fault == Fault(FaultKind.CONNECT)


def test_an_event_that_is_too_large() -> None:
    small = HttpClientSettings(legacy_sse=SseUse.ONLY, max_event=10_000)
    hand = piped(small).open()
    asked = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 202)
    hand.data(hand.get, b"data: " + b"x" * 10_001)
    hand.pump()
    assert hand.take(RequestEnded).request == asked
    assert "larger than 10000 bytes" in hand.take(ConnectionEnded).reason
    assert hand.client.stream_fault == Fault(FaultKind.TOO_LARGE)
    assert hand.aborted == [hand.get.exchange]


def test_garbage_is_borne_for_a_while() -> None:
    hand = piped(HttpClientSettings(legacy_sse=SseUse.ONLY, max_violations=10)).open()
    for _ in range(10):
        hand.data(hand.get, b"data: {\n\n")
    hand.pump()
    assert hand.kinds() == ["Violation"] * 10
    hand.data(hand.get, b"data: {\n\n")
    assert hand.kinds()[-1] == "ConnectionEnded"
    assert hand.client.stream_fault == Fault(FaultKind.MALFORMED)


def test_closing() -> None:
    hand = piped().open()
    hand.client.request("tools/list", now=hand.now)
    call = hand.next()
    hand.client.close(now=hand.now)
    hand.pump()
    assert sorted(hand.aborted) == sorted([hand.get.exchange, call.exchange])
    assert hand.sent == [], "there is nothing to delete"
    assert hand.kinds() == ["RequestEnded", "ConnectionEnded"]


@pytest.mark.parametrize("breaks", [False, True])
def test_a_cancellation_is_said_before_the_stream_is_closed(breaks: bool) -> None:
    hand = piped().open()
    given_up = hand.client.request("tools/list", now=hand.now)
    call = hand.next()
    hand.client.cancel(given_up, now=hand.now)
    hand.client.close(now=hand.now)
    told = hand.next()
    assert hand.body_of(told)["params"]["requestId"] == given_up
    assert hand.aborted == [call.exchange]
    if breaks:
        hand.end(hand.get, "reset")
    hand.reply(told, 202)
    assert hand.aborted == [call.exchange, *([] if breaks else [hand.get.exchange])]
    assert hand.kinds() == ["RequestEnded", "ConnectionEnded"]
    assert hand.client.exchanges == 0


# When it is tried


def refuse_modern(
    hand: Hand, status: int = 405, body: Any = b"no", kind: str = "text/plain"
) -> None:
    """Refuse the probe, so that initialize is next."""
    probe = hand.next()
    assert hand.body_of(probe)["method"] == "server/discover"
    hand.reply(probe, status, body, kind)


@pytest.mark.parametrize("status", [400, 404, 405])
def test_the_chain(status: int) -> None:
    hand = piped(HttpClientSettings())
    hand.client.start(now=hand.now)
    refuse_modern(hand, status)
    first = hand.next()
    assert (first.method, first.target) == ("POST", "/sse")
    assert hand.body_of(first)["method"] == "initialize"
    hand.reply(first, status, b"no", "text/plain")
    hand.get = hand.next()
    assert (hand.get.method, hand.get.target) == ("GET", "/sse")
    hand.endpoint()
    again = hand.next()
    assert (again.method, again.target) == ("POST", "/messages?session_id=1")
    assert again.body == first.body
    hand.reply(again, 202)
    hand.say(result(hand.body_of(again)["id"], initialize_result("2024-11-05")))
    assert hand.take(Ready).revision.name == "2024-11-05"
    assert hand.client.uses_sse


def falling_back() -> Piped:
    """A legacy client that has just begun with ``initialize``."""
    hand = piped(HttpClientSettings(), negotiation=Negotiation.LEGACY)
    hand.client.start(now=hand.now)
    return hand


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((s, None) for s in (401, 402, 403, 406, 408, 409, 410, 413, 415, 429, 500, 502, 503)),
        # errors of the modern era
        (400, -32020),
        (400, -32021),
        (400, -32022),
        (404, -32601),
    ],
)
def test_what_is_no_reason_to_fall_back(status: int, code: int | None) -> None:
    hand = falling_back()
    first = hand.next()
    if code is None:
        hand.reply(first, status, b"no", "text/plain")
    else:
        hand.reply(first, status, error(hand.body_of(first)["id"], code))
    failed = hand.take(NegotiationFailed)
    assert failed.fault == (Fault(FaultKind.STATUS, status) if code is None else None)
    assert (failed.error and failed.error.code) == code
    assert hand.sent == []


@pytest.mark.parametrize("code", [-32000, -32602])
def test_other_errors_do_and_count_if_it_leads_nowhere(code: int) -> None:
    hand = falling_back()
    hand.reply(hand.next(), 400, error(None, code))
    hand.reply(hand.next(), 405)
    failed = hand.take(NegotiationFailed)
    assert failed.error is not None
    assert failed.error.code == code


@pytest.mark.parametrize("how", ["refused", "garbage", "late", "broken", "json"])
def test_what_initialize_met_with_counts_if_the_stream_cannot_be_had(how: str) -> None:
    hand = falling_back()
    hand.reply(hand.next(), 404, b"no such page", "text/plain")
    hand.get = hand.next()
    if how == "refused":
        hand.reply(hand.get, 405)
    elif how == "garbage":
        hand.endpoint("http://evil/")
    elif how == "late":
        hand.head(hand.get, 200, "text/event-stream")
        hand.pass_time(11)
    elif how == "broken":
        hand.end(hand.get, "connection reset")
    else:
        hand.reply(hand.get, 200, {"a": 1})
    failed = hand.take(NegotiationFailed)
    assert "HTTP status 404" in failed.message
    assert "no such page" in failed.message
    assert "event stream of HTTP+SSE" in failed.message
    assert failed.fault == Fault(FaultKind.STATUS, 404)
    hand.pump()
    assert hand.sent == []
    assert hand.client.exchanges == 0


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_a_stream_that_is_not_for_us_counts_more_than_the_refusal(status: int) -> None:
    hand = falling_back()
    hand.reply(hand.next(), 405, b"no", "text/plain")
    hand.reply(hand.next(), status)
    failed = hand.take(NegotiationFailed)
    assert failed.fault == Fault(FaultKind.STATUS, status)
    assert str(status) in failed.message


def test_never() -> None:
    never = HttpClientSettings(legacy_sse=SseUse.NEVER)
    hand = piped(never, negotiation=Negotiation.LEGACY)
    hand.client.start(now=hand.now)
    hand.reply(hand.next(), 405)
    hand.take(NegotiationFailed)
    assert hand.sent == []


def test_only_modern_revisions_never_fall_back() -> None:
    hand = piped(HttpClientSettings(), revisions=REVISIONS[-1:])
    hand.client.start(now=hand.now)
    refuse_modern(hand)
    hand.take(NegotiationFailed)
    assert hand.sent == []
    text = "HTTP+SSE needs a revision with a handshake, and none is spoken"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        piped(revisions=REVISIONS[-1:])


def test_a_late_answer_of_a_modern_server_makes_the_stream_needless() -> None:
    hand = piped(HttpClientSettings(), limits=Limits(probe_timeout=1))
    hand.client.start(now=hand.now)
    probe = hand.next()
    hand.pass_time(2)
    hand.reply(hand.next(), 405)
    hand.get = hand.next()
    hand.result(probe, DISCOVERED)
    assert hand.take(Ready).revision.name == MODERN
    hand.client.request("tools/list", now=hand.now)
    call = hand.next()
    assert (call.method, call.target) == ("POST", "/sse")
    assert hand.get.exchange in hand.aborted
    assert not hand.client.uses_sse


def test_a_session_that_is_lost_later_does_not_fall_back() -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy()
    hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), 404)
    again = hand.next()
    assert hand.body_of(again)["method"] == "initialize"
    hand.reply(again, 405)
    hand.pump()
    assert all(send.method != "GET" for send in hand.sent)


def test_no_session_of_streamable_http_is_sent_along() -> None:
    hand = piped(HttpClientSettings(headers=(("Authorization", "Bearer x"),)))
    hand.client.start(now=hand.now)
    refuse_modern(hand)
    hand.reply(hand.next(), 404, mcp_session_id="abc")
    hand.get = hand.next()
    assert hand.fields_of(hand.get)["authorization"] == "Bearer x"
    hand.endpoint()
    fields = hand.fields_of(hand.next())
    assert "mcp-session-id" not in fields
    assert fields["authorization"] == "Bearer x"


# What is remembered


def remembered(**options: Any) -> Piped:
    return Piped(make_client(url=URL, assume_sse=True, **options))


def test_a_server_that_has_changed_is_asked_from_the_beginning() -> None:
    hand = remembered().begin()
    assert hand.get.method == "GET"
    hand.reply(hand.get, 405)
    first = hand.next()
    assert (first.method, first.target) == ("POST", "/sse")
    assert hand.body_of(first)["method"] == "initialize"
    hand.reply(first, 405, b"no", "text/plain")
    probe = hand.next()
    assert hand.body_of(probe)["method"] == "server/discover"
    hand.result(probe, DISCOVERED)
    assert hand.take(Ready).revision.name == MODERN


@pytest.mark.parametrize("how", [401, 403, 429, 500, 503, "away"])
def test_a_server_that_is_known_and_refuses_us_or_is_away(how: int | str) -> None:
    hand = remembered().begin()
    fault = Fault(FaultKind.CONNECT) if how == "away" else Fault(FaultKind.STATUS, int(how))
    if how == "away":
        hand.client.response_end(hand.get.exchange, error="refused", fault=fault, now=hand.now)
    else:
        hand.reply(hand.get, int(how))
    assert hand.take(NegotiationFailed).fault == fault
    assert hand.sent == []


def test_a_server_that_is_known_as_legacy_and_offers_no_stream_is_probed() -> None:
    hand = piped(
        HttpClientSettings(), assumed=Negotiation.LEGACY, limits=Limits(probe_timeout=3.0)
    ).begin()
    assert hand.body_of(hand.get)["method"] == "initialize"
    hand.reply(hand.get, 404, b"no such page", "text/plain")
    hand.reply(hand.next(), 405)
    probe = hand.next()
    assert hand.body_of(probe)["method"] == "server/discover"
    assert hand.client.deadline() == hand.now + 3.0
    hand.result(probe, DISCOVERED)
    assert hand.take(Ready).revision.name == MODERN


def test_a_memory_of_no_use() -> None:
    hand = remembered(negotiation=Negotiation.MODERN)
    hand.client.start(now=hand.now)
    assert hand.body_of(hand.next())["method"] == "server/discover"


# With our server


def wire(settings_: HttpClientSettings = ONLY, *, path: str = "/sse", **options: Any) -> Wire:
    client = make_client(settings_, url=f"http://localhost:8000{path}", **options)
    return Wire(client, sse_server(), sizes=(7, 1000, 3))


@pytest.mark.parametrize(
    ("path", "sse", "methods"),
    [
        ("/mcp", False, ["server/discover"]),
        ("/sse", True, ["server/discover", "initialize", "GET", "initialize"]),
    ],
)
def test_one_port_and_a_plain_url(path: str, sse: bool, methods: list[str]) -> None:
    both = wire(HttpClientSettings(), path=path).start()
    assert both.client_saw(Ready)
    assert both.client.uses_sse is sse
    assert both.methods()[: len(methods)] == methods


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.lists(
        st.sampled_from(["ask", "answer", "question", "reply", "notify", "cancel", "late"]),
        max_size=25,
    ),
    st.booleans(),
)
def test_however_the_bytes_travel_each_request_ends_once(
    sizes: list[int],
    steps: list[str],
    cut: bool,
) -> None:
    client = make_client(ONLY, url=URL)
    both = Wire(client, sse_server(), sizes=tuple(sizes)).start()
    asked: list[Any] = []
    answered: set[int] = set()
    replied: set[int] = set()
    questions: list[Any] = []
    said = 0
    for step in steps:
        waiting = [each for each in both.server_saw(RequestReceived) if each.key not in answered]
        open_questions = [
            each for each in both.client_saw(RequestReceived) if each.key not in replied
        ]
        if step == "ask":
            asked.append(client.request("tools/list", now=both.now))
        elif step == "answer" and waiting:
            answered.add(waiting[0].key)
            both.server.respond(waiting[0].key, {"tools": []})
        elif step == "question" and waiting:
            with suppress(LocalProtocolError):  # it was cancelled
                questions.append(
                    both.server.request("roots/list", now=both.now, parent=waiting[0].key)
                )
        elif step == "reply" and open_questions:
            replied.add(open_questions[0].key)
            client.respond(open_questions[0].key, {"roots": []})
        elif step == "notify":
            both.server.notify("notifications/tools/list_changed")
            said += 1
        elif step == "cancel" and asked:
            client.cancel(asked[-1], now=both.now)
        elif step == "late":
            both.pass_time(0.5)
        both.run()
    if cut:
        both.cut(both.exchange_of("GET"))
    else:
        client.close(now=both.now)
    both.run()
    ends = [
        each.request
        for kind in (ResultReceived, ErrorReceived, RequestEnded)
        for each in both.client_saw(kind)
    ]
    assert sorted(ends) == sorted(asked)
    heard = [
        each
        for each in both.client_saw(NotificationReceived)
        if each.method == "notifications/tools/list_changed"
    ]
    assert len(heard) == said
    for each in both.server_saw(RequestReceived):
        if each.key not in answered:
            both.server.release(each.key)
    both.run()
    assert (both.server.sessions, both.server.exchanges, client.exchanges) == (0, 0, 0)
    server_ends = [
        each.request
        for kind in (ResultReceived, ErrorReceived, RequestEnded)
        for each in both.server_saw(kind)
    ]
    assert sorted(server_ends) == sorted(questions)
