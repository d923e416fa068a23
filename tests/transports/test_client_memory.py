"""What a client remembers: results for as long as allowed, tools up to a limit."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from mcpcore.spec.types.tools import Tool
from transports.client_cache import ResultCache
from transports.client_tools import ToolBook


def result(ttl: Any) -> Raw:
    return Raw(msgspec.json.encode({"ttlMs": ttl, "tools": []}))


@pytest.mark.requirement(
    "server/utilities/caching/ttl-positive", "server/utilities/caching/stale-fetched"
)
def test_a_result_is_fresh_until_its_time_is_over() -> None:
    cache = ResultCache()
    cache.put("tools/list", None, result(1500), now=10.0)
    assert cache.get("tools/list", None, now=11.4) == result(1500)
    assert cache.get("tools/list", None, now=11.5) is None
    assert len(cache) == 0


@pytest.mark.requirement(
    "server/utilities/caching/ttl-absent",
    "server/utilities/caching/ttl-zero",
    "server/utilities/caching/ttl-negative",
)
@pytest.mark.parametrize("hints", [{}, {"ttlMs": 0}, {"ttlMs": -1}])
def test_results_without_a_time_are_not_kept(hints: dict[str, Any]) -> None:
    cache = ResultCache()
    cache.put("tools/list", None, Raw(msgspec.json.encode(hints)), now=0.0)
    assert len(cache) == 0


@pytest.mark.requirement("server/utilities/caching/key")
def test_params_tell_results_apart_whatever_their_order() -> None:
    cache = ResultCache()
    cache.put("resources/read", {"uri": "a", "x": 1}, result(1000), now=0.0)
    assert cache.get("resources/read", {"x": 1, "uri": "a"}, now=0.0) is not None
    assert cache.get("resources/read", {"uri": "b", "x": 1}, now=0.0) is None
    assert cache.get("resources/list", {"uri": "a", "x": 1}, now=0.0) is None


def test_the_least_used_result_goes_first() -> None:
    cache = ResultCache(limit=2)
    for uri in ("a", "b"):
        cache.put("resources/read", {"uri": uri}, result(1000), now=0.0)
    cache.get("resources/read", {"uri": "a"}, now=0.0)
    cache.put("resources/read", {"uri": "c"}, result(1000), now=0.0)
    kept = [u for u in "abc" if cache.get("resources/read", {"uri": u}, now=0.0) is not None]
    assert kept == ["a", "c"]


@pytest.mark.parametrize(
    ("notification", "left"),
    [
        ("notifications/tools/list_changed", {"prompts/list", "resources/list", "resources/read"}),
        ("notifications/prompts/list_changed", {"tools/list", "resources/list", "resources/read"}),
        ("notifications/resources/list_changed", {"tools/list", "prompts/list", "resources/read"}),
        ("notifications/resources/updated", {"tools/list", "prompts/list", "resources/list"}),
        (
            "notifications/message",
            {"tools/list", "prompts/list", "resources/list", "resources/read"},
        ),
    ],
)
def test_notifications_make_stale_what_they_concern(notification: str, left: set[str]) -> None:
    cache = ResultCache()
    methods = ("tools/list", "prompts/list", "resources/list", "resources/read")
    for method in methods:
        cache.put(method, None, result(1000), now=0.0)
    cache.notified(notification)
    assert {m for m in methods if cache.get(m, None, now=0.0) is not None} == left


def test_a_refused_cursor_drops_all_pages() -> None:
    cache = ResultCache()
    cache.put("tools/list", None, result(1000), now=0.0)
    cache.put("tools/list", {"cursor": "2"}, result(1000), now=0.0)
    cache.put("prompts/list", None, result(1000), now=0.0)
    cache.drop("tools/list")
    assert len(cache) == 1


def tool(name: str, header: Any = None) -> Tool:
    rules = {"type": "string"} if header is None else {"type": "string", "x-mcp-header": header}
    return Tool(name=name, input_schema={"type": "object", "properties": {"a": rules}})


def test_tools_are_remembered_up_to_a_limit() -> None:
    headers: dict[str, Any] = {}
    book = ToolBook(headers, strict=True, compile_schema=None, limit=2)
    assert len(book.learn([tool("a", "A"), tool("b", "B"), tool("c", "C")])) == 3
    assert headers == {"b": {"B": ("a",)}, "c": {"C": ("a",)}}


def test_a_tool_that_turned_bad_is_forgotten() -> None:
    headers: dict[str, Any] = {}
    book = ToolBook(headers, strict=True, compile_schema=None)
    book.learn([tool("a", "A")])
    assert book.learn([tool("a", "")]) == []
    assert headers == {}
