"""Mutants of clients for the page basic/patterns/cancellation."""

from typing import Any

from conformance.mutants.client_faults import (
    ClientFault,
    Value,
    adds,
    gives_up,
    never_says,
    params_of,
    reports,
)
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Arrival
from mcpcore_conformance.kit.heard import Done
from mcpcore_conformance.kit.messages import notification, result
from mcpcore_conformance.kit.model import Binding

table = Table("basic/patterns/cancellation")
CANCELLED = "notifications/cancelled"


def cancels(value: Any, payload: bytes) -> bool:
    """Whether the kit says that a request is cancelled."""
    return isinstance(value, dict) and value.get("method") == CANCELLED


class KeepsStreams(ClientFault):
    """The kit does not hear that the client drops anything."""

    def other(self, arrival: Arrival) -> tuple[Arrival, ...]:
        """See ClientFault."""
        return () if isinstance(arrival, Done) else (arrival,)


class AnswersCancelled(ClientFault):
    """Answers requests of the server that were cancelled."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        """See ClientFault."""
        if cancels(value, payload):
            self.invent(result(value["params"].get("requestId"), {"action": "cancel"}))
        return payload


def _names_another(params: Value) -> Value:
    return {**params, "requestId": "another"}


table.client(
    "silent",
    (
        "cancellation-flow/client-notifies",
        "timeouts/client-cancels",
        "behavior-requirements/client-late-response",
    ),
    "Does not say that it cancels.",
    never_says(CANCELLED),
    binding=Binding.STDIO,
)
table.client(
    "silent-modern",
    "transport-specific-cancellation/client-notifies",
    "Does not say that it cancels.",
    never_says(CANCELLED),
)
table.client(
    "string-id",
    "cancellation-flow/client-notifies",
    "Names the request that it cancels by its id as a string.",
    params_of(CANCELLED, lambda params: {**params, "requestId": str(params["requestId"])}),
)
table.client(
    "keeps-stream",
    "transport-specific-cancellation/client-closes-stream",
    "Leaves the stream of a cancelled request open.",
    KeepsStreams,
)
table.client(
    "notifies-over-http",
    "transport-specific-cancellation/client-no-notification",
    "Sends a notification where closing the stream is enough.",
    adds("tools/call", lambda value: notification(CANCELLED, {"requestId": value["id"]})),
)
table.client(
    "another",
    "behavior-requirements/client-own-requests-only",
    "Cancels a request that there is not.",
    params_of(CANCELLED, _names_another),
    binding=Binding.STDIO,
)
table.client(
    "says-nothing-of-timeouts",
    "timeouts/client-cancels",
    "Tells its caller that the connection was closed.",
    reports(0, {"failure": "closed"}),
)
table.client(
    "waits-on",
    "timeouts/client-maximum",
    "Takes progress for a reason to wait.",
    reports(0, {"result": {}}),
)
table.client(
    "late-counts",
    "behavior-requirements/client-late-response",
    "Takes the late answer for that to the next call.",
    reports(1, {"result": {"content": [{"type": "text", "text": "late"}]}}),
)
table.client(
    "dies-of-it",
    (
        "error-handling/client-ignores-invalid",
        "timing-considerations/client-late-cancellation",
    ),
    "Fails when the server cancels something.",
    gives_up(cancels),
)
table.client(
    "answers-cancelled",
    (
        "behavior-requirements/client-stops",
        "timing-considerations/client-late-cancellation",
    ),
    "Answers what was cancelled.",
    AnswersCancelled,
)
