"""Rows played side by side, and what to think of each cell."""

import os
import re
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from msgspec import Struct

from conformance.real.cells import OK, UNAVAILABLE
from conformance.real.groups import NOT_REACHED, Group, Outcome, groups_of
from conformance.real.kit import Checks
from conformance.real.processes import NotStarted, sweep
from conformance.real.scene import Hub, hub_of, why_not
from conformance.real.table import KIT, Row, Table


class Verdict(Enum):
    """What to think of a cell."""

    OK = "ok"
    RED = "FAIL"
    STALE = "FAIL (listed as known)"
    FAULT = "fault"
    NONE = "n/a"
    SKIPPED = "skip"

    @property
    def red(self) -> bool:
        """Whether it fails the run."""
        return self in (Verdict.RED, Verdict.STALE)


class Judged(Struct, frozen=True):
    """One cell."""

    row: Row
    cell: str
    verdict: Verdict
    note: str = ""
    """The reason, or what went wrong."""


_RUNS = count()
Tell = Callable[[Group, list[Judged]], object]


def judge(row: Row, outcome: Outcome, table: Table, *, gateway: bool = False) -> Judged:
    """Say what to think of an outcome."""
    cell = outcome.cell
    known = table.find(row, cell, gateway=gateway)
    if outcome.outcome == NOT_REACHED:
        return Judged(row, cell, Verdict.NONE, NOT_REACHED)
    if outcome.outcome == OK:
        if known is None:
            return Judged(row, cell, Verdict.OK)
        return Judged(row, cell, Verdict.STALE, f"it works, so it is not: {known.reason}")
    if known is not None and re.search(known.seen, outcome.detail):
        if not known.clause:
            return Judged(row, cell, Verdict.NONE, known.reason)
        return Judged(row, cell, Verdict.FAULT, f"{known.reason} ({known.clause})")
    if known is None and outcome.outcome == UNAVAILABLE:
        return Judged(row, cell, Verdict.NONE, outcome.detail)
    return Judged(row, cell, Verdict.RED, outcome.detail)


async def play_rows(
    table: Table,
    cells: Mapping[Row, Collection[str]],
    checks: Checks,
    jobs: int,
    tell: Tell,
    *,
    gateway: bool = False,
) -> list[Judged]:
    """Play cells of rows, so many groups at a time; the long ones, those of the kit, begin first.

    With ``gateway``, ours stands before each server, and before our own.
    Groups with a red cell are played once more, one at a time: that a machine was too busy for a
    program to be in time is no finding.  May be cancelled: nothing that was started is left.
    """
    mark = f"{os.getpid()}/{next(_RUNS)}/"
    found: list[Judged] = []
    again: list[Group] = []

    async def play(group: Group, hub: Hub, limit: anyio.CapacityLimiter, *, last: bool) -> None:
        async with limit:
            try:
                outcomes = await group.play(hub)
            except NotStarted as error:
                outcomes = [Outcome(group.cells[0], "failed", str(error))]
                outcomes += [Outcome(cell, NOT_REACHED) for cell in group.cells[1:]]
            judged = [judge(group.row, each, table, gateway=gateway) for each in outcomes]
            if not last and any(each.verdict.red for each in judged):
                again.append(group)
            else:
                found.extend(judged)
                tell(group, judged)

    groups: list[Group] = []
    for row, wanted in cells.items():
        chosen = [each for each in groups_of(row, table, checks) if {*each.cells} & {*wanted}]
        if reason := why_not(row, table):
            for group in chosen:
                skipped = [Judged(row, cell, Verdict.SKIPPED, reason) for cell in group.cells]
                found.extend(skipped)
                tell(group, skipped)
        else:
            groups += chosen
    if not groups:
        return found
    groups.sort(key=lambda group: KIT not in group.cells)
    try:
        with TemporaryDirectory(prefix="mcp-real-") as folder:
            async with hub_of(mark, Path(folder), gateway=gateway) as hub:
                for these, beside in ((groups, jobs), (again, 1)):
                    limit = anyio.CapacityLimiter(beside)
                    async with anyio.create_task_group() as tasks:
                        for group in these:
                            tasks.start_soon(partial(play, group, hub, limit, last=these is again))
    finally:
        sweep(mark)
    return found
