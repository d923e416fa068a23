"""Mutants of clients that say what nobody has asked for, on several pages."""

from conformance.mutants.client_faults import adds, adds_to_answers
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import notification, request, result

index = Table("basic/index")
lifecycle = Table("basic/lifecycle")
progress = Table("basic/patterns/progress")
cancellation = Table("basic/patterns/cancellation")
utilities = Table("basic/utilities/cancellation")

INITIALIZED = "notifications/initialized"
EITHER = (
    "operation/client-uses-what-was-negotiated",
    "operation/client-uses-what-was-negotiated-early",
)
index.client("answers-again", "answers-once").does(
    "Answers every ping twice.", adds_to_answers("ping", lambda value: value)
)
index.client("answers-nobody", "answers-requests").does(
    "Sends a result that nobody has asked for.", adds(INITIALIZED, to(result(777, {})))
)
index.client("other-type", "answers-requests").does(
    "Answers with ids that nobody has given, beside the right ones.",
    adds_to_answers("ping", lambda value: result(17, {})),
)
lifecycle.client("uses-anyway", *EITHER).does(
    "Lists prompts although the server declared none.",
    adds(INITIALIZED, to(request("more", "prompts/list"))),
)
lifecycle.client("speaks-as-a-server", *EITHER).does(
    "Logs to the server.",
    adds(INITIALIZED, to(notification("notifications/message", {"level": "info", "data": "here"}))),
)
progress.client("progress-of-nobody", "active-tokens-only").does(
    "Reports progress with a token that nobody has given.",
    adds(
        INITIALIZED,
        to(notification("notifications/progress", {"progressToken": "nobody", "progress": 1})),
    ),
)
cancellation.client("cancels-nothing", "cancels-what-it-asked").does(
    "Cancels a request that it has not made.",
    adds(INITIALIZED, to(notification("notifications/cancelled", {"requestId": "nobody"}))),
)
utilities.client("cancels-the-first", "leaves-initialize").does(
    "Cancels initialize when it was answered.",
    adds(
        "initialize",
        lambda value: notification("notifications/cancelled", {"requestId": value["id"]}),
    ),
)
utilities.client("cancels-initialize", "initialize").does(
    "Cancels its initialize.",
    adds(
        "initialize",
        lambda value: notification("notifications/cancelled", {"requestId": value["id"]}),
    ),
)
