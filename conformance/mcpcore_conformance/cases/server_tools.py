"""Cases of the page server/tools: the list, and what a tool is declared to be."""

import re
from typing import Any
from urllib.parse import urlsplit

from mcpcore_conformance.cases.server_lists import announced, listed, steady
from mcpcore_conformance.kit.apart import shape_problem
from mcpcore_conformance.kit.asking import entries
from mcpcore_conformance.kit.json_schema import schema_problem
from mcpcore_conformance.kit.lists import (
    check_same_everywhere,
    check_unique,
)
from mcpcore_conformance.kit.model import (
    ALL,
    MODERN,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    Page,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.usable import items, members
from mcpcore_conformance.kit.verdicts import MIRROR, check

page = Page("server/tools")
case = page.server(MODERN, needs=("tools",))

LONGEST_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MIRRORED = ("string", "integer", "boolean")
_COMPOSING = ("items", "prefixItems", "anyOf", "allOf", "oneOf", "not", "if", "then", "else")


listed(case, "tools", "names and input schemas")
steady(case, "tools", "name")


@case.should("capabilities/list-order", "The same order each time.")
async def same_order(talk: ServerTalk) -> None:
    """Tools are listed in the same order each time."""
    await check_same_everywhere(talk, "tools", "name", ordered=True)


announced(case, "tools", "test_trigger_tool_change", "tools")


async def _tools(talk: ServerTalk) -> list[dict[str, Any]]:
    found = await entries(await talk.open(), "tools/list", "tools")
    return found or talk.skip("the server lists no tools")


@case.must(
    "tool/input-schema",
    "inputSchema is a valid JSON Schema (2020-12 unless it says otherwise) of an object.",
    SINCE_2025_11_25,
)
async def input_schema(talk: ServerTalk) -> None:
    """The input schema of every tool is a valid JSON Schema of an object."""
    for tool in await _tools(talk):
        schema = tool.get("inputSchema")
        page_of_it = {"tools": [tool], "resultType": "complete"}
        flaw = "tools/list" if shape_problem("tools/list", page_of_it, talk.revision) else ""
        whole = isinstance(schema, dict)
        check(whole, f"inputSchema of {tool.get('name')} is {schema!r:.60}", flaw)
        problem = schema_problem(schema, "inputSchema")
        check(not problem, f"tool {tool.get('name')}: {problem}", flaw)


@case.must("tool/input-schema-type", 'inputSchema says "type": "object".', ALL)
async def input_schema_type(talk: ServerTalk) -> None:
    """The input schema of every tool is one of an object."""
    for tool in await _tools(talk):
        schema = tool.get("inputSchema")
        kind = schema.get("type") if isinstance(schema, dict) else schema
        what = f"the input of tool {tool.get('name')} has the type {kind!r:.60}"
        check(kind == "object", what, "tools/list")


@case.must(
    "tool/output-schema", "outputSchema, if there is one, is a valid JSON Schema.", SINCE_2025_06_18
)
async def output_schema(talk: ServerTalk) -> None:
    """The output schema of every tool that has one is a valid JSON Schema."""
    found = [tool for tool in await _tools(talk) if "outputSchema" in tool]
    if not found:
        talk.skip("no tool has an output schema")
    for tool in found:
        schema = tool["outputSchema"]
        check(isinstance(schema, dict), f"outputSchema of {tool.get('name')} is {schema!r:.60}")
        problem = schema_problem(schema, "outputSchema")
        check(not problem, f"tool {tool.get('name')}: {problem}")


@case.should("tool-names/length", "Names of 1 to 128 characters.", SINCE_2025_11_25)
async def name_length(talk: ServerTalk) -> None:
    """Tool names have 1 to 128 characters."""
    for tool in await _tools(talk):
        size = len(str(tool.get("name")))
        check(1 <= size <= LONGEST_NAME, f"{str(tool.get('name'))[:40]!r} has {size} characters")


@case.should(
    "tool-names/characters",
    "Names of ASCII letters, digits, underscore, hyphen and dot.",
    SINCE_2025_11_25,
)
async def name_characters(talk: ServerTalk) -> None:
    """Tool names have letters, digits, underscore, hyphen and dot only."""
    for tool in await _tools(talk):
        name = str(tool.get("name"))
        check(_NAME.fullmatch(name), f"the name {name!r:.60} has other characters")


@case.should("tool-names/unique", "No name twice.", ALL)
async def name_unique(talk: ServerTalk) -> None:
    """Tool names are unique in a server."""
    await check_unique(talk, "tools", "name")


@case.may(
    "tool/description",
    "A description that is not empty, so that a model knows what the tool is for.",
    ALL,
)
async def description(talk: ServerTalk) -> None:
    """Every tool has a description."""
    for tool in await _tools(talk):
        check(tool.get("description"), f"the tool {tool.get('name')} has no description")


@case.should("tool/icons", "Icons by http, https or data URIs.", SINCE_2025_11_25)
async def icons(talk: ServerTalk) -> None:
    """The icons of tools are at http, https or data URIs."""
    found = [tool for tool in await _tools(talk) if items(tool.get("icons"))]
    if not found:
        talk.skip("no tool has icons")
    for tool in found:
        for icon in tool["icons"]:
            source = str(icon.get("src")) if isinstance(icon, dict) else repr(icon)
            scheme = urlsplit(source).scheme
            check(
                scheme in ("http", "https", "data"),
                f"an icon of {tool.get('name')} is at {source[:60]!r}",
            )


def _mirrored(schema: Any, reachable: bool = True) -> list[tuple[dict[str, Any], bool]]:
    """The subschemas with x-mcp-header, and whether they can be reached by properties alone."""
    found: list[tuple[dict[str, Any], bool]] = []
    if isinstance(schema, list):
        for each in schema:
            found += _mirrored(each, False)
    if not isinstance(schema, dict):
        return found
    if "x-mcp-header" in schema:
        found.append((schema, reachable))
    for inner in members(schema.get("properties")).values():
        found += _mirrored(inner, reachable)
    for name in (*_COMPOSING, "additionalProperties"):
        found += _mirrored(schema.get(name), False)
    for inner in members(schema.get("$defs")).values():
        found += _mirrored(inner, False)
    return found


async def _annotated(talk: ServerTalk) -> list[tuple[str, list[tuple[dict[str, Any], bool]]]]:
    found = [
        (str(tool.get("name")), rules)
        for tool in await _tools(talk)
        if (rules := _mirrored(tool.get("inputSchema")))
    ]
    return found or talk.skip("no tool has x-mcp-header")


@case.must("x-mcp-header/token", "Values of x-mcp-header are tokens of RFC 9110, not empty.")
async def header_token(talk: ServerTalk) -> None:
    """What parameters are mirrored as are names that a header may have."""
    for name, found in await _annotated(talk):
        for rules, _ in found:
            value = rules["x-mcp-header"]
            good = isinstance(value, str) and _TOKEN.fullmatch(value)
            check(good, f"{name} has x-mcp-header {value!r:.60}", MIRROR)


@case.must(
    "x-mcp-header/unique", "No two values of x-mcp-header of a tool that differ in case only."
)
async def header_unique(talk: ServerTalk) -> None:
    """No two parameters of a tool are mirrored into the same header."""
    for name, found in await _annotated(talk):
        values = [str(rules["x-mcp-header"]).lower() for rules, _ in found]
        twice = {value for value in values if values.count(value) > 1}
        check(not twice, f"{name} has x-mcp-header {', '.join(twice)} more than once")


@case.must("x-mcp-header/primitive", "Only strings, integers and booleans are mirrored.")
async def header_primitive(talk: ServerTalk) -> None:
    """Only parameters of primitive types are mirrored, and no floating ones."""
    for name, found in await _annotated(talk):
        for rules, _ in found:
            kind = rules.get("type")
            check(kind in _MIRRORED, f"{name} mirrors a parameter of type {kind!r:.60}")


@case.must(
    "x-mcp-header/reachable", "Mirrored properties are reached from the root by properties alone."
)
async def header_reachable(talk: ServerTalk) -> None:
    """Only parameters that are statically reachable are mirrored."""
    for name, found in await _annotated(talk):
        for rules, reachable in found:
            check(reachable, f"{name} mirrors {rules['x-mcp-header']!r} from where it may not be")
