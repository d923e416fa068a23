"""One handler source for both eras: what it asks, what it gets, how often it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Raw, Struct

from mcpcore.errors import InvalidResponse
from mcpcore.service import Server
from mcpcore.spec.types.client_features import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.callbacks import CallbackContext, Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicited
from tests.clock import patience
from tests.transports.served import outcome

pytestmark = pytest.mark.anyio

ERAS = ("2025-11-25", "2026-07-28")


@pytest.fixture(params=ERAS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Person(Struct):
    name: str
    age: Annotated[int, Meta(ge=0)] = 30
    mood: Literal["good", "bad"] = "good"


class Careless(Callbacks, kw_only=True):
    """A client that does not look at what its user fills in."""

    def answer(self, params: Raw, context: CallbackContext) -> Any:
        """Send the callback's result as it is."""
        if context.method != "elicitation/create" or self.elicitation is None:
            return super().answer(params, context)
        return self.elicitation(msgspec.json.decode(params, type=ElicitParams))  # type: ignore[call-arg]


def sampled(params: CreateMessageParams) -> CreateMessageResult:
    block = params.messages[0].content
    assert isinstance(block, TextContent)
    answer = TextContent(text=f"{block.text}!")
    return CreateMessageResult(role="assistant", content=answer, model="m")


DEFAULT = Callbacks(
    elicitation=lambda params: {"name": "Ada"}, sampling=sampled, roots=["file:///r"]
)


@asynccontextmanager
async def serving(
    server: Server, revision: str, callbacks: Callbacks = DEFAULT
) -> AsyncIterator[Client]:
    with patience():
        async with connect(server, revision=revision, callbacks=callbacks) as client:
            yield client


async def test_typed_form(revision: str) -> None:
    seen: list[Elicited[Person]] = []

    async def ask(context: Context) -> str:
        seen.append(await context.elicit("Who are you?", Person))
        return "done"

    assert (await outcome(ask, revision, DEFAULT)).text == "done"
    assert seen == [Elicited("accept", Person(name="Ada", age=30, mood="good"))]


@pytest.mark.requirement("client/elicitation/refusals-handled")
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_the_user_may_say_no(revision: str, action: Literal["decline", "cancel"]) -> None:
    async def ask(context: Context) -> str:
        answer = await context.elicit("Who are you?", Person)
        return f"{answer.action} {answer.content} {answer.accepted}"

    callbacks = Callbacks(elicitation=lambda params: ElicitResult(action=action))
    assert (await outcome(ask, revision, callbacks)).text == f"{action} None False"


@pytest.mark.requirement(
    "basic/patterns/mrtr/questions-by-result", "basic/patterns/mrtr/fulfil-first"
)
async def test_every_kind_of_question(revision: str) -> None:
    async def ask(context: Context) -> str:
        url = await context.elicit_url("Sign in", "https://x.test/in")
        form = await context.elicit(
            "Colour?", {"type": "object", "properties": {"colour": {"type": "string"}}}
        )
        words = await context.sample("Hi", 10, systemPrompt="Be kind")
        roots = await context.list_roots()
        assert isinstance(words.content, TextContent)
        return f"{url.action} {form.content} {words.content.text} {roots[0].uri}"

    asked: list[ElicitParams] = []

    def visit(params: ElicitParams) -> ElicitResult:
        asked.append(params)
        return ElicitResult(action="accept")

    callbacks = Callbacks(
        elicitation=lambda params: {"colour": "red"},
        elicitation_url=visit,
        sampling=sampled,
        roots=lambda: ["file:///r"],
    )
    said = (await outcome(ask, revision, callbacks)).text
    assert said == "accept {'colour': 'red'} Hi! file:///r"
    assert [params.url for params in asked] == ["https://x.test/in"]


async def test_questions_one_after_the_other_and_what_is_remembered(revision: str) -> None:
    orders: list[int] = []

    async def order() -> dict[str, int]:
        orders.append(len(orders))
        return {"order": 7}

    async def ask(context: Context) -> str:
        made = await context.remember("order", order)
        again = await context.remember("order", order)
        first = await context.elicit("First?", Person)
        kept = await context.remember("word", lambda: "kept")
        second = await context.elicit("Second?", Person)
        third = await context.elicit("Second?", Person)  # the very same question, asked twice
        ages = [each.content.age for each in (first, second, third) if each.content]
        return f"{made} {again} {kept} {sum(ages)}"

    asked: list[str] = []

    def answer(params: ElicitParams) -> dict[str, Any]:
        asked.append(params.message)
        return {"name": "Ada", "age": 10 ** (len(asked) - 1)}

    said = (await outcome(ask, revision, Callbacks(elicitation=answer))).text
    assert said == "{'order': 7} {'order': 7} kept 111"
    assert asked == ["First?", "Second?", "Second?"]
    assert orders == [0]


async def test_remembered_values_have_their_type(revision: str) -> None:
    async def ask(context: Context) -> str:
        person = await context.remember("p", lambda: Person(name="Bob"), Person)
        plain = await context.remember("p", lambda: Person(name="Eve"))
        await context.elicit("Go on?", Person)
        return f"{person} {plain}"

    assert (await outcome(ask, revision, DEFAULT)).text == (
        "Person(name='Bob', age=30, mood='good') {'name': 'Bob', 'age': 30, 'mood': 'good'}"
    )


@pytest.mark.requirement("client/elicitation/server-validates", "client/elicitation/both-validate")
@pytest.mark.parametrize("typed", [True, False])
async def test_an_answer_that_does_not_fit_is_asked_for_again(revision: str, typed: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0}},
        "required": ["age"],
    }

    async def ask(context: Context) -> str:
        if typed:
            person = await context.elicit("Age?", Person)
            assert person.content
            return str(person.content.age)
        return str((await context.elicit("Age?", schema)).content)

    messages: list[str] = []

    def answer(params: ElicitParams) -> ElicitResult:
        messages.append(params.message)
        age = -1 if len(messages) == 1 else 7
        return ElicitResult(action="accept", content={"name": "Ada", "age": age})

    assert "7" in (await outcome(ask, revision, Careless(elicitation=answer))).text
    assert messages[0] == "Age?"
    assert len(messages) == 2
    assert messages[1].startswith("Age?\n\nThe last answer did not fit: ")
    assert "age" in messages[1]


async def test_a_client_that_never_answers_well_ends_the_call(revision: str) -> None:
    async def ask(context: Context) -> str:
        await context.elicit("Age?", Person)
        return "never"

    callbacks = Careless(
        elicitation=lambda params: ElicitResult(action="accept", content={"name": 5})
    )
    if revision == ERAS[0]:
        result = await outcome(ask, revision, callbacks)
        assert result.is_error is True
        assert "does not fit" in result.text
    else:
        with pytest.raises(InvalidResponse, match="more than 10 times"):
            await outcome(ask, revision, callbacks)


async def test_unchecked_forms_take_anything(revision: str) -> None:
    schema = {"type": "object", "properties": {"c": {"type": "string", "enum": ["a"]}}}

    async def ask(context: Context) -> str:
        return str((await context.elicit("?", schema, validate=False)).content)

    callbacks = Careless(
        elicitation=lambda params: ElicitResult(action="accept", content={"c": "z", "more": 1})
    )
    assert (await outcome(ask, revision, callbacks)).text == "{'c': 'z', 'more': 1}"


async def test_except_exception_does_not_swallow_a_question(revision: str) -> None:
    async def ask(context: Context) -> str:
        try:
            answer = await context.elicit("?", Person)
        except Exception as error:
            return f"swallowed {error!r}"
        return answer.action

    assert (await outcome(ask, revision, DEFAULT)).text == "accept"


async def test_prompts_and_resources_may_ask(revision: str) -> None:
    server = Server("s")

    @server.prompt
    async def greet(context: Context) -> str:
        answer = await context.elicit("Who?", Person)
        assert answer.content
        return f"Greet {answer.content.name}"

    @server.resource("test://{id}")
    async def read(id: str, context: Context) -> str:
        answer = await context.elicit("Who?", Person)
        assert answer.content
        return f"{id} for {answer.content.name}"

    async with serving(server, revision) as client:
        message = (await client.get_prompt("greet")).messages[0]
        assert isinstance(message.content, TextContent)
        assert message.content.text == "Greet Ada"
        contents = (await client.read_resource("test://7")).contents
        assert contents[0].text == "7 for Ada"


async def test_facts_about_the_request(revision: str) -> None:
    server = Server("s")
    facts: list[Any] = []

    @server.tool
    async def look(context: Context) -> str:
        facts.extend(
            (
                context.method,
                context.revision.name,
                context.meta.traceparent,
                context.client_info.name if context.client_info else None,
                context.supports("elicitation"),
                context.supports("elicitation.url"),
                context.session,
                context.principal,
                context.cancelled,
                type(context.request_id),
            )
        )
        return "seen"

    async with serving(server, revision) as client:
        await client.call_tool("look", meta={"traceparent": "00-1-2-01"})
    assert facts == [
        "tools/call",
        revision,
        "00-1-2-01",
        "mcpcore",
        True,
        False,
        None,
        None,
        False,
        int,
    ]
