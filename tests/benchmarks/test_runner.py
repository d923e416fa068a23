"""Running jobs: what is left over is ended, what fails is said, variants take turns."""

import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.load.jobs import AnyJob, Command, SelfMeasured
from benchmarks.method.samples import Sample
from benchmarks.rows import Bound, Row, Variant

LEAVES = """
import os, subprocess, sys
subprocess.Popen(["sleep", "600"], pass_fds=[int(sys.argv[1])])
print("begun", flush=True)
sys.stdin.read() or sys.stdout.close()
import time; time.sleep(600)
"""


def program(code: str) -> AnyJob:
    return SelfMeasured(server=Command((sys.executable, "-c", code)))


def variant(job: AnyJob, missing: str | None = None) -> Variant:
    return Variant("a variant", lambda: job, lambda: missing)


def test_an_interrupt_ends_everything_that_a_run_has_started() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    code = LEAVES.replace("sys.argv[1]", f"'{writing}'")

    def interrupted() -> None:
        with runner.grouped((sys.executable, "-c", code), pass_fds=(writing,)) as child:
            os.close(writing)
            assert child.stdout is not None
            assert child.stdout.readline() == b"begun\n"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    # Nobody holds the other end any more: neither the child nor what it has started.
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_a_run_that_fails_says_why() -> None:
    with pytest.raises(runner.RunFailed, match="no luck"):
        runner.run_job(program("raise SystemExit('no luck')"))


def test_variants_take_turns_and_what_fails_or_is_missing_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = {name: program(name) for name in ("a", "b", "broken")}
    ran: list[str] = []

    def run_job(job: AnyJob) -> Sample:
        name = job.server.words[-1]
        ran.append(name)
        if name == "broken":
            raise runner.RunFailed("it broke")
        return Sample(float(len(ran)))

    monkeypatch.setattr(runner, "run_job", run_job)
    row = Row(
        name="row",
        title="A row",
        unit="µs",
        variants={
            **{name: variant(job) for name, job in jobs.items()},
            "absent": variant(jobs["a"], "not installed"),
        },
        bounds=(Bound("a", "b", 1.0), Bound("a", "absent", 1.0)),
    )
    told: list[tuple[int, str]] = []
    result = runner.run_row(
        row, 3, quick=False, told=lambda number, title: told.append((number, title))
    )
    assert ran == ["a", "b", "broken", "a", "b", "broken", "a", "b"]
    assert result.variants["a"].values == [1.0, 4.0, 7.0]
    assert result.variants["broken"].missing == "failed: it broke"
    assert result.variants["absent"].missing == "not installed"
    assert [each.met for each in result.verdicts] == [True, None]
    assert len(told) == len(ran)
    only = runner.run_row(row, 1, quick=False, only=("b",), told=lambda number, title: None)
    assert list(only.variants) == ["b"]


def test_the_command_lists_its_rows() -> None:
    words = (sys.executable, "-m", "benchmarks", "run", "--list", "--only", "stdio")
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "stdio tools/call, one at a time" in done.stdout
    assert "raw-stdio-ready" in done.stdout
    wrong = subprocess.run(
        (*words, "--only", "nothing"), capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "no row 'nothing'" in wrong.stderr


def test_modules_are_compiled_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "module.py"
    module.write_text("VALUE = 1\n")
    bytecode = Path(cache_from_source(str(module)))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    runner.compile_modules([tmp_path])
    assert bytecode.exists()
    code = "import module; print(module.__spec__.loader.get_code('module') is not None)"
    module.write_text("VALUE = 2\n")
    os.utime(module, (1, 1))  # as long as before, but of another time
    runner.compile_modules([tmp_path])
    words = [sys.executable, "-v", "-c", code]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert f"# {bytecode} matches {module}" in said
