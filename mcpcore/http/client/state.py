"""State of an HttpClient, which its parts share: exchanges, POSTs in their order, and sessions.

Source: the Streamable HTTP pages ("Sending Messages", "Session Management").
"""

import math
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from mcpcore.engine.bodies import text_in
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import (
    ENGINE,
    MAIN,
    EndReason,
    Event,
    Fault,
    FaultKind,
    Key,
    Route,
    Violation,
)
from mcpcore.engine.lifecycle import RequestState, SessionState
from mcpcore.engine.outbound import CANCELLED, GIVEN_UP
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import fails_for_good
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.client.call import (
    Backoff,
    Call,
    CallPurpose,
    Planner,
    Recovery,
    StreamInterrupted,
    post_lines,
    trace_lines,
)
from mcpcore.http.headers import ACCEPT, EVENT_STREAM, LAST_EVENT_ID
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import INVALID_REQUEST
from mcpcore.spec.methods import SUBJECTS
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:  # late: few use the HTTP+SSE of old
    from mcpcore.http.legacy_sse.client import SseStream

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_POST, _CLOSED = CallPurpose.POST, SessionState.CLOSED
_REQUEST, _NOTIFICATION, _ACCEPTED = FrameKind.REQUEST, FrameKind.NOTIFICATION, FrameKind.ACCEPTED

_REASONS = {
    FaultKind.TOO_LARGE: EndReason.INVALID,
    FaultKind.ENCODING: EndReason.INVALID,
    FaultKind.MALFORMED: EndReason.INVALID,
    FaultKind.STATUS: EndReason.REFUSED,
    FaultKind.REDIRECT: EndReason.REFUSED,
    FaultKind.HEADERS: EndReason.REFUSED,
    FaultKind.AUTHORIZATION: EndReason.REFUSED,
}

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
_PROBE = "server/discover"
_NEGOTIATING = (_PROBE, INITIALIZE)


def reason_of(fault: Fault | None) -> EndReason:
    """Return the end reason for a request that met ``fault``; None means a lost connection."""
    return EndReason.CLOSED if fault is None else _REASONS.get(fault.kind, EndReason.CLOSED)


class ClientState:
    """Exchanges of one client and its session; posts messages in order, replaces lost sessions."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        self.peer = peer
        self.endpoint = peer.parts.endpoint
        self.backoff = Backoff(settings, seed)
        self.planner = planner
        self.settings = settings
        self.calls: dict[Route, Call] = {}
        self.by_request: dict[RequestId, Call] = {}
        self.plans: list[HttpSend | HttpAbort] = []
        self.deadlines: Deadlines[Call] = Deadlines()
        self._routes = 0
        self.closing = False
        self.waiting: list[Transmit] = []
        """Frames that wait until the server knows our session, or has named its endpoint."""
        # The session
        self.session: str | None = None
        self.revision: Revision | None = None
        self.epoch = 0
        self.lost_route: Route = 0
        """Newest route of the sessions that were lost."""
        self.fruitful = False
        """True if the session of this epoch has answered a request."""
        self.streamed = False
        self.get_missing = False
        """True if no GET is sent any more in this session, as the server offers none."""
        self.get_unproven = False
        """True if a session was given up as a GET met 404, and no GET was served since."""
        self.doubtful = -math.inf
        """Time until which a 404 is no evidence about the session of this epoch."""
        # HTTP+SSE
        self.sse: SseStream | None = None
        self.stream_fault: Fault | None = None

        # Order of messages, and sessions in place of lost ones
        self._saved: dict[RequestId, Transmit] = {}
        """Requests refused by a lost session, to be sent again in the next, once."""
        self.turns: dict[Key, tuple[Call, list[Transmit]]] = {}
        """Progress report on its way for a request of the server, and the frames after it."""
        self._barrier = False
        """True while the server does not know the session yet, so that all other messages wait."""
        self._left = False
        self._confirm_by = math.inf
        """Time until which ``notifications/initialized`` is sent again after a failure."""
        self._barren = 0
        """Number of sessions in a row that were lost before they were of any use."""

    # Events of our own

    def report(self, event: Event) -> None:
        """Queue an event for the application after all earlier input."""
        self.endpoint.inbox.append((self, event))

    def take_in(self, item: Event | float) -> None:
        """Pass on an event at its place in the queue, or open the next session at that time."""
        if isinstance(item, Event):
            self.endpoint.events.append(item)
        else:
            self._open_next(item)

    def interrupted(self, call: Call, recovery: Recovery, delay: float, reason: str) -> None:
        """Report that the stream of ``call`` broke off."""
        self.report(
            StreamInterrupted(
                request=call.request,
                recovery=recovery,
                attempt=max(call.resumes, 1),
                delay=delay,
                reason=reason,
            )
        )

    def name_of(self, request: RequestId) -> str | None:
        """Return the tool, prompt, URI or task that a request is about, in any revision."""
        record = self.endpoint.outbound.get(request)
        member = None if record is None else SUBJECTS.get(record.method)
        return None if record is None or member is None else text_in(record.original, member)

    def settle(self, call: Call, now: float) -> None:
        """Settle the request of ``call``, which has its outcome."""
        self.unbind(call)
        if call.route in self.calls:
            self.deadlines.set(call, now + self.settings.linger)

    def unbind(self, call: Call) -> None:
        """Part an exchange from its request, if it has one, which another one may serve."""
        if call.request is not None:
            del self.by_request[call.request]
            call.request = None

    def fail(
        self,
        call: Call,
        message: str,
        now: float,
        *,
        reason: EndReason | None = None,
        evidence: bool = False,
        fault: Fault | None = None,
    ) -> None:
        """End the waiting request of ``call``, if any, without a response."""
        request = call.request
        if request is None:
            return
        if fault is not None and call.purpose is CallPurpose.RESUME:
            fault = structs.replace(fault, sent_before=True)
        self.settle(call, now)
        self.peer.receive_failure(
            request,
            now=now,
            reason=reason_of(fault) if reason is None else reason,
            message=message,
            evidence=evidence,
            fault=fault,
        )

    def abort(self, call: Call) -> None:
        """Abort an exchange."""
        del self.calls[call.route]
        if call.deadline is not None:
            self.deadlines.set(call, None)
        self.unbind(call)
        self.plans.append(HttpAbort(call.route))

    def abort_all(self) -> None:
        """Abort all exchanges."""
        for call in list(self.calls.values()):
            self.abort(call)

    def take_back(self, call: Call) -> None:
        """Abort an exchange whose request was given up; the server's requests on it end, too."""
        for route in (*call.earlier, call.route):
            self.peer.receive_eof(now=call.heard, route=route, reason=GIVEN_UP)
        self.abort(call)

    def redirected(
        self, call: Call, fault: Fault, now: float, base: str = ""
    ) -> tuple[str | None, str]:
        """Return the target of a redirect, or None and the reason not to follow it."""
        target, most = self.planner.moved(fault.location, base), self.settings.max_redirects
        if target is None:
            return None, "redirects to other origins are not followed"
        if call.redirects >= most:
            return None, f"more than {most} redirects"
        left = structs.replace(
            call, over=True, status=fault.status or 0, request=None, deadline=None, plan=None
        )
        self.calls[left.route] = left
        self.deadlines.set(left, now + self.settings.linger)
        call.redirects += 1
        return target, ""

    def new_route(self) -> Route:
        """Return the number of a new exchange."""
        self._routes += 1
        return self._routes

    def next_epoch(self) -> None:
        """Begin a new epoch after a lost session, whose requests get no response any more."""
        self.epoch += 1
        self.lost_route = self._routes

    def version(self) -> Revision | None:
        """Return the revision for the version header in the legacy session, if it has one."""
        revision = self.revision
        return revision if revision is not None and revision.version_header else None

    def violation(self, call: Call, message: str) -> None:
        """Report a violation on the exchange of ``call``, and count it."""
        call.violations += 1
        session = self.session
        self.endpoint.events.append(
            Violation(code=INVALID_REQUEST, message=message, route=call.route, session=session)
        )

    def unsent(self, frame: Transmit, message: str, fault: Fault | None, now: float) -> None:
        """End the request, if any, of a waiting frame that will not be sent."""
        if frame.kind is _REQUEST and frame.request is not None:
            self.peer.receive_failure(
                frame.request, now=now, reason=reason_of(fault), message=message, fault=fault
            )

    @property
    def uses_sse(self) -> bool:
        """True if messages go over HTTP+SSE."""
        return self.sse is not None and self.sse.target is not None

    @property
    def must_wait(self) -> bool:
        """True if the endpoint for messages is not known yet."""
        return self.sse is not None and self.sse.target is None

    def new_call(
        self, purpose: CallPurpose, revision: Revision | None, method: str | None = None
    ) -> Call:
        """Begin an exchange of the session of this epoch."""
        route = self.new_route()
        call = self.calls[route] = Call(
            route=route,
            purpose=purpose,
            epoch=self.epoch,
            in_session=self.session is not None,
            revision=revision,
            method=method,
        )
        return call

    def get(self, call: Call, **more: Any) -> None:
        """Plan the GET that opens a stream, or resumes one after the last event received."""
        lines = [(ACCEPT, EVENT_STREAM.encode())]
        if call.last_event_id:
            # UTF-8, as the HTML standard has it ("Processing model").
            lines.append((LAST_EVENT_ID, call.last_event_id.encode()))
        session = self.session if call.in_session else None
        self.send(
            call,
            self.planner.request(
                call.route, "GET", lines, session=session, version=self.version(), **more
            ),
        )

    def send(self, call: Call, plan: HttpSend) -> None:
        """Plan a request, which may have to be sent again."""
        self.plans.append(plan)
        call.plan = plan

    # From the Peer to the network

    def collect(self) -> None:
        """Plan the POSTs of the frames that the Peer has made."""
        if self.endpoint.outbox.frames:
            for frame in self.endpoint.data_to_send():
                self._plan(frame)
        if self.peer.state is _CLOSED and not self.closing:
            # Negotiation failed, or the sessions were given up: no request waits any more.
            self.waiting.clear()
            self._saved.clear()
            self.abort_all()

    def _plan(self, frame: Transmit) -> None:
        if frame.kind is _ACCEPTED or self.closing:
            return
        if frame.method == CANCELLED and frame.request is not None:
            if not self._forget(frame.request, frame.revision):
                return
        elif frame.method == INITIALIZED:
            self._barrier = frame.repeatable = True  # it does no harm to send it twice
            self.revision = frame.revision
            if self.sse is not None:
                self.sse.call.revision = frame.revision
            self._post(frame)
            return
        if self.must_wait or (self._barrier and frame.method not in _NEGOTIATING):
            self.waiting.append(frame)
        else:
            self.say(frame)

    def say(self, frame: Transmit) -> None:
        """Post a frame; frames for one request of the server go one by one, as POSTs may overtake.

        A response to a request of a lost session is not sent: in the next the id names another.
        """
        if MAIN < frame.route <= self.lost_route:
            return
        key = frame.key
        reports = frame.kind is _NOTIFICATION
        if key is None or key == ENGINE or frame.kind is _REQUEST:
            self._post(frame)
        elif key not in self.turns:
            call = self._post(frame)
            if reports:
                self.turns[key] = call, []
        else:
            waiting = self.turns[key][1]
            if reports and waiting:
                waiting.clear()  # newer progress replaces older progress
            waiting.append(frame)

    def go_on(self) -> None:
        """Send the frames that waited for a report that has reached the server, or cannot."""
        for key, (call, waiting) in list(self.turns.items()):
            if call.status == 0 and self.calls.get(call.route) is call:
                continue
            del self.turns[key]
            record = self.endpoint.inbound.get(key)
            answered = bool(waiting) and waiting[-1].kind is not _NOTIFICATION
            if answered or (record is not None and record.state is RequestState.ACTIVE):
                for frame in waiting:
                    self.say(frame)

    def _forget(self, request: RequestId, revision: Revision | None) -> bool:
        """Drop a request that the application gave up; return True if the server must be told."""
        if self._saved.pop(request, None) is not None:
            return False
        unsent = [frame for frame in self.waiting if frame.request != request]
        if len(unsent) < len(self.waiting):
            self.waiting = unsent
            return False
        call = self.by_request.get(request)
        if call is not None:
            refused = call.refusal is not None
            self.take_back(call)
            if refused:
                return False  # the server has not begun with it
        return revision is None or not revision.disconnect_cancels

    def _post(self, frame: Transmit, *, again: bool = False) -> Call:
        if frame.method == _PROBE:
            self.forget_handshake()
        revision = frame.revision
        call = self.new_call(_POST, revision, frame.method)
        call.frame = frame
        call.again = again
        if frame.kind is _REQUEST:
            call.request = cast(RequestId, frame.request)
            self.by_request[call.request] = call
            if frame.method in _NEGOTIATING:
                call.negotiating = self.peer.state in (SessionState.PROBING, SessionState.OPENING)
        version = self.version()
        if frame.method == INITIALIZE:
            self._drop_handshakes(call)
            version, call.in_session = None, False
        elif revision is not None and revision.mirror_headers:
            version = revision
        body = b"".join(frame.data)
        traced = self.settings.trace_headers and frame.kind is _REQUEST
        self.send(
            call,
            self.planner.request(
                call.route,
                "POST",
                [*post_lines(frame, len(body)), *(trace_lines(body) if traced else ())],
                session=self.session if call.in_session else None,
                version=version,
                target=None if self.sse is None else self.sse.target,
                body=body,
                # The engine has deadlines only for requests.
                timeout=self.settings.notify_timeout if call.request is None else None,
                repeatable=frame.kind is not _REQUEST or frame.repeatable,
            ),
        )
        return call

    def _drop_handshakes(self, latest: Call | None) -> None:
        for call in list(self.calls.values()):
            if call.method == INITIALIZE and call is not latest:
                self.abort(call)

    def forget_handshake(self) -> None:
        """Drop a legacy handshake and its session, as the era is modern or being probed again."""
        self.session, self._barrier = None, False
        self._drop_handshakes(None)

    def repeat(self, frame: Transmit) -> None:
        """Post a response of ours a second time, a little later."""
        self._post_later(frame, self.backoff.delay(1, None)).repeated = True

    def opens_later(self, call: Call) -> bool:
        """Retry ``initialize`` if it opens a session in place of a lost one; return True if so."""
        frame, request = call.frame, call.request
        if call.method != INITIALIZE or frame is None or request is None:
            return False
        if not self.epoch or call.tries >= self.settings.max_resumes:
            return False
        self.unbind(call)
        delay = self.backoff.delay(call.tries + 1, call.retry_after)
        self._post_later(frame, delay).tries = call.tries + 1
        return True

    def _post_later(self, frame: Transmit, delay: float) -> Call:
        call = self._post(frame)
        self.plans[-1] = structs.replace(cast(HttpSend, self.plans[-1]), after=delay)
        return call

    # Sessions

    def confirmed(self) -> None:
        """Send the waiting frames and open the standalone stream, as the server is ready."""
        self._barrier = False
        saved, self._saved = self._saved, {}
        waiting, self.waiting = self.waiting, []
        revision = self.revision
        wanted = self.settings.get_stream and self.sse is None
        if wanted and revision is not None and revision.get_stream:
            call = self.new_call(CallPurpose.STREAM, revision, "the standalone stream")
            self.get(call, head_timeout=self.settings.stream_timeout)
        outbound = self.endpoint.outbound  # requests that have ended are not sent
        for request, frame in saved.items():
            if request in outbound:
                self._post(frame, again=True)
        for frame in waiting:
            if frame.kind is not _REQUEST or frame.request in outbound:
                self.say(frame)

    def unconfirmed(self, call: Call, message: str, fault: Fault | None, now: float) -> None:
        """Repeat ``notifications/initialized`` after a failure, or end the conversation."""
        self.violation(call, message)
        if not call.tries:
            patience = self.peer.config.limits.request_timeout
            self._confirm_by = math.inf if patience is None else now + patience
        tries = call.tries + 1
        delay = self.backoff.delay(tries, call.retry_after)
        left = tries <= self.settings.max_resumes and now + delay <= self._confirm_by
        gone = fault is not None and fault.status == 404  # in a session, 404 counts as its loss
        if left and not (gone or reason_of(fault) is EndReason.INVALID or fails_for_good(fault)):
            self._post_later(cast(Transmit, call.frame), delay).tries = tries
        else:
            self._end_unopened(message, fault, now)

    def _end_unopened(self, message: str, fault: Fault | None, now: float) -> None:
        if self.sse is not None:
            self.stream_fault = fault
        if self.peer.reconnects is None:
            for frame in (*self._saved.values(), *self.waiting):
                self.unsent(frame, message, fault, now)
        self.peer.receive_eof(now=now, reason=message)

    def lost(self, call: Call, frame: Transmit | None, now: float) -> None:
        """Handle the loss of the session that ``call`` was sent in."""
        if call.epoch == self.epoch:
            by_get = call.purpose is not _POST
            self.next_epoch()
            self.session = None
            if self.fruitful:
                self._barren = 0
            elif call.method == INITIALIZE or (
                call.request is None and (self.streamed or not by_get)
            ):
                # Requests end after their second try, and a GET that is never served loses one
                # session. This counter ends the other cases.
                self._barren += 1
            self.fruitful = self.streamed = self.get_missing = False
            self.get_unproven |= by_get
            self.doubtful = -math.inf
            self._barrier = True
            # Queued behind the responses that were received before the loss.
            self.endpoint.inbox.append((self, now))
        self.save(call, frame, f"{call.method}: the server has lost the session", now)

    def save(self, call: Call, frame: Transmit | None, message: str, now: float) -> None:
        """Send the request of ``call`` again in the next session, or end it."""
        request = call.request
        if request is None:
            return
        if frame is None or call.again:
            self.fail(call, message, now)
            return
        self.unbind(call)
        record = self.endpoint.outbound.get(request)
        if record is not None:
            record.progress = None  # progress begins anew
        if self._barrier:
            self._saved[request] = frame
        else:
            self._post(frame, again=True)

    def _open_next(self, now: float) -> None:
        peer, parts = self.peer, self.peer.parts
        handshaken = peer.state in (SessionState.OPEN, SessionState.OPENING)
        if not handshaken or parts.state.is_modern_client:
            return  # the lost session is a handshake that is not needed any more
        if self._barren >= self.settings.max_lost_sessions:
            peer.receive_eof(now=now, reason="the server does not keep its sessions")
        else:
            parts.inbound.restart(now)

    # The end

    def clear(self) -> None:
        """Drop all that waits, as another conversation begins."""
        self._barrier = False
        self._saved.clear()
        self.turns.clear()

    def kept(self, call: Call) -> bool:
        """Return True if an exchange goes on while the client closes, to send cancellations."""
        if call.method == CANCELLED:
            return call.status == 0
        return call.purpose is CallPurpose.SSE and self.uses_sse and self._telling()

    def _telling(self) -> bool:
        return any(
            call.method == CANCELLED and call.status == 0 and call.refusal is None
            for call in self.calls.values()
        )

    def forget_unsent(self) -> None:
        """Drop planned requests that were given up before they were sent."""
        new = {plan.exchange for plan in self.plans if isinstance(plan, HttpSend)}
        gone = new - self.calls.keys()
        self.plans = [plan for plan in self.plans if plan.exchange not in gone]

    def ended(self, now: float) -> None:
        """Go on after the end of a response."""
        if not self.closing or self._telling():
            return
        if not self._left:
            self._left = True
            self.abort_all()
            if self.session is not None and self.settings.delete_session:
                self._delete(self.session)
        if not self.calls:
            self.peer.receive_eof(now=now, reason="closed by this side")

    def _delete(self, session: str) -> None:
        call = self.new_call(CallPurpose.DELETE, self.revision)
        version, timeout = self.version(), self.settings.notify_timeout
        self.send(
            call,
            self.planner.request(
                call.route, "DELETE", [], session=session, version=version, timeout=timeout
            ),
        )
