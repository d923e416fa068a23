"""Mutants of the page server/tools: the list, and what a tool is declared to be."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import Change, drop, first, over, put
from conformance.mutants.fault import Breaks
from conformance.mutants.faults import answers_to, asks, declines, fails, results_of, takes
from conformance.mutants.lists import (
    Entries,
    less_after_calls,
    less_by_connection,
    listed,
    quiet_about,
    silent_capability,
    turned_each_time,
)
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/tools")

Value = dict[str, Any]


def _tools(edit: Callable[[Value], Value]) -> Any:
    return listed("tools/list", "tools", first(edit))


def _header(rules: Value) -> Any:
    """The first tool has a property with these rules."""
    schema = {"type": "object", "properties": {"mirrored": rules}}
    return _tools(put(inputSchema=schema))


table.server("undeclared", "declared").does(
    "Lists tools and does not declare them.", silent_capability("tools")
)
table.server("declared-only", "declared").does(
    "Declares tools and does not know tools/list.", fails("tools/list", -32601)
)
table.server("no-schema", "shape").does(
    "Lists a tool without an input schema.", _tools(drop("inputSchema"))
)
table.server("no-list", "shape", revisions=until("2024-11-05")).does(
    "Answers tools/list with an object instead of an array.",
    results_of("tools/list", put(tools={})),
)
table.server("bad-hint", "shape", revisions=until("2025-03-26")).does(
    "Lists a tool whose readOnlyHint is a string.", _tools(put(annotations={"readOnlyHint": "yes"}))
)
table.server("other-tools", "list-not-per-connection").does(
    "Every connection is told of one tool less.", less_by_connection("tools/list", "tools")
)
table.server("fewer-tools", "list-no-side-effect").does(
    "Once a tool has been called there is one tool less.", less_after_calls("tools/list", "tools")
)
table.server("other-order", "list-order").does(
    "The order of tools is another one each time.", turned_each_time("tools/list", "tools")
)
table.server("silent-change", "announced", "announced-to-listeners").does(
    "Says nothing when the tools change.", quiet_about("notifications/tools/list_changed")
)
table.server("no-type", "input-schema").does(
    "A property of an input schema has a type that does not exist.", _header({"type": "text"})
)
table.server("null-schema", "input-schema").does(
    "An input schema is null.", _tools(put(inputSchema=None))
)
table.server("array-schema", "input-schema-type").does(
    "An input schema is one of an array.", _tools(put(inputSchema={"type": "array"}))
)
table.server("bad-output-schema", "output-schema").does(
    "An output schema lists its required members in a string.",
    _tools(put(outputSchema={"type": "object", "required": "all"})),
)
for slug, name in (("long-name", "x" * 129), ("empty-name", "")):
    table.server(slug, "length").does(
        f"A tool has a name of {len(name)} characters.", _tools(put(name=name))
    )
table.server("spaces-in-name", "characters").does(
    "A tool has spaces in its name.", _tools(put(name="a tool"))
)
table.server("name-twice", "tool-names/unique").does(
    "Two tools have one name.",
    listed("tools/list", "tools", lambda tools: [*tools, {**tools[0], "description": "another"}]),
)
table.server("no-description", "description").does(
    "A tool has no description.", _tools(put(description=""))
)
table.server("icon-of-script", "icons").does(
    "An icon is a script.", _tools(put(icons=[{"src": "javascript:alert(1)"}]))
)
table.server("header-with-space", "token").does(
    "A parameter is mirrored into a header with a space in its name.",
    _header({"type": "string", "x-mcp-header": "My Region"}),
)
table.server("header-twice", "x-mcp-header/unique").does(
    "Two parameters are mirrored into one header.",
    _header(
        {
            "type": "object",
            "properties": {
                "one": {"type": "string", "x-mcp-header": "Region"},
                "other": {"type": "string", "x-mcp-header": "REGION"},
            },
        }
    ),
)
table.server("header-of-number", "primitive").does(
    "A floating parameter is mirrored.", _header({"type": "number", "x-mcp-header": "Region"})
)
table.server("header-of-item", "reachable").does(
    "An element of an array is mirrored.",
    _header({"type": "array", "items": {"type": "string", "x-mcp-header": "Region"}}),
)


TEXT = {"type": "text", "text": "done"}


def _result(edit: Callable[[Value], Value]) -> Breaks:
    return results_of("tools/call", edit)


def _content(edit: Callable[[Entries], Entries]) -> Breaks:
    return _result(over("content", edit))


def _block(**members: Any) -> Breaks:
    """Edit the first block."""
    return _content(first(put(**members)))


def _said(error: Callable[[Value], Value | None]) -> Breaks:
    """Make another answer of a result: ``error`` returns it, None leaves it as it is."""
    return answers_to("tools/call", lambda value: error(value) or value)


def _as_error(code: int) -> Breaks:
    return _said(lambda value: messages.error(value["id"], code, "the tool failed"))


def _as_result(is_error: bool) -> Breaks:
    return takes("tools/call", {"content": [TEXT], "isError": is_error, "resultType": "complete"})


table.server("text-alone", "result-shape").does(
    "Gives a string for the content.", _result(put(content="done"))
)
table.server("no-content", "result-shape", revisions=until("2024-11-05")).does(
    "Leaves out the content.", _result(drop("content"))
)
table.server("unknown-block", "result-shape", revisions=until("2025-06-18")).does(
    "Gives a block of a type that no revision has.", _block(type="video")
)
table.server("needs-arguments", "no-arguments").does(
    "Wants the member arguments in every call.",
    declines(asks("tools/call", lambda params: "arguments" not in params), -32602),
)
table.server(
    "takes-anything",
    "missing-argument",
    "wrong-type",
    "further-argument",
    "rules-of-2020-12",
    "invalid-arguments-result",
    "unknown-tool",
    "no-name",
    "malformed-arguments",
    "case-sensitive",
).does("Carries out every call, whatever it says.", _as_result(False))
table.server("refuses-everything", "rules-of-2020-12").does("Refuses every call.", _as_result(True))
table.server("takes-anything-early", "invalid-arguments-error").does(
    "Carries out every call, whatever it says.", _as_result(False)
)
table.server("error-for-arguments", "invalid-arguments-result").does(
    "Answers invalid arguments with an error of the protocol.", _as_error(-32602)
)
table.server("result-for-arguments", "invalid-arguments-error").does(
    "Answers invalid arguments with a result that has isError.", _as_result(True)
)
table.server("result-for-nobody", "unknown-tool", "no-name").does(
    "Answers for tools that it does not have with a result that has isError.", _as_result(True)
)
table.server(
    "other-code-for-nobody", "unknown-tool", "malformed-arguments", revisions=until("2025-03-26")
).does("Answers what it does not understand with an internal error.", _as_error(-32603))
table.server("hidden-failure", "tool-error").does(
    "Does not say that a tool failed.", _result(put(isError=False))
)
table.server("thrown-failure", "tool-error").does(
    "Answers for a tool that fails with an internal error.", _as_error(-32603)
)
table.server("empty-text", "text-content/given").does("Gives no text.", _block(text=""))
table.server("no-text", "text-content/given").does("Gives no block.", _content(lambda content: []))
table.server("raw-image", "image-content/base64").does(
    "Gives an image in hexadecimal digits with colons.", _block(data="89:50:4e:47")
)
table.server("image-of-nothing", "image-content/base64").does(
    "Says only that it is an image.", _block(mimeType="image")
)
table.server("raw-audio", "audio-content/base64").does(
    "Gives a sound that is no base64.", _block(data="§")
)
table.server("link-nowhere", "resource-links/given").does(
    "Gives a link without scheme.", _block(uri="static")
)
table.server("link-without-name", "resource-links/given").does(
    "Gives a link that has a number for a name.", _block(name=1)
)
table.server("early-link", "kinds-of-the-revision").does(
    "Gives links to resources in revisions that have none.",
    takes("tools/call", {"content": [{"type": "resource_link", "uri": "test://x", "name": "x"}]}),
)
table.server("early-sound", "kinds-of-the-revision", revisions=until("2024-11-05")).does(
    "Gives sounds in a revision that has none.",
    takes("tools/call", {"content": [{"type": "audio", "data": "", "mimeType": "audio/wav"}]}),
)
table.server("embedded-nothing", "embedded-resources/given").does(
    "Embeds a resource without text or blob.", _block(resource={"uri": "test://embedded-resource"})
)
table.server("embedded-nowhere", "embedded-resources/given").does(
    "Embeds a resource without scheme.", _block(resource={"uri": "embedded", "text": "x"})
)
table.server("no-resources", "capability").does(
    "Embeds resources and does not know resources/list.", fails("resources/list", -32601)
)


def _structured(edit: Change) -> Breaks:
    return _result(over("structuredContent", edit))


table.server("other-output", "conforms").does(
    "Gives a temperature in words.", _structured(put(temperature="warm"))
)
table.server("no-output", "conforms", revisions=until("2025-06-18")).does(
    "Gives no structured content.", _result(drop("structuredContent"))
)
table.server("other-text", "as-text").does(
    "Says in words what is in the structured content.", _block(text="It is warm.")
)
table.server("output-in-array", "object").does(
    "Gives an array of objects.", _structured(lambda value: [value])
)
