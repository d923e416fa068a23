"""Cases of the page server/tools."""

import json
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from mcpcore.spec.revisions import BY_NAME, Span
from mcpcore_conformance.cases.server_lists import announced, listed, steady
from mcpcore_conformance.kit.apart import shape_problem
from mcpcore_conformance.kit.asking import call, entries, failed, worked
from mcpcore_conformance.kit.content import (
    block,
    called,
    check_base64,
    check_mime_type,
    check_result,
    each_answer,
    tried,
)
from mcpcore_conformance.kit.features import NONE_MAY_BE_CALLED, Tool, sampled
from mcpcore_conformance.kit.headers import mirrored
from mcpcore_conformance.kit.json_schema import schema_problem, value_problem
from mcpcore_conformance.kit.lists import check_same_everywhere, check_unique
from mcpcore_conformance.kit.messages import INVALID_PARAMS, Kind, Message
from mcpcore_conformance.kit.model import (
    ALL,
    LEGACY_SINCE_2025_06_18,
    MODERN,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    UNTIL_2025_03_26,
    Page,
)
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.talk import AnyTool, OpenLink, ServerTalk
from mcpcore_conformance.kit.trying import ARGUMENTS as ASKING
from mcpcore_conformance.kit.usable import items, members
from mcpcore_conformance.kit.verdicts import MIRROR, Inconclusive, check, need

page = Page("server/tools")
case = page.server(MODERN, needs=("tools",))
tool_cases = case.at("tool")

LONGEST_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MIRRORED = ("string", "integer", "boolean")


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


@tool_cases.must(
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


@tool_cases.must('inputSchema says "type": "object".', ALL)
async def input_schema_type(talk: ServerTalk) -> None:
    """The input schema of every tool is one of an object."""
    for tool in await _tools(talk):
        schema = tool.get("inputSchema")
        kind = schema.get("type") if isinstance(schema, dict) else schema
        what = f"the input of tool {tool.get('name')} has the type {kind!r:.60}"
        check(kind == "object", what, "tools/list")


@tool_cases.must("outputSchema, if there is one, is a valid JSON Schema.", SINCE_2025_06_18)
async def output_schema(talk: ServerTalk) -> None:
    """The output schema of every tool that has one is a valid JSON Schema."""
    found = [tool for tool in await _tools(talk) if "outputSchema" in tool]
    need(found, "no tool has an output schema")
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
    "tool-names", "Names of ASCII letters, digits, underscore, hyphen and dot.", SINCE_2025_11_25
)
async def characters(talk: ServerTalk) -> None:
    """Tool names have letters, digits, underscore, hyphen and dot only."""
    for tool in await _tools(talk):
        name = str(tool.get("name"))
        check(_NAME.fullmatch(name), f"the name {name!r:.60} has other characters")


@case.should("tool-names/unique", "No name twice.", ALL)
async def name_unique(talk: ServerTalk) -> None:
    """Tool names are unique in a server."""
    await check_unique(talk, "tools", "name")


@tool_cases.may("A description that is not empty, so that a model knows what the tool is for.", ALL)
async def description(talk: ServerTalk) -> None:
    """Every tool has a description."""
    for tool in await _tools(talk):
        check(tool.get("description"), f"the tool {tool.get('name')} has no description")


@tool_cases.should("Icons by http, https or data URIs.", SINCE_2025_11_25)
async def icons(talk: ServerTalk) -> None:
    """The icons of tools are at http, https or data URIs."""
    found = [tool for tool in await _tools(talk) if items(tool.get("icons"))]
    need(found, "no tool has icons")
    for tool in found:
        for icon in tool["icons"]:
            source = str(icon.get("src")) if isinstance(icon, dict) else repr(icon)
            scheme = urlsplit(source).scheme
            check(
                scheme in ("http", "https", "data"),
                f"an icon of {tool.get('name')} is at {source[:60]!r}",
            )


async def _annotated(talk: ServerTalk) -> list[tuple[str, list[tuple[dict[str, Any], bool]]]]:
    found = [
        (str(tool.get("name")), rules)
        for tool in await _tools(talk)
        if (rules := [*mirrored(tool.get("inputSchema"))])
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


@case.must("x-mcp-header", "No two values of x-mcp-header of a tool that differ in case only.")
async def unique(talk: ServerTalk) -> None:
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


# Calling tools, and what they answer

case = page.server(needs=("tools",))
error_handling = case.at("error-handling")

UNTIL_2025_06_18 = Span(BY_NAME["2024-11-05"], BY_NAME["2025-06-18"])
NOBODY = "mcpcore-conformance.no-such-tool"
MOST = 8
"""Tools that are called, at most, to see what they give."""
NONE_TAKES = "no tool that may be called takes the arguments that the kit makes up"
WRONG: dict[str, Any] = {
    "string": 17,
    "integer": "no number",
    "number": "no number",
    "boolean": "neither",
    "array": "no array",
    "object": "no object",
}
"""Type to a value of another type, which no lenient reading makes right."""


@case.must(
    "calling-tools",
    "A result with an array of content, each block whole, whichever tool is called.",
)
async def result_shape(talk: ServerTalk, tool: AnyTool) -> None:
    """The results of calls have the shape of their revision."""
    seen = await tried(talk, tool) is not None
    plain = talk.features.plain_tools(MOST)[1:]
    # One that asks is judged where its questions are: over HTTP they may need a stream to come on.
    others = [each.name for each in plain if each.name not in ASKING]

    def look(name: str, answer: Message) -> None:
        nonlocal seen
        if answer.kind is Kind.RESULT:
            seen = True
            check_result(talk, "tools/call", answer.result, name)

    offers = [talk.features.params_for(("tools/call", each)) for each in others]
    await each_answer(talk, "tools/call", offers, look)
    need(seen, NONE_TAKES)


@case.must("calling-tools", "The same as with empty arguments: the member is optional.")
async def no_arguments(talk: ServerTalk, tool: AnyTool) -> None:
    """A tool that needs no arguments can be called without the member arguments."""
    need(not tool.input_schema.get("required"), "no harmless tool is there that needs no arguments")
    link = await talk.open()
    listed = await entries(link, "tools/list", "tools")
    if not _told([each for each in listed if each.get("name") == tool.name]):
        talk.skip(f"whether {tool.name} needs arguments cannot be told from the list")
    reply = await call(link, tool)
    if not worked(reply) and not worked(await call(link, tool, {})):
        raise Inconclusive(f"{tool.name} fails with empty arguments as well")
    check(worked(reply), f"{tool.name} without arguments got {reply}, with empty ones it works")


def _told(listed: list[dict[str, Any]]) -> bool:
    """Whether one tool has a name, and a schema that says which arguments it needs."""
    schemas = [members(each.get("inputSchema")) for each in listed]
    return [(each.get("type"), type(each.get("required", []))) for each in schemas] == [
        ("object", list)
    ]


def _checked_tool(talk: ServerTalk) -> tuple[Tool, str, dict[str, Any]]:
    """A tool with a required argument of one plain type: the tool, the argument, good ones."""
    found = [each for each in talk.features.tools.values() if talk.features.may_call(each)]
    need(found, NONE_MAY_BE_CALLED)
    for tool in sorted(found, key=lambda each: not each.reads):
        good = sampled(tool.input_schema)
        properties = tool.input_schema.get("properties", {})
        for name in tool.input_schema.get("required", []):
            rules = properties.get(name, {})
            plain = rules.get("type") in [*WRONG]  # what is compared need not be hashable
            if good is not None and plain and "x-mcp-header" not in rules:
                return tool, name, good
    return talk.skip("no harmless tool has a required argument of one type")


async def _invalid(talk: ServerTalk) -> Reply:
    tool, name, good = _checked_tool(talk)
    kind = tool.input_schema["properties"][name]["type"]
    return await call(await talk.open(), tool, {**good, name: WRONG[kind]})


@case.must("security-considerations", "An error of the protocol, or a result with isError.")
async def missing_argument(talk: ServerTalk) -> None:
    """A call without a required argument does not reach the tool."""
    tool, name, good = _checked_tool(talk)
    arguments = {key: value for key, value in good.items() if key != name}
    reply = await call(await talk.open(), tool, arguments)
    check(failed(reply), f"{tool.name} without {name} got {reply}")


@case.must("security-considerations", "An error of the protocol, or a result with isError.")
async def wrong_type(talk: ServerTalk) -> None:
    """A call with an argument of another type does not reach the tool."""
    reply = await _invalid(talk)
    check(failed(reply), f"a call with an argument of another type got {reply}")


@case.must("security-considerations", "An error of the protocol, or a result with isError.")
async def further_argument(talk: ServerTalk) -> None:
    """A call with an argument that additionalProperties forbids does not reach the tool."""
    features = talk.features  # arguments that are wrong in other ways as well are refused, too
    others = [tool for tool in features.tools.values() if features.may_call(tool)]
    for tool in (*features.plain_tools(), *others):
        if tool.input_schema.get("additionalProperties") is False:
            break
    else:
        talk.skip("no harmless tool forbids further arguments")
    arguments = {**talk.arguments(tool), "mcpcore_conformance": 1}
    reply = await call(await talk.open(), tool, arguments)
    check(failed(reply), f"{tool.name} forbids further arguments, and one got {reply}")


@case.must(
    "security-considerations/rules-of-2020-12",
    "What breaks allOf, anyOf, $ref, enum or if/then/else is refused, the rest is not.",
    needs=("tool:json_schema_2020_12_tool",),
)
async def full_schema(talk: ServerTalk) -> None:
    """Arguments are checked by all that the schema says, also where it refers and combines."""
    tool = talk.tool("json_schema_2020_12_tool")
    link = await talk.open()
    wrong: tuple[tuple[str, dict[str, Any]], ...] = (
        ("neither branch of anyOf", {"name": "kit"}),
        ("what $ref forbids", {"email": "kit@example.com", "address": {"street": 1}}),
        ("what is not in the enum", {"email": "kit@example.com", "contactMethod": "smoke"}),
        ("what then forbids", {"email": "kit@example.com", "contactMethod": "phone"}),
        ("a further member", {"email": "kit@example.com", "more": 1}),
    )
    for what, arguments in wrong:
        check(value_problem(arguments, tool.input_schema), "the case does not know this schema")
        reply = await call(link, tool, arguments)
        check(failed(reply), f"arguments with {what} got {reply}")
    good = {"contactMethod": "phone", "phone": "1", "address": {"street": "s", "city": "c"}}
    reply = await call(link, tool, good)
    check(worked(reply), f"good arguments got {reply}")


@case.should(
    "error-handling/invalid-arguments-result",
    "A result with isError, so that the model can correct itself.",
    SINCE_2025_11_25,
)
async def invalid_result(talk: ServerTalk) -> None:
    """Arguments that break the tool's schema give a result with isError."""
    reply = await _invalid(talk)
    check(reply.good and failed(reply), f"invalid arguments got {reply}, not a result with isError")


@case.should("error-handling/invalid-arguments-error", "The error -32602.", UNTIL_2025_06_18)
async def invalid_error(talk: ServerTalk) -> None:
    """Arguments that break the tool's schema are an error of the protocol."""
    (await _invalid(talk)).failed_with(INVALID_PARAMS)


@error_handling.should("The error -32602, no result.")
async def unknown_tool(talk: ServerTalk) -> None:
    """A call of a tool that does not exist is an error of the protocol."""
    (await call(await talk.open(), NOBODY, {})).failed_with(INVALID_PARAMS)


@case.should("tool-names", "The name in another case is that of an unknown tool.", SINCE_2025_11_25)
async def case_sensitive(talk: ServerTalk, tool: AnyTool) -> None:
    """Tool names are case-sensitive."""
    name = tool.name.swapcase()
    if name in talk.features.tools or name in talk.features.withheld:
        talk.skip("there is a tool with that name in both cases")
    reply = await call(await talk.open(), name, talk.arguments(tool))
    check(not worked(reply), f"{tool.name} answers to {name} as well")
    check(failed(reply), f"a call of {name} got {reply}, not an error")


@error_handling.should("The error -32602.")
async def no_name(link: OpenLink) -> None:
    """A call that names no tool is an error of the protocol."""
    reply = await link.request("tools/call", {"arguments": {}})
    check(
        reply.message is not None and reply.message.kind is Kind.ERROR,
        f"a call without a name got {reply}",
    )


@error_handling.should("The error -32602: the request does not follow the schema of tools/call.")
async def malformed_arguments(talk: ServerTalk, tool: AnyTool) -> None:
    """Arguments that are no object are an error of the protocol."""
    link = await talk.open()
    wrong: tuple[Any, ...] = ([], "text", 1)
    for arguments in wrong:
        reply = await link.request("tools/call", {"name": tool.name, "arguments": arguments})
        reply.failed_with(INVALID_PARAMS)


@error_handling.should(
    "A result with isError and a text that says what went wrong.",
    needs=("tool:test_error_handling",),
)
async def tool_error(talk: ServerTalk) -> None:
    """A tool that fails gives a result with isError."""
    result = await called(talk, "test_error_handling", {})
    check(result.get("isError") is True, "the tool failed, and isError is not true")
    check(block(result, "text")["text"], "nothing says what went wrong")


# Every kind of content, and structured content

case = page.server(SINCE_2025_06_18, needs=("tools",))
MOST_BLOCKS = 5
"""Tools with an output schema that a case calls, at most."""


@case.must(
    "text-content/given", "A block of type text with a text.", ALL, needs=("tool:test_simple_text",)
)
async def text_content(talk: ServerTalk) -> None:
    """A text comes as a block of type text."""
    result = await called(talk, "test_simple_text", {})
    check(block(result, "text")["text"], "the text is empty")


@case.must(
    "image-content/base64",
    "A block of type image with base64 data and a MIME type.",
    ALL,
    needs=("tool:test_image_content",),
)
async def image_content(talk: ServerTalk) -> None:
    """The data of an image is base64, with a MIME type."""
    found = block(await called(talk, "test_image_content", {}), "image")
    check(check_base64(found["data"], "data"), "the image is empty")
    check_mime_type(found["mimeType"], "mimeType")


@case.must(
    "audio-content/base64",
    "A block of type audio with base64 data and a MIME type.",
    SINCE_2025_03_26,
    needs=("tool:test_audio_content",),
)
async def audio_content(talk: ServerTalk) -> None:
    """The data of a sound is base64, with a MIME type."""
    found = block(await called(talk, "test_audio_content", {}), "audio")
    check(check_base64(found["data"], "data"), "the sound is empty")
    check_mime_type(found["mimeType"], "mimeType")


@case.must(
    "resource-links/given",
    "A block of type resource_link with a URI and a name.",
    needs=("tool:test_resource_link",),
)
async def resource_link(talk: ServerTalk) -> None:
    """A link to a resource has its URI and its name."""
    found = block(await called(talk, "test_resource_link", {}), "resource_link")
    check(":" in found["uri"], f"the link has the URI {found['uri']!r}")


@case.must(
    "tool-result/kinds-of-the-revision",
    "No block of a type that came with a later revision.",
    UNTIL_2025_03_26,
    needs=("tool:test_resource_link",),
)
async def kinds(talk: ServerTalk, link: OpenLink) -> None:
    """No content of a kind is sent that the revision does not have."""
    for name in ("test_resource_link", "test_audio_content"):
        if name not in talk.features.tools:
            continue
        reply = await call(link, talk.tool(name), {})
        if not failed(reply):
            problem = result_problem("tools/call", reply.result, talk.revision)
            check(not problem, f"{name}: {problem}")


@case.must(
    "embedded-resources/given",
    "A block of type resource with a URI, and a text or a blob.",
    ALL,
    needs=("tool:test_embedded_resource",),
)
async def embedded_resource(talk: ServerTalk) -> None:
    """An embedded resource has a URI, and a text or base64."""
    found = block(await called(talk, "test_embedded_resource", {}), "resource")["resource"]
    check(":" in found["uri"], f"the resource has the URI {found['uri']!r}")
    if "blob" in found:
        check_base64(found["blob"], "blob")


@case.should(
    "embedded-resources/capability",
    "The capability resources is declared.",
    needs=("tool:test_embedded_resource",),
)
async def embedding_capability(talk: ServerTalk) -> None:
    """A server that embeds resources implements resources."""
    block(await called(talk, "test_embedded_resource", {}), "resource")
    link = await talk.open()
    reply = await link.request("resources/list")
    check(reply.good, f"resources are embedded, and resources/list got {reply}")


async def _structured(talk: ServerTalk) -> list[tuple[Tool, dict[str, Any]]]:
    """Tools with an output schema that may be called, and their results that are whole."""
    found = [each for each in talk.features.plain_tools() if each.output_schema]
    need(found, "no tool that only reads, or that --tool NAME has named, has an output schema")
    results = [(tool, await tried(talk, tool)) for tool in found[:MOST_BLOCKS]]
    good = [(tool, each) for tool, each in results if each is not None and _whole(each)]
    return good or talk.skip(NONE_TAKES)


def _whole(result: dict[str, Any]) -> bool:
    """Whether a result is what its tool is for: no error, and no question."""
    return not result.get("isError") and result.get("resultType", "complete") == "complete"


Structured = Annotated[list[tuple[Tool, dict[str, Any]]], _structured]


@case.must("output-schema/conforms", "structuredContent follows the outputSchema that was listed.")
async def output_conforms(found: Structured) -> None:
    """The structured result of a tool with an output schema follows it."""
    for tool, result in found:
        check("structuredContent" in result, f"{tool.name} gives no structuredContent")
        problem = value_problem(result["structuredContent"], tool.output_schema)
        check(not problem, f"the structuredContent of {tool.name}: {problem}")


@case.should("structured-content/as-text", "A text block holds the same JSON.")
async def structured_as_text(found: Structured) -> None:
    """Structured content is also there as JSON in a text."""
    for tool, result in found:
        if "structuredContent" not in result:
            continue
        texts = [each["text"] for each in result["content"] if each["type"] == "text"]
        check(
            any(_same(text, result["structuredContent"]) for text in texts),
            f"no text of {tool.name} is the JSON of its structuredContent",
        )


def _same(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


@case.must("structured-content", "structuredContent is an object.", LEGACY_SINCE_2025_06_18)
async def object(found: Structured) -> None:
    """Structured content is an object."""
    for tool, result in found:
        content = result.get("structuredContent", {})
        check(isinstance(content, dict), f"the structuredContent of {tool.name} is {content!r:.60}")
