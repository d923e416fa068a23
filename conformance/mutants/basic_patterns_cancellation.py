"""Mutants of the page basic/patterns/cancellation."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from conformance.mutants.edits import put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import (
    asks,
    declines,
    dies_of,
    instead,
    misread,
    own_messages,
    params_of,
    responds,
    since,
)
from conformance.mutants.http_faults import notifications, status_of
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_patterns_cancellation import CANCELLED, ROUNDS
from mcpcore_conformance.kit.messages import error, notification
from mcpcore_conformance.kit.model import Binding

table = Table("basic/patterns/cancellation")


def _named(value: Any) -> Any:
    """The id that a cancellation names."""
    return params_of(value).get("requestId")


def _confirms(test: Callable[[Value], bool] = lambda params: True) -> Callable[[], Fault]:
    """Answer calls that were cancelled, with an error."""
    return responds(
        asks(CANCELLED, test), lambda value: error(_named(value), -32800, "Request cancelled")
    )


table.server("second-cancellation", "timing-considerations/twice").does(
    "Answers a call at its second cancellation.", since(asks(CANCELLED), _confirms(), number=2)
)


@table.server("cancels-all", "behavior-requirements/others-unaffected")
class _CancelsAll(Fault):
    """Cancels everything at the first cancellation."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            for kept in self.asked.values():
                if kept.get("method") == "tools/call":
                    self.answer(error(kept["id"], -32800, "Request cancelled"))
        return payload


@table.server("forgiving", "behavior-requirements/id-type")
class _Forgiving(Fault):
    """Takes 17 and "17" for the same id."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        id = _named(value)
        if asks(CANCELLED)(value) and id is not None:
            other = str(id) if isinstance(id, int) else int(id)
            self.answer(error(other, -32800, "Request cancelled"))
        return payload


@table.server("one-table", "behavior-requirements/own-requests")
class _OneTable(Fault):
    """Keeps the requests of all clients in one table."""

    there: ClassVar[dict[Any, "_OneTable"]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._cancelled: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("tools/call")(value):
            self.there[value["id"]] = self
        elif asks(CANCELLED)(value) and _named(value) in self.there:
            self.there[_named(value)]._cancelled.add(_named(value))
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("id") not in self._cancelled:
            return (value,)
        return (error(value["id"], -32800, "Request cancelled"),)


@table.server("remembers", "error-handling/before-its-request")
class _Remembers(Fault):
    """Keeps cancellations for requests that may come."""

    def __init__(self) -> None:
        super().__init__()
        self._cancelled: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            self._cancelled.add(_named(value))
        elif isinstance(value, dict) and value.get("id") in self._cancelled:
            self.answer(error(value["id"], -32800, "Request cancelled"))
            return None
        return payload


table.server("counts-cancelled", "behavior-requirements/frees-resources").does(
    "Counts cancelled calls as if they still ran.",
    since(asks("tools/call"), declines(asks("tools/list"), -32603), number=2 * ROUNDS),
)


@table.server("cancels-itself", "behavior-requirements/only-listen")
class _CancelsItself(Fault):
    """Sends notifications/cancelled for a request that failed."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "error" not in value:
            return (value,)
        params = {"requestId": value.get("id"), "reason": "failed"}
        return (value, notification(CANCELLED, params))


WORKS_ON = misread(
    lambda value, payload: (
        put(params={"requestId": "kit-somebody-else"})(value) if asks(CANCELLED)(value) else payload
    )
)
"""Takes the cancellation of a running call for one of something unknown."""


table.server(
    "confirms", "behavior-requirements/no-response", "cancellation-flow/reason-optional"
).does("Answers cancelled calls with an error.", _confirms())
table.server("wants-a-reason", "cancellation-flow/reason-optional").does(
    "Answers a call that was cancelled without a reason.",
    _confirms(lambda params: "reason" not in params),
)
table.server("works-on", "behavior-requirements/stops-work").does(
    "Works on when a call is cancelled.", WORKS_ON
)
table.server(
    "complains",
    "error-handling/unknown-request",
    "error-handling/completed-request",
    "error-handling/malformed",
).does(
    "Answers a cancellation of what it does not know with an error.",
    instead(asks(CANCELLED), lambda _value: error(None, -32602, "no such request")),
)
table.server("falls-over-cancellations", "error-handling/malformed").does(
    "Ends when a cancellation names nothing.",
    dies_of(lambda value, _payload: asks(CANCELLED)(value) and _named(value) is None),
)
table.server("answers-both", "timing-considerations/races").does(
    "Answers a request and its cancellation.", _confirms()
)
table.server("sends-on", "transport-specific-cancellation/nothing-after").does(
    "Goes on sending for what was cancelled.", WORKS_ON
)
table.server("ends-in-silence", "behavior-requirements/ends-listen", binding=Binding.STDIO).does(
    "Ends subscriptions without a word.", own_messages(CANCELLED, lambda _value: None)
)
table.server(
    "no-cancellations-here",
    "transport-specific-cancellation/notification-over-http",
    binding=Binding.HTTP,
).does("Fails at a cancellation that is not due over HTTP.", status_of(notifications, 500))
