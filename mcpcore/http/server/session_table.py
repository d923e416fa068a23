"""Legacy sessions of a server: ids, owners, and the order in which sessions are ended.

Every operation costs the same however many sessions there are.  Source: the Streamable HTTP pages
of 2025-03-26 to 2025-11-25, "Session Management".
"""

import math
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from mcpcore.http.settings import HttpSettings

if TYPE_CHECKING:
    from mcpcore.http.server.sessions import Session

MIN_SECRET = 32

SPARED = 32
"""Maximum busy sessions that are passed over in the search for one to end."""

Owner = str
"""Key of a session quota: kind of name, and the name (principal or address)."""


def owner_of(principal: str | None, share: str) -> Owner:
    """Return the quota key of a session: its principal, or else its address."""
    return f"address {share}" if principal is None else f"principal {principal}"


class SessionOrder:
    """Sessions in the order in which they would be ended."""

    __slots__ = ("agreed", "fresh", "owner", "used")

    def __init__(self, owner: "Owner" = "") -> None:
        self.owner = owner
        self.fresh: OrderedDict[Session, None] = OrderedDict()
        """Sessions without any message since ``initialize``, oldest first."""
        self.agreed: OrderedDict[Session, None] = OrderedDict()
        """Sessions never used since their handshake was complete, oldest first."""
        self.used: OrderedDict[Session, None] = OrderedDict()
        """All other sessions, least recently used first."""

    def __len__(self) -> int:
        return len(self.fresh) + len(self.agreed) + len(self.used)

    def __iter__(self) -> Iterator["Session"]:
        return chain(self.fresh, self.agreed, self.used)

    def agree(self, session: "Session") -> None:
        """Note that the handshake of a session is complete."""
        del self.fresh[session]
        self.agreed[session] = None

    def touch(self, session: "Session") -> None:
        """Make a session the most recently used."""
        try:
            self.used.move_to_end(session)
        except KeyError:
            self.remove(session)
            self.used[session] = None

    def remove(self, session: "Session") -> None:
        """Remove a session."""
        for queue in (self.used, self.agreed, self.fresh):
            if session in queue:
                del queue[session]
                return


class SessionTable:
    """Sessions of one server by id, by owner, and by time of last use.

    A *temporary* session lives as long as one request and is found by its id alone.
    """

    def __init__(self, secret: bytes, settings: HttpSettings) -> None:
        """Create an empty table; ``secret``, the source of the ids, must never be used again."""
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret must have at least {MIN_SECRET} random bytes")
        self._secret = secret
        self._key = b""  # key for the ids, derived with the first
        self._settings = settings
        limits = (settings.session_unused, settings.session_idle)
        unused = min((limit for limit in limits if limit is not None), default=None)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._temporary: dict[str, Session] = {}
        self._all = SessionOrder()
        queues = (
            (self._all.fresh, unused, "it was never used"),
            (self._all.agreed, unused, "it was never used"),
            (self._all.used, settings.session_idle, "idle for too long"),
        )
        self._limited = [(queue, wait, why) for queue, wait, why in queues if wait is not None]
        """Queues of sessions that end if they are not used: each with its limit in seconds, and the
        reason of their end."""
        self._owners: dict[Owner, SessionOrder] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator["Session"]:
        return iter(list(self._sessions.values()))

    def new_id(self) -> str:
        """Return a new session id: 256 bits, unguessable without the secret, in visible ASCII."""
        import hmac  # here and not above: a server with modern clients only has no sessions

        self._count += 1
        self._key = self._key or hmac.digest(self._secret, b"mcpcore session ids", "sha256")
        digest = hmac.digest(self._key, b"%d" % self._count, "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    # Adding and removing

    def add(self, session: "Session", now: float) -> None:
        """Add a session."""
        session.created = session.used_at = now
        if session.temporary:
            self._temporary[session.id] = session
            return
        self._sessions[session.id] = session
        self._all.fresh[session] = None
        shelf = self._owners.get(session.owner)
        if shelf is None:
            shelf = self._owners[session.owner] = SessionOrder(session.owner)
        session.owner = shelf.owner  # one string for all sessions of an owner
        shelf.fresh[session] = None

    def agree(self, session: "Session", now: float) -> None:
        """Note that the handshake of a session is complete; no effect on a session already used."""
        if session in self._all.fresh:
            session.used_at = now
            self._all.agree(session)
            self._owners[session.owner].agree(session)

    def touch(self, session: "Session", now: float) -> None:
        """Note that a session is being used."""
        session.used_at = now
        if not session.temporary:
            self._all.touch(session)
            self._owners[session.owner].touch(session)

    def rest(self, session: "Session", now: float) -> None:
        """Note that a session was in use until now; a handshake is no use of it."""
        if session.used_at != now and session in self._all.used:
            self.touch(session, now)

    def remove(self, session: "Session") -> None:
        """Remove a session."""
        if session.temporary:
            del self._temporary[session.id]
            return
        del self._sessions[session.id]
        self._all.remove(session)
        shelf = self._owners[session.owner]
        shelf.remove(session)
        if not shelf:
            del self._owners[session.owner]

    # Finding

    def find(self, id: str, principal: str | None) -> "Session | None":
        """Return the session with this id, if it belongs to ``principal``.

        Ids are compared in constant time once the hash table has found a candidate. A session of
        another principal gives None, as if there were none.
        """
        import hmac  # imported here, as above

        session = self._sessions.get(id)
        if session is None or not hmac.compare_digest(session.id.encode(), id.encode()):
            return None
        return session if session.principal == principal else None

    def get(self, id: str | None) -> "Session | None":
        """Return the session with an id that this server made."""
        return None if id is None else self._sessions.get(id) or self._temporary.get(id)

    # Sessions to end

    def excess(self, owner: Owner, now: float) -> "tuple[Session, str] | None":
        """Return the session to end, and the reason, before ``owner`` can have one more; or None.

        An owner whose quota is used up gives up one of its own. Sessions whose handshake was never
        completed go first, then sessions that were never used; then the least recently used, and of
        these the idle ones.
        """
        settings = self._settings
        shelf = self._owners.get(owner)
        if shelf is not None and len(shelf) >= settings.sessions_per_client:
            return self._victim(shelf, now), "its client has opened too many others"
        if len(self._sessions) >= settings.max_sessions:
            return self._victim(self._all, now), "there are too many others"
        return None

    def _victim(self, shelf: SessionOrder, now: float) -> "Session":
        for queue in (shelf.fresh, shelf.agreed):
            if queue:
                return next(iter(queue))
        for _ in range(SPARED):
            oldest = next(iter(shelf.used))
            if not oldest.busy:
                return oldest
            self.touch(oldest, now)
        return next(iter(shelf.used))

    def overdue(self, now: float) -> "tuple[Session, str] | None":
        """Return a session that has lived too long, and the reason; None if there is none."""
        for queue, limit, reason in self._limited:
            while queue:
                oldest = next(iter(queue))
                if oldest.used_at >= now or oldest.used_at + limit > now:
                    break  # busy sessions are touched here, and then come last
                if not oldest.busy:
                    return oldest, reason
                self.touch(oldest, now)
        age = self._settings.session_age
        if age is not None and self._sessions:
            oldest = next(iter(self._sessions.values()))
            if oldest.created + age <= now:
                return oldest, "too old"
        return None

    def deadline(self) -> float | None:
        """Return the time at which :meth:`overdue` is next needed, None if never."""
        if not self._sessions:
            return None
        due = math.inf
        for queue, limit, _ in self._limited:
            if queue:
                when = next(iter(queue)).used_at + limit
                due = when if when < due else due
        age = self._settings.session_age
        if age is not None:
            due = min(due, next(iter(self._sessions.values())).created + age)
        return None if due == math.inf else due
