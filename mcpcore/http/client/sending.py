"""POSTs of an HTTP client: order of messages, and new sessions in place of lost ones.

Source: the Streamable HTTP pages ("Sending Messages", "Session Management").
"""

import math
from typing import cast

from msgspec import structs

from mcpcore.engine.events import ENGINE, MAIN, EndReason, Fault, Key
from mcpcore.engine.lifecycle import RequestState, SessionState
from mcpcore.engine.reconnection import fails_for_good
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.client.call import Call, CallPurpose
from mcpcore.http.client.state import ClientState, reason_of
from mcpcore.http.messages import HttpSend
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
CANCELLED = "notifications/cancelled"
_PROBE = "server/discover"
_NEGOTIATING = (_PROBE, INITIALIZE)


class PostSender:
    """The part of an HttpClient that posts messages in their order, and replaces lost sessions."""

    def __init__(self, state: ClientState) -> None:
        self._state = state
        self._saved: dict[RequestId, Transmit] = {}
        """Requests refused by a lost session, to be sent again in the next, once."""
        self.turns: dict[Key, tuple[Call, list[Transmit]]] = {}
        """By requests of the server: the progress report on its way, and the frames to send after
        it."""
        self._barrier = False
        """True while the server does not know the session yet, so that all other messages wait."""
        self._left = False
        """True once all messages before the end were sent."""
        self._confirm_by = math.inf
        """Time until which ``notifications/initialized`` is sent again after a failure."""
        self._barren = 0
        """Number of sessions in a row that were lost before they were of any use."""

    # From the Peer to the network

    def collect(self) -> None:
        """Plan the POSTs of the frames that the Peer has made."""
        state = self._state
        for frame in state.peer.data_to_send():
            self._plan(frame)
        if state.peer.state is SessionState.CLOSED and not state.closing:
            # Negotiation failed, or the sessions were given up: no request waits any more.
            state.waiting.clear()
            self._saved.clear()
            for call in list(state.calls.values()):
                state.abort(call)

    def _plan(self, frame: Transmit) -> None:
        state = self._state
        if frame.kind is FrameKind.ACCEPTED or state.closing:
            return
        if frame.method == CANCELLED and frame.request is not None:
            if not self._forget(frame.request, frame.revision):
                return
        elif frame.method == INITIALIZED:
            self._barrier = frame.repeatable = True  # it does no harm to send it twice
            state.revision = frame.revision
            if state.sse is not None:
                state.sse.call.revision = frame.revision
            self._post(frame)
            return
        if state.must_wait or (self._barrier and frame.method not in _NEGOTIATING):
            state.waiting.append(frame)
        else:
            self.say(frame)

    def say(self, frame: Transmit) -> None:
        """Post a frame; frames for one request of the server go one by one, as POSTs may overtake.

        No report of progress can thus come after the response. A response to a request of a lost
        session is not sent in the next: that one counts its ids anew, so that the id would name
        another request.
        """
        if MAIN < frame.route <= self._state.lost_route:
            return
        key = frame.key
        reports = frame.kind is FrameKind.NOTIFICATION
        if key is None or key == ENGINE or frame.kind is FrameKind.REQUEST:
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
        state = self._state
        for key, (call, waiting) in list(self.turns.items()):
            if call.status == 0 and state.calls.get(call.route) is call:
                continue
            del self.turns[key]
            record = state.endpoint.inbound.get(key)
            answered = bool(waiting) and waiting[-1].kind is not FrameKind.NOTIFICATION
            if answered or (record is not None and record.state is RequestState.ACTIVE):
                for frame in waiting:
                    self.say(frame)

    def _forget(self, request: RequestId, revision: Revision | None) -> bool:
        """Drop a request that the application gave up; return True if the server must be told."""
        state = self._state
        if self._saved.pop(request, None) is not None:
            return False
        unsent = [frame for frame in state.waiting if frame.request != request]
        if len(unsent) < len(state.waiting):
            state.waiting = unsent
            return False
        call = state.by_request.get(request)
        if call is not None:
            state.take_back(call)
        return revision is None or not revision.disconnect_cancels

    def _post(self, frame: Transmit, *, again: bool = False) -> Call:
        state = self._state
        if frame.method == _PROBE:
            self.forget_handshake()
        route = state.new_route()
        revision = frame.revision
        call = state.calls[route] = state.new_call(route, CallPurpose.POST, revision)
        call.frame = frame
        call.method = frame.method
        call.again = again
        if frame.kind is FrameKind.REQUEST:
            call.request = cast(RequestId, frame.request)
            state.by_request[call.request] = call
            if frame.method in _NEGOTIATING:
                call.negotiating = state.peer.state in (
                    SessionState.PROBING,
                    SessionState.OPENING,
                )
        version = state.version()
        if frame.method == INITIALIZE:
            self._drop_handshakes(call)
            version, call.in_session = None, False
        elif revision is not None and revision.mirror_headers:
            version = revision
        session = state.session if call.in_session else None
        # The engine has deadlines only for requests.
        timeout = state.settings.notify_timeout if call.request is None else None
        state.plans.append(
            state.planner.post(
                route,
                frame,
                session=session,
                version=version,
                timeout=timeout,
                target=None if state.sse is None else state.sse.target,
            )
        )
        return call

    def _drop_handshakes(self, latest: Call | None) -> None:
        """Abort each ``initialize`` before ``latest``, as its response is not needed any more."""
        state = self._state
        for call in list(state.calls.values()):
            if call.method == INITIALIZE and call is not latest:
                state.abort(call)

    def forget_handshake(self) -> None:
        """Drop a legacy handshake and its session, as the era is modern or being probed again."""
        self._state.session, self._barrier = None, False
        self._drop_handshakes(None)

    def repeat(self, frame: Transmit) -> None:
        """Post a response of ours a second time, a little later."""
        self._post_later(frame, self._state.backoff.delay(1, None)).repeated = True

    def opens_later(self, call: Call) -> bool:
        """Retry ``initialize`` if it opens a session in place of a lost one; return True if so."""
        state = self._state
        frame, request = call.frame, call.request
        if call.method != INITIALIZE or frame is None or request is None:
            return False
        if not state.epoch or call.tries >= state.settings.max_resumes:
            return False
        del state.by_request[request]
        call.request = None
        delay = state.backoff.delay(call.tries + 1, call.retry_after)
        self._post_later(frame, delay).tries = call.tries + 1
        return True

    def _post_later(self, frame: Transmit, delay: float) -> Call:
        state = self._state
        call = self._post(frame)
        state.plans[-1] = structs.replace(cast(HttpSend, state.plans[-1]), after=delay)
        return call

    # Sessions

    def confirmed(self) -> None:
        """Send the waiting frames and open the standalone stream, as the server is ready."""
        state = self._state
        self._barrier = False
        saved, self._saved = self._saved, {}
        waiting, state.waiting = state.waiting, []
        revision = state.revision
        wanted = state.settings.get_stream and state.sse is None
        if wanted and revision is not None and revision.get_stream:
            route = state.new_route()
            call = state.calls[route] = state.new_call(route, CallPurpose.STREAM, revision)
            call.method = "the standalone stream"
            state.plans.append(
                state.planner.get(
                    route,
                    session=state.session,
                    version=state.version(),
                    timeout=state.settings.stream_timeout,
                )
            )
        outbound = state.endpoint.outbound  # requests that have ended are not sent
        for request, frame in saved.items():
            if request in outbound:
                self._post(frame, again=True)
        for frame in waiting:
            if frame.kind is not FrameKind.REQUEST or frame.request in outbound:
                self.say(frame)

    def unconfirmed(self, call: Call, message: str, fault: Fault | None, now: float) -> None:
        """Repeat ``notifications/initialized`` after a failure, or end the conversation."""
        state = self._state
        state.violation(call, message)
        if not call.tries:
            patience = state.peer.config.limits.request_timeout
            self._confirm_by = math.inf if patience is None else now + patience
        tries = call.tries + 1
        delay = state.backoff.delay(tries, call.retry_after)
        left = tries <= state.settings.max_resumes and now + delay <= self._confirm_by
        if left and not _for_good(fault):
            self._post_later(cast(Transmit, call.frame), delay).tries = tries
        else:
            self._end_unopened(message, fault, now)

    def _end_unopened(self, message: str, fault: Fault | None, now: float) -> None:
        """End the conversation and all that waits, as the session cannot begin for the server."""
        state = self._state
        if state.sse is not None:
            state.stream_fault = fault
        if state.peer.reconnects is None:
            for frame in (*self._saved.values(), *state.waiting):
                state.unsent(frame, message, fault, now)
        state.peer.receive_eof(now=now, reason=message)

    def lost(self, call: Call, frame: Transmit | None, now: float) -> None:
        """Handle the loss of the session that ``call`` was sent in."""
        state = self._state
        current = call.epoch == state.epoch
        if current:
            by_get = call.purpose is not CallPurpose.POST
            state.next_epoch()
            state.session = None
            if state.fruitful:
                self._barren = 0
            elif call.method == INITIALIZE or (
                call.request is None and (state.streamed or not by_get)
            ):
                # Requests end after their second try, and a GET that is never served loses one
                # session. This counter ends the other cases.
                self._barren += 1
            state.fruitful = state.streamed = state.get_missing = False
            state.get_unproven |= by_get
            state.doubtful = -math.inf
            self._barrier = True
            # Queued behind the responses that were received before the loss.
            state.endpoint.inbox.append((self, now))
        self.save(call, frame, f"{call.method}: the server has lost the session", now)

    def save(self, call: Call, frame: Transmit | None, message: str, now: float) -> None:
        """Send the request of ``call`` again in the next session, or end it."""
        state = self._state
        request = call.request
        if request is None:
            return
        if frame is None or call.again:
            state.fail(call, message, now)
            return
        del state.by_request[request]
        call.request = None
        record = state.endpoint.outbound.get(request)
        if record is not None:
            record.progress = None  # progress begins anew
        if self._barrier:
            self._saved[request] = frame
        else:
            self._post(frame, again=True)

    def take_in(self, now: float) -> None:
        """Open the next session at its place in the queue of input (called by the endpoint)."""
        state = self._state
        peer = state.peer
        if (
            peer.state not in (SessionState.OPEN, SessionState.OPENING)
            or peer._state.is_modern_client
        ):
            return  # the lost session is a handshake that is not needed any more
        if self._barren >= state.settings.max_lost_sessions:
            peer.receive_eof(now=now, reason="the server does not keep its sessions")
        else:
            peer._inbound.restart(now)

    # The end

    def clear(self) -> None:
        """Drop all that waits, as another conversation begins."""
        self._barrier = False
        self._saved.clear()
        self.turns.clear()

    def kept(self, call: Call) -> bool:
        """Return True if an exchange goes on while the client closes: a POST of a cancellation.

        The event stream of HTTP+SSE, without which no POST can be made, stays as long.
        """
        if call.method == CANCELLED:
            return call.status == 0
        return call.purpose is CallPurpose.SSE and self._state.uses_sse and self._telling()

    def _telling(self) -> bool:
        return any(
            call.method == CANCELLED and call.status == 0 for call in self._state.calls.values()
        )

    def forget_unsent(self) -> None:
        """Drop planned requests that were given up before they were sent."""
        state = self._state
        new = {plan.exchange for plan in state.plans if isinstance(plan, HttpSend)}
        gone = new - state.calls.keys()
        state.plans = [plan for plan in state.plans if plan.exchange not in gone]

    def ended(self, now: float) -> None:
        """Go on after the end of a response."""
        state = self._state
        if not state.closing or self._telling():
            return
        if not self._left:
            self._left = True
            self._leave()
        if not state.calls:
            state.peer.receive_eof(now=now, reason="closed by this side")

    def _leave(self) -> None:
        """Abort the open exchanges, and end the session."""
        state = self._state
        for call in list(state.calls.values()):
            state.abort(call)
        session = state.session
        if session is None or not state.settings.delete_session:
            return
        route = state.new_route()
        state.calls[route] = state.new_call(route, CallPurpose.DELETE, state.revision)
        state.plans.append(
            state.planner.delete(
                route,
                session=session,
                version=state.version(),
                timeout=state.settings.notify_timeout,
            )
        )


def _for_good(fault: Fault | None) -> bool:
    """Return True if a message that failed with ``fault`` would fail again."""
    gone = fault is not None and fault.status == 404  # in a session, 404 counts as its loss
    return gone or reason_of(fault) is EndReason.INVALID or fails_for_good(fault)
