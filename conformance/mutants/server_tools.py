"""Mutants of the page server/tools: the list, and what a tool is declared to be."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop, first, put
from conformance.mutants.faults import answers_to, results_of
from conformance.mutants.lists import (
    less_after_calls,
    less_by_connection,
    listed,
    quiet_about,
    silent_capability,
    turned_each_time,
)
from conformance.mutants.model import Table, until

table = Table("server/tools")

Value = dict[str, Any]


def _tools(edit: Callable[[Value], Value]) -> Any:
    return listed("tools/list", "tools", first(edit))


def _header(rules: Value) -> Any:
    """The first tool has a property with these rules."""
    schema = {"type": "object", "properties": {"mirrored": rules}}
    return _tools(put(inputSchema=schema))


table.server("undeclared", "capabilities/declared").does(
    "Lists tools and does not declare them.", silent_capability("tools")
)
table.server("declared-only", "capabilities/declared").does(
    "Declares tools and does not know tools/list.",
    answers_to(
        "tools/list",
        lambda answer: {
            "jsonrpc": "2.0",
            "id": answer["id"],
            "error": {"code": -32601, "message": "no such method"},
        },
    ),
)
table.server("no-schema", "listing-tools/shape").does(
    "Lists a tool without an input schema.", _tools(drop("inputSchema"))
)
table.server("no-list", "listing-tools/shape", revisions=until("2024-11-05")).does(
    "Answers tools/list with an object instead of an array.",
    results_of("tools/list", put(tools={})),
)
table.server("bad-hint", "listing-tools/shape", revisions=until("2025-03-26")).does(
    "Lists a tool whose readOnlyHint is a string.", _tools(put(annotations={"readOnlyHint": "yes"}))
)
table.server("other-tools", "capabilities/list-not-per-connection").does(
    "Every connection is told of one tool less.", less_by_connection("tools/list", "tools")
)
table.server("fewer-tools", "capabilities/list-no-side-effect").does(
    "Once a tool has been called there is one tool less.", less_after_calls("tools/list", "tools")
)
table.server("other-order", "capabilities/list-order").does(
    "The order of tools is another one each time.", turned_each_time("tools/list", "tools")
)
table.server(
    "silent-change",
    "list-changed-notification/announced",
    "list-changed-notification/announced-to-listeners",
).does("Says nothing when the tools change.", quiet_about("notifications/tools/list_changed"))
table.server("no-type", "tool/input-schema").does(
    "A property of an input schema has a type that does not exist.", _header({"type": "text"})
)
table.server("null-schema", "tool/input-schema").does(
    "An input schema is null.", _tools(put(inputSchema=None))
)
table.server("array-schema", "tool/input-schema-type").does(
    "An input schema is one of an array.", _tools(put(inputSchema={"type": "array"}))
)
table.server("bad-output-schema", "tool/output-schema").does(
    "An output schema lists its required members in a string.",
    _tools(put(outputSchema={"type": "object", "required": "all"})),
)
for slug, name in (("long-name", "x" * 129), ("empty-name", "")):
    table.server(slug, "tool-names/length").does(
        f"A tool has a name of {len(name)} characters.", _tools(put(name=name))
    )
table.server("spaces-in-name", "tool-names/characters").does(
    "A tool has spaces in its name.", _tools(put(name="a tool"))
)
table.server("name-twice", "tool-names/unique").does(
    "Two tools have one name.",
    listed("tools/list", "tools", lambda tools: [*tools, {**tools[0], "description": "another"}]),
)
table.server("no-description", "tool/description").does(
    "A tool has no description.", _tools(put(description=""))
)
table.server("icon-of-script", "tool/icons").does(
    "An icon is a script.", _tools(put(icons=[{"src": "javascript:alert(1)"}]))
)
table.server("header-with-space", "x-mcp-header/token").does(
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
table.server("header-of-number", "x-mcp-header/primitive").does(
    "A floating parameter is mirrored.", _header({"type": "number", "x-mcp-header": "Region"})
)
table.server("header-of-item", "x-mcp-header/reachable").does(
    "An element of an array is mirrored.",
    _header({"type": "array", "items": {"type": "string", "x-mcp-header": "Region"}}),
)
