"""What the specification's page basic/authorization/authorization-server-discovery demands."""

from mcpcore_conformance.requirements.model import MODERN, client, server, span

ROWS = (
    server.must(
        "basic/authorization/authorization-server-discovery/metadata-served",
        span("2025-06-18", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#authorization-server-location",
        "A protected server publishes OAuth protected-resource metadata naming at least one "
        "authorization server.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/registration-per-issuer",
        MODERN,
        "basic/authorization/authorization-server-discovery#authorization-server-location",
        "Credentials and tokens are kept apart per authorization server and never tried on "
        "another.",
    ),
    server.must(
        "basic/authorization/authorization-server-discovery/location-mechanism",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#protected-resource-metadata-discovery-requirements",
        "The metadata is announced in WWW-Authenticate of a 401, or at the well-known URI.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/both-mechanisms",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#protected-resource-metadata-discovery-requirements",
        "The metadata URL of WWW-Authenticate is used, else the well-known URIs are tried in "
        "order.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/parse-challenge",
        span("2025-06-18", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#protected-resource-metadata-discovery-requirements",
        "WWW-Authenticate is parsed and a 401 is acted on.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/several-endpoints",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#authorization-server-metadata-discovery",
        "Authorization server metadata is looked for at OAuth and OpenID well-known places.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/order-with-path",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#authorization-server-metadata-discovery",
        "An issuer with a path is tried by OAuth insertion, OpenID insertion, OpenID appending.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/order-without-path",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/authorization-server-discovery#authorization-server-metadata-discovery",
        "An issuer without a path is tried as OAuth metadata, then as OpenID configuration.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/issuer-identical",
        MODERN,
        "basic/authorization/authorization-server-discovery#authorization-server-metadata-discovery",
        "Metadata whose issuer differs from the one asked for is not used.",
    ),
    client.must(
        "basic/authorization/authorization-server-discovery/use-protected-resource-metadata",
        span("2025-06-18", "2026-07-28"),
        "basic/authorization/index#overview",
        "The authorization server is found through the protected-resource metadata.",
    ),
)
