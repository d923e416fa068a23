"""What is tried of a row, in groups: by our client, our command, the kit, a client of others.

Each group starts what it needs anew, and tells the outcomes of its cells.
"""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from conformance.real.cells import CELLS, FAILED, NEEDS, OK, UNAVAILABLE
from conformance.real.kit import Checks, play
from conformance.real.processes import Done, NotStarted, left, run, traceable
from conformance.real.scene import Hub, offer_of, scene, started, target_of
from conformance.real.table import (
    CALL,
    COMMANDS,
    ENDS,
    KIT,
    LIST,
    PROBE,
    SERVED,
    ClientProgram,
    Row,
    ServerProgram,
    Table,
)

LIMIT = 300.0
"""Seconds that a client may take for all its cells, and a command for one."""
NOT_REACHED = "not reached"
OUR_CLIENT = (sys.executable, "-m", "conformance.real.our_client")
OUR_COMMAND = (sys.executable, "-m", "mcpcore_transports.commands.main")
DETAIL = 300


class Outcome(Struct, frozen=True):
    """What came of a cell: ``ok``, ``failed``, ``unavailable`` or ``not reached``."""

    cell: str
    outcome: str
    detail: str = ""


class Group(Struct, frozen=True):
    """Some cells of a row, and how they are tried."""

    row: Row
    name: str
    cells: tuple[str, ...]
    play: Callable[[Hub], Awaitable[list[Outcome]]]

    def __str__(self) -> str:
        return f"{self.row}: {self.name}"


def groups_of(row: Row, table: Table, checks: Checks) -> list[Group]:
    """The groups of a row; the first takes longest."""
    program = row.program
    if isinstance(program, ServerProgram):
        cells = tuple(each for each in SERVED if _applies(each, row, table))
        calls = tuple(each for each in cells if each in CELLS)
        found = [
            Group(row, "our client", (*calls, ENDS), partial(_our_client, row, table, calls)),
            *(
                Group(row, f"our {each}", (each,), partial(_our_command, row, table, each))
                for each in COMMANDS
                if each in cells
            ),
        ]
        if row.has_kit and KIT in cells:
            found.insert(0, Group(row, "the kit", (KIT,), partial(_kit, row, table, checks)))
        return found
    if program.runs:
        cells = tuple(each.cell for each in program.runs)
        return [Group(row, "its runs", (*cells, ENDS), partial(_runs, row, table))]
    cells = tuple(each for each in program.cells if _applies(each, row, table))
    return [Group(row, "its client", (*cells, ENDS), partial(_their_client, row, table, cells))]


def _applies(cell: str, row: Row, table: Table) -> bool:
    """Whether the server has what a cell is about."""
    needed = "calls" if cell == CALL else NEEDS.get(cell)
    has = needed is None or bool(getattr(offer_of(row, table), needed))
    return has and cell not in row.program.except_for


async def _our_client(row: Row, table: Table, cells: Sequence[str], hub: Hub) -> list[Outcome]:
    with scene(row, table, hub, "client") as made:
        offer = made.offer(offer_of(row, table))
        orders = ["--cells", ",".join(cells), "--offer", json.dumps(offer), *made.pin, "--"]
        async with _judging_the_end(made.mark) as ends, started(made) as target:
            done = await run([*OUR_CLIENT, *orders, *target], made.env, LIMIT)
        return [*_told(done, cells), *ends]


async def _their_client(row: Row, table: Table, cells: Sequence[str], hub: Hub) -> list[Outcome]:
    program = row.program
    assert isinstance(program, ClientProgram)
    with scene(row, table, hub, "client") as made:
        offer = made.offer(offer_of(row, table))
        orders = ["--cells", ",".join(cells), "--offer", json.dumps(offer), "--"]
        command = [*made.fill(program.command), *orders, *target_of(made)]
        async with _judging_the_end(made.mark) as ends:
            done = await run(command, made.program_env, LIMIT)
        return [*_told(done, cells), *ends]


async def _runs(row: Row, table: Table, hub: Hub) -> list[Outcome]:
    program = row.program
    assert isinstance(program, ClientProgram)
    with scene(row, table, hub, "runs") as made:
        outcomes = []
        async with _judging_the_end(made.mark) as ends:
            for each in program.runs:
                command = made.fill([*program.command, *each.words], target_of(made))
                done = await run(command, made.program_env, LIMIT)
                outcomes.append(_printed(each.cell, done, [each.expects]))
        return [*outcomes, *ends]


async def _our_command(row: Row, table: Table, cell: str, hub: Hub) -> list[Outcome]:
    with scene(row, table, hub, cell) as made:
        offer = made.offer(offer_of(row, table))
        words, wanted = _COMMANDS[cell](offer, row)
        async with started(made) as target:
            where = target if len(target) == 1 else ["--", *target]
            command = [*OUR_COMMAND, *words, *made.pin, *where]
            done = await run(command, made.env, LIMIT)
        return [_printed(cell, done, wanted)]


async def _kit(row: Row, table: Table, checks: Checks, hub: Hub) -> list[Outcome]:
    with scene(row, table, hub, KIT) as made:
        try:
            problems = await play(made, checks)
        except NotStarted as error:
            problems = [str(error)]
    detail = "; ".join(problems)
    return [Outcome(KIT, FAILED if problems else OK, detail)]


@asynccontextmanager
async def _judging_the_end(mark: str) -> AsyncIterator[list[Outcome]]:
    """Yield a list into which the outcome of ``ends`` goes, once the block has ended well."""
    ends: list[Outcome] = []
    yield ends
    if traceable():
        still = await left(mark)
        ends.append(Outcome(ENDS, FAILED if still else OK, f"left: {still}" if still else ""))
    else:
        ends.append(Outcome(ENDS, UNAVAILABLE, "processes are looked for on Linux only"))


def _told(done: Done, cells: Sequence[str]) -> list[Outcome]:
    """What a client has told of its cells; of the first that it has not, how it ended."""
    told = [Outcome(*json.loads(line)) for line in done.out.splitlines() if line.startswith("[")]
    missing = [each for each in cells if each not in {one.cell for one in told}]
    if not missing and done.status:
        told[-1] = Outcome(told[-1].cell, FAILED, f"afterwards: {done.last}"[:DETAIL])
    for number, cell in enumerate(missing):
        outcome = NOT_REACHED if number else FAILED
        told.append(Outcome(cell, outcome, "" if number else done.last[:DETAIL]))
    return told


def _printed(cell: str, done: Done, wanted: Sequence[str]) -> Outcome:
    """Whether a command has ended well and printed all that is wanted."""
    if done.status:
        return Outcome(cell, FAILED, f"exit status {done.status}: {done.last}"[:DETAIL])
    lacks = [each for each in wanted if each not in done.out]
    return (
        Outcome(cell, FAILED, f"it printed no {', '.join(lacks)}") if lacks else Outcome(cell, OK)
    )


def _list(offer: dict[str, Any], row: Row) -> tuple[list[str], list[str]]:
    return ["list"], [*offer["tools"], *offer["resources"], *offer["templates"], *offer["prompts"]]


def _call(offer: dict[str, Any], row: Row) -> tuple[list[str], list[str]]:
    call = offer["calls"][0]
    arguments = json.dumps(call.get("arguments", {}))
    return ["call", call["tool"], "--arguments", arguments], [call["expects"]]


def _probe(offer: dict[str, Any], row: Row) -> tuple[list[str], list[str]]:
    return ["probe"], [offer["server"], row.revision_name, *(["tools"] if offer["tools"] else [])]


_COMMANDS = {LIST: _list, CALL: _call, PROBE: _probe}
