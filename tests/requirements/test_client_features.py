"""client/roots, client/sampling, client/elicitation: what is declared, asked and refused."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.abc import SocketAttribute, SocketStream

from mcpcore.engine.config import Negotiation
from mcpcore.service import Server
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.server.context import Context
from tests.requirements.looking_glass import PROGRAM, ask, seen
from tests.transports.runtime_bench import LEGACY, MODERN, bench
from tests.transports.scripted import child, modern

pytestmark = pytest.mark.anyio

HANDSHAKE = ClientSettings(negotiation=Negotiation.LEGACY)
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.fixture(params=[LEGACY, MODERN])
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def accept(params: ElicitParams) -> ElicitResult:
    return ElicitResult(action="accept")


def fill(params: ElicitParams) -> Mapping[str, Any]:
    return {}


def say(params: CreateMessageParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="hm"), model="m")


# Capabilities


@pytest.mark.requirement(
    "client/elicitation/declare-per-request",
    "client/elicitation/declare-initialize",
    "client/elicitation/one-mode",
    "client/roots/declare-per-request",
    "client/roots/declare-initialize",
    "client/sampling/declare-per-request",
    "client/sampling/declare-initialize",
    "client/sampling/tools-declared",
)
@pytest.mark.parametrize(
    ("callbacks", "declared"),
    [
        (Callbacks(), {}),
        (Callbacks(elicitation=fill), {"elicitation": {}}),
        (Callbacks(elicitation_url=accept), {"elicitation": {"url": {}}}),
        (
            Callbacks(elicitation=fill, elicitation_url=accept),
            {"elicitation": {"form": {}, "url": {}}},
        ),
        (Callbacks(sampling=say), {"sampling": {}}),
        (Callbacks(sampling=say, sampling_tools=True), {"sampling": {"tools": {}}}),
        (Callbacks(sampling=say, sampling_context=True), {"sampling": {"context": {}}}),
        (Callbacks(sampling_tools=True, sampling_context=True), {}),
        (
            Callbacks(extensions={"com.example/x": {"y": 1}}, experimental={"z": {}}),
            {"extensions": {"com.example/x": {"y": 1}}, "experimental": {"z": {}}},
        ),
        (Callbacks(roots=[]), {"roots": {"listChanged": True}}),
    ],
)
async def test_what_there_is_a_callback_for_is_declared(
    callbacks: Callbacks, declared: dict[str, Any], revision: str
) -> None:
    server = Server("s")
    found: list[Any] = []

    @server.tool
    def look(context: Context) -> str:
        found.append(json.loads(msgspec.json.encode(context.client_capabilities)))
        return "seen"

    async with connect(server, revision=revision, callbacks=callbacks) as client:
        for _ in range(2):
            await client.call_tool("look")
    assert found == [declared, declared]


# Elicitation


async def question(
    put: Callable[[Context], Any], capabilities: dict[str, Any], revision: str
) -> dict[str, Any]:
    """What a client is asked when a handler puts a question."""
    server = Server("s")

    @server.tool
    async def tool(context: Context) -> str:
        await put(context)
        return "done"

    async with bench(server) as made:
        if revision == MODERN:
            reply = await made.call("tools/call", {"name": "tool"}, capabilities=capabilities)
            [asked] = reply["result"]["inputRequests"].values()
        else:
            made.open_legacy(capabilities)
            made.post("tools/call", {"name": "tool"}, revision=LEGACY)
            while not (sent := [m for m in made.sent if "method" in m]):
                await anyio.lowlevel.checkpoint()
            [asked] = sent
    params: dict[str, Any] = asked["params"]
    return params


@pytest.mark.requirement("client/elicitation/common-params", "client/elicitation/form-params")
async def test_a_form_is_asked_for_with_message_and_schema(revision: str) -> None:
    params = await question(
        lambda context: context.elicit("Who?", SCHEMA), {"elicitation": {}}, revision
    )
    assert params == {"message": "Who?", "requestedSchema": SCHEMA}


@pytest.mark.requirement("client/elicitation/common-params", "client/elicitation/url-params")
async def test_a_url_is_asked_for_with_mode_message_and_url(revision: str) -> None:
    params = await question(
        lambda context: context.elicit_url("Go", "https://x.test/", elicitation_id="e-1"),
        {"elicitation": {"url": {}}},
        revision,
    )
    own = {"elicitationId": "e-1"} if revision == LEGACY else {}
    assert params == {"mode": "url", "message": "Go", "url": "https://x.test/", **own}


@pytest.mark.requirement("client/elicitation/default-form")
@pytest.mark.parametrize("mode", [{}, {"mode": "form"}])
async def test_an_elicitation_without_mode_is_a_form(mode: dict[str, str]) -> None:
    answered: list[str] = []

    def form(params: ElicitParams) -> dict[str, Any]:
        answered.append(params.message)
        return {"name": "Ada"}

    callbacks = Callbacks(elicitation=form, elicitation_url=accept)
    params = {**mode, "message": "Who?", "requestedSchema": SCHEMA}
    async with connect(PROGRAM, callbacks=callbacks, settings=HANDSHAKE) as client:
        answer = await ask(client, "elicitation/create", params)
    assert answer == {"action": "accept", "content": {"name": "Ada"}}
    asking = {
        "resultType": "input_required",
        "inputRequests": {"k": {"method": "elicitation/create", "params": params}},
    }
    replies = [{"result": asking}, {"result": modern({"content": []})}]
    async with connect(child({"tools/call": replies}), callbacks=callbacks) as client:
        await client.call_tool("x")
    assert answered == ["Who?", "Who?"]


@pytest.mark.requirement("client/elicitation/undeclared-mode-error")
@pytest.mark.parametrize(
    ("callbacks", "params"),
    [
        (Callbacks(elicitation=fill), {"mode": "url", "message": "m", "url": "https://x.test/"}),
        (Callbacks(elicitation_url=accept), {"message": "m", "requestedSchema": SCHEMA}),
    ],
)
async def test_a_mode_that_was_not_declared_is_refused(
    callbacks: Callbacks, params: dict[str, Any]
) -> None:
    async with connect(PROGRAM, callbacks=callbacks, settings=HANDSHAKE) as client:
        answer = await ask(client, "elicitation/create", params)
    assert answer["code"] == -32602
    assert "mode" in answer["message"]


@pytest.mark.requirement(
    "client/elicitation/complete-to-initiator", "client/elicitation/complete-id"
)
async def test_the_end_of_a_visit_is_told_to_the_client_that_was_asked() -> None:
    server = Server("s")

    @server.tool
    async def visit(context: Context) -> str:
        await context.elicit_url("Go", "https://x.test/", elicitation_id="e-7")
        context.notify("notifications/elicitation/complete", {"elicitationId": "e-7"})
        return "done"

    told: list[tuple[str, str]] = []

    def one(name: str) -> Callbacks:
        return Callbacks(
            elicitation_url=accept, elicitation_complete=lambda id: told.append((name, id))
        )

    async with (
        connect(server, revision=LEGACY, callbacks=one("first")) as first,
        connect(server, revision=LEGACY, callbacks=one("second")) as second,
    ):
        await first.call_tool("visit")
        await second.ping()
    assert told == [("first", "e-7")]


@pytest.mark.requirement("client/elicitation/url-no-prefetch", "client/elicitation/url-consent")
@pytest.mark.parametrize("action", ["accept", "decline"])
async def test_a_url_is_left_to_the_callback(action: Any, revision: str) -> None:
    visits: list[str] = []

    async def visited(stream: SocketStream) -> None:
        visits.append("somebody came")
        await stream.aclose()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
    server = Server("s")

    @server.tool
    async def tool(context: Context) -> str:
        return (await context.elicit_url("Go", url)).action

    def decide(params: ElicitParams) -> ElicitResult:
        assert params.url == url
        return ElicitResult(action=action)

    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, visited)
        callbacks = Callbacks(elicitation_url=decide)
        async with connect(server, revision=revision, callbacks=callbacks) as client:
            result = await client.call_tool("tool")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await listener.aclose()
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == action
    assert visits == []


@pytest.mark.requirement("basic/patterns/mrtr/keys-unique")
async def test_the_same_question_put_twice_has_two_keys() -> None:
    server = Server("s")

    @server.tool
    async def twice(context: Context) -> str:
        first = await context.list_roots()
        second = await context.list_roots()
        return f"{len(first)} {len(second)}"

    params: dict[str, Any] = {"name": "twice"}
    keys = []
    async with bench(server) as made:
        for count in (1, 2):
            reply = await made.call("tools/call", params, capabilities={"roots": {}})
            [key] = reply["result"]["inputRequests"]
            keys.append(key)
            params = {
                "name": "twice",
                "inputResponses": {key: {"roots": [{"uri": "file:///r"}] * count}},
                "requestState": reply["result"]["requestState"],
            }
        reply = await made.call("tools/call", params, capabilities={"roots": {}})
    assert keys[0] != keys[1]
    assert reply["result"]["content"] == [{"type": "text", "text": "1 2"}]


# Roots


@pytest.mark.requirement("client/roots/changes-notified")
async def test_a_change_of_roots_is_notified() -> None:
    callbacks = Callbacks(roots=["file:///a"])
    async with connect(PROGRAM, callbacks=callbacks, settings=HANDSHAKE) as client:
        client.set_roots(["file:///b"])
        methods = [message.get("method") for message in await seen(client)]
        assert methods.count("notifications/roots/list_changed") == 1
        assert await ask(client, "roots/list") == {"roots": [{"uri": "file:///b"}]}


@pytest.mark.requirement("client/roots/errors")
async def test_roots_that_fail_or_are_not_there() -> None:
    def fail() -> list[str]:
        raise OSError("disk on fire")

    callbacks = Callbacks(roots=fail)
    async with connect(PROGRAM, callbacks=callbacks, settings=HANDSHAKE) as client:
        failed = await ask(client, "roots/list")
    assert failed["code"] == -32603
    assert "fire" not in failed["message"]
    async with connect(PROGRAM, settings=HANDSHAKE) as client:
        assert (await ask(client, "roots/list"))["code"] == -32601


# Sampling


@pytest.mark.requirement("client/sampling/message-form", "client/sampling/context-avoided")
async def test_a_prompt_becomes_a_message_of_the_user(revision: str) -> None:
    params = await question(lambda context: context.sample("Hi", 9), {"sampling": {}}, revision)
    assert params == {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Hi"}}],
        "maxTokens": 9,
    }


@pytest.mark.requirement("client/sampling/content-validated")
@pytest.mark.parametrize(
    "messages",
    [
        7,
        [{"role": "user"}],
        [{"role": "god", "content": {"type": "text", "text": "x"}}],
        [{"role": "user", "content": {"type": "text", "text": 7}}],
    ],
)
async def test_malformed_messages_do_not_reach_the_model(messages: Any) -> None:
    asked: list[Any] = []

    def model(params: CreateMessageParams) -> CreateMessageResult:
        asked.append(params)
        return say(params)

    params = {"messages": messages, "maxTokens": 9}
    callbacks = Callbacks(sampling=model)
    async with connect(PROGRAM, callbacks=callbacks, settings=HANDSHAKE) as client:
        answer = await ask(client, "sampling/createMessage", params)
    assert answer["code"] == -32602
    assert asked == []


@pytest.mark.requirement("client/sampling/content-validated")
@pytest.mark.parametrize(
    "answer", [{}, {"role": "assistant", "model": "m", "content": {"type": 7}}]
)
async def test_malformed_answers_of_a_model_are_asked_for_again(answer: dict[str, Any]) -> None:
    server = Server("s")

    @server.tool
    async def think(context: Context) -> str:
        return (await context.sample("Hi", 9, key="k")).model

    async with bench(server) as made:
        params = {"name": "think", "inputResponses": {"k": answer}}
        reply = await made.call("tools/call", params, capabilities={"sampling": {}})
    assert list(reply["result"]["inputRequests"]) == ["k"]
