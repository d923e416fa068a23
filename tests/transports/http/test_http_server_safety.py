"""Who is let in, and what parsers could disagree about, over real sockets."""

import socket
import time

import anyio
import pytest
from anyio.abc import SocketStream

from mcpcore import HttpServerSettings, HttpSettings, client_tls, server_tls
from tests.clock import PATIENCE
from tests.transports.certificates import papers
from tests.transports.http_fixture import (
    Client,
    http,
    server,
    tool,
)
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio


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


async def test_requests_behind_one_that_is_refused_in_good_order_are_answered() -> None:
    async with server() as running:
        client = await running.connect()
        refused = tool("echo", headers={"Content-Type": "text/plain"})
        await client.send(refused + tool("echo", id=2))
        assert (await client.response()).status == 415
        assert (await client.response()).json["id"] == 2


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


async def test_readiness_is_withdrawn_before_the_end() -> None:
    async with server(HttpServerSettings(notice_time=60.0)) as running:

        async def health(path: str) -> int:
            client = await running.connect()
            return (await client.call(http(method="GET", target=f"/health{path}"))).status

        assert [await health(path) for path in ("", "/ready", "/live")] == [200, 200, 200]
        async with anyio.create_task_group() as group:
            group.start_soon(running.link.aclose)
            while await health("") == 200:
                pass
            assert [await health(path) for path in ("/ready", "/live")] == [503, 200]
            # So long everything is served, on new connections too, whose first reply is the last.
            for other in [await running.connect() for _ in range(2)]:
                reply = await other.call(tool("echo"))
                assert (reply.status, reply.headers["connection"]) == (200, "close")
                assert await other.closed()
            group.cancel_scope.cancel()
        running.link._tasks.cancel_scope.cancel()  # type: ignore[union-attr]


async def test_a_request_that_meets_the_end_on_an_idle_connection_is_answered() -> None:
    settings = HttpServerSettings(notice_time=0.01, linger_time=PATIENCE, drain_time=10 * PATIENCE)
    async with server(settings) as running:
        used, _ = [await running.connect() for _ in range(2)]
        assert (await used.call(tool("echo"))).status == 200
        async with anyio.create_task_group() as group:
            group.start_soon(running.link.aclose)
            while running.machine.ready:
                await anyio.lowlevel.checkpoint()
            # These wait in the system until the time of notice is over.
            late = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(5)]
            time.sleep(0.05)  # noqa: ASYNC251 - nobody is let in meanwhile
            running.clients += [Client(await SocketStream.from_socket(each)) for each in late]
            for each in running.clients:
                reply = await each.call(tool("echo"))
                assert (reply.status, reply.headers["connection"]) == (200, "close")
                assert await each.closed()
            group.cancel_scope.cancel()
        running.link._tasks.cancel_scope.cancel()  # type: ignore[union-attr]
