"""Call of a tool that is a task, or may become one.

A :class:`TaskCall` stands between a handler and the machine.  Before the call becomes a task,
everything passes through to the machine.  From then on results go into the task, questions are put
to the client as questions of the task, and the handler keeps running after the end of the request
and even of the connection.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Raw, UnsetType

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.engine.peer import Peer
from mcpcore.errors import InputUnavailable
from mcpcore.service.task_views import TaskForm, TaskSupport, describe, related
from mcpcore.service.tasks import TableFull, TaskRecord, TooManyQuestions
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalError, McpError, busy_code
from mcpcore.spec.types.base import LoggingLevel
from mcpcore.wire.message import Body, RequestId, to_json
from mcpcore_transports.running.pending import Run
from mcpcore_transports.running.serial_calls import ProgressCallback
from mcpcore_transports.running.tasks import Timer
from mcpcore_transports.server.elicitation import params_of
from mcpcore_transports.server.inputs import Input, InvalidAnswer
from mcpcore_transports.server.tasks.requests import form_of

if TYPE_CHECKING:
    from mcpcore_transports.server.tasks.tasks import ServerTasks


class Question:
    """Question of a task, until it is answered."""

    __slots__ = (
        "_answer",
        "_event",
        "_problem",
        "desk",
        "following",
        "key",
        "method",
        "outlet",
        "params",
        "progress",
        "request",
        "terms",
    )

    def __init__(
        self,
        key: str,
        method: str,
        params: bytes,
        progress: ProgressCallback | None = None,
        terms: dict[str, int] | None = None,
    ) -> None:
        self.key = key
        self.method = method
        self.params = params
        self.progress = progress
        """Callback for the progress that a legacy client reports."""
        self.terms = terms
        """Task parameter that asks the client to run the question as a task of its own."""
        self.following: anyio.CancelScope | None = None
        """Scope of the wait for the client's task, while the client runs the question as one."""
        self.desk: ServerTasks | None = None
        self.request: RequestId | None = None
        """Id of the request that puts the question to a legacy client, while it is open."""
        self.outlet: Key | None = None
        """Key of the client's request on whose stream the question was sent."""
        self._answer: Raw | None = None
        self._problem: str | None = None
        self._event = anyio.Event()

    def answered(self, answer: Raw) -> None:
        """Set the answer of the client."""
        self._answer = answer
        self._event.set()

    def refused(self, problem: str) -> None:
        """Set the problem because of which no answer will come."""
        self._problem = problem
        self._event.set()

    async def wait(self) -> Raw:
        """Wait for the answer.  Raises InputUnavailable if none will come."""
        await self._event.wait()
        if self._answer is None:
            raise InputUnavailable(self._problem or "the question was not answered")
        return self._answer


class TaskCall:
    """Call of a tool that is a task, or may become one.

    The runtime answers through it as through the machine.  ``record`` is None until the call is a
    task.
    """

    def __init__(
        self,
        desk: "ServerTasks",
        event: RequestReceived,
        support: TaskSupport,
        ttl: int | UnsetType | None,
    ) -> None:
        self.event = event
        self.support = support
        self.record: TaskRecord | None = None
        self.scope: Run | None = None
        self.timer: Timer | None = None
        """Timer that turns the call into a task if it takes too long."""
        self._desk = desk
        self._form = form_of(event)
        self._ttl = ttl
        self._over = False
        self._unwanted = False
        """True if the request was cancelled and the handler does not know it yet."""
        self._questions: dict[str, Question] = {}
        self._progress = -math.inf

    # Creation of the task

    def begin(self) -> bool:
        """Become a task; return False if the request is over.

        Raises McpError if there is no room for another task.
        """
        if self.record is not None:
            return True
        if self._over or self._unwanted or (self.scope is not None and self.scope.cancel_called):
            return False
        desk, event = self._desk, self.event
        host = desk.host
        try:
            record = host.create(desk.owner(event), ttl=self._ttl, poll=self.support.poll_interval)
        except TableFull as full:
            raise McpError(busy_code(event.revision), str(full)) from None
        if self._form is TaskForm.EXTENSION:
            view: Body = describe(record, TaskForm.EXTENSION)
            sent = desk.runtime.machine.respond(event.key, view, result_type="task")
        else:
            view = {"task": describe(record, TaskForm.EXPERIMENTAL)}
            sent = desk.runtime.machine.respond(event.key, view, meta=related(record.id))
        if not sent:
            host.table.remove(record)
            self._unwanted = True
            return False
        if self._form is TaskForm.EXPERIMENTAL:
            desk.follow(record, event.session)
        self.record = record
        host.employ(record, self)
        desk.flush()
        return True

    def begin_if_possible(self) -> bool:
        """Become a task; return False if the request is over or there is no room for it."""
        try:
            return self.begin()
        except McpError:
            return False

    def end(self) -> None:
        """Handle the end of the handler."""
        self._over = True
        if self.timer is not None:
            self.timer.cancel()
        if self.record is not None:
            self._desk.host.dismiss(self.record)

    # Answers, with the interface of the machine

    def respond(
        self, key: Key, result: Raw, *, meta: Mapping[str, Any] | None = None, bare: bool = False
    ) -> bool:
        """Take the result of the handler."""
        self._over = True
        if self.record is None:
            machine = self._desk.runtime.machine
            return not self._unwanted and machine.respond(key, result, meta=meta, bare=bare)
        return self._desk.host.complete(self.record, result, meta)

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Take the protocol error with which the handler failed."""
        self._over = True
        if self.record is None:
            return not self._unwanted and self._desk.runtime.machine.fail(key, error)
        return self._desk.host.fail(self.record, error)

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """Take the input that the handler requires before it can become a task."""
        self._over = True
        if self.record is None:
            machine = self._desk.runtime.machine
            return not self._unwanted and machine.require_input(key, requests, state)
        text = "the handler asked in the request after it had become a task"
        return self._desk.host.fail(self.record, ErrorData(INTERNAL_ERROR, text))

    # Worker interface, called by the host

    def stop(self) -> None:
        """Cancel the handler because the task has ended."""
        if self.scope is not None and not self._over:
            self.scope.cancel()

    def deliver(self, key: str, answer: Raw) -> None:
        """Take the client's answer to a question."""
        question = self._questions.pop(key, None)
        if question is not None:
            question.answered(answer)

    # Actions of the handler

    def progress(
        self,
        value: float,
        total: float | None,
        message: str | None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress: in the status and, if there is a progress token, to the owner."""
        record = self.record
        if record is None or record.ended or not math.isfinite(value) or value <= self._progress:
            return False
        self._progress = value
        share = f"{value:g}" if total is None else f"{value:g} of {total:g}"
        self._desk.host.say(record, message or share)
        token = self.event.meta.progress_token
        if self._form is TaskForm.EXPERIMENTAL and token is not None:
            params: dict[str, Any] = {"progressToken": token, "progress": value}
            if total is not None:
                params["total"] = total
            if message is not None:
                params["message"] = message
            if meta:
                params["_meta"] = meta
            self.notify("notifications/progress", params)
        return True

    def log(
        self,
        level: LoggingLevel,
        data: Any,
        logger: str | None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send a log message; return False in the extension, which has none for tasks."""
        record = self.record
        if record is None or record.ended or self._form is TaskForm.EXTENSION:
            return False
        machine, outlet = self._desk.runtime.machine, self._outlet()
        meta = {**(meta or {}), **related(record.id)}
        try:
            if not isinstance(machine, Peer):
                session = self.event.session
                return machine.log(outlet, level, data, logger, session=session, meta=meta)
            return machine.log(outlet, level, data, logger, meta=meta)
        except LocalError:
            return False
        finally:
            self._desk.flush()

    def notify(self, method: str, params: Body) -> bool:
        """Send a notification to the session of the task; the extension has none."""
        record = self.record
        if record is None or record.ended or self._form is TaskForm.EXTENSION:
            return False
        session, meta = self.event.session, related(record.id)
        self._desk.tell(method, params, session=session, parent=self._outlet(), meta=meta)
        return True

    async def ask(
        self,
        wanted: Mapping[str, Input[Any]],
        progress: Mapping[str, ProgressCallback] | None = None,
    ) -> dict[str, Any]:
        """Put questions to the client as questions of the task; return all answers by key.

        ``progress``: callbacks for the progress that a legacy client reports, by the keys of the
        questions. Raises InputUnavailable.
        """
        open: dict[str, Question] = {}
        answers: dict[str, Any] = {}
        heard = progress or {}
        try:
            for name, question in wanted.items():
                open[name] = self._put(name, question, heard.get(name))
            for name, question in wanted.items():
                answers[name] = await self._answer(name, question, open, heard.get(name))
        finally:
            for put in open.values():
                self._take_back(put)
        return answers

    def unsent(self) -> list[Question]:
        """Return the questions that have not been sent to any client yet (experimental tasks)."""
        if self._form is not TaskForm.EXPERIMENTAL:
            return []
        return [
            each
            for each in self._questions.values()
            if each.request is None and each.following is None
        ]

    def refuse(self, question: Question, problem: str) -> None:
        """Withdraw a question and fail its wait with ``problem``."""
        self._questions.pop(question.key, None)
        if self.record is not None:
            self._desk.host.withdraw(self.record, question.key)
        question.refused(problem)

    async def _answer(
        self,
        name: str,
        question: Input[Any],
        open: dict[str, Question],
        progress: ProgressCallback | None,
    ) -> Any:
        attempt = 1
        while True:
            answer = await open[name].wait()
            del open[name]
            try:
                return question.parse(answer)
            except InvalidAnswer as error:
                if attempt >= self._desk.runtime.settings.input_attempts:
                    text = f"the client's answer to {question.method} does not fit: {error}"
                    raise InputUnavailable(text) from error
                attempt += 1
                open[name] = self._put(name, question, progress, str(error))

    def _put(
        self,
        name: str,
        question: Input[Any],
        progress: ProgressCallback | None,
        problem: str | None = None,
    ) -> Question:
        assert self.record is not None  # noqa: S101 - only tasks ask here
        params = to_json(params_of(question, self.event.revision, problem, self.event.meta.trace))
        try:
            key = self._desk.host.ask(self.record, name, question.method, params)
        except TooManyQuestions as error:
            raise InputUnavailable(str(error)) from None
        if key is None:
            raise InputUnavailable("the task has ended")
        put = self._questions[key] = Question(key, question.method, params, progress, question.task)
        self._desk.offer_everywhere(self)
        return put

    def _take_back(self, question: Question) -> None:
        if self._questions.pop(question.key, None) is None:
            return
        if question.desk is not None:
            question.desk.recall(question)
        if self.record is not None:
            self._desk.host.withdraw(self.record, question.key)

    def _outlet(self) -> Key | None:
        waiting = [] if self.record is None else self._desk.waiting_for(self.record)
        return waiting[-1] if waiting else None
