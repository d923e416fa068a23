"""What the specification's page basic/authorization/client-registration demands."""

from mcpcore_conformance.requirements.model import MODERN, both, client, server, span
from mcpcore_conformance.requirements.reasons import (
    AUTHORIZATION_SERVER,
    OWN_DOCUMENT,
)

ROWS = (
    client.should(
        "basic/authorization/client-registration/priority",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration",
        "Pre-registration is tried first, then metadata documents, then dynamic registration, "
        "then the user.",
    ),
    both.should(
        "basic/authorization/client-registration/metadata-documents",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#client-id-metadata-documents",
        "Client ID metadata documents are supported by clients and authorization servers.",
    ),
    client.must(
        "basic/authorization/client-registration/metadata-document-rules",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "Who supports client ID metadata documents keeps the rules of their draft.",
    ),
    client.must(
        "basic/authorization/client-registration/document-on-https",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The metadata document is hosted at an HTTPS URL.",
    ),
    client.must(
        "basic/authorization/client-registration/client-id-form",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "A client_id that is a URL uses https and has a path.",
    ),
    client.must(
        "basic/authorization/client-registration/document-members",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The metadata document holds client_id, client_name and redirect_uris.",
        application=OWN_DOCUMENT,
    ),
    client.must(
        "basic/authorization/client-registration/document-names-itself",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The client_id in the document equals the document's URL exactly.",
        application=OWN_DOCUMENT,
    ),
    server.should(
        "basic/authorization/client-registration/as-fetches",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "A URL-formed client_id makes the authorization server fetch the document.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.must(
        "basic/authorization/client-registration/as-checks-client-id",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The authorization server checks that the fetched client_id equals the URL.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.should(
        "basic/authorization/client-registration/as-caches",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The authorization server caches the document as its HTTP headers allow.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.must(
        "basic/authorization/client-registration/as-checks-redirects",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The authorization server admits only redirect URIs that the document lists.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.must(
        "basic/authorization/client-registration/as-checks-document",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The authorization server checks that the document is JSON with the needed members.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.should(
        "basic/authorization/client-registration/as-security",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#implementation-requirements",
        "The authorization server heeds the security section of the metadata document draft.",
        authorization=AUTHORIZATION_SERVER,
    ),
    client.should(
        "basic/authorization/client-registration/check-support",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#advertising-cimd-support",
        "The client looks whether the authorization server supports metadata documents.",
    ),
    client.should(
        "basic/authorization/client-registration/static-credentials",
        span("2025-11-25", "2026-07-28"),
        "basic/authorization/client-registration#pre-registration",
        "A client can be given fixed credentials from pre-registration.",
    ),
    client.must(
        "basic/authorization/client-registration/application-type",
        MODERN,
        "basic/authorization/client-registration#application-type-and-redirect-uri-constraints",
        "Dynamic registration names a fitting application_type.",
    ),
    client.should(
        "basic/authorization/client-registration/native-type",
        MODERN,
        "basic/authorization/client-registration#application-type-and-redirect-uri-constraints",
        "Desktop, command-line and localhost programs register as native.",
    ),
    client.should(
        "basic/authorization/client-registration/web-type",
        MODERN,
        "basic/authorization/client-registration#application-type-and-redirect-uri-constraints",
        "Remote browser applications register as web.",
    ),
    client.must(
        "basic/authorization/client-registration/registration-failures",
        MODERN,
        "basic/authorization/client-registration#application-type-and-redirect-uri-constraints",
        "A registration refused for its redirect URIs is coped with.",
    ),
    client.should(
        "basic/authorization/client-registration/registration-error-shown",
        MODERN,
        "basic/authorization/client-registration#application-type-and-redirect-uri-constraints",
        "A refused registration is shown as a meaningful error.",
    ),
    client.must(
        "basic/authorization/client-registration/bound-to-issuer",
        MODERN,
        "basic/authorization/client-registration#authorization-server-binding",
        "Stored credentials are keyed by issuer, not reused with another, and registered anew "
        "there.",
    ),
    client.should(
        "basic/authorization/client-registration/mismatch-surfaced",
        MODERN,
        "basic/authorization/client-registration#authorization-server-binding",
        "Pre-registered credentials that fit no listed issuer give an error, not an attempt.",
    ),
)
