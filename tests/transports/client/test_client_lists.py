"""Lists as a client gets them: all pages, no icons that must not be shown, kept where allowed."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from mcpcore.errors import ConnectionClosed, InvalidResponse, PeerError
from mcpcore.service import Server
from mcpcore.spec.types.base import Icon
from mcpcore.spec.types.content import ResourceLink
from mcpcore.spec.types.prompts import PromptReference
from mcpcore_transports.client.cache import ResultCache
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from tests.transports.scripted import DISCOVERY, child, http_server, modern

pytestmark = pytest.mark.anyio

SAFE, UNSAFE = {"src": "https://x.test/i.png"}, {"src": "javascript:alert(1)"}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


class Pages:
    """Serves ``tools/list`` by cursor; ``asked`` lists the cursors that arrived."""

    def __init__(self, pages: Callable[[str | None], dict[str, Any]]) -> None:
        self.pages = pages
        self.asked: list[str | None] = []

    def __call__(self, message: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "server/discover":
            return 200, {**reply, "result": DISCOVERY}
        cursor = message["params"].get("cursor")
        self.asked.append(cursor)
        page = self.pages(cursor)
        return 200, {**reply, **(page if "error" in page else {"result": modern(page)})}


# Pages


@pytest.mark.requirement("server/utilities/pagination/empty-cursor")
async def test_any_cursor_is_followed_that_is_not_null() -> None:
    found: dict[str | None, dict[str, Any]] = {
        None: {"tools": [tool("a")], "nextCursor": ""},
        "": {"tools": [tool("b")], "nextCursor": None},
    }
    pages = Pages(found.__getitem__)
    async with http_server(pages) as url, connect(url) as client:
        assert [each.name for each in await client.tools()] == ["a", "b"]
    assert pages.asked == [None, ""]


@pytest.mark.parametrize(
    ("following", "max_pages", "told"),
    [
        ({None: "1", "1": "2", "2": "1"}, 1000, "lead back to the cursor '1'"),
        ({None: "x", "x": "xx", "xx": "xxx"}, 3, "the limit is 3"),
    ],
    ids=["in a circle", "too many"],
)
async def test_pages_do_not_end(
    following: dict[str | None, str], max_pages: int, told: str
) -> None:
    pages = Pages(lambda cursor: {"tools": [], "nextCursor": following[cursor]})
    settings = ClientSettings(max_pages=max_pages)
    async with http_server(pages) as url, connect(url, settings=settings) as client:
        with pytest.raises(InvalidResponse, match=told):
            await client.tools()
    assert pages.asked == list(following)


@pytest.mark.requirement("server/utilities/caching/cursor-invalid")
@pytest.mark.parametrize("cache", [True, False])
async def test_a_refused_cursor_is_answered_by_a_new_beginning(cache: bool) -> None:
    refusals = ["1"]
    hints = {"ttlMs": 60_000, "cacheScope": "public"}

    def page(cursor: str | None) -> dict[str, Any]:
        if cursor in refusals:
            refusals.remove(cursor)
            return {"error": {"code": -32602, "message": "no such cursor"}}
        if cursor is None:
            return {"tools": [tool("a")], "nextCursor": "1", **hints}
        return {"tools": [tool("b")], **hints}

    pages = Pages(page)
    settings = ClientSettings(cache=cache)
    async with http_server(pages) as url, connect(url, settings=settings) as client:
        assert [each.name for each in await client.tools()] == ["a", "b"]
    assert pages.asked == [None, "1", None, "1"]


async def test_a_list_that_is_refused_is_asked_for_once() -> None:
    pages = Pages(lambda cursor: {"error": {"code": -32602, "message": "no"}})
    async with http_server(pages) as url, connect(url) as client:
        with pytest.raises(PeerError, match="no"):
            await client.tools()
    assert pages.asked == [None]


# What is kept


async def test_what_is_fresh_is_not_asked_for_again() -> None:
    pages = Pages(lambda cursor: {"tools": [], "ttlMs": 60_000, "cacheScope": "private"})
    async with http_server(pages) as url:
        async with connect(url) as client:
            await client.request("tools/list", None, meta={"com.example/k": 1})
            await client.tools()
            await client.tools()
            assert len(pages.asked) == 2, "its metadata made the first one another request"
            await client.request("tools/list", None, meta={"com.example/k": 1})
            assert len(pages.asked) == 3, "metadata is for the server"
        with pytest.raises(ConnectionClosed):
            await client.tools()
        async with connect(url, settings=ClientSettings(cache=False)) as client:
            await client.tools()
            await client.tools()
    assert len(pages.asked) == 5


@pytest.mark.requirement("server/utilities/caching/private-not-shared")
@pytest.mark.parametrize(("scope", "asked"), [("public", 1), ("private", 2)])
async def test_clients_may_share_a_cache(scope: str, asked: int) -> None:
    pages = Pages(lambda cursor: {"tools": [], "ttlMs": 60_000, "cacheScope": scope})
    settings = ClientSettings(cache=ResultCache())
    async with http_server(pages) as url:
        for user in ("ada", "bob", "ada"):
            headers = {"authorization": f"Bearer {user}"}
            async with connect(url, headers=headers, settings=settings) as client:
                await client.tools()
    assert len(pages.asked) == asked


# Icons


@pytest.mark.requirement("basic/index/icon-schemes")
async def test_icons_that_must_not_be_shown_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    icons = [SAFE, UNSAFE]
    link = {"type": "resource_link", "uri": "t:x", "name": "link", "icons": [UNSAFE]}
    replies = {
        "server/discover": {
            **DISCOVERY,
            "_meta": {
                "io.modelcontextprotocol/serverInfo": {
                    "name": "server",
                    "version": "1",
                    "icons": icons,
                }
            },
        },
        "tools/list": {"tools": [tool("tool", icons=icons), tool("plain")]},
        "tools/call": {"content": [{"type": "text", "text": "x"}, link]},
        "prompts/list": {"prompts": [{"name": "prompt", "icons": icons}]},
        "prompts/get": {"messages": [{"role": "user", "content": link}]},
        "resources/list": {"resources": [{"uri": "t:x", "name": "resource", "icons": icons}]},
        "resources/templates/list": {
            "resourceTemplates": [{"uriTemplate": "t:{x}", "name": "template", "icons": icons}]
        },
    }
    scripted = {name: {"result": modern(result)} for name, result in replies.items()}
    caplog.set_level(logging.WARNING, "mcpcore.client")
    async with connect(child(scripted)) as client:
        kept = [Icon(src="https://x.test/i.png")]
        assert client.server_info is not None
        assert client.server_info.icons == kept
        tools = await client.tools()
        assert (tools[0].icons, tools[1].icons) == (kept, [])
        assert (await client.prompts())[0].icons == kept
        assert (await client.resources())[0].icons == kept
        assert (await client.resource_templates())[0].icons == kept
        for block in (
            (await client.call_tool("tool")).content[1],
            (await client.get_prompt("prompt")).messages[0].content,
        ):
            assert isinstance(block, ResourceLink)
            assert block.icons == []
    for name in ("server", "tool", "prompt", "resource", "template", "link"):
        assert f"icons of {name!r} are left out" in caplog.text
    assert "'plain'" not in caplog.text


# Completion


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("2024-11-05", {}),
        ("2025-03-26", {}),
        ("2025-06-18", {"b": "x"}),
        ("2026-07-28", {"b": "x"}),
    ],
)
async def test_the_context_of_a_completion_is_told_where_it_can_be(
    revision: str, told: dict[str, str]
) -> None:
    server = Server("s")
    heard: list[dict[str, str]] = []

    @server.prompt
    def ask(a: str, b: str) -> str:
        return a + b

    @server.completion(prompt="ask", argument="a")
    def complete(typed: str, arguments: dict[str, str]) -> list[str]:
        heard.append(arguments)
        return []

    async with connect(server, revision=revision) as client:
        await client.complete(PromptReference(name="ask"), "a", "", known={"b": "x"})
    assert heard == [told]
