"""Retries of parked calls that reach another worker of a gateway, passed on through the store.

A ticket names the worker that has parked its call.  A worker that cannot find the call sends the
retry there in a note (``HttpServer.post_note``).  There it waits as a retry of :class:`FarClients`,
a machine whose calls travel back as notes, to be made at the server that has the request.  As long
as a retry waits, its sender is told every :data:`BEAT` seconds.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.engine.bodies import NO_META, relayable
from mcpcore.engine.events import MAIN, Key, RequestCancelled, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.http.storing import NoteLost, NoteReceived
from mcpcore.relay.link import Arrival, Downstream
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ErrorData,
    LocalProtocolError,
    busy_code,
)
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import Body, to_json

if TYPE_CHECKING:  # the relay imports this module
    from mcpcore.http.server.server import HttpServer
    from mcpcore.relay.relay import Relay

BEAT = 5.0
"""Seconds between two notes that a retry still waits."""
SILENCE = 15.0
"""Seconds without a note after which a forwarded retry ends."""
PROGRESS_APART = 0.1
"""Minimum seconds between two notes of the progress of one retry; those between are dropped."""


class RetryNote(Struct, frozen=True, tag="retry"):
    """Retry of a client, whose request has ``key`` at the worker that sends it."""

    key: Key
    principal: str | None
    method: str
    params: Raw
    revision: str
    state: str
    answers: dict[str, Raw] | None


class CancelNote(Struct, frozen=True, tag="cancel"):
    """Cancellation of a retry by its client."""

    key: Key
    reason: str | None


class WaitingNote(Struct, frozen=True, tag="waiting"):
    """Sign that retries still wait."""

    keys: list[Key]


class AnswerNote(Struct, frozen=True, omit_defaults=True, tag="answer"):
    """Answer to a retry: a result, an error, or questions with a state."""

    key: Key
    result: Raw | UnsetType = UNSET
    error: ErrorData | None = None
    questions: dict[str, Raw] = {}
    state: str | None = None


class ProgressNote(Struct, frozen=True, tag="progress"):
    """Progress of a retry."""

    key: Key
    value: float | int
    total: float | int | None
    message: str | None


class LogNote(Struct, frozen=True, tag="log"):
    """Log message about a retry."""

    key: Key
    level: str
    data: Raw
    logger: str | None


RelayNote = RetryNote | CancelNote | WaitingNote | AnswerNote | ProgressNote | LogNote

_decode = msgspec.json.Decoder(RelayNote).decode
_encode = msgspec.json.Encoder().encode


class FarClients(Struct, frozen=True):
    """Machine of the clients of another worker, with the part of an HttpServer that calls need."""

    forwarding: "Forwarding"
    server: "HttpServer"
    sender: str
    """Worker of the clients."""

    @property
    def worker(self) -> str:
        """Worker that has the calls."""
        return self.server.worker

    def respond(self, key: Key, result: Body) -> None:
        """Answer with a result."""
        self._answer(AnswerNote(key, result=Raw(to_json(result))))

    def fail(self, key: Key, error: ErrorData) -> None:
        """Answer with an error."""
        self._answer(AnswerNote(key, error=error))

    def require_input(self, key: Key, requests: Mapping[str, Raw], state: str | None) -> None:
        """Answer that input is needed."""
        self._answer(AnswerNote(key, questions=dict(requests), state=state))

    def progress(self, key: Key, value: float, total: float | None, message: str | None) -> None:
        """Report progress."""
        if self.forwarding.may_report(self, key):
            self.post(ProgressNote(key, value, total, message))

    def log(self, key: Key, level: str, data: Raw, logger: str | None) -> bool:
        """Send a log message about a request."""
        self.post(LogNote(key, level, data, logger))
        return True

    def post(self, note: RelayNote) -> None:
        """Send a note to the worker of the clients.  Raises LocalProtocolError for a long one."""
        self.forwarding.post(self.server, self.sender, note)

    def _answer(self, note: AnswerNote) -> None:
        self.post(note)
        self.forwarding.answered(self, note.key)


class SentRetry(Struct, eq=False):
    """Retry that was sent to another worker."""

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
        """Retries of other workers that wait here, with the time of the last progress."""
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
        answers = None if event.input_responses is None else dict(event.input_responses)
        note = RetryNote(
            event.key,
            event.principal,
            event.method,
            Raw(to_json(relayable(event.params)[0])),
            event.revision.name,
            event.request_state or "",
            answers,
        )
        try:
            self.post(server, worker, note)
        except LocalProtocolError as error:
            relay.refuse(arrival, INVALID_PARAMS, f"the request cannot be passed on: {error}")
            return True
        self._sent[arrival.place] = SentRetry(arrival, worker, relay.now)
        self._keep_beating()
        return True

    def cancelled(self, machine: Downstream, event: RequestCancelled) -> None:
        """Tell the worker that has the call of a retry that its client has left."""
        sent = self._sent.pop((machine, event.key), None)
        if sent is not None:
            server = cast("HttpServer", machine)
            self.post(server, sent.worker, CancelNote(event.key, event.reason))
            self._relay.fail(sent.arrival, ErrorData(INTERNAL_ERROR, "cancelled"))  # dropped

    def post(self, server: "HttpServer", worker: str, note: RelayNote) -> None:
        """Send a note to a worker.  Raises LocalProtocolError if it is too long."""
        self._relay.at(server)
        server.post_note(worker, Raw(_encode(note)), now=self._relay.now)

    def may_report(self, clients: FarClients, key: Key) -> bool:
        """Return True if progress may be sent now."""
        now, waiting = self._relay.now, self._waiting.get(clients, {})
        if now - waiting.get(key, now) < PROGRESS_APART:
            return False
        waiting[key] = now
        return True

    def answered(self, clients: FarClients, key: Key) -> None:
        """Forget a retry of another worker."""
        waiting = self._waiting[clients]
        del waiting[key]
        if not waiting:
            del self._waiting[clients]

    # Notes

    def received(self, machine: Downstream, event: NoteReceived) -> None:
        """Take a note of another worker; what only another version knows is ignored."""
        try:
            note = _decode(event.content)
        except msgspec.MsgspecError:
            return
        _TAKEN[type(note)](self, cast("HttpServer", machine), event.sender, note)

    def lost(self, machine: Downstream, event: NoteLost) -> None:
        """End a retry that was not passed on; after the loss of an answer its client repeats it."""
        note = _decode(event.content)
        if isinstance(note, RetryNote):
            sent = self._sent.pop((machine, note.key), None)
            if sent is not None:
                code = busy_code(sent.arrival.event.revision)
                text = f"busy: the store does not pass the request on: {event.reason}; repeat it"
                self._relay.refuse(sent.arrival, code, text)

    def _retried(self, server: "HttpServer", sender: str, note: RetryNote) -> None:
        revision = BY_NAME.get(note.revision)
        clients = FarClients(self, server, sender)
        if revision is None or note.key in self._waiting.get(clients, ()):
            return
        self._waiting.setdefault(clients, {})[note.key] = -math.inf
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
        machine = cast("HttpServer", clients)  # all of it that calls need
        relay.from_client(machine, event, now=relay.now, wall=relay.wall)

    def _heard(self, server: "HttpServer", sender: str, note: WaitingNote) -> None:
        for key in note.keys:
            self._found(server, sender, key)

    def _answered(self, server: "HttpServer", sender: str, note: AnswerNote) -> None:
        sent = self._found(server, sender, note.key)
        if sent is None:
            return
        del self._sent[sent.arrival.place]
        self._relay.at(server)
        try:
            if note.error is not None:
                server.fail(note.key, note.error)
            elif note.result is not UNSET:
                server.respond(note.key, note.result)
            else:
                server.require_input(note.key, note.questions, note.state)
        except (LocalProtocolError, msgspec.MsgspecError, ValueError, TypeError) as error:
            server.fail(note.key, ErrorData.make(INTERNAL_ERROR, f"invalid result: {error}"))

    def _progressed(self, server: "HttpServer", sender: str, note: ProgressNote) -> None:
        if self._found(server, sender, note.key) is not None:
            self._relay.at(server).progress(note.key, note.value, note.total, note.message)

    def _logged(self, server: "HttpServer", sender: str, note: LogNote) -> None:
        if self._found(server, sender, note.key) is not None:
            self._relay.at(server).log(note.key, note.level, note.data, note.logger)

    def _found(self, server: "HttpServer", sender: str, key: Key) -> SentRetry | None:
        """Return the retry that a note is about, which has a sign of life."""
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
        """Tell other workers which of their retries wait, and end our own that nobody knows."""
        relay, self._beats = self._relay, False
        for clients, waiting in self._waiting.items():
            clients.post(WaitingNote(list(waiting)))
        silent = [sent for sent in self._sent.values() if relay.now - sent.heard_at >= SILENCE]
        for sent in silent:
            del self._sent[sent.arrival.place]
            text = (
                "requestState: the process of the gateway that has its call does not answer; "
                "repeat the request, or send it again without requestState"
            )
            relay.refuse(sent.arrival, INVALID_PARAMS, text)
        self._keep_beating()


_TAKEN: dict[type[RelayNote], Callable[[Forwarding, "HttpServer", str, Any], None]] = {
    RetryNote: Forwarding._retried,
    CancelNote: Forwarding._withdrawn,
    WaitingNote: Forwarding._heard,
    AnswerNote: Forwarding._answered,
    ProgressNote: Forwarding._progressed,
    LogNote: Forwarding._logged,
}
"""Handlers of notes."""
