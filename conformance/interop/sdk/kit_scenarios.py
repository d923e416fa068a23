"""The scenarios of the conformance kit for clients, over one connection."""

import json
import os
from contextlib import suppress
from typing import Any

SCENARIO = "MCP_CONFORMANCE_SCENARIO"
REVISION = "MCP_CONFORMANCE_PROTOCOL_VERSION"
CONTEXT = "MCP_CONFORMANCE_CONTEXT"


async def play(connection: Any, refused: type[Exception]) -> None:
    """Do what the environment asks for; an error that the server answers with ends nothing."""
    scenario = os.environ.get(SCENARIO, "")
    tools = await connection.listing("tools")

    async def call(name: str, arguments: dict[str, Any]) -> None:
        with suppress(refused):
            await connection.call(name, arguments, None, None)

    match scenario:
        case "initialize" | "json-schema-ref-no-deref":
            return
        case "tools_call":
            await call("add_numbers", {"a": 5, "b": 3})
        case "sse-retry":
            await call("test_reconnection", {})
        case "elicitation-sep1034-client-defaults":
            await call("test_client_elicitation_defaults", {})
        case "http-custom-headers":
            for each in json.loads(os.environ.get(CONTEXT) or "{}").get("toolCalls", []):
                await call(each["name"], each.get("arguments") or {})
        case "sep-2322-client-request-state":
            for kind in ("echo_state", "unrelated", "no_state", "no_result_type"):
                await call(f"test_mrtr_{kind}", {})
        case _:
            for tool in tools:
                await call(tool["name"], _arguments(tool["inputSchema"]))
            with suppress(refused):
                for resource in (await connection.page("resources", None))[0]:
                    await connection.read(resource["uri"])
            with suppress(refused):
                for prompt in (await connection.page("prompts", None))[0]:
                    await connection.prompt(prompt["name"], None)


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
