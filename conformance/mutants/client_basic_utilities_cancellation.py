"""Mutants of clients for the page basic/utilities/cancellation."""

from conformance.mutants.client_faults import adds
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import notification

table = Table("basic/utilities/cancellation")

table.client("cancels-initialize", "behavior-requirements/client-initialize").does(
    "Cancels its initialize.",
    adds(
        "initialize",
        lambda value: notification("notifications/cancelled", {"requestId": value["id"]}),
    ),
)
