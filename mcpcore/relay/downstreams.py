"""Machines of the clients of a relay as one: each binding of a gateway has a machine of its own.

Keys, ids and sessions tell their machine, by its place.  Those of the first machine are as they
are, so that an only machine costs nothing more.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Raw, structs

from mcpcore.engine import events
from mcpcore.engine.events import Event, Key
from mcpcore.engine.peer import Peer
from mcpcore.http.server.sessions import SessionClosed
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.types.lifecycle import SubscriptionFilter
from mcpcore.wire.message import Body, RequestId

if TYPE_CHECKING:  # a type alone: an application that has no HTTP needs none
    from mcpcore.http.server.server import HttpServer

Machine: TypeAlias = "Peer | HttpServer"

_SPAN = 1 << 48
"""Number of keys and ids of one machine."""


def _number(place: int, value: int | None) -> int | None:
    return None if value is None else place * _SPAN + value


def _id(place: int, value: RequestId) -> RequestId:
    return place * _SPAN + value if isinstance(value, int) else f"/{place}/{value}"


def _session(place: int, value: str | None) -> str:
    return f"/{place}/{value or ''}"


_KEY: dict[str, Callable[[int, Any], Any]] = {"key": _number}
_REQUEST: dict[str, Callable[[int, Any], Any]] = {"request": _id}
_SESSION: dict[str, Callable[[int, Any], Any]] = {"session": _session}
_MEMBERS: Mapping[type[Event], dict[str, Callable[[int, Any], Any]]] = {
    events.RequestReceived: _KEY | _SESSION,
    events.RequestCancelled: _KEY,
    events.SubscriptionOpened: _KEY | {"admitted": _number},
    events.SubscriptionClosed: _KEY,
    events.ResultReceived: _REQUEST,
    events.ErrorReceived: _REQUEST,
    events.RequestEnded: _REQUEST,
    events.ProgressReceived: _REQUEST,
    events.NotificationReceived: _SESSION,
    events.LogLevelChanged: _SESSION,
    events.Ready: _SESSION,
    events.ConnectionEnded: _SESSION,
    SessionClosed: _SESSION,
}
"""Members of events that tell the machine."""


class Downstreams:
    """Machines of the clients, which come and go; the ``downstream`` of a Relay.

    Calls for a machine that is gone do nothing; :meth:`request` raises LocalProtocolError.
    """

    def __init__(self) -> None:
        self._machines: dict[int, Machine] = {}
        self._places = 0
        self.used: set[int] = set()
        """Places of machines that were called since the driver took them: it flushes these."""

    def add(self, machine: Machine) -> int:
        """Add a machine; return its place."""
        place = self._places
        self._places += 1
        self._machines[place] = machine
        return place

    def remove(self, place: int) -> None:
        """Remove a machine that has ended, after its last event."""
        del self._machines[place]
        self.used.discard(place)

    def event(self, place: int, event: Event) -> Event:
        """Return an event of the machine in ``place`` for the relay."""
        members = _MEMBERS.get(type(event)) if place else None
        if members is None:
            return event
        changed = {name: change(place, getattr(event, name)) for name, change in members.items()}
        return structs.replace(event, **changed)

    def _at(self, place: int) -> "Peer | HttpServer | None":
        machine = self._machines.get(place)
        if machine is not None:
            self.used.add(place)
        return machine

    def _of(self, key: Key) -> "tuple[Peer | HttpServer | None, Key]":
        place, inner = divmod(key, _SPAN)
        return self._at(place), inner

    def _where(
        self, parent: Key | None, session: str | None
    ) -> "tuple[int, Peer | HttpServer | None, dict[str, Any]]":
        """Return place and machine of a request or session, and the argument that names it."""
        if parent is not None:
            place, inner = divmod(parent, _SPAN)
            return place, self._at(place), {"parent": inner}
        place, inner_session = _split(session or "")
        return place, self._at(place), {"session": inner_session} if inner_session else {}

    # Calls of the relay

    def respond(self, key: Key, result: Raw, *, meta: Mapping[str, Any] | None = None) -> bool:
        """Answer with a result, as :meth:`Peer.respond` does."""
        machine, inner = self._of(key)
        return machine is not None and machine.respond(inner, result, meta=meta)

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error, as :meth:`Peer.fail` does."""
        machine, inner = self._of(key)
        return machine is not None and machine.fail(inner, error)

    def require_input(
        self, key: Key, requests: Mapping[str, Raw], state: str | None = None
    ) -> bool:
        """Answer that input is needed, as :meth:`Peer.require_input` does."""
        machine, inner = self._of(key)
        return machine is not None and machine.require_input(inner, requests, state)

    def admit(self, key: Key) -> bool:
        """Let the engine answer, as :meth:`Peer.admit` does."""
        machine, inner = self._of(key)
        return machine is not None and machine.admit(inner)

    def release(self, key: Key) -> None:
        """Release a cancelled request, as :meth:`Peer.release` does."""
        machine, inner = self._of(key)
        if machine is not None:
            machine.release(inner)

    def narrow(self, key: Key, filter: SubscriptionFilter) -> bool:
        """Restrict a listen stream, as :meth:`Peer.narrow` does."""
        machine, inner = self._of(key)
        return machine is not None and machine.narrow(inner, filter)

    def progress(self, key: Key, progress: float, total: float | None, message: str | None) -> None:
        """Report progress, as :meth:`Peer.progress` does."""
        machine, inner = self._of(key)
        if machine is not None:
            machine.progress(inner, progress, total, message)

    def log(
        self, key: Key | None, level: str, data: Raw, logger: str | None, *, session: str = ""
    ) -> bool:
        """Log for a request or a session, as :meth:`Peer.log` does."""
        _, machine, where = self._where(key, session)
        inner = where.pop("parent", None)
        return machine is not None and machine.log(inner, level, data, logger, **where)

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        session: str = "",
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a notification to a request or a session, as :meth:`Peer.notify` does."""
        _, machine, where = self._where(parent, session)
        if machine is not None:
            machine.notify(method, params, meta=meta, **where)

    def request(
        self,
        method: str,
        params: Body = None,
        *,
        now: float,
        parent: Key | None = None,
        session: str = "",
        **options: Any,
    ) -> RequestId:
        """Send a request to a legacy client, as :meth:`Peer.request` does."""
        place, machine, where = self._where(parent, session)
        if machine is None:
            raise LocalProtocolError("the connection of the client has ended")
        id = machine.request(method, params, now=now, **where, **options)
        return _id(place, id) if place else id

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Cancel a request, as :meth:`Peer.cancel` does."""
        inner: RequestId
        place, inner = divmod(request, _SPAN) if isinstance(request, int) else _split(request)
        machine = self._at(place)
        if machine is not None:
            machine.cancel(inner, now=now, reason=reason)

    def close_stream(self, key: Key, *, retry: float | None = None, now: float) -> bool:
        """Close the connection for an answer, as :meth:`HttpServer.close_stream` does."""
        machine, inner = self._of(key)
        if machine is None or isinstance(machine, Peer):
            return False
        return machine.close_stream(inner, retry=retry, now=now)


def _split(text: str) -> tuple[int, str]:
    """Return place and original of an id or a session."""
    if not text.startswith("/"):
        return 0, text
    _, place, inner = text.split("/", 2)
    return int(place), inner
