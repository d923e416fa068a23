"""Inbound messages: from a frame to an event.

frame -> message -> kind -> the ladder (:mod:`mcpcore.engine.ladder`) -> event.  The answers owed
to a frame are counted: one end of its route, one array for a batch.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, structs
from msgspec.json import Decoder

from mcpcore.engine.answers import Failure
from mcpcore.engine.config import Role
from mcpcore.engine.events import (
    MAIN,
    ConnectionEnded,
    EndReason,
    Key,
    RequestReceived,
    Route,
)
from mcpcore.engine.handlers import IMMEDIATE, LASTING
from mcpcore.engine.ladder import climb, finds_room, is_early_enough, read_metadata
from mcpcore.engine.lifecycle import RequestSignal, RequestState, SessionSignal, SessionState
from mcpcore.engine.metadata import NO_META, UNREADABLE, decode_skim
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.negotiation import upset_by_probe
from mcpcore.engine.notices import Notices
from mcpcore.engine.requests import NO_PARAMS, Batch, Inbound
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, ErrorData
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.base import Skim
from mcpcore.wire.framing import TooLong
from mcpcore.wire.message import Frame, Message, Reject, refuse_oversized

_decode_responses = Decoder(dict[str, Raw]).decode
_decode_state = Decoder(str).decode

_ANSWERED_HERE = frozenset({*IMMEDIATE, *LASTING})

_EXCERPT = 200
"""Maximum bytes that are shown of a line that is no message."""


class End(Struct, frozen=True):
    """End of a route or of the conversation, queued like a frame."""

    reason: str
    half: bool = False
    """True if the other side has finished writing but still reads."""
    forget: bool = False
    """True if the application ends the conversation; frames not yet taken are not sent."""


class Receiver(Notices):
    """The inbound half of a Peer."""

    __slots__ = ()

    def take_in(
        self,
        item: Frame | bytes | End | Failure | TooLong,
        now: float,
        route: Route = MAIN,
        mirror: Mirror | None = None,
        principal: str | None = None,
        proves_modern: bool = False,
        batch: Batch | None = None,
    ) -> None:
        """Process one item that arrived; ``batch`` is the batch of a message, if any.

        A request climbs the ladder, and is answered here or emitted to the application.
        """
        frame = self.profile.decode(item) if isinstance(item, bytes) else item
        if self.ended or not isinstance(frame, Message):
            line = item if isinstance(item, bytes) else b""
            self._no_message(frame, now, route, principal, batch, line)
            return
        id, method, params = frame.id, frame.method, frame.params
        if id is UNSET or method is UNSET:
            self._no_request(frame, now, route, batch, proves_modern)
            return
        if batch is not None:
            batch.expect()
        if params is UNSET:
            params = NO_PARAMS
        try:
            skim = decode_skim(params)
        except UNREADABLE:
            skim, refusal = read_metadata(self, method, params, mirror)
            if refusal is not None:
                era = self.revision or LATEST_LEGACY
                self.refuse(route, id, refusal, batch=batch, method=method, revision=era)
                return
        meta = skim.meta or NO_META
        arrival = Inbound(
            self,
            id,
            method,
            params,
            route,
            principal,
            batch,
            self.revision or LATEST_LEGACY,
            skim,
            meta,
            self.client_capabilities,
            self.peer_info,
        )
        refusal = climb(self, arrival, mirror)
        revision = arrival.revision
        responses: dict[str, Raw] | None = None
        state: str | None = None
        if refusal is None:
            if method in _ANSWERED_HERE:
                if method not in self.config.asked_first:
                    self._answer_here(arrival)
                    return
                arrival.held = True
            refusal = finds_room(self, arrival)
            if refusal is None and revision.input_rounds:
                responses, state, refusal = self._retried(skim)
        if refusal is not None:
            self._refuse(arrival, refusal)
            return
        key = self.register(arrival)
        self.endpoint.events.append(
            RequestReceived(
                key=key,
                id=id,
                method=method,
                params=params,
                meta=meta,
                revision=revision,
                client_info=arrival.client_info,
                client_capabilities=arrival.capabilities,
                route=route,
                input_responses=responses,
                request_state=state,
                session=self.session,
                principal=principal,
                skim=skim,
            )
        )

    # Other frames

    def _no_message(
        self,
        item: Frame | End | Failure | TooLong,
        now: float,
        route: Route,
        principal: str | None,
        batch: Batch | None,
        line: bytes,
    ) -> None:
        """Take an item that is no single message, or comes after the end; ``line`` is its text."""
        if self.ended:
            self._too_late(item, route)
        elif isinstance(item, Reject):
            self._reject(item, now, route, batch, line)
        elif isinstance(item, list):
            self._batch(item, now, route, principal)
        elif isinstance(item, End):
            self._end(item, route)
        elif isinstance(item, Failure):
            request = self._pending.get(item.request)
            if request is not None:
                self.transport_failed(request, item, now)
        elif isinstance(item, TooLong):
            self._reject(refuse_oversized(item.head, item.limit), now, route, None, item.head)

    def _no_request(
        self, message: Message, now: float, route: Route, batch: Batch | None, proves_modern: bool
    ) -> None:
        """Take a notification or a response, to which nothing is answered."""
        if message.method is not UNSET:
            params = NO_PARAMS if message.params is UNSET else message.params
            self.notification(message.method, params, route, now)
        elif self._scoped:
            error = ErrorData(INVALID_REQUEST, "a response is not expected here")
            self.refuse(route, None, error, revision=LATEST)
            return
        else:
            self.response(message, now, route, modern=proves_modern)
        if batch is None and route != MAIN:
            self.send_last(route, FrameKind.ACCEPTED)

    def _reject(
        self, reject: Reject, now: float, route: Route, batch: Batch | None, line: bytes = b""
    ) -> None:
        """Take an input that is no valid message; ``line`` is its text."""
        if reject.response and reject.id is not None:
            request = self._pending.get(reject.id)
            if request is not None:
                self.invalid_answer(request, reject.message, now)
        owed = reject.owed
        if self.role is Role.CLIENT:
            # A server's standard output may hold noise: answer only if there is an id.
            owed = owed and reject.id is not None and not self.is_modern_client
        if owed:
            if batch is not None:
                batch.expect()
            error = ErrorData(reject.code, reject.message)
            self.refuse(route, reject.id, error, batch=batch, revision=self.revision)
            return
        excerpt = line[:_EXCERPT].decode("utf-8", "replace")
        self.violation(route, reject.code, reject.message, excerpt=excerpt)
        if batch is None:
            self.send_last(route, FrameKind.ACCEPTED)

    def _batch(
        self, frames: list[Message | Reject], now: float, route: Route, principal: str | None
    ) -> None:
        revision = self.revision
        if revision is None or not revision.batches:
            where = "before initialize" if revision is None else f"in {revision.name}"
            self._reject_batch(f"batches are not supported {where}", now, route)
            return
        limit = self.config.limits.batch
        if len(frames) > limit:
            text = f"the batch has {len(frames)} messages; the limit is {limit}"
            self._reject_batch(text, now, route)
            return
        batch = Batch(self, route, revision)
        for frame in frames:
            self.take_in(frame, now, route, None, principal, batch=batch)
        batch.settle()

    def _reject_batch(self, text: str, now: float, route: Route) -> None:
        self._reject(Reject(INVALID_REQUEST, f"Invalid request: {text}"), now, route, None)

    def _too_late(self, item: Any, route: Route) -> None:
        """Answer an item after the end: no event is emitted, but no exchange may hang."""
        if route == MAIN or isinstance(item, End | Failure):
            return
        id = item.id if isinstance(item, Message) and item.method is not UNSET else UNSET
        owed = id is not UNSET or (isinstance(item, Reject) and item.owed)
        if owed or isinstance(item, list):
            error = ErrorData(INVALID_REQUEST, "the conversation has ended")
            self.refuse(route, None if id is UNSET else id, error, revision=self.revision)
        else:
            self.send_last(route, FrameKind.ACCEPTED)

    # Requests

    def _refuse(self, arrival: Inbound, error: ErrorData) -> None:
        self.refuse(
            arrival.route,
            arrival.id,
            error,
            batch=arrival.batch,
            method=arrival.method,
            revision=arrival.revision,
        )

    def _answer_here(self, arrival: Inbound) -> None:
        """Answer a request that is the engine's to answer."""
        answer = IMMEDIATE.get(arrival.method)
        if answer is not None:
            refusal = answer(self, arrival)
        else:
            answer = LASTING[arrival.method]
            refusal = is_early_enough(self, arrival) or answer(self, arrival)
        if refusal is not None:
            self._refuse(arrival, refusal)

    def _retried(self, skim: Skim) -> tuple[dict[str, Raw] | None, str | None, ErrorData | None]:
        """Return the answers and the state of a retry, and the error if they are invalid."""
        responses, state = None, None
        try:
            if skim.input_responses is not None:
                responses = _decode_responses(skim.input_responses)
                most = self.config.limits.input_requests
                if len(responses) > most:
                    text = f"invalid params: inputResponses has more than {most} members"
                    return None, None, ErrorData(INVALID_PARAMS, text)
            if skim.request_state is not None:
                state = _decode_state(skim.request_state)
        except msgspec.MsgspecError as error:
            text = f"invalid params: inputResponses or requestState: {error}"
            return None, None, ErrorData(INVALID_PARAMS, text)
        return responses, state, None

    def answer_held(self, record: Inbound) -> bool:
        """Answer a request that the application admitted; False if it was cancelled meanwhile."""
        if not self.finish(record, RequestSignal.ANSWER):
            return False
        # As it arrived: a listen stream is registered anew.
        arrival = structs.replace(record, state=RequestState.ACTIVE, held=False)
        answer = IMMEDIATE.get(arrival.method) or LASTING[arrival.method]
        refusal = is_early_enough(self, arrival) or answer(self, arrival)
        if refusal is not None:
            self._refuse(arrival, refusal)
        return True

    def register(self, arrival: Inbound) -> Key:
        """Register an inbound request as in flight; return its key."""
        endpoint = self.endpoint
        endpoint.last_key = arrival.key = key = endpoint.last_key + 1
        endpoint.inbound[key] = arrival
        if self._scoped:
            self.in_flight_by_id[arrival.route, arrival.id] = arrival
            self._by_route[arrival.route] = arrival
        else:
            self.in_flight_by_id[arrival.id] = arrival
        return key

    # Ends

    def _end(self, end: End, route: Route) -> None:
        if route != MAIN:
            # The end of one exchange cancels a request only if it carries all of that request.
            record = self._by_route.get(route)
            if record is not None:
                self.drop(record, RequestSignal.END, end.reason)
            elif self.role is Role.CLIENT:
                # The request of this exchange has ended, so the server's requests on it have too.
                for record in list(self.in_flight_by_id.values()):
                    if record.route == route:
                        self.drop(record, RequestSignal.CANCEL, end.reason)
            return
        if self.role is Role.CLIENT and self.upset is None:
            self.upset = upset_by_probe(self.config, self.state, None)
        if self.reconnects is None:
            self.waiting_input.clear()
        self.task_progress.clear()
        self.end_ours(EndReason.CLOSED, f"connection closed: {end.reason}")
        for record in list(self.streams.values()):
            self.drop(record, RequestSignal.END, end.reason)
        self.half_closed = True
        if end.half:
            return
        for record in list(self.in_flight_by_id.values()):
            self.drop(record, RequestSignal.END, end.reason)
        if end.forget:
            self.drop_unsent()
        if self.state is not SessionState.CLOSED:
            self.move(SessionSignal.EOF)
        self.emit(ConnectionEnded(reason=end.reason, session=self.session))
        self.ended = True
