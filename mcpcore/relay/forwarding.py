"""Retries of parked calls that reach another worker of a gateway, passed on through the store.

A ticket names the worker that has parked its call.  Another worker sends the retry there in a note
(``HttpServer.post_note``), where it comes from the machine :class:`FarWorker`: what the relay
calls on this travels back in notes, and is called on the server that has the request.  As long as
a retry waits, both workers tell each other so, three times in ``RelaySettings.worker_silence``.
"""

from collections.abc import Callable, Mapping
from functools import partialmethod
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import relayable
from mcpcore.engine.events import MAIN, Key, RequestCancelled, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.http.storing import NoteLost, NoteReceived
from mcpcore.relay.link import UNSENDABLE, Arrival, Downstream
from mcpcore.relay.rewriting import encode
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ErrorData,
    LocalProtocolError,
    busy_code,
)
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.base import RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.jsontext import to_json

if TYPE_CHECKING:  # the relay imports this module
    from mcpcore.http.server.server import HttpServer
    from mcpcore.relay.relay import Relay

_BEATS = 3
"""Signs that a retry still waits, of which the last one alone has to arrive in time."""
NEWS_APART = 0.1
"""Mean seconds between two notes of the progress and log messages of one retry, its news."""
NEWS_AHEAD = 2.0
"""Seconds by which news may be ahead of that; the rest is dropped."""
_KEYS = 16
"""Maximum of the keys in one note: it is shorter than that of a retry."""
_UNHEARD = (
    "requestState: the process of the gateway that has its call does not answer; "
    "repeat the request, or send it again without requestState"
)
_GONE = "the process of the gateway that has its client does not answer"


class RetryNote(Struct, frozen=True, tag="retry"):
    """Retry of a client, whose request has ``key`` at the sender."""

    key: Key
    principal: str | None
    method: str
    params: Raw
    revision: str
    state: str | None
    answers: Mapping[str, Raw] | None
    meta: RequestMeta
    """Progress token and log level, which tell the news that the client wants."""


class CancelNote(Struct, frozen=True, tag="cancel"):
    """Cancellation of a retry by its client."""

    key: Key
    reason: str | None


class WaitingNote(Struct, frozen=True, tag="waiting"):
    """Sign that retries still wait."""

    keys: list[Key]
    sent: bool
    """True if they are retries of the sender, False if they wait at the sender."""


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


class FarWorker(Struct, frozen=True):
    """Another worker, as the machine of its clients: all of an HttpServer for a parked call."""

    forwarding: "Forwarding"
    server: "HttpServer"
    name: str

    @property
    def worker(self) -> str:
        """Name of this worker, which has the calls."""
        return self.server.worker

    def address(self, key: Key) -> None:
        """Return None: the address of a client is known to its worker alone."""

    def _call(self, call: Any, key: Key, *arguments: Any) -> bool:
        return self.forwarding.call(self, call, key, arguments)

    def require_input(self, key: Key, requests: Any, state: str | None = None) -> bool:
        """Answer a retry with questions."""
        return self._call("require_input", key, requests, state)

    def log(
        self, key: Key, level: str, data: Any, logger: str | None = None, *, meta: Any = None
    ) -> bool:
        """Log for a retry, without the ``_meta`` of the message."""
        return self._call("log", key, level, data, logger)

    def notify(self, method: str, params: Any, **more: Any) -> bool:
        """Return False: notifications of extensions stay here."""
        return False

    respond = partialmethod(_call, "respond")
    fail = partialmethod(_call, "fail")
    progress = partialmethod(_call, "progress")


class FarRetry(Struct, eq=False):
    """Retry that waits at another worker, or here for a client of another worker."""

    arrival: Arrival
    other: FarWorker
    heard_at: float
    """Time of the last note about it."""
    news_until: float = 0.0
    """Time that its news so far may take."""

    def takes(self, call: str, level: str, now: float) -> bool:
        """Return True if its client wants these news, and they are not too many."""
        meta, until = self.arrival.event.meta, max(self.news_until, now) + NEWS_APART
        wanted = meta.progress_token if call == "progress" else meta.log_level
        if wanted is None or until > now + NEWS_AHEAD:
            return False
        if call == "log" and SEVERITY[level] < SEVERITY[str(wanted)]:
            return False
        self.news_until = until
        return True


class Forwarding:
    """Exchange of notes between the relays of workers that share a store."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._sent: dict[tuple[Downstream, Key], FarRetry] = {}
        """Retries that wait at other workers, by their place here."""
        self._waiting: dict[tuple[FarWorker, Key], FarRetry] = {}
        """Retries of other workers that wait here."""
        self._beats = False

    @property
    def idle(self) -> bool:
        """True if no retry waits at another worker."""
        return not self._sent

    def forward(self, arrival: Arrival, worker: str) -> bool:
        """Send a retry to the worker that has its call; False if there is no way to it."""
        server, event, relay = arrival.machine, arrival.event, self._relay
        if isinstance(server, Peer | FarWorker) or not (worker and server.worker):
            return False
        waiting, caller = [sent.arrival.caller for sent in self._sent.values()], arrival.caller
        text = relay.parking.full(waiting, caller, "retries wait at other processes of the gateway")
        if text:
            relay.refuse(arrival, busy_code(event.revision), text)
            return True
        note = RetryNote(
            event.key,
            None if event.principal is None else str(event.principal),
            event.method,
            Raw(to_json(relayable(event.params)[0])),
            event.revision.name,
            event.request_state,
            event.input_responses,
            RequestMeta(progress_token=event.meta.progress_token, log_level=event.meta.log_level),
        )
        other = FarWorker(self, server, worker)
        if flaw := self._post(other, note):
            relay.refuse(arrival, INVALID_PARAMS, f"the request cannot be passed on: {flaw}")
            return True
        self._sent[arrival.place] = FarRetry(arrival, other, relay.now)
        self._keep_beating()
        return True

    def cancelled(self, machine: Downstream, event: RequestCancelled) -> None:
        """Tell the worker where a retry waits that its client has left."""
        sent = self._sent.pop((machine, event.key), None)
        if sent is not None:
            self._post(sent.other, CancelNote(event.key, event.reason))
            self._relay.fail(sent.arrival, ErrorData(INTERNAL_ERROR, "cancelled"))  # dropped

    def call(self, other: FarWorker, call: Any, key: Key, arguments: tuple[Any, ...]) -> bool:
        """Send a call to its worker; False for news that are unwanted, too many or too long.

        A short error goes in place of a long one; a longer answer raises LocalProtocolError.
        """
        retry, news = self._waiting.get((other, key)), call in _NEWS
        if retry is None or (news and not retry.takes(call, arguments[0], self._relay.now)):
            return False
        flaw = self._post(other, CallNote(key, call, Raw(encode(arguments))))
        if news:
            return not flaw
        if flaw:
            if call != "fail":
                raise LocalProtocolError(flaw)
            [error] = arguments
            short = ErrorData(error.code, f"{error.message[:100]} ({flaw})")
            self._post(other, CallNote(key, "fail", Raw(encode([short]))))
        del self._waiting[other, key]
        return True

    def _post(self, other: FarWorker, note: RelayNote) -> str:
        """Send a note; return the reason if it cannot be sent, "" if it can."""
        self._relay.at(other.server)
        try:
            other.server.post_note(other.name, Raw(encode(note)), now=self._relay.now)
        except LocalProtocolError as error:
            return str(error)
        return ""

    # Notes

    def received(self, machine: Downstream, event: NoteReceived) -> None:
        """Handle a note of another worker; what only another version knows is ignored."""
        try:
            note = _decode(event.content)
        except msgspec.MsgspecError:
            return
        other = FarWorker(self, cast("HttpServer", machine), event.sender)
        _HANDLERS[type(note)](self, other, note)

    def lost(self, machine: Downstream, event: NoteLost) -> None:
        """End a retry that was not passed on; after the loss of an answer its client repeats it."""
        note = _decode(event.content)
        if isinstance(note, RetryNote) and (machine, note.key) in self._sent:
            arrival = self._sent.pop((machine, note.key)).arrival
            text = f"busy: the store does not pass the request on: {event.reason}; repeat it"
            self._relay.refuse(arrival, busy_code(arrival.event.revision), text)

    def _retried(self, other: FarWorker, note: RetryNote) -> None:
        revision = BY_NAME.get(note.revision)
        if revision is None or (other, note.key) in self._waiting:
            return
        event = RequestReceived(
            key=note.key,
            id=note.key,
            method=note.method,
            params=note.params,
            meta=note.meta,
            revision=revision,
            client_info=None,
            client_capabilities=ClientCapabilities(),
            route=MAIN,
            input_responses=note.answers,
            request_state=note.state,
            principal=note.principal,
        )
        arrival = Arrival(cast("HttpServer", other), event)
        self._waiting[other, note.key] = FarRetry(arrival, other, self._relay.now)
        self._from(other, event)
        self._keep_beating()

    def _withdrawn(self, other: FarWorker, note: CancelNote) -> None:
        if self._waiting.pop((other, note.key), None) is not None:
            self._from(other, RequestCancelled(key=note.key, reason=note.reason))

    def _from(self, other: FarWorker, event: RequestReceived | RequestCancelled) -> None:
        relay = self._relay
        relay.from_client(cast("HttpServer", other), event, now=relay.now, wall=relay.wall)

    def _heard(self, other: FarWorker, note: WaitingNote) -> None:
        for key in note.keys:
            self._find(other, key, here=note.sent)

    def _called(self, other: FarWorker, note: CallNote) -> None:
        sent = self._find(other, note.key)
        if sent is None:
            return
        if note.call not in _NEWS:
            del self._sent[sent.arrival.place]
        try:
            arguments = msgspec.json.decode(note.arguments, type=_ARGUMENTS[note.call])
            getattr(self._relay.at(other.server), note.call)(note.key, *arguments)
        except UNSENDABLE as error:
            self._sent.pop(sent.arrival.place, None)
            text = f"the answer cannot be passed on: {error}"
            self._relay.refuse(sent.arrival, INTERNAL_ERROR, text)

    def _find(self, other: FarWorker, key: Key, *, here: bool = False) -> FarRetry | None:
        """Return the retry that a note is of, which is a sign of life."""
        retry = self._waiting.get((other, key)) if here else self._sent.get((other.server, key))
        if retry is None or retry.other != other:
            return None
        retry.heard_at = self._relay.now
        return retry

    # Time

    def _keep_beating(self) -> None:
        if not self._beats and (self._sent or self._waiting):
            self._beats = True
            self._relay.later(self._relay.settings.worker_silence / _BEATS, self._beat)

    def _beat(self) -> None:
        """Tell other workers which retries wait, and end those that are unheard of."""
        relay, self._beats = self._relay, False
        keys: dict[tuple[FarWorker, bool], list[Key]] = {}
        for retry in [*self._sent.values(), *self._waiting.values()]:
            place, key = retry.arrival.place, retry.arrival.event.key
            if relay.now - retry.heard_at < relay.settings.worker_silence:
                keys.setdefault((retry.other, place in self._sent), []).append(key)
            elif self._sent.pop(place, None):
                relay.refuse(retry.arrival, INVALID_PARAMS, _UNHEARD)
            else:
                self._withdrawn(retry.other, CancelNote(key, _GONE))
        for (other, sent), listed in keys.items():
            for start in range(0, len(listed), _KEYS):
                self._post(other, WaitingNote(listed[start : start + _KEYS], sent))
        self._keep_beating()


_HANDLERS: dict[type[RelayNote], Callable[[Forwarding, FarWorker, Any], None]] = {
    RetryNote: Forwarding._retried,
    CancelNote: Forwarding._withdrawn,
    WaitingNote: Forwarding._heard,
    CallNote: Forwarding._called,
}
"""Handlers of notes."""
