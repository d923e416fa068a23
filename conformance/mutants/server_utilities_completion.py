"""Mutants of the page server/utilities/completion."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.edits import over, put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks, code, declines, misread, params_of, results_of, takes
from conformance.mutants.lists import silent_capability
from conformance.mutants.model import Table
from mcpcore_conformance.cases.server_utilities_completion import COMPLETE

table = Table("server/utilities/completion")


def _params(value: Any) -> Value:
    return params_of(value) if asks(COMPLETE)(value) else {}


def _ref(kind: str) -> Callable[[Any], bool]:
    """Whether something asks to complete a reference of that type."""
    return asks(
        COMPLETE, lambda params: isinstance(ref := params.get("ref"), dict) and ref["type"] == kind
    )


def _completed(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of(COMPLETE, over("completion", edit))


def _odd(value: Any) -> bool:
    argument = _params(value).get("argument")
    typed = argument.get("value") if isinstance(argument, dict) else None
    return isinstance(typed, str) and any(each < " " or each > "~" for each in typed)


def _untyped(value: Any, payload: bytes) -> Any:
    argument = _params(value).get("argument")
    if not isinstance(argument, dict) or not isinstance(argument.get("value"), str):
        return payload
    return {**value, "params": {**value["params"], "argument": {**argument, "value": ""}}}


EMPTY: dict[str, Any] = {"completion": {"values": []}, "resultType": "complete"}


table.server("undeclared", "capabilities/declared").does(
    "Completes, and does not declare it.", silent_capability("completions")
)
table.server("values-with-labels", "completion-results/shape").does(
    "Has objects for values.", _completed(put(values=[{"label": "x", "value": "x"}]))
)
table.server("total-in-words", "completion-results/shape").does(
    "Says in words how many there are.", _completed(put(total="many"))
)
table.server("all-at-once", "completion-results/at-most-a-hundred").does(
    "Sends all that it has.",
    _completed(lambda found: {"values": [str(number) for number in range(101)]}),
)
table.server("small-total", "completion-results/has-more").does(
    "Says that there are fewer than it sends.", _completed(put(total=0))
)
table.server("never-more", "completion-results/has-more").does(
    "Never says that there is more.", _completed(put(total=1000, hasMore=False))
)
table.server("no-prompts", "reference-types/prompt").does(
    "Does not complete prompts.", declines(_ref("ref/prompt"), -32602)
)
table.server("no-templates", "reference-types/resource").does(
    "Does not complete templates.", declines(_ref("ref/resource"), -32602)
)
table.server("no-context", "requesting-completions/context").does(
    "Does not know context.", declines(lambda value: "context" in _params(value), -32602)
)
table.server("plain-text-only", "requesting-completions/any-text").does(
    "Takes nothing but ASCII.", declines(_odd, -32602)
)
table.server(
    "completes-anything",
    "error-handling/unknown-prompt",
    "error-handling/missing",
    "security/inputs-validated",
).does("Has nothing to propose for whatever it does not understand.", takes(COMPLETE, EMPTY))
table.server("all-internal", "error-handling/unknown-prompt", "error-handling/missing").does(
    "Falls over its inputs.", code(-32602, -32603)
)
table.server("does-not-listen", "requesting-completions/typed").does(
    "Proposes the same whatever was typed.", misread(_untyped)
)
