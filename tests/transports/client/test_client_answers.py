"""What the client answers its server: together where several things are asked, and only good."""

import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.engine.config import Negotiation
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.errors import InputFailed, InputNeeded
from mcpcore.service import Server
from mcpcore.spec.errors import LocalProtocolError, McpError
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    ListRootsResult,
    Root,
)
from mcpcore.spec.types.content import TextContent, ToolUseContent
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicit
from tests.clock import patience
from tests.error_ids import without_id
from tests.requirements.looking_glass import PROGRAM, ask
from tests.transports.runtime_bench import bench
from tests.transports.served import outcome

pytestmark = pytest.mark.anyio

MODERN = "2026-07-28"
LEGACY = ClientSettings(negotiation=Negotiation.LEGACY)
FORM: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}


def asking(count: int) -> Server:
    server = Server("s")

    @server.tool
    async def sum_up(context: Context) -> str:
        questions: dict[str, Elicit[Any]] = {
            str(number): Elicit(str(number), FORM) for number in range(count)
        }
        answers = await context.gather_inputs(questions)
        return ",".join(f"{key}={answers[key].content['n']}" for key in answers)

    return server


class Dialogs:
    """Forms that are answered when all that can be open at once are open."""

    def __init__(self, wanted: int) -> None:
        self.open = 0
        self.most = 0
        self._wanted = wanted
        self._enough = anyio.Event()

    async def __call__(self, params: ElicitParams) -> dict[str, Any]:
        self.open += 1
        self.most = max(self.most, self.open)
        if self.open == self._wanted:
            self._enough.set()
        await self._enough.wait()
        await anyio.lowlevel.checkpoint()
        self.open -= 1
        return {"n": int(params.message)}


@pytest.mark.parametrize(("count", "at_once", "most"), [(1, 8, 1), (5, 8, 5), (5, 2, 2), (5, 1, 1)])
async def test_the_questions_of_a_round_are_answered_together(
    count: int, at_once: int, most: int
) -> None:
    dialogs = Dialogs(wanted=most)
    callbacks = Callbacks(elicitation=dialogs, at_once=at_once)
    with patience():
        async with connect(asking(count), revision=MODERN, callbacks=callbacks) as client:
            result = await client.call_tool("sum_up")
    assert result.text == ",".join(f"{n}={n}" for n in range(count))
    assert dialogs.most == most


async def test_where_one_answer_fails_the_others_are_given_up() -> None:
    closed: list[str] = []

    async def answer(params: ElicitParams) -> dict[str, Any]:
        if params.message == "1":
            raise McpError(-1, "the user is away")
        try:
            await anyio.sleep_forever()
        finally:
            closed.append(params.message)
        return {}

    callbacks = Callbacks(elicitation=answer)
    with patience():
        async with connect(asking(3), revision=MODERN, callbacks=callbacks) as client:
            with pytest.raises(InputFailed, match="'1' was not given: the user is away"):
                await client.call_tool("sum_up")
            await client.ping()
    assert sorted(closed) == ["0", "2"]


@pytest.mark.parametrize("count", [1, 3])
async def test_the_cause_of_a_failure_is_kept(count: int) -> None:
    cause = OSError("the screen is off")

    async def answer(params: ElicitParams) -> dict[str, Any]:
        raise LookupError("no dialog") from cause

    callbacks = Callbacks(elicitation=answer)
    async with connect(asking(count), revision=MODERN, callbacks=callbacks) as client:
        with pytest.raises(InputFailed, match="was not given: no dialog") as failed:
            await client.call_tool("sum_up")
    assert isinstance(failed.value.__cause__, LookupError)
    assert failed.value.__cause__.__cause__ is cause


def test_at_least_one_callback_runs() -> None:
    with pytest.raises(ValueError, match="at_once must be at least 1"):
        Callbacks(at_once=0)


async def answered(callbacks: Callbacks, method: str, **params: Any) -> Any:
    """What the server gets for a question, in the legacy era: a result, or an error."""
    async with connect(PROGRAM, callbacks=callbacks, settings=LEGACY) as client:
        return await ask(client, method, params)


# A question that the client cannot be asked


@pytest.mark.requirement("client/elicitation/declared-modes", "basic/index/undeclared-capability")
async def test_the_engine_lets_no_undeclared_question_out() -> None:
    server = Server("s")

    @server.tool
    async def careless(context: Context) -> str:
        params = {"mode": "url", "message": "m", "url": "https://x.test/"}
        raise InputNeeded({"k": InputRequest("elicitation/create", params)})

    async with bench(server) as made:
        forms: dict[str, Any] = {"elicitation": {"form": {}}}
        reply = await made.call("tools/call", {"name": "careless"}, capabilities=forms)
    assert reply["error"]["code"] == -32021
    required: dict[str, Any] = {"requiredCapabilities": {"elicitation": {"url": {}}}}
    assert reply["error"]["data"] == required


# Roots


@pytest.mark.requirement("client/roots/file-uri", "client/roots/validate-uris")
async def test_roots_are_files() -> None:
    with pytest.raises(ValueError, match="is no root: its URI must begin with file://"):
        Callbacks(roots=["file:///a", "https://x.test"])
    callbacks = Callbacks(roots=lambda: [Root(uri="file:///a"), Root(uri="/b")])
    async with connect(PROGRAM, callbacks=callbacks, settings=LEGACY) as client:
        assert (await ask(client, "roots/list"))["code"] == -32603
        with pytest.raises(ValueError, match="'c' is no root"):
            client.set_roots(["c"])
        client.set_roots(["file:///c"])
        assert await ask(client, "roots/list") == {"roots": [{"uri": "file:///c"}]}


async def test_a_client_without_roots_cannot_set_them() -> None:
    async with connect(Server("s")) as client:
        with pytest.raises(LocalProtocolError, match="no roots were declared"):
            client.set_roots(["file:///a"])


# Sampling


def say(*blocks: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=list(blocks), model="m")


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


RESULT = {"type": "tool_result", "toolUseId": "1", "content": [text("x")]}
USE = {"type": "tool_use", "id": "1", "name": "t", "input": {}}


@pytest.mark.requirement("client/sampling/rejection-errors", "client/sampling/content-validated")
@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "user", "content": RESULT}], "answers no tool use"),
        ([{"role": "assistant", "content": USE}], "tool result missing for 1"),
        (
            [
                {"role": "assistant", "content": [USE]},
                {"role": "user", "content": [RESULT, text("x")]},
            ],
            "tool results are mixed with other content",
        ),
        ([{"role": "user", "content": {"type": "text"}}], "text"),
    ],
)
async def test_conversations_that_break_the_rules(messages: list[Any], says: str) -> None:
    def fail(params: CreateMessageParams) -> CreateMessageResult:
        raise AssertionError("it must not come this far")

    callbacks = Callbacks(sampling=fail, sampling_tools=True)
    method = "sampling/createMessage"
    error = await answered(callbacks, method, messages=messages, maxTokens=5)
    assert error["code"] == -32602
    assert says in error["message"]


@pytest.mark.parametrize(
    ("revision", "answer", "expected"),
    [
        ("2025-11-25", say(TextContent(text="a")), [text("a")]),
        ("2025-06-18", say(TextContent(text="a")), text("a")),
        ("2025-03-26", say(TextContent(text="a", meta={"k": 1})), text("a")),
        ("2025-06-18", say(TextContent(text="a"), TextContent(text="b")), "one block of content"),
        ("2025-03-26", say(ToolUseContent(id="1", name="t", input={})), "has no tools in sampling"),
    ],
)
async def test_answers_of_the_model_in_the_words_of_the_revision(
    revision: str, answer: CreateMessageResult, expected: Any
) -> None:
    callbacks = Callbacks(sampling=lambda params: answer)
    params = {"messages": [{"role": "user", "content": text("?")}], "maxTokens": 5}
    async with connect(PROGRAM, callbacks=callbacks, revision=revision) as client:
        reply = await ask(client, "sampling/createMessage", params)
    if isinstance(expected, str):
        assert reply["code"] == -32603
        assert expected in reply["message"]
    else:
        assert reply == {"role": "assistant", "content": expected, "model": "m"}


# Elicitation


async def visited(url: str, callbacks: Callbacks) -> Any:
    visit = {"mode": "url", "message": "m", "url": url, "elicitationId": "e"}
    return await answered(callbacks, "elicitation/create", **visit)


async def filled_in(form: Any, callbacks: Callbacks) -> Any:
    return await answered(callbacks, "elicitation/create", message="m", requestedSchema=form)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "x", "https://"])
async def test_urls_that_nobody_should_visit(url: str) -> None:
    asked: list[Any] = []
    reply = await visited(url, Callbacks(elicitation_url=asked.append))
    assert reply["code"] == -32602
    assert "cannot be visited" in reply["message"]
    assert asked == []


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"properties": []}, "`properties`"),
        ({"properties": None}, "`properties`"),
        ({"properties": {}, "required": 5}, "`required`"),
        ({"properties": {}, "required": [["n"]]}, "`required`"),
    ],
)
async def test_forms_that_nobody_could_fill_in(members: dict[str, Any], says: str) -> None:
    asked: list[Any] = []
    reply = await filled_in({"type": "object", **members}, Callbacks(elicitation=asked.append))
    assert reply["code"] == -32602
    assert says in reply["message"]
    assert asked == []


async def test_fields_that_no_form_may_have_are_left_to_the_callback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    callbacks = Callbacks(elicitation=lambda params: {"a": 1, "n": 2})
    nullable = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema = {"type": "object", "properties": {"a": nullable, "n": {"type": "integer"}, "b": "?"}}
    with caplog.at_level(logging.ERROR):
        reply = await filled_in(schema, callbacks)
    assert reply == {"action": "accept", "content": {"a": 1, "n": 2}}
    assert caplog.records == []


NEEDED: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "m": {"type": "integer", "default": 7}},
    "required": ["n"],
}


def by_hand(action: Any, content: Any = None, **more: Any) -> ElicitResult:
    return ElicitResult(action=action, content=content, **more)


@pytest.mark.requirement("client/elicitation/client-validates", "client/elicitation/both-validate")
@pytest.mark.parametrize("name", ["2025-11-25", MODERN])
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (by_hand("accept", {"n": "NO"}), "n: expected an integer"),
        (by_hand("accept"), "n: missing"),
        (by_hand("whatever"), "action 'whatever' does not exist"),
        ({"n": 1.5}, "n: expected an integer"),
        ({}, "n: missing"),
        ("yes", "returned str, which is no ElicitResult"),
        (True, "returned bool, which is no ElicitResult"),
    ],
)
async def test_answers_that_break_the_form_do_not_leave(
    name: str, answer: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    got = list[Any]()

    async def ask_user(context: Context) -> str:
        got.append(await context.elicit("?", NEEDED))
        return "answered"

    callbacks = Callbacks(elicitation=lambda params: answer)
    if name == MODERN:
        with pytest.raises(InputFailed, match=problem):
            await outcome(ask_user, name, callbacks)
    else:
        result = await outcome(ask_user, name, callbacks)
        assert "the client failed to answer" in str(result.content)
        assert problem in str(caplog.records[0].exc_info)
    assert got == []


@pytest.mark.requirement("client/elicitation/defaults-filled")
@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (by_hand("accept", {"n": 1}), {"action": "accept", "content": {"n": 1, "m": 7}}),
        (
            by_hand("accept", {"n": 1, "m": 2}, meta={"k": 1}),
            {"action": "accept", "content": {"n": 1, "m": 2}, "_meta": {"k": 1}},
        ),
        ({"n": 1}, {"action": "accept", "content": {"n": 1, "m": 7}}),
        (by_hand("decline", {"n": 1}), {"action": "decline"}),
        (by_hand("cancel", {"n": 1}), {"action": "cancel"}),
        (None, {"action": "decline"}),
    ],
)
async def test_answers_leave_complete_and_without_what_was_not_given(
    answer: Any, reply: dict[str, Any]
) -> None:
    callbacks = Callbacks(elicitation=lambda params: answer)
    assert await filled_in(NEEDED, callbacks) == reply


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (by_hand("accept", {"n": 1}), {"action": "accept"}),
        (None, {"action": "decline"}),
        ({"n": 1}, {"code": -32603, "message": "the client failed to answer"}),
    ],
)
async def test_visits_have_no_content(answer: Any, reply: dict[str, Any]) -> None:
    said = await visited("https://x.test/", Callbacks(elicitation_url=lambda params: answer))
    if "message" in said:
        said["message"] = without_id(said["message"])
    assert said == reply


@pytest.mark.parametrize("name", ["2025-06-18", MODERN])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"role": "assistant", "content": text("a"), "model": "m"}, "a"),
        ({"role": "assistant", "content": text("a")}, "model"),
        ("a", "returned str, not a CreateMessageResult"),
    ],
)
async def test_a_model_that_answers_by_a_mapping(
    name: str, answer: Any, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(context: Context) -> str:
        said = (await context.sample("?", 5)).content
        return said.text if isinstance(said, TextContent) else ""

    callbacks = Callbacks(sampling=lambda params: answer)
    try:
        told = str((await outcome(talk, name, callbacks)).content)
    except InputFailed as error:
        told = str(error)
    assert expected in told + "".join(str(record.exc_info) for record in caplog.records)


# What a callback is given, and what of its answer reaches the handler


async def test_what_is_called_with_its_context() -> None:
    seen: list[Any] = []

    def plain(params: ElicitParams, place: str = "here") -> dict[str, Any]:
        seen.append(place)
        return {"n": 1}

    class Form:
        def __call__(self, params: ElicitParams, context: CallbackContext) -> dict[str, Any]:
            seen.append(context.method)
            return {"n": 1}

    def any_number(*args: Any) -> dict[str, Any]:
        seen.append(len(args))
        return {"n": 1}

    for callback in (plain, Form(), any_number):
        assert (await filled_in(FORM, Callbacks(elicitation=callback)))["action"] == "accept"
    assert seen == ["here", "elicitation/create", 1]


@pytest.mark.parametrize("name", ["2025-11-25", MODERN])
async def test_the_metadata_of_answers_reaches_the_handler(name: str) -> None:
    found: list[Any] = []

    async def ask_all(context: Context) -> None:
        form = await context.elicit("?", FORM)
        visit = await context.elicit_url("?", "https://x.test/", key="v")
        roots = await context.list_roots()
        words = await context.sample("?", 5)
        found[:] = [form.meta, visit.meta, roots.meta, words.meta]

    callbacks = Callbacks(
        elicitation=lambda params: by_hand("accept", {"n": 1}, meta={"a": 1}),
        elicitation_url=lambda params: by_hand("decline", meta={"b": 2}),
        roots=lambda: ListRootsResult(roots=[Root(uri="file:///a")], meta={"c": 3}),
        sampling=lambda params: CreateMessageResult(
            role="assistant", content=TextContent(text="a"), model="m", meta={"d": 4}
        ),
    )
    await outcome(ask_all, name, callbacks)
    assert found == [{"a": 1}, {"b": 2}, {"c": 3}, {"d": 4}]


# Sampling with tools, from one source and with the same callback in both eras


@pytest.mark.requirement("client/sampling/tools-declared", "client/sampling/tools-undeclared")
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_a_loop_of_tools_in_sampling(revision: str) -> None:
    seen: list[CreateMessageParams] = []

    async def weather(context: Context) -> str:
        tools = [{"name": "measure", "inputSchema": {"type": "object"}}]
        talk: list[Any] = [{"role": "user", "content": text("How warm is it?")}]
        first = await context.sample(talk, 100, tools=tools, toolChoice={"mode": "required"})
        assert isinstance(first.content, list)
        uses = [block for block in first.content if isinstance(block, ToolUseContent)]
        talk.append({"role": "assistant", "content": first.content})
        results = [
            {"type": "tool_result", "toolUseId": use.id, "content": [text(f"{use.input['at']} C")]}
            for use in uses
        ]
        talk.append({"role": "user", "content": results})
        last = await context.sample(talk, 100, tools=tools, toolChoice={"mode": "none"})
        assert isinstance(last.content, TextContent)
        return last.content.text

    def model(params: CreateMessageParams) -> CreateMessageResult:
        seen.append(params)
        if len(params.messages) == 1:
            return say(
                *(ToolUseContent(id=str(n), name="measure", input={"at": n}) for n in (1, 2))
            )
        last = params.messages[-1].content
        assert isinstance(last, list)
        words = TextContent(text=f"{len(last)} results")
        return CreateMessageResult(role="assistant", content=words, model="m")

    callbacks = Callbacks(sampling=model, sampling_tools=True)
    assert (await outcome(weather, revision, callbacks)).text == "2 results"
    choices = [params.tool_choice.mode if params.tool_choice else None for params in seen]
    assert choices == ["required", "none"]
    undeclared = Callbacks(sampling=model)
    if revision == MODERN:
        with pytest.raises(McpError, match=r"sampling\.tools"):
            await outcome(weather, revision, undeclared)
    else:
        refused = await outcome(weather, revision, undeclared)
        assert refused.is_error is True
        assert "sampling.tools" in str(refused.content)
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["2025-06-18", MODERN])
async def test_callbacks_see_the_metadata_of_the_question(name: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def ask_roots(context: Context) -> int:
        return len(await context.list_roots(meta={"traceparent": trace}))

    seen: list[Any] = []

    def roots(context: CallbackContext) -> list[str]:
        seen.append(context.meta.traceparent)
        return []

    await outcome(ask_roots, name, Callbacks(roots=roots))
    assert seen == [trace]
