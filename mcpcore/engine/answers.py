"""Answers to outbound requests.

Every outbound request ends exactly once: in a result, an error, a demand for input, or a local
end (timeout, cancellation, end of the transport, an answer that is not valid).
"""

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.json import Decoder

from mcpcore.engine.bodies import becomes_task
from mcpcore.engine.config import Role
from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    InputRequired,
    ResultReceived,
    Route,
)
from mcpcore.engine.faults import Fault
from mcpcore.engine.input_rounds import refuse_questions
from mcpcore.engine.lifecycle import RequestSignal, RequestState
from mcpcore.engine.negotiation import COMPLETE
from mcpcore.engine.opening import Opener
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.spec.errors import INVALID_REQUEST, ErrorData
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.model import Maybe, Model
from mcpcore.wire.message import Message, RequestId

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _APPLICATION, _ANSWER = RequestState.ACTIVE, Purpose.APPLICATION, RequestSignal.ANSWER

INPUT_REQUIRED = "input_required"
TASK = "task"
"""Value of ``resultType`` for a request that has become a task (the tasks extension)."""


class Failure(Struct, frozen=True):
    """Report of the transport that an outbound request can get no answer, queued like a frame."""

    request: RequestId
    reason: EndReason
    message: str
    evidence: bool = False
    fault: Fault | None = None


class _Skim(Model):
    """Members of a result that tell its kind; the rest is not read."""

    result_type: Maybe[str] = None
    input_requests: Maybe[dict[str, Raw]] = None
    request_state: Maybe[str] = None


_decode_error = Decoder(ErrorData).decode
_decode_skim = Decoder(_Skim).decode


class Answers(Opener):
    """The part of a Peer that takes answers to its requests."""

    __slots__ = ()

    def response(self, message: Message, now: float, route: Route, *, modern: bool) -> None:
        """Take a response; ``modern``: the transport recognised a modern server."""
        id, result, error = message.id, message.result, message.error
        request = None if id is UNSET else self._pending.get(id)
        if request is None or request.state is not _ACTIVE:
            # A late answer to a request that was given up is no violation.
            if id is UNSET and error is not UNSET:
                text = f"error without id: {_decode_error(error).message}"
                self.violation(route, INVALID_REQUEST, text)
            elif self.role is Role.SERVER and self.revision is None:
                self.violation(route, INVALID_REQUEST, "a response came where nothing was asked")
        elif error is not UNSET:
            self._failed(request, _decode_error(error), now, modern=modern)
        elif result is not UNSET:
            self._succeeded(request, result, now)

    def _failed(self, request: Outbound, error: ErrorData, now: float, *, modern: bool) -> None:
        if request.purpose is not _APPLICATION:
            self.negotiation_refused(request, error, now, modern=modern)
            return
        self.conclude(request, _ANSWER)
        self.emit(ErrorReceived(request=request.id, method=request.method, error=error))

    def _succeeded(self, request: Outbound, result: Raw, now: float) -> None:
        if request.purpose is not _APPLICATION:
            self.negotiation_answered(request, result, now)
            return
        revision = request.revision or LATEST
        if revision.result_type and not self._is_complete(request, result, now):
            return
        self.conclude(request, _ANSWER)
        if request.want_progress and request.row is not None and request.row.task_capability:
            self._remember_progress(request, result)
        self.emit(
            ResultReceived(
                request=request.id, method=request.method, result=result, revision=revision
            )
        )

    def _remember_progress(self, request: Outbound, result: Raw) -> None:
        """Keep the last progress of an experimental task, as more follows after the answer."""
        if not becomes_task(result):
            return
        self.task_progress[request.id] = request.progress
        if len(self.task_progress) > self.config.limits.in_flight:
            del self.task_progress[next(iter(self.task_progress))]

    def _is_complete(self, request: Outbound, result: Raw, now: float) -> bool:
        """Return True for a final result; handle every other ``resultType`` here."""
        try:
            skim = _decode_skim(result)
        except msgspec.MsgspecError as error:
            self.invalid_answer(request, f"invalid result: {error}", now)
            return False
        kind = skim.result_type
        if kind is None or kind == COMPLETE:
            return True
        if kind == INPUT_REQUIRED:
            flaw = self._input_required(request, skim)
            if flaw is not None:
                self.invalid_answer(request, flaw, now)
            return False
        if kind == TASK and self._takes_tasks(request):
            return True
        self.invalid_answer(request, f"invalid result: unknown resultType {kind!r}", now)
        return False

    def _takes_tasks(self, request: Outbound) -> bool:
        extension = None if request.row is None else request.row.task_extension
        return extension is not None and f"extensions.{extension}" in self.profile.offered

    def _input_required(self, request: Outbound, skim: _Skim) -> str | None:
        """Handle a demand for input; return what is wrong with it, or None."""
        if request.row is None or not request.row.needs_input:
            return f"invalid result: {request.method} cannot require input"
        if skim.input_requests is None and skim.request_state is None:
            return "invalid result: input_required without inputRequests and requestState"
        limit = self.config.limits.input_rounds
        if request.round >= limit:
            return f"the server asked for input more than {limit} times"
        questions = skim.input_requests or {}
        most = self.config.limits.input_requests
        if len(questions) > most:
            return f"the server asks {len(questions)} questions at once, the limit is {most}"
        flaw = refuse_questions(questions, request.revision or LATEST, self.config)
        if flaw is not None:
            return flaw
        self.conclude(request, _ANSWER)
        request.round += 1
        request.input_state = skim.request_state
        self.waiting_input[request.id] = request
        self.emit(
            InputRequired(
                request=request.id,
                method=request.method,
                requests=questions,
                round=request.round,
            )
        )
        return None

    # Ends without a valid answer

    def invalid_answer(self, request: Outbound, message: str, now: float) -> None:
        """End an outbound request whose answer cannot be read."""
        if request.state is not _ACTIVE:
            return
        if request.purpose is _APPLICATION:
            self.abort(request, _ANSWER, EndReason.INVALID, message)
        else:
            self.negotiation_broken(request, message, now, legacy=True)

    def transport_failed(self, request: Outbound, failure: Failure, now: float) -> None:
        """End an outbound request that the transport reports as failed."""
        if request.purpose is _APPLICATION:
            self.abort(request, RequestSignal.END, failure.reason, failure.message, failure.fault)
        else:
            self.negotiation_broken(
                request, failure.message, now, legacy=failure.evidence, fault=failure.fault
            )

    def _crossed_limit(self, request: Outbound, now: float) -> str:
        """Return a text that names the time limit which a request has crossed."""
        limit, maximum = request.timeout or 0.0, self.config.limits.max_timeout
        if request.progress is None:
            return f"no answer within {limit:g} seconds"
        if maximum is not None and now >= request.started + maximum > request.started + limit:
            return f"no answer within {maximum:g} seconds, for all its progress"
        return f"no answer within {limit:g} seconds of its last progress"

    def expire(self, request: Outbound, now: float) -> None:
        """Handle an outbound request that got no answer in time."""
        text = f"{request.method}: {self._crossed_limit(request, now)}"
        if request.purpose is not _APPLICATION:
            self.negotiation_timed_out(request, text, now)
        elif request.farewell is not None:
            self.abort(request, RequestSignal.END, EndReason.CLOSED, request.farewell)
        else:
            self.give_up(request, RequestSignal.EXPIRE, EndReason.TIMED_OUT, text, "timed out")
