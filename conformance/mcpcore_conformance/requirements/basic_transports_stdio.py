"""What the specification's page basic/transports/stdio demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, both, client, server, span

ROWS = (
    both.must(
        "basic/transports/stdio/no-newlines",
        ALL,
        "basic/transports/stdio",
        "A message is one line without newlines inside.",
    ),
    client.should(
        "basic/transports/stdio/stderr-not-error",
        span("2025-11-25", "2026-07-28"),
        "basic/transports/stdio",
        "Output on stderr is not taken for an error.",
    ),
    server.must(
        "basic/transports/stdio/stdout-clean",
        ALL,
        "basic/transports/stdio",
        "A server writes nothing but messages to stdout.",
    ),
    client.must(
        "basic/transports/stdio/stdin-clean",
        ALL,
        "basic/transports/stdio",
        "A client writes nothing but messages to the server's stdin.",
    ),
    server.should(
        "basic/transports/stdio/cancel-stops",
        MODERN,
        "basic/transports/stdio#cancellation",
        "A server stops the work on a cancelled request as soon as it can.",
    ),
    server.must(
        "basic/transports/stdio/cancelled-silent",
        MODERN,
        "basic/transports/stdio#cancellation",
        "Nothing more is sent for a cancelled request.",
    ),
    client.should(
        "basic/transports/stdio/shutdown",
        MODERN,
        "basic/transports/stdio#shutdown",
        "Shutdown closes stdin, waits, and ends the process if it stays.",
    ),
    client.should(
        "basic/transports/stdio/shutdown-signals",
        LEGACY,
        "basic/lifecycle#stdio",
        "Shutdown closes stdin, then sends SIGTERM, then SIGKILL, with time between.",
    ),
    server.should(
        "basic/transports/stdio/exit-on-eof",
        MODERN,
        "basic/transports/stdio#shutdown",
        "A server exits soon after its stdin has ended.",
    ),
    client.should(
        "basic/transports/stdio/restart",
        MODERN,
        "basic/transports/stdio#unexpected-termination",
        "A server process that died is started again.",
        application=(
            "A connection is one child process; whoever opened it decides whether to open another."
        ),
    ),
    client.should(
        "basic/transports/stdio/probe",
        MODERN,
        "basic/transports/stdio#backward-compatibility",
        "A client of both eras probes with server/discover before anything else.",
    ),
    client.must(
        "basic/transports/stdio/probe-modern-error",
        MODERN,
        "basic/transports/stdio#backward-compatibility",
        "A recognized modern error on the probe means a modern server, never initialize.",
    ),
    client.must(
        "basic/transports/stdio/probe-fallback",
        MODERN,
        "basic/transports/stdio#backward-compatibility",
        "Any other error, or silence, means a legacy server, whatever the code.",
    ),
    client.should(
        "basic/transports/stdio/probe-modern-only",
        MODERN,
        "basic/transports/stdio#backward-compatibility",
        "A client of modern revisions alone probes as well.",
    ),
    client.should(
        "basic/transports/stdio/client-support",
        LEGACY,
        "basic/transports",
        "Clients support stdio.",
    ),
)
