"""server/utilities/caching: what a client keeps, and for whom."""

from typing import Any

import pytest

from mcpcore.errors import PeerError
from mcpcore.service import Server
from mcpcore.spec.types.client_features import Root
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.server.context import Context
from tests.transports.scripted import DISCOVERY, http_server, modern

pytestmark = pytest.mark.anyio

CACHING = ClientSettings(cache=True)


@pytest.mark.requirement("server/utilities/caching/retries-not-cached")
async def test_what_needed_input_is_not_kept() -> None:
    server = Server("s", read_ttl_ms=60_000, read_cache_scope="public")
    runs: list[str] = []

    @server.resource("test://plain")
    async def plain() -> str:
        runs.append("plain")
        return "x"

    @server.resource("test://asking")
    async def asking(context: Context) -> str:
        found: list[Root] = await context.list_roots()
        runs.append("asking")
        return found[0].uri

    callbacks = Callbacks(roots=["file:///r"])
    async with connect(server, callbacks=callbacks, settings=CACHING) as client:
        for _ in range(2):
            await client.read_resource("test://plain")
            await client.read_resource("test://asking")
    assert runs == ["plain", "asking", "asking"]


class Shelf:
    """Two pages of tools; ``asked`` lists the cursors that arrived."""

    def __init__(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        self.pages: dict[str | None, dict[str, Any]] = {
            None: {"tools": [], "nextCursor": "2", **first},
            "2": {"tools": [], **second},
        }
        self.refuse = False
        self.asked: list[str | None] = []

    def __call__(self, message: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        reply = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "server/discover":
            return 200, {**reply, "result": DISCOVERY}
        cursor = message["params"].get("cursor")
        self.asked.append(cursor)
        if self.refuse and cursor is not None:
            return 400, {**reply, "error": {"code": -32602, "message": "stale cursor"}}
        return 200, {**reply, "result": modern(self.pages[cursor])}


FRESH = {"ttlMs": 60_000, "cacheScope": "private"}
STALE = {"ttlMs": 0, "cacheScope": "private"}


@pytest.mark.requirement("server/utilities/caching/page-again")
async def test_a_stale_page_is_fetched_by_its_cursor() -> None:
    shelf = Shelf(FRESH, STALE)
    async with http_server(shelf) as url, connect(url, settings=CACHING) as client:
        for _ in range(3):
            await client.tools()
    assert shelf.asked == [None, "2", "2", "2"]


@pytest.mark.requirement("server/utilities/caching/snapshot")
async def test_a_whole_list_is_fetched_from_its_beginning() -> None:
    shelf = Shelf(STALE, STALE)
    async with http_server(shelf) as url, connect(url, settings=CACHING) as client:
        await client.list_tools("2")
        for _ in range(2):
            await client.tools()
    assert shelf.asked == ["2", None, "2", None, "2"]


@pytest.mark.requirement("server/utilities/caching/cursor-invalid")
async def test_a_refused_cursor_makes_the_list_begin_anew() -> None:
    shelf = Shelf(FRESH, STALE)
    async with http_server(shelf) as url, connect(url, settings=CACHING) as client:
        await client.tools()
        shelf.refuse = True
        with pytest.raises(PeerError, match="stale cursor"):
            await client.tools()
        shelf.refuse = False
        await client.tools()
    # What was kept of the first page counts no more: it is fetched anew, once, and once again.
    assert shelf.asked == [None, "2", "2", None, "2", None, "2"]


@pytest.mark.requirement("server/utilities/caching/private-not-shared")
async def test_clients_share_nothing_that_is_kept() -> None:
    shelf = Shelf(FRESH, FRESH)
    async with http_server(shelf) as url:
        for token in ("a", "b"):
            headers = {"authorization": f"Bearer {token}"}
            async with connect(url, headers=headers, settings=CACHING) as client:
                await client.tools()
                await client.tools()
    assert shelf.asked == [None, "2"] * 2
