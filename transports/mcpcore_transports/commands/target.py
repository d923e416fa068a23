"""Target of a command: parsing of the command line, and the client that connects."""

import os
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import anyio
from msgspec import structs

from mcpcore import errors
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import LocalError, McpError
from mcpcore.spec.types.base import Implementation
from mcpcore.wire.redaction import is_secret_header
from mcpcore_transports import targets
from mcpcore_transports.auth.environment import argv_warning
from mcpcore_transports.client import config
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.request_log import log_outgoing
from mcpcore_transports.commands.options import (
    AuthOptions,
    ConnectOptions,
    check_revisions,
    recording,
    scopes_of,
    size_of,
)
from mcpcore_transports.commands.output import Exit, Failure, print_warning, wrong
from mcpcore_transports.http.client.proxies import ENVIRONMENT
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.stream.settings import ProcessSettings, SocketSettings
from mcpcore_transports.tls import client_tls
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # imported where there is a token, or is to be one
    from mcpcore.auth.settings import AuthorizationSettings

T = TypeVar("T")


PINS = "pins.json"
"""Name of the pins file beside the configuration file."""
WEB = (targets.HttpTarget, targets.SseTarget, targets.WebSocketTarget)
"""Targets that tokens are for."""
_FLAGS = {"headers": "--header", "ca": "--cacert"}
"""Options that are not named like their attribute."""
_SECURE = ("https", "wss", "tls")
_MEANT = (
    (re.compile(r".+\.py"), "; for this file: -- python {}"),
    (re.compile(r".+:\d+"), "; for HTTP at this address: http://{}/mcp"),
    (re.compile(r"[\w.]+:\w+"), "; for this server of a module: -- mcpcore serve {} --stdio"),
)
"""Words that are no server, and what is to be written for them."""


def split_target(words: Sequence[str], options: ConnectOptions) -> tuple[list[str], targets.Target]:
    """Separate the target from the other words.  Raises BadTarget, Failure for a revision."""
    check_revisions(options.revisions)
    if options.command == ():
        raise errors.BadTarget("no command stands after --")
    if options.command is None and not words:
        raise errors.BadTarget(
            "no server: give a URL, a name out of mcp.json, or -- and the command that starts one"
        )
    by_url = options.command is None and "://" in words[-1]
    if options.config is not None and (by_url or options.command):
        kind = "a URL" if by_url else "a command"
        raise errors.BadTarget(f"--config is for servers that are named, and this one is {kind}")
    if options.command is not None:
        return list(words), fitted(targets.StdioTarget(options.command), options)
    name = words[-1]
    target = targets.parse_target(name) if by_url else configured(name, options.config).target()
    return list(words[:-1]), fitted(target, options)


def config_path(chosen: str | None) -> Path:
    """Return the chosen configuration file, or the one that is found.  Raises BadConfig."""
    found = Path(chosen) if chosen is not None else config.find_config()
    if found is None:
        raise errors.BadConfig(
            f"there is no configuration file: none of {', '.join(config.PLACES)}; --config and the"
            f" variable {config.VARIABLE} name others"
        )
    return found


def pins_path(chosen: str | None, pins: str | None = None) -> Path:
    """Return the pins file of a command line: ``pins``, or the one beside the configuration."""
    if pins is not None:
        return Path(pins)
    found = Path(chosen) if chosen is not None else config.find_config()
    return Path(PINS) if found is None else found.with_name(PINS)


def configured(name: str, chosen: str | None) -> config.ConfiguredServer:
    """Return the server of this name in the configuration file; warn of what looks wrong there.

    Raises BadTarget.
    """
    meant = next((text.format(name) for form, text in _MEANT if form.fullmatch(name)), "")
    if chosen is None and config.find_config() is None:
        places = ", ".join(config.PLACES)
        raise errors.BadTarget(
            f"{name!r} is no URL; a server is a URL, a name out of a configuration file (of which "
            f"there is none here: {places}), or -- and the command that starts one{meant}"
        )
    path = config_path(chosen)
    try:
        server = config.find_server(name, path)
    except errors.BadConfig as error:
        if str(error).startswith(f"{path} has no server"):
            raise errors.BadConfig(f"{name!r} is no URL, and {error}{meant}") from None
        raise
    for doubt in server.doubts:
        print_warning(f"{server}: {doubt}")
    return server


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
    if isinstance(target, WEB) and options.headers:
        given = targets.headers_of(options.headers)
        _warn_of_secrets(given)
        replaced = {name.lower() for name in given}
        assert not callable(target.headers)  # noqa: S101 - made from words
        kept = {k: v for k, v in target.headers.items() if k.lower() not in replaced}
        target = structs.replace(target, headers={**kept, **given})
        if _sets_authorization(target):
            if options.login:
                raise errors.BadTarget("--login and the header Authorization: give one of the two")
            target = structs.replace(target, auth=None)  # the token of the command line
        return target
    return target


def _warn_of_secrets(headers: Mapping[str, str]) -> None:
    """Warn of headers of the command line that seem to hold a secret, and say what helps."""
    names = [
        name
        for name, value in headers.items()
        if is_secret_header(name.encode()) and "${" not in value
    ]
    if names:
        print_warning(
            f"the value of {', '.join(names)} stands in the command line, which every user of this "
            "machine can read: keep a token by `mcpcore auth login`, or let a server in mcp.json "
            "have the header, with a variable of the environment as ${NAME}"
        )


def _check_fit(target: targets.Target, options: ConnectOptions) -> None:
    secure = urlsplit(getattr(target, "url", "")).scheme in _SECURE
    for fits, what, names in (
        (
            isinstance(target, WEB),
            "URLs of http, ws and sse",
            ("headers", "login", "account", "ceiling", "proxy"),
        ),
        (secure, "https, wss, sse+https and tls", ("ca", "cert", "key")),
        (
            isinstance(target, targets.StdioTarget),
            "servers that are started as a command",
            ("env", "cwd", "memory_limit", "cpu_limit"),
        ),
    ):
        for name in names:
            if getattr(options, name) not in (None, (), False) and not fits:
                flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
                raise errors.BadTarget(f"{flag} is for {what}; this server is {_kind(target)}")
    size_of("--memory-limit", options.memory_limit)
    if options.key is not None and options.cert is None:
        raise errors.BadTarget("--key is the key of --cert, which is not given")
    if options.browser is not None and not options.login:
        flag = "--browser" if options.browser else "--no-browser"
        raise errors.BadTarget(f"{flag} is for --login, which is not given")
    if options.login and _sets_authorization(target):
        raise errors.BadTarget("--login and the header Authorization: give one of the two")


def _sets_authorization(target: targets.Target) -> bool:
    """Return True if the headers of a target have a token."""
    headers = target.headers if isinstance(target, WEB) else {}
    return isinstance(headers, Mapping) and any(n.lower() == "authorization" for n in headers)


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
            return interruptible(partial(_converse, target, options, talk, callbacks))
    except errors.PeerError as error:
        raise Failure(f"{error.method}: {error}", Exit.REFUSED) from error
    except McpError as error:
        raise Failure(str(error), Exit.REFUSED) from error
    except (errors.BadTarget, errors.BadTls, errors.BadProxy, errors.UrlRefused) as error:
        raise wrong(str(error)) from error
    except errors.AuthorizationError as error:
        raise Failure(str(error), Exit.REFUSED) from error
    except (LocalError, OSError) as error:
        hint = f"; {_SIGN_IN}" if isinstance(target, WEB) and is_unauthorized(error) else ""
        raise Failure(f"{error}{hint}") from error


_PATIENCE = 3
"""Number of the Ctrl-C that waits for nothing any more."""


def interruptible(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work`` in an event loop; Ctrl-C cancels it, and is raised once all is closed.

    So it is never raised in the middle of what is being closed.  A third one ends the process at
    once; the guard ends the servers that it has started.
    """
    interrupts, results, failures = 0, list[T](), list[Exception]()

    async def watch(scope: anyio.CancelScope) -> None:
        nonlocal interrupts
        with (
            suppress(NotImplementedError),  # Windows: asyncio alone takes it
            anyio.open_signal_receiver(signal.SIGINT) as signals,
        ):
            async for _ in signals:
                interrupts += 1
                if interrupts == _PATIENCE:
                    os._exit(Exit.INTERRUPTED)
                scope.cancel()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if threading.current_thread() is threading.main_thread():  # no other gets signals
                    group.start_soon(watch, scope)
                try:
                    results.append(await work())
                except Exception as error:  # a group would wrap it
                    failures.append(error)
            group.cancel_scope.cancel()

    anyio.run(main)
    if interrupts:
        raise KeyboardInterrupt
    if failures:
        raise failures[0]
    return results[0]


_SIGN_IN = "to sign in, give --login, or use `mcpcore auth login`"


def is_unauthorized(error: Exception) -> bool:
    """Return True for a failure by status 401."""
    fault = error.fault if isinstance(error, errors.LinkError) else None
    status = None if fault is None else fault.status
    for each in (error, error.__cause__):
        if isinstance(each, errors.HttpStatusError):
            status = each.status
    return status == 401


async def connection(target: targets.Target, options: ConnectOptions, **more: Any) -> connect:
    """Return a connection to a target, with the token that is stored for it, or that --login gets.

    Raises AuthorizationError for tokens that cannot be read, and what ``connect`` raises.
    """
    settings = client_settings(options)
    auth = await _auth(target, options)
    if auth is not None:
        from mcpcore_transports.auth.browser import NoSignIn, chosen_sign_in  # late: few sign in
        from mcpcore_transports.auth.file_store import FileTokens

        sign_in = chosen_sign_in(options.browser) if options.login else NoSignIn(_SIGN_IN)
        settings = structs.replace(settings, tokens=FileTokens(), sign_in=sign_in)
    return connect(target, auth=auth, settings=settings, trace=options.recorder, **more)


async def _auth(target: targets.Target, options: ConnectOptions) -> "AuthorizationSettings | None":
    """Return how a target is authorized: as the file or --login says, or by a stored token."""
    if not isinstance(target, WEB) or _sets_authorization(target):
        return None
    kept = target.auth
    if kept is None and not options.login and not _keeps_tokens():
        return None
    from mcpcore.auth.settings import AuthorizationSettings  # late: few authorize
    from mcpcore_transports.commands.tokens import as_kept

    settings = kept if isinstance(kept, AuthorizationSettings) else AuthorizationSettings()
    settings = structs.replace(
        settings,
        account=settings.account if options.account is None else options.account,
        private=settings.private or options.auth_private,
        ceiling=scopes_of("--ceiling", options.ceiling) if options.ceiling else settings.ceiling,
    )
    if kept is not None:
        return settings
    found = await as_kept(target.url, settings, person=options.login)
    return settings if found is None and options.login else found


def era_doubt(client: Client, seconds: float, options: ConnectOptions) -> str | None:
    """Return why a server that was taken for a legacy one may be modern, None if it is not.

    ``seconds``: until it had opened.
    """
    patience = client_settings(options).limits.probe_timeout
    if client.revision.modern or options.revisions is not None or seconds < patience:
        return None
    return (
        f"it took {seconds:.2f} s, and one that does not answer server/discover within "
        f"{patience:g} s is taken for a legacy one, also if it is modern and slow to start"
    )


def _keeps_tokens() -> bool:
    """Return True if this user may have tokens; most have none, and need no more modules."""
    from mcpcore_transports.auth.file_store import default_folder  # late: few authorize

    try:
        return default_folder().is_dir()
    except errors.AuthorizationError:
        return False


async def _converse(
    target: targets.Target,
    options: ConnectOptions,
    talk: Callable[[Client], Awaitable[T]],
    callbacks: Callbacks | None,
) -> T:
    async with await connection(
        target,
        options,
        callbacks=callbacks,
        revisions=options.revisions,
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
        process=process,
        websocket=websocket,
        socket=socket,
        **access(options),
    )


def access(options: ConnectOptions | AuthOptions) -> dict[str, Any]:
    """Return the TLS context and the proxy of all connections.  Raises Failure, BadTls."""
    if options.key is not None and options.cert is None:
        raise wrong("--key is the key of --cert, which is not given")
    tls = None
    if options.ca or options.cert:
        tls = client_tls(ca=options.ca, cert=options.cert, key=options.key)
    proxy = {None: ENVIRONMENT, "none": None}.get(options.proxy, options.proxy)
    return {"ssl_context": tls, "proxy": proxy}


def _variables(words: Sequence[str]) -> dict[str, str]:
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or "\0" in word:
            raise errors.BadTarget(f"--env: {word!r} is no variable; expected NAME=VALUE, or NAME")
        if not equals:
            if name not in os.environ:
                raise errors.BadTarget(
                    f"--env: the variable {name} is not set here; give NAME=VALUE"
                )
            value = os.environ[name]
        variables[name] = value
    return variables
