"""Whether a fault of a client changes anything of a conversation that was recorded."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from msgspec import Struct

from conformance.mutants.client_fault import ClientBreaks, ClientFault, Value
from mcpcore_conformance.kit.client_wire import Arrival, Asked


class Passed(Struct, frozen=True):
    """Something that has passed a hook of a fault, as it was."""

    hook: str
    given: tuple[Any, ...]


class Recorder(ClientFault):
    """Keeps everything that passes, and changes nothing."""

    passed: list[Passed] = []

    def _keep(self, hook: str, *given: Any) -> None:
        self.passed.append(Passed(hook, deepcopy(given)))

    def said(self, value: Value) -> Iterable[Value | bytes]:
        """See ClientFault."""
        self._keep("said", value)
        return (value,)

    def told(self, value: Any, payload: bytes) -> bytes | None:
        """See ClientFault."""
        self._keep("told", value, payload)
        return payload

    def asked(self, asked: Asked) -> Iterable[Asked]:
        """See ClientFault."""
        self._keep("asked", asked)
        return (asked,)

    def replied(self, status: int) -> None:
        """See ClientFault."""
        self._keep("replied", status)

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        """See ClientFault."""
        self._keep("other", arrival)
        return (arrival,)

    def report(self, report: Value) -> Value:
        """See ClientFault."""
        self._keep("report", report)
        return report


def changes(make: ClientBreaks, passed: Iterable[Passed]) -> bool:
    """Whether the fault changes anything of what has passed; if not, the same would be said again.

    That spares a run of the client: faults depend on nothing but what passes.
    """
    fault = make()
    return any(_changed(fault, each) for each in passed)


def _changed(fault: ClientFault, passed: Passed) -> bool:
    given = deepcopy(passed.given)
    match passed.hook:
        case "said":
            fault.remember(given[0], fault.requests)
            return [*fault.said(*given)] != [*passed.given]
        case "told":
            value, payload = given
            for each in value if isinstance(value, list) else [value]:
                fault.remember(each, fault.questions)
            return fault.told(value, payload) != payload or bool(fault.take_inventions())
        case "asked":
            return [*fault.asked(*given)] != [*passed.given]
        case "replied":
            fault.replied(*given)
            return False
        case "other":
            return [*fault.other(*given)] != [*passed.given]
        case _:
            return bool(fault.report(*given) != passed.given[0])
