"""What a server with a store tells everybody, the clients of all other workers included."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from mcpcore.engine.events import Key
from mcpcore.http.forwarding import Letters
from mcpcore.http.server import HttpServer
from mcpcore.http.storing import Announced, StoreFailure
from mcpcore.http.views import View, ViewTable
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import Body

_LOG = "notifications/message"

Loaded = Callable[[StoreFailure | None], None]
"""Goes on once the store has been asked for a session."""


class _Line(msgspec.Struct, omit_defaults=True):
    """The params of a log message."""

    level: str
    data: Any
    logger: str | None = None


class Announcing(HttpServer):
    """The part of a StoredHttpServer that tells sessions, here and elsewhere."""

    _views: ViewTable
    _letters: Letters
    _name: str
    """What all names begin with that nobody else gives."""
    _announcements: int
    _announcing: str | None
    """The name of what everybody is being told."""

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """See :meth:`HttpServer.notify`; everybody includes the clients of all workers."""
        if parent is not None or (session is not None and self._sessions.get(session) is not None):
            super().notify(method, params, parent=parent, session=session, meta=meta)
        elif session is None:
            raw = UNSET if params is None else Raw(to_json(params))
            self._tell_all(method, raw, meta)
        elif self._views.could_be(session):
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
        """See :meth:`HttpServer.log`; all sessions includes those at other workers."""
        if key is not None or session is not None:
            return super().log(key, level, data, logger, session=session, meta=meta)
        return self._tell_all(_LOG, Raw(to_json(_Line(level, data, logger))), meta)

    def _tell(
        self, session: str, method: str, params: Body, meta: Mapping[str, Any] | None
    ) -> None:
        view = self._view(session)
        if view is not None:
            view.peer.notify(method, params, meta=meta)

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
        self._letters.post(note)
        return told

    def _announce(self, note: Announced) -> bool:
        """Tell the clients that are known here; a session hears it once, whoever tells it."""
        self._collect()
        self._announcing = note.once
        meta = note.meta or None
        params = None if note.params is UNSET else note.params
        try:
            if note.method == _LOG and params is not None:
                line = msgspec.json.decode(params, type=_Line)
                return super().log(None, line.level, line.data, line.logger, meta=meta)
            super().notify(note.method, params, meta=meta)
            return True
        finally:
            self._collect()
            self._announcing = None

    # Sessions

    def _view(self, id: str | None) -> View | None:
        """What is known here of a session."""
        raise NotImplementedError

    def _load(self, id: str, then: Loaded) -> None:
        """Ask the store for a session."""
        raise NotImplementedError
