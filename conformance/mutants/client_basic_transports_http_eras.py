"""Mutants of clients for the page basic/transports/streamable-http: servers of the older era."""

from conformance.mutants.client_faults import adds, posts_to, says
from conformance.mutants.edits import to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import request

table = Table("basic/transports/streamable-http")


table.client("stays-at-it", "backward-compatibility/client-falls-back").does(
    "Does not go back to the older era.", says("initialize", to(None))
)
table.client(
    "falls-back-anyway",
    "backward-compatibility/client-stays-modern",
    "backward-compatibility/client-other-statuses",
).does(
    "Initializes whatever the answer to its first request was.",
    adds("server/discover", lambda value: request("again", "initialize", {})),
)
table.client(
    "posts-here",
    "httpsse-transport-2024-11-05/client-falls-back",
    "httpsse-transport-2024-11-05/client-falls-back-from-modern",
).does(
    "Posts to the address that it was given, whatever the endpoint event says.", posts_to("/mcp")
)
