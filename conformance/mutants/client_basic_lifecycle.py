"""Mutants of clients for the page basic/lifecycle."""

from conformance.mutants.client_faults import (
    adds,
    answers,
    never_says,
    params_of,
    precedes,
    repaired,
    reports,
    says,
    signals,
)
from conformance.mutants.edits import drop, put
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import encode

table = Table("basic/lifecycle")


table.client("anonymous", "identifies-itself").does(
    "initialize has no clientInfo.", params_of("initialize", drop("clientInfo"))
)
table.client("tools-first", "sends-initialized").does(
    "Lists the tools before it says that it is ready.",
    precedes(
        "notifications/initialized",
        lambda value: {"jsonrpc": "2.0", "id": "early", "method": "prompts/list"},
    ),
)
table.client("never-ready", "sends-initialized").does(
    "Never says that it is ready.", never_says("notifications/initialized")
)
table.client("impatient", "waits").does(
    "Sends another request while initialize is under way.",
    adds("initialize", lambda value: {"jsonrpc": "2.0", "id": "early", "method": "tools/list"}),
)
table.client("batched-initialize", "initialize-not-batched").does(
    "Sends initialize as a batch of one.", says("initialize", lambda value: encode([value]))
)
table.client("invented-version", "offers-known-version").does(
    "Asks for a version that nobody has published.",
    params_of("initialize", put(protocolVersion="DRAFT-2025")),
)
table.client("any-version", "disconnects").does(
    "Goes on whatever version it is answered with.",
    repaired(
        lambda value: value.get("result", {}).get("protocolVersion") == "1999-12-31",
        lambda value: {**value, "result": {**value["result"], "protocolVersion": "2025-06-18"}},
    ),
)
table.client("asks-anyway", "keeps-to-capabilities", "keeps-to-capabilities-early").does(
    "Lists prompts although the server declared none.",
    adds("tools/list", put(id="more", method="prompts/list")),
)
table.client("obliging", "refuses-undeclared").does(
    "Answers what it did not declare.",
    answers(
        "roots/list", lambda value: {"jsonrpc": "2.0", "id": value["id"], "result": {"roots": []}}
    ),
)
table.client("goes-on", "initialize-refused").does(
    "Says that it is ready after its initialize was refused.",
    adds("initialize", lambda value: {"jsonrpc": "2.0", "method": "notifications/initialized"}),
)
table.client("patient-for-ever", "initialize-times-out").does(
    "Reports that it is connected though initialize was never answered.",
    reports(-1, {"result": {}}),
)
table.client("terminates", "closes-input").does("Sends SIGTERM at once.", signals("SIGTERM"))
table.client("kills", "uses-signals").does("Kills the server without closing its input.", signals())
