"""Retries of parked calls that reach another worker of a gateway, passed on through the store.

A ticket names the worker that has parked its call.  Another worker sends the retry there in a note
(``HttpServer.post_note``), where it comes from the machine :class:`FarClients`: what the relay
calls on this travels back in notes, and is called on the server that has the request.  As long as
a retry waits, its sender is told every :data:`BEAT` seconds.
"""

from collections.abc import Callable, Mapping
from functools import partialmethod
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import NO_META, relayable
from mcpcore.engine.events import MAIN, Key, RequestCancelled, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.http.storing import NoteLost, NoteReceived
from mcpcore.relay.link import UNSENDABLE, Arrival, Downstream
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ErrorData,
    LocalProtocolError,
    busy_code,
)
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import to_json

if TYPE_CHECKING:  # the relay imports this module
    from mcpcore.http.server.server import HttpServer
    from mcpcore.relay.relay import Relay

BEAT = 5.0
"""Seconds between two notes that a retry still waits."""
SILENCE = 15.0
"""Seconds without a note after which a retry at another worker ends."""
PROGRESS_APART = 0.1
"""Minimum seconds between two notes of the progress of one retry; those between are dropped."""
_UNHEARD = (
    "requestState: the process of the gateway that has its call does not answer; "
    "repeat the request, or send it again without requestState"
)


class RetryNote(Struct, frozen=True, tag="retry"):
    """Retry of a client, whose request has ``key`` at the sender."""

    key: Key
    principal: str | None
    method: str
    params: Raw
    revision: str
    state: str | None
    answers: Mapping[str, Raw] | None


class CancelNote(Struct, frozen=True, tag="cancel"):
    """Cancellation of a retry by its client."""

    key: Key
    reason: str | None


class WaitingNote(Struct, frozen=True, tag="waiting"):
    """Sign that retries still wait."""

    keys: list[Key]


class CallNote(Struct, frozen=True, tag="call"):
    """Call that the relay has made for a retry, to be made at the server that has its request."""

    key: Key
    call: Literal["respond", "fail", "require_input", "progress", "log"]
    arguments: Raw


RelayNote = RetryNote | CancelNote | WaitingNote | CallNote

_Number = float | int
_ARGUMENTS: dict[str, Any] = {
    "respond": tuple[Raw],
    "fail": tuple[ErrorData],
    "require_input": tuple[dict[str, Raw], str | None],
    "progress": tuple[_Number, _Number | None, str | None],
    "log": tuple[str, Raw, str | None],
}
"""Types of the arguments of calls, after the key."""
_NEWS = frozenset({"progress", "log"})
"""Calls after which a retry goes on waiting."""
_decode = msgspec.json.Decoder(RelayNote).decode
_encode = msgspec.json.Encoder().encode


class FarClients(Struct, frozen=True):
    """Machine of the clients of another worker: all of an HttpServer that a parked call needs."""

    forwarding: "Forwarding"
    server: "HttpServer"
    sender: str
    """Worker of the clients."""

    @property
    def worker(self) -> str:
        """Worker that has the calls."""
        return self.server.worker

    def _call(self, call: Any, key: Key, *arguments: Any) -> bool:
        return self.forwarding.call(self, CallNote(key, call, Raw(_encode(arguments))))

    respond = partialmethod(_call, "respond")
    fail = partialmethod(_call, "fail")
    require_input = partialmethod(_call, "require_input")
    progress = partialmethod(_call, "progress")
    log = partialmethod(_call, "log")


class SentRetry(Struct, eq=False):
    """Retry that waits at another worker."""

    arrival: Arrival
    worker: str
    heard_at: float
    """Time of the last note about it."""


class Forwarding:
    """Exchange of notes between the relays of workers that share a store."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._sent: dict[tuple[Downstream, Key], SentRetry] = {}
        """Retries that wait at other workers, by their place here."""
        self._waiting: dict[FarClients, dict[Key, float]] = {}
        """Retries of other workers that wait here, with the time before which no progress goes."""
        self._beats = False

    @property
    def idle(self) -> bool:
        """True if no retry waits at another worker."""
        return not self._sent

    def forward(self, arrival: Arrival, worker: str) -> bool:
        """Send a retry to the worker that has its call; False if there is no way to it."""
        server, event, relay = arrival.machine, arrival.event, self._relay
        if isinstance(server, Peer | FarClients) or not (worker and server.worker):
            return False
        if len(self._sent) >= relay.settings.parked:
            text = f"busy: {relay.settings.parked} retries wait at other processes of the gateway"
            relay.refuse(arrival, busy_code(event.revision), text)
            return True
        note = RetryNote(
            event.key,
            event.principal,
            event.method,
            Raw(to_json(relayable(event.params)[0])),
            event.revision.name,
            event.request_state,
            event.input_responses,
        )
        try:
            self._post(server, worker, note)
        except LocalProtocolError as error:
            relay.refuse(arrival, INVALID_PARAMS, f"the request cannot be passed on: {error}")
            return True
        self._sent[arrival.place] = SentRetry(arrival, worker, relay.now)
        self._keep_beating()
        return True

    def cancelled(self, machine: Downstream, event: RequestCancelled) -> None:
        """Tell the worker where a retry waits that its client has left."""
        sent = self._sent.pop((machine, event.key), None)
        if sent is not None:
            note = CancelNote(event.key, event.reason)
            self._post(cast("HttpServer", machine), sent.worker, note)
            self._relay.fail(sent.arrival, ErrorData(INTERNAL_ERROR, "cancelled"))  # dropped

    def call(self, clients: FarClients, note: CallNote) -> bool:
        """Send a call to its worker; False for progress too soon.  Raises LocalProtocolError."""
        waiting, now = self._waiting[clients], self._relay.now
        if note.call == "progress":
            if now < waiting[note.key]:
                return False
            waiting[note.key] = now + PROGRESS_APART
        self._post(clients.server, clients.sender, note)
        if note.call not in _NEWS:
            del waiting[note.key]
            if not waiting:
                del self._waiting[clients]
        return True

    def _post(self, server: "HttpServer", worker: str, note: RelayNote) -> None:
        self._relay.at(server)
        server.post_note(worker, Raw(_encode(note)), now=self._relay.now)

    # Notes

    def received(self, machine: Downstream, event: NoteReceived) -> None:
        """Handle a note of another worker; what only another version knows is ignored."""
        try:
            note = _decode(event.content)
        except msgspec.MsgspecError:
            return
        _HANDLERS[type(note)](self, cast("HttpServer", machine), event.sender, note)

    def lost(self, machine: Downstream, event: NoteLost) -> None:
        """End a retry that was not passed on; after the loss of an answer its client repeats it."""
        note = _decode(event.content)
        if isinstance(note, RetryNote) and (machine, note.key) in self._sent:
            arrival = self._sent.pop((machine, note.key)).arrival
            text = f"busy: the store does not pass the request on: {event.reason}; repeat it"
            self._relay.refuse(arrival, busy_code(arrival.event.revision), text)

    def _retried(self, server: "HttpServer", sender: str, note: RetryNote) -> None:
        clients, revision = FarClients(self, server, sender), BY_NAME.get(note.revision)
        if revision is None or note.key in self._waiting.get(clients, ()):
            return
        self._waiting.setdefault(clients, {})[note.key] = self._relay.now
        event = RequestReceived(
            key=note.key,
            id=note.key,
            method=note.method,
            params=note.params,
            meta=NO_META,
            revision=revision,
            client_info=None,
            client_capabilities=ClientCapabilities(),
            route=MAIN,
            input_responses=note.answers,
            request_state=note.state,
            principal=note.principal,
        )
        self._from(clients, event)
        self._keep_beating()

    def _withdrawn(self, server: "HttpServer", sender: str, note: CancelNote) -> None:
        event = RequestCancelled(key=note.key, reason=note.reason)
        self._from(FarClients(self, server, sender), event)

    def _from(self, clients: FarClients, event: RequestReceived | RequestCancelled) -> None:
        relay = self._relay
        relay.from_client(cast("HttpServer", clients), event, now=relay.now, wall=relay.wall)

    def _heard(self, server: "HttpServer", sender: str, note: WaitingNote) -> None:
        for key in note.keys:
            self._find(server, sender, key)

    def _called(self, server: "HttpServer", sender: str, note: CallNote) -> None:
        sent = self._find(server, sender, note.key)
        if sent is None:
            return
        if note.call not in _NEWS:
            del self._sent[sent.arrival.place]
        try:
            arguments = msgspec.json.decode(note.arguments, type=_ARGUMENTS[note.call])
            getattr(self._relay.at(server), note.call)(note.key, *arguments)
        except UNSENDABLE as error:
            self._sent.pop(sent.arrival.place, None)
            text = f"the answer cannot be passed on: {error}"
            self._relay.refuse(sent.arrival, INTERNAL_ERROR, text)

    def _find(self, server: "HttpServer", sender: str, key: Key) -> SentRetry | None:
        """Return the retry that a note is about, which is a sign of life."""
        sent = self._sent.get((server, key))
        if sent is None or sent.worker != sender:
            return None
        sent.heard_at = self._relay.now
        return sent

    # Time

    def _keep_beating(self) -> None:
        if not self._beats and (self._sent or self._waiting):
            self._beats = True
            self._relay.later(BEAT, self._beat)

    def _beat(self) -> None:
        """Tell other workers which of their retries wait, and end our own that are unheard of."""
        relay, self._beats = self._relay, False
        for clients, waiting in self._waiting.items():
            self._post(clients.server, clients.sender, WaitingNote(list(waiting)))
        for place, sent in list(self._sent.items()):
            if relay.now - sent.heard_at >= SILENCE:
                del self._sent[place]
                relay.refuse(sent.arrival, INVALID_PARAMS, _UNHEARD)
        self._keep_beating()


_HANDLERS: dict[type[RelayNote], Callable[[Forwarding, "HttpServer", str, Any], None]] = {
    RetryNote: Forwarding._retried,
    CancelNote: Forwarding._withdrawn,
    WaitingNote: Forwarding._heard,
    CallNote: Forwarding._called,
}
"""Handlers of notes."""
