"""Connection to a program, as dialogues use it: the same for every binding.

The methods are coroutines.  Those of a real binding wait; those of the core on virtual time never
do, so that a whole dialogue runs in one step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.account import Account
from mcpcore_conformance.kit.heard import Headers, Heard
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding

Overrides = Mapping[str, str | None]
"""Headers by name in lower case that replace those of the kit; None leaves one out."""


class Wire(Protocol):
    """A connection (a process, a socket, a session over HTTP) from the kit to a server."""

    @property
    def binding(self) -> Binding:
        """Binding by which messages travel."""
        ...

    @property
    def number(self) -> int:
        """Within the case, from 1."""
        ...

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        """Send one message, framed as the binding does it, and return its exchange (HTTP) or 0.

        Over HTTP a POST; the headers that the revision demands are made from the payload.  Does
        not wait for an answer.  Raises Broken if the program does not take it in time.
        """

    async def hear(self, within: float) -> Heard | None:
        """Return what comes next, in order of arrival; None if nothing does in that time."""

    async def listen(self, last_event_id: str | None = None) -> int:
        """Open what carries messages of the server that belong to no request: HTTP GET.

        Returns its exchange; 0 where nothing needs to be opened.
        """

    async def cut(self, exchange: int = 0) -> None:
        """Drop an exchange, or all of the connection, without any goodbye."""

    async def finish(self) -> None:
        """Say that nothing more will be sent: end of input, half close, WebSocket close, DELETE."""

    async def close(self) -> None:
        """Leave as the specification asks a client to, and free everything; never raises."""


class LinesWire(Wire, Protocol):
    """A wire with newlines between messages."""

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""


class ProcessWire(LinesWire, Protocol):
    """A server that is a child process, over stdio."""

    async def rest(self, seconds: float) -> None:
        """Read nothing from now on, until nothing was written for so many seconds."""

    async def signal(self, number: int) -> None:
        """Send a signal to the process."""

    async def exited(self, within: float) -> int | None:
        """Wait for the end of the process; its status (negative: the signal), or None."""

    def stderr(self) -> bytes:
        """Return the last 64 KiB of its standard error."""

    def descendants(self) -> list[int]:
        """Return the ids of processes that it has started and that are still there."""


class Plain(Struct):
    """A response as HTTP has it."""

    status: int
    headers: Headers
    body: bytes = b""
    whole: bool = False
    """True if it came to its end."""


class Poured(Struct):
    """Responses to bytes that were poured into a connection."""

    responses: list[Plain] = []
    """In order, interim ones (1xx) included."""
    closed: bool = False
    """True if the server closed the connection."""
    garbled: bool = False
    """True if something came that is no HTTP."""


class HttpWire(Wire, Protocol):
    """A session over Streamable HTTP."""

    url: str
    authority: str
    """Host and port, as Host has them."""
    path: str
    session: str | None
    """The id that the server gave; sent with everything from then on.  May be set."""

    def headers_for(self, payload: bytes | None) -> Headers:
        """The headers that a message goes with; None: those of a request without a message."""
        ...

    async def fetch(
        self,
        method: str,
        *,
        target: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> int:
        """Send one request exactly as given (Host and framing are added); returns its exchange."""

    async def raw(self, data: bytes, *, finish: bool = False) -> int:
        """Send bytes on a new TCP (or TLS) connection, as they are; the response is heard."""

    async def visit(self, url: str) -> int:
        """GET what is at a URL, on any host, with nothing of the session; returns its exchange."""

    async def more(self, exchange: int, data: bytes) -> None:
        """Send more bytes on the connection of a ``raw`` exchange."""

    async def pour(
        self,
        *pieces: bytes,
        within: float = 2.0,
        first: float = 2.0,
        methods: Sequence[str] = (),
        wait: bool = False,
    ) -> Poured:
        """Send bytes on a connection of their own and return all that came of them.

        Ends when the server closes, or with ``within`` seconds of silence, ``first`` of them as
        long as nothing has come, for a server that is busy elsewhere.  ``methods``: of the
        requests that are meant, by default POST; ``wait``: each piece but the first is sent when
        something has come.
        """

    async def reachable(self, host: str) -> bool:
        """Return True if the server's port can be reached at another address."""


class FramesWire(Wire, Protocol):
    """A WebSocket."""

    url: str
    accepted: Headers
    """Headers of the upgrade's response."""
    subprotocol: str | None
    """The one that the server has chosen."""

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        """Send one frame as it is (RFC 6455 section 5.2), masked."""

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""

    async def rest(self, seconds: float) -> None:
        """Read nothing from now on, until nothing was written for so many seconds."""


class Kept(Struct, frozen=True):
    """An open conversation that waits for another case."""

    wire: Wire
    next_id: int
    """The first that is free."""
    welcome: dict[str, Any]
    """The result of its initialize; in the modern era nothing."""
    account: Account | None = None
    """Of what the server has said in it so far."""


class Stage(Protocol):
    """A server that is there for dialogues: where its connections come from, and its clock."""

    @property
    def binding(self) -> Binding:
        """Binding by which messages travel."""
        ...

    @property
    def target(self) -> str:
        """Tested program, for reports."""
        ...

    def now(self) -> float:
        """Seconds, of an origin of its own."""

    async def pause(self, seconds: float) -> None:
        """Let time pass."""

    async def connect(self, revision: Revision, *, log: Log, **options: Any) -> Wire:
        """Open a connection on which nothing has been said; what it says and hears is logged.

        Option ``said``: what will be declared, if another case may go on with it.
        Options of WebSockets, HTTP and SSE: ``headers``; of WebSockets ``offers`` (subprotocols),
        ``path``, and ``edit``, a function of the bytes of the opening.
        Raises Refused if the server does not take the connection.
        """

    @property
    def keeps(self) -> bool:
        """True if conversations are kept for other cases, as opening one costs much."""
        ...

    async def kept(self, revision: Revision, said: str, log: Log, *, wait: bool) -> "Kept | None":
        """Take a conversation that was kept; or None.

        ``said``: what was declared at its beginning; ``wait``: a while for one that another case
        has, as long as opening one would take.
        """

    def keep(self, revision: Revision, said: str, kept: "Kept") -> None:
        """Keep an open conversation for another case."""


class Refused(Exception):
    """A connection was not taken: what the server answered to the upgrade, or why it failed."""

    def __init__(
        self, reason: str, *, status: int | None = None, headers: Headers | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.headers: Headers = headers or []
