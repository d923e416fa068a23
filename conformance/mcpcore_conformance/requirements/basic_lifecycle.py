"""What the specification's page basic/lifecycle demands."""

from mcpcore_conformance.requirements.model import LEGACY, both, client, server, span

ROWS = (
    client.must(
        "basic/lifecycle/initialize-first",
        LEGACY,
        "basic/lifecycle#initialization",
        "The connection opens with initialize, with version, capabilities and client information.",
    ),
    server.must(
        "basic/lifecycle/initialize-before-all",
        LEGACY,
        "basic/lifecycle#initialization",
        "Nothing but initialize is served before it.",
    ),
    server.must(
        "basic/lifecycle/initialize-answered",
        LEGACY,
        "basic/lifecycle#initialization",
        "initialize is answered with capabilities and server information.",
    ),
    client.must(
        "basic/lifecycle/initialized",
        LEGACY,
        "basic/lifecycle#initialization",
        "After a good initialize the client sends notifications/initialized.",
    ),
    client.should(
        "basic/lifecycle/client-waits",
        LEGACY,
        "basic/lifecycle#initialization",
        "Nothing but pings is requested before initialize was answered.",
    ),
    server.should(
        "basic/lifecycle/server-waits",
        LEGACY,
        "basic/lifecycle#initialization",
        "Nothing but pings and log messages is sent before notifications/initialized.",
    ),
    client.must(
        "basic/lifecycle/initialize-not-batched",
        span("2025-03-26"),
        "basic/lifecycle#initialization",
        "initialize is never part of a batch.",
    ),
    client.must(
        "basic/lifecycle/offer-supported",
        LEGACY,
        "basic/lifecycle#version-negotiation",
        "The client offers a revision that it supports.",
    ),
    client.should(
        "basic/lifecycle/offer-latest",
        LEGACY,
        "basic/lifecycle#version-negotiation",
        "The client offers its latest revision.",
    ),
    server.must(
        "basic/lifecycle/same-version",
        LEGACY,
        "basic/lifecycle#version-negotiation",
        "A supported revision is answered with itself, another with one that the server supports.",
    ),
    server.should(
        "basic/lifecycle/answer-latest",
        LEGACY,
        "basic/lifecycle#version-negotiation",
        "The server offers its latest revision instead.",
    ),
    client.should(
        "basic/lifecycle/unsupported-disconnect",
        LEGACY,
        "basic/lifecycle#version-negotiation",
        "A client that does not know the offered revision disconnects.",
    ),
    both.must(
        "basic/lifecycle/respect-version",
        span("2025-06-18", "2025-11-25"),
        "basic/lifecycle#operation",
        "Both keep to the negotiated revision.",
    ),
    both.should(
        "basic/lifecycle/respect-version-early",
        span("2024-11-05", "2025-03-26"),
        "basic/lifecycle#operation",
        "Both keep to the negotiated revision.",
    ),
    both.must(
        "basic/lifecycle/respect-capabilities",
        span("2025-06-18", "2025-11-25"),
        "basic/lifecycle#operation",
        "Only negotiated capabilities are used.",
    ),
    both.should(
        "basic/lifecycle/respect-capabilities-early",
        span("2024-11-05", "2025-03-26"),
        "basic/lifecycle#operation",
        "Only negotiated capabilities are used.",
    ),
    both.should(
        "basic/lifecycle/version-mismatch",
        LEGACY,
        "basic/lifecycle#error-handling",
        "A failed negotiation is an error to the owner, not a hang.",
    ),
    both.should(
        "basic/lifecycle/initialize-timeout",
        LEGACY,
        "basic/lifecycle#error-handling",
        "A handshake or shutdown that is never answered ends by itself.",
    ),
)
