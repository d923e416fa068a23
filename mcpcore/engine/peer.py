"""Peer: one conversation, either role, as a state machine without I/O.

Feed it bytes or frames, pull events, send the frames that it queues::

    peer.receive_data(data, now=clock())
    while (event := peer.next_event()) is not None:
        ...
    write(peer.lines_to_send())

Input is only queued; :meth:`Peer.next_event` advances the state by one message, so the attributes
of a Peer are up to date only after it has returned None.  Mistakes of the caller raise
:class:`~mcpcore.spec.errors.LocalProtocolError` and change nothing; mistakes of the other side
become the error reply that the specification asks for and a Violation event.
"""

import math
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from mcpcore.engine.answers import Failure
from mcpcore.engine.bodies import checked_meta, take_apart
from mcpcore.engine.config import Role
from mcpcore.engine.events import MAIN, EndReason, Event, Key, Route
from mcpcore.engine.faults import Fault
from mcpcore.engine.input_rounds import retry_body
from mcpcore.engine.lifecycle import (
    RequestSignal,
    RequestState,
    SessionSignal,
    SessionState,
    StreamState,
)
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.publisher import Publisher
from mcpcore.engine.receiver import End
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.engine.transmit import Transmit
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.logging import SEVERITY
from mcpcore.wire.framing import LineReader, TooLong
from mcpcore.wire.message import Body, Frame, RequestId

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_NEW, _CLOSING, _CLOSED = SessionState.NEW, SessionState.CLOSING, SessionState.CLOSED
_CLIENT = Role.CLIENT
_NEWLINE = (b"\n",)

DEFAULT_TIMEOUT = math.nan
"""Stands for the configured timeout, as None means to wait for ever."""


class Peer(Publisher):
    """Client or server end of a conversation, in either era.

    Answers, progress and log messages are in :mod:`mcpcore.engine.responder`, notifications and
    listen streams in :mod:`mcpcore.engine.publisher`.
    """

    __slots__ = ()

    # Input: only queued

    def receive_data(self, data: bytes, *, now: float) -> None:
        """Take bytes of a newline-framed stream (stdio, sockets)."""
        lines = self._lines
        if lines is None:
            lines = self._lines = LineReader(self.config.limits.message_size)
        inbox, principal = self.endpoint.inbox, self.principal
        for line in lines.take_in(data):
            inbox.append((self, line, now, MAIN, None, principal))

    def receive(
        self,
        frame: Frame | bytes | TooLong,
        *,
        now: float,
        route: Route = MAIN,
        mirror: Mirror | None = None,
        principal: str | None = None,
        proves_modern: bool = False,
    ) -> None:
        """Take one frame: decoded, as the bytes of one JSON text, or as a TooLong in its place.

        ``mirror`` holds the claims of the HTTP headers; ``principal`` is the authenticated one;
        ``proves_modern``: the transport recognised a modern server (HTTP 404 with -32601).
        """
        self.endpoint.inbox.append((self, frame, now, route, mirror, principal, proves_modern))

    def receive_eof(
        self, *, now: float, route: Route = MAIN, half: bool = False, reason: str = "closed"
    ) -> None:
        """Take the end of the transport, or of one route of it.

        ``half``: the other side has finished writing but still reads, so that inbound requests in
        progress may still be answered.  A last line without newline is taken as it is.
        """
        if self._lines is not None and route == MAIN:
            rest = self._lines.eof()
            if rest:
                self.endpoint.inbox.append((self, rest, now, MAIN, None, self.principal))
        self.endpoint.inbox.append((self, End(reason, half), now, route))

    def receive_failure(
        self,
        request: RequestId,
        *,
        now: float,
        reason: EndReason,
        message: str,
        evidence: bool = False,
        fault: Fault | None = None,
    ) -> None:
        """Take the transport's report that the outbound ``request`` can get no answer.

        ``evidence``: it failed in a way that tells a legacy server (versioning page), so that the
        era probe falls back instead of giving up.  ``fault``: details of the failure.  Ignored if
        the request has ended.
        """
        self.endpoint.inbox.append((self, Failure(request, reason, message, evidence, fault), now))

    def end(self, *, now: float, reason: str = "closed") -> None:
        """End the conversation at once, from this side, and leave the endpoint.

        Queued like the end of the transport, behind the input so far: every request ends, then
        ConnectionEnded is emitted, and nothing follows.  Frames that were not taken by then are
        dropped.  The keys of handlers that still run stay valid until they are released.
        """
        self.endpoint.inbox.append((self, End(reason, forget=True), now))

    def next_event(self) -> Event | None:
        """Advance to the next event; None when all input is used up.

        Where several Peers share an endpoint this is its next event, whichever Peer it concerns.
        """
        return self.endpoint.next_event()

    # A conversation that began in another process

    def restore(
        self,
        revision: Revision,
        *,
        info: Implementation | None,
        capabilities: ClientCapabilities,
    ) -> None:
        """Server, legacy: take up a session whose ``initialize`` another process has answered.

        Nothing is emitted or sent.  :meth:`opened` follows if the client has confirmed it.  Raises
        LocalProtocolError for a client, and for a conversation that has begun.
        """
        if self.role is _CLIENT or self.state is not _NEW:
            raise LocalProtocolError("only a new server can take up a session")
        self.move(SessionSignal.INITIALIZE)
        self.agree(revision)
        self.introduced(info, capabilities)

    def opened(self) -> None:
        """Note that the handshake was completed elsewhere; no effect if that is known."""
        if self.state is SessionState.OPENING:
            self.move(SessionSignal.INITIALIZED)
            self.send_held()

    # Outbound requests

    def start(self, *, now: float) -> None:
        """Client: begin to negotiate. Requests made before Ready wait for it."""
        if self.role is not _CLIENT or self.state is not _NEW:
            raise LocalProtocolError("only a new client can start")
        self.begin(now)

    def restart(self, *, now: float) -> None:
        """Client, legacy: initialize again after the session was lost.

        Pending requests stay (the transport sends them again or fails them).  Requests of the
        server in the lost session are cancelled.
        """
        self.initialize_again(now)
        for record in list(self.in_flight_by_id.values()):
            self.drop(record, RequestSignal.END, "the session was lost")
        # The next session may use the ids of requests that handlers have yet to release.
        self.in_flight_by_id.clear()

    def request(
        self,
        method: str,
        params: Body = None,
        *,
        now: float,
        timeout: float | None = DEFAULT_TIMEOUT,
        parent: Key | None = None,
        progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        log_level: str | None = None,
        force: bool = False,
        repeat: bool | None = None,
    ) -> RequestId:
        """Send a request; exactly one terminal event follows.

        ``timeout`` in seconds (the configured one by default, None for none); ``parent`` the
        inbound request on whose stream it travels; ``progress`` asks for progress, which also
        restarts the timeout; ``log_level`` asks for log messages (modern); ``force`` sends it even
        if the other side did not declare the capability, and allows methods unknown to the
        specification; ``repeat`` tells if it may be sent again if its connection breaks before the
        answer (the default is decided by :mod:`mcpcore.engine.repeating`).

        Raises LocalProtocolError, CapabilityMissing; ValueError or TypeError for params that are
        no JSON object or have no JSON form; msgspec.MsgspecError for Raw params that
        cannot be read where the engine has to.
        """
        self._check_open(len(self._pending) + len(self.waiting_input))
        if log_level is not None and log_level not in SEVERITY:
            raise LocalProtocolError(
                f"unknown log level {log_level!r}; known: {', '.join(SEVERITY)}"
            )
        body, meta = take_apart(params, meta)
        request = Outbound(
            peer=self,
            id=self.new_id(),
            method=method,
            original=body,
            body=body,
            meta=checked_meta(meta) if meta else {},
            log_level=log_level,
            parent=parent,
            route=MAIN if parent is None else self._route_of(parent),
            started=now,
            timeout=self._timeout(timeout),
            want_progress=progress,
            forced=force,
            repeat=repeat,
            stream=StreamState.OPENING if method == "subscriptions/listen" else None,
        )
        self.submit(request, now)
        return request.id

    def retry(
        self,
        request: RequestId,
        responses: Mapping[str, Body],
        *,
        now: float,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> RequestId:
        """Answer an InputRequired: send the request again with answers, state and a new id."""
        self._check_open(len(self._pending))
        waiting = self.waiting_input.get(request)
        if waiting is None:
            raise LocalProtocolError(f"request {request!r} does not wait for input")
        again = structs.replace(
            waiting,
            id=self.new_id(),
            # Answers and state are for this one retry; a further round brings its own.
            body=retry_body(waiting, responses),
            input_state=None,
            state=RequestState.HELD,
            started=now,
            timeout=self._timeout(timeout),
            deadline=None,
            progress=None,
        )
        self.submit(again, now)
        del self.waiting_input[request]
        return again.id

    def abandon(self, request: RequestId) -> None:
        """Give up a request that waits for input; nothing is sent."""
        self.waiting_input.pop(request, None)

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Cancel an outbound request: its terminal event is RequestEnded, a late answer is dropped.

        A request that has ended already is left alone; one that waits for input is abandoned.
        """
        self.abandon(request)
        pending = self._pending.get(request)
        if pending is None:
            return
        if pending.purpose is not Purpose.APPLICATION:
            raise LocalProtocolError(f"{pending.method} is not yours to cancel")
        text = reason or "cancelled"
        self.give_up(pending, RequestSignal.CANCEL, EndReason.CANCELLED, text, reason)

    def close(self, *, now: float) -> None:
        """Begin a graceful shutdown: listen streams get their results, nothing new begins.

        Outbound requests that still wait end as CLOSED; inbound requests may still be answered.
        """
        if self.state in (_CLOSING, _CLOSED):
            return
        for key in list(self.streams):
            self.end_subscription(key)
        text = "closed by this side"
        for pending in list(self._pending.values()):
            if pending.purpose is Purpose.APPLICATION:
                self.give_up(pending, RequestSignal.END, EndReason.CLOSED, text, "closed")
            else:
                self.conclude(pending, RequestSignal.END)
        self.waiting_input.clear()
        self.move(SessionSignal.CLOSE)

    def _check_open(self, open_requests: int) -> None:
        if self.state is _CLOSING or (self.state is _CLOSED and self.reconnects is None):
            raise LocalProtocolError(self.failure or "the conversation is closed")
        if self.half_closed:
            raise LocalProtocolError("the other side has finished writing and cannot answer")
        if self.role is _CLIENT and self.state is _NEW and not self.expected:
            raise LocalProtocolError("start the client before its first request")
        if self.expected:
            self.check_room()
        limit = self.config.limits.pending
        if open_requests >= limit:
            raise LocalProtocolError(f"{limit} requests wait for an answer already")

    def _route_of(self, parent: Key) -> Route:
        record = self.endpoint.inbound.get(parent)
        if record is None:
            raise LocalProtocolError(f"no request with key {parent} is in flight")
        if record.state is not RequestState.ACTIVE:
            raise LocalProtocolError(f"the request with key {parent} was cancelled")
        if not record.revision.server_requests:
            raise LocalProtocolError(
                f"{record.revision.name} has no requests on the stream of another"
            )
        return record.route

    def _timeout(self, timeout: float | None) -> float | None:
        if timeout is DEFAULT_TIMEOUT:
            return self.config.limits.request_timeout
        if timeout is not None and not timeout >= 0:
            raise LocalProtocolError(f"a timeout cannot be {timeout!r}")
        return timeout

    # Output

    def data_to_send(self, limit: int | None = None) -> list[Transmit]:
        """Take the frames that wait to be sent, until ``limit`` bytes (but at least one)."""
        return self.endpoint.data_to_send(limit)

    def lines_to_send(self, limit: int | None = None) -> bytes:
        """Take the same frames for a newline-framed stream: one buffer of whole lines."""
        parts: list[bytes] = []
        for frame in self.endpoint.data_to_send(limit):
            if frame.data:
                parts += frame.data
                parts += _NEWLINE
        return b"".join(parts)

    def queued(self, key: Key) -> int:
        """Return the bytes waiting on the stream of ``key``; if any, StreamDrained follows."""
        record = self.endpoint.inbound.get(key)
        if record is None:
            return 0
        record.drain_wanted = record.queued > 0
        return record.queued

    def waits(self, key: Key) -> bool:
        """Return True if bytes wait on the stream of ``key``; asks for no StreamDrained."""
        record = self.endpoint.inbound.get(key)
        return record is not None and record.queued > 0

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout` (origin as ``now``), None if never."""
        return self.endpoint.deadline()

    def handle_timeout(self, now: float) -> None:
        """Handle the deadlines due at ``now``; events follow from :meth:`next_event`."""
        self.endpoint.handle_timeout(now)
