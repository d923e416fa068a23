"""Composed tools: order, arguments, contexts, failures beside others, and what does not fit."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from mcpcore import (
    Context,
    McpError,
    Outcomes,
    Server,
    ToolError,
    branch,
    connect,
    parallel,
    pipeline,
)
from mcpcore.spec.errors import INVALID_PARAMS

pytestmark = pytest.mark.anyio


def words(text: str, separator: str = " ") -> list[str]:
    """Split it.

    Args:
        text: what is split
    """
    return text.split(separator)


async def count(found: list[str], least: int = 0) -> int:
    return max(len(found), least)


async def told(value: Any, context: Context) -> str:
    return f"{value} by {context.method}"


def length(text: str) -> int:
    return len(text)


def broken(text: str) -> int:
    raise ToolError(f"not {text}")


def masked(text: str) -> int:
    raise RuntimeError("a secret")


def refused(text: str) -> int:
    raise McpError(INVALID_PARAMS, "refused")


def first_letter(text: str) -> str:
    return text[:1]


async def outcome(function: Callable[..., Any], **arguments: Any) -> Any:
    """What a call of the tool gives: its value, or the text of its failure."""
    server = Server("composed", version="1")
    server.tool(function, name="made")
    async with connect(server) as client:
        result = await client.call_tool("made", arguments)
        if result.is_error:
            raise ToolError(result.text)
        return result.text if result.structured_content is None else result.structured_content


CHOICES = branch(first_letter, {"a": words, "b": pipeline(words, count)}, default=length)


@pytest.mark.parametrize(
    ("function", "arguments", "value"),
    [
        (pipeline(words), {"text": "a b"}, ["a", "b"]),
        (pipeline(words, count), {"text": "a b c"}, 3),
        (pipeline(words, count), {"text": "a-b", "separator": "-"}, 2),
        (pipeline(words, count, told), {"text": "a b"}, "2 by tools/call"),
        (pipeline(length, told, first_letter), {"text": "a b"}, "3"),
        (
            parallel(words, length),
            {"text": "a"},
            {"results": {"words": ["a"], "length": 1}, "errors": {}},
        ),
        (
            parallel(length, broken, masked),
            {"text": "a"},
            {"results": {"length": 1}, "errors": {"broken": "not a", "masked": "Internal error"}},
        ),
        (CHOICES, {"text": "a b"}, ["a", "b"]),
        (CHOICES, {"text": "b c"}, 2),
        (CHOICES, {"text": "cde"}, 3),
        (pipeline(CHOICES, told), {"text": "cde"}, "3 by tools/call"),
    ],
)
async def test_values_pass(
    function: Callable[..., Any], arguments: dict[str, Any], value: Any
) -> None:
    assert await outcome(function, **arguments) == value


async def test_the_first_names_describes_and_declares() -> None:
    server = Server("composed", version="1")
    server.tool(pipeline(words, count))
    async with connect(server) as client:
        (tool,) = await client.tools()
    assert (tool.name, tool.description) == ("words", "Split it.")
    assert tool.input_schema["required"] == ["text"]
    assert tool.input_schema["properties"] == {
        "text": {"type": "string", "description": "what is split"},
        "separator": {"type": "string", "default": " "},
    }
    assert tool.output_schema is not None
    assert tool.output_schema["type"] == "integer"


async def test_no_call_sees_what_another_has_put_into_a_default() -> None:
    def gather(text: str, found: list[str] = []) -> list[str]:  # noqa: B006 - it is copied
        found.append(text)
        return found

    for function in (
        gather,
        pipeline(first_letter, gather),
        branch(first_letter, {}, default=gather),
    ):
        for text in "ab":
            found = await outcome(function, text=text)
            assert found == [text]


async def test_it_is_a_function_for_programs_too() -> None:
    assert await pipeline(words, count)("a b c") == 3
    assert await parallel(length, broken)(text="a") == Outcomes({"length": 1}, {"broken": "not a"})


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (pipeline(broken, told), "not a"),
        (pipeline(first_letter, broken), "not a"),
        (parallel(broken, masked), "broken: not a; masked: Internal error"),
        (branch(broken, {}, default=length), "not a"),
        (branch(first_letter, {"a": broken}, default=length), "not a"),
    ],
)
async def test_a_failure_is_that_of_the_tool(function: Callable[..., Any], text: str) -> None:
    with pytest.raises(ToolError, match=f"^{text}$"):
        await outcome(function, text="a")


async def test_outcomes_are_in_the_order_of_the_functions() -> None:
    second = anyio.Event()

    async def early(text: str) -> str:
        await second.wait()
        return text

    async def late(text: str) -> str:
        second.set()
        return text

    async def first_broken(text: str) -> str:
        await second.wait()
        raise ToolError("first")

    made = await parallel(early, first_broken, late, broken)(text="a")
    assert list(made.results) == ["early", "late"]
    assert list(made.errors) == ["first_broken", "broken"]


async def test_a_protocol_error_ends_what_runs_beside_it() -> None:
    with pytest.raises(McpError, match="refused"):
        await outcome(parallel(length, refused), text="a")


async def test_a_failure_beside_others_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    await outcome(parallel(length, broken, masked), text="a")
    (record,) = caplog.records
    assert record.getMessage() == "masked failed beside others"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "a secret"


def many(**rest: Any) -> None:
    """Take anything."""


def nothing() -> None:
    """Take nothing."""


@pytest.mark.parametrize(
    ("compose", "problem"),
    [
        (lambda: pipeline(words, nothing), "nothing: it has no parameter for the value before it"),
        (lambda: pipeline(words, max_of_two), "max_of_two: nothing fills the parameter 'two'"),
        (lambda: parallel(length, count), "count: nothing fills the parameter 'found'"),
        (lambda: parallel(length, length), "two functions have one name"),
        (lambda: branch(length, {1: count}, default=length), "count: nothing fills"),
        (lambda: branch(length, {}, default=count), "count: nothing fills"),
        (lambda: pipeline(many), r"many: \*\*rest cannot be filled"),
        (lambda: pipeline(str), "expected a function, got type"),
    ],
)
def test_what_does_not_fit_is_refused(compose: Callable[[], Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        compose()


def max_of_two(one: int, two: int) -> int:
    return max(one, two)
