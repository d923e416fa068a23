"""State diagrams, generated from the tables of the engine and of HTTP for the reference."""

from collections.abc import Iterator, Mapping
from typing import Any

from mcpcore.engine.lifecycle import REQUEST, SESSION, STREAM
from mcpcore.http.server.exchange import EXCHANGE

_TABLES: tuple[tuple[str, str, Mapping[Any, Any]], ...] = (
    ("Session", "One conversation: negotiation, use, end.", SESSION),
    ("Request", "One request, in either direction.", REQUEST),
    ("Stream", "One `subscriptions/listen`, in either direction.", STREAM),
    ("Exchange", "One HTTP request at a server, and its response.", EXCHANGE),
)


def diagrams() -> Iterator[str]:
    """Return the lines of a section of Markdown with one Mermaid diagram per table."""
    for title, text, table in _TABLES:
        yield from (f"### {title}", "", text, "", "```mermaid", "stateDiagram-v2")
        first = next(iter(table))[0]
        yield f"    [*] --> {first.name}"
        for (state, signal), after in table.items():
            yield f"    {state.name} --> {after.name}: {signal.value}"
        yield from ("```", "")
