"""What the specification's page server/utilities/logging demands."""

from mcpcore_conformance.requirements.model import ALL, LEGACY, MODERN, both, server
from mcpcore_conformance.requirements.reasons import DEPRECATED_FEATURE, LOG_CONTENTS

ROWS = (
    server.should(
        "server/utilities/logging/no-new-use",
        MODERN,
        "server/utilities/logging",
        "Protocol logging is not taken up anew.",
        application=DEPRECATED_FEATURE,
    ),
    server.must(
        "server/utilities/logging/declared",
        ALL,
        "server/utilities/logging#capabilities",
        "A server that logs declares the capability.",
    ),
    server.must(
        "server/utilities/logging/level-needed",
        MODERN,
        "server/utilities/logging#per-request-log-level",
        "A request without a log level gets no log messages.",
    ),
    server.must(
        "server/utilities/logging/request-stream-only",
        MODERN,
        "server/utilities/logging#per-request-log-level",
        "Log messages go only with the request that asked for them, never to a listen stream.",
    ),
    server.should(
        "server/utilities/logging/level-invalid",
        MODERN,
        "server/utilities/logging#error-handling",
        "An unknown level in _meta gets -32602.",
    ),
    server.should(
        "server/utilities/logging/level-invalid-legacy",
        LEGACY,
        "server/utilities/logging#error-handling",
        "An unknown level in logging/setLevel gets -32602.",
    ),
    server.should(
        "server/utilities/logging/server-habits",
        ALL,
        "server/utilities/logging#implementation-considerations",
        "Messages have context, consistent logger names and nothing sensitive.",
        application=LOG_CONTENTS,
    ),
    server.should(
        "server/utilities/logging/server-rate-limit",
        ALL,
        "server/utilities/logging#implementation-considerations",
        "Log messages are limited in rate.",
    ),
    server.must(
        "server/utilities/logging/nothing-secret",
        ALL,
        "server/utilities/logging#security",
        "Log messages hold no secrets, personal data or internals that help attackers.",
        application=LOG_CONTENTS,
    ),
    both.should(
        "server/utilities/logging/data-validated",
        ALL,
        "server/utilities/logging#security",
        "Data is validated, access controlled and content watched.",
        application=LOG_CONTENTS,
    ),
)
