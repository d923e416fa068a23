"""server/: lists, names, audio, missing resources and pages, seen from both sides."""

from typing import Any

import pytest

from mcpcore.errors import InvalidResponse, PeerError
from mcpcore.service import Audio, Server
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.client import Client, connect
from tests.service.calling import ask
from tests.transports.scripted import DISCOVERY, child, http_server, modern

WAV = b"RIFF\x04\0\0\0WAVE"


def library() -> Server:
    server = Server("library", page_size=3)
    for name in ("delta", "Alpha", "charlie", "bravo", "alpha"):
        server.add_tool(lambda: "x", name)
        server.add_prompt(lambda: "x", name)
        server.add_resource(f"test://{name}", name)
    return server


async def lists(client: Client) -> list[list[str]]:
    return [
        [tool.name for tool in await client.tools()],
        [prompt.name for prompt in await client.prompts()],
        [resource.uri for resource in await client.resources()],
    ]


@pytest.mark.anyio
@pytest.mark.requirement(
    "server/tools/list-answered",
    "server/tools/list-not-per-connection",
    "server/tools/list-order",
    "server/prompts/list-answered",
    "server/prompts/list-not-per-connection",
    "server/resources/list-answered",
    "server/resources/list-not-per-connection",
)
async def test_lists_are_the_same_on_every_connection_and_after_any_request() -> None:
    server = library()
    names = ["delta", "Alpha", "charlie", "bravo", "alpha"]
    expected = [names, names, [f"test://{name}" for name in names]]
    for _ in range(2):
        async with connect(server) as client:
            assert await lists(client) == expected
            await client.call_tool("charlie")
            await client.get_prompt("alpha")
            await client.read_resource("test://bravo")
            assert await lists(client) == expected


@pytest.mark.requirement("server/tools/name-case")
def test_names_of_tools_are_told_apart_by_case() -> None:
    server = Server("s")
    server.add_tool(lambda: "large", "Echo")
    server.add_tool(lambda: "small", "echo")
    for name, text in (("Echo", "large"), ("echo", "small")):
        content = ask(server, "tools/call", {"name": name})["content"]
        assert content == [{"type": "text", "text": text}]
    with pytest.raises(Exception, match="Unknown tool: ECHO"):
        ask(server, "tools/call", {"name": "ECHO"})


@pytest.mark.requirement("server/prompts/audio-content")
def test_audio_in_prompts() -> None:
    server = Server("s")
    server.add_prompt(lambda: Audio(WAV), "p")
    [message] = ask(server, "prompts/get", {"name": "p"})["messages"]
    assert message["content"] == {
        "type": "audio",
        "data": "UklGRgQAAABXQVZF",
        "mimeType": "audio/wav",
    }


@pytest.mark.anyio
@pytest.mark.requirement("server/resources/not-found-accepted")
@pytest.mark.parametrize("code", [-32002, -32602])
async def test_either_code_says_that_a_resource_is_missing(code: int) -> None:
    missing = {"error": {"code": code, "message": "Resource not found"}}
    async with connect(child({"resources/read": missing})) as client:
        with pytest.raises(PeerError, match="Resource not found") as caught:
            await client.read_resource("test://x")
        assert caught.value.code == code


@pytest.mark.anyio
@pytest.mark.requirement("server/utilities/completion/client-partial")
async def test_completions_may_be_partial() -> None:
    replies = [
        {"result": modern({"completion": {"values": []}})},
        {"result": modern({"completion": {"values": ["a"], "hasMore": True}})},
        {"result": modern({})},
    ]
    found = modern({**DISCOVERY, "capabilities": {"completions": {}}})
    target = child({"server/discover": {"result": found}, "completion/complete": replies})
    ref = PromptReference(name="p")
    async with connect(target) as client:
        assert (await client.complete(ref, "a", "")).completion.values == []
        assert (await client.complete(ref, "a", "")).completion.values == ["a"]
        with pytest.raises(InvalidResponse, match="completion"):
            await client.complete(ref, "a", "")


class Pages:
    """A list of tools in pages, by cursor; ``asked`` says which were asked for."""

    def __init__(self, *cursors: str, **hints: Any) -> None:
        self.cursors = [None, *cursors, None]
        self.hints = hints
        self.asked: list[str | None] = []

    def __call__(self, message: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        if message["method"] == "server/discover":
            return 200, {"jsonrpc": "2.0", "id": message["id"], "result": DISCOVERY}
        cursor = message["params"].get("cursor")
        self.asked.append(cursor)
        number = self.cursors.index(cursor)
        following = self.cursors[number + 1]
        tool = {"name": f"t{number}", "inputSchema": {"type": "object"}}
        more = {} if following is None else {"nextCursor": following}
        result = modern({"tools": [tool], **self.hints, **more})
        return 200, {"jsonrpc": "2.0", "id": message["id"], "result": result}


@pytest.mark.anyio
@pytest.mark.requirement(
    "server/utilities/pagination/opaque",
    "server/utilities/pagination/empty-cursor",
    "server/utilities/pagination/not-persisted",
    "server/utilities/pagination/page-size",
)
async def test_cursors_go_back_as_they_came_and_no_further() -> None:
    cursors = ["", " ", "null", '{"offset": 3}', "ü\u2028\0", "x" * 5000]
    pages = Pages(*cursors)
    async with http_server(pages) as url:
        for _ in range(2):
            async with connect(url) as client:
                assert len(await client.tools()) == len(cursors) + 1
    assert pages.asked == [None, *cursors] * 2


@pytest.mark.requirement("server/utilities/caching/hints", "server/utilities/caching/scope-same")
@pytest.mark.parametrize("scope", ["public", "private"])
@pytest.mark.parametrize("list", ["tools", "prompts", "resources"])
def test_every_page_of_a_list_has_the_same_hints(list: str, scope: Any) -> None:
    server = Server("s", page_size=2, list_ttl_ms=7, list_cache_scope=scope)
    for number in range(5):
        server.add_tool(lambda: "x", f"t{number}")
        server.add_prompt(lambda: "x", f"p{number}")
        server.add_resource(f"test://{number}", "x")
    params: dict[str, str] = {}
    hints = []
    while True:
        result = ask(server, f"{list}/list", params)
        hints.append((result["ttlMs"], result["cacheScope"]))
        if "nextCursor" not in result:
            break
        params = {"cursor": result["nextCursor"]}
    assert hints == [(7, scope)] * 3


@pytest.mark.requirement("server/utilities/caching/hints")
def test_templates_have_hints() -> None:
    result = ask(Server("s", list_ttl_ms=7), "resources/templates/list")
    assert (result["ttlMs"], result["cacheScope"]) == (7, "public")


@pytest.mark.anyio
@pytest.mark.requirement("basic/patterns/subscriptions/acknowledged-checked")
async def test_what_a_server_does_not_honour_is_told() -> None:
    server = Server("s")
    server.add_tool(lambda: "x", "t")
    async with (
        connect(server) as client,
        client.listen(tools=True, prompts=True, uris=["test://x"]) as changes,
    ):
        assert changes.filter == SubscriptionFilter(tools_list_changed=True)
