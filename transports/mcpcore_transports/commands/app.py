"""Typer application: the commands, their parameters and their help.

The code of a command is imported when it runs.  A plug-in is an entry point of the group
``mcpcore.commands``: a typer application, added as a group, or a function, added as one command.
"""

import os
import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
from msgspec import structs
from typer.core import TyperCommand, TyperGroup

from mcpcore_transports.commands.options import (
    AuthOptions,
    CallOptions,
    ClientName,
    ConfigOption,
    ConnectOptions,
    GatewayOptions,
    InstallOptions,
    LoginOptions,
    PinsListOptions,
    PinsOptions,
    ProbeOptions,
    QueryOptions,
    RegistryAddOptions,
    RegistryOptions,
    RegistrySearchOptions,
    RegistryServerOptions,
    RegistryVetOptions,
    ServeOptions,
    Shown,
    connecting,
    gathering,
)
from mcpcore_transports.commands.output import guarded
from mcpcore_transports.commands.settled import (
    SETTLED,
    SettledCommand,
    read_config,
    shown_options,
)

PLUGINS = "mcpcore.commands"
_WHOLE = 1000
"""Maximum characters of a command's summary: it takes two lines rather than being cut."""


class Group(TyperGroup):
    """Command group whose help has a whole sentence for each command."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        listed = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(_WHOLE))
                    for name, command in listed
                    if command is not None and not command.hidden
                ]
            )


def build(words: Sequence[str] = ()) -> typer.Typer:
    """Build the application, with one command alone if ``words`` begin with its name."""
    app = typer.Typer(
        cls=Group,
        epilog="Exit status: 0 success, 1 refused by the server or a failed tool, 2 wrong usage, "
        "3 no connection or no answer.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    first = words[0] if words else ""
    if first in _COMMANDS:  # to make them all takes long
        _COMMANDS[first](app, first)
        return app
    plugins = entry_points(group=PLUGINS)
    if alone := plugins.select(name=first):
        plugins = alone
    else:
        for name, add in _COMMANDS.items():
            add(app, name)
    for entry in plugins:
        try:
            plugin = entry.load()
        except Exception as error:
            sys.stderr.write(f"warning: the command {entry.name!r} cannot be loaded: {error}\n")
            continue
        if isinstance(plugin, typer.Typer):
            app.add_typer(plugin, name=entry.name, cls=Group)
        else:
            app.command(entry.name)(plugin)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mcpcore {version('mcpcore')}")
        raise typer.Exit


def _common(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Serve, call, list and probe Model Context Protocol servers.

    \b
    Examples:
      mcpcore dev my_module:server
      mcpcore serve my_module:server --http 127.0.0.1:8000
      mcpcore list http://127.0.0.1:8000/mcp
      mcpcore call add a=2 b=3 -- python my_server.py
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


def _usage(words: str, server: str = "NAME") -> type[TyperCommand]:
    """Return a command class with ``words`` and a server in its usage, which typer cannot show."""

    class Command(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return ["[OPTIONS]", *([words] if words else []), f"(URL | {server} | -- COMMAND...)"]

    return Command


_DEV = """Serve, and start the server anew when its files change.

Watched are the Python files of the current folder, and the modules that the server has imported
and nobody has installed, with their packages. It is "mcpcore serve", with its options, in a process
of its own, at the same addresses each time; clients connect again. What cannot be imported is
shown, and the next change is waited for. Clients are shown how handlers fail (--reveal-errors), and
running requests have half a second (--drain). SIGINT and SIGTERM end it.

\b
Examples:
  mcpcore dev weather:server                       http://127.0.0.1:8000/mcp
  mcpcore dev weather:server --http 127.0.0.1:8001 --websocket
  mcpcore dev weather:server --ws 127.0.0.1:8002 --verbose
  mcpcore dev weather:server --limit lifespan_end=2
"""
"""Help of ``dev``, which is ``serve`` under another name."""


_CALL = """Call a tool and print what it says.

The server is a URL, a command behind --, or the NAME that mcp.json has for one ("mcpcore
servers" lists them). A value is text where the tool's schema says so, and JSON everywhere else.
Progress and log messages go to standard error. A token that is kept for the server ("mcpcore auth
login") is used; --login gets one where there is none, by a browser, or by pasting (--no-browser).

\b
Examples:
  mcpcore call greet name=Ada http://127.0.0.1:8000/mcp
  mcpcore call search query="two words" tags='["a","b"]' -- python server.py
  mcpcore call greet --answer '{"name": "Ada"}' --json ws://127.0.0.1:8001/mcp
  mcpcore call forecast city=Bergen weather        weather is the name of a server in mcp.json
  mcpcore call search query=x --login https://mcp.example.com/mcp
  mcpcore call build --memory-limit 2G --cwd ~/site --env CI=1 -- ./tools.py
"""
_LIST = """List what a server offers: everything, or the kinds named.

Kinds are tools, resources, templates, prompts and skills. The server is a URL, a command behind
--, or the NAME that mcp.json has for one ("mcpcore servers" lists them). A token that is kept for
the server ("mcpcore auth login") is used; --login gets one where there is none.

\b
Examples:
  mcpcore list http://127.0.0.1:8000/mcp
  mcpcore list tools prompts -- npx -y @modelcontextprotocol/server-everything
  mcpcore list resources --json ws://127.0.0.1:8001/mcp
  mcpcore list unix:///run/user/1000/weather.sock
  mcpcore list tools --login https://mcp.example.com/mcp
  mcpcore list weather                             weather is the name of a server in mcp.json
  mcpcore list tools --config team.json weather    ... and in a file of your own
"""
_PROBE = """Find out a server's era, revisions, capabilities and speed.

A legacy server is started, or connected to, once for each revision. The server is a URL, a
command behind --, or the NAME that mcp.json has for one ("mcpcore servers" lists them). A token
that is kept for the server ("mcpcore auth login") is used; --login gets one where there is none.

\b
Examples:
  mcpcore probe http://127.0.0.1:8000/mcp
  mcpcore probe https://mcp.example.com/mcp --header "X-Team: blue"
  mcpcore probe https://mcp.internal/mcp --cacert ca.pem --cert me.pem --key me.key
  mcpcore probe --login --no-browser https://mcp.example.com/mcp
  mcpcore probe --json -- uvx mcp-server-time
  mcpcore probe --connect-timeout 3 tls://mcp.internal:8443
  mcpcore probe --health http://127.0.0.1:8000/mcp   /health alone, as a container's check
  mcpcore probe weather                            weather is the name of a server in mcp.json
"""

_DOCTOR = """Find out what keeps a server from being used, in stages.

Without a NAME all servers of mcp.json are looked at. The stages are: its entry in the file, the
variables, the program as it will be started, DNS, TCP, TLS, the status and challenge of HTTP with
the metadata of authorization, the handshake with the time of a start, the lists, and what is
doubtful in them (names, schemas, sizes, noise on standard output). Nothing is changed: no tool is
called, no resource is read, nobody signs in. A stage that was not checked says why.

Exit status: 0 nothing failed, 1 something did, 2 wrong usage.

\b
Examples:
  mcpcore doctor                                   all servers of mcp.json
  mcpcore doctor weather tickets --json
  mcpcore doctor https://mcp.example.com/mcp
  mcpcore doctor -- uvx mcp-server-time
"""


def api_key(
    principal: Annotated[str, typer.Argument(metavar="NAME", help="Who comes with the key.")],
    *,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Scope it has; repeatable.")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="Role it has; repeatable.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(metavar="DAYS", min=0.001, help="Until it expires.")
    ] = None,
) -> None:
    """Make an API key, for mcpcore serve --auth-keys.

    Its record, a line to be added to that file, goes to standard output; it holds a hash of the
    key. The key itself goes to standard error, and is kept nowhere; clients send it in the header
    'Authorization: Bearer KEY'.

    \b
    Example:
      mcpcore auth key ann --scope notes:read --days 90 >> keys.jsonl
    """  # noqa: D301
    from mcpcore_transports.commands.authorization import make_api_key  # late: few authorize

    guarded(False, lambda: make_api_key(principal, tuple(scope or ()), tuple(role or ()), days))


_CHANGING = frozenset({"login", "browser", "trace", "trace_secrets", "trace_size"})
"""Options with which something is kept: ``doctor`` has none of them."""


def _asking(
    name: str,
    declared: type[ConnectOptions],
    module: str = "client",
    *,
    names: Collection[str] | None = None,
) -> Callable[..., None]:
    """Make a command of the function ``name`` of a module, for servers of others.

    ``names``: its options.
    """

    def command(context: typer.Context, *, options: ConnectOptions) -> None:
        loaded = import_module(f"mcpcore_transports.commands.{module}")  # late: each loads its own
        guarded(options.verbose, lambda: getattr(loaded, name)(options))

    return connecting(command, names, declared)


def serve(
    context: typer.Context,
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="MODULE:SERVER",
            help="Default: the reference server.",
            envvar="MCPCORE_SERVICE",
            show_envvar=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Options and limits in TOML; flags and MCPCORE_<NAME>[_FILE] win over it.",
            is_eager=True,
            callback=read_config,
        ),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option(
            "--show-config", help="Show what is set, and by what, without secrets; serve nothing."
        ),
    ] = False,
    *,
    options: ServeOptions,
) -> None:
    """Offer a server over HTTP, WebSocket, sockets or standard streams, several at once if asked.

    Without a binding it listens on http://127.0.0.1:8000/mcp. Each binding is announced on
    standard error as "listening on URL". SIGINT and SIGTERM (and, with --stdio, the end of the
    input) end it; running requests have the time that --drain says.

    \b
    Examples:
      mcpcore serve                                    the reference server
      mcpcore serve weather:server --stdio             server = Server(...) in weather.py
      mcpcore serve weather:mcp                        an object of the official SDK or fastmcp
      mcpcore serve weather:server --http 127.0.0.1:8000 --ws 127.0.0.1:8001
      mcpcore serve weather:server --http 0.0.0.0:80 --allow-host mcp.example.com
      mcpcore serve weather:server --http 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem
      mcpcore serve weather:server --http 127.0.0.1:8000 --workers 4
      mcpcore serve weather:server --http 127.0.0.1:8000 --store redis://127.0.0.1
      mcpcore serve weather:server --limit max_body=1M --limit connections_per_client=10000
      mcpcore serve weather:server --http 127.0.0.1:8000 --websocket
      mcpcore serve weather:server --unix /run/user/1000/weather.sock --tcp 127.0.0.1:8002
      mcpcore serve weather:server --revision 2025-06-18 --revision 2025-11-25
      mcpcore serve --config server.toml --show-config
    """  # noqa: D301
    from mcpcore_transports.commands import serve as serving  # late: each loads its own

    develop, settled = context.info_name == "dev", context.meta[SETTLED]
    options, words = structs.replace(options, settled=settled), sys.argv[1:]
    if show_config:
        guarded(options.verbose, lambda: serving.show(shown_options(context), options))
    if config is not None:  # further processes may have another folder
        words = [*words, "--config", os.path.abspath(config)]
    guarded(
        options.verbose,
        lambda: serving.serve(service, options, words=words, develop=develop),
        options.log_level,
    )


def gateway(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    *,
    options: GatewayOptions,
) -> None:
    """Stand between clients and servers, each in its own revision and on its own transport.

    The server behind it is a URL, MODULE:SERVER, a command behind --, or each one that a
    configuration file names (--config). With several, the names of their tools and prompts begin
    with that of the server and two underscores. With "routes" in the member "gateway" of the file
    there are several endpoints, each before servers of its own. With "replicas" in place of a "url"
    requests are balanced over the servers that are one. Clients come by every binding of
    "mcpcore serve", whose options it has; their credentials end here.

    \b
    Examples:
      mcpcore gateway http://127.0.0.1:9000/mcp --http 127.0.0.1:8000
      mcpcore gateway --http 127.0.0.1:8000 -- npx -y @modelcontextprotocol/server-everything
      mcpcore gateway --stdio https://mcp.example.com/mcp --header "Authorization: Bearer $TOKEN"
      mcpcore gateway --config mcp.json --http 127.0.0.1:8000 --ws 127.0.0.1:8001
      mcpcore gateway --config mcp.json --naming conflict --auth-keys keys.jsonl
    """  # noqa: D301
    from mcpcore_transports.commands.gateway import gateway as run_gateway  # late: as above

    guarded(
        options.verbose,
        lambda: run_gateway(tuple(words or ()), options, words=sys.argv[1:]),
        options.log_level,
    )


def servers(config: ConfigOption = None, as_json: Shown = False) -> None:
    """List the servers that a configuration file names.

    Without --config it is the file that the variable MCPCORE_CONFIG names, or the first of
    mcp.json, .mcp.json, .vscode/mcp.json and ~/.mcp.json. The names stand for the servers in call,
    list and probe.

    \b
    Examples:
      mcpcore servers
      mcpcore servers --config ~/.cursor/mcp.json
      mcpcore servers --json
    """  # noqa: D301
    from mcpcore_transports.commands.client import list_servers  # late: each command loads its own

    guarded(False, lambda: list_servers(config, as_json=as_json))


def install(
    context: typer.Context,
    server: Annotated[str, typer.Argument(metavar="MODULE:SERVER|URL", help="What is to be used.")],
    client: Annotated[
        ClientName, typer.Option("--client", help="Claude Desktop or Code, Cursor, or VS Code.")
    ],
    *,
    options: InstallOptions,
) -> None:
    """Print the entry of a server in a program's configuration file, or write it there.

    A server is started once to see that it can be, as the program will start it: by this
    interpreter, in the directory where you are now (or --cwd), with few variables but those of
    --env. All else in the file is kept, as is the file that it was, with .bak behind its name; one
    with comments in it is refused.

    \b
    Examples:
      mcpcore install weather:server --client claude             prints it, for Claude Desktop
      mcpcore install weather:server --client claude --write     writes it; --project: Claude Code
      mcpcore install weather:server --client vscode --write     .vscode/mcp.json in this directory
      mcpcore install weather:server --client cursor --env API_KEY --name forecast --write
      mcpcore install https://mcp.example.com/mcp --client cursor --header "X-Team: blue"
    """  # noqa: D301
    from mcpcore_transports.commands.install import install as run_install  # late: as above

    guarded(options.verbose, lambda: run_install(server, client, options))


_AUTH = """Sign in at servers, see and end what is signed in; make API keys.

\b
Examples:
  mcpcore auth login https://mcp.example.com/mcp
  mcpcore auth status
  mcpcore auth key ann --scope notes:read --days 90 >> keys.jsonl
"""


def _auth() -> typer.Typer:
    """Build the group of the commands about authorization."""
    group = typer.Typer(
        help=_AUTH,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name, work, declared in (
        ("login", login, LoginOptions),
        ("status", status, AuthOptions),
        ("logout", logout, AuthOptions),
    ):
        group.command(name)(gathering(work, "options", declared))
    group.command("key")(api_key)
    return group


_PINS = """Pin what servers say about themselves, and see what has changed since.

\b
Examples:
  mcpcore pins approve weather                     weather is the name of a server in mcp.json
  mcpcore pins diff weather
"""


def _pins() -> typer.Typer:
    """Build the group of the commands about pins."""
    group = typer.Typer(
        help=_PINS,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(gathering(pins_list, "options", PinsListOptions))
    for name, text in (("diff", _PINS_DIFF), ("approve", _PINS_APPROVE)):
        asking = _asking(name, PinsOptions, "pins")
        group.command(name, help=text, cls=_usage(""))(asking)
    return group


def pins_list(context: typer.Context, *, options: PinsListOptions) -> None:
    """List the servers that have pins, and how many.

    \b
    Examples:
      mcpcore pins list
      mcpcore pins list --pins team-pins.json --json
    """  # noqa: D301
    from mcpcore_transports.commands import pins  # late: each command loads its own

    guarded(False, lambda: pins.list_pins(options))


_PINS_DIFF = """Show how a server differs from its pins: breaking, risky or additive.

The exit status is 1 if there is a difference, or no pins of the server.

\b
Examples:
  mcpcore pins diff weather                        weather is the name of a server in mcp.json
  mcpcore pins diff --json https://mcp.example.com/mcp
  mcpcore pins diff --pins team-pins.json -- uvx mcp-server-time
"""
_PINS_APPROVE = """Pin what a server says about itself now; show how it differs from before.

Read what is shown first: it is what programs with these pins trust from now on.

\b
Examples:
  mcpcore pins approve weather                     weather is the name of a server in mcp.json
  mcpcore pins approve --pins team-pins.json https://mcp.example.com/mcp
"""


_REGISTRY = """Search a registry for servers, look at one, vet it, add it to mcp.json.

\b
Examples:
  mcpcore registry search weather
  mcpcore registry vet io.github.example/weather
  mcpcore registry add io.github.example/weather
"""


def _registry() -> typer.Typer:
    """Build the group of the commands about a registry of servers."""
    group = typer.Typer(
        help=_REGISTRY,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("search")(gathering(registry_search, "options", RegistrySearchOptions))
    for work, text, declared in (
        ("show", _REGISTRY_SHOW, RegistryServerOptions),
        ("vet", _REGISTRY_VET, RegistryVetOptions),
        ("add", _REGISTRY_ADD, RegistryAddOptions),
    ):
        group.command(work, help=text)(gathering(_registry_command(work), "options", declared))
    return group


def registry_search(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A part of the name.")],
    *,
    options: RegistrySearchOptions,
) -> None:
    """List the servers of a registry whose name contains a text, at their newest version.

    \b
    Examples:
      mcpcore registry search weather
      mcpcore registry search weather --limit 5 --json
      mcpcore registry search weather --registry https://registry.example.com
    """  # noqa: D301
    from mcpcore_transports.commands import registry  # late: each command loads its own

    guarded(False, lambda: registry.search(text, options))


def _registry_command(work: str) -> Callable[..., None]:
    """Return the command for one server of a registry."""

    def command(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="Its whole name.")],
        *,
        options: RegistryOptions,
    ) -> None:
        from mcpcore_transports.commands import registry  # late: each command loads its own

        guarded(False, lambda: getattr(registry, work)(name, options))

    return command


_REGISTRY_SHOW = """Show what a registry has about a server: version, source, remotes, packages.

\b
Examples:
  mcpcore registry show io.github.example/weather
  mcpcore registry show io.github.example/weather --version 1.2.0 --json
"""
_REGISTRY_VET = """Print the doubts about a server; the exit status is 1 if there are any.

Looked at are its status, its version, its place, the words of its command, and its texts. What it
says about itself when it runs is looked at only with --connect, which starts what is a package.

\b
Examples:
  mcpcore registry vet io.github.example/weather
  mcpcore registry vet io.github.example/weather --package pypi --connect
"""
_REGISTRY_ADD = """Write the entry of a server, with its exact version, into a configuration file.

Without --config it is the file that `mcpcore servers` lists, or a new mcp.json. Nothing is started.
Values that only you know become ${VARIABLES}, which are listed.

\b
Examples:
  mcpcore registry add io.github.example/weather
  mcpcore registry add io.github.example/weather --package npm --name forecast --config mcp.json
"""


_Url = Annotated[str, typer.Argument(metavar="SERVER", help="A URL of http, ws or sse, or a name.")]


def login(context: typer.Context, url: _Url, *, options: LoginOptions) -> None:
    """Sign in at a server, and keep the token for this user.

    The authorization server is found by the server's metadata. A browser is opened, which comes
    back to a port of this machine; with --no-browser, and where there is none, the URL is printed,
    and what the browser ends at is pasted. A token that is kept and valid is left as it is.

    \b
    Examples:
      mcpcore auth login https://mcp.example.com/mcp
      mcpcore auth login https://mcp.example.com/mcp --no-browser --scope files:read
      mcpcore auth login https://mcp.example.com/mcp --client-id 1234 --client-secret-env SECRET \\
        --issuer https://id.example.com
      mcpcore auth login https://mcp.example.com/mcp --client-id ci --client-secret-env SECRET \\
        --issuer https://id.example.com --client-credentials
    """  # noqa: D301
    from mcpcore_transports.commands import auth  # late: few authorize

    guarded(options.verbose, lambda: auth.login(url, options))


def status(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Argument(metavar="[SERVER]", help="One server; default: all.")
    ] = None,
    *,
    options: AuthOptions,
) -> None:
    """List the tokens that are kept, and when they expire; no secret is shown.

    With a server the exit status is 1 if there is no token of that server.

    \b
    Examples:
      mcpcore auth status
      mcpcore auth status https://mcp.example.com/mcp --json
    """  # noqa: D301
    from mcpcore_transports.commands import auth  # late: few authorize

    guarded(options.verbose, lambda: auth.status(url, options))


def logout(context: typer.Context, url: _Url, *, options: AuthOptions) -> None:
    """Forget the token of a server, and revoke it where the authorization server can.

    \b
    Examples:
      mcpcore auth logout https://mcp.example.com/mcp
      mcpcore auth logout https://mcp.example.com/mcp --account work --json
    """  # noqa: D301
    from mcpcore_transports.commands import auth  # late: few authorize

    guarded(options.verbose, lambda: auth.logout(url, options))


def _asks(
    work: str, usage: str, declared: type[ConnectOptions], text: str
) -> Callable[[typer.Typer, str], object]:
    return lambda app, name: app.command(name, help=text, cls=_usage(usage))(
        _asking(work, declared)
    )


_COMMANDS: dict[str, Callable[[typer.Typer, str], object]] = {
    "serve": lambda app, name: app.command(name, cls=SettledCommand)(
        gathering(serve, "options", ServeOptions)
    ),
    "dev": lambda app, name: app.command(name, help=_DEV, cls=SettledCommand)(
        gathering(serve, "options", ServeOptions)
    ),
    "call": _asks("call", "TOOL [KEY=VALUE]...", CallOptions, _CALL),
    "list": _asks("list_offers", "[KIND]...", QueryOptions, _LIST),
    "probe": _asks("probe", "", ProbeOptions, _PROBE),
    "doctor": lambda app, name: app.command(name, help=_DOCTOR, cls=_usage("[NAME|URL]..."))(
        _asking(
            "doctor",
            PinsOptions,
            "doctor",
            names=set(PinsOptions.__struct_fields__) - _CHANGING,
        )
    ),
    "gateway": lambda app, name: app.command(name, cls=_usage("", "MODULE:SERVER | --config FILE"))(
        connecting(gateway, declared=GatewayOptions)
    ),
    "servers": lambda app, name: app.command(name)(servers),
    "install": lambda app, name: app.command(name)(gathering(install, "options", InstallOptions)),
    "auth": lambda app, name: app.add_typer(_auth(), name=name, cls=Group),
    "pins": lambda app, name: app.add_typer(_pins(), name=name, cls=Group),
    "registry": lambda app, name: app.add_typer(_registry(), name=name, cls=Group),
}
"""The built-in commands, in the order of the help, and what adds each to the application."""
