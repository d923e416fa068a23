"""Mutants of the page basic/utilities/ping."""

from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import put
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


@table.server("few-pings", "behavior-requirements/many")
class _Limited(Fault):
    """Answers no more than twenty pings."""

    _pings = 0

    def said(self, value: Any, payload: bytes) -> bytes | None:
        self._pings += asks("ping")(value)
        if self._pings <= 20 or not asks("ping")(value):
            return payload
        self.answer(error(value["id"], -32603, "too many pings"))
        return None


@table.server("pings-in-vain", "overview/server-pings")
class _PingsInVain(Fault):
    """Wants more than an empty result."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        return ({**value, "result": {**value["result"], "isError": True}},)


table.server("pongs", "behavior-requirements/empty").does(
    "Answers with a word.", results_of("ping", put(message="pong"))
)
table.server("wants-no-params", "message-format/with-params").does(
    "Takes no ping with params.",
    declines(lambda value: asks("ping")(value) and "params" in value, -32602),
)
table.server(
    "one-at-a-time", "behavior-requirements/while-busy", "behavior-requirements/while-asking"
).does("Answers no ping while a call runs.", lambda: _Busy(asks("tools/call")))


table.server("pings-with-params", "overview/server-pings").does(
    "Sends params with its pings.", own_messages("ping", put(params={"sequence": 1}))
)
