"""Mutants of clients for the pages of basic/patterns."""

import json
from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import (
    adds,
    arrives,
    gives_up,
    never_says,
    once,
    params_of,
    precedes,
    reports,
    responds,
)
from conformance.mutants.edits import drop, over, put, to, where
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival
from mcpcore_conformance.kit.heard import Done
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, error, notification, request, result
from mcpcore_conformance.kit.model import Binding

mrtr = Table("basic/patterns/mrtr")


def _again(edit: Any) -> Any:
    """Edit the params of calls that are made again."""

    def change(params: Value) -> Value:
        again = "inputResponses" in params or "requestState" in params
        return {**params, **edit(params)} if again else params

    return params_of("", change)


@mrtr.client("same-id", "new-id")
class _SameId(ClientFault):
    """Asks again with the same id."""

    _first: Any = None

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") == "tools/call" and "inputResponses" in value["params"]:
            return ({**value, "id": self._first},)
        if value.get("method") == "tools/call":
            self._first = value["id"]
        return (value,)


@mrtr.client("one-state", "one-retry-only", "parallel")
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


mrtr.client("tireless", "bounded").does(
    "Would ask for ever.",
    responds(
        asks,
        lambda value: request(
            f"{value['id']}+", "tools/call", {"name": "echo", "requestState": "again"}
        ),
    ),
)
mrtr.client("answers-undeclared", "refuses-undeclared").does(
    "Answers what it did not declare.",
    responds(
        asks,
        to(
            request("again", "tools/call", {"name": "echo", "inputResponses": {"r": {"roots": []}}})
        ),
    ),
)
mrtr.client("trims-state", "echoes-state").does(
    "Trims the state.",
    _again(lambda params: {"requestState": params.get("requestState", "").strip()}),
)
mrtr.client("writes-state-anew", "echoes-state", "state-only").does(
    "Takes the state for JSON.",
    _again(lambda params: {"requestState": json.dumps(params.get("requestState"))}),
)
mrtr.client("invents-state", "no-state").does(
    "Sends a state where there was none.",
    _again(lambda params: {"requestState": params.get("requestState", "")}),
)
mrtr.client("takes-empty-for-none", "empty-state").does(
    "Leaves out a state that is empty.",
    params_of("", where(lambda params: params.get("requestState") == "", drop("requestState"))),
)


@mrtr.client("keeps-state", "state-of-its-round")
class _Keeps(ClientFault):
    """Sends the last state that it was given, also after a round without one."""

    _state: Value = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        params = value.get("params", {})
        if "inputResponses" not in params:
            return (value,)
        if "requestState" in params:
            self._state = {"requestState": params["requestState"]}
        return ({**value, "params": {**params, **self._state}},)


mrtr.client("other-arguments", "same-request").does(
    "Leaves the arguments out the second time.", _again(lambda params: {"arguments": {"kit": True}})
)
mrtr.client("forgets-answers", "fulfils", "all-three").does(
    "Asks again without the answers.", _again(lambda params: {"inputResponses": {}})
)
mrtr.client("bare-answers", "fulfils").does(
    "Answers with nothing in it.",
    _again(lambda params: {"inputResponses": {key: {} for key in params["inputResponses"]}}),
)
mrtr.client("asks-again-anywhere", "refuses-elsewhere").does(
    "Makes every request again with answers.",
    precedes("prompts/list", put(id="again", params={"inputResponses": {"r": {"roots": []}}})),
)


HUNDRED = "client-requirements-basic-workflow/client-hundred"


@mrtr.client("one-place", HUNDRED)
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


@mrtr.client("first-state", HUNDRED)
class _Once(ClientFault):
    """Keeps the state of the first round."""

    _states: dict[str, Any] = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        params = value.get("params", {})
        if "requestState" not in params:
            return (value,)
        state = self._states.setdefault(params["arguments"]["text"], params["requestState"])
        return ({**value, "params": {**params, "requestState": state}},)


@mrtr.client("one-id", HUNDRED)
class _OneId(ClientFault):
    """Asks again with the same id."""

    _ids: dict[str, Any] = {}

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != "tools/call":
            return (value,)
        own = value["params"]["arguments"]["text"]
        return ({**value, "id": self._ids.setdefault(own, value["id"])},)


cancellation = Table("basic/patterns/cancellation")
CANCELLED = "notifications/cancelled"


def cancels(value: Any, payload: bytes) -> bool:
    """Whether the kit says that a request is cancelled."""
    return isinstance(value, dict) and value.get("method") == CANCELLED


cancellation.client("keeps-stream", "closes-stream").does(
    "Leaves the stream of a cancelled request open.", arrives(Done, to(()))
)
cancellation.client("answers-cancelled", "stops", "late-cancellation").does(
    "Answers what was cancelled.",
    responds(
        lambda value: value.get("method") == CANCELLED,
        lambda value: result(value["params"].get("requestId"), {"action": "cancel"}),
    ),
)
cancellation.client(
    "silent",
    "cancellation-flow/client-notifies",
    "cancels",
    "late-response",
    binding=Binding.STDIO,
).does("Does not say that it cancels.", never_says(CANCELLED))
cancellation.client("silent-modern", "transport-specific-cancellation/client-notifies").does(
    "Does not say that it cancels.", never_says(CANCELLED)
)
cancellation.client("string-id", "cancellation-flow/client-notifies").does(
    "Names the request that it cancels by its id as a string.",
    params_of(CANCELLED, over("requestId", str)),
)
cancellation.client("notifies-over-http", "no-notification").does(
    "Sends a notification where closing the stream is enough.",
    adds("tools/call", lambda value: notification(CANCELLED, {"requestId": value["id"]})),
)
cancellation.client("another", "own-requests-only", binding=Binding.STDIO).does(
    "Cancels a request that there is not.", params_of(CANCELLED, put(requestId="another"))
)
cancellation.client("says-nothing-of-timeouts", "cancels").does(
    "Tells its caller that the connection was closed.", reports(0, {"failure": "closed"})
)
cancellation.client("waits-on", "maximum").does(
    "Takes progress for a reason to wait.", reports(0, {"result": {}})
)
cancellation.client("late-counts", "late-response").does(
    "Takes the late answer for that to the next call.",
    reports(1, {"result": {"content": [{"type": "text", "text": "late"}]}}),
)
cancellation.client("dies-of-it", "ignores-invalid", "late-cancellation").does(
    "Fails when the server cancels something.", gives_up(cancels)
)


index = Table("basic/patterns/index")


index.client("answers-ping", "no-responses").does(
    "Answers a ping of the server.",
    responds(lambda value: value.get("method") == "ping", lambda value: result(value["id"], {})),
)
index.client("refuses-roots", "no-responses").does(
    "Refuses a request of the server by an error.",
    responds(
        lambda value: value.get("method") == "roots/list",
        lambda value: error(value["id"], METHOD_NOT_FOUND, "no"),
    ),
)


progress = Table("basic/patterns/progress")


def _token(token: Any) -> Any:
    def change(params: Value) -> Value:
        return {**params, "_meta": {**params.get("_meta", {}), "progressToken": token}}

    return params_of("tools/call", change)


progress.client("float-token", "token-type").does("Gives a number for a token.", _token(1.5))
progress.client("same-token", "token-unique").does("Has one token for everything.", _token("t"))
progress.client("hears-all", "tracks-tokens").does(
    "Tells its caller of everybody's progress.",
    reports(0, {"result": {}, "progress": [{"progress": each} for each in (1, 5, 6, 2)]}),
)
progress.client("hears-late", "late-progress").does(
    "Tells the next caller of what came late.",
    reports(1, {"result": {}, "progress": [{"progress": 9}]}),
)


subscriptions = Table("basic/patterns/subscriptions")

LISTEN = "subscriptions/listen"
TOOLS = {"method": "notifications/tools/list_changed", "uri": None}
PROMPTS = {"method": "notifications/prompts/list_changed", "uri": None}


@subscriptions.client("keeps-listening", "cancels")
class _KeepsStreams(ClientFault):
    """Does not end its subscriptions."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        return () if value.get("method") == "notifications/cancelled" else (value,)

    def other(self, arrival: Arrival) -> Iterable[Arrival]:
        return () if isinstance(arrival, Done) else (arrival,)


subscriptions.client("listens-once", "listens-again", "reopens").does(
    "Does not subscribe again.", once(LISTEN, to(None))
)


def _heard(*changes: Value, ended: bool = False) -> Value:
    honoured = {"toolsListChanged": True, "promptsListChanged": True}
    return {"result": {"honoured": honoured, "changes": [*changes], "ended": ended}}


def _all(params: Value) -> Value:
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    return {**params, "notifications": {**params["notifications"], **wanted}}


subscriptions.client("wants-all", "asks").does("Asks for all.", params_of(LISTEN, _all))
subscriptions.client("believes", "checks").does(
    "Takes it that everything is honoured.", reports(0, _heard(TOOLS))
)
subscriptions.client("one-stream", "tells-apart").does(
    "Tells every stream of everything.",
    reports(0, {"result": {}, "steps": [_heard(TOOLS), _heard(TOOLS, PROMPTS, TOOLS)]}),
)
subscriptions.client("any-subscription", "unknown-subscription").does(
    "Takes what belongs to no subscription for its own.", reports(0, _heard(PROMPTS))
)
subscriptions.client("misses-the-end", "hears-the-end").does(
    "Does not notice that the server has ended the stream.", reports(0, _heard(TOOLS))
)
