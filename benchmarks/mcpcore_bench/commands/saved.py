"""What the commands do with runs that are saved: show one, compare two."""

from collections import Counter
from pathlib import Path

import msgspec

from mcpcore_bench.commands.closing import printing, status, write
from mcpcore_bench.commands.outputs import Outputs
from mcpcore_bench.method.compare import Change, compare, unlike
from mcpcore_bench.method.samples import FORMAT, Run
from mcpcore_bench.report.docs import PAGE, PLOTS, spoilt, unfit
from mcpcore_bench.report.tables import circumstances, show_differences, show_load, show_row
from mcpcore_bench.runner import judge
from mcpcore_bench.table.table import ROWS
from mcpcore_transports.commands.output import Exit, Failure


def load(file: Path) -> Run:
    """Read a saved run.  Raises Failure."""
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{file}: {reason}", Exit.USAGE) from None
    if run.format != FORMAT:
        raise Failure(f"{file} has format {run.format}, not {FORMAT}", Exit.USAGE)
    return run


def show_comparison(old: Path, new: Path, *, everything: bool) -> int:
    """Print what has changed; 1 if something of ours costs more."""
    console = printing()
    before, after = load(old), load(new)
    for line in unlike(before, after):
        console.print(line, style="yellow", markup=False)
    differences = compare(before, after)
    changed = [each for each in differences if everything or each.change is not Change.SAME]
    if changed:
        show_differences(console, changed)
    count = Counter(each.change for each in differences)
    more = sum(each.ours for each in differences if each.change is Change.SLOWER)
    alone = count[Change.NEW] + count[Change.GONE]
    console.print(
        f"{len(differences) - alone} compared: {count[Change.SAME]} within the noise, "
        f"{count[Change.MACHINE]} moved as the machine, "
        f"{count[Change.UNTOLD]} not told apart from it, "
        f"{count[Change.FEW]} of too few rounds, "
        f"{count[Change.SLOWER]} cost MORE ({more} of them ours), "
        f"{count[Change.MORE_BESIDE]} cost MORE beside their reference alone, "
        f"{count[Change.FASTER]} cost less, "
        f"{count[Change.LESS_BESIDE]} cost less beside their reference alone; "
        f"{alone} are in one file only: {count[Change.GONE]} in the old, "
        f"{count[Change.NEW]} in the new",
        soft_wrap=True,
    )
    return Exit.REFUSED if more else Exit.OK


def show_saved(file: Path, outputs: Outputs, page: Path = PAGE, plots: Path = PLOTS) -> int:
    """Print a saved run, held against the bounds that the table has now; the status tells of these.

    ``page``, ``plots``: what the outputs mean by the docs.
    """
    console = printing()
    run = load(file)
    reasons = [*unfit(run.names, run.rounds, run.quick, run.begun), *spoilt(run)]
    outputs.check(page, plots, reasons)
    for name, row in run.rows.items():
        if name in ROWS:
            row.verdicts = judge(ROWS[name], row)
    for line in circumstances(run):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    show_load(console, run)
    for name, row in run.rows.items():
        show_row(console, name, row)
    write(run, outputs, page, plots)
    return status(console, run)
