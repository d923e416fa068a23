"""A short soak: what ``make soak`` does for twenty minutes or more; and that its rules can fail."""

import gc
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.soak.__main__ import CAST
from tests.soak.actors import storm
from tests.soak.allocated import in_use
from tests.soak.house import HTTP
from tests.soak.kept import kept
from tests.soak.rules import (
    GROWN,
    NEEDED,
    Moment,
    busy,
    growing,
    grown,
    missing,
    remaining,
    restless,
    storms,
)
from tests.soak.sampling import Sample

FLAT = Sample(
    rss=50.0,
    in_use=30.0,
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
    sides: list[dict[str, Any]] = [
        {"servers": FLAT, "load": FLAT, side: sample} for sample in samples
    ]
    return [Moment(float(at), **each, done={}) for at, each in enumerate(sides)]


def _members(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in Sample.__struct_fields__}


@pytest.mark.parametrize("side", ["servers", "load"])
@pytest.mark.parametrize(
    ("name", "values", "wrong"),
    [
        ("rss", [40, 90, 90, 90, 95, 90, 96, 95], False),
        ("rss", [40, 50, 60, 70, 80, 90, 99, 99], True),
        ("in_use", [25, 30, 30, 45, 30, 30, 38, 38], False),
        ("in_use", [25, 30, 32, 36, 40, 44, 50, 52], True),
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
        ("in_use", 39.0, False),
        ("in_use", 40.0, True),
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
    ("name", "before", "now", "wrong"),
    [
        ("Hub.inbound", 0, GROWN, True),
        ("Hub.inbound", 5, 5 + GROWN, True),
        ("Hub.inbound", 5, 4 + GROWN, False),
        ("objects: transports Exchange", 7, 7 + GROWN, True),
        ("RequestParser._known", 0, 900, False),
        ("Deadlines._heap[]", 0, 900, False),
        ("database: events", 0, GROWN, True),
    ],
)
def test_tables_that_grow_are_named(name: str, before: int, now: int, wrong: bool) -> None:
    there = {"load": {"Hub.outbound": 3, name: before}, "servers": {name: before}}
    found = grown(there, {**there, "servers": {name: now}})
    assert found == [f"kept by the servers: {name}: {before}, then {now}"] * wrong


class _Remembering:
    __module__ = "transports.soaked"

    def __init__(self) -> None:
        self.table: dict[int, list[int]] = {}


def test_what_is_kept_is_counted() -> None:
    """... by class and attribute, those in tables of tables too, and so are objects."""
    held = [_Remembering(), _Remembering()]
    held[0].table[1] = [1, 2, 3]
    held[1].table[1] = [4]
    name = f"{_Remembering.__name__}.table"
    found = kept()
    assert (found[name], found[f"{name}[]"]) == (2, 4)
    assert found[f"objects: transports {_Remembering.__name__}"] == 2
    assert not any("urlsplit" in each for each in found), "so many answers at most are kept"


@pytest.mark.parametrize(
    ("cpu", "looking", "share"),
    [(1.0, 0.0, 0.0), (1.5, 0.5, 0.0), (1.5, 0.1, 0.05), (2.0, 0, 0.125)],
)
def test_what_idle_servers_take_is_seen(cpu: float, looking: float, share: float) -> None:
    before = Sample(**{**_members(FLAT), "looking": looking})
    after = Sample(**{**_members(FLAT), "cpu": cpu, "looking": 0.7})
    assert busy(before, after, 8.0) == pytest.approx(share)


@pytest.mark.parametrize(
    ("side", "share", "wrong"),
    [
        *(("servers", share, share > 0.01) for share in (0.0, 0.009, 0.012, 0.02)),
        *(("load", share, share > 0.01) for share in (0.0, 0.009, 0.012, 0.02)),
        *(("store server 2", share, share > 0.02) for share in (0.0, 0.012, 0.019, 0.03)),
    ],
)
def test_neither_side_takes_more_than_a_little_with_nothing_to_do(
    side: str, share: float, wrong: bool
) -> None:
    found = restless({"servers": 0.0, "load": 0.0, side: share})
    assert found == [f"{side} takes {share:.1%} of a processor with nothing to do"] * wrong


@pytest.mark.parametrize("size", [100, 2_000, 5_000_000])
def test_what_is_in_use_is_counted(size: int) -> None:
    """... of small objects, of larger ones and of those that have pages of their own."""
    gc.collect()
    before = in_use()
    held = [bytes(size) for _ in range(20_000_000 // size)]
    taken = in_use() - before
    held.clear()
    gc.collect()
    assert 19 < taken < 40
    assert in_use() - before < 2


def test_small_storms_are_not_enough() -> None:
    done = {**NEEDED, storms(1_000): 9, "cancelled": 9_000}
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
    done = dict(NEEDED)
    assert missing(done) == []
    assert missing({**done, name: NEEDED[name] - 1}) == [name]
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
