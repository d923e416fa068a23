"""Broadcasts of a server with a store: notifications to the clients of all workers."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcpcore.http.server.router import Router
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.state import ServerState
from mcpcore.http.server.stored.mailbox import LOG, MOST_NOTES, Mailbox
from mcpcore.http.server.stored.replica import SessionReplica
from mcpcore.http.server.stored.steps import Steps
from mcpcore.http.storing import Announced, Announcements, SessionRecord, StoreFailure
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import Body


class _Line(msgspec.Struct, omit_defaults=True):
    """Params of a log message notification."""

    level: str
    data: Any
    logger: str | None = None


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


class Broadcasts:
    """Delivery of broadcasts to the clients here, and to those of all other workers.

    ``name``: prefix of the names that this worker gives to its broadcasts.
    """

    __slots__ = ("_count", "_mailbox", "_name", "_router", "_state", "_steps", "delivering")

    def __init__(
        self,
        state: ServerState,
        router: Router,
        steps: Steps,
        mailbox: Mailbox,
        name: str,
    ) -> None:
        self._state = state
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
        settings = self._state.settings
        since = record.created
        if record.used is not None:
            slack = settings.session_touch + settings.store_timeout
            since = max(since, record.used - slack)

        def tell(notes: Sequence[bytes] | None) -> bool:
            known = self._state.sessions.get(replica.id) is replica
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
            for each in self._state.sessions:
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
                self._state.modern.notify(note.method, params, meta=meta)
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
            for each in self._state.sessions
            if not isinstance(each, SessionReplica) or each.behind is None
        ]
