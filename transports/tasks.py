"""Requests about tasks, answered on one connection or HTTP endpoint.

:class:`TaskDesk` answers ``tasks/get``, ``tasks/update``, ``tasks/result``, ``tasks/list`` and
``tasks/cancel``.  Servers and clients have one (:mod:`transports.tasks_server`,
:mod:`transports.tasks_answers`).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.service.task_views import TaskForm, describe, detail, related, task_form
from mcpcore.service.tasks import TaskRecord
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, ErrorData, LocalError, McpError
from mcpcore.spec.types.base import PaginatedParams
from mcpcore.spec.types.tasks import ListTasksResult, TaskParams, UpdateTaskParams
from mcpcore.wire.message import Body
from transports.tasks_host import CANCELLED, TaskHost
from transports.typed import Malformed, typed

if TYPE_CHECKING:
    from mcpcore.http.client import HttpClient
    from mcpcore.http.server import HttpServer

STATUS = "notifications/tasks/status"


class TaskDesk:
    """Answers the requests about tasks that arrive at one machine.

    ``flush`` has the link write what the machine has to send.
    """

    def __init__(
        self,
        host: TaskHost,
        machine: "Peer | HttpServer | HttpClient",
        flush: Callable[[], None],
    ) -> None:
        self.host = host
        self.machine = machine
        self.flush = flush
        self._name = host.new_name()
        self._sessions: dict[str, str | None] = {}
        """The experimental tasks that were asked for here, and in which session."""
        self._waiting: dict[Key, TaskRecord] = {}
        """``tasks/result`` requests that wait for the end of their task."""
        host.desks.append(self)

    def close(self) -> None:
        """The connection is gone."""
        self.host.desks.remove(self)
        self.host.drop(self._name)

    def owner(self, event: RequestReceived) -> str | None:
        """Whose task a request makes or means.

        Who was authenticated, else the session; in the modern era, which has none, whoever knows
        the id.
        """
        return self.owner_of(event.principal, event.session, modern=event.revision.modern)

    def owner_of(self, principal: str | None, session: str | None, *, modern: bool) -> str | None:
        """The same for who asks."""
        if principal is not None:
            return f"principal {principal}"
        if modern:
            return None
        return self._name if session is None else f"{self._name}, session {session}"

    # Requests

    def serve(self, event: RequestReceived) -> bool:
        """Answer a request about tasks, now or when its task has ended; False if it is none."""
        if event.method not in METHODS:
            return False
        try:
            answer = self.answer(event)
            if isinstance(answer, Answer):
                self.machine.respond(event.key, answer.body, meta=answer.meta)
        except McpError as error:
            self.machine.fail(event.key, error.error)
        return True

    def answer(self, event: RequestReceived) -> "Answer | TaskRecord":
        """Return the answer to a request about tasks, or the task for whose end it waits.

        :meth:`ended` follows then.  Raises McpError.
        """
        try:
            return METHODS[event.method](self, event)
        except Malformed as error:
            raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None

    def cancelled(self, key: Key, reason: str | None = None) -> bool:
        """A request is no longer wanted; False if it is not one that waits here."""
        if self._waiting.pop(key, None) is None:
            return False
        self.machine.release(key)
        return True

    def _find(self, event: RequestReceived) -> TaskRecord:
        return self.host.find(typed(event.params, TaskParams).task_id, self.owner(event))

    def _get(self, event: RequestReceived) -> "Answer":
        record = self._find(event)
        body: Body = describe(record, TaskForm.EXPERIMENTAL)
        if event.revision.modern:
            body = detail(record)
        return Answer(body)

    def _update(self, event: RequestReceived) -> "Answer":
        params = typed(event.params, UpdateTaskParams)
        record = self.host.find(params.task_id, self.owner(event))
        self.host.answer(record, params.input_responses)
        return Answer(None)

    def _cancel(self, event: RequestReceived) -> "Answer":
        record = self._find(event)
        cancelled = self.host.cancel(record)
        if event.revision.modern:
            return Answer(None)
        if not cancelled:
            status = describe(record, TaskForm.EXPERIMENTAL).status
            raise McpError(INVALID_PARAMS, f"the task is {status} already")
        return Answer(describe(record, TaskForm.EXPERIMENTAL))

    def _result(self, event: RequestReceived) -> "Answer | TaskRecord":
        record = self._find(event)
        if record.ended:
            return outcome_of(record)
        self._waiting[event.key] = record
        self.awaited(record)
        return record

    def _list(self, event: RequestReceived) -> "Answer":
        cursor = typed(event.params, PaginatedParams).cursor
        records, following = self.host.page(self.owner(event), cursor)
        result = ListTasksResult(tasks=[describe(each, TaskForm.EXPERIMENTAL) for each in records])
        if following is not None:
            result.next_cursor = following
        return Answer(result)

    # What happens to tasks

    def awaited(self, record: TaskRecord) -> None:
        """A client waits here for the result of a task."""

    def changed(self, record: TaskRecord) -> None:
        """A task has changed: tell who wants to know."""
        if record.id in self._sessions:
            view = describe(record, TaskForm.EXPERIMENTAL)
            self.tell(STATUS, view, session=self._sessions[record.id])
        if record.ended:
            self._sessions.pop(record.id, None)
            for key in self.waiting_for(record):
                del self._waiting[key]
                self.ended(key, record)
                self.flush()

    def ended(self, key: Key, record: TaskRecord) -> None:
        """The task that a request waits for has ended: answer it."""
        try:
            body, meta = outcome_of(record)
            self.machine.respond(key, body, meta=meta)
        except McpError as error:
            self.machine.fail(key, error.error)

    def follow(self, record: TaskRecord, session: str | None) -> None:
        """Report the changes of an experimental task to the session that asked for it."""
        self._sessions[record.id] = session

    def waiting_for(self, record: TaskRecord) -> list[Key]:
        """The requests that wait here for the result of a task, oldest first."""
        return [key for key, waiting in self._waiting.items() if waiting is record]

    def tell(
        self,
        method: str,
        params: Body,
        *,
        session: str | None,
        parent: Key | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a notification, on the stream of ``parent`` or as the session can take it."""
        # Here and not above: clients have a desk, too, and none of them needs the server.
        from mcpcore.http.server import HttpServer

        machine = self.machine
        try:
            if isinstance(machine, Peer):
                machine.notify(method, params, parent=parent, meta=meta)
            elif isinstance(machine, HttpServer):
                machine.notify(method, params, parent=parent, session=session, meta=meta)
            else:
                machine.notify(method, params, meta=meta)
        except LocalError:
            return  # the session or the stream has gone meanwhile
        self.flush()


class Answer(NamedTuple):
    """What a request about tasks is answered with."""

    body: Body
    meta: dict[str, Any] | None = None


def outcome_of(record: TaskRecord) -> Answer:
    """What a task has ended in.  Raises McpError if that is an error."""
    if record.result is not None:
        return Answer(record.result, {**(record.meta or {}), **related(record.id)})
    error = record.error or ErrorData(INVALID_REQUEST, record.message or CANCELLED)
    raise McpError.of(error)


METHODS: dict[str, Callable[[TaskDesk, RequestReceived], Answer | TaskRecord]] = {
    "tasks/get": TaskDesk._get,
    "tasks/update": TaskDesk._update,
    "tasks/cancel": TaskDesk._cancel,
    "tasks/result": TaskDesk._result,
    "tasks/list": TaskDesk._list,
}
"""How each is answered; the engine lets through those that the revision has."""


def form_of(event: RequestReceived) -> TaskForm | None:
    """How a request can become a task."""
    return task_form(event.revision, event.method)
