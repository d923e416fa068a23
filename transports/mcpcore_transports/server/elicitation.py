"""Questions of a handler to the client as requests on the wire: the legacy era."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Raw

from mcpcore.engine.events import (
    ErrorReceived,
    NotificationReceived,
    RequestReceived,
    ResultReceived,
)
from mcpcore.errors import InputUnavailable
from mcpcore.spec.errors import LocalProtocolError, McpError
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.decode import InvalidAnswer
from mcpcore_transports.running.pending import ProgressCallback, Settled
from mcpcore_transports.server.input_rounds import params_of

# Questions are imported with the first one, as most handlers ask nothing; the runtime imports this.
if TYPE_CHECKING:
    from mcpcore_transports.server.inputs import Input
    from mcpcore_transports.server.runtime import ServerRuntime

GIVEN_UP = "the request that it belongs to was given up"
"""Reason for which a question is cancelled when its handler is stopped."""

Asker = RequestReceived | NotificationReceived
"""Message that a question belongs to: a request or a notification of the client."""


async def ping(
    runtime: "ServerRuntime",
    revision: Revision,
    timeout: float,
    *,
    request: RequestReceived | None = None,
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
    if not isinstance(outcome, ResultReceived):
        raise InputUnavailable("the client does not answer a ping")


async def ask_client(
    runtime: "ServerRuntime",
    revision: Revision,
    asker: Asker,
    wanted: "Mapping[str, Input[Any]]",
    progress: Mapping[str, ProgressCallback] | None = None,
) -> dict[str, Any]:
    """Send questions and return all answers by key; cancel the rest after a failure.

    A question on behalf of a request is sent on its stream, one on behalf of a notification in the
    session of the notification.  ``progress``: callbacks for the progress that the client reports,
    by the keys of the questions.  Raises InputUnavailable.
    """
    request = asker if isinstance(asker, RequestReceived) else None
    trace = {} if request is None else request.meta.trace
    heard = progress or {}
    open: dict[str, RequestId] = {}

    def send(key: str, question: "Input[Any]", problem: str | None) -> None:
        params = params_of(question, revision, problem, trace)
        if question.task is not None:
            from mcpcore_transports.server.tasks.questions import runs_tasks

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
            if question.task is not None and isinstance(outcome, ResultReceived):
                from mcpcore_transports.server.tasks.questions import task_outcome

                outcome = await task_outcome(runtime, asker, outcome)
        finally:
            runtime.progress.forget(sent)
        if isinstance(outcome, ResultReceived):
            return outcome.result
        cause = McpError.of(outcome.error) if isinstance(outcome, ErrorReceived) else None
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
    if isinstance(outcome, ErrorReceived):
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

    A question whose answer does not fit is sent again with the problem.  Raises InputUnavailable if
    none of as many ``attempts`` fits.
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
            except InvalidAnswer as error:
                if attempt >= attempts:
                    text = f"the client's answer to {question.method} does not fit: {error}"
                    raise InputUnavailable(text) from error
                attempt += 1
                send(key, question, str(error))
    return answers
