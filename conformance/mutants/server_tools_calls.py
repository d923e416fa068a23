"""Mutants of the page server/tools: calling tools, and what they answer."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import drop, over, put
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
    return _result(over("content", edit))


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


table.server("text-alone", "calling-tools/result-shape").does(
    "Gives a string for the content.", _result(put(content="done"))
)
table.server("no-content", "calling-tools/result-shape", revisions=until("2024-11-05")).does(
    "Leaves out the content.", _result(drop("content"))
)
table.server("unknown-block", "calling-tools/result-shape", revisions=until("2025-06-18")).does(
    "Gives a block of a type that no revision has.", _block(type="video")
)
table.server("needs-arguments", "calling-tools/no-arguments").does(
    "Wants the member arguments in every call.",
    declines(
        lambda value: asks("tools/call")(value) and "arguments" not in value["params"], -32602
    ),
)
table.server(
    "takes-anything",
    "security-considerations/missing-argument",
    "security-considerations/wrong-type",
    "security-considerations/further-argument",
    "security-considerations/rules-of-2020-12",
    "error-handling/invalid-arguments-result",
    "error-handling/unknown-tool",
    "error-handling/no-name",
    "error-handling/malformed-arguments",
    "tool-names/case-sensitive",
).does("Carries out every call, whatever it says.", _as_result(False))
table.server("refuses-everything", "security-considerations/rules-of-2020-12").does(
    "Refuses every call.", _as_result(True)
)
table.server("takes-anything-early", "error-handling/invalid-arguments-error").does(
    "Carries out every call, whatever it says.", _as_result(False)
)
table.server("error-for-arguments", "error-handling/invalid-arguments-result").does(
    "Answers invalid arguments with an error of the protocol.", _as_error(-32602)
)
table.server("result-for-arguments", "error-handling/invalid-arguments-error").does(
    "Answers invalid arguments with a result that has isError.", _as_result(True)
)
table.server("result-for-nobody", "error-handling/unknown-tool", "error-handling/no-name").does(
    "Answers for tools that it does not have with a result that has isError.", _as_result(True)
)
table.server(
    "other-code-for-nobody",
    "error-handling/unknown-tool",
    "error-handling/malformed-arguments",
    revisions=until("2025-03-26"),
).does("Answers what it does not understand with an internal error.", _as_error(-32603))
table.server("hidden-failure", "error-handling/tool-error").does(
    "Does not say that a tool failed.", _result(put(isError=False))
)
table.server("thrown-failure", "error-handling/tool-error").does(
    "Answers for a tool that fails with an internal error.", _as_error(-32603)
)
