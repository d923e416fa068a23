"""Mutants of the page server/tools: calling tools, and what they answer."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.fault import Fault
from conformance.mutants.faults import answers_to, asks, declines, results_of, takes
from conformance.mutants.lists import Entries
from conformance.mutants.model import Table, until
from mcpcore_conformance.kit import messages

table = Table("server/tools")

Value = dict[str, Any]
TEXT = {"type": "text", "text": "done"}


def _result(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of("tools/call", edit)


def _content(edit: Callable[[Entries], Entries]) -> Callable[[], Fault]:
    return _result(lambda result: {**result, "content": edit(result["content"])})


def _block(**members: Any) -> Callable[[], Fault]:
    """Edit the first block."""
    return _content(lambda content: [{**content[0], **members}, *content[1:]])


def _said(error: Callable[[Value], Value | None]) -> Callable[[], Fault]:
    """Make another answer of a result: ``error`` returns it, None leaves it as it is."""
    return answers_to("tools/call", lambda value: error(value) or value)


def _as_error(code: int) -> Callable[[], Fault]:
    return _said(lambda value: messages.error(value["id"], code, "the tool failed"))


def _as_result(is_error: bool) -> Callable[[], Fault]:
    return takes("tools/call", {"content": [TEXT], "isError": is_error, "resultType": "complete"})


table.add(
    "text-alone",
    "calling-tools/result-shape",
    "Gives a string for the content.",
    _result(lambda result: {**result, "content": "done"}),
)
table.add(
    "no-content",
    "calling-tools/result-shape",
    "Leaves out the content.",
    _result(lambda result: {key: each for key, each in result.items() if key != "content"}),
    revisions=until("2024-11-05"),
)
table.add(
    "unknown-block",
    "calling-tools/result-shape",
    "Gives a block of a type that no revision has.",
    _block(type="video"),
    revisions=until("2025-06-18"),
)
table.add(
    "needs-arguments",
    "calling-tools/no-arguments",
    "Wants the member arguments in every call.",
    declines(
        lambda value: asks("tools/call")(value) and "arguments" not in value["params"], -32602
    ),
)
table.add(
    "takes-anything",
    (
        "security-considerations/missing-argument",
        "security-considerations/wrong-type",
        "security-considerations/further-argument",
        "security-considerations/rules-of-2020-12",
        "error-handling/invalid-arguments-result",
        "error-handling/unknown-tool",
        "error-handling/no-name",
        "error-handling/malformed-arguments",
        "tool-names/case-sensitive",
    ),
    "Carries out every call, whatever it says.",
    _as_result(False),
)
table.add(
    "refuses-everything",
    "security-considerations/rules-of-2020-12",
    "Refuses every call.",
    _as_result(True),
)
table.add(
    "takes-anything-early",
    "error-handling/invalid-arguments-error",
    "Carries out every call, whatever it says.",
    _as_result(False),
)
table.add(
    "error-for-arguments",
    "error-handling/invalid-arguments-result",
    "Answers invalid arguments with an error of the protocol.",
    _as_error(-32602),
)
table.add(
    "result-for-arguments",
    "error-handling/invalid-arguments-error",
    "Answers invalid arguments with a result that has isError.",
    _as_result(True),
)
table.add(
    "result-for-nobody",
    ("error-handling/unknown-tool", "error-handling/no-name"),
    "Answers for tools that it does not have with a result that has isError.",
    _as_result(True),
)
table.add(
    "other-code-for-nobody",
    ("error-handling/unknown-tool", "error-handling/malformed-arguments"),
    "Answers what it does not understand with an internal error.",
    _as_error(-32603),
    revisions=until("2025-03-26"),
)
table.add(
    "hidden-failure",
    "error-handling/tool-error",
    "Does not say that a tool failed.",
    _result(lambda result: {**result, "isError": False}),
)
table.add(
    "thrown-failure",
    "error-handling/tool-error",
    "Answers for a tool that fails with an internal error.",
    _as_error(-32603),
)
