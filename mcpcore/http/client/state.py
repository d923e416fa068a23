"""State of an HttpClient, which its parts share: its exchanges, and their ends."""

import math
from typing import TYPE_CHECKING

from msgspec import structs

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import EndReason, Event, Fault, FaultKind, Route, Violation
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.client.call import Backoff, Call, CallPurpose, Recovery, StreamInterrupted
from mcpcore.http.client.plan import Planner
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.errors import INVALID_REQUEST
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId

if TYPE_CHECKING:
    from mcpcore.http.legacy_sse.client import SseStream

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


class ClientState:
    """Exchanges of one client, its Peer, and the facts of its session."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        self.peer = peer
        self.endpoint = peer._endpoint
        self.backoff = Backoff(settings, seed)
        self.planner = planner
        self.settings = settings
        self.calls: dict[Route, Call] = {}
        """Open and planned exchanges."""
        self.by_request: dict[RequestId, Call] = {}
        """Exchanges that wait for the response to a request."""
        self.plans: list[HttpSend | HttpAbort] = []
        self.deadlines: Deadlines[Call] = Deadlines()
        self._routes = 0
        self.closing = False
        self.waiting: list[Transmit] = []
        """Frames that wait until the server knows our session, or has named its endpoint."""
        # The session
        self.session: str | None = None
        self.revision: Revision | None = None
        """Legacy revision in use, once it was negotiated."""
        self.epoch = 0
        self.lost_route: Route = 0
        """Newest route of the sessions that were lost; messages on it or an earlier one are
        theirs."""
        self.fruitful = False
        """True if the session of this epoch has answered a request."""
        self.streamed = False
        """True if the standalone stream of this epoch was open once."""
        self.get_missing = False
        """True if no GET is sent any more in this session, as the server offers none."""
        self.get_unproven = False
        """True if a session was given up because a GET met 404, and no later one has opened a
        stream."""
        self.doubtful = -math.inf
        """Time until which a 404 is no evidence about the session of this epoch."""
        # HTTP+SSE
        self.sse: SseStream | None = None
        self.stream_fault: Fault | None = None
        """Fault of the event stream that ended last; None if it broke off."""

    # Events of our own

    def report(self, event: Event) -> None:
        """Queue an event for the application after all earlier input."""
        self.endpoint.inbox.append((self, event))

    def take_in(self, event: Event) -> None:
        """Pass on an event at its place in the queue (called by the endpoint)."""
        self.endpoint.events.append(event)

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

    def settle(self, call: Call, request: RequestId, now: float) -> None:
        """Settle the request of ``call``, which has its outcome."""
        del self.by_request[request]
        call.request = None
        if call.route in self.calls:
            self.deadlines.set(call, now + self.settings.linger)

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
        self.settle(call, request, now)
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
        if call.request is not None:
            del self.by_request[call.request]
            call.request = None
        self.plans.append(HttpAbort(call.route))

    def take_back(self, call: Call) -> None:
        """Abort an exchange whose request was given up; the server's requests on it end, too."""
        for route in (*call.earlier, call.route):
            self.peer.receive_eof(now=call.heard, route=route, reason=GIVEN_UP)
        self.abort(call)

    def redirected(
        self, call: Call, fault: Fault, now: float, base: str = ""
    ) -> tuple[str | None, str]:
        """Return the target of a redirect of a GET, or None and the reason not to follow it.

        The rest of a response whose redirect is followed is left to an exchange of its own.
        """
        target, most = self.planner.moved(fault.location, base), self.settings.max_redirects
        if target is None:
            return None, "redirects to other origins are not followed"
        if call.redirects >= most:
            return None, f"more than {most} redirects"
        left = structs.replace(call, over=True, request=None, deadline=None)
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
        if frame.kind is FrameKind.REQUEST and frame.request is not None:
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

    def new_call(self, route: int, purpose: CallPurpose, revision: Revision | None) -> Call:
        """Return an exchange of the session of this epoch."""
        return Call(
            route=route,
            purpose=purpose,
            epoch=self.epoch,
            in_session=self.session is not None,
            revision=revision,
        )
