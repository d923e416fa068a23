"""Two saved runs side by side: what has changed beyond the noise, what moved with the machine.

A reference tells the two apart, which is another program of the same row and has run in turn with
what is compared: what costs another multiple of it has changed itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from statistics import median

from msgspec import Struct, structs

from mcpcore_bench.method.machine import MISSING
from mcpcore_bench.method.samples import (
    LEAST_ROUNDS,
    Machine,
    Measured,
    RowResult,
    Run,
    bootstrap,
    is_constant,
    is_ours,
    is_raw,
    ratios,
)

LEAST = 0.02
"""Less than this share of a difference is never called a change."""
LOADS = 0.5
"""Load averages that differ by less are alike."""
OTHERS = 0.1
"""Others that took so much of a processor disturb a run, or have changed from one to the next."""
PACE = 0.05
"""The machine was faster, or slower, where the same work took another cost by this share."""
_FACTS = ("cpu", "cores", "system", "python")


class Change(StrEnum):
    """What became of a variant from one run to the next."""

    FASTER = "less"
    SLOWER = "MORE"
    SAME = "within the noise"
    MACHINE = "as the machine"
    """The cost has changed, but as that of the reference, or it is that of a raw program."""
    UNTOLD = "not told apart from the machine"
    """The cost has changed, and no reference can tell: one of ours that has as well cannot."""
    FEW = "too few rounds"
    """For anything to be said."""
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
    """The program of the row that it was held against in both runs."""
    beside: float | None = None
    """The ratio to the reference now as a multiple of what it was."""

    @property
    def ours(self) -> bool:
        """Whether it is one of our own programs that has changed, or has not."""
        return is_ours(self.variant)

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
    and only what has changed in both is called more or less.  Nothing is said of what has fewer
    rounds than :data:`~mcpcore_bench.method.samples.LEAST_ROUNDS` in one of the runs.

    Beside other work nobody has to be woken up, which is much of a small cost and little of a large
    one: where two runs had not as much of it, only raw programs tell.
    """
    found = []
    alike = _other_work(old, new) is None
    rows = [*new.rows, *(name for name in old.rows if name not in new.rows)]
    for row in rows:
        before, after = old.rows.get(row), new.rows.get(row)
        either = after or before
        assert either is not None
        olds, news = _measured(before), _measured(after)
        variants = [*news, *(name for name in olds if name not in news)]
        found += [_difference(row, variant, either, olds, news, alike) for variant in variants]
    return found


def unlike(old: Run, new: Run) -> list[str]:
    """How the circumstances of two runs differ, a line each."""
    was, now = old.machine, new.machine
    found = [
        f"not the same machine: {name} was {getattr(was, name)}, is {getattr(now, name)}"
        for name in _FACTS
        if getattr(was, name) != getattr(now, name)
    ]
    found += [*_code(was, now), *_versions("", was.packages, now.packages)]
    for peer in was.peers | now.peers:
        found += _versions(f" of {peer}", was.peers.get(peer, {}), now.peers.get(peer, {}))
    if old.rounds != new.rounds:
        found.append(f"not as many rounds: {old.rounds}, then {new.rounds}")
    if old.quick != new.quick:
        found.append(f"not rounds of the same length: {_length(old)}, then {_length(new)}")
    for name in sorted(old.rows.keys() & new.rows.keys()):
        before, after = old.rows[name].title, new.rows[name].title
        if before != after:
            found.append(f"perhaps not the same work: {name} was {before!r}, is {after!r}")
    if (other := _other_work(old, new)) is not None:
        found.append(other)
    if (pace := _pace(old, new)) is not None:
        found.append(pace)
    return found


def _pace(old: Run, new: Run) -> str | None:
    """How fast the machine was, where both runs have looked at it and that was not alike."""
    if not old.phases or not new.phases:
        return None
    was, now = (median(phase.value for phase in run.phases) for run in (old, new))
    if abs(now - was) < PACE * was:
        return None
    return (
        f"not the same speed of the machine: the same work took {was:.3g} µs of CPU a call, "
        f"then {now:.3g}"
    )


def _other_work(old: Run, new: Run) -> str | None:
    """How much else the machine had to do, where that was not alike."""
    if old.others is not None and new.others is not None:
        if abs(old.others - new.others) < OTHERS:
            return None
        return (
            "not as much other work of the machine: "
            f"{old.others:.0%} of a processor, then {new.others:.0%}"
        )
    before, after = old.machine.load[0], new.machine.load[0]
    if abs(before - after) < LOADS:
        return None
    return f"not the same load of the machine: {before:.2f}, then {after:.2f}"


def _code(was: Machine, now: Machine) -> list[str]:
    if was.code == now.code:
        return [f"perhaps not the same code: {now.code}, both times"] if now.changed else []
    return [f"not the same code: {was.code or 'not known'}, then {now.code or 'not known'}"]


def _versions(whose: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in {**was, **now}:
        before, after = was.get(name, MISSING), now.get(name, MISSING)
        if before != after:
            yield f"not the same {name}{whose}: was {before}, is {after}"


def _length(run: Run) -> str:
    return {True: "--quick", False: "full length", None: "not known"}[run.quick]


def _measured(row: RowResult | None) -> dict[str, Measured]:
    variants = {} if row is None else row.variants
    return {name: measured for name, measured in variants.items() if measured.samples}


def _references(row: RowResult, variant: str, alike: bool) -> list[str]:
    """What a variant may be held against, the best first.

    Raw programs come before the other peers, and those before ours, each time beginning with what a
    bound holds the variant against; ours only where a bound does, which is never for a peer.  Where
    the two runs had not as much other work, there are none but raw programs.
    """
    held = [verdict.peer for verdict in row.verdicts if verdict.ours == variant]
    known = [name for name in dict.fromkeys((*held, *row.variants)) if name != variant]
    theirs = [name for name in known if not is_ours(name) and not is_constant(name)]
    ours = [name for name in dict.fromkeys(held) if is_ours(name)]
    raw = [name for name in theirs if is_raw(name)]
    return [*raw, *(name for name in theirs if name not in raw), *ours] if alike else raw


def _difference(
    name: str,
    variant: str,
    row: RowResult,
    olds: Mapping[str, Measured],
    news: Mapping[str, Measured],
    alike: bool,
) -> Difference:
    old, new = olds.get(variant), news.get(variant)
    found = Difference(
        name,
        variant,
        row.unit,
        Change.SAME,
        None if old is None else old.median,
        None if new is None else new.median,
    )
    if old is None or new is None:
        return structs.replace(found, change=Change.NEW if old is None else Change.GONE)
    if min(len(old.samples), len(new.samples)) < LEAST_ROUNDS:
        return structs.replace(found, change=Change.FEW)
    cost = _change(old.values, new.values)
    if is_raw(variant) or is_constant(variant):
        return structs.replace(found, change=cost if cost is Change.SAME else Change.MACHINE)
    for reference in _references(row, variant, alike):
        if reference not in olds or reference not in news:
            continue
        was, now = ratios(old, olds[reference]), ratios(new, news[reference])
        if min(len(was), len(now)) >= LEAST_ROUNDS and median(was):
            return structs.replace(
                found,
                change=_told_apart(cost, _change(was, now), reference),
                reference=reference,
                beside=median(now) / median(was),
            )
    return structs.replace(found, change=cost if cost is Change.SAME else Change.UNTOLD)


def _told_apart(cost: Change, ratio: Change, reference: str) -> Change:
    """What to call a change of a cost, given that of its ratio to the reference."""
    if cost is ratio:
        return cost
    if ratio is Change.SAME:
        # Both may have changed alike where both are ours.
        return Change.UNTOLD if is_ours(reference) else Change.MACHINE
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
