"""The figures of benchmarks/report.md, written by the command alone."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from mcpcore_bench.method.compare import OTHERS
from mcpcore_bench.method.samples import LEAST_ROUNDS, Run
from mcpcore_bench.report.markdown import (
    goals,
    load_table,
    looks,
    machine_lines,
    profile_table,
    row_table,
)
from mcpcore_bench.report.plots import draw
from mcpcore_bench.report.tables import failures
from mcpcore_bench.subjects import ROOT
from mcpcore_bench.table.table import ROWS

PAGE = ROOT / "benchmarks" / "report.md"
PLOTS = ROOT / "benchmarks" / "plots"
SHOWN = ("http", "http-legacy", "stdio", "websocket", "client", "echo-1m", "progress", "start")
"""Rows of which the page shows the costs; tables show all of them."""
BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
_CALM = 1.0
"""The load of a machine that has hardly anything else to do."""
_BUSY = (
    "The machine had other work meanwhile ({what}): costs are higher than on a quiet one, rates "
    "and latencies say nothing, and ratios are rough."
)


def _busy(run: Run) -> list[str]:
    """A sentence where others have disturbed a run; a run of old knows its load at the start."""
    load = run.machine.load[0]
    if run.others is not None:
        return (
            [_BUSY.format(what=f"{run.others:.0%} of a processor")] if run.others > OTHERS else []
        )
    return [_BUSY.format(what=f"a load of {load:.0f}")] if load > _CALM else []


def lacking(rows: Mapping[str, Collection[str]], begun: str | None = None) -> list[str]:
    """What the page would lose if it showed these rows, with these variants of each, alone.

    What could not be measured is no loss, where the run says why; nor is what the table did not
    have yet when the run had ``begun``.
    """
    return [name for name, since in _absent(rows) if begun is None or since <= begun]


def unfit(
    rows: Mapping[str, Collection[str]], rounds: int, quick: bool | None, begun: str | None = None
) -> list[str]:
    """Why the page does not take a run of these rows and rounds, whatever comes of it."""
    found = []
    if lost := lacking(rows, begun):
        found.append(f"it shows whole runs, and this one lacks {', '.join(lost)}")
    if rounds < LEAST_ROUNDS:
        found.append(f"it shows at least {LEAST_ROUNDS} rounds, and this run has {rounds}")
    if quick:
        found.append("it shows rounds of full length, and those of this run are --quick")
    return found


def spoilt(run: Run) -> list[str]:
    """Why the page does not take a run for what has come of it."""
    found = []
    if failed := failures(run):
        found.append(f"it shows what has not failed, unlike {', '.join(failed)}")
    few = [
        f"{name}:{key}"
        for name, row in run.rows.items()
        for key, measured in row.variants.items()
        if measured.samples and not measured.failed and len(measured.samples) < LEAST_ROUNDS
    ]
    if few:
        found.append(f"it shows at least {LEAST_ROUNDS} rounds, unlike those of {', '.join(few)}")
    if not run.profiles:
        found.append("it shows whole runs, and this one lacks where the time goes")
    return found


def added(run: Run) -> list[str]:
    """What the table has got since a run began, and the run has not."""
    return [name for name, since in _absent(run.names) if since > run.begun]


def _absent(rows: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """What the table has and these rows have not, and since when it has it."""
    for name, row in ROWS.items():
        if name not in rows:
            yield name, min(variant.since for variant in row.variants.values())
            continue
        for key, variant in row.variants.items():
            if key not in rows[name]:
                yield f"{name}:{key}", variant.since


def retitled(run: Run) -> list[str]:
    """The rows that the table describes otherwise than a run, as they do other work now."""
    return [
        name for name, row in run.rows.items() if name in ROWS and row.title != ROWS[name].title
    ]


def _later(run: Run) -> list[str]:
    said = {
        "Added since this run began, and not in it": added(run),
        "Described otherwise in the table since": retitled(run),
    }
    return [
        f"{what}: {', '.join(f'`{name}`' for name in names)}."
        for what, names in said.items()
        if names
    ]


def measured(run: Run, plots: list[str]) -> str:
    """The part of the page that a run makes; ``plots``: the files, as the page names them."""
    parts = [
        f"Measured on {run.begun[:10]}, rounds: {run.rounds}; costs are medians.",
        machine_lines(run),
        *_busy(run),
        *_later(run),
        "### Goals",
        goals(run),
        "### Plots",
        "\n".join(f"![{Path(plot).stem}]({plot})" for plot in plots),
        "### The load generator by itself",
        load_table(run),
        "### Every row",
    ]
    for name, row in run.rows.items():
        parts += [f"`{name}`: {row.title}", row_table(name, row)]
    if run.profiles:
        parts += ["### Where the time goes", profile_table(run), looks(run)]
    return "\n\n".join(parts)


def write_docs(run: Run, page: Path, plots: Path) -> None:
    """Replace what stands between the marks of the page, and the plots beside it."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    for old in plots.glob("*.svg") if plots.is_dir() else ():
        old.unlink()
    names = [f"{plots.name}/{file.name}" for file in draw(run, plots, SHOWN)]
    page.write_text(f"{before}{BEGIN}\n\n{measured(run, names)}\n\n{END}{after}", encoding="utf-8")
