"""Tools' calls as tasks: when a call becomes one, what its handler can do then, who hears of it.

A :class:`TaskCall` stands between a handler and the machine.  As long as the call is no task it
passes everything on; from then on results go into the task, questions are put to the client as the
task's, and the handler goes on when the request, and even the connection, is gone.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    Key,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    SubscriptionClosed,
    SubscriptionOpened,
)
from mcpcore.engine.input_rounds import InputRequest
from mcpcore.http.server import HttpServer
from mcpcore.http.sessions import SessionClosed
from mcpcore.service import Prepared
from mcpcore.service.task_views import TaskForm, TaskSupport, describe, detail, related
from mcpcore.service.tasks import TableFull, TaskRecord, TooManyQuestions
from mcpcore.spec.capabilities import TASKS_EXTENSION, declares, requirement
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    ErrorData,
    LocalError,
    LocalProtocolError,
    McpError,
    busy_code,
)
from mcpcore.spec.types.tasks import TaskMetadata
from mcpcore.wire.message import Body, RequestId, to_json
from transports.context import Context, InputUnavailable, RoundState
from transports.inputs import Input, InvalidAnswer
from transports.link import clock
from transports.running import Handlers, Outcome
from transports.tasks import TaskDesk, TaskHost, form_of
from transports.typed import Malformed, typed

if TYPE_CHECKING:
    from transports.runtime import ServerRuntime

_EXTENSION = f"extensions.{TASKS_EXTENSION}"
_ATTEMPTS = 3
"""How often a question is put again after an answer that does not fit."""


class _Wanted(Struct):
    task: TaskMetadata | UnsetType = UNSET


class ServerTasks(TaskDesk):
    """The tasks of a server, seen from one machine."""

    def __init__(self, runtime: "ServerRuntime", host: TaskHost) -> None:
        super().__init__(host, runtime.machine, runtime.flush)
        self.runtime = runtime
        self._handlers: Handlers
        self._asked: dict[RequestId, tuple[TaskCall, _Question]] = {}
        """Questions on their way to a legacy client."""
        self._streams: dict[Key, list[str]] = {}
        """The tasks that a listen stream carries news of."""
        self._heard: Counter[str] = Counter()
        """How many listen streams carry news of a task."""

    # Calls

    def begin(self, group: TaskGroup) -> None:
        """Run handlers, in ``group`` unless the host has one that outlives connections."""
        self._handlers = Handlers(self.host.begin(group), self._release)

    def takes(self, event: RequestReceived, prepared: Prepared, state: RoundState | None) -> bool:
        """Take over a call that is a task or may become one; False: it is an ordinary request.

        Raises McpError for what can only be had as a task, or cannot be had as one.
        """
        support, form = prepared.task, form_of(event)
        if form is TaskForm.EXPERIMENTAL:
            try:
                task = typed(event.params, _Wanted).task
            except Malformed as error:
                raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None
            if task is not UNSET:
                if support is None:
                    raise McpError(METHOD_NOT_FOUND, "this tool cannot be run as a task")
                asked = None if task.ttl is UNSET else task.ttl
                ttl = support.ttl if asked is None else self.host.table.granted(asked)
                self._start(TaskCall(self, event, support, ttl), prepared, state, at_once=True)
                return True
            text = "this tool runs only as a task: the call needs the task parameter"
        elif form is TaskForm.EXTENSION:
            if support is None or prepared.result is not None:
                return False
            if declares(event.client_capabilities, _EXTENSION):
                call = TaskCall(self, event, support, support.ttl)
                self._start(call, prepared, state, at_once=support.after == 0)
                return True
            text = "this tool runs only as a task, which needs the tasks extension"
        else:
            text = f"this tool runs only as a task, which {event.revision.name} does not have"
        if support is None or not support.required:
            return False
        if form is TaskForm.EXTENSION:
            data = {"requiredCapabilities": requirement(_EXTENSION)}
            raise McpError(MISSING_CLIENT_CAPABILITY, text, data)
        raise McpError(METHOD_NOT_FOUND, text)

    def _start(
        self, call: "TaskCall", prepared: Prepared, state: RoundState | None, *, at_once: bool
    ) -> None:
        context = Context(call.event, self.runtime, state, call)
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

        context.scope = call.scope = self._handlers.start(call.event.key, work)
        after = call.support.after
        if not at_once and after is not None:
            self.host.later(after, call.begin_if_possible)

    def cancelled(self, key: Key) -> bool:
        """A request is no longer wanted; False if it is none of ours."""
        if super().cancelled(key):
            for call, question in [each for each in self._asked.values() if each[1].outlet == key]:
                self._recall(question)
                self.offer_everywhere(call)
            return True
        if key not in self._handlers:
            return False
        self._handlers.cancel(key)
        return True

    def _release(self, key: Key) -> None:
        self.machine.release(key)
        self.flush()

    # Questions of experimental tasks

    def awaited(self, record: TaskRecord) -> None:
        """Somebody waits for the result: the stream of that request can carry questions."""
        call = self.host.worker(record)
        if isinstance(call, TaskCall):
            self.offer(call)

    def offer_everywhere(self, call: "TaskCall", *, but: "ServerTasks | None" = None) -> None:
        """Put the unsent questions of a call, wherever its client waits for the result."""
        for desk in self.host.desks:
            if isinstance(desk, ServerTasks) and desk is not but:
                desk.offer(call)

    def offer(self, call: "TaskCall") -> None:
        """Put the unsent questions of a call, if its client waits here for the result."""
        record = call.record
        waiting = [] if record is None else self.waiting_for(record)
        if record is None or not waiting:
            return
        for question in call.unsent():
            try:
                request = self.runtime.machine.request(
                    question.method,
                    Raw(question.params),
                    now=clock(),
                    timeout=self.runtime.settings.input_timeout,
                    parent=waiting[-1],
                    meta=related(record.id),
                )
            except LocalProtocolError as error:
                call.refuse(question, str(error))
                continue
            question.desk, question.request, question.outlet = self, request, waiting[-1]
            self._asked[request] = call, question
        self.flush()

    def settle(self, outcome: Outcome) -> bool:
        """Take what became of a question; False if it is none of ours."""
        found = self._asked.pop(outcome.request, None)
        if found is None:
            return False
        call, question = found
        question.request = question.outlet = None
        if isinstance(outcome, ResultReceived) and call.record is not None:
            self.host.answer(call.record, {question.key: outcome.result})
        elif isinstance(outcome, ErrorReceived):
            call.refuse(question, f"the client refused {question.method}: {outcome.error.message}")
        elif isinstance(outcome, RequestEnded) and outcome.reason is EndReason.CLOSED:
            self.offer_everywhere(call, but=self)
        else:
            reason = getattr(outcome, "message", "it asked for input itself")
            call.refuse(question, f"the client did not answer {question.method}: {reason}")
        return True

    def recall(self, question: "_Question") -> None:
        """A question needs no answer any more."""
        self._recall(question)
        self.flush()

    def _recall(self, question: "_Question") -> None:
        request, question.request, question.outlet = question.request, None, None
        if request is not None:
            del self._asked[request]
            self.runtime.machine.cancel(request, now=clock())

    # News

    def opened(self, event: SubscriptionOpened) -> None:
        """A listen stream was opened: it carries news of the tasks that its client may see."""
        wanted = event.filter.task_ids
        if wanted is UNSET:
            return
        owner = self.owner_of(event.principal, None, modern=True)
        known = [id for id in wanted if self._knows(id, owner)]
        if len(known) < len(wanted):
            self.runtime.machine.narrow(event.key, structs.replace(event.filter, task_ids=known))
        self._streams[event.key] = known
        self._heard.update(known)

    def closed(self, event: SubscriptionClosed) -> None:
        """A listen stream has ended."""
        for id in self._streams.pop(event.key, ()):
            self._heard[id] -= 1
            if not self._heard[id]:
                del self._heard[id]

    def session_closed(self, event: SessionClosed) -> None:
        """A session has ended, and with it what only it could ask for."""
        self.host.drop(f"{self._name}, session {event.session}")

    def changed(self, record: TaskRecord) -> None:
        """Tell listen streams as well."""
        if record.id in self._heard:
            self.runtime.machine.notify("notifications/tasks", detail(record))
        super().changed(record)

    def _knows(self, id: str, owner: str | None) -> bool:
        try:
            self.host.find(id, owner)
        except McpError:
            return False
        return True


class _Question:
    """One question of a task, until it is answered."""

    __slots__ = (
        "_answer",
        "_event",
        "_problem",
        "desk",
        "key",
        "method",
        "outlet",
        "params",
        "request",
    )

    def __init__(self, key: str, method: str, params: bytes) -> None:
        self.key = key
        self.method = method
        self.params = params
        self.desk: ServerTasks | None = None
        self.request: RequestId | None = None
        """Our request that puts it to a legacy client, while that is on its way."""
        self.outlet: Key | None = None
        """The request of the client on whose stream it went."""
        self._answer: Raw | None = None
        self._problem: str | None = None
        self._event = anyio.Event()

    def answered(self, answer: Raw) -> None:
        self._answer = answer
        self._event.set()

    def refused(self, problem: str) -> None:
        self._problem = problem
        self._event.set()

    async def wait(self) -> Raw:
        await self._event.wait()
        if self._answer is None:
            raise InputUnavailable(self._problem or "the question was not answered")
        return self._answer


class TaskCall:
    """One call of a tool that is a task, or may become one.

    The runtime answers it as it would the machine.  ``record`` is None as long as it is no task.
    """

    def __init__(
        self,
        desk: ServerTasks,
        event: RequestReceived,
        support: TaskSupport,
        ttl: int | UnsetType | None,
    ) -> None:
        self.event = event
        self.support = support
        self.record: TaskRecord | None = None
        self.scope: anyio.CancelScope | None = None
        self._desk = desk
        self._form = form_of(event)
        self._ttl = ttl
        self._over = False
        self._questions: dict[str, _Question] = {}
        self._progress = -math.inf

    # Becoming a task

    def begin(self) -> bool:
        """Become a task; False if the request is over.  Raises McpError if there is no room."""
        if self.record is not None:
            return True
        if self._over or (self.scope is not None and self.scope.cancel_called):
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
            return False
        if self._form is TaskForm.EXPERIMENTAL:
            desk.follow(record, event.session)
        self.record = record
        host.employ(record, self)
        desk.flush()
        return True

    def begin_if_possible(self) -> bool:
        """Become a task; False if the request is over or there is no room for another task."""
        try:
            return self.begin()
        except McpError:
            return False

    def end(self) -> None:
        """The handler has ended."""
        self._over = True
        if self.record is not None:
            self._desk.host.dismiss(self.record)

    # What answers: as the machine

    def respond(self, key: Key, result: Raw, *, meta: Mapping[str, Any] | None = None) -> bool:
        """The handler has a result."""
        self._over = True
        if self.record is None:
            return self._desk.runtime.machine.respond(key, result, meta=meta)
        return self._desk.host.complete(self.record, result, meta)

    def fail(self, key: Key, error: ErrorData) -> bool:
        """The handler failed with an error of the protocol."""
        self._over = True
        if self.record is None:
            return self._desk.runtime.machine.fail(key, error)
        return self._desk.host.fail(self.record, error)

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None = None
    ) -> bool:
        """The handler needs answers before it can become a task."""
        self._over = True
        if self.record is None:
            return self._desk.runtime.machine.require_input(key, requests, state)
        text = "the handler asked in the request after it had become a task"
        return self._desk.host.fail(self.record, ErrorData(INTERNAL_ERROR, text))

    # What works on the task: as the host sees it

    def stop(self) -> None:
        """The task has ended."""
        if self.scope is not None and not self._over:
            self.scope.cancel()

    def deliver(self, key: str, answer: Raw) -> None:
        """The client answered a question."""
        question = self._questions.pop(key, None)
        if question is not None:
            question.answered(answer)

    # What the handler does

    def progress(self, value: float, total: float | None, message: str | None) -> bool:
        """Report progress: in the task's status, and where there is a token, to its owner."""
        record = self.record
        if record is None or record.ended or not math.isfinite(value) or value <= self._progress:
            return False
        self._progress = value
        share = f"{value:g}" if total is None else f"{value:g} of {total:g}"
        self._desk.host.say(record, message or share)
        token = self.event.meta.progress_token
        if self._form is TaskForm.EXPERIMENTAL and token is not UNSET:
            params: dict[str, Any] = {"progressToken": token, "progress": value}
            if total is not None:
                params["total"] = total
            if message is not None:
                params["message"] = message
            self.notify("notifications/progress", params)
        return True

    def log(self, level: Any, data: Any, logger: str | None) -> bool:
        """Log; the extension has no place for it."""
        record = self.record
        if record is None or record.ended or self._form is TaskForm.EXTENSION:
            return False
        machine, outlet, meta = self._desk.runtime.machine, self._outlet(), related(record.id)
        try:
            if isinstance(machine, HttpServer):
                session = self.event.session
                return machine.log(outlet, level, data, logger, session=session, meta=meta)
            return machine.log(outlet, level, data, logger, meta=meta)
        except LocalError:
            return False
        finally:
            self._desk.flush()

    def notify(self, method: str, params: Body) -> bool:
        """Send a notification to the session that asked for the task; the extension has none."""
        record = self.record
        if record is None or record.ended or self._form is TaskForm.EXTENSION:
            return False
        session, meta = self.event.session, related(record.id)
        self._desk.tell(method, params, session=session, parent=self._outlet(), meta=meta)
        return True

    async def ask(self, wanted: Mapping[str, Input[Any]]) -> dict[str, Any]:
        """Put questions to the client as those of the task, and wait for all answers.

        Raises InputUnavailable.
        """
        open: dict[str, _Question] = {}
        answers: dict[str, Any] = {}
        try:
            for name, question in wanted.items():
                open[name] = self._put(name, question)
            for name, question in wanted.items():
                answers[name] = await self._answer(name, question, open)
        finally:
            for put in open.values():
                self._take_back(put)
        return answers

    def unsent(self) -> list[_Question]:
        """The questions that no client has been asked yet (experimental tasks)."""
        if self._form is not TaskForm.EXPERIMENTAL:
            return []
        return [each for each in self._questions.values() if each.request is None]

    def refuse(self, question: _Question, problem: str) -> None:
        """A question will not be answered."""
        self._questions.pop(question.key, None)
        if self.record is not None:
            self._desk.host.withdraw(self.record, question.key)
        question.refused(problem)

    async def _answer(self, name: str, question: Input[Any], open: dict[str, _Question]) -> Any:
        attempt = 1
        while True:
            answer = await open[name].wait()
            del open[name]
            try:
                return question.parse(answer)
            except InvalidAnswer as error:
                if attempt == _ATTEMPTS:
                    text = f"the client's answer to {question.method} does not fit: {error}"
                    raise InputUnavailable(text) from error
                attempt += 1
                open[name] = self._put(name, question, str(error))

    def _put(self, name: str, question: Input[Any], problem: str | None = None) -> _Question:
        assert self.record is not None  # noqa: S101 - only tasks ask here
        params = to_json(question.wire_params(self.event.revision, problem))
        try:
            key = self._desk.host.ask(self.record, name, question.method, params)
        except TooManyQuestions as error:
            raise InputUnavailable(str(error)) from None
        if key is None:
            raise InputUnavailable("the task has ended")
        put = self._questions[key] = _Question(key, question.method, params)
        self._desk.offer_everywhere(self)
        return put

    def _take_back(self, question: _Question) -> None:
        if self._questions.pop(question.key, None) is None:
            return
        if question.desk is not None:
            question.desk.recall(question)
        if self.record is not None:
            self._desk.host.withdraw(self.record, question.key)

    def _outlet(self) -> Key | None:
        waiting = [] if self.record is None else self._desk.waiting_for(self.record)
        return waiting[-1] if waiting else None
