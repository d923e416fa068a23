"""Mutants of the page server/discover."""

from typing import Any

from conformance.mutants.faults import (
    Fault,
    Value,
    asks,
    declines,
    results_of,
)
from conformance.mutants.lists import silent_capability
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error

table = Table("server/discover")

DISCOVER = "server/discover"


def _with(**members: Any) -> Any:
    return results_of(DISCOVER, lambda found: {**found, **members})


def _without(name: str) -> Any:
    return results_of(
        DISCOVER, lambda found: {key: value for key, value in found.items() if key != name}
    )


class _AnotherFirst(Fault):
    """Wants something else to come first."""

    def __init__(self) -> None:
        super().__init__()
        self._first = True

    def said(self, value: Any, payload: bytes) -> bytes | None:
        first, self._first = self._first, False
        if not first or not asks(DISCOVER)(value):
            return payload
        self.answer(error(value["id"], -32600, "initialize first"))
        return None


class _Changing(Fault):
    """Declares something else each time."""

    def __init__(self) -> None:
        super().__init__()
        self._times = 0

    def message(self, value: Value) -> tuple[Value]:
        if self.method_of(value) != DISCOVER:
            return (value,)
        self._times += 1
        capabilities = {
            **value["result"]["capabilities"],
            "experimental": {"n": {"t": self._times}},
        }
        return ({**value, "result": {**value["result"], "capabilities": capabilities}},)


table.add(
    "not-implemented",
    "response/answered",
    "Does not implement server/discover.",
    declines(asks(DISCOVER), -32601),
)
table.add(
    "no-versions",
    "response/answered",
    "Supports no version at all.",
    _with(supportedVersions=[]),
)
table.add(
    "no-capabilities",
    "response/answered",
    "Leaves out its capabilities.",
    _without("capabilities"),
)
table.add(
    "not-at-first",
    "response/first-message",
    "Does not answer it as the first message.",
    _AnotherFirst,
)
table.add(
    "not-this-version",
    "discoverresult/own-version",
    "Does not list the version that it speaks.",
    _with(supportedVersions=["2025-11-25"]),
)
table.add(
    "versions-twice",
    "discoverresult/versions-once",
    "Lists a version twice.",
    _with(supportedVersions=["2026-07-28", "2026-07-28"]),
)
table.add(
    "nameless",
    "discoverresult/server-info",
    "Does not say who it is.",
    _without("_meta"),
)
table.add(
    "promises",
    "response/capabilities-served",
    "Declares prompts and does not know prompts/list.",
    declines(asks("prompts/list"), -32601),
)
table.add(
    "keeps-quiet",
    "response/capabilities-complete",
    "Has prompts and does not declare them.",
    silent_capability("prompts"),
)
table.add(
    "negative-time",
    "response/cache-hints",
    "May be kept for less than no time.",
    _with(ttlMs=-1),
)
table.add(
    "own-scope",
    "response/cache-hints",
    "May be kept by somebody that nobody knows.",
    _with(cacheScope="shared"),
)
table.add(
    "changes",
    "response/repeatable",
    "Declares something else each time.",
    _Changing,
)
table.add(
    "wants-known-params",
    "request/more-params",
    "Refuses parameters that it does not know.",
    declines(
        lambda value: asks(DISCOVER)(value) and set(value.get("params", {})) != {"_meta"}, -32602
    ),
)

__all__ = ["table"]
