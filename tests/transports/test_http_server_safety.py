"""Who is let in, and what parsers could disagree about, over real sockets."""

import json

import anyio
import pytest

from mcpcore.engine.config import Limits
from mcpcore.http.settings import HttpSettings
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import PATIENCE
from tests.transports.certificates import papers
from tests.transports.http_fixture import (
    Client,
    Response,
    http,
    initialize,
    legacy,
    server,
    tool,
)
from tests.transports.test_http_heads import BAD_REQUESTS
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

INITIALIZE = legacy(
    "initialize",
    {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
)


# Host and Origin

HOSTS = {
    "localhost": 200,
    "LOCALHOST:1": 200,
    "127.0.0.1:80": 200,
    "[::1]:80": 200,
    "[0:0:0:0:0:0:0:1]": 200,
    "localhost.evil.example": 403,
    "evil.example": 403,
    "localhost:80.evil.example": 403,
    "127.0.0.1:80@evil.example": 403,
    "localhost@evil.example": 403,
    "evil.example#localhost": 403,
    "localhost, evil.example": 403,
    "127.0.0.1.nip.io": 403,
    "127.1": 403,
    "0x7f.0.0.1": 403,
    "[::ffff:127.0.0.1]": 403,
    "localhost:99999": 403,
    "localhost:": 403,
    "null": 403,
}
ORIGINS = {
    "http://localhost:8000": 200,
    "HTTP://LOCALHOST:8000": 200,
    "http://localhost": 403,
    "http://localhost:8001": 403,
    "http://localhost:8000.evil.example": 403,
    "http://localhost:80.evil.example": 403,
    "http://localhost:8000@evil.example": 403,
    "http://127.0.0.1:80@evil.example": 403,
    "http://localhost:8000/": 403,
    "http://127.0.0.1:8000": 403,
    "http://[::1]:8000": 403,
    "null": 403,
    "file://": 403,
    "http://": 403,
    "*": 403,
    "http://localhost:8000 http://evil.example": 403,
    "chrome-extension://localhost:8000": 403,
}


async def test_host_is_compared_exactly() -> None:
    async with server() as running:
        client = await running.connect()
        for host, status in HOSTS.items():
            response = await client.call(tool("echo", headers={"Host": host}))
            assert (host, response.status) == (host, status)
            assert "access-control-allow-origin" not in response.headers


async def test_origin_is_compared_exactly_and_by_itself() -> None:
    async with server() as running:
        client = await running.connect()
        for origin, status in ORIGINS.items():
            headers: dict[str, str | None] = {"Host": "localhost:8000", "Origin": origin}
            response = await client.call(tool("echo", headers=headers))
            assert (origin, response.status) == (origin, status)
            allowed = response.headers.get("access-control-allow-origin")
            assert allowed == (origin if status == 200 else None)
        twice = b"Origin: http://localhost:8000\r\nOrigin: http://evil.example\r\n"
        data = tool("echo").replace(b"Host: localhost\r\n", b"Host: localhost:8000\r\n" + twice)
        assert (await client.call(data)).status == 403


async def test_named_origins_may_call_and_read_and_nobody_else() -> None:
    app, evil = "https://app.example", "https://app.example.evil.example"
    async with server(http=HttpSettings(allowed_origins=(app,))) as running:
        client = await running.connect()

        async def preflight(origin: str) -> Response:
            headers: dict[str, str | None] = {
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type, mcp-method, mcp-param-a, x-other",
            }
            return await client.call(http(method="OPTIONS", headers=headers))

        allowed = await preflight(app)
        assert allowed.status == 204
        assert allowed.headers["access-control-allow-origin"] == app
        assert allowed.headers["vary"] == "Origin"
        assert "POST" in allowed.headers["access-control-allow-methods"]
        granted = allowed.headers["access-control-allow-headers"].split(", ")
        assert granted == ["content-type", "mcp-method", "mcp-param-a"]
        refused = await preflight(evil)
        assert refused.status == 403
        assert not any(name.startswith("access-control") for name in refused.headers)
        opened = await client.call(
            INITIALIZE.replace(b"\r\n", b"\r\nOrigin: %b\r\n" % app.encode(), 1)
        )
        assert opened.status == 200
        exposed = opened.headers["access-control-expose-headers"].split(", ")
        assert {"mcp-session-id", "mcp-protocol-version"} <= set(exposed)
        assert "*" not in str([*allowed.headers.values(), *opened.headers.values()])


async def test_origin_is_compared_with_the_scheme_that_the_server_is_reached_by() -> None:
    context = server_tls(papers().server)
    trusting = client_tls(ca=papers().trusted.file)
    for own, mine, other in ((None, "http", "https"), (context, "https", "http")):
        async with server(ssl_context=own) as running:
            client = await running.connect(own and trusting)
            here = f"localhost:{running.port}"
            for scheme, status in ((mine, 200), (other, 403), (mine, 200)):
                # What a client says of proxies changes nothing: anybody can say it.
                headers: dict[str, str | None] = {
                    "Host": here,
                    "Origin": f"{scheme}://{here}",
                    "X-Forwarded-Proto": other,
                    "Forwarded": f"proto={other}",
                }
                assert (await client.call(tool("echo", headers=headers))).status == status


ENDS = {
    408: b"",
    413: b"99999999\r\n",
    431: b"0\r\nX: 1\r\n\r\n",
    400: b"x\r\n",
}
"""How a body goes on that is refused before its end."""


@pytest.mark.share(4)
@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("origin", ["https://app.example", "https://evil.example"])
async def test_pages_that_may_call_can_read_why_a_body_is_refused(status: int, origin: str) -> None:
    settings = HttpServerSettings(body_time=0.05 if status == 408 else PATIENCE)
    chunked: dict[str, str | None] = {
        "Origin": origin,
        "Content-Length": None,
        "Transfer-Encoding": "chunked",
    }
    async with server(settings, http=HttpSettings(allowed_origins=("https://app.example",))) as run:
        client = await run.connect()
        response = await client.call(http(b"", headers=chunked) + ENDS[status])
        may = origin == "https://app.example"
        assert response.status == (status if may else 403)
        assert response.headers.get("access-control-allow-origin") == (origin if may else None)
        assert ("access-control-expose-headers" in response.headers) is may
        assert await client.closed()


# What parsers could disagree about


async def test_nothing_behind_a_refusal_is_answered() -> None:
    """A connection with a broken request in front is closed, whatever was sent behind it."""
    async with server() as running:
        for name, (data, status) in BAD_REQUESTS.items():
            client = await running.connect()
            await client.send(data + tool("echo") + tool("echo", id=2))
            response = await client.response()
            assert (name, response.status) == (name, status)
            assert await client.closed()
            await client.aclose()
        assert not running.app.events


async def test_requests_behind_one_that_is_refused_in_good_order_are_answered() -> None:
    async with server() as running:
        client = await running.connect()
        refused = tool("echo", headers={"Content-Type": "text/plain"})
        await client.send(refused + tool("echo", id=2))
        assert (await client.response()).status == 415
        assert (await client.response()).json["id"] == 2


async def test_blanks_around_values_are_no_part_of_them() -> None:
    async with server() as running:
        client = await running.connect()
        padded = tool("echo").replace(b"Host: localhost", b"Host:\t  localhost \t")
        padded = padded.replace(b"Mcp-Method: tools/call", b"Mcp-Method:   tools/call\t ")
        padded = padded.replace(
            b"Content-Type: application/json", b"Content-Type:application/json "
        )
        assert (await client.call(padded)).status == 200


async def test_twenty_thousand_headers_hold_nobody_up() -> None:
    async with server() as running:
        other = await running.connect()
        for many in (b"X: 1\r\n" * 20_000, b"".join(b"X-%d: 1\r\n" % i for i in range(20_000))):
            client = await running.connect()
            await client.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n")
            assert (await client.response()).status == 431
            assert (await other.call(tool("echo"))).status == 200
            await client.aclose()
    # Even where they are allowed.
    async with server(HttpServerSettings(header_bytes=1 << 20, header_count=30_000)) as running:
        client, other = await running.connect(), await running.connect()
        many = b"".join(b"Mcp-Param-%d: 1\r\n" % i for i in range(20_000))
        await client.send(tool("echo").replace(b"\r\n", b"\r\n" + many, 1))
        assert (await other.call(tool("echo"))).status == 200
        assert (await client.response()).status in (200, 400)


@pytest.mark.parametrize(("depth", "code"), [(126, None), (127, -32700), (100_000, -32700)])
async def test_nesting(depth: int, code: int | None) -> None:
    async with server() as running:
        client = await running.connect()
        body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":%b}}' % (
            b"[" * depth + b"]" * depth
        )
        response = await client.call(http(body))
        answered = json.loads(response.body)["error"]
        # A ping without a session is refused too, but for another reason.
        assert (answered["code"] == -32700) is (code == -32700)


# Sessions and streams


async def test_what_cannot_be_sent_again_is_refused_clearly() -> None:
    for settings in (HttpSettings(), HttpSettings(resumable=False)):
        async with server(http=settings) as running:
            client = await running.connect()
            session, other = await initialize(client), await initialize(client)
            headers: dict[str, str | None] = {"Accept": "text/event-stream"}
            for cursor in ("1.1.x", "x" * 5000, "0", "é", "1.0.AAAAAAAAAAAAAAAAAAAAAA", "%00"):
                for id in (session, other):
                    asked = {**headers, "Mcp-Session-Id": id, "Last-Event-ID": cursor}
                    response = await client.call(http(method="GET", headers=asked))
                    assert (cursor, response.status) == (cursor, 400)
                    assert response.json["error"]["message"]
            asked = {**headers, "Last-Event-ID": "1.1.x"}
            assert (await client.call(http(method="GET", headers=asked))).status == 400


async def test_streams_of_a_session_are_bounded() -> None:
    async with server() as running:
        client = await running.connect()
        session = await initialize(client)
        headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        listening = [await running.connect() for _ in range(16)]
        for each in listening:
            await each.send(http(method="GET", headers=headers))
            head = await each.head()
            assert head.status == 200
            assert head.headers["x-accel-buffering"] == "no"
            assert head.headers["cache-control"] == "no-store"
        refused = await client.call(http(method="GET", headers=headers))
        assert (refused.status, "connection" in refused.headers) == (409, False)
        assert "16" in refused.json["error"]["message"]


async def test_busy_sessions_still_take_cancellations() -> None:
    async with server(limits=Limits(in_flight=2)) as running:
        client = await running.connect()
        session = await initialize(client)

        async def call(id: int) -> Client:
            caller = await running.connect()
            await caller.send(legacy("tools/call", {"name": "wait"}, id=id, session=session))
            return caller

        callers = [await call(1), await call(2)]
        await running.app.until(lambda: len(running.app.waiting) == 2)
        third = legacy("tools/call", {"name": "echo"}, id=3, session=session)
        busy = await client.call(third)
        assert (busy.status, busy.json["error"]["code"]) == (200, -32000)
        assert "busy" in busy.json["error"]["message"]
        assert (await client.call(legacy("ping", id=4, session=session))).json["result"] == {}
        gone = legacy("notifications/cancelled", {"requestId": 1}, id=None, session=session)
        assert (await client.call(gone)).status == 202
        await running.app.until(lambda: running.app.cancelled)
        assert (await client.call(third)).status == 200
        # Other sessions have limits of their own.
        elsewhere = await initialize(client)
        call_there = legacy("tools/call", {"name": "echo"}, id=1, session=elsewhere)
        assert "result" in (await client.call(call_there)).json
        assert len(callers) == 2


async def test_all_calls_together_are_bounded() -> None:
    async with server(http=HttpSettings(max_calls=1)) as running:
        client, other = await running.connect(), await running.connect()
        await client.send(tool("wait"))
        await running.app.until(lambda: running.app.waiting)
        busy = await other.call(tool("echo"))
        assert (busy.status, busy.json["error"]["code"]) == (503, 1001)
        assert busy.headers["retry-after"] == "1"
        await client.aclose()
        await running.app.until(lambda: running.app.cancelled)
        assert (await other.call(tool("echo"))).status == 200


async def test_a_flood_of_initialize_locks_nobody_out() -> None:
    settings = HttpSettings(max_sessions=20, sessions_per_client=20)
    async with server(http=settings) as running:
        client = await running.connect()
        session = await initialize(client)
        ping = legacy("ping", session=session)
        assert (await client.call(ping)).status == 200

        async def flood() -> None:
            attacker = await running.connect()
            for _ in range(100):
                assert (await attacker.call(INITIALIZE)).status == 200

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(flood)
        assert running.machine.sessions == 20
        assert (await client.call(ping)).status == 200
        assert (await client.call(legacy("ping", session=await initialize(client)))).status == 200


async def test_without_sessions() -> None:
    async with server(http=HttpSettings(sessions=False)) as running:
        client = await running.connect()
        opened = await client.call(INITIALIZE)
        assert opened.status == 200
        assert "mcp-session-id" not in opened.headers
        response = await client.call(legacy("tools/call", {"name": "echo", "arguments": {"a": 1}}))
        assert response.result == '{"a": 1}'
        headers: dict[str, str | None] = {"Accept": "text/event-stream", "Last-Event-ID": "1.1.x"}
        assert (await client.call(http(method="GET", headers=headers))).status == 405
        assert running.machine.sessions == 0


# Health


async def test_readiness_is_withdrawn_before_the_end() -> None:
    async with server(HttpServerSettings(notice_time=60.0)) as running:
        client = await running.connect()

        async def health(path: str) -> int:
            return (await client.call(http(method="GET", target=f"/health{path}"))).status

        assert [await health(path) for path in ("", "/ready", "/live")] == [200, 200, 200]
        async with anyio.create_task_group() as group:
            group.start_soon(running.link.aclose)
            while await health("") == 200:
                pass
            assert [await health(path) for path in ("/ready", "/live")] == [503, 200]
            # So long everything is served, on new connections too.
            other = await running.connect()
            assert (await other.call(tool("echo"))).status == 200
            group.cancel_scope.cancel()
        running.link._tasks.cancel_scope.cancel()  # type: ignore[union-attr]
