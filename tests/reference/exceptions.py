"""The page reference/exceptions.md: each exception with its bases and what it says."""

import inspect

from mcpcore import connect, errors
from tests.reference.sources import as_markdown, summary, table

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

`InputNeeded` is no error, but the signal with which a handler of the modern era asks the client.
What a client meets over HTTP, and when:
[what can go wrong](../how-to/http-client.md#what-can-go-wrong).
"""


def render() -> str:
    """Return the page."""
    shown = [each for each in vars(errors).values() if isinstance(each, type)]
    rows = [
        [
            f"`{each.__name__}`",
            ", ".join(f"`{base.__name__}`" for base in each.__bases__),
            summary(each),
        ]
        for each in sorted(shown, key=lambda each: each.__module__, reverse=True)
        if issubclass(each, BaseException)
    ]
    lines = [HEAD, "## What `connect` raises", "", _raised_by(connect), "", "## All exceptions", ""]
    return "\n".join(lines + table(["Exception", "Bases", "Meaning"], rows))


def _raised_by(function: object) -> str:
    """Return the end of a docstring, from the words "At the call" on."""
    text = inspect.getdoc(function) or ""
    return as_markdown(text[text.index("At the call") :])
