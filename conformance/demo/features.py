"""Our client, driven through every feature of a server.

Each feature is one method, each call of it one round.  ``sdk_client.py`` does the same with the
official SDK's client.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from msgspec import UNSET, Struct, field

from mcpcore.spec.types import (
    CallToolResult,
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    LoggingMessageParams,
    PromptReference,
    TextContent,
)
from transports.callbacks import Callbacks
from transports.client import Client, connect

PATIENCE = 10.0
"""Seconds that any one feature may take."""
ROOT_URI = "file:///demo/root"


class Cell(Struct):
    """The outcome of one feature between one client and one server."""

    feature: str
    outcome: str
    """``ok`` or ``failed``."""
    detail: str = ""
    ms: list[float] = field(default_factory=list)
    """The time of each round, in milliseconds."""


class Mismatch(Exception):
    """The server did not do what was expected of it."""


class Counter:
    """Counts what arrived and lets a task wait for a number of them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = anyio.Event()

    def add(self) -> None:
        """Count one more."""
        self.count += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def reach(self, count: int) -> None:
        """Wait until ``count`` have arrived."""
        while self.count < count:
            await self._changed.wait()


def expect(condition: object, seen: object) -> None:
    """Raise Mismatch, naming what was seen instead."""
    if not condition:
        raise Mismatch(f"unexpected: {seen}")


def text_of(result: CallToolResult) -> str:
    """Return the text of a tool's result; raise Mismatch if the tool failed."""
    text = " ".join(block.text for block in result.content if isinstance(block, TextContent))
    expect(result.is_error is not True, f"the tool failed: {text}")
    return text


class Driver:
    """One connection of our client."""

    client: Client

    def __init__(self) -> None:
        self.logged = Counter()
        self.callbacks = Callbacks(
            elicitation=self._elicit, sampling=self._sample, roots=[ROOT_URI], log=self._log
        )

    def _elicit(self, params: ElicitParams) -> dict[str, Any]:
        return {"username": "ada", "email": "ada@example.org"}

    def _sample(self, params: CreateMessageParams) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(text="four"), model="demo")

    def _log(self, params: LoggingMessageParams) -> None:
        self.logged.add()

    async def tools_list(self) -> None:
        """List the tools."""
        tools = await self.client.tools()
        expect(len(tools) > 5, tools)

    async def tools_call(self) -> None:
        """Call a tool."""
        text = text_of(await self.client.call_tool("test_simple_text"))
        expect("simple text" in text, text)

    async def progress(self) -> None:
        """Call a tool that reports progress."""
        values: list[float] = []
        await self.client.call_tool(
            "test_tool_with_progress", progress=lambda value, total, message: values.append(value)
        )
        expect(len(values) >= 3 and values == sorted(set(values)), values)

    async def structured_output(self) -> None:
        """Call a tool whose result is an object."""
        result = await self.client.call_tool("test_structured_output", {"city": "Paris"})
        content = result.structured_content
        expect(isinstance(content, dict) and content.get("city") == "Paris", result)

    async def tool_error(self) -> None:
        """Call a tool that fails."""
        result = await self.client.call_tool("test_error_handling")
        expect(result.is_error is True, result)

    async def resources(self) -> None:
        """List and read resources."""
        listed = await self.client.resources()
        expect(any(resource.uri == "test://static-text" for resource in listed), listed)
        await self._read("test://static-text", "text")

    async def templates(self) -> None:
        """List templates and read through one."""
        listed = await self.client.resource_templates()
        expect(listed, listed)
        await self._read("test://template/123/data", "123")

    async def _read(self, uri: str, part: str) -> None:
        (contents,) = (await self.client.read_resource(uri)).contents
        expect(contents.text is not UNSET and part in contents.text, contents)

    async def prompts(self) -> None:
        """List and get prompts."""
        listed = await self.client.prompts()
        expect(any(prompt.name == "test_simple_prompt" for prompt in listed), listed)
        arguments = {"arg1": "one", "arg2": "two"}
        got = await self.client.get_prompt("test_prompt_with_arguments", arguments)
        content = got.messages[0].content
        expect(isinstance(content, TextContent) and "one" in content.text, got)

    async def completion(self) -> None:
        """Complete an argument."""
        ref = PromptReference(name="test_prompt_with_arguments")
        result = await self.client.complete(ref, "arg1", "test")
        expect(isinstance(result.completion.values, list), result)

    async def elicitation(self) -> None:
        """Call a tool that asks the user."""
        arguments = {"message": "Who are you?"}
        text = text_of(await self.client.call_tool("test_elicitation", arguments))
        expect("ada" in text, text)

    async def sampling(self) -> None:
        """Call a tool that asks the model."""
        arguments = {"prompt": "Two and two?"}
        text = text_of(await self.client.call_tool("test_sampling", arguments))
        expect("four" in text, text)

    async def roots(self) -> None:
        """Call a tool that asks for the roots."""
        text = text_of(await self.client.call_tool("test_list_roots"))
        expect(ROOT_URI in text, text)

    async def cancellation(self) -> None:
        """Give a call up; the server must notice."""
        before = await self._cancelled()
        with anyio.CancelScope() as scope:
            await self.client.call_tool(
                "test_wait",
                {"seconds": 30},
                progress=lambda value, total, message: scope.cancel(),
            )
        expect(scope.cancelled_caught, "the call ended by itself")
        noticed = before
        while noticed <= before:
            noticed = await self._cancelled()

    async def _cancelled(self) -> int:
        return int(text_of(await self.client.call_tool("test_cancelled_count")))

    async def subscriptions(self) -> None:
        """Be told of a change."""
        async with self.client.listen(tools=True) as changes:
            text_of(await self.client.call_tool("test_trigger_tool_change"))
            change = await anext(aiter(changes))
            expect(change.kind == "tools", change)

    async def logging(self) -> None:
        """Call a tool that logs."""
        seen = self.logged.count
        text_of(await self.client.call_tool("test_tool_with_logging"))
        await self.logged.reach(seen + 3)


FEATURES: tuple[tuple[str, Callable[[Driver], Awaitable[None]], int], ...] = (
    ("tools/list", Driver.tools_list, 9),
    ("tools/call", Driver.tools_call, 15),
    ("progress", Driver.progress, 3),
    ("structured output", Driver.structured_output, 9),
    ("tool error", Driver.tool_error, 9),
    ("resources", Driver.resources, 9),
    ("templates", Driver.templates, 9),
    ("prompts", Driver.prompts, 9),
    ("completion", Driver.completion, 9),
    ("elicitation", Driver.elicitation, 5),
    ("sampling", Driver.sampling, 5),
    ("roots", Driver.roots, 5),
    ("cancellation", Driver.cancellation, 3),
    ("subscriptions", Driver.subscriptions, 3),
    ("logging", Driver.logging, 3),
)
"""Feature, method, rounds."""


async def measure(feature: str, one_round: Callable[[], Awaitable[None]], rounds: int) -> Cell:
    """Run one feature a number of times; what it raises becomes its outcome."""
    cell = Cell(feature, "ok")
    try:
        with anyio.fail_after(PATIENCE):
            for _ in range(rounds):
                began = time.perf_counter()
                await one_round()
                cell.ms.append((time.perf_counter() - began) * 1000)
    except Exception as error:
        cell.outcome = "failed"
        cell.detail = f"{type(error).__name__}: {error}".rstrip(": ")
    return cell


async def drive(target: Any, revision: str, told: Callable[[Cell], object]) -> None:
    """Connect to ``target``, run every feature, and tell each cell."""
    driver = Driver()
    async with connect(target, callbacks=driver.callbacks, revision=revision) as client:
        driver.client = client
        if client.capabilities.logging is not UNSET:
            await client.set_log_level("info")
        for feature, method, rounds in FEATURES:
            told(await measure(feature, partial(method, driver), rounds))
