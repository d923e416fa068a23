"""What the specification's page basic/patterns/progress demands."""

from mcpcore_conformance.requirements.model import ALL, both, span

ROWS = (
    both.must(
        "basic/patterns/progress/token-type",
        ALL,
        "basic/patterns/progress#progress-flow",
        "A progress token is a string or an integer.",
    ),
    both.must(
        "basic/patterns/progress/token-unique",
        ALL,
        "basic/patterns/progress#progress-flow",
        "A progress token is unique among active requests.",
    ),
    both.must(
        "basic/patterns/progress/increases",
        ALL,
        "basic/patterns/progress#progress-flow",
        "The progress value increases with each notification.",
    ),
    both.should(
        "basic/patterns/progress/message-readable",
        span("2025-03-26", "2026-07-28"),
        "basic/patterns/progress#progress-flow",
        "The message tells a person something.",
        application="The handler writes the message.",
    ),
    both.must(
        "basic/patterns/progress/active-tokens-only",
        ALL,
        "basic/patterns/progress#behavior-requirements",
        "Progress is reported only for tokens of requests in progress.",
    ),
    both.should(
        "basic/patterns/progress/tokens-tracked",
        ALL,
        "basic/patterns/progress#implementation-notes",
        "Active tokens are tracked.",
    ),
    both.should(
        "basic/patterns/progress/rate-limited",
        ALL,
        "basic/patterns/progress#implementation-notes",
        "Progress notifications are limited in rate.",
    ),
    both.must(
        "basic/patterns/progress/stops",
        ALL,
        "basic/patterns/progress#implementation-notes",
        "Progress stops when the request is done.",
    ),
)
