"""What the specification's page server/utilities/completion demands."""

from mcpcore_conformance.requirements.model import ALL, client, server, span
from mcpcore_conformance.requirements.reasons import PERMISSIONS, USER_INTERFACE

ROWS = (
    server.must(
        "server/utilities/completion/declared",
        span("2025-03-26", "2026-07-28"),
        "server/utilities/completion#capabilities",
        "A server with completions declares the capability.",
    ),
    server.should(
        "server/utilities/completion/errors",
        span("2025-03-26", "2026-07-28"),
        "server/utilities/completion#error-handling",
        "Without support -32601, bad references and arguments -32602, failures -32603.",
    ),
    server.should(
        "server/utilities/completion/sorted",
        ALL,
        "server/utilities/completion#implementation-considerations",
        "Suggestions come sorted by relevance, fuzzily matched where that fits.",
        application="The completion function chooses and orders its values.",
    ),
    server.should(
        "server/utilities/completion/server-rate-limit",
        ALL,
        "server/utilities/completion#implementation-considerations",
        "Completion requests are limited in rate.",
    ),
    server.should(
        "server/utilities/completion/server-validates",
        ALL,
        "server/utilities/completion#implementation-considerations",
        "Inputs are validated.",
    ),
    client.should(
        "server/utilities/completion/client-debounce",
        ALL,
        "server/utilities/completion#implementation-considerations",
        "Clients debounce and cache completions.",
        application=USER_INTERFACE,
    ),
    client.should(
        "server/utilities/completion/client-partial",
        ALL,
        "server/utilities/completion#implementation-considerations",
        "Missing or partial results do no harm.",
    ),
    server.must(
        "server/utilities/completion/inputs-validated",
        ALL,
        "server/utilities/completion#security",
        "Completion inputs are validated.",
    ),
    server.must(
        "server/utilities/completion/rate-limited",
        ALL,
        "server/utilities/completion#security",
        "Completions are limited in rate, where the server is given a limiter.",
    ),
    server.must(
        "server/utilities/completion/access-controlled",
        ALL,
        "server/utilities/completion#security",
        "Sensitive suggestions are guarded and nothing is given away.",
        application=PERMISSIONS,
    ),
)
