"""What MCPServer of SDK 2.x and fastmcp alone offer: rounds, as the official suite wants them.

There tools and a prompt ask with ``InputRequiredResult``, in revisions that have rounds.
"""

from collections.abc import Callable
from typing import Annotated, Any

import mcp_types as types
from pydantic import Field

from conformance.interop.sdk.asking import form, missing, sampling, texts
from conformance.interop.sdk.serving import Ways

_PREFIX = "test_input_required_result_"


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


def _asked(context: type, name: str, questions: dict[str, Any]) -> Callable[..., Any]:
    async def run(ctx: context) -> Any:  # type: ignore[valid-type]  # the library's
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

    @ways.server.tool(**ways.plain)
    async def test_x_mcp_header(
        region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
    ) -> str:
        """Take an argument that is mirrored into a header, which the SDK compares."""
        return f"region: {region}"


def keep(low: Any, ways: Ways) -> None:
    """Have the low-level server keep what clients of the handshake era ask it to."""
    kept = ways.remembered

    async def subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
        kept.subscribe(ways.session(ctx), params.uri)
        return types.EmptyResult()

    async def unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        kept.unsubscribe(ways.session(ctx), params.uri)
        return types.EmptyResult()

    async def forget_roots(ctx: Any, params: object) -> None:
        kept.roots.pop(ways.session(ctx), None)

    low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribe)
    low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, unsubscribe)
    low.add_notification_handler(
        "notifications/roots/list_changed", types.NotificationParams, forget_roots
    )
