"""What the specification's page server/prompts demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, both, client, server, span

ROWS = (
    server.must(
        "server/prompts/declared",
        ALL,
        "server/prompts#capabilities",
        "A server with prompts declares the capability.",
    ),
    server.must(
        "server/prompts/list-answered",
        MODERN,
        "server/prompts#capabilities",
        "prompts/list gives the prompts available.",
    ),
    server.must(
        "server/prompts/list-not-per-connection",
        MODERN,
        "server/prompts#capabilities",
        "The list differs neither by connection nor by earlier requests.",
    ),
    server.should(
        "server/prompts/list-changed",
        MODERN,
        "server/prompts#list-changed-notification",
        "A change is told to listen streams that asked for it.",
    ),
    server.should(
        "server/prompts/list-changed-legacy",
        LEGACY,
        "server/prompts#list-changed-notification",
        "A change is notified where listChanged was declared.",
    ),
    server.must(
        "server/prompts/image-content",
        ALL,
        "server/prompts#image-content",
        "Image data is Base64 with a MIME type.",
    ),
    server.must(
        "server/prompts/audio-content",
        span("2025-03-26", "2026-07-28"),
        "server/prompts#audio-content",
        "Audio data is Base64 with a MIME type.",
    ),
    server.must(
        "server/prompts/embedded-resource",
        ALL,
        "server/prompts#embedded-resources",
        "An embedded resource has a URI, a MIME type and text or a blob.",
    ),
    server.should(
        "server/prompts/errors",
        ALL,
        "server/prompts#error-handling",
        "Unknown names and missing arguments get -32602, failures -32603.",
    ),
    server.should(
        "server/prompts/arguments-validated",
        ALL,
        "server/prompts#implementation-considerations",
        "Arguments are checked before the prompt runs.",
    ),
    client.should(
        "server/prompts/client-pages",
        ALL,
        "server/prompts#implementation-considerations",
        "Clients follow pages.",
    ),
    both.should(
        "server/prompts/capabilities-respected",
        ALL,
        "server/prompts#implementation-considerations",
        "Both respect the negotiated capabilities.",
    ),
    both.must(
        "server/prompts/inputs-validated",
        ALL,
        "server/prompts#security",
        "Prompt inputs and outputs are validated against injection.",
        application=(
            "What an argument means, and what is dangerous in it, is known to the prompt's author."
        ),
    ),
)
