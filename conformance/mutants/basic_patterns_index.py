"""Mutants of the page basic/patterns/index."""

from collections.abc import Iterable

from conformance.mutants.faults import Fault, Value
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import request

table = Table("basic/patterns/index")


class _Asks(Fault):
    """Asks the client while a call runs, as servers once did."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        called = self.method_of(value) == "tools/call" and "method" not in value
        return (request("kit-asks", "roots/list"), value) if called else (value,)


class _AnswersTwice(Fault):
    """Answers twice what fails."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return (value, value) if "error" in value else (value,)


table.add(
    "asks",
    "request-and-response/no-server-requests",
    "Sends requests while a call runs.",
    _Asks,
)
table.add(
    "answers-twice",
    "request-and-response/answered-once",
    "Answers twice what fails.",
    _AnswersTwice,
)

__all__ = ["table"]
