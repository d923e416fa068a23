"""What runs have measured: samples, the variants of a row, whole runs; saved as JSON.

Every value is a cost: less is better.  A rate is kept as the time that one unit takes.
"""

import random
from collections.abc import Sequence
from statistics import median, quantiles

from msgspec import Struct, field

from mcpcore_bench.method.histogram import Histogram

FORMAT = 1
"""Of the file that a run is saved in."""
LEAST_ROUNDS = 5
"""Fewer say nothing about a bound, or about a change: a median of them has no spread."""
FAILED = "failed: "
"""How the reason begins why something was tried in vain."""
_PEERS = ("raw-", "sdk", "fastmcp", "typescript", "websockets", "encoding", "bare", "nothing")
"""How the variants begin that are not ours."""
_CONSTANTS = ("bytes", "8-kb", "1-us", "8-us", "15-us", "60-us", "50-ms")
"""Numbers to hold ours against, which nobody has measured."""
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
    generator, in microseconds a unit), ``busy`` (the server's share of a CPU), and where a program
    measures itself ``answering`` and ``answering_busy`` (the same of whoever answers it)."""
    latency: dict[int, int] = field(default_factory=dict)
    """Counts of a :class:`~mcpcore_bench.method.histogram.Histogram` in nanoseconds."""
    round: int = 0
    """Which round of its row it is of, from 1; 0: a file of old, in which its place tells."""


class Measured(Struct, omit_defaults=True):
    """All samples of one variant of a row."""

    title: str
    samples: list[Sample] = field(default_factory=list)
    missing: str | None = None
    """Why there are none, or not in every round."""

    @property
    def failed(self) -> bool:
        """Whether it was tried, and measured nothing in one round at least."""
        return self.missing is not None and self.missing.startswith(FAILED)

    @property
    def values(self) -> list[float]:
        """The values, in the order of the rounds."""
        return [sample.value for sample in self.samples]

    @property
    def by_round(self) -> dict[int, float]:
        """The values by the number of their round."""
        return {sample.round or at: sample.value for at, sample in enumerate(self.samples, 1)}

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

    def by(self, name: str) -> "Measured":
        """The same by something beside the value, of those samples that have it."""
        known = [sample for sample in self.samples if name in sample.facts]
        return Measured(
            self.title, [Sample(sample.facts[name], round=sample.round) for sample in known]
        )

    def by_the_clock(self) -> "Measured":
        """The same by the wall clock's times of those samples that have one beside their value."""
        return self.by("wall")

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
        """None where there is no bound, or nothing to hold against it.

        This is by the ratio alone; :meth:`RowResult.met` asks for rounds as well.
        """
        if self.most is None or self.ratio is None:
            return None
        return self.ratio <= self.most


class RowResult(Struct):
    """What a row of the table has shown."""

    title: str
    unit: str
    variants: dict[str, Measured]
    verdicts: list[Verdict] = field(default_factory=list)

    def few(self, verdict: Verdict) -> bool:
        """Whether a bound would be judged by fewer rounds than :data:`LEAST_ROUNDS`."""
        return verdict.met is not None and len(ratios(*self.held(verdict))) < LEAST_ROUNDS

    def noisy(self, verdict: Verdict) -> bool:
        """Whether ours is to cost what another of ours does, which varies by more than is judged.

        It does where its quartiles are further from each other than the bound is from its median.
        """
        if verdict.met is None or not is_ours(verdict.peer):
            return False
        assert verdict.most is not None
        _, base = self.held(verdict)
        low, high = base.quartiles
        return verdict.most > 1 and high - low > (verdict.most - 1) * base.median

    def met(self, verdict: Verdict) -> bool | None:
        """Whether a bound is met; None where there is none, or too little to hold against it."""
        return None if self.few(verdict) or self.noisy(verdict) else verdict.met

    def close(self, verdict: Verdict) -> bool:
        """Whether the next run may say otherwise, by the quartiles of the ratios by round.

        So it is where the bound lies between them, or where they lie on the other side of it than
        the ratio of the medians.
        """
        met = self.met(verdict)
        if met is None:
            return False
        assert verdict.most is not None
        low, high = quartiles(ratios(*self.held(verdict)))
        return high > verdict.most if met else low < verdict.most

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
    def held_up(self) -> list[str]:
        """The variants that kept whoever answers them busy nearly all the time."""
        return [
            name
            for name, measured in self.variants.items()
            if (measured.fact("answering_busy") or 0.0) >= _BUSY
        ]

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


class Phase(Struct, omit_defaults=True):
    """How fast the machine was at one moment of a run: what the same work took then."""

    at: float
    """Seconds since the run began."""
    value: float
    """Microseconds of CPU a call."""
    row: str = ""
    """The one under way; empty before the first and behind the last."""


class Machine(Struct, omit_defaults=True):
    """Where, when and of what code a run is made."""

    when: str
    """When it began, as ISO 8601 in UTC."""
    cpu: str
    cores: int | None
    memory: str
    system: str
    python: str
    load: tuple[float, float, float]
    """The load averages when it began."""
    packages: dict[str, str]
    peers: dict[str, dict[str, str]] = field(default_factory=dict)
    """By environment; nothing where there is none."""
    commit: str | None = None
    """Of our code; None: a file of old, or no checkout of git."""
    changed: bool = False
    """The code is not as the commit has it."""

    @property
    def code(self) -> str | None:
        """Of which code it is, where that is known."""
        if self.commit is None:
            return None
        return f"commit {self.commit[:12]}" + (", with changes" if self.changed else "")


class Run(Struct):
    """A whole run, as it is saved."""

    machine: Machine
    rounds: int
    rows: dict[str, RowResult]
    quick: bool | None = None
    """Whether the rounds were short ones; None: a file of old, which does not say it."""
    load: dict[str, float] = field(default_factory=dict)
    """Of a file of old, in the place of ``own``, from one round: for each kind of work what the
    load generator takes, and by the name with ``, responder`` and ``, a second`` the rest."""
    own: dict[str, Measured] = field(default_factory=dict)
    """The load generator by itself, by kind of work: the costs are those of whoever answers it,
    and beside each of them is what it takes itself (``load``) and the ``rate``."""
    phases: list[Phase] = field(default_factory=list)
    """How fast the machine was, again and again; none in a file of old."""
    profiles: dict[str, "Profile"] = field(default_factory=dict)
    """Where our time goes, by row and variant, ``row:variant``."""
    others: float | None = None
    """How much of a processor others took meanwhile; None: a file of old, or nobody could tell."""
    failures: dict[str, str] = field(default_factory=dict)
    """What has failed beside the variants of rows, and why."""
    command: str | None = None
    """The command line that made it; None: a file of old, which does not say it."""
    format: int = FORMAT

    @property
    def begun(self) -> str:
        """When it began, as ISO 8601 in UTC."""
        return self.machine.when

    @property
    def generator(self) -> dict[str, Measured]:
        """The load generator by itself, also of a file of old."""
        if self.own:
            return self.own
        return {
            name: Measured(
                name,
                [
                    Sample(
                        self.load[f"{name}, responder"],
                        {"load": cost, "rate": self.load[f"{name}, a second"]},
                    )
                ],
            )
            for name, cost in self.load.items()
            if not name.endswith((", responder", ", a second"))
        }

    @property
    def names(self) -> dict[str, set[str]]:
        """The rows that it has, and the variants of each."""
        return {name: set(row.variants) for name, row in self.rows.items()}


def is_raw(variant: str) -> bool:
    """Whether this is one of the raw programs."""
    return variant.startswith("raw-")


def is_constant(variant: str) -> bool:
    """Whether this is a number to hold something against, the same on any machine."""
    return variant in _CONSTANTS


def is_ours(variant: str) -> bool:
    """Whether this is one of our own programs: no raw one, no peer, no constant."""
    return not variant.startswith(_PEERS) and not is_constant(variant)


def ratios(ours: Measured, peer: Measured) -> list[float]:
    """What ours cost as a multiple of the peer, by round: the two have run one after the other.

    A round in which one of them has failed has no ratio.
    """
    theirs = peer.by_round
    return [mine / theirs[at] for at, mine in ours.by_round.items() if theirs.get(at)]


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
