"""``python -m tests.soak``: load on every binding, with faults, for minutes or hours; then a look.

Prints what both processes hold at the start, each minute and at the end, and what is wrong; writes
``build/reports/soak.json``.  The exit status is 1 if something grows, is left, or failed.
"""

import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct, json

from tests.faults.allocated import gives_back, start_anew
from tests.faults.holdings import forget, kept
from tests.soak.actors import (
    Soak,
    babbler,
    deaf,
    flood,
    great_storm,
    hello,
    intruder,
    killer,
    slaughterer,
    steady,
    storm,
)
from tests.soak.house import EVERYWHERE, NETWORK, REDIS, STORED, UVLOOP, SoakHouse
from tests.soak.network import PATIENCE
from tests.soak.residents import Residents
from tests.soak.rules import (
    GREAT,
    LOOKS,
    NEEDED,
    OVER_HTTP,
    STORM,
    Moment,
    busy,
    calm,
    growing,
    grown,
    larger,
    missing,
    overfull,
    remaining,
    restless,
    storms,
)
from tests.soak.sampling import listen_to_errors, sample, together
from tests.tools import INTERRUPTED, Parser, interrupted, time_in

REPORT = Path("build/reports/soak.json")
SETTLING = 240.0
"""Seconds within which sessions that were given up are forgotten, and idle connections closed."""
COMPARED = 1.5
"""Minutes from which on memory under load is compared: a quarter of them has looks enough."""
LONG = 15.0
"""Minutes from which on there is a storm over HTTP that is as large as the others."""
FILES = STORM + 2_000
"""Descriptors that it takes, at either end, beside what else goes on."""
PERIOD = 10.0
"""Seconds between two looks while there is load; each takes some tenths of a second."""
SHOWN = 60.0
"""Seconds between two lines of the table."""
WATCHED = 8.0
"""Seconds for which both processes are watched having nothing to do."""
Act = Callable[[Soak, str, str], Awaitable[None]]


class Cast(Struct, frozen=True):
    """An actor, where it plays, and how long it rests beside the others."""

    act: Act
    where: tuple[str, ...]
    rest: float


KILLED = ("stdio", *STORED)
"""Where servers are killed: processes that nobody has but who kills them."""
CAST = (
    *(Cast(steady, (binding,), 4.0) for binding in EVERYWHERE),
    # In turn large and small ones: even where there is time for two storms only, one is large.
    Cast(
        storm,
        (
            *("tcp", "http", "ws", "http-anyio", "memory", "sse", "unix", "https"),
            *("stdio", "asgi", "tls", "stored", "wss", "tokens", "tcp", UVLOOP),
            *("ws-shared", "sse-anyio", "asgi-ws", REDIS),
        ),
        10.0,
    ),
    Cast(flood, EVERYWHERE, 4.0),
    Cast(intruder, ("tokens",), 4.0),
    Cast(killer, (*NETWORK, "stdio"), 0.5),
    Cast(deaf, NETWORK, 3.0),
    Cast(slaughterer, KILLED, 3.0),
    Cast(babbler, NETWORK, 0.3),
)


class Report(Struct):
    """What came of a soak."""

    backend: str
    minutes: float
    wrong: list[str]
    idle: dict[str, float]
    """The share of a processor that each process takes with nothing to do."""
    moments: list[Moment]


async def soak(
    backend: str, minutes: float, seed: int, size: int, tell: Callable[[str], object]
) -> Report:
    """Put the load on, with storms of ``size`` calls, take it off, and say what is wrong."""
    house = SoakHouse(backend)
    try:
        async with AsyncExitStack() as homes:
            return await _soak(house, homes, backend, minutes, seed, size, tell)
    finally:
        house.close()


async def _soak(
    house: SoakHouse,
    homes: AsyncExitStack,
    backend: str,
    minutes: float,
    seed: int,
    size: int,
    tell: Callable[[str], object],
) -> Report:
    made = Soak(house, seed, size)
    for reason in house.absent.values():
        tell(reason)
    tells = gives_back()
    if not tells:
        tell("resident memory is not compared: this allocator keeps what is free")
    for binding in house.there():
        await hello(house.target(binding))  # what is made once is there from now on
    for binding in house.there(KILLED):
        await hello(house.shambles.target(binding))
    great = [turn for turn in GREAT if turn[0] not in house.absent]
    if minutes < LONG or not _many_files(tell):
        great.clear()
    needed = {**NEEDED, OVER_HTTP: len(great)}
    needed[storms(size)] = needed.pop(storms(STORM))
    begin = time.monotonic()
    moments: list[Moment] = []
    report = Report(backend, minutes, [], {}, moments)

    shown = -SHOWN

    def look(*, show: bool = True) -> Moment:
        nonlocal shown
        begun = time.process_time()
        heads = forget()
        each = house.ask(kept=False)
        servers, at = together(list(each.values())), time.monotonic() - begin
        moment = Moment(at, servers, sample(begun, heads), dict(made.done), each)
        if show or moment.seconds >= shown + SHOWN:
            shown = moment.seconds
            tell(_line(moment))
        return moment

    tell(_HEAD)
    first = look()
    residents = Residents(made)
    try:
        await residents.move_in(homes)
        had, there = await _kept(house, residents), look(show=False)
        for binding, era in great:
            await great_storm(made, binding, era)
            tell(f"{STORM:,} calls over {binding} in {era} were cancelled in flight")
        async with anyio.create_task_group() as group:
            for cast in CAST:
                if where := house.there(cast.where):
                    group.start_soon(made.repeat, cast.act, where, cast.rest)
            for resident in residents.everywhere:
                group.start_soon(residents.live, *resident)
            until = begin + minutes * 60
            few = minutes >= COMPARED

            def lacking() -> bool:
                return bool(missing(made.done, needed)) or (few and len(calm(moments)) < LOOKS)

            while (now := time.monotonic()) < until or (lacking() and now < until + PATIENCE):
                await anyio.sleep(min(PERIOD, max(until - now, 1.0)))
                moments.append(look(show=False))
            made.over.set()
    except BaseExceptionGroup as group_of:
        if interrupted(group_of):
            raise
        report.wrong += [f"failed: {told}" for told in _told(group_of)]
        return report
    if minutes >= COMPARED:
        report.wrong += growing(moments, resident=tells)
    tell("the load is over")
    report.wrong += overfull(moments, look(show=False))

    async def kept_more() -> list[str]:
        found = grown(had, await _kept(house, residents))
        now = look(show=False)
        return found + larger(there, now, "once the load was over", resident=tells)

    report.wrong += await _until_none(kept_more)
    still = look()
    await homes.aclose()

    async def left() -> list[str]:
        return remaining(first, look(show=False))

    report.wrong += await _until_none(left)
    last = look()
    report.wrong += [f"not done often enough: {name}" for name in missing(made.done, needed)]
    await anyio.sleep(WATCHED)
    after = look()
    watched = after.seconds - last.seconds
    report.idle = {
        **{name: busy(last.each[name], now, watched) for name, now in after.each.items()},
        "load": busy(last.load, after.load, watched),
    }
    report.wrong += restless(report.idle)
    moments += [first, there, still, last, after]
    moments.sort(key=lambda moment: moment.seconds)
    return report


async def _kept(house: SoakHouse, residents: Residents) -> dict[str, dict[str, int]]:
    """What each process keeps for clients that are there, and have nothing to do."""
    servers = {name: each.kept for name, each in house.ask(kept=True).items()}
    return {**servers, **await residents.kept_by_processes(), "load": kept()}


async def _until_none(wrong: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """What is wrong, and does not go in the time that it has."""
    give_up = time.monotonic() + SETTLING
    while True:
        await anyio.sleep(3.0)
        found = await wrong()
        if not found or time.monotonic() > give_up:
            return found


def _many_files(tell: Callable[[str], object]) -> bool:
    """Whether there may be as many descriptors as a great storm over HTTP takes; says if not."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most < FILES:
        tell(f"no storm of {STORM:,} over HTTP: a process may have {most:,} descriptors only")
    return most >= FILES


_COLUMNS = (
    f"{'in use':>6} {'objects':>8} {'fds':>5} {'tasks':>5} {'sess.':>5} {'flying':>6} {'cpu':>6}"
)
_HEAD = f"{'s':>6} | {'servers MB':>10} {_COLUMNS} | {'load MB':>8} {_COLUMNS} | done"


def _line(moment: Moment) -> str:
    cells = [
        f"{each.rss:{width}.1f} {each.in_use:6.1f} {each.objects:8} {each.descriptors:5} "
        f"{each.tasks:5} {each.sessions:5} {each.in_flight:6} {each.cpu:6.1f}"
        for width, each in ((10, moment.servers), (8, moment.load))
    ]
    done = ", ".join(f"{name} {count}" for name, count in sorted(moment.done.items()))
    return f"{moment.seconds:6.0f} | {cells[0]} | {cells[1]} | {done}"


def _told(error: BaseException, notes: tuple[str, ...] = ()) -> list[str]:
    """Each error of a group, and who has met it."""
    notes = (*notes, *getattr(error, "__notes__", ()))
    if not isinstance(error, BaseExceptionGroup):
        return [" ".join((repr(error), *notes))]
    return [told for inner in error.exceptions for told in _told(inner, notes)]


def main() -> int:
    """Soak as the command line says; returns the exit status."""
    parser = Parser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=time_in("minutes"), default=20.0)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--storm", type=int, default=STORM, metavar="CALLS")
    parser.add_argument("--report", type=Path, default=REPORT)
    options: Any = parser.parse_args()

    def tell(line: str) -> None:
        print(line, flush=True)

    start_anew()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listen_to_errors()
    try:
        rules = options.backend, options.minutes, options.seed, options.storm
        report = anyio.run(partial(soak, *rules, tell), backend=options.backend)
    except BaseException as error:
        if not interrupted(error):
            raise
        tell("interrupted: nothing can be said about what is kept; the table is what was seen")
        return INTERRUPTED
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_bytes(json.format(json.encode(report), indent=1))
    for wrong in report.wrong:
        tell(f"WRONG: {wrong}")
    idle = ", ".join(f"{side} {share:.2%}" for side, share in report.idle.items())
    tell(f"{'not ' * bool(report.wrong)}flat; of a processor, with nothing to do: {idle or '?'}")
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
