"""What runs have measured: samples, the variants of a row, whole runs; saved as JSON.

Every value is a cost: less is better.  A rate is kept as the time that one unit takes.
"""

import random
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from msgspec import Struct, field

from benchmarks.method.histogram import Histogram

FORMAT = 1
"""Of the file that a run is saved in."""
_LESS = 0.98
"""Less than this share of something is less than it, and no noise."""
_BUSY = 0.9
"""The share of a processor at which a load generator may be what holds up the work."""


class Sample(Struct, omit_defaults=True):
    """What one run of one variant has measured."""

    value: float
    """In the unit of its row."""
    facts: dict[str, float] = field(default_factory=dict)
    """What is worth knowing beside it, such as ``rate`` (a second), ``load`` (the CPU of the load
    generator, in microseconds a unit), ``busy`` (the server's share of a CPU)."""
    latency: dict[int, int] = field(default_factory=dict)
    """Counts of a :class:`~benchmarks.method.histogram.Histogram` in nanoseconds."""


class Measured(Struct, omit_defaults=True):
    """All samples of one variant of a row."""

    title: str
    samples: list[Sample] = field(default_factory=list)
    missing: str | None = None
    """Why there are none."""

    @property
    def values(self) -> list[float]:
        """The values, in the order of the rounds."""
        return [sample.value for sample in self.samples]

    @property
    def median(self) -> float:
        """The middle value.  Raises StatisticsError if there are none."""
        return median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The spread; the extremes where there are fewer than four values."""
        return quartiles(self.values)

    def fact(self, name: str) -> float | None:
        """The median of something beside the value, None if no sample has it."""
        known = [sample.facts[name] for sample in self.samples if name in sample.facts]
        return median(known) if known else None

    @property
    def histogram(self) -> Histogram:
        """The latencies of all samples together."""
        whole = Histogram()
        for sample in self.samples:
            whole.merge(Histogram(sample.latency))
        return whole

    def by_the_clock(self) -> "Measured":
        """The same by the wall clock's times of those samples that have one beside their value."""
        timed = [sample for sample in self.samples if "wall" in sample.facts]
        return Measured(self.title, [Sample(sample.facts["wall"]) for sample in timed])

    @property
    def effort(self) -> float:
        """The CPU time of a unit, where it has a rate.  Raises StatisticsError if there is none."""
        known = self.fact("cpu")
        return self.median if known is None else known


class Verdict(Struct):
    """One ratio of a row beside its bound."""

    ours: str
    peer: str
    most: float | None
    """The most that ours may cost as a multiple of the peer; None: it is only shown."""
    ratio: float | None
    """None: one of the two was not measured."""
    clock: bool = False
    """It is about the wall clock, which the row has beside the value."""

    @property
    def met(self) -> bool | None:
        """None where there is no bound, or nothing to hold against it."""
        if self.most is None or self.ratio is None:
            return None
        return self.ratio <= self.most


class RowResult(Struct):
    """What a row of the table has shown."""

    title: str
    unit: str
    variants: dict[str, Measured]
    verdicts: list[Verdict] = field(default_factory=list)

    def close(self, verdict: Verdict) -> bool:
        """Whether the bound lies within the spread: between quartiles of the ratios by round."""
        if verdict.met is None:
            return False
        assert verdict.most is not None
        found = ratios(*self.held(verdict))
        if not found:
            return False
        low, high = quartiles(found)
        return low < verdict.most < high

    def held(self, verdict: Verdict) -> tuple[Measured, Measured]:
        """What a verdict holds against each other: ours and the peer."""
        ours, peer = self.variants[verdict.ours], self.variants[verdict.peer]
        return (ours.by_the_clock(), peer.by_the_clock()) if verdict.clock else (ours, peer)

    def by_the_clock(self, verdict: Verdict) -> float | None:
        """The ratio of the wall clock's times where the value is CPU and both know them."""
        ours, its = (self.variants[name].fact("wall") for name in (verdict.ours, verdict.peer))
        return ours / its if ours is not None and its else None

    @property
    def exhausting(self) -> list[str]:
        """The variants that kept the load generator as busy as themselves, or nearly all the time.

        Their rates and latencies are as much its own.
        """
        found = []
        for name, measured in self.variants.items():
            load, busy = measured.fact("load"), measured.fact("load_busy")
            if load is not None and busy is not None and (load >= measured.effort or busy >= _BUSY):
                found.append(name)
        return found

    @property
    def stalled(self) -> list[tuple[str, str]]:
        """Ours that does fewer a second than a raw peer, which takes more CPU for each; and that.

        So it waits for something else: packets that the kernel joins, a timer, a lock.
        """
        found = []
        for each in self.verdicts:
            ours, peer = self.variants[each.ours], self.variants[each.peer]
            rate, its = ours.fact("rate"), peer.fact("rate")
            if not is_raw(each.peer) or rate is None or its is None:
                continue
            if rate < its * _LESS and ours.effort < peer.effort * _LESS:
                found.append((each.ours, each.peer))
        return found


class Profile(Struct):
    """Where the CPU time of a program goes."""

    title: str
    layers: dict[str, float]
    """Shares of all looks, the largest first."""
    kernel: float
    """The share of the CPU time that was spent in the kernel."""
    looks: int


class Run(Struct):
    """A whole run, as it is saved."""

    machine: dict[str, Any]
    rounds: int
    rows: dict[str, RowResult]
    quick: bool | None = None
    """Whether the rounds were short ones; None: a file of old, which does not say it."""
    load: dict[str, float] = field(default_factory=dict)
    """What the load generator takes by itself, in microseconds of CPU, by kind of work."""
    profiles: dict[str, "Profile"] = field(default_factory=dict)
    """Where our time goes, by row and variant, ``row:variant``."""
    others: float | None = None
    """How much of a processor others took meanwhile; None: a file of old, or nobody could tell."""
    format: int = FORMAT

    @property
    def begun(self) -> str:
        """When it began, as ISO 8601 in UTC."""
        when: str = self.machine["when"]
        return when

    @property
    def names(self) -> dict[str, set[str]]:
        """The rows that it has, and the variants of each."""
        return {name: set(row.variants) for name, row in self.rows.items()}


def is_raw(variant: str) -> bool:
    """Whether this is one of the raw programs."""
    return variant.startswith("raw-")


def ratios(ours: Measured, peer: Measured) -> list[float]:
    """What ours cost as a multiple of the peer, by round: the two have run one after the other."""
    return [mine / its for mine, its in zip(ours.values, peer.values, strict=False) if its]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile; the extremes where there are fewer than four values."""
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def bootstrap(values: Sequence[float], *, resamples: int = 2000) -> tuple[float, float]:
    """An interval that holds the median of what was sampled with 95 % confidence.

    The same values always give the same interval.
    """
    chance = random.Random(20260728)  # noqa: S311 - resampling, no secret
    count = len(values)
    medians = sorted(median(chance.choices(values, k=count)) for _ in range(resamples))
    return medians[int(resamples * 0.025)], medians[int(resamples * 0.975) - 1]
