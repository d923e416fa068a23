"""Each refusal of an HTTP server is a row of the table, and clients can get each row."""

import ast
from collections.abc import Callable
from typing import Any

import pytest

from mcpcore import HttpSettings, Refusal
from mcpcore.spec import refusals
from mcpcore.spec.errors import PARSE_ERROR
from mcpcore.spec.refusals import REFUSALS
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from tests.http.pipes import Stream, sse_server
from tests.http.stored.storebench import party
from tests.http.support import LEGACY, MODERN, Bench, Reply, in_session, make_server, note, request
from tests.reference.protocol import users
from tests.reference.sources import ROOT

PING = request("ping")


def ask(body: Any = PING, **options: Any) -> Callable[[], Reply]:
    """A request to a server of its own."""
    return lambda: Bench().post(body, **options)


def get(**options: Any) -> Callable[[], Reply]:
    return ask(None, method="GET", **options)


def closing(**options: Any) -> Reply:
    bench = Bench()
    bench.server.close(now=bench.now)
    return bench.post(PING, **options)


def draining() -> Reply:
    bench = Bench()
    bench.server.ready = False
    return bench.post(None, method="GET", path="/health")


def said_in_session(body: Any = None, method: str = "GET", **options: Any) -> Reply:
    bench = Bench()
    return bench.post(body, method=method, mcp_session_id=bench.session(), **options)


def one_stream_too_many() -> Reply:
    bench, session = in_session(server=make_server(HttpSettings(session_streams=1)))
    bench.post(None, method="GET", mcp_session_id=session)
    return bench.post(None, method="GET", mcp_session_id=session)


def too_late() -> Reply:
    bench, session = in_session(server=make_server(HttpSettings(replay_age=1.0)))
    route = bench.send(None, method="GET", mcp_session_id=session)
    for number in (1, 2):
        bench.server.notify("notifications/x", {"n": number}, session=session)
    bench.pump()
    bench.server.disconnect(route, now=bench.now)
    first = bench.replies.pop(route).ids[0]
    bench.pass_time(2.0)
    return bench.post(None, method="GET", mcp_session_id=session, last_event_id=first)


def failing_store() -> Reply:
    [bench] = party("a")
    session = bench.session()
    bench.failing("StreamBegin")
    return bench.post(None, method="GET", mcp_session_id=session)


def sse(body: Any, **options: Any) -> Reply:
    return Bench(sse_server()).post(body, path="/messages", **options)


def sse_batch() -> Reply:
    return Stream(Bench(sse_server())).open("2024-11-05").post([PING])


def sse_unread() -> Reply:
    stream = Stream(Bench(sse_server(max_queued=100))).open("2024-11-05")
    server = stream.bench.server
    server.notify("notifications/x", {"n": "n" * 300}, session=stream.id)
    assert server.next_event() is None
    return stream.post(request("tools/list", id=9))


CASES: dict[str, Callable[[], Reply]] = {
    "HOST_OR_ORIGIN": ask(origin="http://evil.example"),
    "UNKNOWN_PATH": ask(path="/other"),
    "METHOD_NOT_ALLOWED": ask(method="PUT"),
    "UNAUTHENTICATED": ask(principal=Refusal()),
    "MALFORMED_VERSION": ask(mcp_protocol_version="\xe4"),
    "SHUTTING_DOWN": closing,
    "NOT_READY": draining,
    "CONTENT_TYPE": ask(content_type="text/plain"),
    "CONTENT_CODING": ask(content_encoding="gzip"),
    "NOT_ACCEPTABLE": ask(accept="text/html"),
    "BODY_LENGTH": ask(content_length="1e3"),
    "EMPTY_BODY": ask(b"", content_length="0"),
    "BODY_TOO_LARGE": ask(content_length="99999999"),
    "UNSUPPORTED_VERSION": ask(mcp_protocol_version="1999-01-01"),
    "NO_MESSAGE": ask([]),
    "MODERN_METHOD": get(mcp_protocol_version=MODERN),
    "SESSION_MISSING": get(),
    "NO_SESSION": ask(mcp_session_id="unknown"),
    "NO_EVENT_STREAM": get(accept="application/json"),
    "LAST_EVENT_ID": lambda: said_in_session(last_event_id="1.1.forged"),
    "EVENTS_GONE": too_late,
    "TOO_MANY_STREAMS": one_stream_too_many,
    "STORE_UNAVAILABLE": failing_store,
    "SSE_SESSION_MISSING": lambda: sse(PING),
    "SSE_BATCH": sse_batch,
    "SSE_STREAM_FULL": sse_unread,
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_is_what_the_client_gets(name: str) -> None:
    row, reply = REFUSALS[name], CASES[name]()
    assert reply.status == row.status
    assert reply.end is not None
    assert reply.end.close is row.close
    assert ("retry-after" in reply.headers) is row.retry
    if not row.plain:
        assert reply.code == row.code
        assert row.message in (reply.json["error"]["message"], "")


def test_a_header_that_cannot_be_read_is_named() -> None:
    message = CASES["MALFORMED_VERSION"]().json["error"]["message"]
    assert message.startswith("header mismatch: ")
    assert "MCP-Protocol-Version" in message


def test_each_row_of_the_machine_is_reached() -> None:
    used = {name: " ".join(users(name)) for name in REFUSALS}
    assert {name for name, paths in used.items() if "mcpcore/http/" in paths} == set(CASES)


@pytest.mark.parametrize("name", REFUSALS)
def test_each_row_is_used(name: str) -> None:
    assert users(name) != []


def test_the_machine_has_no_status_of_a_refusal_but_those_of_the_tables() -> None:
    rooms = (ROOT / "mcpcore/http/server", ROOT / "mcpcore/http/legacy_sse")
    numbers = {
        node.value
        for room in rooms
        for path in room.rglob("*.py")
        if path.name != "client.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }
    assert not [number for number in numbers if 300 <= number < 600]
    assert {200, 202, 204} <= numbers


AUTHENTICATING = (
    "mcpcore/auth/resource_server.py",
    "transports/mcpcore_transports/auth/resource_server.py",
    "transports/mcpcore_transports/auth/schemes.py",
    "transports/mcpcore_transports/http/server/identity.py",
)


@pytest.mark.parametrize("file", AUTHENTICATING)
def test_what_authenticates_has_no_status_but_those_of_the_table(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    given = [node for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    statuses = [node.value for node in given if node.arg == "status"]
    assert statuses
    assert not [node for node in statuses if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_a_refusal_of_authentication_has_the_code_of_its_row(status: int) -> None:
    codes = {
        row.code
        for row in REFUSALS.values()
        if "credential" in row.when or row is refusals.UNAUTHENTICATED
    }
    reply = ask(principal=Refusal(status=status))()
    assert (reply.status, {reply.code}) == (status, codes)


def test_a_code_is_that_of_the_era() -> None:
    row = refusals.SHUTTING_DOWN
    legacy, modern = (closing(mcp_protocol_version=name).code for name in (LEGACY, MODERN))
    assert (legacy, modern) == (row.code, row.modern_code)
    assert (legacy, modern) == (row.code_in(LATEST_LEGACY), row.code_in(LATEST))


def test_the_code_of_an_invalid_message_says_what_is_wrong_with_it() -> None:
    reply = Bench().post(b"{", content_length="1")
    assert (reply.status, reply.code) == (refusals.NO_MESSAGE.status, PARSE_ERROR)
    assert Bench().post(note("x")).code == refusals.SESSION_MISSING.code
