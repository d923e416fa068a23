"""The reference server over every transport, in both eras, with our own client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.errors import PeerError
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from mcpcore.spec.types.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)
from mcpcore.spec.types.prompts import PromptReference, ResourceTemplateReference
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_conformance.everything.media import png, wav
from mcpcore_conformance.everything.schemas import ADDRESS_BOOK
from mcpcore_conformance.everything.server import server
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from tests.clock import patience

pytestmark = pytest.mark.anyio

ERAS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
ASKING = ERAS[2:]
"""The revisions with every kind of question."""


def elicit(params: ElicitParams) -> dict[str, Any]:
    schema = params.requested_schema
    properties = schema["properties"] if schema else {}
    answers = {"name": "Ada", "ok": True, "username": "ada", "email": "ada@example.org"}
    return {name: answers[name] for name in properties if name in answers}


def sample(params: CreateMessageParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="four"), model="m")


@asynccontextmanager
async def connected(target: Any, revision: str, **more: Any) -> AsyncIterator[Client]:
    callbacks = Callbacks(
        elicitation=elicit,
        elicitation_url=lambda params: ElicitResult(action="accept"),
        sampling=sample,
        roots=["file:///root"],
        **more,
    )
    with patience():
        async with connect(target, revision=revision, callbacks=callbacks) as client:
            yield client


def text(result: CallToolResult) -> str:
    assert result.is_error is not True, result
    return " ".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_what_is_listed(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        tools = await client.tools()
        names = [tool.name for tool in tools]
        assert names[0] == "test_simple_text"
        assert tools[0].input_schema.get("properties", {}) == {}
        assert all(tool.description for tool in tools)
        assert len(set(names)) == len(names)
        schemas = {tool.name: tool.input_schema for tool in tools}
        assert schemas["json_schema_2020_12_tool"] == ADDRESS_BOOK
        resources = await client.resources()
        assert resources[0].uri == "test://static-text"
        assert [t.uri_template for t in await client.resource_templates()] == [
            "test://template/{id}/data"
        ]
        assert all(prompt.description for prompt in await client.prompts())


async def test_every_kind_of_content(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        assert "simple text" in text(await client.call_tool("test_simple_text"))
        [image] = (await client.call_tool("test_image_content")).content
        assert isinstance(image, ImageContent)
        assert image.mime_type == "image/png"
        [audio] = (await client.call_tool("test_audio_content")).content
        assert isinstance(audio, AudioContent)
        assert audio.mime_type == "audio/wav"
        [resource] = (await client.call_tool("test_embedded_resource")).content
        assert isinstance(resource, EmbeddedResource)
        assert resource.resource.uri == "test://embedded-resource"
        mixed = (await client.call_tool("test_multiple_content_types")).content
        assert [type(block) for block in mixed] == [TextContent, ImageContent, EmbeddedResource]
        [link] = (await client.call_tool("test_resource_link")).content
        assert isinstance(link, ResourceLink)
        weather = await client.call_tool("test_structured_output", {"city": "Paris"})
        assert weather.structured_content == {"city": "Paris", "temperature": 21.5}
        failed = await client.call_tool("test_error_handling")
        assert failed.is_error is True
        book = await client.call_tool("json_schema_2020_12_tool", {"name": "A", "email": "a@b"})
        assert "email" in text(book)


async def test_reading_and_completing(target: Any, revision: str) -> None:
    async with connected(target, revision) as client:
        [contents] = (await client.read_resource("test://static-text")).contents
        assert contents.text
        [contents] = (await client.read_resource("test://static-binary")).contents
        assert contents.blob
        [contents] = (await client.read_resource("test://template/123/data")).contents
        assert "123" in str(contents.text)
        with pytest.raises(PeerError) as missing:
            await client.read_resource("test://nonexistent")
        assert missing.value.code == (-32602 if client.revision.modern else -32002)
        for name, arguments, count in (
            ("test_simple_prompt", None, 1),
            ("test_prompt_with_arguments", {"arg1": "one", "arg2": "two"}, 1),
            ("test_prompt_with_embedded_resource", {"resourceUri": "test://x"}, 2),
            ("test_prompt_with_image", None, 2),
            ("test_input_required_result_prompt", None, 1),
        ):
            got = await client.get_prompt(name, arguments)
            assert len(got.messages) == count, name
        prompt = PromptReference(name="test_prompt_with_arguments")
        completed = await client.complete(prompt, "arg1", "par")
        assert completed.completion.values == ["paris", "park", "party"]
        template = ResourceTemplateReference(uri="test://template/{id}/data")
        completed = await client.complete(template, "id", "99")
        assert completed.completion.values[0] == "99"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("test_sampling", {"prompt": "Two and two?"}, "LLM response: four"),
        ("test_elicitation", {"message": "Who?"}, "ada@example.org"),
        ("test_elicitation_sep1034_defaults", {}, '"score": 95.5'),
        ("test_elicitation_sep1330_enums", {}, "action=accept"),
        ("test_elicitation_url", {}, "action=accept"),
        ("test_list_roots", {}, "file:///root"),
        ("test_streaming_elicitation", {}, "action=accept"),
        ("test_input_required_result_elicitation", {}, "Hello, Ada!"),
        ("test_input_required_result_sampling", {}, "four"),
        ("test_input_required_result_list_roots", {}, "file:///root"),
        ("test_input_required_result_request_state", {}, "state-ok"),
        ("test_input_required_result_multiple_inputs", {}, "accept, four, 1 roots"),
        ("test_input_required_result_multi_round", {}, "step 1: accept, step 2: accept"),
        ("test_input_required_result_tampered_state", {}, "integrity kept"),
        ("test_input_required_result_capabilities", {}, "user_name, greeting, client_roots"),
        ("test_missing_capability", {}, "can sample"),
    ],
)
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_questions(
    urls: list[str], revision: str, tool: str, arguments: dict[str, Any], said: str
) -> None:
    for target in (server, *urls):
        async with connected(target, revision) as client:
            assert said in text(await client.call_tool(tool, arguments))


async def test_progress_logging_and_cancellation(target: Any, revision: str) -> None:
    logged: list[Any] = []
    async with connected(target, revision, log=lambda m: logged.append(m.data)) as client:
        await client.set_log_level("info")
        values: list[float] = []
        await client.call_tool("test_tool_with_progress", progress=lambda v, t, m: values.append(v))
        assert values == [0, 50, 100]
        assert text(await client.call_tool("test_tool_with_logging")) == "logged"
        assert len(logged) == 3
        before = int(text(await client.call_tool("test_cancelled_count")))
        with anyio.CancelScope() as scope:
            await client.call_tool(
                "test_wait", {"seconds": 30}, progress=lambda v, t, m: scope.cancel()
            )
        while int(text(await client.call_tool("test_cancelled_count"))) == before:
            await anyio.lowlevel.checkpoint()


async def test_the_end_of_a_visit_is_told(target: Any, revision: str) -> None:
    ended: list[str] = []
    async with connected(target, revision, elicitation_complete=ended.append) as client:
        assert "accept" in text(await client.call_tool("test_elicitation_url"))
        assert len(ended) == (0 if client.revision.modern else 1)


async def test_changes(target: Any, revision: str) -> None:
    watched = "test://watched-resource"
    async with (
        connected(target, revision) as client,
        client.listen(tools=True, prompts=True, resources=True, uris=[watched]) as changes,
    ):
        names = [tool.name for tool in await client.tools()]
        for tool, kinds in (
            ("test_trigger_tool_change", ["tools"]),
            ("test_trigger_prompt_change", ["prompts"]),
            ("test_trigger_resource_change", ["resources", "resource"]),
        ):
            await client.call_tool(tool)
            assert [(await anext(changes)).kind for _ in kinds] == kinds
        assert [tool.name for tool in await client.tools()] == names


@pytest.mark.parametrize("revision", ERAS)
async def test_every_revision(urls: list[str], revision: str) -> None:
    for target in (server, *urls):
        async with connected(target, revision) as client:
            assert client.revision.name == revision
            assert "simple text" in text(await client.call_tool("test_simple_text"))
            await client.ping()
            asked = await client.call_tool("test_elicitation", {"message": "Who?"})
            assert (asked.is_error is True) == (revision not in ASKING)


async def test_a_client_that_can_do_nothing(target: Any) -> None:
    async with connect(target, revision="2026-07-28") as client:
        with pytest.raises(PeerError) as refused:
            await client.call_tool("test_missing_capability")
        assert refused.value.code == -32021
        answered = await client.call_tool("test_input_required_result_capabilities")
        assert "nothing could be asked" in text(answered)
        assert text(await client.call_tool("test_logging_tool")) == "nobody wants log messages"


def test_the_media_are_what_they_say() -> None:
    assert png().startswith(b"\x89PNG\r\n\x1a\n")
    assert wav()[:4] == b"RIFF"
    assert int.from_bytes(wav()[4:8], "little") == len(wav()) - 8
