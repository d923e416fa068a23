"""Mutants of the page server/utilities/logging."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.basic_transports import misdirects, of
from conformance.mutants.edits import over, put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import (
    alters,
    asks,
    code,
    declines,
    meta_of,
    misread,
    own_messages,
    since,
    takes,
)
from conformance.mutants.http_faults import calls
from conformance.mutants.lists import also, silent_capability
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_LOG_LEVEL
from mcpcore_conformance.cases.server_utilities_logging import LEVELS, MESSAGE
from mcpcore_conformance.kit.heard import Text
from mcpcore_conformance.kit.messages import notification
from mcpcore_conformance.kit.model import Binding

table = Table("server/utilities/logging")

NOTE = notification(MESSAGE, {"level": "info", "data": "something happened"})


def _with_level(value: Value, level: str | None) -> Value:
    meta = {name: each for name, each in meta_of(value).items() if name != META_LOG_LEVEL}
    if level is not None:
        meta[META_LOG_LEVEL] = level
    return {**value, "params": {**value["params"], "_meta": meta}}


table.server("late", "per-request-log-level/before-response").does(
    "Logs behind the answer.", also("tools/call", NOTE, after=True)
)
table.server("first-level", "setting-log-level/changed").does(
    "Keeps the first level that was set.",
    since(asks("logging/setLevel"), takes("logging/setLevel", {}), number=2),
)


class _OneLevel(Fault):
    """Has one level, whoever sets it."""

    level = "emergency"

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("logging/setLevel")(value):
            _OneLevel.level = value["params"]["level"]
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        called = self.method_of(value) == "tools/call" and "result" in value
        return (NOTE, value) if called and self.level == "debug" else (value,)


@table.server("keeps-levels", "per-request-log-level/not-kept")
class _Keeps(Fault):
    """Keeps the level of a request for those that follow."""

    _level: str | None = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not asks("tools/call")(value):
            return payload
        self._level = meta_of(value).get(META_LOG_LEVEL, self._level)
        kept = _with_level(value, self._level)
        return misread(lambda _value, _payload: kept)().said(value, payload)


table.server("next-stream", "per-request-log-level/own-stream", binding=Binding.HTTP).does(
    "Sends log messages on the stream of another request.",
    alters(Text, lambda text: MESSAGE.encode() in text.data, exchange=lambda number: number + 1),
)
table.server("listen-stream", "per-request-log-level/not-on-listen", binding=Binding.HTTP).does(
    "Sends log messages on the stream of subscriptions/listen.",
    misdirects(of(MESSAGE), calls("subscriptions/listen"), as_well=False),
)


def _known_levels(value: Any, payload: bytes) -> Any:
    level = meta_of(value).get(META_LOG_LEVEL, "debug")
    return payload if level in LEVELS else _with_level(value, None)


def _own(**members: Any) -> Any:
    return own_messages(MESSAGE, over("params", put(**members)))


table.server("undeclared", "capabilities/declared").does(
    "Logs, and does not declare it.", silent_capability("logging")
)
table.server("own-levels", "log-levels/known").does("Has a level of its own.", _own(level="warn"))
table.server("no-data", "log-levels/known").does(
    "Has text where data should be.",
    own_messages(MESSAGE, put(params={"level": "info", "text": "x"})),
)
table.server("keeps-it-to-itself", "log-message-notifications/sent").does(
    "Sends no log messages.", own_messages(MESSAGE, lambda _value: None)
)
table.server("chatty", "log-levels/nothing-below", "per-request-log-level/not-asked-for").does(
    "Sends log messages whatever the level is.", also("tools/call", NOTE)
)
table.server("chatty-of-old", "log-levels/nothing-below-the-one-set").does(
    "Sends log messages whatever level was set.", also("tools/call", NOTE)
)
table.server("few-levels", "setting-log-level/accepted").does(
    "Has no level notice.",
    declines(asks("logging/setLevel", lambda params: params["level"] == "notice"), -32602),
)
table.server("any-level", "error-handling/invalid-level").does(
    "Takes whatever it is given for a level.", takes("logging/setLevel", {})
)
table.server(
    "level-code", "error-handling/invalid-level", "error-handling/invalid-request-level"
).does("Calls a wrong level an internal error.", code(-32602, -32603))

table.server("one-level", "setting-log-level/of-one-client").does(
    "Has one level for all clients.", _OneLevel
)
table.server("leaves-levels-out", "error-handling/invalid-request-level").does(
    "Takes a level that does not exist for none.", misread(_known_levels)
)
