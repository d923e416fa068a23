"""Questions of a handler to the client, in both eras.

Legacy: requests on the wire, whose answers the handler waits for (:func:`ask_client`).  Modern:
input rounds.  A handler that needs an answer is left with an exception (InputNeeded); when the
client retries, the handler runs again from its beginning, and finds the answers.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import Raw, Struct

from mcpcore.engine import events
from mcpcore.engine.outbound import GIVEN_UP
from mcpcore.errors import InputUnavailable, InvalidValue, Unsayable
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, LocalProtocolError, McpError
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.pending import ProgressCallback, Settled

# Imported with the first question, and at the end of the first round: most servers have none.
if TYPE_CHECKING:
    from mcpcore.engine.seal import Binding, Seal
    from mcpcore_transports.server.elicitation import Input
    from mcpcore_transports.server.runtime import ServerRuntime
    from mcpcore_transports.server.settings import RuntimeSettings


Asker = events.RequestReceived | events.NotificationReceived
"""Message that a question belongs to: a request or a notification of the client."""


def params_of(
    question: "Input[Any]", revision: Revision, problem: str | None, trace: Mapping[str, str]
) -> dict[str, Any]:
    """Return the question's params, with ``_meta`` and trace context.  Raises InputUnavailable."""
    try:
        params = question.wire_params(revision, problem)
    except Unsayable as error:
        raise InputUnavailable(str(error)) from error
    meta = {**trace, **(question.meta or {})}
    return {**params, "_meta": meta} if meta else params


# Legacy: requests


async def ping(
    runtime: "ServerRuntime",
    revision: Revision,
    timeout: float,
    *,
    request: events.RequestReceived | None = None,
    session: str | None = None,
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
    if not isinstance(outcome, events.ResultReceived):
        raise InputUnavailable("the client does not answer a ping")


async def ask_client(
    runtime: "ServerRuntime",
    revision: Revision,
    asker: Asker,
    wanted: "Mapping[str, Input[Any]]",
    progress: Mapping[str, ProgressCallback] | None = None,
) -> dict[str, Any]:
    """Send questions and return all answers by key; cancel the rest after a failure.

    They are sent on the stream of the request ``asker``, or in the session of the notification.
    ``progress``: callbacks for the client's progress, by key.  Raises InputUnavailable.
    """
    request = asker if isinstance(asker, events.RequestReceived) else None
    trace = {} if request is None else request.meta.trace
    heard = progress or {}
    open: dict[str, RequestId] = {}

    def send(key: str, question: "Input[Any]", problem: str | None) -> None:
        params = params_of(question, revision, problem, trace)
        if question.task is not None:
            from mcpcore_transports.server.tasks.tasks import runs_tasks  # late: few tasks ask

            if runs_tasks(question.method, asker):
                params["task"] = question.task
        try:
            open[key] = runtime.send_request(
                question.method,
                params,
                request=request,
                session=asker.session,
                progress=heard.get(key),
            )
        except LocalProtocolError as error:
            raise InputUnavailable(str(error)) from error

    async def receive(key: str, question: "Input[Any]") -> Raw:
        outcome = await runtime.waiting.outcome(open[key])
        sent = open.pop(key)
        try:
            if question.task is not None and isinstance(outcome, events.ResultReceived):
                from mcpcore_transports.server.tasks.tasks import task_outcome  # late: as above

                outcome = await task_outcome(runtime, asker, outcome)
        finally:
            runtime.progress.forget(sent)
        if isinstance(outcome, events.ResultReceived):
            return outcome.result
        cause = McpError.of(outcome.error) if isinstance(outcome, events.ErrorReceived) else None
        raise InputUnavailable(unanswered(question.method, outcome)) from cause

    reason = "another question of the same request failed"
    try:
        return await ask_all(wanted, send, receive, runtime.settings.input_attempts)
    except anyio.get_cancelled_exc_class():
        reason = GIVEN_UP
        raise
    finally:
        for sent in open.values():
            runtime.withdraw(sent, reason)


def unanswered(method: str, outcome: Settled) -> str:
    """Return the reason for which a question has no answer."""
    if isinstance(outcome, events.ErrorReceived):
        return f"the client refused {method}: {outcome.error.message}"
    reason = getattr(outcome, "message", "it asked for input itself")
    return f"the client did not answer {method}: {reason}"


async def ask_all(
    wanted: "Mapping[str, Input[Any]]",
    send: "Callable[[str, Input[Any], str | None], None]",
    receive: "Callable[[str, Input[Any]], Awaitable[Raw]]",
    attempts: int,
) -> dict[str, Any]:
    """Send all questions, then await and decode all answers, by key.

    A question whose answer does not fit is sent again with the problem.  Raises InputUnavailable
    after so many ``attempts``.
    """
    answers: dict[str, Any] = {}
    for key, question in wanted.items():
        send(key, question, None)
    for key, question in wanted.items():
        attempt = 1
        while key not in answers:
            answer = await receive(key, question)
            try:
                answers[key] = question.parse(answer)
            except InvalidValue as error:
                if attempt >= attempts:
                    text = f"the client's answer to {question.method} does not fit: {error}"
                    raise InputUnavailable(text) from error
                attempt += 1
                send(key, question, str(error))
    return answers


# Modern: input rounds


class RoundState(Struct, array_like=True):
    """State that travels, sealed, through the client between the rounds of one request."""

    round: int = 0
    answers: dict[str, Raw] = {}
    """Answers of earlier rounds that the handler has used."""
    kept: dict[str, Raw] = {}
    """Values that the handler has stored."""


class Rounds:
    """Sealing of ``requestState``, and the limit of rounds."""

    def __init__(self, settings: "RuntimeSettings") -> None:
        self._seal = settings.seal or OwnSeal()
        self._wall = settings.wall
        self._limit = settings.input_rounds

    def open(self, event: events.RequestReceived) -> RoundState | None:
        """Return the state of earlier rounds, None in the first.  Raises McpError (-32602)."""
        if event.request_state is None:
            return None
        from mcpcore.engine.seal import SealRefusal, request_binding  # late: few seal
        from mcpcore.errors import SealBroken  # late: few seal

        binding = request_binding(event.principal, event.method, event.params)
        try:
            payload = self._seal.open(event.request_state, binding, wall=self._wall())
            return msgspec.json.decode(payload, type=RoundState)
        except SealBroken as broken:
            raise McpError(INVALID_PARAMS, str(broken)) from None
        except msgspec.DecodeError:  # sealed by a worker of another version
            raise McpError(INVALID_PARAMS, SealRefusal.FOREIGN) from None

    def close(self, event: events.RequestReceived, state: RoundState) -> str:
        """End a round: return its state, sealed.

        Raises McpError (-32600) after too many, ValueError or TypeError for a bad state.
        """
        state.round += 1
        if state.round > self._limit:
            raise McpError(INVALID_REQUEST, f"no usable input after {self._limit} rounds")
        from mcpcore.engine.seal import request_binding  # late: as above

        binding = request_binding(event.principal, event.method, event.params)
        return self._seal.seal(msgspec.json.encode(state), binding, wall=self._wall())


class OwnSeal:
    """Default seal of a server: the best kind that is available, made and imported when needed."""

    @cached_property
    def _made(self) -> "Seal":
        from mcpcore_transports.server.seal import make_seal  # late: as above

        return make_seal()

    def seal(self, payload: bytes, binding: "Binding", *, wall: float) -> str:
        """Implement :meth:`Seal.seal <mcpcore.engine.seal.Seal.seal>`."""
        return self._made.seal(payload, binding, wall=wall)

    def open(self, text: str, binding: "Binding", *, wall: float) -> bytes:
        """Implement :meth:`Seal.open <mcpcore.engine.seal.Seal.open>`."""
        return self._made.open(text, binding, wall=wall)
