"""What the commands of the bench do."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mcpcore_bench.commands.closing import interrupted, printing, save, status, write
from mcpcore_bench.commands.outputs import Outputs
from mcpcore_bench.method.machine import OtherWork, described, machine
from mcpcore_bench.method.samples import LEAST_ROUNDS, RowResult, Run
from mcpcore_bench.pace import Pace
from mcpcore_bench.profiling import PROFILED, profile, profiles, to_be_profiled
from mcpcore_bench.report.docs import PAGE, PLOTS, unfit
from mcpcore_bench.report.tables import meanwhile, pace, show_load, show_profile, show_row
from mcpcore_bench.rows import Row
from mcpcore_bench.runner import RunFailed, compile_modules, measure_load, run_row, undercut
from mcpcore_bench.subjects import FASTMCP, NODE_MODULES, ROOT, SDK, node
from mcpcore_bench.table.table import ROWS
from mcpcore_transports.commands.output import Exit, Failure

BENCH = "the load generator by itself"
SPEED = "the speed of the machine"
Chosen = dict[str, tuple[Row, tuple[str, ...]]]
"""Rows, and the variants of each that are wanted; none: all."""


class Choice(Struct, frozen=True, kw_only=True):
    """What the command line of ``mcpcore bench run`` says."""

    only: tuple[str, ...] = ()
    rounds: int
    quick: bool = False
    goals: bool = False
    outputs: Outputs = Outputs()

    @property
    def command(self) -> str:
        """The command line that says the same, whatever the defaults are by then."""
        words = ["mcpcore", "bench", "run", "--rounds", str(self.rounds)]
        words += ["--quick"] * self.quick + ["--goals"] * self.goals
        words += [word for name in self.only for word in ("--only", name)]
        return shlex.join((*words, *self.outputs.words))


def chosen(choice: Choice) -> Chosen:
    """What is wanted.  Raises Failure."""
    if choice.only and choice.goals:
        raise Failure("--goals and --only: both say which rows; give one of them", Exit.USAGE)
    if not choice.only:
        return {name: (row, ()) for name, row in ROWS.items() if row.goal or not choice.goals}
    wanted: Chosen = {}
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


def measure(choice: Choice, page: Path = PAGE, plots: Path = PLOTS) -> int:
    """Measure and show; 1 if a bound is missed, or one of ours or the bench itself has failed.

    ``page``, ``plots``: what the outputs mean by the docs.
    """
    console = printing()
    rows = chosen(choice)
    whole = {name: only or tuple(row.variants) for name, (row, only) in rows.items()}
    choice.outputs.check(page, plots, unfit(whole, choice.rounds, choice.quick))
    facts = machine(
        {
            "official SDK": ((SDK,), ("mcp", "uvicorn", "h11", "httptools", "uvloop", "pydantic")),
            "fastmcp": ((FASTMCP,), ("fastmcp", "mcp", "uvicorn", "httptools", "uvloop")),
            "Node": ((node() or "node",), ()),
            "TypeScript SDK": _typescript("sdk"),
            "TypeScript SDK 2.x": _typescript("server"),
            "TypeScript SDK 2.x for Node": _typescript("node"),
        },
        ROOT,
    )
    run = Run(
        machine=facts,
        rounds=choice.rounds,
        rows={},
        quick=choice.quick,
        command=choice.command,
    )
    try:
        for line in described(facts):
            console.print(line, style="dim", soft_wrap=True, highlight=False)
        console.print()
        compile_modules()
        _measure(console, run, rows, choice)
    except KeyboardInterrupt:
        save(run, choice.outputs)
        # A console that was interrupted while it printed may keep what it is given for itself.
        printing().print(interrupted(run, choice.outputs), markup=False, soft_wrap=True)
        raise
    for line in (*meanwhile(run), *pace(run)):
        console.print(line, style="dim", soft_wrap=True, highlight=False)
    reasons = write(run, choice.outputs, page, plots)
    for reason in reasons:
        console.print(f"{page} stays as it was: {reason}", style="red", markup=False)
    return status(console, run) or (Exit.REFUSED if reasons else Exit.OK)


def _measure(console: Console, run: Run, rows: Chosen, choice: Choice) -> None:
    """Fill a run with what is wanted, and show it as it comes."""
    work = OtherWork()
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
        bar = progress.add_task(BENCH, total=total)
        speed = Pace(run.phases, quick=choice.quick)

        def said(name: str) -> None:
            progress.update(bar, description=f"{BENCH}: {name}")

        with attempted(run, SPEED):
            speed.look()
        with attempted(run, BENCH):
            run.own = measure_load(
                said, rounds=min(choice.rounds, LEAST_ROUNDS), quick=choice.quick
            )
            show_load(console, run)
        for name, (row, only) in rows.items():

            def told(number: int, title: str, name: str = name) -> None:
                progress.update(bar, description=f"{name}: {title}", advance=1)

            def kept(result: RowResult, name: str = name) -> None:
                run.rows[name] = result
                with attempted(run, SPEED):
                    speed.look_if_due(name)
                run.others = work.share()

            found = run_row(row, choice.rounds, quick=choice.quick, only=only, told=told, kept=kept)
            show_row(console, name, found)
            with attempted(run, BENCH):
                least = undercut(row, found, run.own, said, quick=choice.quick)
                run.failures |= {f"{BENCH}, {name}:{key}": why for key, why in least.items()}
            save(run, choice.outputs)
        with attempted(run, SPEED):
            speed.look()
        save(run, choice.outputs)
        for name in () if choice.only else to_be_profiled(run):
            progress.update(bar, description=f"where the time goes: {name}")
            with attempted(run, f"profile {name}"):
                run.profiles |= profiles((name,))
                show_profile(console, run.profiles[name])
            run.others = work.share()
            save(run, choice.outputs)


@contextmanager
def attempted(run: Run, what: str) -> Iterator[None]:
    """Go on without something that a run can do without, and say why."""
    try:
        yield
    except RunFailed as problem:
        run.failures[what] = str(problem)


def show_profiles(names: Sequence[str]) -> int:
    """Profile and print."""
    console = printing()
    for name in names or PROFILED:
        _check_profiled(name)
    for name in names or PROFILED:
        try:
            show_profile(console, profile(name))
        except RunFailed as problem:
            raise Failure(str(problem)) from None
    return Exit.OK


def _check_profiled(name: str) -> None:
    row, _, variant = name.partition(":")
    if row not in ROWS:
        raise Failure(f"there is no row {row!r}; `bench run --list` shows them", Exit.USAGE)
    known = ", ".join(ROWS[row].variants)
    if not variant:
        why = f"{name!r} says no variant: ROW:VARIANT is wanted, and {row} has {known}"
        raise Failure(why, Exit.USAGE)
    if variant not in ROWS[row].variants:
        raise Failure(f"the row {row} has no {variant!r}, but {known}", Exit.USAGE)


def _typescript(package: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    file = NODE_MODULES / "@modelcontextprotocol" / package / "package.json"
    return ((node() or "node", "-p", f"require('{file}').version", "--"), ())
