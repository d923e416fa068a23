"""Target of a command: parsing of the command line, and the client that connects."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import anyio
from msgspec import structs

from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import BadConfig, BadProxy, BadTarget, BadTls, PeerError
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.base import Implementation
from mcpcore_transports import targets
from mcpcore_transports.auth.environment import argv_warning
from mcpcore_transports.client import config
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.commands.options import ConnectOptions, check_revisions, recording, size_of
from mcpcore_transports.commands.output import Exit, Failure, print_warning
from mcpcore_transports.http.client.proxies import ENVIRONMENT
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.server.request_log import log_outgoing
from mcpcore_transports.stream.settings import ProcessSettings, SocketSettings
from mcpcore_transports.tls import client_tls
from mcpcore_transports.websocket.settings import WebSocketSettings

T = TypeVar("T")


_WEB = (targets.HttpTarget, targets.SseTarget, targets.WebSocketTarget)
_FLAGS = {"headers": "--header", "ca": "--cacert"}
"""Options that are not named like their attribute."""
_SECURE = ("https", "wss", "tls")


def split_target(words: Sequence[str], options: ConnectOptions) -> tuple[list[str], targets.Target]:
    """Separate the target from the other words.  Raises BadTarget, Failure for a revision."""
    check_revisions(options.revisions)
    if options.command == ():
        raise BadTarget("no command stands after --")
    if options.command is None and not words:
        raise BadTarget(
            "no server: give a URL, a name out of mcp.json, or -- and the command that starts one"
        )
    by_url = options.command is None and "://" in words[-1]
    if options.config is not None and (by_url or options.command):
        kind = "a URL" if by_url else "a command"
        raise BadTarget(f"--config is for servers that are named, and this one is {kind}")
    if options.command is not None:
        return list(words), fitted(targets.StdioTarget(options.command), options)
    if by_url:
        target = targets.parse_target(words[-1])
    else:
        server = named(words[-1], options.config)
        for doubt in server.doubts:
            print_warning(f"{server}: {doubt}")
        target = server.target()
    return list(words[:-1]), fitted(target, options)


def config_path(chosen: str | None) -> Path:
    """Return the chosen configuration file, or the one that is found.  Raises BadConfig."""
    found = Path(chosen) if chosen is not None else config.find_config()
    if found is None:
        raise BadConfig(
            f"there is no configuration file: none of {', '.join(config.PLACES)}; --config and the"
            f" variable {config.VARIABLE} name others"
        )
    return found


def named(name: str, chosen: str | None) -> config.ConfiguredServer:
    """Return the server of this name in the configuration file.  Raises BadTarget."""
    if chosen is None and config.find_config() is None:
        places = ", ".join(config.PLACES)
        raise BadTarget(
            f"{name!r} is no URL; a server is a URL, a name out of a configuration file (of which "
            f"there is none here: {places}), or -- and the command that starts one"
        )
    path = config_path(chosen)
    try:
        return config.find_server(name, path)
    except BadConfig as error:
        if str(error).startswith(f"{path} has no server"):
            raise BadConfig(f"{name!r} is no URL, and {error}") from None
        raise


def fitted(target: targets.Target, options: ConnectOptions) -> targets.Target:
    """Return the target with its options.  Raises BadTarget for options that do not fit it."""
    _check_fit(target, options)
    if isinstance(target, targets.StdioTarget):
        warning = argv_warning(target.command)
        if warning is not None:
            print_warning(warning)
    if isinstance(target, targets.StdioTarget) and (options.env or options.cwd is not None):
        env = {**(target.env or {}), **_variables(options.env)} or None
        cwd = target.cwd if options.cwd is None else options.cwd
        return structs.replace(target, env=env, cwd=cwd)
    if isinstance(target, _WEB) and options.headers:
        given = targets.headers_of(options.headers)
        replaced = {name.lower() for name in given}
        assert not callable(target.headers)  # noqa: S101 - made from words
        kept = {k: v for k, v in target.headers.items() if k.lower() not in replaced}
        return structs.replace(target, headers={**kept, **given})
    return target


def _check_fit(target: targets.Target, options: ConnectOptions) -> None:
    secure = urlsplit(getattr(target, "url", "")).scheme in _SECURE
    for fits, what, names in (
        (isinstance(target, _WEB), "URLs of http, ws and sse", ("headers", "proxy")),
        (secure, "https, wss, sse+https and tls", ("ca", "cert", "key")),
        (
            isinstance(target, targets.StdioTarget),
            "servers that are started as a command",
            ("env", "cwd", "memory_limit", "cpu_limit"),
        ),
    ):
        for name in names:
            if getattr(options, name) not in (None, ()) and not fits:
                flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
                raise BadTarget(f"{flag} is for {what}; this server is {_kind(target)}")
    size_of("--memory-limit", options.memory_limit)
    if options.key is not None and options.cert is None:
        raise BadTarget("--key is the key of --cert, which is not given")


def _kind(target: targets.Target) -> str:
    if isinstance(target, targets.StdioTarget):
        return "a command"
    sse = "sse+" if isinstance(target, targets.SseTarget) else ""
    return f"one of {sse}{urlsplit(getattr(target, 'url', '')).scheme}"


def converse(
    target: targets.Target,
    options: ConnectOptions,
    talk: Callable[[Client], Awaitable[T]],
    callbacks: Callbacks | None = None,
) -> T:
    """Connect, run ``talk``, close; return its result.  Raises :class:`Failure` if that fails."""
    try:
        with ExitStack() as stack:
            if options.recorder is None:
                recorder = stack.enter_context(recording(options))
                options = structs.replace(options, recorder=recorder)
            return anyio.run(partial(_converse, target, options, talk, callbacks))
    except PeerError as error:
        raise Failure(f"{error.method}: {error}", Exit.REFUSED) from error
    except McpError as error:
        raise Failure(str(error), Exit.REFUSED) from error
    except (BadTarget, BadTls, BadProxy) as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (LocalError, OSError) as error:
        raise Failure(str(error)) from error


async def _converse(
    target: targets.Target,
    options: ConnectOptions,
    talk: Callable[[Client], Awaitable[T]],
    callbacks: Callbacks | None,
) -> T:
    async with connect(
        target,
        callbacks=callbacks,
        revisions=options.revisions,
        settings=client_settings(options),
        trace=options.recorder,
        middleware=[log_outgoing()] if options.verbose else (),
    ) as client:
        return await talk(client)


def client_settings(options: ConnectOptions) -> ClientSettings:
    """Return the settings of the client for ``options``, for all kinds of targets."""
    limits = ClientSettings().limits
    if options.timeout is not None:
        limits = structs.replace(
            limits,
            request_timeout=options.timeout,
            max_timeout=max(options.timeout, limits.max_timeout or 0.0),
            probe_timeout=min(options.timeout, limits.probe_timeout),
        )
    tls = None
    if options.ca or options.cert or options.key:
        tls = client_tls(ca=options.ca, cert=options.cert, key=options.key)
    process, websocket = ProcessSettings(), WebSocketSettings()
    socket, http_link, http = SocketSettings(), HttpClientLinkSettings(), HttpClientSettings()
    if (seconds := options.connect_timeout) is not None:
        process = structs.replace(process, startup_timeout=seconds)
        websocket = structs.replace(websocket, handshake_timeout=seconds)
        socket = structs.replace(socket, handshake_time=seconds)
        http_link = structs.replace(http_link, connect_time=seconds)
        http = structs.replace(http, endpoint_timeout=seconds)
    reconnect = ReconnectSettings()
    if (number := options.reconnect) is not None:
        reconnect = structs.replace(reconnect, attempts=number, max_restarts=number)
        http = structs.replace(http, max_resumes=number)
    process = structs.replace(
        process,
        memory_limit=size_of("--memory-limit", options.memory_limit),
        cpu_limit=options.cpu_limit,
    )
    return ClientSettings(
        limits=limits,
        info=Implementation(name="mcpcore-cli", version="0.1.0"),
        reconnect=reconnect,
        http=http,
        http_link=http_link,
        ssl_context=tls,
        proxy={None: ENVIRONMENT, "none": None}.get(options.proxy, options.proxy),
        process=process,
        websocket=websocket,
        socket=socket,
    )


def _variables(words: Sequence[str]) -> dict[str, str]:
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or "\0" in word:
            raise BadTarget(f"--env: {word!r} is no variable; expected NAME=VALUE, or NAME")
        if not equals:
            if name not in os.environ:
                raise BadTarget(f"--env: the variable {name} is not set here; give NAME=VALUE")
            value = os.environ[name]
        variables[name] = value
    return variables
