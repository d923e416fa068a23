"""What a server says of itself, and how changes get about."""

import doctest
import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct

import mcpcore.service
from mcpcore.service import Server
from mcpcore.spec.capabilities import APPS_EXTENSION, SKILLS_EXTENSION, TASKS_EXTENSION
from mcpcore.spec.errors import McpError
from mcpcore.spec.types.base import Icon
from mcpcore.spec.types.resources import ResourceUpdatedParams
from tests.service.calling import ask


def declared(server: Server) -> Any:
    return msgspec.to_builtins(server.capabilities())


def test_identity() -> None:
    server = Server(
        "name",
        version="1.2",
        title="Title",
        description="D",
        website_url="https://example.com",
        icons=[Icon(src="https://example.com/i.png", mime_type="image/png")],
        instructions="Use it.",
    )
    assert msgspec.to_builtins(server.info) == {
        "name": "name",
        "version": "1.2",
        "title": "Title",
        "description": "D",
        "websiteUrl": "https://example.com",
        "icons": [{"src": "https://example.com/i.png", "mimeType": "image/png"}],
    }
    assert server.instructions == "Use it."
    plain = Server("plain")
    assert msgspec.to_builtins(plain.info) == {"name": "plain", "version": "0.0.0"}
    assert plain.instructions is None


@pytest.mark.requirement(
    "server/tools/declared",
    "server/prompts/declared",
    "server/resources/declared",
    "server/utilities/completion/declared",
    "server/utilities/logging/declared",
)
def test_capabilities_follow_what_there_is() -> None:
    server = Server("s")
    expected: dict[str, Any] = {"logging": {}}
    assert declared(server) == expected
    server.add_tool(lambda: "x", "x")
    expected["tools"] = {"listChanged": True}
    assert declared(server) == expected
    server.add_resource("t:{a}", lambda a: "x")
    expected["resources"] = {"listChanged": True, "subscribe": True}
    assert declared(server) == expected
    server.add_prompt(lambda: "x", "x")
    expected["prompts"] = {"listChanged": True}
    assert declared(server) == expected
    server.completion(prompt="x")(lambda typed: [])
    expected["completions"] = {}
    assert declared(server) == expected
    other = Server("s")
    other.add_resource("t:a", "x")
    assert set(declared(other)) == {"logging", "resources"}


def test_extensions_stand_beside_each_other() -> None:
    server = Server("s", extensions={"com.example/x": {}})
    server.add_tool(lambda: "x", "x", task="optional", app="ui://x")
    server.add_skills({"a/SKILL.md": b"---\nname: a\ndescription: b\n---\n"})
    names = set(declared(server)["extensions"])
    assert names == {"com.example/x", TASKS_EXTENSION, SKILLS_EXTENSION, APPS_EXTENSION}


def test_capabilities_that_are_asked_for() -> None:
    server = Server(
        "s",
        offers=["tools", "resources", "prompts", "completions"],
        list_changed=False,
        subscribe=False,
        logging=False,
        extensions={"com.example/x": {"y": 1}},
        experimental={"z": {}},
    )
    assert declared(server) == {
        "tools": {},
        "resources": {},
        "prompts": {},
        "completions": {},
        "extensions": {"com.example/x": {"y": 1}},
        "experimental": {"z": {}},
    }


@pytest.mark.requirement("server/utilities/caching/ttl-not-negative")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"page_size": 0}, "page_size must be a whole number of at least 1, got 0"),
        ({"page_size": float("nan")}, "page_size must be a whole number"),
        ({"page_size": 2.5}, "page_size must be a whole number"),
        ({"max_uri": 0}, "max_uri must be a whole number"),
        ({"list_ttl_ms": float("nan")}, "ttl_ms must be finite"),
        ({"read_ttl_ms": float("inf")}, "ttl_ms must be finite"),
        ({"list_ttl_ms": -1}, "ttl_ms"),
        ({"read_ttl_ms": -1}, "ttl_ms"),
        ({"list_cache_scope": "all"}, "cache scope"),
        ({"read_cache_scope": "all"}, "cache scope"),
        ({"offers": ["tool"]}, "offers: 'tool' is none of tools, resources"),
        ({"icons": ["javascript:x"]}, "icon"),
    ],
)
def test_bad_settings(settings: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Server("s", **settings)


CHANGES: list[tuple[str, Callable[[Server], None]]] = [
    ("tools", lambda server: server.add_tool(lambda: "x", "t")),
    ("tools", lambda server: server.add_tool(lambda: "x", "t", replace=True)),
    ("tools", lambda server: server.remove_tool("t")),
    ("resources", lambda server: server.add_resource("t:x", "x")),
    ("resources", lambda server: server.add_resource("t:{x}", lambda x: "x")),
    ("resources", lambda server: server.remove_resource("t:x")),
    ("resources", lambda server: server.remove_resource("t:{x}")),
    ("prompts", lambda server: server.add_prompt(lambda: "x", "p")),
    ("prompts", lambda server: server.remove_prompt("p")),
]


def test_changes() -> None:
    server = Server("s")
    seen: list[tuple[str, Struct | None]] = []
    again: list[str] = []

    def watcher(method: str, params: Struct | None) -> None:
        seen.append((method, params))

    def once(method: str, params: Struct | None) -> None:
        again.append(method)
        server.unwatch(once)

    server.watch(once)
    server.watch(watcher)
    for kind, change in CHANGES:
        notification = f"notifications/{kind}/list_changed"
        change(server)
        assert seen.pop() == (notification, None)
        assert seen == []
    assert again == ["notifications/tools/list_changed"]
    with pytest.raises(KeyError):
        server.remove_tool("t")
    assert seen == []
    server.resource_updated("t:x")
    assert seen == [("notifications/resources/updated", ResourceUpdatedParams(uri="t:x"))]
    server.unwatch(watcher)
    server.unwatch(watcher)
    server.resource_updated("t:x")
    assert len(seen) == 1


def test_no_changes_are_told_that_are_not_declared() -> None:
    server = Server("s", list_changed=False)
    seen: list[str] = []
    server.watch(lambda method, params: seen.append(method))
    server.add_tool(lambda: "x", "t")
    server.resource_updated("t:x")
    assert seen == ["notifications/resources/updated"]


@pytest.mark.requirement("server/tools/name-unique")
@pytest.mark.parametrize(
    ("kind", "key", "method", "gone"),
    [
        ("tool", "x", "tools/call", "Unknown tool: x"),
        ("prompt", "x", "prompts/get", "Unknown prompt: x"),
        ("resource", "t:x", "resources/read", "Resource not found"),
        ("resource", "t:{+a}", "resources/read", "Resource not found"),
    ],
)
def test_names_are_unique(kind: str, key: str, method: str, gone: str) -> None:
    server = Server("s")

    def add(text: str, **options: Any) -> None:
        if kind == "resource":
            server.add_resource(key, (lambda a: text) if "{" in key else text, **options)
        else:
            getattr(server, f"add_{kind}")(lambda: text, key, **options)

    params = {"uri": "t:x"} if kind == "resource" else {"name": key}
    add("first")
    with pytest.raises(ValueError, match=f"{kind}.* {re.escape(repr(key))} is declared already"):
        add("second")
    assert "first" in str(ask(server, method, params))
    add("second", replace=True)
    assert "second" in str(ask(server, method, params))
    remove = getattr(server, f"remove_{kind}")
    remove(key)
    with pytest.raises(McpError, match=gone):
        ask(server, method, params)
    with pytest.raises(KeyError, match=f"there is no {kind}.* {re.escape(repr(key))}"):
        remove(key)


MODULES = [module.name for module in pkgutil.iter_modules(mcpcore.service.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_work(name: str) -> None:
    module = importlib.import_module(f"mcpcore.service.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    module = importlib.import_module("mcpcore.service.server")
    assert sum(len(test.examples) for test in finder.find(module)) >= 5


@pytest.mark.parametrize("kind", ["tool", "prompt"])
def test_names_of_decorated_functions(kind: str) -> None:
    server = Server("x")
    declare = getattr(server, kind)

    def given() -> str:
        """Says hello."""
        return "hello"

    declare(given)
    declare(given, name="named")
    declare("positional")(given)
    declare(name="keyword")(given)
    for name in ("given", "named", "positional", "keyword"):
        with pytest.raises(ValueError, match=name):
            declare(name=name)(given)
