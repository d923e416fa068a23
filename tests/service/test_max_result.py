"""``max_result``: a tool that returns more bytes has failed, whatever it returns, and how."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from mcpcore.errors import OutputMismatch, ToolError
from mcpcore.service import Image, Server
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tools import CallToolResult
from tests.service.calling import CONTEXT, Context, ask, run


class Point(Struct):
    x: str


LONG = "x" * 500


def plain() -> str:
    return LONG


async def coroutine() -> str:
    return LONG


def with_context(context: Context) -> str:
    return LONG


def structured() -> Point:
    return Point(LONG)


def wrapped() -> list[str]:
    return [LONG]


def content() -> list[Any]:
    return [Image(LONG.encode(), "image/png")]


def unannotated():  # type: ignore[no-untyped-def]
    return {"x": LONG}


def own() -> CallToolResult:
    return CallToolResult(content=[TextContent(text=LONG)], structured_content={"x": 1})


def own_failure() -> CallToolResult:
    return CallToolResult(content=[TextContent(text=LONG)], is_error=True)


def own_meta() -> CallToolResult:
    return CallToolResult(content=[TextContent(text="x")], meta={"example.com/x": LONG})


TOOLS: list[Callable[..., Any]] = [
    plain,
    coroutine,
    with_context,
    structured,
    wrapped,
    content,
    unannotated,
    own,
    own_failure,
    own_meta,
]


def prepared(function: Callable[..., Any], revision: Revision, **options: Any) -> Any:
    server = Server("s")
    server.add_tool(function, "tool", **options)
    return server.prepare("tools/call", b'{"name": "tool"}', revision)


def finish(made: Any) -> tuple[bytes, int]:
    """The result and how much it takes."""
    value = made.call(CONTEXT)
    result = bytes(made.finish(run(value) if made.is_async else value))
    meta = b"" if made.meta is None else msgspec.json.encode(made.meta)
    return result, len(result) + len(meta)


@pytest.mark.parametrize("function", TOOLS)
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda row: row.name)
def test_what_is_too_large_is_an_error(function: Callable[..., Any], revision: Revision) -> None:
    result, size = finish(prepared(function, revision))
    assert finish(prepared(function, revision, max_result=size))[0] == result
    made = prepared(function, revision, max_result=size - 1)
    with pytest.raises(OutputMismatch) as caught:
        finish(made)
    rule = f"the result takes {size} bytes, and the tool may return {size - 1}"
    assert caught.value.rule == str(caught.value) == rule
    said = msgspec.json.decode(made.failure(caught.value))
    assert said == {
        "content": [{"type": "text", "text": f"Internal error: {rule}"}],
        "isError": True,
    }


def test_a_failure_is_no_way_around_it() -> None:
    made = prepared(plain, LATEST, max_result=400)
    said = msgspec.json.decode(made.failure(ToolError(LONG)))
    assert said["isError"] is True
    [block] = said["content"]
    kept, _, note = block["text"].partition(" ... ")
    assert kept == LONG[: len(kept)]
    assert 200 < len(kept) < 400
    assert re.fullmatch(r"\(the result takes 55\d bytes, and the tool may return 400\)", note)
    assert len(made.failure(ToolError(LONG))) <= 400
    escaped = msgspec.json.decode(made.failure(ToolError('"\n' * 300)))["content"][0]["text"]
    assert escaped.startswith('"\n')
    assert msgspec.json.decode(made.failure(ToolError("x")))["content"][0]["text"] == "x"
    small = prepared(plain, LATEST, max_result=1)
    said = msgspec.json.decode(small.failure(ValueError(), "Internal error (error id 1)"))
    assert said["content"][0]["text"] == "Internal error (error id 1)"


@pytest.mark.parametrize(
    ("of_server", "of_tool", "limit"),
    [
        (None, {}, None),
        (100, {}, 100),
        (100, {"max_result": 200}, 200),
        (100, {"max_result": None}, None),
        (None, {"max_result": 300}, 300),
    ],
)
def test_the_tool_goes_before_the_server(
    of_server: int | None, of_tool: dict[str, Any], limit: int | None
) -> None:
    server = Server("s", max_result=of_server)
    server.tool(name="tool", **of_tool)(plain)
    made = server.prepare("tools/call", b'{"name": "tool"}', LATEST)
    if limit is None:
        assert finish(made)
        return
    with pytest.raises(OutputMismatch, match=f"may return {limit}$"):
        finish(made)


def test_what_is_too_large_is_shortened_once() -> None:
    given: list[object] = []

    def shorten(value: Any) -> str:
        given.append(value)
        return "short" if len(given) == 1 else LONG

    made = prepared(own_failure, LATEST, max_result=100, shorten=shorten)
    assert b'"short"' in finish(made)[0]
    assert (made.failed, made.meta) == (False, None)
    with pytest.raises(OutputMismatch, match=r"may return 100$"):
        finish(prepared(plain, LATEST, max_result=100, shorten=shorten))
    finish(prepared(plain, LATEST, max_result=1000, shorten=shorten))
    assert given == [own_failure(), LONG]
    with pytest.raises(ValueError, match=r"^tool 'tool': shorten is for results beyond max_result"):
        prepared(plain, LATEST, shorten=shorten)


def test_a_context_is_made_for_those_that_take_it() -> None:
    assert not prepared(plain, LATEST, max_result=1).takes_context
    assert prepared(with_context, LATEST, max_result=1).takes_context


@pytest.mark.parametrize("limit", [0, -1, 1.5, float("nan")])
def test_a_limit_is_a_number_of_bytes(limit: Any) -> None:
    words = f"max_result must be a whole number of at least 1, got {limit}"
    with pytest.raises(ValueError, match=words):
        Server("s", max_result=limit)
    with pytest.raises(ValueError, match=f"tool 'tool': {words}"):
        prepared(plain, LATEST, max_result=limit)


def test_hosts_are_told_of_a_limit_that_a_tool_has_itself() -> None:
    server, key = Server("s", version="1", max_result=9), "anthropic/maxResultSizeChars"
    server.add_tool(plain, "own", max_result=500)
    server.add_tool(plain, "written", max_result=500, meta={key: 7, "a": 1})
    server.add_tool(plain, "none", max_result=None)
    server.add_tool(plain, "of_all")
    told = {each["name"]: each.get("_meta") for each in ask(server, "tools/list")["tools"]}
    assert told == {
        "own": {key: 500},
        "written": {key: 7, "a": 1},
        "none": None,
        "of_all": None,
    }
