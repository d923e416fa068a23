"""Sessions of an HTTP server in a store, at one of the workers that share it.

Responses and progress belong to the worker that sent the request, whose name stands in the id. A
cancellation goes to all workers, as the one that runs the request is not known.
"""

import hashlib
import hmac
import re
import zlib
from base64 import urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs
from msgspec.json import Decoder

from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.outbound import check_log_level
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http import storing
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.exchange import Exchange, ExchangeState, is_handshake, taken_over
from mcpcore.http.server.router import CLOSING, LocalSessions, Router, any_stream_will_do
from mcpcore.http.server.sessions import MIN_SECRET, SPARED, Owner, Session, SessionTable, owner_of
from mcpcore.http.server.stored.replica import (
    Repeated,
    RetryQueue,
    SessionReplica,
    StoreSteps,
    Then,
    requests_in,
)
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import Announced, AnyNote, Note, SessionRecord, StoreBinding, StoreFailure
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.refusals import NO_SESSION, STORE_UNAVAILABLE
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.types.base import CancelledParams, ProgressParams
from mcpcore.wire.jsontext import Body, to_json
from mcpcore.wire.message import Frame, Message, decode

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


def sort_out(frame: Frame, peer: Peer, name: str) -> tuple[Frame | None, list[Elsewhere]]:
    """Divide a frame into a part for ``peer``, whose ids begin with ``name``, and others."""
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
            known = id is None or id in peer.parts.state.in_flight_by_id
            return _HERE if known else _EVERYWHERE
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return _HERE


def _asker(id: Any, name: str) -> tuple[str | None, bool]:
    match = _OURS.fullmatch(id) if isinstance(id, str) else None
    if match is None or match[1] == name:
        return _HERE
    return match[1].partition(".")[0], True


class NoteQueue(RetryQueue[Note]):
    """Queue of notes from this worker to all others."""

    def __init__(self, steps: StoreSteps) -> None:
        super().__init__(steps)
        self._heard: OrderedDict[str, None] = OrderedDict()

    def announced(self) -> list[Announced]:
        """Return the announcements that the store is not known to have."""
        return [note for note in self._items if isinstance(note, Announced)]

    def post(self, note: Note) -> None:
        """Send a note to all other workers.  If too many wait, drop the oldest waiting one."""
        self._items.append(note)
        if len(self._items) > self._open + MOST_NOTES:
            del self._items[self._open]
        self.again()

    def _send(self, item: Note, then: Then) -> None:
        data = msgspec.json.encode(item)
        if isinstance(item, Announced):
            topic = item.once  # of a log line, which replaces no other
            if item.method != LOG:
                plain = msgspec.json.encode(structs.replace(item, once=""))
                topic = hashlib.sha256(plain).hexdigest()
            self._steps.ask(storing.Announce, "", then, note=data, topic=topic)
        else:
            self._steps.ask(storing.Post, item.session, then, to=None, note=data)

    def is_new(self, name: str) -> bool:
        """Return True if an announcement is new here; one may come twice after a failure."""
        if name in self._heard:
            return False
        self._heard[name] = None
        if len(self._heard) > MOST_NOTES:
            self._heard.popitem(last=False)
        return True


class _Line(Struct, omit_defaults=True):
    level: str
    data: Any
    logger: str | None = None


_MAC_BYTES = 16
_ID = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{22}")


class ReplicaTable(SessionTable):
    """Replicas of one worker; ids bear a mark of the store, so that forged ones are recognized."""

    def __init__(self, secret: bytes, shared: bytes, settings: HttpSettings) -> None:
        """``secret`` is the worker's own, ``shared`` that of all workers."""
        super().__init__(secret, settings)
        self._mark = hmac.digest(shared, b"mcpcore session marks", "sha256")

    def new_id(self) -> str:
        """Return a session id of 256 unguessable bits, with its mark."""
        return self._marked(super().new_id())

    def could_be(self, id: str) -> bool:
        """Return True if a worker of the store has made this id."""
        if _ID.fullmatch(id) is None:
            return False
        return hmac.compare_digest(self._marked(id.partition(".")[0]), id)

    def replica(self, id: str | None) -> SessionReplica | None:
        """Return the replica of a session that is loaded here, else None."""
        session = self.get(id)
        return session if isinstance(session, SessionReplica) else None

    def replicas(self) -> list[SessionReplica]:
        """Return all replicas."""
        return [each for each in self if isinstance(each, SessionReplica)]

    def _marked(self, id: str) -> str:
        mac = hmac.digest(self._mark, id.encode(), "sha256")[:_MAC_BYTES]
        return f"{id}.{urlsafe_b64encode(mac).rstrip(b'=').decode('ascii')}"

    def excess(self, owner: Owner, now: float) -> tuple[Session, str] | None:
        """Return an idle replica to drop before there is one more; the store limits sessions."""
        if len(self._sessions) < self.settings.max_sessions:
            return None
        replicas = (session for session in self._in_order() if not session.over_sse)
        found = list(islice(replicas, SPARED))
        for session in found:
            if not session.busy:
                return session, "it is of no use now"
        for session in found:
            self.touch(session, now)
        return None

    def excess_of_sse(self, owner: Owner) -> tuple[Session, str] | None:
        """Return the HTTP+SSE session to end, and the reason; such sessions are in no store."""
        settings = self.settings
        all = [session for session in self._in_order() if session.over_sse]
        own = [session for session in all if session.owner == owner]
        if len(own) >= settings.sessions_per_client:
            return own[0], "its client has opened too many others"
        if len(all) >= settings.max_sessions:
            return all[0], "there are too many others"
        return None


_decode_note = msgspec.json.Decoder(AnyNote).decode

Act = Callable[[Exchange, Session, float], None]
Loaded = Callable[[StoreFailure | None], None]


class StoredSessions:
    """Home of sessions in a store; those of HTTP+SSE, or for a single request, live here."""

    def __init__(self, router: Router, secret: bytes, store: StoreBinding) -> None:
        if WORKER.fullmatch(store.worker) is None:
            raise ValueError(f"a worker cannot be called {store.worker!r}")
        if len(store.secret) < MIN_SECRET:
            raise ValueError(f"the workers' secret must have at least {MIN_SECRET} random bytes")
        settings, idle = router.settings, router.settings.session_replica_idle
        nonce = hmac.digest(secret, b"mcpcore names", "sha256").hex()[:8]
        self._name = f"{store.worker}.{nonce}."
        """Prefix of the names that this worker gives; no other worker uses it."""
        router.session_config = structs.replace(router.session_config, id_prefix=self._name)
        router.log = log = EventLog(store.secret, settings)
        router.sessions = self._replicas = ReplicaTable(
            secret,
            store.secret,
            structs.replace(settings, session_idle=idle, session_unused=idle, session_age=None),
        )
        self.router, self.store = router, store
        self._local = LocalSessions(router)
        self.names = (f"{self._name}{number}" for number in count(1))
        self.steps = StoreSteps(router.endpoint.events, log, settings, secret)
        self._notes = NoteQueue(self.steps)
        self._broadcasts = (f"{self._name}all{number}" for number in count(1))
        """Names of our broadcasts."""
        self._delivering: str | None = None
        """Name of the broadcast that is being delivered, if any."""
        self._loading: dict[str, list[Loaded]] = {}

    # Input from the store and from other workers

    def stored(self, token: int, outcome: Any) -> None:
        """Handle the outcome of a step."""
        if isinstance(outcome, storing.NoSession):
            replica = self._replicas.replica(self.steps.session_of(token))
            if replica is not None:
                self.gone(replica)
        self.steps.answer(token, outcome)

    def note(self, data: bytes) -> None:
        """Handle a note of another worker, or of the store."""
        router = self.router
        try:
            note: Note = _decode_note(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LocalProtocolError(f"this is no note: {error}") from error
        if isinstance(note, Announced):
            if self._notes.is_new(note.once):
                self._deliver(note)
            return
        if isinstance(note, storing.Said):
            event = storing.NoteReceived(sender=note.sender, content=note.content)
            router.endpoint.events.append(event)
            return
        if isinstance(note, storing.Lost):
            for each in self._replicas.replicas():
                each.touch()
            return
        replica = self._replicas.replica(note.session)
        if replica is None:
            return
        now = router.log.now
        if isinstance(note, storing.Wake):
            replica.wake(note.stream)
        elif isinstance(note, storing.Moved):
            replica.moved(note.stream)
        elif isinstance(note, storing.Changed):
            replica.update(note.record)
        elif isinstance(note, storing.HangUp):
            replica.poll_here(note.stream, note.retry)
        elif isinstance(note, storing.Ended):
            self.end(replica, note.reason, now)
        elif isinstance(note, storing.Forwarded) and note.principal == replica.principal:
            limits = router.session_config.limits
            frame = decode(bytes(note.message), limits.depth, limits.batch)
            replica.peer.receive(frame, now=now, principal=note.principal)

    # From requests

    def receive(self, record: Exchange, frame: Frame, now: float) -> None:
        """Handle the body of a legacy POST in its session, or open one."""
        if record.session_id is None or not self.router.settings.sessions:
            self._local.receive(record, frame, now)
        else:
            uses = not is_handshake(frame)
            self._with_replica(record, partial(self._converse, frame), uses=uses, opened=uses)

    def listen(self, record: Exchange, now: float) -> None:
        """Handle a GET: open or resume an event stream of its session."""
        record.read()
        self._with_replica(record, self._listen, uses=True)

    def delete(self, record: Exchange, now: float) -> None:
        """Handle a DELETE: end the session at the request of its client."""
        record.read()
        self._with_replica(record, self._delete, uses=False)

    def _with_replica(
        self, record: Exchange, act: Act, *, uses: bool, opened: bool = False
    ) -> None:
        """Call ``act`` with the session once it is loaded here; ``opened``: after its handshake."""
        id = record.session_id or ""
        replica = self._replicas.replica(id)
        if replica is None and not self._replicas.could_be(id):
            self._local.find(record)
        elif (
            replica is None
            or replica.expired
            or (opened and replica.peer.state is SessionState.OPENING)
        ):
            self.load(id, lambda failure: self._act(record, act, failure, uses=uses))
        else:
            self._act(record, act, uses=uses)

    def _act(
        self, record: Exchange, act: Act, failure: StoreFailure | None = None, *, uses: bool = True
    ) -> None:
        if failure is not None:
            record.refuse(STORE_UNAVAILABLE)
            return
        session, now = self._local.find(record), self.router.log.now
        if session is not None:
            act(record, session, now)
            if uses and isinstance(session, SessionReplica) and not session.over:
                session.use()

    def _listen(self, record: Exchange, session: Session, now: float) -> None:
        if self.router.exchanges.get(record.route) is record:
            self._local.open_stream(record, session, now)

    def _delete(self, record: Exchange, session: Session, now: float) -> None:
        def deleted(outcome: bool | StoreFailure) -> None:
            if isinstance(outcome, StoreFailure):
                record.fail(STORE_UNAVAILABLE)
                return
            reason = "ended by the client"
            if outcome:
                record.reply(204)
                self._notes.post(storing.Ended(session=session.id, reason=reason))
            else:
                record.refuse(NO_SESSION)
            self.end(session, reason, self.router.log.now)

        self.steps.ask(storing.SessionDelete, session.id, deleted)

    def _converse(self, frame: Frame, record: Exchange, session: Session, now: float) -> None:
        here, elsewhere = sort_out(frame, session.peer, self._name)
        for each in elsewhere:
            record.hold()
            raw = Raw(msgspec.json.encode(each.message))
            note = storing.Forwarded(session=session.id, message=raw, principal=session.principal)
            data = msgspec.json.encode(note)
            then = partial(_posted, record)
            self.steps.ask(storing.Post, session.id, then, to=each.worker, note=data)
        if here is None:
            record.reply(202)
            return
        requests = requests_in(here)
        take_in = partial(self._take_in, here, requests)
        then = partial(self._act, record, take_in)
        if not requests or cast(SessionReplica, session).quota.admit(requests, then):
            take_in(record, session, now)
        elif self.router.exchanges.get(record.route) is record:
            session.attach(record)

    def _take_in(
        self, frame: Frame, requests: int, record: Exchange, session: Session, now: float
    ) -> None:
        if self.router.exchanges.get(record.route) is record:
            self._local.receive(record, frame, now)
        else:
            # Its client has left meanwhile, which changes nothing.
            self._local.use_rights(session, record.principal)
            session.peer.receive(frame, now=now, route=record.route, principal=record.principal)
        if requests:
            cast(SessionReplica, session).quota.taken(requests)

    # Replicas

    def make(self, id: str, record: Exchange) -> Session:
        """Return the replica of a new session for the client that sends ``record``."""
        return SessionReplica(id, record.principal, owner_of(record), self)

    def admit(self, session: Session, now: float) -> None:
        """Register a session, after making room for it."""
        if session.over_sse and (excess := self._replicas.excess_of_sse(session.owner)) is not None:
            self.evict(*excess, now)
        self._local.admit(session, now)

    def saved(self, replica: SessionReplica) -> None:
        """Tell the other workers of a record that the store has taken."""
        if replica.base is not None and replica.base.version > 1:
            self._notes.post(storing.Changed(session=replica.id, record=replica.base))

    def gone(self, replica: SessionReplica) -> None:
        """End a session that the store does not have (any more)."""
        reason = "it has expired" if replica.expired else "it is not kept any more"
        self.end(replica, reason, self.router.log.now)

    def load(self, id: str, then: Loaded) -> None:
        """Bring the replica of a session up to date; then call ``then``, with a failure if any."""
        waiting = self._loading.get(id)
        if waiting is None:
            self._loading[id] = [then]
            self.steps.ask(storing.SessionLoad, id, partial(self._loaded, id))
        else:
            waiting.append(then)

    def _loaded(self, id: str, outcome: SessionRecord | StoreFailure | None) -> None:
        router = self.router
        replica, failure, catch_up = self._replicas.replica(id), None, None
        if router.closing and replica is None:
            failure = StoreFailure(CLOSING)
        elif isinstance(outcome, StoreFailure):
            failure = outcome
        elif outcome is None:
            if replica is not None:
                self.gone(replica)
        elif replica is not None:
            replica.update(outcome)
            replica.touched_at = router.log.now
        else:
            revision = BY_NAME.get(outcome.revision)
            if revision is not None and revision in router.session_config.revisions:
                replica = SessionReplica(id, outcome.principal, outcome.owner, self)
                replica.restore(outcome, revision)
                self.admit(replica, router.log.now)
                catch_up = partial(self._catch_up, replica, outcome)
        for then in self._loading.pop(id):
            then(failure)
        if catch_up is not None:
            catch_up()

    # From Peers

    def carry(self, frame: Transmit, session: Session, record: Exchange | None) -> None:
        """Give a frame to the stream of its request, or to an exchange without a stream."""
        if not isinstance(session, SessionReplica):
            self._local.carry(frame, session, record)
            return
        session.keep_saved(frame, record)
        if frame.ends:
            session.quota.settle()
        writer = session.writers.get(frame.route)
        if writer is None and record is not None and record.state is ExchangeState.WAITING:
            if record.answer(frame):
                return
            if record.terms.accepts_stream:
                record.open_stream()
                writer = session.writers.get(frame.route)
        if writer is not None:
            exchange = writer.exchange
            if frame.kind is FrameKind.NOTIFICATION and exchange is not None and writer.overfull:
                self.router.give_up(exchange, self.router.log.now)
            writer.add(frame)
        elif record is not None and record.push(frame):
            pass  # an event stream without ids
        elif any_stream_will_do(frame):
            self.place(frame, session)
        else:
            taken_over(frame)

    def place(self, frame: Transmit, session: Session) -> None:
        """Give a session a frame that belongs to none of its requests."""
        if not isinstance(session, SessionReplica):
            self._local.place(frame, session)
            return
        once = self._delivering
        if once is not None:
            # A broadcast may become two messages, which are the same at each worker.
            once = f"{once}.{zlib.crc32(b''.join(frame.data)):x}"
        session.place(frame, self.router.log.now, once)

    # From the application

    def notify(
        self, method: str, params: Body, session: str | None, meta: Mapping[str, Any] | None
    ) -> None:
        """Notify one session, wherever it is, or the clients of all workers."""
        if session is None:
            if method == LOG:
                raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
            self._tell_all(method, UNSET if params is None else Raw(to_json(params)), meta)
        elif self._replicas.get(session) is not None:
            self._local.notify(method, params, session, meta)
        elif self._replicas.could_be(session):

            def tell(failure: StoreFailure | None) -> None:
                replica = self._replicas.replica(session)
                if replica is not None:
                    replica.peer.notify(method, params, meta=meta)

            self.load(session, tell)
        else:
            raise LocalProtocolError("there is no such session (any more)")

    def write_log(
        self,
        level: str,
        data: Any,
        logger: str | None,
        session: str | None,
        meta: Mapping[str, Any] | None,
    ) -> bool:
        """Log to one session that is loaded here, or to all sessions at all workers."""
        if session is None:
            check_log_level(level)  # here, where the caller can correct it
            return self._tell_all(LOG, Raw(to_json(_Line(level, data, logger))), meta)
        return self._local.write_log(level, data, logger, session, meta)

    def post_note(self, worker: str, content: Raw) -> None:
        """Send a note to the application at another worker."""
        note = storing.Said(session="", sender=self.store.worker, content=content)
        data, limit = msgspec.json.encode(note), self.router.settings.max_body
        if len(data) > limit:
            raise LocalProtocolError(f"a note has at most {limit} bytes, not {len(data)}")

        def posted(outcome: StoreFailure | None) -> None:
            if isinstance(outcome, StoreFailure):
                lost = storing.NoteLost(content=content, reason=outcome.reason)
                self.router.endpoint.events.append(lost)

        self.steps.ask(storing.Post, "", posted, to=worker, note=data)

    # Broadcasts

    def _tell_all(
        self, method: str, params: Raw | UnsetType, meta: Mapping[str, Any] | None
    ) -> bool:
        note = Announced(
            session="",
            method=method,
            params=params,
            meta=dict(meta or {}),
            once=next(self._broadcasts),
        )
        told = self._deliver(note)
        self._notes.post(note)
        return told

    def _catch_up(self, replica: SessionReplica, record: SessionRecord) -> None:
        """Deliver to a session just loaded here the broadcasts made since it was last in use.

        The last worker recorded every ``session_touch`` seconds that it was. Broadcasts made before
        the store has answered are delivered after its notes, in their order.
        """
        replica.behind = deque(self._notes.announced(), maxlen=MOST_NOTES)
        settings = self.router.settings
        since = record.created
        if record.used is not None:
            slack = settings.session_touch + settings.store_timeout
            since = max(since, record.used - slack)

        def wanted() -> bool:
            return self.router.sessions.get(replica.id) is replica

        def tell(notes: Sequence[bytes]) -> None:
            if wanted():
                behind, replica.behind = replica.behind or (), None
                told = (*_readable(notes), *behind)
                for note in {note.once: note for note in told}.values():
                    self._deliver(note, replica)

        ask = partial(self.steps.ask, storing.Announcements, "", since=since)
        Repeated(self.steps, wanted, ask, tell)

    def _deliver(self, note: Announced, replica: SessionReplica | None = None) -> bool:
        """Deliver a broadcast to all clients known here, or to one; a session receives it once."""
        if replica is None:
            for each in self.router.sessions:
                if isinstance(each, SessionReplica) and each.behind is not None:
                    each.behind.append(note)
        self.router.collect()
        self._delivering = note.once
        sessions: Iterable[Session] = ()
        if replica is not None:
            sessions = (replica,)
        else:  # those that have had all earlier broadcasts
            sessions = [
                each for each in self.router.sessions if getattr(each, "behind", None) is None
            ]
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
                self.router.modern.notify(note.method, params, meta=meta)
            for each in sessions:
                each.peer.notify(note.method, params, meta=meta)
            return True
        finally:
            self.router.collect()
            self._delivering = None

    # Ends

    def end(self, session: Session, reason: str, now: float) -> None:
        """End a session with its streams and requests."""
        if isinstance(session, SessionReplica) and not session.over:
            session.close(NO_SESSION, f"the session has ended: {reason}")
        self._local.end(session, reason, now)

    def end_if_unused(self, session: Session) -> None:
        """Forget a session that is not busy, as the server closes."""
        if not session.busy:
            self.evict(session, CLOSING, self.router.log.now)

    def evict(self, session: Session, reason: str, now: float) -> None:
        """Forget a replica that is not busy; the session goes on."""
        if not isinstance(session, SessionReplica):
            self._local.evict(session, reason, now)
            return
        session.close(STORE_UNAVAILABLE)
        self._replicas.remove(session)
        session.peer.end(now=now, reason=reason)
        self.router.report(storing.SessionForgotten(session=session.id))

    def close(self) -> None:
        """End the GET streams here; the sessions go on at other workers, or after a restart."""
        for replica in self._replicas.replicas():
            for reader in list(replica.readers.values()):
                reader.finish()

    @property
    def finished(self) -> bool:
        """True if all work for sessions is done, and stored."""
        busy = any(replica.busy for replica in self._replicas.replicas())
        return not busy and not self._notes and not self.steps


def _readable(notes: Iterable[bytes]) -> Iterator[Announced]:
    """Yield the announcements that are not of a newer version, which nobody can read here."""
    for note in notes:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            yield _decode_announced(note)


def _posted(record: Exchange, outcome: StoreFailure | None) -> None:
    if isinstance(outcome, StoreFailure):
        record.fail(STORE_UNAVAILABLE)
    record.release()
