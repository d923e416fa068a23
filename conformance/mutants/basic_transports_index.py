"""Mutants of what every binding has to carry."""

from collections.abc import Iterable
from typing import Any, ClassVar

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import answers_to
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports/index")


def _basic_plane(value: Value) -> Value:
    """Loses what does not fit into two bytes."""
    if isinstance(value.get("id"), str):
        return {**value, "id": "".join(each for each in value["id"] if each <= "\uffff")}
    return value


class _ReadsEscapesLiterally(Fault):
    def said(self, value: Any, payload: bytes) -> bytes | None:
        if b"\\u" in payload and isinstance(value, dict):
            return encode({**value, "id": str(value.get("id")).encode("unicode_escape").decode()})
        return payload


class _AsksFirst(Fault):
    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) == "tools/call":
            return (messages.request("mutant", "elicitation/create", {}), value)
        return (value,)


class _Repeats(Fault):
    """Sends the answers of one connection over another one, too."""

    said_to: ClassVar[list[tuple[Fault, Value]]] = []

    def message(self, value: Value) -> Iterable[Value | bytes]:
        foreign = [each for owner, each in self.said_to if owner is not self]
        if str(value.get("id")).startswith("same"):
            self.said_to[:] = [(self, value)]
        return (value, *foreign)


table.add(
    "basic-plane",
    "messages/utf-8",
    "Loses characters that do not fit into two bytes.",
    answers_to("", _basic_plane),
)
table.add(
    "escapes-literally",
    "messages/escapes",
    "Does not read escapes.",
    _ReadsEscapesLiterally,
)
table.add("asks", "messages/directions", "Sends requests.", _AsksFirst)
table.add(
    "connections-mixed",
    "custom-transports/connections-apart",
    "Sends the answers of one connection over another one, too.",
    _Repeats,
)
