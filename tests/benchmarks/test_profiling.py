"""Where the time goes: files are given to layers, and a program that is asked to counts."""

import asyncio.base_events
import json
import os
import re
import selectors
import sys
from pathlib import Path
from types import FrameType

import anyio
import h11
import pytest

from mcpcore.engine import peer
from mcpcore.http.server import server
from mcpcore_bench.load import lines
from mcpcore_bench.load.jobs import Command
from mcpcore_bench.method.samples import Measured, Profile, Verdict
from mcpcore_bench.profiling import (
    PROFILED,
    Found,
    can_be_profiled,
    looked_at,
    profile,
    to_be_profiled,
    together,
)
from mcpcore_bench.programs.ours import driven
from mcpcore_bench.programs.sampling import VARIABLE, Sampler, layer_of, sampled
from mcpcore_bench.report.docs import PAGE
from mcpcore_bench.report.markdown import profile_table
from mcpcore_bench.runner import RunFailed
from mcpcore_bench.table.table import ROWS
from mcpcore_transports.stream import connection as pump
from tests.benchmarks.runs import measured, run


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        (peer, "mcpcore/engine"),
        (server, "mcpcore/http"),
        (pump, "transports"),
        (lines, "benchmarks"),
        (asyncio.base_events, "asyncio"),
        (selectors, "asyncio"),
        (anyio, "anyio"),
        (h11, "h11"),
        (json, "the rest"),
        (pytest, "the rest"),
    ],
)
def test_a_file_belongs_to_a_layer(module: object, layer: str) -> None:
    file = getattr(module, "__file__", None)
    assert layer_of(str(file)) == layer


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="needs setitimer")
def test_a_busy_program_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profile.json"
    monkeypatch.setenv(VARIABLE, str(file))
    looks: list[int] = []
    look = Sampler.look

    def counted(sampler: Sampler, number: int, frame: FrameType | None) -> None:
        looks.append(number)
        look(sampler, number, frame)

    monkeypatch.setattr(Sampler, "look", counted)
    with sampled():
        while len(looks) < 3:  # how often that is depends on the clock of the machine
            json.dumps(list(range(100)))
    found = json.loads(file.read_text())
    assert sum(found["layers"].values()) >= 3
    assert 0 <= found["kernel"] <= 1


def test_nothing_is_counted_without_being_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.delenv(VARIABLE, raising=False)
    with sampled():
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


@pytest.mark.parametrize("name", PROFILED)
def test_a_server_that_is_looked_at_has_a_loop_that_can_be_seen(name: str, tmp_path: Path) -> None:
    row, _, variant = name.partition(":")
    server = ROWS[row].variants[variant].job().server
    asked = looked_at(server, tmp_path)
    assert asked.env == {**server.env, VARIABLE: str(tmp_path)}
    changed = {(was, now) for was, now in zip(server.words, asked.words, strict=True) if was != now}
    assert changed == ({("speed", "httptools")} if "speed" in server.words else set())
    assert driven("httptools") == driven("speed")
    assert "speed" not in asked.words


@pytest.mark.skipif(os.name == "nt", reason="needs setitimer")
def test_the_loop_of_the_speed_extra_is_seen() -> None:
    variant = ROWS["http"].variants["ours-speed"]
    if missing := variant.needs():
        pytest.skip(missing)
    found = profile("http:ours-speed", seconds=3.0, least=1)
    assert found.layers["asyncio"] > 0
    assert found.title.endswith(", on asyncio's loop")


@pytest.mark.skipif(os.name == "nt", reason="needs setitimer")
def test_our_client_is_looked_at_as_well() -> None:
    found = profile("client:client", seconds=1.0, least=1)
    assert found.looks > 0
    assert sum(found.layers.values()) == pytest.approx(1.0)


@pytest.mark.skipif(os.name == "nt", reason="needs setitimer")
def test_what_is_not_ours_cannot_be_looked_at() -> None:
    with pytest.raises(RunFailed, match="stdio:raw-stdio-ready was not profiled"):
        profile("stdio:raw-stdio-ready", seconds=0.1)


@pytest.mark.parametrize(
    ("least", "made", "layers", "kernel"),
    [
        (1, 1, {"a": 10}, 0.5),
        (10, 1, {"a": 10}, 0.5),
        (11, 2, {"a": 20, "b": 20}, 0.2),
        (1000, 3, {"a": 20, "b": 20, "c": 60}, 0.08),
    ],
)
def test_there_are_as_many_runs_as_it_takes_looks(
    least: int, made: int, layers: dict[str, int], kernel: float
) -> None:
    runs = [
        Found(layers={"a": 10}, kernel=0.5),
        Found(layers={"b": 20, "a": 10}, kernel=0.1),
        Found(layers={"c": 60}, kernel=0.0),
    ]
    left = iter(runs)
    found = together(left, least)
    assert found.layers == layers
    assert found.kernel == pytest.approx(kernel)
    assert len(list(left)) == len(runs) - made


def test_what_is_profiled_is_ours_and_in_the_table() -> None:
    for name in PROFILED:
        row, _, variant = name.partition(":")
        server = ROWS[row].variants[variant].job().server
        assert isinstance(server, Command)
        assert server.words[:2] == (sys.executable, "-m")
        assert server.words[2] in ("mcpcore_bench.programs.ours", "mcpcore_bench.programs.client")
        assert can_be_profiled(row, variant)


def missing(ratio: float, ours: str, count: int = 5) -> tuple[dict[str, Measured], Verdict]:
    """Ours and what it is held against, at most 1.5 x, and how far it got."""
    cost = {ours: measured(*(10 * ratio,) * count), "raw": measured(*(10.0,) * count)}
    return cost, Verdict(ours, "raw", 1.5, ratio)


@pytest.mark.parametrize(
    ("row", "variant", "ratio", "count", "shown"),
    [
        ("http-legacy", "ours-speed", 2.0, 5, True),
        ("asgi", "ours-asgi", 2.0, 5, True),
        ("client-bindings", "tcp", 2.0, 5, True),
        ("http-legacy", "ours-speed", 1.4, 5, False),  # met
        ("http-legacy", "ours-speed", 2.0, 4, False),  # of too few rounds
        ("start", "ours-stdio", 2.0, 5, False),  # not a program at work
        ("idle-session", "ours-asyncio", 2.0, 5, False),
        ("memory", "pair", 2.0, 5, False),  # does not look at itself
        ("a row of old", "ours", 2.0, 5, False),
    ],
)
def test_what_misses_a_bound_is_profiled_as_well(
    row: str, variant: str, ratio: float, count: int, *, shown: bool
) -> None:
    costs, verdict = missing(ratio, variant, count)
    found = to_be_profiled(run({row: costs}, [verdict]))
    assert found == [*PROFILED, *([f"{row}:{variant}"] if shown else [])]


def test_what_is_profiled_anyway_is_profiled_once() -> None:
    costs, verdict = missing(2.0, "ours-speed")
    assert to_be_profiled(run({"http": costs}, [verdict])) == list(PROFILED)
    assert len(set(PROFILED)) == len(PROFILED)


def test_all_that_the_page_says_to_be_missed_has_a_profile() -> None:
    text = PAGE.read_text(encoding="utf-8")
    goals = text.partition("### Goals")[2].partition("###")[0].splitlines()
    titles = {
        name: {variant.title: key for key, variant in row.variants.items()}
        for name, row in ROWS.items()
    }
    missed = set()
    for line in goals:
        cells = [cell.strip() for cell in line.split("|")]
        if cells[-2:-1] and cells[-2].startswith("MISSED"):
            row = re.findall(r"\(`([a-z0-9-]+)`\)$", cells[1])[0]
            missed.add((row, titles[row][cells[2]]))
    wanted = {f"{row}:{variant}" for row, variant in missed if can_be_profiled(row, variant)}
    shown = set(re.findall(r"`([a-z0-9-]+:[a-z0-9-]+)`", text.partition("| layer |")[2]))
    assert wanted
    assert wanted <= shown | set(PROFILED)


def test_the_table_has_a_column_for_each_profile() -> None:
    made = run({})
    made.profiles = {
        "http:ours": Profile("HTTP", {"transports": 0.75, "h11": 0.25}, 0.3, 100),
        "stdio:ours": Profile("stdio", {"transports": 1.0}, 0.1, 100),
    }
    text = profile_table(made).splitlines()
    assert text[0] == "| layer | `http:ours` | `stdio:ours` |"
    assert text[2:] == [
        "| transports | 75% | 100% |",
        "| h11 | 25% |  |",
        "| in the kernel, of all | 30% | 10% |",
    ]
