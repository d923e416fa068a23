"""Two runs side by side: what has changed, what is noise, what has come and gone."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.commands.running import load, show_comparison
from benchmarks.method.compare import Change, compare
from benchmarks.method.samples import Measured
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
