"""Running jobs: what is left over is ended, what fails is said, variants take turns."""

import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import msgspec
import pytest

from benchmarks import runner
from benchmarks.load.jobs import (
    AnyJob,
    Command,
    Events,
    HttpCalls,
    LineCalls,
    Resume,
    SelfMeasured,
    Setup,
    SseCalls,
    WebSocketCalls,
)
from benchmarks.method.samples import Sample
from benchmarks.rows import Bound, Row, Variant
from benchmarks.subjects import SUBJECTS

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs epoll and /proc")

LEAVES = """
import os, subprocess, sys
subprocess.Popen(["sleep", "600"], pass_fds=[int(sys.argv[1])])
print("begun", flush=True)
sys.stdin.read() or sys.stdout.close()
import time; time.sleep(600)
"""


FOLDERS = """
import signal, subprocess, sys, tempfile, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "deaf" else signal.SIG_DFL)
subprocess.Popen(["sleep", "600"], cwd=tempfile.mkdtemp())
open(tempfile.mkdtemp() + "/bench.sock", "w").close()
print(tempfile.gettempdir(), flush=True)
if sys.argv[1] != "done":
    time.sleep(600)
"""
GOODBYE = """
import os, signal, sys, time
def ended(*_):
    os.write(1, b"goodbye")
    sys.exit()
signal.signal(signal.SIGTERM, ended)
os.write(1, b"begun\\n")
time.sleep(600)
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


@pytest.mark.parametrize("how", ["done", "killed", "deaf"])
def test_nothing_is_left_in_the_folder_for_temporary_files(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by what was interrupted nor by what did not care."""
    monkeypatch.setattr(runner, "GRACE", 0.1)

    def interrupted() -> None:
        with runner.grouped((sys.executable, "-c", FOLDERS, how)) as child:
            assert child.stdout is not None
            told.append(Path(child.stdout.readline().decode().strip()))
            assert len(list(told[0].iterdir())) == 2
            raise KeyboardInterrupt

    told: list[Path] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not told[0].exists()


def test_a_child_is_asked_to_end_before_it_is_made_to() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as said:
        try:
            with runner.grouped(
                (sys.executable, "-c", GOODBYE.replace("os.write(1,", f"os.write({writing},")),
                pass_fds=(writing,),
            ):
                os.close(writing)
                assert said.readline() == b"begun\n"
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert said.read() == b"goodbye"


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


@LINUX
@pytest.mark.parametrize("name", runner.self_measurements())
def test_the_load_generator_is_measured_by_each_kind_of_its_work(name: str) -> None:
    job = runner.self_measurements()[name]
    job = msgspec.structs.replace(job, warm=0.0, seconds=0.01)
    sample = runner.run_job(job)
    assert sample.facts["load"] > 0
    assert sample.facts["rate"] > 0


def test_no_kind_of_steady_work_is_left_out() -> None:
    kinds = {type(job) for job in runner.self_measurements().values()}
    assert kinds == {Events, HttpCalls, LineCalls, Resume, Setup, SseCalls, WebSocketCalls}


def test_no_binding_and_no_era_of_coming_is_left_out() -> None:
    jobs = runner.self_measurements().values()
    assert {job.binding for job in jobs if isinstance(job, LineCalls)} == {"stdio", "tcp", "unix"}
    assert {job.era for job in jobs if isinstance(job, Setup)} == {"modern", "legacy"}


@pytest.mark.parametrize(("quick", "most"), [(False, 18.0), (True, 4.0)])
def test_what_is_measured_first_takes_little_time(
    quick: bool, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[AnyJob] = []

    def run_job(job: AnyJob) -> Sample:
        ran.append(job)
        return Sample(1.0, facts={"load": 2.0, "rate": 3.0})

    monkeypatch.setattr(runner, "run_job", run_job)
    told: list[str] = []
    found = runner.measure_load(told.append, quick=quick)
    assert told == list(runner.self_measurements())
    assert [(found[name], found[f"{name}, responder"]) for name in told] == [(2.0, 1.0)] * len(ran)
    assert sum(job.warm + job.seconds for job in ran) < most


@LINUX
def test_whoever_answers_the_load_generator_by_itself_takes_less_than_any_server() -> None:
    peer = SUBJECTS["raw-httptools-asyncio"]
    if (missing := peer.needs()) is not None:
        pytest.skip(missing)
    least, its = (
        runner.run_job(HttpCalls(server=server.command(), connections=4, warm=0.1, seconds=0.2))
        for server in (SUBJECTS["responder"], peer)
    )
    assert least.value < 0.8 * its.value
