"""Conversations of a relay: the client's side, the servers, one link to a server, one call."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from msgspec import MsgspecError, Raw, Struct, field, structs

from mcpcore.engine.config import ANY_EXTENSION, CLIENT_ASKABLE, Config, HeaderParams, Negotiation
from mcpcore.engine.events import (
    EndReason,
    Event,
    FaultKind,
    Key,
    Ready,
    RequestEnded,
    RequestReceived,
)
from mcpcore.engine.peer import Peer
from mcpcore.http.principals import Principal
from mcpcore.relay.cells import Cell
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision, legacy_of
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:  # types alone: an application that has no HTTP needs neither
    from mcpcore.http.client.client import HttpClient
    from mcpcore.http.server.server import HttpServer

Downstream: TypeAlias = "Peer | HttpServer"
"""Machine of clients, server's end; an HttpServer has several sessions."""
Upstream: TypeAlias = "Peer | HttpClient"
"""Client's end of a conversation with a server."""
UNSENDABLE = (LocalProtocolError, MsgspecError, ValueError, TypeError)
"""Exceptions of calls that the engine refuses, for bodies or methods of the other side."""
STILL_ASKS = 5.0
"""Seconds after its cancellation in which a server may still ask about a call."""
_UNREACHED = frozenset({FaultKind.CONNECT, FaultKind.CONNECT_TIMEOUT})
Outcome = Raw | ErrorData
"""Result or error of a request."""
_UNANSWERED = RequestEnded(0, "", EndReason.CANCELLED, "")
"""End of a request that says nothing of its server."""
Session: TypeAlias = tuple[Downstream, str]
"""Legacy client: its machine, and the session there, which is empty where there is only one."""


class Address(str):
    """Address of callers who tell nothing else of themselves: there may be several."""

    __slots__ = ()


class ListsUnread(LocalProtocolError):
    """Refusal of a request whose server's lists, by ``methods``, are to be read before it."""

    def __init__(self, message: str, methods: Sequence[str]) -> None:
        super().__init__(message)
        self.methods = methods


class Guard(Protocol):
    """Policies for the requests to one server, run by the application."""

    def admit(self, now: float, method: str, params: Body, caller: Hashable = None) -> object:
        """Return a permit for one request of a caller, None for the relay.

        Raises LocalProtocolError if it must not be sent, ListsUnread if not yet.
        """

    def settle(self, permit: Any, event: Event, now: float, caller: Hashable = None) -> None:
        """Take the outcome of a request: a result, an error, an end, or that input is required.

        ``caller``: the client, or the replica, whose own fault a failure may be; None: it is that
        of no one alone.
        """

    @property
    def open(self) -> bool:
        """True while no requests are to be sent, but for a probe."""

    def again(self, call: "PassedCall", event: Event, now: float) -> float | None:
        """Return the seconds until a failed call is sent again, None if that is not to be."""


class ReplicaSet(Protocol):
    """Servers that are one to clients, balanced by the application."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the replicas."""

    def choose(self, now: float, without: Collection[str]) -> str:
        """Return a replica for a request or conversation that begins, but none of ``without``."""

    def begin(self, name: str) -> None:
        """Count a request to a replica, until :meth:`settle`."""

    def settle(self, name: str, event: Event, now: float, caller: Hashable) -> None:
        """Take the outcome of a request to a replica, as the guard does."""


class SignInOffer(Struct, frozen=True):
    """Place where a person signs in at a server."""

    id: str
    url: str
    message: str
    """Request to the person, in words."""


class Desk(Protocol):
    """Sign-in of the clients of a server, run by the application."""

    def signed_in(self, principal: str | None) -> bool:
        """Return True if there is a credential of a principal that its server may take."""

    def asked(self, principal: str | None) -> bool:
        """Return True while a principal is asked to sign in."""

    def question(self, principal: str) -> SignInOffer:
        """Return where a principal signs in.

        Raises LocalProtocolError if that would not help, or if too many have to.
        """


class Target(Struct, eq=False):
    """Server behind the relay.

    ``connect`` makes the client's end of a new conversation, with :meth:`UpstreamLink.config`, and
    starts it; its events are then told to the relay with the link.
    """

    name: str
    connect: Callable[["UpstreamLink"], Upstream]
    guard: Guard | None = None
    shared: bool | None = None
    """False: each session has a conversation; True: sessions of a principal that declare the same
    share one, all clients one with a modern server; None: False for a legacy server, else True."""
    personal: bool = False
    """True if the credentials at the server are of the client: principals share no conversation,
    and neither do requests of one principal with different rights."""
    desk: Desk | None = None
    """Sign-in of clients, each of which has a credential of its own there; the server is then
    personal, and the first client that has signed in tells its era.  None: nobody signs in."""
    listens: int = 500
    """Maximum listen streams of one conversation: a share of its connections, if it has several."""
    handshakes: tuple[Revision, ...] = legacy_of(REVISIONS)
    """Legacy revisions in which legacy clients of a server of both eras may be served."""
    replicas: ReplicaSet | None = None
    """Servers that are this one together; None: there is one."""
    gone: set[str] = set()
    """Replicas that could not be reached for the last request to them."""
    header_params: dict[str, HeaderParams] = {}
    """Arguments that headers mirror, by tool, as its lists tell."""
    repeatable: set[str] = set()
    """Tools that may be called a second time, as its lists tell."""
    wrapped: set[str] = set()
    """Tools of a modern server whose output is wrapped in an object for legacy clients."""
    greeting: Ready | None = None
    """Outcome of the last negotiation that succeeded; None before."""
    legacy: tuple[Revision, ...] = ()
    """Legacy revisions that a server of both eras lists, oldest first, unless it has refused the
    handshake: legacy clients speak them with it."""
    handshake: Ready | None = None
    """Outcome of the last handshake with a server of both eras in its newest legacy revision; None
    before."""
    tasks: bool = False
    """True if it has tasks, as these told."""
    links: int = 0
    """Number of conversations."""
    open_links: Counter[str] = field(default_factory=Counter)
    """Number of those in which the server has been reached, by replica."""
    away: float | None = None
    """Time at which the last conversation was lost, or no connection could be opened for a request;
    None if there was an answer since, or none was needed."""
    late: bool = False
    """True once lists have waited in vain for its era: none waits again until it is told."""
    unclear: int = 0
    """Questions that were refused, as nothing told which of several clients was asked."""
    waiting: list[tuple[Revision, Callable[[], None]]] = []
    """Work for clients of a revision that needs to know the era of the server."""
    fault: str = ""
    """End of the last conversation, or the reason why there was none, in words."""
    told_at: float = 0.0
    """Time at which it was last asked what it declares."""
    trusted_from: float = 0.0
    """Time before which an answer is no reason to negotiate again, as that was just done."""

    @property
    def places(self) -> Sequence[str]:
        """Names of its replicas; one without a name if it has none."""
        return ("",) if self.replicas is None else self.replicas.names

    def party(self, principal: str | None) -> tuple[str | None, Hashable]:
        """Return the principal, at a personal server with its rights, which tell its tokens."""
        if self.personal and isinstance(principal, Principal):
            return principal, principal.rights
        return principal, None

    @property
    def unreachable(self) -> ErrorData:
        """Error for a request to a server that has not told its era."""
        return self.error("the server cannot be reached" + (self.fault and f": {self.fault}"))

    def error(self, message: str, **data: object) -> ErrorData:
        """Return an error of the relay's own about the server; it names the server."""
        text = f"{self.name}: {message}"
        return ErrorData.make(INTERNAL_ERROR, text, {"server": self.name, **data})

    @property
    def openings(self) -> tuple[Revision, ...]:
        """Revisions of clients whose first conversations tell eras, with all that it declares."""
        return LATEST, *self.legacy[-1:]

    @property
    def known(self) -> bool:
        """True if its era is known for all clients."""
        return all(map(self.greeted, self.openings))

    @property
    def modern(self) -> bool:
        """True if the server is known to speak the modern era."""
        return self.greeting is not None and self.greeting.revision.modern

    def greeted(self, client: Revision) -> Ready | None:
        """Return the outcome that tells the era of conversations for clients of a revision."""
        return self.handshake if self.legacy and not client.modern else self.greeting

    def modern_for(self, client: Revision) -> bool:
        """Return True if clients of a revision are served in the modern era."""
        return self.modern and (client.modern or not self.legacy)

    def spoken(self, client: Revision) -> Revision:
        """Return the legacy revision to speak with a server of both eras, for others LATEST."""
        if client.modern or not self.legacy:
            return LATEST
        return client if client in self.legacy and self.handshake else self.legacy[-1]

    def offers(self, capability: str | None, client: Revision = LATEST) -> bool:
        """Return True if the server declared a capability to clients of a revision."""
        greeting = self.greeted(client)
        if greeting is None or not isinstance(greeting.capabilities, ServerCapabilities):
            return False
        return capability is None or declares(greeting.capabilities, capability)


class Audience(Struct, frozen=True):
    """Clients that may share a conversation with a server."""

    principal: str | None = None
    """Principal; "" for one that is not authenticated at a personal server, None elsewhere or for
    any."""
    session: Session | None = None
    """Session of a legacy client; None for modern clients, which share what they may."""
    capabilities: ClientCapabilities = field(default_factory=ClientCapabilities)
    revision: Revision = LATEST
    """Revision of the client; of a conversation that of :meth:`Target.spoken`."""


class Arrival(Struct, frozen=True, eq=False):
    """Request of a client, and the machine that it came to."""

    machine: Downstream
    event: RequestReceived

    @property
    def place(self) -> tuple[Downstream, Key]:
        """Place among the requests of all machines."""
        return self.machine, self.event.key

    @property
    def session(self) -> Session:
        """Session of a legacy client."""
        return self.machine, self.event.session or ""

    @property
    def client(self) -> Hashable:
        """Client as far as the transport tells: session or connection, else the request alone."""
        told = self.event.session or isinstance(self.machine, Peer)
        return self.session if told else self.place

    @property
    def caller(self) -> Hashable:
        """Principal that has made it, else the session or connection, else the address.

        None for a modern request over HTTP whose address is not known.
        """
        event, machine = self.event, self.machine
        if event.principal or event.session or isinstance(machine, Peer):
            return event.principal or self.session
        address = machine.address(event.key)
        return None if address is None else Address(address)

    @property
    def audience(self) -> Audience:
        """Audience that its client is of."""
        event = self.event
        session = None if event.revision.modern else self.session
        return Audience(event.principal, session, event.client_capabilities, event.revision)


class PassedCall(Struct, eq=False, weakref=False):
    """Request of a client on its way through a server."""

    waiting: list[Arrival]
    """Requests that get the outcome: one, or the repeated retries of a parked call, or none."""
    method: str
    arrival: Arrival
    caller: Hashable
    """Caller of the arrival."""
    cell: Cell
    link: "UpstreamLink"
    until: float
    """Time at which the last attempt ends."""
    request: RequestId = 0
    """Id at the server."""
    asked: set[tuple[Downstream, RequestId]] = set()
    """Questions to a legacy client about it."""
    round: "Parked | None" = None
    """Questions whose retry gets what comes next."""
    params: Raw = Raw(b"{}")
    """Params at the server."""
    fresh: bool = True
    """True if it may be sent once more: it has asked the client nothing."""
    attempts: Any = None
    """Record of the guard about the attempts so far."""
    tried: set[str] = set()
    """Replicas to which the next attempt is not to go, as those before were there."""
    relisted: bool = False
    """True if a list of the server was read for it, for a header or for its guard."""
    denied: bool = False
    """True if it ended as the server takes the credentials of its client no more, or not for it."""

    @property
    def can_ask(self) -> bool:
        """True if its client can be asked about it: few modern results have questions."""
        row = lookup(self.method, "client", self.arrival.event.revision)
        return self.cell is not Cell.LEGACY_SERVER or (row is not None and row.needs_input)


class Ticket(Struct, frozen=True, array_like=True):
    """Content of a sealed ``requestState``: a call that is parked, or a server's own state."""

    parked: int | None
    server: str | None = None
    state: str | None = None
    place: str = ""
    """Place of the relay that has parked the call."""
    worker: str = ""
    """Worker of a store that reaches it; "" if there is none."""


class Parked(Struct, eq=False, weakref=False):
    """Questions about a call, for which the retry of a modern client is awaited."""

    id: int
    call: PassedCall
    questions: dict[str, tuple[Key, Raw]]
    """Requests of the server that wait for an answer, by name, and the request objects for the
    client; once there are none, the next outcome of the call is awaited."""
    caller: Hashable
    """Caller of the call, for which few may wait."""
    outcome: Callable[[Arrival], None] | None = None
    """Function that answers repeated retries with that outcome; None before."""
    deadline: float | None = None


class UpstreamLink(Struct, eq=False, weakref=False):
    """Conversation with a server, for one audience."""

    target: Target
    audience: Audience
    place: tuple[Any, ...]
    """Place among the conversations of the session."""
    used: set["UpstreamLink"]
    """Conversations that were used, shared by all of a relay."""
    replica: str = ""
    """Name of the replica that it is with; empty if there is one server."""
    calls: dict[RequestId, PassedCall] = {}
    """Calls that the server has yet to answer, by id there."""
    pending: dict[RequestId, Callable[[Outcome], None]] = {}
    """Requests of the relay's own, by id, with the function that takes the outcome."""
    permits: dict[RequestId, Any] = {}
    """Permits of the guard for requests without an outcome, by id."""
    asked: dict[Key, tuple[Downstream, RequestId]] = {}
    """Questions of the server that wait for the client, by key, with the machine and id there."""
    principals: set[str | None] = set()
    """Principals whose calls it has had, two at most: from then on it is shared."""
    left: dict[Hashable, float] = {}
    """Last two clients that have given up a call, with the time of that."""
    level: str | None = None
    """Log level that was set, in the legacy era."""
    feed: Any = None
    """Subscriptions in it, in the legacy era, if there are any."""
    listens: dict[RequestId, Any] = {}
    """Requests that listen to a modern server, by id."""
    refused: bool = False
    """True if it ended by the credentials of a client or was never begun, as the driver tells
    before that event: this says nothing of the server."""
    greeted: bool = False
    """True once the server has been reached."""
    away: float | None = None
    """Time since which no merged list waits for it, as one has waited in vain; None if there was
    any answer since, or none was needed."""
    ended: bool = False
    used_at: float = 0.0
    """Time of the last answer."""
    deadline: float | None = None
    machine: "Upstream | None" = None
    """Client's end of the conversation; None before the first use."""

    @property
    def modern(self) -> bool:
        """True if it is of the modern era."""
        return self.target.modern_for(self.audience.revision)

    @property
    def is_away(self) -> bool:
        """True if the server is away, as far as this conversation tells."""
        return self.away is not None or self.target.away is not None

    @property
    def spread(self) -> bool:
        """True if each request may go to another replica, False if they all go to its own."""
        return self.modern and self.target.shared is not False

    @property
    def peer(self) -> Upstream:
        """Client's end of the conversation, for what has to be flushed."""
        self.used.add(self)
        return self.open()

    def open(self) -> Upstream:
        """Return the client's end of the conversation, which begins if it has not."""
        if self.machine is None:
            self.machine = self.target.connect(self)
        return self.machine

    def request(
        self, method: str, params: Body, *, now: float, caller: Hashable = None, **more: Any
    ) -> RequestId:
        """Send a request of a ``caller``, None for the relay, if the guard lets it."""
        send = partial(self.peer.request, method, params, force=True, **more)
        return self._guarded(send, now, method, params, caller)

    def retry(
        self, call: PassedCall, answers: Mapping[str, Raw], *, now: float, timeout: float
    ) -> RequestId:
        """Send the answers to the questions about a call, if the guard of the server lets them."""
        send = partial(self.peer.retry, call.request, answers, timeout=timeout)
        return self._guarded(send, now, call.method, call.params, call.caller)

    def _guarded(
        self, send: Callable[..., RequestId], now: float, method: str, params: Body, by: Hashable
    ) -> RequestId:
        guard = self.target.guard
        if guard is None:
            return send(now=now)
        permit = guard.admit(now, method, params, by)
        try:
            id = send(now=now)
        except UNSENDABLE:
            guard.settle(permit, _UNANSWERED, now)
            raise
        self.permits[id] = permit
        if self.target.replicas is not None:
            self.target.replicas.begin(self.replica)
        return id

    def settle(self, event: Any, now: float) -> None:
        """Tell the guard of an outcome, or that a listen stream has opened."""
        guard = self.target.guard
        if guard is not None and event.request in self.permits:
            call = self.calls.get(event.request)
            caller = None if call is None else call.caller
            if isinstance(event, RequestEnded):
                event, caller = self._end_of(event)
            if self.target.replicas is not None:
                self.target.replicas.settle(self.replica, event, now, caller)
            guard.settle(self.permits.pop(event.request), event, now, caller)

    def _end_of(self, event: RequestEnded) -> tuple[RequestEnded, Hashable]:
        """Return an end as the guard judges it, and the client or replica whose fault it may be.

        The session that has a conversation for itself may have ended it, such as by a crash; and
        a status may be about the credentials of a principal, where the server gets these.
        """
        if self.refused:
            return structs.replace(_UNANSWERED, request=event.request), None
        fault, session, principal = event.fault, self.audience.session, self.audience.principal
        own: Session | str | None = None
        if fault is None and event.reason is EndReason.CLOSED:
            own = session and (principal or session)
        elif fault is not None and fault.status is not None and self.target.personal:
            own = principal
        return event, own or self.replica or None

    def close(self, now: float) -> None:
        """Close the conversation, which says nothing of the server."""
        for request in list(self.permits):
            self.settle(structs.replace(_UNANSWERED, request=request), now)
        self.peer.close(now=now)

    @property
    def idle(self) -> bool:
        """True if nothing needs the conversation."""
        needed = self.calls or self.pending or self.asked or self.feed
        return not needed and (self.greeted or self.machine is None)

    def free(self, now: float) -> bool:
        """Return True if nothing needs it, and the server will ask about no former call."""
        return self.idle and not any(now - at < STILL_ASKS for at in self.left.values())

    def config(self, base: Config) -> Config:
        """Return the settings of the client's end: ``base`` with what the audience declared."""
        revision = self.audience.revision
        if not revision.modern:
            base = structs.replace(base, revisions=(revision,), negotiation=Negotiation.LEGACY)
        return structs.replace(
            base,
            capabilities=self.audience.capabilities,
            extension_methods=ANY_EXTENSION,
            asked_first=CLIENT_ASKABLE,
            header_params=self.target.header_params,
        )


class Delayed(Struct, eq=False):
    """Work of a relay that is due at a time."""

    due: Callable[[], object]
    deadline: float | None = None


def is_cut_off(event: RequestEnded) -> bool:
    """Return True for the end of a request by that of a connection, or as there was none.

    Over HTTP a conversation outlasts its connections; without a fault one was reset.
    """
    fault = event.fault
    return event.reason is EndReason.CLOSED if fault is None else fault.kind in _UNREACHED


def void(*_: object) -> None:
    """Take an outcome that changes nothing."""
