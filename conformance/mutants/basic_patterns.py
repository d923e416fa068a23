"""Mutants of the pages of basic/patterns, and of cancellation as it was before."""

import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from conformance.mutants.basic_transports import misdirects, of
from conformance.mutants.edits import Change, drop, over, put, where
from conformance.mutants.fault import Breaks, Fault, Value
from conformance.mutants.faults import (
    answers_to,
    asks,
    declines,
    dies_of,
    fails,
    followed,
    ignores,
    instead,
    meta_of,
    misread,
    own_messages,
    params_of,
    responds,
    results_of,
    since,
    takes,
    together,
)
from conformance.mutants.http_faults import calls, notifications, one_principal, status_of
from conformance.mutants.lists import also, quiet_about, told
from conformance.mutants.model import Table
from mcpcore_conformance.cases.basic_patterns_cancellation import ROUNDS
from mcpcore_conformance.kit import messages
from mcpcore_conformance.kit.messages import encode, error, notification, request
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.kit.running import CANCELLED
from mcpcore_conformance.kit.shapes import SUBSCRIPTION
from mcpcore_conformance.kit.watching import PROGRESS

cancellation = Table("basic/patterns/cancellation")


def _named(value: Any) -> Any:
    """The id that a cancellation names."""
    return params_of(value).get("requestId")


def _confirms(test: Callable[[Value], bool] = lambda params: True) -> Breaks:
    """Answer calls that were cancelled, with an error."""
    return responds(
        asks(CANCELLED, test), lambda value: error(_named(value), -32800, "Request cancelled")
    )


cancellation.server("second-cancellation", "twice").does(
    "Answers a call at its second cancellation.", since(asks(CANCELLED), _confirms(), number=2)
)


@cancellation.server("cancels-all", "others-unaffected")
class _CancelsAll(Fault):
    """Cancels everything at the first cancellation."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            for kept in self.asked.values():
                if kept.get("method") == "tools/call":
                    self.answer(error(kept["id"], -32800, "Request cancelled"))
        return payload


@cancellation.server("forgiving", "id-type")
class _Forgiving(Fault):
    """Takes 17 and "17" for the same id."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        id = _named(value)
        if asks(CANCELLED)(value) and id is not None:
            other = str(id) if isinstance(id, int) else int(id)
            self.answer(error(other, -32800, "Request cancelled"))
        return payload


@cancellation.server("one-table", "own-requests")
class _OneTable(Fault):
    """Keeps the requests of all clients in one table."""

    there: ClassVar[dict[Any, "_OneTable"]] = {}

    _cancelled: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("tools/call")(value):
            self.there[value["id"]] = self
        elif asks(CANCELLED)(value) and _named(value) in self.there:
            self.there[_named(value)]._cancelled.add(_named(value))
        return payload

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("id") not in self._cancelled:
            return (value,)
        return (error(value["id"], -32800, "Request cancelled"),)


@cancellation.server("remembers", "before-its-request")
class _Remembers(Fault):
    """Keeps cancellations for requests that may come."""

    _cancelled: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            self._cancelled.add(_named(value))
        elif isinstance(value, dict) and value.get("id") in self._cancelled:
            self.answer(error(value["id"], -32800, "Request cancelled"))
            return None
        return payload


cancellation.server("counts-cancelled", "frees-resources").does(
    "Counts cancelled calls as if they still ran.",
    since(asks("tools/call"), declines(asks("tools/list"), -32603), number=2 * ROUNDS),
)


cancellation.server("cancels-itself", "only-listen").does(
    "Sends notifications/cancelled for a request that failed.",
    followed(
        lambda value: "error" in value,
        lambda value: notification(CANCELLED, {"requestId": value.get("id"), "reason": "failed"}),
    ),
)
WORKS_ON = misread(
    lambda value, payload: (
        put(params={"requestId": "kit-somebody-else"})(value) if asks(CANCELLED)(value) else payload
    )
)
"""Takes the cancellation of a running call for one of something unknown."""


cancellation.server("confirms", "no-response", "reason-optional").does(
    "Answers cancelled calls with an error.", _confirms()
)
cancellation.server("wants-a-reason", "reason-optional").does(
    "Answers a call that was cancelled without a reason.",
    _confirms(lambda params: "reason" not in params),
)
cancellation.server("works-on", "stops-work").does("Works on when a call is cancelled.", WORKS_ON)
cancellation.server("complains", "unknown-request", "completed-request", "malformed").does(
    "Answers a cancellation of what it does not know with an error.",
    instead(asks(CANCELLED), lambda _value: error(None, -32602, "no such request")),
)
cancellation.server("falls-over-cancellations", "malformed").does(
    "Ends when a cancellation names nothing.",
    dies_of(lambda value, _payload: asks(CANCELLED)(value) and _named(value) is None),
)
cancellation.server("answers-both", "races").does(
    "Answers a request and its cancellation.", _confirms()
)
cancellation.server("sends-on", "nothing-after").does(
    "Goes on sending for what was cancelled.", WORKS_ON
)
cancellation.server("ends-in-silence", "ends-listen", binding=Binding.STDIO).does(
    "Ends subscriptions without a word.", own_messages(CANCELLED, lambda _value: None)
)
cancellation.server("no-cancellations-here", "notification-over-http", binding=Binding.HTTP).does(
    "Fails at a cancellation that is not due over HTTP.", status_of(notifications, 500)
)


index = Table("basic/patterns/index")


index.server("asks", "no-server-requests").does(
    "Sends requests while a call runs.", also("tools/call", request("kit-asks", "roots/list"))
)


index.server("answers-twice", "answered-once").does(
    "Answers twice what fails.", followed(lambda value: "error" in value, lambda value: value)
)


progress = Table("basic/patterns/progress")


def _params(edit: Callable[[Value], Value]) -> Breaks:
    """Edit the params of reports."""
    return told(PROGRESS, edit)


def _token(value: Any) -> Any:
    return meta_of(value).get("progressToken")


progress.server("unasked", "not-asked-for").does(
    "Reports progress to everybody.",
    also(
        "tools/call",
        lambda value: notification(PROGRESS, {"progressToken": value["id"], "progress": 1}),
    ),
)


@progress.server("late", "ends-with-response")
class _Late(Fault):
    """Reports the last progress behind the answer."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if self.method_of(value) != "tools/call" or "result" not in value:
            return (value,)
        asked = self.asked[type(value["id"]), value["id"]]
        params = {"progressToken": _token(asked), "progress": 1000}
        return (value, notification(PROGRESS, params))


progress.server("first-stream", "own-stream", binding=Binding.HTTP).does(
    "Sends all progress on the stream that was open first.",
    misdirects(of(PROGRESS), calls("tools/call"), as_well=False),
)
progress.server("tokens-as-strings", "integer-token", "own-tokens").does(
    "Keeps tokens as strings.", told(PROGRESS, over("progressToken", str))
)


@progress.server("tokens-once", "token-again")
class _TokensOnce(Fault):
    """Takes no token for a second time."""

    _seen: set[Any] = set()

    def said(self, value: Any, payload: bytes) -> bytes | None:
        token = _token(value)
        if token is None:
            return payload
        if token in self._seen:
            self.answer(error(value["id"], -32602, "this progressToken was used before"))
            return None
        self._seen.add(token)
        return payload


progress.server("tokens-as-numbers", "string-token").does(
    "Takes a token that looks like a number for one.",
    _params(over("progressToken", lambda found: 17 if found == "17" else found)),
)
progress.server("zero-is-no-token", "integer-token").does(
    "Takes the token 0 for none.",
    own_messages(PROGRESS, lambda value: value if value["params"]["progressToken"] else None),
)
progress.server("stands-still", "increases").does(
    "Reports the same progress again and again.", _params(put(progress=50))
)
progress.server("in-words", "shape").does(
    "Reports progress in words.", _params(put(total="hundred"))
)
progress.server("without-value", "shape").does(
    "Leaves out how far it is.", _params(drop("progress"))
)
progress.server("falls-over-tokens", "malformed-token").does(
    "Says that it is broken when a token is of a wrong type.",
    declines(lambda value: isinstance(_token(value), float | dict | list), -32603),
)
progress.server("wants-no-token", "any-request").does(
    "Takes tokens with calls only.", declines(lambda value: _token(value) is not None, -32602)
)
progress.server("reports-on", "ends-with-cancellation").does(
    "Goes on reporting when the request was cancelled.", WORKS_ON
)
progress.server("complains", "unknown-token").does(
    "Answers progress that it does not wait for with an error.",
    instead(asks(PROGRESS), lambda _value: error(None, -32602, "no such token")),
)


subscriptions = Table("basic/patterns/subscriptions")

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
TOOLS = "notifications/tools/list_changed"
PROMPTS = "notifications/prompts/list_changed"
UPDATED = "notifications/resources/updated"


def _subscribed(method: str, edit: Change) -> Breaks:
    """Edit the subscription id of a notification."""
    return told(method, over("_meta", over(SUBSCRIPTION, edit)))


def _honoured(edit: Callable[[Value], Value]) -> Breaks:
    return told(ACKNOWLEDGED, over("notifications", edit))


class _Around(Fault):
    extra: str
    params: Value
    meta: Change
    before: bool

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") != ACKNOWLEDGED:
            return (value,)
        meta = self.meta(value["params"]["_meta"])
        extra = messages.notification(self.extra, {**self.params, "_meta": meta})
        return (extra, value) if self.before else (value, extra)


def around(
    method: str, *, before: bool = False, meta: Change = lambda meta: meta, **params: Any
) -> Breaks:
    """Send one notification more of a subscription before or after its acknowledgement."""
    return lambda: _Around(method, params, meta, before=before)


@subscriptions.server("deaf", "by-the-client")
class _Deaf(Fault):
    """Goes on after a subscription was cancelled."""

    _known: Value = {}

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if value.get("method") == ACKNOWLEDGED:
            self._known = value["params"]["_meta"]
        if self._known and self.method_of(value) == "tools/call":
            return (messages.notification(TOOLS, {"_meta": self._known}), value)
        return (value,)


def _ended(acknowledged: Value) -> Value:
    meta = acknowledged["params"]["_meta"]
    return messages.result(meta[SUBSCRIPTION], {"resultType": "complete", "_meta": meta})


subscriptions.server("ends-at-once", "stays-open").does(
    "Answers the request right after the acknowledgement.", followed(of(ACKNOWLEDGED), _ended)
)
subscriptions.server("no-filter", "shape", "subset").does(
    "Does not say what it honours.", told(ACKNOWLEDGED, lambda params: {"_meta": params["_meta"]})
)
subscriptions.server("filter-in-words", "shape").does(
    "Honours changes of tools in words.", _honoured(lambda found: {"toolsListChanged": "yes"})
)
subscriptions.server("answered-at-once", "shape", "malformed-filter").does(
    "Answers the request instead of acknowledging it.",
    takes("subscriptions/listen", {"resultType": "complete"}),
)
subscriptions.server("never-acknowledged", "shape").does("Says nothing.", quiet_about(ACKNOWLEDGED))
subscriptions.server("acknowledged-late", "first").does(
    "Sends a notification before the acknowledgement.", around(TOOLS, before=True)
)
subscriptions.server("acknowledged-twice", "first").does(
    "Acknowledges every subscription twice.", around(ACKNOWLEDGED, notifications={})
)
for slug, edit in (
    ("id-as-text", str),
    ("id-as-number", lambda id: int(id) if str(id).isdigit() else id),
    ("id-that-is-false", lambda id: id or None),
):
    subscriptions.server(slug, "id-of-the-request").does(
        "Changes the id of a subscription.", _subscribed(ACKNOWLEDGED, edit)
    )
subscriptions.server("nameless-changes", "id-on-every-notification").does(
    "Sends a change of prompts without the subscription.", told(PROMPTS, lambda params: {})
)
subscriptions.server("nameless-updates", "id-on-every-notification").does(
    "Sends an update without the subscription.",
    told(UPDATED, lambda params: {"uri": params["uri"]}),
)
subscriptions.server("honours-all", "subset").does(
    "Honours more than was asked for.", _honoured(put(toolsListChanged=True))
)
subscriptions.server("honours-other-uris", "subset").does(
    "Honours another resource than was asked for.",
    _honoured(lambda found: {"resourceSubscriptions": ["test://other"]} if found else found),
)
subscriptions.server("honours-nothing", "declared-honoured").does(
    "Honours nothing.", _honoured(lambda found: {})
)
subscriptions.server("promises-only", "declared-honoured").does(
    "Declares announcements of changes, and does not know subscriptions/listen.",
    declines(asks("subscriptions/listen"), -32601),
)
subscriptions.server("honours-unknown", "unknown-omitted").does(
    "Honours whatever it is asked for.", _honoured(put(mcpcoreConformanceChanged=True))
)
subscriptions.server("tells-all", "requested-only").does(
    "Sends changes of tools to everybody who has subscribed to anything.", around(TOOLS)
)
subscriptions.server("tells-everybody", "nothing-unasked").does(
    "Sends changes of tools to everybody, as older revisions do.",
    also("tools/call", messages.notification(TOOLS)),
)
subscriptions.server("tells-of-all-resources", "per-uri").does(
    "Sends updates of all resources.", around(UPDATED, uri="test://watched-resource")
)
subscriptions.server("one-id-for-all", "told-apart").does(
    "Sends everything under the first id.", _subscribed(PROMPTS, lambda id: id - 1)
)
subscriptions.server("sudden-end", "answered").does(
    "Ends without an answer.",
    results_of("subscriptions/listen", lambda result: {"resultType": "complete"}),
)
subscriptions.server("other-end", "answered").does(
    "Ends another subscription.",
    results_of("subscriptions/listen", over("_meta", put(**{SUBSCRIPTION: "another"}))),
)


mrtr = Table("basic/patterns/mrtr")

FORM = {"message": "Who are you?", "requestedSchema": {"type": "object", "properties": {}}}
ELICITATION = {"method": "elicitation/create", "params": FORM}
DONE = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
ASKING = {"inputRequests": {"who": ELICITATION}, "resultType": "input_required"}


def asking(edit: Callable[[Value], Value]) -> Breaks:
    """Edit results of calls that require input."""
    required = where(lambda result: result.get("resultType") == "input_required", edit)
    return results_of("tools/call", required)


def _requests(edit: Change) -> Breaks:
    return asking(over("inputRequests", edit))


def retried(
    concerns: Callable[[Value], bool], result: Value = DONE, method: str = "tools/call"
) -> Breaks:
    """Carry out retries that ``concerns`` takes, by their params, whatever they bring."""

    def retry(params: Value) -> bool:
        return bool({"requestState", "inputResponses"} & {*params} and concerns(params))

    return instead(asks(method, retry), lambda value: messages.result(value["id"], result))


@mrtr.server("key-twice", "unique-keys")
class _Doubled(Fault):
    """Writes a key twice."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        requests = value.get("result", {}).get("inputRequests")
        if not requests:
            return (value,)
        key = json.dumps(next(iter(requests))).encode()
        text = encode(value)
        return (text.replace(b'"inputRequests":{', b'"inputRequests":{' + key + b":{},", 1),)


mrtr.server("asks-on-the-wire", "no-requests-on-the-wire").does(
    "Sends a request of its own.",
    together(
        also("tools/call", messages.request("wire", "roots/list")),
        ignores(lambda value: isinstance(value, dict) and value.get("id") == "wire"),
    ),
)


@mrtr.server("repairs-state", "state-tampered", "state-of-nobody", "state-of-other-type")
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


@mrtr.server("mixed-answers", "calls-apart")
class _Mixing(Fault):
    """Takes the first answers for those of everybody."""

    _first: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = params_of(value)
        if "inputResponses" not in params:
            return payload
        self._first = self._first or params["inputResponses"]
        return encode({**value, "params": {**params, "inputResponses": self._first}})


def _ignoring(*names: str) -> Breaks:
    """Do not see members of params."""
    return misread(
        lambda value, payload: over("params", drop(*names))(value) if params_of(value) else payload
    )


@mrtr.server("counts-on-retry", "not-counted-on")
class _Once(Fault):
    """Refuses a request that it has asked about before."""

    _seen = 0

    def message(self, value: Value) -> Iterable[Value | bytes]:
        if "inputRequests" in value.get("result", {}):
            self._seen += 1
            if self._seen > 1:
                return (messages.error(value["id"], -32603, "it was asked before"),)
        return (value,)


@mrtr.server("bound-to-connection", "independent-requests")
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

    dislikes: Callable[[Any], bool]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        params = params_of(value)
        if "inputResponses" not in params or not self.dislikes(params["inputResponses"]):
            return payload
        self.answer(messages.error(value["id"], -32602, "these answers are not good"))
        return None


mrtr.server("state-of-number", "shape").does(
    "Gives a state that is a number.", asking(put(requestState=1))
)
mrtr.server("requests-in-array", "shape").does(
    "Asks in an array.", _requests(lambda found: [*found.values()])
)
mrtr.server("request-without-params", "shape").does(
    "Asks without saying what.",
    _requests(lambda found: {key: {"method": "elicitation/create"} for key in found}),
)
mrtr.server("nothing-asked", "one-of-both").does(
    "Requires input and does not say which.",
    asking(lambda result: {"resultType": "input_required"}),
)
mrtr.server("asks-for-completion", "kinds-of-requests").does(
    "Asks the client to complete something.",
    _requests(put(more={"method": "completion/complete", "params": {}})),
)
mrtr.server("list-asks", "no-others").does(
    "Asks before it lists tools.",
    answers_to("tools/list", lambda value: messages.result(value["id"], ASKING)),
)
mrtr.server("discovery-asks", "no-others").does(
    "Asks before it says what it is.",
    answers_to("server/discover", lambda value: messages.result(value["id"], ASKING)),
)
mrtr.server("prompt-never-given", "prompts").does(
    "Asks again and again.", takes("prompts/get", ASKING)
)
mrtr.server("prompt-never-asks", "prompts").does(
    "Refuses a prompt that needs input.", fails("prompts/get", -32603)
)
mrtr.server("never-enough", "completed", "several-rounds").does(
    "Does not see that there are answers.", _ignoring("inputResponses")
)
mrtr.server("one-round-only", "several-rounds").does(
    "Carries out every retry.", retried(lambda params: True)
)

for capability, method in (
    ("elicitation", "elicitation/create"),
    ("sampling", "sampling/createMessage"),
    ("roots", "roots/list"),
):
    mrtr.server(
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
mrtr.server(
    "takes-what-comes",
    "missing-answer",
    "malformed-answers",
    "malformed-answer",
    "state-of-nobody",
    "state-of-other-type",
).does("Carries out every retry, whatever it brings.", retried(lambda params: True))
mrtr.server("error-for-missing", "missing-answer").does(
    "Answers with an error if an answer is missing.",
    lambda: _Strict(lambda answers: "mcpcore_conformance" in answers or not answers),
)
mrtr.server("asks-for-something-else", "missing-answer").does(
    "Asks for something else if an answer is missing.",
    retried(lambda params: not params["inputResponses"], ASKING),
)
mrtr.server("error-for-further", "further-answers").does(
    "Answers with an error if there is one answer more.",
    lambda: _Strict(lambda answers: "mcpcore_conformance" in answers),
)
mrtr.server("asks-again-for-nonsense", "malformed-answers").does(
    "Asks again if the answers are no object.",
    retried(lambda params: not isinstance(params["inputResponses"], dict), ASKING),
)
mrtr.server("number-for-name", "malformed-answer").does(
    "Takes a number for a name.", retried(lambda params: "17" in repr(params["inputResponses"]))
)
mrtr.server("ignores-end-of-state", "state-tampered").does(
    "Does not look at what stands behind a state.",
    retried(lambda params: str(params["requestState"]).endswith("-TAMPERED")),
)
mrtr.server("state-never-good", "state-tampered").does(
    "Refuses its own state.", lambda: _Strict(lambda answers: True)
)
mrtr.server("asks-again-for-tampered", "state-tampered").does(
    "Asks again if the state was tampered with.", _ignoring("requestState", "inputResponses")
)
mrtr.server("state-for-all-principals", "state-of-other-principal").does(
    "Takes a state from whoever has it.", one_principal
)
mrtr.server("state-instead-of-answers", "state-of-other-round").does(
    "Carries out a retry that has a state and no answers.",
    retried(lambda params: not params["inputResponses"]),
)
mrtr.server("state-for-all-tools", "state-of-other-tool").does(
    "Takes a state of one tool for another.",
    retried(lambda params: "tampered" in str(params["name"])),
)
mrtr.server("state-for-all-methods", "state-of-other-method").does(
    "Takes the state of a call for a prompt.",
    retried(lambda params: True, {"messages": [], "resultType": "complete"}, "prompts/get"),
)
mrtr.server("state-for-all-arguments", "state-of-other-arguments").does(
    "Takes a state for a call with other arguments.",
    retried(lambda params: params["arguments"].get("message") == "other"),
)
mrtr.server("state-good-for-nothing", "state-of-other-arguments").does(
    "Refuses every state.", lambda: _Strict(lambda answers: True)
)


utilities = Table("basic/utilities/cancellation")


@utilities.server("obedient", "initialize-answered")
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


@utilities.server("late-answer", "while-asking")
class _LateAnswer(Fault):
    """Answers a cancelled call once it hears from its client."""

    _cancelled: Any = None

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks(CANCELLED)(value):
            self._cancelled = value["params"]["requestId"]
        elif self._cancelled is not None and isinstance(value, dict) and "method" not in value:
            self.answer(error(self._cancelled, -32800, "Request cancelled"))
        return payload
