"""HTTP+SSE over sockets: our server and our client, under every driver, on asyncio and trio."""

import json
from typing import Any

import httpx
import pytest

from mcpcore import ClientSettings, Context, HttpServerSettings, Server
from mcpcore.errors import BadTarget, NegotiationError
from mcpcore.http.messages import HttpChunk, HttpHead, HttpRequest
from mcpcore.http.principals import Principal, Refusal, Verdict, bearer_token
from mcpcore.http.settings import HttpSettings, SsePaths
from mcpcore.wire.sse import ServerSentEvent, SseDecoder
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.serve.endpoint import HttpEndpoint, http_request
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.targets import SseTarget, describe, parse_target
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import patience
from tests.http.support import initialize, note, request
from tests.transports.certificates import papers
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


def tools() -> Server:
    server = Server("both")

    @server.tool
    def add(a: int, b: int) -> str:
        return str(a + b)

    @server.tool
    def large(size: int) -> str:
        return "x" * size

    @server.tool
    def who(context: Context) -> str:
        return str(context.principal)

    return server


async def text(client: Client, tool: str, **arguments: Any) -> str:
    return (await client.call_tool(tool, arguments)).text


async def test_one_port_for_both() -> None:
    address = "127.0.0.1:0"
    async with served(tools(), http=address, sse=address) as state:
        streamable, sse = state.urls
        assert streamable.replace("/mcp", "/sse") == sse.removeprefix("sse+")
        for target, revision in (
            (streamable, "2026-07-28"),
            (sse, "2025-11-25"),
            (sse.removeprefix("sse+"), "2025-11-25"),
        ):
            settings = ClientSettings(eras=EraCache())
            async with connect(target, settings=settings) as client:
                assert client.revision.name == revision
                assert await text(client, "add", a=2, b=3) == "5"


async def test_two_ports_where_the_addresses_differ() -> None:
    async with served(tools(), http="127.0.0.1:0", sse="localhost:0") as state:
        assert [url.partition(":")[0] for url in state.urls] == ["http", "sse+http"]
        origin = state.urls[1].removeprefix("sse+").removesuffix("/sse")
        with pytest.raises(NegotiationError, match="nothing is served"):
            async with connect(f"{origin}/mcp", settings=ClientSettings(eras=EraCache())):
                pytest.fail("there is no such endpoint")


async def test_paths_of_ones_own() -> None:
    paths = SsePaths(stream="/events", messages="/say")
    settings = ServeSettings(http=HttpSettings(sse=paths))
    async with (
        served(tools(), sse=ANY_PORT, settings=settings) as state,
        connect(state.url) as client,
    ):
        assert state.url.endswith("/events")
        assert await text(client, "add", a=1, b=1) == "2"


@pytest.mark.parametrize("revisions", [None, ["2024-11-05", "2025-06-18"]])
async def test_the_era_cache_remembers(revisions: list[str] | None) -> None:
    """The second connection begins with the GET: the log of the server shows what was asked."""
    asked: list[tuple[str, str]] = []

    def note(request: HttpRequest) -> Verdict:
        asked.append((request.method, request.path))
        return Principal("anybody")

    settings = ServeSettings(http_link=HttpServerSettings(authenticate=note))
    mine = ClientSettings(eras=EraCache())
    async with served(tools(), sse=ANY_PORT, settings=settings) as state:
        url = state.url.removeprefix("sse+")
        for _ in range(2):
            async with connect(url, settings=mine, revisions=revisions) as client:
                assert await text(client, "add", a=2, b=3) == "5"
    first = asked.index(("GET", "/sse"))
    assert asked[:first] == [("POST", "/sse")] * (2 if revisions is None else 1)
    assert asked.count(("GET", "/sse")) == 2
    assert asked.count(("POST", "/sse")) == first


@pytest.mark.parametrize("scheme", ["sse+http", "http"])
async def test_with_an_http_client_of_ones_own(scheme: str) -> None:
    asked: set[tuple[str, str]] = set()

    async def note(request: httpx.Request) -> None:
        asked.add((request.method, request.url.path))

    async with served(tools(), sse=ANY_PORT) as state:
        url = state.url.replace("sse+http", scheme)
        async with (
            httpx.AsyncClient(event_hooks={"request": [note]}) as own,
            connect(
                url,
                http_client=own,
                settings=ClientSettings(eras=EraCache()),
            ) as client,
        ):
            assert await text(client, "add", a=2, b=3) == "5"
            assert len(await text(client, "large", size=300_000)) == 300_000
    assert asked >= {("GET", "/sse"), ("POST", "/messages")}


async def test_handed_in_by_a_framework() -> None:
    settings = ServeSettings(http=HttpSettings(sse=SsePaths()))
    endpoint = HttpEndpoint(tools(), settings=settings)
    accept = [("Host", "localhost"), ("Accept", "text/event-stream")]
    head = http_request("GET", "/sse", accept, root="/inside")
    decoder = SseDecoder()
    events: list[ServerSentEvent] = []

    async def next_event() -> ServerSentEvent:
        while not events:
            action = await anext(stream)
            if isinstance(action, HttpChunk):
                events.extend(decoder.receive(action.data))
        return events.pop(0)

    async def post(message: Any) -> int:
        json_type = [("Host", "localhost"), ("Content-Type", "application/json")]
        request = http_request("POST", target, json_type, root="/inside")
        with endpoint.handle(request, json.dumps(message).encode()) as call:
            head = await anext(call)
            assert isinstance(head, HttpHead)
            return head.status

    with patience(), endpoint.handle(head, b"") as stream:
        first = await next_event()
        assert (first.event, first.data[:28]) == ("endpoint", "/inside/messages?session_id=")
        target = first.data.removeprefix("/inside")
        assert await post(initialize("2024-11-05")) == 202
        answer = json.loads((await next_event()).data)
        assert answer["result"]["protocolVersion"] == "2024-11-05"
        assert await post(note("notifications/initialized")) == 202
        call = request("tools/call", {"name": "add", "arguments": {"a": 2, "b": 3}}, id="x")
        assert await post(call) == 202
        answer = json.loads((await next_event()).data)
        assert (answer["id"], answer["result"]["content"][0]["text"]) == ("x", "5")
    assert await post(call) == 404
    await endpoint.aclose()


async def test_over_tls() -> None:
    trust = papers()
    settings = ServeSettings(ssl_context=server_tls(trust.server))
    mine = ClientSettings(ssl_context=client_tls(ca=trust.trusted.file), eras=EraCache())
    async with served(tools(), sse="localhost:0", settings=settings) as state:
        assert state.url.startswith("sse+https://")
        for url in (state.url, state.url.removeprefix("sse+")):
            async with connect(url, settings=mine) as client:
                assert await text(client, "add", a=2, b=3) == "5"


def named(request: HttpRequest) -> Verdict:
    token = bearer_token(request)
    return Refusal() if token is None else Principal(token)


async def test_principals() -> None:
    settings = ServeSettings(http_link=HttpServerSettings(authenticate=named))
    async with served(tools(), sse=ANY_PORT, settings=settings) as state:
        with pytest.raises(NegotiationError, match="401"):
            async with connect(state.url):
                pytest.fail("nobody was let in")
        plain = state.url.removeprefix("sse+")
        with pytest.raises(NegotiationError, match="401") as refused:
            async with connect(plain, settings=ClientSettings(eras=EraCache())):
                pytest.fail("nobody was let in")
        assert "event stream of HTTP+SSE" in str(refused.value)
        headers = {"Authorization": "Bearer ann"}
        async with connect(state.url, headers=headers) as client:
            assert await text(client, "who") == "ann"
        async with connect(state.url, headers=lambda request: headers) as client:
            assert await text(client, "who") == "ann"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("sse+http://a:1/sse", SseTarget("http://a:1/sse", {})),
        ("sse+https://a/b?c=d", SseTarget("https://a/b?c=d", {})),
        ("SSE+HTTP://a/b", SseTarget("http://a/b", {})),
    ],
)
async def test_targets(url: str, target: SseTarget) -> None:
    assert parse_target(url) == target
    assert describe(target) == f"sse+{target.url.partition('?')[0]}"
    assert parse_target(target) is target


@pytest.mark.parametrize("url", ["sse://a/b", "sse+http:///b", "sse+ws://a/b", "sse+http"])
async def test_no_targets(url: str) -> None:
    with pytest.raises(BadTarget):
        parse_target(url)


async def test_revisions_that_have_no_such_transport() -> None:
    with pytest.raises(BadTarget, match="handshake"):
        await serve(tools(), sse=ANY_PORT, revisions=["2026-07-28"])
    with pytest.raises(BadTarget, match="handshake"):
        async with connect("sse+http://127.0.0.1:9/sse", revision="2026-07-28"):
            pytest.fail("spoken all the same")
