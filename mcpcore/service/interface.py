"""Interface between a server's declarations and what runs them: :class:`Service`.

:class:`~mcpcore.service.server.Server` implements it, and so do the adapters of servers that are
written with other SDKs (``mcpcore_transports.adapters``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Raw, Struct

from mcpcore.service.handlers import HealthCheck, Lifespan, Prepared
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

if TYPE_CHECKING:  # it comes with the first tool
    from mcpcore.service.tools import MethodEntry

Watcher = Callable[[str, Struct | None], object]
"""Callback for a notification to be sent; takes its method and its params."""


class Service(Protocol):
    """Server as its runtime sees it: who it is, what it offers, and its requests looked up."""

    info: Implementation
    instructions: str | None
    max_uri: int
    """Maximum characters of a URI that is read or subscribed to."""

    @property
    def lifespan(self) -> Lifespan | None:
        """Lifespan that is entered before the first connection, and left after the last one."""

    @property
    def mounted(self) -> "Sequence[Service]":
        """Services whose handlers it offers as well, each with a lifespan of its own, if any."""

    @property
    def health_checks(self) -> Mapping[str, HealthCheck]:
        """Health checks of the application, by name, with those of mounted servers."""

    @property
    def header_params(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """Mirrored arguments (header part to property path) by tool name."""

    @property
    def extension_methods(self) -> frozenset[str]:
        """Methods of requests of extensions that it answers."""

    @property
    def overheard(self) -> frozenset[str]:
        """Methods that the engine answers itself, but only after :meth:`prepare` for them."""

    @property
    def guards_reading(self) -> bool:
        """True if a resource or template has required scopes or roles, or is not visible to all."""

    def capabilities(self) -> ServerCapabilities:
        """Return the capabilities for clients."""

    def listener(self, method: str) -> "MethodEntry | None":
        """Return the listener to a notification of clients, if there is one."""

    def watch(self, watcher: Watcher) -> None:
        """Call ``watcher(method, params)`` at once for each notification, in whatever thread."""

    def unwatch(self, watcher: Watcher) -> None:
        """Undo :meth:`watch`."""

    def prepare(
        self,
        method: str,
        params: Raw | bytes,
        revision: Revision,
        principal: str | None = None,
        skim: Skim | None = None,
        client: ClientCapabilities | None = None,
    ) -> Prepared:
        """Look up the target of a request.  Raises McpError, and Forbidden for want of scopes."""

    def demand_reading(self, uris: Iterable[str], principal: str | None) -> None:
        """Raise Forbidden unless a principal may read all URIs."""

    def has_tool(self, name: str, principal: str | None) -> bool:
        """Return True if a tool exists for a principal."""

    def may_read(self, uri: str, principal: str | None) -> bool:
        """Return True if a principal may read a URI, or it names nothing."""
