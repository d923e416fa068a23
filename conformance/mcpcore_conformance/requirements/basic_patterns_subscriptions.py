"""What the specification's page basic/patterns/subscriptions demands."""

from mcpcore_conformance.requirements.model import MODERN, client, server

ROWS = (
    server.must(
        "basic/patterns/subscriptions/requested-only",
        MODERN,
        "basic/patterns/subscriptions#opening-a-stream",
        "Only the kinds of notifications that the filter asks for are sent.",
    ),
    server.must(
        "basic/patterns/subscriptions/acknowledged-first",
        MODERN,
        "basic/patterns/subscriptions#acknowledgment",
        "The acknowledgement is the first message of a subscription.",
    ),
    client.should(
        "basic/patterns/subscriptions/acknowledged-checked",
        MODERN,
        "basic/patterns/subscriptions#acknowledgment",
        "The acknowledged filter is compared with what was asked for.",
    ),
    client.must(
        "basic/patterns/subscriptions/correlate",
        MODERN,
        "basic/patterns/subscriptions#receiving-notifications",
        "On a shared channel notifications are told apart by their subscription id.",
    ),
    server.should(
        "basic/patterns/subscriptions/server-ends",
        MODERN,
        "basic/patterns/subscriptions#cancellation",
        "A server that ends a subscription answers its request before closing the stream.",
    ),
    client.must(
        "basic/patterns/subscriptions/listen-again",
        MODERN,
        "basic/patterns/subscriptions#graceful-closure",
        "Over stdio, the client subscribes again after a new connection.",
    ),
)
