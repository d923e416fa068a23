"""Mutants of the page basic/utilities/cancellation."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_patterns_cancellation import CANCELLED
from mcpcore_conformance.kit.messages import error

table = Table("basic/utilities/cancellation")


@table.server("obedient", "behavior-requirements/initialize-answered")
class _Obedient(Fault):
    """Cancels an initialize as well."""

    _cancelled: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not asks(CANCELLED)(value):
            return payload
        self._cancelled = value["params"]["requestId"]
        self.answer(error(self._cancelled, -32800, "Request cancelled"))
        return None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        cancelled = "result" in value and value["id"] == self._cancelled
        return () if cancelled else (value,)


@table.server("late-answer", "behavior-requirements/while-asking")
class _LateAnswer(Fault):
    """Answers a cancelled call once it hears from its client."""

    _cancelled: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            self._cancelled = value["params"]["requestId"]
        elif self._cancelled is not None and isinstance(value, dict) and "method" not in value:
            self.answer(error(self._cancelled, -32800, "Request cancelled"))
        return payload
