"""Mutants that do not end, end badly, or use the channel for what it is not for."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import instead
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports/stdio")

PROGRAM = ("-m", "conformance.mutants.programs.stdio_server")


class _NoEnd(Fault):
    def finished(self) -> bool:
        return False


class _Drops(Fault):
    """Forgets what it was asked when the input ends."""

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    def finished(self) -> bool:
        self._over = True
        return True

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return () if self._over else (value,)


class _Asks(Fault):
    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) == "tools/call" and "result" in value:
            return (messages.request("mutant", "sampling/createMessage", {}), value)
        return (value,)


class _AnswersCancelled(Fault):
    def said(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and value.get("method") == "notifications/cancelled":
            result = {"resultType": "complete", "content": [], "isError": True}
            self.answer(messages.result(value["params"]["requestId"], result))
        return payload


class _Remembers(Fault):
    """Takes what one request has declared for what the connection has declared."""

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


table.add(
    "hangs",
    "shutdown/end-of-input",
    "Goes on when there is nothing to read any more.",
    command=(*PROGRAM, "--hangs"),
)
table.add(
    "waits-for-input",
    ("shutdown/end-of-input-at-once", "shutdown/end-within-a-line"),
    "Does not notice that its input has ended.",
    _NoEnd,
)
table.add(
    "waits-for-calls",
    "shutdown/end-of-input-with-calls",
    "Waits for calls before it ends.",
    command=(*PROGRAM, "--hangs-in-calls"),
)
table.add(
    "drops-at-the-end",
    "shutdown/answers-before-the-end",
    "Forgets what it was asked when the input ends.",
    _Drops,
)
table.add(
    "ends-with-3",
    "shutdown/exit-status",
    "Ends with exit status 3.",
    command=(*PROGRAM, "--status", "3"),
)
table.add(
    "leaves-children",
    "shutdown/nothing-left-behind",
    "Leaves a program behind.",
    command=(*PROGRAM, "--leaves-children"),
)
table.add(
    "deaf-to-signals",
    ("shutdown/terminated", "shutdown/terminated-with-calls"),
    "Ignores SIGTERM.",
    command=(*PROGRAM, "--deaf-to-signals"),
)
table.add(
    "writes-requests",
    "receiving-messages/no-requests",
    "Writes a request before its result.",
    _Asks,
)
table.add(
    "answers-responses",
    "sending-messages/response-does-no-harm",
    "Answers responses.",
    instead(
        lambda value: isinstance(value, dict) and "result" in value,
        lambda value: messages.result(value["id"], {"resultType": "complete"}),
    ),
)
table.add(
    "answers-cancelled",
    "cancellation/silent-afterwards",
    "Answers requests that were cancelled.",
    _AnswersCancelled,
)
table.add(
    "remembers-capabilities",
    "unexpected-termination/nothing-is-kept",
    "Takes what one request has declared for what all have.",
    _Remembers,
)
