"""The tool on a module so small that every verdict is known, and the list of judged mutants."""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import json

from tests.clock import PATIENCE
from tests.mutation.campaign import Outcome
from tests.mutation.children import Verdict
from tests.mutation.judged import SURVIVORS, judged, reasons, stale
from tests.mutation.mutants import MODULE, Mutant, mutants, population, sample
from tests.mutation.reach import Reach, known
from tests.mutation.report import failures, shown, table
from tests.shares import Some
from tests.warm import PYTHON

ROOT = Path(__file__).parents[2]
TOY = '''"""Doc."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LEFT_OUT = 1

__all__ = ["price"]

CHILD: int = 12


def price(age: int) -> int:
    """What a ticket costs."""
    return 5 if age < CHILD else 10


def halved(size: int) -> int:
    while size > 1:
        size //= 2
    return size


def untested() -> int:
    return 1
'''
CHECKS = """from toy.tickets import halved, price


def test_price():
    assert (price(3), price(11), price(13)) == (5, 5, 10)


def test_halved():
    assert (halved(8), halved(2), halved(6)) == (1, 1, 1)
"""
VERDICTS = {
    ("CHILD: int = 12", "CHILD: int = 13"): "survived",
    ("CHILD: int = 12", "CHILD: int = None"): "killed",
    ("return 5 if age < CHILD else 10", "return 6 if age < CHILD else 10"): "killed",
    ("return 5 if age < CHILD else 10", "return 5 if age <= CHILD else 10"): "survived",
    ("return 5 if age < CHILD else 10", "return 5 if age < CHILD else 11"): "killed",
    ("return 5 if age < CHILD else 10", "return 5 if (age < CHILD) and False else 10"): "killed",
    ("return 5 if age < CHILD else 10", "return 5 if (age < CHILD) or True else 10"): "killed",
    ("while size > 1:", "while size >= 1:"): "killed",
    ("while size > 1:", "while size > 2:"): "killed",
    ("size //= 2", "size /= 2"): "killed",
    ("size //= 2", "size = 2"): "timed out",
    ("size //= 2", "size //= 3"): "killed",
    ("return 1", "return 2"): "survived",
}


LIVING = [
    (MODULE, "CHILD: int = 12", "CHILD: int = 13"),
    ("price", "return 5 if age < CHILD else 10", "return 5 if age <= CHILD else 10"),
    ("untested", "return 1", "return 2"),
]


def listed(rows: Sequence[tuple[str, str, str]]) -> str:
    """A list of judged mutants of the toy."""
    return "mutant = []\n" * (not rows) + "".join(
        f'[[mutant]]\npath = "toy/tickets.py"\nfunction = "{function}"\n'
        f'before = "{before}"\nafter = "{after}"\nreason = "r"\n'
        for function, before, after in rows
    )


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/tickets.py").write_text(TOY)
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/test_tickets.py").write_text(CHECKS)
    return tmp_path


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_verdict_on_a_toy(toy: Path) -> None:
    (toy / "judged.toml").write_text(listed(LIVING[:2]))
    done = _campaign(toy)
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.decode((toy / "build/mutation/report.json").read_bytes())
    assert report["possible"] == {"toy": len(VERDICTS)}
    found = {(row["before"], row["after"]): row["outcome"] for row in report["mutants"]}
    assert found == VERDICTS
    *_, totals, _, few, left = done.stdout.splitlines()
    assert totals.startswith("all")
    assert few == "WRONG: 10 of 13 are killed, less than 87%"
    assert left.startswith("WRONG: 1 survived and are not in the judged list: toy/tickets.py:")
    assert (toy / "toy/tickets.py").read_text() == TOY
    (toy / "judged.toml").write_text(listed(LIVING))
    again = _campaign(toy, "--again", "build/mutation/report.json")
    assert again.returncode == 0, again.stdout + again.stderr


def _campaign(
    toy: Path, *words: str, python: Sequence[str] = (sys.executable,)
) -> subprocess.CompletedProcess[str]:
    child = _started(toy, *words, python=python)
    said, wrong = child.communicate()
    return subprocess.CompletedProcess(child.args, child.returncode, said, wrong)


def _started(
    toy: Path, *words: str, python: Sequence[str] = (sys.executable,)
) -> "subprocess.Popen[str]":
    command = [*python, "-m", "tests.mutation", "--packages", "toy", "--tests", "checks"]
    return subprocess.Popen(
        [*command, "--judged", "judged.toml", *words],
        cwd=toy,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(1800)
def test_an_interrupt_ends_a_campaign_with_its_table_and_no_verdict(toy: Path) -> None:
    (toy / "judged.toml").write_text(listed([]))
    child = _started(toy)
    assert child.stdout is not None
    while not (line := child.stdout.readline()).startswith("[  1/13]"):
        assert line, "it has ended"
    child.send_signal(signal.SIGINT)
    said, wrong = child.communicate()
    assert child.returncode == 130, said + wrong
    assert "WRONG" not in said
    assert said.splitlines()[-2].startswith("all")
    assert (toy / "build/mutation/report.json").exists()


def test_what_tests_reach_is_measured_again_for_other_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("toy/one/code.py", "toy/two/code.py", "checks/test_code.py"):
        Path(file).parent.mkdir(parents=True)
        Path(file).write_text("")
    measured: list[str] = []

    def measure(files: Sequence[str]) -> Reach:
        measured.extend(files)
        return Reach([], [], {}, {})

    for package in ("toy/one", "toy/one", "toy/two"):
        known(Path("reach.json"), [package], ["checks"], measure)
    assert measured == ["checks/test_code.py"] * 2


_INTERRUPTED_WHILE_IT_FORKS = """
import os, signal
from tests.mutation.children import fork

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    fork(lambda out: None)
except KeyboardInterrupt:
    print("seen")
"""


def test_an_interrupt_that_comes_while_a_child_is_forked_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_WHILE_IT_FORKS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("seen\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "nowhere"], "--only nowhere: no module of toy has it"),
        (["--count", "0"], "argument --count: '0' is no number of at least 1"),
        (["--packages", "toys", "--tests", "check"], "there is no folder toys, check"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    toy: Path, words: list[str], said: str
) -> None:
    done = _campaign(toy, *words, python=PYTHON)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"python -m tests.mutation: error: {said}\n"
    assert not (toy / "build").exists()


@pytest.mark.parametrize(
    ("killed", "judged_ones", "left", "sampled", "wrong"),
    [
        (87, 13, 0, True, []),
        (86, 14, 0, True, ["86 of 100 are killed"]),
        (86, 14, 0, False, []),
        (99, 0, 1, True, ["1 survived"]),
        (99, 0, 1, False, ["1 survived"]),
        (10, 80, 10, True, ["10 of 100 are killed", "10 survived"]),
        (0, 0, 0, True, ["there was nothing to change"]),
        (0, 0, 0, False, []),
    ],
)
def test_a_campaign_fails_that_kills_too_few_or_leaves_one_that_is_not_judged(
    killed: int, judged_ones: int, left: int, sampled: bool, wrong: list[str]
) -> None:
    possible = mutants("mcpcore/wire/sse.py")
    known, unknown, *others = possible
    chosen = [known] * judged_ones + [unknown] * left + others[:1] * killed
    outcomes = [
        Outcome(
            mutant,
            1,
            Verdict(
                "survived" if mutant in (known, unknown) else ("killed", "timed out")[at % 2], 1
            ),
        )
        for at, mutant in enumerate(chosen)
    ]
    found = failures(outcomes, {known.key(): "r"}, sampled=sampled)
    assert [said.startswith(start) for said, start in zip(found, wrong, strict=True)] == [
        True for _ in wrong
    ]


def test_a_package_has_the_mutants_of_its_folders() -> None:
    paths = ("a/b.py", "a/c/d.py", "ab/e.py")
    mutants = [Mutant(path, 0, 1, "", "f", 1, 1) for path in paths]
    outcomes = [Outcome(mutant, 1, Verdict("killed", 1)) for mutant in mutants]
    rows = [row.split()[:4] for row in table({"a": 7, "ab": 1}, outcomes, {}).splitlines()]
    assert rows[1:] == [["a", "7", "2", "2"], ["ab", "1", "1", "1"], ["all", "8", "3", "3"]]


@pytest.mark.long
def test_a_sample_is_repeated_by_its_seed() -> None:
    possible = population(["mcpcore/wire", "mcpcore/engine"], "s.py")
    first = sample(possible, 40, 7)
    assert first == sample(population(["mcpcore/wire", "mcpcore/engine"], "s.py"), 40, 7)
    assert first != sample(possible, 40, 8)
    total = sum(map(len, possible.values()))
    for package, each in possible.items():
        chosen = sum(mutant.of(package) for mutant in first)
        assert abs(chosen - 40 * len(each) / total) < 1
    assert len(first) == 40


@pytest.mark.parametrize("path", ["mcpcore/wire/sse.py", "mcpcore/engine/lifecycle.py"])
def test_each_mutant_is_another_program(path: str) -> None:
    original = ast.dump(ast.parse(Path(path).read_text()))
    possible = mutants(path)
    for mutant in possible:
        if mutant.compiles():
            assert ast.dump(ast.parse(mutant.source())) != original, mutant
    assert len({mutant.source() for mutant in possible}) == len(possible)


@pytest.mark.long
def test_judged_mutants_are_still_possible() -> None:
    entries = judged() + judged(SURVIVORS)
    assert len({entry.key for entry in entries}) == len(entries)
    assert all(entry.reason for entry in entries)
    possible = [mutant for path in {entry.path for entry in entries} for mutant in mutants(path)]
    assert stale(entries, possible) == []


@pytest.mark.parametrize("share", [8, pytest.param(1, marks=pytest.mark.long)])
def test_a_survivor_that_was_killed_since_is_told_with_the_test_that_does_it(share: int) -> None:
    paths = Some(share)({entry.path for entry in judged(SURVIVORS)}, str)
    entries = [entry for entry in judged(SURVIVORS) if entry.path in paths]
    known = reasons(entries)
    living = [each for path in paths for each in mutants(path) if each.key() in known]
    outcomes = [Outcome(mutant, 1, Verdict("survived", 1)) for mutant in living]
    assert len(outcomes) == len(entries)
    assert failures(outcomes, known, sampled=False) == []
    assert len(failures(outcomes, {}, sampled=False)) == 1
    for outcome in outcomes:
        file, _, name = known[outcome.mutant.key()].removeprefix("Killed by ").partition("::")
        assert f"def {name.rstrip('.')}(" in (ROOT / file).read_text()
        assert shown(outcome, known).endswith(f"judged: {known[outcome.mutant.key()]}")


def test_a_judged_mutant_is_stale_once_its_code_has_changed(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    file = toy / "judged.toml"
    rows = [
        (MODULE, "CHILD: int = 12", "CHILD: int = 13"),
        (MODULE, "CHILD: int = 11", "CHILD: int = 12"),
        ("price", "CHILD: int = 12", "CHILD: int = 13"),
    ]
    file.write_text(listed(rows))
    entries = judged(file)
    possible: list[Mutant] = mutants("toy/tickets.py")
    assert stale(entries, possible) == entries[1:]
    moved = "# one more line\n" + TOY
    (toy / "toy/tickets.py").write_text(moved)
    assert stale(entries, mutants("toy/tickets.py")) == entries[1:]
