"""What the specification's page server/resources demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, client, server, span
from mcpcore_conformance.requirements.reasons import CHOSEN_SCHEMES, PERMISSIONS

ROWS = (
    server.must(
        "server/resources/declared",
        ALL,
        "server/resources#capabilities",
        "A server with resources declares the capability.",
    ),
    server.must(
        "server/resources/list-answered",
        MODERN,
        "server/resources#capabilities",
        "resources/list gives the resources available.",
    ),
    server.must(
        "server/resources/list-not-per-connection",
        MODERN,
        "server/resources#capabilities",
        "The list differs neither by connection nor by earlier requests.",
    ),
    server.should(
        "server/resources/list-changed",
        ALL,
        "server/resources#list-changed-notification",
        "A change of the list is notified.",
    ),
    server.should(
        "server/resources/https-scheme",
        ALL,
        "server/resources#https",
        "https URIs are for what the client can fetch itself.",
        application=CHOSEN_SCHEMES,
    ),
    server.should(
        "server/resources/other-schemes",
        ALL,
        "server/resources#https",
        "Other resources use other schemes.",
        application=CHOSEN_SCHEMES,
    ),
    server.must(
        "server/resources/custom-schemes",
        span("2025-06-18", "2026-07-28"),
        "server/resources#custom-uri-schemes",
        "Custom schemes follow RFC 3986.",
    ),
    server.must(
        "server/resources/not-found",
        MODERN,
        "server/resources#error-handling",
        "A resource that does not exist gets -32602.",
    ),
    server.should(
        "server/resources/internal-errors",
        ALL,
        "server/resources#error-handling",
        "Failures get -32603.",
    ),
    server.should(
        "server/resources/not-found-legacy",
        LEGACY,
        "server/resources#error-handling",
        "A resource that does not exist gets -32002.",
    ),
    client.should(
        "server/resources/not-found-accepted",
        MODERN,
        "server/resources#error-handling",
        "Clients understand -32002 as not found as well.",
    ),
    server.must(
        "server/resources/not-found-not-empty",
        MODERN,
        "server/resources#error-handling",
        "A missing resource is not answered with empty contents.",
    ),
    server.must(
        "server/resources/uris-validated",
        ALL,
        "server/resources#security-considerations",
        "Resource URIs are validated.",
    ),
    server.should(
        "server/resources/access-controls",
        ALL,
        "server/resources#security-considerations",
        "Sensitive resources are access controlled.",
        application=PERMISSIONS,
    ),
    server.must(
        "server/resources/binary-encoded",
        ALL,
        "server/resources#security-considerations",
        "Binary data is encoded as Base64.",
    ),
    server.should(
        "server/resources/permissions-checked",
        ALL,
        "server/resources#security-considerations",
        "Permissions are checked before operations.",
        application=PERMISSIONS,
    ),
    server.must(
        "server/resources/paths-sanitized",
        MODERN,
        "server/resources#security-considerations",
        "File paths are cleaned against traversal.",
    ),
)
