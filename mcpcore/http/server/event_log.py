"""Event ids, and a bounded log of the events that a client may ask for again.

An id names its stream and its position there, authenticated for the session that it was given to.
Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Resumability and Redelivery".
"""

import math
import re
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from mcpcore.engine.events import Route
from mcpcore.http.settings import HttpSettings
from mcpcore.wire.sse import encode_event

if TYPE_CHECKING:  # late: stateless servers need no hash; the exchange has one of these streams
    from hashlib import blake2s

    from mcpcore.http.server.exchange import Exchange

_ID = r"([0-9a-f]{1,15})\.([0-9a-f]{1,15})\.[A-Za-z0-9_-]{22}"
_MAC_BYTES = 16
_MAC_CHARS = 22
NOTHING: deque[Any] = deque(maxlen=0)
"""Shared empty queue; a real one would take 760 bytes in every session and stream."""
_SWEEPS = 8


class EventIds:
    """Maker and reader of the event ids of one server: ``stream.position.authenticator``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keyed: Callable[[bytes], blake2s] | None = None

    def make(self, session: str, stream: int, position: int) -> str:
        """Return the id of an event; position 0 is the beginning of its stream."""
        place = f"{stream:x}.{position:x}."
        text = f"{session}\n{place}".encode()
        if self._keyed is None:
            from hashlib import blake2s  # here, as only streams of sessions have ids
            from hmac import digest

            # BLAKE2 takes a key by itself (RFC 7693), in a fraction of the time of HMAC.
            key = digest(self._secret, b"mcpcore event ids", "sha256")
            self._keyed = partial(blake2s, key=key, digest_size=_MAC_BYTES)
        mac = self._keyed(text).digest()
        return place + urlsafe_b64encode(mac)[:_MAC_CHARS].decode("ascii")

    def read(self, session: str, id: str) -> tuple[int, int] | None:
        """Return stream and position of an id of ``session``; None for any other text."""
        from hmac import compare_digest

        match = re.fullmatch(_ID, id)
        if match is None:
            return None
        stream, position = int(match[1], 16), int(match[2], 16)
        genuine = self.make(session, stream, position)
        return (stream, position) if compare_digest(genuine, id) else None


def poll_event(id: str, delay: float) -> bytes:
    """Return an event without data, with a position and the seconds until the client comes back."""
    return encode_event(b"", event=None, id=id, retry=round(delay * 1000))


class LogEntry(Struct, eq=False, weakref=False):
    """Event of a stream, sent or still to be sent."""

    stream: "EventStream"
    place: int
    data: bytes
    """JSON text of the message."""
    time: float
    gone: bool = False


class EventStream(Struct, eq=False, weakref=False):
    """Stream of events of a session, for the request of exchange ``route``, or None: a GET."""

    log: "SessionLog"
    number: int
    route: Route | None
    numbered: bool
    primed: bool = False
    """True if it opens with an event that has an id and nothing else."""
    named: bool = False
    """True if the client has received an id, so that it can ask for the events that follow."""
    exchange: "Exchange | None" = None
    ended: bool = False
    last: int = 0
    lost: int = 0
    """Position of the newest event that is no longer kept."""

    def append(self, data: bytes) -> str | None:
        """Add an event and return its id, None if the stream has no ids."""
        if not self.numbered:
            return None
        self.last += 1
        self.log.keep(self, data)
        return self.id(self.last)

    def taken(self) -> None:
        """Note that part of the stream is sent to the client."""
        self.named = self.numbered and (self.primed or self.last > 0)

    def id(self, position: int) -> str:
        """Return the id of the event at a position."""
        return self.log.owner.ids.make(self.log.session, self.number, position)

    def after(self, position: int) -> list[LogEntry] | None:
        """Return the events after a position, None if some of them are no longer kept."""
        self.log.owner.sweep()
        if position < self.lost:
            return None
        kept = (entry for entry in self.log.entries if entry.stream is self)
        return [entry for entry in kept if entry.place > position]


class SessionLog(Struct, eq=False, weakref=False):
    """Streams of one session and their kept events."""

    owner: "EventLog"
    session: str
    streams: dict[int, EventStream] = {}
    """Streams that can be resumed or still grow, by number."""
    posts: dict[Route, EventStream] = {}
    """Streams that wait for a response, by the exchange of its request."""
    entries: deque[LogEntry] = NOTHING
    size: int = 0
    _count: int = 0

    def new_stream(self, route: Route | None, *, numbered: bool) -> EventStream:
        """Begin a stream."""
        self._count += 1
        stream = EventStream(self, self._count, route, numbered)
        self.streams[stream.number] = stream
        if route is not None:
            self.posts[route] = stream
        return stream

    def keep(self, stream: EventStream, data: bytes) -> None:
        """Keep an event; drop the oldest entries beyond the limits."""
        if stream.number in self.streams:
            self.owner.keep(LogEntry(stream, stream.last, data, self.owner.now))
        else:
            stream.lost = stream.last

    def end(self, stream: EventStream) -> None:
        """Mark a stream as ended: no event will be added."""
        stream.ended = True
        if stream.route is not None:
            self.posts.pop(stream.route, None)
        self.tidy(stream)

    def tidy(self, stream: EventStream) -> None:
        """Drop a stream that has ended once no event of it is kept or being sent."""
        if stream.ended and stream.lost == stream.last and stream.exchange is None:
            self.streams.pop(stream.number, None)

    def forget(self, stream: EventStream) -> None:
        """Drop a stream whose ids no client has, or that must not be resumed any more."""
        del self.streams[stream.number]
        if stream.route is not None:
            self.posts.pop(stream.route, None)
        for entry in self.entries:
            if entry.stream is stream:
                self.owner.drop(entry)
        self.entries = deque(entry for entry in self.entries if not entry.gone)
        stream.lost = stream.last

    def close(self) -> None:
        """Drop all events, as the session has ended."""
        for entry in self.entries:
            self.owner.drop(entry)
        self.entries.clear()
        self.streams.clear()
        self.posts.clear()


class EventLog:
    """Kept events of all sessions of a server, in memory."""

    def __init__(self, secret: bytes, settings: HttpSettings) -> None:
        self.ids = EventIds(secret)
        self.now = 0.0
        self.size = 0
        self.settings = settings
        self._order: deque[LogEntry] = deque()
        """All entries, oldest first; entries that are gone are skipped."""
        self._kept = 0
        self._swept = -math.inf
        self.begun = False
        """True if an event was kept where there was none, which alone brings :meth:`deadline`
        nearer, since that was last called."""

    def __len__(self) -> int:
        return self._kept

    def keep(self, entry: LogEntry) -> None:
        """Add an event, and drop the oldest ones beyond the limits."""
        settings, session = self.settings, entry.stream.log
        self.begun = self.begun or not self._kept
        if session.entries is NOTHING:
            session.entries = deque()
        session.entries.append(entry)
        session.size += len(entry.data)
        self._order.append(entry)
        self._kept += 1
        self.size += len(entry.data)
        while len(session.entries) > settings.replay_events or session.size > settings.replay_bytes:
            self._evict(session.entries[0])
        while self.size > settings.replay_total and (oldest := self._oldest()) is not None:
            self._evict(oldest)
        if len(self._order) > 64 + 4 * self._kept:
            self._order = deque(entry for entry in self._order if not entry.gone)

    def drop(self, entry: LogEntry) -> None:
        """Mark an entry as gone and count it out; its holders remove it from their queues."""
        entry.gone = True
        entry.stream.log.size -= len(entry.data)
        self.size -= len(entry.data)
        self._kept -= 1

    def sweep(self) -> None:
        """Drop the entries that are too old."""
        self._swept = self.now
        age = self.settings.replay_age
        while (oldest := self._oldest()) is not None and oldest.time + age <= self.now:
            self._evict(oldest)

    def deadline(self) -> float | None:
        """Return the time at which :meth:`sweep` is next needed, None if nothing is kept."""
        self.begun = False
        oldest = self._oldest() if self._order else None
        if oldest is None:
            return None
        age = self.settings.replay_age
        return max(oldest.time + age, self._swept + age / _SWEEPS)

    def _evict(self, entry: LogEntry) -> None:
        stream = entry.stream
        stream.log.entries.popleft()
        stream.lost = entry.place
        self.drop(entry)
        stream.log.tidy(stream)

    def _oldest(self) -> LogEntry | None:
        while self._order and self._order[0].gone:
            self._order.popleft()
        return self._order[0] if self._order else None
