"""Links of a client to its target, one for each connection.

Each transport is imported at its first use, so that the others cost nothing.
"""

from typing import TYPE_CHECKING

from anyio.abc import TaskGroup
from msgspec import structs

from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.http import HttpClient
from mcpcore_transports.http.client.proxies import proxy_for
from mcpcore_transports.link import App, Link
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.targets import (
    CustomTarget,
    MemoryTarget,
    StdioTarget,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
)

if TYPE_CHECKING:
    from mcpcore_transports.client.core import ClientCore
    from mcpcore_transports.client.opening import ClientSettings
    from mcpcore_transports.http.client.adapter import HttpClientLike
    from mcpcore_transports.http.client.carrier import HttpCarrier, RequestHeaders

PeerTarget = StdioTarget | WebSocketTarget | TcpTarget | UnixTarget | CustomTarget
"""Targets to which a client can reconnect; each connection is one conversation."""


def attempts_for(target: PeerTarget, settings: ReconnectSettings) -> int:
    """Return the maximum number of consecutive attempts to reconnect to a target."""
    return settings.max_restarts if isinstance(target, StdioTarget) else settings.attempts


def peer_link(
    app: App, target: PeerTarget, settings: "ClientSettings", peer: Peer
) -> StreamConnection:
    """Make the link of one connection, yet to be run."""
    link = _peer_link(app, target, settings, peer)
    if settings.trace is not None:
        link.trace = settings.trace.connection("client")
    return link


def _peer_link(
    app: App, target: PeerTarget, settings: "ClientSettings", peer: Peer
) -> StreamConnection:
    if isinstance(target, CustomTarget):
        return target.make_link(peer, app)
    if isinstance(target, StdioTarget):
        from mcpcore_transports.stdio.process import ProcessLink
        from mcpcore_transports.stdio.settings import ProcessSettings

        process = settings.process or ProcessSettings()
        env = {**(process.env or {}), **(target.env or {})} or None
        process = structs.replace(process, env=env, cwd=target.cwd or process.cwd)
        return ProcessLink(peer, app, target.command, settings=process)
    if isinstance(target, WebSocketTarget):
        from mcpcore_transports.websocket.client import websocket_client_link

        return websocket_client_link(
            peer,
            app,
            target.url,
            settings=settings.websocket,
            headers=target.headers,
            ssl_context=settings.ssl_context,
            proxy=proxy_for(target.url, settings.proxy),
        )
    from mcpcore_transports.sockets.client import SocketClientLink

    return SocketClientLink(
        peer, app, target, settings=settings.socket, ssl_context=settings.ssl_context
    )


async def memory_link(
    peer: Peer,
    core: "ClientCore",
    target: MemoryTarget,
    group: TaskGroup,
    settings: "ClientSettings",
) -> Link:
    """Serve a server of this process in ``group``; return the client's link to it."""
    from mcpcore_transports.serve.assembling import join_in_memory

    link = await join_in_memory(peer, core, target.server, group, target.settings, wire=target.wire)
    if settings.trace is not None:
        link.trace = settings.trace.connection("client")
    return link


def http_link(
    machine: HttpClient,
    app: App,
    url: str,
    settings: "ClientSettings",
    *,
    headers: "RequestHeaders | None",
    http_client: "HttpClientLike | None",
) -> Link:
    """Make the link that carries HTTP requests; ``headers`` makes the headers of each."""
    link = _http_link(machine, app, url, settings, headers, http_client)
    if settings.trace is not None:
        from mcpcore_transports.tracing.http import HttpTrace

        link.trace = HttpTrace(settings.trace, "client")
    return link


def _http_link(
    machine: HttpClient,
    app: App,
    url: str,
    settings: "ClientSettings",
    headers: "RequestHeaders | None",
    http_client: "HttpClientLike | None",
) -> "HttpCarrier":
    if http_client is not None:
        from mcpcore_transports.http.client.adapter import AdaptedClientLink

        return AdaptedClientLink(
            machine, app, http_client, settings=settings.http_link, headers=headers
        )
    from mcpcore_transports.http.client.client import HttpClientLink

    return HttpClientLink(
        machine,
        app,
        url=url,
        settings=settings.http_link,
        ssl_context=settings.ssl_context,
        proxy=proxy_for(url, settings.proxy),
        headers=headers,
    )
