"""Options of the commands: their declaration for typer, and the check of their values."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from msgspec import Struct, structs

from mcpcore.errors import BadTarget
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.http.settings import DriverName, ParserName
from mcpcore_transports.serve.serve import LoopName

if TYPE_CHECKING:  # imported where a trace is written: a client waits for the start of a server
    from mcpcore_transports.tracing.tracing import Trace

ClientName = Literal["claude", "cursor", "vscode"]
"""Programs that use servers and have a configuration file with these."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_REPEATABLE = (tuple[str, ...], tuple[str, ...] | None)

RevisionOption = Annotated[
    tuple[str, ...] | None,
    typer.Option(
        "--revision", metavar="R", help="Speak only this revision, like 2025-11-25; repeatable."
    ),
]
Shown = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Where servers are named; default: mcp.json."),
]
TraceOption = Annotated[
    str | None,
    typer.Option("--trace", metavar="FILE", help="Record what goes over the connections in FILE."),
]
TraceSecretsOption = Annotated[
    bool,
    typer.Option("--trace-secrets", help="Record tokens, cookies and session ids as they are."),
]
TraceSizeOption = Annotated[
    str | None,
    typer.Option("--trace-size", metavar="BYTES", help="Most that the trace takes; default 64M."),
]


class ConnectOptions(Struct, frozen=True, kw_only=True):
    """Options of all commands that connect."""

    command: tuple[str, ...] | None = None
    """Words after ``--``."""
    recorder: "Trace | None" = None
    """Open trace in the file ``trace``."""

    config: ConfigOption = None
    revisions: RevisionOption = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0.001, help="For each answer; default 60."
        ),
    ] = None
    connect_timeout: Annotated[
        float | None,
        typer.Option(
            "--connect-timeout",
            metavar="SECONDS",
            min=0.001,
            help="For a connection, TLS included; default 10. For a command to start: 60.",
        ),
    ] = None
    reconnect: Annotated[
        int | None,
        typer.Option(
            "--reconnect",
            metavar="N",
            min=0,
            help="Attempts in a row after a connection broke; default 5. Of a command: 0.",
        ),
    ] = None
    headers: Annotated[
        tuple[str, ...],
        typer.Option(
            "--header", metavar="'NAME: VALUE'", help="http, ws: send this header; repeatable."
        ),
    ] = ()
    proxy: Annotated[
        str | None,
        typer.Option(
            "--proxy",
            metavar="URL",
            help="http, ws: a proxy, or none; default: what the environment says.",
        ),
    ] = None
    ca: Annotated[
        str | None,
        typer.Option(
            "--cacert", metavar="FILE", help="TLS: trust these authorities and no others (PEM)."
        ),
    ] = None
    cert: Annotated[
        str | None,
        typer.Option(
            "--cert", metavar="FILE", help="TLS: our certificate, if the server asks (PEM)."
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="FILE", help="TLS: its key, if it is in another file."),
    ] = None
    env: Annotated[
        tuple[str, ...],
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="Command: a variable for it, ours without VALUE; repeatable.",
        ),
    ] = ()
    cwd: Annotated[
        str | None, typer.Option("--cwd", metavar="DIR", help="Command: where it runs.")
    ] = None
    memory_limit: Annotated[
        str | None,
        typer.Option(
            "--memory-limit", metavar="BYTES", help="Command: of memory, such as 512M (Linux)."
        ),
    ] = None
    cpu_limit: Annotated[
        float | None,
        typer.Option(
            "--cpu-limit", metavar="SECONDS", min=0.001, help="Command: of CPU time (POSIX)."
        ),
    ] = None
    trace: TraceOption = None
    trace_secrets: TraceSecretsOption = False
    trace_size: TraceSizeOption = None
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show log messages, those of the server too."),
    ] = False


class ServeOptions(Struct, frozen=True, kw_only=True):
    """Options of ``mcpcore serve`` and ``mcpcore dev``."""

    stdio: Annotated[bool, typer.Option("--stdio", help="Standard input and output.")] = False
    http: Annotated[
        tuple[str, ...],
        typer.Option("--http", metavar="HOST:PORT", help="Streamable HTTP; port 0 for a free one."),
    ] = ()
    ws: Annotated[
        tuple[str, ...], typer.Option("--ws", metavar="HOST:PORT", help="WebSocket.")
    ] = ()
    websocket: Annotated[
        bool,
        typer.Option("--websocket", help="WebSocket at the HTTP addresses too (Upgrade decides)."),
    ] = False
    sse: Annotated[
        tuple[str, ...], typer.Option("--sse", metavar="HOST:PORT", help="HTTP+SSE (2024-11-05).")
    ] = ()
    tcp: Annotated[
        tuple[str, ...],
        typer.Option("--tcp", metavar="HOST:PORT", help="TCP, one message a line."),
    ] = ()
    unix: Annotated[
        tuple[str, ...],
        typer.Option("--unix", metavar="PATH", help="Unix socket, for the same user only."),
    ] = ()
    insecure_tcp: Annotated[
        bool,
        typer.Option("--insecure-tcp", help="Let --tcp do without TLS on other addresses, too."),
    ] = False
    allow_host: Annotated[
        tuple[str, ...],
        typer.Option("--allow-host", metavar="NAME", help="Host that requests may name."),
    ] = ()
    allow_origin: Annotated[
        tuple[str, ...],
        typer.Option("--allow-origin", metavar="ORIGIN", help="Web pages that may call."),
    ] = ()
    tls_cert: Annotated[
        str | None,
        typer.Option("--tls-cert", metavar="FILE", help="Serve https, wss and tls with it (PEM)."),
    ] = None
    tls_key: Annotated[
        str | None,
        typer.Option("--tls-key", metavar="FILE", help="Its key, if it is in another file."),
    ] = None
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            "--tls-client-ca", metavar="FILE", help="Clients need a certificate of these (PEM)."
        ),
    ] = None
    cwd: Annotated[
        str | None,
        typer.Option(
            "--cwd", metavar="DIR", help="Change to it first: where the module and files are."
        ),
    ] = None
    drain: Annotated[
        float | None,
        typer.Option(
            "--drain",
            metavar="SECONDS",
            min=0,
            help="Time for running requests at the end; default 10 over HTTP, 0.5 elsewhere.",
        ),
    ] = None
    notice: Annotated[
        float,
        typer.Option(
            "--notice",
            metavar="SECONDS",
            min=0,
            help="Go on for so long at the end with /health saying 503, for balancers to see it.",
        ),
    ] = 0.0
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="Where sessions and their events are kept: memory:, sqlite:PATH, redis://HOST;"
            " ?NAME=VALUE&... says how much and for how long.",
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            help="Processes that share the HTTP address; without --store they share a file.",
        ),
    ] = 1
    limit: Annotated[
        tuple[str, ...],
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="A number, a size (64K, 4M) or seconds: docs/reference/limits.md; repeatable.",
        ),
    ] = ()
    log_http: Annotated[
        bool,
        typer.Option("--log-http", help="Log each HTTP exchange and session to standard error."),
    ] = False
    reveal_errors: Annotated[
        bool,
        typer.Option(
            "--reveal-errors",
            help="Show clients what handlers raise, secrets included: for developing alone.",
        ),
    ] = False
    http_driver: Annotated[
        DriverName,
        typer.Option(
            "--http-driver",
            help="Of HTTP: a protocol of asyncio (auto), or streams of anyio, which take more.",
        ),
    ] = "auto"
    http_parser: Annotated[
        ParserName,
        typer.Option(
            "--http-parser", help="Of HTTP heads: httptools where it is installed (auto), or h11."
        ),
    ] = "auto"
    loop: Annotated[
        LoopName,
        typer.Option(
            "--loop", help="auto is uvloop where it is installed and HTTP is served with httptools."
        ),
    ] = "auto"
    revision: RevisionOption = None
    trace: TraceOption = None
    trace_secrets: TraceSecretsOption = False
    trace_size: TraceSizeOption = None
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show log messages, and each request.")
    ] = False


class InstallOptions(Struct, frozen=True, kw_only=True):
    """Options of ``mcpcore install``, apart from the program."""

    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Its name there; default: its own."),
    ] = None
    env: Annotated[
        tuple[str, ...],
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="A variable for it, ours without VALUE; repeatable.",
        ),
    ] = ()
    headers: Annotated[
        tuple[str, ...],
        typer.Option("--header", metavar="'NAME: VALUE'", help="URL: send this; repeatable."),
    ] = ()
    cwd: Annotated[
        str | None, typer.Option("--cwd", metavar="DIR", help="Where it runs; default: here.")
    ] = None
    project: Annotated[
        bool | None,
        typer.Option(
            "--project/--user",
            help="The file of the project, in this directory (default of vscode), or of the user.",
            show_default=False,
        ),
    ] = None
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Another file than that.")
    ] = None
    write: Annotated[
        bool, typer.Option("--write", help="Put it into the file, and print nothing of it.")
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Replace another server of that name.")] = (
        False
    )
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show log messages.")] = False


def check_revisions(names: Sequence[str] | None) -> None:
    """Raise :class:`Failure` for a revision that does not exist."""
    try:
        parse_revisions(names or ())
    except ValueError as error:
        raise Failure(str(error), Exit.USAGE) from None


@contextmanager
def recording(options: ConnectOptions | ServeOptions) -> "Iterator[Trace | None]":
    """Open the trace of --trace, if it is given.  Raises :class:`Failure` if that fails."""
    file = options.trace
    if file is None:
        if options.trace_secrets or options.trace_size:
            option = "--trace-secrets" if options.trace_secrets else "--trace-size"
            raise Failure(f"{option} is for --trace, which is not given", Exit.USAGE)
        yield None
        return
    from mcpcore_transports.tracing.tracing import Trace, TraceSettings

    settings = TraceSettings(secrets=options.trace_secrets)
    most = size_of("--trace-size", options.trace_size)
    if most is not None:
        settings = structs.replace(settings, file_size=most)
    try:
        trace = Trace(file, settings=settings)
    except OSError as error:
        raise Failure(f"--trace: {file}: {error.strerror}", Exit.USAGE) from error
    with trace:
        yield trace


def size_of(option: str, text: str | None) -> int | None:
    """Return the number of bytes in an option's value, such as ``512M``.  Raises BadTarget."""
    if text is None:
        return None
    parsed = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", text)
    if parsed is None or not int(parsed[1]):
        raise BadTarget(f"{option}: {text!r} is no size; expected bytes, such as 512M or 2G")
    return int(parsed[1]) * _UNITS[parsed[2]]


def options_of(declared: type) -> dict[str, inspect.Parameter]:
    """Return the options that a class declares by ``Annotated`` attributes, by attribute.

    An option may be repeated if it is a tuple, for which typer has a list.
    """
    found: dict[str, inspect.Parameter] = {}
    defaults = dict(vars(declared))
    if issubclass(declared, Struct):
        defaults = dict(zip(declared.__struct_fields__, declared.__struct_defaults__, strict=True))
    annotation: Any
    for name, annotation in declared.__annotations__.items():
        if get_origin(annotation) is not Annotated:
            continue
        default = defaults[name]
        kind, *marks = get_args(annotation)
        if kind in _REPEATABLE:
            annotation, default = Annotated[(list[str] | None, *marks)], None
        found[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
    return found


def connecting(
    function: Callable[..., None], names: Collection[str] | None = None
) -> Callable[..., None]:
    """Add options to a command, which gets them as ``options``, :class:`ConnectOptions`.

    The first parameter of the command is the typer context.  ``names``: only these options.
    """

    def make(context: typer.Context, given: dict[str, Any]) -> ConnectOptions:
        return ConnectOptions(command=context.obj, **given)

    return gathering(function, "options", ConnectOptions, names, make)


def gathering(
    function: Callable[..., None],
    parameter: str,
    declared: type,
    names: Collection[str] | None = None,
    make: Callable[[typer.Context, dict[str, Any]], Any] | None = None,
) -> Callable[..., None]:
    """Add the options that ``declared`` has to a command, which gets them as one ``parameter``.

    ``names``: only these.  ``make`` gets the typer context and the given values, lists as tuples;
    it returns the value of the parameter, by default an object of the class ``declared``.
    """
    shared = {
        name: option
        for name, option in options_of(declared).items()
        if names is None or name in names
    }

    def command(context: typer.Context, **values: Any) -> None:
        given = {name: values.pop(name) for name in shared}
        given = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None
        }
        made = declared(**given) if make is None else make(context, given)
        function(context, **values, **{parameter: made})

    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) if index else each
        for index, each in enumerate(inspect.signature(function).parameters.values())
        if each.name != parameter
    ]
    whole = inspect.Signature([*own, *shared.values()])
    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__signature__ = whole  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in whole.parameters.values()}
    return command
