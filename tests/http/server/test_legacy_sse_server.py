"""HTTP+SSE at an HttpServer: the pair of endpoints of 2024-11-05, without I/O."""

import gc
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore import HttpRequest, HttpSettings, Principal, Refusal, SsePaths
from mcpcore.engine.events import (
    Ready,
    RequestCancelled,
    RequestReceived,
)
from mcpcore.http.legacy_sse.server import SseSession
from mcpcore.http.server.sessions import SessionClosed, SessionOpened
from mcpcore.spec.revisions import REVISIONS
from tests.http.pipes import Stream, sse_server
from tests.http.support import META, Bench, initialize, make_server, note, request

LEGACY_NAMES = [revision.name for revision in REVISIONS if revision.handshake]


def bench(**settings: Any) -> Bench:
    return Bench(sse_server(**settings))


def opened(on: Bench | None = None, version: str = "2024-11-05", **options: Any) -> Stream:
    stream = Stream(on or bench(), **options).open(version)
    stream.bench.events.clear()
    return stream


# The two endpoints


@pytest.mark.requirement(
    "basic/transports/sse-endpoint-event", "basic/transports/sse-two-endpoints"
)
def test_the_stream_begins_with_the_uri_for_messages() -> None:
    stream = Stream(bench())
    assert stream.reply.status == 200
    assert stream.reply.headers["content-type"] == "text/event-stream"
    assert stream.reply.headers["x-accel-buffering"] == "no"
    assert [event.event for event in stream.events] == ["endpoint"]
    assert stream.uri.startswith("/messages?session_id=")
    assert len(stream.id) * 6 >= 128
    assert stream.bench.kinds() == ["SessionOpened"]


@pytest.mark.requirement("basic/transports/sse-two-endpoints")
@pytest.mark.parametrize("version", LEGACY_NAMES)
def test_answers_go_onto_the_stream(version: str) -> None:
    stream = Stream(bench())
    posted = stream.post(initialize(version, id="first"))
    assert (posted.status, posted.body) == (202, b"")
    [answer] = stream.messages
    assert answer["id"] == "first"
    assert answer["result"]["protocolVersion"] == version
    assert stream.post(note("notifications/initialized")).status == 202
    assert stream.bench.take(Ready).revision.name == version
    assert stream.post(request("tools/list", id=7)).status == 202
    asked = stream.bench.take(RequestReceived)
    assert asked.session == stream.id
    stream.bench.server.respond(asked.key, {"tools": []})
    stream.bench.pump()
    assert stream.messages[-1] == {"jsonrpc": "2.0", "id": 7, "result": {"tools": []}}
    assert not stream.ended()


def test_modern_requests_have_no_place_here() -> None:
    for stream in (opened(), Stream(bench())):
        stream.bench.events.clear()
        for id, method in enumerate(("server/discover", "tools/list", "subscriptions/listen")):
            assert stream.post(request(method, {"_meta": META}, id=id)).status == 202
            assert stream.messages[-1]["id"] == id
            assert "error" in stream.messages[-1]
        assert set(stream.bench.kinds()) == {"Violation"}


def test_the_modern_endpoint_stands_beside_it() -> None:
    here = bench()
    stream = opened(here)
    reply = here.modern("tools/list")
    asked = here.take(RequestReceived)
    here.server.respond(asked.key, {"tools": [], "ttlMs": 0, "cacheScope": "private"})
    here.pump()
    assert reply.status == 200
    streamable = here.session()
    assert streamable != stream.id
    assert here.server.sessions == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/sse", 405, "GET, OPTIONS"),
        ("DELETE", "/sse", 405, "GET, OPTIONS"),
        ("HEAD", "/sse", 405, "GET, OPTIONS"),
        ("GET", "/messages", 405, "POST, OPTIONS"),
        ("DELETE", "/messages", 405, "POST, OPTIONS"),
        ("GET", "/sse/", 404, None),
        ("POST", "/messages/", 404, None),
    ],
)
def test_other_methods_and_paths(method: str, path: str, status: int, allow: str | None) -> None:
    here = bench()
    reply = here.replies[here.send(method=method, path=path)]
    assert reply.status == status
    assert reply.headers.get("allow") == allow


def test_sessions_may_be_switched_off_beside_it() -> None:
    here = bench(sessions=False)
    assert opened(here).post(request("ping", id=1)).status == 202
    assert "mcp-session-id" not in here.post(initialize()).headers


def test_alone_without_the_modern_endpoint() -> None:
    here = bench(path=None)
    assert here.post(initialize()).status == 404
    assert opened(here).id


def test_not_served_unless_asked_for() -> None:
    here = Bench()
    assert here.replies[here.send(method="GET", path="/sse")].status == 404
    assert here.replies[here.send({}, path="/messages?session_id=x")].status == 404


@pytest.mark.parametrize(
    ("paths", "root", "uri"),
    [
        (SsePaths(), "", "/messages"),
        (SsePaths(), "/tools", "/tools/messages"),
        (SsePaths(), "/tools/", "/tools/messages"),
        (SsePaths(), "/a b\n", "/a%20b%0A/messages"),
        (SsePaths(), "//evil.example", "/evil.example/messages"),
        (SsePaths(), "/a%2F?b", "/a%252F%3Fb/messages"),
        (SsePaths(root="/outside"), "/inside", "/outside/messages"),
        (SsePaths(root="/out%20side/"), "", "/out%20side/messages"),
        (SsePaths(root=""), "/inside", "/messages"),
        (SsePaths(messages="/sse/post"), "", "/sse/post"),
    ],
)
def test_the_uri_is_what_clients_see(paths: SsePaths, root: str, uri: str) -> None:
    stream = Stream(bench(sse=paths), root=root)
    assert stream.uri.partition("?")[0] == uri


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: SsePaths(stream="sse"),
        lambda: SsePaths(messages="/a b"),
        lambda: SsePaths(messages="//evil/messages"),
        lambda: SsePaths(root="http://evil"),
        lambda: SsePaths(root="//evil"),
        lambda: SsePaths(messages="/a?b=c"),
        lambda: SsePaths(stream="/same", messages="/same"),
        lambda: HttpSettings(path="/sse", sse=SsePaths()),
        lambda: HttpSettings(path=None),
        lambda: make_server(HttpSettings(sse=SsePaths()), revisions=REVISIONS[-1:]),
    ],
)
def test_settings_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"path|of HTTP\+SSE$|HTTP\+SSE needs a revision"):
        wrong()


# What is posted


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32700),
        (b"{", 400, -32700),
        (b"\xff\xfe", 400, -32700),
        (b"[]", 400, -32600),
        (b"17", 400, -32600),
        (b'{"jsonrpc":"2.0"}', 400, -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400, -32600),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", 400, -32700),
    ],
)
def test_what_is_no_message(body: bytes, status: int, code: int) -> None:
    stream = opened()
    reply = stream.post(body)
    assert (reply.status, reply.code) == (status, code)
    assert not stream.ended()
    assert stream.post(request("ping", id=3)).status == 202
    assert stream.messages[-1] == {"jsonrpc": "2.0", "id": 3, "result": {}}


def test_an_error_that_names_its_request_goes_onto_the_stream_too() -> None:
    stream = opened()
    reply = stream.post({"jsonrpc": "2.0", "id": 9, "method": 1})
    assert reply.status == 400
    assert reply.json["id"] == 9
    assert stream.messages[-1]["id"] == 9
    assert stream.messages[-1]["error"]["code"] == reply.code


@pytest.mark.parametrize(
    ("version", "status"),
    [("2024-11-05", 400), ("2025-03-26", 202), ("2025-06-18", 400), ("2025-11-25", 400)],
)
def test_batches_exist_in_one_revision(version: str, status: int) -> None:
    stream = opened(version=version)
    batch = [request("ping", id=1), request("ping", id=2)]
    assert stream.post(batch).status == status
    if status == 202:
        assert sorted(each["id"] for each in stream.messages[-1]) == [1, 2]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content_type": "text/plain"}, 415),
        ({"remove": ("content-type",)}, 415),
        ({"content_length": "99999999"}, 413),
        ({"host": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost:8000"}, 202),
        ({"accept": "image/png"}, 202),
        ({"remove": ("accept",)}, 202),
        ({"mcp_protocol_version": "2024-11-05"}, 202),
    ],
)
def test_the_head_of_a_message(options: dict[str, Any], status: int) -> None:
    stream = opened()
    reply = stream.post(request("ping", id=1), **options)
    assert reply.status == status
    assert ("access-control-allow-origin" in reply.headers) == (
        "origin" in options and status == 202
    )


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"accept": "application/json"}, 406),
        ({"accept": "*/*"}, 200),
        ({"remove": ("accept",)}, 200),
        ({"host": "evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"principal": Refusal()}, 401),
        ({"principal": Refusal(status=403)}, 403),
    ],
)
def test_the_head_of_the_stream(options: dict[str, Any], status: int) -> None:
    here = bench()
    reply = here.replies[
        here.send(method="GET", path="/sse", **{"accept": "text/event-stream", **options})
    ]
    assert reply.status == status
    assert here.server.sessions == (status == 200)


def test_who_asks_matters_at_both_endpoints() -> None:
    server = sse_server()
    for method, path, asks in (
        ("GET", "/sse", True),
        ("POST", "/messages", True),
        ("POST", "/mcp", True),
        ("OPTIONS", "/sse", False),
        ("GET", "/elsewhere", False),
    ):
        head = HttpRequest(method=method, path=path, headers=[])
        assert server.asks_who(head) is asks, path


def test_preflight() -> None:
    here = bench()
    route = here.send(
        method="OPTIONS",
        path="/messages",
        origin="http://localhost:8000",
        access_control_request_method="POST",
        access_control_request_headers="content-type, authorization, x-other",
    )
    headers = here.replies[route].headers
    assert headers["access-control-allow-methods"] == "POST"
    assert headers["access-control-allow-headers"] == "authorization, content-type"


# Whose session it is


@pytest.mark.parametrize(
    "query",
    ["", "?", "?session=x", "?session_id=a&session_id=a", "?" + "a=1&" * 40 + "session_id=x"],
)
def test_no_session_named(query: str) -> None:
    reply = bench().post(request("ping"), path=f"/messages{query}")
    assert reply.status == 400


def test_foreign_and_unknown_sessions_look_alike() -> None:
    here = bench()
    mine = Stream(here, principal=Principal("me"))
    streamable = here.session()
    replies = [
        here.post(request("ping"), path=mine.uri, principal=Principal("you")),
        here.post(request("ping"), path=mine.uri),
        here.post(request("ping"), path=f"/messages?session_id={'A' * len(mine.id)}"),
        here.post(request("ping"), path=f"/messages?session_id={streamable}"),
        here.post(request("ping"), path="/messages?session_id="),
        here.post(request("ping"), path="/messages?session_id=%FF%00"),
    ]
    assert [reply.status for reply in replies] == [404] * 6
    assert len({reply.json["error"]["message"] for reply in replies}) == 1
    anybodys = Stream(here)
    for id in (mine.id, anybodys.id):
        assert here.post(request("ping"), mcp_session_id=id).status == 404
        for method in ("GET", "DELETE"):
            assert here.replies[here.send(method=method, mcp_session_id=id)].status == 404
    assert not anybodys.ended()
    assert mine.messages == []
    assert mine.post(initialize()).status == 202


def test_the_principal_of_each_message_is_told() -> None:
    stream = opened(principal=Principal("me", scopes=["a"]))
    stream.post(request("tools/list"), principal=Principal("me", scopes=["b"]))
    told = stream.bench.take(RequestReceived).principal
    assert isinstance(told, Principal)
    assert told.scopes == {"b"}


@pytest.mark.parametrize("first", [150.0, 1000.0, None])
def test_the_stream_ends_with_the_token_that_was_used_last(first: float | None) -> None:
    stream = opened(principal=Principal("me", until=first))
    for until in (120.0, 400.0):
        stream.post(request("tools/list"), principal=Principal("me", until=until))
    stream.bench.pass_time(299.0)
    assert not stream.ended()
    stream.post(request("tools/list"), principal=Principal("me", until=400.1))
    stream.bench.pass_time(1.2)
    assert stream.ended()


def test_the_stream_ends_soon_after_the_token_that_was_used_last_is_revoked() -> None:
    revoked: set[str] = set()
    old = Principal("me", revoked=lambda: "old" in revoked)
    new = Principal("me", revoked=lambda: "new" in revoked)
    stream = opened(bench(heartbeat=15.0), principal=old)
    stream.post(request("tools/list"), principal=new)
    for name, ended in (("old", False), ("new", True)):
        revoked.add(name)
        stream.bench.pass_time(15.0)
        assert stream.ended() is ended
    assert stream.reply.end is not None
    assert not stream.reply.end.close  # the next request on the connection has a token of its own


# Its end


def test_the_end_of_the_stream_ends_the_session() -> None:
    stream = opened()
    here = stream.bench
    uri = stream.uri
    stream.post(request("tools/call", {"name": "slow", "arguments": {}}, id=4))
    key = here.take(RequestReceived).key
    stream.disconnect()
    assert here.take(RequestCancelled).key == key
    assert here.take(SessionClosed).reason == "its event stream has ended"
    assert here.post(request("ping"), path=uri).status == 404
    assert not here.server.respond(key, {"content": []})
    here.server.release(key)
    assert (here.server.sessions, here.server.exchanges) == (0, 0)
    assert here.server.deadline() is None


def test_nothing_is_kept_of_a_session_that_has_ended() -> None:
    def kept() -> int:
        gc.collect()
        return sum(type(each) is SseSession for each in gc.get_objects())

    here, before = bench(), kept()
    for _ in range(3):
        opened(here).disconnect()
    assert kept() == before
    assert here.server.sessions == 0


def test_a_body_that_arrives_after_the_end() -> None:
    stream = opened()
    here = stream.bench
    body = json.dumps(request("tools/list")).encode()
    head = HttpRequest(
        method="POST",
        path="/messages",
        query=f"session_id={stream.id}",
        headers=[
            (b"host", b"localhost:8000"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ],
    )
    assert here.server.open(900, head, now=here.now) == len(body)
    stream.disconnect()
    here.server.body(900, body, end=True, now=here.now)
    assert here.server.data_to_send(900, 1000)[0].status == 404  # type: ignore[union-attr]
    assert "RequestReceived" not in here.kinds()


def test_one_that_never_shakes_hands_is_closed() -> None:
    stream = Stream(bench(session_unused=60.0))
    stream.bench.pass_time(59.0)
    assert not stream.ended()
    stream.bench.pass_time(2.0)
    assert stream.ended()
    assert stream.bench.take(SessionClosed).reason == "it was never used"
    assert stream.bench.server.sessions == 0


def test_one_that_waits_for_news_stays() -> None:
    stream = opened()
    stream.bench.pass_time(10_000.0)
    assert not stream.ended()
    stream.bench.server.notify("notifications/tools/list_changed")
    stream.bench.pump()
    assert stream.messages[-1]["method"] == "notifications/tools/list_changed"
    stream.bench.pass_time(80_000.0)
    assert stream.bench.take(SessionClosed).reason == "too old"
    assert stream.ended()


def test_a_flood_of_streams_locks_nobody_out() -> None:
    here = bench(max_sessions=20, sessions_per_client=5)
    busy = opened(here, peer="192.0.2.1:1")
    busy.post(request("tools/call", {"name": "slow", "arguments": {}}, id=1))
    flood = [Stream(here, peer=f"198.51.100.{n % 50}:9") for n in range(400)]
    late = opened(here, peer="192.0.2.2:1")
    assert not busy.ended()
    assert not late.ended()
    assert here.server.sessions == 20
    assert sum(not each.ended() for each in flood) == 18
    assert here.server.exchanges == 20
    mine = [opened(here, peer="192.0.2.3:1") for _ in range(6)]
    assert [each.ended() for each in mine] == [True] + [False] * 5


def test_who_has_shaken_hands_goes_after_those_who_have_not() -> None:
    here = bench(max_sessions=3)
    agreed = opened(here)
    first, second, third = Stream(here), Stream(here), Stream(here)
    assert [each.ended() for each in (agreed, first, second, third)] == [False, True, False, False]


# Clients that do not read


class Slow:
    """A stream of which nothing is taken."""

    def __init__(self, **settings: Any) -> None:
        self.stream = opened(bench(**settings))
        self.bench = self.stream.bench
        self.uri = self.stream.uri
        self.reply = self.bench.replies.pop(self.stream.route)

    def call(self, id: int) -> Any:
        reply = self.bench.post(
            request("tools/call", {"name": "x", "arguments": {}}, id=id), path=self.uri, pump=False
        )
        self.bench.look()
        return reply


def test_what_is_said_to_a_client_that_does_not_read_ends_its_stream() -> None:
    slow = Slow(max_queued=10_000)
    server = slow.bench.server
    for _ in range(400):
        server.log(None, "warning", "x" * 100)
        slow.bench.server.writable()
    slow.bench.look()
    assert slow.bench.take(SessionClosed).reason == "the client does not read its stream"
    assert server.sessions == 0


def test_answers_are_kept_and_nothing_more_may_be_asked() -> None:
    slow = Slow(max_queued=10_000)
    server = slow.bench.server
    for id in range(6):
        slow.call(id)
    for event in [each for each in slow.bench.events if isinstance(each, RequestReceived)]:
        server.respond(event.key, {"content": [], "pad": "x" * 9_000})
        server.writable()
    route = slow.bench.send(request("ping", id=99), path=slow.uri, pump=False)
    head = server.data_to_send(route, 1000)[0]
    assert head.status == 503  # type: ignore[union-attr]
    assert (b"retry-after", b"1") in head.headers  # type: ignore[union-attr]
    cancel = note("notifications/cancelled", {"requestId": 1})
    route = slow.bench.send(cancel, path=slow.uri, pump=False)
    assert server.data_to_send(route, 1000)[0].status == 202  # type: ignore[union-attr]
    slow.bench.replies[slow.stream.route] = slow.reply
    slow.bench.pump()
    assert [each["id"] for each in slow.stream.messages[-6:]] == [0, 1, 2, 3, 4, 5]
    assert slow.stream.post(request("ping", id=100)).status == 202


@pytest.mark.parametrize("reads", [True, False])
def test_a_slow_reader_is_not_one_that_does_not_read(*, reads: bool) -> None:
    slow = Slow(max_queued=10_000, heartbeat=15.0, stall_timeout=30.0)
    server = slow.bench.server
    slow.call(1)
    server.respond(slow.bench.take(RequestReceived).key, {"content": [], "pad": "x" * 100_000})
    for _ in range(20):
        slow.bench.now += 5.0
        server.handle_timeout(slow.bench.now)
        server.writable()
        if reads:
            server.data_to_send(slow.stream.route, 500)
    assert server.sessions == (1 if reads else 0)


# The server closes


def test_running_requests_are_answered_before_the_streams_end() -> None:
    here = bench()
    idle, busy = opened(here), opened(here)
    busy.post(request("tools/call", {"name": "slow", "arguments": {}}, id=4))
    key = here.take(RequestReceived).key
    here.server.close(now=here.now)
    here.pump()
    assert idle.ended()
    assert not busy.ended()
    assert busy.post(request("ping", id=5)).status == 503
    assert here.replies[here.send(method="GET", path="/sse")].status == 503
    here.answer(key)
    assert busy.ended()
    assert busy.messages[-1]["id"] == 4
    assert here.server.finished
    assert {each.reason for each in here.events if isinstance(each, SessionClosed)} == {
        "the server is shutting down"
    }


# Whatever is sent

MESSAGES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            json.dumps(each).encode()
            for each in (
                initialize(),
                note("notifications/initialized"),
                request("ping", id=1),
                request("tools/list", id="1"),
                request("tools/call", {"name": "x", "arguments": {}}, id=2),
                request("nonsense", id=3),
                note("notifications/cancelled", {"requestId": 2}),
                {"jsonrpc": "2.0", "id": 77, "result": {}},
                {"jsonrpc": "2.0", "id": 5, "method": 6},
                [request("ping", id=8), 7],
                [],
            )
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("post"), st.integers(0, 2), MESSAGES),
            st.tuples(st.just("answer"), st.integers(0, 5), st.just(b"")),
            st.tuples(st.just("leave"), st.integers(0, 2), st.just(b"")),
            st.tuples(st.just("wait"), st.integers(1, 70), st.just(b"")),
        ),
        max_size=30,
    )
)
def test_each_request_is_answered_once_on_its_own_stream(
    steps: list[tuple[str, int, bytes]],
) -> None:
    here = bench()
    streams: dict[int, Stream] = {}
    answered: Counter[str] = Counter()
    for kind, number, body in steps:
        if kind == "post":
            stream = streams.get(number)
            if stream is None or stream.ended():
                stream = streams[number] = Stream(here)
            assert stream.post(body).status in (202, 400)
        elif kind == "answer":
            asked = [each for each in here.events if isinstance(each, RequestReceived)]
            if number < len(asked):
                here.events.remove(asked[number])
                session = str(asked[number].session)
                if here.server.respond(asked[number].key, {"for": session}):
                    answered[session] += 1
                here.pump()
        elif kind == "leave" and number in streams:
            stream = streams.pop(number)
            answered.pop(stream.id, None)
            if not stream.ended():
                stream.disconnect()
        elif kind == "wait":
            here.pass_time(float(number))
    for stream in streams.values():
        said = [each for message in stream.messages for each in listed(message)]
        owners = [each["result"]["for"] for each in said if "for" in each.get("result", {})]
        assert owners == [stream.id] * answered[stream.id]
    here.server.close(now=here.now)
    for waiting in [each for each in here.events if isinstance(each, RequestReceived)]:
        if not here.server.respond(waiting.key, {}):
            here.server.release(waiting.key)
    here.pump()
    assert here.server.finished
    assert here.server.sessions == 0
    assert here.server.deadline() is None
    opened_ids = [each.session for each in here.events if isinstance(each, SessionOpened)]
    closed_ids = [each.session for each in here.events if isinstance(each, SessionClosed)]
    assert sorted(opened_ids) == sorted(closed_ids)


def listed(message: Any) -> list[Any]:
    return message if isinstance(message, list) else [message]
