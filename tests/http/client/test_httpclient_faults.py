"""HttpClient, what servers do wrong: what it bears, what it refuses, and how that is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from mcpcore import HttpClientSettings, HttpSend, Negotiation
from mcpcore.engine.events import (
    EndReason,
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
from mcpcore.http.client.call import Planner, Recovery
from mcpcore.spec.errors import INTERNAL_ERROR, METHOD_NOT_FOUND, ErrorData
from tests.http.client.test_httpclient_resume import broken, cursor
from tests.http.client.test_httpclient_sessions import streaming
from tests.http.support import (
    DONE,
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


def head(hand: Hand, send: HttpSend, status: int, **headers: str) -> None:
    """Answer with a head whose header names are keywords."""
    lines = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    hand.client.response_head(send.exchange, status, lines, now=hand.now)
    hand.pump()


def calling(**options: Any) -> tuple[Hand, HttpSend]:
    hand = modern(**options)
    hand.client.request("tools/call", ECHO, now=hand.now)
    return hand, hand.next()


# What exactly went wrong


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FaultKind.CONNECT, EndReason.CLOSED),
        (FaultKind.CONNECT_TIMEOUT, EndReason.CLOSED),
        (FaultKind.TLS, EndReason.CLOSED),
        (FaultKind.PROXY, EndReason.CLOSED),
        (FaultKind.STALLED, EndReason.CLOSED),
        (FaultKind.MALFORMED, EndReason.INVALID),
        (FaultKind.ENCODING, EndReason.INVALID),
        (FaultKind.TOO_LARGE, EndReason.INVALID),
        (FaultKind.HEADERS, EndReason.REFUSED),
    ],
)
@pytest.mark.parametrize("part", ["head", "json", "events"])
def test_what_the_driver_tells_is_passed_on(kind: FaultKind, reason: EndReason, part: str) -> None:
    hand, send = calling()
    if part != "head":
        hand.head(send, 200, f"{'application/json' if part == 'json' else 'text/event-stream'}")
    hand.client.response_end(send.exchange, error="so it went", fault=Fault(kind), now=hand.now)
    ended = hand.take(RequestEnded)
    assert (ended.reason, ended.fault) == (reason, Fault(kind))
    assert "so it went" in ended.message
    assert hand.client.exchanges == 0


@pytest.mark.parametrize("negotiation", [Negotiation.LEGACY, Negotiation.AUTO])
def test_a_failed_negotiation_has_one_too(negotiation: Negotiation) -> None:
    hand = starting(negotiation=negotiation)
    request = hand.client.request("tools/list", now=0)
    fault = Fault(FaultKind.TLS)
    hand.client.response_end(hand.next().exchange, error="no trust", fault=fault, now=0)
    failed = hand.take(NegotiationFailed)
    assert failed.fault == fault
    assert "no trust" in failed.message
    ended = hand.take(RequestEnded)
    assert (ended.request, ended.fault) == (request, fault)
    assert hand.sent == [], "it is no evidence of another era"


@pytest.mark.parametrize("kind", [FaultKind.MALFORMED, FaultKind.ENCODING, FaultKind.TOO_LARGE])
def test_a_stream_that_is_invalid_is_not_resumed(kind: FaultKind) -> None:
    hand, request = broken()
    again = hand.next()
    hand.stream(again)
    hand.client.response_end(again.exchange, error="garbage", fault=Fault(kind), now=hand.now)
    ended = hand.take(RequestEnded)
    assert (ended.request, ended.fault) == (request, Fault(kind, sent_before=True))
    assert hand.pump().sent == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0", 0.0), (" 12 ", 12.0), ("soon", None), ("-1", None), ("1.5", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("9" * 10, None), ("\u00e9", None), (None, None)],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503, 500])
def test_when_to_come_back(status: int, value: str | None, seconds: float | None) -> None:
    check_when(status, seconds, {} if value is None else {"retry_after": value})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("Wed, 21 Oct 2026 07:28:10 GMT", 70.0), ("Wednesday, 21-Oct-26 07:28:10 GMT", 70.0),
     ("Wed Oct 21 07:28:10 2026", 70.0), ("Wed, 21 Oct 2026 07:00:00 GMT", 0.0),
     ("Wed, 21 Oct 99999999999 07:28:10 GMT", None), ("Wed, 99 Xyz 2026", None), ("7", 7.0)],
)  # fmt: skip
def test_the_date_at_which_to_come_back(value: str, seconds: float | None) -> None:
    check_when(503, seconds, {"retry_after": value, "date": "Wed, 21 Oct 2026 07:27:00 GMT"})


def check_when(status: int, seconds: float | None, headers: dict[str, str]) -> None:
    hand, send = calling()
    head(hand, send, status, **headers)
    hand.end(send)
    fault = hand.take(RequestEnded).fault
    assert fault == Fault(FaultKind.STATUS, status, seconds)


def test_a_repeated_retry_after_says_nothing() -> None:
    hand, send = calling()
    lines = [(b"retry-after", b"1"), (b"retry-after", b"2")]
    hand.client.response_head(send.exchange, 503, lines, now=hand.now)
    hand.end(send)
    assert hand.take(RequestEnded).fault == Fault(FaultKind.STATUS, 503)


@pytest.mark.parametrize(("status", "after"), [(503, 30.0), (429, 30.0), (500, 2.0)])
def test_an_overloaded_server_says_when_to_resume(status: int, after: float) -> None:
    hand, _ = broken()
    head(hand, again := hand.next(), status, retry_after="30")
    hand.end(again)
    assert hand.next().after == after


# Redirects


@pytest.mark.parametrize(
    ("status", "location", "reason"),
    [
        *((status, "/elsewhere", "follows 307 and 308 alone") for status in (301, 302, 303)),
        *((status, "https://evil.example/mcp", "other origins") for status in (301, 307, 308)),
    ],
)
def test_where_a_post_does_not_follow(status: int, location: str, reason: str) -> None:
    hand, send = calling()
    head(hand, send, status, location=location)
    ended = hand.take(RequestEnded)
    assert ended.fault == Fault(FaultKind.REDIRECT, status, None, location)
    assert ended.reason is EndReason.REFUSED
    assert (reason in ended.message) is (status != 301 or "evil" not in location)
    hand.end(send)
    assert hand.pump().sent == []
    assert hand.client.exchanges == 0


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_follows_within_its_origin_as_it_is(status: int) -> None:
    """Most servers below a mount of Starlette have a slash at their end, and their URLs none."""
    hand, first = calling()
    steps = [("/mcp/", "/mcp/"), ("/there/?a=b", "/there/?a=b"), ("x", "/there/x")]
    for location, target in steps:
        head(hand, first, status, location=location)
        second = hand.next()
        changed = structs.replace(first, exchange=second.exchange, target=target)
        assert second == changed
        hand.end(first)
        first = second
    hand.result(first, {"content": []})
    assert hand.take(ResultReceived).request == hand.body_of(first)["id"]
    assert hand.client.exchanges == 0
    hand.client.request("tools/call", ECHO, now=hand.now)
    assert hand.next().target == "/mcp", "it may lead elsewhere the next time"


def test_a_post_follows_so_many_redirects() -> None:
    hand, send = calling(settings=HttpClientSettings(max_redirects=1))
    head(hand, send, 307, location="/mcp")
    head(hand, hand.next(), 307, location="/mcp")
    assert "more than 1 redirects" in hand.take(RequestEnded).message


def test_a_request_that_is_given_up_after_a_redirect_is_aborted() -> None:
    hand, send = calling()
    head(hand, send, 307, location="/mcp/")
    again = hand.next()
    hand.client.cancel(hand.body_of(send)["id"], now=hand.now)
    hand.pass_time(5)
    assert {*hand.pump().aborted} == {again.exchange, send.exchange}
    assert hand.client.exchanges == 0


def test_a_session_is_opened_and_deleted_where_redirects_lead() -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY))
    hand.client.start(now=hand.now)
    head(hand, asked := hand.next(), 307, location="/mcp/")
    hand.end(asked)
    hand.result(hand.next(), initialize_result(), mcp_session_id="s-1")
    head(hand, said := hand.next(), 307, location="/mcp/")
    hand.end(said)
    hand.reply(hand.next(), 202, None)
    assert hand.take(Ready).revision.name == LEGACY
    hand.client.close(now=hand.now)
    hand.end(hand.next())
    head(hand, gone := hand.next(), 307, location="/mcp/")
    again = hand.next()
    assert [gone.method, again.method, again.target] == ["DELETE", "DELETE", "/mcp/"]
    hand.end(gone)
    hand.reply(again, 200, None)
    assert hand.client.exchanges == 0


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other?a=b#c", "/other?a=b"),
        ("other", "/other"),
        ("?a=b", "/mcp?a=b"),
        ("http://localhost:8000/x", "/x"),
        ("HTTP://LOCALHOST:8000/x", "/x"),
        ("//localhost:8000/x", "/x"),
        ("http://localhost:8000", "/"),
        ("http://localhost/x", None),
        ("http://localhost:8001/x", None),
        ("https://localhost:8000/x", None),
        ("http://localhost.evil.example:8000/x", None),
        ("http://localhost:8000@evil.example/x", None),
        ("http://user@localhost:8000/x", None),
        ("//evil.example/x", None),
        ("file:///etc/passwd", None),
        ("http://localhost:port/x", None),
        ("http://[::1/x", None),
        ("/a b", None),
        ("", None),
        (None, None),
    ],
)
def test_where_a_redirect_may_lead(location: str | None, target: str | None) -> None:
    assert Planner("http://localhost:8000/mcp", ()).moved(location) == target


def test_a_default_port_is_the_same_origin() -> None:
    planner = Planner("https://a.example/mcp", ())
    assert planner.moved("https://a.example:443/x") == "/x"
    assert planner.moved("https://A.example/x") == "/x"
    assert planner.moved("http://a.example:443/x") is None
    plain = Planner("http://a.example/mcp", ())
    assert plain.moved("http://a.example:80/x") == "/x"
    assert plain.moved("http://a.example:81/x") is None


@given(st.text(max_size=60))
def test_no_redirect_leaves_the_origin(location: str) -> None:
    target = Planner("http://localhost:8000/mcp", ()).moved(location)
    assert target is None or (target.startswith("/") and target.isascii() and " " not in target)


def test_a_resumption_follows_within_its_origin() -> None:
    hand, request = broken()
    first = hand.next()
    head(hand, first, 307, location="/there")
    second = hand.next()
    assert (second.method, second.target, second.after) == ("GET", "/there", None)
    assert cursor(hand, second) == "e-1"
    hand.data(first, b"<p>moved</p>")
    hand.end(first)
    hand.stream(second, result(request))
    hand.end(second)
    assert hand.take(ResultReceived).request == request
    assert hand.client.exchanges == 0
    assert len(hand.interruptions()) == 1, "a redirect is no interruption"


def test_what_a_redirect_leaves_behind_is_closed() -> None:
    hand, _ = broken()
    first = hand.next()
    head(hand, first, 302, location="/there")
    hand.stream(hand.next())
    hand.pass_time(4.9)
    assert hand.pump().aborted == []
    hand.pass_time(0.1)
    assert hand.pump().aborted == [first.exchange]
    hand, _ = broken()
    first = hand.next()
    head(hand, first, 302, location="/there")
    for _ in range(3):
        hand.data(first, b"x" * 30_000)
    assert hand.pump().aborted == [first.exchange]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_redirects_in_a_row_are_bounded(limit: int) -> None:
    hand, request = broken(settings=HttpClientSettings(max_redirects=limit))
    for _ in range(limit):
        send = hand.next()
        head(hand, send, 302, location="/mcp")
        hand.end(send)
    head(hand, send := hand.next(), 302, location="/mcp")
    ended = hand.take(RequestEnded)
    assert ended.request == request
    assert ended.fault == Fault(FaultKind.REDIRECT, 302, None, "/mcp", sent_before=True)
    assert f"more than {limit} redirects" in ended.message
    hand.end(send)
    assert hand.pump().sent == []
    assert hand.client.exchanges == 0


def test_the_standalone_stream_goes_nowhere_else() -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy()
    hand, get = streaming()
    hand.end(get)
    head(hand, again := hand.next(), 301, location="https://evil.example/")
    (*_, last) = hand.interruptions()
    assert last.recovery is Recovery.FAIL
    refusal = "the server answered with HTTP status 301"
    reason = "redirects to other origins are not followed"
    assert last.reason == f"the standalone stream: {refusal}: {reason}"
    hand.end(again)
    assert hand.pump().sent == []
    assert hand.client.exchanges == 0


def test_a_redirect_does_not_count_for_the_next_connection() -> None:
    hand, _ = broken(settings=HttpClientSettings(max_redirects=1))
    for _ in range(3):
        head(hand, first := hand.next(), 307, location="/there")
        hand.end(first)
        second = hand.next()
        assert second.target == "/there"
        hand.end(second, "connection reset")
    assert hand.next().target == "/mcp", "each attempt begins where the server was"


# Sizes


@pytest.mark.parametrize(("length", "refused"), [("1000", False), ("1001", True), ("x", False)])
def test_a_declared_length_is_believed(length: str, refused: bool) -> None:
    hand, send = calling(settings=HttpClientSettings(max_body=1000))
    head(hand, send, 200, content_type="application/json", content_length=length)
    assert bool(hand.pump().aborted) is refused
    if refused:
        ended = hand.take(RequestEnded)
        assert (ended.reason, ended.fault) == (EndReason.INVALID, Fault(FaultKind.TOO_LARGE))
        assert ended.message == "tools/call: the response is larger than 1000 bytes"


def test_a_refusal_is_read_up_to_a_limit() -> None:
    hand, send = calling(settings=HttpClientSettings(max_refusal=100))
    head(hand, send, 500)
    hand.data(send, b"because of this")
    hand.data(send, b" " * 100)
    ended = hand.take(RequestEnded)
    assert "because of this" in ended.message
    assert ended.fault == Fault(FaultKind.STATUS, 500)
    assert hand.pump().aborted == [send.exchange]


@pytest.mark.parametrize(
    ("status", "kind"), [(302, "text/html"), (200, "text/html"), (202, "text/plain")]
)
def test_what_does_not_matter_is_read_a_little_and_not_for_long(status: int, kind: str) -> None:
    for way in ("much", "slowly"):
        hand, send = calling()
        head(hand, send, status, content_type=kind)
        hand.take(RequestEnded)
        hand.data(send, b"x" * 60_000)
        assert hand.pump().aborted == []
        if way == "much":
            hand.data(send, b"x" * 60_000)
        else:
            hand.pass_time(6)
        assert hand.pump().aborted == [send.exchange]
        assert hand.client.exchanges == 0


def test_a_get_that_is_refused_without_end_is_tried_again() -> None:
    hand, _ = broken()
    again = hand.next()
    head(hand, again, 500)
    for _ in range(3):
        hand.data(again, b"x" * 30_000)
    assert hand.pump().aborted == [again.exchange]
    assert hand.next().after == 2.0


def test_the_end_of_a_session_is_not_waited_for_without_end() -> None:
    hand = legacy()
    hand.client.close(now=hand.now)
    delete = hand.next()
    head(hand, delete, 200)
    for _ in range(3):
        hand.data(delete, b"x" * 30_000)
    assert hand.kinds() == ["ConnectionEnded"]


# What must not be there


@pytest.mark.parametrize("what", ["answers", "garbage"])
def test_a_server_that_breaks_the_rules_over_and_over(what: str) -> None:
    hand, send = calling(settings=HttpClientSettings(max_violations=10))
    hand.stream(send)
    event = b"data: " + (json.dumps(result(99)).encode() if what == "answers" else b"{[") + b"\n\n"
    hand.data(send, event * 10)
    assert hand.pump().aborted == []
    good = b'data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'
    hand.data(send, event + good)
    ended = hand.take(RequestEnded)
    assert ended.reason is EndReason.INVALID
    assert "over and over" in ended.message
    assert hand.pump().aborted == [send.exchange]
    assert hand.kinds().count("Violation") == 11
    assert "NotificationReceived" not in hand.kinds()


ASKED = b'data: {"jsonrpc":"2.0","id":%d,"method":"tools/list"}\n\n'
BATCHED = ASKED.replace(b"{", b"[{", 1).replace(b"\n", b"]\n", 1)


@pytest.mark.parametrize(
    ("version", "event"),
    [("2024-11-05", ASKED), ("2025-03-26", BATCHED), (LEGACY, ASKED), (None, ASKED)],
)
def test_requests_that_have_to_be_refused_count_too(version: str | None, event: bytes) -> None:
    settings = HttpClientSettings(max_violations=10, get_stream=False)
    hand = modern(settings=settings)
    if version is not None:
        hand = starting(settings).shake_hands(version, None)
        hand.take(Ready)
    bad, send = hand.call()
    hand.stream(send)
    hand.data(send, b"".join(event % number for number in range(10)))
    assert hand.pump().aborted == []
    hand.data(send, b"".join(event % number for number in range(10, 500)))
    ended = hand.ended(bad, EndReason.INVALID)
    assert "over and over" in ended.message
    assert hand.pump().aborted == [send.exchange]
    assert hand.kinds().count("Violation") == 11
    assert len(hand.sent) == (0 if version is None else 11), "refusals that were still sent"


def test_requests_that_the_owner_refuses_count_too() -> None:
    hand = legacy(settings=HttpClientSettings(max_violations=10))
    bad, send = hand.call()
    hand.stream(send)
    for number in range(30):
        hand.data(send, ASKED.replace(b"tools/list", b"roots/list") % number)
        if hand.aborted:
            break
        error = ErrorData(METHOD_NOT_FOUND if number % 2 else INTERNAL_ERROR, "no")
        assert hand.client.fail(hand.take(RequestReceived).key, error)
        hand.pump()
    assert number == 22
    hand.ended(bad, EndReason.INVALID)


def test_an_answer_behind_too_many_of_them_is_taken() -> None:
    hand = legacy(settings=HttpClientSettings(max_violations=10))
    asked, send = hand.call()
    hand.stream(send)
    answer = b"data: " + json.dumps(result(asked)).encode() + b"\n\n"
    hand.data(send, b"".join(ASKED % number for number in range(50)) + answer)
    assert hand.take(ResultReceived).request == asked
    assert hand.pump().aborted == [send.exchange]
    assert hand.kinds() == ["Violation"] * 11


def test_the_standalone_stream_is_given_up_for_that_too() -> None:
    hand, get = streaming(settings=HttpClientSettings(max_violations=3))
    for _ in range(4):
        hand.event(get, result(99))
    assert hand.pump().aborted == [get.exchange]
    last = hand.interruptions()[-1]
    assert (last.recovery, last.attempt, last.delay) == (Recovery.FAIL, 1, 0.0)
    request = hand.client.request("tools/list", now=hand.now)
    hand.reply(hand.next(), body=result(request, {"tools": []}))
    assert hand.take(ResultReceived).request == request


@pytest.mark.parametrize(
    ("version", "taken"),
    [("2024-11-05", False), ("2025-03-26", True), ("2025-06-18", False), ("2025-11-25", False)],
)
def test_batches_where_the_revision_has_them(version: str, taken: bool) -> None:
    hand = legacy(version)
    for kind in ("json", "events"):
        request = hand.client.request("tools/call", ECHO, now=hand.now)
        body = [note("notifications/x"), result(request, DONE)]
        send = hand.next()
        if kind == "json":
            hand.reply(send, 200, body)
        else:
            hand.stream(send)
            hand.event(send, body)
            hand.end(send)
        kinds = hand.kinds()
        said = [event.message for event in hand.events if isinstance(event, Violation)]
        hand.events.clear()
        if taken:
            assert kinds == ["NotificationReceived", "ResultReceived"]
        else:
            assert said == [f"a batch in answer to tools/call: {version} has none"]
            assert sorted(kinds) == ["RequestEnded", "Violation"] or "StreamInterrupted" in kinds


@pytest.mark.parametrize(("version", "taken"), [("2025-03-26", True), ("2025-06-18", False)])
def test_batches_on_the_standalone_stream(version: str, taken: bool) -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY))
    hand.open_legacy(version, stream=True)
    hand.event(hand.next(), [note("notifications/x"), note("notifications/y")])
    said = [event.message for event in hand.events if isinstance(event, Violation)]
    heard = [event.method for event in hand.events if isinstance(event, NotificationReceived)]
    if taken:
        assert (said, heard) == ([], ["notifications/x", "notifications/y"])
    else:
        refusal = f"a batch in answer to the standalone stream: {version} has none"
        assert (said, heard) == ([refusal], [])


# Storms


@pytest.mark.parametrize(
    ("stood", "resumes", "expected"),
    [(0.0, 3, [1.0, 0.1, 0.1, *[1.0] * 7]), (1.0, 1, [1.0, *[0.1] * 5])],
    ids=["events alone", "connections that stood"],
)
def test_how_soon_we_come_back_where_a_server_wants_us_at_once(
    stood: float, resumes: int, expected: list[float]
) -> None:
    hand, _ = broken(settings=HttpClientSettings(max_resumes=resumes, retry_delay=1.0))
    waits = []
    for number in range(len(expected)):
        send = hand.next()
        waits.append(send.after)
        hand.stream(send)
        hand.data(send, b"id: x-%d\nretry: 0\ndata:\n\n" % number)
        hand.now += stood
        hand.end(send)
    assert waits == expected


# What asks for nothing


def test_what_asks_for_nothing_has_a_deadline() -> None:
    hand = starting(HttpClientSettings(notify_timeout=7.0))
    initialize = hand.next()
    assert (initialize.timeout, initialize.repeatable) == (None, True)
    hand.result(initialize, initialize_result(), mcp_session_id="s")
    initialized = hand.next()
    assert (initialized.timeout, initialized.repeatable) == (7.0, True)
    hand.end(initialized, "did not take the message in time")
    violation = hand.take(Violation)
    assert "notifications/initialized was not taken" in violation.message
    assert violation.excerpt == ""
    again = hand.next()
    assert (again.timeout, again.after, again.body) == (7.0, 1.0, initialized.body)
    hand.reply(again, 202)
    get = hand.next()
    assert (get.method, get.timeout, get.repeatable) == ("GET", None, True)
    assert (initialize.head_timeout, initialized.head_timeout, get.head_timeout) == (None, None, 60)
    for method, repeatable in (("tools/call", False), ("tools/list", True), ("ping", True)):
        hand.client.request(method, ECHO if method == "tools/call" else None, now=0)
        send = hand.next()
        assert (send.timeout, send.repeatable) == (None, repeatable)
    hand.client.close(now=0)
    assert hand.next().timeout == 7.0


def test_what_may_be_sent_twice_is_known_to_the_driver() -> None:
    hand = modern(repeatable_tools={"look"})
    for name, mark, repeatable in (
        ("look", None, True),
        ("look", False, False),
        ("make", None, False),
        ("make", True, True),
    ):
        hand.client.request("tools/call", {"name": name}, now=0, repeat=mark)
        assert hand.next().repeatable is repeatable
