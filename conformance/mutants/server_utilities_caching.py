"""Mutants of the page server/utilities/caching."""

from functools import partial
from typing import Any

from conformance.mutants.edits import drop, put
from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import results_of
from conformance.mutants.model import Table

table = Table("server/utilities/caching")

LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


for number, method in enumerate(("server/discover", *LISTS, "resources/read")):
    slug = method.replace("/", "-")
    missing = ("ttlMs", "cacheScope")[number % 2]
    table.server(f"{slug}-without-hint", f"cacheable-results/{slug}").does(
        f"Leaves {missing} out of the results of {method}.", results_of(method, drop(missing))
    )
for slug, value in (("negative", -1), ("broken", 0.5), ("words", "1000")):
    table.server(f"{slug}-time", "time-to-live-ttl-field/not-negative").does(
        f"Says that the list of prompts is fresh for {value!r}.",
        results_of("prompts/list", put(ttlMs=value)),
    )
table.server("shared-scope", "cache-scope-field/known").does(
    "Gives a resource a scope that does not exist.",
    results_of("resources/read", put(cacheScope="shared")),
)


class _Pages(Fault):
    """Gives a list in two pages that have different scopes."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self._method, self._member = method, LISTS[method]
        self._rest: Any = None

    def message(self, value: Value) -> list[Value | bytes]:
        if self.method_of(value) != self._method or "result" not in value:
            return [value]
        result = value["result"]
        entries = result[self._member]
        if self._rest is None:
            self._rest = entries[1:]
            made = {**result, self._member: entries[:1], "nextCursor": "2", "cacheScope": "public"}
            return [{**value, "result": made}]
        made = {**result, self._member: self._rest, "cacheScope": "private"}
        return [{**value, "result": made}]

    def said(self, value: Any, payload: bytes) -> bytes | None:
        # the server does not know that cursor
        return payload.replace(b'"cursor":"2",', b"").replace(b'"cursor":"2"', b"")


for method in LISTS:
    table.server(
        f"{method.replace('/', '-')}-in-two-scopes", "interaction-with-pagination/same-scope"
    ).does(f"Gives the pages of {method} different scopes.", partial(_Pages, method))
table.server("fresh-question", "cacheable-results/not-of-interim-results").does(
    "Says how long a question is fresh.", results_of("tools/call", put(ttlMs=0))
)
