"""Settings of a client, and the machine and the link that they ask for.

Each transport is imported at its first use, so that the others cost nothing.
"""

import logging
import secrets
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import field, structs

from mcpcore.engine.config import Config, Limits, Negotiation
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import BadTarget
from mcpcore.http import HttpClient
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.spec.revisions import legacy_of
from mcpcore.spec.types.base import Implementation
from mcpcore.wire.redaction import Discreet, shown_url
from mcpcore_transports.client.cache import EraCache, ResultCache, Uncheckable
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy, proxy_for
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.targets import (
    CustomTarget,
    HttpTarget,
    SseTarget,
    StdioTarget,
    TcpTarget,
    UnixTarget,
    WebSocketTarget,
)

if TYPE_CHECKING:  # each is imported with the transport that needs it
    from mcpcore_transports.client.core import ClientCore
    from mcpcore_transports.http.client.adapter import HttpClientLike
    from mcpcore_transports.http.client.carrier import HttpCarrier
    from mcpcore_transports.sockets.settings import SocketSettings
    from mcpcore_transports.stdio.settings import ProcessSettings
    from mcpcore_transports.tracing.tracing import Trace
    from mcpcore_transports.websocket.settings import WebSocketSettings

logger = logging.getLogger("mcpcore.client")


class ClientSettings(Discreet, frozen=True, kw_only=True):
    """Settings of a client; None leaves a setting to the transport's own defaults."""

    info: Implementation = field(
        default_factory=lambda: Implementation(name="mcpcore", version="0.1.0")
    )
    limits: Limits = field(default_factory=lambda: Limits(message_size=64 * 1024 * 1024))
    """Limits of messages (64 MiB, more than at a server) and requests, with ``request_timeout``."""
    negotiation: Negotiation = Negotiation.AUTO
    eras: EraCache | None = None
    """Cache of the eras of servers; None is the cache shared by this process."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Members for the ``_meta`` of every request, for instance ``traceparent``."""
    visit_timeout: float = 60.0
    """Seconds to wait for the end of a visit to a URL before a request is retried (2025-11-25)."""
    max_visits: int = 1000
    """Maximum visits under way that are remembered; the oldest are forgotten first."""
    max_changes: int = 4096
    """Maximum different changes that wait for one listener; the oldest are dropped first."""
    parting_time: float = 2.0
    """Maximum seconds for telling the server to end a subscription or a task."""
    cache: ResultCache | bool = True
    """Cache of results (modern), which may be shared with other clients; False for none."""
    max_pages: int = 1000
    """Maximum pages of one list."""
    look_up_tools: bool = True
    """True to list the tools, once, before the structured result of an unlisted tool is checked."""
    check_output: bool = True
    """True to check structured results against the tool's schema; needs the extra `schema`."""
    tasks: TaskOptions | None = None
    """Options for calls that the server runs as tasks; None declares no support for tasks."""
    reconnect: ReconnectSettings = field(default_factory=ReconnectSettings)
    """Reconnection after a lost connection, on all bindings but Streamable HTTP (see ``http``)."""
    http: HttpClientSettings | None = None
    http_link: HttpClientLinkSettings | None = None
    """Limits of HTTP connections."""
    ssl_context: ssl.SSLContext | None = None
    """TLS context for https, wss and tls; see :func:`mcpcore_transports.tls.client_tls`."""
    proxy: Proxy | str | None = ENVIRONMENT
    """Proxy or its URL for HTTP and WebSocket, None for no proxy.

    The default is that of the environment, which never concerns connections to this machine itself.
    """
    process: "ProcessSettings | None" = None
    websocket: "WebSocketSettings | None" = None
    socket: "SocketSettings | None" = None
    """Settings of TCP and Unix sockets."""
    trace: "Trace | None" = None
    """Recorder of the whole traffic of the connection; its owner closes it."""

    def __shown__(self) -> Mapping[str, object]:
        proxy = self.proxy
        return {"proxy": shown_url(proxy) if isinstance(proxy, str) else proxy}


def http_machine(
    settings: ClientSettings, config: Config, target: HttpTarget | SseTarget, *, assume_sse: bool
) -> HttpClient:
    """Make the machine of HTTP.  Raises BadTarget if it cannot speak an allowed revision."""
    http = settings.http or HttpClientSettings()
    http = structs.replace(http, headers=(*http.headers, *fixed_headers(target).items()))
    if isinstance(target, SseTarget):
        http = structs.replace(http, legacy_sse=SseUse.ONLY)
        if not legacy_of(config.revisions):
            raise BadTarget("HTTP+SSE needs a revision with a handshake: allow a legacy one")
    seed = secrets.token_bytes(16)
    return HttpClient(config, target.url, settings=http, seed=seed, assume_sse=assume_sse)


def make_link(
    core: "ClientCore",
    target: StdioTarget | WebSocketTarget | TcpTarget | UnixTarget | CustomTarget,
    peer: Peer,
) -> StreamConnection:
    """Make the link of one connection, yet to be run."""
    settings = core.settings
    link: StreamConnection
    if isinstance(target, CustomTarget):
        link = target.make_link(peer, core)
    elif isinstance(target, StdioTarget):
        from mcpcore_transports.stdio.process import ProcessLink
        from mcpcore_transports.stdio.settings import ProcessSettings

        process = settings.process or ProcessSettings()
        env = {**(process.env or {}), **(target.env or {})} or None
        process = structs.replace(process, env=env, cwd=target.cwd or process.cwd)
        link = ProcessLink(peer, core, target.command, settings=process)
    elif isinstance(target, WebSocketTarget):
        from mcpcore_transports.websocket.client import websocket_client_link

        link = websocket_client_link(
            peer,
            core,
            target.url,
            settings=settings.websocket,
            headers=target.headers,
            ssl_context=settings.ssl_context,
            proxy=proxy_for(target.url, settings.proxy),
        )
    else:
        from mcpcore_transports.sockets.client import SocketClientLink

        link = SocketClientLink(
            peer, core, target, settings=settings.socket, ssl_context=settings.ssl_context
        )
    if settings.trace is not None:
        link.trace = settings.trace.connection("client")
    return link


def http_link(
    machine: HttpClient,
    core: "ClientCore",
    target: HttpTarget | SseTarget,
    http_client: "HttpClientLike | None",
) -> "HttpCarrier":
    """Make the link that carries HTTP requests."""
    settings = core.settings
    headers = None if isinstance(target.headers, Mapping) else target.headers
    link: HttpCarrier
    if http_client is not None:
        from mcpcore_transports.http.client.adapter import AdaptedClientLink

        link = AdaptedClientLink(
            machine, core, http_client, settings=settings.http_link, headers=headers
        )
    else:
        from mcpcore_transports.http.client.client import HttpClientLink

        link = HttpClientLink(
            machine,
            core,
            url=target.url,
            settings=settings.http_link,
            ssl_context=settings.ssl_context,
            proxy=proxy_for(target.url, settings.proxy),
            headers=headers,
        )
    if settings.trace is not None:
        from mcpcore_transports.tracing.tracing import HttpTrace

        link.trace = HttpTrace(settings.trace, "client")
    return link


def fixed_headers(target: HttpTarget | SseTarget | WebSocketTarget) -> Mapping[str, str]:
    """Return the headers of a target that are the same for each request."""
    return target.headers if isinstance(target.headers, Mapping) else {}


def schema_compiler() -> Any:
    """Return the compiler of output schemas, None without the extra `schema`."""
    try:
        from mcpcore_transports.schema import BadPattern, compile_schema
    except ImportError:
        return None

    def compiled(schema: Mapping[str, Any]) -> Any:
        try:
            return compile_schema(schema)
        except BadPattern as error:  # mostly valid patterns, but not matched in linear time
            raise Uncheckable(str(error)) from error

    return compiled
