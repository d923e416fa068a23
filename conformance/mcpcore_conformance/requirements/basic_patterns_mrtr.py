"""What the specification's page basic/patterns/mrtr demands."""

from mcpcore_conformance.requirements.model import MODERN, client, server, span

ROWS = (
    server.must(
        "basic/patterns/mrtr/questions-by-result",
        MODERN,
        "basic/patterns/mrtr",
        "What a server wants of the client it asks for in a result that requires input.",
    ),
    client.must(
        "basic/patterns/mrtr/state-opaque",
        MODERN,
        "basic/patterns/mrtr#inputrequiredresult",
        "requestState is neither read nor changed by the client.",
    ),
    server.must(
        "basic/patterns/mrtr/supported-methods",
        MODERN,
        "basic/patterns/mrtr#supported-requests",
        "Only tools/call, prompts/get and resources/read may be answered with input_required.",
    ),
    server.must(
        "basic/patterns/mrtr/keys-unique",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "The keys of inputRequests are unique within the request.",
    ),
    server.must(
        "basic/patterns/mrtr/request-kinds",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "An input request is an elicitation, a sampling request or a request for roots.",
    ),
    server.must(
        "basic/patterns/mrtr/state-untrusted",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "requestState that comes back is treated as an attacker's input.",
    ),
    server.must(
        "basic/patterns/mrtr/state-protected",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "requestState that decides anything is protected, and refused when it fails verification.",
    ),
    server.should(
        "basic/patterns/mrtr/state-bound",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "The protected state names principal, expiry and originating request, and each is "
        "verified.",
    ),
    server.must(
        "basic/patterns/mrtr/state-single-use",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "State that may be used only once is guarded as such by the server.",
        application=(
            "Only the application knows which state is single-use; its own store must remember "
            "that."
        ),
    ),
    server.must(
        "basic/patterns/mrtr/one-of-both",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "An input_required result has inputRequests or requestState.",
    ),
    server.must(
        "basic/patterns/mrtr/declared-only",
        span("2025-11-25", "2026-07-28"),
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "Nothing is asked for that the client did not declare.",
    ),
    server.must(
        "basic/patterns/mrtr/no-promise",
        MODERN,
        "basic/patterns/mrtr#server-requirements-basic-workflow",
        "A server does not count on answers or on a retry.",
    ),
    client.must(
        "basic/patterns/mrtr/fulfil-first",
        MODERN,
        "basic/patterns/mrtr#client-requirements-basic-workflow",
        "The inputs asked for are gathered before the request is retried.",
    ),
    client.must(
        "basic/patterns/mrtr/echo-state",
        MODERN,
        "basic/patterns/mrtr#client-requirements-basic-workflow",
        "requestState is echoed exactly, and left out when there was none.",
    ),
    client.must(
        "basic/patterns/mrtr/new-id",
        MODERN,
        "basic/patterns/mrtr#client-requirements-basic-workflow",
        "The retry has an id of its own.",
    ),
    client.must(
        "basic/patterns/mrtr/one-retry-only",
        MODERN,
        "basic/patterns/mrtr#client-requirements-basic-workflow",
        "Answers and state go to the retry of their request and to no other.",
    ),
    server.should(
        "basic/patterns/mrtr/responses-validated",
        MODERN,
        "basic/patterns/mrtr#error-handling",
        "inputResponses are checked for form before they are used.",
    ),
    server.should(
        "basic/patterns/mrtr/protocol-errors",
        MODERN,
        "basic/patterns/mrtr#error-handling",
        "Malformed input gets a JSON-RPC error that fits.",
    ),
    server.should(
        "basic/patterns/mrtr/extra-responses-ignored",
        MODERN,
        "basic/patterns/mrtr#error-handling",
        "Answers that nobody asked for are ignored.",
    ),
    server.should(
        "basic/patterns/mrtr/missing-asked-again",
        MODERN,
        "basic/patterns/mrtr#error-handling",
        "An answer that is missing and needed is asked for again.",
    ),
)
