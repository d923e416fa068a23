"""The typer application that ``mcpcore`` adds as ``mcpcore conformance``."""

from typing import Annotated

import typer

from conformance.commands.choice import Choice
from conformance.commands.listing import list_cases
from conformance.kit.model import Side
from transports.commands.guard import guarded
from transports.commands.options import Shown, connecting
from transports.commands.target import Options

app = typer.Typer(
    help="Check servers and clients against the specification, case by case.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Words = Annotated[list[str] | None, typer.Argument(metavar="[TARGET]...", help="See above.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="CASE", help="An id, a page, or a pattern with * in it; repeatable."
    ),
]
TransportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--transport",
        metavar="T",
        help="stdio, http, ws, sse, tcp, unix, memory, core or all; repeatable.",
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="What is weak or inconclusive is a failure, too.")
]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", metavar="N", min=1, max=64, help="Cases at a time.")
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.05, help="For each answer; default 5."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", help="For what looks random; the same gives the same.")
]
ListOption = Annotated[bool, typer.Option("--list", help="Show the cases instead of playing them.")]
_TARGET_OPTIONS = ("config", "revisions", "headers", "ca", "cert", "key", "env", "cwd")


def server(
    context: typer.Context,
    words: Words = None,
    show: ListOption = False,
    as_json: Shown = False,
    only: OnlyOption = None,
    transport: TransportOption = None,
    strict: StrictOption = False,
    jobs: JobsOption = 4,
    timeout: TimeoutOption = 5.0,
    seed: SeedOption = 0,
    *,
    options: Options,
) -> None:
    """Check a server: every case, in every revision that it speaks.

    TARGET is a URL (http, https, ws, wss, sse+http, sse+https, tcp, tls, unix), a name out of
    mcp.json, MODULE:SERVER for a server of mcpcore, or -- and the command that starts one.

    \b
    Examples:
      mcpcore conformance server http://127.0.0.1:8000/mcp
      mcpcore conformance server -- python my_server.py
      mcpcore conformance server --revision 2025-11-25 --only server/tools ws://127.0.0.1:8001/mcp
      mcpcore conformance server my_module:server --transport all
      mcpcore conformance server --list --json
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines

    def work() -> int:
        choice = Choice(
            only=tuple(only or ()),
            revisions=options.revisions or (),
            transports=tuple(transport or ()),
            strict=strict,
            jobs=jobs,
            timeout=timeout,
            seed=seed,
        )
        if show:
            return list_cases(choice.cases(Side.SERVER), as_json=as_json)
        from conformance.commands.server import check_server

        return check_server(words or (), options, choice)

    guarded(False, work)


app.command("server")(connecting(server, _TARGET_OPTIONS))


def client(
    context: typer.Context,
    show: ListOption = False,
    as_json: Shown = False,
    only: OnlyOption = None,
    transport: TransportOption = None,
    strict: StrictOption = False,
    jobs: JobsOption = 4,
    timeout: TimeoutOption = 5.0,
    seed: SeedOption = 0,
    *,
    options: Options,
) -> None:
    """Check a client: what stands behind -- is started once for every case.

    It gets the address of a scripted server as its last argument, and in the environment
    MCP_CONFORMANCE_SCENARIO, MCP_CONFORMANCE_PROTOCOL_VERSION and MCP_CONFORMANCE_CONTEXT (JSON),
    as the official suite has it, and MCP_CONFORMANCE_TRANSPORT.

    \b
    Examples:
      mcpcore conformance client -- python my_client.py
      mcpcore conformance client --transport http --transport ws -- python my_client.py
      mcpcore conformance client --only basic/lifecycle --revision 2026-07-28 -- node client.js
    """  # noqa: D301

    def work() -> int:
        choice = Choice(
            only=tuple(only or ()),
            revisions=options.revisions or (),
            transports=tuple(transport or ()),
            strict=strict,
            jobs=jobs,
            timeout=timeout,
            seed=seed,
        )
        if show:
            return list_cases(choice.cases(Side.CLIENT), as_json=as_json)
        from conformance.commands.client import check_client

        return check_client(options, choice)

    guarded(False, work)


app.command("client")(connecting(client, ("revisions", "env", "cwd")))


@app.command("mutants")
def mutants(
    as_json: Shown = False,
    only: OnlyOption = None,
    jobs: JobsOption = 4,
    timeout: TimeoutOption = 5.0,
    seed: SeedOption = 0,
) -> None:
    """Show that the cases can be trusted: each passes on our programs and fails on broken ones.

    A mutant is our reference program with one thing broken. Exit status 1: a case has no mutant
    that it fails, a mutant survives, or a case does not pass on our own program.

    \b
    Examples:
      mcpcore conformance mutants
      mcpcore conformance mutants --only basic/lifecycle
      mcpcore conformance mutants --json
    """  # noqa: D301

    def work() -> int:
        from conformance.commands.mutants import show_mutants

        choice = Choice(only=tuple(only or ()), jobs=jobs, timeout=timeout, seed=seed)
        return show_mutants(choice, as_json=as_json)

    guarded(False, work)


@app.callback()
def _group() -> None:
    """Check servers and clients against the specification, case by case."""
