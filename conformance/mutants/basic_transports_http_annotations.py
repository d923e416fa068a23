"""Mutants of which arguments a tool has mirrored."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import results_of
from conformance.mutants.model import Table

table = Table("basic/transports/streamable-http")


def declared(schema: Value) -> Callable[[], Fault]:
    """The first tool has this input schema."""

    def edit(result: Value) -> Value:
        first, *rest = result["tools"]
        return {**result, "tools": [{**first, "inputSchema": schema}, *rest]}

    return results_of("tools/list", edit)


def mirrors(**properties: Any) -> Value:
    """A schema with these properties."""
    return {"type": "object", "properties": properties}


table.server("mirror-with-colon", "schema-extension/name-is-a-token").does(
    "Names a mirror with characters that no header has.",
    declared(mirrors(a={"type": "string", "x-mcp-header": "Re:gion\r\nX"})),
)
table.server("mirror-without-name", "schema-extension/name-is-a-token").does(
    "Names a mirror with nothing.", declared(mirrors(a={"type": "string", "x-mcp-header": ""}))
)
table.server("mirrors-alike", "schema-extension/names-unique").does(
    "Has two mirrors that differ in case alone.",
    declared(
        mirrors(
            a={"type": "string", "x-mcp-header": "Region"},
            b={"type": "string", "x-mcp-header": "REGION"},
        )
    ),
)
table.server("number-mirrored", "schema-extension/primitive-types").does(
    "Mirrors a number.", declared(mirrors(a={"type": "number", "x-mcp-header": "Region"}))
)
table.server("items-mirrored", "schema-extension/statically-reachable").does(
    "Mirrors the items of an array.",
    declared(mirrors(a={"type": "array", "items": {"type": "string", "x-mcp-header": "Region"}})),
)
table.server("mirrored-behind-choice", "schema-extension/statically-reachable").does(
    "Mirrors a property behind anyOf.",
    declared({"anyOf": [mirrors(a={"type": "string", "x-mcp-header": "Region"})]}),
)
