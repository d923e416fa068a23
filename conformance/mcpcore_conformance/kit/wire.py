"""Connection to a program, as dialogues use it: the same for every binding.

The methods are coroutines.  Those of a real binding wait; those of the core on virtual time never
do, so that a whole dialogue runs in one step.
"""

from collections.abc import Mapping
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

    binding: Binding
    number: int
    """Within the case, from 1."""

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
        return 0

    async def cut(self, exchange: int = 0) -> None:
        """Drop an exchange, or all of the connection, without any goodbye."""

    async def finish(self) -> None:
        """Say that nothing more will be sent: end of input, half close, WebSocket close, DELETE."""

    async def close(self) -> None:
        """Leave as the specification asks a client to, and free everything; never raises."""


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

    binding: Binding
    target: str
    """Tested program, for reports."""
    keeps: bool = False
    """True if conversations are kept for other cases, as opening one costs much."""

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

    async def kept(self, revision: Revision, said: str, log: Log, *, wait: bool) -> "Kept | None":
        """Take a conversation that was kept; or None.

        ``said``: what was declared at its beginning; ``wait``: a while for one that another case
        has, as long as opening one would take.
        """
        return None

    def keep(self, revision: Revision, said: str, kept: "Kept") -> None:
        """Keep an open conversation for another case."""
        raise AssertionError(f"{self.target} keeps nothing")


class Refused(Exception):
    """A connection was not taken: what the server answered to the upgrade, or why it failed."""

    def __init__(
        self, reason: str, *, status: int | None = None, headers: Headers | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.headers: Headers = headers or []
