"""The kit as a server, seen from below: where clients come in, and one connection of a client.

The mirror image of :mod:`mcpcore_conformance.kit.wire`.  A host listens; everything that any of its
connections brings comes through one queue, in order of arrival, each thing with its wire.
"""

from collections.abc import Mapping, Sequence
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

    @property
    def binding(self) -> Binding:
        """Binding by which messages travel."""
        ...

    @property
    def number(self) -> int:
        """Within the case, from 1."""
        ...

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


class HttpHostWire(HostWire, Protocol):
    """All that a client does at one HTTP endpoint."""

    async def reply(
        self,
        exchange: int,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> bool:
        """Answer an exchange with a whole response; content-length is added."""

    async def stream(
        self, exchange: int, headers: Sequence[tuple[str, str]] = (), status: int = 200
    ) -> bool:
        """Begin a response that is an event stream."""

    async def event(
        self,
        exchange: int,
        data: bytes | None = None,
        *,
        id: str | None = None,
        name: str | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> bool:
        """Send one event on a stream."""

    async def write(self, exchange: int, data: bytes) -> bool:
        """Send bytes of the body of a response that has begun, as one chunk."""

    async def end(self, exchange: int) -> bool:
        """End a response that has begun in good order."""

    async def raw(self, exchange: int, data: bytes, *, close: bool = True) -> bool:
        """Send bytes in place of a response, as they are, and close the connection."""

    def open(self, exchange: int) -> bool:
        """Return True if the exchange can still be answered, or its response can go on."""

    def streaming(self, exchange: int) -> bool:
        """Return True if the response of the exchange is an event stream under way."""


class LinesHostWire(HostWire, Protocol):
    """A connection with newlines between messages."""

    async def write(self, data: bytes) -> bool:
        """Send bytes as they are."""


class ProcessHostWire(LinesHostWire, Protocol):
    """The kit in the place of a server process: what the client has started is a relay."""

    pid: int
    """Of the process that the client has started."""

    async def stderr(self, data: bytes) -> bool:
        """Write to the standard error of the process."""

    async def exit(self, status: int = 0) -> bool:
        """End the process with a status, negative: by that signal."""

    async def stubborn(self) -> bool:
        """From now on neither the end of input nor SIGTERM ends the process."""

    async def deaf(self, now: bool) -> bool:
        """Stop (``now``: True) or resume the process's reading of the client's messages."""

    def alive(self) -> bool:
        """Return True if the process is still there."""


class FramesHostWire(HostWire, Protocol):
    """A WebSocket."""

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> bool:
        """Send one frame as it is (RFC 6455 section 5.2)."""

    async def raw(self, data: bytes) -> bool:
        """Send bytes as they are."""


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

    @property
    def log(self) -> Log:
        """The transcript of the case."""
        ...

    @property
    def binding(self) -> Binding:
        """Binding by which messages travel."""
        ...

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
