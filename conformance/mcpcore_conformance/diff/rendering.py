"""Differences as text, JSON, Markdown and SARIF.  What servers say in them is hostile input."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mcpcore_conformance.diff.changes import LEVELS, Change

__all__ = ["FORMATS", "counted"]

_SARIF = {"breaking": "error", "risky": "warning", "additive": "note"}
_RULES = {
    "breaking": "A client that worked with the one may fail with the other.",
    "risky": "What models read has changed: look at it before it is trusted.",
    "additive": "Something is offered in addition.",
}
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}


def counted(changes: Sequence[Change]) -> str:
    """Return how many changes there are of each level."""
    counts = [(level, sum(each.level == level for each in changes)) for level in LEVELS]
    return ", ".join(f"{number} {level}" for level, number in counts if number) or "no difference"


def _plain(text: str) -> str:
    """Return a text on one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _text(changes: Sequence[Change], names: tuple[str, str]) -> str:
    lines = [f"{each.level:<9} {_plain(each.place)}: {_plain(each.detail)}" for each in changes]
    return "\n".join([*lines, counted(changes)])


def _json(changes: Sequence[Change], names: tuple[str, str]) -> str:
    value = {"before": names[0], "after": names[1], "changes": msgspec.to_builtins(changes)}
    return json.dumps(value, indent=2)


def _marked(text: str) -> str:
    """Return a text that Markdown shows as it is: no markup, no mention, no row of its own."""
    shown = _MARKUP.sub(r"\\\1", _plain(text))
    return "".join(_ENTITIES.get(char, char) for char in shown).replace("://", ":&#47;/")


def _markdown(changes: Sequence[Change], names: tuple[str, str]) -> str:
    before, after = map(_marked, names)
    lines = [f"### MCP: {before} → {after}", "", f"{counted(changes)}."]
    if changes:
        lines += ["", "| | where | what |", "|---|---|---|"]
        lines += [
            f"| {each.level} | {_marked(each.place)} | {_marked(each.detail)} |" for each in changes
        ]
    return "\n".join(lines)


def _sarif(changes: Sequence[Change], names: tuple[str, str]) -> str:
    results: list[dict[str, Any]] = [
        {
            "ruleId": each.level,
            "level": _SARIF[each.level],
            "message": {"text": f"{_plain(each.place)}: {_plain(each.detail)}"},
            "locations": [
                {
                    "physicalLocation": {"artifactLocation": {"uri": "mcp-server"}},
                    "logicalLocations": [{"fullyQualifiedName": each.place}],
                }
            ],
        }
        for each in changes
    ]
    driver = {
        "name": "mcpcore diff",
        "rules": [
            {"id": level, "shortDescription": {"text": text}} for level, text in _RULES.items()
        ],
    }
    run = {"tool": {"driver": driver}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


FORMATS: dict[str, Callable[[Sequence[Change], tuple[str, str]], str]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "sarif": _sarif,
}
"""Functions that write changes between two offers, by the name of the format."""
