"""Mutants of clients for the page basic/patterns/index."""

from typing import Any

from conformance.mutants.client_faults import ClientFault
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, error, result

table = Table("basic/patterns/index")


@table.client("answers-ping", "request-and-response/client-no-responses")
class _Answers(ClientFault):
    """Answers a ping of the server."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and value.get("method") == "ping":
            self.invent(result(value["id"], {}))
        return payload


@table.client("refuses-roots", "request-and-response/client-no-responses")
class _Refuses(ClientFault):
    """Refuses a request of the server by an error."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and value.get("method") == "roots/list":
            self.invent(error(value["id"], METHOD_NOT_FOUND, "no"))
        return payload
