"""Answers of a client: on the wire, in input rounds, as tasks, and by visits of URLs."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
from msgspec import Raw, Struct, field

from mcpcore import errors
from mcpcore.engine.events import Key, RequestCancelled, RequestReceived
from mcpcore.service.reading import typed
from mcpcore.service.task_settings import TaskForm, TaskSettings
from mcpcore.service.tasks import TaskRecord, describe, related
from mcpcore.spec import types
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import (
    ERRORS,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    URL_ELICITATION_REQUIRED,
    busy_code,
)
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.model import Maybe
from mcpcore.wire.jsontext import Body, to_json
from mcpcore_transports.client.callbacks import CallbackAnswer, CallbackContext, meta_of
from mcpcore_transports.client.errors import promised
from mcpcore_transports.running.functions import called, failure_of, first_of, is_awaitable
from mcpcore_transports.running.pending import Handlers, Run
from mcpcore_transports.running.tasks import TaskHost
from mcpcore_transports.server.settings import error_id
from mcpcore_transports.server.tasks.requests import TaskDesk

if TYPE_CHECKING:  # types alone: the core makes use of this module
    from mcpcore_transports.client.core import ClientCore

logger = logging.getLogger("mcpcore.client")


class _TaskAsked(Struct):
    task: Maybe[types.TaskMetadata] = None


class ClientDesk(TaskDesk):
    """Desk of a client: runs requests of its server as tasks, and answers requests about them.

    With tasks (2025-11-25) the server does not have to keep a request open while a person is asked.
    ``capabilities`` tells which requests may run as tasks.
    """

    def __init__(
        self, core: "ClientCore", capabilities: types.ClientCapabilities, settings: TaskSettings
    ) -> None:
        super().__init__(TaskHost(settings), core.machine, core.flush, self._notify)
        self._core = core
        self._capabilities = capabilities
        self._handlers: Handlers | None = None

    def takes(self, event: RequestReceived) -> bool:
        """Run a request as a task if the server asks for that; return False if it does not."""
        row = lookup(event.method, "server", event.revision)
        capability = None if row is None else row.task_capability
        if capability is None or not declares(self._capabilities, capability):
            return False
        try:
            task = typed(event.params, _TaskAsked).task
            if task is None:
                return False
            ttl = self.host.table.granted(task.ttl)
            record = self.host.create(self.owner(event), ttl=ttl)
        except errors.McpError as error:
            self.machine.fail(event.key, error.error)
        except errors.Malformed as error:
            self.machine.fail(
                event.key, errors.ErrorData(INVALID_PARAMS, f"invalid params: {error}")
            )
        except errors.TableFull as full:
            self.machine.fail(event.key, errors.ErrorData(busy_code(event.revision), str(full)))
        else:
            self._start(event, record)
        return True

    def _start(self, event: RequestReceived, record: TaskRecord) -> None:
        if self._handlers is None:
            # Nothing to release: the request itself was answered when its task was created.
            self._handlers = Handlers(self.host.begin(self._core.group), lambda key: None)
        view = {"task": describe(record, TaskForm.EXPERIMENTAL)}
        self.machine.respond(event.key, view, meta=related(record.id))
        self.follow(record, None)
        worker = _AnswerWorker()
        self.host.employ(record, worker)
        context = _context(event, partial(self._report, event, record))

        async def work() -> None:
            try:
                answer = self._core.answer(event.params, context)
                if is_awaitable(answer):
                    answer = await answer
                self.host.complete(record, Raw(to_json(answer)))
            except BaseException as error:
                self.host.fail(record, masked_error(event.method, failure_of(error)))
            finally:
                worker.scope = None
                self.host.dismiss(record)

        context.scope = worker.scope = self._handlers.start(event.key, work, context)

    def _report(
        self,
        event: RequestReceived,
        record: TaskRecord,
        value: float,
        total: float | None,
        message: str | None,
    ) -> bool:
        """Report the progress of a task under the progress token of the request that created it."""
        token = event.meta.progress_token
        if token is None or record.ended:
            return False
        params: dict[str, Any] = {"progressToken": token, "progress": value}
        more = {"total": total, "message": message}
        params |= {name: given for name, given in more.items() if given is not None}
        self._notify(None, "notifications/progress", params, meta=related(record.id))
        return True

    def _notify(self, session: None, method: str, params: Body, **options: Any) -> None:
        """Send a notification; ``session`` is always None for a client."""
        with suppress(errors.LocalError):  # it has ended meanwhile
            self.machine.notify(method, params, **options)
            self.flush()


class _AnswerWorker(Struct):
    scope: Run | None = None

    def stop(self) -> None:
        if self.scope is not None:
            self.scope.cancel()

    def deliver(self, key: str, answer: Raw) -> None:
        """Do nothing: a task of a client asks no questions."""


def _context(event: RequestReceived, report: Callable[..., bool]) -> CallbackContext:
    return CallbackContext(event.method, event.revision, event.meta, event.id, report)


def masked_error(method: str, error: Exception) -> errors.ErrorData:
    """Return the error for a failed callback as the server sees it; log an unexpected exception."""
    if isinstance(error, errors.McpError):
        return error.error
    made = error_id()
    logger.error("the callback for %s failed (error id %s)", method, made, exc_info=error)
    return errors.ErrorData(INTERNAL_ERROR, f"the client failed to answer (error id {made})")


class _Tied(Struct):
    meta: Maybe[dict[str, Raw]] = field(default=None, name="_meta")


def related_meta(params: Raw) -> dict[str, Any] | None:
    """Return the ``_meta`` for the answer to a request that belongs to a task of the server."""
    text = bytes(params)
    if not (b"related-task" in text or b"\\u" in text):  # escapes could hide the name
        return None
    task = (typed(text, _Tied).meta or {}).get(types.META_RELATED_TASK)
    return None if task in (None, Raw(b"null")) else {types.META_RELATED_TASK: task}


COMPLETE = "notifications/elicitation/complete"


class Answers:
    """Answers to requests on the wire (legacy); plain callbacks run inline, others in a task."""

    def __init__(self, core: "ClientCore") -> None:
        self._core = core
        self._handlers = Handlers(core.group, self._release)
        self.desk: ClientDesk | None = None
        """Task desk that runs requests of the server as tasks; None if it may not."""

    def begin(self, event: RequestReceived) -> None:
        """Answer a request, now or later."""
        desk = self.desk
        if desk is not None and (desk.serve(event) or desk.takes(event)):
            return
        context = _context(event, partial(self._report, event.key))
        try:
            answer = self._core.answer(event.params, context)
        except BaseException as error:
            self._fail(event, failure_of(error))
            return
        if not is_awaitable(answer):
            self._respond(event, answer)
            return

        async def work() -> None:
            try:
                result = await answer
            except BaseException as error:
                self._fail(event, failure_of(error))
            else:
                self._respond(event, result)
            self._core.flush()

        context.scope = self._handlers.start(event.key, work, context)

    def cancel(self, event: RequestCancelled) -> None:
        """Cancel the answer to a request that the server has cancelled."""
        if self.desk is None or not self.desk.cancelled(event.key, event.reason):
            self._handlers.cancel(event.key, event.reason)

    def _report(self, key: Key, value: float, total: float | None, message: str | None) -> bool:
        sent = self._core.machine.progress(key, value, total, message)
        if sent:
            self._core.flush()
        return sent

    def _respond(self, event: RequestReceived, answer: CallbackAnswer) -> None:
        try:
            self._core.machine.respond(event.key, answer, meta=related_meta(event.params))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            self._fail(event, error)

    def _fail(self, event: RequestReceived, error: Exception) -> None:
        self._core.machine.fail(event.key, masked_error(event.method, error))

    def _release(self, key: Key) -> None:
        self._core.machine.release(key)
        self._core.flush()


async def answer_questions(
    questions: Mapping[str, Raw], method: str, core: "ClientCore"
) -> dict[str, CallbackAnswer]:
    """Answer the questions of ``method`` concurrently, each a request without id.

    At most ``Callbacks.at_once`` run at a time.  Raises what :func:`answer_input` does; the other
    callbacks are cancelled then.
    """
    if len(questions) == 1:
        [(key, question)] = questions.items()
        return {key: await answer_input(question, key, method, core)}
    answers: dict[str, CallbackAnswer] = {}
    free = anyio.Semaphore(core.callbacks.at_once)

    async def work(key: str, question: Raw) -> None:
        async with free:
            answers[key] = await answer_input(question, key, method, core)

    try:
        async with anyio.create_task_group() as group:
            for key, question in questions.items():
                group.start_soon(work, key, question)
    except BaseExceptionGroup as failures:
        first = first_of(failures)
        raise first from first.__cause__
    return {key: answers[key] for key in questions}


async def answer_input(raw: Raw, key: str, method: str, core: "ClientCore") -> CallbackAnswer:
    """Answer one question.  Raises InputFailed, whose cause is the callback's exception."""
    wanted = promised(raw, types.EmbeddedRequest, method)
    params = Raw(b"{}") if wanted.params is None else wanted.params
    try:
        context = CallbackContext(wanted.method, core.revision, meta_of(params))
        return await called(core.answer, params, context)
    except BaseException as raised:
        error = failure_of(raised)
        if isinstance(error, errors.Malformed):
            text = f"the server's message is malformed: the input {key!r}: {error}"
            raise errors.InvalidResponse(method, text) from None
        raise errors.InputFailed(method, f"the input {key!r} was not given: {error}") from error


class _ElicitationId(Struct, rename="camel"):
    elicitation_id: Maybe[str] = None


class Visits:
    """Visits of URLs that a server asks for, by elicitation id; the oldest are forgotten first.

    Source: elicitation page of 2025-11-25, sections on URL mode.
    """

    def __init__(self, core: "ClientCore") -> None:
        self._core = core
        self._under_way: dict[str, anyio.Event] = {}

    def asked(self, event: RequestReceived) -> None:
        """Record the visit that a request of the server may ask for."""
        if event.method == "elicitation/create":
            try:
                asked = typed(event.params, _ElicitationId)
            except errors.Malformed:
                return  # the answer to the request reports it
            if asked.elicitation_id is not None:
                self._expect(asked.elicitation_id)

    def completed(self, params: Raw) -> bool:
        """Record the end of a visit; return False for an unknown or ended one, to be ignored."""
        try:
            done = typed(params, types.ElicitationCompleteParams)
        except errors.Malformed as error:
            logger.warning("the server's %s is malformed: %s", COMPLETE, error)
            return False
        visit = self._under_way.pop(done.elicitation_id, None)
        if visit is not None:
            visit.set()
        return visit is not None

    async def make(self, error: errors.PeerError) -> bool:
        """Ask for the visits that ``error`` requires; return True if a retry is useful."""
        if (
            not isinstance(error, errors.UrlElicitationRequired)
            or self._core.revision not in ERRORS[URL_ELICITATION_REQUIRED].revisions
            or self._core.callbacks.elicitation_url is None
        ):
            return False
        questions: dict[str, Raw] = {}
        for wanted in error.elicitations:
            key = str(wanted.elicitation_id)
            self._expect(key)
            question = {"method": "elicitation/create", "params": wanted}
            questions[key] = Raw(msgspec.json.encode(question))
        answers = await answer_questions(questions, error.method, self._core)
        for answer in answers.values():
            if not isinstance(answer, types.ElicitResult) or answer.action != "accept":
                return False
        with anyio.move_on_after(self._core.settings.visit_timeout):
            for elicitation_id in questions:
                if (visit := self._under_way.get(elicitation_id)) is not None:
                    await visit.wait()
        return True

    def _expect(self, elicitation_id: str) -> None:
        self._under_way.setdefault(elicitation_id, anyio.Event())
        if len(self._under_way) > self._core.settings.max_visits:
            del self._under_way[next(iter(self._under_way))]
