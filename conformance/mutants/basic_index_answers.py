"""Mutants of the page basic/index: errors, notifications, answers nobody asked for, results."""

from typing import Any

from conformance.mutants.edits import drop, first, put
from conformance.mutants.faults import (
    answers_to,
    code,
    declines,
    dies_of,
    errors_of,
    ignores,
    instead,
    results_of,
)
from conformance.mutants.lists import listed
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/index")


def _notification(value: Any) -> bool:
    return isinstance(value, dict) and "method" in value and "id" not in value


def _answer(value: Any) -> bool:
    return isinstance(value, dict) and "method" not in value


table.server("anonymous-errors", "error-responses/request-id").does(
    "Sends errors without the id of the request.",
    answers_to("", lambda value: {**value, "id": None} if "error" in value else value),
)
table.server("code-zero", "error-responses/meaningful").does(
    "Has the code 0 for arguments that it does not take.", code(-32602, 0)
)
table.server("no-code", "error-responses/code-and-message").does(
    "Sends a name where the code of an error should be.", errors_of("", put(code="NotFound"))
)
table.server("no-words", "error-responses/meaningful").does(
    "Sends errors with an empty message.", errors_of("", put(message=""))
)
table.server("all-internal", "error-codes/invalid-params").does(
    "Calls wrong params an internal error.", code(-32602, -32603)
)
table.server("takes-a-reserved-code", "error-codes/reserved-codes").does(
    "Has chosen a code of its own where the specification will.", code(-32602, -32050)
)
table.server("retired-code", "error-codes/reserved-codes").does(
    "Still says -32002 of a resource that is not there.", code(-32602, -32002, "resources/read")
)
table.server("legacy-code", "error-codes/legacy-codes").does(
    "Has -32000 for whatever goes wrong.", code(-32602, -32000)
)
table.server("code-in-the-range", "error-codes/own-codes").does(
    "Has chosen a code within the range that JSON-RPC reserves.", code(-32602, -32500)
)
table.server("answers-unknown-notifications", "notifications/unknown").does(
    "Answers a notification that it does not know with an error.",
    instead(_notification, lambda _value: error(None, -32601, "Method not found")),
)
table.server("answers-malformed-notifications", "notifications/malformed").does(
    "Answers a notification whose params are wrong with an error.",
    instead(
        lambda value: _notification(value) and not isinstance(value.get("params"), dict),
        lambda _value: error(None, -32602, "Invalid params"),
    ),
)
table.server("answers-without-id", "notifications/request-without-id").does(
    "Answers requests that have no id, with the id null.",
    instead(_notification, lambda _value: result(None, {})),
)
table.server("drops-notifications-with-id", "notifications/with-id", binding=Binding.HTTP).does(
    "Takes whatever is called a notification for one, and says nothing.",
    ignores(lambda value: isinstance(value, dict) and str(value.get("method")).startswith("notif")),
)
table.server("argues", "responses/unknown-id").does(
    "Answers answers that it did not ask for.", declines(_answer)
)
table.server("falls-over-answers", "responses/malformed").does(
    "Ends when an answer has no result that it can read.",
    dies_of(lambda value, _payload: _answer(value) and value.get("result") == 17),
)
table.server("no-result-type", "resulttype/named").does(
    "Sends results as they were before they had a type.",
    results_of("tools/list", drop("resultType")),
)
table.server("own-result-type", "resulttype/named").does(
    "Has a type of results that nobody declared.", results_of("tools/call", put(resultType="done"))
)
table.server("nameless", "meta/server-info").does(
    "Says who it is in the result of server/discover only.", results_of("tools/list", drop("_meta"))
)
table.server("icons-of-scripts", "icons/sources").does(
    "Has an icon that is a script.",
    listed("tools/list", "tools", first(put(icons=[{"src": "javascript:alert(1)"}]))),
)
table.server("answers-answers", "responses/not-for-clients").does(
    "Thanks for every answer.", instead(_answer, lambda value: result(value.get("id"), {}))
)
