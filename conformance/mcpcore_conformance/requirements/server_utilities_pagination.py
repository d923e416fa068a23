"""What the specification's page server/utilities/pagination demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, client, server

ROWS = (
    client.must(
        "server/utilities/pagination/page-size",
        ALL,
        "server/utilities/pagination#pagination-model",
        "Clients assume no page size.",
    ),
    server.should(
        "server/utilities/pagination/stable-cursors",
        ALL,
        "server/utilities/pagination#implementation-guidelines",
        "Cursors are stable.",
    ),
    server.should(
        "server/utilities/pagination/invalid-cursors",
        ALL,
        "server/utilities/pagination#implementation-guidelines",
        "Invalid cursors are handled gracefully.",
    ),
    client.should(
        "server/utilities/pagination/end",
        ALL,
        "server/utilities/pagination#implementation-guidelines",
        "No nextCursor is the end.",
    ),
    client.should(
        "server/utilities/pagination/both-flows",
        ALL,
        "server/utilities/pagination#implementation-guidelines",
        "Lists with and without pages are understood.",
    ),
    client.must(
        "server/utilities/pagination/opaque",
        ALL,
        "server/utilities/pagination#implementation-guidelines",
        "Cursors are opaque.",
    ),
    client.must(
        "server/utilities/pagination/empty-cursor",
        MODERN,
        "server/utilities/pagination#implementation-guidelines",
        "An empty string is a cursor like any other.",
    ),
    client.must(
        "server/utilities/pagination/not-persisted",
        LEGACY,
        "server/utilities/pagination#implementation-guidelines",
        "Cursors do not outlive the session.",
    ),
    server.should(
        "server/utilities/pagination/cursor-error",
        ALL,
        "server/utilities/pagination#error-handling",
        "An invalid cursor gets -32602.",
    ),
)
