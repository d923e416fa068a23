"""How a server is offered: the settings of all bindings, and what they have in common."""

from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field, structs

from mcpcore.http.settings import HttpSettings
from transports.addresses import BadTarget, authority
from transports.http_settings import HttpServerSettings
from transports.rounds import OwnSeal
from transports.runtime import RuntimeSettings
from transports.socket_settings import SocketSettings
from transports.stdio_settings import StdioSettings
from transports.store_settings import StoreLinkSettings
from transports.websocket_settings import WebSocketSettings

if TYPE_CHECKING:
    import ssl

    from transports.stores.base import Store
    from transports.tracing import Trace
    from transports.websocket_upgrade import UpgradeRules

S = TypeVar("S", HttpSettings, WebSocketSettings)


class ServeSettings(Struct, frozen=True, kw_only=True):
    """How a server is offered. Hosts and origins concern HTTP and WebSocket alike."""

    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    allowed_hosts: tuple[str, ...] | None = None
    """Names by which we may be reached; None: loopback names, and each host that is bound."""
    allowed_origins: tuple[str, ...] | None = None
    """Origins of web pages that may call; None: the server's own pages."""
    http: HttpSettings = field(default_factory=HttpSettings)
    http_link: HttpServerSettings = field(default_factory=HttpServerSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    stdio: StdioSettings = field(default_factory=lambda: StdioSettings(signals=False))
    socket: SocketSettings = field(default_factory=SocketSettings)
    """Of TCP and Unix sockets."""
    shared: bool = False
    """Serve WebSocket at the addresses of HTTP too, at ``websocket.path`` of them: the header
    Upgrade decides."""
    ssl_context: "ssl.SSLContext | None" = None
    store: "Store | None" = None
    """Where the sessions of HTTP and their events are kept; None: in memory, in this process."""
    store_link: StoreLinkSettings = field(default_factory=StoreLinkSettings)
    trace: "Trace | None" = None
    """Where everything is recorded that goes over any binding; its owner closes it."""


def guard(settings: ServeSettings, binding: S, host: str | None = None) -> S:
    """Apply the policy for Host and Origin that all bindings share to the settings of one.

    ``host`` is what it is bound to, if we know.  Raises BadTarget for a policy that is none.
    """
    from mcpcore.http.origin import LOOPBACK_HOSTS, OriginPolicy  # for HTTP and WebSocket alone

    hosts, origins = settings.allowed_hosts, settings.allowed_origins
    try:
        OriginPolicy(hosts or binding.allowed_hosts, origins or binding.allowed_origins)
    except ValueError as error:
        raise BadTarget(str(error)) from None
    if host is not None and hosts is None:
        name = authority(host)
        if name not in (*LOOPBACK_HOSTS, "0.0.0.0", "[::]"):  # noqa: S104 - compared
            hosts = (*LOOPBACK_HOSTS, name)
    return structs.replace(
        binding,
        allowed_hosts=hosts or binding.allowed_hosts,
        allowed_origins=origins or binding.allowed_origins,
    )


def websocket_rules(settings: ServeSettings, host: str | None = None) -> "UpgradeRules":
    """Make the rules by which WebSockets are let in: those of HTTP, its authentication included.

    ``host`` is what is bound, if we know.  Raises BadTarget for a policy that is none.
    """
    from transports.websocket_upgrade import UpgradeRules

    return UpgradeRules(
        guard(settings, settings.websocket, host),
        authenticate=settings.http_link.authenticate,
        authenticate_time=settings.http_link.authenticate_time,
        revisions=settings.runtime.revisions,
    )


def sealing(settings: RuntimeSettings) -> RuntimeSettings:
    """Have the runtimes of several connections open what any of them has sealed."""
    if settings.seal is not None:
        return settings
    return structs.replace(settings, seal=OwnSeal())
