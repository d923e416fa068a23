"""Calls without sockets: every reply is checked, and steps and calls are counted exactly."""

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest
from msgspec import structs

from mcpcore_bench.dry import WORKS, Counted, Figures, Rig, Told, Work, counting, main, measure
from mcpcore_bench.dry_wires import Opener, programs
from mcpcore_bench.load.asks import WrongReply
from mcpcore_bench.load.jobs import Ask
from mcpcore_bench.subjects import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the asyncio driver")

FEW = 64
"""Requests, where as many as are measured would only take longer."""

LARGE = 100_000
"""A text that does not come at once."""


def shortened(name: str) -> Work:
    work = WORKS[name]
    if work.connections > 1:
        return structs.replace(work, connections=8, requests=8, asks=(Ask("wait", 1),))
    return structs.replace(
        work,
        asks=tuple(structs.replace(ask, size=min(ask.size, LARGE)) for ask in work.asks),
        requests=min(work.requests, FEW),
        sessions=min(work.sessions, FEW),
        events=min(work.events, FEW),
    )


def measured(work: Work) -> list[Figures]:
    return asyncio.run(measure(work, 1))


@pytest.mark.share(4)
@pytest.mark.parametrize("name", WORKS)
def test_every_work_is_answered_by_all_programs(name: str) -> None:
    work = shortened(name)
    found = measured(work)
    assert [each.program for each in found] == list(programs(lines=work.lines))
    for each in found:
        assert each.microseconds > 0
        assert each.steps > each.calls > 1
        assert each.steps == sum(each.layers.values())


def test_counts_are_the_same_each_time() -> None:
    work = shortened("http")
    first, again = measured(work), measured(work)
    for one, other in zip(first, again, strict=True):
        # Once in a while the loop's own clock wants something more.
        assert one.steps == pytest.approx(other.steps, rel=0.01)
        assert one.calls == pytest.approx(other.calls, rel=0.01)


def test_heads_that_differ_take_more_steps_of_ours() -> None:
    same, lengths, heads = (
        measured(shortened(name))[0] for name in ("http", "http-lengths", "http-heads")
    )
    assert same.steps < lengths.steps < heads.steps


def test_a_call_of_one_of_many_tools_takes_the_same_steps() -> None:
    few, many = (measured(shortened(f"tools-{count}")) for count in (10, 1000))
    for one, other in zip(few, many, strict=True):
        assert one.steps == pytest.approx(other.steps, rel=0.02)


def test_all_tools_of_a_work_but_a_few_are_called() -> None:
    assert [len(WORKS[f"tools-{count}"].asks) for count in (10, 1000)] == [6, 996]


def test_a_call_that_waits_takes_more_steps_than_one_that_does_not() -> None:
    assert measured(shortened("http"))[0].steps < measured(shortened("waiting-16"))[0].steps


def test_events_that_are_ready_together_take_fewer_steps_each() -> None:
    alone, together = measured(shortened("progress")), measured(shortened("progress-together"))
    assert [each.steps > other.steps for each, other in zip(alone, together, strict=True)] == [
        True
    ] * len(alone)


@pytest.mark.parametrize("count", [2, 4])
def test_events_that_are_missing_or_too_many_are_noticed(count: int) -> None:
    body = b"".join(b'data: {"progress":%d}\n\n' % step for step in (1, 2, 3))
    Told(3).check(7, body + b'data: {"id":7}\n\n')
    for expected, reply in ((count, body + b'data: {"id":7}\n\n'), (3, body)):
        with pytest.raises(WrongReply):
            Told(expected).check(7, reply)


def three(n: int) -> int:
    return n + 3


def test_counting_sees_functions_that_begin_meanwhile() -> None:
    def counted(times: int) -> Counted:
        with counting() as found:
            for n in range(times):
                three(n)
        return found

    one, ten = counted(1), counted(10)
    # The end of the context is in it as well.
    assert ten.calls - one.calls == 9
    steps, rest = divmod(ten.files[__file__] - one.files[__file__], 9)
    assert rest == 0
    assert 3 <= steps <= 8  # load, load, add, return, as the version has it


def test_counting_leaves_what_was_there_before() -> None:
    before = sys.gettrace()
    with pytest.raises(ZeroDivisionError), counting():
        three(1 // 0)
    assert sys.gettrace() is before


def test_a_wrong_reply_is_noticed() -> None:
    async def run(opener: Opener) -> None:
        async with AsyncExitStack() as stack:
            rig = Rig(structs.replace(shortened("stdio"), asks=(Ask("filler", 99),)))
            await rig.open(opener, stack)
            await rig.cost()

    with pytest.raises(BaseException) as caught:
        asyncio.run(run(programs(lines=True)["raw"]))
    assert isinstance(caught.value, WrongReply)


def test_ours_alone_has_steps_in_each_of_its_layers_and_nowhere_else() -> None:
    (found,) = asyncio.run(measure(shortened("http"), 1, alone=True))
    assert found.program.startswith("ours")
    rooms = {f"mcpcore/{room}" for room in ("wire", "engine", "http", "service")}
    assert rooms | {"transports", "benchmarks"} <= set(found.layers)
    assert found.layers["benchmarks"] < 20  # the tool itself
    assert max(found.layers, key=lambda layer: found.layers[layer]) == next(iter(found.layers))


def test_the_command_names_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing-like-that"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert [name for name in WORKS if name not in said] == []


def test_it_is_a_command() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "mcpcore_bench.dry", "--ours", "--rounds", "1", "stdio"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert "steps" in done.stdout
    assert "ours" in done.stdout
    assert "raw" not in done.stdout.replace("of raw", "")
