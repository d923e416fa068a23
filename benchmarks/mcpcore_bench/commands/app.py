"""The typer application that ``mcpcore`` adds as ``mcpcore bench``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcpcore_transports.commands.output import Exit, Failure, guarded

app = typer.Typer(
    help="""Measure what things cost, beside peers and the limit of the machine.

    \b
    Examples:
      mcpcore bench run --list                          the rows, and what is not installed
      mcpcore bench run --quick --goals --json new.json
      mcpcore bench show new.json --markdown new.md --plots plots
      mcpcore bench compare old.json new.json           what has changed beyond the noise
      mcpcore bench profile http:ours-asyncio           where the time goes
      mcpcore bench floods --scale 0.1                  what attacks cost
    """,
    epilog="Exit status: 0 no bound is MISSED, 1 one is, or ours has failed, 2 wrong usage, "
    "130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ROUNDS = 7
QUICK_ROUNDS = 5


@app.command("run")
def run(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ROW[:VARIANT]", help="Only this row; repeatable."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_ROUNDS} short rounds: for a first look.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", metavar="N", min=1, help=f"Runs of each; default {ROUNDS}."),
    ] = None,
    goals: Annotated[
        bool, typer.Option("--goals", help="Only rows with bounds; not with --only.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Save the run.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write tables.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Draw plots (SVG).")
    ] = None,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Put a whole run into benchmarks/report.md.")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="Show the rows; measure nothing.")] = False,
) -> None:
    """Measure, in turn, and hold every ratio against its bound.

    A row is a kind of work; its variants are ours, the raw limits and the peers. What is not
    installed is left out, with the reason; `make bench` installs everything first. With fewer than
    five rounds no bound is judged.

    \b
    Examples:
      mcpcore bench run --list
      mcpcore bench run --only http --only stdio
      mcpcore bench run --only http:ours-asyncio --only http:raw-protocol --rounds 15
      mcpcore bench run --quick --goals
      mcpcore bench run --json new.json --markdown new.md --plots plots
      mcpcore bench run --json new.json --write-docs
    """  # noqa: D301
    from mcpcore_bench.commands.outputs import Outputs
    from mcpcore_bench.commands.running import Choice, measure

    choice = Choice(
        only=tuple(only or ()),
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        quick=quick,
        goals=goals,
        outputs=Outputs(json=json, markdown=markdown, plots=plots, write_docs=write_docs),
    )

    def work() -> int:
        from mcpcore_bench.commands.running import list_rows

        return list_rows(choice) if show else measure(choice)

    guarded(False, work)


@app.command("profile")
def profile(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROW:VARIANT]...", show_default=False, help="Default: those of the report."
        ),
    ] = None,
) -> None:
    """Show where the CPU time of our servers goes, by layer.

    \b
    Examples:
      mcpcore bench profile
      mcpcore bench profile http:ours-asyncio stdio:ours-stdio
    """  # noqa: D301

    def work() -> int:
        from mcpcore_bench.commands.running import show_profiles

        return show_profiles(names or ())

    guarded(False, work)


@app.command("compare")
def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="A run that was saved before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="One that was saved after.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also what has not changed beyond the noise.")
    ] = False,
) -> None:
    """Say what has changed from one saved run to another, beyond the noise.

    Where both have measured another program of the row, the ratio to it is compared, too: what
    moved with it moved "as the machine" and has not changed itself; without one that is not told.
    With fewer than five rounds nothing is. How the runs differ is said first.

    Exit status: 0 nothing of ours costs more than it did, 1 something does, and beside its
    reference, too.

    \b
    Examples:
      mcpcore bench compare before.json after.json
      mcpcore bench compare --all before.json after.json
    """  # noqa: D301

    def work() -> int:
        from mcpcore_bench.commands.saved import show_comparison

        return show_comparison(old, new, everything=everything)

    guarded(False, work)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="RUN.json", help="A run that --json has saved.")],
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write tables.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Draw plots (SVG).")
    ] = None,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Put a whole run into benchmarks/report.md.")
    ] = False,
) -> None:
    """Show a saved run again, held against the bounds that the table has now.

    Exit status: as that of a run.

    \b
    Examples:
      mcpcore bench show run.json
      mcpcore bench show run.json --markdown run.md --plots plots
    """  # noqa: D301

    def work() -> int:
        from mcpcore_bench.commands.outputs import Outputs
        from mcpcore_bench.commands.saved import show_saved

        return show_saved(file, Outputs(markdown=markdown, plots=plots, write_docs=write_docs))

    guarded(False, work)


class Backend(StrEnum):
    """Of a server under attack."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


class Allocator(StrEnum):
    """What PYTHONMALLOC says to a server under attack."""

    MALLOC = "malloc"
    PYMALLOC = "pymalloc"


@app.command("floods")
def floods(
    scale: Annotated[
        float, typer.Option("--scale", metavar="X", help="How large they are, beside full size.")
    ] = 1.0,
    flood: Annotated[
        list[str] | None,
        typer.Option("--flood", metavar="NAME", help="Only this one; repeatable."),
    ] = None,
    backend: Annotated[
        Backend, typer.Option("--backend", help="The server's event loop.")
    ] = Backend.ASYNCIO,
    allocator: Annotated[
        Allocator, typer.Option("--allocator", help="The server's allocator of memory.")
    ] = Allocator.PYMALLOC,
) -> None:
    """Measure what attacks cost a server, and an honest client beside them.

    \b
    Examples:
      mcpcore bench floods                          all at full size: about half an hour
      mcpcore bench floods --scale 0.1              small ones, which tell less of memory
      mcpcore bench floods --flood calls --flood sessions --backend trio
      mcpcore bench floods --allocator malloc
    """  # noqa: D301

    def work() -> int:
        from mcpcore_bench.floods import floods as kinds

        unknown = [name for name in flood or () if name not in kinds.FLOODS]
        if unknown:
            known = ", ".join(kinds.FLOODS)
            raise Failure(f"there is no flood {unknown[0]!r}, but {known}", Exit.USAGE)
        return kinds.main(scale, backend, flood or (), allocator)

    guarded(False, work)
