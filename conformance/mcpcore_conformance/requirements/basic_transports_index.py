"""What the specification's page basic/transports/index demands."""

from mcpcore_conformance.requirements.model import ALL, MODERN, both, span

ROWS = (
    both.must(
        "basic/transports/index/utf8",
        span("2025-03-26", "2026-07-28"),
        "basic/transports/index#messages",
        "Messages are UTF-8.",
    ),
    both.must(
        "basic/transports/index/directions",
        MODERN,
        "basic/transports/index#messages",
        "A binding carries requests and notifications to the server, responses and "
        "notifications back.",
    ),
    both.must(
        "basic/transports/index/custom-format",
        ALL,
        "basic/transports/index#custom-transports",
        "A custom transport keeps message format, patterns or lifecycle, and metadata.",
    ),
    both.should(
        "basic/transports/index/custom-documented",
        ALL,
        "basic/transports/index#custom-transports",
        "A custom transport is documented.",
        untested=(
            "Documentation, not behaviour: the bindings of sockets and WebSocket are described in "
            "their modules."
        ),
    ),
    both.should(
        "basic/transports/index/stdio-framing",
        MODERN,
        "basic/transports/index#custom-transports",
        "Byte-stream transports use the framing of stdio.",
    ),
)
