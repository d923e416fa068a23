"""Mutants of clients for the page basic/index."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import (
    adds,
    adds_to_answers,
    also_asks,
    answers,
    gives_up,
    hooked,
    never_says,
    params_of,
    repaired,
    reports,
    responds,
    says,
)
from conformance.mutants.edits import drop, over, put, to
from conformance.mutants.model import Table
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_CLIENT_INFO
from mcpcore_conformance.kit.messages import (
    METHOD_NOT_FOUND,
    encode,
    error,
    notification,
    request,
    result,
)

table = Table("basic/index")


table.client("answers-notifications", "no-answer").does(
    "Complains of notifications that it does not know.",
    responds(
        lambda value: "odd" in str(value.get("method")) and "id" not in value,
        to(error(None, METHOD_NOT_FOUND, "what?")),
    ),
)
table.client("no-batches", "takes-requests", "takes-responses").does(
    "Does not take batches.",
    hooked(told=lambda value, payload: None if isinstance(value, list) else payload),
)
table.client("float-id", "id").does(
    "Sends a request whose id is no integer.", adds("tools/list", put(id=1.5))
)
table.client("no-version", "json-rpc").does(
    "Leaves jsonrpc out of a request.", says("tools/list", drop("jsonrpc"))
)
table.client("list-of-params", "json-rpc").does(
    "Sends params that are an array.", says("tools/list", put(params=[]))
)
table.client("no-id", "id").does(
    "Sends a request whose id is null.", says("tools/list", put(id=None))
)
table.client("id-again", "id-fresh").does(
    "Uses the id of a request again.", adds("tools/list", put(method="ping"))
)
table.client("one-id", "id-unique").does(
    "Has one id for all calls.", says("tools/call", put(id="call"))
)
table.client("in-order", "matches-by-id").does(
    "Takes answers in the order in which they come.",
    reports(
        0, {"result": {}, "steps": [{"result": {"content": [{"type": "text", "text": "9"}]}}] * 40}
    ),
)


def _good(value: Value) -> Value:
    return {"jsonrpc": "2.0", "id": value["id"], "result": value["result"]}


table.client("takes-result", "result-and-error").does(
    "Takes the result of a response that has an error as well.",
    repaired(lambda value: "result" in value and "error" in value, _good),
)
table.client("takes-nothing", "neither").does(
    "Takes a response without anything for an empty result.",
    repaired(
        lambda value: {*value} == {"jsonrpc", "id"},
        lambda value: result(value["id"], {"content": [], "resultType": "complete"}),
    ),
)
table.client("any-version", "version-member").does(
    "Takes responses of JSON-RPC 1.0.", repaired(lambda value: value.get("jsonrpc") == "1.0", _good)
)
table.client("dies-of-strangers", "unknown-id").does(
    "Fails when it gets a response that it did not ask for.",
    gives_up(lambda value, payload: isinstance(value, dict) and value.get("id") == "nobody's"),
)


@table.client("takes-any-answer", "unknown-id")
class _TakesAnyAnswer(ClientFault):
    """Takes any response for the answer to its request."""

    _newest: Any = None

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if "method" in value and "id" in value:
            self._newest = value["id"]
        return (value,)

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "method" not in value and value.get("id") == "nobody's":
            return encode({**value, "id": self._newest})
        return payload


table.client("list-of-arguments", "requests/client-params").does(
    "Calls a tool with an array of arguments.", params_of("tools/call", put(arguments=[1, 2]))
)
table.client("cursor-is-a-number", "requests/client-params").does(
    "Lists from a cursor that is a number.",
    adds(
        "tools/list",
        lambda value: request("odd", value["method"], {**value.get("params", {}), "cursor": 7}),
    ),
)
table.client("reason-is-a-number", "notifications/client-params").does(
    "Cancels for a reason that is a number.",
    adds(
        "tools/list",
        lambda value: notification(
            "notifications/cancelled", {"requestId": value["id"], "reason": 7}
        ),
    ),
)
table.client("any-kind-of-id", "id-kind").does(
    "Takes an id for the same if it looks the same.",
    reports(0, {"result": {"content": [{"type": "text", "text": "for another"}]}}),
)
table.client("any-result-type", "unknown").does(
    "Takes every type of result for complete.",
    repaired(
        lambda value: value.get("result", {}).get("resultType") == "com.example/half",
        lambda value: result(value["id"], {**value["result"], "resultType": "complete"}),
    ),
)
table.client("needs-result-type", "absent").does(
    "Wants a type in every result.",
    gives_up(
        lambda value, payload: (
            isinstance(value, dict) and "result" in value and "resultType" not in value["result"]
        )
    ),
)
table.client("strict-members", "unknown-members").does(
    "Wants no members that it does not know.",
    gives_up(lambda value, payload: isinstance(value, dict) and "odd" in value.get("result", {})),
)
table.client("dies-of-depth", "survives-depth").does(
    "Fails for good when a result is nested deeply.",
    gives_up(lambda value, payload: b"[[[[" in payload),
)
table.client("dies-of-garbage", "survives-garbage").does(
    "Fails for good when an answer is no JSON.", gives_up(lambda value, payload: value is None)
)
table.client("string-ids", "echoes-id").does(
    "Answers with the id as a string.", answers("ping", over("id", str))
)
table.client("silent-on-unknown", "unknown-method").does(
    "Does not answer what it does not know.", never_says("com.example/odd")
)
table.client("batch-answered-twice", "takes-requests").does(
    "Answers the requests of a batch twice.", adds_to_answers("ping", lambda value: value)
)
table.client("no-capabilities", "required", "required-everywhere").does(
    "Does not say what it can.", params_of("", over("_meta", drop(META_CLIENT_CAPABILITIES)))
)
table.client("bare-listen", "required-everywhere").does(
    "Listens without saying which protocol it speaks.",
    says(
        "subscriptions/listen",
        lambda value: request(value["id"], value["method"], {"notifications": {}}),
    ),
)
table.client("nameless", "info").does(
    "Does not say who it is.", params_of("", over("_meta", drop(META_CLIENT_INFO)))
)
table.client("fetches", "no-network").does(
    "Fetches what a schema refers to.", also_asks("GET", "/canary.json")
)
table.client("permissive", "unresolved").does(
    "Takes a result that it could not check.",
    reports(1, {"result": {"content": [], "structuredContent": {"sum": 8}}}),
)


def _simpler(params: Value) -> Value:
    arguments = params.get("arguments", {})
    if "schema" in arguments:
        schema = {key: value for key, value in arguments["schema"].items() if key != "$defs"}
        return {**params, "arguments": {"schema": schema}}
    return params


table.client("simplifies-schemas", "keeps-schema").does(
    "Leaves out what it does not know of a schema.", params_of("tools/call", _simpler)
)
