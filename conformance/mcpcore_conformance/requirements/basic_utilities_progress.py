"""What the specification's page basic/utilities/progress demands."""

from mcpcore_conformance.requirements.model import both, span

ROWS = (
    both.must(
        "basic/utilities/progress/task-token-kept",
        span("2025-11-25"),
        "basic/utilities/progress#behavior-requirements",
        "The token of a task's request stays valid until the task ends.",
    ),
    both.must(
        "basic/utilities/progress/task-same-token",
        span("2025-11-25"),
        "basic/utilities/progress#behavior-requirements",
        "Progress of a task uses the token of the request that made it.",
    ),
    both.must(
        "basic/utilities/progress/task-stops",
        span("2025-11-25"),
        "basic/utilities/progress#behavior-requirements",
        "Progress of a task stops when the task has ended.",
    ),
)
