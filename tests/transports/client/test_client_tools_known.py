"""What a client knows of tools when it calls them: schemas, mirrored arguments, a list too late."""

import logging
from typing import Any

import anyio
import pytest
from msgspec import Struct

from mcpcore.errors import InvalidResponse, PeerError
from mcpcore.service import Server
from mcpcore.spec.errors import HEADER_MISMATCH, INTERNAL_ERROR, LocalProtocolError
from mcpcore.spec.revisions import REVISIONS
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from tests.transports.scripted import DISCOVERY, child, greeting, http_server, modern

pytestmark = pytest.mark.anyio

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
STRUCTURED = [row.name for row in REVISIONS if row.structured_content]


class Scripted:
    """Answers each method with its reply; ``asked`` lists the methods that arrived."""

    def __init__(self, **replies: dict[str, Any]) -> None:
        self.replies = {name.replace("_", "/"): reply for name, reply in replies.items()}
        self.asked: list[str] = []

    def __call__(self, message: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        method = message["method"]
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if method == "server/discover":
            return 200, {**reply, "result": DISCOVERY}
        self.asked.append(method)
        told = self.replies[method]
        return (400 if "error" in told else 200), {**reply, **told}


def error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def listed(*tools: dict[str, Any], ttl: int = 0) -> dict[str, Any]:
    return {"result": modern({"tools": list(tools), "ttlMs": ttl, "cacheScope": "private"})}


def returned(**structured: Any) -> dict[str, Any]:
    return {"result": modern({"content": [], "structuredContent": structured})}


EMPTY = {"result": modern({"content": []})}
FAILED = {"result": modern({"content": [], "structuredContent": {}, "isError": True})}


# Structured results of tools that were never listed


@pytest.mark.parametrize("name", STRUCTURED)
async def test_the_tools_are_listed_once_for_the_sake_of_a_result(name: str) -> None:
    replies = {
        "initialize": greeting(name),
        "tools/call": [returned(n=1), returned(n="no"), returned(n=2)],
        "tools/list": [listed({"name": "t", "inputSchema": {}, "outputSchema": NUMBER}), "exit"],
    }
    async with connect(child(replies), revision=name) as client:
        assert (await client.call_tool("t")).structured_content == {"n": 1}
        with pytest.raises(InvalidResponse, match="breaks its schema: n: expected integer"):
            await client.call_tool("t")
        assert (await client.call_tool("t")).structured_content == {"n": 2}
        assert (await client.call_tool("not in the list")).structured_content == {"n": 2}


@pytest.mark.parametrize(
    ("settings", "reply", "asked"),
    [
        (ClientSettings(look_up_tools=False), returned(n="no"), ["tools/call"] * 2),
        (ClientSettings(check_output=False), returned(n="no"), ["tools/call"] * 2),
        (None, EMPTY, ["tools/call"] * 2),
        (None, FAILED, ["tools/call"] * 2),
        (None, returned(n="no"), ["tools/call", "tools/list", "tools/call"]),
    ],
)
async def test_when_there_is_nothing_to_look_up(
    settings: ClientSettings | None,
    reply: dict[str, Any],
    asked: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Scripted(tools_call=reply, tools_list=error(INTERNAL_ERROR, "list broken"))
    async with http_server(server) as url, connect(url, settings=settings) as client:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):  # what came is good even if the list is not
                result = await client.call_tool("t")
                assert result.structured_content in (None, {}, {"n": "no"})
    assert server.asked == asked
    warned = [record.message for record in caplog.records if "is not checked" in record.message]
    assert len(warned) == asked.count("tools/list")


class Number(Struct):
    n: int


class Words(Struct):
    n: str


async def test_a_list_that_has_changed_is_looked_up_again() -> None:
    server = Server("s", version="1")

    def number() -> Number:
        return Number(1)

    def words() -> Words:
        return Words("one")

    server.add_tool(number, "tool")
    async with connect(server, revision="2025-11-25") as client:
        assert (await client.call_tool("tool")).structured_content == {"n": 1}
        server.remove_tool("tool")
        server.add_tool(words, "tool")
        assert (await client.call_tool("tool")).structured_content == {"n": "one"}


# Mirrored arguments


@pytest.mark.parametrize(("value", "fits"), [(2**53 - 1, True), (2**53, False), (-(10**30), False)])
async def test_integers_that_no_header_can_carry(value: int, fits: bool) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}}
    server = Scripted(tools_call=EMPTY, tools_list=listed({"name": "t", "inputSchema": schema}))
    async with http_server(server) as url, connect(url) as client:
        await client.tools()
        if fits:
            await client.call_tool("t", {"n": value})
        else:
            with pytest.raises(LocalProtocolError, match=r"arguments\.n cannot be mirrored .*-N: "):
                await client.call_tool("t", {"n": value})
        await client.call_tool("t", {})
    assert server.asked == ["tools/list", *["tools/call"] * (1 + fits)]


async def test_a_mismatch_is_told_even_if_the_list_that_could_mend_it_fails() -> None:
    server = Scripted(
        tools_call=error(HEADER_MISMATCH, "the header is missing"),
        tools_list=error(INTERNAL_ERROR, "list broken"),
    )
    async with http_server(server) as url, connect(url) as client:
        with pytest.raises(PeerError, match="the header is missing") as caught:
            await client.call_tool("t")
    assert caught.value.code == HEADER_MISMATCH
    assert isinstance(caught.value.__cause__, PeerError)
    assert caught.value.__cause__.code == INTERNAL_ERROR
    assert server.asked == ["tools/call", "tools/list"]


# Time passes


@pytest.mark.requirement("server/utilities/caching/no-polling")
async def test_a_list_that_grows_stale_is_not_fetched_until_it_is_wanted() -> None:
    server = Scripted(tools_call=EMPTY, tools_list=listed({"name": "t", "inputSchema": {}}, ttl=1))
    async with http_server(server) as url, connect(url) as client:
        await client.tools()
        await anyio.sleep(0.01)  # many times as long as it is fresh
        await client.call_tool("t")
        assert server.asked == ["tools/list", "tools/call"]
        await client.tools()
    assert server.asked == ["tools/list", "tools/call", "tools/list"]
