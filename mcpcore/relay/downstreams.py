"""Machines of the clients of a relay as one: each binding of a gateway has a machine of its own.

Keys, ids and sessions tell their machine, by its place.  Those of the first machine are as they
are, so that an only machine costs nothing more.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import structs

from mcpcore.engine.events import Event, Key
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:  # types alone: an application that has no HTTP needs none
    from mcpcore.engine.peer import Peer
    from mcpcore.http.server.server import HttpServer

Machine: TypeAlias = "Peer | HttpServer"

_SPAN = 1 << 48
"""Number of keys and ids of one machine."""


def _number(place: int, value: int | None) -> int | None:
    return None if value is None else place * _SPAN + value


def _id(place: int, value: RequestId | None) -> Any:
    return f"/{place}/{value}" if isinstance(value, str) else _number(place, value)


def _session(place: int, value: str | None) -> str:
    return f"/{place}/{value or ''}"


_MEMBERS: Mapping[str, Callable[[int, Any], Any]] = {
    "key": _number,
    "admitted": _number,
    "request": _id,
    "session": _session,
}
"""Members of events that tell the machine."""


class Downstreams:
    """Machines of the clients, which come and go; the ``downstream`` of a Relay.

    Its methods for requests are those of the machines.  Calls for a machine that is gone do
    nothing; :meth:`request` raises LocalProtocolError.
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
        names = _MEMBERS.keys() & event.__struct_fields__ if place else ()
        changed = {name: _MEMBERS[name](place, getattr(event, name)) for name in names}
        return structs.replace(event, **changed) if changed else event

    def _at(self, place: int) -> "Peer | HttpServer | None":
        machine = self._machines.get(place)
        if machine is not None:
            self.used.add(place)
        return machine

    def _where(self, parent: Key | None, session: str) -> "tuple[int, Any, dict[str, Any]]":
        """Return place and machine of a request or session, and the argument that names it."""
        if parent is not None:
            place, inner = divmod(parent, _SPAN)
            return place, self._at(place), {"parent": inner}
        place, inner_session = _split(session)
        return place, self._at(place), {"session": inner_session} if inner_session else {}

    @staticmethod
    def _by_key(name: str) -> Callable[..., Any]:
        """Return a method that calls the one of the machine that a key tells."""

        def call(self: "Downstreams", key: Key, *args: Any, **more: Any) -> Any:
            place, inner = divmod(key, _SPAN)
            method = getattr(self._at(place), name, None)
            return method is not None and method(inner, *args, **more)

        return call

    respond, fail, require_input = map(_by_key, ("respond", "fail", "require_input"))
    admit, release, narrow = map(_by_key, ("admit", "release", "narrow"))
    progress, close_stream, _log = map(_by_key, ("progress", "close_stream", "log"))

    def log(self, key: Key | None, *message: Any, session: str = "") -> bool:
        """Log for a request or a session, as :meth:`Peer.log` does."""
        if key is not None:
            return bool(self._log(key, *message))
        _, machine, where = self._where(None, session)
        return machine is not None and machine.log(None, *message, **where)

    def notify(
        self, *notification: Any, parent: Key | None = None, session: str = "", **more: Any
    ) -> None:
        """Send a notification to a request or a session, as :meth:`Peer.notify` does."""
        _, machine, where = self._where(parent, session)
        if machine is not None:
            machine.notify(*notification, **where, **more)

    def request(
        self, *request: Any, parent: Key | None = None, session: str = "", **more: Any
    ) -> RequestId:
        """Send a request to a legacy client, as :meth:`Peer.request` does."""
        place, machine, where = self._where(parent, session)
        if machine is None:
            raise LocalProtocolError("the connection of the client has ended")
        id: RequestId = machine.request(*request, **where, **more)
        if not place:
            return id
        numbered: RequestId = _id(place, id)
        return numbered

    def cancel(self, request: RequestId, **more: Any) -> None:
        """Cancel a request, as :meth:`Peer.cancel` does."""
        inner: RequestId
        place, inner = divmod(request, _SPAN) if isinstance(request, int) else _split(request)
        machine = self._at(place)
        if machine is not None:
            machine.cancel(inner, **more)


def _split(text: str) -> tuple[int, str]:
    """Return place and original of an id or a session."""
    if not text.startswith("/"):
        return 0, text
    _, place, inner = text.split("/", 2)
    return int(place), inner
