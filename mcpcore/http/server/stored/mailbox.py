"""Messages between workers: parts of a POST that concern another one, and broadcasts to all.

A response belongs to the worker that sent the request, whose name stands in the id; so does
progress. A cancellation belongs to the worker that runs the request. As that one is not known, all
workers get it.
"""

import hashlib
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs
from msgspec.json import Decoder

from mcpcore.engine.peer import Peer
from mcpcore.http.server.router import Router
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.stored.replica import SessionReplica
from mcpcore.http.server.stored.steps import Steps
from mcpcore.http.storing import (
    Announce,
    Announced,
    Announcements,
    Forwarded,
    Note,
    Post,
    SessionRecord,
    StoreFailure,
)
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.types.base import CancelledParams, ProgressParams
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import Body, Frame, Message

LOG = "notifications/message"
WORKER = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_NOTES = 1000
"""Maximum number of notes that wait for the store, and of announcements remembered."""
_OURS = re.compile(rf"({WORKER.pattern}\.[0-9a-f]{{8}}\.)[0-9]{{1,15}}")

_decode_announced = Decoder(Announced).decode
_decode_cancelled = Decoder(CancelledParams).decode
_decode_progress = Decoder(ProgressParams).decode


class Elsewhere(Struct, frozen=True):
    """Message for another worker (None: for all others)."""

    worker: str | None
    message: Message

    def post(self, session: str, principal: str | None) -> dict[str, Any]:
        """Return the members of the :class:`~mcpcore.http.storing.Post` that passes it on."""
        raw = Raw(msgspec.json.encode(self.message))
        name = None if principal is None else str(principal)  # without the scopes and claims
        note = Forwarded(session=session, message=raw, principal=name)
        return {"to": self.worker, "note": msgspec.json.encode(note)}


def sort_out(frame: Frame, peer: Peer, name: str) -> tuple[Frame | None, list[Elsewhere]]:
    """Divide a frame into a part for ``peer`` and messages for other workers.

    ``name`` is the prefix of the ids of this worker's own requests. A cancellation of an unknown
    request may be for both.
    """
    messages = frame if isinstance(frame, list) else [frame]
    elsewhere: list[Elsewhere] = []
    here = []
    for message in messages:
        worker, only = _concerns(message, peer, name) if isinstance(message, Message) else _HERE
        if worker is not None or not only:
            assert isinstance(message, Message)  # noqa: S101 - nothing else concerns anybody
            elsewhere.append(Elsewhere(worker, message))
        if worker is None:
            here.append(message)
    if not elsewhere:
        return frame, elsewhere
    if not here:
        return None, elsewhere
    return (here if isinstance(frame, list) else frame), elsewhere


_HERE: tuple[str | None, bool] = (None, True)
_EVERYWHERE: tuple[str | None, bool] = (None, False)


def _concerns(message: Message, peer: Peer, name: str) -> tuple[str | None, bool]:
    """Return the other worker that a message is for, or None, and True if no other one needs it."""
    if message.method is UNSET:
        return _asker(message.id, name)
    if message.id is not UNSET or message.params is UNSET:
        return _HERE
    try:
        if message.method == "notifications/progress":
            return _asker(_decode_progress(message.params).progress_token, name)
        if message.method == "notifications/cancelled":
            id = _decode_cancelled(message.params).request_id
            known = id is None or id in peer._state.in_flight_by_id
            return _HERE if known else _EVERYWHERE
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return _HERE


def _asker(id: Any, name: str) -> tuple[str | None, bool]:
    """Return the worker that has given this id, if it is another."""
    match = _OURS.fullmatch(id) if isinstance(id, str) else None
    if match is None or match[1] == name:
        return _HERE
    return match[1].partition(".")[0], True


def _topic(note: Announced) -> str:
    """Return the topic of an announcement, under which a later one replaces an earlier one.

    Each log line is a topic of its own.
    """
    if note.method == LOG:
        return note.once
    return hashlib.sha256(msgspec.json.encode(structs.replace(note, once=""))).hexdigest()


class NoteQueue:
    """Queue of notes from this worker to all others, in order; failed ones are sent again."""

    def __init__(self, steps: Steps) -> None:
        self.deadline: float | None = None
        self._steps = steps
        self._notes: deque[Note] = deque()
        """Notes that are on their way, then notes that wait for the next round."""
        self._open = 0
        self._failed: list[Note] = []
        self._heard: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notes)

    def announced(self) -> list[Announced]:
        """Return the announcements that the store is not known to have."""
        return [note for note in self._notes if isinstance(note, Announced)]

    def post(self, note: Note) -> None:
        """Send a note to all other workers.  If too many wait, drop the oldest waiting one."""
        self._notes.append(note)
        if len(self._notes) > self._open + MOST_NOTES:
            del self._notes[self._open]
        self.again()

    def again(self) -> None:
        """Begin the next round, unless one is on its way."""
        if self._open or self.deadline is not None:
            return
        for note in self._notes:
            self._open += 1
            data = msgspec.json.encode(note)
            if isinstance(note, Announced):
                topic = _topic(note)
                self._steps.ask(Announce, "", self._posted, note=data, topic=topic)
            else:
                self._steps.ask(Post, note.session, self._posted, to=None, note=data)

    def _posted(self, outcome: StoreFailure | None) -> None:
        self._open -= 1
        note = self._notes.popleft()
        if isinstance(outcome, StoreFailure):
            self._failed.append(note)
        if self._open:
            return
        if self._failed:
            self._notes.extendleft(reversed(self._failed))
            self._failed = []
            self._steps.retry(self)
        else:
            self.again()

    def is_new(self, name: str) -> bool:
        """Return True if an announcement is new here; one may come twice after a failure."""
        if name in self._heard:
            return False
        self._heard[name] = None
        if len(self._heard) > MOST_NOTES:
            self._heard.popitem(last=False)
        return True


class _Line(Struct, omit_defaults=True):
    """Params of a log message notification."""

    level: str
    data: Any
    logger: str | None = None


class _CatchUp:
    """A query to the store for the broadcasts made while no worker had a session loaded."""

    def __init__(
        self, steps: Steps, since: float, then: Callable[[Sequence[bytes] | None], bool]
    ) -> None:
        """Call ``then`` with the notes found; ``then(None)`` is True while they are wanted."""
        self.deadline: float | None = None
        self._steps = steps
        self._since = since
        self._then = then
        self.again()

    def again(self) -> None:
        """Ask the store, unless the session is no longer loaded here."""
        if self._then(None):
            self._steps.ask(Announcements, "", self._found, since=self._since)

    def _found(self, notes: Sequence[bytes] | StoreFailure) -> None:
        if isinstance(notes, StoreFailure):
            self._steps.retry(self)
        else:
            self._then(notes)


class Broadcasts:
    """Delivery of broadcasts to the clients here, and to those of all other workers.

    ``name``: prefix of the names that this worker gives to its broadcasts.
    """

    def __init__(
        self,
        router: Router,
        steps: Steps,
        mailbox: NoteQueue,
        name: str,
    ) -> None:
        self._router = router
        self._steps = steps
        self._mailbox = mailbox
        self._name = name
        self._count = 0
        self.delivering: str | None = None
        """Name of the broadcast that is being delivered; None outside of a delivery."""

    def notify(self, method: str, params: Body, meta: Mapping[str, Any] | None) -> None:
        """Broadcast a notification."""
        if method == LOG:
            raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
        self._tell_all(method, UNSET if params is None else Raw(to_json(params)), meta)

    def write_log(
        self, level: str, data: Any, logger: str | None, meta: Mapping[str, Any] | None
    ) -> bool:
        """Broadcast a log message; return True if at least one is sent here."""
        if level not in SEVERITY:  # checked here, where the caller can correct it
            raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")
        return self._tell_all(LOG, Raw(to_json(_Line(level, data, logger))), meta)

    def _tell_all(
        self, method: str, params: Raw | UnsetType, meta: Mapping[str, Any] | None
    ) -> bool:
        self._count += 1
        note = Announced(
            session="",
            method=method,
            params=params,
            meta=dict(meta or {}),
            once=f"{self._name}all{self._count}",
        )
        told = self.deliver(note)
        self._mailbox.post(note)
        return told

    def catch_up(self, replica: SessionReplica, record: SessionRecord) -> None:
        """Deliver to a session just loaded here the broadcasts made since it was last in use.

        The previous worker recorded about every ``session_touch`` seconds that the session was in
        use. A broadcast made here while the store was asked for the session may reach the store too
        late. Broadcasts that arrive before the store has answered are delivered after its notes, in
        their order.
        """
        replica.behind = deque(self._mailbox.announced(), maxlen=MOST_NOTES)
        settings = self._router.settings
        since = record.created
        if record.used is not None:
            slack = settings.session_touch + settings.store_timeout
            since = max(since, record.used - slack)

        def tell(notes: Sequence[bytes] | None) -> bool:
            known = self._router.sessions.get(replica.id) is replica
            if known and notes is not None:
                behind, replica.behind = replica.behind or (), None
                told = (*map(_decode_announced, notes), *behind)
                for note in {note.once: note for note in told}.values():
                    self.deliver(note, replica)
            return known

        _CatchUp(self._steps, since, tell)

    def deliver(self, note: Announced, replica: SessionReplica | None = None) -> bool:
        """Deliver a broadcast to all clients known here, or to one; a session receives it once."""
        if replica is None:
            for each in self._router.sessions:
                if isinstance(each, SessionReplica) and each.behind is not None:
                    each.behind.append(note)
        self._router.collect()
        self.delivering = note.once
        sessions = self._up_to_date() if replica is None else (replica,)
        meta = note.meta or None
        params = None if note.params is UNSET else note.params
        try:
            if note.method == LOG and params is not None:
                line = msgspec.json.decode(params, type=_Line)
                told = [
                    each.peer.log(None, line.level, line.data, line.logger, meta=meta)
                    for each in sessions
                ]
                return any(told)
            if replica is None:
                self._router.modern.notify(note.method, params, meta=meta)
            for each in sessions:
                each.peer.notify(note.method, params, meta=meta)
            return True
        finally:
            self._router.collect()
            self.delivering = None

    def _up_to_date(self) -> Iterable[Session]:
        """Return the sessions that have had all earlier broadcasts."""
        return [
            each
            for each in self._router.sessions
            if not isinstance(each, SessionReplica) or each.behind is None
        ]
