"""What whoever answers took, beside a program that measures itself."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_bench.load.jobs import Command, SelfMeasured
from mcpcore_bench.load.programs import Look, busiest, measure, with_answering
from mcpcore_bench.load.server import ServerFailed
from mcpcore_bench.method.samples import Sample

SAMPLE = '{"value": 10.0, "facts": {"rate": 100.0, "count": 20.0}}'
PROGRAM = f"print({SAMPLE!r})"
SPINNING = """
import subprocess, sys, time
other = "print(flush=True)\\nwhile True: pass"
with subprocess.Popen([sys.executable, "-c", other], stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    while time.clock_gettime((~child.pid << 3) | 2) < 0.3: time.sleep(0.01)
    child.kill()
"""
"""Has a child that takes 0.3 seconds of CPU, as soon as it gets them."""
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def looked(*shares: float) -> list[Look]:
    """Looks, a second from each other, between which these shares of a processor were taken."""
    found, spent = [(0.0, 5.0)], 5.0
    for moment, share in enumerate(shares, 1):
        spent += share
        found.append((float(moment), spent))
    return found


@pytest.mark.parametrize(
    ("shares", "stretch", "most"),
    [
        ((0.1, 0.5, 0.7, 0.1), 2.0, 0.6),
        ((0.1, 0.5, 0.7, 0.1), 1.0, 0.7),
        ((0.1, 0.5, 0.7, 0.1), 1.5, 0.6),  # no shorter than it was
        ((0.1, 0.5, 0.7, 0.1), 4.0, 0.35),
        ((0.1, 0.5, 0.7, 0.1), 9.0, 0.35),
        ((0.0, 0.0), 1.0, 0.0),
        ((0.4,), 1.0, 0.4),
    ],
)
def test_the_steady_state_is_where_most_was_taken(
    shares: tuple[float, ...], stretch: float, most: float
) -> None:
    assert busiest(looked(*shares), stretch) == pytest.approx(most)


@given(
    st.lists(st.tuples(st.floats(0.01, 0.1), st.floats(0.0, 1.0)), min_size=1, max_size=40),
    st.floats(0.01, 2.0),
)
def test_no_stretch_that_is_as_long_took_more(
    steps: list[tuple[float, float]], stretch: float
) -> None:
    looks = [(0.0, 0.0)]
    for wait, share in steps:
        moment, spent = looks[-1]
        looks.append((moment + wait, spent + wait * share))
    found = [
        (spent - before) / (moment - begun)
        for at, (moment, spent) in enumerate(looks)
        for begun, before in looks[:at]
        if moment - begun >= stretch
    ]
    most = busiest(looks, stretch)
    assert most <= max(share for _, share in steps) + 1e-9
    # Those from a look to the first one that is far enough away are looked at, and longer ones.
    assert not found or min(found) - 1e-9 <= most <= max(found) + 1e-9


def test_the_share_and_the_cost_of_a_unit_are_facts() -> None:
    sample = Sample(50.0, facts={"rate": 1000.0, "count": 3000.0})
    facts = with_answering(sample, looked(0.1, 0.3, 0.6, 0.3)).facts
    assert facts["answering_busy"] == pytest.approx(0.4)
    assert facts["answering"] == pytest.approx(0.4 * 3 / 3000 * 1e6)


@pytest.mark.parametrize("looks", [[], looked()])
def test_what_nobody_has_answered_has_no_such_facts(looks: list[Look]) -> None:
    sample = with_answering(Sample(1.0, facts={"rate": 1.0, "count": 1.0}), looks)
    assert set(sample.facts) == {"rate", "count"}


def test_a_constant_has_no_such_facts() -> None:
    assert with_answering(Sample(8.0), looked(0.1, 0.2)).facts == {}


def job(code: str) -> SelfMeasured:
    return SelfMeasured(server=Command((sys.executable, "-c", code)))


def test_a_program_alone_says_what_it_has_measured() -> None:
    assert measure(job(PROGRAM)).facts == json.loads(SAMPLE)["facts"]


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(ServerFailed, match="no luck"):
        measure(job("raise SystemExit('no luck')"))


@LINUX
def test_a_server_that_a_program_starts_is_looked_at() -> None:
    facts = measure(job(f"{SPINNING}\n{PROGRAM}")).facts
    # However little of a processor it gets, that is nearly nothing for nobody who spins.
    assert 0.01 < facts["answering_busy"] < 1.1
    assert facts["answering"] == pytest.approx(facts["answering_busy"] / 100 * 1e6)
