"""HttpClient: one conversation with one server URL, as a state machine without sockets.

A driver carries out :meth:`HttpClient.requests_to_send`, feeds responses into ``response_head``,
``response_data`` and ``response_end``, and drains ``next_event``::

    client.start(now=clock())
    for plan in client.requests_to_send():      # HttpSend or HttpAbort
        ...
    client.response_head(exchange, 200, headers, now=clock())

Messages of a legacy session wait until the server has accepted ``notifications/initialized``. A
session that the server has lost is opened anew, once, however many requests noticed; the
application sees a second Ready.  Source: the Streamable HTTP pages of 2025-03-26 to 2026-07-28.
"""

import re
from typing import cast

import msgspec
from msgspec import UNSET, Raw, structs

from mcpcore.engine.config import Config, Negotiation, Role
from mcpcore.engine.events import EndReason, Event, Fault, FaultKind, Key, Ready, Route, Violation
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.outbound import CANCELLED
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.engine.transmit import FrameKind
from mcpcore.http.client.call import (
    REDIRECTS,
    SAME_METHOD,
    Admission,
    AdmissionSignal,
    Call,
    CallPurpose,
    DownloadProgress,
    HeldRefusal,
    Planner,
    Recovery,
    ResponseFields,
    ResponseKind,
    StreamReopened,
    proves_modern,
    refusal_of,
    refusal_text,
    seconds_of,
    sendable_event_id,
    tells_era,
)
from mcpcore.http.client.challenges import Challenges
from mcpcore.http.client.state import INITIALIZE, INITIALIZED, ClientState, reason_of
from mcpcore.http.headers import (
    CONTENT_ENCODING,
    SESSION_ID,
    Fields,
    HeaderError,
    Headers,
    is_session_id,
)
from mcpcore.http.legacy_sse.client import SseClient
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.spec.errors import ERRORS, METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.revisions import Revision, legacy_of
from mcpcore.wire.message import Frame, Kind, Message, Reject, decode
from mcpcore.wire.sse import SseDecoder

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_POST, _SSE = CallPurpose.POST, CallPurpose.SSE
_STREAM, _DELETE = CallPurpose.STREAM, CallPurpose.DELETE
_HEAD, _JSON = ResponseKind.HEAD, ResponseKind.JSON
_EVENTS, _ERROR = ResponseKind.EVENTS, ResponseKind.ERROR

_decode_error = msgspec.json.Decoder(ErrorData).decode
_SHOWN = 200
_ANSWERS = frozenset({FrameKind.RESULT, FrameKind.ERROR, FrameKind.BATCH})
_LOSS_CODES = frozenset({-32000, -32001, -32600})
"""Codes of errors by which servers say that they do not know a session."""
_LOSS = re.compile(
    "(?is)(?=.*session).*(not found|not exist|unknown|valid|missing|expired|terminated)"
)
"""Text of such an error."""
_PASSING = frozenset({429, 502, 503, 504})
"""Statuses of a server that restarts, or of an intermediary in front of it."""
_FINAL = frozenset({401, 403, 405})
"""Statuses of the standalone stream that another form of the request will not change."""
_SKIPPED = 64 * 1024
"""Maximum ignored bytes that are read so that the connection can be used again."""
_LATER = frozenset({429, 503})
_LISTEN = "subscriptions/listen"


def _asks(item: Message | Reject) -> bool:
    """Return True for an item whose id would name another request in the next session."""
    return isinstance(item, Reject) or item.id is not UNSET or item.method == CANCELLED


def _passes(call: Call, fault: Fault | None) -> bool:
    """Return True if an exchange that failed may succeed later."""
    unheard = call.status in (0, 200) if call.method == INITIALIZE else call.status == 0
    return unheard and (fault is None or fault.kind is FaultKind.CONNECT)


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
        self._challenges = Challenges(state)
        self._fields = ResponseFields(())  # of the last head, which most resemble
        self._sse_first = only or (assume_sse and config.assumed is Negotiation.LEGACY)

    def _use(self, peer: Peer) -> None:
        self._state.peer = peer
        self.request, self.retry, self.cancel = peer.request, peer.retry, peer.cancel
        self.abandon, self.renounce, self.notify = peer.abandon, peer.renounce, peer.notify
        self.admit = peer.admit
        self.respond, self.progress, self.release = peer.respond, peer.progress, peer.release

    # Facts

    @property
    def state(self) -> SessionState:
        """State of the conversation."""
        return self._state.peer.state

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
        """Answer with an error, as on Peer; METHOD_NOT_FOUND counts as a violation."""
        state = self._state
        record = state.endpoint.inbound.get(key)
        failed = state.peer.fail(key, error)
        if failed and record is not None and error.code == METHOD_NOT_FOUND:
            self._refused_one(record.route)
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
        """Begin the next conversation, after the stream of HTTP+SSE has ended; then start it."""
        state = self._state
        self._use(state.peer.succeed())
        state.abort_all()  # plans still on their way to the last session
        state.next_epoch()
        state.sse, self._sse_first, state.revision = None, True, None
        state.waiting.clear()
        state.clear()

    def end(self, *, now: float, reason: str) -> None:
        """End the conversation at once; ConnectionEnded follows, and another conversation may."""
        state = self._state
        state.abort_all()
        state.peer.receive_eof(now=now, reason=reason)

    def close(self, *, now: float) -> None:
        """Close all exchanges, end waiting requests as CLOSED, and delete a legacy session.

        A driver carries out the plans that remain, such as cancellations; ConnectionEnded follows.
        """
        state = self._state
        if state.closing:
            return
        self._collect()
        state.closing = True
        state.peer.close(now=now)
        self._collect()
        for call in list(state.calls.values()):
            if not state.kept(call):
                state.abort(call)
        state.forget_unsent()
        state.ended(now)

    # Output

    def _collect(self) -> None:
        state = self._state
        if state.turns:
            state.go_on()
        if state.must_wait:
            self._sse.forget()
        state.collect()

    @property
    def has_input(self) -> bool:
        """True if :meth:`next_event` has something to advance or to return."""
        endpoint = self._state.endpoint
        return bool(endpoint.events or endpoint.inbox)

    def next_event(self) -> Event | None:
        """Advance until there is an event and return it; None when all input is used up."""
        event = self._state.peer.next_event()
        if type(event) is Violation and event.refused:
            self._refused_one(event.route)
        elif type(event) is Ready and event.revision.modern:
            self._state.forget_handshake()
        return event

    def requests_to_send(self) -> list[HttpSend | HttpAbort]:
        """Take the requests to send and the exchanges to abort, which may leave an event."""
        state = self._state
        self._collect()
        plans, state.plans = state.plans, []
        return plans

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never."""
        state = self._state
        ours, theirs = state.deadlines.next(), state.endpoint.deadlines.next()
        if self._challenges.standing_still:
            return ours
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        return min(ours, theirs)

    def postpone(self, since: float, now: float) -> None:
        """Let the timeouts of requests, and of the endpoint of HTTP+SSE, stand still until now."""
        state = self._state
        state.peer.postpone(since, now)
        call = None if state.sse is None else state.sse.call
        if call is not None and call.deadline is not None:
            state.deadlines.set(call, call.deadline + now - since)

    def handle_timeout(self, now: float) -> None:
        """Handle all deadlines that are due at ``now``."""
        state = self._state
        self._challenges.go_on(now)
        if not self._challenges.standing_still:
            state.peer.handle_timeout(now)
        for call in state.deadlines.due(now):
            if call.admission is Admission.PARKED:
                limit = f"there was no authorization within {state.settings.answer_timeout:g} s"
                self.give_up_exchange(call.route, limit, now=now)
                state.plans.append(HttpAbort(call.route))  # nobody needs an answer any more
            elif call.purpose is _SSE and not call.over:
                self._sse.late(call, now)
            elif state.calls.get(call.route) is call:
                state.abort(call)

    # Input

    def response_head(self, exchange: Route, status: int, headers: Headers, *, now: float) -> None:
        """Handle status and headers (pairs of bytes) of a final response, unless it was aborted."""
        call = self._state.calls.get(exchange)
        if call is None or status < 200:
            return
        plan, call.plan = call.plan, None
        if plan is not None:
            if self._state.settings.answer_challenges and self._challenges.take(
                call, plan, status, headers
            ):
                return
            if 300 <= status < 400 and plan.method != "GET":
                self._moved(call, plan, status, Fields(headers), now)
                return
        call.status = status
        frame, fields = call.frame, self._fields
        if headers != fields.lines:
            fields = self._fields = ResponseFields(headers)
        call.sent = frame if call.in_session and status >= 400 else None
        if frame is not None and not frame.repeatable:
            call.frame = None
        if call.purpose is _DELETE:
            call.over = True
        elif status == 404 and call.in_session and self._tells_loss(call, now):
            call.over = True
            self._state.lost(call, frame, now)
            return
        elif call.purpose is _SSE:
            self._sse.head(call, status, fields, now)
        elif call.purpose is _POST:
            self._post_head(call, status, fields, now)
        else:
            self._get_head(call, status, fields, now)
        if call.method == INITIALIZED and status < 300:
            self._state.confirmed()

    def _tells_loss(self, call: Call, now: float) -> bool:
        """Return True if the 404 of ``call`` means that its session is lost.

        If the next session refuses it again the reason is another, and for a while no 404 counts.
        """
        state = self._state
        current = call.epoch == state.epoch
        if call.purpose is not _POST:
            state.get_missing |= current and state.get_unproven
            return not (current and state.get_missing)
        if call.method == INITIALIZED:
            return True
        if call.again and current:
            state.doubtful = now + state.settings.retry_delay
        return not (call.again or (current and now < state.doubtful))

    def response_data(self, exchange: Route, data: bytes, *, now: float) -> None:
        """Handle a part of a response body."""
        state = self._state
        call = state.calls.get(exchange)
        if call is None or call.admission is Admission.PARKED:
            return
        if call.report_at is not None:
            self._count(call, len(data))
        if call.refusal is not None:
            call.skipped += len(data)
            if call.skipped > _SKIPPED:
                state.plans.append(HttpAbort(exchange))
                self.response_end(exchange, now=now)
        elif call.over or (call.reading is _HEAD and call.decoder is None):
            call.skipped += len(data)
            if call.skipped > _SKIPPED:
                self._cut(call, now)
        elif call.decoder is not None:
            self._read_events(call, call.decoder, data, now)
        elif call.reading is _ERROR:
            call.body.write(data)
            if call.body.tell() > state.settings.max_refusal:
                call.body.truncate(state.settings.max_refusal)
                self.response_end(exchange, now=now)
                state.plans.append(HttpAbort(exchange))
        else:
            call.body.write(data)
            if call.body.tell() > state.settings.max_body:
                self._too_large(call, now)

    def _cut(self, call: Call, now: float) -> None:
        state = self._state
        if call.over or call.purpose is _POST:
            state.abort(call)
            state.ended(now)
            return
        # A GET that was refused for now: its end starts the next attempt.
        state.plans.append(HttpAbort(call.route))
        self.response_end(call.route, error="the refusal has no end", now=now)

    def _too_large(self, call: Call, now: float) -> None:
        text = f"{call.method}: the response is larger than {self._state.settings.max_body} bytes"
        self._give_up(call, text, now, fault=Fault(FaultKind.TOO_LARGE))

    def response_end(
        self, exchange: Route, *, error: str | None = None, fault: Fault | None = None, now: float
    ) -> None:
        """Handle the end of a response; ``error``: how it broke off, or why there was none.

        ``fault``: the kind of that failure, by default a connection that was lost.
        """
        state = self._state
        call = state.calls.get(exchange)
        if call is None or call.admission is Admission.PARKED:
            return
        del state.calls[exchange]
        if call.deadline is not None:
            state.deadlines.set(call, None)
        if call.refusal is not None:
            self._challenges.park(call, call.refusal, now)
        elif not call.over:
            self._finish(call, error, fault, now)
        state.ended(now)

    # Authorization

    def parked(self, exchange: Route) -> bool:
        """Return True if an exchange waits for ``retry_exchange`` or ``give_up_exchange``."""
        return self._challenges.parked(exchange)

    def retry_exchange(self, exchange: Route, *, now: float) -> Route | None:
        """Send a refused message again; return its new exchange, None if it is not needed.

        Raises LocalProtocolError for an exchange that was not told of by Unauthorized.
        """
        state = self._state
        found = self._challenges.answer(exchange, AdmissionSignal.RETRY, now)
        if found is None:
            return None
        call, _ = found
        if call.epoch != state.epoch:
            text = f"{call.method}: it was refused, and its session was lost"
            state.save(call, call.frame, text, now)
            return None
        route = self._challenges.send_again(call)
        if call.purpose is _SSE:
            state.deadlines.set(call, now + state.settings.endpoint_timeout)
        return route

    def give_up_exchange(
        self, exchange: Route, error: str, *, now: float, passing: bool = False
    ) -> None:
        """End a refused message for good; ``error`` tells why there is no authorization.

        ``passing``: True if there may be one later: what confirms a session, or opens one in place
        of a lost one, or a stream again, is sent again after a while.  Raises LocalProtocolError
        for an exchange that was not told of by Unauthorized.
        """
        parked = self._state.calls.get(exchange)
        streams = parked is not None and parked.purpose in (_STREAM, CallPurpose.RESUME)
        signal = AdmissionSignal.RETRY if passing and streams else AdmissionSignal.GIVE_UP
        found = self._challenges.answer(exchange, signal, now)
        if found is None:
            return
        call, refusal = found
        if passing and streams:
            fault = Fault(FaultKind.AUTHORIZATION, refusal.status)
            self._broken(call, f"{refusal_text(refusal.status)}; {error}", now, fault)
        elif not (passing and self._state.opens_later(call)):
            self._unauthorized(call, refusal, error, now, passing=passing)
        self._state.ended(now)

    def _unauthorized(
        self, call: Call, refusal: HeldRefusal, error: str, now: float, *, passing: bool
    ) -> None:
        state, status = self._state, refusal.status
        call.status = status
        text = f"{call.method}: {refusal_text(status)}; {error}"
        fault = Fault(FaultKind.AUTHORIZATION, status, passing=passing)
        if call.purpose is _SSE:
            self._sse.give_up(call, text, now, fault)
        elif call.method == INITIALIZED:
            state.unconfirmed(call, text, fault, now)
        elif call.request is not None:
            state.fail(call, text, now, fault=fault)
        elif call.purpose is _STREAM:
            state.interrupted(call, Recovery.FAIL, 0.0, text)
        elif call.purpose is _POST:
            state.violation(call, text)

    # Heads

    def _post_head(self, call: Call, status: int, fields: ResponseFields, now: float) -> None:
        state = self._state
        if status >= 400:
            call.reading = _ERROR
            call.retry_after = seconds_of(fields)
            return
        if state.uses_sse:
            self._sse.posted(call)
            return
        if call.method == INITIALIZE and not self._read_session(call, fields, now):
            return
        if call.request is None:
            call.over = True
            return
        kind = fields.kind
        if status in (202, 204):
            call.over = True
            text = f"the server accepted {call.method} without answering it"
            # A server that takes a request for a notification does not know the method, or the era.
            state.fail(call, text, now, reason=EndReason.INVALID, evidence=True)
        elif kind is None:
            call.over = True
            text = f"the answer to {call.method} is neither JSON nor an event stream"
            state.fail(call, text, now, reason=EndReason.INVALID)
        else:
            if call.in_session and call.epoch == state.epoch:
                state.fruitful = True
            announced = fields.announced if kind is _JSON else 0
            if announced > state.settings.max_body:
                self._too_large(call, now)
                return
            if state.settings.download_step and call.method != _LISTEN:
                call.report_at = state.settings.download_step
                call.total = None if fields.all(CONTENT_ENCODING) else announced or None
            self._begin(call, kind, now)

    def _get_head(self, call: Call, status: int, fields: ResponseFields, now: float) -> None:
        state = self._state
        if 200 <= status < 300 and fields.kind is _EVENTS:
            if call.epoch == state.epoch:
                state.get_unproven = state.get_missing = False
                if call.purpose is _STREAM:
                    if state.streamed and call.resumes and not call.last_event_id:
                        state.report(StreamReopened())
                    state.streamed = True
            self._begin(call, _EVENTS, now)
        elif status in REDIRECTS:
            self._redirected(call, status, fields, now)
        elif status < 500 and status != 429 and not (status == 409 and call.resumes):
            if call.purpose is _STREAM and call.last_event_id and status not in _FINAL:
                # The server has dropped the events; the end of this response begins a new stream.
                call.last_event_id = ""
                return
            # A server need not offer the standalone stream.
            call.over = True
            text = f"{call.method} cannot be resumed: {refusal_text(status)}"
            if call.resumes:
                state.interrupted(call, Recovery.FAIL, 0.0, text)
            state.fail(call, text, now, fault=refusal_of(status, fields), reason=EndReason.CLOSED)
        elif status in _LATER:
            wait = seconds_of(fields)
            call.retry = call.retry if wait is None else wait
        # Otherwise the next attempt, which the end of this response starts, may succeed: a server
        # may not have noticed yet that a connection of ours is dead (409).

    def _moved(self, call: Call, plan: HttpSend, status: int, fields: Fields, now: float) -> None:
        """Send a message again to the place that it is redirected to as it is, or end it."""
        state, fault = self._state, refusal_of(status, fields)
        target, reason = None, f"of redirects a {plan.method} follows 307 and 308 alone"
        if status in SAME_METHOD:
            target, reason = state.redirected(call, fault, now, plan.target)
        if target is not None:
            call.plan = structs.replace(plan, target=target)
            self._challenges.send_again(call)
            return
        call.over, call.status = True, status
        text = refusal_text(status, reason)
        if call.method == INITIALIZED:
            state.unconfirmed(call, f"{INITIALIZED}: {text}", fault, now)
        else:
            state.fail(call, f"{call.method}: {text}", now, fault=fault)

    def _redirected(self, call: Call, status: int, fields: Fields, now: float) -> None:
        state = self._state
        fault = refusal_of(status, fields)
        target, reason = state.redirected(call, fault, now)
        if target is not None:
            self._ask_again(call, None, target)
            return
        call.over = True
        text = f"{call.method}: {refusal_text(status, reason)}"
        state.interrupted(call, Recovery.FAIL, 0.0, text)
        state.deadlines.set(call, now + state.settings.linger)
        state.fail(call, text, now, fault=fault)

    def _begin(self, call: Call, kind: ResponseKind, now: float) -> None:
        call.reading = kind
        call.opened = now
        if kind is _EVENTS:
            call.decoder = SseDecoder(self._state.settings.max_event)
            call.decoder.last_event_id = call.last_event_id

    def _count(self, call: Call, size: int, *, whole: bool = False) -> None:
        """Count what was received of an answer, and report it, at each step and at the end."""
        state, request, due = self._state, call.request, call.report_at
        step = state.settings.download_step
        call.received += size
        if request is None or due is None or call.received < (step if whole else due):
            return
        call.report_at = None if whole else call.received - call.received % step + step
        state.report(
            DownloadProgress(
                request=request,
                method=call.method or "",
                name=state.name_of(request),
                received=call.received,
                total=call.total,
            )
        )

    def _read_session(self, call: Call, fields: Fields, now: float) -> bool:
        state = self._state
        try:
            session = fields.one(SESSION_ID)
        except HeaderError as error:
            session = str(error)
        if session is not None and not is_session_id(session):
            call.over = True
            text = "the server gave a session id that is not visible ASCII"
            state.fail(call, text, now, reason=EndReason.INVALID)
            return False
        state.session = session
        return True

    # Streams that break off

    def _broken(self, call: Call, error: str, now: float, fault: Fault | None = None) -> None:
        state = self._state
        if call.purpose is not _STREAM and call.request is None:
            return
        stood = 0.0 if call.opened is None else now - call.opened
        call.opened = None
        if stood >= state.settings.lasting:
            call.resumes = call.refusals = 0
        call.hasty = 0 if stood >= state.settings.retry_delay else call.hasty + 1
        if reason_of(fault) is EndReason.INVALID and call.request is not None:
            # The next connection would bring the same.
            state.fail(call, f"{call.method}: {error}", now, fault=fault)
            return
        recovery = self._recovery(call)
        if recovery is not Recovery.FAIL:
            self._pick_up(call, recovery, error)
            return
        current = call.epoch == state.epoch
        if not current:
            error = f"{error}, and its session was lost"
        elif call.resumes:
            error = f"{error}; resuming failed {call.resumes} times"
        if call.revision is None or call.revision.resumable:
            state.interrupted(call, recovery, 0.0, error)
        message = f"{call.method}: {error} before the answer"
        if current:
            state.fail(call, message, now, fault=fault)
        else:
            state.save(call, call.frame, message, now)

    def _recovery(self, call: Call) -> Recovery:
        state = self._state
        again = call.resumes < state.settings.max_resumes and not state.get_missing
        if call.epoch == state.epoch and again:
            if state.settings.resume and call.resumable:
                return Recovery.RESUME
            if state.settings.reopen and call.purpose is _STREAM:
                return Recovery.REOPEN
        return Recovery.FAIL

    def _pick_up(self, call: Call, recovery: Recovery, reason: str) -> None:
        state = self._state
        if recovery is Recovery.REOPEN:
            call.last_event_id = ""
        call.resumes += 1
        delay = state.backoff.delay(call.resumes, call.retry)
        if call.hasty > state.settings.max_resumes:
            # A server that sends many events must not set the rate of reconnecting.
            delay = max(delay, state.settings.retry_delay)
        state.interrupted(call, recovery, delay, reason)
        call.redirects = 0
        self._ask_again(call, delay)

    def _ask_again(self, call: Call, after: float | None, target: str | None = None) -> None:
        state = self._state
        in_use = state.endpoint.routes_in_use()
        call.earlier = [route for route in (*call.earlier, call.route) if route in in_use]
        call.route = state.new_route()
        if call.purpose is _POST:
            call.purpose = CallPurpose.RESUME
        call.reading = _HEAD
        call.decoder = None
        call.in_session = state.session is not None
        state.calls[call.route] = call
        state.get(call, after=after, target=target, head_timeout=state.settings.stream_timeout)

    # Bodies

    def _read_events(self, call: Call, decoder: SseDecoder, data: bytes, now: float) -> None:
        call.heard = now
        events = decoder.receive(data)
        if sendable_event_id(decoder.last_event_id):
            if decoder.last_event_id != call.last_event_id:
                call.resumes = 0
            call.last_event_id = decoder.last_event_id
        if decoder.retry is not None:
            call.retry = decoder.retry / 1000
        for event in events:
            call.resumes = 0
            wanted = call.purpose is not _SSE or self._sse.event(call, event, now)
            if wanted and event.event == "message" and event.payload:
                self._take(call, self._decode(event.payload), now)
            if call.violations > self._state.settings.max_violations:
                self._too_much(call, now)
                return
        if decoder.broken is not None:
            fault = Fault(FaultKind.TOO_LARGE)
            self._give_up(call, f"{call.method}: {decoder.broken}", now, fault=fault)

    def _decode(self, data: bytes) -> Frame:
        limits = self._state.peer.config.limits
        return decode(data, limits.depth, limits.batch)

    def _take(self, call: Call, frame: Frame, now: float, *, modern: bool = False) -> None:
        """Pass a frame to the engine, without responses to requests not sent on this exchange."""
        state, asked = self._state, call.request  # before the answer settles it
        if isinstance(frame, list) and call.revision is not None and not call.revision.batches:
            state.violation(
                call, f"a batch in answer to {call.method}: {call.revision.name} has none"
            )
            return
        for part in frame if isinstance(frame, list) else (frame,):
            if call.sent is not None and self._refuses_session(call, part, now):
                return
            item = self._expected(call, part, now)
            if item is not None:
                state.peer.receive(
                    item, now=now, route=call.route, proves_modern=modern, request=asked
                )

    def _refuses_session(self, call: Call, item: Message | Reject, now: float) -> bool:
        """Handle an error that stands for a 404, as some servers of 2025 answer for lost sessions.

        The codes mean other things as well, such as a timeout, so that the text decides.  With a
        status below 400 it is an error of the method, which may have been carried out.
        """
        if call.request is None or not isinstance(item, Message):
            return False
        if item.kind is not Kind.ERROR or item.id not in (UNSET, call.request):
            return False
        error = _decode_error(cast(Raw, item.error))
        if error.code not in _LOSS_CODES or _LOSS.match(error.message) is None:
            return False
        if not self._tells_loss(call, now):
            return False
        state = self._state
        call.over = True
        state.lost(call, call.sent, now)
        return True

    def _expected(self, call: Call, item: Message | Reject, now: float) -> Message | Reject | None:
        """Return the item, with its id filled in if missing; None if it does not belong here."""
        state = self._state
        if isinstance(item, Reject):
            answer, id = item.response, item.id
            if not answer or call.purpose is _SSE:
                call.violations += 1
        else:
            answer = item.method is UNSET
            id = None if item.id is UNSET else item.id
        if call.purpose is _SSE:
            asked = state.by_request.get(id) if answer and id is not None else None
            if asked is not None:  # it is settled, and needs no 202
                state.settle(asked, now)
                asked.over = True
            return item
        if not answer:
            return None if call.epoch != state.epoch and _asks(item) else item
        if call.request is None or (id is not None and id != call.request):
            text = f"an answer to request {id!r} came where none was asked for"
            if call.request is not None:
                text = f"an answer to request {id!r} came in place of one to {call.request!r}"
            state.violation(call, text)
            return None
        if id is None:
            item = structs.replace(item, id=call.request)
        state.settle(call, now)
        return item

    # Ends

    def _finish(self, call: Call, error: str | None, fault: Fault | None, now: float) -> None:
        state = self._state
        reading = call.reading
        if reading is _EVENTS or call.purpose is not _POST:
            broken = self._sse.broken if call.purpose is _SSE else self._broken
            broken(call, error or "the stream ended", now, fault)
        elif reading is _ERROR:
            self._refused(call, call.body.getvalue(), now)
        elif error is not None or reading is _HEAD:
            if self._repeats(call, fault) or (
                _passes(call, fault) and self._state.opens_later(call)
            ):
                return
            text = error or "the connection ended before the response"
            if call.method == INITIALIZED:
                self._state.unconfirmed(call, f"{INITIALIZED} was not taken: {text}", fault, now)
            elif call.request is None and error is not None and not state.closing:
                state.violation(call, f"{call.method} was not taken: {error}")
            state.fail(call, text, now, fault=fault)
        else:
            if call.report_at is not None:
                self._count(call, 0, whole=True)
            self._answered(call, self._decode(call.body.getvalue()), now)

    def _repeats(self, call: Call, fault: Fault | None) -> bool:
        state = self._state
        frame = call.frame
        if not _passes(call, fault) or frame is None or frame.kind not in _ANSWERS or call.repeated:
            return False
        if state.closing or call.epoch != state.epoch:
            return False
        self._state.repeat(frame)
        return True

    def _answered(self, call: Call, frame: Frame, now: float) -> None:
        state = self._state
        if isinstance(frame, Reject) and not frame.response:
            text = f"the answer to {call.method} is no valid message: {frame.message}"
            state.fail(call, text, now, reason=EndReason.INVALID)
            return
        self._take(call, frame, now)
        if call.request is not None:
            text = f"the response to {call.method} holds no answer to it"
            state.fail(call, text, now, reason=EndReason.INVALID)

    def _refused(self, call: Call, body: bytes, now: float) -> None:
        """Handle a status of 400 or more; a body that is a JSON-RPC error decides its meaning."""
        state = self._state
        if call.status in _PASSING and self._state.opens_later(call):
            return
        frame, status, asks = self._decode(body), call.status, call.request is not None
        if isinstance(frame, Message) and frame.kind is Kind.ERROR:
            error = _decode_error(cast(Raw, frame.error))
            modern = proves_modern(status, error)
            row = ERRORS.get(error.code)
            clear = modern or (row is not None and row.proves_modern)
            if not clear and self._sse.falls_back(call, body, now):
                return
            # A 404 comes from HTTP; the engine would report it as failed version negotiation.
            missing = call.method == INITIALIZE and status == 404 and not clear
            if asks and not missing and (clear or not call.negotiating or tells_era(status)):
                asked = state.peer.parts.state.pending.get(call.request or "")
                if asked is not None:
                    asked.refusal = Fault(FaultKind.STATUS, status, call.retry_after)
                self._take(call, frame, now, modern=modern)
            detail = error.message
        elif self._sse.falls_back(call, body, now):
            return
        else:
            text = body[: 4 * _SHOWN].decode("utf-8", "replace").strip()
            detail = text[:_SHOWN] if text.isprintable() and not text.startswith("<") else ""
        message, denial = f"{call.method}: {refusal_text(status, detail)}", self._sse.denial
        if call.method == INITIALIZE and status == 404:
            message += state.planner.another()
        # The reason given for the POST is not repeated.
        if call.method == INITIALIZE and denial and refusal_text(status) not in denial:
            message = f"{message}; {denial}"
        fault = Fault(FaultKind.STATUS, status, call.retry_after)
        if asks:
            state.fail(call, message, now, fault=fault, evidence=tells_era(status))
        elif call.method == INITIALIZED:
            self._state.unconfirmed(call, message, fault, now)
        else:
            state.violation(call, message)

    # Violations

    def _refused_one(self, route: Route) -> None:
        """Count a refused request of the server on ``route`` as a violation."""
        state = self._state
        call = state.calls.get(route)
        if call is None:
            return
        call.violations += 1
        if call.violations > state.settings.max_violations:
            state.endpoint.discard(route)
            self._too_much(call, call.heard)

    def _too_much(self, call: Call, now: float) -> None:
        text = f"{call.method}: the server breaks the protocol over and over"
        self._give_up(call, text, now)

    def _give_up(self, call: Call, message: str, now: float, *, fault: Fault | None = None) -> None:
        state = self._state
        if call.purpose is _SSE:
            self._sse.give_up(call, message, now, fault)
            return
        if call.purpose is _STREAM:
            state.interrupted(call, Recovery.FAIL, 0.0, message)
        state.fail(call, message, now, reason=EndReason.INVALID, fault=fault)
        state.abort(call)


def _without_modern(config: Config) -> Config:
    legacy = legacy_of(config.revisions)
    if not legacy:
        raise ValueError("HTTP+SSE needs a revision with a handshake, and none is spoken")
    return structs.replace(config, revisions=legacy, negotiation=Negotiation.LEGACY)
