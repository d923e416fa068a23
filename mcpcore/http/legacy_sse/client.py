"""HTTP+SSE at a client: the event stream of the server's messages, and the endpoint for POSTs.

No POST is sent before the stream has named an endpoint, and none after it has ended.  Sources:
2024-11-05, transports page, "HTTP with SSE"; the later ones, "Backwards Compatibility".
"""

from collections.abc import Callable

from msgspec import Struct

from mcpcore.engine.events import Fault, FaultKind
from mcpcore.engine.lifecycle import SessionState
from mcpcore.http.client.call import (
    REDIRECTS,
    Call,
    CallPurpose,
    ResponseFields,
    ResponseKind,
    refusal_of,
    refusal_text,
)
from mcpcore.http.client.state import ClientState
from mcpcore.http.headers import Fields
from mcpcore.http.settings import SseUse
from mcpcore.wire.sse import ServerSentEvent, SseDecoder

FALLS_BACK = frozenset({400, 404, 405})
"""Statuses of ``initialize`` after which HTTP+SSE is tried ("Backwards Compatibility")."""
_NOT_SSE = FALLS_BACK | {406, 410, 501}
"""Statuses that mean that the server has no event stream for any client."""
_ENDPOINT, _MESSAGE = "endpoint", "message"
_STREAM = "the event stream of HTTP+SSE"


class RefusedInitialize(Struct, kw_only=True, eq=False):
    """Refusal of ``initialize``, which counts if HTTP+SSE is not available either."""

    call: Call
    request: int | str
    body: bytes


class SseStream(Struct, kw_only=True, eq=False):
    """Event stream of a conversation, from its GET on."""

    call: Call
    base: str
    """Target of the GET after redirects; the URI of the endpoint is relative to it."""
    target: str | None = None
    refused: RefusedInitialize | None


class SseClient:
    """The part of an HttpClient that speaks HTTP+SSE; ``refused`` handles its refused POST."""

    def __init__(self, state: ClientState, refused: Callable[[Call, bytes, float], None]) -> None:
        self._state = state
        self._refused = refused
        self._fell_back = False
        self.denial = ""

    # Beginning of the stream

    def open(self, now: float, refused: RefusedInitialize | None = None) -> None:
        """Ask for the event stream."""
        state = self._state
        self._fell_back = True
        call = state.new_call(CallPurpose.SSE, None, _STREAM)
        state.sse = SseStream(call=call, base=state.planner.target, refused=refused)
        self._ask_for(call, state.planner.target, now)

    def _ask_for(self, call: Call, target: str, now: float) -> None:
        state = self._state
        state.calls[call.route] = call
        state.deadlines.set(call, now + state.settings.endpoint_timeout)
        state.get(call, target=target)

    def falls_back(self, call: Call, body: bytes, now: float) -> bool:
        """Try HTTP+SSE after ``initialize`` was refused; return False if that does not apply."""
        state = self._state
        frame, request = call.frame, call.request
        if call.status not in FALLS_BACK or self._fell_back or state.epoch:
            return False
        if state.settings.legacy_sse is not SseUse.FALL_BACK or not call.negotiating:
            return False
        if frame is None or request is None or frame.method != "initialize":
            return False
        state.unbind(call)
        state.waiting.insert(0, frame)
        self.open(now, RefusedInitialize(call=call, request=request, body=body))
        return True

    def head(self, call: Call, status: int, fields: ResponseFields, now: float) -> None:
        """Handle status and headers of the response to the GET."""
        state = self._state
        stream = state.sse
        if stream is None or stream.call is not call:
            call.over = True
        elif 200 <= status < 300 and fields.kind is ResponseKind.EVENTS:
            call.reading = ResponseKind.EVENTS
            call.opened = now
            call.decoder = SseDecoder(state.settings.max_event)
        elif 200 <= status < 300:
            text = f"{_STREAM} is none: the Content-Type of the response is another"
            self._over(call, text, now, Fault(FaultKind.HEADERS))
        elif status in REDIRECTS:
            self._moved(stream, call, status, fields, now)
        else:
            text = f"{_STREAM} cannot be had: {refusal_text(status)}"
            self._over(call, text, now, refusal_of(status, fields))

    def _moved(
        self, stream: SseStream, call: Call, status: int, fields: Fields, now: float
    ) -> None:
        state = self._state
        fault = refusal_of(status, fields)
        target, reason = state.redirected(call, fault, now, stream.base)
        if target is None:
            self._over(call, f"{_STREAM}: {refusal_text(status, reason)}", now, fault)
            return
        call.route = state.new_route()
        stream.base = target
        self._ask_for(call, target, now)

    # Events of the stream

    def event(self, call: Call, event: ServerSentEvent, now: float) -> bool:
        """Handle an event; return True if it carries a message to decode."""
        state = self._state
        stream = state.sse
        if stream is None or stream.call is not call or state.calls.get(call.route) is not call:
            return False
        if event.event == _ENDPOINT:
            self._name_endpoint(stream, event.payload, now)
        elif event.event == _MESSAGE and event.payload:
            if stream.target is not None:
                return True
            text = f"{_STREAM} does not begin with the event {_ENDPOINT!r}"
            self._over(call, text, now, Fault(FaultKind.MALFORMED))
        return False

    def _name_endpoint(self, stream: SseStream, uri: bytes, now: float) -> None:
        state = self._state
        try:
            target = state.planner.endpoint(uri, stream.base)
        except ValueError as error:
            text = f"{_STREAM} names an endpoint that cannot be used: {error}"
            self._over(stream.call, text, now, Fault(FaultKind.MALFORMED))
            return
        if stream.target is None:
            stream.target = target
            state.deadlines.set(stream.call, None)
            waiting, state.waiting = state.waiting, []
            for frame in waiting:
                self._state.say(frame)
        elif stream.target == target:
            state.violation(stream.call, f"{_STREAM} names its endpoint a second time")
        else:
            text = f"{_STREAM} names a second endpoint, which is another one"
            self._over(stream.call, text, now, Fault(FaultKind.MALFORMED))

    def posted(self, call: Call) -> None:
        """Settle a POST that was accepted; the response comes on the stream."""
        call.over = True
        self._state.unbind(call)

    # End of the stream

    def late(self, call: Call, now: float) -> None:
        """Give the stream up, as it has named no endpoint in time."""
        limit = self._state.settings.endpoint_timeout
        text = f"{_STREAM} has named no endpoint within {limit:g} s"
        self._over(call, text, now, None)

    def _over(self, call: Call, message: str, now: float, fault: Fault | None) -> None:
        """Handle the end of the stream, which ends the conversation if that had begun."""
        state = self._state
        stream = state.sse
        if state.calls.get(call.route) is call:
            state.abort(call)
        if stream is None or stream.call is not call:
            return
        if stream.target is None:
            self._denied(stream, message, now, fault)
        else:
            state.stream_fault = fault
            state.peer.receive_eof(now=now, reason=message)

    def _denied(self, stream: SseStream, message: str, now: float, fault: Fault | None) -> None:
        """Go on without HTTP+SSE where possible, as it is not available."""
        state = self._state
        state.sse = None
        self.denial = message
        refused = stream.refused
        if refused is not None:
            if refused.call.frame in state.waiting:
                state.waiting.remove(refused.call.frame)
                refused.call.request = refused.request
                state.by_request[refused.request] = refused.call
            if _is_there(fault):
                # The stream exists, but the server refuses it: the application must correct that.
                state.fail(refused.call, message, now, fault=fault)
            else:
                self._refused(refused.call, refused.body, now)
            return
        lost = fault is not None and fault.kind is FaultKind.CONNECT
        final = lost or _is_there(fault) or state.settings.legacy_sse is SseUse.ONLY
        waiting, state.waiting = state.waiting, []
        for frame in waiting:
            if not final:
                self._state.say(frame)
            else:
                state.unsent(frame, message, fault, now)

    def forget(self) -> None:
        """Drop the stream, as the era was found out by another response."""
        state = self._state
        stream = state.sse
        if stream is not None and stream.target is None and state.peer.state is SessionState.OPEN:
            state.sse = None
            if state.calls.get(stream.call.route) is stream.call:
                state.abort(stream.call)
            waiting, state.waiting = state.waiting, []
            for frame in waiting:
                if stream.refused is None or frame is not stream.refused.call.frame:
                    self._state.say(frame)

    def broken(self, call: Call, error: str, now: float, fault: Fault | None) -> None:
        """Handle the end of the connection of the stream."""
        self._over(call, f"{_STREAM} broke off: {error}", now, fault)

    def give_up(self, call: Call, message: str, now: float, fault: Fault | None) -> None:
        """End the stream, which brings what is not allowed."""
        if fault is None and self._state.uses_sse:
            fault = Fault(FaultKind.MALFORMED)  # too many messages that are not allowed
        self._over(call, message, now, fault)


def _is_there(fault: Fault | None) -> bool:
    if fault is None or fault.kind is FaultKind.AUTHORIZATION:
        return fault is not None
    return fault.kind is FaultKind.STATUS and fault.status not in _NOT_SSE
