"""The simulation: schedules that must keep all rules, the same again, and what they are made of."""

import os
import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest
from msgspec import Raw, structs

from mcpcore.http.storing import SessionRecord, SessionSave, StreamBegin
from mcpcore_transports.stores.base import StoreSettings
from tests.simulation.campaign import REPORT, campaign
from tests.simulation.hosts import EPOCH
from tests.simulation.network import RUN, Pipe, Weather
from tests.simulation.play import play
from tests.simulation.schedule import (
    KINDS,
    SCENARIOS,
    Fault,
    Schedule,
    draw,
    read_faults,
    read_works,
    shrink,
    write_works,
)
from tests.simulation.shared_store import SharedStore
from tests.simulation.world import World

QUICK, LATER = 14, 26
"""Schedules of each scenario in the quick run, and those that the long run plays after them."""
BUDGET = float(os.environ.get("SIMULATION_SECONDS", "15"))
"""Seconds by the clock for the long run."""
FOUND = [
    Schedule(
        70006186,
        "store",
        read_faults("crash_client@6.688:6:0:0.1,store_fail@9.694:6:0:15"),
        read_works(
            "0:2,0:11,0:12,0:13,0:14,0:15,2:4,2:5,2:6,2:8,2:3,2:2",
        ),
    ),
    # Rules that were wrong: between two rounds of input nothing is due; the head of a request does
    # not keep a session; and what is under way at the same time arrives in any order.
    Schedule(70002196, "lines", read_faults("jump@2.992:0:2000:0"), read_works("0:6,0:5")),
    Schedule(70052889, "http", read_faults("delay@7.197:0:12:25"), read_works("0:5,0:3,0:4")),
    Schedule(
        70008437, "http", read_faults("mute@0.069:3:0.8:30,delay@0.166:1:12:25"), read_works("1:2")
    ),
    Schedule(
        70060901,
        "http",
        read_faults("crash_server@0.101:1:0:10"),
        read_works("0:6,0:1,0:7,0:8,0:10"),
    ),
    # ... a session that is lost is still asked for a stream, a worker that learns of a session
    # tells what its client may have missed, and an event may stay that came in part.
    Schedule(2001657, "http", read_faults("crash_server@19.816:7:0:0.1"), read_works("2:2,2:3")),
    Schedule(315, "store", (), read_works("1:5,1:6,2:1,2:7,2:5,2:8")),
    Schedule(600167, "sse", read_faults("narrow@0.084:3:16:2,crash_server@0.134:7:0:0.1"), ()),
    # ... an event is whole with the CR of its last line, whether the LF behind it comes or not.
    Schedule(
        31016849,
        "http",
        read_faults(
            "crash_server@1.134:2:0:0.1,drop@7.774:5:1:0,delay@8.235:7:3:25,mute@19.886:1:0.3:10"
        ),
        read_works("0:4,0:1"),
    ),
    # ... and what was on a stream to which a client comes back too late need not come, nor what was
    # written to one that was lost before the client had an id to ask with.
    Schedule(
        41069669, "store", read_faults("deaf@0.982:2:0:40,drop@9.314:5:0:30"), read_works("0:3")
    ),
    Schedule(
        3003123,
        "store",
        read_faults("deaf@8.792:2:0:40,jump@12.865:2:400:0,drop@14.452:3:0.1:30"),
        read_works("0:9"),
    ),
    Schedule(
        *(1001726, "store", read_faults("wall@18.336:3:70:0.5,crash_client@19.438:5:0:2")),
        read_works("0:1,1:1,1:3"),
    ),
    Schedule(
        *(1003518, "store", read_faults("delay@0.069:2:12:2,crash_server@9.773:7:0:10")),
        read_works("0:4,0:5"),
    ),
    Schedule(
        *(57015669, "store", read_faults("wall@0.063:4:70:0.5,mute@7.552:1:0.8:30")),
        read_works("0:3,1:3"),
    ),
    Schedule(1009068, "lines", read_faults("mute@15.008:7:0.3:10"), read_works("0:7")),
    Schedule(18084918, "sse", read_faults("mute@0.183:6:0.8:30"), ()),
    # ... and a change that waits on a stream that is lost goes to the next when that is known.
    Schedule(18011522, "http", read_faults("drop@3.872:0:1:30"), read_works("0:4,0:5")),
    Schedule(18030970, "http", read_faults("drop@9.801:2:1:30"), read_works("2:6,2:7")),
    # ... and a frame that nobody has taken says with which error its request has ended.
    Schedule(19080617, "lines", read_faults("crash_server@2.829:7:0:0.1"), read_works("1:2")),
    # What it has found in the core, each with the schedule that did.
    Schedule(175, "http", read_faults("delay@0.017:6:3:25")),
    Schedule(321, "http", read_faults("crash_server@16.76:6:0:2")),
    Schedule(307639, "store", read_faults("crash_client@8.658:7:0:2")),
    Schedule(702870, "store", read_faults("store_slow@0.387:6:1:25,crash_server@16.59:5:0:0.1")),
    Schedule(9000041, "http", read_faults("refuse@0.143:3:0:25"), ()),
    Schedule(9000002, "store", read_faults("store_fail@0.183:3:0:15"), ()),
    Schedule(
        60000045,
        "store",
        read_faults("store_cut@7.519:5:0:15,crash_client@8.271:5:0:2"),
        read_works("1:6"),
    ),
    Schedule(
        64000471,
        "store",
        read_faults("store_cut@6.931:6:0:40,crash_client@8.876:1:0:2"),
        read_works("1:5"),
    ),
    Schedule(
        2010948,
        "store",
        read_faults(
            "store_slow@0.085:3:1:8,store_cut@8.415:5:0:40,crash_client@11.386:0:0:0.1",
        ),
        read_works("0:3,0:2"),
    ),
    Schedule(
        107,
        "store",
        read_faults("refuse@0.156:7:0:2,store_slow@7.122:2:12:0.5"),
        read_works("0:2,0:3,0:4,0:5,0:6,2:1,2:4"),
    ),
    Schedule(
        2049861,
        "store",
        read_faults(
            "drop@0.162:0:0:30,store_slow@11.628:7:12:2,jump@14.546:4:70:0,crash_server@16.412:4:0:2"
        ),
        read_works("0:5,0:1,1:2,1:5,2:1,2:4,2:5,2:7"),
    ),
    Schedule(
        *(19081750, "sse", read_faults("crash_client@0.068:6:0:2,drop@9.081:0:0.9:30")),
        read_works("1:3"),
    ),
    Schedule(
        *(19091821, "store", read_faults("store_fail@11.274:3:1:15")),
        read_works("1:9,1:10,1:11,1:12,1:13"),
    ),
    Schedule(
        *(5368, "lines", read_faults("delay@0.11:4:12:8,split@3.149:0:30:25,drop@14.443:2:0.5:0")),
        (),
    ),
]


@pytest.mark.parametrize(
    ("first", "count"), [(0, QUICK), pytest.param(QUICK, LATER, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_rules_are_kept(scenario: str, first: int, count: int) -> None:
    tally = campaign(first, count, scenario=scenario, most_failures=1)
    assert not tally.failures
    assert tally.schedules == count
    assert tally.requests > 5 * count


@pytest.mark.parametrize("schedule", FOUND, ids=lambda each: f"{each.scenario}-{each.seed}")
def test_what_was_found_stays_mended(schedule: Schedule) -> None:
    assert play(schedule).breach is None


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_seed_is_one_run(scenario: str) -> None:
    schedules = [draw(seed, scenario) for seed in range(20, 23)]
    first, second = ([play(each) for each in schedules] for _ in range(2))
    assert [each.digest for each in first] == [each.digest for each in second]
    assert len({each.digest for each in first}) == len(schedules)
    # To look at it changes nothing.
    assert play(schedules[0], timeline=True).digest == first[0].digest


def test_a_seed_is_one_run_in_every_process() -> None:
    code = (
        "from tests.simulation.play import play; from tests.simulation.schedule import draw\n"
        "for seed in range(12): print(play(draw(seed)).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hashing},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashing in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().split()) == 12


@pytest.mark.parametrize(("silent", "taken"), [(9.0, "w"), (11.0, None)])
def test_a_worker_that_says_nothing_keeps_what_it_holds_for_its_lease(
    silent: float, taken: str | None
) -> None:
    world = World(1)
    shared = SharedStore(world, StoreSettings())
    record = SessionRecord(
        id="s", revision="2025-11-25", capabilities=Raw(b"{}"), created=EPOCH, owner="o"
    )
    begin = StreamBegin(token=2, session="s", stream=7)
    for worker in ("w", "other"):
        shared.arrives(worker)
    shared.store.commit("w", [SessionSave(token=1, session="s", record=record), begin], EPOCH)
    shared.vanishes("w")
    assert not world.step(silent)
    shared.present()
    shared.store.receive("other", 0)
    assert shared.store._value("SELECT holder FROM streams WHERE number = 7") == taken
    assert shared.lapsed("w") == (taken is None)
    assert not shared.lapsed("other")


def test_some_clients_send_batches_and_are_answered_by_them() -> None:
    lines = play(draw(23, "lines"), timeline=True).timeline or []
    assert any(" sends together [{" in line for line in lines)
    assert any("server     sends [{" in line for line in lines)


# Schedules


def test_schedules_are_written_and_read() -> None:
    for seed in range(200):
        schedule = draw(seed)
        *_, written = schedule.command().split(" ")
        assert read_faults(written) == schedule.faults
        assert draw(seed) == schedule


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {
        (draw(seed).scenario, fault.kind) for seed in range(800) for fault in draw(seed).faults
    }
    assert drawn == {(name, kind) for kind in KINDS for name in KINDS[kind].scenarios}


@pytest.mark.parametrize("text", ["flood@1:1:1:1", "drop@1:1:1", "drop", "drop@x:1:1:1"])
def test_faults_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        read_faults(text)


def test_shrinking_keeps_what_it_takes() -> None:
    faults = tuple(Fault(at, "drop", int(at), 0.5, 0.0) for at in range(11))
    culprits = {faults[2], faults[7]}

    def fails(schedule: Schedule) -> bool:
        return culprits <= set(schedule.faults)

    assert set(shrink(Schedule(1, "lines", faults), (), fails).faults) == culprits
    assert shrink(Schedule(1, "lines", faults), (), lambda schedule: True).faults == ()


def test_shrinking_leaves_out_work_and_what_it_made_necessary() -> None:
    faults = tuple(Fault(at, "drop", int(at), 0.5, 0.0) for at in range(6))
    works = tuple((slot, number) for slot in range(3) for number in range(1, 8))

    def fails(schedule: Schedule) -> bool:
        """A fault that is needed only as long as there is much to do."""
        done = schedule.works
        assert done is not None
        return (1, 4) in done and (len(done) < 5 or faults[3] in schedule.faults)

    least = shrink(Schedule(1, "lines", faults), works, fails)
    assert (least.faults, least.works) == ((), ((1, 4),))
    assert least.command().endswith(" --faults none --works 1:4")


def test_shrinking_has_a_bound() -> None:
    tried = []
    works = tuple((0, number) for number in range(100))

    def fails(schedule: Schedule) -> bool:
        tried.append(schedule)
        return len(schedule.works or ()) > 10

    shrink(Schedule(1, "lines", ()), works, fails, most=7)
    assert len(tried) == 7


def test_a_schedule_of_all_its_work_is_the_same_run() -> None:
    schedule = draw(3, "lines")
    whole = play(schedule)
    named = structs.replace(schedule, works=read_works(write_works(whole.works)))
    assert play(named).digest == whole.digest
    assert play(structs.replace(schedule, works=whole.works[1:])).works == whole.works[1:]


# The network


def test_a_pipe_keeps_the_order_whatever_the_weather() -> None:
    world, weather, got = World(1), Weather(), bytearray()
    pipe = Pipe(world, Random(1), weather, 0, got.extend, lambda: None)
    sent = bytes(range(256)) * 4
    for place in range(0, len(sent), 64):
        weather.slow, weather.pieces = place % 3, place % 5
        weather.deaf[0] = world.time + place % 2
        pipe.send(sent[place : place + 64])
    assert pipe.waiting == len(sent)
    while world.step(1e6):
        pass
    assert bytes(got) == sent
    assert pipe.waiting == 0


@pytest.mark.parametrize("size", [1, 2, 7, 30])
@pytest.mark.parametrize("length", [1, 24, 25, 60, 300, 5000])
def test_what_is_split_is_cut_into_pieces_of_that_size(size: int, length: int) -> None:
    begins, sent = set(), bytes(each % 251 for each in range(length))
    for seed in range(40):
        world, weather, got = World(seed), Weather(), list[bytes]()
        pipe = Pipe(world, Random(seed), weather, 0, got.append, lambda: None)
        weather.pieces = size
        pipe.send(sent)
        while world.step(1e6):
            pass
        assert b"".join(got) == sent
        assert {len(piece) for piece in got[: min(RUN, length // size)]} <= {size}
        # What is left is at most one whole piece, a run of small ones, and the end.
        whole, run = got[RUN : RUN + 1], got[RUN + 1 : -1]
        assert {len(piece) for piece in run} <= {size}
        assert len(run) <= RUN
        begins.add(sum(map(len, whole)))
    # Sooner or later the second run begins anywhere.
    assert len(begins) > min(20, (length - RUN * size) // 2)


@pytest.mark.parametrize(("share", "arrives"), [(0.0, 0), (0.5, 50), (1.0, 100)])
def test_a_pipe_that_breaks(share: float, arrives: int) -> None:
    world, got = World(1), bytearray()
    pipe = Pipe(world, Random(1), Weather(), 0, got.extend, lambda: None)
    pipe.send(b"x" * 100)
    pipe.cut(share)
    pipe.send(b"more")
    while world.step(1e6):
        pass
    assert len(got) == arrives
    assert pipe.room == 0


# At length


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_as_many_schedules_as_there_is_time_for(
    record_property: Callable[[str, object], None],
) -> None:
    tally = campaign(1_000_000, 10_000_000, seconds=BUDGET)
    tally.save()
    record_property("figures", f"simulation: {tally.text()}; {REPORT}")
    assert not tally.failures
    assert tally.schedules > tally.seconds  # of the processor, however little of it there was
