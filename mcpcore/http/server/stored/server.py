"""StoredHttpServer: an HttpServer whose sessions and events live in a store.

The application also carries out the steps that come out of ``next_event()``, returns their
outcomes, and passes on the notes of other workers::

    while (event := server.next_event()) is not None:
        if isinstance(event, Step):
            batch.append(event)             # later: server.stored(event.token, outcome, now=...)
    server.note(data, now=clock())          # from the mailbox of this worker

:mod:`mcpcore.http.storing` describes steps, outcomes and notes.
"""

import hmac
import zlib
from functools import partial
from itertools import count
from typing import Any, cast

from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.addresses import address_of, quota_key
from mcpcore.http.headers import RETRY_AFTER
from mcpcore.http.server.era import is_handshake
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.exchange import Exchange, Phase, taken_over
from mcpcore.http.server.router import any_stream_will_do
from mcpcore.http.server.session_entry import Act
from mcpcore.http.server.session_table import MIN_SECRET, Owner, owner_of
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.stored.broadcast import Announcing, Loaded
from mcpcore.http.server.stored.mailbox import WORKER, Mailbox, sort_out
from mcpcore.http.server.stored.quota import requests_in
from mcpcore.http.server.stored.replica import SessionReplica, Surroundings
from mcpcore.http.server.stored.replica_table import ReplicaTable
from mcpcore.http.server.stored.steps import Steps
from mcpcore.http.server.stored.stream_reader import StreamReader
from mcpcore.http.server.stored.stream_writer import UNAVAILABLE
from mcpcore.http.settings import HttpSettings
from mcpcore.http.storing import (
    Changed,
    Ended,
    NoSession,
    Post,
    SessionDelete,
    SessionLoad,
    SessionRecord,
    StoreBinding,
    StoreFailure,
)
from mcpcore.spec.errors import LEGACY_BUSY
from mcpcore.spec.revisions import BY_NAME
from mcpcore.wire.message import Frame

_RETRY = ((RETRY_AFTER, b"1"),)


class StoredHttpServer(Announcing):
    """Server side of one HTTP endpoint, as one of the workers that share a store.

    ``secret``: at least 32 fresh random bytes of this worker's own, never used again; ``store``
    names the worker and holds the common facts of all.  ``config.id_prefix`` is not used: ids of
    our requests name the worker.  Raises ValueError as HttpServer, and for an invalid binding.
    """

    def __init__(
        self,
        config: Config,
        *,
        secret: bytes,
        store: StoreBinding,
        settings: HttpSettings | None = None,
    ) -> None:
        if WORKER.fullmatch(store.worker) is None:
            raise ValueError(f"a worker cannot be called {store.worker!r}")
        if len(store.secret) < MIN_SECRET:
            raise ValueError(f"the workers' secret must have at least {MIN_SECRET} random bytes")
        super().__init__(config, secret=secret, settings=settings)
        settings, idle = self.settings, self.settings.session_view_idle
        nonce = hmac.digest(secret, b"mcpcore names", "sha256").hex()[:8]
        self._name = f"{store.worker}.{nonce}."
        self._session_config = structs.replace(self._session_config, id_prefix=self._name)
        self._log = EventLog(store.secret, settings)
        self._steps = Steps(self._endpoint.events, self._log, settings, secret)
        self._sessions = self._replicas = ReplicaTable(
            secret,
            store.secret,
            structs.replace(settings, session_idle=idle, session_unused=idle, session_age=None),
        )
        self._around = Surroundings(
            steps=self._steps,
            names=(f"{self._name}{number}" for number in count(1)),
            store=store,
            watch=lambda exchange: self._watch(exchange, self._log.now),
            saved=self._saved,
            gone=self._gone,
        )
        self._mailbox = Mailbox(self._steps)
        self._loading: dict[str, list[Loaded]] = {}
        """Callbacks that wait for a session from the store, by session id."""
        self._announcements = 0
        self._announcing: str | None = None
        """Name of the broadcast that is being delivered; None outside of a delivery."""

    # Input from the store and from other workers

    def stored(self, token: int, outcome: Any, *, now: float) -> None:
        """Handle the outcome of a step; outcomes may come in any order."""
        self._log.now = now
        if isinstance(outcome, NoSession):
            replica = self._replica(self._steps.session_of(token))
            if replica is not None:
                self._gone(replica)
        self._steps.answer(token, outcome)

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never.

        The origin is that of ``now``.
        """
        dues = (super().deadline(), self._steps.deadline())
        return min((due for due in dues if due is not None), default=None)

    @property
    def timed(self) -> bool:
        """True always; see :attr:`HttpServer.timed`."""
        return True

    def handle_timeout(self, now: float) -> None:
        """Handle what is due at ``now``."""
        super().handle_timeout(now)
        self._steps.handle_timeout(now)

    def close(self, *, now: float) -> None:
        """Close gracefully here; the sessions go on at other workers, or after a restart."""
        self._log.now = now
        if not self._closing:
            for replica in self._all_replicas():
                replica.shut()
        super().close(now=now)

    @property
    def finished(self) -> bool:
        """True after :meth:`close`, once everything was answered, written and stored."""
        busy = any(replica.busy for replica in self._all_replicas())
        return super().finished and not busy and not self._mailbox and not self._steps

    # Sessions

    def _make_session(self, id: str, record: Exchange, *, temporary: bool) -> Session:
        if temporary:
            return super()._make_session(id, record, temporary=temporary)
        owner = owner_of(record.principal, quota_key(address_of(record.peer)))
        return self._make_replica(id, record.principal, owner)

    def _make_replica(self, id: str, principal: str | None, owner: Owner) -> SessionReplica:
        return SessionReplica(
            id,
            Peer(Role.SERVER, self._session_config, endpoint=self._endpoint, session=id),
            principal,
            self._around,
            owner=owner,
        )

    def _admit(self, session: Session, now: float) -> None:
        if (
            session.over_sse
            and (excess := self._replicas.excess_of_pipes(session.owner)) is not None
        ):
            self._evict(*excess, now)
        super()._admit(session, now)

    def _saved(self, replica: SessionReplica) -> None:
        """Tell the other workers of a record that the store has taken."""
        if replica.base is not None and replica.base.version > 1:
            self._mailbox.post(Changed(session=replica.id, record=replica.base))

    def _gone(self, replica: SessionReplica) -> None:
        """End a session that the store does not have (any more)."""
        reason = "it has expired" if replica.expired else "it is not kept any more"
        self._end_session(replica, reason, self._log.now)

    def _load(self, id: str, then: Loaded) -> None:
        """Ask the store for a session, then call ``then``."""
        waiting = self._loading.get(id)
        if waiting is None:
            self._loading[id] = [then]
            self._steps.ask(SessionLoad, id, partial(self._loaded, id))
        else:
            waiting.append(then)

    def _loaded(self, id: str, outcome: SessionRecord | StoreFailure | None) -> None:
        replica, failure, catch_up = self._replica(id), None, None
        if self._closing and replica is None:
            failure = StoreFailure("the server is shutting down")
        elif isinstance(outcome, StoreFailure):
            failure = outcome
        elif outcome is None:
            if replica is not None:
                self._gone(replica)
        elif replica is not None:
            replica.update(outcome)
            replica.touched_at = self._log.now
        else:
            revision = BY_NAME.get(outcome.revision)
            if revision is not None and revision in self._session_config.revisions:
                replica = self._make_replica(id, outcome.principal, outcome.owner)
                replica.restore(outcome, revision)
                self._admit(replica, self._log.now)
                catch_up = partial(self._catch_up, replica, outcome)
        for then in self._loading.pop(id):
            then(failure)
        if catch_up is not None:
            catch_up()

    def _in_session(self, record: Exchange, act: Act, now: float) -> None:
        record.phase = Phase.WAITING
        self._with_replica(record, act, uses=act != self._delete)

    def _with_replica(
        self, record: Exchange, act: Act, *, uses: bool, opened: bool = False
    ) -> None:
        """Call ``act`` with the session that the header names, once it is loaded here.

        ``uses``: this counts as a use of the session; ``opened``: the handshake has to be complete.
        """
        id = record.session_id or ""
        replica = self._replica(id)
        if replica is None and not self._replicas.could_be(id):
            self._find(record)
        elif (
            replica is None
            or replica.expired
            or (opened and replica.peer.state is SessionState.OPENING)
        ):
            self._load(id, lambda failure: self._act(record, act, failure, uses=uses))
        else:
            self._act(record, act, uses=uses)

    def _act(
        self, record: Exchange, act: Act, failure: StoreFailure | None = None, *, uses: bool = True
    ) -> None:
        if failure is not None:
            record.refuse(503, UNAVAILABLE, _RETRY, code=LEGACY_BUSY)
            return
        replica, now = self._find(record), self._log.now
        if replica is not None:
            act(record, replica, now)
            if uses and isinstance(replica, SessionReplica) and not replica.over:
                replica.use()

    def _delete(self, record: Exchange, session: Session, now: float) -> None:
        def deleted(outcome: bool | StoreFailure) -> None:
            if isinstance(outcome, StoreFailure):
                record.fail(503, UNAVAILABLE)
                return
            reason = "ended by the client"
            if outcome:
                record.reply(204)
                self._mailbox.post(Ended(session=session.id, reason=reason))
            else:
                record.refuse(404, "there is no such session (any more)")
            self._end_session(session, reason, self._log.now)

        self._steps.ask(SessionDelete, session.id, deleted)

    # From body to Peer

    def _receive_legacy(self, record: Exchange, frame: Frame, now: float) -> None:
        if record.session_id is None or not self.settings.sessions:
            super()._receive_legacy(record, frame, now)
        else:
            uses = not is_handshake(frame)
            self._with_replica(record, partial(self._converse, frame), uses=uses, opened=uses)

    def _converse(self, frame: Frame, record: Exchange, session: Session, now: float) -> None:
        """Handle a frame here, or pass it on to the worker that it concerns."""
        here, elsewhere = sort_out(frame, session.peer, self._name)
        for each in elsewhere:
            record.hold()
            self._steps.ask(
                Post,
                session.id,
                partial(_posted, record),
                **each.post(session.id, record.principal),
            )
        if here is None:
            record.reply(202)
            return
        requests = requests_in(here)
        take_in = partial(self._take_in, here, requests)
        then = partial(self._act, record, take_in)
        if not requests or cast(SessionReplica, session).quota.admit(requests, then):
            take_in(record, session, now)
        elif self._exchanges.get(record.route) is record:
            session.exchanges[record.route] = record
            record.session = session

    def _take_in(
        self, frame: Frame, requests: int, record: Exchange, session: Session, now: float
    ) -> None:
        if self._exchanges.get(record.route) is record:
            super()._receive_legacy(record, frame, now)
        else:
            # Its client has left meanwhile, which changes nothing.
            session.peer.receive(frame, now=now, route=record.route, principal=record.principal)
        if requests:
            cast(SessionReplica, session).quota.taken(requests)

    # GET

    def _listen(self, record: Exchange, session: Session, now: float) -> None:
        if self._exchanges.get(record.route) is record:
            super()._listen(record, session, now)

    def _resume(self, record: Exchange, session: Session, cursor: str) -> None:
        place = self._log.ids.read(session.id, cursor)
        if place is None:
            record.refuse(400, "the Last-Event-ID is none that this session was given")
        elif isinstance(session, SessionReplica):
            session.pick_up(record, *place)

    def _room(self, record: Exchange, session: Session) -> bool:
        return True  # the store counts the streams at all workers

    def _look_at(self, record: Exchange, now: float) -> None:
        replica = record.session
        if isinstance(replica, SessionReplica) and replica.expired:
            replica.touch()
        elif isinstance(replica, SessionReplica) and replica.used:
            replica.use()
        if isinstance(record.source, StreamReader):
            # A note may have been lost.
            record.source.wake()
        super()._look_at(record, now)

    # From Peers to exchanges

    def _carry(self, frame: Transmit, session: Session | None, record: Exchange | None) -> None:
        if not isinstance(session, SessionReplica):
            super()._carry(frame, session, record)
            return
        session.keep_saved(frame, record)
        if frame.ends:
            session.quota.settle()
        writer = session.writers.get(frame.route)
        if writer is None and record is not None and record.phase is Phase.WAITING:
            if record.answer(frame):
                return
            if record.accepts_stream:
                record.open_stream()
                writer = session.writers.get(frame.route)
        if writer is not None:
            exchange = writer.exchange
            if frame.kind is FrameKind.NOTIFICATION and exchange is not None and writer.overfull:
                self._give_up(exchange, self._log.now)
            writer.add(frame)
        elif record is not None and record.push(frame):
            pass  # an event stream without ids
        elif any_stream_will_do(frame):
            self._to_session(frame, session)
        else:
            taken_over(frame)

    def _to_session(self, frame: Transmit, session: Session | None) -> None:
        if not isinstance(session, SessionReplica):
            super()._to_session(frame, session)
            return
        once = self._announcing
        if once is not None:
            # An announcement may become two messages, which are the same at each worker.
            once = f"{once}.{zlib.crc32(b''.join(frame.data)):x}"
        session.place(frame, self._log.now, once)

    # Ends

    def _end_session(self, session: Session, reason: str, now: float) -> None:
        if isinstance(session, SessionReplica) and not session.over:
            session.close(404, f"the session has ended: {reason}")
        super()._end_session(session, reason, now)

    def _end_if_unused(self, session: Session) -> None:
        if not session.busy:
            self._evict(session, "the server is shutting down", self._log.now)

    def _evict(self, session: Session, reason: str, now: float) -> None:
        """Forget a replica that is not busy; the session goes on."""
        if not isinstance(session, SessionReplica):
            super()._evict(session, reason, now)
            return
        session.close(503, UNAVAILABLE)
        self._sessions.remove(session)
        session.peer.end(now=now, reason=reason)


def _posted(record: Exchange, outcome: StoreFailure | None) -> None:
    """Release the reply once a message was passed on to its worker, or refuse it."""
    if isinstance(outcome, StoreFailure):
        record.fail(503, UNAVAILABLE)
    record.release()
