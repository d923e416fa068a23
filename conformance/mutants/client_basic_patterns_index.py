"""Mutants of clients for the page basic/patterns/index."""

from typing import Any

from conformance.mutants.client_faults import ClientFault
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, error, result

table = Table("basic/patterns/index")


class Answers(ClientFault):
    """Answers requests of the server, as clients of older revisions do."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        """See ClientFault."""
        if isinstance(value, dict) and value.get("method") == "ping":
            self.invent(result(value["id"], {}))
        return payload


class Refuses(ClientFault):
    """Refuses requests of the server by an error."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        """See ClientFault."""
        if isinstance(value, dict) and value.get("method") == "roots/list":
            self.invent(error(value["id"], METHOD_NOT_FOUND, "no"))
        return payload


table.client(
    "answers-ping",
    "request-and-response/client-no-responses",
    "Answers a ping of the server.",
    Answers,
)
table.client(
    "refuses-roots",
    "request-and-response/client-no-responses",
    "Refuses a request of the server by an error.",
    Refuses,
)
