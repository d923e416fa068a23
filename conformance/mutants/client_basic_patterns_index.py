"""Mutants of clients for the page basic/patterns/index."""

from conformance.mutants.client_faults import responds
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import METHOD_NOT_FOUND, error, result

table = Table("basic/patterns/index")


table.client("answers-ping", "request-and-response/client-no-responses").does(
    "Answers a ping of the server.",
    responds(lambda value: value.get("method") == "ping", lambda value: result(value["id"], {})),
)
table.client("refuses-roots", "request-and-response/client-no-responses").does(
    "Refuses a request of the server by an error.",
    responds(
        lambda value: value.get("method") == "roots/list",
        lambda value: error(value["id"], METHOD_NOT_FOUND, "no"),
    ),
)
