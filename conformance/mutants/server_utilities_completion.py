"""Mutants of the page server/utilities/completion."""

from collections.abc import Callable
from typing import Any

from conformance.mutants.faults import (
    Fault,
    Value,
    asks,
    code,
    declines,
    misread,
    results_of,
    takes,
)
from conformance.mutants.lists import silent_capability
from conformance.mutants.model import Table
from mcpcore_conformance.cases.server_utilities_completion import COMPLETE

table = Table("server/utilities/completion")


def _params(value: Any) -> dict[str, Any]:
    params = value.get("params") if isinstance(value, dict) else None
    return params if isinstance(params, dict) and asks(COMPLETE)(value) else {}


def _ref(kind: str) -> Callable[[Any], bool]:
    """Whether something asks to complete a reference of that type."""

    def concerns(value: Any) -> bool:
        ref = _params(value).get("ref")
        return isinstance(ref, dict) and ref.get("type") == kind

    return concerns


def _completed(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return results_of(COMPLETE, lambda found: {**found, "completion": edit(found["completion"])})


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


table.add(
    "undeclared",
    "capabilities/declared",
    "Completes, and does not declare it.",
    silent_capability("completions"),
)
table.add(
    "values-with-labels",
    "completion-results/shape",
    "Has objects for values.",
    _completed(lambda found: {**found, "values": [{"label": "x", "value": "x"}]}),
)
table.add(
    "total-in-words",
    "completion-results/shape",
    "Says in words how many there are.",
    _completed(lambda found: {**found, "total": "many"}),
)
table.add(
    "all-at-once",
    "completion-results/at-most-a-hundred",
    "Sends all that it has.",
    _completed(lambda found: {"values": [str(number) for number in range(101)]}),
)
table.add(
    "small-total",
    "completion-results/has-more",
    "Says that there are fewer than it sends.",
    _completed(lambda found: {**found, "total": 0}),
)
table.add(
    "never-more",
    "completion-results/has-more",
    "Never says that there is more.",
    _completed(lambda found: {**found, "total": 1000, "hasMore": False}),
)
table.add(
    "no-prompts",
    "reference-types/prompt",
    "Does not complete prompts.",
    declines(_ref("ref/prompt"), -32602),
)
table.add(
    "no-templates",
    "reference-types/resource",
    "Does not complete templates.",
    declines(_ref("ref/resource"), -32602),
)
table.add(
    "no-context",
    "requesting-completions/context",
    "Does not know context.",
    declines(lambda value: "context" in _params(value), -32602),
)
table.add(
    "plain-text-only",
    "requesting-completions/any-text",
    "Takes nothing but ASCII.",
    declines(_odd, -32602),
)
table.add(
    "completes-anything",
    (
        "error-handling/unknown-prompt",
        "error-handling/missing",
        "security/inputs-validated",
    ),
    "Has nothing to propose for whatever it does not understand.",
    takes(COMPLETE, EMPTY),
)
table.add(
    "all-internal",
    (
        "error-handling/unknown-prompt",
        "error-handling/missing",
    ),
    "Falls over its inputs.",
    code(-32602, -32603),
)
table.add(
    "does-not-listen",
    "requesting-completions/typed",
    "Proposes the same whatever was typed.",
    misread(_untyped),
)

__all__ = ["table"]
