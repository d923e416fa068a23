"""Cases of the page server/tools: calling tools, and what they answer."""

from typing import Any

from mcpcore.spec.revisions import BY_NAME, Span
from mcpcore_conformance.kit.asking import call, entries, failed, worked
from mcpcore_conformance.kit.content import block, called, check_result, each_answer
from mcpcore_conformance.kit.features import NONE_MAY_BE_CALLED, Tool, sampled
from mcpcore_conformance.kit.json_schema import value_problem
from mcpcore_conformance.kit.messages import INVALID_PARAMS, Kind, Message
from mcpcore_conformance.kit.model import SINCE_2025_11_25, Page
from mcpcore_conformance.kit.reply import Reply
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.trying import ARGUMENTS as ASKING
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import Inconclusive, check

page = Page("server/tools")
case = page.server(needs=("tools",))

UNTIL_2025_06_18 = Span(BY_NAME["2024-11-05"], BY_NAME["2025-06-18"])
NOBODY = "mcpcore-conformance.no-such-tool"
MOST = 8
"""Tools that are called, at most, to see what they give."""
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
    "calling-tools/result-shape",
    "A result with an array of content, each block whole, whichever tool is called.",
)
async def result_shape(talk: ServerTalk) -> None:
    """The results of calls have the shape of their revision."""
    tool = talk.any_tool()
    await called(talk, tool.name, talk.arguments(tool))
    plain = talk.features.plain_tools(MOST)[1:]
    # One that asks is judged where its questions are: over HTTP they may need a stream to come on.
    others = [each.name for each in plain if each.name not in ASKING]

    def look(name: str, answer: Message) -> None:
        if answer.kind is Kind.RESULT:
            check_result(talk, "tools/call", answer.result, name)

    offers = [talk.features.params_for(("tools/call", each)) for each in others]
    await each_answer(talk, "tools/call", offers, look)


@case.must(
    "calling-tools/no-arguments", "The same as with empty arguments: the member is optional."
)
async def no_arguments(talk: ServerTalk) -> None:
    """A tool that needs no arguments can be called without the member arguments."""
    tool = talk.any_tool()
    if tool.input_schema.get("required"):
        talk.skip("no harmless tool is there that needs no arguments")
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
    if not found:
        talk.skip(NONE_MAY_BE_CALLED)
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


@case.must(
    "security-considerations/missing-argument",
    "An error of the protocol, or a result with isError.",
)
async def missing_argument(talk: ServerTalk) -> None:
    """A call without a required argument does not reach the tool."""
    tool, name, good = _checked_tool(talk)
    arguments = {key: value for key, value in good.items() if key != name}
    reply = await call(await talk.open(), tool, arguments)
    check(failed(reply), f"{tool.name} without {name} got {reply}")


@case.must(
    "security-considerations/wrong-type", "An error of the protocol, or a result with isError."
)
async def wrong_type(talk: ServerTalk) -> None:
    """A call with an argument of another type does not reach the tool."""
    reply = await _invalid(talk)
    check(failed(reply), f"a call with an argument of another type got {reply}")


@case.must(
    "security-considerations/further-argument",
    "An error of the protocol, or a result with isError.",
)
async def further_argument(talk: ServerTalk) -> None:
    """A call with an argument that additionalProperties forbids does not reach the tool."""
    for tool in talk.features.plain_tools():
        good = sampled(tool.input_schema)
        if tool.input_schema.get("additionalProperties") is False and good is not None:
            break
    else:
        talk.skip("no harmless tool forbids further arguments")
    arguments = {**good, "mcpcore_conformance": 1}
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
    check(
        reply.message is not None and reply.message.kind is Kind.RESULT and failed(reply),
        f"invalid arguments got {reply}, not a result with isError",
    )


@case.should("error-handling/invalid-arguments-error", "The error -32602.", UNTIL_2025_06_18)
async def invalid_error(talk: ServerTalk) -> None:
    """Arguments that break the tool's schema are an error of the protocol."""
    (await _invalid(talk)).failed_with(INVALID_PARAMS)


@case.should("error-handling/unknown-tool", "The error -32602, no result.")
async def unknown_tool(talk: ServerTalk) -> None:
    """A call of a tool that does not exist is an error of the protocol."""
    (await call(await talk.open(), NOBODY, {})).failed_with(INVALID_PARAMS)


@case.should(
    "tool-names/case-sensitive",
    "The name in another case is that of an unknown tool.",
    SINCE_2025_11_25,
)
async def case_sensitive(talk: ServerTalk) -> None:
    """Tool names are case-sensitive."""
    tool = talk.any_tool()
    name = tool.name.swapcase()
    if name in talk.features.tools or name in talk.features.withheld:
        talk.skip("there is a tool with that name in both cases")
    reply = await call(await talk.open(), name, talk.arguments(tool))
    check(not worked(reply), f"{tool.name} answers to {name} as well")
    check(failed(reply), f"a call of {name} got {reply}, not an error")


@case.should("error-handling/no-name", "The error -32602.")
async def no_name(talk: ServerTalk) -> None:
    """A call that names no tool is an error of the protocol."""
    link = await talk.open()
    reply = await link.request("tools/call", {"arguments": {}})
    check(
        reply.message is not None and reply.message.kind is Kind.ERROR,
        f"a call without a name got {reply}",
    )


@case.should(
    "error-handling/malformed-arguments",
    "The error -32602: the request does not follow the schema of tools/call.",
)
async def malformed_arguments(talk: ServerTalk) -> None:
    """Arguments that are no object are an error of the protocol."""
    tool = talk.any_tool()
    link = await talk.open()
    wrong: tuple[Any, ...] = ([], "text", 1)
    for arguments in wrong:
        reply = await link.request("tools/call", {"name": tool.name, "arguments": arguments})
        reply.failed_with(INVALID_PARAMS)


@case.should(
    "error-handling/tool-error",
    "A result with isError and a text that says what went wrong.",
    needs=("tool:test_error_handling",),
)
async def tool_error(talk: ServerTalk) -> None:
    """A tool that fails gives a result with isError."""
    result = await called(talk, "test_error_handling", {})
    check(result.get("isError") is True, "the tool failed, and isError is not true")
    check(block(result, "text")["text"], "nothing says what went wrong")
