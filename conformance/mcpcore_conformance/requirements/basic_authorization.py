"""What the specification's page basic/authorization demands."""

from mcpcore_conformance.requirements.model import both, client, server, span
from mcpcore_conformance.requirements.reasons import (
    AUTHORIZATION_SERVER,
    NO_PROXY,
    OAUTH_FLOW,
    OWN_AUTHORIZATION_SERVER,
)

ROWS = (
    client.must(
        "basic/authorization/access-metadata",
        span("2025-06-18"),
        "basic/authorization#overview",
        "Authorization server metadata is how a client learns the endpoints.",
    ),
    server.must(
        "basic/authorization/as-metadata",
        span("2025-06-18"),
        "basic/authorization#overview",
        "An authorization server provides OAuth metadata.",
        authorization=AUTHORIZATION_SERVER,
    ),
    both.should(
        "basic/authorization/registration-supported",
        span("2025-03-26", "2025-06-18"),
        "basic/authorization#overview",
        "Dynamic client registration is supported by clients and authorization servers.",
    ),
    server.must(
        "basic/authorization/challenge-header",
        span("2025-06-18"),
        "basic/authorization#authorization-server-location",
        "A 401 names the resource metadata URL in WWW-Authenticate.",
    ),
    server.must(
        "basic/authorization/as-own-tokens",
        span("2025-06-18"),
        "basic/authorization#token-handling",
        "Only tokens valid for its own resources are accepted.",
        authorization=AUTHORIZATION_SERVER,
    ),
    both.must(
        "basic/authorization/oauth",
        span("2025-03-26"),
        "basic/authorization#overview",
        "OAuth 2.1 is implemented with measures for confidential and public clients.",
        authorization=OAUTH_FLOW,
    ),
    client.must(
        "basic/authorization/metadata-client",
        span("2025-03-26"),
        "basic/authorization#overview",
        "Clients implement authorization server metadata.",
    ),
    server.should(
        "basic/authorization/metadata-server",
        span("2025-03-26"),
        "basic/authorization#overview",
        "Servers implement authorization server metadata.",
        authorization=OWN_AUTHORIZATION_SERVER,
    ),
    server.must(
        "basic/authorization/default-uris",
        span("2025-03-26"),
        "basic/authorization#overview",
        "Servers without metadata use the default endpoint paths.",
        authorization=OWN_AUTHORIZATION_SERVER,
    ),
    server.should(
        "basic/authorization/grant-types",
        span("2025-03-26"),
        "basic/authorization#oauth-grant-types",
        "A server supports the grant types that suit its audience.",
        authorization=OWN_AUTHORIZATION_SERVER,
    ),
    server.must(
        "basic/authorization/unauthorized-401",
        span("2025-03-26"),
        "basic/authorization#example-authorization-code-grant",
        "A request that lacks the needed authorization gets 401.",
    ),
    both.must(
        "basic/authorization/base-url",
        span("2025-03-26"),
        "basic/authorization#authorization-base-url",
        "The authorization base URL is the server's URL without its path.",
    ),
    server.must(
        "basic/authorization/metadata-place",
        span("2025-03-26"),
        "basic/authorization#authorization-base-url",
        "Metadata stands at the well-known path of the base URL.",
        authorization=OWN_AUTHORIZATION_SERVER,
    ),
    client.must(
        "basic/authorization/fallback-paths",
        span("2025-03-26"),
        "basic/authorization#fallbacks-for-servers-without-metadata-discovery",
        "Without metadata the client uses the default paths.",
    ),
    client.must(
        "basic/authorization/metadata-first",
        span("2025-03-26"),
        "basic/authorization#fallbacks-for-servers-without-metadata-discovery",
        "Metadata is looked for before falling back to default paths.",
    ),
    client.should(
        "basic/authorization/version-header",
        span("2025-03-26"),
        "basic/authorization#server-metadata-discovery-headers",
        "The request for metadata names the protocol version in its header.",
    ),
    server.should(
        "basic/authorization/expiry-and-rotation",
        span("2025-03-26"),
        "basic/authorization#security-considerations",
        "Token expiry and rotation are enforced.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.should(
        "basic/authorization/rotation",
        span("2025-03-26"),
        "basic/authorization#implementation-requirements",
        "Tokens rotate.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.should(
        "basic/authorization/lifetimes",
        span("2025-03-26"),
        "basic/authorization#implementation-requirements",
        "Token lifetimes are limited as security demands.",
        authorization=AUTHORIZATION_SERVER,
    ),
    server.must(
        "basic/authorization/third-party-mapping",
        span("2025-03-26"),
        "basic/authorization#session-binding-requirements",
        "Third-party tokens are mapped, checked, renewed and expired together with issued ones.",
        authorization=NO_PROXY,
    ),
    server.must(
        "basic/authorization/third-party-duties",
        span("2025-03-26"),
        "basic/authorization#security-considerations",
        "Third-party authorization checks redirects, stores credentials safely and handles "
        "failures.",
        authorization=NO_PROXY,
    ),
)
