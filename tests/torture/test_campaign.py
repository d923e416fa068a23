"""Many cells, unattended: each is kept when it is done, and an interrupted campaign goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import json

from tests.docs.blocks import ROOT
from tests.tools import INTERRUPTED
from tests.torture.__main__ import conclude
from tests.torture.campaign import Result, Task, keep, kept, markdown, run
from tests.torture.cells import TRIES, Cell, Tally, cells, until_reached
from tests.torture.points import Watch
from tests.torture.reach import places
from tests.torture.run import Found

ONE = Cell("memory", "2026-07-28", "asyncio")
OTHER = Cell("memory", "2025-11-25", "trio")
FEW = 97


def _result(task: Task, *failures: str) -> Result:
    reached = set(sorted(places())[:3])
    tally = Tally(
        *(9, 3, 1, ["call recv #1 error"], {"wait calls": 9}, list(failures), reached),
        users={"headers"},
    )
    return Result(task, tally, 2.0, 1.5)


def test_what_is_kept_is_what_there_was(tmp_path: Path) -> None:
    file = tmp_path / "new" / "lines"
    assert kept(file) == {}
    first, other, again = (
        _result(Task(ONE, FEW), "it hangs"),
        _result(Task(ONE)),
        _result(Task(ONE, FEW)),
    )
    for result in (first, other, again):
        keep(file, result)
    assert kept(file) == {Task(ONE, FEW): again, Task(ONE): other}


def test_the_table() -> None:
    lines = list(markdown([_result(Task(ONE), "it hangs"), _result(Task(OTHER))]))
    assert lines[2] == "| `memory` | 2 of 4 | 18 | 6 | 2 | 1 | 4 | 3 |"
    assert lines[-1] == f"| all | 2 of {len(list(cells()))} | 18 | 6 | 2 | 1 | 4 | 3 |"


@pytest.mark.parametrize(
    ("runs", "made"),
    [
        pytest.param([(True, [])], 1, id="it is come to at once"),
        pytest.param([(False, []), (False, []), (True, [])], 3, id="it is come to in the end"),
        pytest.param([(False, []), (False, ["it hangs"])], 2, id="something else is wrong"),
        pytest.param([(False, [])] * (TRIES + 1), TRIES, id="it is never come to"),
    ],
)
def test_a_point_is_tried_until_a_run_comes_to_it(
    runs: list[tuple[bool, list[str]]], made: int
) -> None:
    rest = iter(runs)

    def run() -> Found:
        reached, problems = next(rest)
        return Found(None, reached, problems, Watch())

    found = until_reached(run)
    assert (found.reached, found.problems) == runs[made - 1]
    assert list(rest) == runs[made:]


def test_points_that_no_run_came_to_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conclude([_result(Task(ONE))], tmp_path / "report.json", complete=False)
    named = f"no run came to these points:\n    {ONE}: call recv #1 error\n"
    assert named in capsys.readouterr().out
    [row] = json.decode((tmp_path / "report.json").read_bytes())["rows"].values()
    assert row["elsewhere"] == ["call recv #1 error"]


def _command(file: Path, cells: str, *more: str) -> "subprocess.Popen[str]":
    words = ["--cells", "-", "--every", str(FEW), "--report", str(file), *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.torture", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(cells)
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with _command(file, f"{ONE}\n") as process:
        said, _ = process.communicate()
    assert process.returncode == 0
    assert "1 cells" in said
    before = file.with_suffix(".jsonl").read_bytes()
    assert json.decode(before, type=Result).tally.runs > 0
    with _command(file, f"{ONE}\n{OTHER}\n", "--resume", "--jobs", "2") as process:
        said, _ = process.communicate()
    assert process.returncode == 0
    assert "2 cells" in said
    after = file.with_suffix(".jsonl").read_bytes()
    assert after.startswith(before)
    assert json.decode(after[len(before) :], type=Result).task.cell == OTHER
    assert json.decode(file.read_bytes())["rows"].keys() == {str(ONE), str(OTHER)}
    assert len(file.with_suffix(".md").read_text().splitlines()) == 4


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_was_done_before_an_interruption_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    long = Cell("http", "2025-11-25", "trio")
    with _command(file, f"{ONE}\n{long}\n", "--every", "9") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[:2] == ["driver", "era"]
        assert process.stdout.readline().split()[:3] == str(ONE).split()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == INTERRUPTED
    assert "interrupted; so far:\n\n1 cells" in rest
    assert [each.cell for each in kept(file.with_suffix(".jsonl"))] == [ONE]


def test_a_cell_whose_process_ends_is_not_kept(capfd: pytest.CaptureFixture[str]) -> None:
    failed: list[tuple[Task, int]] = []
    nobody = Task(Cell("nobody", "2026-07-28", "asyncio"))
    done: list[Result] = []
    run([nobody], 1, done.append, lambda task, status: failed.append((task, status)))
    assert not done
    assert failed == [(nobody, 1)]
    assert "KeyError: 'nobody'" in capfd.readouterr().err
