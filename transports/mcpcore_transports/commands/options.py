"""Options of the commands: their declaration for typer, and the check of their values."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import get_annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from msgspec import NODEFAULT, Struct, structs

from mcpcore.errors import BadTarget
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.commands.output import wrong
from mcpcore_transports.http1.settings import DriverName, ParserName
from mcpcore_transports.serve.serve import LoopName

if TYPE_CHECKING:  # imported where it is used: a client waits for the start of a server
    from mcpcore_transports.commands.settled import Settled
    from mcpcore_transports.tracing.tracing import Trace, TraceSettings

ClientName = Literal["claude", "cursor", "vscode"]
"""Programs that use servers and have a configuration file with these."""
PREFIX = "MCPCORE_"
"""Beginning of the variables that options of servers come from."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

Text = str | None
Texts = tuple[str, ...]
Time = float | None
_REPEATABLE = (Texts, Texts | None)


class Opt:
    """Declaration of an option; without ``flags`` (separated by blanks) its attribute names it."""

    def __init__(self, help: str, metavar: str | None = None, flags: str = "", **more: Any) -> None:
        self._flags = flags
        self._more = {"help": help, "metavar": metavar, **more}

    def of(self, name: str, prefix: str | None = None) -> Any:
        """Return typer's option for the attribute ``name``; ``prefix``: that of its variable."""
        flags, more = self._flags or f"--{name.replace('_', '-')}", self._more
        if prefix is not None:
            variables = [f"{prefix}{name.upper()}", *filter(None, [more.get("envvar")])]
            more = {**more, "envvar": [*dict.fromkeys(variables)], "show_envvar": False}
        return typer.Option(*flags.split(), **more)


Seconds = partial(Opt, metavar="SECONDS", min=0.001)
"""Declaration of an option that is a time."""

RevisionOption = Annotated[
    Texts | None,
    Opt("Speak only this revision, like 2025-11-25; repeatable.", "R", flags="--revision"),
]
Shown = Annotated[bool, typer.Option("--json", help="Print plain JSON.")]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Where servers are named; default: mcp.json."),
]
AccountOption = Annotated[Text, Opt("Which of several accounts at the server.", "NAME")]
CeilingOption = Annotated[Texts, Opt("Ask for, and take, no scope but these; repeatable.", "SCOPE")]
BrowserOption = Annotated[
    bool | None,
    Opt(
        "Open a browser here, or paste what another one ends at; default: what fits.",
        flags="--browser/--no-browser",
        show_default=False,
    ),
]
PrivateOption = Annotated[
    bool,
    Opt("The authorization server may be in a private network.", envvar="MCPCORE_AUTH_PRIVATE"),
]
TraceOption = Annotated[Text, Opt("Record what goes over the connections in FILE.", "FILE")]
TraceSecretsOption = Annotated[bool, Opt("Record tokens, cookies and session ids as they are.")]
TraceSizeOption = Annotated[Text, Opt("Maximum size of the trace; default 64M.", "BYTES")]


class ConnectOptions(Struct, frozen=True, kw_only=True):
    """Options of all commands that connect."""

    command: tuple[str, ...] | None = None
    """Words after ``--``."""
    recorder: "Trace | None" = None
    """Open trace in the file ``trace``."""

    config: ConfigOption = None
    revisions: RevisionOption = None
    timeout: Annotated[Time, Seconds("For an answer; progress begins it anew. Default 60.")] = None
    connect_timeout: Annotated[
        Time, Seconds("For a connection, TLS included; default 10. For a command to start: 60.")
    ] = None
    reconnect: Annotated[
        int | None,
        Opt("Attempts in a row after a connection broke; default 5, of a command 0.", "N", min=0),
    ] = None
    headers: Annotated[
        Texts, Opt("http, ws: send this header; repeatable.", "'NAME: VALUE'", flags="--header")
    ] = ()
    login: Annotated[
        bool, Opt("http, ws: sign in where the server wants it; the token is kept.")
    ] = False
    browser: BrowserOption = None
    account: AccountOption = None
    ceiling: CeilingOption = ()
    auth_private: PrivateOption = False
    proxy: Annotated[
        Text, Opt("http, ws: a proxy, or none; default: what the environment says.", "URL")
    ] = None
    ca: Annotated[
        Text, Opt("TLS: trust these authorities and no others (PEM).", "FILE", flags="--cacert")
    ] = None
    cert: Annotated[Text, Opt("TLS: our certificate, if the server asks (PEM).", "FILE")] = None
    key: Annotated[Text, Opt("TLS: its key, if it is in another file.", "FILE")] = None
    env: Annotated[
        Texts, Opt("Command: a variable for it, ours without VALUE; repeatable.", "NAME[=VALUE]")
    ] = ()
    cwd: Annotated[Text, Opt("Command: where it runs.", "DIR")] = None
    memory_limit: Annotated[Text, Opt("Command: of memory, such as 512M (Linux).", "BYTES")] = None
    cpu_limit: Annotated[Time, Seconds("Command: of CPU time (POSIX).")] = None
    trace: TraceOption = None
    trace_secrets: TraceSecretsOption = False
    trace_size: TraceSizeOption = None
    verbose: Annotated[
        bool, Opt("Show log messages, those of the server too.", flags="--verbose -v")
    ] = False


class QueryOptions(ConnectOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore list``."""

    words: Annotated[Texts, typer.Argument(hidden=True)] = ()
    as_json: Shown = False


PinsOption = Annotated[Text, Opt("The pins file; default: pins.json beside mcp.json.", "FILE")]


class PinsListOptions(Struct, frozen=True, kw_only=True):
    """Options of ``mcpcore pins list``."""

    config: ConfigOption = None
    pins: PinsOption = None
    as_json: Shown = False


class PinsOptions(QueryOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore pins diff``, ``approve`` and ``mcpcore doctor``."""

    pins: PinsOption = None


PackageName = Literal["npm", "pypi", "oci", "nuget"]
PackageOption = Annotated[
    PackageName | None, Opt("Its package of this kind; default: where it runs already, if it does.")
]


class RegistryOptions(Struct, frozen=True, kw_only=True):
    """Options of every ``mcpcore registry``."""

    registry: Annotated[Text, Opt("Another registry than the official one; https.", "URL")] = None
    timeout: Annotated[Time, Seconds("For each answer of it; default 30.")] = None
    as_json: Shown = False


class RegistrySearchOptions(RegistryOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore registry search``."""

    limit: Annotated[int, Opt("At most so many.", "N", min=1)] = 30


class RegistryServerOptions(RegistryOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore registry show``, and of those that go further."""

    version: Annotated[str, Opt("Which version of it.", "VERSION")] = "latest"


class RegistryVetOptions(RegistryServerOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore registry vet``."""

    package: PackageOption = None
    connect: Annotated[
        bool, Opt("Connect to it, or start it, and screen what it says about itself.")
    ] = False


class RegistryAddOptions(RegistryServerOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore registry add``."""

    package: PackageOption = None
    known_as: Annotated[
        Text, Opt("Its name there; default: the last part of its own.", "NAME", flags="--name")
    ] = None
    config: ConfigOption = None
    force: Annotated[bool, Opt("Replace another server of that name.")] = False


class ProbeOptions(QueryOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore probe``."""

    health: Annotated[
        bool, Opt("http: ask /health alone; the exit status is 1 while the server is not ready.")
    ] = False


class CallOptions(ConnectOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore call``."""

    tool: Annotated[str, typer.Argument(hidden=True, metavar="TOOL")]
    words: Annotated[Texts, typer.Argument(hidden=True)] = ()
    arguments: Annotated[Text, Opt("All arguments as an object.", "JSON")] = None
    answer: Annotated[Text, Opt("Answer forms with this object.", "JSON")] = None
    sample: Annotated[Text, Opt("Answer as the model would.", "TEXT")] = None
    root: Annotated[Texts, Opt("A root; repeatable.", "URI")] = ()
    as_json: Shown = False


LogFormat = Literal["text", "json"]
"""Forms of the lines that a server logs."""
LogLevel = Literal["debug", "info", "warning", "error"]
"""Least levels of the messages that a server logs."""
_AUDIT, _FORMAT, _LEVEL = (f"{PREFIX}LOG_{each}" for each in ("AUDIT", "FORMAT", "LEVEL"))
_PAGE, _SPANS = f"{PREFIX}METRICS_PATH", f"{PREFIX}TELEMETRY"
_CONTENTS, _HEADERS = f"{PREFIX}TELEMETRY_CONTENTS", f"{PREFIX}TRACE_HEADERS"
# Named here, as the gateway has these options with their variables, too.


class ServeOptions(Struct, frozen=True, kw_only=True):
    """Options of ``mcpcore serve`` and ``mcpcore dev``."""

    settled: "Settled | None" = None
    """Settings of the configuration file that are no options."""

    stdio: Annotated[bool, Opt("Standard input and output.")] = False
    env_principal: Annotated[
        bool, Opt("Of --stdio: MCPCORE_PRINCIPAL, _SCOPES and _ROLES say who the client is.")
    ] = False
    http: Annotated[Texts, Opt("Streamable HTTP; port 0 for a free one.", "HOST:PORT")] = ()
    ws: Annotated[Texts, Opt("WebSocket.", "HOST:PORT")] = ()
    websocket: Annotated[bool, Opt("WebSocket at the HTTP addresses too (Upgrade decides).")] = (
        False
    )
    sse: Annotated[Texts, Opt("HTTP+SSE (2024-11-05).", "HOST:PORT")] = ()
    tcp: Annotated[Texts, Opt("TCP, one message a line.", "HOST:PORT")] = ()
    unix: Annotated[Texts, Opt("Unix socket, for the same user only.", "PATH")] = ()
    insecure_tcp: Annotated[bool, Opt("Let --tcp do without TLS on other addresses, too.")] = False
    allow_host: Annotated[
        Texts, Opt("Host that requests may name, at port 80, 443 or this one.", "NAME[:PORT]")
    ] = ()
    allow_origin: Annotated[Texts, Opt("Web pages that may call.", "ORIGIN")] = ()
    trusted_proxy: Annotated[
        Texts,
        Opt("Proxy that names its clients in X-Forwarded-For; repeatable.", "ADDRESS[/LENGTH]"),
    ] = ()
    response_header: Annotated[
        Texts,
        Opt("Header of every HTTP response; 'NAME:' drops a security header.", "NAME:VALUE"),
    ] = ()
    tls_cert: Annotated[Text, Opt("Serve https, wss and tls with it (PEM).", "FILE")] = None
    tls_key: Annotated[Text, Opt("Its key, if it is in another file.", "FILE")] = None
    tls_client_ca: Annotated[Text, Opt("Clients need a certificate of these (PEM).", "FILE")] = None
    auth_resource: Annotated[
        Text,
        Opt(
            "Let in only who has a token for it: the URL of this server as clients know it.",
            "URL",
            envvar="MCPCORE_AUTH_RESOURCE",
        ),
    ] = None
    auth_issuer: Annotated[
        Texts, Opt("Whose tokens are accepted; repeatable.", "URL", envvar="MCPCORE_AUTH_ISSUER")
    ] = ()
    auth_scope: Annotated[
        Texts,
        Opt("Scope that every request needs; repeatable.", "SCOPE", envvar="MCPCORE_AUTH_SCOPES"),
    ] = ()
    auth_audience: Annotated[
        Texts,
        Opt(
            "Audience of the issuer's tokens, beside the resource; repeatable.",
            "AUDIENCE",
            envvar="MCPCORE_AUTH_AUDIENCES",
        ),
    ] = ()
    auth_type: Annotated[
        Texts,
        Opt(
            "Accepted typ of the issuer's tokens, at+jwt or jwt (default both); repeatable.",
            "TYPE",
            envvar="MCPCORE_AUTH_TYPES",
        ),
    ] = ()
    auth_roles: Annotated[
        Text,
        Opt(
            "Claim of the issuer's tokens with the roles, such as realm_access.roles.",
            "PATH",
            envvar="MCPCORE_AUTH_ROLES",
        ),
    ] = None
    auth_jwks: Annotated[
        Text,
        Opt(
            "Where the issuer's keys are; default: as its metadata says.",
            "URL",
            envvar="MCPCORE_AUTH_JWKS_URL",
        ),
    ] = None
    auth_introspection: Annotated[
        Text,
        Opt(
            "Ask the issuer about tokens there, as MCPCORE_AUTH_CLIENT_ID with"
            " MCPCORE_AUTH_CLIENT_SECRET.",
            "URL",
            envvar="MCPCORE_AUTH_INTROSPECTION_URL",
        ),
    ] = None
    auth_private: Annotated[
        bool, Opt("Issuers may be in a private network.", envvar="MCPCORE_AUTH_PRIVATE")
    ] = False
    auth_keys: Annotated[
        Text,
        Opt(
            "Accept the API keys of this file (mcpcore auth key).",
            "FILE",
            envvar="MCPCORE_AUTH_KEYS",
        ),
    ] = None
    auth_max_failures: Annotated[
        int | None,
        Opt(
            "Refused tokens, and refused keys, of one address in a minute, beyond which it gets 429"
            " (default 100); 0: any number.",
            "N",
            min=0,
            envvar="MCPCORE_AUTH_MAX_FAILURES",
        ),
    ] = None
    cwd: Annotated[Text, Opt("Change to it first: where the module and files are.", "DIR")] = None
    drain: Annotated[
        Time,
        Seconds(
            "Time for running requests at the end; default 10 over HTTP, 0.5 elsewhere.", min=0
        ),
    ] = None
    notice: Annotated[
        float,
        Seconds(
            "Go on for so long at the end with /health saying 503, for balancers to see it.", min=0
        ),
    ] = 0.0
    store: Annotated[
        Text,
        Opt(
            "Where sessions and their events are kept: memory:, sqlite:PATH, redis://HOST;"
            " ?NAME=VALUE&... says how much and for how long.",
            "URL",
        ),
    ] = None
    workers: Annotated[
        int,
        Opt(
            "Processes that share the HTTP address; without --store they share a file.", "N", min=1
        ),
    ] = 1
    limit: Annotated[
        Texts,
        Opt(
            "A number, a size (64K, 4M) or seconds: docs/reference/limits.md; repeatable.",
            "NAME=VALUE",
        ),
    ] = ()
    log_level: Annotated[
        LogLevel | None,
        Opt(
            "Show log messages from this level on; default: warnings of the application, of mcpcore"
            " errors, and warnings about credentials and servers behind it.",
            envvar=_LEVEL,
        ),
    ] = None
    log_http: Annotated[
        bool,
        Opt("Log each HTTP exchange and session, and who is authorized, to standard error."),
    ] = False
    log_audit: Annotated[
        bool, Opt("Log what is refused to whom and why, and who is authorized.", envvar=_AUDIT)
    ] = False
    log_format: Annotated[
        LogFormat,
        Opt("json: one object a line, with the request it belongs to.", envvar=_FORMAT),
    ] = "text"
    metrics_path: Annotated[
        Text,
        Opt("Of HTTP: show metrics to Prometheus there, such as /metrics.", "PATH", envvar=_PAGE),
    ] = None
    telemetry: Annotated[
        bool,
        Opt("Spans and metrics for the SDK of OpenTelemetry that the process has.", envvar=_SPANS),
    ] = False
    telemetry_contents: Annotated[
        bool,
        Opt("Arguments and results of tools in spans: they may hold secrets.", envvar=_CONTENTS),
    ] = False
    reveal_errors: Annotated[
        bool, Opt("Show clients what handlers raise, secrets included: for developing alone.")
    ] = False
    http_driver: Annotated[
        DriverName,
        Opt("Of HTTP: a protocol of asyncio (auto), or streams of anyio, which cost more CPU."),
    ] = "auto"
    http_parser: Annotated[
        ParserName, Opt("Of HTTP heads: httptools where it is installed (auto), or h11.")
    ] = "auto"
    loop: Annotated[
        LoopName, Opt("auto is uvloop where it is installed and HTTP is served with httptools.")
    ] = "auto"
    revision: RevisionOption = None
    trace: TraceOption = None
    trace_secrets: TraceSecretsOption = False
    trace_size: TraceSizeOption = None
    verbose: Annotated[
        bool,
        Opt(
            "Show log messages, all without --log-level, and each request.",
            flags="--verbose -v",
        ),
    ] = False


class MockOptions(ServeOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore trace mock``: those of ``serve``, without its variables."""


NamingName = Literal["always", "conflict", "never"]
"""Ways to name what the servers behind a gateway offer."""


class BeforeServerOptions(ServeOptions, frozen=True, kw_only=True):
    """Options of commands that stand between clients and a server."""

    command: tuple[str, ...] | None = None
    """Words after ``--``."""

    headers: Annotated[
        Texts, Opt("URL: send this header; repeatable.", "'NAME: VALUE'", flags="--header")
    ] = ()
    env: Annotated[
        Texts, Opt("Command: a variable for it, ours without VALUE; repeatable.", "NAME[=VALUE]")
    ] = ()
    server_revision: Annotated[
        Texts | None, Opt("Speak only this revision with servers; repeatable.", "R")
    ] = None


class GatewayOptions(BeforeServerOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore gateway``."""

    config: ConfigOption = None
    naming: Annotated[
        NamingName | None,
        Opt("When names begin with that of their server; default: always, if there are several."),
    ] = None
    max_processes: Annotated[
        int | None,
        Opt("Maximum processes of servers that are commands; default 100.", "N", min=1),
    ] = None
    trace_headers: Annotated[
        bool,
        Opt("URL: send the trace context of requests in HTTP headers, too.", envvar=_HEADERS),
    ] = False
    start_time: Annotated[
        float | None,
        Seconds("Time for servers to start before clients are let in; default 10."),
    ] = None


class InstallOptions(Struct, frozen=True, kw_only=True):
    """Options of ``mcpcore install``, apart from the program."""

    name: Annotated[Text, Opt("Its name there; default: its own.", "NAME")] = None
    env: Annotated[
        Texts, Opt("A variable for it, ours without VALUE; repeatable.", "NAME[=VALUE]")
    ] = ()
    headers: Annotated[
        Texts, Opt("URL: send this; repeatable.", "'NAME: VALUE'", flags="--header")
    ] = ()
    cwd: Annotated[Text, Opt("Where it runs; default: here.", "DIR")] = None
    project: Annotated[
        bool | None,
        Opt(
            "The file of the project, in this directory (default of vscode), or of the user.",
            flags="--project/--user",
            show_default=False,
        ),
    ] = None
    file: Annotated[Text, Opt("Another file than that.", "FILE")] = None
    write: Annotated[bool, Opt("Put it into the file, and print nothing of it.")] = False
    force: Annotated[bool, Opt("Replace another server of that name.")] = False
    verbose: Annotated[bool, Opt("Show log messages.", flags="--verbose -v")] = False


class AuthOptions(Struct, frozen=True, kw_only=True):
    """Options of ``mcpcore auth status`` and ``logout``."""

    config: ConfigOption = None
    account: AccountOption = None
    auth_private: PrivateOption = False
    proxy: Annotated[Text, Opt("A proxy, or none; default: as the environment says.", "URL")] = None
    ca: Annotated[
        Text, Opt("TLS: trust these authorities and no others (PEM).", "FILE", flags="--cacert")
    ] = None
    cert: Annotated[Text, Opt("TLS: our certificate, if the server asks (PEM).", "FILE")] = None
    key: Annotated[Text, Opt("TLS: its key, if it is in another file.", "FILE")] = None
    as_json: Shown = False
    verbose: Annotated[bool, Opt("Show log messages.", flags="--verbose -v")] = False


class LoginOptions(AuthOptions, frozen=True, kw_only=True):
    """Options of ``mcpcore auth login``."""

    scope: Annotated[Texts, Opt("Ask for this scope as well; repeatable.", "SCOPE")] = ()
    ceiling: CeilingOption = ()
    browser: BrowserOption = None
    again: Annotated[bool, Opt("Sign in even if there is a token.")] = False
    client_id: Annotated[Text, Opt("The client that is registered there.", "ID")] = None
    client_secret_env: Annotated[Text, Opt("The variable with its secret.", "NAME")] = None
    client_credentials: Annotated[
        bool, Opt("A token for the client itself: no person signs in.")
    ] = False
    issuer: Annotated[Text, Opt("The issuer that has registered it.", "URL")] = None
    metadata_url: Annotated[Text, Opt("The client id metadata document of this client.", "URL")] = (
        None
    )
    redirect_uri: Annotated[
        Text, Opt("Where the browser comes back to; default: a free port.", "URL")
    ] = None


def scopes_of(flag: str, words: Sequence[str]) -> frozenset[str]:
    """Return the scopes of an option.  Raises :class:`Failure` for others than can be sent."""
    from mcpcore.auth.challenges import parse_scopes  # late: few authorize

    found = parse_scopes(" ".join(words))
    if words and found is None:
        raise wrong(f"{flag}: a scope holds visible ASCII characters")
    return found or frozenset()


def check_revisions(names: Sequence[str] | None) -> None:
    """Raise :class:`Failure` for a revision that does not exist."""
    try:
        parse_revisions(names or ())
    except ValueError as error:
        raise wrong(str(error)) from None


@contextmanager
def recording(options: ConnectOptions | ServeOptions) -> "Iterator[Trace | None]":
    """Open the trace of --trace, if it is given.  Raises :class:`Failure` if that fails."""
    file = options.trace
    if file is None:
        if options.trace_secrets or options.trace_size:
            option = "--trace-secrets" if options.trace_secrets else "--trace-size"
            raise wrong(f"{option} is for --trace, which is not given")
        yield None
        return
    from mcpcore_transports.tracing.tracing import Trace  # late: few record a trace

    settings = trace_settings(options)
    try:
        trace = Trace(file, settings=settings)
    except OSError as error:
        raise wrong(f"--trace: {file}: {error.strerror}") from error
    with trace:
        yield trace


def trace_settings(options: ConnectOptions | ServeOptions) -> "TraceSettings":
    """Return the settings of --trace-secrets and --trace-size.  Raises Failure."""
    from mcpcore_transports.tracing.tracing import TraceSettings  # late: few record a trace

    settings = TraceSettings(secrets=options.trace_secrets)
    most = size_of("--trace-size", options.trace_size)
    return settings if most is None else structs.replace(settings, file_size=most)


def size_of(option: str, text: str | None) -> int | None:
    """Return the number of bytes in an option's value, such as ``512M``.  Raises BadTarget."""
    if text is None:
        return None
    parsed = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", text)
    if parsed is None or not int(parsed[1]):
        raise BadTarget(f"{option}: {text!r} is no size; expected bytes, such as 512M or 2G")
    return int(parsed[1]) * _UNITS[parsed[2]]


def _options_of(declared: type) -> dict[str, inspect.Parameter]:
    """Return the options of a class: its ``Annotated`` attributes; tuples are repeatable."""
    prefix = PREFIX if declared is ServeOptions else None
    found: dict[str, inspect.Parameter] = {}
    defaults = dict(vars(declared))
    if issubclass(declared, Struct):
        defaults = dict(zip(declared.__struct_fields__, declared.__struct_defaults__, strict=True))
    written = [item for kind in declared.__mro__ for item in get_annotations(kind).items()]
    annotation: Any
    for name, annotation in written:
        if get_origin(annotation) is Annotated:
            default = defaults[name]
            kind, *marks = get_args(annotation)
            if kind in _REPEATABLE:
                kind, default = list[str] | None, None
            marks = [mark.of(name, prefix) if isinstance(mark, Opt) else mark for mark in marks]
            annotated: Any = Annotated
            option = annotated[(kind, *marks)]
            found[name] = inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is NODEFAULT else default,
                annotation=option,
            )
    return found


def connecting(
    function: Callable[..., None],
    names: Collection[str] | None = None,
    declared: type[ConnectOptions | BeforeServerOptions] = ConnectOptions,
) -> Callable[..., None]:
    """Add options to a command, which gets the typer context and ``options``."""

    def make(context: typer.Context, given: dict[str, Any]) -> object:
        return declared(command=context.obj, **given)

    return gathering(function, "options", declared, names, make)


def gathering(
    function: Callable[..., None],
    parameter: str,
    declared: type,
    names: Collection[str] | None = None,
    make: Callable[[typer.Context, dict[str, Any]], Any] | None = None,
) -> Callable[..., None]:
    """Add the options that ``declared`` has to a command, which gets them as one ``parameter``.

    ``names``: only these.  ``make`` makes the value of the parameter; default: a ``declared``.
    """
    shared = {
        name: option
        for name, option in _options_of(declared).items()
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
