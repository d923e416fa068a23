"""Reports of finished HTTP exchanges, for logs; made only on request."""

from msgspec import Struct

from mcpcore.engine.events import Event, Route
from mcpcore.wire.message import RequestId


class Report(Struct):
    """Facts noted of an exchange while it lasts."""

    method: str
    path: str
    peer: str | None
    began: float
    status: int | None = None
    sent: int = 0
    rpc_method: str | None = None
    session: str | None = None
    """Id of the session that was found, also if it has ended meanwhile."""


class ExchangeEnded(Event, frozen=True, kw_only=True):
    """End of an exchange."""

    exchange: Route
    method: str
    """HTTP method."""
    path: str
    peer: str | None
    status: int | None
    """HTTP status; None if the client left before there was one."""
    complete: bool
    """True if the response was taken to its end."""
    sent: int
    """Number of bytes of the response body."""
    began: float
    """Time at which the head came, by the clock of the machine's ``now``."""
    principal: str | None
    session: str | None
    """Session id, which lets its holder use the session: do not log it unchanged."""
    stream: int | None
    """Number, within the session, of the event stream that the exchange carried."""
    rpc_method: str | None
    request: RequestId | None
    revision: str | None
    """Revision that the client has named."""
