"""The table of goals: complete, consistent, and chosen from as the command line says."""

import pytest

from mcpcore_bench.commands.running import Choice, chosen
from mcpcore_bench.method.samples import RowResult
from mcpcore_bench.rows import Bound
from mcpcore_bench.runner import judge
from mcpcore_bench.table.table import ROWS
from mcpcore_transports.commands.output import Failure
from tests.benchmarks.runs import measured

GOALS = {
    "http": {1.3: 2, 1.4: 1, 1.8: 1, 1 / 2: 2, 1 / 3: 1, 1 / 9: 1},
    "http-legacy": {1.4: 1, 1 / 4: 1},
    "http-legacy-sse": {1.4: 1, 1 / 6: 1},
    "stdio": {3.0: 1, 1 / 12: 1, 1.0: 2},
    "stdio-64": {3.0: 1, 1 / 12: 1, 1.0: 2},
    **{f"http-{many}": {1.3: 1, 1.4: 1, 1.8: 1, 1 / 2: 1, 1 / 3: 1} for many in (1, 64, 1000)},
    "websocket": {1.7: 1, 1.0: 1},
    **{f"websocket-{many}": {1.7: 1, 1.0: 1} for many in (1, 64, 1000)},
    **{f"echo-{size}-websocket": {1.7: 1, 1.0: 1} for size in ("10k", "1m", "16m")},
    "client": {1.7: 1, 1 / 3.5: 1},
    **{f"client-{many}": {1.7: 1, 1 / 3.5: 1} for many in (16, 64, 1000)},
    "memory": {1 / 4: 1, 1 / 12: 1},
    "list-1000": {2.0: 2, 1 / 100: 2},
    "progress": {1.5: 2, 1 / 3: 2},
    "progress-together": {3.5: 5, 1 / 3: 1},
    "echo-10k": {1.3: 1, 1.4: 1, 1.8: 1, 1 / 2: 1, 1 / 3: 1},
    "echo-1m": {1.5: 3, 1 / 3: 3},
    "echo-10m": {1.5: 3, 1 / 3: 3},
    "echo-16m": {1.5: 3, 1 / 3: 3},
    "peak-1m": {3.0: 3},
    "peak-10m": {3.0: 3},
    "idle-connection": {1.0: 1},
    "idle-session": {1 / 8: 1},
    "idle-stream": {1 / 8: 1},
    "idle-server": {1.5: 2, 1 / 2: 1},
    "import": {1.5: 1, 1 / 4: 1},
    "start": {1.5: 1, 1 / 5: 1, 1.0: 4},
    "waiting": {1 / 0.65: 2, 1 / 4: 1, 1 / 8: 1},
    "http-lengths": {1.3: 1, 1.4: 1, 1.8: 1, 1 / 2: 1, 1 / 3: 1, 1 / 9: 1},
    "http-heads": {1.3: 1, 1.4: 1, 1.8: 1, 1 / 2: 1, 1 / 3: 1, 1 / 9: 1},
    "http-parsed": {1.3: 1, 1.4: 1, 1.8: 1, 1 / 2: 1, 1 / 3: 1, 1 / 9: 1},
    "http-legacy-heads": {1.4: 1, 1 / 4: 1},
    "http-legacy-sse-heads": {1.4: 1, 1 / 6: 1},
    "sessions": {1.1: 2},
    "sessions-anyio": {1.1: 2},
    "sessions-speed": {1.1: 2},
    "streams": {1.1: 2},
    "streams-anyio": {1.1: 2},
    "streams-speed": {1.1: 2},
    "tools": {1.1: 1},
    "tools-anyio": {1.1: 1},
    "tools-speed": {1.1: 1},
    "long-lines": {6.0: 1},
    "added": {1.0: 3},
    "pins": {1.0: 1},
    "screening": {1.0: 1},
    **{name: {4.0: 2, 1 / 100: 1} for name in ("hop", "hop-1", "hop-legacy")},
    **{name: {1 / 2: 2} for name in ("adapted", "adapted-async")},
    "adapted-legacy": {1 / 2: 3},
    "hop-1m": {2.5: 2},
    "hop-stdio": {2.5: 1, 1 / 6: 1},
    "hop-waiting": {1.25: 2},
    "hop-sessions": {1.1: 2},
    "hop-servers": {1.1: 1},
    "hop-list": {2.0: 1},
    "hop-session": {2.0: 1},
}
"""How often each factor bounds a row."""


def test_the_goals_are_all_there() -> None:
    found: dict[str, dict[float, int]] = {}
    for name, row in ROWS.items():
        for bound in row.bounds:
            if bound.most is not None:
                counts = found.setdefault(name, {})
                counts[bound.most] = counts.get(bound.most, 0) + 1
    assert found == GOALS
    assert set(found) == {name for name, row in ROWS.items() if row.goal}


@pytest.mark.parametrize("ours", ["ours-asyncio", "ours-speed"])
def test_progress_is_bounded_by_the_raw_program_on_anyio_and_shown_beside_its_own(
    ours: str,
) -> None:
    row = ROWS["progress"]
    raws = {
        bound.peer: bound.most
        for bound in row.bounds
        if bound.ours == ours and bound.peer.startswith("raw-")
    }
    own = {"ours-asyncio": "raw-protocol", "ours-speed": "raw-httptools"}[ours]
    assert raws.pop(own) is None
    assert raws == ({"raw-anyio": 1.5} if ours == "ours-asyncio" else {})
    assert "the raw program on anyio's streams and h11, on asyncio's loop" in row.note


@pytest.mark.parametrize("name", ROWS)
def test_bounds_name_variants_of_their_row(name: str) -> None:
    row = ROWS[name]
    assert row.name == name
    for bound in row.bounds:
        assert {bound.ours, bound.peer} <= set(row.variants)
        assert bound.ours != bound.peer


def test_rows_and_variants_are_chosen() -> None:
    assert list(chosen(Choice(rounds=1))) == list(ROWS)
    assert set(chosen(Choice(rounds=1, goals=True))) == set(GOALS)
    some = chosen(Choice(rounds=1, only=("stdio", "http:sdk", "http:ours-trio")))
    assert {name: only for name, (_, only) in some.items()} == {
        "stdio": (),
        "http": ("sdk", "ours-trio"),
    }


@pytest.mark.parametrize("word", ["nothing", "http:nobody", "http:"])
def test_what_is_not_there_cannot_be_chosen(word: str) -> None:
    if word == "http:":
        assert chosen(Choice(rounds=1, only=(word,)))["http"][1] == ()
        return
    with pytest.raises(Failure, match=word.rpartition(":")[2]):
        chosen(Choice(rounds=1, only=(word,)))


def test_a_row_is_judged_by_its_medians() -> None:
    row = ROWS["client"]
    result = RowResult(
        row.title,
        row.unit,
        {
            "client": measured(90.0, 100.0, 500.0),
            "raw-client": measured(50.0, 60.0, 10.0),
            "sdk-client": measured(title="not there"),
        },
    )
    first, second = judge(row, result)
    assert (first.ratio, first.met) == (2.0, False)
    assert (second.ratio, second.met) == (None, None)
    assert row.bounds[0] == Bound("client", "raw-client", 1.7)


def test_a_row_may_be_held_by_the_wall_clock() -> None:
    row = ROWS["start"]
    # Of two threads, each of which takes half of the time.
    node = measured(*(240.0 + more for more in range(5)), wall=0.5)
    ours = measured(119.0, 118.0, 122.0, 126.0, 125.0, wall=1.0)
    result = RowResult(row.title, row.unit, {"ours-stdio": ours, "typescript-stdio": node})
    by_cpu, by_clock = result.verdicts = judge(row, result)
    assert (by_cpu.clock, by_cpu.met, by_cpu.ratio) == (False, True, 122 / 242)
    assert (by_clock.clock, by_clock.met, by_clock.ratio) == (True, False, 122 / 121)
    assert result.close(by_clock)  # its bound of 1 lies between the quartiles of the ratios
    assert not result.close(by_cpu)


def test_what_did_not_take_the_time_is_not_held_by_it() -> None:
    row = ROWS["start"]
    variants = {"ours-stdio": measured(1.0), "typescript-stdio": measured(2.0, wall=1.0)}
    by_cpu, by_clock = judge(row, RowResult(row.title, row.unit, variants))
    assert (by_cpu.met, by_clock.met) == (True, None)
