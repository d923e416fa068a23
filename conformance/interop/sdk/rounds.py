"""Tools and a prompt that ask in rounds, with ``InputRequiredResult``, as the official suite wants.

For MCPServer of SDK 2.x and for fastmcp, in revisions that have rounds.
"""

from collections.abc import Callable
from typing import Any

import mcp_types as types

from conformance.interop.sdk.serving import Ways, question

_PREFIX = "test_input_required_result_"


def form(message: str, schema: dict[str, Any]) -> types.ElicitRequest:
    """Ask the user to fill in a form."""
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def texts(*names: str) -> dict[str, Any]:
    """Make a form of required texts."""
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": list(names)}


def sampling(prompt: str, **more: Any) -> types.CreateMessageRequest:
    """Ask the client's model."""
    params = types.CreateMessageRequestParams(messages=question(prompt), max_tokens=100, **more)
    return types.CreateMessageRequest(params=params)


_ALL = {
    "user_name": form("What is your name?", texts("name")),
    "greeting": sampling("Write a greeting"),
    "client_roots": types.ListRootsRequest(),
}
_CAPABILITIES = {"user_name": "elicitation", "greeting": "sampling", "client_roots": "roots"}
_CONFIRM = {"confirm": form("Please confirm", texts("ok"))}
_QUESTIONS: dict[str, dict[str, Any]] = {
    "elicitation": {"user_name": _ALL["user_name"]},
    "sampling": {"capital_question": sampling("What is the capital of France?")},
    "list_roots": {"client_roots": _ALL["client_roots"]},
    "request_state": _CONFIRM,
    "tampered_state": _CONFIRM,
    "multiple_inputs": _ALL,
    "capabilities": _ALL,
}
"""Questions of each tool, without the prefix of its name."""


def missing(
    ctx: Any, questions: dict[str, Any], state: str | None = None
) -> types.InputRequiredResult | None:
    """Return the result that asks what is not answered yet; None if all is."""
    given = ctx.input_responses or {}
    wanted = {key: each for key, each in questions.items() if key not in given}
    if not wanted:
        return None
    return types.InputRequiredResult(input_requests=wanted, request_state=state)


def _asked(context: type, name: str, questions: dict[str, Any]) -> Callable[..., Any]:
    async def run(ctx: context) -> str | types.InputRequiredResult:  # type: ignore[valid-type]  # the SDK's
        wanted = questions
        if name == "capabilities":
            able = ctx.session.client_capabilities
            wanted = {key: each for key, each in _ALL.items() if getattr(able, _CAPABILITIES[key])}
        found = missing(ctx, wanted, "state-ok")
        given = {key: each.model_dump() for key, each in (ctx.input_responses or {}).items()}
        return found or f"{ctx.request_state}: {given}"

    return run


def offer_rounds(ways: Ways) -> None:
    """Add all to a server."""
    for name, questions in _QUESTIONS.items():
        made = ways.server.tool(name=_PREFIX + name, description="Ask the client.", **ways.plain)
        made(_asked(ways.context, name, questions))

    @ways.server.prompt(name=_PREFIX + "prompt")
    async def about(ctx: ways.context) -> Any:  # type: ignore[name-defined]  # the library's
        """Ask the user before it is filled in."""
        wanted = form("What is this about?", texts("response"))
        return missing(ctx, {"user_context": wanted}) or "Let us talk about it."
