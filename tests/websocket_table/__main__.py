"""The table as a table: ``python -m tests.websocket_table [--side ...] [--backend ...] [id ...]``.

Prints a line for each row, with the grades of behaviour and close at server and client, and what
happened where one of them is not OK.  Exits with 1 if any has failed.
"""

import argparse
import logging
import sys
from collections import Counter

import anyio

from tests.websocket_table.rows import FAILED, OK, SIDES, Grade
from tests.websocket_table.table import BACKENDS, CHAPTERS, grade_of, table

_SHORT = {"OK": "ok", "NON-STRICT": "non-strict", "FAILED": "FAILED"}


def main() -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.websocket_table", description=__doc__)
    parser.add_argument("ids", nargs="*", help="ids, or beginnings of them such as 6.4; else all")
    parser.add_argument("--side", choices=SIDES, help="only our server or only our client")
    parser.add_argument("--backend", choices=BACKENDS, default="asyncio", help="the event loop")
    options = parser.parse_args()
    logging.disable()
    sides = [options.side] if options.side else list(SIDES)
    counts: Counter[tuple[str, str, str]] = Counter()
    chapter = ""
    for row in table():
        if options.ids and not any(f"{row.id}.".startswith(f"{each}.") for each in options.ids):
            continue
        if (number := row.id.partition(".")[0]) != chapter:
            chapter = number
            print(f"\n{chapter} {CHAPTERS[chapter]}\n")
        grades: dict[str, Grade] = {}
        for side in sides:
            if side in row.sides:
                grades[side] = anyio.run(grade_of, row, side, backend=options.backend)
                counts[side, "behaviour", grades[side].behaviour] += 1
                counts[side, "close", grades[side].close] += 1
        if not grades:
            continue
        cells = [_cell(grades.get(side)) for side in sides]
        print(f"{row.id:8} {''.join(f'{cell:24}' for cell in cells)}{row.title}", flush=True)
        for side, grade in grades.items():
            if (grade.behaviour, grade.close) != (OK, OK):
                print(f"{'':9}{side}: {grade.told}")
    print(f"\n{'':8} {''.join(f'{side:24}' for side in sides)}(behaviour, close)")
    for verdict, word in _SHORT.items():
        cells = [
            f"{counts[s, 'behaviour', verdict]:6} {counts[s, 'close', verdict]:6}" for s in sides
        ]
        print(f"{word:10}{''.join(f'{cell:24}' for cell in cells)}")
    return any(count and key[2] == FAILED for key, count in counts.items())


def _cell(grade: Grade | None) -> str:
    return "-" if grade is None else f"{_SHORT[grade.behaviour]} {_SHORT[grade.close]}"


if __name__ == "__main__":
    sys.exit(main())
