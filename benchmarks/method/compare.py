"""Two saved runs side by side: what has changed beyond the noise."""

from enum import StrEnum

from msgspec import Struct

from benchmarks.method.samples import Measured, Run, bootstrap

LEAST = 0.02
"""Less than this share of a difference is never called a change."""


class Change(StrEnum):
    """What became of a variant from one run to the next."""

    FASTER = "less"
    SLOWER = "MORE"
    SAME = "within the noise"
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

    @property
    def factor(self) -> float | None:
        """What it costs now as a multiple of what it did."""
        if self.before is None or self.after is None or not self.before:
            return None
        return self.after / self.before


def compare(old: Run, new: Run) -> list[Difference]:
    """Every variant that one of the runs has measured, in the order of the newer one.

    It has changed if the intervals of the two medians (bootstrap, 95 %) do not overlap, and the
    medians differ by more than two per cent.
    """
    found = []
    rows = [*new.rows, *(name for name in old.rows if name not in new.rows)]
    for row in rows:
        before, after = old.rows.get(row), new.rows.get(row)
        either = after or before
        assert either is not None
        olds = {} if before is None else before.variants
        news = {} if after is None else after.variants
        for variant in [*news, *(name for name in olds if name not in news)]:
            difference = _difference(
                row, variant, either.unit, olds.get(variant), news.get(variant)
            )
            if difference is not None:
                found.append(difference)
    return found


def _difference(
    row: str, variant: str, unit: str, old: Measured | None, new: Measured | None
) -> Difference | None:
    before = old.median if old is not None and old.samples else None
    after = new.median if new is not None and new.samples else None
    if before is None and after is None:
        return None
    if before is None:
        change = Change.NEW
    elif after is None:
        change = Change.GONE
    else:
        assert old is not None
        assert new is not None
        change = _change(old, new)
    return Difference(row, variant, unit, change, before, after)


def _change(old: Measured, new: Measured) -> Change:
    (low, high), (lower, higher) = bootstrap(old.values), bootstrap(new.values)
    least = LEAST * abs(old.median)
    if higher < low and old.median - new.median > least:
        return Change.FASTER
    if lower > high and new.median - old.median > least:
        return Change.SLOWER
    return Change.SAME
