"""Options shared by all commands that connect to a server."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any

import typer
from msgspec import structs

from mcpcore_transports.commands.common import Options

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


class _Shared:
    """Declaration of the shared options; each attribute fills its member of :class:`Options`."""

    config: ConfigOption = None
    revisions: Annotated[
        list[str] | None,
        typer.Option(
            "--revision", metavar="R", help="Speak only this revision, like 2025-11-25; repeatable."
        ),
    ] = None
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
        list[str] | None,
        typer.Option(
            "--header", metavar="'NAME: VALUE'", help="http, ws: send this header; repeatable."
        ),
    ] = None
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
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="Command: a variable for it, ours without VALUE; repeatable.",
        ),
    ] = None
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


_NAMES = tuple(_Shared.__annotations__)


def connecting(
    function: Callable[..., None], names: Collection[str] = _NAMES
) -> Callable[..., None]:
    """Add the shared options to a command, which gets them as ``options``, an :class:`Options`.

    The first parameter of the command is the typer context.  ``names``: only these options.
    """

    def make(context: typer.Context, given: dict[str, Any]) -> Options:
        return structs.replace(Options(command=context.obj), **given)

    return gathering(function, "options", _Shared, names, make)


def gathering(
    function: Callable[..., None],
    parameter: str,
    declared: type,
    names: Collection[str],
    make: Callable[[typer.Context, dict[str, Any]], Any],
) -> Callable[..., None]:
    """Add the attributes of ``declared`` as options to a command, which gets one ``parameter``.

    ``make`` gets the typer context and the given values, lists as tuples; it returns the value of
    the parameter.
    """

    def command(context: typer.Context, **values: Any) -> None:
        given = {name: values.pop(name) for name in names}
        given = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None
        }
        function(context, **values, **{parameter: make(context, given)})

    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY) if index else each
        for index, each in enumerate(inspect.signature(function).parameters.values())
        if each.name != parameter
    ]
    annotations = declared.__annotations__
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(declared, name),
            annotation=annotations[name],
        )
        for name in annotations
        if name in names
    ]
    whole = inspect.Signature([*own, *shared])
    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__signature__ = whole  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in whole.parameters.values()}
    return command
