"""Mutants of the page basic/patterns/progress."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.basic_patterns_cancellation import WORKS_ON
from conformance.mutants.basic_transports import misdirects, of
from conformance.mutants.edits import drop, over, put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks, declines, instead, meta_of, own_messages
from conformance.mutants.http_faults import calls
from conformance.mutants.lists import also, told
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_patterns_progress import PROGRESS
from mcpcore_conformance.kit.messages import error, notification
from mcpcore_conformance.kit.model import Binding

table = Table("basic/patterns/progress")


def _params(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit the params of reports."""
    return told(PROGRESS, edit)


def _token(value: Any) -> Any:
    return meta_of(value).get("progressToken")


table.server("unasked", "behavior-requirements/not-asked-for").does(
    "Reports progress to everybody.",
    also(
        "tools/call",
        lambda value: notification(PROGRESS, {"progressToken": value["id"], "progress": 1}),
    ),
)


@table.server("late", "implementation-notes/ends-with-response")
class _Late(Fault):
    """Reports the last progress behind the answer."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]
        params = {"progressToken": _token(asked), "progress": 1000}
        return (value, notification(PROGRESS, params))


table.server("first-stream", "behavior-requirements/own-stream", binding=Binding.HTTP).does(
    "Sends all progress on the stream that was open first.",
    misdirects(of(PROGRESS), calls("tools/call"), as_well=False),
)
table.server(
    "tokens-as-strings", "progress-flow/integer-token", "behavior-requirements/own-tokens"
).does("Keeps tokens as strings.", told(PROGRESS, over("progressToken", str)))


@table.server("tokens-once", "implementation-notes/token-again")
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


table.server("tokens-as-numbers", "progress-flow/string-token").does(
    "Takes a token that looks like a number for one.",
    _params(over("progressToken", lambda found: 17 if found == "17" else found)),
)
table.server("zero-is-no-token", "progress-flow/integer-token").does(
    "Takes the token 0 for none.",
    own_messages(PROGRESS, lambda value: value if value["params"]["progressToken"] else None),
)
table.server("stands-still", "progress-flow/increases").does(
    "Reports the same progress again and again.", _params(put(progress=50))
)
table.server("in-words", "progress-flow/shape").does(
    "Reports progress in words.", _params(put(total="hundred"))
)
table.server("without-value", "progress-flow/shape").does(
    "Leaves out how far it is.", _params(drop("progress"))
)
table.server("falls-over-tokens", "progress-flow/malformed-token").does(
    "Says that it is broken when a token is of a wrong type.",
    declines(lambda value: isinstance(_token(value), float | dict | list), -32603),
)
table.server("wants-no-token", "progress-flow/any-request").does(
    "Takes tokens with calls only.", declines(lambda value: _token(value) is not None, -32602)
)
table.server("reports-on", "implementation-notes/ends-with-cancellation").does(
    "Goes on reporting when the request was cancelled.", WORKS_ON
)
table.server("complains", "behavior-requirements/unknown-token").does(
    "Answers progress that it does not wait for with an error.",
    instead(asks(PROGRESS), lambda _value: error(None, -32602, "no such token")),
)
