"""Two runs side by side: what has changed, what is noise, what has come and gone."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.commands.outputs import Outputs
from benchmarks.commands.running import load, show_comparison, show_saved
from benchmarks.method.compare import Change, compare, unlike
from benchmarks.method.samples import Measured, Run, Verdict
from tests.benchmarks.runs import measured, run
from transports.commands.output import Failure

STEADY = (100.0, 101.0, 99.0, 100.0, 102.0)


def of(values: tuple[float, ...]) -> dict[str, dict[str, Measured]]:
    return {"http": {"ours": measured(*values)}}


@pytest.mark.parametrize(
    ("after", "change"),
    [
        ((80.0, 81.0, 79.0, 80.0, 82.0), Change.FASTER),
        ((130.0, 131.0, 129.0, 130.0, 133.0), Change.SLOWER),
        ((101.0, 100.0, 102.0, 99.0, 100.0), Change.SAME),
        ((60.0, 140.0, 100.0, 130.0, 80.0), Change.SAME),  # noisy
        ((104.0, 90.0, 103.0, 110.0, 101.0), Change.SAME),
        ((101.0, 101.0, 110.0, 112.0, 111.0), Change.SAME),  # the intervals touch
        ((99.0, 99.0, 90.0, 88.0, 89.0), Change.SAME),
    ],
)
def test_what_has_changed_beyond_the_noise(after: tuple[float, ...], change: Change) -> None:
    (found,) = compare(run(of(STEADY)), run(of(after)))
    assert (found.row, found.variant, found.change) == ("http", "ours", change)


@pytest.mark.parametrize("after", [99.0, 101.0])
def test_a_steady_difference_of_a_hundredth_is_no_change(after: float) -> None:
    (found,) = compare(run(of((100.0,) * 5)), run(of((after,) * 5)))
    assert found.change is Change.SAME
    assert found.factor == pytest.approx(after / 100)


def test_what_is_new_gone_or_was_never_measured() -> None:
    old = run(
        {"http": {"ours": measured(*STEADY), "never": Measured("n")}, "left": of(STEADY)["http"]}
    )
    new = run({"http": {"sdk": measured(*STEADY), "never": Measured("n")}})
    found = {(each.row, each.variant): each.change for each in compare(old, new)}
    assert found == {
        ("http", "sdk"): Change.NEW,
        ("http", "ours"): Change.GONE,
        ("left", "ours"): Change.GONE,
    }


def times(factor: float, values: tuple[float, ...] = STEADY) -> Measured:
    return measured(*(factor * value for value in values))


@pytest.mark.parametrize(
    ("ours", "raw", "change", "beside"),
    [
        (1.0, 1.0, Change.SAME, 1.0),
        (1.3, 1.3, Change.MACHINE, 1.0),  # another load of the machine
        (0.7, 0.7, Change.MACHINE, 1.0),
        (1.3, 1.0, Change.SLOWER, 1.3),
        (0.7, 1.0, Change.FASTER, 0.7),
        (1.7, 1.3, Change.SLOWER, 1.7 / 1.3),
        (1.0, 0.7, Change.MORE_BESIDE, 1 / 0.7),  # hidden by a faster machine
        (0.9, 0.7, Change.MORE_BESIDE, 0.9 / 0.7),
        (1.3, 1.6, Change.LESS_BESIDE, 1.3 / 1.6),
    ],
)
def test_what_moved_with_the_machine_is_told_apart(
    ours: float, raw: float, change: Change, beside: float
) -> None:
    other = tuple(reversed(STEADY))
    old = run({"http": {"ours": times(1.0), "raw-protocol": times(0.5, other)}})
    new = run({"http": {"ours": times(ours), "raw-protocol": times(0.5 * raw, other)}})
    found, reference = compare(old, new)
    assert found.change is change
    assert found.reference == "raw-protocol"
    assert found.beside == pytest.approx(beside)
    assert found.factor == pytest.approx(ours)
    assert reference.change is (Change.SAME if raw == 1.0 else Change.MACHINE)
    assert (reference.reference, reference.beside) == (None, None)


@pytest.mark.parametrize(
    ("before", "after", "held", "reference"),
    [
        (("raw-a", "raw-b"), ("raw-a", "raw-b"), "raw-b", "raw-b"),  # as the bound says
        (("raw-a", "raw-b"), ("raw-a", "raw-b"), "sdk", "raw-a"),
        (("raw-a", "raw-b"), ("raw-a",), "raw-b", "raw-a"),
        (("raw-b",), ("raw-a",), "raw-a", None),
        ((), (), "sdk", None),
    ],
)
def test_the_reference_is_a_raw_program_of_both_runs(
    before: tuple[str, ...], after: tuple[str, ...], held: str, reference: str | None
) -> None:
    def of_these(names: tuple[str, ...]) -> Run:
        left_out = {name: Measured(name, missing="not installed") for name in ("raw-a", "raw-b")}
        known = {name: times(1.0) for name in ("ours", "sdk", *names)}
        return run({"http": left_out | known}, [Verdict("ours", held, None, None)])

    found = {each.variant: each for each in compare(of_these(before), of_these(after))}
    assert found["ours"].reference == reference
    assert (found["ours"].beside is None) is (reference is None)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("rounds", 7, "not as many rounds: 5, then 7"),
        ("quick", True, "not rounds of the same length: full length, then --quick"),
        ("quick", None, "not rounds of the same length: full length, then not known"),
        ("load", [3.5, 0, 0], "not the same load of the machine: 0.10, then 3.50"),
        ("load", [0.5, 9, 9], None),
        ("cores", 4, "not the same machine: cores was 2, is 4"),
    ],
)
def test_what_differs_between_two_runs_is_said(name: str, value: object, line: str | None) -> None:
    old, new = run({}), run({})
    assert unlike(old, new) == []
    if name in new.machine:
        new.machine[name] = value
    else:
        setattr(new, name, value)
    assert unlike(old, new) == ([] if line is None else [line])


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (0.02, 0.45, "not as much other work of the machine: 2% of a processor, then 45%"),
        (0.02, 0.08, None),
        (None, 0.45, "not the same load of the machine: 0.10, then 3.50"),
        (0.02, None, "not the same load of the machine: 0.10, then 3.50"),
    ],
)
def test_other_work_is_compared_where_both_runs_know_it(
    before: float | None, after: float | None, line: str | None
) -> None:
    old, new = run({}), run({})
    old.others, new.others = before, after
    new.machine["load"] = [3.5, 0, 0]
    assert unlike(old, new) == ([] if line is None else [line])


def test_what_is_in_one_file_only_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    both = {"a": times(1.0), "b": times(1.0)}
    old.write_bytes(msgspec.json.encode(run({"http": both, "left": {"x": times(1.0)}})))
    after = both | {"b": times(0.5), "c": times(1.0), "d": times(1.0), "never": Measured("n")}
    new.write_bytes(msgspec.json.encode(run({"http": after})))
    assert show_comparison(old, new, everything=False) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "2 compared: 1 within the noise, 0 moved as the machine, 0 cost MORE, "
        "0 cost MORE beside their reference alone, 1 cost less, "
        "0 cost less beside their reference alone; "
        "3 are in one file only: 1 in the old, 2 in the new"
    )


def test_a_run_that_does_not_know_what_others_did_is_read(tmp_path: Path) -> None:
    file, known = tmp_path / "old.json", run(of(STEADY))
    known.others = 0.25
    file.write_bytes(msgspec.json.encode(known))
    assert load(file).others == 0.25
    members = msgspec.json.decode(file.read_bytes())
    del members["others"]
    file.write_bytes(msgspec.json.encode(members))
    assert load(file).others is None
    assert show_comparison(file, file, everything=True) == 0
    assert show_saved(file, Outputs()) == 0


def test_a_load_of_the_machine_is_no_change_for_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for file, factor in ((old, 1.0), (new, 1.4)):
        made = run({"http": {"ours": times(factor), "raw-protocol": times(0.5 * factor)}})
        made.machine["load"] = [6 * (factor - 1), 0, 0]
        file.write_bytes(msgspec.json.encode(made))
    assert show_comparison(old, new, everything=False) == 0
    said = capsys.readouterr().out
    assert "not the same load of the machine: 0.00, then 2.40" in said
    assert "2 compared: 0 within the noise, 2 moved as the machine, 0 cost MORE" in said
    assert "raw-protocol" in said


def test_the_command_tells_and_its_status_says_whether_anything_costs_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_bytes(msgspec.json.encode(run(of(STEADY))))
    worse = run(of(tuple(2 * value for value in STEADY)))
    worse.machine["cpu"] = "another CPU"
    new.write_bytes(msgspec.json.encode(worse))
    assert show_comparison(old, new, everything=False) == 1
    said = capsys.readouterr().out
    assert "MORE" in said
    assert "not the same machine: cpu" in said
    assert show_comparison(new, old, everything=False) == 0
    assert show_comparison(old, old, everything=False) == 0


@pytest.mark.parametrize("content", [None, b"{", b'{"machine":{},"rounds":1,"rows":{},"format":9}'])
def test_what_is_no_run_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Failure, match=r"run\.json"):
        load(file)
