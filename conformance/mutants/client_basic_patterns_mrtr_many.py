"""Mutants of clients for the page basic/patterns/mrtr: many rounds at the same time."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_faults import ClientFault, Value
from conformance.mutants.model import Table

table = Table("basic/patterns/mrtr")
HUNDRED = "client-requirements-basic-workflow/client-hundred"


class OnePlace(ClientFault):
    """Has one place for the state of all calls that are under way; the newest is in it."""

    def __init__(self) -> None:
        super().__init__()
        self._state: Any = None

    def told(self, value: Any, payload: bytes) -> bytes | None:
        """See ClientFault."""
        if isinstance(value, dict) and "requestState" in value.get("result", {}):
            self._state = value["result"]["requestState"]
        return payload

    def said(self, value: Value) -> Iterable[Value | bytes]:
        """See ClientFault."""
        params = value.get("params", {})
        if "requestState" not in params:
            return (value,)
        return ({**value, "params": {**params, "requestState": self._state}},)


class Once(ClientFault):
    """Goes through one round only: in the second it says what it said in the first."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Any] = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        """See ClientFault."""
        params = value.get("params", {})
        if "requestState" not in params:
            return (value,)
        state = self._states.setdefault(params["arguments"]["text"], params["requestState"])
        return ({**value, "params": {**params, "requestState": state}},)


class OneId(ClientFault):
    """Has an id for a call, which it is made again with."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[str, Any] = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        """See ClientFault."""
        if value.get("method") != "tools/call":
            return (value,)
        own = value["params"]["arguments"]["text"]
        return ({**value, "id": self._ids.setdefault(own, value["id"])},)


table.client("one-place", HUNDRED, "Keeps the newest state for all calls.", OnePlace)
table.client("first-state", HUNDRED, "Keeps the state of the first round.", Once)
table.client("one-id", HUNDRED, "Asks again with the same id.", OneId)

__all__ = ["table"]
