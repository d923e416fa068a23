"""The whole table: its cells, and trying one of them."""

from typing import Any

from tests.websocket_table import (
    openings,
    part1_frames,
    part5_fragments,
    part6_utf8,
    part7_closing,
    part9_limits,
    part12_deflate,
    part12_wrong,
    part13_agreeing,
    part20_opening,
)
from tests.websocket_table.course import attempt
from tests.websocket_table.openings import OPENINGS, Opening
from tests.websocket_table.rows import FAILED, ROWS, Grade, Row, Side

PARTS = (
    part1_frames,
    part5_fragments,
    part6_utf8,
    part7_closing,
    part9_limits,
    part12_deflate,
    part12_wrong,
    part13_agreeing,
    part20_opening,
)
"""They fill the table when they are imported."""

CHAPTERS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Reserved opcodes",
    "5": "Fragments",
    "6": "UTF-8",
    "7": "Closing",
    "9": "Limits and lengths",
    "10": "Masks",
    "12": "Compressed messages",
    "13": "Agreeing to compress",
    "20": "Opening: requests",
    "21": "Opening: responses",
    "22": "Opening: requests on a shared port",
}
BACKENDS = ("asyncio", "trio")


def table() -> list[Row | Opening]:
    """Every row, in the order of the ids."""
    rows: list[Any] = [*ROWS, *OPENINGS]
    return sorted(rows, key=lambda row: [int(part) for part in row.id.split(".")])


async def grade_of(row: Row | Opening, side: Side) -> Grade:
    """Try a row against one side; an error of ours is the worst that can happen."""
    try:
        if isinstance(row, Opening):
            return await openings.attempt(row)
        return await attempt(row, side)
    except Exception as error:
        return Grade(FAILED, FAILED, f"an error: {error!r}")
