"""Differences as text, JSON, Markdown and SARIF.  What servers say in them is hostile input."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mcpcore.policy.differences import Difference, DifferenceKind

_SARIF = {"breaking": "error", "risky": "warning", "additive": "note"}
_RULES = {
    "breaking": "A client that worked with the one may fail with the other.",
    "risky": "What models read has changed: look at it before it is trusted.",
    "additive": "Something is offered in addition.",
}
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}


def counted(found: Sequence[Difference]) -> str:
    """Return how many differences there are of each kind."""
    counts = [(kind.value, sum(each.kind is kind for each in found)) for kind in DifferenceKind]
    return ", ".join(f"{number} {kind}" for kind, number in counts if number) or "no difference"


def _plain(text: str) -> str:
    """Return a text on one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _text(found: Sequence[Difference], names: tuple[str, str]) -> str:
    lines = [f"{each.kind.value:<9} {_plain(each.place)}: {_plain(each.text)}" for each in found]
    return "\n".join([*lines, counted(found)])


def _json(found: Sequence[Difference], names: tuple[str, str]) -> str:
    value = {"before": names[0], "after": names[1], "differences": msgspec.to_builtins(found)}
    return json.dumps(value, indent=2)


def _marked(text: str) -> str:
    """Return a text that Markdown shows as it is: no markup, no mention, no row of its own."""
    shown = _MARKUP.sub(r"\\\1", _plain(text))
    return "".join(_ENTITIES.get(char, char) for char in shown).replace("://", ":&#47;/")


def _markdown(found: Sequence[Difference], names: tuple[str, str]) -> str:
    before, after = map(_marked, names)
    lines = [f"### MCP: {before} → {after}", "", f"{counted(found)}."]
    if found:
        lines += ["", "| | where | what |", "|---|---|---|"]
        rows = [(each.kind.value, _marked(each.place), _marked(each.text)) for each in found]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _sarif(found: Sequence[Difference], names: tuple[str, str]) -> str:
    results: list[dict[str, Any]] = [
        {
            "ruleId": each.kind.value,
            "level": _SARIF[each.kind.value],
            "message": {"text": f"{_plain(each.place)}: {_plain(each.text)}"},
            "locations": [
                {
                    "physicalLocation": {"artifactLocation": {"uri": "mcp-server"}},
                    "logicalLocations": [{"fullyQualifiedName": each.place}],
                }
            ],
        }
        for each in found
    ]
    driver = {
        "name": "mcpcore diff",
        "rules": [
            {"id": kind, "shortDescription": {"text": text}} for kind, text in _RULES.items()
        ],
    }
    run = {"tool": {"driver": driver}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


FORMATS: dict[str, Callable[[Sequence[Difference], tuple[str, str]], str]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "sarif": _sarif,
}
"""Functions that write the differences between two offers, by the name of the format."""
