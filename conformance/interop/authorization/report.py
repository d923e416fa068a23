"""The report: one row for each meeting and era, and how a refusal is told."""

from collections.abc import Mapping

from conformance.interop.authorization.steps import ADMIN, READ, STEPS, WRITE
from conformance.interop.authorization.table import MEETINGS, SDK, Meeting
from conformance.interop.drivers.features import Cell
from conformance.interop.report import table

FASTMCP_VERSION = "4.1.2"
Cells = Mapping[tuple[Meeting, str], Cell]

INTRODUCTION = f"""\
# Interoperation of authorization

Our client at protected servers written with the official Python SDK (`mcp` {SDK.version}) and with
fastmcp {FASTMCP_VERSION}, their clients at ours, and tokens of two authorization servers: the
development server of `mcpcore_conformance.auth`, and one that is built with the SDK's own routes
and provider on Starlette. Nobody needs a browser: the person is one GET of the authorization
endpoint.

`make interop` has all meetings and fails if a step does. This page is written by
`.venv/bin/python -m conformance.interop.authorization --write
conformance/interop/authorization/report.md`.

* **sign in**: a request is refused with 401; the client finds the authorization server, registers,
  has the person asked exactly once, and the request is carried out.
* **tools/call**: a tool that says whose token it is.
* **step up**: a tool that needs `{WRITE}` beside `{READ}`: 403, the person is asked once more, the
  call is carried out. Servers of the SDK and of fastmcp demand scopes of all requests alike.
* **refresh**: the next request has another token, and nobody was asked. Our client refreshes when
  the server refuses its token, those of the SDK and of fastmcp when its lifetime is over.
* **refused**: `{ADMIN}` is granted to nobody: a tool of ours that needs it, or a server that
  demands it of every request, stays shut, and the person is asked three times at most to have it
  opened."""

NOTES = """\
## What was found

* The development server refuses a scope that it does not grant (`invalid_scope`). The SDK's grants
  what it may, so that the server refuses the new token as well: ours gives up after two
  authorizations, the SDK's client after one.
* A server of fastmcp that demands a scope answers 401 to a token without it.
* An issuer that is given to fastmcp as `AnyHttpUrl("https://id.example")` gets a slash: the
  metadata of the server name another issuer (RFC 8414 section 3.3), and the client of the SDK 2.x
  does not sign in. Ours does, and given as text the name stays as it is.
* The SDK's token endpoint wants `client_id` in the form beside HTTP Basic, and its authorization
  endpoint compares redirect URIs with their ports: our client does both its way.
* A sign-in that fails ends the connections of the clients of the SDK and of fastmcp."""


def markdown(cells: Cells) -> str:
    """Write the whole page."""
    return f"{INTRODUCTION}\n\n{table_of(cells)}\n\n{NOTES}\n"


def table_of(cells: Cells) -> str:
    """Lay out the meetings that were had."""
    had = {meeting for meeting, _ in cells}
    rows = [
        (
            meeting.client,
            meeting.server,
            meeting.issuer,
            meeting.revision,
            *(_shown(cells.get((meeting, step))) for step in STEPS),
        )
        for meeting in MEETINGS
        if meeting in had
    ]
    return table(("Client", "Server", "Authorization server", "Revision", *STEPS), rows)


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "n/a"
    return "ok" if cell.outcome == "ok" else "FAIL"
