"""Mutants of clients for the page server/tools."""

from conformance.mutants.client_fault import Value
from conformance.mutants.client_faults import gives_up, params_of, reports
from conformance.mutants.model import Table

table = Table("server/tools")
WRONG = {"city": "Oslo", "degrees": "warm"}


def _shortened(params: Value) -> Value:
    arguments = {name: each for name, each in params.get("arguments", {}).items() if each}
    return {**params, "arguments": arguments}


table.client(
    "trusts", "output-schema/client-validates", "output-schema/client-validates-references"
).does(
    "Takes every structured result.",
    reports(1, {"result": {"content": [], "structuredContent": WRONG}}),
)
table.client("loses-structure", "output-schema/client-takes-what-is-right").does(
    "Tells its caller nothing but the text.", reports(1, {"result": {"content": []}})
)
table.client("drops-empty", "calling-tools/client-exact-arguments").does(
    "Leaves out arguments that are empty or null.", params_of("tools/call", _shortened)
)
table.client("hides-tool-errors", "error-handling/client-tells-tool-errors").does(
    "Takes a tool that failed for one that did not.",
    reports(0, {"result": {"content": [{"type": "text", "text": "it broke"}]}}),
)
table.client("hides-errors", "error-handling/client-tells-protocol-errors").does(
    "Tells its caller of every error that it was internal.",
    reports(0, {"error": {"code": -32603, "message": "Internal error"}}),
)
table.client("known-content-only", "tool-result/client-unknown-content").does(
    "Fails for good at content that it does not know.",
    gives_up(lambda value, payload: b"hologram" in payload),
)
table.client("old-list", "list-changed-notification/client-survives").does(
    "Keeps the list that it has.",
    reports(3, {"result": [{"name": "add_numbers"}, {"name": "echo"}]}),
)
