"""Two runs side by side: what has changed, what is noise, what has come and gone."""

from pathlib import Path

import msgspec
import pytest

from mcpcore_bench.commands.outputs import Outputs
from mcpcore_bench.commands.saved import load, show_comparison, show_saved
from mcpcore_bench.method.compare import Change, compare, unlike
from mcpcore_bench.method.samples import Measured, Phase, Run, Verdict
from mcpcore_transports.commands.output import Failure
from tests.benchmarks.runs import FACTS, measured, run

STEADY = (100.0, 101.0, 99.0, 100.0, 102.0)


def of(values: tuple[float, ...]) -> dict[str, dict[str, Measured]]:
    """Ours, and a raw program beside it that is as it always is."""
    return {"http": {"ours": measured(*values), "raw-protocol": measured(*(50.0,) * 5)}}


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
    found, _ = compare(run(of(STEADY)), run(of(after)))
    assert (found.row, found.variant, found.change) == ("http", "ours", change)


@pytest.mark.parametrize("after", [99.0, 101.0])
def test_a_steady_difference_of_a_hundredth_is_no_change(after: float) -> None:
    found, _ = compare(run(of((100.0,) * 5)), run(of((after,) * 5)))
    assert found.change is Change.SAME
    assert found.factor == pytest.approx(after / 100)


def test_what_is_new_gone_or_was_never_measured() -> None:
    once = {"ours": measured(*STEADY)}
    old = run({"http": {**once, "never": Measured("n")}, "left": once})
    new = run({"http": {"sdk": measured(*STEADY), "never": Measured("n")}})
    found = {(each.row, each.variant): each.change for each in compare(old, new)}
    assert found == {
        ("http", "sdk"): Change.NEW,
        ("http", "ours"): Change.GONE,
        ("left", "ours"): Change.GONE,
    }


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((60.0, 62.0, 61.0), (61.0, 60.0, 90.0), False),
        ((60.0, 62.0, 61.0), (80.0, 62.0, 79.0), True),
        ((60.0,), (50.0,), True),
        ((), (90.0,), False),  # a file of old
    ],
)
def test_runs_on_a_faster_or_slower_machine_are_told_apart(
    before: tuple[float, ...], after: tuple[float, ...], *, told: bool
) -> None:
    old, new = run(of(STEADY)), run(of(STEADY))
    old.phases, new.phases = ([Phase(0.0, each) for each in side] for side in (before, after))
    assert any("not the same speed of the machine" in line for line in unlike(old, new)) is told


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
    # What has fewer rounds, or is a number, is no reference.
    none = {"raw-few": measured(1.0), "bytes": measured(*(1.0,) * 5)}
    old = run({"http": {"ours": times(1.0), **none, "raw-protocol": times(0.5, other)}})
    new = run({"http": {"ours": times(ours), **none, "raw-protocol": times(0.5 * raw, other)}})
    found, *_, reference = compare(old, new)
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
        (("raw-b",), ("raw-a",), "raw-a", "bare"),
        ((), (), "sdk", "sdk"),
        ((), (), "less", "bare"),  # one of ours comes last
    ],
)
def test_the_reference_is_a_peer_of_both_runs_and_best_a_raw_program(
    before: tuple[str, ...], after: tuple[str, ...], held: str, reference: str | None
) -> None:
    def of_these(names: tuple[str, ...]) -> Run:
        left_out = {name: Measured(name, missing="not installed") for name in ("raw-a", "raw-b")}
        known = {name: times(1.0) for name in ("ours", "less", "bare", "sdk", *names)}
        return run({"http": left_out | known}, [Verdict("ours", held, None, None)])

    found = {each.variant: each for each in compare(of_these(before), of_these(after))}
    assert found["ours"].reference == reference
    assert found["ours"].beside == 1.0


@pytest.mark.parametrize(
    ("one", "many", "change"),
    [
        (1.0, 1.0, Change.SAME),
        (1.5, 1.5, Change.UNTOLD),  # the machine, or both
        (0.6, 0.6, Change.UNTOLD),
        (1.0, 1.3, Change.SLOWER),
        (1.0, 0.7, Change.FASTER),
        (0.7, 1.0, Change.MORE_BESIDE),
    ],
)
def test_one_of_ours_tells_what_costs_more_but_not_what_does_not(
    one: float, many: float, change: Change
) -> None:
    def made(one: float, many: float) -> Run:
        variants = {"1": times(one), "100": times(many, tuple(reversed(STEADY)))}
        return run({"sessions": variants}, [Verdict("100", "1", 1.1, None)])

    alone, beside = compare(made(1.0, 1.0), made(one, many))
    assert (beside.change, beside.reference) == (change, "1")
    # Nothing is there that it could be held against: what has moved is said, and no more.
    assert alone.change is (Change.SAME if one == 1.0 else Change.UNTOLD)
    assert (alone.reference, alone.beside) == (None, None)


def test_nothing_of_ours_tells_anything_of_a_peer() -> None:
    old = run({"http": {"sdk": times(1.0), "ours": times(1.0)}}, [Verdict("ours", "sdk", 1, None)])
    new = run({"http": {"sdk": times(1.0), "ours": times(0.5)}}, [Verdict("ours", "sdk", 1, None)])
    found = {each.variant: each for each in compare(old, new)}
    assert (found["sdk"].change, found["sdk"].reference) == (Change.SAME, None)
    assert (found["ours"].change, found["ours"].reference) == (Change.FASTER, "sdk")


@pytest.mark.parametrize("reference", ["raw-protocol", "sdk", "1"])
@pytest.mark.parametrize("others", [0.05, 0.15])
def test_where_the_machine_had_other_work_only_raw_programs_tell(
    reference: str, others: float
) -> None:
    def made(factor: float) -> Run:
        variants = {"ours": times(factor), reference: times(1.0)}
        return run({"http": variants}, [Verdict("ours", reference, None, None)])

    old, new = made(1.0), made(1.4)
    old.others, new.others = 0.0, others
    (found, _) = compare(old, new)
    told = others < 0.1 or reference == "raw-protocol"
    assert found.change is (Change.SLOWER if told else Change.UNTOLD)


def test_a_number_is_never_another() -> None:
    def made(factor: float) -> Run:
        return run({"peak": {"bytes": measured(*(1.0,) * 5), "raw-protocol": times(factor)}})

    number, raw = compare(made(1.0), made(2.0))
    assert (number.change, raw.change) == (Change.SAME, Change.MACHINE)


def test_a_number_tells_nothing_of_the_machine() -> None:
    def made(factor: float) -> Run:
        variants = {"ours": times(factor), "8-kb": measured(*(8.0,) * 5)}
        return run({"idle": variants}, [Verdict("ours", "8-kb", 1.0, None)])

    ours, number = compare(made(1.0), made(2.0))
    assert (ours.change, ours.reference) == (Change.UNTOLD, None)
    assert number.change is Change.SAME


@pytest.mark.parametrize(("before", "after"), [(1, 1), (5, 4), (4, 5), (1, 7)])
def test_too_few_rounds_tell_nothing(
    before: int, after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "old.json", tmp_path / "new.json"
    for file, count, factor in zip(files, (before, after), (1, 5), strict=True):
        ours, raw = measured(*(factor * 100.0,) * count), measured(*(50.0,) * count)
        file.write_bytes(msgspec.json.encode(run({"http": {"ours": ours, "raw-a": raw}})))
    changes = {each.change for each in compare(load(files[0]), load(files[1]))}
    assert changes == {Change.FEW}
    assert show_comparison(*files, everything=False) == 0
    said = capsys.readouterr().out
    assert "too few rounds" in said
    assert "2 of too few rounds, 0 cost MORE" in said


@pytest.mark.parametrize(
    ("ours", "peer", "status"), [(1.0, 2.0, 0), (2.0, 1.0, 1), (2.0, 2.0, 1), (1.0, 1.0, 0)]
)
def test_what_a_peer_costs_is_said_and_no_matter_of_the_status(
    ours: float, peer: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "old.json", tmp_path / "new.json"
    for file, factors in zip(files, ((1.0, 1.0), (ours, peer)), strict=True):
        variants = {"ours": times(factors[0]), "sdk": times(factors[1]), "raw-a": times(0.5)}
        file.write_bytes(msgspec.json.encode(run({"http": variants})))
    assert show_comparison(*files, everything=False) == status
    said = capsys.readouterr().out
    count = (ours > 1) + (peer > 1)
    assert f"{count} cost MORE ({int(ours > 1)} of them ours)" in said
    assert ("│ MORE" in said or " MORE │" in said) is (count > 0)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("rounds", 7, "not as many rounds: 5, then 7"),
        ("quick", True, "not rounds of the same length: full length, then --quick"),
        ("quick", None, "not rounds of the same length: full length, then not known"),
        ("load", (3.5, 0, 0), "not the same load of the machine: 0.10, then 3.50"),
        ("load", (0.5, 9, 9), None),
        ("cores", 4, "not the same machine: cores was 2, is 4"),
        ("commit", "0123456789abcdef", "not the same code: not known, then commit 0123456789ab"),
        (
            "packages",
            {"mcpcore": "0.1.0", "uvloop": "0.23.0"},
            "not the same uvloop: was not installed, is 0.23.0",
        ),
        (
            "peers",
            {"official SDK": {"mcp": "2.4.0"}},
            "not the same mcp of official SDK: was 2.3.0, is 2.4.0",
        ),
        (
            "peers",
            {"official SDK": {"mcp": "2.3.0"}, "Node": {"version": "v22"}},
            "not the same version of Node: was not installed, is v22",
        ),
    ],
)
def test_what_differs_between_two_runs_is_said(name: str, value: object, line: str | None) -> None:
    old, new = run({}), run({})
    assert unlike(old, new) == []
    setattr(new.machine if hasattr(new.machine, name) else new, name, value)
    assert unlike(old, new) == ([] if line is None else [line])


def test_a_row_that_is_described_otherwise_may_be_other_work() -> None:
    old, new = (run({"http": {}, "sessions": {}, name: {}}) for name in ("old", "new"))
    assert unlike(old, new) == []
    new.rows["sessions"].title = "Sixteen at once"
    assert unlike(old, new) == [
        "perhaps not the same work: sessions was 'The row sessions', is 'Sixteen at once'"
    ]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (("a", False), ("a", False), None),
        (("a", False), ("b", False), "not the same code: commit a, then commit b"),
        (("a", False), ("a", True), "not the same code: commit a, then commit a, with changes"),
        (("a", True), ("a", True), "perhaps not the same code: commit a, with changes, both times"),
        (("a", False), (None, False), "not the same code: commit a, then not known"),
    ],
)
def test_of_which_code_two_runs_are_is_said(
    before: tuple[str | None, bool], after: tuple[str | None, bool], line: str | None
) -> None:
    old, new = run({}), run({})
    for made, (commit, changed) in ((old, before), (new, after)):
        made.machine.commit, made.machine.changed = commit, changed
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
    new.machine.load = (3.5, 0, 0)
    assert unlike(old, new) == ([] if line is None else [line])


def test_what_is_in_one_file_only_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    both = {"a": times(1.0), "b": times(1.0), "raw-a": times(1.0)}
    old.write_bytes(msgspec.json.encode(run({"http": both, "left": {"x": times(1.0)}})))
    after = both | {"b": times(0.5), "c": times(1.0), "d": times(1.0), "never": Measured("n")}
    new.write_bytes(msgspec.json.encode(run({"http": after})))
    assert show_comparison(old, new, everything=False) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "3 compared: 2 within the noise, 0 moved as the machine, 0 not told apart from it, "
        "0 of too few rounds, 0 cost MORE (0 of them ours), "
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
        made.machine.load = (6 * (factor - 1), 0, 0)
        file.write_bytes(msgspec.json.encode(made))
    assert show_comparison(old, new, everything=False) == 0
    said = capsys.readouterr().out
    assert "not the same load of the machine: 0.00, then 2.40" in said
    assert "2 compared: 0 within the noise, 2 moved as the machine, 0 not told apart" in said
    assert "raw-protocol" in said


def test_the_command_tells_and_its_status_says_whether_anything_costs_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_bytes(msgspec.json.encode(run(of(STEADY))))
    worse = run(of(tuple(2 * value for value in STEADY)))
    worse.machine.cpu = "another CPU"
    new.write_bytes(msgspec.json.encode(worse))
    assert show_comparison(old, new, everything=False) == 1
    said = capsys.readouterr().out
    assert "MORE" in said
    assert "not the same machine: cpu" in said
    assert show_comparison(new, old, everything=False) == 0
    assert show_comparison(old, old, everything=False) == 0


def saying(**members: object) -> bytes:
    """A run of these members, and of old."""
    return msgspec.json.encode({"machine": FACTS, "rounds": 5, "rows": {}, **members})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory$"),
        (b"{", "truncated"),
        (saying(format=9), "has format 9, not 1"),
        (saying(machine={}), r"required field `when` - at `\$.machine`"),
        (saying(machine={**FACTS, "load": []}), r"at `\$.machine.load`"),
        (saying(rounds="many"), r"at `\$.rounds`"),
    ],
)
def test_what_is_no_run_is_refused(content: bytes | None, why: str, tmp_path: Path) -> None:
    file, good = tmp_path / "run.json", tmp_path / "good.json"
    good.write_bytes(saying())
    if content is not None:
        file.write_bytes(content)
    for refused in (
        lambda: load(file),
        lambda: show_saved(file, Outputs()),
        lambda: show_comparison(file, good, everything=False),
        lambda: show_comparison(good, file, everything=False),
    ):
        with pytest.raises(Failure, match=rf"run\.json.*{why}") as caught:
            refused()
        assert caught.value.status == 2
