"""Tasks of a server: calls that become tasks, the questions of tasks, and news of changes."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from msgspec import Raw, Struct, structs

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
from mcpcore.errors import Malformed
from mcpcore.service import Prepared
from mcpcore.service.task_views import TaskForm, detail, related
from mcpcore.service.tasks import TaskRecord
from mcpcore.spec.capabilities import TASKS_EXTENSION, declares, requirement
from mcpcore.spec.errors import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    LocalProtocolError,
    McpError,
)
from mcpcore.spec.types.model import Maybe
from mcpcore.spec.types.tasks import TaskMetadata
from mcpcore.wire.message import RequestId, splice, to_json
from mcpcore_transports.link import clock
from mcpcore_transports.running.decode import typed
from mcpcore_transports.running.pending import Handlers, Settled
from mcpcore_transports.running.tasks import TaskHost
from mcpcore_transports.server.context import Context, RoundState
from mcpcore_transports.server.elicitation import GIVEN_UP
from mcpcore_transports.server.tasks.calls import Question, TaskCall
from mcpcore_transports.server.tasks.questions import runs_tasks, task_outcome
from mcpcore_transports.server.tasks.requests import METHODS, Answer, TaskDesk, form_of, outcome_of

if TYPE_CHECKING:
    from mcpcore.http import SessionClosed
    from mcpcore_transports.server.runtime import ServerRuntime

_EXTENSION = f"extensions.{TASKS_EXTENSION}"


class _Wanted(Struct):
    task: Maybe[TaskMetadata] = None


class ServerTasks(TaskDesk):
    """Tasks of a server, seen from one machine."""

    def __init__(self, runtime: "ServerRuntime", host: TaskHost) -> None:
        super().__init__(host, runtime.machine, runtime.flush)
        self.runtime = runtime
        self._group: TaskGroup
        self._handlers: Handlers
        self._asked: dict[RequestId, tuple[TaskCall, Question]] = {}
        """Questions that were sent to a legacy client, with their calls, by request id."""
        self._streams: dict[Key, list[str]] = {}
        """Ids of the tasks that each listen stream carries news of."""
        self._heard: Counter[str] = Counter()
        """Number of listen streams that carry news of a task, by task id."""
        self._ends: dict[Key, anyio.Event] = {}
        """Events of the waiting requests, set when the tasks that they wait for end."""

    # Requests about tasks

    def prepare(self, event: RequestReceived) -> Prepared | None:
        """Prepare a request about tasks; return None for other requests."""
        return _Request(self, event) if event.method in METHODS else None

    async def outcome(self, key: Key, record: TaskRecord) -> Answer:
        """Wait on behalf of a request for the end of a task; return its outcome."""
        while not record.ended:
            ended = self._ends[key] = anyio.Event()
            await ended.wait()
        return outcome_of(record)

    def ended(self, key: Key, record: TaskRecord) -> None:
        """Wake a request that waits for a task."""
        ended = self._ends.pop(key, None)
        if ended is not None:
            ended.set()

    # Tool calls

    def begin(self, group: TaskGroup) -> None:
        """Start to run handlers, in ``group`` unless the host has one that outlives connections."""
        self._group = self.host.begin(group)
        self._handlers = Handlers(self._group, self._release)

    def takes(self, event: RequestReceived, prepared: Prepared, state: RoundState | None) -> bool:
        """Take over a call that is a task or may become one; return False for an ordinary request.

        Raises McpError for a tool that runs only as a task, or cannot run as one.
        """
        support, form = prepared.task, form_of(event)
        if form is TaskForm.EXPERIMENTAL and (terms := _terms(event.params)) is not None:
            if prepared.refused:
                return False
            if support is None:
                raise McpError(METHOD_NOT_FOUND, "this tool cannot be run as a task")
            ttl = support.ttl if terms.ttl is None else self.host.table.granted(terms.ttl)
            self._start(TaskCall(self, event, support, ttl), prepared, state, at_once=True)
            return True
        if support is None:
            return False
        if form is TaskForm.EXTENSION and declares(event.client_capabilities, _EXTENSION):
            if prepared.result is not None:
                return False
            call = TaskCall(self, event, support, support.ttl)
            self._start(call, prepared, state, at_once=support.after == 0)
            return True
        if support.required:
            raise _refusal(event, form)
        return False

    def _start(
        self, call: TaskCall, prepared: Prepared, state: RoundState | None, *, at_once: bool
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

        context.scope = call.scope = self._handlers.start(call.event.key, work, context)
        after = call.support.after
        if not at_once and after is not None:
            call.timer = self.host.later(after, call.begin_if_possible)

    def cancelled(self, key: Key, reason: str | None = None) -> bool:
        """Handle the cancellation of a request; return False if it is not handled here."""
        if self._waiting.pop(key, None) is not None:
            self._ends.pop(key, None)
            for call, question in [each for each in self._asked.values() if each[1].outlet == key]:
                self._recall(question)
                self.offer_everywhere(call)
            return False  # it waits in a handler of the runtime, as all requests do
        if key not in self._handlers:
            return False
        self._handlers.cancel(key, reason)
        return True

    def _release(self, key: Key) -> None:
        self.machine.release(key)
        self.flush()

    # Questions of experimental tasks

    def awaited(self, record: TaskRecord) -> None:
        """Offer questions on the stream of a request that begins to wait for the result."""
        call = self.host.worker(record)
        if isinstance(call, TaskCall):
            self.offer(call)

    def offer_everywhere(self, call: TaskCall, *, but: "ServerTasks | None" = None) -> None:
        """Send the unsent questions of a call on every connection where its client waits."""
        for desk in self.host.desks:
            if isinstance(desk, ServerTasks) and desk is not but:
                desk.offer(call)

    def offer(self, call: TaskCall) -> None:
        """Send the unsent questions of a call, if its client waits here for the result."""
        record = call.record
        waiting = [] if record is None else self.waiting_for(record)
        if record is None or not waiting:
            return
        for question in call.unsent():
            params = question.params
            if question.terms is not None and runs_tasks(question.method, call.event):
                params = splice(params, b'"task":' + to_json(question.terms))
            try:
                request = self.runtime.machine.request(
                    question.method,
                    Raw(params),
                    now=clock(),
                    timeout=self.runtime.settings.input_timeout,
                    parent=waiting[-1],
                    meta=related(record.id),
                    progress=question.progress is not None,
                )
            except LocalProtocolError as error:
                call.refuse(question, str(error))
                continue
            question.desk, question.request, question.outlet = self, request, waiting[-1]
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
        question.request = question.outlet = None
        if isinstance(outcome, ResultReceived) and question.terms is not None:
            question.following = anyio.CancelScope()
            self._group.start_soon(self._follow, call, question, outcome)
        else:
            self._settled(call, question, outcome)
        return True

    async def _follow(self, call: TaskCall, question: Question, answered: ResultReceived) -> None:
        """Wait for the outcome of a question that the client may have made a task of."""
        scope = question.following
        assert scope is not None  # noqa: S101 - made together
        outcome: Settled | None = None
        with scope:
            outcome = await task_outcome(self.runtime, call.event, answered, over=True)
        question.following = None
        if outcome is not None:
            self._settled(call, question, outcome)
            self.flush()

    def _settled(self, call: TaskCall, question: Question, outcome: Settled) -> None:
        if isinstance(outcome, ResultReceived) and call.record is not None:
            self.host.answer(call.record, {question.key: outcome.result})
        elif isinstance(outcome, ErrorReceived):
            call.refuse(question, f"the client refused {question.method}: {outcome.error.message}")
        elif isinstance(outcome, RequestEnded) and outcome.reason is EndReason.CLOSED:
            self.offer_everywhere(call, but=self)
        else:
            reason = getattr(outcome, "message", "it asked for input itself")
            call.refuse(question, f"the client did not answer {question.method}: {reason}")

    def recall(self, question: Question) -> None:
        """Cancel the request or the wait that belongs to a question."""
        self._recall(question)
        self.flush()

    def _recall(self, question: Question) -> None:
        request, question.request, question.outlet = question.request, None, None
        if question.following is not None:
            question.following.cancel()
        if request is not None:
            del self._asked[request]
            self.runtime.progress.forget(request)
            self.runtime.machine.cancel(request, now=clock(), reason=GIVEN_UP)

    # News of changes

    def opened(self, event: SubscriptionOpened) -> None:
        """Handle an opened listen stream: register the tasks that its client may see."""
        wanted = event.filter.task_ids
        if not wanted:
            return
        owner = self.owner_of(event.principal, None, modern=True)
        known = [id for id in wanted if self._knows(id, owner)]
        if len(known) < len(wanted):
            self.runtime.machine.narrow(event.key, structs.replace(event.filter, task_ids=known))
        self._streams[event.key] = known
        self._heard.update(known)

    def closed(self, event: SubscriptionClosed) -> None:
        """Handle the end of a listen stream."""
        for id in self._streams.pop(event.key, ()):
            self._heard[id] -= 1
            if not self._heard[id]:
                del self._heard[id]

    def session_closed(self, event: "SessionClosed") -> None:
        """Handle the end of a session: drop the tasks that only this session could ask for."""
        self.host.drop(f"{self._name}, session {event.session}")

    def changed(self, record: TaskRecord) -> None:
        """Handle the change of a task: notify listen streams as well."""
        if record.id in self._heard:
            self.runtime.machine.notify("notifications/tasks", detail(record))
            self.flush()
        super().changed(record)

    def _knows(self, id: str, owner: str | None) -> bool:
        try:
            self.host.find(id, owner)
        except McpError:
            return False
        return True


class _Request(Prepared):
    """Prepared request about tasks."""

    __slots__ = ("_desk", "_event")

    def __init__(self, desk: ServerTasks, event: RequestReceived) -> None:
        super().__init__(event.revision)
        self._desk = desk
        self._event = event

    def call(self, context: Any) -> Any:
        answer = self._desk.answer(self._event)
        if isinstance(answer, TaskRecord):
            return self._desk.outcome(self._event.key, answer)
        return answer

    def finish(self, value: Any) -> Raw:
        answer: Answer = value
        self.meta = answer.meta
        return Raw(to_json(answer.body))


def _terms(params: Raw) -> TaskMetadata | None:
    """Return the task parameter of a call, or None if it has none.  Raises McpError."""
    text = bytes(params)
    if not (b'"task"' in text or b"\\u" in text):  # escapes could hide the name
        return None
    try:
        return typed(params, _Wanted).task
    except Malformed as error:
        raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None


def _refusal(event: RequestReceived, form: TaskForm | None) -> McpError:
    """Return the error for an ordinary call of a tool that runs only as a task."""
    text = "this tool runs only as a task"
    if form is TaskForm.EXTENSION:
        data = {"requiredCapabilities": requirement(_EXTENSION)}
        text = f"{text}, which needs the tasks extension"
        return McpError(MISSING_CLIENT_CAPABILITY, text, data)
    if form is TaskForm.EXPERIMENTAL:
        return McpError(METHOD_NOT_FOUND, f"{text}: the call needs the task parameter")
    return McpError(METHOD_NOT_FOUND, f"{text}, which {event.revision.name} does not have")
