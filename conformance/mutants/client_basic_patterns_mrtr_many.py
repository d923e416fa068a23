"""Mutants of clients for the page basic/patterns/mrtr: many rounds at the same time."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_faults import ClientFault, Value
from conformance.mutants.model import Table

table = Table("basic/patterns/mrtr")
HUNDRED = "client-requirements-basic-workflow/client-hundred"


@table.client("one-place", HUNDRED)
class _OnePlace(ClientFault):
    """Keeps the newest state for all calls."""

    _state: Any = None

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "requestState" in value.get("result", {}):
            self._state = value["result"]["requestState"]
        return payload

    def said(self, value: Value) -> Iterable[Value | bytes]:
        params = value.get("params", {})
        if "requestState" not in params:
            return (value,)
        return ({**value, "params": {**params, "requestState": self._state}},)


@table.client("first-state", HUNDRED)
class _Once(ClientFault):
    """Keeps the state of the first round."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Any] = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        params = value.get("params", {})
        if "requestState" not in params:
            return (value,)
        state = self._states.setdefault(params["arguments"]["text"], params["requestState"])
        return ({**value, "params": {**params, "requestState": state}},)


@table.client("one-id", HUNDRED)
class _OneId(ClientFault):
    """Asks again with the same id."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: dict[str, Any] = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != "tools/call":
            return (value,)
        own = value["params"]["arguments"]["text"]
        return ({**value, "id": self._ids.setdefault(own, value["id"])},)
