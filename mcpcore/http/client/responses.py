"""Responses to an HTTP client: heads, and the reading of bodies.

Source: the Streamable HTTP pages ("Sending Messages", "Resumability and Redelivery", and for
2026-07-28 "Backward Compatibility").
"""

import math
from abc import abstractmethod

from mcpcore.engine.events import EndReason, Route
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import Transmit
from mcpcore.http.client.answers import INITIALIZE, INITIALIZED, Answers
from mcpcore.http.client.call import (
    REDIRECTS,
    Call,
    Purpose,
    Reading,
    content_kind,
    refusal_of,
    refusal_text,
    seconds_of,
)
from mcpcore.http.client.plan import Planner
from mcpcore.http.client.recovery import Recovery, StreamReopened
from mcpcore.http.headers import (
    CONTENT_LENGTH,
    SESSION_ID,
    Fields,
    HeaderError,
    Headers,
    is_session_id,
)
from mcpcore.http.messages import HttpAbort
from mcpcore.http.settings import HttpClientSettings
from mcpcore.wire.sse import SseDecoder

_FINAL = frozenset({401, 403, 405})
"""Statuses of the standalone stream that another form of the request will not change."""
_SKIPPED = 64 * 1024
"""Maximum ignored bytes that are read so that the connection can be used again; a longer body costs
a new connection and nothing else."""
_LATER = frozenset({429, 503})
"""Statuses with which ``Retry-After`` gives the time of the next attempt."""


class Responses(Answers):
    """The half of an HttpClient that reads heads and bodies."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        super().__init__(peer, planner, settings, seed)
        self._fruitful = False
        """True if the session of this epoch has answered a request."""
        self._streamed = False
        """True if the standalone stream of this epoch was open once."""
        self._get_unproven = False
        """True if a session was given up because a GET met 404, and no later one has opened a
        stream."""
        self._doubtful = -math.inf
        """Time until which a 404 is no evidence about the session of this epoch."""

    @abstractmethod
    def _lost(self, call: Call, frame: Transmit | None, now: float) -> None:
        """Handle the loss of the session that ``call`` was sent in."""

    @abstractmethod
    def _ended(self, now: float) -> None:
        """Go on after the end of a response."""

    # Input

    def response_head(self, exchange: Route, status: int, headers: Headers, *, now: float) -> None:
        """Handle status and headers of a final response.  An aborted exchange is ignored."""
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
        elif call.purpose is Purpose.SSE:
            self._pipe_head(call, status, Fields(headers), now)
        elif call.purpose is Purpose.POST:
            self._post_head(call, status, Fields(headers), now)
        else:
            self._get_head(call, status, Fields(headers), now)
        if call.method == INITIALIZED and status < 300:
            self._confirmed()

    def _tells_loss(self, call: Call, now: float) -> bool:
        """Return True if the 404 of ``call`` means that its session is lost.

        A request that meets 404 again in the next session is refused for other reasons. For a while
        no further 404 counts then, as each loss costs all requests their session. A server that
        answers GET with 404 in the next session as well offers no GET.
        """
        current = call.epoch == self._epoch
        if call.purpose is not Purpose.POST:
            self._get_missing |= current and self._get_unproven
            return not (current and self._get_missing)
        if call.method == INITIALIZED:
            return True
        if call.again and current:
            self._doubtful = now + self.settings.retry_delay
        return not (call.again or (current and now < self._doubtful))

    def response_data(self, exchange: Route, data: bytes, *, now: float) -> None:
        """Handle a part of a response body."""
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
                self.response_end(exchange, now=now)
                self._plans.append(HttpAbort(exchange))
        else:
            call.body += data
            if len(call.body) > self.settings.max_body:
                call.body.clear()
                self._too_large(call, "response", self.settings.max_body, now)

    def _cut(self, call: Call, now: float) -> None:
        """Stop reading a response whose rest is ignored."""
        exchange = call.route
        if call.over or call.purpose is Purpose.POST:
            self._abort(call)
            self._ended(now)
        else:
            # A GET that was refused for now: its end starts the next attempt.
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
        """Handle the end of a response, complete or, with ``error``, broken off.

        ``fault`` gives the exact problem, if it was more than the loss of a connection.
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
            text = refusal_text(status, "redirects of POST are not followed")
            if call.method == INITIALIZED:
                self._unconfirmed(call, f"{INITIALIZED}: {text}", fault, now)
            else:
                self._fail(call, f"{call.method}: {text}", now, fault=fault)
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
            # A server that takes a request for a notification does not know the method, or the era.
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
            if call.epoch == self._epoch:
                self._get_unproven = self._get_missing = False
                if call.purpose is Purpose.STREAM:
                    if self._streamed and call.resumes and not call.last_event_id:
                        self._relay.push(StreamReopened())
                    self._streamed = True
            self._begin(call, Reading.EVENTS, now)
        elif status in REDIRECTS:
            self._redirected(call, status, fields, now)
        elif status < 500 and status != 429 and not (status == 409 and call.resumes):
            if call.purpose is Purpose.STREAM and call.last_event_id and status not in _FINAL:
                # The server has dropped the events; the end of this response begins a new stream.
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
        # Otherwise the next attempt, which the end of this response starts, may succeed: a server
        # may not have noticed yet that a connection of ours is dead (409).

    def _redirected(self, call: Call, status: int, fields: Fields, now: float) -> None:
        """Follow a redirect of a GET within our origin, a few times."""
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
            self._deadlines.set(left, now + self.settings.linger)
            call.redirects += 1
            self._get(call, None, target)
            return
        call.over = True
        reason = "redirects to other origins are not followed"
        if target is not None:
            reason = f"more than {self.settings.max_redirects} redirects"
        text = f"{call.method}: {refusal_text(status, reason)}"
        self._interrupted(call, Recovery.FAIL, 0.0, text)
        self._deadlines.set(call, now + self.settings.linger)
        self._fail(call, text, now, fault=fault)

    def _begin(self, call: Call, kind: Reading, now: float) -> None:
        call.reading = kind
        call.opened = now
        if kind is Reading.EVENTS:
            call.decoder = SseDecoder(self.settings.max_event)
            call.decoder.last_event_id = call.last_event_id

    def _read_session(self, call: Call, fields: Fields, now: float) -> bool:
        """Read the id of the session that ``initialize`` opened; return False if it is invalid."""
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


def _announced(fields: Fields) -> int:
    """Return the declared length of the body, 0 if none; the driver has checked it."""
    value = fields.all(CONTENT_LENGTH) or ""
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else 0
