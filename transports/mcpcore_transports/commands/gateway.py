"""Command `mcpcore gateway`: any client before any servers."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import structs

from mcpcore.errors import BadConfig, BadTarget, UrlRefused
from mcpcore.http.settings import HttpClientSettings
from mcpcore.relay.names import NameKind, Names, Naming
from mcpcore.spec.revisions import REVISIONS, parse_revisions
from mcpcore_transports import targets
from mcpcore_transports.client.config import load_targets, read_section
from mcpcore_transports.client.links import is_personal
from mcpcore_transports.commands.loading import load
from mcpcore_transports.commands.options import (
    BeforeServerOptions,
    ConnectOptions,
    GatewayOptions,
    check_revisions,
)
from mcpcore_transports.commands.output import wrong
from mcpcore_transports.commands.serve import in_folder, serve_with
from mcpcore_transports.commands.settled import Settled, settled_policies
from mcpcore_transports.commands.target import config_path, fitted
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings, read_settings

_NAMINGS = {
    "always": Naming.ALWAYS,
    "conflict": Naming.ON_CONFLICT,
    "never": Naming.NEVER,
}
Servers = Mapping[str, targets.Target | targets.Replicas]
"""Servers by name."""
ONLY = "server"
"""Name of a server that has none in a configuration file."""


def gateway(urls: Sequence[str], options: GatewayOptions, *, words: Sequence[str]) -> int:
    """Serve a gateway until a signal, or the end of standard input; return the exit status.

    ``words``: the command line, for further processes.
    """
    options = in_folder(options)
    if options.telemetry_contents:
        raise wrong("--telemetry-contents: the spans of a gateway have no arguments and results")
    try:
        servers, settings = _targets(urls, options), gateway_settings(options)
        _check_servers(servers, settings, options)
        _check_workers(servers, settings, options.workers)
        _check_sign_in(servers, options)
        if options.config is not None:
            path = config_path(options.config)
            policies = settled_policies(read_section(path, "gateway"), f"{path}: gateway")
            _check_rates(servers, settings, policies, f"{path}: gateway")
            options = structs.replace(options, settled=policies)
    except (BadTarget, BadConfig, UrlRefused) as error:
        raise wrong(str(error)) from error
    return serve_with(maker(servers, settings, options), options, words=words)


def maker(
    servers: Servers, settings: GatewaySettings, options: BeforeServerOptions
) -> Callable[[], Gateway]:
    """Return a function that makes the gateway.  Raises Failure for what cannot be used."""
    names = options.server_revision
    check_revisions(names)
    revisions = REVISIONS if names is None else parse_revisions(names)
    make = partial(Gateway, servers, settings=settings, revisions=revisions)
    try:
        make()  # what cannot be used is said before any binding is opened
    except (BadTarget, UrlRefused, ValueError) as error:
        raise wrong(str(error)) from error
    return make


def _check_servers(servers: Servers, settings: GatewaySettings, options: GatewayOptions) -> None:
    """Raise BadConfig for a setting of a file about a server that the file lacks."""
    try:
        settings.check_servers(servers)
    except ValueError as error:
        raise BadConfig(f"{config_path(options.config)}: gateway.{error}") from None


def _check_rates(
    servers: Servers, settings: GatewaySettings, policies: Settled, where: str
) -> None:
    """Raise BadConfig for a rate of a tool that no server can have: it would limit nothing."""
    tools = () if policies.rates is None else policies.rates.per_tool
    relay, routes = settings.relay, settings.routes.values() or (tuple(servers),)
    try:
        tables = [Names(each, relay.naming, relay.names) for each in routes]
    except ValueError as error:
        raise BadConfig(str(error)) from None
    if any(each.plain or each.listed for each in tables):
        return
    for tool in tools:
        if not any(each.inward(NameKind.TOOL, tool) for each in tables):
            text = f"{where}.rates.tool: no tool is named {tool!r}: the names of tools begin with"
            raise BadConfig(f"{text} that of their server, as in server__{tool}")


def _check_workers(servers: Servers, settings: GatewaySettings, workers: int) -> None:
    """Raise BadTarget for a server that does not go with several workers.

    Each would start a process for one session, and a browser would come back to another one.
    """
    for name, target in servers.items():
        if workers > 1 and is_personal(getattr(target, "auth", None)):
            raise BadTarget(f"{name}: its users sign in at one process; leave --workers out")
        own = isinstance(target, targets.StdioTarget) and not settings.shared.get(name)
        if own and workers > 1:
            raise BadTarget(
                f"{name}: with --workers a session would have a process of it at each worker "
                f'that it reaches; leave --workers out, or share it: "shared": {{"{name}": true}}'
            )


def _check_sign_in(servers: Servers, options: GatewayOptions) -> None:
    """Raise BadTarget for a server at which users could not sign in."""
    for name, target in servers.items():
        if not is_personal(getattr(target, "auth", None)):
            continue
        if not options.http:
            raise BadTarget(f"{name}: its users sign in at a page of the gateway: give --http")
        if not options.auth_issuer:
            raise BadTarget(
                f"{name}: its users are told apart by tokens of an authorization server: give "
                "--auth-resource and --auth-issuer"
            )


def _targets(urls: Sequence[str], options: GatewayOptions) -> Servers:
    """Return the servers by name.  Raises BadTarget, BadConfig."""
    if options.config is None:
        return only_target(
            urls, options, "a URL, MODULE:SERVER, a command behind --, and --config FILE"
        )
    if urls or options.command is not None:
        raise BadTarget("--config is for servers that the command line does not name")
    if options.headers or options.env:
        raise BadTarget("--header and --env are for a server that --config does not name")
    return load_targets(config_path(options.config))


def only_target(urls: Sequence[str], options: BeforeServerOptions, choice: str) -> Servers:
    """Return the server that the command line names.  Raises BadTarget, with the ``choice``."""
    target: targets.Target
    match list(urls), options.command:
        case [], tuple() as command:
            target = targets.StdioTarget(command)
        case [word], None if "://" in word:
            target = targets.parse_target(word)
        case [word], None if Path(word).is_file():  # a module would be imported, and be another
            raise BadTarget(f"{word} is a file; expected one of: {choice}")
        case [word], None:
            target = targets.MemoryTarget(load(word))
        case _:
            raise BadTarget(f"expected one of: {choice}")
    return {ONLY: fitted(target, ConnectOptions(headers=options.headers, env=options.env))}


def gateway_settings(options: GatewayOptions) -> GatewaySettings:
    """Return the settings of the file, with those of the options.  Raises BadConfig."""
    settings = GatewaySettings()
    if options.config is not None:
        settings = read_settings(config_path(options.config))
    if options.naming is not None:
        relay = structs.replace(settings.relay, naming=_NAMINGS[options.naming])
        settings = structs.replace(settings, relay=relay)
    if options.max_processes is not None:
        settings = structs.replace(settings, processes=options.max_processes)
    if options.trace_headers:
        http = structs.replace(settings.client.http or HttpClientSettings(), trace_headers=True)
        settings = structs.replace(settings, client=structs.replace(settings.client, http=http))
    if options.start_time is not None:
        settings = structs.replace(settings, start_time=options.start_time)
    return settings
