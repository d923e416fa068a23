"""Mutants of the page basic/patterns/progress."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.faults import (
    Fault,
    Value,
    asks,
    declines,
    instead,
    misread,
    own_messages,
)
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_patterns_cancellation import CANCELLED
from mcpcore_conformance.cases.basic_patterns_progress import PROGRESS
from mcpcore_conformance.kit.heard import Heard, Text
from mcpcore_conformance.kit.messages import error, notification
from mcpcore_conformance.kit.model import Binding

table = Table("basic/patterns/progress")


def _params(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the params of reports."""
    return own_messages(PROGRESS, lambda value: {**value, "params": edit(value["params"])})


def _token(value: Any) -> Any:
    params = value.get("params") if isinstance(value, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta.get("progressToken") if isinstance(meta, dict) else None


class _Unasked(Fault):
    """Reports progress to everybody, with the id of the request for a token."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        params = {"progressToken": value["id"], "progress": 1}
        return (notification(PROGRESS, params), value)


class _Late(Fault):
    """Reports what is left of the progress behind the answer."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]
        params = {"progressToken": _token(asked), "progress": 1000}
        return (value, notification(PROGRESS, params))


class _Swapped(Fault):
    """Sends progress on whatever stream is open first."""

    first = 0

    def heard(self, heard: Heard) -> Iterable[Heard]:
        if isinstance(heard, Text) and b"progressToken" in heard.data:
            self.first = self.first or heard.exchange
            heard.exchange = self.first
        return (heard,)


class _OneToken(Fault):
    """Keeps the tokens of a connection as strings, one beside the other."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != PROGRESS:
            return (value,)
        token = str(value["params"]["progressToken"])
        return ({**value, "params": {**value["params"], "progressToken": token}},)


class _TokensOnce(Fault):
    """Takes no token for a second time."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        token = _token(value)
        if token is None:
            return payload
        if token in self._seen:
            self.answer(error(value["id"], -32602, "this progressToken was used before"))
            return None
        self._seen.add(token)
        return payload


def _deaf(value: Any, payload: bytes) -> Any:
    if asks(CANCELLED)(value):
        return {**value, "params": {"requestId": "kit-somebody-else"}}
    return payload


table.add(
    "tokens-as-numbers",
    "progress-flow/string-token",
    "Takes a token that looks like a number for one.",
    _params(
        lambda params: (
            {**params, "progressToken": 17} if params["progressToken"] == "17" else params
        )
    ),
)
table.add(
    "tokens-as-strings",
    ("progress-flow/integer-token", "behavior-requirements/own-tokens"),
    "Keeps tokens as strings.",
    _OneToken,
)
table.add(
    "zero-is-no-token",
    "progress-flow/integer-token",
    "Takes the token 0 for none.",
    own_messages(PROGRESS, lambda value: value if value["params"]["progressToken"] else None),
)
table.add(
    "stands-still",
    "progress-flow/increases",
    "Reports the same progress again and again.",
    _params(lambda params: {**params, "progress": 50}),
)
table.add(
    "in-words",
    "progress-flow/shape",
    "Reports progress in words.",
    _params(lambda params: {**params, "total": "hundred"}),
)
table.add(
    "without-value",
    "progress-flow/shape",
    "Leaves out how far it is.",
    _params(lambda params: {name: each for name, each in params.items() if name != "progress"}),
)
table.add(
    "falls-over-tokens",
    "progress-flow/malformed-token",
    "Says that it is broken when a token is of a wrong type.",
    declines(lambda value: isinstance(_token(value), float | dict | list), -32603),
)
table.add(
    "wants-no-token",
    "progress-flow/any-request",
    "Takes tokens with calls only.",
    declines(lambda value: _token(value) is not None, -32602),
)
table.add(
    "unasked",
    "behavior-requirements/not-asked-for",
    "Reports progress to everybody.",
    _Unasked,
)
table.add(
    "first-stream",
    "behavior-requirements/own-stream",
    "Sends all progress on the stream that was open first.",
    _Swapped,
    binding=Binding.HTTP,
)
table.add(
    "late",
    "implementation-notes/ends-with-response",
    "Reports the last progress behind the answer.",
    _Late,
)
table.add(
    "reports-on",
    "implementation-notes/ends-with-cancellation",
    "Goes on reporting when the request was cancelled.",
    misread(_deaf),
)
table.add(
    "tokens-once",
    "implementation-notes/token-again",
    "Takes no token for a second time.",
    _TokensOnce,
)
table.add(
    "complains",
    "behavior-requirements/unknown-token",
    "Answers progress that it does not wait for with an error.",
    instead(asks(PROGRESS), lambda _value: error(None, -32602, "no such token")),
)

__all__ = ["table"]
