"""Tool arguments that are mirrored into ``Mcp-Param-*`` headers: the rules of ``x-mcp-header``.

Source: tools page ("x-mcp-header") and Streamable HTTP page ("Custom Headers from Tool
Parameters") of 2026-07-28.  A server checks its own tools when they are declared, a client checks
what ``tools/list`` brought and leaves out the tools that break a rule.
"""

import re
from collections.abc import Mapping
from typing import Any

from mcpcore.spec.json_schema import subschemas

ANNOTATION = "x-mcp-header"

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""Pattern of a header name: ``1*tchar``, RFC 9110 section 5.6.2.  Compiled when it is needed."""
_TYPES = ("string", "integer", "boolean")


def header_params(schema: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the mirrored arguments of an input schema: header part to property path.

    The header part is what follows ``Mcp-Param-``; the path leads through ``properties`` from the
    root of the arguments to the value.  Raises ValueError with the reason if any annotation
    breaks a rule: not a token, not unique (whatever the case), not on a property of type string,
    integer or boolean, or not reachable through ``properties`` alone.

    >>> header_params({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}})
    {'Region': ('region',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    # No recursion: a client runs this on schemas that it received.
    pending: list[tuple[Mapping[str, Any], tuple[str, ...], bool]] = [(schema, (), True)]
    while pending:
        node, path, reachable = pending.pop()
        if ANNOTATION in node:
            header = node[ANNOTATION]
            _check(node, header, path, reachable)
            if header.lower() in seen:
                raise ValueError(f"{ANNOTATION} {header!r} is used more than once")
            seen.add(header.lower())
            found[header] = path
        below = [
            (inner, (*path, steps[-1]), reachable and steps[0] == "properties")
            for steps, inner in subschemas(node)
        ]
        pending.extend(reversed(below))  # popped from the end: keeps the order of the schema
    return found


def _check(node: Mapping[str, Any], header: Any, path: tuple[str, ...], reachable: bool) -> None:
    where = f"{ANNOTATION} at {'.'.join(path) or 'the root'!r}"
    if not reachable or not path:
        raise ValueError(f"{where}: only a property reached through 'properties' can be mirrored")
    if not isinstance(header, str) or not re.fullmatch(_NAME, header):
        raise ValueError(f"{where}: {header!r} is no header name (RFC 9110 token)")
    kind = node.get("type")
    if kind not in _TYPES:
        raise ValueError(f"{where}: the type must be one of {', '.join(_TYPES)}, not {kind!r}")
