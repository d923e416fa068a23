"""Responses to an HTTP client: their messages, their refusals and their ends.

Source: the Streamable HTTP pages ("Sending Messages", and for 2026-07-28 "Backward Compatibility").
"""

from abc import abstractmethod
from typing import cast

import msgspec
from msgspec import UNSET, Raw, structs

from mcpcore.engine.events import EndReason
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.client.call import Call, Purpose, Reading, proves_modern, refusal_text, tells_era
from mcpcore.http.client.plan import sendable_event_id
from mcpcore.http.legacy_sse.client import SseClient
from mcpcore.spec.errors import ERRORS, ErrorData
from mcpcore.wire.message import Frame, Kind, Message, Reject, decode
from mcpcore.wire.sse import ServerSentEvent, SseDecoder, SseTooLarge

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
CANCELLED = "notifications/cancelled"

_decode_error = msgspec.json.Decoder(ErrorData).decode
NOT_FOUND = 404
_SHOWN = 200
"""Maximum characters of a plain-text refusal that are shown."""
_ANSWERS = frozenset({FrameKind.RESULT, FrameKind.ERROR, FrameKind.BATCH})
_PASSING = frozenset({429, 502, 503, 504})
"""Statuses of a server that restarts, or of an intermediary in front of it."""


class Answers(SseClient):
    """Reader of messages and refusals for the exchanges of an HTTP client."""

    @abstractmethod
    def _repeat(self, frame: Transmit) -> None:
        """Post a response of ours a second time, a little later."""

    @abstractmethod
    def _opens_later(self, call: Call) -> bool:
        """Retry ``initialize`` if it opens a session in place of a lost one; True if so."""

    @abstractmethod
    def _confirmed(self) -> None:
        """Note that the server has accepted ``notifications/initialized``."""

    @abstractmethod
    def _unconfirmed(self, call: Call, message: str, fault: Fault | None, now: float) -> None:
        """Repeat ``notifications/initialized`` after a failure, or end the conversation."""

    # Bodies

    def _read_events(self, call: Call, decoder: SseDecoder, data: bytes, now: float) -> None:
        broken: str | None = None
        call.heard = now
        try:
            events = decoder.receive(data)
        except SseTooLarge as error:
            events, broken = error.events, str(error)
        if sendable_event_id(decoder.last_event_id):
            if decoder.last_event_id != call.last_event_id:
                call.resumes = 0
            call.last_event_id = decoder.last_event_id
        if decoder.retry is not None:
            call.retry = decoder.retry / 1000
        for event in events:
            self._event(call, event, now)
            if call.violations > self.settings.max_violations:
                self._too_much(call, now)
                return
        if broken is not None:
            fault = Fault(FaultKind.TOO_LARGE)
            self._give_up(call, f"{call.method}: {broken}", now, fault=fault)

    def _event(self, call: Call, event: ServerSentEvent, now: float) -> None:
        call.resumes = 0
        if call.purpose is Purpose.SSE and not self._piped(call, event, now):
            return
        if event.event == "message" and event.payload:
            self._take(call, self._decode(event.payload), now)

    def _decode(self, data: bytes) -> Frame:
        limits = self._peer.config.limits
        return decode(data, max_depth=limits.depth, max_batch=limits.batch)

    def _take(self, call: Call, frame: Frame, now: float, *, modern: bool = False) -> None:
        """Pass a frame to the engine, without responses to requests not sent on this exchange."""
        if isinstance(frame, list) and call.revision is not None and not call.revision.batches:
            self._violation(
                call, f"a batch in answer to {call.method}: {call.revision.name} has none"
            )
            return
        for part in frame if isinstance(frame, list) else (frame,):
            item = self._expected(call, part, now)
            if item is not None:
                self._peer.receive(item, now=now, route=call.route, proves_modern=modern)

    def _expected(self, call: Call, item: Message | Reject, now: float) -> Message | Reject | None:
        """Return the item, with its id filled in if missing; None if it does not belong here."""
        if call.purpose is Purpose.SSE:
            return self._heard(call, item, now)
        if isinstance(item, Reject):
            answer, id = item.response, item.id
        else:
            answer = item.method is UNSET
            id = None if item.id is UNSET else item.id
        if not answer:
            if isinstance(item, Reject):
                call.violations += 1
            return None if call.epoch != self._epoch and _asks(item) else item
        if call.request is None or (id is not None and id != call.request):
            text = f"an answer to request {id!r} came where none was asked for"
            if call.request is not None:
                text = f"an answer to request {id!r} came in place of one to {call.request!r}"
            self._violation(call, text)
            return None
        if id is None:
            item = structs.replace(item, id=call.request)
        self._settle(call, call.request, now)
        return item

    # Ends

    def _finish(self, call: Call, error: str | None, fault: Fault | None, now: float) -> None:
        reading = call.reading
        if reading is Reading.EVENTS or call.purpose is not Purpose.POST:
            self._broken(call, error or "the stream ended", now, fault)
        elif reading is Reading.ERROR:
            self._refused(call, bytes(call.body), now)
        elif error is not None or reading is Reading.HEAD:
            if self._repeats(call, fault) or (_passes(call, fault) and self._opens_later(call)):
                return
            text = error or "the connection ended before the response"
            if call.method == INITIALIZED:
                self._unconfirmed(call, f"{INITIALIZED} was not taken: {text}", fault, now)
            elif call.request is None and error is not None and not self._closing:
                self._violation(call, f"{call.method} was not taken: {error}")
            self._fail(call, text, now, fault=fault)
        else:
            self._answered(call, self._decode(bytes(call.body)), now)

    def _repeats(self, call: Call, fault: Fault | None) -> bool:
        """Repeat a response of ours whose POST failed; a peer that has it ignores the second."""
        frame = call.frame
        if not _passes(call, fault) or frame is None or frame.kind not in _ANSWERS or call.repeated:
            return False
        if self._closing or call.epoch != self._epoch:
            return False
        self._repeat(frame)
        return True

    def _answered(self, call: Call, frame: Frame, now: float) -> None:
        if isinstance(frame, Reject) and not frame.response:
            text = f"the answer to {call.method} is no valid message: {frame.message}"
            self._fail(call, text, now, reason=EndReason.INVALID)
            return
        self._take(call, frame, now)
        text = f"the response to {call.method} holds no answer to it"
        self._fail(call, text, now, reason=EndReason.INVALID)

    def _refused(self, call: Call, body: bytes, now: float) -> None:
        """Handle a status of 400 or more; a body that is a JSON-RPC error decides its meaning."""
        if call.status in _PASSING and self._opens_later(call):
            return
        frame, status, asks = self._decode(body), call.status, call.request is not None
        if isinstance(frame, Message) and frame.kind is Kind.ERROR:
            error = _decode_error(cast(Raw, frame.error))
            modern = proves_modern(status, error)
            row = ERRORS.get(error.code)
            clear = modern or (row is not None and row.proves_modern)
            if not clear and self._falls_back(call, body, now):
                return
            # A 404 comes from HTTP; the engine would report it as failed version negotiation.
            missing = call.method == INITIALIZE and status == NOT_FOUND and not clear
            if asks and not missing and (clear or not call.negotiating or tells_era(status)):
                self._take(call, frame, now, modern=modern)
            detail = error.message
        elif self._falls_back(call, body, now):
            return
        else:
            text = body[: 4 * _SHOWN].decode("utf-8", "replace").strip()
            detail = text[:_SHOWN] if text.isprintable() and not text.startswith("<") else ""
        refusal = refusal_text(status, detail)
        message = f"{call.method}: {refusal}"
        if call.method == INITIALIZE and status == NOT_FOUND:
            message += self._planner.another()
        # The reason given for the POST is not repeated.
        if call.method == INITIALIZE and self._denial and refusal_text(status) not in self._denial:
            message = f"{message}; {self._denial}"
        fault = Fault(FaultKind.STATUS, status, call.retry_after)
        if asks:
            self._fail(call, message, now, fault=fault, evidence=tells_era(status))
        elif call.method == INITIALIZED:
            self._unconfirmed(call, message, fault, now)
        else:
            self._violation(call, message)


def _asks(item: Message | Reject) -> bool:
    """Return True for an item that must not reach the engine after its session was lost.

    These are requests, invalid messages, and cancellations. The next session counts its ids anew,
    so that they would refer to requests of its own.
    """
    return isinstance(item, Reject) or item.id is not UNSET or item.method == CANCELLED


def _passes(call: Call, fault: Fault | None) -> bool:
    """Return True if an exchange that failed with ``fault`` may succeed later.

    A session whose ``initialize`` response did not arrive whole was not used: a new one can be
    requested.
    """
    unheard = call.status in (0, 200) if call.method == INITIALIZE else call.status == 0
    return unheard and (fault is None or fault.kind is FaultKind.CONNECT)
