"""The reference client: does what a scenario of the official suite asks of a client.

``python -m mcpcore_conformance.everything.client URL``; the scenario, the revision and its details
come in the environment (``MCP_CONFORMANCE_SCENARIO``, ``MCP_CONFORMANCE_PROTOCOL_VERSION``,
``MCP_CONFORMANCE_CONTEXT``).  An unknown scenario, or none, gets a tour of everything.  What this
project's own suite asks for besides is in ``docs/how-to/conformance-clients.md``: other addresses
than http, and the scenario ``script``.
"""

import logging
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from mcpcore import (
    Callbacks,
    Client,
    ClientSettings,
    Implementation,
    Limits,
    LocalError,
    McpError,
    Negotiation,
    ReconnectSettings,
    connect,
)
from mcpcore.spec.revisions import BY_NAME
from mcpcore.types import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
    TextContent,
    Tool,
)
from mcpcore_conformance.everything.script import AnyioPace, Script
from mcpcore_conformance.everything.sign_in import PREFIX, signing_in

SCENARIO = "MCP_CONFORMANCE_SCENARIO"
REVISION = "MCP_CONFORMANCE_PROTOCOL_VERSION"
CONTEXT = "MCP_CONFORMANCE_CONTEXT"

logger = logging.getLogger("everything.client")

_SAMPLES: dict[str, Any] = {
    "string": "test",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
}
"""An argument of each type."""


async def list_tools(client: Client) -> None:
    """List the tools and nothing more."""
    await client.tools()


async def call_tools(client: Client) -> None:
    """Call every tool that may be called, with arguments made from its schema."""
    for tool in await client.tools():
        await call_tool(client, tool)


async def call_tool(client: Client, tool: Tool) -> None:
    """Call one tool; its failure is told, and stops nothing."""
    try:
        await client.call_tool(tool.name, sample_arguments(tool))
    except (McpError, LocalError) as error:
        logger.warning("tool %s: %s", tool.name, error)


def sample_arguments(tool: Tool) -> dict[str, Any]:
    """Make up a value for each required argument."""
    properties = tool.input_schema.get("properties", {})
    wanted = tool.input_schema.get("required", list(properties))
    return {
        name: _SAMPLES.get(properties.get(name, {}).get("type", "string"), "test")
        for name in wanted
    }


async def add_numbers(client: Client) -> None:
    """Call the calculator."""
    await client.tools()
    await client.call_tool("add_numbers", {"a": 5, "b": 3})


async def fill_form(client: Client) -> None:
    """Call the tool that sends a form with defaults; the callback leaves all fields out."""
    await client.tools()
    await client.call_tool("test_client_elicitation_defaults", {})


async def reconnect(client: Client) -> None:
    """Call the tool whose stream breaks off before the answer."""
    await client.tools()
    await client.call_tool("test_reconnection", {})


async def discover(client: Client) -> None:
    """Send some plain requests."""
    await client.discover()
    await call_tools(client)


async def tour(client: Client) -> None:
    """Use everything that the server declares."""
    await call_tools(client)
    if client.capabilities.resources is not None:
        for resource in await client.resources():
            await client.read_resource(resource.uri)
    if client.capabilities.prompts is not None:
        for prompt in await client.prompts():
            await client.get_prompt(
                prompt.name, {each.name: "test" for each in prompt.arguments} or None
            )


async def mirror_arguments(client: Client) -> None:
    """Make exactly the calls that the context names."""
    await client.tools()
    for call in context().get("toolCalls", []):
        await client.call_tool(call["name"], call.get("arguments"))


async def keep_state(client: Client) -> None:
    """Go through input rounds with and without state."""
    await client.tools()
    for kind in ("echo_state", "unrelated", "no_state", "no_result_type"):
        await client.call_tool(f"test_mrtr_{kind}", {})


async def echo_schema(client: Client) -> None:
    """Send a tool's input schema back as it came."""
    tools = {tool.name: tool for tool in await client.tools()}
    schema = tools["json_schema_2020_12_tool"].input_schema
    await client.call_tool("json_schema_echo", {"schema": schema})


async def list_skills(client: Client) -> None:
    """List the skills, and read nothing."""
    await client.skills()


async def load_skills(client: Client) -> None:
    """Load every skill that is listed, and read its files."""
    for skill in await client.skills():
        loaded = await client.load_skill(skill)
        for path in loaded.files:
            await loaded.read(path)


Scenario = Callable[[Client], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {
    "initialize": list_tools,
    "tools_call": add_numbers,
    "elicitation-sep1034-client-defaults": fill_form,
    "sse-retry": reconnect,
    "request-metadata": discover,
    "http-standard-headers": tour,
    "http-custom-headers": mirror_arguments,
    "http-invalid-tool-headers": call_tools,
    "sep-2322-client-request-state": keep_state,
    "json-schema-ref-no-deref": list_tools,
    "json-schema-2020-12-preservation": echo_schema,
    "sep-2640-client-no-prefetch": list_skills,
    **{f"sep-2640-client-verify-{what}": load_skills for what in ("digest", "size", "frontmatter")},
}
"""Scenario to what it takes."""


def context() -> dict[str, Any]:
    """The details of the scenario."""
    return msgspec.json.decode(os.environ.get(CONTEXT) or "{}", type=dict[str, Any])


def _field(rules: dict[str, Any]) -> Any:
    if rules.get("type") == "array":
        return [_field(rules.get("items", {}))]
    titled = rules.get("oneOf") or rules.get("anyOf") or []
    choices = rules.get("enum") or [option["const"] for option in titled]
    return choices[0] if choices else _SAMPLES[rules.get("type", "string")]


def declared(
    details: Mapping[str, Any], sleep: Callable[[float], Awaitable[None]] = anyio.sleep
) -> Callbacks:
    """What the client does for a server: everything, unless the context (``details``) says what.

    It agrees to everything, and takes the first of every choice; ``sleep`` waits where the context
    wants answers to take their time.
    """
    wanted = details.get("declare", ("elicitation", "sampling", "roots"))
    pause = details.get("answer_after", 0)

    async def elicit(params: ElicitParams) -> dict[str, Any] | ElicitResult:
        await sleep(pause)
        action = details.get("elicitation", "accept")
        if action != "accept" or params.mode == "url":
            return ElicitResult(action=action)
        schema = params.requested_schema
        properties = schema["properties"] if schema else {}
        # defaults are left to the engine
        return {name: _field(rules) for name, rules in properties.items() if "default" not in rules}

    async def sample(params: CreateMessageParams) -> CreateMessageResult:
        await sleep(pause)
        text = TextContent(text="This is a test response from the client")
        return CreateMessageResult(role="assistant", content=text, model="test-model")

    return Callbacks(
        elicitation=elicit if "elicitation" in wanted else None,
        elicitation_url=elicit if "elicitation.url" in wanted else None,
        sampling=sample if "sampling" in wanted else None,
        sampling_tools="sampling.tools" in wanted,
        roots=details.get("roots", ["file:///test/root"]) if "roots" in wanted else None,
    )


def settings_for(revision: str | None, details: Mapping[str, Any]) -> ClientSettings:
    """Speak the era of the revision that the environment names."""
    row = None if revision is None else BY_NAME.get(revision)
    negotiation = Negotiation.AUTO
    if row is not None and not details.get("negotiate"):
        # A mock may choose an older revision of the same era.
        negotiation = Negotiation.MODERN if row.modern else Negotiation.LEGACY
    return ClientSettings(
        info=Implementation(name="mcpcore-everything-client", version="0.1.0"),
        negotiation=negotiation,
        limits=Limits(
            request_timeout=details.get("timeout", 20.0),
            max_timeout=details.get("maximum", 300.0),
        ),
        reconnect=ReconnectSettings(max_restarts=2),
    )


def target_of(address: str) -> str | list[str]:
    """A URL, or the command of a server after ``stdio:``."""
    scheme, _, command = address.partition(":")
    return shlex.split(command) if scheme == "stdio" else address


async def run(address: str, name: str, revision: str | None) -> None:
    """Play a scenario against a server."""
    details = context()
    callbacks = declared(details)
    settings = settings_for(revision, details)
    opening = partial(connect, target_of(address), callbacks=callbacks, settings=settings)
    if name == "script":
        write = Path(details["report"]).write_bytes
        await Script(opening, details, callbacks, write, AnyioPace()).play()
        return
    if name.startswith(PREFIX):
        auth, settings = signing_in(name, settings, details)
        opening = partial(opening, auth=auth, settings=settings)
    async with opening() as client:
        await SCENARIOS.get(name, tour)(client)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the scenario that the environment names against the URL; 0 if all went well."""
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) != 1:
        print("usage: python -m mcpcore_conformance.everything.client URL", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING)
    try:
        anyio.run(run, words[0], os.environ.get(SCENARIO, ""), os.environ.get(REVISION))
    except (McpError, LocalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
