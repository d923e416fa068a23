"""Write the state diagrams, generated from the tables of the engine and of HTTP.

Run ``python -m mcpcore.http.diagrams > docs/states.md``.
"""

import sys
from collections.abc import Mapping
from typing import Any

from mcpcore.engine.lifecycle import REQUEST, SESSION, STREAM
from mcpcore.http.server.exchange import EXCHANGE

_TABLES: tuple[tuple[str, str, Mapping[Any, Any]], ...] = (
    ("Session", "One conversation: negotiation, use, end.", SESSION),
    ("Request", "One request, in either direction.", REQUEST),
    ("Stream", "One `subscriptions/listen`, in either direction.", STREAM),
    ("Exchange", "One HTTP request at a server, and its response.", EXCHANGE),
)


def render() -> str:
    """Return the page as Markdown with one Mermaid diagram per table."""
    lines = [
        "# State diagrams",
        "",
        "Generated from `mcpcore/engine/lifecycle.py` and `mcpcore/http/server/exchange.py` by",
        "`python -m mcpcore.http.diagrams`.",
    ]
    for title, text, table in _TABLES:
        lines += ["", f"## {title}", "", text, "", "```mermaid", "stateDiagram-v2"]
        first = next(iter(table))[0]
        lines.append(f"    [*] --> {first.name}")
        lines += [
            f"    {state.name} --> {after.name}: {signal.value}"
            for (state, signal), after in table.items()
        ]
        lines.append("```")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
