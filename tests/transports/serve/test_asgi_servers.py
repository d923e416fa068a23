"""The ASGI application under real ASGI servers, each a process of its own, over real sockets."""

import json
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from mcpcore.wire.sse import ServerSentEvent, SseDecoder
from tests.clock import PATIENCE, patience
from tests.transports.asgi_fixture import KINDS, Site, SiteClient, running
from tests.transports.asgi_site import MAX_BODY
from tests.transports.http_fixture import (
    LEGACY,
    UPGRADE,
    Response,
    http,
    initialize,
    legacy,
    tool,
)

pytestmark = pytest.mark.anyio

TOKEN = {"progressToken": "p"}


@pytest.fixture
def anyio_backend() -> str:
    """The loops under test are those of the servers."""
    return "asyncio"


@pytest.fixture(scope="module", params=KINDS)
def process(request: pytest.FixtureRequest) -> Iterator[Site]:
    with running(KINDS[request.param]) as site:
        yield site


@pytest.fixture
async def site(process: Site) -> AsyncIterator[Site]:
    with patience(2 * PATIENCE):
        yield process
        await process.leave()


class Events:
    """The messages of an event stream, one by one."""

    def __init__(self, client: SiteClient, head: Response) -> None:
        assert head.status == 200, head
        assert head.headers["content-type"] == "text/event-stream"
        self._client = client
        self._decoder = SseDecoder()
        self._waiting: list[ServerSentEvent] = []
        self.last = ""
        """The last event id."""

    async def next(self) -> Any:
        """The next message; events without one are passed over."""
        while True:
            while not self._waiting:
                self._waiting += self._decoder.receive(await self._client.chunk())
            event = self._waiting.pop(0)
            self.last = event.id or self.last
            if event.data:
                return json.loads(event.data)


def call(name: str, session: str, *, id: int = 2, meta: Any = None, **arguments: Any) -> bytes:
    """A legacy tools/call."""
    params: dict[str, Any] = {"name": name, "arguments": arguments}
    if meta:
        params["_meta"] = meta
    return legacy("tools/call", params, id=id, session=session)


def listen(session: str, last: str | None = None) -> bytes:
    """A GET for a stream of a session."""
    headers = {
        "Accept": "text/event-stream",
        "Mcp-Session-Id": session,
        "MCP-Protocol-Version": LEGACY,
        "Last-Event-ID": last,
    }
    return http(method="GET", headers=headers)


async def told(client: SiteClient, name: str, **arguments: Any) -> str:
    """Call a tool on a connection of its own."""
    return (await client.call(tool(name, **arguments))).result


async def test_events_arrive_while_the_handler_runs(site: Site) -> None:
    client, other = await site.connect(), await site.connect()
    await client.send(tool("hold", label="stream", steps=3, meta=TOKEN))
    events = Events(client, await client.head())
    assert [(await events.next())["params"]["progress"] for _ in range(3)] == [1, 2, 3]
    await told(other, "write", what="release stream")
    assert (await events.next())["result"]["content"][0]["text"] == "held stream"
    assert await client.chunk() == b""


async def test_leaving_cancels_a_modern_request(site: Site) -> None:
    client, other = await site.connect(), await site.connect()
    await client.send(tool("hold", label="left", meta=TOKEN))
    await Events(client, await client.head()).next()
    await client.aclose()
    assert await told(other, "read", what="cancelled left") == "seen"


async def test_a_get_stream_opens_at_once(site: Site) -> None:
    client = await site.connect()
    session = await initialize(client)
    await client.send(listen(session))
    Events(client, await client.head())
    other = await site.connect()
    end = http(method="DELETE", headers={"Mcp-Session-Id": session})
    assert (await other.call(end)).status == 204
    while await client.chunk():
        pass
    assert (await other.call(call("add", session, a=1, b=1))).status == 404


async def test_who_does_not_read_holds_back_the_handler_and_nobody_else(site: Site) -> None:
    client, other = await site.connect(), await site.connect()
    await client.send(
        tool(
            "flood",
            label="unread",
            count=3000,
            meta={**TOKEN, "io.modelcontextprotocol/logLevel": "info"},
        )
    )
    await client.head()
    before = -1
    while (now := int(await told(other, "sent", label="unread"))) != before or not now:
        before = now
        for _ in range(20):
            assert await told(other, "add", a=1, b=1) == "2"
    assert now < 2990  # the rest waits until somebody reads
    await client.aclose()


async def test_a_body_without_length_is_bounded(site: Site) -> None:
    client = await site.connect()
    head = http(headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    part = b"%x\r\n%b\r\n" % (MAX_BODY, b" " * MAX_BODY)
    response = await client.call(head.replace(b"GET", b"POST") + part + part)
    assert response.status == 413


@pytest.mark.share(4)
async def test_a_body_that_does_not_come_is_given_up(site: Site) -> None:
    client = await site.connect()
    response = await client.call(http(b"{", headers={"Content-Length": "100"}))
    assert response.status == 408


async def test_preflight_health_and_head(site: Site) -> None:
    client = await site.connect()
    own = f"http://127.0.0.1:{site.port}"
    asked = {
        "Host": f"127.0.0.1:{site.port}",
        "Origin": own,
        "Access-Control-Request-Method": "POST",
    }
    allowed = await client.call(http(method="OPTIONS", headers=asked))
    assert allowed.status == 204
    assert allowed.headers["access-control-allow-origin"] == own
    health = site.path.removesuffix("/mcp") + "/health"
    assert (await client.call(http(method="GET", target=health))).body == b'{"status":"ok"}\n'
    await client.send(http(method="HEAD", target=health))
    response = await client.response(bodiless=True)
    assert (response.status, response.headers["content-length"]) == (200, "16")
    assert await told(client, "add", a=1, b=2) == "3"


async def test_principals(site: Site) -> None:
    client = await site.connect()
    named = tool("whoami", headers={"X-User": "ada"})
    assert (await client.call(named)).result == "ada"
    assert await told(client, "whoami") == "nobody"


async def test_http_2(site: Site) -> None:
    if site.kind not in ("granian", "hypercorn on trio"):
        pytest.skip("the server has HTTP/1 only")
    head, _, body = tool("add", a=2, b=3).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    del headers["Host"], headers["Content-Length"]

    async def parts() -> AsyncIterator[bytes]:
        """A body whose length nobody is told."""
        yield body[:10]
        yield body[10:]

    async with httpx.AsyncClient(http1=False, http2=True) as client:
        response = await client.post(site.url, headers=headers, content=parts())
        assert (response.http_version, response.status_code) == ("HTTP/2", 200)
        assert response.json()["result"]["structuredContent"] == 5
        refused = await client.post(f"{site.url}/elsewhere", headers=headers, content=body)
        assert refused.status_code == 404
        hold = {**headers, "Mcp-Name": "hold"}
        request = tool("hold", label="http 2", steps=2, meta=TOKEN).partition(b"\r\n\r\n")[2]
        async with client.stream("POST", site.url, headers=hold, content=request) as stream:
            lines = stream.aiter_lines()
            while "notifications/progress" not in await anext(lines):
                pass
    assert await told(await site.connect(), "read", what="cancelled http 2") == "seen"


async def test_no_websocket(site: Site) -> None:
    response = await (await site.connect()).call(http(method="GET", headers=UPGRADE))
    assert (response.status, response.body) == (404, b"WebSocket is not served here\n")


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("kind", "patience"),
    [
        ("uvicorn", "--timeout-graceful-shutdown"),
        ("granian", "--workers-kill-timeout"),
        ("hypercorn on trio", "--graceful-timeout"),
        ("mounted in Starlette", "--timeout-graceful-shutdown"),
    ],
)
async def test_a_server_ends_though_streams_are_open(kind: str, patience: str) -> None:
    with running(KINDS[kind], patience, "1", quiet=False) as site:
        client, other = await site.connect(), await site.connect()
        await client.send(listen(await initialize(client)))
        Events(client, await client.head())
        await other.send(tool("hold", label="for ever", meta=TOKEN))
        await Events(other, await other.head()).next()
    assert site.status in (0, -signal.SIGTERM)
    await site.leave()
