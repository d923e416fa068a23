"""Mutants of the page server/tools: the list, and what a tool is declared to be."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.faults import results_of
from conformance.mutants.lists import (
    changing,
    first_entry,
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
    return listed("tools/list", "tools", first_entry(edit))


def _header(rules: Value) -> Any:
    """The first tool has a property with these rules."""
    schema = {"type": "object", "properties": {"mirrored": rules}}
    return _tools(lambda tool: {**tool, "inputSchema": schema})


table.add(
    "undeclared",
    "capabilities/declared",
    "Lists tools and does not declare them.",
    silent_capability("tools"),
)
table.add(
    "declared-only",
    "capabilities/declared",
    "Declares tools and does not know tools/list.",
    changing(
        "tools/list",
        lambda answer: {
            "jsonrpc": "2.0",
            "id": answer["id"],
            "error": {"code": -32601, "message": "no such method"},
        },
    ),
)
table.add(
    "no-schema",
    "listing-tools/shape",
    "Lists a tool without an input schema.",
    _tools(lambda tool: {key: value for key, value in tool.items() if key != "inputSchema"}),
)
table.add(
    "no-list",
    "listing-tools/shape",
    "Answers tools/list with an object instead of an array.",
    results_of("tools/list", lambda result: {**result, "tools": {}}),
    revisions=until("2024-11-05"),
)
table.add(
    "bad-hint",
    "listing-tools/shape",
    "Lists a tool whose readOnlyHint is a string.",
    _tools(lambda tool: {**tool, "annotations": {"readOnlyHint": "yes"}}),
    revisions=until("2025-03-26"),
)
table.add(
    "other-tools",
    "capabilities/list-not-per-connection",
    "Every connection is told of one tool less.",
    less_by_connection("tools/list", "tools"),
)
table.add(
    "fewer-tools",
    "capabilities/list-no-side-effect",
    "Once a tool has been called there is one tool less.",
    less_after_calls("tools/list", "tools"),
)
table.add(
    "other-order",
    "capabilities/list-order",
    "The order of tools is another one each time.",
    turned_each_time("tools/list", "tools"),
)
table.add(
    "silent-change",
    ("list-changed-notification/announced", "list-changed-notification/announced-to-listeners"),
    "Says nothing when the tools change.",
    quiet_about("notifications/tools/list_changed"),
)
table.add(
    "no-type",
    "tool/input-schema",
    "A property of an input schema has a type that does not exist.",
    _header({"type": "text"}),
)
table.add(
    "null-schema",
    "tool/input-schema",
    "An input schema is null.",
    _tools(lambda tool: {**tool, "inputSchema": None}),
)
table.add(
    "array-schema",
    "tool/input-schema-type",
    "An input schema is one of an array.",
    _tools(lambda tool: {**tool, "inputSchema": {"type": "array"}}),
)
table.add(
    "bad-output-schema",
    "tool/output-schema",
    "An output schema lists its required members in a string.",
    _tools(lambda tool: {**tool, "outputSchema": {"type": "object", "required": "all"}}),
)
for slug, name in (("long-name", "x" * 129), ("empty-name", "")):
    table.add(
        slug,
        "tool-names/length",
        f"A tool has a name of {len(name)} characters.",
        _tools(lambda tool, name=name: {**tool, "name": name}),  # type: ignore[misc]
    )
table.add(
    "spaces-in-name",
    "tool-names/characters",
    "A tool has spaces in its name.",
    _tools(lambda tool: {**tool, "name": "a tool"}),
)
table.add(
    "name-twice",
    "tool-names/unique",
    "Two tools have one name.",
    listed("tools/list", "tools", lambda tools: [*tools, {**tools[0], "description": "another"}]),
)
table.add(
    "no-description",
    "tool/description",
    "A tool has no description.",
    _tools(lambda tool: {**tool, "description": ""}),
)
table.add(
    "icon-of-script",
    "tool/icons",
    "An icon is a script.",
    _tools(lambda tool: {**tool, "icons": [{"src": "javascript:alert(1)"}]}),
)
table.add(
    "header-with-space",
    "x-mcp-header/token",
    "A parameter is mirrored into a header with a space in its name.",
    _header({"type": "string", "x-mcp-header": "My Region"}),
)
table.add(
    "header-twice",
    "x-mcp-header/unique",
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
table.add(
    "header-of-number",
    "x-mcp-header/primitive",
    "A floating parameter is mirrored.",
    _header({"type": "number", "x-mcp-header": "Region"}),
)
table.add(
    "header-of-item",
    "x-mcp-header/reachable",
    "An element of an array is mirrored.",
    _header({"type": "array", "items": {"type": "string", "x-mcp-header": "Region"}}),
)
