"""Mutants of the page server/discover."""

from typing import Any

from conformance.mutants.edits import drop, put
from conformance.mutants.faults import Fault, Value, asks, declines, results_of
from conformance.mutants.lists import silent_capability
from conformance.mutants.model import Table
from mcpcore_conformance.kit.messages import error

table = Table("server/discover")

DISCOVER = "server/discover"


def _with(**members: Any) -> Any:
    return results_of(DISCOVER, put(**members))


def _without(name: str) -> Any:
    return results_of(DISCOVER, drop(name))


@table.server("not-at-first", "response/first-message")
class _AnotherFirst(Fault):
    """Does not answer it as the first message."""

    _first = True

    def said(self, value: Any, payload: bytes) -> bytes | None:
        first, self._first = self._first, False
        if not first or not asks(DISCOVER)(value):
            return payload
        self.answer(error(value["id"], -32600, "initialize first"))
        return None


@table.server("changes", "response/repeatable")
class _Changing(Fault):
    """Declares something else each time."""

    _times = 0

    def message(self, value: Value) -> tuple[Value]:
        if self.method_of(value) != DISCOVER:
            return (value,)
        self._times += 1
        capabilities = {
            **value["result"]["capabilities"],
            "experimental": {"n": {"t": self._times}},
        }
        return ({**value, "result": {**value["result"], "capabilities": capabilities}},)


table.server("not-implemented", "response/answered").does(
    "Does not implement server/discover.", declines(asks(DISCOVER), -32601)
)
table.server("no-versions", "response/answered").does(
    "Supports no version at all.", _with(supportedVersions=[])
)
table.server("no-capabilities", "response/answered").does(
    "Leaves out its capabilities.", _without("capabilities")
)

table.server("not-this-version", "discoverresult/own-version").does(
    "Does not list the version that it speaks.", _with(supportedVersions=["2025-11-25"])
)
table.server("versions-twice", "discoverresult/versions-once").does(
    "Lists a version twice.", _with(supportedVersions=["2026-07-28", "2026-07-28"])
)
table.server("nameless", "discoverresult/server-info").does(
    "Does not say who it is.", _without("_meta")
)
table.server("promises", "response/capabilities-served").does(
    "Declares prompts and does not know prompts/list.", declines(asks("prompts/list"), -32601)
)
table.server("keeps-quiet", "response/capabilities-complete").does(
    "Has prompts and does not declare them.", silent_capability("prompts")
)
table.server("negative-time", "response/cache-hints").does(
    "May be kept for less than no time.", _with(ttlMs=-1)
)
table.server("own-scope", "response/cache-hints").does(
    "May be kept by somebody that nobody knows.", _with(cacheScope="shared")
)

table.server("wants-known-params", "request/more-params").does(
    "Refuses parameters that it does not know.",
    declines(
        lambda value: asks(DISCOVER)(value) and set(value.get("params", {})) != {"_meta"}, -32602
    ),
)
