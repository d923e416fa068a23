"""A run as Markdown."""

from collections.abc import Iterable

from mcpcore_bench.method.samples import Profile, RowResult, Run
from mcpcore_bench.report.tables import (
    LOAD_HEADINGS,
    bound,
    circumstances,
    columns,
    failures,
    load_cells,
    number,
    reason,
    remarks,
    spread,
    times,
    unit,
    verdict,
)

_OTHER_LOOP = (", on asyncio's loop", ", on asyncio")
"""How the title of a profile ends for which uvloop gave way to asyncio's loop; of old as well."""


def table(headings: Iterable[str], rows: Iterable[Iterable[str]], *, right: int) -> str:
    """A table; the columns from ``right`` on are numbers."""
    names = list(headings)
    lines = [
        f"| {' | '.join(names)} |",
        "|" + "|".join(" ---: " if at >= right else " --- " for at in range(len(names))) + "|",
    ]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def goals(run: Run) -> str:
    """Every ratio that has a bound, and whether it is met."""
    rows = []
    for name, row in run.rows.items():
        for found in row.verdicts:
            if found.most is None:
                continue
            ours, peer = row.held(found)
            rows.append(
                (
                    f"{row.title} (`{name}`)",
                    ours.title,
                    number(ours.median) if ours.samples else "",
                    peer.title,
                    number(peer.median) if peer.samples else "",
                    unit(row, found),
                    times(row, found),
                    bound(found.most),
                    verdict(row, found),
                )
            )
    headings = ("work", "ours", "cost", "peer", "its cost", "unit", "ratio", "bound", "")
    return table(headings, rows, right=99)


def others(row: RowResult) -> list[str]:
    """The ratios that no bound holds, in a sentence."""
    said = [
        f"{row.variants[found.ours].title} : {row.variants[found.peer].title} = {times(row, found)}"
        for found in row.verdicts
        if found.most is None and found.ratio is not None
    ]
    return [f"Held by no bound: {'; '.join(said)}."] if said else []


def row_table(name: str, row: RowResult) -> str:
    """Everything that a row has measured, and what is to be said about it."""
    beside = columns(row)
    cells = []
    for measured in row.variants.values():
        if measured.samples:
            values = (number(measured.median), spread(measured))
            cells.append((measured.title, *values, *(say(measured) for say in beside.values())))
        else:
            cells.append((measured.title, reason(measured), "", *("" for _ in beside)))
    found = table(("variant", row.unit, "quartiles", *beside), cells, right=1)
    return "\n\n".join([found, *others(row), *remarks(name, row)])


def load_table(run: Run) -> str:
    """What the load generator takes by itself."""
    rows = [(name, *cells) for name, cells in load_cells(run).items()]
    return table(("work", *LOAD_HEADINGS), rows, right=1)


def profile_table(run: Run) -> str:
    """Where our time goes, a column for each profile."""
    found = list(run.profiles.items())
    names = [f"`{name}`{_loop(each)}" for name, each in found]
    totals: dict[str, float] = {}
    for _, each in found:
        for layer, share in each.layers.items():
            totals[layer] = totals.get(layer, 0.0) + share
    layers = sorted(totals, key=lambda layer: -totals[layer])
    rows = [
        (layer, *(f"{each.layers[layer]:.0%}" if layer in each.layers else "" for _, each in found))
        for layer in layers
    ]
    rows.append(("in the kernel, of all", *(f"{each.kernel:.0%}" for _, each in found)))
    return table(("layer", *names), rows, right=1)


def _loop(profile: Profile) -> str:
    """On which loop it was looked at, where that is another than the one it is measured on."""
    return " (on asyncio's loop)" if profile.title.endswith(_OTHER_LOOP) else ""


def looks(run: Run) -> str:
    """How often each of the profiles has looked, in a sentence."""
    counts = ", ".join(f"`{name}` {each.looks:,}" for name, each in run.profiles.items())
    return f"Looks: {counts}."


def machine_lines(run: Run) -> str:
    """The machine, the packages and what else it did, as a list."""
    return "\n".join(f"- {line}" for line in circumstances(run))


def _failed(run: Run) -> str:
    """What has failed, as a list."""
    return "\n".join(
        ["Failed:", "", *(f"- `{name}`: {why}" for name, why in failures(run).items())]
    )


def markdown(run: Run) -> str:
    """The whole run."""
    parts = [
        "# Measured",
        machine_lines(run),
        f"Rounds: {run.rounds}{', short ones (--quick)' if run.quick else ''}. Costs are medians.",
        *([_failed(run)] if failures(run) else []),
        "## Goals",
        goals(run),
        "## The load generator by itself",
        load_table(run),
        "## Every row",
    ]
    for name, row in run.rows.items():
        parts += [f"### `{name}`: {row.title}", row_table(name, row)]
    if run.profiles:
        parts += ["## Where the time goes", profile_table(run), looks(run)]
    return "\n\n".join(parts) + "\n"
