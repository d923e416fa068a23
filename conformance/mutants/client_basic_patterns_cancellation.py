"""Mutants of clients for the page basic/patterns/cancellation."""

from typing import Any

from conformance.mutants.client_faults import (
    adds,
    arrives,
    gives_up,
    never_says,
    params_of,
    reports,
    responds,
)
from conformance.mutants.edits import over, put, to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.heard import Done
from mcpcore_conformance.kit.messages import notification, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/patterns/cancellation")
CANCELLED = "notifications/cancelled"


def cancels(value: Any, payload: bytes) -> bool:
    """Whether the kit says that a request is cancelled."""
    return isinstance(value, dict) and value.get("method") == CANCELLED


table.client("keeps-stream", "transport-specific-cancellation/client-closes-stream").does(
    "Leaves the stream of a cancelled request open.", arrives(Done, to(()))
)
table.client(
    "answers-cancelled",
    "behavior-requirements/client-stops",
    "timing-considerations/client-late-cancellation",
).does(
    "Answers what was cancelled.",
    responds(
        lambda value: value.get("method") == CANCELLED,
        lambda value: result(value["params"].get("requestId"), {"action": "cancel"}),
    ),
)
table.client(
    "silent",
    "cancellation-flow/client-notifies",
    "timeouts/client-cancels",
    "behavior-requirements/client-late-response",
    binding=Binding.STDIO,
).does("Does not say that it cancels.", never_says(CANCELLED))
table.client("silent-modern", "transport-specific-cancellation/client-notifies").does(
    "Does not say that it cancels.", never_says(CANCELLED)
)
table.client("string-id", "cancellation-flow/client-notifies").does(
    "Names the request that it cancels by its id as a string.",
    params_of(CANCELLED, over("requestId", str)),
)
table.client("notifies-over-http", "transport-specific-cancellation/client-no-notification").does(
    "Sends a notification where closing the stream is enough.",
    adds("tools/call", lambda value: notification(CANCELLED, {"requestId": value["id"]})),
)
table.client(
    "another", "behavior-requirements/client-own-requests-only", binding=Binding.STDIO
).does("Cancels a request that there is not.", params_of(CANCELLED, put(requestId="another")))
table.client("says-nothing-of-timeouts", "timeouts/client-cancels").does(
    "Tells its caller that the connection was closed.", reports(0, {"failure": "closed"})
)
table.client("waits-on", "timeouts/client-maximum").does(
    "Takes progress for a reason to wait.", reports(0, {"result": {}})
)
table.client("late-counts", "behavior-requirements/client-late-response").does(
    "Takes the late answer for that to the next call.",
    reports(1, {"result": {"content": [{"type": "text", "text": "late"}]}}),
)
table.client(
    "dies-of-it",
    "error-handling/client-ignores-invalid",
    "timing-considerations/client-late-cancellation",
).does("Fails when the server cancels something.", gives_up(cancels))
