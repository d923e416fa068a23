"""Legacy sessions at a server: one conversation each, found by an id that nobody can guess.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Session Management", "Listening
for Messages from the Server" and "Multiple Connections".
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Iterator

from mcpcore.engine.events import EndReason, Event
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.exchange import Exchange, taken_over

MIN_SECRET = 32


class SessionOpened(Event, frozen=True, kw_only=True):
    """A legacy client has opened a session; Ready follows once its handshake is complete."""

    session: str
    principal: str | None = None


class SessionClosed(Event, frozen=True, kw_only=True):
    """A session is gone; all its requests have ended, nothing of it follows."""

    session: str
    reason: str


class Session:
    """One legacy conversation and the streams that its client holds open."""

    __slots__ = (
        "backlog",
        "backlog_size",
        "deadline",
        "exchanges",
        "id",
        "peer",
        "principal",
        "streams",
        "used",
    )

    def __init__(self, id: str, peer: Peer, principal: str | None) -> None:
        self.id = id
        self.peer = peer
        self.principal = principal
        self.exchanges: dict[int, Exchange] = {}
        """All open exchanges, by route."""
        self.streams: list[Exchange] = []
        """The GET streams among them, oldest first."""
        self.backlog: deque[Transmit] = deque()
        """What waits for a GET stream."""
        self.backlog_size = 0
        self.deadline: float | None = None
        self.used = True
        """It was used since it was last looked at."""

    @property
    def busy(self) -> bool:
        """Something is open or being worked on."""
        return bool(self.exchanges) or self.peer.in_flight > 0

    def place(self, frame: Transmit, *, limit: int, now: float) -> None:
        """Send what belongs to no exchange: on one GET stream, or once there is one.

        The newest stream takes it, as an older one may be dead without anybody knowing.
        """
        for stream in reversed(self.streams):
            if stream.push(frame):
                return
        self.backlog.append(frame)
        self.backlog_size += frame.size
        while self.backlog_size > limit:
            self._give_up_one(now)

    def attach(self, exchange: Exchange) -> None:
        """Use ``exchange`` as a GET stream and give it what waited."""
        exchange.open_stream()
        self.exchanges[exchange.route] = exchange
        self.streams.append(exchange)
        while self.backlog:
            exchange.push(self.backlog.popleft())
        self.backlog_size = 0

    def detach(self, exchange: Exchange, *, limit: int, now: float) -> None:
        """Forget an exchange; what it had not sent, and was meant for any GET stream, waits on."""
        self.exchanges.pop(exchange.route, None)
        self.used = True
        if exchange in self.streams:
            self.streams.remove(exchange)
            for frame in exchange.drop_queued():
                self.place(frame, limit=limit, now=now)

    def _give_up_one(self, now: float) -> None:
        """Make room: the oldest notification goes, or if there is none, the oldest request ends."""
        victim = next(
            (frame for frame in self.backlog if frame.kind is FrameKind.NOTIFICATION),
            self.backlog[0],
        )
        self.backlog.remove(victim)
        self.backlog_size -= victim.size
        taken_over(victim)
        if victim.kind is FrameKind.REQUEST and victim.request is not None:
            self.peer.receive_failure(
                victim.request,
                now=now,
                reason=EndReason.REFUSED,
                message="not sent: the client has no stream open and too much waits for one",
            )


class SessionTable:
    """The sessions of one server by id."""

    def __init__(self, secret: bytes) -> None:
        """Make an empty table; ids are derived from ``secret``, which must never be used again."""
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret must have at least {MIN_SECRET} random bytes")
        self._key = hmac.new(secret, b"mcpcore session ids", hashlib.sha256).digest()
        self._sessions: dict[str, Session] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def new_id(self) -> str:
        """A session id: 256 bits, which nobody without the secret can tell, in visible ASCII."""
        self._count += 1
        digest = hmac.new(self._key, b"%d" % self._count, hashlib.sha256).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    def add(self, session: Session) -> None:
        """Make a session known."""
        self._sessions[session.id] = session

    def find(self, id: str, principal: str | None) -> Session | None:
        """Return the session with this id, if it belongs to ``principal``.

        Ids are compared in constant time once the hash table has found a candidate, and a
        session of another principal looks like none.
        """
        session = self._sessions.get(id)
        if session is None or not hmac.compare_digest(session.id.encode(), id.encode()):
            return None
        return session if session.principal == principal else None

    def get(self, id: str | None) -> Session | None:
        """Return the session with an id of our own making."""
        return None if id is None else self._sessions.get(id)

    def remove(self, session: Session) -> None:
        """Forget a session."""
        del self._sessions[session.id]
