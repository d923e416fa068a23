"""What became of each HTTP exchange, for whoever keeps a log; only told where it is asked for."""

from msgspec import Struct

from mcpcore.engine.events import Event, Route
from mcpcore.wire.message import RequestId


class Report(Struct):
    """What is noted of an exchange while it lasts."""

    method: str
    path: str
    peer: str | None
    began: float
    status: int | None = None
    sent: int = 0
    rpc_method: str | None = None
    session: str | None = None
    """The id of the one that was found, also if it has ended meanwhile."""


class ExchangeEnded(Event, frozen=True, kw_only=True):
    """An exchange is over."""

    exchange: Route
    method: str
    """Of HTTP."""
    path: str
    peer: str | None
    status: int | None
    """None: the client left before there was one."""
    complete: bool
    """The response was taken to its end."""
    sent: int
    """Bytes of its body."""
    began: float
    """When its head came, by the clock whose readings the machine was given."""
    principal: str | None
    session: str | None
    """The id, which lets anybody use the session: not for logs as it is."""
    stream: int | None
    """The number, within the session, of the event stream that it carried."""
    rpc_method: str | None
    request: RequestId | None
    revision: str | None
    """The one that the client has named."""
