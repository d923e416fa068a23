"""Questions of a handler to the client: in input rounds, or as requests on the wire."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from msgspec import Raw, Struct

from mcpcore.engine.events import (
    ErrorReceived,
    NotificationReceived,
    RequestReceived,
    ResultReceived,
)
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.errors import InputUnavailable, Unsayable
from mcpcore.spec.errors import LocalProtocolError, McpError
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.cancellation import Signal
from mcpcore_transports.running.decode import InvalidAnswer
from mcpcore_transports.running.serial_calls import ProgressCallback

# Most handlers ask nothing: questions are imported at the first one.
if TYPE_CHECKING:
    from mcpcore_transports.server.inputs import Input
    from mcpcore_transports.server.runtime import ServerRuntime

R = TypeVar("R")

GIVEN_UP = "the request that it belongs to was given up"
"""Reason for which a question is cancelled when its handler is stopped."""

Asker = RequestReceived | NotificationReceived
"""Message that a question belongs to: a request or a notification of the client."""


class InputNeeded(Signal):
    """Signal that leaves a handler of the modern era to ask the client first.

    It is no Exception, so that ``except Exception`` in a handler does not swallow it; let it pass.
    """

    def __init__(self, requests: Mapping[str, InputRequest]) -> None:
        super().__init__(f"input needed: {', '.join(requests)}")
        self.requests = dict(requests)


class RoundState(Struct, array_like=True):
    """State that travels, sealed, through the client between the rounds of one request."""

    round: int = 0
    answers: dict[str, Raw] = {}
    """Answers of earlier rounds that the handler has used."""
    kept: dict[str, Raw] = {}
    """Values that the handler has stored."""


def read_answers(
    wanted: "Mapping[str, Input[Any]]",
    given: Mapping[str, Raw],
    used: dict[str, Raw],
    revision: Revision,
    trace: Mapping[str, str],
) -> dict[str, Any]:
    """Find the answers among those ``given`` in this round and ``used`` in earlier ones.

    Raises :class:`InputNeeded` for those that are missing or do not fit.  ``trace``: the trace
    context to send with questions.
    """
    answers: dict[str, Any] = {}
    missing: dict[str, InputRequest] = {}
    for key, question in wanted.items():
        answer = used.get(key, given.get(key))
        problem = None
        if answer is not None:
            try:
                answers[key] = question.parse(answer)
                used[key] = answer
                continue
            except InvalidAnswer as error:
                problem = str(error)
        params = params_of(question, revision, problem, trace)
        missing[key] = InputRequest(question.method, params)
    if missing:
        raise InputNeeded(missing)
    return answers


def params_of(
    question: "Input[Any]",
    revision: Revision,
    problem: str | None,
    trace: Mapping[str, str],
) -> dict[str, Any]:
    """Return the question's params, with its ``_meta`` and the trace context that it belongs to.

    Raises InputUnavailable if the revision cannot express the question.
    """
    try:
        params = question.wire_params(revision, problem)
    except Unsayable as error:
        raise InputUnavailable(str(error)) from error
    meta = {**trace, **(question.meta or {})}
    return {**params, "_meta": meta} if meta else params


async def ping(
    runtime: "ServerRuntime",
    revision: Revision,
    *,
    request: RequestReceived | None = None,
    session: str | None = None,
    timeout: float,
) -> None:
    """Check that a client is there.  Raises InputUnavailable without an answer or without ping."""
    if lookup("ping", "server", revision) is None:
        raise InputUnavailable(f"{revision.name} has no ping")
    try:
        sent = runtime.send_request("ping", None, request=request, session=session, timeout=timeout)
    except LocalProtocolError as error:
        raise InputUnavailable(str(error)) from error
    try:
        outcome = await runtime.waiting.outcome(sent)
    finally:
        runtime.withdraw(sent, GIVEN_UP)
    if not isinstance(outcome, ResultReceived):
        raise InputUnavailable("the client does not answer a ping")


class WireQuestions:
    """Questions of a handler in the legacy era.

    A question on behalf of a request is sent on its stream.  One on behalf of a notification is
    sent in the session of the notification.
    """

    def __init__(
        self,
        runtime: "ServerRuntime",
        revision: Revision,
        *,
        asker: Asker,
    ) -> None:
        self._runtime = runtime
        self._revision = revision
        self._asker = asker
        self._request = asker if isinstance(asker, RequestReceived) else None
        self._sent: dict[str, RequestId] = {}
        self._progress: Mapping[str, ProgressCallback] = {}

    async def ask(
        self,
        wanted: "Mapping[str, Input[Any]]",
        progress: Mapping[str, ProgressCallback] | None = None,
    ) -> dict[str, Any]:
        """Send all questions and return all answers by key; cancel the rest after a failure.

        ``progress``: callbacks for the progress that the client reports, by the keys of the
        questions. Raises InputUnavailable.
        """
        answers: dict[str, Any] = {}
        self._progress = progress or {}
        reason = "another question of the same request failed"
        try:
            for key, question in wanted.items():
                self._send(key, question)
            for key, question in wanted.items():
                answers[key] = await self._receive(key, question)
        except anyio.get_cancelled_exc_class():
            reason = GIVEN_UP
            raise
        finally:
            for request in self._sent.values():
                self._runtime.withdraw(request, reason)
        return answers

    def _send(self, key: str, question: "Input[Any]", problem: str | None = None) -> None:
        runtime = self._runtime
        trace = {} if self._request is None else self._request.meta.trace
        params = params_of(question, self._revision, problem, trace)
        if question.task is not None:
            from mcpcore_transports.server.tasks.questions import runs_tasks

            if runs_tasks(question.method, self._asker):
                params["task"] = question.task
        try:
            self._sent[key] = runtime.send_request(
                question.method,
                params,
                request=self._request,
                session=self._asker.session,
                progress=self._progress.get(key),
            )
        except LocalProtocolError as error:
            raise InputUnavailable(str(error)) from error

    async def _receive(self, key: str, question: "Input[R]", attempt: int = 1) -> R:
        outcome = await self._runtime.waiting.outcome(self._sent[key])
        sent = self._sent.pop(key)
        try:
            if question.task is not None and isinstance(outcome, ResultReceived):
                from mcpcore_transports.server.tasks.questions import task_outcome

                outcome = await task_outcome(self._runtime, self._asker, outcome)
        finally:
            self._runtime.progress.forget(sent)
        if isinstance(outcome, ErrorReceived):
            raise InputUnavailable(
                f"the client refused {question.method}: {outcome.error.message}"
            ) from McpError.of(outcome.error)
        if not isinstance(outcome, ResultReceived):
            reason = getattr(outcome, "message", "it asked for input itself")
            raise InputUnavailable(f"the client did not answer {question.method}: {reason}")
        try:
            return question.parse(outcome.result)
        except InvalidAnswer as error:
            if attempt >= self._runtime.settings.input_attempts:
                raise InputUnavailable(
                    f"the client's answer to {question.method} does not fit: {error}"
                ) from error
            self._send(key, question, str(error))
        return await self._receive(key, question, attempt + 1)
