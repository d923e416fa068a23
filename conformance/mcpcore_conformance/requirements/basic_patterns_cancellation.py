"""What the specification's page basic/patterns/cancellation demands."""

from mcpcore_conformance.requirements.model import ALL, MODERN, both, client, server, span
from mcpcore_conformance.requirements.reasons import USER_INTERFACE

ROWS = (
    client.should(
        "basic/patterns/cancellation/send-cancellation",
        MODERN,
        "basic/patterns/cancellation",
        "A request that is no longer wanted is cancelled.",
    ),
    server.must(
        "basic/patterns/cancellation/server-ends-listen",
        MODERN,
        "basic/patterns/cancellation",
        "A server that ends a listen stream sends notifications/cancelled for its request.",
    ),
    server.must(
        "basic/patterns/cancellation/server-only-listen",
        MODERN,
        "basic/patterns/cancellation",
        "A server sends notifications/cancelled for nothing but a listen request.",
    ),
    server.must(
        "basic/patterns/cancellation/http-disconnect",
        MODERN,
        "basic/patterns/cancellation#transport-specific-cancellation",
        "Over HTTP the end of the response stream cancels the request.",
    ),
    client.must(
        "basic/patterns/cancellation/stdio-notification",
        MODERN,
        "basic/patterns/cancellation#transport-specific-cancellation",
        "On a shared channel a request is cancelled by notifications/cancelled with its id.",
    ),
    both.should(
        "basic/patterns/cancellation/timeouts",
        ALL,
        "basic/patterns/cancellation#timeouts",
        "Every request that is sent has a timeout.",
    ),
    both.should(
        "basic/patterns/cancellation/timeout-cancels",
        span("2025-03-26", "2026-07-28"),
        "basic/patterns/cancellation#timeouts",
        "A request that times out is cancelled and no longer waited for.",
    ),
    both.should(
        "basic/patterns/cancellation/timeout-per-request",
        span("2025-03-26", "2026-07-28"),
        "basic/patterns/cancellation#timeouts",
        "Timeouts can be set for each request.",
    ),
    both.should(
        "basic/patterns/cancellation/timeout-maximum",
        span("2025-03-26", "2026-07-28"),
        "basic/patterns/cancellation#timeouts",
        "A maximum holds however much progress is reported.",
    ),
    both.must(
        "basic/patterns/cancellation/own-requests-only",
        ALL,
        "basic/patterns/cancellation#behavior-requirements",
        "Only requests that were issued and are believed in progress are cancelled.",
    ),
    both.should(
        "basic/patterns/cancellation/stop-and-free",
        ALL,
        "basic/patterns/cancellation#behavior-requirements",
        "The receiver stops the request and frees what it held.",
    ),
    both.should(
        "basic/patterns/cancellation/no-response",
        ALL,
        "basic/patterns/cancellation#behavior-requirements",
        "A cancelled request is not answered.",
    ),
    both.should(
        "basic/patterns/cancellation/late-response-ignored",
        ALL,
        "basic/patterns/cancellation#behavior-requirements",
        "A response that comes after its cancellation is ignored.",
    ),
    both.must(
        "basic/patterns/cancellation/races",
        ALL,
        "basic/patterns/cancellation#timing-considerations",
        "A cancellation that crosses the response does no harm.",
    ),
    both.should(
        "basic/patterns/cancellation/log-reasons",
        ALL,
        "basic/patterns/cancellation#implementation-notes",
        "Reasons of cancellations are logged.",
        application=(
            "Handlers and callbacks learn the reason; what is logged is the application's choice."
        ),
    ),
    client.should(
        "basic/patterns/cancellation/ui-indicates",
        ALL,
        "basic/patterns/cancellation#implementation-notes",
        "User interfaces show that a cancellation was asked for.",
        application=USER_INTERFACE,
    ),
    both.should(
        "basic/patterns/cancellation/invalid-ignored",
        ALL,
        "basic/patterns/cancellation#error-handling",
        "Cancellations that are malformed, or of unknown or finished requests, are ignored.",
    ),
)
