"""Mutants of the page basic/lifecycle: capabilities, operation, the end."""

from collections.abc import Callable
from itertools import count
from typing import Any

from conformance.mutants.edits import to
from conformance.mutants.faults import (
    Fault,
    Value,
    answers_to,
    asks,
    declines,
    hooked,
    instead,
    own_messages,
)
from conformance.mutants.lists import also, silent_capability
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error, request, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/lifecycle")


def _asks_anyway(method: str, params: Value) -> Callable[[], Fault]:
    """Ask the client, whatever it declared, and fail the call then."""
    return also("tools/call", request("anyway", method, params))


class _OneVersion(Fault):
    """Speaks the version of whoever came last."""

    last = ""

    _mine = ""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("initialize")(value):
            self._mine = _OneVersion.last = value["params"]["protocolVersion"]
        elif self._mine != _OneVersion.last and "id" in value:
            self.answer(error(value["id"], -32600, "another version was agreed on"))
            return None
        return payload


@table.server("one-conversation", "shutdown/others-stay", "shutdown/dropped")
class _FirstOnly(Fault):
    """Ends with its first conversation."""

    numbers = count()

    def __init__(self) -> None:
        super().__init__()
        self._number = next(self.numbers)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if self._number and asks("tools/list")(value):
            self.vanish("the server has ended")
            return None
        return payload


table.server(
    "stays",
    "stdio/end-of-input",
    "stdio/end-before-initialize",
    "stdio/terminated",
    binding=Binding.STDIO,
).does(
    "Ends neither with its input nor on SIGTERM.",
    hooked(finished=lambda: False, signalled=to(False)),
)
table.server("promises", "capability-negotiation/declared").does(
    "Declares logging and does not know logging/setLevel.",
    declines(asks("logging/setLevel"), -32601),
)
table.server("keeps-quiet", "capability-negotiation/undeclared").does(
    "Has prompts and does not declare them.", silent_capability("prompts")
)
table.server("samples-anyway", "capability-negotiation/no-sampling").does(
    "Asks for sampling whether the client can do it or not.",
    _asks_anyway("sampling/createMessage", {"messages": [], "maxTokens": 1}),
)
table.server("roots-anyway", "capability-negotiation/no-roots").does(
    "Asks for roots whether the client can do it or not.", _asks_anyway("roots/list", {})
)
table.server("elicits-anyway", "capability-negotiation/no-elicitation").does(
    "Asks the user whether the client can do it or not.",
    _asks_anyway("elicitation/create", {"message": "x", "requestedSchema": {}}),
)
table.server("serves-later-methods", "operation/later-methods").does(
    "Serves server/discover whatever version was agreed on.",
    instead(asks("server/discover"), lambda value: result(value["id"], {})),
)
table.server("one-version", "operation/two-versions").does(
    "Keeps the version of the last client for all of them.", _OneVersion
)
table.server("waits-for-ever", "timeouts/unanswered-question").does(
    "Never gives up a question.", answers_to("tools/call", lambda _value: None)
)
table.server("gives-up-silently", "timeouts/unanswered-question").does(
    "Does not tell the client that it has given up a question.",
    own_messages("notifications/cancelled", lambda _value: None),
)
