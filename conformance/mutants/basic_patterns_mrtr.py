"""Mutants of the page basic/patterns/mrtr."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.edits import Change, drop, over, put, where
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import (
    answers_to,
    asks,
    fails,
    ignores,
    instead,
    misread,
    params_of,
    results_of,
    takes,
    together,
)
from conformance.mutants.http_faults import one_principal
from conformance.mutants.lists import also
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode

table = Table("basic/patterns/mrtr")

FORM = {"message": "Who are you?", "requestedSchema": {"type": "object", "properties": {}}}
ELICITATION = {"method": "elicitation/create", "params": FORM}
DONE = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
ASKING = {"inputRequests": {"who": ELICITATION}, "resultType": "input_required"}


def asking(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit results of calls that require input."""
    required = where(lambda result: result.get("resultType") == "input_required", edit)
    return results_of("tools/call", required)


def _requests(edit: Change) -> Callable[[], Fault]:
    return asking(over("inputRequests", edit))


def retried(
    concerns: Callable[[Value], bool], result: Value = DONE, method: str = "tools/call"
) -> Callable[[], Fault]:
    """Carry out retries that ``concerns`` takes, by their params, whatever they bring."""

    def retry(params: Value) -> bool:
        return bool({"requestState", "inputResponses"} & {*params} and concerns(params))

    return instead(asks(method, retry), lambda value: messages.result(value["id"], result))


@table.server("key-twice", "server-requirements-basic-workflow/unique-keys")
class _Doubled(Fault):
    """Writes a key twice."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        requests = value.get("result", {}).get("inputRequests")
        if not requests:
            return (value,)
        key = json.dumps(next(iter(requests))).encode()
        text = encode(value)
        return (text.replace(b'"inputRequests":{', b'"inputRequests":{' + key + b":{},", 1),)


table.server("asks-on-the-wire", "multi-round-trip-requests/no-requests-on-the-wire").does(
    "Sends a request of its own.",
    together(
        also("tools/call", messages.request("wire", "roots/list")),
        ignores(lambda value: isinstance(value, dict) and value.get("id") == "wire"),
    ),
)


@table.server(
    "repairs-state",
    "server-requirements-basic-workflow/state-tampered",
    "server-requirements-basic-workflow/state-of-nobody",
    "server-requirements-basic-workflow/state-of-other-type",
)
class _Repairing(Fault):
    """Does not look at what comes back for a state."""

    _state: Any = None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        self._state = value.get("result", {}).get("requestState", self._state)
        return (value,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = params_of(value)
        if "requestState" not in params:
            return payload
        return encode({**value, "params": {**params, "requestState": self._state}})


@table.server("mixed-answers", "client-requirements-basic-workflow/calls-apart")
class _Mixing(Fault):
    """Takes the first answers for those of everybody."""

    _first: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = params_of(value)
        if "inputResponses" not in params:
            return payload
        self._first = self._first or params["inputResponses"]
        return encode({**value, "params": {**params, "inputResponses": self._first}})


def _ignoring(*names: str) -> Callable[[], Fault]:
    """Do not see members of params."""
    return misread(
        lambda value, payload: over("params", drop(*names))(value) if params_of(value) else payload
    )


@table.server("counts-on-retry", "server-requirements-basic-workflow/not-counted-on")
class _Once(Fault):
    """Refuses a request that it has asked about before."""

    _seen = 0

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "inputRequests" in value.get("result", {}):
            self._seen += 1
            if self._seen > 1:
                return (messages.error(value["id"], -32603, "it was asked before"),)
        return (value,)


@table.server("bound-to-connection", "basic-workflow/independent-requests")
class _Bound(Fault):
    """Takes no retry on another connection."""

    _asked = False

    def message(self, value: Value) -> Iterable[Value | bytes]:
        self._asked = self._asked or "inputRequests" in value.get("result", {})
        if not self._asked and self.method_of(value) == "tools/call" and "result" in value:
            return (messages.error(value["id"], -32602, "nothing was asked here"),)
        return (value,)


class _Strict(Fault):
    """Refuses retries with answers that it does not like."""

    def __init__(self, dislikes: Callable[[Any], bool]) -> None:
        super().__init__()
        self._dislikes = dislikes

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = params_of(value)
        if "inputResponses" not in params or not self._dislikes(params["inputResponses"]):
            return payload
        self.answer(messages.error(value["id"], -32602, "these answers are not good"))
        return None


table.server("state-of-number", "inputrequiredresult/shape").does(
    "Gives a state that is a number.", asking(put(requestState=1))
)
table.server("requests-in-array", "inputrequiredresult/shape").does(
    "Asks in an array.", _requests(lambda found: [*found.values()])
)
table.server("request-without-params", "inputrequiredresult/shape").does(
    "Asks without saying what.",
    _requests(lambda found: {key: {"method": "elicitation/create"} for key in found}),
)
table.server("nothing-asked", "server-requirements-basic-workflow/one-of-both").does(
    "Requires input and does not say which.",
    asking(lambda result: {"resultType": "input_required"}),
)
table.server("asks-for-completion", "server-requirements-basic-workflow/kinds-of-requests").does(
    "Asks the client to complete something.",
    _requests(put(more={"method": "completion/complete", "params": {}})),
)
table.server("list-asks", "supported-requests/no-others").does(
    "Asks before it lists tools.",
    answers_to("tools/list", lambda value: messages.result(value["id"], ASKING)),
)
table.server("discovery-asks", "supported-requests/no-others").does(
    "Asks before it says what it is.",
    answers_to("server/discover", lambda value: messages.result(value["id"], ASKING)),
)
table.server("prompt-never-given", "supported-requests/prompts").does(
    "Asks again and again.", takes("prompts/get", ASKING)
)
table.server("prompt-never-asks", "supported-requests/prompts").does(
    "Refuses a prompt that needs input.", fails("prompts/get", -32603)
)
table.server("never-enough", "basic-workflow/completed", "basic-workflow/several-rounds").does(
    "Does not see that there are answers.", _ignoring("inputResponses")
)
table.server("one-round-only", "basic-workflow/several-rounds").does(
    "Carries out every retry.", retried(lambda params: True)
)

for capability, method in (
    ("elicitation", "elicitation/create"),
    ("sampling", "sampling/createMessage"),
    ("roots", "roots/list"),
):
    table.server(
        f"asks-for-undeclared-{capability}",
        f"server-requirements-basic-workflow/undeclared-{capability}",
    ).does(
        "Asks whoever calls, whatever was declared.",
        takes(
            "tools/call",
            {
                "resultType": "input_required",
                "inputRequests": {"what": {"method": method, "params": {}}},
            },
        ),
    )
table.server(
    "takes-what-comes",
    "error-handling/missing-answer",
    "error-handling/malformed-answers",
    "error-handling/malformed-answer",
    "server-requirements-basic-workflow/state-of-nobody",
    "server-requirements-basic-workflow/state-of-other-type",
).does("Carries out every retry, whatever it brings.", retried(lambda params: True))
table.server("error-for-missing", "error-handling/missing-answer").does(
    "Answers with an error if an answer is missing.",
    lambda: _Strict(lambda answers: "mcpcore_conformance" in answers or not answers),
)
table.server("asks-for-something-else", "error-handling/missing-answer").does(
    "Asks for something else if an answer is missing.",
    retried(lambda params: not params["inputResponses"], ASKING),
)
table.server("error-for-further", "error-handling/further-answers").does(
    "Answers with an error if there is one answer more.",
    lambda: _Strict(lambda answers: "mcpcore_conformance" in answers),
)
table.server("asks-again-for-nonsense", "error-handling/malformed-answers").does(
    "Asks again if the answers are no object.",
    retried(lambda params: not isinstance(params["inputResponses"], dict), ASKING),
)
table.server("number-for-name", "error-handling/malformed-answer").does(
    "Takes a number for a name.", retried(lambda params: "17" in repr(params["inputResponses"]))
)
table.server("ignores-end-of-state", "server-requirements-basic-workflow/state-tampered").does(
    "Does not look at what stands behind a state.",
    retried(lambda params: str(params["requestState"]).endswith("-TAMPERED")),
)
table.server("state-never-good", "server-requirements-basic-workflow/state-tampered").does(
    "Refuses its own state.", lambda: _Strict(lambda answers: True)
)
table.server("asks-again-for-tampered", "server-requirements-basic-workflow/state-tampered").does(
    "Asks again if the state was tampered with.", _ignoring("requestState", "inputResponses")
)
table.server(
    "state-for-all-principals", "server-requirements-basic-workflow/state-of-other-principal"
).does("Takes a state from whoever has it.", one_principal)
table.server(
    "state-instead-of-answers", "server-requirements-basic-workflow/state-of-other-round"
).does(
    "Carries out a retry that has a state and no answers.",
    retried(lambda params: not params["inputResponses"]),
)
table.server("state-for-all-tools", "server-requirements-basic-workflow/state-of-other-tool").does(
    "Takes a state of one tool for another.",
    retried(lambda params: "tampered" in str(params["name"])),
)
table.server(
    "state-for-all-methods", "server-requirements-basic-workflow/state-of-other-method"
).does(
    "Takes the state of a call for a prompt.",
    retried(lambda params: True, {"messages": [], "resultType": "complete"}, "prompts/get"),
)
table.server(
    "state-for-all-arguments", "server-requirements-basic-workflow/state-of-other-arguments"
).does(
    "Takes a state for a call with other arguments.",
    retried(lambda params: params["arguments"].get("message") == "other"),
)
table.server(
    "state-good-for-nothing", "server-requirements-basic-workflow/state-of-other-arguments"
).does("Refuses every state.", lambda: _Strict(lambda answers: True))
