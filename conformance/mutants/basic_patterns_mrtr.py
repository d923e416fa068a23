"""Mutants of the page basic/patterns/mrtr."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import instead, results_of, takes
from conformance.mutants.http_faults import OnePrincipal
from conformance.mutants.lists import changing
from conformance.mutants.model import Table
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode

table = Table("basic/patterns/mrtr")

ELICITATION = {
    "method": "elicitation/create",
    "params": {
        "message": "Who are you?",
        "requestedSchema": {"type": "object", "properties": {}},
    },
}
DONE = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
ASKING = {"inputRequests": {"who": ELICITATION}, "resultType": "input_required"}


def asking(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    """Edit results of calls that require input."""

    def change(result: Value) -> Value:
        return edit(result) if result.get("resultType") == "input_required" else result

    return results_of("tools/call", change)


def _requests(edit: Callable[[Value], Value]) -> Callable[[], Fault]:
    return asking(lambda result: {**result, "inputRequests": edit(result["inputRequests"])})


def retried(
    concerns: Callable[[Value], bool], result: Value = DONE, method: str = "tools/call"
) -> Callable[[], Fault]:
    """Carry out retries that ``concerns`` takes, by their params, whatever they bring."""

    def asked(value: Any) -> bool:
        if not isinstance(value, dict) or value.get("method") != method:
            return False
        params = value.get("params", {})
        return bool({"requestState", "inputResponses"} & set(params) and concerns(params))

    return instead(asked, lambda value: messages.result(value["id"], result))


class _Doubled(Fault):
    """Writes the first key of the requests twice."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        requests = value.get("result", {}).get("inputRequests")
        if not requests:
            return (value,)
        key = json.dumps(next(iter(requests))).encode()
        text = encode(value)
        return (text.replace(b'"inputRequests":{', b'"inputRequests":{' + key + b":{},", 1),)


class _OnTheWire(Fault):
    """Asks by a request of its own."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "inputRequests" not in value.get("result", {}):
            return (value,)
        return (messages.request("wire", "roots/list"), value)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        return None if isinstance(value, dict) and value.get("id") == "wire" else payload


class _Repairing(Fault):
    """Puts the state that it gave last in the place of whatever comes back."""

    def __init__(self) -> None:
        super().__init__()
        self._state: Any = None

    def message(self, value: Value) -> Iterable[Value | bytes]:
        self._state = value.get("result", {}).get("requestState", self._state)
        return (value,)

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = value.get("params", {}) if isinstance(value, dict) else {}
        if "requestState" not in params:
            return payload
        return encode({**value, "params": {**params, "requestState": self._state}})


class _Mixing(Fault):
    """Gives everybody the answers of the first."""

    def __init__(self) -> None:
        super().__init__()
        self._first: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = value.get("params", {}) if isinstance(value, dict) else {}
        if "inputResponses" not in params:
            return payload
        self._first = self._first or params["inputResponses"]
        return encode({**value, "params": {**params, "inputResponses": self._first}})


class _Ignoring(Fault):
    """Does not see answers."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if not isinstance(value, dict) or not isinstance(value.get("params"), dict):
            return payload
        params = {key: each for key, each in value["params"].items() if key not in self._names}
        return encode({**value, "params": params})


class _Once(Fault):
    """Refuses a request that it has asked about before."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "inputRequests" in value.get("result", {}):
            self._seen += 1
            if self._seen > 1:
                return (messages.error(value["id"], -32603, "it was asked before"),)
        return (value,)


table.add(
    "state-of-number",
    "inputrequiredresult/shape",
    "Gives a state that is a number.",
    asking(lambda result: {**result, "requestState": 1}),
)
table.add(
    "requests-in-array",
    "inputrequiredresult/shape",
    "Asks in an array.",
    _requests(lambda found: [*found.values()]),  # type: ignore[arg-type, return-value]
)
table.add(
    "request-without-params",
    "inputrequiredresult/shape",
    "Asks without saying what.",
    _requests(lambda found: {key: {"method": "elicitation/create"} for key in found}),
)
table.add(
    "nothing-asked",
    "server-requirements-basic-workflow/one-of-both",
    "Requires input and does not say which.",
    asking(lambda result: {"resultType": "input_required"}),
)
table.add(
    "asks-for-completion",
    "server-requirements-basic-workflow/kinds-of-requests",
    "Asks the client to complete something.",
    _requests(lambda found: {**found, "more": {"method": "completion/complete", "params": {}}}),
)
table.add(
    "key-twice",
    "server-requirements-basic-workflow/unique-keys",
    "Writes a key twice.",
    _Doubled,
)
table.add(
    "asks-on-the-wire",
    "multi-round-trip-requests/no-requests-on-the-wire",
    "Sends a request of its own.",
    _OnTheWire,
)
table.add(
    "list-asks",
    "supported-requests/no-others",
    "Asks before it lists tools.",
    changing("tools/list", lambda value: messages.result(value["id"], ASKING)),
)
table.add(
    "discovery-asks",
    "supported-requests/no-others",
    "Asks before it says what it is.",
    changing("server/discover", lambda value: messages.result(value["id"], ASKING)),
)
table.add(
    "prompt-never-given",
    "supported-requests/prompts",
    "Asks again and again.",
    takes("prompts/get", ASKING),
)
table.add(
    "prompt-never-asks",
    "supported-requests/prompts",
    "Refuses a prompt that needs input.",
    changing("prompts/get", lambda value: messages.error(value["id"], -32603, "no input")),
)
table.add(
    "never-enough",
    ("basic-workflow/completed", "basic-workflow/several-rounds"),
    "Does not see that there are answers.",
    lambda: _Ignoring("inputResponses"),
)
table.add(
    "one-round-only",
    "basic-workflow/several-rounds",
    "Carries out every retry.",
    retried(lambda params: True),
)
table.add(
    "bound-to-connection",
    "basic-workflow/independent-requests",
    "Takes no retry on another connection.",
    lambda: _Bound(),
)
table.add(
    "mixed-answers",
    "client-requirements-basic-workflow/calls-apart",
    "Takes the first answers for those of everybody.",
    _Mixing,
)
for capability, method in (
    ("elicitation", "elicitation/create"),
    ("sampling", "sampling/createMessage"),
    ("roots", "roots/list"),
):
    table.add(
        f"asks-for-undeclared-{capability}",
        f"server-requirements-basic-workflow/undeclared-{capability}",
        "Asks whoever calls, whatever was declared.",
        takes(
            "tools/call",
            {
                "resultType": "input_required",
                "inputRequests": {"what": {"method": method, "params": {}}},
            },
        ),
    )
table.add(
    "takes-what-comes",
    (
        "error-handling/missing-answer",
        "error-handling/malformed-answers",
        "error-handling/malformed-answer",
        "server-requirements-basic-workflow/state-of-nobody",
        "server-requirements-basic-workflow/state-of-other-type",
    ),
    "Carries out every retry, whatever it brings.",
    retried(lambda params: True),
)
table.add(
    "error-for-missing",
    "error-handling/missing-answer",
    "Answers with an error if an answer is missing.",
    lambda: _Strict(lambda answers: "mcpcore_conformance" in answers or not answers),
)
table.add(
    "asks-for-something-else",
    "error-handling/missing-answer",
    "Asks for something else if an answer is missing.",
    retried(lambda params: not params["inputResponses"], ASKING),
)
table.add(
    "error-for-further",
    "error-handling/further-answers",
    "Answers with an error if there is one answer more.",
    lambda: _Strict(lambda answers: "mcpcore_conformance" in answers),
)
table.add(
    "asks-again-for-nonsense",
    "error-handling/malformed-answers",
    "Asks again if the answers are no object.",
    retried(lambda params: not isinstance(params["inputResponses"], dict), ASKING),
)
table.add(
    "number-for-name",
    "error-handling/malformed-answer",
    "Takes a number for a name.",
    retried(lambda params: "17" in repr(params["inputResponses"])),
)
table.add(
    "repairs-state",
    (
        "server-requirements-basic-workflow/state-tampered",
        "server-requirements-basic-workflow/state-of-nobody",
        "server-requirements-basic-workflow/state-of-other-type",
    ),
    "Does not look at what comes back for a state.",
    _Repairing,
)
table.add(
    "ignores-end-of-state",
    "server-requirements-basic-workflow/state-tampered",
    "Does not look at what stands behind a state.",
    retried(lambda params: str(params["requestState"]).endswith("-TAMPERED")),
)
table.add(
    "state-never-good",
    "server-requirements-basic-workflow/state-tampered",
    "Refuses its own state.",
    lambda: _Strict(lambda answers: True),
)
table.add(
    "asks-again-for-tampered",
    "server-requirements-basic-workflow/state-tampered",
    "Asks again if the state was tampered with.",
    lambda: _Ignoring("requestState", "inputResponses"),
)
table.add(
    "state-for-all-principals",
    "server-requirements-basic-workflow/state-of-other-principal",
    "Takes a state from whoever has it.",
    OnePrincipal,
)
table.add(
    "state-instead-of-answers",
    "server-requirements-basic-workflow/state-of-other-round",
    "Carries out a retry that has a state and no answers.",
    retried(lambda params: not params["inputResponses"]),
)
table.add(
    "state-for-all-tools",
    "server-requirements-basic-workflow/state-of-other-tool",
    "Takes a state of one tool for another.",
    retried(lambda params: "tampered" in str(params["name"])),
)
table.add(
    "state-for-all-methods",
    "server-requirements-basic-workflow/state-of-other-method",
    "Takes the state of a call for a prompt.",
    retried(lambda params: True, {"messages": [], "resultType": "complete"}, "prompts/get"),
)
table.add(
    "state-for-all-arguments",
    "server-requirements-basic-workflow/state-of-other-arguments",
    "Takes a state for a call with other arguments.",
    retried(lambda params: params["arguments"].get("message") == "other"),
)
table.add(
    "state-good-for-nothing",
    "server-requirements-basic-workflow/state-of-other-arguments",
    "Refuses every state.",
    lambda: _Strict(lambda answers: True),
)
table.add(
    "counts-on-retry",
    "server-requirements-basic-workflow/not-counted-on",
    "Refuses a request that it has asked about before.",
    _Once,
)


class _Bound(Fault):
    """Takes a retry only where it has asked."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = False

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
        params = value.get("params", {}) if isinstance(value, dict) else {}
        if "inputResponses" not in params or not self._dislikes(params["inputResponses"]):
            return payload
        self.answer(messages.error(value["id"], -32602, "these answers are not good"))
        return None


__all__ = ["asking", "retried", "table"]
