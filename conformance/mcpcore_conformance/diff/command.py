"""`mcpcore diff`: the command."""

from typing import Annotated, Literal

import typer

from mcpcore.policy.differences import DifferenceKind, compare_servers
from mcpcore.wire.redaction import shown_url
from mcpcore_conformance.diff.offers import described, offer_of
from mcpcore_conformance.diff.rendering import FORMATS
from mcpcore_transports.commands import output
from mcpcore_transports.commands.options import ConnectOptions, Opt, Texts, connecting

FormatName = Literal["text", "json", "markdown", "sarif"]
KindName = Literal["breaking", "risky", "additive"]


_KINDS = [*DifferenceKind]
"""From the gravest."""


class DiffOptions(ConnectOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore diff``."""

    words: Annotated[Texts, typer.Argument(hidden=True, metavar="BEFORE AFTER")] = ()
    format: Annotated[FormatName, Opt("How it is written.")] = "text"
    fail_on: Annotated[
        KindName, Opt("Exit with 1 for differences of this kind, and for graver ones.")
    ] = "breaking"


def run(options: DiffOptions) -> int:
    """Compare what two words stand for; return the exit status."""
    words = [*options.words, *([""] if options.command is not None else [])]
    if len(words) != 2:
        raise output.wrong("expected two of: a URL, a name, a file, a trace, a command in quotes")
    before, after = (offer_of(word, options) for word in words)
    try:
        descriptions = described(before, after)
    except ValueError as error:
        raise output.wrong(f"{words[0]}, {words[1]}: {error}") from error
    found = compare_servers(*descriptions)
    names = (_name(words[0]), _name(words[1]) or " ".join(options.command or ()))
    typer.echo(FORMATS[options.format](found, names))
    grave = _KINDS[: _KINDS.index(DifferenceKind(options.fail_on)) + 1]
    failed = any(each.kind in grave for each in found)
    return output.Exit.REFUSED if failed else output.Exit.OK


def _name(word: str) -> str:
    return shown_url(word) if "://" in word else word


def diff(context: typer.Context, *, options: DiffOptions) -> None:
    """Compare what two servers offer; say what breaks clients, what is risky, what is new.

    Each of the two is a URL, the NAME that mcp.json has for a server, a command of several words in
    quotes (the second one also behind --), a file of "mcpcore list --json", or a trace. Of a trace
    the last lists count. No tool is called. Breaking is what a client may fail at; risky is
    text that models read; additive is what is new.

    Exit status: 0 nothing of that kind (--fail-on, default breaking), 1 something is, 2 wrong
    usage, 3 no connection.

    \b
    Examples:
      mcpcore diff before.json http://127.0.0.1:8000/mcp
      mcpcore diff before.json -- python my_server.py
      mcpcore diff old.jsonl new.jsonl --fail-on risky
      mcpcore diff "uvx mcp-server-time==1.0" "uvx mcp-server-time" --format markdown
      mcpcore diff staging production --format sarif > diff.sarif
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    output.guarded(options.verbose, lambda: run(options))


_TRACING = {"trace", "trace_secrets", "trace_size"}
"""Options for one conversation, and here are two."""
command = connecting(diff, {*DiffOptions.__struct_fields__} - _TRACING, DiffOptions)
