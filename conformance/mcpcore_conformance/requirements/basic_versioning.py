"""What the specification's page basic/versioning demands."""

from mcpcore_conformance.requirements.model import MODERN, both, client, server

ROWS = (
    server.must(
        "basic/versioning/unsupported-version",
        MODERN,
        "basic/versioning#protocol-version-negotiation",
        "A request for a revision that is not served gets the error that lists those served.",
    ),
    client.should(
        "basic/versioning/select-and-retry",
        MODERN,
        "basic/versioning#protocol-version-negotiation",
        "The client retries with a revision of that list, or tells the user.",
    ),
    server.must(
        "basic/versioning/discover",
        MODERN,
        "basic/versioning#protocol-version-negotiation",
        "Servers implement server/discover.",
    ),
    both.must(
        "basic/versioning/extension-names",
        MODERN,
        "basic/versioning#extension-negotiation",
        "Extension identifiers are _meta keys with a prefix.",
        application="Whoever defines an extension names it.",
    ),
    both.must(
        "basic/versioning/extension-fallback",
        MODERN,
        "basic/versioning#extension-negotiation",
        "Without the other side's extension the core protocol is spoken, or a clear error given.",
    ),
    both.should(
        "basic/versioning/extension-documented",
        MODERN,
        "basic/versioning#extension-negotiation",
        "Extensions document their fallback.",
        application="Whoever defines an extension documents it.",
    ),
    client.should(
        "basic/versioning/era-cached",
        MODERN,
        "basic/versioning#backward-compatibility-with-initialization-based-versions",
        "The era of a server is remembered for its process, or its origin and path.",
    ),
    server.should(
        "basic/versioning/initialize-error-names-versions",
        MODERN,
        "basic/versioning#backward-compatibility-with-initialization-based-versions",
        "A modern server names its revisions in the error to an initialize.",
    ),
)
