"""Links of a client: the machine and the link for each kind of target, and its authorizer."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from msgspec import structs

from mcpcore import errors
from mcpcore.engine.config import Config
from mcpcore.engine.peer import Peer
from mcpcore.http.client.client import HttpClient
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.spec.revisions import legacy_of
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http.client.proxies import proxy_for
from mcpcore_transports.link import App
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.settings import ProcessSettings
from mcpcore_transports.targets import (
    CustomTarget,
    HttpTarget,
    MemoryTarget,
    SseTarget,
    StdioTarget,
    Target,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
    named,
)

if TYPE_CHECKING:  # each is imported with the transport or feature that needs it
    from mcpcore.auth.settings import AuthorizationSettings
    from mcpcore_transports.auth.exchange import UpstreamTokens
    from mcpcore_transports.http.client.adapter import HttpClientLike
    from mcpcore_transports.http.client.authorization import Auth, RequestAuthorizer
    from mcpcore_transports.http.client.client import HttpClientLink


class LinkedApp(App, Protocol):
    """App of a client's machine, with the settings of its links."""

    settings: ClientSettings


_DOWNLOAD_STEP = 1024 * 1024
"""Bytes of an answer from one report of its download to the next, unless the settings say."""


def http_machine(
    settings: ClientSettings,
    config: Config,
    target: HttpTarget | SseTarget,
    *,
    assume_sse: bool,
    authorizes: bool,
    reports_downloads: bool = False,
) -> HttpClient:
    """Make the machine of HTTP.  Raises BadTarget for a URL, headers or revisions it cannot use."""
    http = settings.http or HttpClientSettings()
    headers = (*http.headers, *fixed_headers(target).items())
    http = structs.replace(http, headers=headers, answer_challenges=authorizes)
    if reports_downloads and not http.download_step:
        http = structs.replace(http, download_step=_DOWNLOAD_STEP)
    if isinstance(target, SseTarget):
        http = structs.replace(http, legacy_sse=SseUse.ONLY)
        if not legacy_of(config.revisions):
            raise errors.BadTarget("HTTP+SSE needs a revision with a handshake: allow a legacy one")
    seed = secrets.token_bytes(16)
    try:
        return HttpClient(config, target.url, settings=http, seed=seed, assume_sse=assume_sse)
    except ValueError as error:
        raise errors.BadTarget(str(error)) from None


def stream_link(
    core: "LinkedApp",
    target: StdioTarget | WebSocketTarget | TcpTarget | UnixTarget | CustomTarget,
    authorizer: "RequestAuthorizer | None",
    peer: Peer,
) -> StreamConnection:
    """Make the link of one connection, yet to be run."""
    settings = core.settings
    link: StreamConnection
    if isinstance(target, CustomTarget):
        link = target.make_link(peer, core)
    elif isinstance(target, StdioTarget):
        from mcpcore_transports.stdio.process import ProcessLink  # late: for stdio alone

        process = settings.process or ProcessSettings()
        env = {**(process.env or {}), **(target.env or {})} or None
        process = structs.replace(process, env=env, cwd=target.cwd or process.cwd)
        link = ProcessLink(peer, core, target.command, settings=process)
    elif isinstance(target, WebSocketTarget):
        from mcpcore_transports.websocket import client as websocket  # late: for this alone

        link = websocket.websocket_client_link(
            peer,
            core,
            target.url,
            settings=settings.websocket,
            headers=target.headers,
            ssl_context=settings.ssl_context,
            proxy=proxy_for(target.url, settings.proxy),
            authorizer=authorizer,
        )
    else:
        from mcpcore_transports.sockets.client import SocketClientLink  # late: for sockets alone

        link = SocketClientLink(
            peer, core, target, settings=settings.socket, ssl_context=settings.ssl_context
        )
    if settings.trace is not None:
        link.trace = settings.trace.connection("client")
    return link


def http_link(
    machine: HttpClient,
    core: "LinkedApp",
    target: HttpTarget | SseTarget,
    http_client: "HttpClientLike | None",
    authorizer: "RequestAuthorizer | None",
) -> "HttpClientLink":
    """Make the link that carries HTTP requests."""
    settings = core.settings
    headers = None if isinstance(target.headers, Mapping) else target.headers
    from mcpcore_transports.http.client.client import HttpClientLink  # late: for HTTP alone

    exchanges = None
    if http_client is not None:
        from mcpcore_transports.http.client.adapter import AdaptedClient  # late: few have one

        exchanges = partial(AdaptedClient, client=http_client)
    link = HttpClientLink(
        machine,
        core,
        exchanges=exchanges,
        settings=settings.http_link,
        ssl_context=settings.ssl_context,
        proxy=proxy_for(target.url, settings.proxy) if http_client is None else None,
        headers=headers,
        authorizer=authorizer,
    )
    if settings.trace is not None:
        from mcpcore_transports.tracing.tracing import HttpTrace  # late: few record a trace

        link.trace = HttpTrace(settings.trace, "client")
    return link


_WITHOUT_AUTH: tuple[tuple[type[Any], str], ...] = (
    (
        StdioTarget,
        ": a program gets its credentials by its environment, StdioTarget(command, env={...})",
    ),
    (
        TcpTarget,
        ": over TCP a client shows who it is by a certificate, in ClientSettings.ssl_context",
    ),
    (UnixTarget, ": on a Unix socket the system tells the server which user the client is"),
    (MemoryTarget, ": a server of this process is called without credentials"),
)
"""Alternatives to ``auth`` by the kind of target."""


def authorizer_for(
    target: Target,
    auth: "Auth | UpstreamTokens",
    settings: ClientSettings,
    around_flows: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> "RequestAuthorizer":
    """Make the authorizer of all connections to a target.  Raises BadTarget, UrlRefused."""
    from mcpcore_transports.auth import exchange  # late, with the next: few authorize
    from mcpcore_transports.auth.authorizer import make_authorizer

    if isinstance(auth, exchange.UpstreamTokens):
        raise errors.BadTarget("the tokens of clients are exchanged by a gateway alone")
    if is_personal(auth):
        raise errors.BadTarget("clients sign in for themselves at a gateway alone")
    if not isinstance(target, HttpTarget | SseTarget | WebSocketTarget):
        hint = next((hint for kind, hint in _WITHOUT_AUTH if isinstance(target, kind)), "")
        raise errors.BadTarget(
            f"auth is for URLs of http and ws, and the target is {named(target)}{hint}"
        )
    http = () if settings.http is None else settings.http.headers
    names = [*fixed_headers(target), *(name for name, _ in http)]
    if any(name.lower() in ("authorization", "dpop") for name in names):
        raise errors.BadTarget("the header Authorization is set by auth: give one of the two")
    return make_authorizer(
        target.url,
        auth,
        store=settings.tokens,
        sign_in=settings.sign_in,
        keys=settings.signing_keys,
        assertions=settings.assertions,
        ssl_context=settings.ssl_context,
        proxy=settings.proxy,
        link_settings=settings.http_link,
        around_flows=around_flows,
    )


def is_personal(auth: object) -> "TypeGuard[AuthorizationSettings]":
    """Return True for the authorization of a server where each client of a gateway signs in."""
    return bool(getattr(getattr(auth, "grant", None), "personal", False))


def fixed_headers(target: HttpTarget | SseTarget | WebSocketTarget) -> Mapping[str, str]:
    """Return the headers of a target that are the same for each request."""
    return target.headers if isinstance(target.headers, Mapping) else {}
