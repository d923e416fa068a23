"""The scenarios of the conformance kit for clients, over whatever a library offers.

A library gives three functions: list the tools, call one, list and read the rest.
"""

import json
import os
from typing import Any, Protocol

SCENARIO = "MCP_CONFORMANCE_SCENARIO"
REVISION = "MCP_CONFORMANCE_PROTOCOL_VERSION"
CONTEXT = "MCP_CONFORMANCE_CONTEXT"


class Library(Protocol):
    """What a scenario needs of a client."""

    async def tools(self) -> list[dict[str, Any]]:
        """All tools, as they came."""

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        """Call a tool."""

    async def rest(self) -> None:
        """List resources and prompts, and read one of each."""


async def play(library: Library) -> None:
    """Do what the environment asks for."""
    scenario = os.environ.get(SCENARIO, "")
    tools = await library.tools()
    match scenario:
        case "initialize" | "json-schema-ref-no-deref":
            return
        case "tools_call":
            await library.call("add_numbers", {"a": 5, "b": 3})
        case "sse-retry":
            await library.call("test_reconnection", {})
        case "elicitation-sep1034-client-defaults":
            await library.call("test_client_elicitation_defaults", {})
        case "http-custom-headers":
            for call in json.loads(os.environ.get(CONTEXT) or "{}").get("toolCalls", []):
                await library.call(call["name"], call.get("arguments") or {})
        case "sep-2322-client-request-state":
            for kind in ("echo_state", "unrelated", "no_state", "no_result_type"):
                await library.call(f"test_mrtr_{kind}", {})
        case _:
            for tool in tools:
                await library.call(tool["name"], _arguments(tool["inputSchema"]))
            await library.rest()


def _arguments(schema: dict[str, Any]) -> dict[str, Any]:
    made = {"string": "test", "integer": 1, "number": 1.5, "boolean": True, "object": {}}
    properties = schema.get("properties", {})
    return {
        name: made.get(properties.get(name, {}).get("type", "string"), [])
        for name in schema.get("required", [])
    }


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Fill a form: defaults where there are some, and the first of every choice."""
    return {name: _field(rules) for name, rules in schema.get("properties", {}).items()}


def _field(rules: dict[str, Any]) -> Any:
    if "default" in rules:
        return rules["default"]
    if rules.get("type") == "array":
        return [_field(rules.get("items", {}))]
    titled = rules.get("oneOf") or rules.get("anyOf") or []
    choices = rules.get("enum") or [option["const"] for option in titled]
    made = {"string": "test", "integer": 1, "number": 1.5, "boolean": True}
    return choices[0] if choices else made.get(rules.get("type", ""), "test")
