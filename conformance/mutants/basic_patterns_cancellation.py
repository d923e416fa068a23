"""Mutants of the page basic/patterns/cancellation."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from conformance.mutants.faults import (
    Fault,
    Value,
    asks,
    dies_of,
    instead,
    misread,
    own_messages,
)
from conformance.mutants.http_faults import notifications, status_of
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_patterns_cancellation import CANCELLED, ROUNDS
from mcpcore_conformance.kit.messages import error, notification
from mcpcore_conformance.kit.model import Binding

table = Table("basic/patterns/cancellation")


def _named(value: Any) -> Any:
    """The id that a cancellation names."""
    params = value.get("params") if isinstance(value, dict) else None
    return params.get("requestId") if isinstance(params, dict) else None


class _Confirms(Fault):
    """Answers calls that were cancelled, with an error."""

    def __init__(self, concerns: Callable[[Any], bool] = bool) -> None:
        super().__init__()
        self._concerns = concerns

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value) and self._concerns(value):
            self.answer(error(_named(value), -32800, "Request cancelled"))
        return payload


class _ConfirmsTwice(_Confirms):
    """Answers a call at its second cancellation."""

    def __init__(self) -> None:
        seen: list[Any] = []

        def again(value: Any) -> bool:
            seen.append(_named(value))
            return seen.count(_named(value)) > 1

        super().__init__(again)


class _CancelsAll(Fault):
    """A cancellation cancels everything that is under way on the connection."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            for kept in self.asked.values():
                if kept.get("method") == "tools/call":
                    self.answer(error(kept["id"], -32800, "Request cancelled"))
        return payload


class _Forgiving(Fault):
    """Takes 17 and "17" for the same id in a cancellation."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        id = _named(value)
        if asks(CANCELLED)(value) and id is not None:
            other = str(id) if isinstance(id, int) else int(id)
            self.answer(error(other, -32800, "Request cancelled"))
        return payload


class _OneTable(Fault):
    """Keeps the requests of all clients in one table, by their ids."""

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


class _Limited(Fault):
    """Counts cancelled calls as if they still ran."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._calls += asks("tools/call")(value)
        if self._calls < 2 * ROUNDS or not asks("tools/list")(value):
            return payload
        self.answer(error(value["id"], -32603, "too many requests"))
        return None


class _CancelsItself(Fault):
    """Tells the client that it has given up what failed."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "error" not in value:
            return (value,)
        params = {"requestId": value.get("id"), "reason": "failed"}
        return (value, notification(CANCELLED, params))


def _without_cancellations(value: Any, payload: bytes) -> Any:
    """Take the cancellation of a running call for one of something unknown."""
    if asks(CANCELLED)(value):
        return {**value, "params": {"requestId": "kit-somebody-else"}}
    return payload


table.add(
    "confirms",
    ("behavior-requirements/no-response", "cancellation-flow/reason-optional"),
    "Answers cancelled calls with an error.",
    _Confirms,
)
table.add(
    "wants-a-reason",
    "cancellation-flow/reason-optional",
    "Answers a call that was cancelled without a reason.",
    lambda: _Confirms(lambda value: "reason" not in value["params"]),
)
table.add(
    "works-on",
    "behavior-requirements/stops-work",
    "Works on when a call is cancelled.",
    misread(_without_cancellations),
)
table.add(
    "counts-cancelled",
    "behavior-requirements/frees-resources",
    "Counts cancelled calls as if they still ran.",
    _Limited,
)
table.add(
    "cancels-all",
    "behavior-requirements/others-unaffected",
    "Cancels everything at the first cancellation.",
    _CancelsAll,
)
table.add(
    "forgiving",
    "behavior-requirements/id-type",
    'Takes 17 and "17" for the same id.',
    _Forgiving,
)
table.add(
    "one-table",
    "behavior-requirements/own-requests",
    "Keeps the requests of all clients in one table.",
    _OneTable,
)
table.add(
    "complains",
    (
        "error-handling/unknown-request",
        "error-handling/completed-request",
        "error-handling/malformed",
    ),
    "Answers a cancellation of what it does not know with an error.",
    instead(asks(CANCELLED), lambda _value: error(None, -32602, "no such request")),
)
table.add(
    "falls-over-cancellations",
    "error-handling/malformed",
    "Ends when a cancellation names nothing.",
    dies_of(lambda value, _payload: asks(CANCELLED)(value) and _named(value) is None),
)
table.add(
    "remembers",
    "error-handling/before-its-request",
    "Keeps cancellations for requests that may come.",
    _Remembers,
)
table.add(
    "answers-both",
    "timing-considerations/races",
    "Answers a request and its cancellation.",
    _Confirms,
)
table.add(
    "second-cancellation",
    "timing-considerations/twice",
    "Answers a call at its second cancellation.",
    _ConfirmsTwice,
)
table.add(
    "sends-on",
    "transport-specific-cancellation/nothing-after",
    "Goes on sending for what was cancelled.",
    misread(_without_cancellations),
)
table.add(
    "cancels-itself",
    "behavior-requirements/only-listen",
    "Sends notifications/cancelled for a request that failed.",
    _CancelsItself,
)
table.add(
    "ends-in-silence",
    "behavior-requirements/ends-listen",
    "Ends subscriptions without a word.",
    own_messages(CANCELLED, lambda _value: None),
    binding=Binding.STDIO,
)
table.add(
    "no-cancellations-here",
    "transport-specific-cancellation/notification-over-http",
    "Fails at a cancellation that is not due over HTTP.",
    status_of(notifications, 500),
    binding=Binding.HTTP,
)

__all__ = ["table"]
