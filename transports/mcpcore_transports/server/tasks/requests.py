"""Answers to the requests about tasks on one connection or HTTP endpoint, server or client."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.errors import Malformed
from mcpcore.service.handlers import demand, permits
from mcpcore.service.reading import typed
from mcpcore.service.task_settings import TaskForm
from mcpcore.service.tasks import NO_TASK, TaskRecord, describe, detail, related
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, ErrorData, McpError
from mcpcore.spec.types.base import PaginatedParams
from mcpcore.spec.types.tasks import ListTasksResult, TaskParams, UpdateTaskParams
from mcpcore.wire.jsontext import Body
from mcpcore_transports.running.tasks import CANCELLED, TaskHost

if TYPE_CHECKING:  # late: stdio needs no HTTP
    from mcpcore.http.client.client import HttpClient
    from mcpcore.http.server.server import HttpServer

STATUS = "notifications/tasks/status"


class TaskDesk:
    """Answers to the requests about tasks at one machine; ``flush`` has its output written.

    ``tell`` sends a notification: of a session, the method, the params, and ``meta``.
    """

    def __init__(
        self,
        host: TaskHost,
        machine: "Peer | HttpServer | HttpClient",
        flush: Callable[[], None],
        tell: Callable[..., object],
    ) -> None:
        self.host = host
        self.machine = machine
        self.flush = flush
        self._tell = tell
        self._name = host.new_name()
        self._sessions: dict[str, tuple[str | None, str | None]] = {}
        """Session ids and principals by the ids of experimental tasks that were created here."""
        self._waiting: dict[Key, str] = {}
        """Ids of the tasks whose end open ``tasks/result`` requests wait for, by their keys."""
        self._waiters: dict[str, dict[Key, RequestReceived]] = {}
        """Open ``tasks/result`` requests, oldest first, by the id of their task."""
        self._reasons: Counter[str] = Counter()
        """Number of sessions, requests and streams here that attend to a task, by its id."""

    def close(self) -> None:
        """Handle the end of the connection: leave the host and drop its tasks."""
        for id in self._reasons:
            self.host.abandon(id, self)
        self.host.drop(self._name)

    def owner(self, event: RequestReceived) -> str | None:
        """Return the owner of the task that a request creates or names: principal, else session.

        The modern era has no session: None means that everyone who knows the id may use the task.
        """
        if event.principal is not None or event.revision.modern:
            return self.principal(event.principal)
        return self._name if event.session is None else self._of_session(event.session)

    def _of_session(self, session: str | None) -> str:
        """Return the owner for a session without a principal."""
        return f"{self._name}, session {session}"

    def principal(self, principal: str | None) -> str | None:
        """Return the owner for a principal."""
        return None if principal is None else f"principal {principal}"

    # Requests

    def serve(self, event: RequestReceived) -> bool:
        """Answer a request about tasks, now or when its task ends; return False for others."""
        if event.method not in METHODS:
            return False
        try:
            answer = self.answer(event)
            if isinstance(answer, TaskAnswer):
                self.machine.respond(event.key, answer.body, meta=answer.meta)
        except McpError as error:
            self.machine.fail(event.key, error.error)
        return True

    def answer(self, event: RequestReceived) -> "TaskAnswer | TaskRecord":
        """Return the answer, or the task for whose :meth:`ended` it waits.  Raises McpError."""
        try:
            return METHODS[event.method](self, event)
        except Malformed as error:
            raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None

    def cancelled(self, key: Key, reason: str | None = None) -> bool:
        """Handle the cancellation of a request; return False if it does not wait here."""
        if not self._leave(key):
            return False
        self.machine.release(key)
        return True

    def _find(self, event: RequestReceived) -> TaskRecord:
        return self._permitted(typed(event.params, TaskParams).task_id, event)

    def _permitted(self, id: str, event: RequestReceived) -> TaskRecord:
        """Return a task of the sender, who may use what the task works for.  Raises McpError."""
        record = self.host.find(id, self.owner(event))
        self.demand(record, event.principal)
        return record

    def sees(self, record: TaskRecord, principal: str | None) -> bool:
        """Return True if a principal sees the tool that a task works for."""
        return True

    def demand(self, record: TaskRecord, principal: str | None) -> None:
        """Raise McpError unless a principal sees what a task works for, and may use it."""
        if not self.sees(record, principal):
            raise McpError(INVALID_PARAMS, NO_TASK)
        demand(record.requirement, principal)

    def permits(self, record: TaskRecord, principal: str | None) -> bool:
        """Return True if a principal sees what a task works for, and may use it."""
        return self.sees(record, principal) and permits(record.requirement, principal)

    def _get(self, event: RequestReceived) -> "TaskAnswer":
        record = self._find(event)
        modern = event.revision.modern
        return TaskAnswer(detail(record) if modern else describe(record, TaskForm.EXPERIMENTAL))

    def _update(self, event: RequestReceived) -> "TaskAnswer":
        params = typed(event.params, UpdateTaskParams)
        self.host.answer(self._permitted(params.task_id, event), params.input_responses)
        return TaskAnswer(None)

    def _cancel(self, event: RequestReceived) -> "TaskAnswer":
        record = self._find(event)
        cancelled = self.host.cancel(record)
        if event.revision.modern:
            return TaskAnswer(None)
        view = describe(record, TaskForm.EXPERIMENTAL)
        if not cancelled:
            raise McpError(INVALID_PARAMS, f"the task is {view.status} already")
        return TaskAnswer(view)

    def _result(self, event: RequestReceived) -> "TaskAnswer | TaskRecord":
        record = self._find(event)
        if record.ended:
            return outcome_of(record)
        self._wait(event, record)
        self.awaited(record)
        return record

    def _list(self, event: RequestReceived) -> "TaskAnswer":
        cursor = typed(event.params, PaginatedParams).cursor
        records, following = self.host.page(self.owner(event), cursor)
        shown = [each for each in records if self.permits(each, event.principal)]
        result = ListTasksResult(tasks=[describe(each, TaskForm.EXPERIMENTAL) for each in shown])
        if following is not None:
            result.next_cursor = following
        return TaskAnswer(result)

    # Events of tasks

    def awaited(self, record: TaskRecord) -> None:
        """Handle a client that begins to wait here for the result of a task."""

    def changed(self, record: TaskRecord) -> None:
        """Handle the change of a task: notify its session, answer the requests that wait."""
        if record.id in self._sessions:
            session, principal = self._sessions[record.id]
            if self.permits(record, principal):
                self._tell(session, STATUS, describe(record, TaskForm.EXPERIMENTAL))
        if record.ended:
            self.forget(record)
            for event in self.waiting_for(record):
                self._leave(event.key)
                self.ended(event.key, record)
                self.flush()

    def ended(self, key: Key, record: TaskRecord) -> None:
        """Answer a request that waited for the end of a task."""
        try:
            body, meta = outcome_of(record)
            self.machine.respond(key, body, meta=meta)
        except McpError as error:
            self.machine.fail(key, error.error)

    def follow(self, record: TaskRecord, session: str | None, principal: str | None = None) -> None:
        """Report the changes of an experimental task to the session that created it."""
        self._sessions[record.id] = session, principal
        self._attend(record.id)

    def forget(self, record: TaskRecord) -> None:
        """Report no more changes of a task to that session."""
        if record.id in self._sessions:
            del self._sessions[record.id]
            self._abandon(record.id)

    def waiting_for(self, record: TaskRecord) -> list[RequestReceived]:
        """Return the requests that wait here for the result of a task, oldest first."""
        return list(self._waiters.get(record.id, {}).values())

    def _wait(self, event: RequestReceived, record: TaskRecord) -> None:
        if event.key not in self._waiting:
            self._waiting[event.key] = record.id
            self._waiters.setdefault(record.id, {})[event.key] = event
            self._attend(record.id)

    def _leave(self, key: Key) -> bool:
        """Forget a request that waits; return False if it does not."""
        id = self._waiting.pop(key, None)
        if id is None:
            return False
        waiters = self._waiters[id]
        del waiters[key]
        if not waiters:
            del self._waiters[id]
        self._abandon(id)
        return True

    def _attend(self, id: str) -> None:
        self._reasons[id] += 1
        self.host.attend(id, self)

    def _abandon(self, id: str) -> None:
        """Give up one of the reasons to attend to a task."""
        self._reasons[id] -= 1
        if not self._reasons[id]:
            del self._reasons[id]
            self.host.abandon(id, self)


class TaskAnswer(NamedTuple):
    """Answer to a request about tasks."""

    body: Body
    meta: dict[str, Any] | None = None


def outcome_of(record: TaskRecord) -> TaskAnswer:
    """Return the result of an ended task as an answer.  Raises McpError if it has failed."""
    if record.result is not None:
        return TaskAnswer(record.result, {**(record.meta or {}), **related(record.id)})
    raise McpError.of(record.error or ErrorData(INVALID_REQUEST, record.message or CANCELLED))


METHODS: dict[str, Callable[[TaskDesk, RequestReceived], TaskAnswer | TaskRecord]] = {
    "tasks/get": TaskDesk._get,
    "tasks/update": TaskDesk._update,
    "tasks/cancel": TaskDesk._cancel,
    "tasks/result": TaskDesk._result,
    "tasks/list": TaskDesk._list,
}
"""Handlers by method; the engine rejects the methods that a revision does not have."""
