"""A short soak: what ``make soak`` does for twenty minutes or more; and that its rules can fail."""

import gc
import mmap
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from msgspec import Raw
from msgspec.structs import replace

from mcpcore.engine.deadlines import Deadlines
from mcpcore_transports.client.listen import Listening
from tests.bindings.places import ERAS, MODERN
from tests.faults.allocated import in_use
from tests.faults.holdings import forget, kept
from tests.http.stored.storebench import party, settle
from tests.soak.__main__ import CAST, COMPARED, FILES
from tests.soak.actors import CHANGES, NOTES, Soak, flood, great_storm, slaughterer, storm
from tests.soak.house import HTTP, REDIS, STORED, UVLOOP, WITHOUT_REDIS, SoakHouse, absent
from tests.soak.rules import (
    CALM,
    CROWD,
    GREAT,
    GROWN,
    HEADS,
    KEPT,
    LOOKS,
    NEEDED,
    OVER_HTTP,
    PINNED,
    STORM,
    UNITS,
    Moment,
    busy,
    growing,
    grown,
    larger,
    missing,
    overfull,
    remaining,
    restless,
    storms,
)
from tests.soak.sampling import Sample, sample

FLAT = Sample(
    rss=50.0,
    in_use=30.0,
    objects=100_000,
    descriptors=10,
    tasks=5,
    threads=1,
    in_flight=0,
    sessions=0,
    cpu=1.0,
)


def _moments(name: str, values: list[Any], side: str) -> list[Moment]:
    samples = [Sample(**{**_members(FLAT), name: value}) for value in values]
    sides: list[dict[str, Any]] = [
        {"servers": FLAT, "load": FLAT, side: sample} for sample in samples
    ]
    return [
        Moment(float(at), **each, done={}, each={"servers": each["servers"], "another": FLAT})
        for at, each in enumerate(sides)
    ]


def _members(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__struct_fields__}


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    ("name", "values", "wrong"),
    [
        ("rss", [40, 90, 90, 90, 190, 90, 96, 125], False),
        ("rss", [40, 60, 70, 90, 100, 110, 130, 130], True),
        ("in_use", [25, 30, 30, 45, 30, 30, 38, 38], False),
        ("in_use", [25, 30, 32, 36, 40, 44, 50, 52], True),
        ("objects", [1e5, 1.1e5, 1.1e5, 1.1e5, 1.2e5, 1.1e5, 1.1e5, 1.1e5], False),
        ("objects", [1e5, 1.1e5, 1.2e5, 1.3e5, 1.4e5, 1.5e5, 1.6e5, 1.7e5], True),
    ],
)
def test_what_grows_is_seen(name: str, values: list[float], wrong: bool, side: str) -> None:
    moments = _moments(name, values, side)
    found = growing(moments)
    assert len(found) == wrong
    assert all(UNITS[name] in each and side in each for each in found)
    assert bool(growing(moments, resident=False)) is (wrong and name != "rss")


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    "stormy",
    [
        {"in_flight": CALM + 1},
        {"tasks": FLAT.tasks + CROWD + 1},
        {"in_flight": 1000, "tasks": 2000},
    ],
)
def test_what_a_storm_takes_while_it_lasts_is_no_growth(stormy: dict[str, int], side: str) -> None:
    """... in whichever process it is still seen, if only by the tasks of its calls."""
    quiet = _moments("objects", [1e5] * LOOKS, "load")
    after = _moments("objects", [3e5] * 3, "load")
    for moment in after:
        moment.load.overdue = 4 * CALM + 1
    assert (len(growing([*quiet, *after])), len(overfull(after, quiet[0]))) == (1, 1)
    for moment in after:
        changed = replace(moment.processes[side], **stormy)
        if side == "load":
            moment.load = changed
        else:
            moment.each = {**moment.each, side: changed}
    assert growing([*quiet, *after]) == overfull([*quiet, *after], quiet[0]) == []
    [found] = growing([*quiet[1:], *after])
    assert found.startswith(f"looks under load without a storm: {LOOKS - 1}, ")


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("descriptors", 12, False),
        ("descriptors", 30, True),
        ("tasks", 5, False),
        ("tasks", 6, True),
        ("in_flight", 1, True),
        ("sessions", 1, True),
        ("in_use", 39.0, False),
        ("in_use", 40.0, True),
        ("objects", 120_000, False),
        ("objects", 130_000, True),
        ("errors", ["a connection failed"], True),
    ],
)
def test_what_is_left_is_seen(name: str, value: Any, wrong: bool, side: str) -> None:
    [end] = _moments(name, [value], side)
    [begin] = _moments("rss", [50.0], side)
    assert bool(remaining(begin, end)) is wrong


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    ("name", "values", "wrong"),
    [
        ("overdue", [0, 40_000, 4 * CALM], False),
        ("overdue", [0, 40_000, 4 * CALM + 1, 0], True),
        ("overdue", [0, 0, 4 * CALM + 1], True),
        ("heads", [0, HEADS, 0], False),
        ("heads", [0, HEADS + 1, 0], True),
        ("heads", [0, 0, HEADS + 1], True),
    ],
)
def test_what_has_more_than_it_may_is_seen(
    name: str, values: list[int], wrong: bool, side: str
) -> None:
    *moments, over = _moments(name, values, side)
    found = overfull(moments, over)
    assert len(found) == wrong
    assert all(side in each for each in found)


class _Due:
    deadline: float | None = None


@pytest.mark.anyio
async def test_deadlines_that_are_over_and_not_cleared_away_are_counted() -> None:
    deadlines: Deadlines[_Due] = Deadlines()
    staying = _Due()
    deadlines.set(staying, 0.5)
    before = sample()
    for at in range(3_000):
        due = _Due()
        deadlines.set(due, 1.0 + at)
        deadlines.set(due, None)
    cleared = sample()
    assert cleared.deadlines < before.deadlines + 100
    assert cleared.overdue <= max(before.overdue, 0)
    deadlines._heap.extend((1.0, 0, staying) for _ in range(3_000))
    assert sample().deadlines >= cleared.deadlines + 3_000
    assert sample().overdue > 4 * CALM


@pytest.mark.parametrize("side", ["servers", "load"])
def test_resident_memory_is_held_against_that_of_the_start(side: str) -> None:
    [begin], room = _moments("rss", [50.0], side), PINNED[side]
    for more, wrong in ((room, False), (room + 5.0, True)):
        [end] = _moments("rss", [50.0 + more], side)
        assert len(larger(begin, end, "now")) == wrong
        assert larger(begin, end, "now", resident=False) == []


@pytest.mark.share(2)
@pytest.mark.anyio
@pytest.mark.parametrize("much", [False, True])
async def test_what_no_allocator_knows_of_is_seen(much: bool) -> None:
    """... such as memory that something has mapped by itself."""
    forget()  # what goes back to the system meanwhile would be set off against it
    begin = sample()
    megabytes = begin.rss * KEPT + PINNED["load"] + 16
    pages = int(megabytes * 1e6 / mmap.PAGESIZE) * much
    held = mmap.mmap(-1, max(pages, 1) * mmap.PAGESIZE)
    for place in range(0, pages * mmap.PAGESIZE, mmap.PAGESIZE):
        held[place] = 1
    end = sample()
    held.close()
    found = larger(Moment(0.0, begin, begin, {}), Moment(1.0, end, end, {}), "now")
    assert [each.partition(" of the")[0] for each in found] == [UNITS["rss"]] * much


@pytest.mark.parametrize(
    ("name", "before", "now", "wrong"),
    [
        ("Endpoint.inbound", 0, GROWN, True),
        ("Endpoint.inbound", 5, 5 + GROWN, True),
        ("Endpoint.inbound", 5, 4 + GROWN, False),
        ("objects: transports Exchange", 7, 7 + GROWN, True),
        ("RequestParser._known", 0, 900, False),
        ("Deadlines._heap[]", 0, 900, False),
        ("database: events", 0, GROWN, True),
    ],
)
def test_tables_that_grow_are_named(name: str, before: int, now: int, wrong: bool) -> None:
    there = {"load": {"Endpoint.outbound": 3, name: before}, "servers": {name: before}}
    found = grown(there, {**there, "servers": {name: now}})
    assert found == [f"kept by the servers: {name}: {before}, then {now}"] * wrong


class _Remembering:
    __module__ = "mcpcore_transports.soaked"

    def __init__(self) -> None:
        self.table: dict[int, list[int]] = {}


def test_what_is_kept_is_counted() -> None:
    """... by class and attribute, those in tables of tables too, and so are objects."""
    held = [_Remembering(), _Remembering()]
    held[0].table[1] = [1, 2, 3]
    held[1].table[1] = [4]
    name = f"{_Remembering.__name__}.table"
    found = kept()
    assert (found[name], found[f"{name}[]"]) == (2, 4)
    assert found[f"objects: mcpcore_transports {_Remembering.__name__}"] == 2
    assert not any("urlsplit" in each for each in found), "so many answers at most are kept"


@pytest.mark.parametrize(
    ("cpu", "looking", "share"),
    [(1.0, 0.0, 0.0), (1.5, 0.5, 0.0), (1.5, 0.1, 0.05), (2.0, 0, 0.125)],
)
def test_what_idle_servers_take_is_seen(cpu: float, looking: float, share: float) -> None:
    before = Sample(**{**_members(FLAT), "looking": looking})
    after = Sample(**{**_members(FLAT), "cpu": cpu, "looking": 0.7})
    assert busy(before, after, 8.0) == pytest.approx(share)


@pytest.mark.parametrize(
    ("side", "share", "wrong"),
    [
        *(("servers", share, share > 0.01) for share in (0.0, 0.009, 0.012, 0.02)),
        *(("load", share, share > 0.01) for share in (0.0, 0.009, 0.012, 0.02)),
        *(("store server 2", share, share > 0.02) for share in (0.0, 0.012, 0.019, 0.03)),
    ],
)
def test_neither_side_takes_more_than_a_little_with_nothing_to_do(
    side: str, share: float, wrong: bool
) -> None:
    found = restless({"servers": 0.0, "load": 0.0, side: share})
    assert found == [f"{side} takes {share:.1%} of a processor with nothing to do"] * wrong


@pytest.mark.share(3)
@pytest.mark.parametrize("size", [100, 2_000, 5_000_000])
def test_what_is_in_use_is_counted(size: int) -> None:
    """... of small objects, of larger ones and of those that have pages of their own."""
    gc.collect()
    before = in_use()
    held = [bytes(size) for _ in range(20_000_000 // size)]
    taken = in_use() - before
    held.clear()
    gc.collect()
    assert 19 < taken < 40
    assert in_use() - before < 2


def test_small_storms_are_not_enough() -> None:
    done = {**NEEDED, storms(1_000): 9, "cancelled": 9_000}
    assert missing(done) == []
    del done["storms of 10,000"]
    assert missing(done) == ["storms of 10,000"]


def test_of_two_storms_in_turn_one_is_large() -> None:
    [where] = [cast.where for cast in CAST if cast.act is storm]
    assert set(HTTP) < set(where)
    for first, second in zip(where, (*where[1:], where[0]), strict=True):
        assert not {first, second} <= set(HTTP), (first, second)


@pytest.mark.parametrize("name", NEEDED)
def test_what_was_never_done_is_seen(name: str) -> None:
    done = dict(NEEDED)
    assert missing(done) == []
    assert missing({**done, name: NEEDED[name] - 1}) == [name]
    del done[name]
    assert missing(done) == [name]


def test_a_long_soak_needs_all_great_storms() -> None:
    needed = {**NEEDED, OVER_HTTP: len(GREAT)}
    done = {**needed, OVER_HTTP: len(GREAT) - 1}
    assert missing(done) == []
    assert missing(done, needed) == [OVER_HTTP]
    assert missing(needed, needed) == []


def test_what_is_not_there_has_its_reason() -> None:
    without = {REDIS} if WITHOUT_REDIS else set()
    assert absent("trio").keys() == {UVLOOP} | without
    pytest.importorskip("uvloop")
    assert absent("asyncio").keys() == without


def test_where_redis_is_not_the_soak_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.soak.house.WITHOUT_REDIS", "redis-server is not installed")
    assert absent("trio")[REDIS] == "stored-redis is not there: redis-server is not installed"
    with closing(SoakHouse("trio")) as house:
        assert REDIS not in house.there((*STORED, "http"))


@pytest.fixture
def soak(anyio_backend_name: str) -> Iterator[Soak]:
    house = SoakHouse(anyio_backend_name)
    yield Soak(house, 1)
    house.close()


@pytest.mark.anyio
async def test_sessions_are_counted_with_a_store_too() -> None:
    gc.collect()  # servers of other tests
    there = sample().sessions
    one, other = party("a", "b")
    one.session()
    settle(one, other)
    assert sample().sessions == there + one.server.sessions + other.server.sessions == there + 1


@pytest.mark.anyio
@pytest.mark.parametrize("lost", [0, 1, CHANGES // 2, CHANGES])
async def test_a_flood_hears_of_each_change(
    lost: int, soak: Soak, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... and comes to no end if one is ``lost`` (0: none)."""
    notify, count = Listening.notify, 0

    def losing(listening: Listening, method: str, params: Raw) -> None:
        nonlocal count
        count += 1
        if count != lost:
            notify(listening, method, params)

    monkeypatch.setattr(Listening, "notify", losing)
    with anyio.move_on_after(1.5 if lost else 60.0) as scope:
        await flood(soak, "memory", MODERN)
    assert scope.cancelled_caught is bool(lost)
    assert soak.done["floods"] == (not lost)
    assert (soak.done["notifications"] > NOTES + CHANGES) is (not lost)


@pytest.mark.long
@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("binding", STORED)
async def test_a_worker_is_killed_and_its_sessions_live_on(
    soak: Soak, binding: str, era: str
) -> None:
    """... as those who were there before find, and those who come next."""
    if binding in soak.house.absent:
        pytest.skip(soak.house.absent[binding])
    await slaughterer(soak, binding, era)
    assert soak.done["killed workers"] == 1


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many as there may be; skips where they are too few."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < FILES:
        pytest.skip(f"{FILES:,} descriptors cannot be had")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.long
@pytest.mark.anyio
@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("binding", "era"),
    [GREAT[0], *(pytest.param(*each, marks=pytest.mark.repeats) for each in GREAT[1:])],
)
async def test_ten_thousand_calls_over_http_are_cancelled_in_flight(
    soak: Soak, binding: str, era: str
) -> None:
    """The storm breaks off only when the server itself has counted them all at once."""
    if binding in soak.house.absent:
        pytest.skip(soak.house.absent[binding])
    soak.house.target(binding)
    await great_storm(soak, binding, era)
    assert (soak.done[OVER_HTTP], soak.done["cancelled"]) == (1, STORM)
    assert STORM >= 10_000


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_it_is_flat(tmp_path: Path) -> None:
    """... in a process of its own: what other tests have left in this one is not what is soaked.

    Its storms are small, as other tests run beside it; ``make soak`` has those of 10,000.
    """
    words = ("--minutes", str(COMPARED), "--storm", "2000", "--report", str(tmp_path / "soak.json"))
    done = subprocess.run([sys.executable, "-m", "tests.soak", *words], stdout=PIPE, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("flat;")
