"""``python -m conformance.mutants``: show that the cases can be trusted."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import typer
from msgspec import structs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from conformance.mutants.registry import all_mutants
from conformance.mutants.trial import Row, Trial, strays, try_mutants
from mcpcore_conformance.commands.choice import Choice, choosing
from mcpcore_conformance.commands.grouped import grouped
from mcpcore_conformance.kit.model import Case
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.selection import NoSuchCase, select
from mcpcore_transports.commands.options import ConnectOptions, Shown, connecting
from mcpcore_transports.commands.output import (
    Exit,
    Failure,
    errors,
    guarded,
    out,
    print_error,
    print_json,
    print_table,
)

JOBS = 12
"""At a time, by default: most of their time goes by in waiting for what does not come."""


STATUSES = (
    "Exit status: 0 every case is proven; 1 a case has no mutant that it fails, a mutant survives,"
    " or a case does not pass on our own program; 2 wrong usage."
)

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def mutants(
    context: typer.Context, as_json: Shown = False, *, choice: Choice, options: ConnectOptions
) -> None:
    """Show that the cases can be trusted: each passes on our programs and fails on broken ones.

    A mutant is our reference program with one thing broken; it is looked at and played with as by
    ``mcpcore conformance``. Each case is shown in the newest revision of each era, or in those that
    --revision names. --json prints the table as an array of objects.

    \b
    Examples:
      python -m conformance.mutants
      python -m conformance.mutants --only basic/lifecycle --revision 2025-03-26
      python -m conformance.mutants --json
    """  # noqa: D301
    chosen = structs.replace(choice, revisions=options.revisions or ())
    guarded(False, lambda: _show(chosen, as_json=as_json))


app.command(cls=grouped(""), epilog=STATUSES)(
    connecting(choosing(mutants, ("only", "jobs", "timeout", "seed")), ("revisions",))
)


def _show(choice: Choice, *, as_json: bool) -> int:
    """Play the chosen cases against their mutants, and print the table; 1 if a case is unproven."""
    try:
        cases = select(all_cases(), choice.only)
    except NoSuchCase as error:
        raise Failure(f"--only: {error}", Exit.USAGE) from None
    with Progress(
        TextColumn("mutants"),
        BarColumn(),
        MofNCompleteColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as progress:
        task = progress.add_task("", total=None)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        trial = anyio.run(partial(try_mutants, cases, all_mutants(), choice.settings(JOBS), told))
    if not choice.only:
        trial.problems += strays(all_cases(), all_mutants())
    if as_json:
        print_json(described(trial))
    else:
        _print(trial)
    return 0 if trial.well else 1


def described(trial: Trial) -> list[dict[str, Any]]:
    """One object for each row, and one without a mutant for each case that has none."""
    with_mutant = {row.case.id for row in trial.rows}
    alone = [_case(case) for case in trial.cases if case.id not in with_mutant]
    return [*(_row(row) for row in trial.rows), *alone]


def _row(row: Row) -> dict[str, Any]:
    return {
        "case": row.case.id,
        "strength": row.case.strength,
        "mutant": row.mutant.id,
        "summary": row.mutant.summary,
        "transport": row.binding,
        "revision": row.revision.name,
        "verdict": row.verdict,
        "detail": row.detail,
        "ours": row.ours,
        "killed": row.killed,
        "again": row.again,
        "proof": row.proof,
    }


def _case(case: Case) -> dict[str, Any]:
    return {"case": case.id, "strength": case.strength, "mutant": None, "proof": False}


def _print(trial: Trial) -> None:
    print_table(
        f"mutants ({len(trial.rows)})",
        ("case", "mutant", "verdict", "transport", "revision", "what is broken"),
        [
            (
                row.case.id,
                row.mutant.id.removeprefix(f"{row.case.page}/"),
                row.verdict if row.killed else f"survives ({row.verdict})",
                row.binding,
                row.revision.name,
                row.mutant.summary,
            )
            for row in trial.rows
        ],
    )
    for problem in _problems(trial):
        print_error(problem)
    killed = len({row.mutant.id for row in trial.rows if row.killed})
    unproven = len(trial.unproven())
    out.print(
        f"{len(trial.cases)} cases, {killed} mutants killed;"
        f" {unproven or 'no'} case{'s' * (unproven != 1)} without proof"
    )


def _problems(trial: Trial) -> Sequence[str]:
    found = [f"{row.case.id}: {row.mutant.id}: {row.problem}" for row in trial.rows if row.problem]
    told = {row.case.id for row in trial.rows if row.problem}
    missing = [
        f"{each.case.id}: no mutant fails it in {each.place}"
        for each in trial.unproven()
        if each.case.id not in told
    ]
    return [*found, *missing, *trial.problems]


if __name__ == "__main__":
    app()
