"""Outcomes of a client's exchanges: ended requests, resumed streams, aborts."""

from abc import ABC, abstractmethod

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Route, Violation
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import Transmit
from mcpcore.http.client.call import Call, Purpose, Reading
from mcpcore.http.client.plan import Planner
from mcpcore.http.client.recovery import Backoff, Recovery, Relay, StreamInterrupted
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import INVALID_REQUEST
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId

_REASONS = {
    FaultKind.TOO_LARGE: EndReason.INVALID,
    FaultKind.ENCODING: EndReason.INVALID,
    FaultKind.MALFORMED: EndReason.INVALID,
    FaultKind.STATUS: EndReason.REFUSED,
    FaultKind.REDIRECT: EndReason.REFUSED,
    FaultKind.HEADERS: EndReason.REFUSED,
}

GIVEN_UP = "the request that it belongs to was given up"


def reason_of(fault: Fault | None) -> EndReason:
    """Return the end reason for a request that met ``fault``; None means a lost connection."""
    return EndReason.CLOSED if fault is None else _REASONS.get(fault.kind, EndReason.CLOSED)


class Outcomes(ABC):
    """Exchanges of an HttpClient, and their ends."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        self._peer = peer
        self._endpoint = peer._endpoint
        self._relay = Relay(self._endpoint)
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
        """Legacy revision in use, once it was negotiated."""
        self._epoch = 0
        self._lost_route: Route = 0
        """Newest route of the sessions that were lost; messages on it or an earlier one are
        theirs."""
        self._get_missing = False
        """True if no GET is sent any more in this session, as the server offers none."""
        self._closing = False

    @abstractmethod
    def _save(self, call: Call, frame: Transmit | None, message: str, now: float) -> None:
        """Send the request of ``call`` again in the next session, or end it."""

    # Streams that break off

    def _broken(self, call: Call, error: str, now: float, fault: Fault | None = None) -> None:
        """Resume a stream that has ended early, if possible."""
        wanted = call.purpose is Purpose.STREAM or call.request is not None
        if not wanted:
            return
        stood = 0.0 if call.opened is None else now - call.opened
        call.opened = None
        if stood >= self.settings.lasting:
            call.resumes = 0
        call.hasty = 0 if stood >= self.settings.retry_delay else call.hasty + 1
        if reason_of(fault) is EndReason.INVALID and call.request is not None:
            # The next connection would bring the same.
            self._fail(call, f"{call.method}: {error}", now, fault=fault)
            return
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
            self._fail(call, message, now, fault=fault)
        else:
            self._save(call, call.frame, message, now)

    def _recovery(self, call: Call) -> Recovery:
        """Return the recovery for a stream that has broken off."""
        again = call.resumes < self.settings.max_resumes and not self._get_missing
        if call.epoch == self._epoch and again:
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
        if call.hasty > self.settings.max_resumes:
            # A server that sends many events must not set the rate of reconnecting.
            delay = max(delay, self.settings.retry_delay)
        self._interrupted(call, recovery, delay, reason)
        call.redirects = 0
        self._get(call, delay)

    def _get(self, call: Call, after: float | None, target: str | None = None) -> None:
        """Continue the exchange as a new GET, after the last event received."""
        in_use = self._endpoint.routes_in_use()
        call.earlier = [route for route in (*call.earlier, call.route) if route in in_use]
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
                after=after,
                target=target,
                timeout=self.settings.stream_timeout,
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

    # Ends

    def _settle(self, call: Call, request: RequestId, now: float) -> None:
        """Settle the request of ``call``, which has its outcome."""
        del self._by_request[request]
        call.request = None
        if call.route in self._calls:
            self._deadlines.set(call, now + self.settings.linger)

    def _fail(
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
        self._settle(call, request, now)
        self._peer.receive_failure(
            request,
            now=now,
            reason=reason_of(fault) if reason is None else reason,
            message=message,
            evidence=evidence,
            fault=fault,
        )

    def _give_up(self, call: Call, message: str, now: float, *, fault: Fault | None = None) -> None:
        """End the request of ``call`` as INVALID and abort the exchange."""
        if call.purpose is Purpose.STREAM:
            self._interrupted(call, Recovery.FAIL, 0.0, message)
        self._fail(call, message, now, reason=EndReason.INVALID, fault=fault)
        self._abort(call)

    def _abort(self, call: Call) -> None:
        """Abort an exchange."""
        del self._calls[call.route]
        if call.deadline is not None:
            self._deadlines.set(call, None)
        if call.request is not None:
            del self._by_request[call.request]
            call.request = None
        self._plans.append(HttpAbort(call.route))

    def _take_back(self, call: Call) -> None:
        """Abort an exchange whose request was given up; the server's requests on it end, too."""
        for route in (*call.earlier, call.route):
            self._peer.receive_eof(now=call.heard, route=route, reason=GIVEN_UP)
        self._abort(call)

    # Helpers

    def _new_route(self) -> Route:
        self._routes += 1
        return self._routes

    def _next_epoch(self) -> None:
        """Begin a new epoch after a lost session, whose requests get no response any more."""
        self._epoch += 1
        self._lost_route = self._routes

    def _version(self) -> Revision | None:
        """Return the revision for the version header in the legacy session, if it has one."""
        revision = self._revision
        return revision if revision is not None and revision.version_header else None

    def _refused_one(self, route: Route) -> None:
        """Count a refused request of the server on ``route`` as a violation."""
        call = self._calls.get(route)
        if call is None:
            return
        call.violations += 1
        if call.violations > self.settings.max_violations:
            self._endpoint.discard(route)
            self._too_much(call, call.heard)

    def _too_much(self, call: Call, now: float) -> None:
        """Give up an exchange after too many violations."""
        text = f"{call.method}: the server breaks the protocol over and over"
        self._give_up(call, text, now)

    def _violation(self, call: Call, message: str) -> None:
        call.violations += 1
        session = self._session
        self._endpoint.events.append(
            Violation(code=INVALID_REQUEST, message=message, route=call.route, session=session)
        )
