"""Tools and a prompt that ask the client: elicitation, sampling, roots, in one round or several.

Each handler is written once and serves both eras.
"""

import json
import secrets
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from mcpcore import Context, Elicit, Elicited, ElicitUrl, Input, ListRoots, Sample, user
from mcpcore.types import (
    CreateMessageResult,
    PromptMessage,
    SamplingMessage,
    TextContent,
    ToolResultContent,
    ToolUseContent,
)
from mcpcore_conformance.everything.app import server
from mcpcore_conformance.everything.schemas import DEFAULTS_FORM, ENUMS_FORM

MAX_TOKENS = 100
PERSON_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}

_under_way: dict[str, Callable[[], bool]] = {}
"""Session to what tells its client that the visit has ended."""
_visited: set[str] = set()
"""Sessions whose visit has ended."""


class Name(Struct):
    """A form with a name."""

    name: str


class Consent(Struct):
    """A form with a yes or no."""

    ok: bool


class Word(Struct):
    """A form with one word, which may be left out."""

    response: str = ""


def said(answer: Elicited[Any]) -> str:
    """Put an elicitation's outcome into words."""
    return f"action={answer.action}, content={json.dumps(answer.content)}"


def text_of(answer: CreateMessageResult) -> str:
    """The text of what the model said."""
    blocks = answer.content if isinstance(answer.content, list) else [answer.content]
    return " ".join(block.text for block in blocks if isinstance(block, TextContent))


@server.tool
async def test_ping_client(context: Context) -> str:
    """Asks whether the client is there."""
    await context.ping()
    return "the client is there"


@server.tool
async def test_sampling(context: Context, prompt: str) -> str:
    """Asks the client's model."""
    return f"LLM response: {text_of(await context.sample(prompt, MAX_TOKENS))}"


@server.tool
async def test_sampling_with_tools(context: Context) -> str:
    """Asks the client's model, gives it a tool that it must use, and tells it what came of it."""
    numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    add = {"name": "add", "inputSchema": {"type": "object", "properties": numbers}}
    asked = SamplingMessage(role="user", content=TextContent(text="Two and two?"))
    answer = await context.sample([asked], MAX_TOKENS, tools=[add], toolChoice={"mode": "required"})
    blocks = answer.content if isinstance(answer.content, list) else [answer.content]
    uses = [block for block in blocks if isinstance(block, ToolUseContent)]
    if not uses:
        return f"LLM response: {text_of(answer)}"
    results = [
        ToolResultContent(tool_use_id=use.id, content=[TextContent(text="4")]) for use in uses
    ]
    said = SamplingMessage(role="assistant", content=blocks)
    told = SamplingMessage(role="user", content=[*results])
    await context.sample([asked, said, told], MAX_TOKENS, tools=[add], toolChoice={"mode": "none"})
    given = " ".join(f"{name}={value}" for name, value in uses[0].input.items())
    return f"the model uses {uses[0].name} with {given}"


@server.tool
async def test_elicitation(context: Context, message: str) -> str:
    """Asks the user."""
    return f"User response: {said(await context.elicit(message, PERSON_FORM))}"


@server.tool
async def test_elicitation_sep1034_defaults(context: Context) -> str:
    """Asks the user with a form full of defaults."""
    answer = await context.elicit("Please review and update the form fields", DEFAULTS_FORM)
    return f"Elicitation completed: {said(answer)}"


@server.tool
async def test_elicitation_sep1330_enums(context: Context) -> str:
    """Asks the user to choose; the choices are not checked."""
    answer = await context.elicit("Please select from the options", ENUMS_FORM, validate=False)
    return f"Elicitation completed: {said(answer)}"


@server.tool
async def test_elicitation_url(context: Context) -> str:
    """Asks the user to visit a page."""
    visit = await context.remember("visit", lambda: secrets.token_hex(8))
    url = f"https://example.com/sign-in?visit={visit}"
    answer = await context.elicit_url("Please sign in", url, key="visit", elicitation_id=visit)
    if answer.accepted:  # nobody signs in here, so that the visit ends at once
        context.notify("notifications/elicitation/complete", {"elicitationId": visit})
    return f"Elicitation completed: action={answer.action}"


@server.tool
async def test_url_elicitation_required(context: Context) -> str:
    """Refuses to work until test_finish_visit was called; where there are rounds, asks instead."""
    url = "https://example.com/sign-in"
    if context.revision.input_rounds:
        answer = await context.elicit_url("Please sign in first", url, key="visit")
        return "signed in" if answer.accepted else "not signed in"
    session = context.session or ""
    if session in _visited:
        _visited.discard(session)
        return "signed in"
    visit = ElicitUrl("Please sign in first", url)
    _under_way[session] = context.elicitation_completer(visit.elicitation_id)
    context.url_elicitation_required(visit)


@server.tool
async def test_finish_visit(context: Context) -> str:
    """Ends the visit that test_url_elicitation_required waits for."""
    session = context.session or ""
    complete = _under_way.pop(session, None)
    if complete is None:
        return "nobody is on their way"
    _visited.add(session)
    complete()
    return "the user has signed in"


@server.tool
async def test_list_roots(context: Context) -> str:
    """Asks where the client lets us work."""
    return " ".join(root.uri for root in await context.list_roots()) or "no roots"


@server.tool
async def test_streaming_elicitation(context: Context) -> str:
    """Asks the user, after a word of progress."""
    context.progress(1, 2)
    return (
        f"Elicitation completed: {said(await context.elicit('Shall we go on?', {**DEFAULTS_FORM}))}"
    )


@server.tool
async def test_input_required_result_elicitation(context: Context) -> str:
    """Asks for a name."""
    answer = await context.elicit("What is your name?", Name, key="user_name")
    return f"Hello, {answer.content.name}!" if answer.content else "Hello, whoever you are!"


@server.tool
async def test_input_required_result_sampling(context: Context) -> str:
    """Asks the client's model for a capital."""
    question = "What is the capital of France?"
    answer = await context.sample(question, MAX_TOKENS, key="capital_question")
    return f"LLM response: {text_of(answer)}"


@server.tool
async def test_input_required_result_list_roots(context: Context) -> str:
    """Asks for the roots."""
    roots = await context.list_roots(key="client_roots")
    return f"Roots: {', '.join(root.uri for root in roots)}"


@server.tool
async def test_input_required_result_request_state(context: Context) -> str:
    """Asks for consent and keeps something between the rounds."""
    kept = await context.remember("note", lambda: "state-ok")
    answer = await context.elicit("Please confirm", Consent, key="confirm")
    return f"{kept}: {answer.action}"


@server.tool
async def test_input_required_result_multiple_inputs(context: Context) -> str:
    """Asks for three things at once."""
    answers = await context.gather_inputs(
        {
            "user_name": Elicit("What is your name?", Name),
            "greeting": Sample("Write a greeting", MAX_TOKENS),
            "client_roots": ListRoots(),
        }
    )
    return (
        f"{answers['user_name'].action}, {text_of(answers['greeting'])}, "
        f"{len(answers['client_roots'])} roots"
    )


@server.tool
async def test_input_required_result_multi_round(context: Context) -> str:
    """Asks for one thing after the other."""
    first = await context.elicit("Step 1: what is your name?", Name, key="step1")
    second = await context.elicit("Step 2: what is your favourite colour?", Word, key="step2")
    return f"step 1: {first.action}, step 2: {second.action}"


@server.tool
async def test_input_required_result_tampered_state(context: Context) -> str:
    """Asks for consent with a state that must come back as it was."""
    kept = await context.remember("secret", lambda: "integrity")
    answer = await context.elicit("Please confirm", Consent, key="confirm")
    return f"{kept} kept: {answer.action}"


@server.tool
async def test_input_required_result_capabilities(context: Context) -> str:
    """Asks for whatever the client can give, and for nothing else."""
    questions: dict[str, Input[Any]] = {
        "user_name": Elicit("What is your name?", Name),
        "greeting": Sample("Write a greeting", MAX_TOKENS),
        "client_roots": ListRoots(),
    }
    wanted = {key: each for key, each in questions.items() if context.supports(each.capability)}
    answers = await context.gather_inputs(wanted)
    return f"answered: {', '.join(answers) or 'nothing, as nothing could be asked'}"


@server.prompt
async def test_input_required_result_prompt(context: Context) -> list[PromptMessage]:
    """Asks the user before it is filled in."""
    answer = await context.elicit("What is this about?", Word, key="user_context")
    about = answer.content.response if answer.content else "nothing in particular"
    return [user(f"Let us talk about {about}.")]
