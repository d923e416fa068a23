"""The fuzz targets in small: corpus, fixed seeds, and that a fault is found and made small.

``python -m tests.fuzz`` does the same at any size (docs/fuzzing.md).
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.strategies import Malformed, malformed, messages
from tests.fuzz.campaign import Budget, best_engine, run, table
from tests.fuzz.choices import Choices
from tests.fuzz.faults import Watch, minimise
from tests.fuzz.registry import CORPUS, Target, load, names
from tests.fuzz.worker import fuzz

ROOT = Path(__file__).parents[2]
MESSAGES = {"wire": 100_000, "peer_server": 4_000, "peer_client": 4_000}
"""Inputs of targets that take messages; one of a Peer has several."""
STREAMS = {"http_streams": 6_000, "websocket": 6_000}
"""Streams of raw bytes, each sent twice, whole and in pieces."""
PARTS = 4
"""Seeds among which those are shared."""
SLOW = {
    *("http_streams", "websocket", "http_server", "stored_server", "http_client"),
    *("peer_server", "peer_client"),
}
MINUTE = {"plain": 10_000, "guided": 1_000}
"""Inputs of each target that take about a minute in all; a tenth of those that are slow."""

every = pytest.mark.parametrize("name", names())


def faults_of(target: Target, *, seed: int, executions: int) -> list[str]:
    faults: list[str] = []
    done = fuzz(
        target,
        seed=seed,
        executions=executions,
        found=lambda data, what, report: faults.append(f"{what}: {data!r}\n{report}"),
    )
    assert faults or done == executions
    return faults


@every
def test_the_corpus_and_some_mutations_of_it(name: str) -> None:
    target = load(name)
    count = len(target.corpus())
    assert count
    assert faults_of(target, seed=1, executions=count + (40 if name in SLOW else 200)) == []


@every
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    load(name).run(data)


@given(message=messages(), broken=malformed())
def test_messages_of_the_strategies(message: object, broken: Malformed) -> None:
    wire = load("wire").run
    wire(b"\x02" + json.dumps(message).encode())
    wire(b"\x02" + broken.data)


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(sizes) < 300_000
    assert {path.name for path in CORPUS.iterdir()} == set(names())


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", MESSAGES | STREAMS)
def test_so_many_messages_and_streams(name: str, part: int) -> None:
    executions = (MESSAGES | STREAMS)[name] // PARTS
    assert faults_of(load(name), seed=2026 + part, executions=executions) == []


@pytest.mark.long
@pytest.mark.parametrize("engine", ["plain", "guided"])
def test_a_minute_of_all(
    tmp_path: Path, engine: str, record_property: Callable[[str, object], None]
) -> None:
    """By inputs, not by time: what is found here is found again, on a machine of any speed."""
    if engine == "guided" and best_engine() != engine:
        pytest.skip("atheris is not installed: make fuzz")
    tallies = []
    for name in names():
        executions = MINUTE[engine] // (10 if name in SLOW else 1)
        tallies += run([name], Budget(1, executions=executions), engine=engine, folder=tmp_path)
    record_property("figures", table(tallies))
    assert [(tally.target, tally.faults) for tally in tallies] == [(name, []) for name in names()]
    assert all(tally.executions for tally in tallies)


# The tools themselves


def _faulty(data: bytes) -> None:
    c = Choices(data)
    if c.pick("abcd") == "c" and c.below(1000) > 500 and b"key" in c.rest():
        raise ValueError("found")


def test_a_fault_is_found_made_small_and_repeated() -> None:
    target = Target("toy", _faulty, (b"key",))
    found: list[bytes] = []
    executions = 20_000
    assert fuzz(target, seed=3, executions=executions, found=lambda d, w, r: found.append(d)) > 0
    assert len(found) == 1
    assert len(found[0]) == 6
    with Watch(_faulty) as watch:
        fault = watch.fault(found[0])
        assert fault is not None
        assert fault.what.startswith("ValueError in test_fuzz.py:")
        assert minimise(watch, b"xx" + found[0] + b"yy", "another") == b"xx" + found[0] + b"yy"


def test_a_seed_gives_the_same_inputs() -> None:
    seen: list[list[bytes]] = [[], []]
    for each in seen:
        target = Target("toy", each.append, (b"a", b"b"))
        fuzz(target, seed=9, executions=200, found=lambda d, w, r: None)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 50


def test_what_hangs_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.faults.HANG", 0.05)

    def spin(data: bytes) -> None:
        while data:
            pass

    with Watch(spin) as watch:
        assert watch.fault(b"") is None
        fault = watch.fault(b"x")
    assert fault is not None
    assert fault.what == "Hang"


def test_the_command_replays_an_input(tmp_path: Path) -> None:
    file = tmp_path / "sse" / "fault-1"
    file.parent.mkdir()
    file.write_bytes(b"\0\0data: x\n\n")
    command = [sys.executable, "-m", "tests.fuzz", "--replay", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "nothing is wrong\n")
