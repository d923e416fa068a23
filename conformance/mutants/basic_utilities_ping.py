"""Mutants of the page basic/utilities/ping."""

from conformance.mutants.edits import put
from conformance.mutants.faults import asks, declines, own_messages, results_of, since
from conformance.mutants.model import Table

table = Table("basic/utilities/ping")


table.server("few-pings", "many").does(
    "Answers no more than twenty pings.",
    since(asks("ping"), declines(asks("ping"), -32603), number=21),
)
table.server("pings-in-vain", "server-pings").does(
    "Wants more than an empty result.", results_of("tools/call", put(isError=True))
)
table.server("pongs", "empty").does("Answers with a word.", results_of("ping", put(message="pong")))
table.server("wants-no-params", "with-params").does(
    "Takes no ping with params.", declines(asks("ping", lambda params: bool(params)), -32602)
)
table.server("one-at-a-time", "while-busy", "while-asking").does(
    "Answers no ping while a call runs.", since(asks("tools/call"), declines(asks("ping"), -32603))
)
table.server("pings-with-params", "server-pings").does(
    "Sends params with its pings.", own_messages("ping", put(params={"sequence": 1}))
)
