"""HttpClient, what it sends and how it reads what comes back."""

import json
from typing import Any

import pytest

from mcpcore import ErrorData, HttpClientSettings, Limits, Negotiation
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    ErrorReceived,
    Fault,
    FaultKind,
    NegotiationFailed,
    NotificationReceived,
    ProgressReceived,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionAcknowledged,
    SubscriptionNotification,
    Violation,
)
from mcpcore.http.client.call import DownloadProgress
from mcpcore.wire.sse import encode_event
from tests.http.support import (
    DONE,
    ECHO,
    LEGACY,
    MODERN,
    Hand,
    error,
    initialize_result,
    legacy,
    make_client,
    modern,
    note,
    result,
    starting,
)

# What is sent


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://localhost:8000/mcp", "localhost:8000", "/mcp"),
        ("https://example.com", "example.com", "/"),
        ("http://[::1]:9/a%20b?c=d#e", "[::1]:9", "/a%20b?c=d"),
        ("http://bücher.example/", "xn--bcher-kva.example", "/"),
    ],
)
def test_where_it_goes(url: str, host: str, target: str) -> None:
    hand = Hand(make_client(url=url))
    hand.client.start(now=0)
    send = hand.next()
    assert hand.fields_of(send)["host"] == host
    assert (send.method, send.target) == ("POST", target)
    assert hand.client.url == url


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://a/b", "http://", "http://u:p@a/", "http://a/b c", "http://a/ä"],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError):
        make_client(url=url)


@pytest.mark.parametrize(
    "header",
    [
        ("a b", "x"),
        ("x", "a\r\nb: c"),
        ("x", "ä"),
        ("Mcp-Param-X", "x"),
        ("Content-Length", "1"),
        ("Connection", "close"),
    ],
)
def test_own_headers_that_cannot_be_sent(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        make_client(HttpClientSettings(headers=(header,)))


@pytest.mark.requirement(
    "basic/transports/streamable-http/accept", "basic/transports/streamable-http/metadata-headers"
)
def test_the_headers_of_a_modern_request() -> None:
    settings = HttpClientSettings(headers=(("Authorization", "Bearer x"),))
    hand = Hand(make_client(settings))
    hand.client.start(now=0)
    send = hand.next()
    assert hand.fields_of(send) == {
        "host": "localhost:8000",
        "authorization": "Bearer x",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "content-length": str(len(send.body)),
        "mcp-protocol-version": MODERN,
        "mcp-method": "server/discover",
    }
    assert send.after is None


@pytest.mark.requirement(
    "basic/transports/streamable-http/metadata-headers",
    "basic/transports/streamable-http/name-encoded",
)
@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "echo"}, "echo"),
        ("prompts/get", {"name": "grüße"}, "=?base64?Z3LDvMOfZQ==?="),
        ("prompts/get", {"name": "a\r\nx: y"}, "=?base64?YQ0KeDogeQ==?="),
        ("resources/read", {"uri": "file:///a%20b?c"}, "file:///a%20b?c"),
        ("tools/list", {}, None),
    ],
)
def test_names_are_mirrored(method: str, params: dict[str, str], name: str | None) -> None:
    hand = modern()
    hand.client.request(method, params, now=hand.now)
    fields = hand.fields_of(hand.next())
    assert fields["mcp-method"] == method
    assert fields.get("mcp-name") == name


@pytest.mark.requirement(
    "basic/transports/streamable-http/param-mirrored",
    "basic/transports/streamable-http/param-null-omitted",
)
def test_arguments_are_mirrored() -> None:
    paths = {"Region": ("region",), "Priority": ("p", "q"), "Debug": ("debug",), "Gone": ("x",)}
    hand = modern(header_params={"echo": paths})
    arguments = {"region": " ä ", "p": {"q": 42}, "debug": True, "x": None}
    hand.client.request("tools/call", {"name": "echo", "arguments": arguments}, now=hand.now)
    fields = hand.fields_of(hand.next())
    assert {name: value for name, value in fields.items() if "param" in name} == {
        "mcp-param-region": "=?base64?IMOkIA==?=",
        "mcp-param-priority": "42",
        "mcp-param-debug": "true",
    }


@pytest.mark.requirement(
    "basic/transports/streamable-http/post",
    "basic/transports/get-stream-accept",
    "basic/transports/session-id-sent",
    "basic/transports/version-header",
    "basic/transports/version-header-negotiated",
)
@pytest.mark.parametrize(
    ("version", "header"),
    [("2024-11-05", None), ("2025-03-26", None), ("2025-06-18", "2025-06-18"), (LEGACY, LEGACY)],
)
def test_the_headers_of_legacy_requests(version: str, header: str | None) -> None:
    hand = starting()
    first = hand.next()
    assert "mcp-protocol-version" not in hand.fields_of(first)
    assert "mcp-method" not in hand.fields_of(first)
    hand.result(first, initialize_result(version), mcp_session_id="s~!")
    assert hand.client.session == "s~!"
    initialized = hand.next()
    hand.reply(initialized, 202)
    get = hand.next()
    hand.reply(get, 405)
    _, call = hand.call()
    hand.client.close(now=0)
    delete = hand.next()
    for send, method in (
        (initialized, "POST"),
        (get, "GET"),
        (call, "POST"),
        (delete, "DELETE"),
    ):
        fields = hand.fields_of(send)
        assert send.method == method
        assert fields.get("mcp-protocol-version") == header
        assert fields["mcp-session-id"] == "s~!"
        assert "mcp-name" not in fields
    assert hand.fields_of(get)["accept"] == "text/event-stream"
    assert "content-type" not in hand.fields_of(get)


@pytest.mark.parametrize(
    ("session", "options"),
    [(None, {}), ("s-1", {"settings": HttpClientSettings(delete_session=False)})],
    ids=["none", "left alone"],
)
def test_what_names_no_session_or_leaves_it_alone_deletes_none(
    session: str | None, options: dict[str, Any]
) -> None:
    hand = legacy(session=session, **options)
    hand.client.request("tools/list", now=hand.now)
    assert hand.fields_of(hand.next()).get("mcp-session-id") == session
    hand.client.close(now=hand.now)
    assert hand.pump().sent == []
    hand.take(ConnectionEnded)


@pytest.mark.parametrize("session", ["a b", "a\x7f", "ä"])
def test_a_session_id_that_may_not_be_sent_back_fails_the_handshake(session: str) -> None:
    hand = starting()
    hand.result(hand.next(), initialize_result(), mcp_session_id=session)
    assert "session id" in hand.take(NegotiationFailed).message
    assert hand.client.session is None


def test_such_a_session_id_ends_an_initialize_that_our_owner_asks_for() -> None:
    hand = legacy()
    asked = hand.client.request("initialize", now=hand.now)
    hand.result(hand.next(), initialize_result(), mcp_session_id="a b")
    hand.ended(asked, EndReason.INVALID)
    assert hand.client.session == "s-1"


def test_how_a_response_goes_on_that_fails_the_handshake_does_not_matter() -> None:
    hand = starting()
    send = hand.next()
    hand.head(send, 200, "application/json", mcp_session_id="a b")
    hand.end(send, "connection reset")
    assert hand.kinds() == ["NegotiationFailed"]
    assert hand.client.exchanges == 0


@pytest.mark.requirement("basic/lifecycle/client-waits", "basic/lifecycle/initialized")
def test_requests_wait_until_the_server_knows_that_we_are_ready() -> None:
    hand = starting()
    ids = [hand.client.request("tools/list", now=0) for _ in range(2)]
    hand.result(hand.next(), initialize_result())
    initialized = hand.next()
    assert hand.body_of(initialized)["method"] == "notifications/initialized"
    hand.client.notify("notifications/roots/list_changed")
    third = hand.client.request("prompts/list", now=0)
    assert hand.pump().sent == []
    hand.client.cancel(ids[0], now=0)
    assert hand.take(RequestEnded).request == ids[0]
    assert hand.pump().sent == []
    hand.head(initialized, 202, None)
    assert hand.next().method == "GET"
    bodies = [hand.body_of(hand.next()) for _ in range(3)]
    assert bodies[0]["id"] == ids[1]
    assert bodies[1]["method"] == "notifications/roots/list_changed"
    assert bodies[2]["id"] == third


@pytest.mark.requirement(
    "basic/transports/streamable-http/one-message-per-post",
    "basic/transports/streamable-http/body-single",
    "basic/transports/batch-bodies",
    "basic/lifecycle/initialize-not-batched",
)
def test_one_message_per_post() -> None:
    hand = legacy("2025-03-26")
    for _ in range(5):
        hand.client.request("tools/list", now=hand.now)
    assert [type(hand.body_of(hand.next())) for _ in range(5)] == [dict] * 5


# Answers


@pytest.mark.requirement("basic/transports/streamable-http/client-json-and-sse")
def test_json_and_events_for_the_same_call() -> None:
    hand = modern()
    for kind in ("json", "events"):
        request, send = hand.call()
        if kind == "json":
            hand.reply(send, body=result(request))
        else:
            hand.stream(send, result(request))
            hand.end(send)
        received = hand.take(ResultReceived)
        assert received.request == request
        assert hand.kinds() == []
    assert hand.client.exchanges == 0


def test_notifications_and_progress_on_a_stream() -> None:
    hand = modern()
    request, send = hand.call(progress=True)
    progress = note("notifications/progress", {"progressToken": request, "progress": 1})
    hand.stream(send, progress, note("notifications/message", {"level": "info", "data": 1}))
    assert hand.take(ProgressReceived).request == request
    assert hand.take(NotificationReceived).method == "notifications/message"
    hand.data(send, b": comment\n\nevent: other\ndata: {}\n\ndata:\n\n")
    assert hand.kinds() == []
    hand.event(send, result(request))
    hand.end(send)
    assert hand.kinds() == ["ResultReceived"]


def test_a_subscription_stays_open() -> None:
    hand = modern(settings=HttpClientSettings(download_step=1))  # it is no download
    wanted = {"notifications": {"toolsListChanged": True}}
    request = hand.client.request("subscriptions/listen", wanted, now=hand.now)
    send = hand.next()
    meta = {"io.modelcontextprotocol/subscriptionId": request}
    hand.stream(
        send,
        note("notifications/subscriptions/acknowledged", {**wanted, "_meta": meta}),
        note("notifications/tools/list_changed", {"_meta": meta}),
    )
    assert hand.take(SubscriptionAcknowledged).request == request
    assert hand.take(SubscriptionNotification).request == request
    hand.pass_time(10_000)
    assert hand.kinds() == []
    hand.end(send)
    hand.ended(request, EndReason.CLOSED)


@pytest.mark.parametrize("kind", ["json", "events"])
@pytest.mark.parametrize("foreign", [99, "1", "other"])
def test_an_answer_to_another_request_is_refused(kind: str, foreign: Any) -> None:
    hand = modern()
    first, send = hand.call()
    second, _ = hand.call()
    for id in (foreign, second):
        hand.events.clear()
        if kind == "events":
            if id == foreign:
                hand.head(send, 200, "text/event-stream")
            hand.event(send, result(id))
            assert hand.kinds() == ["Violation"]
    if kind == "json":
        hand.reply(send, body=result(second))
        assert sorted(hand.kinds()) == ["RequestEnded", "Violation"]
        hand.ended(first, EndReason.INVALID)


def test_answers_do_not_belong_on_the_standalone_stream() -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy(stream=True)
    get = hand.next()
    request = hand.client.request("tools/list", now=hand.now)
    hand.event(get, result(request))
    assert hand.kinds() == ["Violation"]
    hand.event(get, {"jsonrpc": "2.0", "id": request, "result": 5})
    assert hand.kinds() == ["Violation"] * 2


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, -32602),
        (400, -32600),
        (404, -32601),
        (500, -32603),
        (503, 1001),
        (401, 5),
        (429, 5),
        (200, 5),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_an_error_answers_the_request_of_its_exchange_under_any_status(
    status: int, code: int, named: bool
) -> None:
    hand = modern()
    request, send = hand.call()
    hand.reply(send, status, error(request if named else None, code, data=[1]), retry_after="7")
    received = hand.take(ErrorReceived)
    assert (received.request, received.error.code) == (request, code)
    assert received.fault == (None if status == 200 else Fault(FaultKind.STATUS, status, 7.0))


def test_an_error_without_id_on_a_stream_answers_the_request_of_its_exchange() -> None:
    hand = modern()
    _, send = hand.call()
    hand.stream(send, {"jsonrpc": "2.0", "id": None, "error": {"code": 5, "message": "x"}})
    assert hand.take(ErrorReceived).error == ErrorData(5, "x")


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (200, b"{", "application/json", "no valid message"),
        (200, b"", "application/json", "no valid message"),
        (200, json.dumps(note("notifications/x")).encode(), "application/json", "holds no answer"),
        (200, b"hello", "text/plain", "neither JSON nor an event stream"),
        (200, b"<html>", "text/html; charset=utf-8", "neither JSON nor an event stream"),
        (200, b"x", "nonsense", "neither JSON nor an event stream"),
        (202, None, None, "without answering"),
        (204, None, None, "without answering"),
    ],
)
def test_successes_that_are_no_answer(
    status: int, body: bytes | None, kind: str | None, text: str
) -> None:
    hand = modern()
    request, send = hand.call()
    hand.reply(send, status, body, kind)
    assert text in hand.ended(request, EndReason.INVALID).message
    assert "RequestEnded" not in hand.kinds()


def test_each_head_is_read_for_itself() -> None:
    hand = modern()
    lines = [(b"content-type", b"text/plain")]
    for kind in (b"application/json", b"text/plain", b"application/json"):
        request, send = hand.call()
        lines[0] = (b"content-type", kind)  # of the same list, as a driver may have it
        hand.client.response_head(send.exchange, 200, lines, now=hand.now)
        hand.data(send, json.dumps(result(request)).encode())
        hand.end(send)
        assert hand.take(RequestEnded if kind == b"text/plain" else ResultReceived)


@pytest.mark.parametrize("known", [True, False])
def test_a_large_answer_is_reported_at_each_step_and_at_its_end(known: bool) -> None:
    hand = modern(settings=HttpClientSettings(download_step=100))
    request, send = hand.call()
    body = json.dumps(result(request, {**DONE, "_meta": {"x": "y" * 290}})).encode()
    length = {"content_length": str(len(body))} if known else {}
    hand.head(send, 200, "application/json", **length)
    for start in range(0, len(body), 60):
        hand.data(send, body[start : start + 60])
    hand.end(send)
    told = [event for event in hand.events if isinstance(event, DownloadProgress)]
    assert [event.received for event in told] == [120, 240, 300, len(body)]
    assert {(event.request, event.total) for event in told} == {
        (request, len(body) if known else None)
    }


@pytest.mark.parametrize("header", [("content-type", "a"), ("x", "y")])
def test_a_repeated_content_type_is_no_answer(header: tuple[str, str]) -> None:
    hand = modern()
    _, send = hand.call()
    kind = (b"content-type", b"application/json")
    again = (header[0].encode(), header[1].encode())
    hand.client.response_head(send.exchange, 200, [kind, again], now=hand.now)
    assert ("RequestEnded" in hand.kinds()) is (header[0] == "content-type")


def test_a_notification_may_be_answered_with_anything() -> None:
    hand = legacy()
    for status, body in ((202, None), (200, b"ok"), (204, None)):
        hand.client.notify("notifications/roots/list_changed")
        hand.reply(hand.next(), status, body, "text/plain")
    assert hand.kinds() == []
    hand.client.notify("notifications/roots/list_changed")
    hand.reply(hand.next(), 400, error(None, -32600))
    assert "HTTP status 400" in hand.take(Violation).message
    assert hand.client.exchanges == 0


@pytest.mark.parametrize(
    ("status", "body", "texts"),
    [
        (301, None, ["301", "a POST follows 307 and 308 alone"]),
        (401, None, ["401", "authorization"]),
        (403, b"go away", ["403", "forbids", "go away"]),
        (404, b"<html>nothing</html>", ["404"]),
        (405, None, ["405 (it does not take this method)"]),
        (418, b"I'm a teapot", ["418", "I'm a teapot"]),
        (429, None, ["429", "too often"]),
        (500, b"\xff\x00", ["500"]),
        (503, b"x" * 1000, ["503", "x" * 200]),
    ],
)
def test_refusals_end_their_request_with_a_clear_message(
    status: int, body: bytes | None, texts: list[str]
) -> None:
    hand = modern()
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), status, body, "text/plain")
    ended = hand.take(RequestEnded)
    assert ended.request == request
    assert all(text in ended.message for text in texts)
    assert "html" not in ended.message
    assert len(ended.message) < 400
    assert hand.kinds() == []


def test_an_error_for_another_request_under_a_status_ends_ours() -> None:
    hand = modern()
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    hand.reply(hand.next(), 400, error(99, -32600))
    assert hand.take(RequestEnded).request == request
    assert hand.kinds() == ["Violation"]


@pytest.mark.parametrize("part", ["nothing", "head", "json", "events", "error"])
def test_connections_that_break(part: str) -> None:
    hand = modern()
    request, send = hand.call()
    if part == "json":
        hand.head(send, 200, "application/json")
        hand.data(send, b'{"json')
    elif part == "events":
        hand.stream(send)
        hand.data(send, b'id: 5\ndata: {"json')
    elif part == "error":
        hand.head(send, 500, "text/plain")
    hand.end(send, None if part == "nothing" else "connection reset")
    ended = hand.ended(request, EndReason.REFUSED if part == "error" else EndReason.CLOSED)
    assert ("connection reset" in ended.message) is (part not in ("error", "nothing"))
    assert ("before the response" in ended.message) is (part == "nothing")
    assert part == "error" or ended.fault is None
    assert hand.pump().sent == []


def test_replies_that_had_arrived_come_before_the_end() -> None:
    hand = modern()
    requests = [hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2)]
    sends = [hand.next() for _ in requests]
    hand.head(sends[0], 200, "text/event-stream")
    hand.head(sends[1], 200, "text/event-stream")
    answer = b"data: " + json.dumps(result(requests[0])).encode() + b"\n\n"
    hand.data(sends[0], answer)
    hand.client.response_end(sends[0].exchange, error="reset", now=0)
    hand.client.response_end(sends[1].exchange, error="reset", now=0)
    assert hand.kinds() == ["ResultReceived", "RequestEnded"]


def test_limits() -> None:
    hand = modern(settings=HttpClientSettings(max_body=1000, max_event=1000))
    for kind in ("application/json", "text/event-stream"):
        request, send = hand.call()
        hand.head(send, 200, kind)
        if kind == "text/event-stream":
            hand.data(send, b'data: {"jsonrpc":"2.0","method":"notifications/a"}\n\n')
        for _ in range(3):
            hand.data(send, b"data: " + b"x" * 600)
        ended = hand.ended(request, EndReason.INVALID)
        assert ended.fault == Fault(FaultKind.TOO_LARGE)
        assert "1000 bytes" in ended.message
        assert hand.aborted.pop() == send.exchange
    assert hand.kinds() == ["NotificationReceived"]
    assert hand.client.exchanges == 0


def test_depth_is_limited() -> None:
    hand = modern(limits=Limits(depth=20))
    request = hand.client.request("tools/call", ECHO, now=hand.now)
    deep: Any = 0
    for _ in range(30):
        deep = [deep]
    hand.reply(hand.next(), body=result(request, {"a": deep}))
    assert hand.take(RequestEnded).reason is EndReason.INVALID


# Cancellation


@pytest.mark.requirement(
    "basic/patterns/cancellation/timeout-cancels",
    "basic/patterns/cancellation/send-cancellation",
    "basic/patterns/cancellation/late-response-ignored",
)
def test_modern_cancellation_is_the_end_of_the_exchange() -> None:
    hand = modern()
    first = hand.client.request("tools/call", ECHO, now=hand.now)
    second = hand.client.request("tools/call", ECHO, now=hand.now, timeout=5)
    sends = [hand.next(), hand.next()]
    hand.stream(sends[0])
    hand.client.cancel(first, now=hand.now)
    hand.pump()
    assert hand.aborted == [sends[0].exchange]
    hand.pass_time(6)
    assert hand.aborted == [send.exchange for send in sends]
    assert hand.sent == []
    assert {hand.take(RequestEnded).request for _ in range(2)} == {first, second}
    hand.event(sends[0], result(first))
    hand.end(sends[0])
    assert hand.kinds() == []
    assert hand.client.exchanges == 0


@pytest.mark.requirement("basic/transports/cancel-explicit")
def test_legacy_cancellation_is_said() -> None:
    hand = legacy()
    request, send = hand.call()
    hand.client.cancel(request, now=hand.now, reason="enough")
    cancel = hand.next()
    assert hand.body_of(cancel)["params"] == {"requestId": request, "reason": "enough"}
    assert hand.aborted == [send.exchange]
    hand.reply(cancel, 202)
    assert hand.client.exchanges == 0


def test_a_stream_that_does_not_end_after_its_answer_is_ended() -> None:
    hand = modern()
    request, send = hand.call()
    hand.stream(send, result(request))
    assert hand.client.deadline() is not None
    hand.pass_time(4)
    assert hand.aborted == []
    hand.pass_time(2)
    assert hand.aborted == [send.exchange]
    assert hand.client.deadline() is None
    assert hand.client.exchanges == 0


# The era


SUPPORTED = {"supported": [LEGACY], "requested": MODERN}


@pytest.mark.requirement("basic/transports/streamable-http/inspect-400")
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, None, None),
        (400, b"Bad Request", "text/plain"),
        (400, error(None, -32000), "application/json"),
        (400, error(None, -32600), "application/json"),
        (400, error(1, -32602), "application/json"),
        (400, error(1, -32022, data=SUPPORTED), "application/json"),
        (404, None, None),
        (404, b"<html>", "text/html"),
        (405, None, None),
        (406, None, None),
        (415, None, None),
        (422, b"{}", "application/json"),
        (200, error(1, -32601), "application/json"),
        (202, None, None),
    ],
)
def test_evidence_of_a_legacy_server(status: int, body: Any, kind: str | None) -> None:
    hand = starting(negotiation=Negotiation.AUTO)
    hand.reply(hand.next(), status, body, kind)
    send = hand.next()
    assert hand.body_of(send)["method"] == "initialize"
    assert "mcp-protocol-version" not in hand.fields_of(send)
    hand.result(send, initialize_result())
    assert hand.take(Ready).revision.name == LEGACY


@pytest.mark.requirement("basic/transports/streamable-http/inspect-400")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (301, None),
        (401, None),
        (403, error(None, -32600)),
        (429, error(1, -32000)),
        (408, None),
        (413, None),
        (500, None),
        (500, error(1, -32603)),
        (502, b"<html>"),
        (503, error(1, 1001)),
        (400, error(1, -32021)),
        (400, error(None, -32020)),
    ],
)
def test_no_evidence(status: int, body: Any) -> None:
    hand = starting(negotiation=Negotiation.AUTO)
    request = hand.client.request("tools/list", now=0)
    hand.reply(hand.next(), status, body)
    assert hand.take(NegotiationFailed).message
    hand.ended(request, EndReason.REFUSED)
    assert hand.pump().sent == []


def test_404_with_method_not_found_proves_a_modern_server() -> None:
    hand = starting(negotiation=Negotiation.AUTO)
    hand.client.request("tools/list", now=0)
    hand.reply(hand.next(), 404, error(1, -32601))
    assert hand.take(Ready).revision.name == MODERN
    assert hand.fields_of(hand.next())["mcp-method"] == "tools/list"


def test_silence_is_a_legacy_server_and_the_probe_is_given_up() -> None:
    hand = Hand(make_client(limits=Limits(probe_timeout=5)))
    hand.client.start(now=hand.now)
    probe = hand.next()
    hand.pass_time(6)
    handshake = hand.next()
    assert hand.body_of(handshake)["method"] == "initialize"
    assert hand.aborted == [], "a slow modern server may still answer"
    hand.reply(handshake, 200, result(2, initialize_result()))
    hand.take(Ready)
    assert hand.aborted == [probe.exchange]


@pytest.mark.parametrize("broken", [401, 404, 502, 504, None])
def test_a_probe_that_fails_late_leaves_it_to_the_handshake(broken: int | None) -> None:
    hand = Hand(make_client(limits=Limits(probe_timeout=5)))
    hand.client.start(now=hand.now)
    held = hand.client.request("tools/list", now=hand.now)
    probe = hand.next()
    hand.pass_time(6)
    handshake = hand.next()
    if broken is None:
        hand.end(probe, "connection reset")
    else:
        hand.reply(probe, broken, b"gateway timeout", "text/plain")
    assert (hand.events, hand.aborted) == ([], [])
    hand.result(handshake, initialize_result(LEGACY), mcp_session_id="s-1")
    assert hand.take(Ready).revision.name == LEGACY
    hand.reply(hand.next(), 202)
    [post] = [send for send in (hand.next(), hand.next()) if send.method == "POST"]
    assert hand.body_of(post)["id"] == held


@pytest.mark.parametrize(
    ("url", "question"),
    [
        ("http://host.test:8077/", "; is it http://host.test:8077/mcp?"),
        ("http://host.test/mcp/", "; is it http://host.test/mcp?"),
        ("http://host.test/mcp?x=1", ""),
        ("http://host.test/team/mcp", ""),
    ],
)
@pytest.mark.parametrize("body", [error(1, -32600), b"no"])
def test_where_nothing_is_the_usual_path_is_asked_about(url: str, question: str, body: Any) -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY, url=url))
    hand.client.start(now=0)
    for _ in range(2):  # HTTP+SSE is not there either
        hand.reply(hand.next(), 404, body)
    failed = hand.take(NegotiationFailed)
    assert failed.message == (
        f"initialize: the server answered with HTTP status 404 (nothing is there): no{question}"
    )
    assert failed.fault == Fault(FaultKind.STATUS, 404)


@pytest.mark.requirement("basic/patterns/index/no-client-responses")
def test_a_modern_client_sends_no_responses() -> None:
    hand = modern()
    hand.client.request("subscriptions/listen", {"notifications": {}}, now=hand.now)
    send = hand.next()
    hand.stream(send, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert hand.pump().sent == []
    hand.event(send, {"jsonrpc": "2.0", "id": 2, "method": 5})
    hand.event(send, {"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage"})
    assert hand.pump().sent == []
    assert "RequestReceived" not in hand.kinds()


# Answers of ours, legacy


def test_questions_of_a_legacy_server_are_answered_by_post() -> None:
    hand = legacy()
    request, send = hand.call()
    question = {"jsonrpc": "2.0", "id": "q", "method": "roots/list"}
    hand.stream(send, question, {**question, "id": "r"}, {**question, "id": "p", "method": "ping"})
    assert hand.body_of(hand.next()) == {"jsonrpc": "2.0", "id": "p", "result": {}}
    first, second = hand.take(RequestReceived), hand.take(RequestReceived)
    assert hand.client.progress(first.key, 1) is False
    hand.client.respond(first.key, {"roots": []})
    hand.client.fail(second.key, ErrorData(-1, "no"))
    answer, refusal = hand.next(), hand.next()
    assert hand.body_of(answer) == {"jsonrpc": "2.0", "id": "q", "result": {"roots": []}}
    assert hand.body_of(refusal)["error"] == {"code": -1, "message": "no"}
    assert hand.fields_of(answer)["mcp-session-id"] == "s-1"
    hand.reply(answer, 202)
    hand.reply(refusal, 202)
    hand.event(send, result(request))
    assert hand.kinds() == ["ResultReceived"]


@pytest.mark.parametrize("by", ["cancel", "timeout"])
def test_a_question_ends_with_the_call_it_belongs_to(by: str) -> None:
    hand = legacy()
    call, send = hand.call(timeout=5)
    other, others = hand.call(timeout=None)
    hand.stream(send, {"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
    hand.stream(others, {"jsonrpc": "2.0", "id": "r", "method": "roots/list"})
    key, kept = hand.take(RequestReceived).key, hand.take(RequestReceived).key
    # One that nobody has looked at yet ends as well.
    late = {"jsonrpc": "2.0", "id": "l", "method": "roots/list"}
    hand.data(send, encode_event(json.dumps(late).encode()))
    if by == "cancel":
        hand.client.cancel(call, now=hand.now)
        assert hand.body_of(hand.next())["method"] == "notifications/cancelled"
    else:
        hand.pass_time(6)
    hand.pump()
    ended = [event.key for event in hand.events if isinstance(event, RequestCancelled)]
    asked = hand.take(RequestReceived).key
    assert ended == [key, asked]
    assert hand.aborted == [send.exchange]
    hand.sent.clear()
    assert hand.client.respond(key, {"roots": []}) is False
    assert hand.client.respond(kept, {"roots": []}) is True
    assert hand.body_of(hand.next())["id"] == "r"
    for gone in ended:
        hand.client.release(gone)
    hand.event(others, result(other))
    assert hand.take(ResultReceived).request == other
    assert not hand.pump().sent


# The end


@pytest.mark.parametrize("collected", [True, False])
@pytest.mark.parametrize("status", [202, 404, None])
def test_a_cancellation_is_said_before_the_end(collected: bool, status: int | None) -> None:
    hand = legacy()
    given_up, _ = (hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2))
    calls = [hand.next() for _ in range(2)]
    hand.client.cancel(given_up, now=hand.now)
    if collected:
        hand.pump()
    hand.client.close(now=hand.now)
    told = hand.next()
    message = hand.body_of(told)
    assert message["method"] == "notifications/cancelled"
    assert message["params"]["requestId"] == given_up
    assert hand.sent == [], "the session lives until that was taken"
    assert sorted(hand.aborted) == sorted(call.exchange for call in calls)
    if status is None:
        hand.end(told, "connection reset")
    else:
        hand.reply(told, status)
    if status == 404:
        assert hand.sent == [], "there is no session any more"
    else:
        hand.reply(hand.next(), 204)
    assert hand.kinds() == ["RequestEnded", "RequestEnded", "ConnectionEnded"]
    assert hand.client.exchanges == 0


def test_what_was_never_sent_is_not_sent_at_the_end() -> None:
    hand = legacy()
    hand.client.request("tools/call", ECHO, now=hand.now)
    hand.client.close(now=hand.now)
    assert hand.next().method == "DELETE"
    assert (hand.sent, hand.aborted) == ([], [])


@pytest.mark.requirement("basic/transports/session-delete")
@pytest.mark.parametrize("status", [204, 200, 405, 404, 500, None])
def test_closing_deletes_the_session_once(status: int | None) -> None:
    hand = Hand(make_client(negotiation=Negotiation.LEGACY)).open_legacy(stream=True)
    get = hand.next()
    request, post = hand.call()
    hand.client.close(now=hand.now)
    delete = hand.next()
    assert delete.method == "DELETE"
    assert hand.sent == []
    assert sorted(hand.aborted) == sorted([get.exchange, post.exchange])
    hand.ended(request, EndReason.CLOSED)
    assert hand.kinds() == []
    if status is None:
        hand.end(delete, "connection refused")
    else:
        hand.reply(delete, status)
    assert hand.kinds() == ["ConnectionEnded"]
    assert hand.take(ConnectionEnded).reason == "closed by this side"
    assert hand.sent == []


def test_closing_before_anything() -> None:
    hand = Hand(make_client())
    hand.client.close(now=0)
    assert hand.kinds() == ["ConnectionEnded"]
    assert hand.client.revision is None


@pytest.mark.parametrize(
    ("settings", "linger"), [(HttpClientSettings(), 5), (HttpClientSettings(linger=2.0), 2)]
)
def test_the_deadline_is_the_nearest(settings: HttpClientSettings, linger: float) -> None:
    hand = modern(settings=settings)
    assert hand.client.deadline() is None
    answered = hand.client.request("tools/call", ECHO, now=hand.now, timeout=9)
    hand.stream(hand.next(), result(answered))
    assert hand.client.deadline() == hand.now + linger
    hand.client.request("tools/call", ECHO, now=hand.now, timeout=1)
    assert hand.client.deadline() == hand.now + 1
    hand.client.request("tools/call", ECHO, now=hand.now, timeout=None)
    hand.pass_time(10)
    assert hand.client.deadline() is None


def test_a_request_given_up_at_the_moment_it_fails_ends_once() -> None:
    hand = legacy()
    request, send = hand.call()
    hand.client.response_end(send.exchange, error="reset", now=hand.now)
    hand.client.cancel(request, now=hand.now)
    assert hand.kinds() == ["RequestEnded"]
    assert hand.aborted == []


def test_what_comes_for_unknown_exchanges_is_ignored() -> None:
    hand = modern()
    hand.client.response_head(99, 200, [], now=0)
    hand.client.response_data(99, b"x", now=0)
    hand.client.response_end(99, now=0)
    request, send = hand.call()
    hand.head(send, 102, None)
    hand.reply(send, body=result(request))
    assert hand.kinds() == ["ResultReceived"]


@pytest.mark.parametrize("rest", [[], [result(2)]], ids=["alone", "before the answer"])
def test_what_comes_on_the_stream_of_a_request_names_it(rest: list[Any]) -> None:
    """A relay passes it on to the client whose request that is."""
    hand = legacy()
    other, id = (hand.client.request("tools/call", ECHO, now=hand.now) for _ in range(2))
    assert (other, id) == (2, 3)
    send = [hand.next(), hand.next()][1]
    rest = [{**message, "id": id} for message in rest]
    question = {"jsonrpc": "2.0", "id": 9, "method": "roots/list"}
    hand.stream(send, note("notifications/message", {"level": "info", "data": 1}), question, *rest)
    assert hand.take(NotificationReceived).request == id
    assert hand.take(RequestReceived).request == id
