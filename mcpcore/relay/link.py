"""Conversations of a relay: the client's side, the servers, one link to a server, one call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Raw, Struct, field, structs

from mcpcore.engine.config import ANY_EXTENSION, Config, HeaderParams
from mcpcore.engine.events import Key, Ready, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.relay.cells import CELLS, Cell
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:  # types alone: an application that has no HTTP needs neither
    from mcpcore.http.client.client import HttpClient
    from mcpcore.http.server.server import HttpServer

Downstream: TypeAlias = "Peer | HttpServer"
"""Machine of the clients; messages outside of requests are for a ``session`` of an HttpServer."""
Upstream: TypeAlias = "Peer | HttpClient"
"""Client's end of a conversation with a server."""
Outcome = Raw | ErrorData
"""Result or error of a request."""


class Target(Struct, eq=False):
    """Server behind the relay.

    ``connect`` makes the client's end of a new conversation and starts it; its events are then
    told to the relay with the link.
    """

    name: str
    connect: Callable[["UpstreamLink"], Upstream]
    header_params: dict[str, HeaderParams] = {}
    """Arguments that headers mirror, by tool, as its lists tell."""
    greeting: Ready | None = None
    """Outcome of the first negotiation that succeeded; None before."""
    waiting: list[Callable[[], None]] = []
    """Work that needs to know the era of the server."""

    @property
    def modern(self) -> bool:
        """True if the server is known to speak the modern era."""
        return self.greeting is not None and self.greeting.revision.modern

    def offers(self, capability: str | None) -> bool:
        """Return True if the server declared a capability."""
        greeting = self.greeting
        if greeting is None or not isinstance(greeting.capabilities, ServerCapabilities):
            return False
        return capability is None or declares(greeting.capabilities, capability)


class Audience(Struct, frozen=True):
    """Clients that may share a conversation with a legacy server."""

    principal: str | None = None
    session: str | None = None
    """Session of a legacy client; None for modern clients, which share what they may."""
    capabilities: ClientCapabilities = field(default_factory=ClientCapabilities)


class PassedCall(Struct, eq=False, weakref=False):
    """Request of a client on its way through a server."""

    keys: list[Key]
    """Requests that get the outcome: one, or the repeated retries of a parked call, or none."""
    method: str
    arrival: RequestReceived
    cell: Cell
    link: "UpstreamLink"
    request: RequestId = 0
    """Id at the server."""
    round: "Parked | None" = None
    """Questions whose retry gets what comes next."""


class Parked(Struct, eq=False, weakref=False):
    """Questions about a call, for which the retry of a modern client is awaited."""

    id: int
    call: PassedCall
    questions: dict[str, Key]
    """Requests of the server that wait for an answer, by name."""
    texts: dict[str, Raw]
    """Request objects of these questions, as a modern client is asked."""
    answered: bool = False
    """True once no answer is awaited any more."""
    outcome: Callable[[Key], None] | None = None
    """Function that answers with what the retry led to, once that is known."""
    deadline: float | None = None


class Round(Struct, eq=False, weakref=False):
    """Questions of a modern server that a legacy client is being asked."""

    call: PassedCall
    left: set[str]
    answers: dict[str, Raw] = {}


class Asked(Struct, weakref=False):
    """Question to a client: of a legacy server by its key, or of a round by its name."""

    link: "UpstreamLink"
    key: Key | None
    call: PassedCall | None
    round: Round | None = None
    name: str = ""


class UpstreamLink(Struct, eq=False, weakref=False):
    """Conversation with a server, for one audience if the server is of the legacy era."""

    target: Target
    audience: Audience
    calls: dict[RequestId, PassedCall] = {}
    """Calls that the server has yet to answer, by id there."""
    pending: dict[RequestId, Callable[[Outcome], None]] = {}
    """Requests of the relay's own, by id, with the function that takes the outcome."""
    asked: dict[Key, RequestId] = {}
    """Questions of the server that wait for the client, by key, with the id at the client."""
    level: str | None = None
    """Log level that was set, in the legacy era."""
    uris: dict[str, set[Any]] = {}
    """Resources subscribed to in the legacy era, with their watchers."""
    watchers: set[Any] = set()
    """Watchers of changed lists, in the legacy era."""
    listens: dict[RequestId, Any] = {}
    """Streams of changes of a modern server, by the request."""
    failures: int = 0
    """Conversations of the same audience that ended before the server was reached again."""
    greeted: bool = False
    """True once the server has been reached in this conversation."""
    ended: bool = False
    deadline: float | None = None
    _peer: "Upstream | None" = None

    @property
    def peer(self) -> Upstream:
        """Client's end of the conversation."""
        return self._peer or self.open()

    def open(self) -> Upstream:
        """Begin the conversation, if that is yet to be done."""
        if self._peer is None:
            self._peer = self.target.connect(self)
        return self._peer

    @property
    def idle(self) -> bool:
        """True if nothing needs the conversation."""
        return not (self.calls or self.pending or self.asked or self.uris or self.watchers)

    def cell(self, modern: bool) -> Cell:
        """Return the cell of a request of a client, which is modern or not."""
        return CELLS[modern, self.target.modern]

    def config(self, base: Config) -> Config:
        """Return the settings of the client's end: ``base`` with what the audience declared."""
        return structs.replace(
            base,
            capabilities=self.audience.capabilities,
            extension_methods=ANY_EXTENSION,
            header_params=self.target.header_params,
        )


def void(*_: object) -> None:
    """Take an outcome that changes nothing."""
