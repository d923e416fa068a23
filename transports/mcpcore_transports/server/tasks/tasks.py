"""Tasks of a server: calls that become tasks, the questions of tasks, and news of changes.

A :class:`TaskCall` stands between a handler and the machine.  Before the call becomes a task,
everything passes through to the machine.  From then on results and questions go into the task, and
the handler keeps running after the end of the request and even of the connection.
"""

import math
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import TaskGroup
from msgspec import Raw, Struct, UnsetType, field, structs

from mcpcore.engine.config import DEFAULT_TIMEOUT
from mcpcore.engine.events import (
    EndReason,
    Key,
    NotificationReceived,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionClosed,
    SubscriptionOpened,
)
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.engine.outbound import GIVEN_UP
from mcpcore.engine.peer import Peer
from mcpcore.errors import InputUnavailable, Malformed, TableFull, TooManyQuestions
from mcpcore.http.principals import Refusal
from mcpcore.service import Prepared
from mcpcore.service.reading import typed
from mcpcore.service.task_settings import TaskForm, TaskSupport, task_form
from mcpcore.service.tasks import TaskRecord, describe, detail, related
from mcpcore.spec import errors
from mcpcore.spec.capabilities import TASKS_EXTENSION, declares, requirement
from mcpcore.spec.methods import lookup
from mcpcore.spec.types.base import LoggingLevel, TaskMetadata
from mcpcore.spec.types.model import Maybe
from mcpcore.spec.types.tasks import TERMINAL, Task
from mcpcore.wire.jsontext import Body, splice, to_json
from mcpcore.wire.message import RequestId
from mcpcore_transports.link import clock
from mcpcore_transports.running.pending import Handlers, ProgressCallback, Run, Settled
from mcpcore_transports.running.tasks import TaskHost, Timer
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Input
from mcpcore_transports.server.input_rounds import Asker, RoundState, ask_all, params_of, unanswered
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.tasks.requests import METHODS, TaskAnswer, TaskDesk, outcome_of

if TYPE_CHECKING:  # loaded with HTTP, or by few
    from mcpcore.http.server.sessions import SessionClosed

_EXTENSION = f"extensions.{TASKS_EXTENSION}"

_PAUSE = 1.0
"""Seconds between two polls if the client names no interval."""
_MIN_PAUSE, _MAX_PAUSE = 0.05, 30.0


class _WithTask(Struct):
    task: Maybe[TaskMetadata] = None


class Question(Struct, eq=False):
    """Question of a task, until it is answered."""

    key: str
    method: str
    params: bytes
    progress: ProgressCallback | None
    """Callback for the progress that a legacy client reports."""
    as_task: bool = False
    """True if the client is asked to run it as a task of its own."""
    following: anyio.CancelScope | None = None
    """Scope of the wait for the client's task, while the client runs the question as one."""
    desk: "ServerTasks | None" = None
    request: RequestId | None = None
    """Id of the request that puts the question to a legacy client, while it is open."""
    stream: RequestReceived | None = None
    """Request of the client on whose stream the question was sent."""
    answer: Raw | None = None
    problem: str = ""
    """Reason for which no answer will come."""
    settled: anyio.Event = field(default_factory=anyio.Event)

    async def wait(self) -> Raw:
        """Wait for the answer.  Raises InputUnavailable if none will come."""
        await self.settled.wait()
        if self.answer is None:
            raise InputUnavailable(self.problem)
        return self.answer

    def recall(self) -> None:
        """Cancel the request or the wait by which it is put to a client."""
        if self.desk is not None:
            self.desk.recall(self)


class Questioner(Protocol):
    """Task with questions, here or at another worker, seen from where its client waits."""

    record: TaskRecord | None

    def unsent(self) -> list[Question]:
        """Return the questions that have not been sent to any client yet."""

    def refuse(self, question: Question, problem: str) -> None:
        """Withdraw a question and fail its wait with ``problem``."""


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
        prepared: Prepared,
    ) -> None:
        self.event = event
        self.support = support
        self._prepared = prepared
        self.record: TaskRecord | None = None
        self.scope: Run | None = None
        self.timer: Timer | None = None
        """Timer that turns the call into a task if it takes too long."""
        self._desk = desk
        self._form = task_form(event.revision, event.method)
        self._ttl = ttl
        self._over = False
        self._unwanted = False
        """True if the request was cancelled and the handler does not know it yet."""
        self._questions: dict[str, Question] = {}
        self._progress = -math.inf

    # Creation of the task

    def begin(self) -> bool:
        """Become a task; return False if the request is over.  Raises McpError without room."""
        if self.record is not None:
            return True
        if self._over or self._unwanted or (self.scope is not None and self.scope.cancel_called):
            return False
        desk, event = self._desk, self.event
        host = desk.host
        try:
            record = host.create(desk.owner(event), ttl=self._ttl, poll=self.support.poll_interval)
        except TableFull as full:
            raise errors.McpError(errors.busy_code(event.revision), str(full)) from None
        record.requirement, record.tool = self._prepared.requirement, self._prepared.tool
        assert self._form is not None  # noqa: S101 - else it could not become a task
        hand_over = partial(self._hand_over, record, describe(record, self._form))
        if not host.keep(record, hand_over, desk.flush):
            host.table.remove(record)
            self._unwanted = True
            return False
        self.record = record
        host.employ(record, self)
        desk.flush()
        return True

    def _hand_over(self, record: TaskRecord, view: Task, kept: bool) -> bool:
        """Answer the request with the task, or an error if it is not kept; False: it is over."""
        desk, event = self._desk, self.event
        machine = desk.runtime.machine
        try:
            if not kept:
                code = errors.busy_code(event.revision)
                machine.fail(event.key, errors.ErrorData(code, "busy: no room for the task"))
                return False
            if self._form is TaskForm.EXTENSION:
                return machine.respond(event.key, view, result_type="task")
            sent = machine.respond(event.key, {"task": view}, meta=related(record.id))
        except errors.LocalProtocolError:  # its client has left while the task was written
            return False
        if sent:
            desk.follow(record, event.session, event.principal)
        return sent

    def begin_if_possible(self) -> bool:
        """Become a task; return False if the request is over or there is no room for it."""
        try:
            return self.begin()
        except errors.McpError:
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
        if self.record is not None:
            return self._desk.host.complete(self.record, result, meta)
        machine = self._desk.runtime.machine
        return not self._unwanted and machine.respond(key, result, meta=meta, bare=bare)

    def fail(self, key: Key, error: errors.ErrorData) -> bool:
        """Take the protocol error with which the handler failed."""
        self._over = True
        if self.record is not None:
            return self._desk.host.fail(self.record, error)
        return not self._unwanted and self._desk.machine.fail(key, error)

    def forbid(self, key: Key, error: errors.ErrorData, refusal: Refusal) -> bool:
        """Take the refusal of a handler for want of scopes or a role."""
        machine = self._desk.runtime.machine
        if self.record is not None or isinstance(machine, Peer):
            return self.fail(key, error)
        self._over = True
        return not self._unwanted and machine.forbid(key, error, refusal)

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """Take the input that the handler requires before it can become a task."""
        if self.record is not None:
            text = "the handler asked in the request after it had become a task"
            return self.fail(key, errors.ErrorData(errors.INTERNAL_ERROR, text))
        self._over = True
        machine = self._desk.runtime.machine
        return not self._unwanted and machine.require_input(key, requests, state)

    # Worker interface, called by the host

    def stop(self) -> None:
        """Cancel the handler because the task has ended."""
        if self.scope is not None and not self._over:
            self.scope.cancel()

    def deliver(self, key: str, answer: Raw) -> None:
        """Take the client's answer to a question."""
        if (question := self._questions.pop(key, None)) is not None:
            question.recall()
            question.answer = answer
            question.settled.set()

    def give_up(self, key: str, problem: str) -> None:
        """Fail the wait for the answer to a question that was put at another worker."""
        if (question := self._questions.get(key)) is not None:
            question.recall()
            self.refuse(question, problem)

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
        if record is None or record.ended or not self._progress < value < math.inf:
            return False
        self._progress = value
        share = f"{value:g}" if total is None else f"{value:g} of {total:g}"
        self._desk.host.say(record, message or share)
        token = self.event.meta.progress_token
        if token is not None:
            optional = {"total": total, "message": message, "_meta": meta or None}
            params = {name: each for name, each in optional.items() if each is not None}
            params |= {"progressToken": token, "progress": value}
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
        if (record := self._followed()) is None:
            return False
        runtime, stream = self._desk.runtime, self._stream()
        meta = {**(meta or {}), **related(record.id)}
        where = runtime.in_session(self.event.session)
        try:
            return runtime.machine.log(stream, level, data, logger, meta=meta, **where)
        except errors.LocalError:
            return False
        finally:
            self._desk.flush()

    def notify(self, method: str, params: Body) -> bool:
        """Send a notification to the session of the task; the extension has none."""
        if (record := self._followed()) is None:
            return False
        tell, meta = self._desk.runtime.tell, related(record.id)
        tell(self.event.session, method, params, parent=self._stream(), meta=meta)
        return True

    def _followed(self) -> TaskRecord | None:
        """Return the task if it has not ended and its session gets messages about it."""
        record = None if self._form is TaskForm.EXTENSION else self.record
        return None if record is None or record.ended else record

    async def ask(
        self,
        wanted: Mapping[str, Input[Any]],
        progress: Mapping[str, ProgressCallback] | None = None,
    ) -> dict[str, Any]:
        """Put questions to the client as questions of the task; return all answers by key.

        ``progress``: callbacks for the progress that a legacy client reports.  Raises
        InputUnavailable.
        """
        open: dict[str, Question] = {}
        heard = progress or {}

        def send(name: str, question: Input[Any], problem: str | None) -> None:
            open[name] = self._put(name, question, heard.get(name), problem)

        async def receive(name: str, question: Input[Any]) -> Raw:
            answer = await open[name].wait()
            del open[name]
            return answer

        try:
            return await ask_all(wanted, send, receive, self._desk.runtime.settings.input_attempts)
        finally:
            for put in open.values():
                if put.key in self._questions:
                    put.recall()
                    self._withdraw(put)

    def unsent(self) -> list[Question]:
        """Return the questions that have not been sent to any client yet (experimental tasks)."""
        if self._form is not TaskForm.EXPERIMENTAL:
            return []
        questions = self._questions.values()
        return [each for each in questions if each.request is None and each.following is None]

    def refuse(self, question: Question, problem: str) -> None:
        """Withdraw a question and fail its wait with ``problem``."""
        self._withdraw(question)
        question.problem = problem
        question.settled.set()

    def _withdraw(self, question: Question) -> None:
        self._questions.pop(question.key, None)
        if self.record is not None:
            self._desk.host.withdraw(self.record, question.key)

    def _put(
        self,
        name: str,
        question: Input[Any],
        progress: ProgressCallback | None,
        problem: str | None,
    ) -> Question:
        assert self.record is not None  # noqa: S101 - only tasks ask here
        params = to_json(params_of(question, self.event.revision, problem, self.event.meta.trace))
        as_task = self._form is TaskForm.EXPERIMENTAL and question.task is not None
        if as_task and (as_task := runs_tasks(question.method, self.event)):
            params = splice(params, b'"task":' + to_json(question.task))
        try:
            key = self._desk.host.ask(self.record, name, question.method, params)
        except TooManyQuestions as error:
            raise InputUnavailable(str(error)) from None
        if key is None:
            raise InputUnavailable("the task has ended")
        put = self._questions[key] = Question(key, question.method, params, progress, as_task)
        self._desk.offer_everywhere(self)
        return put

    def _stream(self) -> Key | None:
        waiting = [] if self.record is None else self._desk.entitled(self.record)
        return waiting[-1].key if waiting else None


class ServerTasks(TaskDesk):
    """Tasks of a server, seen from one machine."""

    def __init__(self, runtime: ServerRuntime, host: TaskHost) -> None:
        super().__init__(host, runtime.machine, runtime.flush, runtime.tell)
        self.runtime = runtime
        self._group: TaskGroup
        self._handlers: Handlers
        self._asked: dict[RequestId, tuple[Questioner, Question]] = {}
        """Questions that were sent to a legacy client, with their calls, by request id."""
        self._streams: dict[Key, list[str]] = {}
        """Ids of the tasks that each listen stream carries news of."""
        self._parties: dict[Key, str | None] = {}
        """Principals of the listen streams with tasks."""
        self._heard: dict[str, dict[Key, None]] = {}
        """Listen streams that carry news of a task, by task id."""
        self._ends: dict[Key, anyio.Event] = {}
        """Events of the waiting requests, set when the tasks that they wait for end."""

    # Requests about tasks

    def sees(self, record: TaskRecord, principal: str | None) -> bool:
        """Return True if a principal sees the tool that a task works for."""
        return record.tool is None or self.runtime.has_tool(record.tool, principal)

    def prepare(self, event: RequestReceived) -> Prepared | None:
        """Prepare a request about tasks; return None for other requests."""
        return _TaskRequest(self, event) if event.method in METHODS else None

    def reply(self, event: RequestReceived) -> TaskAnswer | Awaitable[TaskAnswer]:
        """Return the answer to a request about tasks, which may have to be awaited."""
        answer = self.answer(event)
        return self.outcome(event, answer) if isinstance(answer, TaskRecord) else answer

    async def outcome(self, event: RequestReceived, record: TaskRecord) -> TaskAnswer:
        """Wait on behalf of a request for the end of a task; return its outcome.

        Raises McpError, also if the sender does not see any more what the task works for.
        """
        while not record.ended:
            self._ends[event.key] = anyio.Event()
            await self._ends[event.key].wait()
        self.demand(record, event.principal)
        return outcome_of(record)

    def ended(self, key: Key, record: TaskRecord) -> None:
        """Wake a request that waits for a task."""
        if (event := self._ends.pop(key, None)) is not None:
            event.set()

    # Tool calls

    def begin(self, group: TaskGroup) -> None:
        """Start to run handlers, in ``group`` unless the host has one that outlives connections."""
        self._group = self.host.begin(group)
        self._handlers = Handlers(self._group, self._release)

    def takes(self, event: RequestReceived, prepared: Prepared, state: RoundState | None) -> bool:
        """Take over a call that is a task or may become one; return False for an ordinary request.

        Raises McpError for a tool that runs only as a task, or cannot run as one.
        """
        support, form = prepared.task, task_form(event.revision, event.method)
        if form is TaskForm.EXPERIMENTAL and (terms := task_terms(event.params)) is not None:
            if support is None:
                raise errors.McpError(errors.METHOD_NOT_FOUND, "this tool cannot be run as a task")
            ttl = support.ttl if terms.ttl is None else self.host.table.granted(terms.ttl)
            at_once = True
        elif support is None:
            return False
        elif form is TaskForm.EXTENSION and declares(event.client_capabilities, _EXTENSION):
            if prepared.result is not None:
                return False
            ttl, at_once = support.ttl, support.after == 0
        elif support.required:
            raise _refusal(event, form)
        else:
            return False
        call = TaskCall(self, event, support, ttl, prepared)
        context = Context(event, self.runtime, state, prepared.home, call)
        self._start(call, prepared, context, at_once=at_once)
        return True

    def _start(
        self, call: TaskCall, prepared: Prepared, context: Context, *, at_once: bool
    ) -> None:
        if at_once:
            call.begin()
        if prepared.result is not None:
            call.respond(call.event.key, prepared.result)
            call.end()
            return

        async def work() -> None:
            try:
                await self.runtime.work(call.event, prepared, context)
            finally:
                call.end()

        context.scope = call.scope = self._handlers.start(call.event.key, work, context)
        after = call.support.after
        if not at_once and after is not None:
            call.timer = self.host.later(after, call.begin_if_possible)

    def cancelled(self, key: Key, reason: str | None = None) -> bool:
        """Handle the cancellation of a request; return False if its handler is the runtime's."""
        if self._leave(key):
            self._ends.pop(key, None)
            for call, question in list(self._asked.values()):
                if question.stream is None or question.stream.key != key:
                    continue
                self._recall(question)
                self.offer_everywhere(call)
            return False
        if key not in self._handlers:
            return False
        self._handlers.cancel(key, reason)
        return True

    def _release(self, key: Key) -> None:
        self.machine.release(key)
        self.flush()

    # Questions of experimental tasks

    def entitled(self, record: TaskRecord) -> list[RequestReceived]:
        """Return the requests that wait here for the result of a task, oldest first.

        Left out are those of who has lost the tool meanwhile, and so the right to the task.
        """
        waiting = self.waiting_for(record)
        return [each for each in waiting if self.permits(record, each.principal)]

    def awaited(self, record: TaskRecord) -> None:
        """Offer questions on the stream of a request that begins to wait for the result."""
        call = self.host.worker(record)
        if isinstance(call, TaskCall):
            self.offer(call)

    def offer_everywhere(self, call: Questioner, *, but: "ServerTasks | None" = None) -> None:
        """Send the unsent questions of a call on every connection where its client waits."""
        for desk in () if call.record is None else self.host.watchers(call.record.id):
            if isinstance(desk, ServerTasks) and desk is not but:
                desk.offer(call)

    def offer(self, call: Questioner) -> None:
        """Send the unsent questions of a call, if its client waits here for the result."""
        record = call.record
        if record is None or not (waiting := self.entitled(record)):
            return
        for question in call.unsent():
            try:
                request = self.runtime.machine.request(
                    question.method,
                    Raw(question.params),
                    now=clock(),
                    timeout=self.runtime.settings.input_timeout,
                    parent=waiting[-1].key,
                    meta=related(record.id),
                    progress=question.progress is not None,
                )
            except errors.LocalProtocolError as error:
                call.refuse(question, str(error))
                continue
            question.desk, question.request, question.stream = self, request, waiting[-1]
            self._asked[request] = call, question
            if question.progress is not None:
                self.runtime.progress.expect(request, question.progress)
        self.flush()

    def settle(self, outcome: Settled) -> bool:
        """Take the outcome of a question; return False for other requests."""
        found = self._asked.pop(outcome.request, None)
        if found is None:
            return False
        call, question = found
        self.runtime.progress.forget(outcome.request)
        asker, question.request, question.stream = question.stream, None, None
        if isinstance(outcome, ResultReceived) and question.as_task and asker is not None:
            question.following = anyio.CancelScope()
            self._group.start_soon(self._follow, call, question, asker, outcome)
        else:
            self._settled(call, question, outcome)
        return True

    async def _follow(
        self,
        call: Questioner,
        question: Question,
        asker: RequestReceived,
        answered: ResultReceived,
    ) -> None:
        """Wait for the outcome of a question that the client may have made a task of.

        ``asker``: the request on whose stream it was put, whose session has that task.
        """
        assert question.following is not None  # noqa: S101 - made together
        outcome: Settled | None = None
        with question.following:
            outcome = await task_outcome(self.runtime, asker, answered, over=True)
        question.following = None
        if outcome is not None:
            self._settled(call, question, outcome)
            self.flush()

    def _settled(self, call: Questioner, question: Question, outcome: Settled) -> None:
        if isinstance(outcome, ResultReceived) and call.record is not None:
            self.host.answer(call.record, {question.key: outcome.result})
        elif isinstance(outcome, RequestEnded) and outcome.reason is EndReason.CLOSED:
            self.offer_everywhere(call, but=self)
        else:
            call.refuse(question, unanswered(question.method, outcome))

    def recall(self, question: Question) -> None:
        """Cancel the request or the wait that belongs to a question."""
        self._recall(question)
        self.flush()

    def _recall(self, question: Question) -> None:
        request, question.request, question.stream = question.request, None, None
        if question.following is not None:
            question.following.cancel()
        if request is not None:
            del self._asked[request]
            self.runtime.progress.forget(request)
            self.runtime.machine.cancel(request, now=clock(), reason=GIVEN_UP)

    # News of changes

    def opened(self, event: SubscriptionOpened) -> None:
        """Handle an opened listen stream: register the tasks that its client may see."""
        if not (wanted := event.filter.task_ids):
            return
        owner = self.principal(event.principal)
        known = []
        for id in wanted:
            with suppress(errors.McpError):
                record = self.host.find(id, owner)
                self.demand(record, event.principal)
                known.append(record.id)
        if len(known) < len(wanted):
            self.runtime.machine.narrow(event.key, structs.replace(event.filter, task_ids=known))
        self._streams[event.key], self._parties[event.key] = [], event.principal
        for id in known:
            self._hear(event.key, id)

    def _hear(self, key: Key, id: str) -> None:
        """Let a listen stream carry news of a task."""
        self._streams[key].append(id)
        self._heard.setdefault(id, {})[key] = None
        self._attend(id)

    def closed(self, event: SubscriptionClosed) -> None:
        """Handle the end of a listen stream."""
        self._parties.pop(event.key, None)
        for id in self._streams.pop(event.key, ()):
            streams = self._heard.get(id, {})
            streams.pop(event.key, None)  # one may have named a task twice
            if not streams:
                self._heard.pop(id, None)
            self._abandon(id)

    def session_closed(self, event: "SessionClosed") -> None:
        """Handle the end of a session: drop the tasks that only this session could ask for."""
        self.host.drop(self._of_session(event.session))

    def changed(self, record: TaskRecord) -> None:
        """Handle the change of a task: notify listen streams as well."""
        if record.id in self._heard:
            self._tell_streams(record)
        super().changed(record)

    def _tell_streams(self, record: TaskRecord) -> None:
        """Tell of a task on the listen streams of those who see what it works for, and may use it.

        That may be others than as the streams were opened.
        """
        streams = self._heard[record.id]
        told = [key for key in streams if self.permits(record, self._parties[key])]
        for key in told:
            self._notify(key, record)
        if told:
            self.flush()  # behind all of them, as it may end streams

    def _publish(self, key: Key, record: TaskRecord) -> None:
        self._notify(key, record)
        self.flush()

    def _notify(self, key: Key, record: TaskRecord) -> None:
        self.runtime.machine.notify("notifications/tasks", detail(record), parent=key)


class _TaskRequest(Prepared):
    """Prepared request about tasks."""

    def __init__(self, desk: ServerTasks, event: RequestReceived) -> None:
        super().__init__(event.revision)
        self._desk = desk
        self._event = event

    def call(self, context: Any) -> Any:
        return self._desk.reply(self._event)

    def finish(self, value: Any) -> Raw:
        answer: TaskAnswer = value
        self.meta = answer.meta
        return Raw(to_json(answer.body))


def task_terms(params: Raw) -> TaskMetadata | None:
    """Return the task parameter of a call, or None if it has none.  Raises McpError."""
    text = bytes(params)
    if not (b'"task"' in text or b"\\u" in text):  # escapes could hide the name
        return None
    try:
        return typed(params, _WithTask).task
    except Malformed as error:
        raise errors.McpError(errors.INVALID_PARAMS, f"invalid params: {error}") from None


def _refusal(event: RequestReceived, form: TaskForm | None) -> errors.McpError:
    """Return the error for an ordinary call of a tool that runs only as a task."""
    text = "this tool runs only as a task"
    if form is TaskForm.EXTENSION:
        data = {"requiredCapabilities": requirement(_EXTENSION)}
        text = f"{text}, which needs the tasks extension"
        return errors.McpError(errors.MISSING_CLIENT_CAPABILITY, text, data)
    if form is TaskForm.EXPERIMENTAL:
        return errors.McpError(
            errors.METHOD_NOT_FOUND, f"{text}: the call needs the task parameter"
        )
    return errors.McpError(
        errors.METHOD_NOT_FOUND, f"{text}, which {event.revision.name} does not have"
    )


# Questions that a client runs as tasks of its own (2025-11-25)


class _ClientTask(Struct):
    task: Maybe[Task] = None


def runs_tasks(method: str, asker: Asker) -> bool:
    """Return True if the client that sent ``asker`` can run a question as a task."""
    if asker.revision is None or asker.client_capabilities is None:
        return False
    row = lookup(method, "server", asker.revision)
    if row is None or row.task_capability is None:
        return False
    return declares(asker.client_capabilities, row.task_capability)


async def task_outcome(
    runtime: ServerRuntime, asker: Asker, answered: ResultReceived, *, over: bool = False
) -> Settled:
    """Return the outcome of a question that the client may have made a task of.

    If ``asker`` is a notification, or ``over`` as the request of a task is, the client is asked in
    its session.  If the caller stops waiting, the task is cancelled.
    """
    parent = None if over or isinstance(asker, NotificationReceived) else asker
    try:
        task = typed(answered.result, _ClientTask).task
    except Malformed:
        return answered  # the reader of the answer reports the fault
    if task is None:
        return answered
    about = {"taskId": task.task_id}

    async def ask(method: str) -> Settled:
        request = runtime.send_request(
            method, about, request=parent, session=asker.session, timeout=DEFAULT_TIMEOUT
        )
        try:
            return await runtime.waiting.outcome(request)
        except anyio.get_cancelled_exc_class():
            runtime.withdraw(request, GIVEN_UP)
            raise

    try:
        with anyio.move_on_after(runtime.settings.input_timeout):
            while task.status not in TERMINAL:
                await anyio.sleep(_pause(task))
                outcome = await ask("tasks/get")
                if not isinstance(outcome, ResultReceived):
                    return outcome
                task = typed(outcome.result, Task)
            return await ask("tasks/result")
        return _ended(answered, EndReason.TIMED_OUT, "its task did not end in time")
    except Malformed as error:
        return _ended(answered, EndReason.INVALID, f"its task is malformed: {error}")
    except errors.LocalProtocolError as error:
        return _ended(answered, EndReason.CLOSED, str(error))
    finally:
        if task.status not in TERMINAL:
            with suppress(errors.LocalError):  # the client cannot be told, or has gone
                where = runtime.in_session(asker.session)
                runtime.machine.request("tasks/cancel", about, now=clock(), **where)
                runtime.flush()


def _ended(answered: ResultReceived, reason: EndReason, message: str) -> RequestEnded:
    return RequestEnded(
        request=answered.request, method=answered.method, reason=reason, message=message
    )


def _pause(task: Task) -> float:
    if task.poll_interval is None:
        return _PAUSE
    # Compared in milliseconds: a client may name a number that is larger than any float.
    return min(max(task.poll_interval, _MIN_PAUSE * 1000), _MAX_PAUSE * 1000) / 1000
