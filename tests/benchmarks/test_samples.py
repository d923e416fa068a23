"""Medians, spread, verdicts, and what a saved run is read back as."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore_bench.method.samples import (
    Measured,
    Phase,
    RowResult,
    Run,
    Sample,
    Verdict,
    bootstrap,
    is_ours,
    quartiles,
    ratios,
)
from mcpcore_bench.table.table import ROWS
from tests.benchmarks.runs import answering, measured, run

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


def in_rounds(**rounds: float) -> Measured:
    """Samples of these rounds, named ``r1`` and so on."""
    samples = [
        Sample(value, {"wall": 2 * value}, round=int(name.removeprefix("r")))
        for name, value in rounds.items()
    ]
    return Measured("x", samples)


@pytest.mark.parametrize(
    ("ours", "peer", "found"),
    [
        (in_rounds(r1=2, r2=6, r3=12), in_rounds(r1=1, r2=2, r3=3), [2, 3, 4]),
        (in_rounds(r1=2, r3=12), in_rounds(r1=1, r2=2, r3=3), [2, 4]),  # ours failed in between
        (in_rounds(r1=2, r2=6, r3=12), in_rounds(r2=2, r3=3), [3, 4]),
        (in_rounds(r1=2), in_rounds(r2=2), []),
        # Files of old do not say which it was.
        (in_rounds(r0=2), in_rounds(r0=1), [2]),
        (measured(2, 6, 12), measured(1, 2, 3), [2, 3, 4]),
        (measured(2, 6), measured(1, 2, 3), [2, 3]),
        (measured(2, 6), Measured("x", [Sample(0.0), Sample(2.0)]), [3]),
    ],
)
def test_a_ratio_is_that_of_one_round(ours: Measured, peer: Measured, found: list[float]) -> None:
    assert ratios(ours, peer) == found
    if "wall" in ours.samples[0].facts:
        assert ratios(ours.by_the_clock(), peer.by_the_clock()) == found


@pytest.mark.parametrize(
    ("ours", "most", "close"),
    [
        ((14, 14, 15, 16, 16), 1.55, True),  # met, but the bound is within the quartiles
        ((14, 14, 15, 16, 16), 1.45, True),
        ((14, 14, 15, 16, 16), 1.65, False),
        ((14, 14, 15, 16, 16), 1.35, False),
        ((15, 15, 15, 15, 15), 1.5, False),
    ],
)
def test_the_bound_is_close_if_it_is_within_the_spread(
    ours: tuple[float, ...], most: float, *, close: bool
) -> None:
    row = RowResult("", "", {"ours": measured(*ours), "raw": measured(*(10.0,) * 5)})
    assert row.close(Verdict("ours", "raw", most, 1.5)) is close


@pytest.mark.parametrize(("most", "met", "close"), [(1.4, True, True), (1.35, False, False)])
def test_the_bound_is_close_if_most_rounds_say_otherwise(
    most: float, *, met: bool, close: bool
) -> None:
    """The ratio of the medians is not the median of the ratios."""
    ours, peer = measured(10, 13, 14, 20, 30), measured(20, 9, 10, 13, 8)
    row = RowResult("", "", {"ours": ours, "raw-protocol": peer})
    verdict = Verdict("ours", "raw-protocol", most, ours.median / peer.median)
    assert verdict.ratio == 1.4
    low, high = quartiles(ratios(ours, peer))
    assert 1.4 <= low < high
    assert (row.met(verdict), row.close(verdict)) == (met, close)


@pytest.mark.parametrize(("ours", "peer", "few"), [(5, 5, False), (4, 7, True), (7, 1, True)])
def test_too_few_rounds_meet_and_miss_nothing(ours: int, peer: int, *, few: bool) -> None:
    variants = {"ours": measured(*(1.0,) * ours), "raw": measured(*(2.0,) * peer)}
    row = RowResult("", "", variants)
    for most, met in ((1.0, True), (0.4, False)):
        verdict = Verdict("ours", "raw", most, 0.5)
        assert row.few(verdict) is few
        assert row.met(verdict) is (None if few else met)
        assert not (few and row.close(verdict))
    assert not row.few(Verdict("ours", "raw", None, 0.5))
    assert not row.few(Verdict("ours", "raw", 1.0, None))


@pytest.mark.parametrize(
    ("base", "most", "noisy"),
    [
        ((75, 75, 100, 125, 125), 1.5, False),  # as wide as what is judged
        ((95, 95, 100, 105, 105), 1.1, False),
        ((95, 95, 100, 106, 106), 1.1, True),
        ((10, 95, 100, 105, 900), 1.1, False),  # two rounds of five are no quartiles
        ((40, 40, 100, 160, 160), 6.0, False),
        ((40, 40, 100, 160, 160), 2.0, True),
        ((40, 40, 100, 160, 160), 0.5, False),  # less than another is no question of noise
        ((40, 40, 100, 160, 160), None, False),
    ],
)
@pytest.mark.parametrize("cost", [50.0, 300.0])
def test_a_base_that_varies_by_more_than_is_judged_tells_nothing(
    base: tuple[float, ...], most: float | None, cost: float, *, noisy: bool
) -> None:
    variants = {name: measured(*base) for name in ("1", "raw-protocol", "8-kb", "bare")}
    row = RowResult("", "", {"10000": measured(*(cost,) * 5), **variants})
    for peer in variants:
        verdict = Verdict("10000", peer, most, cost / 100)
        # Only ours is held against ours to cost the same: raw programs and peers have other bounds.
        assert row.noisy(verdict) is (noisy and peer == "1")
        assert row.met(verdict) is (None if row.noisy(verdict) else verdict.met)
        assert not (row.noisy(verdict) and row.close(verdict))


def test_the_base_of_a_bound_by_the_clock_is_the_clock() -> None:
    ours, base = measured(*(1.0,) * 5, wall=1.0), measured(0.5, 0.5, 1.0, 1.5, 1.5)
    for sample in base.samples:
        sample.facts["wall"] = 1.0
    row = RowResult("", "", {"ours": ours, "1": base})
    assert row.noisy(Verdict("ours", "1", 1.1, 1.0))
    assert not row.noisy(Verdict("ours", "1", 1.1, 1.0, clock=True))


def test_the_table_tells_ours_from_the_others() -> None:
    theirs = (
        "raw",
        "SDK",
        "FastMCP",
        "fastmcp",
        "websockets",
        "alone",
        "what ours imports",
        "nothing",
        "request",
        "8 kB",
        "goal",
    )
    for row in ROWS.values():
        for name, variant in row.variants.items():
            told = not any(word in variant.title for word in theirs) or name == "core"
            assert is_ours(name) is told, (row.name, name, variant.title)
        bounded = {bound.ours for bound in row.bounds} - {"client-stdio"}
        assert all(is_ours(name) or name.endswith("-adapted") for name in bounded)


def test_a_saved_run_is_read_back_as_it_was() -> None:
    made = run({"http": {"ours": measured(3.0, 1.0, 2.0), "sdk": Measured("SDK", missing="gone")}})
    made.rows["http"].variants["numbered"] = in_rounds(r1=1.0, r3=2.0)
    made.failures["profile http:ours"] = "it broke"
    made.machine.commit, made.machine.changed = "0123", True
    made.own = {"HTTP, 1 in flight": answering(1.0, 2.0)}
    made.phases = [Phase(0.0, 60.0), Phase(40.5, 80.0, "http")]
    made.command = "mcpcore bench run --rounds 5"
    back = msgspec.json.decode(msgspec.json.encode(made), type=Run)
    assert back == made
    assert back.rows["http"].variants["ours"].histogram.counts == {300: 15, 900: 3}


def test_a_file_of_old_has_one_round_of_the_load_generator_and_no_phases() -> None:
    made = run({})
    old = msgspec.to_builtins(made)
    for name in ("own", "phases", "command"):
        del old[name]
    back = msgspec.convert(old, Run)
    assert back == made
    assert (back.phases, back.command) == ([], None)
    assert list(back.generator) == ["HTTP, 1 in flight"]
    (only,) = back.generator["HTTP, 1 in flight"].samples
    assert (only.value, only.facts) == (20.0, {"load": 9.0, "rate": 3e4})
    made.own = {"another": answering(1.0)}
    assert made.generator == made.own
