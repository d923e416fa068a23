"""Mutants of the page basic/utilities/ping."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.faults import Fault, Value, asks, declines, own_messages, results_of
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error

table = Table("basic/utilities/ping")


class _Busy(Fault):
    """Answers no ping while something else is under way."""

    def __init__(self, busy: Callable[[Any], bool]) -> None:
        super().__init__()
        self._begins = busy
        self._busy = False

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._busy |= self._begins(value)
        if not self._busy or not asks("ping")(value):
            return payload
        self.answer(error(value["id"], -32603, "busy"))
        return None


class _Limited(Fault):
    """Answers twenty pings."""

    def __init__(self) -> None:
        super().__init__()
        self._pings = 0

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._pings += asks("ping")(value)
        if self._pings <= 20 or not asks("ping")(value):
            return payload
        self.answer(error(value["id"], -32603, "too many pings"))
        return None


class _PingsInVain(Fault):
    """Says that the client is not there although it was."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        return ({**value, "result": {**value["result"], "isError": True}},)


table.add(
    "pongs",
    "behavior-requirements/empty",
    "Answers with a word.",
    results_of("ping", lambda found: {**found, "message": "pong"}),
)
table.add(
    "wants-no-params",
    "message-format/with-params",
    "Takes no ping with params.",
    declines(lambda value: asks("ping")(value) and "params" in value, -32602),
)
table.add(
    "one-at-a-time",
    ("behavior-requirements/while-busy", "behavior-requirements/while-asking"),
    "Answers no ping while a call runs.",
    lambda: _Busy(asks("tools/call")),
)
table.add(
    "few-pings",
    "behavior-requirements/many",
    "Answers no more than twenty pings.",
    _Limited,
)
table.add(
    "pings-in-vain",
    "overview/server-pings",
    "Wants more than an empty result.",
    _PingsInVain,
)
table.add(
    "pings-with-params",
    "overview/server-pings",
    "Sends params with its pings.",
    own_messages("ping", lambda value: {**value, "params": {"sequence": 1}}),
)

__all__ = ["table"]
