"""Requests in flight, both ways, and the shared state of the Peers of one endpoint.

Ids on the wire come from the other side and may be anything.  Inside, an inbound request is known
by its ``key``, an outbound one by the id that this side gave it.  Both are unique in the endpoint.
"""

import sys
from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET, Raw, Struct

from mcpcore.engine.config import Config, Role
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import Event, Key, Route
from mcpcore.engine.lifecycle import RequestState, StreamState
from mcpcore.engine.metadata import NO_META
from mcpcore.engine.profile import Profile
from mcpcore.engine.subscriptions import Interest
from mcpcore.engine.transmit import FrameKind, Outbox, Transmit
from mcpcore.spec.methods import Method
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, RequestMeta, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import Message, Reject, RequestId, encode_batch

if TYPE_CHECKING:
    from mcpcore.engine.base import PeerBase


NO_PARAMS = Raw(b"{}")
NO_SKIM = Skim()
NO_CAPABILITIES = ClientCapabilities()


class Batch:
    """Collector of the answers to one batch: one array, sent when the last answer is known."""

    __slots__ = ("_open", "_parts", "peer", "revision", "route")

    def __init__(self, peer: "PeerBase", route: Route, revision: Revision | None) -> None:
        self.peer = peer
        self.route = route
        self.revision = revision
        self._parts: list[bytes] = []
        # The batch itself counts as one until all of its messages have been read.
        self._open = 1

    def expect(self) -> None:
        """Count one more answer that is owed."""
        self._open += 1

    def settle(self, answer: bytes | None = None) -> None:
        """Add one owed answer (None: it will never come); send the array after the last one."""
        if answer is not None:
            self._parts.append(answer)
        self._open -= 1
        if self._open:
            return
        data = (encode_batch(self._parts),) if self._parts else ()
        kind = FrameKind.BATCH if self._parts else FrameKind.ACCEPTED
        self.peer.send_last(self.route, kind, data, revision=self.revision)


class Inbound(Struct, weakref=False, eq=False):
    """Inbound request: as it arrived, the findings about it, and its state.

    It gets a key, and a place in the tables, when it has climbed the ladder and stays in flight.
    """

    peer: "PeerBase"
    id: RequestId
    method: str
    params: Raw
    route: Route
    principal: str | None
    batch: Batch | None
    revision: Revision
    """Revision by which it is read: the one of the handshake (before one, the newest that has any),
    unless it names another."""
    skim: Skim
    meta: RequestMeta
    capabilities: ClientCapabilities
    """Server: capabilities that the client declared, in the handshake or with the request."""
    client_info: Implementation | None
    row: Method | None = None
    """Row of the method; None for an extension's method that the application knows."""
    key: Key = 0
    state: RequestState = RequestState.ACTIVE
    progress: float | None = None
    queued: int = 0
    """Bytes sent on its stream that have not been taken."""
    drain_wanted: bool = False
    logs_lost: int = 0
    stream: StreamState | None = None
    """State of a listen stream; None for other requests, as is ``interest``."""
    interest: Interest | None = None
    held: bool = False
    """True if the engine answers it itself, once the application admits it."""

    def forget_arrival(self) -> None:
        """Drop the params and metadata of a lasting request, which are not read again."""
        self.params, self.skim = NO_PARAMS, NO_SKIM
        self.meta, self.capabilities, self.client_info = NO_META, NO_CAPABILITIES, None


class Purpose(Enum):
    """Purposes of an outbound request."""

    APPLICATION = auto()
    PROBE = auto()
    INITIALIZE = auto()


class Outbound(Struct, kw_only=True, weakref=False, eq=False):
    """Outbound request."""

    peer: "PeerBase"
    id: RequestId
    method: str
    original: bytes
    """Params as the application gave them, without ``_meta``."""
    started: float
    timeout: float | None
    body: bytes
    """Params as they are sent; in a retry with the answers and the state."""
    meta: Mapping[str, Any] = {}
    log_level: str | None = None
    parent: Key | None = None
    route: Route = 0
    purpose: Purpose = Purpose.APPLICATION
    state: RequestState = RequestState.HELD
    want_progress: bool = False
    forced: bool = False
    """True to send it even if the other side did not declare the capability it needs."""
    row: Method | None = None
    revision: Revision | None = None
    """Revision in which it was sent; None while it is held."""
    deadline: float | None = None
    progress: float | None = None
    tries: int = 1
    """Probes so far (the engine's own); 0 in a handshake that no probe has shown to be right."""
    repeat: bool | None = None
    """True or False if the application decided on sending it twice; None: the tables decide."""
    repeats: int = 0
    """Number of times it was held to be sent again on the next connection."""
    round: int = 0
    """Input rounds so far."""
    input_state: str | None = None
    """``requestState`` of the server, between its answer and our retry."""
    stream: StreamState | None = None
    """State of a listen stream; None for other methods."""
    farewell: str | None = None
    """Reason that the server gave for ending the stream, while the result is still to come."""


def _is_from(route: Route, item: tuple[Any, ...]) -> bool:
    """Return True if an item of the inbox is a message of ``route`` and no response."""
    if len(item) < 4 or item[3] != route:
        return False
    message = item[1]
    if isinstance(message, Message):
        return message.method is not UNSET
    return isinstance(message, Reject) and not message.response


_PROFILES = 8
"""Maximum profiles kept; an endpoint has one or two Configs, unless each Peer has its own."""


class TakesIn(Protocol):
    """Target of an item of the endpoint's queue."""

    def take_in(self, *item: Any) -> None:
        """Process one item that arrived."""


class Endpoint:
    """Shared state of the Peers of one endpoint: counters, queues, in-flight tables, deadlines.

    Arrived items wait in ``inbox``, each behind the Peer (or other machine of the endpoint)
    that takes it in; :meth:`next_event` advances the state by one item at a time.
    """

    __slots__ = (
        "_profiles",
        "_serial",
        "capacity",
        "deadlines",
        "events",
        "inbound",
        "inbox",
        "last_key",
        "outbound",
        "outbox",
    )

    def __init__(self) -> None:
        self.inbox: deque[tuple[Any, ...]] = deque()
        self.events: deque[Event] = deque()
        self.outbox = Outbox()
        self.deadlines: Deadlines[Outbound] = Deadlines()
        self.inbound: dict[Key, Inbound] = {}
        self.capacity = sys.maxsize
        """Maximum inbound requests in flight of all Peers, listen streams included."""
        self.outbound: dict[RequestId, Outbound] = {}
        self.last_key: Key = 0
        """Key of the latest inbound request; keys are numbers, counted up."""
        self._serial = 0
        self._profiles: list[Profile] = []

    def profile(self, role: Role, config: Config) -> Profile:
        """Return the profile of a Config, shared by all Peers of this endpoint that have it."""
        for profile in self._profiles:
            if profile.config is config and profile.role is role:
                return profile
        profile = Profile(role, config)
        self._profiles = [*self._profiles[-_PROFILES:], profile]
        return profile

    def queue(self, target: TakesIn, *item: Any) -> None:
        """Queue an item for ``target`` behind everything that has arrived already."""
        self.inbox.append((target, *item))

    def advance(self, target: TakesIn, *item: Any) -> None:
        """Process an item at once if nothing waits before it, else queue it for ``target``."""
        if self.inbox or self.events:
            self.inbox.append((target, *item))
        else:
            target.take_in(*item)

    def discard(self, route: Route) -> None:
        """Drop the queued messages of ``route``, except responses."""
        kept = [item for item in self.inbox if not _is_from(route, item)]
        self.inbox.clear()
        self.inbox.extend(kept)

    def routes_in_use(self) -> set[Route]:
        """Return the routes of the requests in flight and of the queued items."""
        waiting = {item[3] for item in self.inbox if len(item) >= 4}
        return waiting.union(record.route for record in self.inbound.values())

    def was_issued(self, key: Key) -> bool:
        """Return True if ``key`` is or was the handle of a request."""
        return 0 < key <= self.last_key

    def new_serial(self) -> int:
        """Return a number for one outbound request, never used twice."""
        self._serial += 1
        return self._serial

    def next_event(self) -> Event | None:
        """Advance to the next event and return it; None when all input is used up."""
        events, inbox = self.events, self.inbox
        while not events:
            if not inbox:
                return None
            target, *item = inbox.popleft()
            target.take_in(*item)
        return events.popleft()

    def data_to_send(self, limit: int | None = None) -> list[Transmit]:
        """Take the frames that wait, until ``limit`` bytes are reached (but at least one)."""
        inbound, frames = self.inbound, self.outbox.take(limit)
        for frame in frames:
            if frame.subject is not None or frame.key in inbound:
                frame.peer.taken(frame)
        return frames

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout`, None if never."""
        return self.deadlines.next()

    def handle_timeout(self, now: float) -> None:
        """End the requests whose deadline has passed."""
        for request in self.deadlines.due(now):
            request.peer.expire(request, now)
