"""Mutants of clients for the page server/utilities/pagination."""

from typing import Any

from conformance.mutants.client_faults import ClientFault, Value, params_of, repaired, reports
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import request

table = Table("server/utilities/pagination")
GUIDELINES = "implementation-guidelines"


def _first_page_only(value: Value) -> Value:
    found = {key: each for key, each in value["result"].items() if key != "nextCursor"}
    return {**value, "result": found}


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


@table.client("one-more", f"{GUIDELINES}/client-end")
class _OneMore(ClientFault):
    """Asks for a page more than there is."""

    def told(self, value: Any, payload: bytes) -> bytes | None:
        more = isinstance(value, dict) and value.get("id") == "more"
        if not more and isinstance(value, dict) and "tools" in value.get("result", {}):
            self.invent(request("more", "tools/list", {"cursor": "more"}))
        return payload


table.client("trims", f"{GUIDELINES}/client-opaque").does(
    "Trims cursors.",
    params_of(
        "tools/list",
        lambda params: (
            {**params, "cursor": params["cursor"].strip()} if "cursor" in params else params
        ),
    ),
)
table.client("first-page", "pagination-model/client-page-size").does(
    "Reads one page.",
    repaired(lambda value: "nextCursor" in value.get("result", {}), _first_page_only),
)
table.client("empty-is-the-end", f"{GUIDELINES}/client-empty-cursor").does(
    "Takes an empty cursor for the end.",
    repaired(lambda value: value.get("result", {}).get("nextCursor") == "", _first_page_only),
)


table.client("overlooks", "error-handling/client-refused-cursor").does(
    "Takes a page that is refused for the end.", reports(0, {"result": [{"name": "one"}]})
)
