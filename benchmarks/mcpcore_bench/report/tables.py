"""A run as tables for a terminal."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from statistics import median

from rich.console import Console
from rich.table import Table

from mcpcore_bench.method.compare import Change, Difference
from mcpcore_bench.method.machine import described
from mcpcore_bench.method.samples import FAILED, Measured, Phase, Profile, RowResult, Run, Verdict
from mcpcore_bench.pace import SUBJECT
from mcpcore_bench.subjects import SUBJECTS
from mcpcore_bench.table.table import ROWS

_CLOCK = "ms of wall clock"
LOAD_HEADINGS = (
    "load generator, µs a request",
    "quartiles",
    "responder, µs a request",
    "quartiles",
    "a second",
    "runs",
)
_SLOW = 1.1
"""As a multiple of what the same work usually takes: the machine is slow where it takes so much."""

_cost = attrgetter("value")
_COLOURS = {
    Change.FASTER: "green",
    Change.SLOWER: "red",
    Change.SAME: "dim",
    Change.MACHINE: "dim",
    Change.FEW: "dim",
}


def number(value: float) -> str:
    """Three figures that count."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def spread(measured: Measured) -> str:
    """The quartiles."""
    low, high = measured.quartiles
    return f"{number(low)} to {number(high)}"


def ratio(value: float) -> str:
    """A ratio as people say it."""
    return f"{value:.2f} x" if value >= 0.95 else f"1/{1 / value:.1f}"


def bound(most: float) -> str:
    """A bound as people say it."""
    if most >= 1:
        return f"at most {most:.3g} x"
    return f"at least {1 / most:.3g} x less"


def verdict(row: RowResult, found: Verdict) -> str:
    """Whether a bound is met, and whether that is within the noise."""
    if row.few(found):
        return "too few rounds"
    if row.noisy(found):
        return "too noisy"
    word = {True: "met", False: "MISSED", None: "not measured"}[row.met(found)]
    return f"{word} (within the spread)" if row.close(found) else word


def latency(measured: Measured, share: float) -> str:
    """A percentile of the latencies, in microseconds."""
    histogram = measured.histogram
    return number(histogram.percentile(share) / 1000) if histogram.counts else ""


def fact(measured: Measured, name: str) -> str:
    """Something beside the value."""
    value = measured.fact(name)
    return "" if value is None else number(value)


def share(measured: Measured, name: str) -> str:
    """How much of a processor something beside the value took."""
    value = measured.fact(name)
    return "" if value is None else f"{value:.0%}"


def reason(measured: Measured) -> str:
    """Why something was not measured, in a line: the last one of a failure says most."""
    last = (measured.missing or "not measured").splitlines()[-1]
    return f"{FAILED}{last.removeprefix(FAILED)}" if measured.failed else last


def times(row: RowResult, found: Verdict) -> str:
    """The ratio of the costs, and that of the wall clock where the row knows it; else nothing."""
    if found.ratio is None:
        return ""
    if found.clock:
        return f"{ratio(found.ratio)} by the wall clock"
    clock = row.by_the_clock(found)
    return ratio(found.ratio) + ("" if clock is None else f", {ratio(clock)} by the wall clock")


def unit(row: RowResult, found: Verdict) -> str:
    """What the costs of a verdict are in."""
    return _CLOCK if found.clock else row.unit


def stalls(row: RowResult) -> list[str]:
    """A sentence for each of ours that must have waited for something."""
    said = []
    for ours, peer in row.stalled:
        mine, its = row.variants[ours], row.variants[peer]
        said.append(
            f"Suspicious: {mine.title} does {fact(mine, 'rate')} a second, {its.title} "
            f"{fact(its, 'rate')}, and takes less CPU for each: it waits for something, such as "
            "packets that the kernel joins, or others had the processor."
        )
    return said


def lower_bounds(row: RowResult) -> list[str]:
    """A sentence each for the variants whose rates are as much those of who is at the other end."""
    said = []
    if row.exhausting:
        each = (
            f"{measured.title} (it {fact(measured, 'load')} µs and "
            f"{share(measured, 'load_busy')} of the time, the server {number(measured.effort)} µs "
            f"and {share(measured, 'busy')})"
            for measured in (row.variants[name] for name in row.exhausting)
        )
        said.append(
            "Rates here are lower bounds, and latencies upper ones, as the load generator took as "
            f"much CPU as the server, or 90% of a processor: {'; '.join(each)}. The CPU of the "
            "servers is what it is."
        )
    if row.held_up:
        each = (
            f"{measured.title} (it {share(measured, 'answering_busy')} of the time)"
            for measured in (row.variants[name] for name in row.held_up)
        )
        said.append(
            "Rates here are lower bounds, and latencies upper ones, as whoever answers took 90% of "
            f"a processor: {'; '.join(each)}. The CPU of the programs is what it is."
        )
    return said


def order(row: RowResult) -> list[str]:
    """Who is first by CPU and by the wall clock, where a row has both."""
    timed = [measured for measured in row.variants.values() if measured.fact("wall") is not None]
    if not timed:
        return []
    by_cpu = sorted(timed, key=lambda measured: measured.median)
    by_clock = sorted(timed, key=lambda measured: measured.by_the_clock().median)
    said = [", ".join(measured.title for measured in each) for each in (by_cpu, by_clock)]
    if said[0] == said[1]:
        return [f"The first by CPU and by the wall clock, and who follows: {said[0]}."]
    return [f"The first by CPU, and who follows: {said[0]}. By the wall clock: {said[1]}."]


def partial(row: RowResult) -> list[str]:
    """A sentence for each variant that has figures, but failed in some of the rounds."""
    return [
        f"Not in every round: {measured.title} {reason(measured)}"
        for measured in row.variants.values()
        if measured.samples and measured.failed
    ]


def failures(run: Run) -> dict[str, str]:
    """What has failed, once at least, and why, in a line; variants are ``row:variant``."""
    found = {
        f"{name}:{key}": f"{measured.title}: {reason(measured)}"
        for name, row in run.rows.items()
        for key, measured in row.variants.items()
        if measured.failed
    }
    return found | {
        name: f"{FAILED}{why.splitlines()[-1] if why else ''}" for name, why in run.failures.items()
    }


def remarks(name: str, row: RowResult) -> list[str]:
    """What is to be said about a row beside its figures."""
    note = ROWS[name].note if name in ROWS else ""
    return [
        *([note] if note else []),
        *partial(row),
        *order(row),
        *lower_bounds(row),
        *stalls(row),
    ]


def columns(row: RowResult) -> dict[str, Callable[[Measured], str]]:
    """What a table of a row says of a variant beside its cost, by heading."""
    times: dict[str, Callable[[Measured], str]] = {}
    if any(measured.fact("wall") is not None for measured in row.variants.values()):
        times[_CLOCK] = lambda measured: fact(measured, "wall")
    if any(measured.fact("seconds") is not None for measured in row.variants.values()):
        times["s for all of them"] = lambda measured: fact(measured, "seconds")
    if any(measured.fact("cpu") is not None for measured in row.variants.values()):
        times["µs of CPU"] = lambda measured: fact(measured, "cpu")
    ends: dict[str, Callable[[Measured], str]] = {
        "load µs": lambda measured: fact(measured, "load")
    }
    if any(measured.fact("answering") is not None for measured in row.variants.values()):
        # A program that makes its own load: who answers may be what it waits for.
        ends = {
            "who answers, µs": lambda measured: fact(measured, "answering"),
            "of the time": lambda measured: share(measured, "answering_busy"),
        }
    return {
        **times,
        "a second": lambda measured: fact(measured, "rate"),
        "p50 µs": lambda measured: latency(measured, 50),
        "p99 µs": lambda measured: latency(measured, 99),
        **ends,
    }


def meanwhile(run: Run) -> list[str]:
    """What else the machine did, in a line, if that is known."""
    return [] if run.others is None else [f"others took {run.others:.0%} of a processor meanwhile"]


def pace(run: Run) -> list[str]:
    """How the speed of the machine went up and down, as far as a run has looked at it."""
    if len(run.phases) < 2:
        return []
    fastest, slowest = min(run.phases, key=_cost), max(run.phases, key=_cost)
    said = [
        f"the machine: slowest phase {slowest.value / fastest.value:.2f} x of the fastest; "
        f"{SUBJECTS[SUBJECT].title}, the same {len(run.phases)} times, took "
        f"{number(fastest.value)} ({_while(fastest)}) to {number(slowest.value)} µs of CPU a call "
        f"({_while(slowest)})"
    ]
    usual = median(phase.value for phase in run.phases)
    found = {
        row: median(phase.value for phase in run.phases if phase.row == row) / usual
        for row in dict.fromkeys(phase.row for phase in run.phases if phase.row)
    }
    slow = ", ".join(f"{row} {each:.2f} x" for row, each in found.items() if each >= _SLOW)
    if slow:
        said.append(f"rows in which that took {_SLOW:g} x of the median or more: {slow}")
    return said


def _while(phase: Phase) -> str:
    return f"in {phase.row}" if phase.row else f"{phase.at:.0f} s from the start, between rows"


def circumstances(run: Run) -> list[str]:
    """The machine, the packages, the command, what else the machine did, its speed; lines."""
    made = [] if run.command is None else [f"made by: {run.command}"]
    return [*described(run.machine), *made, *meanwhile(run), *pace(run)]


def show_row(console: Console, name: str, row: RowResult) -> None:
    """Print a row, its variants and its ratios."""
    table = Table(title=f"{name}: {row.title}", title_justify="left", title_style="bold")
    table.add_column("variant", no_wrap=True)
    beside = columns(row)
    for heading in (row.unit, "quartiles", "runs", *beside):
        table.add_column(heading, justify="right")
    for measured in row.variants.values():
        if not measured.samples:
            table.add_row(measured.title, "-")
            continue
        table.add_row(
            measured.title,
            number(measured.median),
            spread(measured),
            str(len(measured.samples)),
            *(say(measured) for say in beside.values()),
        )
    console.print(table)
    for found in row.verdicts:
        _show_verdict(console, row, found)
    for measured in row.variants.values():
        if measured.missing is not None and not measured.samples:
            console.print(f"  {measured.title}: {reason(measured)}", style="yellow", markup=False)
    for said in remarks(name, row):
        console.print(f"  {said}", style="yellow", markup=False, soft_wrap=True)
    console.print()


def _show_verdict(console: Console, row: RowResult, found: Verdict) -> None:
    ours, peer = row.variants[found.ours].title, row.variants[found.peer].title
    if found.ratio is None:
        if found.most is not None:
            console.print(f"  [dim]{ours} : {peer}: not measured ({bound(found.most)})[/]")
        return
    line = f"  {ours} : {peer} = {times(row, found)}"
    if found.most is not None:
        colour = {True: "green", False: "red", None: "yellow"}[row.met(found)]
        line += f"  ({bound(found.most)}: [{colour}]{verdict(row, found)}[/])"
    console.print(line, highlight=False, soft_wrap=True)


def load_cells(run: Run) -> dict[str, tuple[str, ...]]:
    """What the load generator takes by itself, as :data:`LOAD_HEADINGS` say; for each work."""
    found = {}
    for name, answering in run.generator.items():
        costs = (answering.by("load"), answering)
        cells = [each for cost in costs for each in (number(cost.median), spread(cost))]
        found[name] = (*cells, fact(answering, "rate"), str(len(answering.samples)))
    return found


def show_load(console: Console, run: Run) -> None:
    """Print what the load generator takes by itself."""
    table = Table(
        title="The load generator by itself, against ready bytes",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("work")
    for heading in LOAD_HEADINGS:
        table.add_column(heading, justify="right")
    for name, cells in load_cells(run).items():
        table.add_row(name, *cells)
    console.print(table)
    console.print()


def show_profile(console: Console, found: Profile) -> None:
    """Print where the time of one program goes."""
    table = Table(title=found.title, title_justify="left", title_style="bold")
    table.add_column("layer")
    table.add_column("share of the CPU", justify="right")
    for layer, share in found.layers.items():
        table.add_row(layer, f"{share:.1%}")
    console.print(table)
    console.print(f"  {found.looks:,} looks; {found.kernel:.0%} in the kernel", highlight=False)
    console.print()


def show_differences(console: Console, differences: Iterable[Difference]) -> None:
    """Print what has changed from one run to another.

    "beside" is the factor by which the ratio to the reference has changed, a program of the row.
    """
    table = Table()
    for heading in ("row", "variant"):
        table.add_column(heading)
    for heading in ("before", "after", "unit", "factor", "beside", "reference", "change"):
        table.add_column(heading, justify="right")
    for each in differences:
        colour = _COLOURS.get(each.change, "yellow")
        table.add_row(
            each.row,
            each.variant,
            "" if each.before is None else number(each.before),
            "" if each.after is None else number(each.after),
            each.unit,
            "" if each.factor is None else f"{each.factor:.3f}",
            "" if each.beside is None else f"{each.beside:.3f}",
            each.reference or "",
            f"[{colour}]{each.change}[/]",
        )
    console.print(table)
