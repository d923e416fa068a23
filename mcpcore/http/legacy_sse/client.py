"""HTTP+SSE at a client: the event stream of the server's messages, and the endpoint for POSTs.

It is used if the settings ask for it, or if ``initialize`` was refused with a status after which
the specification wants a GET tried. No POST is sent before the stream has named an endpoint of its
own origin, and none after it has ended.  Sources: 2024-11-05, transports page, "HTTP with SSE";
2025-03-26 to 2025-11-25, transports page, "Backwards Compatibility".
"""

from abc import abstractmethod

from msgspec import UNSET, Struct

from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.client.call import (
    REDIRECTS,
    Call,
    Purpose,
    Reading,
    content_kind,
    refusal_of,
    refusal_text,
)
from mcpcore.http.client.outcomes import Outcomes, reason_of
from mcpcore.http.client.plan import Planner
from mcpcore.http.headers import Fields
from mcpcore.http.settings import HttpClientSettings, SseUse
from mcpcore.wire.message import Message, Reject
from mcpcore.wire.sse import ServerSentEvent, SseDecoder

FALLS_BACK = frozenset({400, 404, 405})
"""Statuses of ``initialize`` after which HTTP+SSE is tried (2025-11-25, "Backwards
Compatibility")."""
_NOT_SSE = FALLS_BACK | {406, 410, 501}
"""Statuses that mean that the server has no event stream for any client."""
_ENDPOINT, _MESSAGE = "endpoint", "message"
_STREAM = "the event stream of HTTP+SSE"


class Refused(Struct, kw_only=True, eq=False):
    """Refusal of ``initialize``, which counts if HTTP+SSE is not available either."""

    call: Call
    request: int | str
    frame: Transmit
    body: bytes


class SseStream(Struct, kw_only=True, eq=False):
    """Event stream of a conversation, from its GET on."""

    call: Call
    base: str
    """Target of the GET after redirects; the URI of the endpoint is relative to it."""
    target: str | None = None
    """Target of POSTs, once the endpoint was named."""
    refused: Refused | None


class SseClient(Outcomes):
    """The part of an HttpClient that speaks HTTP+SSE."""

    def __init__(
        self, peer: Peer, planner: Planner, settings: HttpClientSettings, seed: bytes
    ) -> None:
        super().__init__(peer, planner, settings, seed)
        self._pipe: SseStream | None = None
        self._fell_back = False
        """True once HTTP+SSE was tried; it is not tried twice."""
        self.stream_fault: Fault | None = None
        """Fault of the event stream that ended last; None if it broke off."""
        self._denial = ""
        """Reason for which HTTP+SSE is not available."""
        self._waiting: list[Transmit] = []
        """Frames that wait until the server knows our session, or has named its endpoint."""

    @abstractmethod
    def _refused(self, call: Call, body: bytes, now: float) -> None:
        """Handle a POST that was refused by its status."""

    @abstractmethod
    def _say(self, frame: Transmit) -> None:
        """Post a frame in its turn."""

    @property
    def uses_sse(self) -> bool:
        """True if messages go over HTTP+SSE."""
        return self._pipe is not None and self._pipe.target is not None

    @property
    def _must_wait(self) -> bool:
        """True if the endpoint for messages is not known yet."""
        return self._pipe is not None and self._pipe.target is None

    # Beginning of the stream

    def _open_pipe(self, now: float, refused: Refused | None = None) -> None:
        """Ask for the event stream."""
        self._fell_back = True
        call = Call(
            route=self._new_route(),
            purpose=Purpose.SSE,
            epoch=self._epoch,
            in_session=False,
            revision=None,
            method=_STREAM,
        )
        self._pipe = SseStream(call=call, base=self._planner.target, refused=refused)
        self._ask_for(call, self._planner.target, now)

    def _ask_for(self, call: Call, target: str, now: float) -> None:
        self._calls[call.route] = call
        self._deadlines.set(call, now + self.settings.endpoint_timeout)
        self._plans.append(self._planner.get(call.route, session=None, version=None, target=target))

    def _falls_back(self, call: Call, body: bytes, now: float) -> bool:
        """Try HTTP+SSE after ``initialize`` was refused; return False if that does not apply."""
        frame, request = call.frame, call.request
        if call.status not in FALLS_BACK or self._fell_back or self._epoch:
            return False
        if self.settings.legacy_sse is not SseUse.FALL_BACK or not call.negotiating:
            return False
        if frame is None or request is None or frame.method != "initialize":
            return False
        del self._by_request[request]
        call.request = None
        self._waiting.insert(0, frame)
        self._open_pipe(now, Refused(call=call, request=request, frame=frame, body=body))
        return True

    def _pipe_head(self, call: Call, status: int, fields: Fields, now: float) -> None:
        pipe = self._pipe
        if pipe is None or pipe.call is not call:
            call.over = True
        elif 200 <= status < 300 and content_kind(fields) is Reading.EVENTS:
            call.reading = Reading.EVENTS
            call.opened = now
            call.decoder = SseDecoder(self.settings.max_event)
        elif 200 <= status < 300:
            text = f"{_STREAM} is none: the Content-Type of the response is another"
            self._pipe_over(call, text, now, Fault(FaultKind.HEADERS))
        elif status in REDIRECTS:
            self._pipe_moved(pipe, call, status, fields, now)
        else:
            text = f"{_STREAM} cannot be had: {refusal_text(status)}"
            self._pipe_over(call, text, now, refusal_of(status, fields))

    def _pipe_moved(
        self, pipe: SseStream, call: Call, status: int, fields: Fields, now: float
    ) -> None:
        """Follow a redirect within our origin, a few times."""
        fault = refusal_of(status, fields)
        target = self._planner.moved(fault.location, pipe.base)
        if target is None or call.redirects >= self.settings.max_redirects:
            reason = "redirects to other origins are not followed"
            if target is not None:
                reason = f"more than {self.settings.max_redirects} redirects"
            self._pipe_over(call, f"{_STREAM}: {refusal_text(status, reason)}", now, fault)
            return
        left = Call(
            route=call.route,
            purpose=Purpose.SSE,
            epoch=call.epoch,
            in_session=False,
            revision=None,
            over=True,
        )
        self._calls[left.route] = left
        self._deadlines.set(left, now + self.settings.linger)
        call.redirects += 1
        call.route = self._new_route()
        pipe.base = target
        self._ask_for(call, target, now)

    # Events of the stream

    def _piped(self, call: Call, event: ServerSentEvent, now: float) -> bool:
        """Handle an event; return True if it carries a message to decode."""
        pipe = self._pipe
        if pipe is None or pipe.call is not call or self._calls.get(call.route) is not call:
            return False
        if event.event == _ENDPOINT:
            self._name_endpoint(pipe, event.payload, now)
        elif event.event == _MESSAGE and event.payload:
            if pipe.target is not None:
                return True
            text = f"{_STREAM} does not begin with the event {_ENDPOINT!r}"
            self._pipe_over(call, text, now, Fault(FaultKind.MALFORMED))
        return False

    def _name_endpoint(self, pipe: SseStream, uri: bytes, now: float) -> None:
        try:
            target = self._planner.endpoint(uri, pipe.base)
        except ValueError as error:
            text = f"{_STREAM} names an endpoint that cannot be used: {error}"
            self._pipe_over(pipe.call, text, now, Fault(FaultKind.MALFORMED))
            return
        if pipe.target is None:
            pipe.target = target
            self._deadlines.set(pipe.call, None)
            waiting, self._waiting = self._waiting, []
            for frame in waiting:
                self._say(frame)
        elif pipe.target == target:
            self._violation(pipe.call, f"{_STREAM} names its endpoint a second time")
        else:
            text = f"{_STREAM} names a second endpoint, which is another one"
            self._pipe_over(pipe.call, text, now, Fault(FaultKind.MALFORMED))

    def _heard(self, call: Call, item: Message | Reject, now: float) -> Message | Reject:
        """Pass on a message of the stream; a response settles its request, which needs no 202."""
        if isinstance(item, Reject):
            answer, id = item.response, item.id
            call.violations += 1
        else:
            answer, id = item.method is UNSET, None if item.id is UNSET else item.id
        asked = self._by_request.get(id) if answer and id is not None else None
        if asked is not None and id is not None:
            self._settle(asked, id, now)
            asked.over = True
        return item

    def _posted(self, call: Call) -> None:
        """Settle a POST that was accepted; the response comes on the stream."""
        call.over = True
        if call.request is not None:
            del self._by_request[call.request]
            call.request = None

    # End of the stream

    def _pipe_late(self, call: Call, now: float) -> None:
        limit = self.settings.endpoint_timeout
        text = f"{_STREAM} has named no endpoint within {limit:g} s"
        self._pipe_over(call, text, now, None)

    def _pipe_over(self, call: Call, message: str, now: float, fault: Fault | None) -> None:
        """Handle the end of the stream, which ends the conversation if that had begun."""
        pipe = self._pipe
        if self._calls.get(call.route) is call:
            self._abort(call)
        if pipe is None or pipe.call is not call:
            return
        if pipe.target is None:
            self._pipe_denied(pipe, message, now, fault)
        else:
            self.stream_fault = fault
            self._peer.receive_eof(now=now, reason=message)

    def _pipe_denied(self, pipe: SseStream, message: str, now: float, fault: Fault | None) -> None:
        """Go on without HTTP+SSE where possible, as it is not available."""
        self._pipe = None
        self._denial = message
        refused = pipe.refused
        if refused is not None:
            if refused.frame in self._waiting:
                self._waiting.remove(refused.frame)
                refused.call.request = refused.request
                self._by_request[refused.request] = refused.call
            if _is_there(fault):
                # The stream exists, but the server refuses it: the application must correct that.
                self._fail(refused.call, message, now, fault=fault)
            else:
                self._refused(refused.call, refused.body, now)
            return
        lost = fault is not None and fault.kind is FaultKind.CONNECT
        final = lost or _is_there(fault) or self.settings.legacy_sse is SseUse.ONLY
        waiting, self._waiting = self._waiting, []
        for frame in waiting:
            if not final:
                self._say(frame)
            else:
                self._unsent(frame, message, fault, now)

    def _unsent(self, frame: Transmit, message: str, fault: Fault | None, now: float) -> None:
        """End the request, if any, of a waiting frame that will not be sent."""
        if frame.kind is FrameKind.REQUEST and frame.request is not None:
            self._peer.receive_failure(
                frame.request, now=now, reason=reason_of(fault), message=message, fault=fault
            )

    def _forget_pipe(self) -> None:
        """Drop the stream, as the era was found out by another response."""
        pipe = self._pipe
        if pipe is not None and pipe.target is None and self._peer.state is SessionState.OPEN:
            self._pipe = None
            if self._calls.get(pipe.call.route) is pipe.call:
                self._abort(pipe.call)
            waiting, self._waiting = self._waiting, []
            for frame in waiting:
                if pipe.refused is None or frame is not pipe.refused.frame:
                    self._say(frame)

    def _broken(self, call: Call, error: str, now: float, fault: Fault | None = None) -> None:
        if call.purpose is Purpose.SSE:
            self._pipe_over(call, f"{_STREAM} broke off: {error}", now, fault)
        else:
            super()._broken(call, error, now, fault)

    def _give_up(self, call: Call, message: str, now: float, *, fault: Fault | None = None) -> None:
        if call.purpose is Purpose.SSE:
            if fault is None and self.uses_sse:
                fault = Fault(FaultKind.MALFORMED)  # too many messages that are not allowed
            self._pipe_over(call, message, now, fault)
        else:
            super()._give_up(call, message, now, fault=fault)


def _is_there(fault: Fault | None) -> bool:
    """Return True if a stream was refused for another reason than that there is none."""
    return fault is not None and fault.kind is FaultKind.STATUS and fault.status not in _NOT_SSE
