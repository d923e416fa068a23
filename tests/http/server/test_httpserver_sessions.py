"""HttpServer, legacy sessions: ids, isolation, GET streams, DELETE, expiry, limits."""

import json
import re

import pytest

from mcpcore import HttpSettings
from mcpcore.engine.events import (
    EndReason,
    Ready,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
)
from mcpcore.http.server.sessions import SessionClosed, SessionOpened, SessionTable
from tests.http.server.test_httpserver_streams import CALL, methods
from tests.http.support import SECRET, Bench, in_session, initialize, make_server, note, request

LIST = request("tools/list")


# Ids


@pytest.mark.requirement(
    "basic/transports/session-id-secure",
    "basic/transports/session-id-characters",
    "basic/security-best-practices/session-ids-secure",
    "basic/security-best-practices/session-ids-random",
)
def test_ids_are_long_visible_and_unlike_each_other() -> None:
    table = SessionTable(SECRET, HttpSettings())
    ids = [table.new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[\x21-\x7e]{43}", id) for id in ids)
    for position in range(42):
        assert len({id[position] for id in ids}) > 30


def test_ids_depend_on_the_secret_and_on_nothing_else() -> None:
    assert (
        SessionTable(SECRET, HttpSettings()).new_id()
        == SessionTable(SECRET, HttpSettings()).new_id()
    )
    assert (
        SessionTable(SECRET, HttpSettings()).new_id()
        != SessionTable(SECRET[::-1], HttpSettings()).new_id()
    )


def test_opening() -> None:
    bench = Bench()
    reply = bench.post(initialize(), principal="ann")
    session = reply.headers["mcp-session-id"]
    assert reply.json["result"]["protocolVersion"] == "2025-11-25"
    assert bench.take(SessionOpened) == SessionOpened(session=session, principal="ann")
    assert bench.server.sessions == 1
    assert (
        bench.post(
            note("notifications/initialized"), mcp_session_id=session, principal="ann"
        ).status
        == 202
    )
    assert bench.take(Ready).session == session
    assert session not in reply.body.decode()


def test_a_refused_initialize_opens_nothing() -> None:
    bench = Bench()
    body = request("initialize", {"protocolVersion": 5})
    reply = bench.post(body)
    assert (reply.status, reply.code) == (200, -32602)
    assert "mcp-session-id" not in reply.headers
    assert bench.server.sessions == 0
    opened = bench.take(SessionOpened)
    closed = bench.take(SessionClosed)
    assert (closed.session, closed.reason) == (opened.session, "initialize was refused")


def test_a_client_that_leaves_before_its_session_is_open_leaves_nothing() -> None:
    bench = Bench()
    route = bench.send(initialize(), pump=False)
    bench.server.disconnect(route, now=bench.now)
    bench.pump()
    assert bench.server.sessions == 0
    assert bench.take(SessionClosed).session == bench.take(SessionOpened).session


def test_initialize_as_a_notification_opens_nothing() -> None:
    bench = Bench()
    assert bench.post(note("initialize", initialize()["params"])).status == 400
    assert bench.server.sessions == 0


# Finding


@pytest.mark.requirement("basic/transports/session-id-missing")
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_without_an_id_400_with_an_unknown_one_404(method: str) -> None:
    bench, session = in_session()
    body = LIST if method == "POST" else None
    reply = bench.post(body, method=method)
    assert reply.status == 400
    assert "the Mcp-Session-Id header is missing" in reply.json["error"]["message"]
    for id in ("", "x", session[:-1], session + "x", session.lower(), "é", "a\x01"):
        assert bench.post(body, method=method, mcp_session_id=id).status == 404
    assert bench.server.sessions == 1


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_session_belongs_to_its_principal(method: str) -> None:
    bench, session = in_session(principal="ann")
    body = LIST if method == "POST" else None
    for principal in ("bob", None):
        reply = bench.post(body, method=method, mcp_session_id=session, principal=principal)
        assert reply.status == 404
    assert bench.server.sessions == 1
    assert bench.events[-1] != SessionClosed


def test_a_duplicate_id_in_flight_crosses_nothing() -> None:
    bench, session = in_session()
    first = bench.post(CALL, mcp_session_id=session)
    second = bench.post(CALL, mcp_session_id=session)
    assert (second.status, second.code) == (200, -32600)
    bench.answer(bench.take(RequestReceived).key, {"content": []})
    assert first.json["result"] == {"content": []}


# GET streams


def test_the_newest_stream_is_used_and_another_takes_over() -> None:
    bench, session = in_session()
    routes = [bench.send(None, method="GET", mcp_session_id=session) for _ in range(2)]
    old, new = (bench.replies[route] for route in routes)
    bench.server.notify("notifications/a")
    bench.pump()
    assert methods(new.events) == ["notifications/a"]
    bench.server.notify("notifications/b")
    bench.server.writable()
    # not taken when the connection breaks: the other stream brings it
    bench.server.disconnect(routes[1], now=bench.now)
    bench.pump()
    assert methods(old.events) == ["notifications/b"]


def test_what_no_stream_takes_waits_within_bounds() -> None:
    bench, session = in_session(server=make_server(HttpSettings(session_queue=1000)))
    for number in range(100):
        bench.server.notify("notifications/n", {"n": number})
    asked = bench.server.request("roots/list", now=bench.now, session=session)
    for number in range(100, 105):
        bench.server.notify("notifications/n", {"n": number})
    bench.pump()
    reply = bench.post(None, method="GET", mcp_session_id=session)
    events = reply.events
    assert len(reply.body) < 2000
    assert [event["id"] for event in events if "id" in event] == [asked]
    numbers = [event["params"]["n"] for event in events if "id" not in event]
    assert numbers == list(range(105 - len(numbers), 105))
    assert len(numbers) > 5


@pytest.mark.parametrize(("less", "waits"), [(0, True), (1, False)])
def test_what_waits_may_be_as_large_as_the_limit(less: int, waits: bool) -> None:
    said = json.dumps(note("notifications/n", {"n": 1}), separators=(",", ":"))
    bench, session = in_session(server=make_server(HttpSettings(session_queue=len(said) - less)))
    for _ in range(2):
        bench.server.notify("notifications/n", {"n": 1})
        bench.pump()
        route = bench.send(None, method="GET", mcp_session_id=session)
        assert methods(bench.replies[route].events) == ["notifications/n"] * waits
        bench.server.disconnect(route, now=bench.now)


def test_requests_that_cannot_wait_end_at_once() -> None:
    bench, session = in_session(server=make_server(HttpSettings(session_queue=200)))
    asked = [bench.server.request("roots/list", now=bench.now, session=session) for _ in range(10)]
    bench.pump()
    ended = [event for event in bench.events if isinstance(event, RequestEnded)]
    assert [event.request for event in ended] == asked[: len(ended)]
    assert ended
    assert all(event.reason is EndReason.REFUSED for event in ended)
    reply = bench.post(None, method="GET", mcp_session_id=session)
    assert [event["id"] for event in reply.events] == asked[len(ended) :]


# Ends


@pytest.mark.requirement("basic/transports/session-ended")
def test_delete_ends_a_session_and_all_that_belongs_to_it() -> None:
    bench, session = in_session()
    get = bench.post(None, method="GET", mcp_session_id=session)
    waiting = bench.post({**CALL, "id": 1}, mcp_session_id=session)
    first = bench.take(RequestReceived).key
    streaming = bench.post({**CALL, "id": 2}, mcp_session_id=session)
    second = bench.take(RequestReceived).key
    bench.server.progress(second, 1)
    asked = bench.server.request("roots/list", now=bench.now, session=session)
    bench.pump()
    reply = bench.post(None, method="DELETE", mcp_session_id=session)
    assert (reply.status, reply.body) == (204, b"")
    assert waiting.status == 404
    assert waiting.json["id"] == 1
    assert streaming.end is not None
    assert methods(streaming.events) == ["notifications/progress"]
    assert get.end is not None
    cancelled = {bench.take(RequestCancelled).key for _ in range(2)}
    assert cancelled == {first, second}
    ended = bench.take(RequestEnded)
    assert (ended.request, ended.reason) == (asked, EndReason.CLOSED)
    assert bench.events[-1] == SessionClosed(session=session, reason="ended by the client")
    assert "ConnectionEnded" not in bench.kinds()
    assert bench.server.respond(first, {"content": []}) is False
    for method in ("POST", "GET", "DELETE"):
        body = LIST if method == "POST" else None
        assert bench.post(body, method=method, mcp_session_id=session).status == 404
    assert bench.server.exchanges == 0


def test_waiting_frames_of_an_ended_session_are_dropped() -> None:
    bench, session = in_session()
    bench.server.notify("notifications/n")
    bench.server.writable()
    bench.server.notify("notifications/n")
    bench.post(None, method="DELETE", mcp_session_id=session)
    assert bench.server.writable() == []
    bench.server.notify("notifications/n")
    bench.pump()


def test_a_session_is_not_idle_right_after_a_long_stream() -> None:
    bench, session = in_session(server=make_server(HttpSettings(session_idle=100, heartbeat=None)))
    get = bench.send(None, method="GET", mcp_session_id=session)
    bench.pass_time(295)
    bench.server.disconnect(get, now=bench.now)
    bench.pass_time(90)
    assert bench.server.sessions == 1
    bench.pass_time(200)
    assert bench.server.sessions == 0


def test_the_server_closes_while_the_streams_of_an_ended_session_are_written() -> None:
    bench, session = in_session()
    get = bench.send(None, method="GET", mcp_session_id=session)
    bench.send(None, method="DELETE", mcp_session_id=session, pump=False)
    bench.server.close(now=bench.now)
    bench.pump()
    assert bench.replies[get].end is not None
    assert bench.server.finished


def test_sessions_need_not_expire() -> None:
    never = HttpSettings(session_unused=None, session_idle=None, session_age=None)
    bench = Bench(make_server(never))
    bench.session()
    bench.pass_time(1e6)
    assert bench.server.deadline() is None
    assert bench.server.sessions == 1
