"""Mutants of clients for the page basic/transports/streamable-http: streams with no messages."""

from conformance.mutants.client_faults import reports
from conformance.mutants.model import Table

table = Table("basic/transports/streamable-http")
ON = "receiving-messages/client-listens-on"

table.client("ends-at-comments", ON).does(
    "Takes a comment for the end of what it listens to.",
    reports(0, {"result": {"honoured": {"toolsListChanged": True}, "changes": [], "ended": True}}),
)
table.client("gives-up-listening", ON).does(
    "Gives up a stream of changes as it gives up a request.",
    reports(0, {"failure": "timeout", "message": "it took too long"}),
)
