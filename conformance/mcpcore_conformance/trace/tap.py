"""`mcpcore tap`: a gateway before one server that records both sides, and checks them meanwhile."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from msgspec import structs

from mcpcore_conformance.trace.check import LineChecker, shown, total
from mcpcore_transports.commands.gateway import maker, only_target
from mcpcore_transports.commands.options import BeforeServerOptions, Opt, gathering, trace_settings
from mcpcore_transports.commands.output import Exit, Failure, escaped, guarded, say
from mcpcore_transports.commands.serve import in_folder, serve_with
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.tracing.tracing import Trace

_FILE = "tap.jsonl"


class TapOptions(BeforeServerOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore tap``."""

    check: Annotated[
        bool, Opt("Run the rules of 'mcpcore trace check' meanwhile; say what breaks one.")
    ] = False
    strict: Annotated[bool, Opt("With --check, what breaks a SHOULD fails, too.")] = False


class Recording:
    """Trace of one side: its file, and the rules that each line is held to as it is written."""

    def __init__(self, path: Path, file: IO[bytes], *, checks: bool) -> None:
        self._name = str(path)
        self._file = file
        self._checker = LineChecker() if checks else None

    def __call__(self, line: bytes) -> None:
        """Write a line; say what it breaks."""
        self._file.write(line)
        for finding in () if self._checker is None else self._checker.take(line):
            say(escaped(shown(self._name, finding), lines=True))

    def finish(self) -> dict[str, int]:
        """Say what was found in all; return the numbers by strength."""
        if self._checker is None:
            return {}
        say(f"{self._name}: {total(self._checker.records, self._checker.counts)}")
        return self._checker.counts


def run(urls: Sequence[str], options: TapOptions) -> int:
    """Serve the tap until a signal, or the end of standard input; return the exit status."""
    if options.strict and not options.check:
        raise Failure("--strict is for --check, which is not given", Exit.USAGE)
    if options.workers > 1:
        raise Failure("--workers: a trace of one side needs one process", Exit.USAGE)
    options = in_folder(options)
    server = only_target(urls, options, "a URL, MODULE:SERVER, and a command behind --")
    with ExitStack() as stack:
        sides = [stack.enter_context(_recording(options, side)) for side in ("client", "server")]
        (with_clients, clients), (with_server, at_server) = sides
        settings = GatewaySettings(retry=None, breaker=None)
        settings = structs.replace(
            settings, client=structs.replace(settings.client, trace=at_server)
        )
        make = maker(server, settings, options)
        plain = structs.replace(options, trace=None, trace_secrets=False, trace_size=None)
        status = serve_with(make, plain, trace=clients)
        found = [with_clients.finish(), with_server.finish()]
    fails = any("MUST" in each or (options.strict and each) for each in found)
    return Exit.REFUSED if status == Exit.OK and fails else status


@contextmanager
def _recording(options: TapOptions, side: str) -> Iterator[tuple[Recording, Trace]]:
    """Open the file of one side, for its owner alone.  Raises Failure."""
    path = Path(options.trace or _FILE)
    path = path.with_name(f"{path.stem}.{side}{path.suffix}")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise Failure(f"--trace: {path}: {error.strerror}", Exit.USAGE) from error
    with os.fdopen(fd, "wb", buffering=0) as file:
        recording = Recording(path, file, checks=options.check)
        with Trace(recording, settings=trace_settings(options), correlated=True) as trace:
            yield recording, trace


def tap(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="URL | MODULE:SERVER | -- COMMAND", hidden=True)
    ] = None,
    *,
    options: TapOptions,
) -> None:
    """Stand before one server, pass on what both say, and record both sides.

    Clients come by every binding of "mcpcore serve", in any revision; the server is spoken to in
    its newest, or that of --server-revision. With --trace traffic.jsonl, traffic.client.jsonl is
    what passes between clients and here, traffic.server.jsonl between here and the server; default:
    tap.jsonl. Both are for "mcpcore trace show" and "replay". With --check, what breaks a rule of
    the specification is said at once, with its line and clause.

    Exit status: 1 if a MUST was broken, or with --strict a SHOULD.

    \b
    Examples:
      mcpcore tap http://127.0.0.1:9000/mcp --http 127.0.0.1:8000 --check
      mcpcore tap --stdio --trace traffic.jsonl -- python my_server.py
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    guarded(options.verbose, lambda: run(tuple(words or ()), options), options.log_level)


def _made(context: typer.Context, given: dict[str, Any]) -> TapOptions:
    return TapOptions(command=context.obj, **given)


command = gathering(tap, "options", TapOptions, make=_made)
