"""Answers of the client's callbacks to the server: on the wire, and in input rounds."""

import inspect
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup
from msgspec import Raw, Struct

from mcpcore.engine.events import InputRequired, Key, RequestCancelled, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.errors import HandlerExit, InputFailed, InvalidResponse, Malformed
from mcpcore.http import HttpClient
from mcpcore.spec.errors import McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import InputRequest
from mcpcore_transports.client.callback_context import CallbackContext, meta_of
from mcpcore_transports.client.callbacks import Answer, Callbacks
from mcpcore_transports.client.errors import promised
from mcpcore_transports.client.tasks.answers import ClientDesk, same_task, told_of
from mcpcore_transports.running.cancellation import failure_of
from mcpcore_transports.running.pending import Handlers
from mcpcore_transports.running.task_guard import called

logger = logging.getLogger("mcpcore.client")


class Answers:
    """Answers to requests on the wire (legacy).

    Plain callbacks run inline, coroutines in a task of ``group``.  ``flush`` is called after the
    machine was used outside of the link's own stack.
    """

    def __init__(
        self,
        machine: Peer | HttpClient,
        callbacks: Callbacks,
        group: TaskGroup,
        flush: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._callbacks = callbacks
        self._flush = flush
        self._handlers = Handlers(group, self._release)
        self.desk: ClientDesk | None = None
        """Task desk that runs requests of the server as tasks; None if it may not."""

    def succeed(self, machine: Peer) -> None:
        """Continue on the machine of the next conversation; the keys of requests continue, too.

        Requests of the conversation before were cancelled with it, and are not answered.
        """
        self._machine = machine
        if self.desk is not None:
            self.desk.machine = machine

    def begin(self, event: RequestReceived) -> None:
        """Answer a request, now or later."""
        desk = self.desk
        if desk is not None and (desk.serve(event) or desk.takes(event)):
            return
        context = CallbackContext(
            event.method,
            event.revision,
            event.meta,
            request_id=event.id,
            report=partial(self._report, event.key),
        )
        try:
            answer = self._callbacks.answer(event.params, context)
        except BaseException as error:
            self._fail(event, failure_of(error))
            return
        if not inspect.isawaitable(answer):
            self._respond(event, answer)
            return

        async def work() -> None:
            try:
                result = await answer
            except BaseException as error:
                self._fail(event, failure_of(error))
            else:
                self._respond(event, result)
            self._flush()

        context.scope = self._handlers.start(event.key, work, context)

    def cancel(self, event: RequestCancelled) -> None:
        """Cancel the answer to a request that the server has cancelled."""
        if self.desk is None or not self.desk.cancelled(event.key, event.reason):
            self._handlers.cancel(event.key, event.reason)

    def _report(self, key: Key, value: float, total: float | None, message: str | None) -> bool:
        sent = self._machine.progress(key, value, total, message)
        if sent:
            self._flush()
        return sent

    def _respond(self, event: RequestReceived, answer: Struct | Mapping[str, Any]) -> None:
        try:
            self._machine.respond(event.key, answer, meta=same_task(event.params))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            self._fail(event, error)

    def _fail(self, event: RequestReceived, error: Exception) -> None:
        self._machine.fail(event.key, told_of(event.method, error))

    def _release(self, key: Key) -> None:
        self._machine.release(key)
        self._flush()


async def answer_inputs(
    asked: InputRequired, callbacks: Callbacks, revision: Revision
) -> dict[str, Answer]:
    """Return the answers of one input round (modern).  Raises as :func:`answer_questions`."""
    if asked.requests:
        return await answer_questions(asked.requests, asked.method, callbacks, revision)
    # The server sent state only: it waits for something outside of this conversation.
    await anyio.sleep(min(0.05 * 2**asked.round, 2.0))
    return {}


async def answer_questions(
    questions: Mapping[str, Raw], method: str, callbacks: Callbacks, revision: Revision
) -> dict[str, Answer]:
    """Answer the questions of ``method`` concurrently, each a request without id.

    At most ``callbacks.at_once`` run at a time.  Raises InputFailed if an input cannot or may not
    be given, and any exception of a callback; the other callbacks are cancelled then.
    """
    if len(questions) == 1:
        [(key, question)] = questions.items()
        return {key: await answer_input(question, key, method, callbacks, revision)}
    answers: dict[str, Answer] = {}
    free = anyio.Semaphore(callbacks.at_once)

    async def work(key: str, question: Raw) -> None:
        async with free:
            answers[key] = await answer_input(question, key, method, callbacks, revision)

    try:
        async with anyio.create_task_group() as group:
            for key, question in questions.items():
                group.start_soon(work, key, question)
    except BaseExceptionGroup as failures:
        first = _first(failures)
        raise first from first.__cause__
    return {key: answers[key] for key in questions}


async def answer_input(
    raw: Raw, key: str, method: str, callbacks: Callbacks, revision: Revision
) -> Answer:
    """Answer one question of ``method``, a request without id, known by ``key``.

    Raises InputFailed if the input cannot or may not be given, and any exception of the callback.
    """
    wanted = promised(raw, InputRequest, method)
    params = Raw(b"{}") if wanted.params is None else wanted.params
    try:
        context = CallbackContext(wanted.method, revision, meta_of(params))
        return await called(callbacks.answer, params, context)
    except BaseException as raised:
        error = failure_of(raised)
        if isinstance(error, Malformed):
            text = f"the server's message is malformed: the input {key!r}: {error}"
            raise InvalidResponse(method, text) from None
        if isinstance(error, McpError):
            raise InputFailed(method, f"the input {key!r} was not given: {error}") from error
        if isinstance(error, HandlerExit):
            logger.error("the callback for %s failed", wanted.method, exc_info=error)
        raise error  # noqa: B904 - the same exception, or one that has its cause


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
