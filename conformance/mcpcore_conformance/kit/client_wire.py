"""The kit as a server, seen from below: where clients come in, and one connection of a client.

The mirror image of :mod:`mcpcore_conformance.kit.wire`.  A host listens; everything that any of its
connections brings comes through one queue, in order of arrival, each thing with its wire.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from mcpcore_conformance.kit.heard import Headers, Heard
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding


class Asked(Struct):
    """The head of an HTTP request; the body, if it has one, follows as a ``Text``."""

    exchange: int
    method: str
    target: str
    headers: Headers
    """Names in lower case, in order, values as they came."""
    connection: int = 0
    """The number of the TCP connection that brought it, within the case."""
    at: float = 0.0


class Signal(Struct):
    """A signal has reached the process that the client takes for its server (stdio)."""

    name: str
    at: float = 0.0


class Ended(Struct):
    """The client's process is over, and everything that it had sent has been heard."""

    code: int | None
    """Exit status, negative: the signal; None: it had to be killed by the kit."""
    at: float = 0.0


class Came(Struct):
    """A client has connected; over HTTP: its first request is there."""

    at: float = 0.0


Arrival = Heard | Asked | Signal | Ended | Came


class HostWire(Protocol):
    """Connection of a client.  Over HTTP all exchanges of a case are one connection."""

    binding: Binding
    number: int
    """Within the case, from 1."""

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """Send one message to the client, framed as the binding does it.

        Over HTTP on the response of an exchange: as its body of JSON, or as an event if the
        response is a stream; elsewhere ``exchange`` says nothing.  False: it could not be sent.
        """

    async def finish(self) -> None:
        """Say that nothing more will be sent: end of output, WebSocket close 1000, end of stream.

        A process that is told so also ends.
        """

    async def cut(self, exchange: int = 0) -> None:
        """Drop an exchange, or all of the connection, without any goodbye."""


class HostSettings(Struct, kw_only=True):
    """Settings of a host, above all for connections before they are a wire of the case."""

    patience: float = 5.0
    """Seconds for a write, after which the client is not one that reads."""
    subprotocol: str | None = "mcp"
    """WebSocket: selected if it is offered, or whatever ``select_anyway`` says."""
    select_anyway: bool = False
    """WebSocket: select the subprotocol even if it was not offered."""
    upgrade_status: int = 101
    """WebSocket: any other than 101 refuses the upgrade."""
    endpoint: str | None = "/messages"
    """HTTP+SSE: what the first event says; None: nothing is said, the case does it."""
    post_status: int = 405
    """HTTP+SSE: how a POST to the stream's own address is refused."""
    refuse: int = 0
    """Number of connections (upgrades, streams, processes) that are refused before one is taken."""


class Host(Protocol):
    """Host of one binding that clients connect to; made anew for each case."""

    settings: HostSettings
    """To be changed before the client is started."""

    log: Log
    """The transcript of the case."""
    binding: Binding

    @property
    def address(self) -> str:
        """Address that the client is given as its last argument."""
        ...

    def context(self) -> Mapping[str, Any]:
        """Members of the context that say more about the address."""

    def now(self) -> float:
        """Seconds, of an origin of its own."""

    async def pause(self, seconds: float) -> None:
        """Let time pass."""

    async def hear(self, within: float) -> tuple[HostWire | None, Arrival] | None:
        """Return what comes next from any connection; None if nothing does in that time.

        What belongs to no connection, as the end of the client's process, comes without a wire.
        """

    def put(self, wire: HostWire | None, arrival: Arrival) -> None:
        """Add something to what will be heard."""

    async def drained(self, within: float) -> None:
        """Wait until no connection is open any more, or that time is over."""
