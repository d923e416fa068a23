"""What the specification's page basic/utilities/cancellation demands."""

from mcpcore_conformance.requirements.model import LEGACY, client, span

ROWS = (
    client.must(
        "basic/utilities/cancellation/initialize-not-cancelled",
        LEGACY,
        "basic/utilities/cancellation#behavior-requirements",
        "initialize is never cancelled.",
    ),
    client.must(
        "basic/utilities/cancellation/tasks-cancelled-by-task",
        span("2025-11-25"),
        "basic/utilities/cancellation#behavior-requirements",
        "A request that became a task is cancelled by tasks/cancel.",
    ),
)
