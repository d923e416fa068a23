"""The client against real servers, and against servers that misbehave."""

import logging
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import pytest
from msgspec import Raw

from mcpcore.errors import (
    ConnectionClosed,
    InvalidResponse,
    PeerError,
    RequestTimeout,
)
from mcpcore.service import Server, mirrored
from mcpcore.spec.errors import LocalError, LocalProtocolError, McpError
from mcpcore.spec.types.client_features import ElicitParams, Root
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.servers import connect_all
from mcpcore_transports.server.context import Context
from tests.clock import patience
from tests.transports.scripted import DISCOVERY, child, http_server, modern
from tests.transports.served import served

pytestmark = pytest.mark.anyio

ERAS = ("2025-11-25", "2026-07-28")


@pytest.fixture(params=ERAS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("opened", ["connect", "connect_all", "listen"])
async def test_what_is_open_is_not_opened_again(opened: str) -> None:
    server = Server("s")
    async with connect(server) as client:
        blocks: dict[str, Any] = {
            "connect": connect(server),
            "connect_all": connect_all({"s": server}),
            "listen": client.listen(tools=True),
        }
        block = blocks[opened]
        async with block:
            with pytest.raises(LocalProtocolError, match=rf"{opened}\(\) for"):
                await block.__aenter__()
        if opened != "listen":
            async with block:
                pass


async def test_a_log_level_that_does_not_exist_changes_nothing(revision: str) -> None:
    async with connect(library(), revision=revision) as client:
        with pytest.raises(LocalProtocolError, match="unknown log level 'loud'"):
            await client.set_log_level("loud")  # type: ignore[arg-type]
        assert (await client.call_tool("add", {"a": 1, "b": 2})).text == "3"


async def test_each_connection_has_roots_of_its_own(revision: str) -> None:
    callbacks = Callbacks(roots=["file:///a"])
    async with (
        connect(library(), callbacks=callbacks, revision=revision) as one,
        connect(library(), callbacks=callbacks, revision=revision) as other,
    ):
        one.set_roots(["file:///b"])
        found = [(await each.call_tool("roots")).text for each in (one, other)]
        assert found == ["file:///b|None", "file:///a|None"]
    assert callbacks.roots == ["file:///a"]


def library() -> Server:
    server = Server("library", version="2", page_size=2)

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    async def wait() -> str:
        await anyio.sleep_forever()
        return "never"

    @server.tool
    async def ask(context: Context) -> str:
        return (await context.elicit("?", {"type": "object", "properties": {}})).action

    @server.tool
    def roots(context: Context) -> Any:
        async def later() -> str:
            return ",".join(f"{root.uri}|{root.name}" for root in await context.list_roots())

        return later()

    @server.resource("test://a")
    def a() -> str:
        return "A"

    server.add_resource("test://b", b"B")
    server.add_resource("test://c", "C")

    @server.prompt
    def greet(name: str) -> str:
        return f"Greet {name}"

    return server


# Calls


@pytest.mark.requirement(
    "server/prompts/client-pages",
    "server/utilities/pagination/end",
    "server/utilities/pagination/both-flows",
    "server/utilities/pagination/page-size",
)
async def test_a_server_is_known_and_its_lists_are_read_to_the_end(revision: str) -> None:
    async with connect(library(), revision=revision) as client:
        assert client.revision.name == revision
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("library", "2")
        assert revision in client.supported
        assert client.closed is None
        page = await client.list_tools()
        assert [tool.name for tool in page.tools] == ["add", "wait"]
        assert page.next_cursor is not None
        rest = await client.list_tools(page.next_cursor)
        assert [tool.name for tool in rest.tools] == ["ask", "roots"]
        assert len(await client.tools()) == 4
        assert [r.uri for r in await client.resources()] == ["test://a", "test://b", "test://c"]
        assert [p.name for p in await client.prompts()] == ["greet"]
        raw = await client.request("tools/list")
        assert isinstance(raw, Raw)
    assert client.closed is not None


# Errors and ends


@pytest.mark.requirement("server/tools/timeouts")
async def test_errors_of_the_server_are_told_from_ours(revision: str) -> None:
    async with connect(library(), revision=revision) as client:
        with pytest.raises(PeerError, match="Unknown tool") as caught:
            await client.call_tool("nope")
        assert caught.value.code == -32602
        assert caught.value.method == "tools/call"
        assert isinstance(caught.value, McpError)
        assert not isinstance(caught.value, LocalError)
        with pytest.raises(RequestTimeout, match="no answer within") as timed_out:
            await client.call_tool("wait", timeout=0.05)
        assert isinstance(timed_out.value, LocalError)
        assert isinstance(timed_out.value, TimeoutError)
        assert not isinstance(timed_out.value, McpError)
        await client.ping()


async def test_nothing_can_be_called_after_the_end(revision: str) -> None:
    async with connect(library(), revision=revision) as client:
        pass
    with pytest.raises(ConnectionClosed):
        await client.ping()
    with pytest.raises(ConnectionClosed):
        async with client.listen(tools=True):
            pass


def test_revisions_and_targets_are_checked_at_once() -> None:
    with pytest.raises(ValueError, match="known revisions"):
        connect("http://x/", revision="1999-01-01")
    with pytest.raises(ValueError, match="no target"):
        connect("not a url")


# What the client does for the server


async def test_callbacks_may_be_coroutines(revision: str) -> None:
    told: list[Any] = []

    async def elicit(params: ElicitParams) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {}

    async def find_roots() -> list[Root | str]:
        await anyio.lowlevel.checkpoint()
        return ["file:///a", Root(uri="file:///b", name="B")]

    async def progress(value: float, total: float | None, message: str | None) -> None:
        await anyio.lowlevel.checkpoint()
        told.append(value)

    server = library()

    @server.tool
    async def work(context: Context) -> str:
        context.progress(1)
        context.progress(2)
        return "done"

    callbacks = Callbacks(elicitation=elicit, roots=find_roots)
    async with connect(server, revision=revision, callbacks=callbacks) as client:
        asked = await client.call_tool("ask")
        assert asked.text == "accept"
        found = await client.call_tool("roots")
        assert found.text.startswith("file:///a|")
        await client.call_tool("work", progress=progress)
        with patience():
            while len(told) < 2:
                await anyio.lowlevel.checkpoint()
    assert told == [1, 2]


async def test_rounds_without_questions_are_retried() -> None:
    waiting = {"result": {"resultType": "input_required", "requestState": "s"}}
    done = {"result": modern({"content": []})}
    async with connect(child({"tools/call": [waiting, done]})) as client:
        assert (await client.call_tool("x")).content == []


# News


@pytest.mark.requirement("basic/patterns/subscriptions/acknowledged-checked")
async def test_listening(revision: str) -> None:
    server = library()
    async with connect(server, revision=revision) as client:
        async with client.listen(tools=True, resources=True, uris=["test://a"]) as changes:
            assert changes.filter.tools_list_changed is True
            assert changes.filter.prompts_list_changed is False
            assert changes.filter.resource_subscriptions == ["test://a"]
            server.resource_updated("test://b")
            server.resource_updated("test://a")
            server.resource_updated("test://a")
            server.remove_prompt("greet")
            server.remove_tool("add")
            server.remove_resource("test://c")
            seen = [await anext(changes) for _ in range(3)]
        assert [(change.kind, change.uri) for change in seen] == [
            ("resource", "test://a"),
            ("tools", None),
            ("resources", None),
        ]
        server.remove_tool("wait")
        await client.ping()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


async def test_two_listeners_share_a_resource(revision: str) -> None:
    server = library()
    async with (
        connect(server, revision=revision) as client,
        client.listen(uris=["test://a"]) as first,
    ):
        async with client.listen(uris=["test://a"]):
            pass
        server.resource_updated("test://a")
        with patience():
            assert (await anext(first)).uri == "test://a"


async def test_a_stream_that_breaks(revision: str) -> None:
    server = library()
    async with connect(server, revision=revision) as client:
        changes = client.listen(tools=True)
        await changes.__aenter__()
    with pytest.raises((ConnectionClosed, StopAsyncIteration)):
        await anext(changes)


# Tools


@pytest.mark.requirement(
    "server/tools/output-validated",
    "server/tools/results-validated",
    "basic/index/ref-unresolved",
    "server/tools/refs-followed",
)
async def test_results_are_held_against_the_output_schema(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("jsonschema")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    broken = {"type": "object", "properties": {"n": {"type": "nonsense"}}}
    remote = {"type": "object", "properties": {"n": {"$ref": "http://127.0.0.1:9/n.json"}}}
    fancy = {"type": "object", "properties": {"n": {"type": "string", "pattern": "(?=a)a"}}}
    tools = [
        {"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema},
        {"name": "u", "inputSchema": {"type": "object"}, "outputSchema": broken},
        {"name": "v", "inputSchema": {"type": "object"}, "outputSchema": remote},
        {"name": "w", "inputSchema": {"type": "object"}, "outputSchema": fancy},
    ]
    replies = [
        {"result": modern({"content": [], "structuredContent": {"n": 1}})},
        {"result": modern({"content": [], "structuredContent": {"n": "one"}})},
        {"result": modern({"content": []})},
        {"result": modern({"content": [], "isError": True})},
        *[{"result": modern({"content": [], "structuredContent": {}})}] * 4,
    ]
    listing = {"result": modern({"tools": tools})}
    async with connect(child({"tools/list": listing, "tools/call": replies})) as client:
        await client.tools()
        assert (await client.call_tool("t")).structured_content == {"n": 1}
        with pytest.raises(InvalidResponse, match="breaks its schema"):
            await client.call_tool("t")
        with pytest.raises(InvalidResponse, match="gave none"):
            await client.call_tool("t")
        assert (await client.call_tool("t")).is_error is True
        for _ in range(2):
            with pytest.raises(InvalidResponse, match="schema of the tool 'u' is unusable"):
                await client.call_tool("u")
        with pytest.raises(InvalidResponse, match="references are not fetched"):
            await client.call_tool("v")
        with caplog.at_level(logging.WARNING):
            assert (await client.call_tool("w")).structured_content == {}
        assert "results of the tool 'w' are not checked" in caplog.text


@pytest.mark.requirement(
    "basic/transports/streamable-http/invalid-tool-excluded",
    "basic/transports/streamable-http/invalid-tool-warning",
    "basic/transports/streamable-http/param-mirrored",
)
async def test_tools_with_broken_annotations_are_left_out_over_http(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def schema(header: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": header}}}

    tools = [
        {"name": "good", "inputSchema": schema("A")},
        {"name": "bad", "inputSchema": schema("not a token")},
    ]
    mirrored_values: list[str | None] = []

    def respond(message: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        results = {
            "server/discover": DISCOVERY,
            "tools/list": modern({"tools": tools}),
            "tools/call": modern({"content": []}),
        }
        if message["method"] == "tools/call":
            mirrored_values.append(headers.get("mcp-param-a"))
        result = results[message["method"]]
        return 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}

    async with http_server(respond) as url, connect(url) as client:
        with caplog.at_level(logging.WARNING, "mcpcore.client"):
            assert [tool.name for tool in await client.tools()] == ["good"]
        assert "the tool 'bad' is left out" in caplog.text
        await client.call_tool("good", {"a": "x"})
    assert mirrored_values == ["x"]
    # Over other transports there are no headers, so that nothing is wrong with the tool.
    listing = child({"tools/list": {"result": modern({"tools": tools})}})
    async with connect(listing) as client:
        assert [tool.name for tool in await client.tools()] == ["good", "bad"]


@pytest.mark.requirement("basic/transports/streamable-http/refresh-on-mismatch")
async def test_a_header_mismatch_is_mended_once() -> None:
    server = Server("s")

    @server.tool
    def where(region: Annotated[str, mirrored("Region")]) -> str:
        return region

    async with served(server) as site, connect(site.url) as client:
        result = await client.call_tool("where", {"region": "eu"})
        assert result.text == "eu"


# Caching


async def test_an_unknown_option_is_refused_by_the_cache_as_well() -> None:
    misspelt: Any = {"timout": 1.0}
    async with connect(library(), settings=ClientSettings(cache=True)) as client:
        for _ in ("asked of the server", "answered by the cache"):
            with pytest.raises(TypeError, match="timout"):
                await client.request("tools/list", None, **misspelt)
            await client.tools()


async def test_arguments_of_a_tool_are_no_options() -> None:
    arguments: Any = {"title": "Emma"}
    async with connect(library()) as client:
        with pytest.raises(TypeError, match=r"call_tool\(\) has no option 'title'; the arguments"):
            await client.call_tool("author", **arguments)


# Settings


async def test_the_era_of_a_server_of_this_process_is_not_remembered() -> None:
    eras = EraCache()
    async with connect(library(), settings=ClientSettings(eras=eras)):
        assert len(eras) == 0


async def test_meta_of_every_request() -> None:
    server = Server("s")
    seen: list[Any] = []

    @server.tool
    def look(context: Context) -> str:
        seen.append(context.meta.traceparent)
        return "seen"

    settings = ClientSettings(meta={"traceparent": "00-0-0-00"})
    async with connect(server, settings=settings) as client:
        await client.call_tool("look")
        await client.call_tool("look", meta={"traceparent": "00-1-1-00"})
    assert seen == ["00-0-0-00", "00-1-1-00"]
