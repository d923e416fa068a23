"""Settings of a server for all its bindings, and those that the bindings share."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field, structs

from mcpcore.errors import BadTarget
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.bounds import check_kinds
from mcpcore_transports.http1.settings import HttpServerSettings, StoreLinkSettings
from mcpcore_transports.server.input_rounds import OwnSeal
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.stream.settings import SocketSettings, StdioSettings, authority
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # not needed by every server, and slow to import
    from ssl import SSLContext

    from mcpcore.http.documents import Page
    from mcpcore_transports.stores.base import Store
    from mcpcore_transports.tracing.tracing import Trace
    from mcpcore_transports.websocket.server import UpgradeRules
else:  # for signatures
    SSLContext = Store = Trace = Any

S = TypeVar("S", HttpSettings, WebSocketSettings)


class ServeSettings(Struct, frozen=True, kw_only=True):
    """Settings of a server.  Hosts and origins apply to HTTP and WebSocket alike."""

    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    """Settings for the handlers, on all bindings."""
    allowed_hosts: tuple[str, ...] | None = None
    """Host names of this server; None: loopback names, and each host that is bound."""
    allowed_origins: tuple[str, ...] | None = None
    """Origins of web pages that may send requests; None: the server's own pages."""
    http: HttpSettings = field(default_factory=HttpSettings)
    """Settings of HTTP endpoints: sessions, streams, bodies."""
    http_link: HttpServerSettings = field(default_factory=HttpServerSettings)
    """Settings of HTTP connections, and the hook that authenticates."""
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    """Settings of WebSocket."""
    stdio: StdioSettings = field(default_factory=lambda: StdioSettings(signals=False))
    """Settings of standard input and output; signals are left to ``run`` and the command."""
    socket: SocketSettings = field(default_factory=SocketSettings)
    """Settings for TCP and Unix sockets."""
    shared: bool = False
    """True to serve WebSocket at the addresses of HTTP too, at ``websocket.path``.

    The header Upgrade decides.
    """
    ssl_context: "SSLContext | None" = None
    """TLS context for all addresses; see :func:`mcpcore_transports.tls.server_tls`."""
    store: "Store | None" = None
    """Store for the sessions of HTTP and their events; None: in memory, in this process."""
    store_link: StoreLinkSettings = field(default_factory=StoreLinkSettings)
    """Settings of the exchange with the store."""
    trace: "Trace | None" = None
    """Trace that records the traffic of all bindings; the application closes it."""

    def __post_init__(self) -> None:
        check_kinds(self)
        if isinstance(self.store, str):  # a URL, which may have a password in it
            raise ValueError("store must be a Store, as open_store() makes one of a URL")

    @property
    def documents(self) -> Mapping[str, bytes]:
        """Documents that everybody may read: those of the authentication, and of ``http``."""
        return {**getattr(self.http_link.authenticate, "documents", {}), **self.http.documents}

    @property
    def pages(self) -> "Mapping[str, Page]":
        """Pages of the authentication, and of ``http``."""
        return {**getattr(self.http_link.authenticate, "pages", {}), **self.http.pages}


def guard(settings: ServeSettings, binding: S, host: str | None = None) -> S:
    """Apply the policy for Host and Origin that all bindings share to the settings of one.

    ``host`` is the host that it is bound to, if known.  Raises BadTarget for an invalid policy.
    """
    from mcpcore.http.origin import LOOPBACK_HOSTS, OriginPolicy  # for HTTP and WebSocket alone

    hosts, origins = settings.allowed_hosts, settings.allowed_origins
    if host is not None and hosts is None:
        name = authority(host.partition("%")[0])  # a zone concerns this machine alone
        if name not in (*LOOPBACK_HOSTS, "0.0.0.0", "[::]"):  # noqa: S104 - compared
            hosts = (*LOOPBACK_HOSTS, name)
    hosts = binding.allowed_hosts if hosts is None else hosts  # an empty one allows none
    origins = binding.allowed_origins if origins is None else origins
    try:
        OriginPolicy(hosts, origins)
    except ValueError as error:
        raise BadTarget(str(error)) from None
    return structs.replace(binding, allowed_hosts=hosts, allowed_origins=origins)


def websocket_rules(
    settings: ServeSettings, host: str | None = None, paths: Collection[str] = ()
) -> "UpgradeRules":
    """Make the rules for accepting WebSockets: those of HTTP, its authentication included.

    ``host`` is the host that is bound, if known, ``paths`` those of several endpoints.  Raises
    BadTarget for an invalid policy.
    """
    from mcpcore.http.documents import Documents  # late, as all below: for WebSocket alone
    from mcpcore_transports.websocket.server import UpgradeRules

    return UpgradeRules(
        guard(settings, settings.websocket, host),
        paths=paths,
        authenticate=settings.http_link.authenticate,
        authenticate_time=settings.http_link.authenticate_time,
        revisions=settings.runtime.revisions,
        documents=Documents(settings.documents, settings.http.documents_age),
        trusted_proxies=settings.http_link.trusted_proxies,
    )


def sealing(settings: RuntimeSettings) -> RuntimeSettings:
    """Return settings with one seal, so that all connections can open each other's states."""
    return structs.replace(settings, seal=settings.seal or OwnSeal())
