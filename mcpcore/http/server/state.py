"""State of an HttpServer, which its parts share."""

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import Event, Route
from mcpcore.engine.peer import Peer
from mcpcore.engine.state import Endpoint
from mcpcore.engine.transmit import Transmit
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.exchange import Exchange, ExchangeState
from mcpcore.http.server.session_table import SessionTable
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.revisions import legacy_of
from mcpcore.wire.message import Body, Frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcpcore.http.legacy_sse.server import SseSession
    from mcpcore.http.server.sessions import Session

_DONE = ExchangeState.DONE


class ServerState:
    """Exchanges, sessions and events of one server, its modern Peer, and what it watches."""

    __slots__ = (
        "closing",
        "deadlines",
        "endpoint",
        "exchanges",
        "interval",
        "legacy",
        "log",
        "modern",
        "news",
        "session_config",
        "sessions",
        "settings",
        "sse_sessions",
        "unwatched",
        "watched",
    )

    def __init__(self, config: Config, secret: bytes, settings: HttpSettings) -> None:
        self.settings = settings
        self.endpoint = Endpoint()
        self.endpoint.capacity = most = settings.max_calls
        # All modern clients share one Peer; the limits of each are those of its exchange.
        limits = structs.replace(config.limits, in_flight=most, listen_streams=most)
        self.modern = Peer(
            Role.SERVER,
            structs.replace(config, route_scoped_ids=True, limits=limits),
            endpoint=self.endpoint,
            joins=True,
        )
        self.session_config = structs.replace(config, route_scoped_ids=False)
        self.legacy = legacy_of(config.revisions)
        """Revisions that are served with sessions."""
        self.sessions = SessionTable(secret, settings)
        self.log = EventLog(secret, settings)
        self.exchanges: dict[Route, Exchange] = {}
        self.news: dict[Route, Exchange] = {}
        """Exchanges with output that was not reported yet."""
        self.sse_sessions: dict[str, SseSession] = {}
        """Sessions of HTTP+SSE whose stream has not been ended from here, by id."""
        self.closing = False
        self.deadlines: Deadlines[Any] = Deadlines()
        self.unwatched: list[tuple[Exchange, float]] = []
        """Exchanges that wait for an answer without a deadline yet, with the start of the wait:
        most need none."""
        self.watched = False
        """True if an exchange was given a deadline since the earliest one was last asked for."""
        self.interval = settings.heartbeat or settings.stall_timeout

    def session(self, id: str) -> "Session":
        """Return the session with this id.  Raises LocalProtocolError if there is none."""
        session = self.sessions.get(id)
        if session is None:
            raise LocalProtocolError("there is no such session (any more)")
        return session

    def watch(self, record: Exchange, now: float) -> None:
        """Set the time of the next check of an exchange."""
        when = now + self.interval
        if record.state is ExchangeState.WAITING and not record.opens:
            when = min(when, record.slow_at)
        self.deadlines.set(record, when)
        self.watched = True

    def watch_new(self) -> None:
        """Watch the exchanges that still wait for an answer."""
        for record, since in self.unwatched:
            if record.state is not _DONE and record.route in self.exchanges:
                self.watch(record, since)
        self.unwatched.clear()

    def wait(self, record: Exchange, now: float) -> None:
        """Start the wait for the answer of an exchange."""
        record.forget_head()
        delay = self.settings.json_delay
        if delay is not None and record.accepts_stream:
            record.slow_at = now + delay
        self.unwatched.append((record, now))

    def report(self, event: Event) -> None:
        """Queue an event of our own behind all events of earlier input."""
        self.endpoint.inbox.append((self, event))

    def take_in(self, event: Event) -> None:
        """Pass on an event of our own at its place in the queue (called by the endpoint)."""
        self.endpoint.events.append(event)


class SessionHome(Protocol):
    """Home of the legacy sessions of a server: where they are opened, found, used and ended."""

    # From requests

    def receive(self, record: Exchange, frame: Frame, now: float) -> None:
        """Handle the body of a legacy POST in its session, or open one."""

    def listen(self, record: Exchange, now: float) -> None:
        """Handle a GET: open or resume an event stream of its session."""

    def delete(self, record: Exchange, now: float) -> None:
        """Handle a DELETE: end the session at the request of its client."""

    def make(self, id: str, record: Exchange) -> "Session":
        """Return a new session for the client that sends ``record``."""

    def admit(self, session: "Session", now: float) -> None:
        """Register a session, after making room for it."""

    # From Peers

    def carry(self, frame: Transmit, session: "Session", record: Exchange | None) -> None:
        """Give a frame to the stream of its request, or to an exchange without a stream."""

    def place(self, frame: Transmit, session: "Session") -> None:
        """Give a session a frame that belongs to none of its requests."""

    # From the application

    def notify(
        self,
        method: str,
        params: Body,
        session: str | None,
        meta: "Mapping[str, Any] | None",
    ) -> None:
        """Notify one session, or all clients."""

    def write_log(
        self,
        level: str,
        data: Any,
        logger: str | None,
        session: str | None,
        meta: "Mapping[str, Any] | None",
    ) -> bool:
        """Log to one session, or to all clients; return True if at least one message is sent."""

    # Time and ends

    @property
    def timed(self) -> bool:
        """True if :meth:`deadline` may have come nearer."""

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never."""

    def handle_timeout(self, now: float) -> None:
        """End or forget the sessions that are due."""

    def look_at(self, record: Exchange, now: float) -> None:
        """Check the session of an exchange that is being checked."""

    def end(self, session: "Session", reason: str, now: float) -> None:
        """End a session with its streams and requests."""

    def evict(self, session: "Session", reason: str, now: float) -> None:
        """Remove a session from here although no party has ended it."""

    def end_if_unused(self, session: "Session") -> None:
        """Forget a session that is of no use any more, as the server closes."""

    def close(self, now: float) -> None:
        """Begin to close."""

    @property
    def finished(self) -> bool:
        """True if nothing is left to do for the sessions."""


__all__ = ["ServerState", "SessionHome"]
