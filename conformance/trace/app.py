"""`mcpcore trace`: show a saved trace, check it, play it again."""

import sys
from typing import Annotated, NoReturn

import msgspec
import typer

from conformance.trace.check import check as run_check
from conformance.trace.check import summary
from conformance.trace.reading import BadTrace, TraceFile, read
from conformance.trace.show import timeline

__all__ = ["app"]

USAGE = 2
"""The exit status for what cannot be read or done."""

app = typer.Typer(
    help="Show, check and replay what --trace has recorded.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A trace.")]
Connection = Annotated[
    int | None, typer.Option("--connection", metavar="N", help="Only this connection.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]


@app.command("show")
def show(
    file: File,
    whole: Annotated[bool, typer.Option("--whole", help="Show all of every message.")] = False,
    width: Annotated[
        int, typer.Option("--width", metavar="N", min=40, help="Characters of a line.")
    ] = 120,
    connection: Connection = None,
) -> None:
    r"""Print a readable timeline.

    Each line says the line of the file, seconds, connection (and exchange, over HTTP), direction
    (-> is to the server), and what it is.

    \b
    Examples:
      mcpcore trace show server.jsonl
      mcpcore trace show --whole --connection 2 server.jsonl
    """
    for line in timeline(_read(file), width=width, whole=whole, connection=connection):
        typer.echo(line)


@app.command("check")
def check(
    file: File,
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="What breaks a SHOULD fails, too.")
    ] = False,
) -> None:
    r"""Run the message-level rules over a trace; name clause and line of what breaks one.

    Exit status: 0 nothing was found, 1 something was (a SHOULD alone counts with --strict only),
    2 the file is no trace.

    \b
    Examples:
      mcpcore trace check server.jsonl
      mcpcore trace check --json --strict server.jsonl
    """
    trace = _read(file)
    findings = run_check(trace)
    counts = summary(findings)
    if as_json:
        found = {"file": file, "records": len(trace.entries), "findings": findings}
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        for each in findings:
            revision = f" [{each.revision}]" if each.revision else ""
            typer.echo(f"{file}:{each.line}: {each.strength} {each.clause}{revision}")
            typer.echo(f"  {each.rule}: the {each.side}: {each.detail}")
        total = ", ".join(f"{counts[name]} {name}" for name in ("MUST", "SHOULD") if name in counts)
        typer.echo(f"{len(trace.entries)} records, {total or 'nothing found'}")
    raise typer.Exit(1 if counts.get("MUST") or (strict and findings) else 0)


def _read(file: str) -> TraceFile:
    try:
        return read(file)
    except OSError as error:
        _fail(f"{file}: {error.strerror}")
    except BadTrace as error:
        _fail(f"{file}: {error}")


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    raise typer.Exit(USAGE)
