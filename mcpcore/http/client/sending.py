"""POSTs of an HTTP client: order of messages, and new sessions in place of lost ones.

Source: the Streamable HTTP pages ("Sending Messages", "Session Management").
"""

import math
from typing import cast

from msgspec import structs

from mcpcore.engine.events import ENGINE, MAIN, EndReason, Key
from mcpcore.engine.faults import Fault
from mcpcore.engine.lifecycle import RequestState, SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import fails_for_good
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.client.answers import CANCELLED, INITIALIZE, INITIALIZED
from mcpcore.http.client.call import Call, Purpose
from mcpcore.http.client.outcomes import reason_of
from mcpcore.http.client.plan import Planner
from mcpcore.http.client.responses import Responses
from mcpcore.http.messages import HttpSend
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId

_PROBE = "server/discover"
_NEGOTIATING = (_PROBE, INITIALIZE)


class Sending(Responses):
    """The half of an HttpClient that sends."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        super().__init__(peer, planner, settings, seed)
        self._saved: dict[RequestId, Transmit] = {}
        """Requests refused by a lost session, to be sent again in the next, once."""
        self._turns: dict[Key, tuple[Call, list[Transmit]]] = {}
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

    def _collect(self) -> None:
        if self._turns:
            self._go_on()
        if self._must_wait:
            self._forget_pipe()
        for frame in self._peer.data_to_send():
            self._plan(frame)
        if self._peer.state is SessionState.CLOSED and not self._closing:
            # Negotiation failed, or the sessions were given up: no request waits any more.
            self._waiting.clear()
            self._saved.clear()
            for call in list(self._calls.values()):
                self._abort(call)

    def _plan(self, frame: Transmit) -> None:
        if frame.kind is FrameKind.ACCEPTED or self._closing:
            return
        if frame.method == CANCELLED and frame.request is not None:
            if not self._forget(frame.request, frame.revision):
                return
        elif frame.method == INITIALIZED:
            self._barrier = frame.repeatable = True  # it does no harm to send it twice
            self._revision = frame.revision
            if self._pipe is not None:
                self._pipe.call.revision = frame.revision
            self._post(frame)
            return
        if self._must_wait or (self._barrier and frame.method not in _NEGOTIATING):
            self._waiting.append(frame)
        else:
            self._say(frame)

    def _say(self, frame: Transmit) -> None:
        """Post a frame; frames for one request of the server go one by one, as POSTs may overtake.

        No report of progress can thus come after the response. A response to a request of a lost
        session is not sent in the next: that one counts its ids anew, so that the id would name
        another request.
        """
        if MAIN < frame.route <= self._lost_route:
            return
        key = frame.key
        reports = frame.kind is FrameKind.NOTIFICATION
        if key is None or key == ENGINE or frame.kind is FrameKind.REQUEST:
            self._post(frame)
        elif key not in self._turns:
            call = self._post(frame)
            if reports:
                self._turns[key] = call, []
        else:
            waiting = self._turns[key][1]
            if reports and waiting:
                waiting.clear()  # newer progress replaces older progress
            waiting.append(frame)

    def _go_on(self) -> None:
        """Send the frames that waited for a report that has reached the server, or cannot."""
        for key, (call, waiting) in list(self._turns.items()):
            if call.status == 0 and self._calls.get(call.route) is call:
                continue
            del self._turns[key]
            record = self._endpoint.inbound.get(key)
            answered = bool(waiting) and waiting[-1].kind is not FrameKind.NOTIFICATION
            if answered or (record is not None and record.state is RequestState.ACTIVE):
                for frame in waiting:
                    self._say(frame)

    def _forget(self, request: RequestId, revision: Revision | None) -> bool:
        """Drop a request that the application gave up; return True if the server must be told."""
        if self._saved.pop(request, None) is not None:
            return False
        unsent = [frame for frame in self._waiting if frame.request != request]
        if len(unsent) < len(self._waiting):
            self._waiting = unsent
            return False
        call = self._by_request.get(request)
        if call is not None:
            self._take_back(call)
        return revision is None or not revision.disconnect_cancels

    def _post(self, frame: Transmit, *, again: bool = False) -> Call:
        if frame.method == _PROBE:
            self._forget_handshake()
        route = self._new_route()
        revision = frame.revision
        call = self._calls[route] = self._call(route, Purpose.POST, revision)
        call.frame = frame
        call.method = frame.method
        call.again = again
        if frame.kind is FrameKind.REQUEST:
            call.request = cast(RequestId, frame.request)
            self._by_request[call.request] = call
            if frame.method in _NEGOTIATING:
                call.negotiating = self._peer.state in (SessionState.PROBING, SessionState.OPENING)
        version = self._version()
        if frame.method == INITIALIZE:
            self._drop_handshakes(call)
            version, call.in_session = None, False
        elif revision is not None and revision.mirror_headers:
            version = revision
        session = self._session if call.in_session else None
        # The engine has deadlines only for requests.
        timeout = self.settings.notify_timeout if call.request is None else None
        self._plans.append(
            self._planner.post(
                route,
                frame,
                session=session,
                version=version,
                timeout=timeout,
                target=None if self._pipe is None else self._pipe.target,
            )
        )
        return call

    def _drop_handshakes(self, latest: Call | None) -> None:
        """Abort each ``initialize`` before ``latest``, as its response is not needed any more."""
        for call in list(self._calls.values()):
            if call.method == INITIALIZE and call is not latest:
                self._abort(call)

    def _forget_handshake(self) -> None:
        """Drop a legacy handshake and its session, as the era is modern or being probed again."""
        self._session, self._barrier = None, False
        self._drop_handshakes(None)

    def _repeat(self, frame: Transmit) -> None:
        self._post_later(frame, self._backoff.delay(1, None)).repeated = True

    def _opens_later(self, call: Call) -> bool:
        frame, request = call.frame, call.request
        if call.method != INITIALIZE or frame is None or request is None:
            return False
        if not self._epoch or call.tries >= self.settings.max_resumes:
            return False
        del self._by_request[request]
        call.request = None
        delay = self._backoff.delay(call.tries + 1, call.retry_after)
        self._post_later(frame, delay).tries = call.tries + 1
        return True

    def _post_later(self, frame: Transmit, delay: float) -> Call:
        call = self._post(frame)
        self._plans[-1] = structs.replace(cast(HttpSend, self._plans[-1]), after=delay)
        return call

    def _call(self, route: int, purpose: Purpose, revision: Revision | None) -> Call:
        return Call(
            route=route,
            purpose=purpose,
            epoch=self._epoch,
            in_session=self._session is not None,
            revision=revision,
        )

    # Sessions

    def _confirmed(self) -> None:
        """Send the waiting frames and open the standalone stream, as the server is ready."""
        self._barrier = False
        saved, self._saved = self._saved, {}
        waiting, self._waiting = self._waiting, []
        revision = self._revision
        wanted = self.settings.get_stream and self._pipe is None
        if wanted and revision is not None and revision.get_stream:
            route = self._new_route()
            call = self._calls[route] = self._call(route, Purpose.STREAM, revision)
            call.method = "the standalone stream"
            self._plans.append(
                self._planner.get(
                    route,
                    session=self._session,
                    version=self._version(),
                    timeout=self.settings.stream_timeout,
                )
            )
        outbound = self._endpoint.outbound  # requests that have ended are not sent
        for request, frame in saved.items():
            if request in outbound:
                self._post(frame, again=True)
        for frame in waiting:
            if frame.kind is not FrameKind.REQUEST or frame.request in outbound:
                self._say(frame)

    def _unconfirmed(self, call: Call, message: str, fault: Fault | None, now: float) -> None:
        self._violation(call, message)
        if not call.tries:
            patience = self._peer.config.limits.request_timeout
            self._confirm_by = math.inf if patience is None else now + patience
        tries = call.tries + 1
        delay = self._backoff.delay(tries, call.retry_after)
        left = tries <= self.settings.max_resumes and now + delay <= self._confirm_by
        if left and not _for_good(fault):
            self._post_later(cast(Transmit, call.frame), delay).tries = tries
        else:
            self._end_unopened(message, fault, now)

    def _end_unopened(self, message: str, fault: Fault | None, now: float) -> None:
        """End the conversation and all that waits, as the session cannot begin for the server."""
        if self._pipe is not None:
            self.stream_fault = fault
        if self._peer.reconnects is None:
            for frame in (*self._saved.values(), *self._waiting):
                self._unsent(frame, message, fault, now)
        self._peer.receive_eof(now=now, reason=message)

    def _lost(self, call: Call, frame: Transmit | None, now: float) -> None:
        current = call.epoch == self._epoch
        if current:
            by_get = call.purpose is not Purpose.POST
            self._next_epoch()
            self._session = None
            if self._fruitful:
                self._barren = 0
            elif call.method == INITIALIZE or (
                call.request is None and (self._streamed or not by_get)
            ):
                # Requests end after their second try, and a GET that is never served loses one
                # session. This counter ends the other cases.
                self._barren += 1
            self._fruitful = self._streamed = self._get_missing = False
            self._get_unproven |= by_get
            self._doubtful = -math.inf
            self._barrier = True
            # Queued behind the responses that were received before the loss.
            self._endpoint.inbox.append((self, now))
        self._save(call, frame, f"{call.method}: the server has lost the session", now)

    def _save(self, call: Call, frame: Transmit | None, message: str, now: float) -> None:
        request = call.request
        if request is None:
            return
        if frame is None or call.again:
            self._fail(call, message, now)
            return
        del self._by_request[request]
        call.request = None
        record = self._endpoint.outbound.get(request)
        if record is not None:
            record.progress = None  # progress begins anew
        if self._barrier:
            self._saved[request] = frame
        else:
            self._post(frame, again=True)

    def take_in(self, now: float) -> None:
        """Open the next session at its place in the queue of input (called by the endpoint)."""
        peer = self._peer
        if (
            peer.state not in (SessionState.OPEN, SessionState.OPENING)
            or peer._state.is_modern_client
        ):
            return  # the lost session is a handshake that is not needed any more
        if self._barren >= self.settings.max_lost_sessions:
            peer.receive_eof(now=now, reason="the server does not keep its sessions")
        else:
            peer._inbound.restart(now)

    # The end

    def _kept(self, call: Call) -> bool:
        """Return True if an exchange goes on while the client closes: a POST of a cancellation.

        The event stream of HTTP+SSE, without which no POST can be made, stays as long.
        """
        if call.method == CANCELLED:
            return call.status == 0
        return call.purpose is Purpose.SSE and self.uses_sse and self._telling()

    def _telling(self) -> bool:
        return any(call.method == CANCELLED and call.status == 0 for call in self._calls.values())

    def _forget_unsent(self) -> None:
        """Drop planned requests that were given up before they were sent."""
        new = {plan.exchange for plan in self._plans if isinstance(plan, HttpSend)}
        gone = new - self._calls.keys()
        self._plans = [plan for plan in self._plans if plan.exchange not in gone]

    def _ended(self, now: float) -> None:
        if not self._closing or self._telling():
            return
        if not self._left:
            self._left = True
            self._leave()
        if not self._calls:
            self._peer.receive_eof(now=now, reason="closed by this side")

    def _leave(self) -> None:
        """Abort the open exchanges, and end the session."""
        for call in list(self._calls.values()):
            self._abort(call)
        session = self._session
        if session is None or not self.settings.delete_session:
            return
        route = self._new_route()
        self._calls[route] = self._call(route, Purpose.DELETE, self._revision)
        self._plans.append(
            self._planner.delete(
                route,
                session=session,
                version=self._version(),
                timeout=self.settings.notify_timeout,
            )
        )


def _for_good(fault: Fault | None) -> bool:
    """Return True if a message that failed with ``fault`` would fail again."""
    gone = fault is not None and fault.status == 404  # in a session, 404 counts as its loss
    return gone or reason_of(fault) is EndReason.INVALID or fails_for_good(fault)
