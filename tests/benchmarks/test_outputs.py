"""Where a run is to be written is looked at before anything is measured, and stays as it was."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from mcpcore_bench import pace, runner
from mcpcore_bench.commands import running
from mcpcore_bench.commands.app import app
from mcpcore_bench.commands.outputs import Outputs
from mcpcore_bench.commands.running import Choice, chosen, measure
from mcpcore_bench.commands.saved import load, show_saved
from mcpcore_bench.load.jobs import AnyJob
from mcpcore_bench.method.machine import STAT
from mcpcore_bench.method.samples import Measured, Profile, Run, Sample, Verdict
from mcpcore_bench.report.docs import BEGIN, END
from mcpcore_bench.runner import self_measurements
from mcpcore_bench.table.table import ROWS
from mcpcore_transports.commands.output import Exit, Failure
from tests.benchmarks.runs import measured, run
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

NOWHERE = Path("/proc")
"""A folder in which not even root can make files."""


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = (*PYTHON, "-m", "mcpcore_bench", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def wrong(outputs: Outputs, page: Path, plots: Path) -> str:
    with pytest.raises(Failure) as caught:
        outputs.check(page, plots)
    assert caught.value.status == Exit.USAGE
    return str(caught.value)


@pytest.mark.parametrize("name", ["json", "markdown"])
@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("missing/x", "there is no folder {here}/missing"),
        ("folder", "it is a folder"),
        ("file/x", "there is no folder {here}/file"),
        (NOWHERE / "x", f"nothing can be written to {NOWHERE}: "),
        (NOWHERE / "version", ""),
    ],
)
def test_a_file_that_cannot_be_written(
    name: str, file: str | Path, why: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    path = tmp_path / file
    wanted = Outputs(json=path) if name == "json" else Outputs(markdown=path)
    said = wrong(wanted, tmp_path, tmp_path)
    assert said.startswith(f"--{name} {path}: {why.format(here=tmp_path)}")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("missing/plots", "there is no folder {here}/missing"),
        ("file", "it is no folder"),
        (NOWHERE, f"nothing can be written to {NOWHERE}: "),
        (NOWHERE / "plots", f"nothing can be written to {NOWHERE}: "),
    ],
)
def test_a_folder_of_plots_that_cannot_be_filled(
    folder: str | Path, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    path = tmp_path / folder
    said = wrong(Outputs(plots=path), tmp_path, tmp_path)
    assert said.startswith(f"--plots {path}: {why.format(here=tmp_path)}")
    assert wrong(Outputs(write_docs=True), file, path).startswith(f"--write-docs {path}: ")


def test_a_page_that_is_not_there(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    assert wrong(Outputs(write_docs=True), page, tmp_path).endswith("there is no such file")


def test_looking_leaves_everything_as_it_is(tmp_path: Path) -> None:
    page, old = tmp_path / "performance.md", tmp_path / "old.json"
    page.write_text("page")
    old.write_text("old")
    for json in (old, tmp_path / "new.json"):
        wanted = Outputs(
            json=json, markdown=tmp_path / "new.md", plots=tmp_path / "plots", write_docs=True
        )
        wanted.check(page, tmp_path / "others")
        Outputs(json=json).check(tmp_path / "missing", NOWHERE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.json", "performance.md"]
    assert (page.read_text(), old.read_text()) == ("page", "old")


@pytest.mark.parametrize("option", ["--json", "--markdown", "--plots"])
def test_nothing_is_measured_that_could_not_be_written(option: str, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "there"
    done = bench("run", "--only", "stdio:raw-stdio-ready", option, str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {option} {path}: there is no folder {path.parent}\n"


def wholly() -> Run:
    """Every row and variant, whether measured or not, and a profile."""
    made = run(
        {
            name: {each: Measured("one", missing="not installed") for each in row.variants}
            for name, row in ROWS.items()
        }
    )
    made.profiles["http:ours-asyncio"] = Profile("ours", {"asyncio": 1.0}, 0.2, 100)
    return made


@pytest.fixture
def page(tmp_path: Path) -> Path:
    made = tmp_path / "performance.md"
    made.write_text(f"{BEGIN}\nold\n{END}\n")
    return made


@pytest.fixture
def plot(tmp_path: Path) -> Path:
    made = tmp_path / "plots" / "old.svg"
    made.parent.mkdir()
    made.write_text("old")
    return made


def show(made: Run, page: Path, plot: Path) -> None:
    """Have the page replaced by a saved run."""
    file = page.parent / "run.json"
    file.write_bytes(msgspec.json.encode(made))
    show_saved(file, Outputs(write_docs=True), page, plot.parent)


def test_a_whole_run_replaces_what_the_page_shows(page: Path, plot: Path) -> None:
    show(wholly(), page, plot)
    assert "\nold\n" not in page.read_text()
    assert not plot.exists()


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("row", "it shows whole runs, and this one lacks stdio"),
        ("variant", "it shows whole runs, and this one lacks http:raw-trio"),
        ("profile", "it shows whole runs, and this one lacks where the time goes"),
        ("rounds", "it shows at least 5 rounds, and this run has 4"),
        ("quick", "it shows rounds of full length, and those of this run are --quick"),
        ("failed", "it shows what has not failed, unlike http:sdk"),
        ("once", "it shows what has not failed, unlike http:sdk"),
        ("failure", "it shows what has not failed, unlike profile http:ours-trio"),
        ("interrupted", "it shows at least 5 rounds, unlike those of http:sdk"),
    ],
)
def test_a_part_does_not_replace_what_the_page_shows(
    lost: str, named: str, page: Path, plot: Path
) -> None:
    made = wholly()
    if lost == "row":
        del made.rows["stdio"]
    elif lost == "variant":
        del made.rows["http"].variants["raw-trio"]
    elif lost == "profile":
        made.profiles.clear()
    elif lost == "rounds":
        made.rounds = 4
    elif lost == "quick":
        made.quick = True
    elif lost == "failed":
        made.rows["http"].variants["sdk"] = Measured("SDK", missing="failed: WrongReply: no")
    elif lost == "once":
        made.rows["http"].variants["sdk"] = measured(*(1.0,) * 6)
        made.rows["http"].variants["sdk"].missing = "failed: WrongReply: no"
    elif lost == "failure":
        made.failures["profile http:ours-trio"] = "nothing came of it"
    else:
        made.rows["http"].variants["sdk"] = measured(*(1.0,) * 4)
    with pytest.raises(Failure, match=f"--write-docs .*: {named}$") as caught:
        show(made, page, plot)
    assert caught.value.status == Exit.USAGE
    assert (page.read_text(), plot.read_text()) == (f"{BEGIN}\nold\n{END}\n", "old")


def test_a_part_is_not_measured_for_the_page(page: Path, plot: Path) -> None:
    part = ("stdio:ours-stdio", "stdio:raw-stdio-ready")
    choice = Choice(only=part, rounds=1, quick=True, outputs=Outputs(write_docs=True))
    why = "--write-docs .*, and this one lacks .*http-1000.*; .*this run has 1; .* --quick$"
    with pytest.raises(Failure, match=why):
        measure(choice, page, plot.parent)
    assert (page.read_text(), plot.read_text()) == (f"{BEGIN}\nold\n{END}\n", "old")


@pytest.mark.long
def test_a_run_tells_what_others_took_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    words = ("--only", "stdio:raw-stdio-ready", "--quick", "--rounds", "1", "--json", str(file))
    done = bench("run", *words)
    assert done.returncode == 0, done.stderr
    kept = load(file)
    others = kept.others
    assert (others is not None) is STAT.exists()
    assert others is None or f"others took {others:.0%} of a processor" in done.stdout
    # The machine is looked at before and behind the rows, and each round measures all kinds.
    assert [phase.row for phase in kept.phases if not phase.row] == ["", ""]
    assert "the machine: slowest phase " in done.stdout
    assert set(kept.own) == set(self_measurements())
    assert {len(each.samples) for each in kept.own.values()} == {1}
    made = "--rounds 1 --quick --only stdio:raw-stdio-ready --json run.json"
    assert kept.command == f"mcpcore bench run {made}"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice(rounds=7), "--rounds 7"),
        (Choice(rounds=5, quick=True, goals=True), "--rounds 5 --quick --goals"),
        (Choice(rounds=7, only=("http:sdk", "stdio")), "--rounds 7 --only http:sdk --only stdio"),
        (
            # Where that is on the machine is nobody's business who reads the run.
            Choice(
                rounds=7,
                outputs=Outputs(
                    json=Path("/home/me/a run.json"),
                    markdown=Path("x/run.md"),
                    plots=Path("plots"),
                    write_docs=True,
                ),
            ),
            "--rounds 7 --json 'a run.json' --markdown run.md --plots plots --write-docs",
        ),
    ],
)
def test_a_choice_is_a_command_line_that_says_the_same(choice: Choice, words: str) -> None:
    assert choice.command == f"mcpcore bench run {words}"
    taken: list[Choice] = []

    def measure(choice: Choice) -> int:
        taken.append(choice)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "measure", measure)
        with pytest.raises(SystemExit):
            app(shlex.split(choice.command)[2:])
    assert [each.command for each in taken] == [choice.command]


def test_who_costs_less_than_ready_bytes_is_a_failure_of_the_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"

    def run_job(job: AnyJob) -> Sample:
        dear = "mcpcore_bench.programs.responder" in job.server.words
        return Sample(9.0 if dear else 2.0, {"load": 1.0, "rate": 1.0})

    for module in (runner, pace):
        monkeypatch.setattr(module, "run_job", run_job)
    chosen = Choice(only=("stdio:raw-stdio-ready",), rounds=5, outputs=Outputs(json=file))
    assert measure(chosen) == Exit.REFUSED
    name = "the load generator by itself, stdio:raw-stdio-ready"
    why = "raw, by readiness takes 2 to 2 µs, and the responder, which should be the least "
    why += "(stdio, 1 in flight), 9 to 9"
    assert load(file).failures == {name: why}
    assert f"{name}: failed: {why}\n" in capsys.readouterr().out


def test_an_interrupted_run_says_what_is_saved_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file, folder = tmp_path / "run.json", tmp_path / "temporary"
    folder.mkdir()
    words = (*PYTHON, "-m", "mcpcore_bench", "run", "--only", "client:client")
    with subprocess.Popen(
        (*words, "--json", str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, wrong = child.communicate()
    assert first
    assert (child.returncode, wrong) == (Exit.INTERRUPTED, "")
    assert rest.endswith(f"interrupted: the rows so far (none) are saved to {file}\n")
    assert load(file).rows == {}
    assert list(folder.iterdir()) == []


def test_an_interrupt_of_what_is_printed_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """... though the console that it met would keep for itself all that comes later."""
    file = tmp_path / "run.json"
    whole = Console._exit_buffer

    def broken_off(console: Console) -> None:
        monkeypatch.setattr(Console, "_exit_buffer", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "_exit_buffer", broken_off)
    with pytest.raises(KeyboardInterrupt):
        measure(Choice(only=("client:client",), rounds=1, outputs=Outputs(json=file)))
    said = f"interrupted: the rows so far (none) are saved to {file}\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("profile", "http"), "'http' says no variant: ROW:VARIANT is wanted, and http has "),
        (("profile", "http:"), "'http:' says no variant: ROW:VARIANT is wanted, and http has "),
        (("profile", "http:nobody"), "the row http has no 'nobody', but ours-anyio, "),
        (("profile", "nothing:ours"), "there is no row 'nothing'; "),
        (("run", "--goals", "--only", "http"), "--goals and --only: both say which rows"),
        (("run", "--list", "--goals", "--only", "http"), "--goals and --only: both say which rows"),
    ],
)
def test_a_command_line_that_says_too_little_or_too_much(words: tuple[str, ...], why: str) -> None:
    done = bench(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {why}")


@pytest.mark.parametrize(
    ("name", "ratio", "status", "said"),
    [
        ("ours-asyncio", 0.5, 0, "1 bounds met, 0 MISSED"),
        ("ours-asyncio", 2.0, 1, "0 bounds met, 1 MISSED"),
        ("few", 2.0, 0, "0 bounds met, 0 MISSED, 0 not measured, 1 of too few rounds"),
        ("noisy", 2.0, 0, "0 bounds met, 0 MISSED, 0 not measured, 1 too noisy"),
        ("sdk", 0.5, 0, "1 bounds met, 0 MISSED"),  # a peer that failed is said
        ("ours-trio", 0.5, 1, "1 bounds met, 0 MISSED"),
        ("profile", 0.5, 1, "1 bounds met, 0 MISSED"),
    ],
)
def test_the_status_is_of_bounds_and_of_what_is_ours(
    name: str,
    ratio: float,
    status: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = 4 if name == "few" else 5
    variants = {
        "ours-asyncio": measured(*(10 * ratio,) * count, title="ours"),
        "raw-protocol": measured(*(10.0,) * count, title="raw"),
        **{each: measured(*(1.0,) * count, title=each) for each in ("sdk", "ours-trio")},
    }
    # Of a row that the table does not know, with the bounds that it was judged by.
    made = run({"row": variants}, [Verdict("ours-asyncio", "raw-protocol", 1.0, ratio)])
    if name == "noisy":
        variants["ours-anyio"] = measured(8.0, 8.0, 10.0, 12.0, 12.0, title="the base")
        made.rows["row"].verdicts = [Verdict("ours-asyncio", "ours-anyio", 1.1, ratio)]
    if name == "profile":
        made.failures["profile row:ours-asyncio"] = "why\nit broke"
    elif name in ("sdk", "ours-trio"):
        variants[name].missing = "failed: Traceback\nWrongReply: another text"
    file = tmp_path / "run.json"
    file.write_bytes(msgspec.json.encode(made))
    markdown = tmp_path / "run.md"
    assert show_saved(file, Outputs(markdown=markdown)) == status
    shown, written = capsys.readouterr().out, markdown.read_text()
    assert said in shown
    failed = {
        "profile": ("profile row:ours-asyncio", "failed: it broke"),
        "sdk": ("row:sdk", "sdk: failed: WrongReply: another text"),
        "ours-trio": ("row:ours-trio", "ours-trio: failed: WrongReply: another text"),
    }.get(name)
    if failed is not None:
        assert f"\n{failed[0]}: {failed[1]}\n" in shown
        assert f"\n- `{failed[0]}`: {failed[1]}\n" in written
    assert "failed: failed" not in shown
    assert ("Failed:" in written) is (failed is not None)


def test_a_choice_is_of_goals_or_of_names() -> None:
    with pytest.raises(Failure, match="--goals and --only") as caught:
        chosen(Choice(only=("http",), goals=True, rounds=1))
    assert caught.value.status == Exit.USAGE


@pytest.mark.parametrize("option", ["--markdown", "--plots"])
def test_a_saved_run_says_so_as_well(option: str, tmp_path: Path) -> None:
    file, path = tmp_path / "run.json", tmp_path / "missing" / "there"
    file.write_bytes(msgspec.json.encode(run({"http": {"ours": measured(1.0)}})))
    done = bench("show", str(file), option, str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {option} {path}: ")
    assert bench("show", str(file), option, str(tmp_path / "there")).returncode == 0
    assert (tmp_path / "there").exists()


@pytest.mark.parametrize("command", ["", "run", "profile", "compare", "show", "floods"])
def test_help_has_examples(command: str) -> None:
    said = bench(*command.split(), "--help").stdout
    assert "Examples:\n" in said
    assert f"  mcpcore bench {command}" in said
