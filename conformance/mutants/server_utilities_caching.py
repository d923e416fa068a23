"""Mutants of the page server/utilities/caching."""

from collections.abc import Callable
from typing import Any

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


def _without(name: str) -> Callable[[Value], Value]:
    return lambda result: {key: each for key, each in result.items() if key != name}


for number, method in enumerate(("server/discover", *LISTS, "resources/read")):
    slug = method.replace("/", "-")
    missing = ("ttlMs", "cacheScope")[number % 2]
    table.add(
        f"{slug}-without-hint",
        f"cacheable-results/{slug}",
        f"Leaves {missing} out of the results of {method}.",
        results_of(method, _without(missing)),
    )
for slug, value in (("negative", -1), ("broken", 0.5), ("words", "1000")):
    table.add(
        f"{slug}-time",
        "time-to-live-ttl-field/not-negative",
        f"Says that the list of prompts is fresh for {value!r}.",
        results_of("prompts/list", lambda result, value=value: {**result, "ttlMs": value}),  # type: ignore[misc]
    )
table.add(
    "shared-scope",
    "cache-scope-field/known",
    "Gives a resource a scope that does not exist.",
    results_of("resources/read", lambda result: {**result, "cacheScope": "shared"}),
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
    table.add(
        f"{method.replace('/', '-')}-in-two-scopes",
        "interaction-with-pagination/same-scope",
        f"Gives the pages of {method} different scopes.",
        lambda method=method: _Pages(method),  # type: ignore[misc]
    )
table.add(
    "fresh-question",
    "cacheable-results/not-of-interim-results",
    "Says how long a question is fresh.",
    results_of("tools/call", lambda result: {**result, "ttlMs": 0}),
)
