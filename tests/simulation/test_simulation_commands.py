"""``python -m tests.simulation``: options that do not go together, and work shared among jobs."""

import pytest

from tests.simulation import jobs
from tests.simulation.__main__ import main
from tests.simulation.campaign import Failure, Tally
from tests.simulation.jobs import Order, Teller, play_all
from tests.simulation.test_simulation import FOUND


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("--faults none", ["--faults", "--seed"]),
        ("--works none", ["--works", "--seed"]),
        ("--shrink", ["--shrink", "--seed"]),
        ("--last 5", ["--last", "--seed"]),
        ("--seed 3 --only drop", ["--only", "--seed"]),
        ("--seed 3 --schedules 5", ["--schedules", "--seed"]),
        ("--seed 3 --scenario lines --works 9:9", ["9:9", "but 0:1,"]),
        ("--seed 3 --scenario lines --works 0:1,9:9 --shrink", ["names 9:9,"]),
        ("--seconds nan", ["'nan'"]),
        ("--seconds 0", ["'0'"]),
        ("--seconds -1", ["'-1'"]),
        ("--seconds inf", ["'inf'"]),
        ("--seconds soon", ["'soon'"]),
    ],
)
def test_what_would_be_ignored_is_refused(
    command: str, named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    said, wrong = capsys.readouterr()
    assert (ended.value.code, said) == (2, "")
    assert [each for each in named if each not in wrong] == []


def test_work_that_is_there_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    named = next(each for each in FOUND if each.works)
    assert main(named.command().split()[3:]) == 0
    assert capsys.readouterr().out.endswith("all rules were kept\n")


@pytest.mark.parametrize(("schedules", "jobs"), [(1, 2), (5, 3)])
def test_jobs_play_all_that_was_ordered(schedules: int, jobs: int) -> None:
    order = Order(schedules=schedules, jobs=jobs, scenario="lines")
    alone = Order(schedules=schedules, scenario="lines")
    shared, whole = (play_all(each, Teller()) for each in (order, alone))
    assert shared.schedules == schedules
    assert (shared.requests, shared.steps) == (whole.requests, whole.steps)


@pytest.mark.parametrize(
    ("live", "silence", "said"),
    [
        (True, 3600.0, "\r16 schedules\r32 schedules\nb\n  c\n\r48 schedules"),
        (False, 0.0, "16 schedules\n32 schedules\n\nb\n  c\n48 schedules\n"),
        (False, 3600.0, "16 schedules\n\nb\n  c\n"),
    ],
    ids=["terminal", "pipe", "pipe-in-silence"],
)
def test_progress_is_a_line_that_changes_on_a_terminal_alone(
    live: bool,
    silence: float,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: live)
    monkeypatch.setattr(jobs, "SILENCE", silence)
    tell = jobs.Teller()
    for schedules in (16, 32, 48):
        failures = [Failure("b", "c")] if schedules > 32 else []
        tell(Tally(schedules=schedules, failures=failures))
    assert capsys.readouterr().err == said
