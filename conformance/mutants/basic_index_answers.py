"""Mutants of the page basic/index: errors, notifications, answers nobody asked for, results."""

from typing import Any

from conformance.mutants.faults import (
    Value,
    answers_to,
    code,
    declines,
    dies_of,
    ignores,
    instead,
    results_of,
)
from conformance.mutants.lists import first_entry, listed
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/index")


def _anonymous(value: Value) -> Value:
    return {**value, "id": None} if "error" in value else value


def _silent(value: Value) -> Value:
    return {**value, "error": {**value["error"], "message": ""}} if "error" in value else value


def _notification(value: Any) -> bool:
    return isinstance(value, dict) and "method" in value and "id" not in value


def _answer(value: Any) -> bool:
    return isinstance(value, dict) and "method" not in value


def _without(value: Value, name: str) -> Value:
    return {key: each for key, each in value.items() if key != name}


table.add(
    "anonymous-errors",
    "error-responses/request-id",
    "Sends errors without the id of the request.",
    answers_to("", _anonymous),
)
table.add(
    "code-zero",
    "error-responses/meaningful",
    "Has the code 0 for arguments that it does not take.",
    code(-32602, 0),
)
table.add(
    "no-code",
    "error-responses/code-and-message",
    "Sends a name where the code of an error should be.",
    answers_to(
        "",
        lambda value: (
            {**value, "error": {**value["error"], "code": "NotFound"}}
            if "error" in value
            else value
        ),
    ),
)
table.add(
    "no-words",
    "error-responses/meaningful",
    "Sends errors with an empty message.",
    answers_to("", _silent),
)
table.add(
    "all-internal",
    "error-codes/invalid-params",
    "Calls wrong params an internal error.",
    code(-32602, -32603),
)
table.add(
    "takes-a-reserved-code",
    "error-codes/reserved-codes",
    "Has chosen a code of its own where the specification will.",
    code(-32602, -32050),
)
table.add(
    "retired-code",
    "error-codes/reserved-codes",
    "Still says -32002 of a resource that is not there.",
    code(-32602, -32002, "resources/read"),
)
table.add(
    "legacy-code",
    "error-codes/legacy-codes",
    "Has -32000 for whatever goes wrong.",
    code(-32602, -32000),
)
table.add(
    "code-in-the-range",
    "error-codes/own-codes",
    "Has chosen a code within the range that JSON-RPC reserves.",
    code(-32602, -32500),
)
table.add(
    "answers-unknown-notifications",
    "notifications/unknown",
    "Answers a notification that it does not know with an error.",
    instead(_notification, lambda _value: error(None, -32601, "Method not found")),
)
table.add(
    "answers-malformed-notifications",
    "notifications/malformed",
    "Answers a notification whose params are wrong with an error.",
    instead(
        lambda value: _notification(value) and not isinstance(value.get("params"), dict),
        lambda _value: error(None, -32602, "Invalid params"),
    ),
)
table.add(
    "answers-without-id",
    "notifications/request-without-id",
    "Answers requests that have no id, with the id null.",
    instead(_notification, lambda _value: result(None, {})),
)
table.add(
    "drops-notifications-with-id",
    "notifications/with-id",
    "Takes whatever is called a notification for one, and says nothing.",
    ignores(lambda value: isinstance(value, dict) and str(value.get("method")).startswith("notif")),
    binding=Binding.HTTP,
)
table.add(
    "argues",
    "responses/unknown-id",
    "Answers answers that it did not ask for.",
    declines(_answer),
)
table.add(
    "falls-over-answers",
    "responses/malformed",
    "Ends when an answer has no result that it can read.",
    dies_of(lambda value, _payload: _answer(value) and value.get("result") == 17),
)
table.add(
    "no-result-type",
    "resulttype/named",
    "Sends results as they were before they had a type.",
    results_of("tools/list", lambda found: _without(found, "resultType")),
)
table.add(
    "own-result-type",
    "resulttype/named",
    "Has a type of results that nobody declared.",
    results_of("tools/call", lambda found: {**found, "resultType": "done"}),
)
table.add(
    "nameless",
    "meta/server-info",
    "Says who it is in the result of server/discover only.",
    results_of("tools/list", lambda found: _without(found, "_meta")),
)
table.add(
    "icons-of-scripts",
    "icons/sources",
    "Has an icon that is a script.",
    listed(
        "tools/list",
        "tools",
        first_entry(lambda tool: {**tool, "icons": [{"src": "javascript:alert(1)"}]}),
    ),
)
table.add(
    "answers-answers",
    "responses/not-for-clients",
    "Thanks for every answer.",
    instead(_answer, lambda value: result(value.get("id"), {})),
)

__all__ = ["table"]
