"""What the specification's page basic/patterns/index demands."""

from mcpcore_conformance.requirements.model import MODERN, client, server

ROWS = (
    server.must(
        "basic/patterns/index/no-server-requests",
        MODERN,
        "basic/patterns/index",
        "A server sends no requests of its own.",
    ),
    client.must(
        "basic/patterns/index/no-client-responses",
        MODERN,
        "basic/patterns/index",
        "A client sends no responses.",
    ),
)
