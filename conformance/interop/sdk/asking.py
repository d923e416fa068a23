"""What the servers of all libraries ask of their client: tools that ask, and the visit of a page.

Where the era has rounds a tool returns what it asks, and is called again with the answer.
"""

from collections.abc import Callable
from typing import Any

import mcp
from mcp import types
from mcp.shared.exceptions import UrlElicitationRequiredError

from conformance.interop.sdk.serving import (
    ADD,
    DEFAULTS_FORM,
    ENUMS_FORM,
    SIGN_IN,
    Person,
    Ways,
    Word,
    question,
)

MISSING_CAPABILITY = -32021
ROUND = getattr(types, "InputRequiredResult", ())
"""Type of what a tool returns that asks; the line without it never needs one."""
KINDS: dict[type, tuple[str, type]] = {
    types.ElicitRequest: ("elicitation", types.ElicitResult),
    types.CreateMessageRequest: ("sampling", types.CreateMessageResultWithTools),
    types.ListRootsRequest: ("roots", types.ListRootsResult),
}
"""Capability that each question needs, and the type of its answer."""


def form(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    """Ask the user to fill in a form."""
    params = types.ElicitRequestFormParams(message=message, requestedSchema=schema)
    return types.ElicitRequest(params=params)


def texts(*names: str) -> dict[str, Any]:
    """Make a form of required texts."""
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": list(names)}


def sampling(prompt: str, **more: Any) -> types.CreateMessageRequest:
    """Ask the client's model."""
    params = types.CreateMessageRequestParams(messages=question(prompt), maxTokens=100, **more)
    return types.CreateMessageRequest(params=params)


def calls_back(ctx: Any) -> bool:
    """Whether the client is asked while the call runs, not in rounds."""
    return getattr(ctx.session, "can_send_request", True)


def missing(ctx: Any, questions: dict[str, Any], state: str | None = None) -> Any:
    """Return the result that asks what is not answered yet; None if all is."""
    given = ctx.input_responses or {}
    wanted = {key: each for key, each in questions.items() if key not in given}
    if not wanted:
        return None
    for each in wanted.values():
        name, _ = KINDS[type(each)]
        if getattr(ctx.session.client_capabilities, name) is None:
            needs = {"requiredCapabilities": {name: {}}}
            raise mcp.MCPError(MISSING_CAPABILITY, f"the client has no {name}", needs)
    return types.InputRequiredResult(inputRequests=wanted, requestState=state)


def offer_questions(ways: Ways) -> None:
    """Add the tools that ask one thing or two; what the library asks in its own way is there."""

    async def ask(ctx: Any, question: Any, key: str = "asked", state: str | None = None) -> Any:
        if calls_back(ctx):
            return await ways.send(ctx, question, KINDS[type(question)][1])
        return missing(ctx, {key: question}, state) or ctx.input_responses[key]

    async def told(ctx: Any, question: Any, tell: Callable[[Any], str]) -> Any:
        answer = await ask(ctx, question)
        return answer if isinstance(answer, ROUND) else tell(answer)

    def filled(answer: Any) -> str:
        return f"action={answer.action}, content={answer.content}"

    def used(answer: Any) -> str:
        (use,) = answer.content_as_list
        given = " ".join(f"{name}={value}" for name, value in use.input.items())
        return f"the model uses {use.name} with {given}"

    async def test_elicitation(ctx: ways.context, message: str) -> Any:
        """Ask the user and repeat the answer."""
        return await told(ctx, form(message, Person.model_json_schema()), filled)

    async def test_elicitation_sep1034_defaults(ctx: ways.context) -> Any:
        """Ask the user with a form full of defaults."""
        return await told(ctx, form("Please review", DEFAULTS_FORM), filled)

    async def test_elicitation_sep1330_enums(ctx: ways.context) -> Any:
        """Ask the user to choose."""
        return await told(ctx, form("Please choose", ENUMS_FORM), filled)

    async def test_elicitation_url(ctx: ways.context) -> Any:
        """Ask the user to visit a page; where calls go on, say that the visit has ended."""
        visit = f"visit-{ctx.request_id}"
        params = types.ElicitRequestURLParams(
            mode="url", message="Please sign in", url=SIGN_IN, elicitationId=visit
        )
        answer = await ask(ctx, types.ElicitRequest(params=params))
        if isinstance(answer, ROUND):
            return answer
        if calls_back(ctx) and answer.action == "accept":
            await ctx.session.send_elicit_complete(visit, ctx.request_id)
        return filled(answer)

    async def test_input_required_result_multi_round(ctx: ways.context) -> Any:
        """Ask for one thing after the other."""
        first = getattr(ctx, "request_state", None)
        if first is None:
            answer = await ask(ctx, form("Step 1: who are you?", Person.model_json_schema()))
            if isinstance(answer, ROUND):
                return answer
            first = answer.action
        insect = form("Step 2: what is your favourite insect?", Word.model_json_schema())
        second = await ask(ctx, insect, "second", first)
        if isinstance(second, ROUND):
            return second
        return f"step 1: {first}, step 2: {second.action}"

    async def test_sampling(ctx: ways.context, prompt: str) -> Any:
        """Ask the client's model and repeat the answer."""

        def repeated(answer: Any) -> str:
            content = answer.content
            return f"LLM response: {(content[0] if isinstance(content, list) else content).text}"

        return await told(ctx, sampling(prompt), repeated)

    async def test_sampling_with_tools(ctx: ways.context) -> Any:
        """Ask the client's model, and give it a tool that it must use."""
        tools = [types.Tool(name="add", inputSchema=ADD)]
        must = types.ToolChoice(mode="required")
        return await told(ctx, sampling("Two and two?", tools=tools, toolChoice=must), used)

    async def test_list_roots(ctx: ways.context) -> Any:
        """Name the client's roots, asked for again only after the client has said so."""
        known, session = ways.remembered.roots, ways.session(ctx)

        def named(answer: Any) -> str:
            text = " ".join(str(root.uri) for root in answer.roots)
            if calls_back(ctx):
                known[session] = text
            return text

        return known.get(session) or await told(ctx, types.ListRootsRequest(), named)

    for tool in (
        test_elicitation,
        test_elicitation_sep1034_defaults,
        test_elicitation_sep1330_enums,
        test_elicitation_url,
        test_input_required_result_multi_round,
        test_sampling,
        test_sampling_with_tools,
        test_list_roots,
    ):
        if tool.__name__ not in ways.own:
            ways.server.tool(**ways.plain)(tool)


def offer_visits(ways: Ways) -> None:
    """Add a tool that refuses to work until a page was visited, and one that ends the visit."""
    server, Context = ways.server, ways.context  # noqa: N806
    visited: set[str] = set()

    @server.tool(**ways.plain)
    async def test_url_elicitation_required() -> str:
        """Refuse to work until the visit has ended."""
        if visited:
            visited.clear()
            return "signed in"
        wanted = types.ElicitRequestURLParams(
            mode="url", message="Please sign in first", url=SIGN_IN, elicitationId="visit-first"
        )
        raise UrlElicitationRequiredError([wanted])

    @server.tool(**ways.plain)
    async def test_finish_visit(ctx: Context) -> str:
        """End the visit that test_url_elicitation_required waits for."""
        visited.add("visit-first")
        await ctx.session.send_elicit_complete("visit-first", ctx.request_id)
        return "the user has signed in"
