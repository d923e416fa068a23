"""What the commands of the bench do."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.commands.outputs import Outputs
from benchmarks.method.compare import Change, compare, unlike
from benchmarks.method.machine import OtherWork, described, machine
from benchmarks.method.samples import FORMAT, Run
from benchmarks.profiling import PROFILED, profile, profiles
from benchmarks.report.docs import PAGE, PLOTS, lacking, write_docs
from benchmarks.report.markdown import markdown as in_markdown
from benchmarks.report.plots import draw
from benchmarks.report.tables import (
    circumstances,
    meanwhile,
    reason,
    show_differences,
    show_load,
    show_profile,
    show_row,
    verdict,
)
from benchmarks.rows import Row
from benchmarks.runner import RunFailed, compile_modules, judge, measure_load, run_row
from benchmarks.subjects import FASTMCP, NODE_MODULES, SDK, node
from benchmarks.table import ROWS
from transports.commands.output import Exit, Failure

_WIDE = 180


class Choice(Struct, frozen=True, kw_only=True):
    """What the command line of ``mcpcore bench run`` says."""

    only: tuple[str, ...] = ()
    rounds: int
    quick: bool = False
    goals: bool = False
    outputs: Outputs = Outputs()


def chosen(choice: Choice) -> dict[str, tuple[Row, tuple[str, ...]]]:
    """The rows that are wanted, and the variants of each (none: all).  Raises Failure."""
    if not choice.only:
        return {name: (row, ()) for name, row in ROWS.items() if row.goal or not choice.goals}
    wanted: dict[str, tuple[Row, tuple[str, ...]]] = {}
    for each in choice.only:
        name, _, variant = each.partition(":")
        row = ROWS.get(name)
        if row is None:
            raise Failure(f"there is no row {name!r}; --list shows them", Exit.USAGE)
        if variant and variant not in row.variants:
            known = ", ".join(row.variants)
            raise Failure(f"the row {name} has no {variant!r}, but {known}", Exit.USAGE)
        before = wanted.get(name, (row, ()))[1]
        wanted[name] = (row, (*before, variant) if variant else before)
    return wanted


def list_rows(choice: Choice) -> int:
    """Print the rows, their variants and what is missing."""
    console = Console(highlight=False, soft_wrap=True)
    for name, (row, _) in chosen(choice).items():
        console.print(f"[bold]{name}[/]  {row.title} [dim]({row.unit})[/]")
        for key, variant in row.variants.items():
            missing = variant.needs()
            note = f"  [yellow]{missing}[/]" if missing else ""
            console.print(f"  {key}  [dim]{variant.title}[/]{note}")
    return Exit.OK


def _console() -> Console:
    """Standard output; where it is no terminal, wide enough for any table."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)


def measure(choice: Choice, page: Path = PAGE, plots: Path = PLOTS) -> int:
    """Measure and show; 1 if a bound is missed or a run has failed.

    ``page``, ``plots``: what the outputs mean by the docs.
    """
    console = _console()
    rows = chosen(choice)
    whole = {name: only or tuple(row.variants) for name, (row, only) in rows.items()}
    choice.outputs.check(page, plots, lacking(whole))
    facts = machine(
        {
            "official SDK": ((SDK,), ("mcp", "uvicorn", "h11", "httptools", "uvloop", "pydantic")),
            "fastmcp": ((FASTMCP,), ("fastmcp", "mcp", "uvicorn", "httptools", "uvloop")),
            "Node": ((node() or "node",), ()),
            "TypeScript SDK": _typescript(),
        }
    )
    for line in described(facts):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    console.print()
    compile_modules()
    work = OtherWork()
    run = Run(machine=facts, rounds=choice.rounds, rows={}, quick=choice.quick)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    total = choice.rounds * sum(
        variant.needs() is None and (not only or name in only)
        for row, only in rows.values()
        for name, variant in row.variants.items()
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=1) as progress:
        bar = progress.add_task("the load generator itself", total=total)
        run.load = measure_load(lambda name: None)
        show_load(console, run.load)
        for name, (row, only) in rows.items():

            def told(number: int, title: str, name: str = name) -> None:
                progress.update(bar, description=f"{name}: {title}", advance=1)

            result = run_row(row, choice.rounds, quick=choice.quick, only=only, told=told)
            run.rows[name] = result
            show_row(console, name, result)
            run.others = work.share()
            _save(run, choice)
        if not choice.only:
            progress.update(bar, description="where the time goes")
            run.profiles = profiles()
            for found in run.profiles.values():
                show_profile(console, found)
            run.others = work.share()
            _save(run, choice)
    for line in meanwhile(run):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    _write(run, choice.outputs, page, plots)
    return _status(console, run)


def show_profiles(names: Sequence[str]) -> int:
    """Profile and print."""
    console = _console()
    for name in names or PROFILED:
        row, _, variant = name.partition(":")
        if row not in ROWS or variant not in ROWS[row].variants:
            raise Failure(f"there is no {name!r}; `bench run --list` shows rows", Exit.USAGE)
        try:
            show_profile(console, profile(name))
        except RunFailed as problem:
            raise Failure(str(problem)) from None
    return Exit.OK


def _typescript() -> tuple[tuple[str, ...], tuple[str, ...]]:
    package = NODE_MODULES / "@modelcontextprotocol" / "sdk" / "package.json"
    return ((node() or "node", "-p", f"require('{package}').version", "--"), ())


def _save(run: Run, choice: Choice) -> None:
    """Keep what there is, also of a run that is interrupted."""
    if (file := choice.outputs.json) is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1))


def _write(run: Run, outputs: Outputs, page: Path, plots: Path) -> None:
    if outputs.markdown is not None:
        outputs.markdown.write_text(in_markdown(run), encoding="utf-8")
    if outputs.plots is not None:
        draw(run, outputs.plots)
    if outputs.write_docs:
        write_docs(run, page, plots)


def _status(console: Console, run: Run) -> int:
    verdicts = [(name, row, each) for name, row in run.rows.items() for each in row.verdicts]
    missed = [
        f"{verdict(row, each)}: {name} ({each.ours} : {each.peer})"
        for name, row, each in verdicts
        if each.met is False
    ]
    met = sum(each.met is True for _, _, each in verdicts)
    unknown = sum(each.met is None and each.most is not None for _, _, each in verdicts)
    failed = [
        f"{name}: {measured.title}: failed: {reason(measured)}"
        for name, row in run.rows.items()
        for measured in row.variants.values()
        if measured.missing and measured.missing.startswith("failed")
    ]
    for problem in failed:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    console.print(f"{met} bounds met, {len(missed)} MISSED, {unknown} not measured", style="bold")
    for each in missed:
        console.print(f"  {each}", style="red", soft_wrap=True)
    return Exit.REFUSED if missed or failed else Exit.OK


def load(file: Path) -> Run:
    """Read a saved run.  Raises Failure."""
    try:
        run = msgspec.json.decode(file.read_bytes(), type=Run)
    except (OSError, msgspec.DecodeError) as error:
        raise Failure(f"{file}: {error}", Exit.USAGE) from None
    if run.format != FORMAT:
        raise Failure(f"{file} has format {run.format}, not {FORMAT}", Exit.USAGE)
    return run


def show_comparison(old: Path, new: Path, *, everything: bool) -> int:
    """Print what has changed; 1 if something costs more."""
    console = _console()
    before, after = load(old), load(new)
    for line in unlike(before, after):
        console.print(line, style="yellow", markup=False)
    differences = compare(before, after)
    changed = [each for each in differences if everything or each.change is not Change.SAME]
    if changed:
        show_differences(console, changed)
    count = Counter(each.change for each in differences)
    alone = count[Change.NEW] + count[Change.GONE]
    console.print(
        f"{len(differences) - alone} compared: {count[Change.SAME]} within the noise, "
        f"{count[Change.MACHINE]} moved as the machine, {count[Change.SLOWER]} cost MORE, "
        f"{count[Change.MORE_BESIDE]} cost MORE beside their reference alone, "
        f"{count[Change.FASTER]} cost less, "
        f"{count[Change.LESS_BESIDE]} cost less beside their reference alone; "
        f"{alone} are in one file only: {count[Change.GONE]} in the old, "
        f"{count[Change.NEW]} in the new",
        soft_wrap=True,
    )
    return Exit.REFUSED if count[Change.SLOWER] else Exit.OK


def show_saved(file: Path, outputs: Outputs, page: Path = PAGE, plots: Path = PLOTS) -> int:
    """Print a saved run, held against the bounds that the table has now; the status tells of these.

    ``page``, ``plots``: what the outputs mean by the docs.
    """
    console = _console()
    run = load(file)
    lost = lacking(run.names, run.begun)
    outputs.check(page, plots, lost if run.profiles else [*lost, "where the time goes"])
    for name, row in run.rows.items():
        if name in ROWS:
            row.verdicts = judge(ROWS[name], row)
    for line in circumstances(run):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    show_load(console, run.load)
    for name, row in run.rows.items():
        show_row(console, name, row)
    _write(run, outputs, page, plots)
    return _status(console, run)
