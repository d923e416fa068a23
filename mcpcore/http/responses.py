"""What comes back to an HTTP client: heads, and how what follows them is read.

Source: the Streamable HTTP pages ("Sending Messages", "Resumability and Redelivery", and for
2026-07-28 "Backward Compatibility").
"""

import math
from abc import abstractmethod
<<<<<<< ours
from contextlib import suppress
=======
from typing import cast

import msgspec
from msgspec import UNSET, Raw, structs
>>>>>>> theirs

from mcpcore.engine.events import EndReason, Route
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.engine.peer import Peer
<<<<<<< ours
from mcpcore.engine.transmit import Transmit
from mcpcore.http.answers import INITIALIZE, INITIALIZED, Answers
from mcpcore.http.call import Call, Purpose, Reading, content_kind, refusal_text
=======
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.call import (
    REDIRECTS,
    Call,
    Purpose,
    Reading,
    content_kind,
    proves_modern,
    refusal_of,
    refusal_text,
    seconds_of,
    tells_era,
)
>>>>>>> theirs
from mcpcore.http.headers import (
    CONTENT_LENGTH,
    SESSION_ID,
    Fields,
    HeaderError,
    Headers,
    is_session_id,
)
from mcpcore.http.legacy_sse_client import Piping
from mcpcore.http.messages import HttpAbort
from mcpcore.http.outcomes import LINGER
<<<<<<< ours
from mcpcore.http.plan import Planner
=======
from mcpcore.http.plan import Planner, sendable_event_id
>>>>>>> theirs
from mcpcore.http.recovery import Recovery, StreamReopened
from mcpcore.http.settings import HttpClientSettings
from mcpcore.wire.sse import SseDecoder

_FINAL = frozenset({401, 403, 405})
"""Refusals of the standalone stream that asking differently will not change."""
_SKIPPED = 64 * 1024
"""Bytes that do not matter and are read all the same, for the connection to be used again."""
<<<<<<< ours
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
=======
_ANSWERS = frozenset({FrameKind.RESULT, FrameKind.ERROR, FrameKind.BATCH})
_PASSING = frozenset({429, 502, 503, 504})
"""Statuses of a server that restarts, or of what stands in front of it."""
>>>>>>> theirs
_LATER = frozenset({429, 503})
"""Statuses with which ``Retry-After`` says when it may go better."""


<<<<<<< ours
class Responses(Answers):
    """The half of an HttpClient that reads: heads, and the parts of what follows them."""
=======
class Responses(Piping):
    """The half of an HttpClient that reads."""
>>>>>>> theirs

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        super().__init__(peer, planner, settings, seed)
        self._fruitful = False
        """The session of this epoch has answered a request."""
        self._streamed = False
        """The standalone stream of this epoch was open once."""
        self._doubtful = -math.inf
        """Until then 404 says nothing about the session of this epoch."""

    @abstractmethod
    def _lost(self, call: Call, frame: Transmit | None, now: float) -> None:
        """The server does not know the session that ``call`` was sent in."""

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
        if frame is not None and not frame.repeatable:
            call.frame = None
        if call.purpose is Purpose.DELETE:
            call.over = True
        elif status == 404 and call.in_session and self._tells_loss(call, now):
            call.over = True
            self._lost(call, frame, now)
            return
        elif call.purpose is Purpose.PIPE:
            self._pipe_head(call, status, Fields(headers), now)
        elif call.purpose is Purpose.POST:
            self._post_head(call, status, Fields(headers), now)
        else:
            self._get_head(call, status, Fields(headers), now)
        if call.method == INITIALIZED:
            self._confirmed()

    def _tells_loss(self, call: Call, now: float) -> bool:
        """Whether the 404 that met ``call`` is about its session, and not about itself.

        What meets it again in the next session is refused for what it is; whether that session
        is known is not asked anew for a while, as each time costs all requests their session.
        """
        if call.purpose is Purpose.STREAM:
            return self._streamed
        if call.purpose is not Purpose.POST or call.method == INITIALIZED:
            return True
        current = call.epoch == self._epoch
        if call.again and current:
            self._doubtful = now + self.settings.retry_delay
        return not (call.again or (current and now < self._doubtful))

    def response_data(self, exchange: Route, data: bytes, *, now: float) -> None:
        """Take a part of a response body."""
        call = self._calls.get(exchange)
        if call is None:
            return
        if call.over or (call.reading is Reading.HEAD and call.decoder is None):
            call.skipped += len(data)
            if call.skipped > _SKIPPED:
                self._cut(call, now)
        elif call.decoder is not None:
            self._read_events(call, call.decoder, data, now)
        elif call.reading is Reading.ERROR:
            call.body += data
            if len(call.body) > self.settings.max_refusal:
                del call.body[self.settings.max_refusal :]
                self._refused(call, bytes(call.body), now)
                self._abort(call)
        else:
            call.body += data
            if len(call.body) > self.settings.max_body:
                call.body.clear()
                self._too_large(call, "response", self.settings.max_body, now)

    def _cut(self, call: Call, now: float) -> None:
        """Read no more of a response that does not matter."""
        exchange = call.route
        if call.over or call.purpose is Purpose.POST:
            self._abort(call)
            self._ended(now)
        else:
            # A GET that was refused for now: its end is when to come back.
            self.response_end(exchange, error="the refusal has no end", now=now)
            self._plans.append(HttpAbort(exchange))

    def _too_large(self, call: Call, what: str, limit: int, now: float) -> None:
        text = f"{call.method}: the {what} is larger than {limit} bytes"
        self._give_up(call, text, now, fault=Fault(FaultKind.TOO_LARGE))

    def response_end(
        self,
        exchange: Route,
        *,
        error: str | None = None,
        fault: Fault | None = None,
        now: float,
    ) -> None:
        """The response is complete or, with ``error``, broken off; nothing follows.

        ``fault`` says what exactly went wrong, if it was more than the loss of a connection.
        """
        call = self._calls.pop(exchange, None)
        if call is None:
            return
        if call.deadline is not None:
            self._deadlines.set(call, None)
        if not call.over:
            self._finish(call, error, fault, now)
        self._ended(now)

    # Heads

    def _post_head(self, call: Call, status: int, fields: Fields, now: float) -> None:
        if status >= 400:
            call.reading = Reading.ERROR
            call.retry_after = seconds_of(fields)
            return
        if status >= 300:
            call.over = True
            fault = refusal_of(status, fields)
            text = "redirects of POST are not followed"
            self._fail(call, f"{call.method}: {refusal_text(status, text)}", now, fault=fault)
            return
        if self.uses_sse:
            self._posted(call)
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
            if kind is Reading.JSON and _announced(fields) > self.settings.max_body:
                self._too_large(call, "response", self.settings.max_body, now)
            else:
                self._begin(call, kind, now)

    def _get_head(self, call: Call, status: int, fields: Fields, now: float) -> None:
        if 200 <= status < 300 and content_kind(fields) is Reading.EVENTS:
            if call.purpose is Purpose.STREAM and call.epoch == self._epoch:
                if self._streamed and call.resumes and not call.last_event_id:
                    self._relay.push(StreamReopened())
                self._streamed = True
            self._begin(call, Reading.EVENTS, now)
        elif status in REDIRECTS:
            self._redirected(call, status, fields, now)
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
            self._fail(call, text, now, fault=refusal_of(status, fields), reason=EndReason.CLOSED)
        elif status in _LATER:
            wait = seconds_of(fields)
            call.retry = call.retry if wait is None else wait
        # Else it may go better the next time, which comes with the end of this response: a server
        # may not have noticed yet that a connection of ours is dead (409).

    def _redirected(self, call: Call, status: int, fields: Fields, now: float) -> None:
        """A GET is sent elsewhere: follow within our origin, a few times."""
        fault = refusal_of(status, fields)
        target = self._planner.moved(fault.location)
        if target is not None and call.redirects < self.settings.max_redirects:
            left = Call(
                route=call.route,
                purpose=call.purpose,
                epoch=call.epoch,
                in_session=call.in_session,
                revision=call.revision,
                over=True,
            )
            self._calls[left.route] = left
            self._deadlines.set(left, now + LINGER)
            call.redirects += 1
            self._get(call, None, target)
            return
        call.over = True
        reason = "redirects to other origins are not followed"
        if target is not None:
            reason = f"more than {self.settings.max_redirects} redirects"
        text = f"{call.method}: {refusal_text(status, reason)}"
        self._interrupted(call, Recovery.FAIL, 0.0, text)
        self._deadlines.set(call, now + LINGER)
        self._fail(call, text, now, fault=fault)

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

<<<<<<< ours
=======
    # Bodies

    def _read_events(self, call: Call, decoder: SseDecoder, data: bytes, now: float) -> None:
        broken: str | None = None
        call.heard = now
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
            if call.violations > self.settings.max_violations:
                self._too_much(call, now)
                return
        if broken is not None:
            fault = Fault(FaultKind.TOO_LARGE)
            self._give_up(call, f"{call.method}: {broken}", now, fault=fault)

    def _event(self, call: Call, event: ServerSentEvent, now: float) -> None:
        call.resumes = 0
        if call.purpose is Purpose.PIPE and not self._piped(call, event, now):
            return
        if event.event == "message" and event.payload:
            self._take(call, self._decode(event.payload), now)

    def _decode(self, data: bytes) -> Frame:
        limits = self._peer.config.limits
        return decode(data, max_depth=limits.depth, max_batch=limits.batch)

    def _take(self, call: Call, frame: Frame, now: float, *, modern: bool = False) -> None:
        """Give the engine what arrived, without answers to anything but what was asked here."""
        if isinstance(frame, list) and call.revision is not None and not call.revision.batches:
            self._violation(
                call, f"a batch in answer to {call.method}: {call.revision.name} has none"
            )
            return
        for part in frame if isinstance(frame, list) else (frame,):
            item = self._expected(call, part, now)
            if item is not None:
                self._peer.receive(item, now=now, route=call.route, proves_modern=modern)

    def _expected(self, call: Call, item: Message | Reject, now: float) -> Message | Reject | None:
        """The item, with its id filled in where it has none; None if it does not belong here."""
        if call.purpose is Purpose.PIPE:
            return self._heard(call, item, now)
        if isinstance(item, Reject):
            answer, id = item.response, item.id
        else:
            answer = item.method is UNSET
            id = None if item.id is UNSET else item.id
        if not answer:
            if isinstance(item, Reject):
                call.violations += 1
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

    def _finish(self, call: Call, error: str | None, fault: Fault | None, now: float) -> None:
        reading = call.reading
        if reading is Reading.HEAD and call.method == INITIALIZED:
            self._confirmed()
        if reading is Reading.EVENTS or call.purpose is not Purpose.POST:
            self._broken(call, error or "the stream ended", now, fault)
        elif reading is Reading.ERROR:
            self._refused(call, bytes(call.body), now)
        elif error is not None or reading is Reading.HEAD:
            if self._repeats(call, fault) or (_passes(call, fault) and self._opens_later(call)):
                return
            text = error or "the connection ended before the response"
            if call.request is None and error is not None and not self._closing:
                self._violation(call, f"{call.method} was not taken: {error}")
            self._fail(call, text, now, fault=fault)
        else:
            self._answered(call, self._decode(bytes(call.body)), now)

    def _repeats(self, call: Call, fault: Fault | None) -> bool:
        """Send an answer of ours once more that had no response: whoever has it ignores another."""
        frame = call.frame
        if not _passes(call, fault) or frame is None or frame.kind not in _ANSWERS or call.repeated:
            return False
        if self._closing or call.epoch != self._epoch:
            return False
        self._repeat(frame)
        return True

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
        if call.status in _PASSING and self._opens_later(call):
            return
        frame, status, asks = self._decode(body), call.status, call.request is not None
        if isinstance(frame, Message) and frame.kind is Kind.ERROR:
            error = _decode_error(cast(Raw, frame.error))
            modern = proves_modern(status, error)
            row = ERRORS.get(error.code)
            clear = modern or (row is not None and row.proves_modern)
            if not clear and self._falls_back(call, body, now):
                return
            if asks and (clear or not call.negotiating or tells_era(status)):
                self._take(call, frame, now, modern=modern)
            detail = error.message
        elif self._falls_back(call, body, now):
            return
        else:
            text = body[: 4 * _SHOWN].decode("utf-8", "replace").strip()
            detail = text[:_SHOWN] if text.isprintable() and not text.startswith("<") else ""
        message = f"{call.method}: {refusal_text(status, detail)}"
        if call.method == INITIALIZE and self._denial:
            message = f"{message}; {self._denial}"
        if asks:
            fault = Fault(FaultKind.STATUS, status, call.retry_after)
            self._fail(call, message, now, fault=fault, evidence=tells_era(status))
        else:
            self._violation(call, message)


def _passes(call: Call, fault: Fault | None) -> bool:
    """Whether an exchange that met with ``fault`` may go better in a while."""
    return call.status == 0 and (fault is None or fault.kind is FaultKind.CONNECT)

>>>>>>> theirs

def _announced(fields: Fields) -> int:
    """The length that the head declares, 0 if none; the driver has checked it."""
    value = fields.all(CONTENT_LENGTH) or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else 0
