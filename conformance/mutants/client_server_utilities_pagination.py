"""Mutants of clients for the page server/utilities/pagination."""

from typing import Any

from conformance.mutants.client_fault import ClientFault
from conformance.mutants.client_faults import params_of, repaired, reports, responds
from conformance.mutants.edits import drop, over, to
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import request

table = Table("server/utilities/pagination")
GUIDELINES = "implementation-guidelines"


@table.client("loops", f"{GUIDELINES}/client-loop")
class _Loops(ClientFault):
    """Follows cursors for ever."""

    _times = 0

    def told(self, value: Any, payload: bytes) -> bytes | None:
        if isinstance(value, dict) and "nextCursor" in value.get("result", {}):
            self._times += 1
            if self._times < 2500:
                self.invent(request(f"loop-{self._times}", "tools/list", {"cursor": "again"}))
        return payload


table.client("one-more", f"{GUIDELINES}/client-end").does(
    "Asks for a page more than there is.",
    responds(
        lambda value: value.get("id") != "more" and "tools" in value.get("result", {}),
        to(request("more", "tools/list", {"cursor": "more"})),
    ),
)
table.client("trims", f"{GUIDELINES}/client-opaque").does(
    "Trims cursors.", params_of("tools/list", over("cursor", str.strip))
)
table.client("first-page", "pagination-model/client-page-size").does(
    "Reads one page.",
    repaired(
        lambda value: "nextCursor" in value.get("result", {}), over("result", drop("nextCursor"))
    ),
)
table.client("empty-is-the-end", f"{GUIDELINES}/client-empty-cursor").does(
    "Takes an empty cursor for the end.",
    repaired(
        lambda value: value.get("result", {}).get("nextCursor") == "",
        over("result", drop("nextCursor")),
    ),
)
table.client("overlooks", "error-handling/client-refused-cursor").does(
    "Takes a page that is refused for the end.", reports(0, {"result": [{"name": "one"}]})
)
