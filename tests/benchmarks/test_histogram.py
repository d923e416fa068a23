"""The histogram of latencies, held against sorted lists."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_bench.method.histogram import BITS, Histogram, bounds_of, bucket_of

VALUES = st.lists(st.integers(0, 10**13), min_size=1, max_size=200)


@given(st.integers(0, 2**70))
def test_a_bucket_holds_its_value_and_is_narrow(value: int) -> None:
    least, greatest = bounds_of(bucket_of(value))
    assert least <= value <= greatest
    assert greatest - least <= value / 2**BITS


@given(st.integers(0, 10**6))
def test_buckets_follow_one_another_without_gaps(bucket: int) -> None:
    assert bounds_of(bucket)[1] + 1 == bounds_of(bucket + 1)[0]
    assert bucket_of(bounds_of(bucket)[0]) == bucket_of(bounds_of(bucket)[1]) == bucket


@given(VALUES, st.floats(0.1, 100))
def test_percentiles_are_those_of_the_sorted_list(values: list[int], share: float) -> None:
    histogram = Histogram()
    histogram.record_all(values)
    exact = sorted(values)[max(0, math.ceil(share * len(values) / 100) - 1)]
    _, greatest = bounds_of(bucket_of(exact))
    assert histogram.percentile(share) == greatest
    assert len(histogram) == len(values)


@given(VALUES, VALUES)
def test_merged_is_as_recorded_together(some: list[int], others: list[int]) -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    one.record_all(some)
    two.record_all(others)
    both.record_all([*some, *others])
    one.merge(two)
    assert one.counts == both.counts
    assert Histogram(one.counts).counts == both.counts


@given(VALUES)
def test_the_curve_rises_to_all_values(values: list[int]) -> None:
    histogram = Histogram()
    histogram.record_all(values)
    curve = histogram.curve()
    assert curve == sorted(curve)
    assert curve[-1][0] == pytest.approx(100)
    assert curve[-1][1] == histogram.percentile(100)


def test_an_empty_one_has_no_percentiles_and_no_value_is_below_zero() -> None:
    histogram = Histogram()
    assert histogram.percentile(99) == 0
    assert histogram.curve() == []
    with pytest.raises(ValueError, match="below 0"):
        histogram.record(-1)
