"""What the specification's page server/tools demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, both, client, server, span
from mcpcore_conformance.requirements.reasons import PERMISSIONS, USER_INTERFACE

ROWS = (
    client.should(
        "server/tools/human-in-the-loop",
        ALL,
        "server/tools#user-interaction-model",
        "A person can deny tool calls.",
        application=USER_INTERFACE,
    ),
    client.should(
        "server/tools/tools-shown",
        ALL,
        "server/tools#user-interaction-model",
        "Exposed tools, their use and confirmations are shown.",
        application=USER_INTERFACE,
    ),
    server.must(
        "server/tools/declared",
        ALL,
        "server/tools#capabilities",
        "A server with tools declares the capability.",
    ),
    server.must(
        "server/tools/list-answered",
        MODERN,
        "server/tools#capabilities",
        "tools/list gives the tools available.",
    ),
    server.must(
        "server/tools/list-not-per-connection",
        MODERN,
        "server/tools#capabilities",
        "The list differs neither by connection nor by earlier requests.",
    ),
    server.should(
        "server/tools/list-order",
        MODERN,
        "server/tools#capabilities",
        "Tools are listed in the same order each time.",
    ),
    server.should(
        "server/tools/list-changed",
        MODERN,
        "server/tools#list-changed-notification",
        "A change is told to listen streams that asked for it.",
    ),
    server.should(
        "server/tools/list-changed-legacy",
        LEGACY,
        "server/tools#list-changed-notification",
        "A change is notified where listChanged was declared.",
    ),
    server.must(
        "server/tools/input-schema",
        span("2025-11-25", "2026-07-28"),
        "server/tools#tool",
        "inputSchema is a JSON Schema object.",
    ),
    client.must(
        "server/tools/annotations-untrusted",
        span("2025-03-26", "2026-07-28"),
        "server/tools#tool",
        "Annotations of untrusted servers are not trusted.",
        application=(
            "Whom to trust is the application's decision; the client acts on no annotation."
        ),
    ),
    server.should(
        "server/tools/name-length",
        span("2025-11-25", "2026-07-28"),
        "server/tools#tool-names",
        "Tool names have 1 to 128 characters.",
    ),
    both.should(
        "server/tools/name-case",
        span("2025-11-25", "2026-07-28"),
        "server/tools#tool-names",
        "Tool names are case-sensitive.",
    ),
    server.should(
        "server/tools/name-characters",
        span("2025-11-25", "2026-07-28"),
        "server/tools#tool-names",
        "Tool names have letters, digits, underscore, hyphen and dot only.",
    ),
    server.should(
        "server/tools/name-unique",
        span("2025-11-25", "2026-07-28"),
        "server/tools#tool-names",
        "Tool names are unique in a server.",
    ),
    client.should(
        "server/tools/names-disambiguated",
        MODERN,
        "server/tools#tool-names",
        "Who aggregates servers tells their tools apart.",
        application="The library talks to one server per client; aggregation is the application's.",
    ),
    client.should(
        "server/tools/server-name-not-unique",
        MODERN,
        "server/tools#tool-names",
        "The server's name is no means of telling tools apart.",
        application="The library talks to one server per client; aggregation is the application's.",
    ),
    server.should(
        "server/tools/sensitive-not-mirrored",
        MODERN,
        "server/tools#x-mcp-header",
        "Sensitive parameters are not mirrored into headers.",
        application="Only the tool's author knows which parameters are sensitive.",
    ),
    server.should(
        "server/tools/embedded-resources",
        span("2025-06-18", "2026-07-28"),
        "server/tools#embedded-resources",
        "Who embeds resources implements resources.",
        application="Which features a server offers is its author's choice.",
    ),
    server.should(
        "server/tools/structured-as-text",
        span("2025-06-18", "2026-07-28"),
        "server/tools#structured-content",
        "Structured content is also sent as JSON text; ours is the value alone where the content "
        "has an object around it.",
    ),
    server.must(
        "server/tools/output-conforms",
        span("2025-06-18", "2026-07-28"),
        "server/tools#output-schema",
        "Structured results conform to the output schema.",
    ),
    client.should(
        "server/tools/output-validated",
        span("2025-06-18", "2026-07-28"),
        "server/tools#output-schema",
        "Clients check structured results against the schema.",
    ),
    client.should(
        "server/tools/errors-to-model",
        span("2025-11-25", "2026-07-28"),
        "server/tools#error-handling",
        "Tool errors are given to the model.",
        application="The model is the application's; the error reaches it as a result.",
    ),
    server.must(
        "server/tools/inputs-validated",
        ALL,
        "server/tools#security-considerations",
        "Tool inputs are validated.",
    ),
    server.must(
        "server/tools/access-controls",
        ALL,
        "server/tools#security-considerations",
        "Access to tools is controlled.",
        application=PERMISSIONS,
    ),
    server.must(
        "server/tools/rate-limited",
        ALL,
        "server/tools#security-considerations",
        "Tool calls are limited in rate, where the server is given a limiter.",
    ),
    server.must(
        "server/tools/outputs-sanitized",
        ALL,
        "server/tools#security-considerations",
        "Tool outputs are sanitized.",
        application="What is unsafe in an output is known to the tool's author.",
    ),
    client.should(
        "server/tools/confirmation",
        ALL,
        "server/tools#security-considerations",
        "Sensitive operations are confirmed and inputs shown first.",
        application=USER_INTERFACE,
    ),
    client.should(
        "server/tools/results-validated",
        ALL,
        "server/tools#security-considerations",
        "Results are validated before the model sees them.",
    ),
    client.should(
        "server/tools/refs-followed",
        MODERN,
        "server/tools#security-considerations",
        "Schemas are checked under the rules for $ref.",
    ),
    client.should(
        "server/tools/timeouts",
        ALL,
        "server/tools#security-considerations",
        "Tool calls have timeouts.",
    ),
    client.should(
        "server/tools/audit",
        ALL,
        "server/tools#security-considerations",
        "Tool use is logged.",
        application="What is logged is the application's choice.",
    ),
)
