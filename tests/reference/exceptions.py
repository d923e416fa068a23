"""The page reference/exceptions.md: each exception with its bases and what it says."""

import importlib
import inspect
from collections.abc import Iterable

from mcpcore import connect
from mcpcore.errors import HandlerError
from mcpcore.spec.errors import LocalError, McpError, ToolFailed
from tests.reference.api import API, members
from tests.reference.sources import as_markdown, classes, summary, table

NAME = "exceptions.md"
HEAD = """# Exceptions

There are four kinds, which are never mixed up:

- `McpError` is an error of the protocol: received from the other side, or raised by a handler to
  answer with it.
- `HandlerError` is raised by a handler, and the client sees its message; anything else that a
  handler raises is logged, and the client is told of an internal error only.
- `ToolFailed` is the result of a tool that reports an error; `raise_for_error()` raises it.
- `LocalError` happened on this side and is never sent. `except LocalError` catches whatever
  prevents a call from getting its answer.

What a client meets over HTTP, and when:
[what can go wrong](../how-to/http-client.md#what-can-go-wrong).
"""
ROOTS = (McpError, ToolFailed, LocalError, HandlerError)


def render() -> str:
    """Return the page."""
    lines = [HEAD, "## What `connect` raises", "", _raised_by(connect), ""]
    shown = [each for each in classes(Exception) if issubclass(each, ROOTS) or each in _listed()]
    for module in dict.fromkeys(each.__module__ for each in shown):
        lines += [f"## {module}", "", *_table(each for each in shown if each.__module__ == module)]
    return "\n".join(lines)


def _raised_by(function: object) -> str:
    """Return the end of a docstring, from the words "At the call" on."""
    text = inspect.getdoc(function) or ""
    return as_markdown(text[text.index("At the call") :])


def _listed() -> frozenset[object]:
    """What the modules of the API reference export or define."""
    modules = (name for _, names in API.values() for name in names)
    return frozenset(
        found
        for module in modules
        for name in members(module)
        if isinstance(found := getattr(importlib.import_module(module), name), type)
    )


def _table(shown: Iterable[type]) -> list[str]:
    return table(
        ["Exception", "Bases", "Meaning"],
        [
            [
                f"`{each.__name__}`",
                ", ".join(f"`{base.__name__}`" for base in each.__bases__),
                summary(each),
            ]
            for each in shown
        ],
    )
