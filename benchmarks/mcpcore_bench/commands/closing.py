"""How a run ends: where it is printed, what is written of it, and the status."""

from pathlib import Path

import msgspec
from rich.console import Console

from mcpcore_bench.commands.outputs import Outputs
from mcpcore_bench.method.samples import Run, is_ours
from mcpcore_bench.report.docs import spoilt, write_docs
from mcpcore_bench.report.markdown import markdown
from mcpcore_bench.report.plots import draw
from mcpcore_bench.report.tables import failures, verdict
from mcpcore_transports.commands.output import Exit

_WIDE = 180


def printing() -> Console:
    """Standard output; where it is no terminal, wide enough for any table."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def save(run: Run, outputs: Outputs) -> None:
    """Keep what there is, also of a run that is interrupted."""
    if outputs.json is not None:
        outputs.json.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))


def interrupted(run: Run, outputs: Outputs) -> str:
    """What is left of a run that somebody has stopped, in a sentence."""
    if outputs.json is None:
        return "interrupted: nothing is saved, as there was no --json"
    names = ", ".join(run.rows) or "none"
    return f"interrupted: the rows so far ({names}) are saved to {outputs.json}"


def write(run: Run, outputs: Outputs, page: Path, plots: Path) -> list[str]:
    """Write what is wanted; returns why the page stays as it was, if it should not have."""
    if outputs.markdown is not None:
        outputs.markdown.write_text(markdown(run), encoding="utf-8")
    if outputs.plots is not None:
        draw(run, outputs.plots)
    if not outputs.write_docs:
        return []
    reasons = spoilt(run)
    if not reasons:
        write_docs(run, page, plots)
    return reasons


def status(console: Console, run: Run) -> int:
    """Say what is met, MISSED and failed; 1 for a bound, for one of ours or the bench itself.

    What fails of a peer is said, and holds no bound.
    """
    verdicts = [(name, row, each) for name, row in run.rows.items() for each in row.verdicts]
    bounds = [(name, row, each) for name, row, each in verdicts if each.most is not None]
    missed = [
        f"{verdict(row, each)}: {name} ({each.ours} : {each.peer})"
        for name, row, each in bounds
        if row.met(each) is False
    ]
    few = sum(row.few(each) for _, row, each in bounds)
    noisy = sum(row.noisy(each) and not row.few(each) for _, row, each in bounds)
    met = sum(row.met(each) is True for _, row, each in bounds)
    unknown = len(bounds) - met - len(missed) - few - noisy
    failed = failures(run)
    for name, why in failed.items():
        console.print(f"{name}: {why}", style="red", markup=False, soft_wrap=True)
    counts = [f"{met} bounds met", f"{len(missed)} MISSED", f"{unknown} not measured"]
    if few:
        counts.append(f"{few} of too few rounds")
    if noisy:
        counts.append(f"{noisy} too noisy")
    console.print(", ".join(counts), style="bold")
    for line in missed:
        console.print(f"  {line}", style="red", soft_wrap=True)
    own = any(
        each.failed and is_ours(name)
        for row in run.rows.values()
        for name, each in row.variants.items()
    )
    return Exit.REFUSED if missed or own or run.failures else Exit.OK
