"""What comes back to an HTTP client: heads, bodies, event streams and their ends.

Source: the Streamable HTTP pages ("Sending Messages", "Resumability and Redelivery", and for
2026-07-28 "Backward Compatibility").
"""

from abc import ABC, abstractmethod
from typing import cast

import msgspec
from msgspec import UNSET, Raw, structs

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Route, Violation
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import Transmit
from mcpcore.http.call import (
    REPEATABLE,
    Call,
    Purpose,
    Reading,
    content_kind,
    proves_modern,
    refusal_text,
    tells_era,
)
from mcpcore.http.headers import SESSION_ID, Fields, HeaderError, Headers, is_session_id
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.plan import Planner, sendable_event_id
from mcpcore.http.recovery import Backoff, Recovery, Relay, StreamInterrupted
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import ERRORS, INVALID_REQUEST, ErrorData
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import Frame, Kind, Message, Reject, RequestId, decode
from mcpcore.wire.sse import ServerSentEvent, SseDecoder, SseTooLarge

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"

_decode_error = msgspec.json.Decoder(ErrorData).decode
_LINGER = 5.0
"""Seconds that a server gets to end a stream after the answer."""
_FINAL = frozenset({401, 403, 405})
"""Refusals of the standalone stream that asking differently will not change."""
_SHOWN = 200
"""Characters of a plain-text refusal that are worth showing."""


class Responses(ABC):
    """The half of an HttpClient that reads."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        self._peer = peer
        self._relay = Relay(peer.hub)
        self._backoff = Backoff(settings, seed)
        self._planner = planner
        self.settings = settings
        self._calls: dict[Route, Call] = {}
        self._by_request: dict[RequestId, Call] = {}
        self._plans: list[HttpSend | HttpAbort] = []
        self._deadlines: Deadlines[Call] = Deadlines()
        self._routes = 0
        self._session: str | None = None
        self._revision: Revision | None = None
        """The legacy revision in use, once it was negotiated."""
        self._epoch = 0
        self._fruitful = False
        """The session of this epoch has answered a request."""
        self._streamed = False
        """The standalone stream of this epoch was open once."""
        self._closing = False

    @abstractmethod
    def _lost(self, call: Call, frame: Transmit | None, now: float) -> None:
        """The server does not know the session that ``call`` was sent in."""

    @abstractmethod
    def _save(self, call: Call, frame: Transmit | None, message: str, now: float) -> None:
        """Send the request of ``call`` again in the next session, or end it."""

    @abstractmethod
    def _confirmed(self) -> None:
        """``notifications/initialized`` has reached the server."""

    @abstractmethod
    def _ended(self, now: float) -> None:
        """A response is complete."""

    # In

    def response_head(self, exchange: Route, status: int, headers: Headers, *, now: float) -> None:
        """Take status and headers of a final response. An exchange that was aborted is ignored."""
        call = self._calls.get(exchange)
        if call is None or status < 200:
            return
        call.status = status
        frame = call.frame
        if call.method not in REPEATABLE:
            call.frame = None
        missing = status == 404 and call.in_session
        if call.purpose is Purpose.DELETE:
            call.over = True
        elif missing and (call.purpose is not Purpose.STREAM or self._streamed):
            call.over = True
            self._lost(call, frame, now)
            return
        elif call.purpose is Purpose.POST:
            self._post_head(call, status, Fields(headers), now)
        else:
            self._get_head(call, status, Fields(headers), now)
        if call.method == INITIALIZED:
            self._confirmed()

    def response_data(self, exchange: Route, data: bytes, *, now: float) -> None:
        """Take a part of a response body."""
        call = self._calls.get(exchange)
        if call is None or call.over:
            return
        if call.decoder is not None:
            self._read_events(call, call.decoder, data, now)
            return
        if call.reading is Reading.HEAD:
            return
        call.size += len(data)
        if call.size > self.settings.max_body:
            text = f"the response is larger than {self.settings.max_body} bytes"
            self._fail(call, text, now, reason=EndReason.INVALID)
            self._abort(call)
            return
        call.chunks.append(data)

    def response_end(self, exchange: Route, *, error: str | None = None, now: float) -> None:
        """The response is complete or, with ``error``, broken off; nothing follows."""
        call = self._calls.pop(exchange, None)
        if call is None:
            return
        if call.deadline is not None:
            self._deadlines.set(call, None)
        if not call.over:
            self._finish(call, error, now)
        self._ended(now)

    # Heads

    def _post_head(self, call: Call, status: int, fields: Fields, now: float) -> None:
        if status >= 400:
            call.reading = Reading.ERROR
            return
        if status >= 300:
            call.over = True
            self._fail(call, refusal_text(status, "redirects are not followed"), now)
            return
        if call.method == INITIALIZE and not self._read_session(call, fields, now):
            return
        if call.request is None:
            call.over = True
            return
        kind = content_kind(fields)
        if status in (202, 204):
            call.over = True
            text = f"the server accepted {call.method} without answering it"
            # Whoever takes a request for a notification does not know the method, or the era.
            self._fail(call, text, now, reason=EndReason.INVALID, evidence=True)
        elif kind is None:
            call.over = True
            text = f"the answer to {call.method} is neither JSON nor an event stream"
            self._fail(call, text, now, reason=EndReason.INVALID)
        else:
            if call.in_session and call.epoch == self._epoch:
                self._fruitful = True
            self._begin(call, kind, now)

    def _get_head(self, call: Call, status: int, fields: Fields, now: float) -> None:
        if 200 <= status < 300 and content_kind(fields) is Reading.EVENTS:
            if call.purpose is Purpose.STREAM and call.epoch == self._epoch:
                self._streamed = True
            self._begin(call, Reading.EVENTS, now)
        elif status < 500 and status != 429 and not (status == 409 and call.resumes):
            if call.purpose is Purpose.STREAM and call.last_event_id and status not in _FINAL:
                # What it forgot it forgot; the end of this response begins the stream anew.
                call.last_event_id = ""
                return
            # A server need not offer the standalone stream.
            call.over = True
            text = f"{call.method} cannot be resumed: {refusal_text(status)}"
            if call.resumes:
                self._interrupted(call, Recovery.FAIL, 0.0, text)
            self._fail(call, text, now)
        # Else it may go better the next time, which comes with the end of this response: a server
        # may not have noticed yet that a connection of ours is dead (409).

    def _begin(self, call: Call, kind: Reading, now: float) -> None:
        call.reading = kind
        call.opened = now
        if kind is Reading.EVENTS:
            call.decoder = SseDecoder(self.settings.max_event)
            call.decoder.last_event_id = call.last_event_id

    def _read_session(self, call: Call, fields: Fields, now: float) -> bool:
        """Take note of the session that ``initialize`` opened, if it did."""
        try:
            session = fields.one(SESSION_ID)
        except HeaderError as error:
            session = str(error)
        if session is not None and not is_session_id(session):
            call.over = True
            text = "the server gave a session id that is not visible ASCII"
            self._fail(call, text, now, reason=EndReason.INVALID)
            return False
        self._session = session
        return True

    # Bodies

    def _read_events(self, call: Call, decoder: SseDecoder, data: bytes, now: float) -> None:
        broken: str | None = None
        try:
            events = decoder.receive(data)
        except SseTooLarge as error:
            events, broken = error.events, str(error)
        if sendable_event_id(decoder.last_event_id):
            if decoder.last_event_id != call.last_event_id:
                call.resumes = 0
            call.last_event_id = decoder.last_event_id
        if decoder.retry is not None:
            call.retry = decoder.retry / 1000
        for event in events:
            self._event(call, event, now)
        if broken is not None:
            self._fail(call, broken, now, reason=EndReason.INVALID)
            self._abort(call)

    def _event(self, call: Call, event: ServerSentEvent, now: float) -> None:
        call.resumes = 0
        if event.event == "message" and event.payload:
            self._take(call, self._decode(event.payload), now)

    def _decode(self, data: bytes) -> Frame:
        limits = self._peer.config.limits
        return decode(data, max_depth=limits.depth, max_batch=limits.batch)

    def _take(self, call: Call, frame: Frame, now: float, *, modern: bool = False) -> None:
        """Give the engine what arrived, without answers to anything but what was asked here."""
        for part in frame if isinstance(frame, list) else (frame,):
            item = self._expected(call, part, now)
            if item is not None:
                self._peer.receive(item, now=now, route=call.route, proves_modern=modern)

    def _expected(self, call: Call, item: Message | Reject, now: float) -> Message | Reject | None:
        """The item, with its id filled in where it has none; None if it does not belong here."""
        if isinstance(item, Reject):
            answer, id = item.response, item.id
        else:
            answer = item.method is UNSET
            id = None if item.id is UNSET else item.id
        if not answer:
            return item
        if call.request is None or (id is not None and id != call.request):
            text = f"an answer to request {id!r} came where none was asked for"
            if call.request is not None:
                text = f"an answer to request {id!r} came in place of one to {call.request!r}"
            self._violation(call, text)
            return None
        if id is None:
            item = structs.replace(item, id=call.request)
        self._settle(call, call.request, now)
        return item

    # Ends

    def _finish(self, call: Call, error: str | None, now: float) -> None:
        reading = call.reading
        if reading is Reading.HEAD and call.method == INITIALIZED:
            self._confirmed()
        if reading is Reading.EVENTS or call.purpose is not Purpose.POST:
            self._broken(call, error or "the stream ended", now)
        elif reading is Reading.ERROR:
            self._refused(call, b"".join(call.chunks), now)
        elif error is not None or reading is Reading.HEAD:
            self._fail(call, error or "the connection ended before the response", now)
        else:
            self._answered(call, self._decode(b"".join(call.chunks)), now)

    def _answered(self, call: Call, frame: Frame, now: float) -> None:
        if isinstance(frame, Reject) and not frame.response:
            text = f"the answer to {call.method} is no valid message: {frame.message}"
            self._fail(call, text, now, reason=EndReason.INVALID)
            return
        self._take(call, frame, now)
        text = f"the response to {call.method} holds no answer to it"
        self._fail(call, text, now, reason=EndReason.INVALID)

    def _refused(self, call: Call, body: bytes, now: float) -> None:
        """A status of 400 or more: the body decides what it means, if it is a JSON-RPC error."""
        frame, status, asks = self._decode(body), call.status, call.request is not None
        if isinstance(frame, Message) and frame.kind is Kind.ERROR:
            error = _decode_error(cast(Raw, frame.error))
            modern = proves_modern(status, error)
            row = ERRORS.get(error.code)
            clear = modern or (row is not None and row.proves_modern)
            if asks and (clear or not call.negotiating or tells_era(status)):
                self._take(call, frame, now, modern=modern)
            detail = error.message
        else:
            text = body[: 4 * _SHOWN].decode("utf-8", "replace").strip()
            detail = text[:_SHOWN] if text.isprintable() and not text.startswith("<") else ""
        message = f"{call.method}: {refusal_text(status, detail)}"
        if asks:
            self._fail(call, message, now, reason=EndReason.REFUSED, evidence=tells_era(status))
        else:
            self._violation(call, message)

    def _broken(self, call: Call, error: str, now: float) -> None:
        """A stream has ended early: pick it up where that is possible."""
        wanted = call.purpose is Purpose.STREAM or call.request is not None
        if not wanted:
            return
        if call.opened is not None and now - call.opened >= self.settings.lasting:
            call.resumes = 0
        call.opened = None
        recovery = self._recovery(call)
        if recovery is not Recovery.FAIL:
            self._pick_up(call, recovery, error)
            return
        current = call.epoch == self._epoch
        if not current:
            error = f"{error}, and its session was lost"
        elif call.resumes:
            error = f"{error}; resuming failed {call.resumes} times"
        if call.revision is None or call.revision.resumable:
            self._interrupted(call, recovery, 0.0, error)
        message = f"{call.method}: {error} before the answer"
        if current:
            self._fail(call, message, now)
        else:
            self._save(call, call.frame, message, now)

    def _recovery(self, call: Call) -> Recovery:
        """What to do about a stream that has broken off."""
        if call.epoch == self._epoch and call.resumes < self.settings.max_resumes:
            if self.settings.resume and call.resumable:
                return Recovery.RESUME
            if self.settings.reopen and call.purpose is Purpose.STREAM:
                return Recovery.REOPEN
        return Recovery.FAIL

    def _pick_up(self, call: Call, recovery: Recovery, reason: str) -> None:
        if recovery is Recovery.REOPEN:
            call.last_event_id = ""
        call.resumes += 1
        delay = self._backoff.delay(call.resumes, call.retry)
        self._interrupted(call, recovery, delay, reason)
        call.route = self._new_route()
        if call.purpose is Purpose.POST:
            call.purpose = Purpose.RESUME
        call.reading = Reading.HEAD
        call.decoder = None
        call.in_session = self._session is not None
        self._calls[call.route] = call
        self._plans.append(
            self._planner.get(
                call.route,
                session=self._session,
                version=self._version(),
                last_event_id=call.last_event_id,
                after=delay,
            )
        )

    def _interrupted(self, call: Call, recovery: Recovery, delay: float, reason: str) -> None:
        self._relay.push(
            StreamInterrupted(
                request=call.request,
                recovery=recovery,
                attempt=max(call.resumes, 1),
                delay=delay,
                reason=reason,
            )
        )

    # Helpers

    def _new_route(self) -> Route:
        self._routes += 1
        return self._routes

    def _version(self) -> Revision | None:
        """What the version header says in the legacy session."""
        revision = self._revision
        return revision if revision is not None and revision.version_header else None

    def _settle(self, call: Call, request: RequestId, now: float) -> None:
        """The request of ``call`` has its outcome."""
        del self._by_request[request]
        call.request = None
        if call.reading is Reading.EVENTS and call.route in self._calls:
            self._deadlines.set(call, now + _LINGER)

    def _fail(
        self,
        call: Call,
        message: str,
        now: float,
        *,
        reason: EndReason = EndReason.CLOSED,
        evidence: bool = False,
    ) -> None:
        """End the request of ``call``, if it has one that waits, without an answer."""
        request = call.request
        if request is None:
            return
        self._settle(call, request, now)
        self._peer.receive_failure(
            request, now=now, reason=reason, message=message, evidence=evidence
        )

    def _violation(self, call: Call, message: str) -> None:
        session = self._session
        self._peer.hub.events.append(
            Violation(code=INVALID_REQUEST, message=message, route=call.route, session=session)
        )

    def _abort(self, call: Call) -> None:
        """Give an exchange up."""
        del self._calls[call.route]
        if call.deadline is not None:
            self._deadlines.set(call, None)
        if call.request is not None:
            del self._by_request[call.request]
            call.request = None
        self._plans.append(HttpAbort(call.route))
