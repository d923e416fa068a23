"""Command `mcpcore gateway`: any client before any servers."""

from collections.abc import Sequence
from functools import partial

from msgspec import structs

from mcpcore.errors import BadConfig, BadTarget, UrlRefused
from mcpcore.relay.names import Naming
from mcpcore.spec.revisions import REVISIONS, Revision, parse_revisions
from mcpcore_transports import targets
from mcpcore_transports.client.config import load_targets
from mcpcore_transports.commands.options import ConnectOptions, GatewayOptions, check_revisions
from mcpcore_transports.commands.output import Exit, Failure
from mcpcore_transports.commands.serve import serve_with
from mcpcore_transports.commands.target import config_path, fitted
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings, read_settings

_NAMINGS = {
    "always": Naming.ALWAYS,
    "conflict": Naming.ON_CONFLICT,
    "never": Naming.NEVER,
}
_ONLY = "server"
"""Name of a server that has none in a configuration file."""


def gateway(urls: Sequence[str], options: GatewayOptions, *, words: Sequence[str]) -> int:
    """Serve a gateway until a signal, or the end of standard input; return the exit status.

    ``words``: the command line, for further processes.
    """
    check_revisions(options.server_revision)
    try:
        found = _targets(urls, options)
        make = partial(Gateway, found, settings=_settings(options), revisions=_revisions(options))
        make()  # what cannot be used is said before any binding is opened
    except (BadTarget, BadConfig, UrlRefused, ValueError) as error:
        raise Failure(str(error), Exit.USAGE) from error
    return serve_with(make, options, words=words)


def _revisions(options: GatewayOptions) -> Sequence[Revision]:
    names = options.server_revision
    return REVISIONS if names is None else parse_revisions(names)


def _targets(urls: Sequence[str], options: GatewayOptions) -> dict[str, targets.Target]:
    """Return the servers by name.  Raises BadTarget, BadConfig."""
    given = [bool(urls), options.command is not None, options.config is not None]
    if sum(given) != 1 or len(urls) > 1:
        raise BadTarget("expected one of: a URL, a command behind --, and --config FILE")
    if options.config is not None:
        if options.headers or options.env:
            raise BadTarget("--header and --env are for a server that --config does not name")
        return load_targets(config_path(options.config))
    target: targets.Target = (
        targets.StdioTarget(options.command)
        if options.command is not None
        else targets.parse_target(urls[0])
    )
    fitting = ConnectOptions(headers=options.headers, env=options.env)
    return {_ONLY: fitted(target, fitting)}


def _settings(options: GatewayOptions) -> GatewaySettings:
    """Return the settings of the file, with those of the options.  Raises BadConfig."""
    settings = GatewaySettings()
    if options.config is not None:
        settings = read_settings(config_path(options.config))
    if options.naming is not None:
        relay = structs.replace(settings.relay, naming=_NAMINGS[options.naming])
        settings = structs.replace(settings, relay=relay)
    if options.max_processes is not None:
        settings = structs.replace(settings, processes=options.max_processes)
    return settings
