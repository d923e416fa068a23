"""What a server tells of its exchanges, where that is asked for."""

from mcpcore.engine.events import RequestReceived
from mcpcore.http.server.exchange import ExchangeEnded
from tests.http.server.test_httpserver_streams import CALL
from tests.http.support import MODERN, Bench, request


def reports(bench: Bench) -> list[ExchangeEnded]:
    return [event for event in bench.events if isinstance(event, ExchangeEnded)]


def reporting() -> Bench:
    bench = Bench()
    bench.server.reports = True
    return bench


def test_nothing_is_told_unless_asked_for() -> None:
    bench = Bench()
    bench.session()
    assert reports(bench) == []


def test_an_answer() -> None:
    bench = reporting()
    reply = bench.modern("server/discover", id="a", peer="192.0.2.1:7", principal="ann")
    (told,) = reports(bench)
    assert (told.method, told.path, told.peer) == ("POST", "/mcp", "192.0.2.1:7")
    assert (told.status, told.complete, told.sent) == (200, True, len(reply.body))
    assert (told.rpc_method, told.request, told.revision) == ("server/discover", "a", MODERN)
    assert (told.principal, told.session, told.stream) == ("ann", None, None)
    assert told.began == bench.now


def test_a_refusal() -> None:
    bench = reporting()
    bench.post(None, method="PUT", path="/other")
    (told,) = reports(bench)
    assert (told.method, told.path, told.status) == ("PUT", "/other", 404)
    assert (told.rpc_method, told.request, told.complete) == (None, None, True)


def test_streams_of_a_session() -> None:
    bench = reporting()
    session = bench.session()
    get = bench.send(None, method="GET", mcp_session_id=session)
    call = bench.send(CALL, mcp_session_id=session)
    bench.server.progress(bench.take(RequestReceived).key, 1)
    bench.pump()
    bench.events.clear()
    for route in (get, call):
        bench.server.disconnect(route, now=bench.now)
    bench.pump()
    listened, called = reports(bench)
    assert (listened.exchange, listened.stream, listened.session) == (get, 1, session)
    assert (called.exchange, called.stream, called.session) == (call, 2, session)
    assert (listened.status, listened.complete) == (200, False)
    assert (called.status, called.complete, called.sent > 0) == (200, False, True)


def test_who_leaves_before_there_is_anything() -> None:
    bench = reporting()
    route = bench.send(request("tools/list"), mcp_session_id=bench.session(), pump=False)
    bench.events.clear()
    bench.server.disconnect(route, now=bench.now)
    bench.pump()
    (told,) = reports(bench)
    assert (told.status, told.sent, told.complete) == (None, 0, False)
