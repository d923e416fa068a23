"""What makes a server's connection, and what is known of it before its first message."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from mcpcore.engine.peer import Peer
from mcpcore.http.principals import Principal
from transports.link import App

if TYPE_CHECKING:
    from transports.pump import Connection

LinkFactory = Callable[[Peer, App], "Connection"]
"""Makes the link of one connection, yet to be run."""


class Handshake(Struct, frozen=True, kw_only=True):
    """What is known of a connection before its first message."""

    path: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """As received, names in lower case; the offers of subprotocols are not among them."""
    peer: str | None = None
    """Address of the other side, for logs."""
    revision: str | None = None
    """The revision offered as ``mcp.version.<revision>``."""
    principal: Principal | None = None
    """Who was authenticated."""

    def __repr__(self) -> str:
        """Headers are left out: there are secrets among them."""
        return (
            f"Handshake(path={self.path!r}, peer={self.peer!r}, revision={self.revision!r}, "
            f"principal={self.principal!r})"
        )
