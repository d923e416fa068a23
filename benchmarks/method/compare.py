"""Two saved runs side by side: what has changed beyond the noise, what moved with the machine.

A raw program of the same row, which has run in turn with what is compared, tells the two apart:
what costs another multiple of it has changed itself.
"""

from collections.abc import Mapping, Sequence, Set
from enum import StrEnum
from statistics import median

from msgspec import Struct

from benchmarks.method.samples import Measured, RowResult, Run, bootstrap, is_raw, ratios

LEAST = 0.02
"""Less than this share of a difference is never called a change."""
LOADS = 0.5
"""Load averages that differ by less are alike."""
OTHERS = 0.1
"""Others that took so much of a processor disturb a run, or have changed from one to the next."""
_FACTS = ("cpu", "cores", "system", "python")


class Change(StrEnum):
    """What became of a variant from one run to the next."""

    FASTER = "less"
    SLOWER = "MORE"
    SAME = "within the noise"
    MACHINE = "as the machine"
    """The cost has changed, but as that of the reference, or it is that of a reference."""
    LESS_BESIDE = "less beside it"
    """The cost has not changed so, but as a multiple of the reference it has."""
    MORE_BESIDE = "MORE beside it"
    NEW = "new"
    GONE = "gone"


class Difference(Struct, frozen=True):
    """One variant of one row in two runs."""

    row: str
    variant: str
    unit: str
    change: Change
    before: float | None
    after: float | None
    reference: str | None = None
    """The raw program of the row that it was held against in both runs."""
    beside: float | None = None
    """The ratio to the reference now as a multiple of what it was."""

    @property
    def factor(self) -> float | None:
        """What it costs now as a multiple of what it did."""
        if self.before is None or self.after is None or not self.before:
            return None
        return self.after / self.before


def compare(old: Run, new: Run) -> list[Difference]:
    """Every variant that one of the runs has measured, in the order of the newer one.

    It has changed if the intervals of the two medians (bootstrap, 95 %) do not overlap, and the
    medians differ by more than two per cent.  The ratio to a reference is compared in the same way,
    where both runs have measured one; then only what has changed in both is called more or less.
    """
    found = []
    rows = [*new.rows, *(name for name in old.rows if name not in new.rows)]
    for row in rows:
        before, after = old.rows.get(row), new.rows.get(row)
        either = after or before
        assert either is not None
        olds, news = _measured(before), _measured(after)
        for variant in [*news, *(name for name in olds if name not in news)]:
            reference = _reference(either, variant, olds.keys() & news.keys())
            found.append(_difference(row, variant, either.unit, olds, news, reference))
    return found


def unlike(old: Run, new: Run) -> list[str]:
    """How the circumstances of two runs differ, a line each."""
    was, now = old.machine, new.machine
    found = [
        f"not the same machine: {name} was {was.get(name)}, is {now.get(name)}"
        for name in _FACTS
        if was.get(name) != now.get(name)
    ]
    if old.rounds != new.rounds:
        found.append(f"not as many rounds: {old.rounds}, then {new.rounds}")
    if old.quick != new.quick:
        found.append(f"not rounds of the same length: {_length(old)}, then {_length(new)}")
    if old.others is not None and new.others is not None:
        if abs(old.others - new.others) >= OTHERS:
            found.append(
                "not as much other work of the machine: "
                f"{old.others:.0%} of a processor, then {new.others:.0%}"
            )
        return found
    (before, *_), (after, *_) = was["load"], now["load"]
    if abs(before - after) >= LOADS:
        found.append(f"not the same load of the machine: {before:.2f}, then {after:.2f}")
    return found


def _length(run: Run) -> str:
    return {True: "--quick", False: "full length", None: "not known"}[run.quick]


def _measured(row: RowResult | None) -> dict[str, Measured]:
    variants = {} if row is None else row.variants
    return {name: measured for name, measured in variants.items() if measured.samples}


def _reference(row: RowResult, variant: str, both: Set[str]) -> str | None:
    """The raw program that a bound holds a variant against, or else the first one of the row."""
    if is_raw(variant) or variant not in both:
        return None
    named = (verdict.peer for verdict in row.verdicts if verdict.ours == variant)
    raw = (name for name in (*named, *row.variants) if is_raw(name) and name in both)
    return next(raw, None)


def _difference(
    row: str,
    variant: str,
    unit: str,
    olds: Mapping[str, Measured],
    news: Mapping[str, Measured],
    reference: str | None,
) -> Difference:
    old, new = olds.get(variant), news.get(variant)
    before = None if old is None else old.median
    after = None if new is None else new.median
    if old is None:
        return Difference(row, variant, unit, Change.NEW, before, after)
    if new is None:
        return Difference(row, variant, unit, Change.GONE, before, after)
    change, beside = _change(old.values, new.values), None
    if reference is not None:
        was, now = ratios(old, olds[reference]), ratios(new, news[reference])
        if was and now and median(was):
            beside = median(now) / median(was)
            change = _told_apart(change, _change(was, now))
    elif is_raw(variant) and change is not Change.SAME:
        change = Change.MACHINE
    return Difference(
        row, variant, unit, change, before, after, None if beside is None else reference, beside
    )


def _told_apart(cost: Change, ratio: Change) -> Change:
    """What to call a change of a cost, given that of its ratio to the reference."""
    if cost is ratio:
        return cost
    if ratio is Change.SAME:
        return Change.MACHINE
    return Change.LESS_BESIDE if ratio is Change.FASTER else Change.MORE_BESIDE


def _change(old: Sequence[float], new: Sequence[float]) -> Change:
    (low, high), (lower, higher) = bootstrap(old), bootstrap(new)
    was, now = median(old), median(new)
    least = LEAST * abs(was)
    if higher < low and was - now > least:
        return Change.FASTER
    if lower > high and now - was > least:
        return Change.SLOWER
    return Change.SAME
