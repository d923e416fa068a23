"""Behaviours of what a server offers: our client and our server together."""

import base64
from typing import Any

import anyio
import pytest
from msgspec import Raw

from mcpcore.errors import PeerError
from mcpcore.service.reading import typed
from mcpcore.spec.errors import INVALID_PARAMS, METHOD_NOT_FOUND
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.prompts import PromptReference
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.callbacks import Callbacks
from tests.bindings.table import LEGACY, MODERN, Bench, behaviour
from tests.bindings.workbench import NOTE, SUM

NASTY = 'ünï\u2028\u2029\r\n\t"\\\x00\x7f\U0001f40d data: x\n\nevent: y\n'
"""Text that a careless framing would tear apart."""


def text(result: CallToolResult) -> str:
    """The text of a result that is no error."""
    assert result.is_error is not True, result
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


# Tools


@behaviour()
async def a_function_answers(bench: Bench) -> None:
    """A call of a plain function has its result."""
    async with bench.client() as client:
        assert text(await client.call_tool("echo", {"text": "hello"})) == "hello"


@behaviour()
async def a_coroutine_answers(bench: Bench) -> None:
    """A call of a coroutine function has its result."""
    async with bench.client() as client:
        assert text(await client.call_tool("echo_later", {"text": "hello"})) == "hello"


@behaviour()
async def text_arrives_as_it_was_sent(bench: Bench) -> None:
    """Line ends, NUL, separators and the syntax of events go there and back unchanged."""
    async with bench.client() as client:
        assert text(await client.call_tool("echo", {"text": NASTY})) == NASTY
        assert text(await client.call_tool("echo", {"text": ""})) == ""


@behaviour()
async def structure_arrives_with_its_schema(bench: Bench) -> None:
    """A structured result is an object, and the same as text for those who cannot read it."""
    async with bench.client() as client:
        result = await client.call_tool("point", {"x": 3})
        assert result.structured_content == {"x": 3, "y": 0}
        assert text(result).replace(" ", "") == '{"x":3,"y":0}'


@behaviour()
async def big_integers_stay_exact(bench: Bench) -> None:
    """Integers beyond what floating point can hold are not rounded."""
    number = 2**63 - 25
    async with bench.client() as client:
        result = await client.call_tool("point", {"x": number, "y": -number})
        assert result.structured_content == {"x": number, "y": -number}


@behaviour()
async def handlers_see_what_the_lifespan_yields(bench: Bench) -> None:
    """The lifespan is entered, once for all that a process serves, in whatever way a tool runs."""
    async with bench.client() as client, bench.client() as other:
        for each in (client, other):
            for tool in ("life_now", "life_later", "life_in_thread"):
                result = await each.call_tool(tool)
                assert result.structured_content == {"entered": 1, "open": True}, tool


@behaviour()
async def a_tool_fails(bench: Bench) -> None:
    """What a tool says of its failure is a result that says that it is one."""
    async with bench.client() as client:
        result = await client.call_tool("fail", {"message": "no luck"})
        assert result.is_error is True
        assert [block.text for block in result.content if isinstance(block, TextContent)] == [
            "no luck"
        ]


@behaviour()
async def a_crash_keeps_its_secrets(bench: Bench) -> None:
    """What a program's mistake says never leaves the server, which goes on."""
    async with bench.client() as client:
        try:
            said = repr(await client.call_tool("crash"))
        except PeerError as error:
            said = str(error)
        assert "secret" not in said
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


@behaviour()
async def an_unknown_tool_is_refused(bench: Bench) -> None:
    """It is an error of the protocol that names the tool."""
    async with bench.client() as client:
        with pytest.raises(PeerError, match="nowhere") as caught:
            await client.call_tool("nowhere")
    assert caught.value.code == INVALID_PARAMS


@behaviour()
async def wrong_arguments_are_named(bench: Bench) -> None:
    """Arguments against the schema fail with their name, before the function is called."""
    async with bench.client() as client:
        result = await client.call_tool("point", {"x": "three"})
        assert result.is_error is True
        assert "x" in str(result.content)


@behaviour()
async def tools_are_listed_with_schemas(bench: Bench) -> None:
    """The list names every tool with what it takes and returns."""
    async with bench.client() as client:
        tools = {tool.name: tool for tool in await client.tools()}
    assert {"echo", "point", "wait", "journal"} <= tools.keys()
    assert tools["point"].input_schema["required"] == ["x"]
    promised = tools["point"].output_schema
    assert isinstance(promised, dict)
    assert promised["properties"].keys() == {"x", "y"}
    assert tools["echo"].description == "Say it again."


@behaviour()
async def lists_come_in_pages(bench: Bench) -> None:
    """32 prompts are two pages, with none twice."""
    async with bench.client() as client:
        first = await client.list_prompts()
        assert len(first.prompts) == 20
        assert isinstance(first.next_cursor, str)
        second = await client.list_prompts(first.next_cursor)
        names = [prompt.name for prompt in (*first.prompts, *second.prompts)]
        assert len(set(names)) == len(names) == 32
        assert names == [prompt.name for prompt in await client.prompts()]


@behaviour()
async def a_bad_cursor_is_refused(bench: Bench) -> None:
    """A cursor that the server did not make is an error of the parameters."""
    async with bench.client() as client:
        with pytest.raises(PeerError) as caught:
            await client.list_prompts("made-up")
    assert caught.value.code == INVALID_PARAMS


# Resources


@behaviour()
async def a_text_is_read(bench: Bench) -> None:
    """A resource of text has its contents and media type."""
    async with bench.client() as client:
        [contents] = (await client.read_resource("text://plain")).contents
    assert contents.uri == "text://plain"
    assert contents.mime_type == "text/plain"
    assert contents.text == "plain text"


@behaviour()
async def bytes_are_read(bench: Bench) -> None:
    """A resource of bytes arrives byte for byte."""
    async with bench.client() as client:
        [contents] = (await client.read_resource("data://bytes")).contents
    assert isinstance(contents.blob, str)
    assert base64.b64decode(contents.blob) == bytes(range(256))


@behaviour()
async def a_template_is_filled_in(bench: Bench) -> None:
    """The template is listed, and what fills it is read."""
    name = bench.case
    async with bench.client() as client:
        templates = [each.uri_template for each in await client.resource_templates()]
        assert templates == ["count://{name}", "leave://{how}/{word}"]
        [contents] = (await client.read_resource(f"count://{name}")).contents
        assert contents.text == "0"


@behaviour()
async def a_missing_resource_is_said_so(bench: Bench) -> None:
    """The error has the code of the revision and names what is missing."""
    async with bench.client() as client:
        with pytest.raises(PeerError) as caught:
            await client.read_resource("text://missing")
    assert caught.value.code == (INVALID_PARAMS if bench.modern else -32002)
    assert isinstance(caught.value.error.data, Raw)
    assert b"text://missing" in bytes(caught.value.error.data)


@behaviour()
async def changes_of_a_resource_are_heard(bench: Bench) -> None:
    """Who listens to one resource hears of it, and not of another."""
    mine, other = f"{bench.case}-mine", f"{bench.case}-other"
    async with bench.client() as client, client.listen(uris=[f"count://{mine}"]) as changes:
        await client.call_tool("count", {"name": other})
        await client.call_tool("count", {"name": mine})
        change = await anext(aiter(changes))
        assert change.uri == f"count://{mine}"
        [contents] = (await client.read_resource(change.uri)).contents
        assert contents.text == "1"


@behaviour(eras=(LEGACY,))
async def a_subscription_ends(bench: Bench) -> None:
    """After ``resources/unsubscribe`` nothing more is heard of a resource."""
    heard: list[str] = []
    uri = f"count://{bench.case}"
    async with bench.client(callbacks=Callbacks(resource_updated=heard.append)) as client:
        await client.subscribe(uri)
        await client.call_tool("count", {"name": bench.case})
        async with client.listen(uris=["count://fence"]) as fence:
            await client.unsubscribe(uri)
            await client.call_tool("count", {"name": bench.case})
            await client.call_tool("count", {"name": "fence"})
            await anext(aiter(fence))
    assert heard.count(uri) == 1


# Prompts and completion


@behaviour()
async def a_prompt_is_filled_in(bench: Bench) -> None:
    """A prompt's arguments are in its messages."""
    async with bench.client() as client:
        [message] = (await client.get_prompt("greet", {"name": "Ada"})).messages
    assert message.role == "user"
    assert message.content.text == "Hello, Ada!"  # type: ignore[union-attr]


@behaviour()
async def a_missing_argument_is_named(bench: Bench) -> None:
    """A prompt without what it requires is an error that names it."""
    async with bench.client() as client:
        with pytest.raises(PeerError, match="name") as caught:
            await client.get_prompt("greet")
    assert caught.value.code == INVALID_PARAMS


@behaviour()
async def what_is_typed_is_completed(bench: Bench) -> None:
    """Proposals follow what was typed."""
    async with bench.client() as client:
        result = await client.complete(PromptReference(name="greet"), "name", "A")
    assert result.completion.values == ["Ada", "Alan"]


# What is told meanwhile


@behaviour()
async def progress_arrives_in_order(bench: Bench) -> None:
    """Progress is heard before the result, step by step, none twice."""
    heard: list[tuple[float, float | None, str | None]] = []
    async with bench.client() as client:

        def hear(value: float, total: float | None, message: str | None) -> None:
            heard.append((value, total, message))

        result = await client.call_tool("steps", {"count": 5}, progress=hear)
        assert heard == [(float(step), 5.0, f"step {step}") for step in range(1, 6)]
        assert text(result) == "5"


@behaviour()
async def progress_is_not_sent_unasked(bench: Bench) -> None:
    """Who gives no token is told nothing."""
    async with bench.client() as client:
        assert text(await client.call_tool("steps", {"count": 3})) == "0"


@behaviour()
async def progress_belongs_to_its_call(bench: Bench) -> None:
    """Of two calls at once, each hears its own progress."""
    heard: dict[int, list[float]] = {2: [], 3: []}
    async with bench.client() as client, anyio.create_task_group() as group:
        for count in heard:

            async def call(count: int = count) -> None:
                hear = heard[count]
                await client.call_tool(
                    "steps", {"count": count}, progress=lambda value, *_: hear.append(value)
                )

            group.start_soon(call)
    assert heard == {2: [1, 2], 3: [1, 2, 3]}


@behaviour()
async def log_messages_follow_the_level(bench: Bench) -> None:
    """From the level that was set on, messages are heard; none below it."""
    heard: list[Any] = []

    def hear(params: Any) -> None:
        heard.append((params.level, params.logger, params.data))

    levels = ["debug", "info", "warning", "error"]
    async with bench.client(callbacks=Callbacks(log=hear)) as client:
        await client.set_log_level("warning")
        assert text(await client.call_tool("say", {"levels": levels})) == "2"
    assert heard == [(level, "bench", {"said": level}) for level in levels[2:]]


@behaviour()
async def another_notification_reaches_the_client(bench: Bench) -> None:
    """What an extension of the server says is heard with its parameters."""
    heard: list[Any] = []

    def hear(method: str, params: Any) -> None:
        heard.append((method, typed(params, dict)))

    async with bench.client(callbacks=Callbacks(notification=hear)) as client:
        assert text(await client.call_tool("note", {"value": 7})) == "true"
    notes = [params["value"] for method, params in heard if method == NOTE]
    assert notes == [7]


@behaviour()
async def another_notification_reaches_the_server(bench: Bench) -> None:
    """What an extension of the client says is heard, each once."""
    async with bench.client() as client:
        for value in range(5):
            assert client.notify(NOTE, {"case": bench.case, "value": value})
        for value in range(5):
            entries = await bench.journal(f"noted {value}", via=client)
    assert sorted(entries) == [f"noted {value}" for value in range(5)]


@behaviour()
async def a_method_of_an_extension_answers(bench: Bench) -> None:
    """A request that the specification does not know is answered by who declared it."""
    async with bench.client() as client:
        result = await client.request(SUM, {"values": [1, 2, 3]}, dict[str, Any])
    assert result["sum"] == 6


@behaviour()
async def an_unknown_method_is_refused(bench: Bench) -> None:
    """A request that nobody declared is an error."""
    async with bench.client() as client:
        with pytest.raises(PeerError) as caught:
            await client.request("acme/unknown", {}, dict[str, Any])
    assert caught.value.code == METHOD_NOT_FOUND


# What is asked meanwhile


@behaviour()
async def a_user_fills_in_a_form(bench: Bench) -> None:
    """A form is filled in while the call waits."""

    def fill_in(params: Any) -> dict[str, Any]:
        assert params.requested_schema["required"] == ["x"]
        return {"x": 3, "y": 4}

    async with bench.client(callbacks=Callbacks(elicitation=fill_in)) as client:
        assert text(await client.call_tool("ask_user")) == "accept Point(x=3, y=4)"


@behaviour()
async def a_user_declines(bench: Bench) -> None:
    """What the user will not say, the tool is told."""
    async with bench.client(callbacks=Callbacks(elicitation=lambda params: None)) as client:
        assert text(await client.call_tool("ask_user")) == "decline None"


@behaviour()
async def a_model_is_asked(bench: Bench) -> None:
    """The client's model answers what the tool asks it."""

    def speak(params: Any) -> dict[str, Any]:
        said = params.messages[0].content.text
        return {"role": "assistant", "model": "m", "content": {"type": "text", "text": said[::-1]}}

    async with bench.client(callbacks=Callbacks(sampling=speak)) as client:
        assert text(await client.call_tool("ask_model", {"text": "abc"})) == "cba"


@behaviour()
async def roots_are_asked_for(bench: Bench) -> None:
    """The tool sees the roots that the client has now."""
    async with bench.client(callbacks=Callbacks(roots=["file:///a"])) as client:
        assert "file:///a" in text(await client.call_tool("ask_roots"))
        client.set_roots(["file:///b"])
        assert "file:///b" in text(await client.call_tool("ask_roots"))


@behaviour()
async def several_are_asked_at_once(bench: Bench) -> None:
    """A tool that asks three things together has three answers."""
    callbacks = Callbacks(
        elicitation=lambda params: {"x": 1},
        sampling=lambda params: {
            "role": "assistant",
            "model": "m",
            "content": {"type": "text", "text": "hi"},
        },
        roots=["file:///a"],
    )
    async with bench.client(callbacks=callbacks) as client:
        assert text(await client.call_tool("ask_all")) == "Point(x=1, y=0) hi file:///a"


@behaviour()
async def what_was_done_is_not_done_again(bench: Bench) -> None:
    """What a tool remembers is the same after its question."""
    async with bench.client(callbacks=Callbacks(roots=["file:///a"])) as client:
        result = await client.call_tool("remember")
    blocks = [block.text for block in result.content if isinstance(block, TextContent)]
    first, again = (
        "".join(blocks).strip("[]").replace(" ", "").split(",") if len(blocks) == 1 else blocks
    )
    assert first == again


@behaviour()
async def who_cannot_be_asked_is_not(bench: Bench) -> None:
    """A client without a callback is not asked, and the call ends in an error at once."""
    async with bench.client() as client:
        if bench.modern:
            with pytest.raises(PeerError, match="the client does not support"):
                await client.call_tool("ask_roots")
        else:
            assert (await client.call_tool("ask_roots")).is_error is True


@behaviour()
async def a_callback_that_fails_is_told_of(bench: Bench) -> None:
    """A mistake in the client's callback ends the call in an error, and nothing else."""

    def broken(params: Any) -> Any:
        raise RuntimeError("a mistake of the client")

    async with bench.client(callbacks=Callbacks(elicitation=broken)) as client:
        failed = False
        try:
            failed = (await client.call_tool("ask_user")).is_error is True
        except Exception as error:  # which one depends on where the era has the question answered
            failed = "mistake" in f"{error}{error.__cause__}" or isinstance(error, PeerError)
        assert failed
        assert text(await client.call_tool("echo", {"text": "on"})) == "on"


# Changes


async def _hears_of(bench: Bench, what: str) -> None:
    async with bench.client() as client, client.listen(**{what: True}) as changes:  # type: ignore[arg-type]
        await client.call_tool("change", {"what": what})
        change = await anext(aiter(changes))
        assert change.method == f"notifications/{what}/list_changed"


@behaviour()
async def a_changed_list_of_tools_is_heard_of(bench: Bench) -> None:
    """A tool that comes makes the list stale."""
    await _hears_of(bench, "tools")


@behaviour()
async def a_changed_list_of_prompts_is_heard_of(bench: Bench) -> None:
    """A prompt that comes makes the list stale."""
    await _hears_of(bench, "prompts")


@behaviour()
async def a_changed_list_of_resources_is_heard_of(bench: Bench) -> None:
    """A resource that comes makes the list stale."""
    await _hears_of(bench, "resources")


@behaviour()
async def changes_that_threads_make_are_heard_of(bench: Bench) -> None:
    """What a handler in a thread changes is heard, every time, and nothing else is held up."""
    uri = f"count://{bench.case}"
    wanted = ["tools", "prompts", "resources"]
    lists = dict.fromkeys(wanted, True)
    async with bench.client() as client, client.listen(uris=[uri], **lists) as changes:  # type: ignore[arg-type]
        heard = aiter(changes)
        for time in (1, 2):
            assert text(await client.call_tool("stir", {"name": bench.case})) == str(time)
            missing = {uri, *(f"notifications/{what}/list_changed" for what in wanted)}
            while missing:
                change = await anext(heard)
                missing -= {change.uri, change.method}
            assert text(await client.call_tool("echo_later", {"text": "on"})) == "on"


# The conversation


@behaviour()
async def the_server_introduces_itself(bench: Bench) -> None:
    """Who serves, what it offers and how to use it is known once connected."""
    async with bench.client() as client:
        assert client.instructions == "Use it."
        assert client.server_info is not None
        assert client.server_info.name == "workbench"
        assert client.capabilities.tools


@behaviour(eras=(MODERN,))
async def the_server_can_be_discovered(bench: Bench) -> None:
    """``server/discover`` names the revisions that the server speaks."""
    async with bench.client() as client:
        assert MODERN in (await client.discover()).supported_versions


@behaviour()
async def a_server_answers_a_ping(bench: Bench) -> None:
    """Whether the server is there can be asked in every era."""
    async with bench.client() as client:
        await client.ping()


@behaviour()
async def two_clients_are_strangers(bench: Bench) -> None:
    """What one client is told, the other does not hear, though their ids are the same."""
    heard: list[list[float]] = [[], []]
    async with bench.client() as one, bench.client() as other, anyio.create_task_group() as group:
        for client, mine, count in ((one, heard[0], 2), (other, heard[1], 4)):

            async def call(client: Any = client, mine: Any = mine, count: int = count) -> None:
                await client.call_tool(
                    "steps", {"count": count}, progress=lambda value, *_: mine.append(value)
                )

            group.start_soon(call)
    assert heard == [[1, 2], [1, 2, 3, 4]]


@behaviour()
async def a_trace_is_carried(bench: Bench) -> None:
    """The ``_meta`` that the caller gives travels with the call and changes nothing else."""
    meta = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "acme/x": 1}
    async with bench.client() as client:
        assert text(await client.call_tool("echo", {"text": "traced"}, meta=meta)) == "traced"
