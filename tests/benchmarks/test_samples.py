"""Medians, spread, verdicts, and what a saved run is read back as."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.method.samples import Measured, Run, Sample, Verdict, bootstrap, quartiles
from tests.benchmarks.runs import measured, run

VALUES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30)


@given(VALUES)
def test_quartiles_enclose_the_median(values: list[float]) -> None:
    low, high = quartiles(values)
    assert min(values) <= low <= Measured("x", [Sample(v) for v in values]).median <= high
    assert high <= max(values)


@given(VALUES)
def test_the_bootstrap_is_repeatable_and_within_the_values(values: list[float]) -> None:
    low, high = bootstrap(values, resamples=100)
    assert (low, high) == bootstrap(values, resamples=100)
    assert min(values) <= low <= high <= max(values)


def test_the_bootstrap_tells_steady_from_noisy() -> None:
    low, high = bootstrap([100.0, 101.0, 99.0, 100.5, 99.5])
    assert high - low < 2.1
    low, high = bootstrap([50.0, 150.0, 100.0, 60.0, 140.0])
    assert high - low > 50


@pytest.mark.parametrize(
    ("ratio", "most", "met"),
    [(1.2, 1.3, True), (1.3, 1.3, True), (1.31, 1.3, False), (None, 1.3, None), (9.0, None, None)],
)
def test_a_bound_is_met_or_missed_or_unknown(
    ratio: float | None, most: float | None, met: bool | None
) -> None:
    assert Verdict("ours", "peer", most, ratio).met is met


def test_facts_are_medians_of_the_samples_that_have_them() -> None:
    samples = [Sample(1.0, {"rate": rate}) for rate in (5.0, 1.0, 3.0)]
    found = Measured("x", [*samples, Sample(2.0)])
    assert found.fact("rate") == 3.0
    assert found.fact("busy") is None


def test_a_saved_run_is_read_back_as_it_was() -> None:
    made = run({"http": {"ours": measured(3.0, 1.0, 2.0), "sdk": Measured("SDK", missing="gone")}})
    back = msgspec.json.decode(msgspec.json.encode(made), type=Run)
    assert back == made
    assert back.rows["http"].variants["ours"].histogram.counts == {300: 15, 900: 3}
