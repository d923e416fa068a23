"""Programs of npm and PyPI against ours: no red cell."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from itertools import cycle, islice

import anyio
import pytest
from msgspec import structs

from conformance.real.judge import Judged, Verdict, play_rows
from conformance.real.kit import FOREIGN, Checks
from conformance.real.table import COLUMNS, COMMANDS, KIT, Row, read_table
from mcpcore_conformance.run.registry import all_cases
from tests.shares import Some

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

TABLE = read_table()
JOBS = 4


def cells_of(rows: Iterable[Row], some: Some) -> dict[Row, set[str]]:
    """All but those of the kit; of our three commands some, in turns, where a run has not all."""
    kept = some.of(len(COMMANDS))
    return {
        row: {*COLUMNS} - {KIT} - {*islice(cycle(COMMANDS), turn, turn + len(COMMANDS) - kept)}
        for turn, row in enumerate(rows)
    }


@pytest.fixture(scope="module")
def outcomes(some: Some) -> dict[Row, list[Judged]]:
    """All rows, played once; of the kit a share of its cases, ``make real`` plays them all."""
    cases = some([case for case in all_cases() if case.page != FOREIGN], lambda case: case.id)
    played = {case.id for case in cases}
    checked = [
        structs.replace(each, cases=ids)
        for each in TABLE.checked
        if (ids := tuple(id for id in each.cases if id in played or "*" in id))
    ]
    checks = Checks(cases, checked, TABLE.packages)
    found: dict[Row, list[Judged]] = defaultdict(list)
    wanted = {row: {*cells, KIT} for row, cells in cells_of(TABLE.rows, some).items()}
    for cell in anyio.run(play_rows, TABLE, wanted, checks, JOBS, lambda group, cells: None):
        found[cell.row].append(cell)
    return found


def test_through_a_gateway(some: Some) -> None:
    """The TypeScript SDK, fastmcp and SDK 1.x, before a gateway and behind it."""
    names = ("server-everything", "fastmcp", "fastmcp proxy", "inspector", "langchain-mcp-adapters")
    rows = [row for row in TABLE.rows if row.program.name in names]
    if some.share > 1:  # each program still is there, and each transport
        rows = rows[::2]
    play = partial(play_rows, TABLE, cells_of(rows, some), gateway=True)
    found = anyio.run(play, Checks([], (), TABLE.packages), JOBS, lambda group, cells: None)
    assert {f"{each.row}: {each.cell}": each.note for each in found if each.verdict.red} == {}
    if all(each.verdict is Verdict.SKIPPED for each in found):
        pytest.skip(found[0].note)


@pytest.mark.parametrize("row", TABLE.rows, ids=str)
def test_no_cell_is_red(row: Row, outcomes: dict[Row, list[Judged]]) -> None:
    cells = outcomes[row]
    assert {cell.cell: cell.note for cell in cells if cell.verdict.red} == {}
    assert len(cells) >= 4
    if all(cell.verdict is Verdict.SKIPPED for cell in cells):
        pytest.skip(cells[0].note)
