"""What a client remembers: results for as long as allowed, tools up to a limit."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from mcpcore.spec.revisions import LATEST, REVISIONS, Revision
from mcpcore.spec.types.tools import CallToolResult, Tool
from mcpcore_transports.client.cache import ResultCache, ServerCache, ToolBook
from mcpcore_transports.targets import HttpTarget, StdioTarget, Target, WebSocketTarget

HTTP = HttpTarget("http://x.test/mcp")


def server(
    cache: ResultCache | None = None,
    target: Target = HTTP,
    headers: dict[str, str] | None = None,
    revision: Revision = LATEST,
    meta: dict[str, Any] | None = None,
) -> ServerCache:
    shared = ResultCache() if cache is None else cache
    return shared.connect(target, headers or {}, revision, meta)


def result(ttl: Any, scope: Any = "private", tools: Any = ()) -> Raw:
    return Raw(msgspec.json.encode({"ttlMs": ttl, "cacheScope": scope, "tools": tools}))


def put(cache: ServerCache, method: str, params: Any = None, *, kept: Raw | None = None) -> None:
    cache.put(method, params, kept or result(1000), cache.mark(method), now=0.0)


def kept(cache: ServerCache, method: str, params: Any = None) -> bool:
    return cache.get(method, params, now=0.0) is not None


@pytest.mark.requirement(
    "server/utilities/caching/ttl-positive", "server/utilities/caching/stale-fetched"
)
def test_a_result_is_fresh_until_its_time_is_over() -> None:
    shared = ResultCache()
    cache = server(shared)
    cache.put("tools/list", None, result(1500), 0, now=10.0)
    kept_one = cache.get("tools/list", None, now=11.4)
    assert kept_one is not None
    assert kept_one.result == result(1500)
    assert cache.get("tools/list", None, now=11.5) is None
    assert len(shared) == 0


def test_of_servers_whose_results_became_stale_not_more_are_known_than_results() -> None:
    """... and what was on its way meanwhile is not kept, known or not."""
    shared = ResultCache(limit=3)
    caches = [server(shared, HttpTarget(f"http://{number}.test/mcp")) for number in range(9)]
    marks = [cache.mark("tools/list") for cache in caches]
    for cache in caches:
        cache.drop("tools/list")
    assert len(shared._changes) == 3
    for cache, mark in zip(caches, marks, strict=True):
        cache.put("tools/list", None, result(1000), mark, now=0.0)
        assert not kept(cache, "tools/list")
    for cache in caches:
        put(cache, "tools/list")
        assert kept(cache, "tools/list")


@pytest.mark.requirement("server/utilities/caching/page-again")
def test_pages_expire_one_by_one() -> None:
    cache = server()
    cache.put("tools/list", None, result(1000), 0, now=0.0)
    cache.put("tools/list", {"cursor": ""}, result(5000), 0, now=0.5)
    assert cache.get("tools/list", None, now=2.0) is None
    assert cache.get("tools/list", {"cursor": ""}, now=2.0) is not None


@pytest.mark.requirement(
    "server/utilities/caching/ttl-absent",
    "server/utilities/caching/ttl-zero",
    "server/utilities/caching/ttl-negative",
)
@pytest.mark.parametrize(
    "hints",
    [
        b"{}",
        *(
            b'{"ttlMs":%s}' % ttl
            for ttl in (b"0", b"-1", b"-1e300", b"-1" + b"0" * 400, b"-9223372036854775809")
        ),
        b'{"ttlMs":"soon"}',
        b'{"ttlMs":true}',
    ],
    ids=lambda hints: hints[:20].decode(),
)
def test_results_without_a_time_are_not_kept(hints: bytes) -> None:
    shared = ResultCache()
    put(server(shared), "tools/list", kept=Raw(hints))
    assert len(shared) == 0


@pytest.mark.parametrize("ttl", [b"1" + b"0" * 400, b"9223372036854775808", b"1e300", b"86400001"])
def test_no_result_is_fresh_for_longer_than_the_setting_says(ttl: bytes) -> None:
    cache = server(ResultCache(longest=60.0))
    cache.put("tools/list", None, Raw(b'{"ttlMs":%s}' % ttl), 0, now=0.0)
    assert cache.get("tools/list", None, now=59.9) is not None
    assert cache.get("tools/list", None, now=60.1) is None


def test_a_result_that_is_no_longer_to_be_kept_makes_way_for_nothing() -> None:
    cache = server()
    put(cache, "tools/list")
    put(cache, "tools/list", kept=result(0))
    assert not kept(cache, "tools/list")


@pytest.mark.requirement("server/utilities/caching/key")
def test_params_tell_results_apart_whatever_their_order() -> None:
    cache = server()
    put(cache, "resources/read", {"uri": "a", "x": 1})
    assert kept(cache, "resources/read", {"x": 1, "uri": "a"})
    assert not kept(cache, "resources/read", {"uri": "b", "x": 1})
    assert not kept(cache, "resources/list", {"uri": "a", "x": 1})


def test_the_least_used_result_goes_first() -> None:
    cache = server(ResultCache(limit=2))
    for uri in ("a", "b"):
        put(cache, "resources/read", {"uri": uri})
    assert kept(cache, "resources/read", {"uri": "a"})
    put(cache, "resources/read", {"uri": "c"})
    assert [u for u in "abc" if kept(cache, "resources/read", {"uri": u})] == ["a", "c"]


def test_results_take_up_no_more_room_than_allowed() -> None:
    size = len(result(1000))
    shared = ResultCache(size=2 * size)
    cache = server(shared)
    for uri in ("a", "b", "c", "c"):
        put(cache, "resources/read", {"uri": uri})
    assert len(shared) == 2
    put(cache, "resources/read", {"uri": "d"}, kept=result(1000, tools=["x" * 2 * size]))
    assert len(shared) == 2
    assert not kept(cache, "resources/read", {"uri": "d"})


@pytest.mark.parametrize("options", [{"limit": 0}, {"size": 0}, {"longest": -1.0}])
def test_a_cache_without_room(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="room"):
        ResultCache(**options)


METHODS = (
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)


@pytest.mark.parametrize(
    ("notification", "stale"),
    [
        ("notifications/tools/list_changed", {"tools/list"}),
        ("notifications/prompts/list_changed", {"prompts/list"}),
        (
            "notifications/resources/list_changed",
            {"resources/list", "resources/templates/list"},
        ),
        ("notifications/resources/updated", {"resources/read"}),
        ("notifications/message", set()),
    ],
)
def test_notifications_make_stale_what_they_concern(notification: str, stale: set[str]) -> None:
    cache, other = ResultCache(), HttpTarget("http://y.test/mcp")
    ours, theirs = server(cache), server(cache, other)
    for method in METHODS:
        put(ours, method)
        put(theirs, method)
    ours.notified(notification)
    assert {method for method in METHODS if not kept(ours, method)} == stale
    assert all(kept(theirs, method) for method in METHODS)


def test_a_refused_cursor_drops_all_pages() -> None:
    shared = ResultCache()
    cache = server(shared)
    put(cache, "tools/list")
    put(cache, "tools/list", {"cursor": "2"})
    put(cache, "prompts/list")
    cache.drop("tools/list")
    assert len(shared) == 1


ADA, BOB = {"Authorization": "Bearer ada"}, {"authorization": "Bearer bob"}


@pytest.mark.requirement("server/utilities/caching/private-not-shared")
@pytest.mark.parametrize(
    ("scope", "headers", "target", "revision", "shared"),
    [
        ("public", BOB, HTTP, LATEST, True),
        ("private", BOB, HTTP, LATEST, False),
        ("private", {}, HTTP, LATEST, False),
        ("private", {"authorization": "Bearer ada"}, HTTP, LATEST, True),
        ("everybody", BOB, HTTP, LATEST, False),
        (None, BOB, HTTP, LATEST, False),
        ("public", ADA, HttpTarget("http://x.test/other"), LATEST, False),
        ("public", ADA, WebSocketTarget("ws://x.test/mcp"), LATEST, False),
        ("public", ADA, HTTP, REVISIONS[0], False),
    ],
)
def test_who_shares_what(
    scope: Any, headers: dict[str, str], target: Target, revision: Revision, shared: bool
) -> None:
    cache = ResultCache()
    put(server(cache, headers=ADA), "tools/list", kept=result(1000, scope))
    assert kept(server(cache, target, headers, revision), "tools/list") is shared


@pytest.mark.parametrize(
    ("meta", "shared"), [({"a/b": 1, "a/c": 2}, True), ({"a/b": 2}, False), (None, False)]
)
def test_requests_with_other_metadata_are_other_requests(meta: Any, shared: bool) -> None:
    cache = ResultCache()
    put(server(cache, meta={"a/c": 2, "a/b": 1}), "tools/list", kept=result(1000, "public"))
    assert kept(server(cache, meta=meta), "tools/list") is shared


def test_a_server_without_an_address_has_no_other_clients() -> None:
    cache = ResultCache()
    target = StdioTarget(("server",))
    put(server(cache, target), "tools/list", kept=result(1000, "public"))
    assert not kept(server(cache, target), "tools/list")


def tool(name: str, header: Any = None) -> Tool:
    rules = {"type": "string"} if header is None else {"type": "string", "x-mcp-header": header}
    return Tool(name=name, input_schema={"type": "object", "properties": {"a": rules}})


def test_tools_are_remembered_up_to_a_limit() -> None:
    headers: dict[str, Any] = {}
    book = ToolBook(headers, strict=True, compile_schema=None, limit=2)
    assert len(book.learn([tool("a", "A"), tool("b", "B"), tool("c", "C")])) == 3
    assert headers == {"b": {"B": ("a",)}, "c": {"C": ("a",)}}


def test_an_unknown_tool_is_worth_one_list_until_the_list_changes() -> None:
    book = ToolBook({}, strict=True, compile_schema=lambda schema: lambda value: [])
    result = CallToolResult(content=[], structured_content={})
    assert [book.unknown("a", result), book.unknown("b", result)] == [True, False]
    book.outdated("notifications/prompts/list_changed")
    assert not book.unknown("a", result)
    book.outdated("notifications/tools/list_changed")
    book.learn([tool("a")])
    assert [book.unknown("a", result), book.unknown("b", result)] == [False, True]
    never = ToolBook({}, strict=True, compile_schema=lambda schema: lambda value: [], look_up=False)
    never.outdated("notifications/tools/list_changed")
    assert not never.unknown("a", result)


def test_a_schema_is_compiled_again_only_when_it_has_changed() -> None:
    compiled: list[Any] = []

    def compile_schema(schema: Any) -> Any:
        compiled.append(schema)
        return lambda value: []

    book = ToolBook({}, strict=True, compile_schema=compile_schema)
    result = CallToolResult(content=[], structured_content={})
    first, second = {"type": "object"}, {"type": "object", "properties": {}}
    for schema in (first, dict(first), second, None, second):
        book.learn([Tool(name="a", input_schema={}, output_schema=schema)])
        book.check("a", result)
    assert compiled == [first, second, second]


def test_a_tool_that_turned_bad_is_forgotten() -> None:
    headers: dict[str, Any] = {}
    book = ToolBook(headers, strict=True, compile_schema=None)
    book.learn([tool("a", "A")])
    assert book.learn([tool("a", "")]) == []
    assert headers == {}
