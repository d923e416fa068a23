"""The typer application that ``mcpcore`` adds as ``mcpcore conformance``."""

from typing import Annotated

import typer
from msgspec import structs

from mcpcore_conformance.commands.choice import Choice, choosing
from mcpcore_conformance.commands.grouped import grouped
from mcpcore_conformance.commands.listing import list_cases
from mcpcore_conformance.kit.model import Side
from mcpcore_transports.commands.options import ConnectOptions, connecting
from mcpcore_transports.commands.output import Exit, Failure, guarded

STATUSES = (
    "Exit status: 0 no failure, or none that is not known; 1 failures, known failures that did not"
    " happen, a server that was gone before the end, a case that failed itself, or no verdict but"
    " inconclusive; 2 wrong usage; 3 nothing could be run, or a file cannot be written; 130"
    " interrupted."
)
app = typer.Typer(epilog=STATUSES, no_args_is_help=True, rich_markup_mode=None)

JSON_ALONE = "--json goes with --list; --report json gives the results of a run"

Words = Annotated[list[str] | None, typer.Argument(hidden=True)]
ListedOption = Annotated[bool, typer.Option("--json", help="With --list: as an array of objects.")]
ListOption = Annotated[bool, typer.Option("--list", help="Show the cases instead of playing them.")]


def server(
    context: typer.Context,
    words: Words = None,
    show: ListOption = False,
    as_json: ListedOption = False,
    *,
    choice: Choice,
    options: ConnectOptions,
) -> None:
    """Check a server: every case, in every revision that it speaks.

    TARGET is a URL (http, https, ws, wss, sse+http, sse+https, tcp, tls, unix), a name out of
    mcp.json, MODULE:SERVER for a server of mcpcore, or -- and the command that starts one. There
    may be several of different transports.

    \b
    Examples:
      mcpcore conformance server http://127.0.0.1:8000/mcp
      mcpcore conformance server -- python my_server.py
      mcpcore conformance server --report html:report.html --report junit:junit.xml -- ./server
      mcpcore conformance server --revision 2025-11-25 --only server/tools ws://127.0.0.1:8001/mcp
      mcpcore conformance server my_module:server --transport all
      mcpcore conformance server --trace-dir traces --trace-all -- python my_server.py
      mcpcore conformance server --write-expected known.toml https://mcp.example.com/mcp
      mcpcore conformance server --expected-failures known.toml https://mcp.example.com/mcp
      mcpcore conformance server --protected http://127.0.0.1:8000/mcp -- ./server 8000
      mcpcore conformance server --list --json
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    chosen = structs.replace(choice, revisions=options.revisions or ())

    def work() -> int:
        if as_json and not show:
            raise Failure(JSON_ALONE, Exit.USAGE)
        if show:
            return list_cases(chosen.listed(Side.SERVER), as_json=as_json)
        from mcpcore_conformance.commands.server import check_server

        return check_server(words or (), options, chosen)

    guarded(False, work)


def client(
    context: typer.Context,
    words: Words = None,
    show: ListOption = False,
    as_json: ListedOption = False,
    *,
    choice: Choice,
    options: ConnectOptions,
) -> None:
    """Check a client: what stands behind -- is started once for every case.

    It gets the address of a scripted server as its last argument, and in the environment
    MCP_CONFORMANCE_SCENARIO, MCP_CONFORMANCE_PROTOCOL_VERSION and MCP_CONFORMANCE_CONTEXT (JSON),
    as the official suite has it, and MCP_CONFORMANCE_TRANSPORT and MCP_CONFORMANCE_ADDRESS. The
    transport is http unless --transport says otherwise.

    mcpcore_conformance.everything.client:main is the reference client of mcpcore; with --transport
    memory it is met in this process, with --transport core it is the client's half of the sans-IO
    engine, on virtual time.

    \b
    Examples:
      mcpcore conformance client -- python my_client.py
      mcpcore conformance client --transport http --transport ws -- python my_client.py
      mcpcore conformance client --only basic/lifecycle --revision 2026-07-28 -- node client.js
      mcpcore conformance client --trace-dir traces -- python my_client.py
      mcpcore conformance client --report junit:junit.xml --strict -- ./client
      mcpcore conformance client --transport core mcpcore_conformance.everything.client:main
      mcpcore conformance client --list
    """  # noqa: D301
    chosen = structs.replace(choice, revisions=options.revisions or ())

    def work() -> int:
        if as_json and not show:
            raise Failure(JSON_ALONE, Exit.USAGE)
        if show:
            return list_cases(chosen.listed(Side.CLIENT), as_json=as_json)
        for name, given in (
            ("--other-header", choice.other_headers),
            ("--protected", choice.protected),
            ("--tool", choice.tools),
            ("--thorough", choice.thorough),
        ):
            if given:
                raise Failure(f"{name} is about servers", Exit.USAGE)
        from mcpcore_conformance.commands.client import check_client

        return check_client(words or (), options, chosen)

    guarded(False, work)


_OF_SERVERS = ("config", "revisions", "headers", "ca", "cert", "key", "env", "cwd")
_OF_CLIENTS = ("revisions", "env", "cwd")
_NOT_OF_CLIENTS = ("tools", "other_headers", "protected", "thorough")

app.command(
    "server",
    short_help="Check a server, case by case.",
    cls=grouped("[TARGET]... [-- COMMAND...]"),
    epilog=STATUSES,
)(connecting(choosing(server), _OF_SERVERS))
app.command(
    "client",
    short_help="Check a client, case by case.",
    cls=grouped("-- COMMAND...", _NOT_OF_CLIENTS),
    epilog=STATUSES,
)(connecting(choosing(client), _OF_CLIENTS))


@app.callback()
def _group() -> None:
    """Check servers and clients case by case.

    A case is about one clause of the specification; its verdict has the link.

    \b
    Examples:
      mcpcore conformance server -- python my_server.py
      mcpcore conformance server http://127.0.0.1:8000/mcp
      mcpcore conformance client -- python my_client.py
    """  # noqa: D301
