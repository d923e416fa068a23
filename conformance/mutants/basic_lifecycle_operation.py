"""Mutants of the page basic/lifecycle: capabilities, operation, the end."""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from conformance.mutants.faults import (
    Fault,
    Value,
    answers_to,
    asks,
    declines,
    instead,
    own_messages,
)
from conformance.mutants.lists import silent_capability
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error, request, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/lifecycle")


def _asks_anyway(method: str, params: Value) -> Callable[[], Fault]:
    """Asks the client, whatever it declared, and fails the call then."""

    class Asks(Fault):
        def message(self, value: Value) -> Iterable[Value | bytes]:
            call = self.method_of(value) == "tools/call" and "method" not in value
            return (request("anyway", method, params), value) if call else (value,)

    return Asks


class _OneVersion(Fault):
    """Speaks the version of whoever came last."""

    last = ""

    def __init__(self) -> None:
        super().__init__()
        self._mine = ""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("initialize")(value):
            self._mine = _OneVersion.last = value["params"]["protocolVersion"]
        elif self._mine != _OneVersion.last and "id" in value:
            self.answer(error(value["id"], -32600, "another version was agreed on"))
            return None
        return payload


class _FirstOnly(Fault):
    """Serves one conversation, and ends with any other."""

    numbers = count()

    def __init__(self) -> None:
        super().__init__()
        self._number = next(self.numbers)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if self._number and asks("tools/list")(value):
            self.vanish("the server has ended")
            return None
        return payload


class _Deaf(Fault):
    def finished(self) -> bool:
        return False

    def signalled(self, number: int) -> bool:
        return False


table.add(
    "promises",
    "capability-negotiation/declared",
    "Declares logging and does not know logging/setLevel.",
    declines(asks("logging/setLevel"), -32601),
)
table.add(
    "keeps-quiet",
    "capability-negotiation/undeclared",
    "Has prompts and does not declare them.",
    silent_capability("prompts"),
)
table.add(
    "samples-anyway",
    "capability-negotiation/no-sampling",
    "Asks for sampling whether the client can do it or not.",
    _asks_anyway("sampling/createMessage", {"messages": [], "maxTokens": 1}),
)
table.add(
    "roots-anyway",
    "capability-negotiation/no-roots",
    "Asks for roots whether the client can do it or not.",
    _asks_anyway("roots/list", {}),
)
table.add(
    "elicits-anyway",
    "capability-negotiation/no-elicitation",
    "Asks the user whether the client can do it or not.",
    _asks_anyway("elicitation/create", {"message": "x", "requestedSchema": {}}),
)
table.add(
    "serves-later-methods",
    "operation/later-methods",
    "Serves server/discover whatever version was agreed on.",
    instead(asks("server/discover"), lambda value: result(value["id"], {})),
)
table.add(
    "one-version",
    "operation/two-versions",
    "Keeps the version of the last client for all of them.",
    _OneVersion,
)
table.add(
    "one-conversation",
    ("shutdown/others-stay", "shutdown/dropped"),
    "Ends with its first conversation.",
    _FirstOnly,
)
table.add(
    "stays",
    ("stdio/end-of-input", "stdio/end-before-initialize", "stdio/terminated"),
    "Ends neither with its input nor on SIGTERM.",
    _Deaf,
    binding=Binding.STDIO,
)
table.add(
    "waits-for-ever",
    "timeouts/unanswered-question",
    "Never gives up a question.",
    answers_to("tools/call", lambda _value: None),
)
table.add(
    "gives-up-silently",
    "timeouts/unanswered-question",
    "Does not tell the client that it has given up a question.",
    own_messages("notifications/cancelled", lambda _value: None),
)

__all__ = ["table"]
