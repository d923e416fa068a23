"""Mutants of clients for the page basic/patterns/progress."""

from typing import Any

from conformance.mutants.client_fault import Value
from conformance.mutants.client_faults import params_of, reports
from conformance.mutants.model import Table

table = Table("basic/patterns/progress")


def _token(token: Any) -> Any:
    def change(params: Value) -> Value:
        return {**params, "_meta": {**params.get("_meta", {}), "progressToken": token}}

    return params_of("tools/call", change)


table.client("float-token", "progress-flow/client-token-type").does(
    "Gives a number for a token.", _token(1.5)
)
table.client("same-token", "progress-flow/client-token-unique").does(
    "Has one token for everything.", _token("t")
)
table.client("hears-all", "implementation-notes/client-tracks-tokens").does(
    "Tells its caller of everybody's progress.",
    reports(0, {"result": {}, "progress": [{"progress": each} for each in (1, 5, 6, 2)]}),
)
table.client("hears-late", "implementation-notes/client-late-progress").does(
    "Tells the next caller of what came late.",
    reports(1, {"result": {}, "progress": [{"progress": 9}]}),
)
