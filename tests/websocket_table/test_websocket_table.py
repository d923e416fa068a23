"""Every row of the table against our server and our client, on both event loops."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.clock import PATIENCE, patience
from tests.shares import Some
from tests.websocket_table.course import attempt
from tests.websocket_table.openings import Opening
from tests.websocket_table.part7_closing import every_code
from tests.websocket_table.rows import OK, SIDES, Row, Side
from tests.websocket_table.table import BACKENDS, CHAPTERS, grade_of, table


def _cells() -> Iterator[Any]:
    """Every cell; each row is tried once first, on either side and event loop in turn."""
    for number, row in enumerate(table()):
        cells = list(product(row.sides, BACKENDS))
        for place, (side, backend) in enumerate(cells):
            chosen = place == number % len(cells)
            again = [pytest.mark.long, *([] if chosen else [pytest.mark.repeats])]
            marks = [] if chosen and not row.long else again
            yield pytest.param(row, side, backend, id=f"{row.id}-{side}-{backend}", marks=marks)


@pytest.mark.anyio
@pytest.mark.parametrize(("row", "side", "anyio_backend"), list(_cells()))
async def test_row(row: Row | Opening, side: Side) -> None:
    with patience(4 * PATIENCE):
        found = await grade_of(row, side)
    assert (found.behaviour, found.close) == (OK, OK), f"{row.title}: {found.told}"


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("side", "anyio_backend"), [("server", "asyncio"), ("client", "trio")], ids=str
)
async def test_every_code(side: Side, some: Some) -> None:
    wrong = []
    for row in some(every_code(), lambda row: row.id):
        found = await attempt(row, side)
        if (found.behaviour, found.close) != (OK, OK):
            wrong.append((row.title, found.told))
    assert not wrong


def test_every_row_has_an_id_of_its_own() -> None:
    rows = table()
    assert len({row.id for row in rows}) == len(rows) >= 100
    assert {row.id.partition(".")[0] for row in rows} == CHAPTERS.keys()


def test_both_sides_are_tried() -> None:
    for side in SIDES:
        assert sum(side in row.sides for row in table()) >= 100


def test_what_is_lenient_says_why() -> None:
    for row in table():
        if isinstance(row, Row) and row.lenient:
            assert len(row.why) > 20, row.id
