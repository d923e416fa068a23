"""Peer: one conversation, either role, as a state machine without I/O.

Feed it bytes or frames, pull events, take what it wants sent::

    peer.receive_data(data, now=clock())
    while (event := peer.next_event()) is not None:
        ...
    write(peer.lines_to_send())

Input is only queued; :meth:`Peer.next_event` advances the state by one message, so nothing may be
concluded from a Peer's attributes before it has returned None.  Mistakes of the caller raise
:class:`~mcpcore.spec.errors.LocalProtocolError` and change nothing; mistakes of the other side
become the error reply that the specification asks for and a Violation event.
"""

import math
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from mcpcore.engine.config import Role
from mcpcore.engine.events import MAIN, EndReason, Event, Key, Route
from mcpcore.engine.handlers import subscription_meta
from mcpcore.engine.input_rounds import retry_body
from mcpcore.engine.lifecycle import (
    Request,
    RequestSignal,
    Session,
    SessionSignal,
    Stream,
)
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.notices import End, Failure
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.engine.responder import Responder
from mcpcore.engine.subscriptions import TOPICS, subject_of, wants
from mcpcore.engine.transmit import Transmit
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.revisions import LATEST_LEGACY
from mcpcore.spec.types.base import (
    META_LOG_LEVEL,
    META_PREFIX,
    META_PROGRESS_TOKEN,
)
from mcpcore.wire.framing import LineReader
from mcpcore.wire.message import (
    Body,
    Frame,
    RequestId,
    splice,
    to_json,
)

DEFAULT_TIMEOUT = math.nan
"""Stands for the configured timeout (None is a value of its own: wait for ever)."""

_NOT_BY_HAND = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/message",
        "notifications/subscriptions/acknowledged",
    }
)


class Peer(Responder):
    """One end of a conversation, client or server, in either era."""

    # In: only queued

    def receive_data(self, data: bytes, *, now: float) -> None:
        """Take bytes of a newline-framed stream (stdio, sockets)."""
        lines = self._lines
        if lines is None:
            lines = self._lines = LineReader(self.config.limits.message_size)
        lines.receive(data)
        inbox = self.hub.inbox
        for line in lines.lines():
            inbox.append((self, line, now))

    def receive(
        self,
        frame: Frame | bytes,
        *,
        now: float,
        route: Route = MAIN,
        mirror: Mirror | None = None,
        principal: str | None = None,
        proves_modern: bool = False,
    ) -> None:
        """Take one frame, decoded or as the bytes of one JSON text.

        ``mirror`` is what the HTTP headers claim; ``principal`` who was authenticated;
        ``proves_modern`` that the transport recognised a modern server (HTTP 404 with -32601).
        """
        self.hub.inbox.append((self, frame, now, route, mirror, principal, proves_modern))

    def receive_eof(
        self, *, now: float, route: Route = MAIN, half: bool = False, reason: str = "closed"
    ) -> None:
        """The transport (or one route of it) has ended.

        ``half``: the other side has finished writing but still reads, so that requests being
        worked on may still be answered.  A last line without newline is taken as it is.
        """
        if self._lines is not None and route == MAIN:
            rest = self._lines.eof()
            if rest:
                self.hub.inbox.append((self, rest, now))
        self.hub.inbox.append((self, End(reason, half), now, route))

    def receive_failure(
        self,
        request: RequestId,
        *,
        now: float,
        reason: EndReason,
        message: str,
        evidence: bool = False,
    ) -> None:
        """The transport knows that ``request`` of ours can get no answer.

        ``evidence``: it failed in a way that tells a legacy server (versioning page), so that the
        era probe falls back instead of giving up.
        """
        self.hub.inbox.append((self, Failure(request, reason, message, evidence), now))

    def next_event(self) -> Event | None:
        """Advance until there is something to tell; None when all input is used up.

        Where several Peers share a hub this is the hub's next event, whichever Peer it concerns.
        """
        return self.hub.next_event()

    # Requests of ours

    def start(self, *, now: float) -> None:
        """Client: begin to negotiate. Requests made before Ready wait for it."""
        if self.role is not Role.CLIENT or self.state is not Session.NEW:
            raise LocalProtocolError("only a new client can start")
        self.begin(now)

    def restart(self, *, now: float) -> None:
        """Client, legacy: the session is lost; initialize again (what is pending stays)."""
        revision = self.revision
        self.move(SessionSignal.RESTART)
        self.agree(None)
        self._initialize(revision or LATEST_LEGACY, now)

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
    ) -> RequestId:
        """Send a request; exactly one terminal event follows.

        ``timeout`` in seconds (the configured one by default, None for none); ``parent`` the
        inbound request on whose stream it travels; ``progress`` asks for progress, which also
        restarts the timeout; ``log_level`` asks for log messages (modern); ``force`` sends what
        the other side did not declare.  Raises LocalProtocolError, CapabilityMissing.
        """
        if self.state in (Session.CLOSING, Session.CLOSED):
            raise LocalProtocolError(self.failure or "the conversation is closed")
        if self.role is Role.CLIENT and self.state is Session.NEW:
            raise LocalProtocolError("start the client before its first request")
        if len(self._pending) >= self.config.limits.pending:
            raise LocalProtocolError(
                f"{self.config.limits.pending} requests wait for an answer already"
            )
        extra = _own_meta(meta) if meta else {}
        if log_level is not None:
            extra[META_LOG_LEVEL] = log_level
        route = MAIN
        if parent is not None:
            route = self._active(parent).route
        listen = method == "subscriptions/listen"
        request = Outbound(
            peer=self,
            id=self.new_id(),
            method=method,
            body=to_json(params),
            meta=extra,
            purpose=Purpose.OWNER,
            parent=parent,
            route=route,
            started=now,
            timeout=self._default_timeout if timeout is DEFAULT_TIMEOUT else timeout,
            state=Request.HELD,
            want_progress=progress,
            forced=force,
            stream=Stream.OPENING if listen else None,
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
        """Answer an InputRequired: the original request again, with answers and state, new id."""
        waiting = self.waiting_input.pop(request, None)
        if waiting is None:
            raise LocalProtocolError(f"request {request!r} does not wait for input")
        again = structs.replace(
            waiting,
            id=self.new_id(),
            state=Request.HELD,
            started=now,
            timeout=self._default_timeout if timeout is DEFAULT_TIMEOUT else timeout,
            deadline=None,
            progress=None,
            input_state=None,
        )
        # The answers go to this one retry only; a further round starts from the original body.
        again.body = retry_body(waiting, responses)
        self.submit(again, now)
        again.body = waiting.body
        return again.id

    def abandon(self, request: RequestId) -> None:
        """Give up a request that waits for input; nothing is sent."""
        self.waiting_input.pop(request, None)

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Give up a request of ours: its terminal event is RequestEnded; a late answer is dropped.

        A request that has ended already is left alone.
        """
        pending = self._pending.get(request)
        if pending is None:
            return
        if pending.purpose is Purpose.INITIALIZE:
            raise LocalProtocolError("initialize must not be cancelled")
        sent = pending.state is Request.ACTIVE
        self.abort(pending, RequestSignal.CANCEL, EndReason.CANCELLED, reason or "cancelled")
        if sent:
            self.send_cancelled(pending, reason)

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a notification, or publish a change.

        With ``parent`` it travels on that request's stream.  Without, changes (list_changed,
        resources/updated) go to whoever subscribed, in either era, and to nobody else.
        Raises LocalProtocolError for those that have rules which other calls see to.
        """
        if method in _NOT_BY_HAND:
            raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
        body = to_json(params)
        topic = TOPICS.get(method)
        if self.role is Role.SERVER and topic is not None and parent is None:
            self._publish(method, body)
            return
        if meta:
            body = splice(body, b'"_meta":' + to_json(meta))
        record = None if parent is None else self._active(parent)
        if record is None and (self.revision is None or self.state is Session.CLOSED):
            return
        self.send_notification(
            method,
            body,
            route=MAIN if record is None else record.route,
            record=record,
            revision=self.revision if record is None else record.revision,
        )

    def _publish(self, method: str, body: bytes) -> None:
        if not self._announced[method]:
            return
        topic = TOPICS[method]
        subject = subject_of(topic, body)
        heard = topic.subject is None or (topic.subject == "uri" and subject in self.uris)
        if heard and self.state is Session.OPEN:
            self.send_notification(method, body, route=MAIN, revision=self.revision)
        for record in self.streams.values():
            if record.filter is not None and wants(topic, subject, record.filter, record.uris):
                self.send_notification(
                    method,
                    splice(body, subscription_meta(record)),
                    route=record.route,
                    record=record,
                    revision=record.revision,
                )

    def close(self, *, now: float) -> None:
        """End gracefully: listen streams get their results, nothing new begins.

        Requests of ours that still wait end as CLOSED; requests of the other side may be answered.
        """
        if self.state in (Session.CLOSING, Session.CLOSED):
            return
        for key in list(self.streams):
            self.end_subscription(key)
        for pending in list(self._pending.values()):
            sent = pending.state is Request.ACTIVE and pending.purpose is Purpose.OWNER
            self.abort(pending, RequestSignal.END, EndReason.CLOSED, "closed by this side")
            if sent:
                self.send_cancelled(pending, "closed")
        self.waiting_input.clear()
        self.move(SessionSignal.CLOSE)

    # Out

    def data_to_send(self, limit: int | None = None) -> list[Transmit]:
        """Take the frames that wait to be sent, until ``limit`` bytes (but at least one)."""
        return self.hub.data_to_send(limit)

    def lines_to_send(self, limit: int | None = None) -> bytes:
        """The same for newline-framed streams: one buffer of whole lines."""
        parts: list[bytes] = []
        for frame in self.hub.data_to_send(limit):
            if frame.data:
                parts += frame.data
                parts.append(b"\n")
        return b"".join(parts)

    def queued(self, key: Key) -> int:
        """Bytes waiting on the stream of ``key``; StreamDrained follows if there are any."""
        record = self.hub.inbound.get(key)
        if record is None:
            return 0
        record.drain_wanted = record.queued > 0
        return record.queued

    def deadline(self) -> float | None:
        """When :meth:`handle_timeout` is next needed (same origin as ``now``), None if never."""
        return self.hub.deadline()

    def handle_timeout(self, now: float) -> None:
        """Let what is due at ``now`` time out; events follow from :meth:`next_event`."""
        self.hub.handle_timeout(now)


def _own_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``_meta`` members of our owner: what the engine sets is not theirs to set."""
    for key in meta:
        if key == META_PROGRESS_TOKEN or (key.startswith(META_PREFIX) and key in _RESERVED):
            raise LocalProtocolError(f"_meta key {key!r} is set by the engine")
    return dict(meta)


_RESERVED = frozenset(
    META_PREFIX + name
    for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel")
)
