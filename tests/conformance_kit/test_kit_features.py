"""What the kit calls of what it finds."""

from typing import Any

import pytest

from conformance.kit.features import Features, Tool

READS: dict[str, Any] = {"readOnlyHint": True}
KEEPS: dict[str, Any] = {"destructiveHint": False}
DESTROYS: dict[str, Any] = {}


def tools(**annotations: dict[str, Any]) -> dict[str, Tool]:
    return {name: Tool(name, {}, annotations=found) for name, found in annotations.items()}


@pytest.mark.parametrize(
    ("found", "allowed", "called"),
    [
        ({"delete": DESTROYS}, (), None),
        ({"delete": {"destructiveHint": True}}, (), None),
        ({"delete": {"readOnlyHint": False}}, (), None),
        ({"delete": {"readOnlyHint": "true"}}, (), None),
        ({"delete": DESTROYS, "keep": KEEPS}, (), "keep"),
        ({"delete": DESTROYS, "keep": KEEPS, "read": READS}, (), "read"),
        ({"read": READS, "echo": DESTROYS}, (), "echo"),
        ({"delete": DESTROYS, "read": READS}, ("delete",), "delete"),
        ({"delete": DESTROYS}, ("other",), None),
        ({"delete": DESTROYS}, ("*",), "delete"),
        ({"delete": DESTROYS, "read": READS}, ("*",), "read"),
        ({}, ("*",), None),
    ],
)
def test_the_tool_that_is_called(
    found: dict[str, dict[str, Any]], allowed: tuple[str, ...], called: str | None
) -> None:
    tool = Features("2025-11-25", tools=tools(**found), allowed=allowed).plainest_tool()
    assert (tool and tool.name) == called


def test_arguments_have_to_be_made_up() -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": "x+"}}, "required": ["a"]}
    features = Features("2025-11-25", tools={"a": Tool("a", schema, annotations=READS)})
    assert features.plainest_tool() is None
