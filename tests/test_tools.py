"""The commands of the simulation, the fuzzer and the mutation: wrong usage, and Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import command_line, shared
from tests.fuzz.campaign import Budget
from tests.fuzz.registry import Target
from tests.fuzz.worker import fuzz
from tests.warm import PYTHON

ROOT = Path(__file__).parents[1]


def started(*words: str) -> "subprocess.Popen[bytes]":
    """In a group of its own, as a terminal has it: all of it gets Ctrl-C."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def ended(child: "subprocess.Popen[bytes]") -> tuple[str, str]:
    """What it has said once all that hold its output have gone, after Ctrl-C."""
    os.killpg(child.pid, signal.SIGINT)
    said, wrong = (each.decode() for each in child.communicate(timeout=100))
    assert child.returncode == 130, said + wrong
    assert "Traceback" not in said + wrong
    return said, wrong


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("simulation --only nonsense", ["--only", "'nonsense'", "crash_server"]),
        ("simulation --only drop,junk", ["--only", "'junk'", "crash_server"]),
        ("simulation --only store_slow", ["--only", "lines", "--scenario", "crash_server"]),
        ("simulation --seed 1 --faults junk", ["--faults", "'junk'", "none", "crash_server"]),
        ("simulation --faults drop@1:2", ["--faults", "'drop@1:2'", "kind@time"]),
        ("simulation --faults drop@x:1:1:1", ["--faults", "'drop@x:1:1:1'", "kind@time"]),
        ("simulation --seed 1 --works junk", ["--works", "'junk'", "slot:number"]),
        ("simulation --works 1:x", ["--works", "'1:x'", "slot:number"]),
        ("simulation --jobs 0", ["--jobs", "'0'"]),
        ("simulation --scenario junk", ["--scenario", "'junk'", "'lines'"]),
        ("fuzz --replay build/fuzz/MISSING", ["--replay", "build/fuzz/MISSING", "no such file"]),
        ("fuzz --replay tests", ["--replay", "tests", "no such file"]),
        ("fuzz --replay README.md", ["README.md", "--target", "sentinel"]),
        ("fuzz --target junk", ["--target", "'junk'", "'sentinel'"]),
        ("fuzz --jobs none", ["--jobs", "'none'"]),
        ("mutation --again missing.json", ["--again", "missing.json", "build/mutation"]),
        ("mutation --again README.md", ["--again", "README.md", "no report", "build/mutation"]),
    ],
)
def test_wrong_usage_is_one_sentence_that_names_what_there_is(
    command: str, named: list[str]
) -> None:
    name, *words = command.split()
    done = subprocess.run(
        [*PYTHON, "-m", f"tests.{name}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"python -m tests.{name}: error: ")
    assert done.stderr.count("\n") == 1
    assert [each for each in named if each not in done.stderr] == []


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_ends_the_simulation_with_its_tally(jobs: str) -> None:
    words = ("--scenario", "lines", "--only", "jump", "--schedules", "1000000", "--jobs", jobs)
    child = started("tests.simulation", *words)
    assert child.stderr is not None
    number, what = child.stderr.readline().split()
    said, _ = ended(child)
    tally, reason = said.strip().splitlines()
    assert what == b"schedules"
    assert int(tally.split()[0]) >= int(number) > 0
    assert tally.endswith("0 failures")
    assert reason.startswith("interrupted")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_ends_a_simulation_that_has_found_something(jobs: str) -> None:
    many = "1000000"
    words = ("--schedules", many, "--failures", many, "--jobs", jobs, "--mutation", "repeats all")
    child = started("tests.simulation", *words)
    assert child.stderr is not None
    assert child.stderr.read(1), "the first failure is told"
    said, _ = ended(child)
    assert "\n  .venv/bin/python -m tests.simulation --seed " in said
    assert said.splitlines()[-1].startswith("interrupted")


@pytest.mark.timeout(1800)
def test_an_interrupt_ends_the_fuzzer_with_its_table() -> None:
    # The second is the slower by far.
    words = ("--engine", "plain", "--target", "sentinel", "--target", "http_streams")
    child = started("tests.fuzz", *words, "--executions", "40000")
    assert child.stdout is not None
    while not (line := child.stdout.readline()).startswith(b"sentinel: "):
        assert line, "it has ended"
    said, wrong = ended(child)
    assert wrong == ""
    *_, totals, _, reason = said.splitlines()
    assert totals.split()[0] == "all"
    assert totals.split()[-1] == "0"
    assert reason.startswith("interrupted: ")


def test_fuzzing_ends_when_it_is_enough() -> None:
    seen: list[bytes] = []
    target = Target("toy", seen.append, ())
    done = fuzz(
        target,
        seed=1,
        executions=100,
        found=lambda data, what, report: None,
        enough=lambda: len(seen) == 7,
    )
    assert done == len(seen) == 7


@pytest.mark.parametrize(
    ("words", "targets", "budgets"),
    [
        ("--seconds 60", "wire sse seal bodies", [Budget(0, seconds=15)] * 4),
        ("--seconds 60 --jobs 2", "wire sse seal bodies", [Budget(0, seconds=30)] * 4),
        ("--seconds 60 --jobs 4", "wire sse seal websocket", [Budget(0, seconds=60)] * 4),
        ("--seconds 5 --jobs 3", "wire", [Budget(0, seconds=5)]),
        ("--seconds 6 --jobs 9", "wire sse", [Budget(0, seconds=6)] * 2),
        ("--executions 10 --seed 3", "wire sse seal bodies", [Budget(3, executions=3)] * 4),
        (
            "--executions 2101",
            "wire websocket sse",
            [Budget(0, executions=count) for count in (1001, 101, 1001)],
        ),
    ],
)
def test_targets_share_what_is_meant_for_all(
    words: str, targets: str, budgets: list[Budget]
) -> None:
    names = targets.split()
    options = command_line().parse_args(words.split())
    assert shared(options, names) == dict(zip(names, budgets, strict=True))
