"""Mutants of the page server/discover."""

from itertools import count
from typing import Any

from conformance.mutants.edits import drop, over, put
from conformance.mutants.faults import asks, before, declines, results_of
from conformance.mutants.lists import silent_capability
from conformance.mutants.model import Table

table = Table("server/discover")

DISCOVER = "server/discover"
_times = count()


def _with(**members: Any) -> Any:
    return results_of(DISCOVER, put(**members))


def _without(name: str) -> Any:
    return results_of(DISCOVER, drop(name))


table.server("not-at-first", "first-message").does(
    "Does not answer it as the first message.",
    before(lambda _value: True, declines(asks(DISCOVER)), number=2),
)
table.server("changes", "repeatable").does(
    "Declares something else each time.",
    results_of(
        DISCOVER,
        over("capabilities", lambda found: {**found, "experimental": {"n": {"t": next(_times)}}}),
    ),
)
table.server("not-implemented", "answered").does(
    "Does not implement server/discover.", declines(asks(DISCOVER), -32601)
)
table.server("no-versions", "answered").does(
    "Supports no version at all.", _with(supportedVersions=[])
)
table.server("no-capabilities", "answered").does(
    "Leaves out its capabilities.", _without("capabilities")
)
table.server("not-this-version", "own-version").does(
    "Does not list the version that it speaks.", _with(supportedVersions=["2025-11-25"])
)
table.server("versions-twice", "versions-once").does(
    "Lists a version twice.", _with(supportedVersions=["2026-07-28", "2026-07-28"])
)
table.server("nameless", "server-info").does("Does not say who it is.", _without("_meta"))
table.server("promises", "capabilities-served").does(
    "Declares prompts and does not know prompts/list.", declines(asks("prompts/list"), -32601)
)
table.server("keeps-quiet", "capabilities-complete").does(
    "Has prompts and does not declare them.", silent_capability("prompts")
)
table.server("negative-time", "cache-hints").does(
    "May be kept for less than no time.", _with(ttlMs=-1)
)
table.server("own-scope", "cache-hints").does(
    "May be kept by somebody that nobody knows.", _with(cacheScope="shared")
)
table.server("wants-known-params", "more-params").does(
    "Refuses parameters that it does not know.",
    declines(asks(DISCOVER, lambda params: {*params} != {"_meta"}), -32602),
)
