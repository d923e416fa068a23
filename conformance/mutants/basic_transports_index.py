"""Mutants of what every binding has to carry."""

from collections.abc import Iterable
from typing import Any, ClassVar

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import answers_to
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports/index")


def _basic_plane(value: Value) -> Value:
    """Loses what does not fit into two bytes."""
    if isinstance(value.get("id"), str):
        return {**value, "id": "".join(each for each in value["id"] if each <= "\uffff")}
    return value


@table.server("escapes-literally", "escapes")
class _ReadsEscapesLiterally(Fault):
    """Does not read escapes."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if b"\\u" in payload and isinstance(value, dict):
            return encode({**value, "id": str(value.get("id")).encode("unicode_escape").decode()})
        return payload


table.server("asks", "directions").does(
    "Sends requests.", also("tools/call", messages.request("mutant", "elicitation/create", {}))
)


@table.server("connections-mixed", "connections-apart")
class _Repeats(Fault):
    """Sends the answers of one connection over another one, too."""

    said_to: ClassVar[list[tuple[Fault, Value]]] = []

    def message(self, value: Value) -> Iterable[Value | bytes]:
        foreign = [each for owner, each in self.said_to if owner is not self]
        if str(value.get("id")).startswith("same"):
            self.said_to[:] = [(self, value)]
        return (value, *foreign)


table.server("basic-plane", "utf-8").does(
    "Loses characters that do not fit into two bytes.", answers_to("", _basic_plane)
)
