"""HttpClient: one conversation with one server URL, as a state machine without sockets.

A driver carries out :meth:`HttpClient.requests_to_send`, feeds responses into ``response_head``,
``response_data`` and ``response_end``, and drains ``next_event``::

    client.start(now=clock())
    for plan in client.requests_to_send():      # HttpSend or HttpAbort
        ...
    client.response_head(exchange, 200, headers, now=clock())
    client.response_data(exchange, data, now=clock())
    client.response_end(exchange, now=clock())
    while (event := client.next_event()) is not None:
        ...

Ready comes with the response to ``initialize``. Messages of a legacy session also wait until the
server has accepted ``notifications/initialized``. That notification is repeated if it was refused
for now or lost. If it cannot be delivered the conversation ends, and ConnectionEnded gives the
reason.

A legacy session that the server has lost is opened anew, once, however many requests noticed; the
application sees a second Ready. A GET that meets 404 counts as a loss as any other request does,
until the next session shows that the server offers no stream by GET.

Source: the Streamable HTTP pages of 2025-03-26 to 2026-07-28.
"""

from msgspec import structs

from mcpcore.engine.config import Config, Negotiation, Role
from mcpcore.engine.events import Event, Fault, Key, Ready, Route, Violation
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.http.client.call import Call, CallPurpose
from mcpcore.http.client.plan import Planner
from mcpcore.http.client.responses import ResponseReader
from mcpcore.http.client.state import ClientState
from mcpcore.http.headers import Headers
from mcpcore.http.legacy_sse.client import SseClient
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.spec.errors import METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.revisions import Revision, legacy_of


class HttpClient:
    """Client side of one HTTP endpoint.

    ``seed``: random bytes that spread the times of reconnecting; without any they are exact.
    ``assume_sse``: True if the server is remembered as one of HTTP+SSE, which is then tried first.
    Raises ValueError for a URL or settings that cannot be used.

    ``request``, ``retry``, ``cancel``, ``abandon``, ``notify``, ``respond``, ``progress``,
    ``release`` and ``renounce`` are the methods of a :class:`~mcpcore.engine.peer.Peer`.
    """

    def __init__(
        self,
        config: Config,
        url: str,
        *,
        settings: HttpClientSettings | None = None,
        seed: bytes = b"",
        assume_sse: bool = False,
    ) -> None:
        settings = HttpClientSettings() if settings is None else settings
        only = settings.legacy_sse is SseUse.ONLY
        if only:
            config = _without_modern(config)
        elif assume_sse and settings.legacy_sse is SseUse.FALL_BACK:
            config = structs.replace(config, assumed=Negotiation.LEGACY)
        peer = Peer(Role.CLIENT, config, mirrors=True)
        self.settings = settings
        self.url = url
        planner = Planner(url, settings.headers)
        self._state = state = ClientState(peer, planner, settings, seed)
        self._use(peer)
        self._sse = SseClient(state, self._refused)
        self._reader = ResponseReader(state, self._sse)
        self._sse_first = only or (assume_sse and config.assumed is Negotiation.LEGACY)

    def _use(self, peer: Peer) -> None:
        """Give the application the methods of the present Peer."""
        self._state.peer = peer
        self.request, self.retry, self.cancel = peer.request, peer.retry, peer.cancel
        self.abandon, self.renounce, self.notify = peer.abandon, peer.renounce, peer.notify
        self.respond, self.progress, self.release = peer.respond, peer.progress, peer.release

    # Facts

    @property
    def revision(self) -> Revision | None:
        """Negotiated revision; None before negotiation."""
        return self._state.peer.revision

    @property
    def session(self) -> str | None:
        """Id of the legacy session, if the server gave one."""
        return self._state.session

    @property
    def exchanges(self) -> int:
        """Number of exchanges that are open or planned."""
        return len(self._state.calls)

    @property
    def uses_sse(self) -> bool:
        """True if messages go over HTTP+SSE."""
        return self._state.uses_sse

    @property
    def stream_fault(self) -> Fault | None:
        """Fault of the event stream of HTTP+SSE that ended last; None if it broke off."""
        return self._state.stream_fault

    # Methods for the application, as on Peer

    def start(self, *, now: float) -> None:
        """Start the conversation, as :meth:`Peer.start <mcpcore.engine.peer.Peer.start>` does."""
        state = self._state
        state.peer.start(now=now)
        if self._sse_first and state.peer.state is SessionState.OPENING:
            self._sse.open(now)

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error, as :meth:`Peer.fail <mcpcore.engine.peer.Peer.fail>` does.

        With METHOD_NOT_FOUND the request counts as a violation (``max_violations``).
        """
        state = self._state
        record = state.endpoint.inbound.get(key)
        failed = state.peer.fail(key, error)
        if failed and record is not None and error.code == METHOD_NOT_FOUND:
            self._reader.refused_one(record.route)
        return failed

    # HTTP+SSE: successive conversations

    @property
    def reconnects(self) -> ReconnectSettings | None:
        """Reconnect settings, for conversations over HTTP+SSE alone."""
        return self._state.peer.reconnects

    @reconnects.setter
    def reconnects(self, settings: ReconnectSettings | None) -> None:
        self._state.peer.reconnects = settings

    def succeed(self) -> None:
        """Begin the next conversation, after the event stream of HTTP+SSE has ended.

        See :meth:`Peer.succeed <mcpcore.engine.peer.Peer.succeed>`; here the same machine goes on.
        :meth:`start` asks for the next stream.
        """
        state = self._state
        self._use(state.peer.succeed())
        for call in list(state.calls.values()):  # plans still on their way to the last session
            state.abort(call)
        state.next_epoch()
        state.sse, self._sse_first, state.revision = None, True, None
        state.waiting.clear()
        self._state.clear()

    def end(self, *, now: float, reason: str) -> None:
        """End the conversation at once; ConnectionEnded follows, and another conversation may."""
        state = self._state
        for call in list(state.calls.values()):
            state.abort(call)
        state.peer.receive_eof(now=now, reason=reason)

    def close(self, *, now: float) -> None:
        """Close all exchanges, end waiting requests as CLOSED, and delete a legacy session.

        Cancellations made before are sent first.  A driver carries out the plans that
        :meth:`requests_to_send` still returns; ConnectionEnded follows.
        """
        state = self._state
        if state.closing:
            return
        self._collect()
        state.closing = True
        state.peer.close(now=now)
        self._collect()
        for call in list(state.calls.values()):
            if not self._state.kept(call):
                state.abort(call)
        self._state.forget_unsent()
        self._state.ended(now)

    # Input

    def response_head(self, exchange: Route, status: int, headers: Headers, *, now: float) -> None:
        """Handle status and headers of a final response.  An aborted exchange is ignored."""
        self._reader.head(exchange, status, headers, now)

    def response_data(self, exchange: Route, data: bytes, *, now: float) -> None:
        """Handle a part of a response body."""
        self._reader.data(exchange, data, now)

    def response_end(
        self, exchange: Route, *, error: str | None = None, fault: Fault | None = None, now: float
    ) -> None:
        """Handle the end of a response, complete or, with ``error``, broken off.

        ``fault`` gives the exact problem, if it was more than the loss of a connection.
        """
        self._reader.end(exchange, error, fault, now)

    # Output

    def _collect(self) -> None:
        state = self._state
        if state.turns:
            state.go_on()
        if state.must_wait:
            self._sse.forget()
        state.collect()

    def _refused(self, call: Call, body: bytes, now: float) -> None:
        self._reader.refused(call, body, now)

    def next_event(self) -> Event | None:
        """Advance until there is an event and return it; None when all input is used up."""
        event = self._state.peer.next_event()
        if type(event) is Violation and event.refused:
            self._reader.refused_one(event.route)
        elif type(event) is Ready and event.revision.modern:
            self._state.forget_handshake()
        return event

    def requests_to_send(self) -> list[HttpSend | HttpAbort]:
        """Take the requests to send and the exchanges to abort.

        An aborted exchange may leave an event: the server's requests that came on it end with it.
        """
        state = self._state
        self._collect()
        plans, state.plans = state.plans, []
        return plans

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never.

        The origin is that of ``now``.
        """
        state = self._state
        ours, theirs = state.deadlines.next(), state.peer.deadline()
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        return min(ours, theirs)

    def handle_timeout(self, now: float) -> None:
        """Handle all deadlines that are due at ``now``."""
        state = self._state
        state.peer.handle_timeout(now)
        for call in state.deadlines.due(now):
            if call.purpose is CallPurpose.SSE and not call.over:
                self._sse.late(call, now)
            elif state.calls.get(call.route) is call:
                state.abort(call)


def _without_modern(config: Config) -> Config:
    """Return the config with legacy revisions alone, as HTTP+SSE needs.

    Raises ValueError if there are none.
    """
    legacy = legacy_of(config.revisions)
    if not legacy:
        raise ValueError("HTTP+SSE needs a revision with a handshake, and none is spoken")
    return structs.replace(config, revisions=legacy, negotiation=Negotiation.LEGACY)
