"""Mutants that do not end, end badly, or use the channel for what it is not for."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import hooked, instead
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports/stdio")

PROGRAM = ("-m", "conformance.mutants.programs.stdio_server")


table.server("waits-for-input", "shutdown/end-of-input-at-once", "shutdown/end-within-a-line").does(
    "Does not notice that its input has ended.", hooked(finished=lambda: False)
)


@table.server("drops-at-the-end", "shutdown/answers-before-the-end")
class _Drops(Fault):
    """Forgets what it was asked when the input ends."""

    _over = False

    def finished(self) -> bool:
        self._over = True
        return True

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return () if self._over else (value,)


table.server("writes-requests", "receiving-messages/no-requests").does(
    "Writes a request before its result.",
    also("tools/call", messages.request("mutant", "sampling/createMessage", {})),
)


@table.server("answers-cancelled", "cancellation/silent-afterwards")
class _AnswersCancelled(Fault):
    """Answers requests that were cancelled."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and value.get("method") == "notifications/cancelled":
            result = {"resultType": "complete", "content": [], "isError": True}
            self.answer(messages.result(value["params"]["requestId"], result))
        return payload


@table.server("remembers-capabilities", "unexpected-termination/nothing-is-kept")
class _Remembers(Fault):
    """Takes what one request has declared for what all have."""

    def __init__(self) -> None:
        super().__init__()
        self._known: Value = {}

    def said(self, value: Any, payload: bytes) -> bytes | None:
        meta = value.get("params", {}).get("_meta") if isinstance(value, dict) else None
        if not isinstance(meta, dict) or META_CLIENT_CAPABILITIES not in meta:
            return payload
        self._known |= meta[META_CLIENT_CAPABILITIES]
        meta[META_CLIENT_CAPABILITIES] = self._known
        return encode(value)


table.server("hangs", "shutdown/end-of-input").does(
    "Goes on when there is nothing to read any more.", command=(*PROGRAM, "--hangs")
)
table.server("waits-for-calls", "shutdown/end-of-input-with-calls").does(
    "Waits for calls before it ends.", command=(*PROGRAM, "--hangs-in-calls")
)
table.server("ends-with-3", "shutdown/exit-status").does(
    "Ends with exit status 3.", command=(*PROGRAM, "--status", "3")
)
table.server("leaves-children", "shutdown/nothing-left-behind").does(
    "Leaves a program behind.", command=(*PROGRAM, "--leaves-children")
)
table.server("deaf-to-signals", "shutdown/terminated", "shutdown/terminated-with-calls").does(
    "Ignores SIGTERM.", command=(*PROGRAM, "--deaf-to-signals")
)
table.server("answers-responses", "sending-messages/response-does-no-harm").does(
    "Answers responses.",
    instead(
        lambda value: isinstance(value, dict) and "result" in value,
        lambda value: messages.result(value["id"], {"resultType": "complete"}),
    ),
)
