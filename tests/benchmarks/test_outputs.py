"""Where a run is to be written is looked at before anything is measured, and stays as it was."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.commands.outputs import Outputs
from benchmarks.commands.running import Choice, load, measure, show_saved
from benchmarks.method.machine import STAT
from benchmarks.method.samples import Measured, Profile, Run
from benchmarks.report.docs import BEGIN, END
from benchmarks.table import ROWS
from tests.benchmarks.runs import measured, run
from transports.commands.output import Exit, Failure

NOWHERE = Path("/proc")
"""A folder in which not even root can make files."""


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "benchmarks", *words)
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
    [("row", "stdio"), ("variant", "http:raw-trio"), ("profile", "where the time goes")],
)
def test_a_part_does_not_replace_what_the_page_shows(
    lost: str, named: str, page: Path, plot: Path
) -> None:
    made = wholly()
    if lost == "row":
        del made.rows["stdio"]
    elif lost == "variant":
        del made.rows["http"].variants["raw-trio"]
    else:
        made.profiles.clear()
    with pytest.raises(Failure, match=f"--write-docs .*, and this one lacks {named}$") as caught:
        show(made, page, plot)
    assert caught.value.status == Exit.USAGE
    assert (page.read_text(), plot.read_text()) == (f"{BEGIN}\nold\n{END}\n", "old")


def test_a_part_is_not_measured_for_the_page(page: Path, plot: Path) -> None:
    part = ("stdio:ours-stdio", "stdio:raw-stdio-ready")
    choice = Choice(only=part, rounds=1, quick=True, outputs=Outputs(write_docs=True))
    with pytest.raises(Failure, match=r"--write-docs .*, and this one lacks .*http-1000"):
        measure(choice, page, plot.parent)
    assert (page.read_text(), plot.read_text()) == (f"{BEGIN}\nold\n{END}\n", "old")


@pytest.mark.long
def test_a_run_tells_what_others_took_meanwhile(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    words = ("--only", "stdio:raw-stdio-ready", "--quick", "--rounds", "1", "--json", str(file))
    done = bench("run", *words)
    assert done.returncode == 0, done.stderr
    others = load(file).others
    assert (others is not None) is STAT.exists()
    assert others is None or f"others took {others:.0%} of a processor" in done.stdout


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
