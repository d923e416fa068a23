"""A server that is mounted in another one: its features under a prefix, now and later."""

from typing import Annotated, Any

import pytest
from msgspec import Raw

from mcpcore.service import Server, mirrored
from mcpcore.spec.errors import Forbidden, McpError
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.content import ResourceLink, TextContent
from mcpcore.spec.types.tools import CallToolResult
from tests.service.calling import ask


def notes() -> Server:
    server = Server("notes")

    @server.tool
    def add(text: str, region: Annotated[str, mirrored("Region")] = "eu") -> CallToolResult:
        link = ResourceLink(uri="note:1", name="one")
        elsewhere = ResourceLink(uri="https://example.com", name="elsewhere")
        return CallToolResult(content=[TextContent(text=text), link, elsewhere])

    server.add_tool(lambda: "x", "hidden", visible=lambda principal: principal == "root")
    server.add_tool(lambda: "x", "scoped", scopes=["write"])
    server.add_tool(lambda: "x", "chart", meta={"ui": {"resourceUri": "ui://chart"}})
    server.add_resource("note:1", "the first")
    server.add_resource("ui://chart", "<p>")
    server.add_resource("note:{id}/text", lambda id: f"text of {id}", name="text")
    server.add_prompt(lambda topic: f"On {topic}", "explain")
    server.completion(prompt="explain", argument="topic")(lambda typed: [f"{typed}s"])
    server.completion(template="note:{id}/text", argument="id")(lambda typed: [f"{typed}1"])
    return server


def both(prefix: str = "x_") -> tuple[Server, Server]:
    inner, outer = notes(), Server("main")
    outer.add_tool(lambda: "own", "add")
    outer.mount(inner, prefix)
    return inner, outer


def keys(server: Server, principal: str | None = None) -> dict[str, list[str]]:
    methods = {
        "tools/list": ("tools", "name"),
        "resources/list": ("resources", "uri"),
        "resources/templates/list": ("resourceTemplates", "uriTemplate"),
        "prompts/list": ("prompts", "name"),
    }
    return {
        member: [item[key] for item in ask(server, method, principal=principal)[member]]
        for method, (member, key) in methods.items()
    }


def test_names_are_prefixed_and_uris_are_in_a_namespace() -> None:
    _, outer = both()
    assert keys(outer) == {
        "tools": ["add", "x_add", "x_scoped", "x_chart"],
        "resources": ["x+note:1", "ui://x+chart"],
        "resourceTemplates": ["x+note:{id}/text"],
        "prompts": ["x_explain"],
    }
    listed = {tool["name"]: tool for tool in ask(outer, "tools/list")["tools"]}
    assert listed["x_chart"]["_meta"] == {"ui": {"resourceUri": "ui://x+chart"}}
    assert outer.header_params == {"x_add": {"Region": ("region",)}}


@pytest.mark.parametrize("prefix", ["", "x", "my_notes.", "a-b__"])
def test_the_mounted_server_stays_as_it_is(prefix: str) -> None:
    inner, outer = notes(), Server("main")
    before = keys(inner)
    outer.mount(inner, prefix)
    assert keys(inner) == before
    space = {"": "", "x": "x+", "my_notes.": "my-notes+", "a-b__": "a-b+"}[prefix]
    assert keys(outer)["tools"][0] == f"{prefix}add"
    assert keys(outer)["resources"][0] == f"{space}note:1"


def test_requests_reach_the_mounted_server() -> None:
    _, outer = both()
    call = {"name": "x_add", "arguments": {"text": "hello"}}
    content = ask(outer, "tools/call", call)["content"]
    assert [block.get("uri") for block in content] == [None, "x+note:1", "https://example.com"]
    assert ask(outer, "tools/call", {"name": "add"})["content"][0]["text"] == "own"
    for uri, text in (("x+note:1", "the first"), ("x+note:7/text", "text of 7")):
        (contents,) = ask(outer, "resources/read", {"uri": uri})["contents"]
        assert (contents["uri"], contents["text"]) == (uri, text)
    with pytest.raises(McpError, match="not found"):
        ask(outer, "resources/read", {"uri": "note:1"})
    prompt = ask(outer, "prompts/get", {"name": "x_explain", "arguments": {"topic": "ants"}})
    assert prompt["messages"][0]["content"]["text"] == "On ants"


def test_structured_content_comes_through_byte_for_byte() -> None:
    inner, outer = both()
    numbers = b'{"exact":0.10000000000000000001,"large":1e999,"uri":"note:1"}'

    @inner.tool
    def measure() -> CallToolResult:
        blocks: list[Any] = [TextContent(text="see"), ResourceLink(uri="note:1", name="one")]
        return CallToolResult(content=blocks, structured_content=Raw(numbers))

    prepared = outer.prepare("tools/call", b'{"name":"x_measure"}', LATEST)
    result = bytes(prepared.finish(prepared.call(None)))
    assert b'"structuredContent":' + numbers in result
    assert b'"uri":"x+note:1"' in result


@pytest.mark.parametrize(
    ("ref", "argument", "value"),
    [
        ({"type": "ref/prompt", "name": "x_explain"}, "topic", "as"),
        ({"type": "ref/resource", "uri": "x+note:{id}/text"}, "id", "a1"),
    ],
)
def test_completions_come_with_it(ref: Any, argument: str, value: str) -> None:
    _, outer = both()
    asked = {"ref": ref, "argument": {"name": argument, "value": "a"}}
    assert ask(outer, "completion/complete", asked)["completion"]["values"] == [value]


def test_visibility_and_scopes_stay() -> None:
    _, outer = both()
    assert "x_hidden" in keys(outer, "root")["tools"]
    with pytest.raises(McpError, match="Unknown tool"):
        ask(outer, "tools/call", {"name": "x_hidden"})
    with pytest.raises(Forbidden):
        ask(outer, "tools/call", {"name": "x_scoped"}, principal="somebody")


def test_changes_are_passed_on() -> None:
    inner, outer = both()
    heard: list[tuple[str, Any]] = []
    outer.watch(lambda method, params: heard.append((method, params)))
    inner.add_tool(lambda: "later", "later")
    assert ask(outer, "tools/call", {"name": "x_later"})["content"][0]["text"] == "later"
    inner.add_tool(lambda: "again", "later", replace=True)
    assert ask(outer, "tools/call", {"name": "x_later"})["content"][0]["text"] == "again"
    inner.remove_tool("later")
    assert "x_later" not in keys(outer)["tools"]
    assert {method for method, _ in heard} == {"notifications/tools/list_changed"}
    heard.clear()
    inner.list_changed("prompts")  # as `visible` decides otherwise now
    inner.resource_updated("note:1")
    assert [method for method, _ in heard] == [
        "notifications/prompts/list_changed",
        "notifications/resources/updated",
    ]
    assert heard[-1][1].uri == "x+note:1"


def test_mounted_in_a_mounted_server() -> None:
    inner, middle = both()
    outer = Server("outer")
    outer.mount(middle, "y_")
    assert keys(outer)["tools"] == ["y_add", "y_x_add", "y_x_scoped", "y_x_chart"]
    inner.add_resource("note:2", "the second")
    (contents,) = ask(outer, "resources/read", {"uri": "y+x+note:2"})["contents"]
    assert contents["text"] == "the second"
    call = {"name": "y_x_add", "arguments": {"text": "hello"}}
    content = ask(outer, "tools/call", call)["content"]
    assert content[1]["uri"] == "y+x+note:1"
    asked = {
        "ref": {"type": "ref/prompt", "name": "y_x_explain"},
        "argument": {"name": "topic", "value": "a"},
    }
    assert ask(outer, "completion/complete", asked)["completion"]["values"] == ["as"]


def test_what_is_taken_is_refused_naming_both() -> None:
    inner, outer = notes(), Server("main")
    outer.add_prompt(lambda: "own", "x_explain")
    text = "prompt 'explain' of the server 'notes' .* in 'main': 'x_explain' .* the server 'main'"
    with pytest.raises(ValueError, match=text):
        outer.mount(inner, "x_")
    assert keys(outer)["tools"] == []  # nothing of it
    outer.remove_prompt("x_explain")
    outer.mount(inner, "x_")
    other = Server("other")
    other.add_tool(lambda: "x", "add")
    with pytest.raises(ValueError, match=r"server 'other' .* taken by the server 'notes'"):
        outer.mount(other, "x_")
    outer.add_tool(lambda: "x", "x_later")
    with pytest.raises(ValueError, match="'x_later' is taken by the server 'main'"):
        inner.add_tool(lambda: "x", "later")
    inner.add_tool(lambda: "x", "free")  # refused once, for what was new then
    inner.remove_tool("later")
    assert ask(outer, "tools/call", {"name": "x_later"})["content"][0]["text"] == "x"
    assert {"x_later", "x_free"} <= set(keys(outer)["tools"])


def test_a_name_that_gets_too_long_is_refused() -> None:
    inner, outer = notes(), Server("main")
    inner.add_tool(lambda: "x", "a" * 127)
    with pytest.raises(ValueError, match="1 to 128 characters"):
        outer.mount(inner, "x_")
    assert keys(outer)["prompts"] == []
    with pytest.raises(TypeError, match="takes a Server, not a dict"):
        outer.mount({})  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["1x_", "x y", "x/", "é"])
def test_a_bad_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        Server("main").mount(notes(), prefix)


def test_a_server_in_itself_is_refused() -> None:
    inner, outer = both()
    for server in (inner, outer):
        with pytest.raises(ValueError, match="in itself"):
            inner.mount(server, "z_")
