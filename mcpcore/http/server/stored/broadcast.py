"""Broadcasts of a server with a store: notifications to the clients of all workers."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcpcore.engine.events import Key
from mcpcore.http.server.server import HttpServer
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.stored.mailbox import LOG, MOST_NOTES, Mailbox
from mcpcore.http.server.stored.replica import SessionReplica
from mcpcore.http.server.stored.replica_table import ReplicaTable
from mcpcore.http.server.stored.steps import Steps
from mcpcore.http.storing import (
    Announced,
    Announcements,
    AnyNote,
    Changed,
    Ended,
    Forwarded,
    HangUp,
    Lost,
    Moved,
    Note,
    SessionRecord,
    StoreFailure,
    Wake,
)
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.types.logging import SEVERITY
from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import Body, decode

Loaded = Callable[[StoreFailure | None], None]
"""Callback after the store has been asked for a session; takes the failure, or None."""


class _Line(msgspec.Struct, omit_defaults=True):
    """Params of a log message notification."""

    level: str
    data: Any
    logger: str | None = None


_decode_note = msgspec.json.Decoder(AnyNote).decode
_decode_announced = msgspec.json.Decoder(Announced).decode


class _CatchUp:
    """A query to the store for the broadcasts made while no worker had a session loaded."""

    __slots__ = ("_since", "_steps", "_then", "deadline")

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


class Announcing(HttpServer):
    """The part of a StoredHttpServer that sends notifications to sessions, here and elsewhere."""

    _replicas: ReplicaTable
    _mailbox: Mailbox
    _steps: Steps
    _name: str
    """Prefix of the names that this worker gives; no other worker uses it."""
    _announcements: int
    _announcing: str | None
    """Name of the broadcast that is being delivered; None outside of a delivery."""

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a notification; a broadcast reaches the clients of all workers.

        See :meth:`HttpServer.notify`.
        """
        if parent is not None or (session is not None and self._sessions.get(session) is not None):
            super().notify(method, params, parent=parent, session=session, meta=meta)
        elif session is None:
            if method == LOG:
                raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
            raw = UNSET if params is None else Raw(to_json(params))
            self._tell_all(method, raw, meta)
        elif self._replicas.could_be(session):
            self._load(session, lambda failure: self._tell(session, method, params, meta))
        else:
            raise LocalProtocolError("there is no such session (any more)")

    def log(
        self,
        key: Key | None,
        level: str,
        data: Any,
        logger: str | None = None,
        *,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log to one request, one session, or all sessions, those at other workers included.

        See :meth:`HttpServer.log`.
        """
        if key is not None or session is not None:
            return super().log(key, level, data, logger, session=session, meta=meta)
        if level not in SEVERITY:  # checked here, where the caller can correct it
            raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")
        return self._tell_all(LOG, Raw(to_json(_Line(level, data, logger))), meta)

    def _tell(
        self, session: str, method: str, params: Body, meta: Mapping[str, Any] | None
    ) -> None:
        replica = self._replica(session)
        if replica is not None:
            replica.peer.notify(method, params, meta=meta)

    def _tell_all(
        self, method: str, params: Raw | UnsetType, meta: Mapping[str, Any] | None
    ) -> bool:
        self._announcements += 1
        note = Announced(
            session="",
            method=method,
            params=params,
            meta=dict(meta or {}),
            once=f"{self._name}all{self._announcements}",
        )
        told = self._announce(note)
        self._mailbox.post(note)
        return told

    def _catch_up(self, replica: SessionReplica, record: SessionRecord) -> None:
        """Deliver to a session just loaded here the broadcasts made since it was last in use.

        The previous worker recorded about every ``session_touch`` seconds that the session was in
        use. A broadcast made here while the store was asked for the session may reach the store too
        late. Broadcasts that arrive before the store has answered are delivered after its notes, in
        their order.
        """
        replica.behind = deque(self._mailbox.announced(), maxlen=MOST_NOTES)
        settings = self.settings
        since = record.created
        if record.used is not None:
            slack = settings.session_touch + settings.store_timeout
            since = max(since, record.used - slack)

        def tell(notes: Sequence[bytes] | None) -> bool:
            known = self._replica(replica.id) is replica
            if known and notes is not None:
                behind, replica.behind = replica.behind or (), None
                told = (*map(_decode_announced, notes), *behind)
                for note in {note.once: note for note in told}.values():
                    self._announce(note, replica)
            return known

        _CatchUp(self._steps, since, tell)

    def _announce(self, note: Announced, replica: SessionReplica | None = None) -> bool:
        """Deliver a broadcast to all clients known here, or to one; a session receives it once."""
        if replica is None:
            for each in self._all_replicas():
                if each.behind is not None:
                    each.behind.append(note)
        self._collect()
        self._announcing = note.once
        meta = note.meta or None
        params = None if note.params is UNSET else note.params
        try:
            if note.method == LOG and params is not None:
                line = msgspec.json.decode(params, type=_Line)
                log = super().log if replica is None else replica.peer.log
                return log(None, line.level, line.data, line.logger, meta=meta)
            if replica is None:
                super().notify(note.method, params, meta=meta)
            else:
                replica.peer.notify(note.method, params, meta=meta)
            return True
        finally:
            self._collect()
            self._announcing = None

    def _chosen(self, session: str | None) -> Iterable[Session]:
        chosen = super()._chosen(session)
        if session is not None:
            return chosen
        return [
            each for each in chosen if not isinstance(each, SessionReplica) or each.behind is None
        ]

    # Notes from other workers

    def note(self, data: bytes, *, now: float) -> None:
        """Handle a note to this worker.  Raises LocalProtocolError if ``data`` is not valid."""
        self._log.now = now
        try:
            note: Note = _decode_note(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LocalProtocolError(f"this is no note: {error}") from error
        if isinstance(note, Announced):
            if self._mailbox.is_new(note.once):
                self._announce(note)
            return
        if isinstance(note, Lost):
            for each in self._all_replicas():
                each.touch()
            return
        replica = self._replica(note.session)
        if replica is None:
            return
        if isinstance(note, Wake):
            replica.wake(note.stream)
        elif isinstance(note, Moved):
            replica.moved(note.stream)
        elif isinstance(note, Changed):
            replica.update(note.record)
        elif isinstance(note, HangUp):
            replica.poll_here(note.stream, note.retry)
        elif isinstance(note, Ended):
            self._end_session(replica, note.reason, now)
        elif isinstance(note, Forwarded) and note.principal == replica.principal:
            limits = self._session_config.limits
            frame = decode(bytes(note.message), max_depth=limits.depth, max_batch=limits.batch)
            replica.peer.receive(frame, now=now, principal=note.principal)

    # Sessions

    def _all_replicas(self) -> list[SessionReplica]:
        return [session for session in self._sessions if isinstance(session, SessionReplica)]

    def _replica(self, id: str | None) -> SessionReplica | None:
        """Return the replica of a session that is loaded here, else None."""
        session = self._sessions.get(id)
        return session if isinstance(session, SessionReplica) else None

    def _load(self, id: str, then: Loaded) -> None:
        """Ask the store for a session, then call ``then``."""
        raise NotImplementedError
