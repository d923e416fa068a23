"""Running jobs: what is left over is ended, what fails is said, variants take turns."""

import os
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import msgspec
import pytest

from mcpcore_bench import runner
from mcpcore_bench.load.jobs import (
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
from mcpcore_bench.method.samples import LEAST_ROUNDS, RowResult, Sample
from mcpcore_bench.rows import Bound, Row, Variant
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.table import ROWS
from tests.benchmarks.runs import measured
from tests.warm import PYTHON

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
    words = (*PYTHON, "-m", "mcpcore_bench", "run", "--list", "--only", "stdio")
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


@pytest.mark.share(6)
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


@pytest.mark.parametrize(("quick", "most"), [(False, 30.0), (True, 13.0)])
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
    kinds = list(runner.self_measurements())
    assert told == kinds * LEAST_ROUNDS  # in turn
    assert list(found) == kinds
    for each in found.values():
        assert [(sample.round, sample.value, sample.facts) for sample in each.samples] == [
            (number, 1.0, {"load": 2.0, "rate": 3.0}) for number in range(1, LEAST_ROUNDS + 1)
        ]
    assert sum(job.warm + job.seconds for job in ran) < most
    assert {len(each.samples) for each in runner.measure_load(str, rounds=2).values()} == {2}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("http:ours-asyncio", "HTTP, 16 in flight"),
        ("http-legacy:raw-protocol", "HTTP, 16 in flight"),
        ("http-lengths:raw-httptools", "HTTP, 16 in flight"),
        ("sessions:10000", "HTTP, 16 in flight"),
        ("tls:raw-httptools-tls", "HTTP, 16 in flight"),
        ("http-1000:raw-httptools", "HTTP, 1,000 in flight"),
        ("http-legacy-sse:raw-httptools", "HTTP, SSE replies, 16 in flight"),
        ("echo-1m:raw-httptools", "HTTP, 1 MB and back"),
        ("list-1000:raw-httptools", "HTTP, a list of 1,000"),
        ("setup:raw-httptools", "HTTP, a connection each"),
        ("setup-legacy:raw-httptools", "HTTP, a connection and a session each"),
        ("progress:raw-protocol", "events on a stream, one at a time"),
        ("progress-together:raw-protocol", "events on a stream, together"),
        ("websocket:websockets", "WebSocket, 16 in flight"),
        ("stdio:raw-stdio-blocking", "stdio, 1 in flight"),
        ("stdio-64:raw-stdio-ready", "stdio, 64 in flight"),
        ("bindings:raw-tcp", "TCP, 1 in flight"),
        ("bindings:raw-unix", "Unix socket, 1 in flight"),
        ("bindings:sdk-sse-binding", "HTTP+SSE, 16 in flight"),
        # Other work, or none that ready bytes can answer.
        ("http-64:raw-httptools", None),
        ("echo-10m:raw-httptools", None),
        ("structured:raw-protocol", None),
        ("waiting:raw-protocol", None),
        ("resume:raw-protocol", None),
        ("setup-bindings:raw-tcp", None),
        ("echo-1m-stdio:raw-stdio-ready", None),
        ("progress-together:encoding", None),
        ("idle-connection:raw-protocol", None),
    ],
)
def test_a_job_is_of_a_kind_by_which_the_load_generator_was_measured(
    name: str, kind: str | None
) -> None:
    row, _, variant = name.partition(":")
    assert runner.kind_of(ROWS[row].variants[variant].job()) == kind


KIND = "HTTP, 16 in flight"


@pytest.mark.parametrize(
    ("cost", "again", "told"),
    [
        (9.0, (3.0, 3.0, 3.0, 3.0, 3.0), False),  # it costs more: it is not looked at again
        (4.0, (3.0, 3.0, 3.0, 3.0, 3.0), True),
        (4.0, (3.0, 3.0, 3.0, 9.0, 3.0), True),  # one round of five is no quartile
        (4.0, (3.0, 3.0, 3.0, 9.0, 9.0), False),  # within the spread
        (4.0, (6.0, 6.0, 6.0, 6.0, 6.0), False),  # the machine was slower before
    ],
)
def test_who_costs_less_than_ready_bytes_is_told_if_it_does_so_beside_them(
    cost: float, again: tuple[float, ...], *, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = iter(again)
    ran: list[AnyJob] = []

    def run_job(job: AnyJob) -> Sample:
        ran.append(job)
        return Sample(5.0 if job.server.words[-1].endswith("responder") else next(rest))

    monkeypatch.setattr(runner, "run_job", run_job)
    row = ROWS["http"]
    result = RowResult(row.title, row.unit, {"raw-bare": measured(*(cost,) * 5, title="bare")})
    found = runner.undercut(row, result, {KIND: measured(*(5.5,) * 5)}, str)
    assert list(found) == (["raw-bare"] if told else [])
    assert not told or found["raw-bare"] == (
        "bare takes 3 to 3 µs, and the responder, which should be the least "
        "(HTTP, 16 in flight), 5 to 5"
    )
    # The two take turns.
    words = [job.server.words[-1] for job in ran]
    assert words == ([] if cost > 5.5 else [words[0], words[1]] * LEAST_ROUNDS)


@pytest.mark.parametrize(("least", "its"), [(4, 5), (5, 4), (0, 5)])
def test_of_too_few_rounds_nothing_is_told(least: int, its: int) -> None:
    row = ROWS["http"]
    result = RowResult(row.title, row.unit, {"raw-bare": measured(*(1.0,) * its)})
    own = {KIND: measured(*(5.0,) * least)} if least else {}
    assert runner.undercut(row, result, own, str) == {}


@LINUX
def test_the_responder_answers_the_load_generator() -> None:
    """That nothing takes less is told by each run of the benchmark."""
    command = SUBJECTS["responder"].command()
    sample = runner.run_job(HttpCalls(server=command, connections=4, warm=0.1, seconds=0.2))
    assert sample.value > 0
    assert sample.facts["rate"] > 0
