"""Mutants of clients for the page basic/transports/index."""

from conformance.mutants.client_faults import hooked, says
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode

table = Table("basic/transports/index")


table.client("replaces", "messages/client-refuses-bad-utf-8").does(
    "Reads what is no UTF-8 as if it were something.",
    hooked(
        told=lambda value, payload: (
            payload if value is not None else payload.decode("utf-8", "replace").encode()
        )
    ),
)
table.client("latin-1", "messages/client-writes-utf-8").does(
    "Writes Latin-1.",
    says("tools/call", lambda value: encode(value).decode().encode("latin-1", "replace")),
)
