"""Mutants of clients for the page basic/patterns/mrtr."""

import json
from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import params_of, precedes, responds
from conformance.mutants.edits import put, to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import request

table = Table("basic/patterns/mrtr")
WORKFLOW = "client-requirements-basic-workflow"


def _again(edit: Any) -> Any:
    """Edit the params of calls that are made again."""

    def change(params: Value) -> Value:
        again = "inputResponses" in params or "requestState" in params
        return {**params, **edit(params)} if again else params

    return params_of("", change)


@table.client("same-id", f"{WORKFLOW}/client-new-id")
class _SameId(ClientFault):
    """Asks again with the same id."""

    _first: Any = None

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") == "tools/call" and "inputResponses" in value["params"]:
            return ({**value, "id": self._first},)
        if value.get("method") == "tools/call":
            self._first = value["id"]
        return (value,)


@table.client("one-state", f"{WORKFLOW}/client-one-retry-only", f"{WORKFLOW}/client-parallel")
class _Mixes(ClientFault):
    """Has one state for all requests."""

    _state: Any = None

    def said(self, value: Value) -> Iterable[Value | bytes]:
        params = value.get("params", {})
        if "requestState" in params:
            self._state = self._state or params["requestState"]
            return ({**value, "params": {**params, "requestState": self._state}},)
        if self._state and value.get("method") == "tools/call":
            return ({**value, "params": {**params, "requestState": self._state}},)
        return (value,)


def asks(value: Value) -> bool:
    """Whether the kit asks for input."""
    return bool(value.get("result", {}).get("resultType") == "input_required")


table.client("tireless", f"{WORKFLOW}/client-bounded").does(
    "Would ask for ever.",
    responds(
        asks,
        lambda value: request(
            f"{value['id']}+", "tools/call", {"name": "echo", "requestState": "again"}
        ),
    ),
)
table.client(
    "answers-undeclared", "server-requirements-basic-workflow/client-refuses-undeclared"
).does(
    "Answers what it did not declare.",
    responds(
        asks,
        to(
            request("again", "tools/call", {"name": "echo", "inputResponses": {"r": {"roots": []}}})
        ),
    ),
)
table.client("trims-state", f"{WORKFLOW}/client-echoes-state").does(
    "Trims the state.",
    _again(lambda params: {"requestState": params.get("requestState", "").strip()}),
)
table.client(
    "writes-state-anew", f"{WORKFLOW}/client-echoes-state", f"{WORKFLOW}/client-state-only"
).does(
    "Takes the state for JSON.",
    _again(lambda params: {"requestState": json.dumps(params.get("requestState"))}),
)
table.client("invents-state", f"{WORKFLOW}/client-no-state").does(
    "Sends a state where there was none.",
    _again(lambda params: {"requestState": params.get("requestState", "")}),
)
table.client("other-arguments", f"{WORKFLOW}/client-same-request").does(
    "Leaves the arguments out the second time.", _again(lambda params: {"arguments": {"kit": True}})
)
table.client(
    "forgets-answers", f"{WORKFLOW}/client-fulfils", "supported-requests/client-all-three"
).does("Asks again without the answers.", _again(lambda params: {"inputResponses": {}}))
table.client("bare-answers", f"{WORKFLOW}/client-fulfils").does(
    "Answers with nothing in it.",
    _again(lambda params: {"inputResponses": {key: {} for key in params["inputResponses"]}}),
)
table.client("asks-again-anywhere", "supported-requests/client-refuses-elsewhere").does(
    "Makes every request again with answers.",
    precedes("prompts/list", put(id="again", params={"inputResponses": {"r": {"roots": []}}})),
)


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
