"""The tool on a module so small that every verdict is known, and the list of judged mutants."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import json

from tests.mutation.judged import judged, stale
from tests.mutation.mutants import MODULE, Mutant, mutants, population, sample

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


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/tickets.py").write_text(TOY)
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/test_tickets.py").write_text(CHECKS)
    return tmp_path


@pytest.mark.timeout(300)
def test_every_verdict_on_a_toy(toy: Path) -> None:
    command = [sys.executable, "-m", "tests.mutation", "--packages", "toy", "--tests", "checks"]
    done = subprocess.run(
        command,
        cwd=toy,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.decode((toy / "build/mutation/report.json").read_bytes())
    assert report["possible"] == {"toy": len(VERDICTS)}
    found = {(row["before"], row["after"]): row["outcome"] for row in report["mutants"]}
    assert found == VERDICTS
    assert "all" in done.stdout.splitlines()[-2]
    assert (toy / "toy/tickets.py").read_text() == TOY


def test_a_sample_is_repeated_by_its_seed() -> None:
    possible = population(["mcpcore/wire", "mcpcore/engine"], "s.py")
    first = sample(possible, 40, 7)
    assert first == sample(population(["mcpcore/wire", "mcpcore/engine"], "s.py"), 40, 7)
    assert first != sample(possible, 40, 8)
    total = sum(map(len, possible.values()))
    for package, each in possible.items():
        chosen = sum(mutant.package == package for mutant in first)
        assert abs(chosen - 40 * len(each) / total) < 1
    assert len(first) == 40


@pytest.mark.parametrize("path", ["mcpcore/wire/sse.py", "mcpcore/engine/lifecycle.py"])
def test_each_mutant_is_another_program(path: str) -> None:
    original = ast.dump(ast.parse(Path(path).read_text()))
    for mutant in mutants(path):
        if mutant.compiles():
            assert ast.dump(ast.parse(mutant.source())) != original, mutant
    assert len({mutant.source() for mutant in mutants(path)}) == len(mutants(path))


def test_judged_mutants_are_still_possible() -> None:
    entries = judged()
    assert len({entry.key for entry in entries}) == len(entries)
    assert all(entry.reason for entry in entries)
    possible = [mutant for path in {entry.path for entry in entries} for mutant in mutants(path)]
    assert stale(entries, possible) == []


def test_a_judged_mutant_is_stale_once_its_code_has_changed(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy)
    listed = toy / "judged.toml"
    rows = [
        (MODULE, "CHILD: int = 12", "CHILD: int = 13"),
        (MODULE, "CHILD: int = 11", "CHILD: int = 12"),
        ("price", "CHILD: int = 12", "CHILD: int = 13"),
    ]
    listed.write_text(
        "".join(
            f'[[mutant]]\npath = "toy/tickets.py"\nfunction = "{function}"\n'
            f'before = "{before}"\nafter = "{after}"\nreason = "r"\n'
            for function, before, after in rows
        )
    )
    entries = judged(listed)
    possible: list[Mutant] = mutants("toy/tickets.py")
    assert stale(entries, possible) == entries[1:]
    moved = "# one more line\n" + TOY
    (toy / "toy/tickets.py").write_text(moved)
    assert stale(entries, mutants("toy/tickets.py")) == entries[1:]
