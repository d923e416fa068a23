"""Mutants of clients for the page basic/authorization of 2025-03-26."""

from conformance.mutants.client_faults import without_header
from conformance.mutants.client_sign_in_faults import looks_at
from conformance.mutants.model import Table
from mcpcore_conformance.kit.protected import OAUTH_PLACE

table = Table("basic/authorization")

FALLBACKS = "fallbacks-for-servers-without-metadata-discovery"

table.client(
    "below-the-endpoint",
    "authorization-base-url/client-metadata-at-root",
    f"{FALLBACKS}/client-metadata-first",
).does(
    "Looks for metadata below the path of the endpoint.",
    looks_at(OAUTH_PLACE, f"{OAUTH_PLACE}/mcp"),
)
table.client("other-default", f"{FALLBACKS}/client-default-paths").does(
    "Takes another path for the default token endpoint.", looks_at("/token", "/oauth/token")
)
table.client("no-version", "server-metadata-discovery-headers/client-version-header").does(
    "Does not name the protocol version when it asks for metadata.",
    without_header("mcp-protocol-version", "GET"),
)
