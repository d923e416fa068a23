"""A row is measured round by round, and what there is is kept however it ends."""

import sys
from pathlib import Path

import pytest

from mcpcore_bench.commands.running import attempted
from mcpcore_bench.load.jobs import AnyJob, Command, SelfMeasured
from mcpcore_bench.method.samples import RowResult
from mcpcore_bench.rows import Bound, Row, Variant
from mcpcore_bench.runner import RunFailed, run_row
from tests.benchmarks.runs import measured, run

COUNTING = """
import pathlib
file = pathlib.Path({file!r})
count = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(count))
assert count not in {fails!r}, "no luck"
print(f'{{{{"value":{{count}}.5}}}}')
"""


def counting(file: Path, *fails: int) -> AnyJob:
    """A program that measures how often it has been started, and fails at some of these times."""
    code = COUNTING.format(file=str(file), fails=fails)
    return SelfMeasured(server=Command((sys.executable, "-c", code)))


@pytest.fixture
def row(tmp_path: Path) -> Row:
    def variant(name: str, *fails: int, missing: str | None = None) -> Variant:
        return Variant(name, lambda: counting(tmp_path / name, *fails), lambda: missing)

    return Row(
        name="row",
        title="A row",
        unit="starts",
        variants={
            "ours": variant("ours"),
            "once": variant("once", 2),
            "twice": variant("twice", 1, 3),
            "absent": variant("absent", missing="not installed"),
        },
        bounds=(Bound("ours", "once", 1.0), Bound("ours", "absent", 1.0)),
    )


def test_samples_know_their_round_and_what_fails_is_said(row: Row) -> None:
    told: list[tuple[int, str]] = []
    kept: list[dict[str, int]] = []

    def keep(result: RowResult) -> None:
        kept.append({name: len(each.samples) for name, each in result.variants.items()})

    found = run_row(
        row, 4, quick=False, told=lambda number, title: told.append((number, title)), kept=keep
    )
    rounds = {
        name: [(each.round, each.value) for each in measured.samples]
        for name, measured in found.variants.items()
    }
    assert rounds == {
        "ours": [(1, 1.5), (2, 2.5), (3, 3.5), (4, 4.5)],
        "once": [(1, 1.5), (3, 3.5), (4, 4.5)],
        "twice": [(2, 2.5)],
        "absent": [],
    }
    assert told == [
        *((1, name) for name in ("ours", "once", "twice")),
        *((2, name) for name in ("ours", "once", "twice")),
        *((3, name) for name in ("ours", "once", "twice")),
        *((4, name) for name in ("ours", "once")),
    ]
    assert [each["ours"] for each in kept] == [1, 2, 3, 4]
    assert {name: each.failed for name, each in found.variants.items()} == {
        "ours": False,
        "once": True,
        "twice": True,
        "absent": False,
    }
    assert "no luck" in str(found.variants["once"].missing)
    assert found.variants["absent"].missing == "not installed"
    assert [each.ratio for each in found.verdicts] == [3.0 / 3.5, None]
    assert found.unit == row.unit


def test_only_what_is_wanted_is_measured(row: Row) -> None:
    found = run_row(row, 1, quick=True, only=("ours",), told=lambda *_: None, kept=lambda _: None)
    assert list(found.variants) == ["ours"]


def test_what_a_row_has_when_it_is_interrupted_is_kept(row: Row) -> None:
    made = run({})

    def told(number: int, title: str) -> None:
        if (number, title) == (3, "once"):
            raise KeyboardInterrupt

    def kept(result: RowResult) -> None:
        made.rows["row"] = result

    with pytest.raises(KeyboardInterrupt):
        run_row(row, 5, quick=False, told=told, kept=kept)
    assert [each.round for each in made.rows["row"].variants["ours"].samples] == [1, 2]


def test_a_run_goes_on_without_what_has_failed() -> None:
    made = run({})

    def failing() -> None:
        raise RunFailed("nothing came of it")

    with attempted(made, "profile http:ours"):
        failing()
    with attempted(made, "the load generator by itself"):
        made.own["more"] = measured(1.0)
    assert made.failures == {"profile http:ours": "nothing came of it"}
    assert list(made.own) == ["more"]
