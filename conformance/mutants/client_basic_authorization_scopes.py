"""Mutants of clients for the page basic/authorization/index: scopes."""

from conformance.mutants.client_sign_in_faults import Insists, Params, asks, having
from conformance.mutants.edits import drop
from conformance.mutants.model import Table

table = Table("basic/authorization/index")

SELECTION = "scope-selection-strategy"
STEP_UP = "step-up-authorization-flow"


def _forgets(params: Params) -> Params:
    more = "kit:write" in params.get("scope", "")
    return {**params, "scope": "kit:write"} if more else params


table.client(
    "greedy",
    f"{SELECTION}/client-challenged-scopes",
    f"{SELECTION}/client-no-scopes",
    "refresh-tokens/client-offline-where-listed",
).does(
    "Asks for more scopes than anybody has named.",
    asks(
        lambda params: {
            **params,
            "scope": f"{params.get('scope', '')} kit:admin offline_access".strip(),
        }
    ),
)
table.client(
    "listed-alone", f"{SELECTION}/client-challenge-decides", f"{STEP_UP}/client-asks-for-more"
).does("Asks for the same scopes always.", asks(having("scope", "kit:read")))
table.client("no-scope", f"{SELECTION}/client-supported-scopes").does(
    "Asks for no scopes.", asks(drop("scope"))
)
table.client("forgets", f"{STEP_UP}/client-keeps-scopes").does(
    "Asks for the scopes of the 403 alone.", asks(_forgets)
)
table.client("insists", f"{STEP_UP}/client-bounded").does(
    "Makes a call that is forbidden again and again.", Insists
)
