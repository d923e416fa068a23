"""Showing which cases there are."""

from collections.abc import Sequence
from typing import Any

from mcpcore.spec.revisions import REVISIONS
from mcpcore_conformance.kit.model import EVERY, Binding, Case
from mcpcore_transports.commands.output import print_json, print_table


def list_cases(cases: Sequence[Case], *, as_json: bool) -> int:
    """Print cases as a table, or as an array of objects."""
    if as_json:
        print_json([described(case) for case in cases])
        return 0
    named = sum(bool(case.fixtures) for case in cases)
    print_table(
        f"cases ({len(cases)}; {named} only with what a program for tests has)",
        ("id", "strength", "revisions", "bindings", "needs", "summary"),
        [
            (
                case.id,
                case.strength,
                _span(case),
                "every" if case.bindings == EVERY else " ".join(_bindings(case)),
                " ".join(case.needs),
                case.summary,
            )
            for case in cases
        ],
    )
    return 0


def described(case: Case) -> dict[str, Any]:
    """A case as an object of JSON."""
    return {
        "id": case.id,
        "clause": case.clause,
        "link": case.link,
        "strength": case.strength,
        "revisions": [each.name for each in REVISIONS if case.holds_in(each)],
        "side": case.side,
        "bindings": _bindings(case),
        "needs": [*case.needs],
        "summary": case.summary,
        "expects": case.expects,
    }


def _bindings(case: Case) -> list[Binding]:
    return [binding for binding in Binding if binding in case.bindings]


def _span(case: Case) -> str:
    first, last = case.revisions.first, case.revisions.last
    if first is REVISIONS[0] and last is REVISIONS[-1]:
        return "all"
    return first.name if first is last else f"{first.name} to {last.name}"
