"""Opening and closing a client's connection: settings, machine, link, and their tasks.

Each transport is imported at its first use, so that the others cost nothing.
"""

import logging
import math
import secrets
import ssl
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from msgspec import field, structs

from mcpcore.engine.config import Config, HeaderParams, Limits, Negotiation, Role
from mcpcore.engine.events import Ready
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import BadTarget, LifespanError, LinkError, NegotiationError
from mcpcore.http import HttpClient
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.spec.revisions import REVISIONS, Revision, legacy_of, parse_revisions
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.redaction import Discreet, shown_url
from mcpcore_transports.client.cache import ResultCache, ServerCache
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.core import ClientCore
from mcpcore_transports.client.era_cache import ERAS, EraCache, place_of
from mcpcore_transports.client.errors import RaisedExceptions
from mcpcore_transports.client.middleware import ClientMiddleware
from mcpcore_transports.client.reconnect import ReconnectingLink, ReconnectingStream
from mcpcore_transports.client.tasks import TaskOptions
from mcpcore_transports.client.tools import ToolBook, Uncheckable
from mcpcore_transports.http.client.proxies import ENVIRONMENT, Proxy, proxy_for
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.background import current_loop
from mcpcore_transports.running.cancellation import first_of
from mcpcore_transports.running.task_guard import guard_tasks
from mcpcore_transports.stream.connection import StreamConnection
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

if TYPE_CHECKING:  # each is imported with the transport that needs it
    from mcpcore_transports.http.client.adapter import HttpClientLike
    from mcpcore_transports.http.client.carrier import HttpCarrier
    from mcpcore_transports.sockets.settings import SocketSettings
    from mcpcore_transports.stdio.settings import ProcessSettings
    from mcpcore_transports.tracing.tracing import Trace, TraceTo
    from mcpcore_transports.websocket.settings import WebSocketSettings

logger = logging.getLogger("mcpcore.client")


class ClientSettings(Discreet, frozen=True, kw_only=True):
    """Settings of a client; None leaves a setting to the transport's own defaults."""

    info: Implementation = field(
        default_factory=lambda: Implementation(name="mcpcore", version="0.1.0")
    )
    limits: Limits = field(default_factory=lambda: Limits(message_size=64 * 1024 * 1024))
    """Limits of messages and requests, with ``request_timeout``.

    The maximum message size is 64 MiB, more than at a server.
    """
    negotiation: Negotiation = Negotiation.AUTO
    eras: EraCache | None = None
    """Cache of the eras of servers; None is the cache shared by this process."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Members for the ``_meta`` of every request, for instance ``traceparent``."""
    visit_timeout: float = 60.0
    """Seconds to wait for the notification that the user has visited a URL (2025-11-25).

    After that the request that requires the visit is tried again anyway.
    """
    max_visits: int = 1000
    """Maximum visits under way that are remembered; the oldest are forgotten first."""
    max_changes: int = 4096
    """Maximum different changes that wait for one listener; the oldest are dropped first."""
    parting_time: float = 2.0
    """Maximum seconds for telling the server to end a subscription or a task."""
    cache: ResultCache | bool = True
    """Cache of results for as long as the server allows (modern).

    Clients with the same ResultCache share its results, as far as the cache scope permits.
    """
    max_pages: int = 1000
    """Maximum pages of one list."""
    look_up_tools: bool = True
    """True to list the tools before the structured result of an unlisted tool is checked.

    They are listed once, until the server reports that the list has changed.
    """
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

    The default is that of the environment (``HTTPS_PROXY`` and so on), which never concerns
    connections to this machine itself.
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


class ClientConnection:
    """A connection from its opening to its end, as used by ``connect``."""

    def __init__(
        self,
        target: Target,
        callbacks: Callbacks,
        settings: ClientSettings,
        revisions: Sequence[str] | None = None,
        middleware: Sequence[ClientMiddleware] = (),
        http_client: "HttpClientLike | None" = None,
        trace: "TraceTo | None" = None,
        *,
        raises: bool = False,
    ) -> None:
        self._trace = trace
        self._raised = RaisedExceptions() if raises else None
        self._recording = ExitStack()
        self._http_client = http_client
        self.target = target
        self.callbacks = callbacks
        self.settings = settings
        self._revisions = REVISIONS if revisions is None else parse_revisions(revisions)
        modern = any(revision.modern for revision in self._revisions)
        legacy = any(revision.handshake for revision in self._revisions)
        self._open_era = modern and legacy and settings.negotiation is Negotiation.AUTO
        """True if the server decides which era is spoken."""
        self._eras = ERAS if settings.eras is None else settings.eras
        self._place = place_of(target)
        self._middleware = middleware
        self._headers: dict[str, HeaderParams] = {}
        self._repeatable: set[str] = set()
        self._group: TaskGroup
        self._link: Link | None = None
        self._core: ClientCore | None = None

    def tool_book(self, core: ClientCore, revision: Revision) -> ToolBook:
        """Make the record of tools for the connection."""
        book = ToolBook(
            self._headers,
            strict=revision.mirror_headers and isinstance(self.target, HttpTarget),
            compile_schema=_schema_compiler() if self.settings.check_output else None,
            look_up=self.settings.look_up_tools,
            repeatable=self._repeatable,
        )
        core.watch(book.outdated)
        return book

    def server_cache(self, core: ClientCore, revision: Revision) -> ServerCache | None:
        """Make the result cache for the connection, None if there is none."""
        settings, target = self.settings, self.target
        if settings.cache is False:
            return None
        cache = ResultCache() if settings.cache is True else settings.cache
        headers = dict(settings.http.headers) if settings.http is not None else {}
        if isinstance(target, HttpTarget | SseTarget | WebSocketTarget):
            headers.update(self._fixed_headers(target))
        if self._http_client is not None or callable(getattr(target, "headers", None)):
            # The identity towards the server is unknown here, so no private result is shared.
            headers[""] = secrets.token_hex(16)
        kept = cache.connect(target, headers, revision)
        core.watch(kept.notified)
        return kept

    async def open(self) -> tuple[ClientCore, Ready]:
        """Start the link and negotiate.  Raises LinkError or NegotiationError."""
        if self._trace is not None:
            from mcpcore_transports.tracing.tracing import tracing

            trace = self._recording.enter_context(tracing(self._trace))
            self.settings = structs.replace(self.settings, trace=trace)
        if self.settings.trace is not None:
            self.settings.trace.begin("client", target=named(self.target))
        guard_tasks(current_loop())
        try:
            core, ready = await self._agree()
        except BaseException as error:
            self._recording.close()
            if isinstance(error, LinkError | NegotiationError):
                self._eras.forget(self._place)
            raise
        sse = isinstance(core.machine, HttpClient) and core.machine.uses_sse
        if (self._open_era or sse) and self._place is not None:
            era = Negotiation.MODERN if ready.revision.modern else Negotiation.LEGACY
            self._eras.learn(self._place, era, now=clock(), sse=sse)
        return core, ready

    async def _agree(self) -> tuple[ClientCore, Ready]:
        """Open a connection; if the probe upsets the server, another with the handshake first."""
        began = clock()
        try:
            return await self._attempt()
        except (LinkError, NegotiationError) as error:
            first, link, patience = error, self._link, math.inf
            if not isinstance(link, ReconnectingLink) or link.link.unprovoked:
                raise
            upset = link.link.peer.upset  # the server's failure on the probe
            if isinstance(self.target, StdioTarget):  # one limit covers both starts
                from mcpcore_transports.stdio.settings import ProcessSettings

                limit = (self.settings.process or ProcessSettings()).startup_timeout
                if limit is not None:
                    patience = limit - (clock() - began)
            if upset is None or patience <= 0:
                raise
        logger.warning(
            "%s %s after it was asked server/discover, as some legacy servers do: it is %s once "
            "more, with the handshake first, and remembered as one of them if it answers that",
            named(self.target),
            upset.value,
            "started" if isinstance(self.target, StdioTarget) else "connected to",
        )
        self.settings = structs.replace(self.settings, negotiation=Negotiation.LEGACY)
        try:
            return await self._attempt(patience)
        except (LinkError, NegotiationError) as error:
            text = f"{error}\n(with the handshake first; before, after server/discover: {first})"
            if str(first) == str(error):
                where = "after server/discover, and with the handshake first"
                text = f"{error}\n(so it was twice: {where})"
            error.args = (text, *error.args[1:])
            raise

    async def _attempt(self, patience: float = math.inf) -> tuple[ClientCore, Ready]:
        """Open one connection and negotiate; a failed connection is closed when this raises."""
        self._group = await anyio.create_task_group().__aenter__()
        try:
            core = await self._start()
            with anyio.move_on_after(patience):
                ready = await core.opened()
                machine, link = core.machine, self._link
                if isinstance(machine, HttpClient) and machine.uses_sse and link is not None:
                    stream = ReconnectingStream(core, machine, link, self.settings.reconnect)
                    core.reconnector = stream.reconnector
                    core.reconnector.opened(ready)
                return core, ready
            raise LinkError("no agreement within startup_timeout, which is for both starts")
        except BaseException as error:
            await self._close(error)
            raise

    async def close(self, exc: BaseException | None) -> bool | None:
        """End the connection gracefully, or at once if the caller was cancelled."""
        with self._recording:
            swallowed = await self._close(exc)
        if exc is None and self._raised is not None:
            self._raised.raise_rest()
        return swallowed

    async def _close(self, exc: BaseException | None) -> bool | None:
        cancelled = exc is not None and isinstance(exc, anyio.get_cancelled_exc_class())
        interrupted: BaseException | None = exc if cancelled else None
        failure: BaseException | None = None
        if self._core is not None:
            self._core.closing = True
        if not cancelled and self._link is not None:
            try:
                await self._link.aclose()
            except anyio.get_cancelled_exc_class() as error:
                interrupted = error
            except BaseException as error:  # such as a second Ctrl-C: end all tasks even then
                failure = error
        if self._core is not None:
            self._core.closed = self._core.closed or "closed by this side"
        self._group.cancel_scope.cancel()
        # The caller's own exception must not come out wrapped in a group, so that only a
        # cancellation, which may belong to the group's scope, is passed to it.
        kind = None if interrupted is None else type(interrupted)
        traceback = None if interrupted is None else interrupted.__traceback__
        try:
            swallowed = await self._group.__aexit__(kind, interrupted, traceback)
        except BaseExceptionGroup as group:
            if group.split(LifespanError)[1] is None:  # of a server in memory
                failure = failure or first_of(group)
            elif group.split(KeyboardInterrupt)[1] is not None:
                raise
            failure = failure or KeyboardInterrupt()  # trio raises it in any of the tasks
        if failure is not None:
            raise failure from failure.__cause__
        if interrupted is None or cancelled:
            return swallowed if cancelled else None
        if not swallowed:
            raise interrupted
        return None

    async def _start(self) -> ClientCore:
        settings, target = self.settings, self.target
        capabilities = self.callbacks.capabilities()
        if settings.tasks is not None:
            capabilities = settings.tasks.declare(capabilities)
        config = Config(
            info=settings.info,
            capabilities=capabilities,
            revisions=self._revisions,
            negotiation=settings.negotiation,
            assumed=self._eras.get(self._place, now=clock()),
            limits=settings.limits,
            header_params=self._headers,
            repeatable_tools=self._repeatable,
        )
        link: HttpCarrier | StreamConnection | ReconnectingLink
        if isinstance(target, HttpTarget | SseTarget):
            http = self._http_machine(config, target)
            core = self._make_core(http, capabilities)
            core.link = link = self._http_link(http, core, target)
        else:
            peer = Peer(Role.CLIENT, config)
            core = self._make_core(peer, capabilities)
            if isinstance(target, MemoryTarget):
                from mcpcore_transports.serve.assembling import join_in_memory

                server, rules, wire = target.server, target.settings, target.wire
                joined = await join_in_memory(peer, core, server, self._group, rules, wire=wire)
                if settings.trace is not None:
                    joined.trace = settings.trace.connection("client")
                core.link = link = joined
            else:
                link = ReconnectingLink(
                    core,
                    peer,
                    partial(self._peer_link, core, target),
                    settings.reconnect,
                    settings.reconnect.max_restarts
                    if isinstance(target, StdioTarget)
                    else settings.reconnect.attempts,
                )
                core.reconnector = link.reconnector
        self._link = link
        await self._group.start(link.run)
        return core

    def _make_core(
        self, machine: Peer | HttpClient, capabilities: ClientCapabilities
    ) -> ClientCore:
        settings = self.settings
        core = self._core = ClientCore(machine, self.callbacks, self._group, self._middleware)
        core.raised = self._raised
        core.meta.update(settings.meta)
        core.visits.patience = settings.visit_timeout
        core.visits.rounds = settings.limits.input_rounds
        core.visits.limit = settings.max_visits
        core.max_changes = settings.max_changes
        core.parting_time = settings.parting_time
        if settings.tasks is not None:
            core.tasks.options = settings.tasks
            if capabilities.tasks is not None:
                core.run_tasks(capabilities, settings.tasks.own)
        return core

    def _http_machine(self, config: Config, target: HttpTarget | SseTarget) -> HttpClient:
        """Make the machine of HTTP.  Raises BadTarget if it cannot speak an allowed revision."""
        http = self.settings.http or HttpClientSettings()
        http = structs.replace(http, headers=(*http.headers, *self._fixed_headers(target).items()))
        if isinstance(target, SseTarget):
            http = structs.replace(http, legacy_sse=SseUse.ONLY)
            if not legacy_of(config.revisions):
                raise BadTarget("HTTP+SSE needs a revision with a handshake: allow a legacy one")
        return HttpClient(
            config,
            target.url,
            settings=http,
            seed=secrets.token_bytes(16),
            assume_sse=self._eras.uses_sse(self._place, now=clock()),
        )

    def _peer_link(
        self,
        core: ClientCore,
        target: StdioTarget | WebSocketTarget | TcpTarget | UnixTarget | CustomTarget,
        peer: Peer,
    ) -> StreamConnection:
        """Make the link of one connection, yet to be run."""
        settings = self.settings
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

    def _http_link(
        self, machine: HttpClient, core: ClientCore, target: HttpTarget | SseTarget
    ) -> "HttpCarrier":
        """Make the link that carries HTTP requests."""
        settings = self.settings
        headers = None if isinstance(target.headers, Mapping) else target.headers
        link: HttpCarrier
        if self._http_client is not None:
            from mcpcore_transports.http.client.adapter import AdaptedClientLink

            link = AdaptedClientLink(
                machine, core, self._http_client, settings=settings.http_link, headers=headers
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

    def _fixed_headers(self, target: HttpTarget | SseTarget | WebSocketTarget) -> Mapping[str, str]:
        return target.headers if isinstance(target.headers, Mapping) else {}


def _schema_compiler() -> Any:
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
