"""Programs of npm and PyPI against ours: no red cell."""

from collections import defaultdict

import anyio
import pytest
from msgspec import structs

from conformance.real.judge import Judged, Verdict, play_rows
from conformance.real.kit import FOREIGN, Checks
from conformance.real.table import COLUMNS, Row, read_table
from mcpcore_conformance.run.registry import all_cases
from tests.shares import Some

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

TABLE = read_table()
JOBS = 4


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
    for cell in anyio.run(
        play_rows, TABLE, TABLE.rows, COLUMNS, checks, JOBS, lambda group, cells: None
    ):
        found[cell.row].append(cell)
    return found


@pytest.mark.parametrize("row", TABLE.rows, ids=str)
def test_no_cell_is_red(row: Row, outcomes: dict[Row, list[Judged]]) -> None:
    cells = outcomes[row]
    assert {cell.cell: cell.note for cell in cells if cell.verdict.red} == {}
    assert len(cells) >= 4
    if all(cell.verdict is Verdict.SKIPPED for cell in cells):
        pytest.skip(cells[0].note)
