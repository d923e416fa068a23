"""WebSocket and Streamable HTTP on one port and path, and who is let in: the hook of HTTP."""

import logging
from typing import Any

import anyio
import pytest

from mcpcore import Context, HttpServerSettings, LinkError, Server, ServeSettings, connect
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict, bearer_token
from mcpcore_transports.targets import WebSocketTarget
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.clock import until
from tests.command import mcpcore_here
from tests.transports.http_fixture import Client, http, tool
from tests.transports.malformed import META, request
from tests.transports.served import ANY_PORT, Served, served
from tests.transports.serving import serving
from tests.transports.sites import CLOSE, TEXT, call, frame, raw, upgrade
from tests.transports.ways import anyio_backend as anyio_backend
from tests.warm import PYTHON

pytestmark = pytest.mark.anyio

SECRET = "s3cret-token"
SHARED = ServeSettings(shared=True)


def make() -> Server:
    server = Server("shared")

    @server.tool
    def echo(text: str = "") -> str:
        return text

    @server.tool
    def big(size: int) -> str:
        return "x" * size

    @server.tool
    def whoami(context: Context) -> str:
        return str(context.principal)

    @server.tool
    async def greet(context: Context) -> str:
        form = {"type": "object", "properties": {"name": {"type": "string"}}}
        answer = await context.elicit("Who are you?", form)
        return f"Hello, {answer.content['name']}!" if answer.content else "Hello!"

    return server


def check(request: HttpRequest) -> Verdict:
    token = bearer_token(request)
    if token is None:
        return Refusal(challenge='Bearer realm="mcp"')
    if token != SECRET:
        return Refusal(status=403, message="this token may not connect")
    assert all(
        SECRET.encode() not in value for name, value in request.headers if name != b"authorization"
    )
    return Principal("ann", scopes=["write"])


def guarded(**settings: Any) -> ServeSettings:
    return ServeSettings(http_link=HttpServerSettings(authenticate=check), **settings)


def ws_url(site: Served) -> str:
    return site.url.replace("http://", "ws://")


@pytest.mark.parametrize("revision", ["2025-06-18", "2026-07-28"])
async def test_both_at_one_address(revision: str) -> None:
    async with served(make(), settings=SHARED) as site:
        assert (await connect_and_echo(site.url, revision)) == "hello"
        assert (await connect_and_echo(ws_url(site), revision)) == "hello"


async def connect_and_echo(url: str, revision: str) -> str:
    async with connect(url, revision=revision) as client:
        return (await client.call_tool("echo", {"text": "hello"})).text


async def test_the_header_decides() -> None:
    async with served(make(), settings=SHARED) as site, raw(site.port) as stream:
        client = Client(stream.stream)
        assert (await client.call(tool("echo"))).status == 200
        assert (await client.call(http(method="GET"))).status in (405, 406, 400)
        # Other protocols are declined, and the request stands (RFC 9110 section 7.8).
        other = {"Connection": "Upgrade", "Upgrade": "h2c"}
        assert (await client.call(tool("echo", headers=other))).status == 200
        await client.send(upgrade(site.port, "/nowhere"))
        assert (await client.response()).status == 404
        # And a connection that has carried requests becomes a WebSocket.
        await stream.stream.send(upgrade(site.port) + frame(TEXT, call(1)))
        assert (await client.head()).status == 101
        await stream.stream.send(frame(CLOSE, b"\x03\xe8"))


async def test_both_are_announced() -> None:
    urls: list[str] = []
    async with served(make(), settings=SHARED) as site:
        await until(lambda: len(site.urls) >= 2)
        urls = site.urls
    assert urls[1] == urls[0].replace("http:", "ws:")


async def test_without_the_setting_nothing_is_upgraded() -> None:
    async with served(make()) as site, raw(site.port) as client:
        await client.stream.send(upgrade(site.port))
        assert (await client.head())[0] in (400, 405, 406)


async def test_the_end_closes_with_1001_in_time() -> None:
    async with served(make(), settings=SHARED) as site, raw(site.port) as client:
        await client.stream.send(upgrade(site.port))
        assert (await client.head())[0] == 101
        await client.frame(TEXT, call(1))
        await client.receive()
        site.stop.set()
        assert (await client.closed())[0] == 1001


@pytest.mark.long
async def test_nobody_is_let_in_once_the_end_is_near() -> None:
    link = HttpServerSettings(notice_time=2.0)
    settings = ServeSettings(shared=True, http_link=link)
    async with served(make(), settings=settings) as site:
        site.stop.set()
        status = 101
        while status == 101:
            async with raw(site.port) as client:
                await client.stream.send(upgrade(site.port))
                status, headers = await client.head()
        assert (status, headers["retry-after"]) == (503, "1")


async def test_an_upgrade_that_is_under_way_at_the_end_is_refused() -> None:
    asked, told = anyio.Event(), anyio.Event()

    async def slowly(request: HttpRequest) -> Verdict:
        asked.set()
        await told.wait()
        return Principal("ann")

    link = HttpServerSettings(authenticate=slowly, drain_time=300)
    async with served(make(), settings=ServeSettings(shared=True, http_link=link)) as site:
        async with raw(site.port) as client:
            await client.stream.send(upgrade(site.port))
            await asked.wait()
            site.stop.set()
            await anyio.wait_all_tasks_blocked()
            told.set()
            status, headers = await client.head()
            assert (status, headers["retry-after"]) == (503, "1")
        await site.ended.wait()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("headers", "status", "principal"),
    [
        ({"Authorization": f"Bearer {SECRET}"}, 101, "ann"),
        ({"Sec_WebSocket_Protocol": f"mcp, mcp.auth.{SECRET}"}, 101, "ann"),
        (
            {
                "Authorization": f"Bearer {SECRET}",
                "Sec_WebSocket_Protocol": "mcp, mcp.auth.another",
            },
            400,
            None,
        ),
        (
            {
                "Authorization": "Bearer another",
                "Sec_WebSocket_Protocol": f"mcp, mcp.auth.{SECRET}",
            },
            400,
            None,
        ),
        ({"Sec_WebSocket_Protocol": "mcp, mcp.auth.another"}, 403, None),
        ({}, 401, None),
    ],
)
async def test_the_hook_of_http_is_asked(
    shared: bool, headers: dict[str, str | None], status: int, principal: str | None
) -> None:
    bindings: dict[str, Any] = {"http": ANY_PORT} if shared else {"ws": ANY_PORT}
    settings = guarded(shared=shared)
    async with (
        served(make(), settings=settings, **bindings) as site,
        raw(site.port) as client,
    ):
        await client.stream.send(upgrade(site.port, "/mcp", method="GET", **headers))
        found, fields = await client.head()
        assert found == status
        assert fields.get("www-authenticate") == ('Bearer realm="mcp"' if status == 401 else None)
        if status == 101:
            assert fields["sec-websocket-protocol"] == "mcp"
            await client.frame(TEXT, call(1, "whoami"))
            [content] = (await client.message())["result"]["content"]
            assert content["text"] == principal
        else:
            assert SECRET not in await client.body()


@pytest.mark.parametrize("shared", [True, False])
async def test_sealed_state_belongs_to_the_principal_and_outlives_the_connection(
    shared: bool,
) -> None:
    def name(request: HttpRequest) -> Verdict:
        return Principal(bearer_token(request) or "nobody")

    bindings: dict[str, Any] = {"http": ANY_PORT} if shared else {"ws": ANY_PORT}
    link = HttpServerSettings(authenticate=name)
    settings = ServeSettings(shared=shared, http_link=link)
    async with served(make(), settings=settings, **bindings) as site:
        asked = await greeted(site.port, "ann")
        assert asked["resultType"] == "input_required"
        [key] = asked["inputRequests"]
        again = {
            "inputResponses": {key: {"action": "accept", "content": {"name": "Ada"}}},
            "requestState": asked["requestState"],
        }
        done = await greeted(site.port, "ann", **again)
        assert done["content"][0]["text"] == "Hello, Ada!"
        refused = await greeted(site.port, "bob", **again)
        assert "another principal" in refused["message"]


async def greeted(port: int, name: str, **more: Any) -> dict[str, Any]:
    """Call ``greet`` on a connection of its own; returns the result or the error."""
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
    params = {"name": "greet", "arguments": {}, "_meta": meta, **more}
    async with raw(port) as client:
        await client.stream.send(upgrade(port, Authorization=f"Bearer {name}"))
        assert (await client.head())[0] == 101
        await client.frame(TEXT, request("tools/call", params, id=1))
        answer = await client.message()
    found: dict[str, Any] = answer.get("result") or answer["error"]
    return found


async def test_a_token_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: HttpRequest) -> Verdict:
        raise ZeroDivisionError

    settings = ServeSettings(
        http_link=HttpServerSettings(authenticate=broken, log=True), shared=True
    )
    caplog.set_level(logging.DEBUG)
    async with served(make(), settings=settings) as site:
        for offer in (
            f"mcp, mcp.auth.{SECRET}",
            f"mcp.auth.{SECRET}",
            f"mcp, mcp.auth.{SECRET}, mcp.auth.{SECRET}2",
            f"mcp, mcp.auth.{SECRET}, mcp.auth.{SECRET}",
            f"mcp, mcp.auth.{SECRET} x",
            f"mcp, mcp.auth.{SECRET}\x01",
        ):
            async with raw(site.port) as client:
                await client.stream.send(upgrade(site.port, Sec_WebSocket_Protocol=offer))
                assert (await client.head())[0] in (400, 500)
                assert SECRET not in await client.body()
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


async def test_a_client_is_told_why_it_is_refused() -> None:
    async with served(make(), ws=ANY_PORT, settings=guarded()) as site:
        with pytest.raises(LinkError, match="status 401: authentication is required"):
            async with connect(site.url):
                pass
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with connect(WebSocketTarget(site.url, headers)) as client:
            assert (await client.call_tool("whoami")).text == "ann"


async def test_headers_can_be_made_for_each_connection() -> None:
    asked: list[str] = []

    async def sign(request: Any) -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        asked.append(f"{request.method} {request.target}")
        return {"Authorization": f"Bearer {SECRET}"}

    async with served(make(), ws=ANY_PORT, settings=guarded()) as site:
        for _ in range(2):
            async with connect(site.url, headers=sign) as client:
                assert (await client.call_tool("whoami")).text == "ann"
    assert asked == ["GET /mcp", "GET /mcp"]


async def test_connections_of_one_address_are_bounded() -> None:
    limited = WebSocketSettings(max_connections_per_client=1)
    settings = ServeSettings(shared=True, websocket=limited)
    async with served(make(), settings=settings) as site, raw(site.port) as first:
        await first.stream.send(upgrade(site.port))
        assert (await first.head())[0] == 101
        async with raw(site.port) as second:
            await second.stream.send(upgrade(site.port))
            status, headers = await second.head()
            assert (status, headers["retry-after"]) == (503, "1")
            assert "from your address" in await second.body()
        async with raw(site.port) as third:  # HTTP has its own count
            assert (await Client(third.stream).call(tool("echo"))).status == 200


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_the_command_serves_both(workers: int) -> None:
    words = ["--http", ANY_PORT, "--websocket", "--workers", str(workers)]
    async with serving(*words, python=PYTHON) as running:
        await running.until("listening on ws://")
        assert [url.split(":", 1)[0] for url in running.urls] == ["http", "ws"]
        for url in running.urls:
            async with connect(url) as client:
                assert await client.tools()


def test_the_flag_needs_an_http_address() -> None:
    done = mcpcore_here("serve", "--ws", ANY_PORT, "--websocket")
    assert done.returncode == 2
    assert "--websocket is for the addresses of --http" in done.stderr
