"""What the specification's page server/utilities/caching demands."""

from mcpcore_conformance.requirements.model import MODERN, client, server
from mcpcore_conformance.requirements.reasons import PERMISSIONS

ROWS = (
    server.must(
        "server/utilities/caching/hints",
        MODERN,
        "server/utilities/caching#cacheable-results",
        "Complete results of the cacheable methods carry ttlMs and cacheScope.",
    ),
    client.must(
        "server/utilities/caching/key",
        MODERN,
        "server/utilities/caching#cache-key",
        "A cached response serves only the same method with the same parameters.",
    ),
    client.must(
        "server/utilities/caching/retries-not-cached",
        MODERN,
        "server/utilities/caching#cache-key",
        "Results of input rounds are not cached.",
    ),
    client.should(
        "server/utilities/caching/ttl-zero",
        MODERN,
        "server/utilities/caching#time-to-live-ttl-field",
        "ttlMs 0 is stale at once.",
    ),
    client.should(
        "server/utilities/caching/ttl-positive",
        MODERN,
        "server/utilities/caching#time-to-live-ttl-field",
        "A positive ttlMs is fresh for that long.",
    ),
    client.should(
        "server/utilities/caching/ttl-absent",
        MODERN,
        "server/utilities/caching#time-to-live-ttl-field",
        "No ttlMs counts as 0.",
    ),
    client.should(
        "server/utilities/caching/ttl-negative",
        MODERN,
        "server/utilities/caching#time-to-live-ttl-field",
        "A negative ttlMs counts as 0.",
    ),
    server.must(
        "server/utilities/caching/ttl-not-negative",
        MODERN,
        "server/utilities/caching#time-to-live-ttl-field",
        "Servers send no negative ttlMs.",
    ),
    client.should(
        "server/utilities/caching/stale-fetched",
        MODERN,
        "server/utilities/caching#freshness-calculation",
        "What is stale is fetched at the next use.",
    ),
    client.should(
        "server/utilities/caching/no-polling",
        MODERN,
        "server/utilities/caching#freshness-calculation",
        "Time running out triggers no fetch by itself.",
    ),
    client.must(
        "server/utilities/caching/polling-jitter",
        MODERN,
        "server/utilities/caching#freshness-calculation",
        "Who polls does it with jitter and backoff.",
        application="The library never polls by ttl; whoever does owns the schedule.",
    ),
    client.must(
        "server/utilities/caching/private-not-shared",
        MODERN,
        "server/utilities/caching#cache-scope-field",
        "Private responses are not shared between authorization contexts.",
    ),
    client.should(
        "server/utilities/caching/page-again",
        MODERN,
        "server/utilities/caching#interaction-with-pagination",
        "An expired page is fetched by its cursor.",
    ),
    client.should(
        "server/utilities/caching/snapshot",
        MODERN,
        "server/utilities/caching#interaction-with-pagination",
        "A consistent list is fetched from its beginning.",
    ),
    client.should(
        "server/utilities/caching/cursor-invalid",
        MODERN,
        "server/utilities/caching#interaction-with-pagination",
        "An invalid cursor drops all cached pages and starts over.",
    ),
    server.must(
        "server/utilities/caching/scope-same",
        MODERN,
        "server/utilities/caching#interaction-with-pagination",
        "All pages of a list have the same cacheScope.",
    ),
    server.must(
        "server/utilities/caching/public-shared",
        MODERN,
        "server/utilities/caching#security-considerations",
        "A server reckons with public responses being shared.",
        application=(
            "Only the application knows which results hold private data; it names their scope."
        ),
    ),
    server.must(
        "server/utilities/caching/access-control",
        MODERN,
        "server/utilities/caching#security-considerations",
        "Access is controlled apart from cacheScope.",
        application=PERMISSIONS,
    ),
)
