"""Write the state diagrams of the engine, generated from its tables.

Run ``python -m mcpcore.engine.diagrams > docs/reference/protocol.md``.
"""

import sys
from collections.abc import Mapping
from typing import Any

from mcpcore.engine.lifecycle import REQUEST, SESSION, STREAM

_TABLES: tuple[tuple[str, str, Mapping[Any, Any]], ...] = (
    ("Session", "One conversation: negotiation, use, end.", SESSION),
    ("Request", "One request, in either direction.", REQUEST),
    ("Stream", "One `subscriptions/listen`, in either direction.", STREAM),
)


def render() -> str:
    """Return the page as Markdown with one Mermaid diagram per table."""
    lines = [
        "# State diagrams",
        "",
        "Generated from `mcpcore/engine/lifecycle.py` by `python -m mcpcore.engine.diagrams`.",
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
