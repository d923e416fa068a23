"""What a client's program and a handler read where the other side has said nothing."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpcore.errors import PeerError, ToolFailed
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.lifecycle import LoggingMessageParams
from mcpcore.spec.types.prompts import PromptReference
from mcpcore.spec.types.tools import CallToolResult, Tool
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.targets import MemoryTarget
from tests.transports.client.bare_server import server, unset_in
from tests.transports.served import served

pytestmark = pytest.mark.anyio
PLACES = ("memory", "memory-wire", "stdio", "http")
REVISIONS = ("2024-11-05", "2025-11-25", "2026-07-28")
over = pytest.mark.parametrize("place", PLACES)
speaking = pytest.mark.parametrize("revision", REVISIONS)


@asynccontextmanager
async def connected(place: str, revision: str, heard: list[Any]) -> AsyncIterator[Client]:
    """A client of the server that says next to nothing; ``heard``: what its callbacks were told."""

    def elicit(params: ElicitParams, context: CallbackContext) -> ElicitResult:
        heard.append((params, context.meta))
        return ElicitResult(action="accept", content={})

    def sample(params: CreateMessageParams, context: CallbackContext) -> CreateMessageResult:
        heard.append((params, context.meta))
        return CreateMessageResult(role="assistant", content=TextContent(text="!"), model="m")

    def log(message: LoggingMessageParams) -> None:
        heard.append(message)

    callbacks = Callbacks(elicitation=elicit, sampling=sample, log=log, roots=["file:///a"])
    target: Any = MemoryTarget(server, wire=place == "memory-wire")
    if place == "stdio":
        target = [sys.executable, str(Path(__file__).with_name("bare_server.py"))]
    if place != "http":
        async with connect(target, revision=revision, callbacks=callbacks) as client:
            yield client
        return
    async with (
        served(server, seconds=60) as made,
        connect(made.url, revision=revision, callbacks=callbacks) as client,
    ):
        yield client


@over
@speaking
async def test_a_program_meets_no_unset(place: str, revision: str) -> None:
    heard: list[Any] = []
    async with connected(place, revision, heard) as client:
        results: list[CallToolResult] = [await client.call_tool("greet")]
        [result] = results
        assert (result.is_error, result.structured_content, result.is_structured) == (
            False,
            None,
            False,
        )
        failed = await client.call_tool("fail")
        assert failed.is_error is True
        with pytest.raises(PeerError) as caught:
            await client.call_tool("refuse")
        assert caught.value.error.data is None
        tools = await client.tools()
        tool: Tool = tools[0]
        assert (tool.title, tool.annotations, tool.icons, tool.meta) == (None, None, [], None)
        [prompt] = await client.prompts()
        assert [each.required for each in prompt.arguments] == [True]
        [resource] = await client.resources()
        assert (resource.size, resource.icons) == (None, [])
        found = {
            "results": [*results, failed],
            "tools": [*tools, *(await client.list_tools()).tools],
            "prompts": [prompt, await client.get_prompt("prompt", {"word": "a"})],
            "resources": [resource, await client.resource_templates()],
            "read": await client.read_resource("bare://one"),
            "completed": await client.complete(PromptReference(name="prompt"), "word", "a"),
            "capabilities": client.capabilities,
            "info": client.server_info,
            "instructions": client.instructions,
        }
        assert list(unset_in(found)) == []


@over
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_neither_a_handler_nor_a_callback_meets_unset(place: str, revision: str) -> None:
    heard: list[Any] = []
    async with connected(place, revision, heard) as client:
        result = (await client.call_tool("ask")).raise_for_error()
        assert msgspec.json.decode(result.text) == []
        assert len(heard) == 2
        assert list(unset_in(heard)) == []


@over
@speaking
async def test_the_text_of_a_result_and_its_error(place: str, revision: str) -> None:
    async with connected(place, revision, []) as client:
        assert (await client.call_tool("greet")).raise_for_error().text == "hello"
        with pytest.raises(ToolFailed, match=r"^no$") as caught:
            (await client.call_tool("fail")).raise_for_error()
        assert caught.value.result.text == "no"
