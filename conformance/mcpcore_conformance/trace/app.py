"""`mcpcore trace`: show a saved trace, check it, make a page of it, play it again."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mcpcore.errors import BadTrace
from mcpcore_conformance.trace.book import Finding
from mcpcore_conformance.trace.check import LineChecker, shown, summary, total
from mcpcore_conformance.trace.check import check as run_check
from mcpcore_conformance.trace.conversations import chosen
from mcpcore_conformance.trace.reading import TraceFile, follow, read
from mcpcore_conformance.trace.replay import Step, parts, play_part
from mcpcore_conformance.trace.show import timeline
from mcpcore_transports.commands.options import ConnectOptions, MockOptions, connecting, gathering
from mcpcore_transports.commands.output import Exit, Failure, escaped, guarded
from mcpcore_transports.commands.target import client_settings, split_target
from mcpcore_transports.stream.settings import parse_address

app = typer.Typer(
    help="""Show, check and replay what --trace has recorded.

    \b
    Examples:
      mcpcore trace show server.jsonl
      mcpcore trace check server.jsonl
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A trace.")]
Connection = Annotated[
    int | None, typer.Option("--connection", metavar="N", help="Only this connection.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]
Side = Annotated[
    str | None, typer.Option("--side", metavar="SIDE", help="client or server; which one to play.")
]
_REACHING = ("headers", "ca", "cert", "key", "env", "cwd", "config")
"""The shared options that concern how a live peer is reached."""


@app.command("show")
def show(
    file: File,
    whole: Annotated[bool, typer.Option("--whole", help="Show all of every message.")] = False,
    width: Annotated[
        int, typer.Option("--width", metavar="N", min=40, help="Characters of a line.")
    ] = 120,
    connection: Connection = None,
) -> None:
    """Print a readable timeline.

    Each line says the line of the file, seconds, connection (and exchange, over HTTP), direction
    (-> is to the server), and what it is.

    \b
    Examples:
      mcpcore trace show server.jsonl
      mcpcore trace show --whole --connection 2 server.jsonl
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines

    def work() -> int:
        for line in timeline(_read(file), width=width, whole=whole, connection=connection):
            _echo(line.replace("\n", "\\n"))
        return Exit.OK

    guarded(False, work)


@app.command("check")
def check(
    file: File,
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="What breaks a SHOULD fails, too.")
    ] = False,
    followed: Annotated[
        bool, typer.Option("--follow", help="Go on as the file grows, until Ctrl-C.")
    ] = False,
) -> None:
    """Run the message-level rules over a trace; name clause and line of what breaks one.

    Exit status: 0 nothing was found, 1 something was (a SHOULD alone counts with --strict only),
    2 the file is no trace. With --follow each finding is told at once (with --json as one line),
    and the status is that of what was found until Ctrl-C.

    \b
    Examples:
      mcpcore trace check server.jsonl
      mcpcore trace check --json --strict server.jsonl
      mcpcore trace check --follow server.jsonl
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines

    def work() -> int:
        if followed:
            return _check_growing(file, as_json, strict)
        trace = _read(file)
        findings = run_check(trace)
        counts = summary(findings)
        if as_json:
            _print_json({"file": file, "records": len(trace.entries), "findings": findings})
        else:
            for each in findings:
                _echo(shown(file, each))
            typer.echo(total(len(trace.entries), counts))
        return _judged(counts, strict)

    guarded(False, work)


def _judged(counts: Mapping[str, int], strict: bool) -> int:
    """Return the exit status for what was found."""
    return Exit.REFUSED if counts.get("MUST") or (strict and counts) else Exit.OK


def _check_growing(file: str, as_json: bool, strict: bool) -> int:
    """Check a file as it grows, until Ctrl-C; return the exit status.  Raises Failure."""
    checker = LineChecker()
    try:
        for found in _found_growing(file, checker):
            _echo(msgspec.json.encode(found).decode() if as_json else shown(file, found))
    except KeyboardInterrupt:
        pass
    if not as_json:
        typer.echo(total(checker.records, checker.counts))
    return _judged(checker.counts, strict)


@app.command("page")
def page(
    file: File,
    output: Annotated[str, typer.Option("--output", "-o", metavar="PAGE", help="Where to write.")],
) -> None:
    """Write one page of HTML: lanes, a slider through time, both machines, findings.

    The page needs no other file and no network. Its lanes are sessions, streams and rounds; at each
    record it shows the states of the client and of the server, as "mcpcore trace replay" tells
    them, and what "mcpcore trace check" finds stands where it is. It has the first 5000 records.

    \b
    Example:
      mcpcore trace page server.jsonl -o server.html
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines

    def work() -> int:
        from mcpcore_conformance.trace.page import page as make_page  # late: it alone needs files

        text = make_page(_read(file), Path(file).name)
        try:
            with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(text.encode())
        except OSError as error:
            raise Failure(f"--output: {output}: {error.strerror}", Exit.USAGE) from error
        return Exit.OK

    guarded(False, work)


def mock(context: typer.Context, file: File, *, options: MockOptions) -> None:
    """Serve what the server of a trace has answered, to any number of clients.

    A request gets the answer that the trace has for its method and params, without _meta; the
    second time the second one, and the last for ever. Each connection and session counts for
    itself. What is hidden in the trace may be anything. A request without an answer gets an error,
    and is told on standard error. Clients come by every binding of "mcpcore serve", whose options
    it has, in any revision.

    Exit status: 1 if a request had no answer.

    \b
    Examples:
      mcpcore trace mock client.jsonl --http 127.0.0.1:8000
      mcpcore list tools -- mcpcore trace mock client.jsonl --stdio
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    from mcpcore_conformance.trace.mock import run  # late: the other commands serve nothing

    guarded(options.verbose, lambda: run(_read(file), options), options.log_level)


app.command("mock")(gathering(mock, "options", MockOptions))


def replay(
    context: typer.Context,
    file: File,
    side: Side = None,
    connection: Connection = None,
    conversation: Annotated[
        int | None,
        typer.Option("--conversation", metavar="N", min=1, help="Only this one, from 1."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="URL|NAME", help="Play it against this server."),
    ] = None,
    stdio: Annotated[
        bool,
        typer.Option("--stdio", help="Play the server for the client that starts this command."),
    ] = False,
    http: Annotated[
        str | None,
        typer.Option("--http", metavar="HOST:PORT", help="Play the server there, for one client."),
    ] = None,
    ws: Annotated[
        str | None,
        typer.Option("--ws", metavar="HOST:PORT", help="The same over WebSocket."),
    ] = None,
    shape: Annotated[
        bool, typer.Option("--shape", help="Live: compare members and types, not values.")
    ] = False,
    paced: Annotated[
        bool, typer.Option("--paced", help="Live: let as much time pass as in the trace.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.01, help="Live: for an answer.")
    ] = 10.0,
    notice: Annotated[
        float,
        typer.Option("--notice", metavar="SECONDS", min=0.01, help="Live: for a notification."),
    ] = 1.0,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="N=VALUE", help="Live: send VALUE for <hidden-N>."),
    ] = None,
    as_json: AsJson = False,
    *,
    options: ConnectOptions,
) -> None:
    """Play one side of a trace again.

    Without a peer the core plays the side that recorded it, on the trace's own time, one connection
    after another; each record is followed by events (*), by what the core sends (>), by what core
    and trace do not agree on (!), and by its state (=). With a live peer one conversation is
    played, the first unless --connection or --conversation chooses another: against a server
    (--against, or a command after --) its client; its server with --side server --stdio, for a
    client that starts this command, or with --http or --ws, for the first client that comes there.
    Ids, sessions, states and cursors are the live ones; where the peer differs is told.

    Exit status: 0 core or peer agree with the trace, 1 they differ, 2 wrong usage, 3 no connection.

    \b
    Examples:
      mcpcore trace replay server.jsonl
      mcpcore trace replay --side client --json server.jsonl
      mcpcore trace replay --against http://127.0.0.1:8000/mcp client.jsonl
      mcpcore trace replay --shape client.jsonl -- python my_server.py
      mcpcore call add a=1 b=2 -- mcpcore trace replay --side server --stdio client.jsonl
      mcpcore trace replay --side server --http 127.0.0.1:8000 client.jsonl
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines

    def work() -> int:
        if side not in (None, "client", "server"):
            raise Failure(f"--side is client or server, not {side!r}", Exit.USAGE)
        live = against is not None or options.command is not None
        hosting = [way for way, at in (("stdio", stdio), ("http", http), ("ws", ws)) if at]
        if len(hosting) > 1 or (hosting and (live or side == "client")):
            raise Failure(f"--{hosting[0]} plays the server, and alone", Exit.USAGE)
        if not hosting and live and side == "server":
            ways = "--stdio, --http or --ws"
            raise Failure(f"the server is played with {ways}, for a client", Exit.USAGE)
        trace = _read(file)
        if not live and not hosting:
            return _replay(trace, side, connection, conversation, as_json=as_json)
        from mcpcore_conformance.kit.model import Binding
        from mcpcore_conformance.trace.against import Options as Playing
        from mcpcore_conformance.trace.live import play_client, play_listening, play_server

        playing = Playing(
            timeout=timeout, notice=notice, shape=shape, paced=paced, given=_given(given or ())
        )
        try:
            number = chosen(trace, connection, conversation)
        except ValueError as error:
            raise Failure(str(error), Exit.USAGE) from error
        if stdio:
            return play_server(trace, conversation=number, options=playing)
        if address := http or ws:
            return play_listening(
                trace,
                Binding.HTTP if http else Binding.WS,
                parse_address(address),
                conversation=number,
                options=playing,
                tell=_echo,
            )
        _, target = split_target([] if against is None else [against], options)
        return play_client(
            trace,
            target,
            conversation=number,
            options=playing,
            settings=client_settings(options),
            tell=_echo,
        )

    guarded(False, work)


app.command("replay")(connecting(replay, _REACHING))


def _replay(
    trace: TraceFile,
    side: str | None,
    connection: int | None,
    conversation: int | None,
    *,
    as_json: bool,
) -> int:
    """Play by the core, part after part, and print what comes of each."""
    try:
        found = parts(trace, side=side, connection=connection, conversation=conversation)
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from error
    if as_json:
        steps = [step for part in found for step in play_part(trace, part, side=side)]
        _print_json(steps)
        differ = sum(bool(step.remarks) for step in steps)
    else:
        differ = sum(_print_steps(part.title, play_part(trace, part, side=side)) for part in found)
    return Exit.REFUSED if differ else Exit.OK


def _print_steps(title: str, steps: Iterable[Step]) -> int:
    """Print each step when it is played; return how many differ from the trace."""
    differ = 0
    if title:
        _echo(f"# {title}")
    for step in steps:
        differ += bool(step.remarks)
        line = str(step.line) if step.line else ""
        _echo(f"{line:>6} {step.time:>10.6f} {step.what}")
        for mark, texts in (("*", step.events), (">", step.sends), ("!", step.remarks)):
            for text in texts:
                _echo(f"{mark:>20} {text}")
        _echo(f"{'=':>20} {step.state}")
    return differ


def _given(words: Iterable[str]) -> dict[str, str]:
    given = {}
    for word in words:
        number, equals, value = word.partition("=")
        if not equals or not number.isdecimal():
            raise Failure(f"--set: {word!r} is not N=VALUE, as 3=secret", Exit.USAGE)
        given[f"<hidden-{number}>"] = value
    return given


def _found_growing(file: str, checker: LineChecker) -> Iterator[Finding]:
    """Yield what is found in a file as it grows.  Raises Failure."""
    with _readable(file):
        for line in follow(file):
            yield from checker.take(line)


def _read(file: str) -> TraceFile:
    with _readable(file):
        return read(file)


@contextmanager
def _readable(file: str) -> Iterator[None]:
    """Turn what is wrong with a file into a Failure."""
    try:
        yield
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}", Exit.USAGE) from error
    except BadTrace as error:
        raise Failure(f"{file}: {error}", Exit.USAGE) from error


def _echo(text: str) -> None:
    """Print lines that may quote a trace or a peer, without what a terminal would obey."""
    typer.echo(escaped(text, lines=True))


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
