"""What becomes of a client's exchanges: requests that end, streams that are picked up, aborts."""

from abc import ABC, abstractmethod

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Route, Violation
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import Transmit
from mcpcore.http.call import Call, Purpose, Reading
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.plan import Planner
from mcpcore.http.recovery import Backoff, Recovery, Relay, StreamInterrupted
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
    """How a request ends that met with ``fault``; without any its connection was lost."""
    return EndReason.CLOSED if fault is None else _REASONS.get(fault.kind, EndReason.CLOSED)


class Outcomes(ABC):
    """The exchanges of an HttpClient, and how they end."""

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
        self._lost_route: Route = 0
        """What came on this route, or on one before it, came in a session that was lost."""
        self._get_missing = False
        """In this session nothing more is asked for by GET: the server has nothing there."""
        self._closing = False

    @abstractmethod
    def _save(self, call: Call, frame: Transmit | None, message: str, now: float) -> None:
        """Send the request of ``call`` again in the next session, or end it."""

    # Streams that break off

    def _broken(self, call: Call, error: str, now: float, fault: Fault | None = None) -> None:
        """A stream has ended early: pick it up where that is possible."""
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
        """What to do about a stream that has broken off."""
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
            # Events alone, however many, do not let a server have us come back at any rate.
            delay = max(delay, self.settings.retry_delay)
        self._interrupted(call, recovery, delay, reason)
        call.redirects = 0
        self._get(call, delay)

    def _get(self, call: Call, after: float | None, target: str | None = None) -> None:
        """Let the exchange go on as a new GET, where the last event left off."""
        in_use = self._peer.hub.routes_in_use()
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
        """The request of ``call`` has its outcome."""
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
        """End the request of ``call``, if it has one that waits, without an answer."""
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
        """What comes in answer cannot be borne: end the request, read no more."""
        if call.purpose is Purpose.STREAM:
            self._interrupted(call, Recovery.FAIL, 0.0, message)
        self._fail(call, message, now, reason=EndReason.INVALID, fault=fault)
        self._abort(call)

    def _abort(self, call: Call) -> None:
        """Give an exchange up."""
        del self._calls[call.route]
        if call.deadline is not None:
            self._deadlines.set(call, None)
        if call.request is not None:
            del self._by_request[call.request]
            call.request = None
        self._plans.append(HttpAbort(call.route))

    def _take_back(self, call: Call) -> None:
        """Our owner gave the request of ``call`` up: what the server asked meanwhile ends too."""
        for route in (*call.earlier, call.route):
            self._peer.receive_eof(now=call.heard, route=route, reason=GIVEN_UP)
        self._abort(call)

    # Helpers

    def _new_route(self) -> Route:
        self._routes += 1
        return self._routes

    def _next_epoch(self) -> None:
        """The session is lost: what came in it is answered no more."""
        self._epoch += 1
        self._lost_route = self._routes

    def _version(self) -> Revision | None:
        """What the version header says in the legacy session."""
        revision = self._revision
        return revision if revision is not None and revision.version_header else None

    def _refused_one(self, route: Route) -> None:
        """A request of the server that came on ``route`` was refused: that counts as well."""
        call = self._calls.get(route)
        if call is None:
            return
        call.violations += 1
        if call.violations > self.settings.max_violations:
            self._peer.hub.discard(route)
            self._too_much(call, call.heard)

    def _too_much(self, call: Call, now: float) -> None:
        """Read no more of a stream with so much on it that must not be there."""
        text = f"{call.method}: the server breaks the protocol over and over"
        self._give_up(call, text, now)

    def _violation(self, call: Call, message: str) -> None:
        call.violations += 1
        session = self._session
        self._peer.hub.events.append(
            Violation(code=INVALID_REQUEST, message=message, route=call.route, session=session)
        )
