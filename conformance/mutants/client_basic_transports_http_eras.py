"""Mutants of clients for the page basic/transports/streamable-http: servers of the older era."""

from collections.abc import Iterable

from conformance.mutants.client_faults import ClientFault, Value, adds
from conformance.mutants.model import Table
from mcpcore_conformance.kit.client_wire import Asked
from mcpcore_conformance.kit.messages import request

table = Table("basic/transports/streamable-http")


@table.client("stays-at-it", "backward-compatibility/client-falls-back")
class _NeverInitializes(ClientFault):
    """Does not go back to the older era."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        return () if value.get("method") == "initialize" else (value,)


class _PostsHere(ClientFault):
    """Posts to the address that it was given, whatever the endpoint event says."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = target

    def asked(self, asked: Asked) -> Iterable[Asked]:
        if asked.method == "POST":
            asked.target = self._target
        return (asked,)


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
    "Posts to the address that it was given, whatever the endpoint event says.",
    lambda: _PostsHere("/mcp"),
)
