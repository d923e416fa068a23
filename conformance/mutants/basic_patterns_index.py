"""Mutants of the page basic/patterns/index."""

from collections.abc import Iterable

from conformance.mutants.fault import Fault, Value
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import request

table = Table("basic/patterns/index")


table.server("asks", "request-and-response/no-server-requests").does(
    "Sends requests while a call runs.", also("tools/call", request("kit-asks", "roots/list"))
)


@table.server("answers-twice", "request-and-response/answered-once")
class _AnswersTwice(Fault):
    """Answers twice what fails."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        return (value, value) if "error" in value else (value,)
