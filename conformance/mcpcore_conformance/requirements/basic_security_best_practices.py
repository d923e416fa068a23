"""What the page on security best practices demands of servers.

In 2026-07-28 the page stands among the tutorials; the authorization pages point to it.
"""

from mcpcore_conformance.requirements.model import MODERN, server, span
from mcpcore_conformance.requirements.reasons import LOCAL_SERVERS, NO_PROXY

ROWS = (
    server.must(
        "basic/security-best-practices/own-tokens",
        span("2025-06-18", "2026-07-28"),
        "basic/security_best_practices#token-passthrough",
        "A token that was not issued for the server is not accepted.",
    ),
    server.must(
        "basic/security-best-practices/proxy-consent",
        span("2025-06-18", "2026-07-28"),
        "basic/security_best_practices#confused-deputy-problem",
        "A proxy asks for consent for each client, and guards page, cookie, redirects and state.",
        authorization=NO_PROXY,
    ),
    server.must(
        "basic/security-best-practices/every-request",
        span("2025-06-18", "2026-07-28"),
        "basic/security_best_practices#state-handle-hijacking",
        "Where there is authorization, every request is verified.",
    ),
    server.must(
        "basic/security-best-practices/sessions-authenticate-nobody",
        span("2025-06-18", "2025-11-25"),
        "basic/security_best_practices#session-hijacking",
        "A session id is no credential.",
    ),
    server.must(
        "basic/security-best-practices/session-ids-secure",
        span("2025-06-18", "2025-11-25"),
        "basic/security_best_practices#session-hijacking",
        "Session ids are not made by a rule that can be guessed.",
    ),
    server.should(
        "basic/security-best-practices/session-ids-random",
        span("2025-06-18", "2025-11-25"),
        "basic/security_best_practices#session-hijacking",
        "Session ids come from a secure source of randomness.",
    ),
    server.should(
        "basic/security-best-practices/session-ids-bound",
        span("2025-06-18", "2025-11-25"),
        "basic/security_best_practices#session-hijacking",
        "A session is bound to its user.",
    ),
    server.must(
        "basic/security-best-practices/handles-authenticate-nobody",
        MODERN,
        "basic/security_best_practices#state-handle-hijacking",
        "Who has a handle of state has proven nothing by it.",
    ),
    server.should(
        "basic/security-best-practices/handles-random",
        MODERN,
        "basic/security_best_practices#state-handle-hijacking",
        "Handles of state are not made by a rule that can be guessed.",
    ),
    server.should(
        "basic/security-best-practices/handles-bound",
        MODERN,
        "basic/security_best_practices#state-handle-hijacking",
        "State is bound to the user whose handle it is.",
    ),
    server.should(
        "basic/security-best-practices/local-servers",
        span("2025-06-18", "2026-07-28"),
        "basic/security_best_practices#local-mcp-server-compromise",
        "A server that runs locally is kept from other programs.",
        application=LOCAL_SERVERS,
    ),
)
