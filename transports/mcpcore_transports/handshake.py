"""Handshake data and the link factory of a server's connection."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from mcpcore.engine.peer import Peer
from mcpcore.http.principals import Principal
from mcpcore_transports.link import App

if TYPE_CHECKING:
    from mcpcore_transports.stream.connection import StreamConnection

LinkFactory = Callable[[Peer, App], "StreamConnection"]
"""Factory for the link of one connection; the link is run by the caller."""


class Handshake(Struct, frozen=True, kw_only=True):
    """Data about a connection that is known before its first message."""

    path: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Header lines as received, names in lower case, without those that offer subprotocols."""
    peer: str | None = None
    """Address of the peer, for logs."""
    revision: str | None = None
    """Revision offered by the subprotocol ``mcp.version.<revision>``."""
    principal: Principal | None = None
    """Authenticated principal."""

    def __repr__(self) -> str:
        """Return a text without headers, because they contain secrets."""
        return (
            f"Handshake(path={self.path!r}, peer={self.peer!r}, revision={self.revision!r}, "
            f"principal={self.principal!r})"
        )
