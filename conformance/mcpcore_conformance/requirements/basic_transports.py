"""What the specification's page basic/transports demands."""

from mcpcore_conformance.requirements.model import client, server, span

ROWS = (
    client.must(
        "basic/transports/get-stream-accept",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#listening-for-messages-from-the-server",
        "A GET accepts text/event-stream.",
    ),
    server.must(
        "basic/transports/get-stream-or-405",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#listening-for-messages-from-the-server",
        "A GET is answered with an event stream or 405.",
    ),
    server.should(
        "basic/transports/get-stream-unrelated",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#listening-for-messages-from-the-server",
        "The GET stream carries what belongs to no running request.",
    ),
    server.must(
        "basic/transports/get-stream-no-response",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#listening-for-messages-from-the-server",
        "No response goes over the GET stream unless it resumes the stream of its request.",
    ),
    server.should(
        "basic/transports/get-stream-polling",
        span("2025-11-25"),
        "basic/transports#listening-for-messages-from-the-server",
        "Closing the connection of a GET stream follows the polling rules.",
    ),
    client.must(
        "basic/transports/batch-bodies",
        span("2025-03-26"),
        "basic/transports#sending-messages-to-the-server",
        "The body of a POST is a message or a batch of requests and notifications, or of "
        "responses.",
    ),
    server.should(
        "basic/transports/prime",
        span("2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "An event stream opens with an event that has an id and no data.",
    ),
    client.should(
        "basic/transports/client-polls",
        span("2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "A client reconnects to a stream whose connection the server closed.",
    ),
    server.should(
        "basic/transports/retry-sent",
        span("2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "A server that closes a connection early sends retry first.",
    ),
    client.must(
        "basic/transports/retry-respected",
        span("2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "A client waits for the time of retry before it reconnects.",
    ),
    server.should(
        "basic/transports/response-comes",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "The stream of a request brings its response in the end.",
    ),
    server.should(
        "basic/transports/related-messages",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "What precedes the response on a stream relates to its request.",
    ),
    server.should(
        "basic/transports/stream-kept-open",
        span("2025-03-26", "2025-06-18"),
        "basic/transports#sending-messages-to-the-server",
        "The stream is not closed before the response.",
    ),
    server.should(
        "basic/transports/disconnect-no-cancel",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "A lost connection does not cancel the request.",
    ),
    client.should(
        "basic/transports/cancel-explicit",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#sending-messages-to-the-server",
        "A request is cancelled by a notification.",
    ),
    server.must(
        "basic/transports/no-broadcast",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#multiple-connections",
        "A message goes over one stream only.",
    ),
    server.must(
        "basic/transports/event-ids-unique",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#resumability-and-redelivery",
        "Event ids are unique over all streams of a session.",
    ),
    server.should(
        "basic/transports/event-ids-name-stream",
        span("2025-11-25"),
        "basic/transports#resumability-and-redelivery",
        "An event id tells which stream it belongs to.",
    ),
    client.should(
        "basic/transports/resume",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#resumability-and-redelivery",
        "A client resumes by GET with Last-Event-ID.",
    ),
    server.must(
        "basic/transports/no-foreign-replay",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#resumability-and-redelivery",
        "Messages of another stream are not replayed.",
    ),
    server.should(
        "basic/transports/session-id-secure",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "Session ids are unique and cannot be guessed.",
    ),
    server.must(
        "basic/transports/session-id-characters",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "Session ids are visible ASCII.",
    ),
    client.must(
        "basic/transports/session-id-guarded",
        span("2025-11-25"),
        "basic/transports#session-management",
        "A client handles the session id as a secret.",
    ),
    client.must(
        "basic/transports/session-id-sent",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "A client sends the session id on every later request.",
    ),
    server.should(
        "basic/transports/session-id-missing",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "A request without the needed session id gets 400.",
    ),
    server.must(
        "basic/transports/session-ended",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "A request of an ended session gets 404.",
    ),
    client.must(
        "basic/transports/session-lost",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "A 404 for a session, to a POST or a GET, makes the client initialize anew.",
    ),
    client.should(
        "basic/transports/session-delete",
        span("2025-03-26", "2025-11-25"),
        "basic/transports#session-management",
        "A client ends its session with DELETE.",
    ),
    client.must(
        "basic/transports/version-header",
        span("2025-06-18", "2025-11-25"),
        "basic/transports#protocol-version-header",
        "Every request after initialization carries MCP-Protocol-Version.",
    ),
    client.should(
        "basic/transports/version-header-negotiated",
        span("2025-06-18", "2025-11-25"),
        "basic/transports#protocol-version-header",
        "The header names the negotiated revision.",
    ),
    server.should(
        "basic/transports/version-header-absent",
        span("2025-06-18", "2025-11-25"),
        "basic/transports#protocol-version-header",
        "Without header and session a request counts as 2025-03-26.",
        untested=(
            "Never needed: a session knows its revision, and without one only initialize is served."
        ),
    ),
    server.must(
        "basic/transports/version-header-invalid",
        span("2025-06-18", "2025-11-25"),
        "basic/transports#protocol-version-header",
        "A version header that is invalid or not supported gets 400.",
    ),
    server.must(
        "basic/transports/sse-two-endpoints",
        span("2024-11-05"),
        "basic/transports#security-warning",
        "HTTP+SSE has an endpoint for events and one for POSTs.",
    ),
    server.must(
        "basic/transports/sse-endpoint-event",
        span("2024-11-05"),
        "basic/transports#security-warning",
        "The event stream of HTTP+SSE opens with an endpoint event naming the URI for POSTs.",
    ),
    client.must(
        "basic/transports/sse-client-posts",
        span("2024-11-05"),
        "basic/transports#security-warning",
        "Over HTTP+SSE messages are posted to the URI of the endpoint event.",
    ),
)
