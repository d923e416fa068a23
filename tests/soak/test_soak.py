"""A short soak: what ``make soak`` does for twenty minutes or more; and that its rules can fail."""

import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.soak.__main__ import CAST
from tests.soak.actors import HTTP, storm
from tests.soak.rules import (
    NEEDED,
    Moment,
    busy,
    growing,
    missing,
    remaining,
    restless,
    storms,
)
from tests.soak.sampling import Sample

FLAT = Sample(
    rss=50.0,
    blocks=100_000,
    descriptors=10,
    tasks=5,
    threads=1,
    in_flight=0,
    sessions=0,
    cpu=1.0,
)


def _moments(name: str, values: list[Any], side: str) -> list[Moment]:
    samples = [Sample(**{**_members(FLAT), name: value}) for value in values]
    return [
        Moment(
            float(at),
            **{"servers": FLAT, "load": FLAT, side: sample},
            done={},
        )
        for at, sample in enumerate(samples)
    ]


def _members(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__struct_fields__}


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    ("name", "values", "wrong"),
    [
        ("rss", [40, 90, 90, 90, 95, 90, 96, 95], False),
        ("rss", [40, 50, 60, 70, 80, 90, 99, 99], True),
        ("blocks", [1e5, 1.1e5, 1.1e5, 1.1e5, 1.2e5, 1.1e5, 1.1e5, 1.1e5], False),
        ("blocks", [1e5, 1.1e5, 1.2e5, 1.3e5, 1.4e5, 1.5e5, 1.6e5, 1.7e5], True),
    ],
)
def test_what_grows_is_seen(name: str, values: list[float], wrong: bool, side: str) -> None:
    assert bool(growing(_moments(name, values, side))) is wrong


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("descriptors", 12, False),
        ("descriptors", 30, True),
        ("tasks", 5, False),
        ("tasks", 6, True),
        ("in_flight", 1, True),
        ("sessions", 1, True),
        ("blocks", 120_000, False),
        ("blocks", 130_000, True),
        ("errors", ["a connection failed"], True),
    ],
)
def test_what_is_left_is_seen(name: str, value: Any, wrong: bool, side: str) -> None:
    [end] = _moments(name, [value], side)
    [begin] = _moments("rss", [50.0], side)
    assert bool(remaining(begin, end)) is wrong


@pytest.mark.parametrize(
    ("cpu", "looking", "share"),
    [(1.0, 0.0, 0.0), (1.5, 0.5, 0.0), (1.5, 0.1, 0.05), (2.0, 0, 0.125)],
)
def test_what_idle_servers_take_is_seen(cpu: float, looking: float, share: float) -> None:
    before = Sample(**{**_members(FLAT), "looking": looking})
    after = Sample(**{**_members(FLAT), "cpu": cpu, "looking": 0.7})
    assert busy(before, after, 8.0) == pytest.approx(share)


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(("share", "wrong"), [(0.0, False), (0.009, False), (0.02, True)])
def test_neither_side_takes_more_than_a_little_with_nothing_to_do(
    side: str, share: float, wrong: bool
) -> None:
    found = restless({"servers": 0.0, "load": 0.0, side: share})
    assert found == [f"the idle {side} takes 2.0% of a processor"] * wrong


def test_small_storms_are_not_enough() -> None:
    done = {**dict.fromkeys(NEEDED, 1), storms(1_000): 9, "cancelled": 9_000}
    assert missing(done) == []
    del done["storms of 10,000"]
    assert missing(done) == ["storms of 10,000"]


def test_of_two_storms_in_turn_one_is_large() -> None:
    [where] = [cast.where for cast in CAST if cast.act is storm]
    assert set(HTTP) < set(where)
    for first, second in zip(where, (*where[1:], where[0]), strict=True):
        assert not {first, second} <= set(HTTP), (first, second)


@pytest.mark.parametrize("name", NEEDED)
def test_what_was_never_done_is_seen(name: str) -> None:
    done = dict.fromkeys(NEEDED, 1)
    assert missing(done) == []
    assert missing({**done, name: 0}) == [name]
    del done[name]
    assert missing(done) == [name]


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("backend", "minutes"), [("asyncio", "2"), ("trio", "0.7")])
def test_it_is_flat(backend: str, minutes: str, tmp_path: Path) -> None:
    """... in a process of its own: what other tests have left in this one is not what is soaked."""
    words = ("--backend", backend, "--minutes", minutes, "--report", str(tmp_path / "soak.json"))
    done = subprocess.run([sys.executable, "-m", "tests.soak", *words], stdout=PIPE, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("flat;")
