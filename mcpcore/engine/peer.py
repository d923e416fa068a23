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

import msgspec
from msgspec import UNSET, Raw, Struct, structs

from mcpcore.engine.config import Role
from mcpcore.engine.events import MAIN, EndReason, Event, Key, Route, SubscriptionClosed
from mcpcore.engine.handlers import narrowed, subscription_meta
from mcpcore.engine.input_rounds import InputRequest, input_required, retry_body
from mcpcore.engine.lifecycle import (
    Request,
    RequestSignal,
    Session,
    SessionSignal,
    Stream,
    StreamSignal,
    step,
)
from mcpcore.engine.lifecycle import STREAM as STREAM_TABLE
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.receiver import End, Failure, Receiver
from mcpcore.engine.requests import Inbound, Outbound, Purpose
from mcpcore.engine.subscriptions import TOPICS, subject_of, wants
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import (
    META_LOG_LEVEL,
    META_PREFIX,
    META_PROGRESS_TOKEN,
    META_SUBSCRIPTION_ID,
)
from mcpcore.spec.types.logging import SEVERITY
from mcpcore.spec.types.subscriptions import SubscriptionFilter
from mcpcore.wire.framing import LineReader
from mcpcore.wire.message import (
    Body,
    Frame,
    RequestId,
    encode_error,
    encode_notification,
    encode_result,
    splice,
    to_json,
)

DEFAULT_TIMEOUT = math.nan
"""Stands for the configured timeout (None is a value of its own: wait for ever)."""

DEFAULT_LOG_LEVEL = "info"
"""What a legacy client that never set a level is sent from."""


class Peer(Receiver):
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
        assert revision is not None
        self.revision = None
        self._initialize(revision, now)

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
        extra = _own_meta(meta)
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
            timeout=self._timeout(timeout),
            state=Request.HELD,
            want_progress=progress,
            forced=force,
            stream=Stream.OPENING if listen else None,
        )
        if self.state is Session.OPEN and self.revision is not None:
            self.check(request, self.revision)
        elif self.role is Role.SERVER and self.revision is None:
            raise LocalProtocolError(f"no client has initialized; {method} cannot be sent")
        self.submit(request, now)
        return request.id

    def _timeout(self, timeout: float | None) -> float | None:
        if timeout is not None and math.isnan(timeout):
            return self.config.limits.request_timeout
        return timeout

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
            timeout=self._timeout(timeout),
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
        """
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
        if self.state is Session.OPEN and self.revision is not None and not self.revision.modern:
            if topic.subject is None or (topic.subject == "uri" and subject in self.uris):
                self.send_notification(method, body, route=MAIN, revision=self.revision)
        for record in self.streams.values():
            assert record.filter is not None
            if wants(topic, subject, record.filter, record.uris):
                self.send_notification(
                    method,
                    splice(body, subscription_meta(record)),
                    route=record.route,
                    record=record,
                    revision=record.revision,
                )

    # Answers to requests of the other side

    def _record(self, key: Key) -> Inbound:
        record = self.hub.inbound.get(key)
        if record is None:
            raise LocalProtocolError(f"no request with key {key} is in flight")
        return record

    def _active(self, key: Key) -> Inbound:
        record = self._record(key)
        if record.state is not Request.ACTIVE:
            raise LocalProtocolError(f"the request with key {key} was cancelled")
        return record

    def respond(
        self,
        key: Key,
        result: Body,
        *,
        meta: Mapping[str, Any] | None = None,
        result_type: str = "complete",
    ) -> bool:
        """Answer with a result; False if the request was cancelled meanwhile (it is dropped).

        A Struct with ``meta`` set, or a mapping with ``_meta``, gives its ``_meta`` too; a Raw
        must not contain one.
        """
        record = self._record(key)
        result, meta = _take_meta(result, meta)
        return self._finish_result(record, to_json(result), meta, result_type)

    def _finish_result(
        self, record: Inbound, body: bytes, meta: Mapping[str, Any] | None, result_type: str
    ) -> bool:
        peer = record.peer
        members = b""
        if record.revision.result_type:
            members = peer.complete
            if meta or result_type != "complete":
                members = b'"resultType":%b,"_meta":%b' % (
                    msgspec.json.encode(result_type),
                    to_json({**peer.server_meta, **(meta or {})}),
                )
        elif meta:
            members = b'"_meta":' + to_json(meta)
        data = encode_result(record.id, body, members)
        if not peer.finish(record, RequestSignal.ANSWER):
            return False
        peer.answer(
            record.route,
            record.batch,
            FrameKind.RESULT,
            data,
            key=record.key,
            method=record.method,
            revision=record.revision,
        )
        return True

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error; False if the request was cancelled meanwhile."""
        record = self._record(key)
        peer = record.peer
        error = peer.permitted(error, record.revision)
        data = encode_error(record.id, error)
        if not peer.finish(record, RequestSignal.ANSWER):
            return False
        peer.answer(
            record.route,
            record.batch,
            FrameKind.ERROR,
            data,
            key=record.key,
            code=error.code,
            method=record.method,
            revision=record.revision,
        )
        return True

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """Modern: answer that input is needed; the client asks again with the answers.

        Raises LocalProtocolError, CapabilityMissing.
        """
        record = self._record(key)
        body = input_required(record, requests, state)
        return self._finish_result(record, body, None, "input_required")

    def release(self, key: Key) -> None:
        """The handler of a cancelled request has ended; its place is free."""
        record = self.hub.inbound.get(key)
        if record is not None and record.state is Request.CANCELLED:
            record.peer.finish(record, RequestSignal.RELEASE)

    def progress(
        self, key: Key, value: float, total: float | None = None, message: str | None = None
    ) -> bool:
        """Report progress; False if nobody asked, the request is over, or it did not increase."""
        record = self.hub.inbound.get(key)
        if record is None or record.state is not Request.ACTIVE or record.token is None:
            return False
        if not math.isfinite(value) or (record.progress is not None and value <= record.progress):
            return False
        record.progress = value
        params: dict[str, Any] = {"progressToken": record.token, "progress": value}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        peer = record.peer
        waiting = record.waiting_progress
        if waiting is not None and record.queued > peer.config.limits.queued:
            before = waiting.size
            peer.hub.outbox.replace(waiting, (encode_notification("notifications/progress", to_json(params)),))
            record.queued += waiting.size - before
            return True
        record.waiting_progress = peer.send_notification(
            "notifications/progress",
            to_json(params),
            route=record.route,
            record=record,
            revision=record.revision,
        )
        return True

    def log(
        self, key: Key | None, level: str, data: Any, logger: str | None = None
    ) -> bool:
        """Send a log message; False where level, era or back-pressure say no.

        Modern: only for a request whose ``_meta`` names a level.  Legacy: from the level that the
        client set, by default ``info``.  ``key`` None sends outside of any request (legacy).
        """
        if level not in SEVERITY:
            raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")
        record = None if key is None else self.hub.inbound.get(key)
        if key is not None and (record is None or record.state is not Request.ACTIVE):
            return False
        peer: Any = self if record is None else record.peer
        revision: Revision | None = peer.revision if record is None else record.revision
        if revision is None or not declares(peer.config.capabilities, "logging"):
            return False
        if revision.per_request_log_level:
            wanted = None if record is None else record.log_level
        else:
            wanted = peer.log_level or DEFAULT_LOG_LEVEL
        if wanted is None or SEVERITY[level] < SEVERITY[wanted]:
            return False
        if (record.queued if record else peer.hub.outbox.size) > peer.config.limits.queued:
            return False
        params: dict[str, Any] = {"level": level, "data": data}
        if logger is not None:
            params["logger"] = logger
        peer.send_notification(
            "notifications/message",
            to_json(params),
            route=MAIN if record is None else record.route,
            record=record,
            revision=revision,
        )
        return True

    # Listen streams, server side

    def narrow(self, key: Key, filter: SubscriptionFilter) -> None:
        """Let a listen stream carry no more than ``filter``."""
        record = self._active(key)
        if record.filter is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        record.filter = narrowed(record.filter, filter)
        uris = record.filter.resource_subscriptions
        record.uris = frozenset(() if uris is UNSET else uris)

    def end_subscription(self, key: Key) -> None:
        """End a listen stream gracefully: ``notifications/cancelled`` for it, then its result."""
        record = self._active(key)
        if record.stream is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        peer = record.peer
        peer.send_notification(
            "notifications/cancelled",
            splice(to_json({"requestId": record.id}), subscription_meta(record)),
            route=record.route,
            record=record,
            revision=record.revision,
        )
        record.stream = step(STREAM_TABLE, record.stream, StreamSignal.FINISH)
        self._finish_result(record, b"{}", {META_SUBSCRIPTION_ID: record.id}, "complete")
        peer.emit(SubscriptionClosed(key=key))

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
        return b"".join([frame.line() for frame in self.hub.data_to_send(limit)])

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


def _own_meta(meta: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check ``_meta`` members of our owner: what the engine sets is not theirs to set."""
    if not meta:
        return {}
    for key in meta:
        if key == META_PROGRESS_TOKEN or (key.startswith(META_PREFIX) and key in _RESERVED):
            raise LocalProtocolError(f"_meta key {key!r} is set by the engine")
    return dict(meta)


_RESERVED = frozenset(
    META_PREFIX + name
    for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel")
)


def _take_meta(
    result: Body, meta: Mapping[str, Any] | None
) -> tuple[Body, Mapping[str, Any] | None]:
    """Separate a body from the ``_meta`` that it brings along."""
    own: Any = None
    if isinstance(result, Mapping):
        if "_meta" in result:
            own = result["_meta"]
            result = {name: value for name, value in result.items() if name != "_meta"}
    elif isinstance(result, Struct):
        own = getattr(result, "meta", UNSET)
        changes: dict[str, Any] = {} if own is UNSET else {"meta": UNSET}
        if getattr(result, "result_type", UNSET) is not UNSET:
            changes["result_type"] = UNSET
        if changes:
            result = structs.replace(result, **changes)
        own = None if own is UNSET else own
    if isinstance(own, Raw):
        own = msgspec.json.decode(own)
    if own:
        meta = {**own, **(meta or {})}
    return result, meta
