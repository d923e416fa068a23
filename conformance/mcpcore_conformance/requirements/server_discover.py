"""What the specification's page server/discover demands."""

from mcpcore_conformance.requirements.model import MODERN, client, server

ROWS = (
    server.must(
        "server/discover/probe-answered",
        MODERN,
        "server/discover",
        "server/discover answers with versions, capabilities and identity.",
    ),
    client.should(
        "server/discover/probe-first",
        MODERN,
        "server/discover#when-to-call",
        "On stdio a client of both eras sends server/discover first.",
    ),
)
