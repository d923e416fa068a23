"""Mutants of clients for the page basic/versioning."""

from collections.abc import Iterable
from typing import Any

from conformance.mutants.client_fault import ClientFault, Value
from conformance.mutants.client_faults import deaf_to, exits, header, precedes, reports
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.messages import UNSUPPORTED_VERSION, request

table = Table("basic/versioning")


def refusal(value: Any) -> bool:
    """Whether the kit refuses a version."""
    return bool(value.get("error", {}).get("code") == -32022)


@table.client("same-version", "retries")
class _OldVersion(ClientFault):
    """Asks again with a version that is not spoken."""

    def said(self, value: Value) -> Iterable[Value | bytes]:
        if len(self.requests) < 2 or "params" not in value:
            return (value,)
        meta = {**value["params"].get("_meta", {}), META_PROTOCOL_VERSION: "2099-01-01"}
        return ({**value, "params": {**value["params"], "_meta": meta}},)


@table.client("tireless", "no-common-version")
class _Tireless(ClientFault):
    """Asks again and again."""

    _times = 0

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and refusal(value) and self._times < 5:
            self._times += 1
            self.invent(request(f"again-{self._times}", "server/discover", {}))
        return payload


table.client("gives-up", "retries").does(
    "Does not hear which versions are spoken.", deaf_to(refusal)
)
table.client("content", "no-common-version").does("Says that all went well.", exits(0))
table.client("forgets", "remembers").does(
    "Tries the newer era in every conversation.",
    precedes("initialize", lambda value: request("probe", "server/discover", {})),
)


AGAIN = "backward-compatibility-with-initialization-based-versions/client-probes-again"
OPENED_AGAIN = 2
"""The step that connects for the second time."""

table.client("sticks-to-it", AGAIN).does(
    "Gives up when what it remembers of a server is refused.",
    reports(OPENED_AGAIN, {"error": {"code": UNSUPPORTED_VERSION, "message": "refused"}}),
)
table.client("old-header", AGAIN).does(
    "Names the version that it remembers in what it sends by the newer era.",
    header(
        "mcp-protocol-version", lambda value: LATEST_LEGACY.name if value == LATEST.name else value
    ),
)
