"""Mutants of clients for the page basic/versioning: a server that is not what it was."""

from conformance.mutants.client_faults import header, reports
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION

table = Table("basic/versioning")
AGAIN = "backward-compatibility-with-initialization-based-versions/client-probes-again"
OPENED_AGAIN = 2
"""The step that connects for the second time."""

table.client("sticks-to-it", AGAIN).does(
    "Gives up when what it remembers of a server is refused.",
    reports(OPENED_AGAIN, {"error": {"code": UNSUPPORTED_VERSION, "message": "refused"}}),
)
table.client("old-header", AGAIN).does(
    "Names the version that it remembers in what it sends by the newer era.",
    header(
        "mcp-protocol-version", lambda value: LATEST_LEGACY.name if value == LATEST.name else value
    ),
)
