"""Tasks in an event loop: what works on them, who is told, and the requests about them.

:class:`TaskHost` holds the tasks of one side, however many connections ask for them, and the time
that ends them.  A :class:`TaskDesk` answers, on one connection or HTTP endpoint, ``tasks/get``,
``tasks/update``, ``tasks/result``, ``tasks/list`` and ``tasks/cancel``.  Servers and clients use
both (:mod:`transports.tasks_server`, :mod:`transports.tasks_client`).
"""

import heapq
import itertools
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup
from msgspec import UNSET, Raw, UnsetType

from mcpcore.engine.events import Key, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore.http.client import HttpClient
from mcpcore.http.server import HttpServer
from mcpcore.service.task_views import TaskForm, describe, detail, related, task_form
from mcpcore.service.tasks import TableFull, TaskRecord, TaskSettings, TaskTable
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, ErrorData, LocalError, McpError
from mcpcore.spec.types.base import PaginatedParams
from mcpcore.spec.types.tasks import ListTasksResult, TaskParams, UpdateTaskParams
from mcpcore.wire.message import Body
from transports.link import clock
from transports.typed import Malformed, typed

T = TypeVar("T")

STATUS = "notifications/tasks/status"
_FEW = 64
"""Timers that nobody minds, dead or alive."""
CANCELLED = "The task was cancelled by request."


class Worker(Protocol):
    """What works on a task."""

    def stop(self) -> None:
        """The task is over: stop working on it."""

    def deliver(self, key: str, answer: Raw) -> None:
        """Take the client's answer to a question."""


class Timer:
    """Something to be called at ``when``, on the clock of the drivers."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self.call: Callable[[], object] | None = call

    def __lt__(self, other: "Timer") -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """It is not needed any more."""
        self.call = None


class TaskHost:
    """All tasks of one side, and what works on them.

    ``wall``: the clock of creation and expiry, in seconds since the epoch.
    """

    def __init__(
        self, settings: TaskSettings | None = None, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.table = TaskTable(secrets.token_bytes(32), settings)
        self._group: TaskGroup | None = None
        self.desks: list[TaskDesk] = []
        self.wall = wall
        self._workers: dict[str, Worker] = {}
        self._working = 0
        self._told: dict[str, float] = {}
        self._names = itertools.count(1)
        self._timers: list[Timer] = []
        self._many = _FEW
        self._armed = math.inf
        self._wake = anyio.Event()

    def begin(self, group: TaskGroup) -> TaskGroup:
        """Work in ``group``, unless work has begun in another; return the group of all work."""
        if self._group is None:
            self._group = group
            group.start_soon(self._keep_time)
        return self._group

    def new_name(self) -> str:
        """A name for a connection that no other one has."""
        return f"connection {next(self._names)}"

    # Coming and going

    def create(
        self,
        owner: str | None,
        *,
        ttl: int | UnsetType | None = UNSET,
        poll: int | None = None,
    ) -> TaskRecord:
        """Add a task.  Raises TableFull, also while too much ended work has not stopped yet."""
        if self._working >= self.table.settings.tasks:
            raise TableFull(f"busy: {self._working} tasks are being worked on")
        record = self.table.create(owner, wall=self.wall(), ttl=ttl, poll=poll)
        self._arm()
        return record

    def find(self, id: str, owner: str | None) -> TaskRecord:
        """See :meth:`TaskTable.find <mcpcore.service.tasks.TaskTable.find>`."""
        return self.table.find(id, owner, wall=self._expire())

    def page(self, owner: str | None, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        """See :meth:`TaskTable.page <mcpcore.service.tasks.TaskTable.page>`."""
        return self.table.page(owner, cursor, wall=self._expire())

    def employ(self, record: TaskRecord, worker: Worker) -> None:
        """``worker`` works on a task, until :meth:`dismiss`."""
        self._workers[record.id] = worker
        self._working += 1

    def dismiss(self, record: TaskRecord) -> None:
        """Nothing works on a task any more."""
        self._working -= 1
        self._workers.pop(record.id, None)

    def worker(self, record: TaskRecord) -> Worker | None:
        """What works on a task that has not ended."""
        return self._workers.get(record.id)

    def drop(self, owner: str) -> None:
        """Nobody can ask for the tasks of ``owner`` any more: end and forget them."""
        for record in self.table.owned(owner):
            self.cancel(record, "the session has ended")
            self.table.remove(record)

    # What happens to a task

    def complete(
        self, record: TaskRecord, result: Raw, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """It ended with a result; False if it had ended before."""
        return self._end(record, self.table.complete(record, result, meta, wall=self.wall()))

    def fail(self, record: TaskRecord, error: ErrorData) -> bool:
        """It ended with an error; False if it had ended before."""
        return self._end(record, self.table.fail(record, error, wall=self.wall()))

    def cancel(self, record: TaskRecord, message: str = CANCELLED) -> bool:
        """End it, and stop the work; False if it had ended before."""
        return self._end(record, self.table.cancel(record, message, wall=self.wall()))

    def ask(self, record: TaskRecord, key: str, method: str, params: bytes) -> str | None:
        """See :meth:`TaskTable.ask <mcpcore.service.tasks.TaskTable.ask>`."""
        name = self.table.ask(record, key, method, params, wall=self.wall())
        if name is not None:
            self._changed(record)
        return name

    def answer(self, record: TaskRecord, answers: Mapping[str, Raw]) -> None:
        """Hand answers to the work that waits for them; what was not asked is ignored."""
        taken = self.table.answer(record, answers, wall=self.wall())
        worker = self.worker(record)
        if worker is not None:
            for key, answer in taken.items():
                worker.deliver(key, answer)
        if taken:
            self._changed(record)

    def withdraw(self, record: TaskRecord, key: str) -> None:
        """A question is no longer open."""
        if key in record.questions:
            self.table.withdraw(record, key, wall=self.wall())
            self._changed(record)

    def say(self, record: TaskRecord, message: str) -> None:
        """Describe where it stands; told at most once in a poll interval."""
        if not self.table.say(record, message, wall=self.wall()):
            return
        now = clock()
        if now - self._told.get(record.id, -math.inf) >= record.poll_interval / 1000:
            self._told[record.id] = now
            self._changed(record)

    def _end(self, record: TaskRecord, ended: bool) -> bool:
        if ended:
            self._told.pop(record.id, None)
            worker = self._workers.pop(record.id, None)
            if worker is not None:
                worker.stop()
            self._changed(record)
            self._arm()
        return ended

    def _changed(self, record: TaskRecord) -> None:
        for desk in tuple(self.desks):
            desk.changed(record)

    # Time

    def later(self, delay: float, call: Callable[[], object]) -> Timer:
        """Have ``call`` called after ``delay`` seconds, unless the host has ended."""
        timer = Timer(clock() + delay, call)
        if len(self._timers) >= self._many:  # most of them are dead, if they are not many indeed
            self._timers = [alive for alive in self._timers if alive.call is not None]
            heapq.heapify(self._timers)
            self._many = 2 * len(self._timers) + _FEW
        heapq.heappush(self._timers, timer)
        self._arm()
        return timer

    async def _keep_time(self) -> None:
        while True:
            self._wake = anyio.Event()
            self._armed = self._due()
            pause = None if self._armed == math.inf else max(0.0, self._armed - clock())
            with anyio.move_on_after(pause):
                await self._wake.wait()
            now = clock()
            while self._timers and self._timers[0].when <= now:
                if (call := heapq.heappop(self._timers).call) is not None:
                    call()
            self._expire()

    def _expire(self) -> float:
        """See to what is over; return the time at which nobody sees anything else."""
        now = self.wall()
        for record in self.table.expire(now):
            self._end(record, True)
        return now

    def _due(self) -> float:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        timer = self._timers[0].when if self._timers else math.inf
        expiry = self.table.deadline()
        return timer if expiry is None else min(timer, clock() + expiry - self.wall())

    def _arm(self) -> None:
        if self._due() < self._armed:
            self._wake.set()


class TaskDesk:
    """Answers the requests about tasks that arrive at one machine.

    ``flush`` has the link write what the machine has to send.
    """

    def __init__(
        self,
        host: TaskHost,
        machine: Peer | HttpServer | HttpClient,
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
        """Answer a request about tasks; False if it is none."""
        answer = _ANSWERS.get(event.method)
        if answer is None:
            return False
        try:
            answer(self, event)
        except McpError as error:
            self.machine.fail(event.key, error.error)
        except Malformed as error:
            text = f"invalid params: {error}"
            self.machine.fail(event.key, ErrorData(INVALID_PARAMS, text))
        return True

    def cancelled(self, key: Key) -> bool:
        """A request is no longer wanted; False if it is not one that waits here."""
        if self._waiting.pop(key, None) is None:
            return False
        self.machine.release(key)
        return True

    def _find(self, event: RequestReceived) -> TaskRecord:
        return self.host.find(typed(event.params, TaskParams).task_id, self.owner(event))

    def _get(self, event: RequestReceived) -> None:
        record = self._find(event)
        body: Body = describe(record, TaskForm.EXPERIMENTAL)
        if event.revision.modern:
            body = detail(record)
        self.machine.respond(event.key, body)

    def _update(self, event: RequestReceived) -> None:
        params = typed(event.params, UpdateTaskParams)
        record = self.host.find(params.task_id, self.owner(event))
        self.host.answer(record, params.input_responses)
        self.machine.respond(event.key, None)

    def _cancel(self, event: RequestReceived) -> None:
        record = self._find(event)
        cancelled = self.host.cancel(record)
        if event.revision.modern:
            self.machine.respond(event.key, None)
            return
        if not cancelled:
            status = describe(record, TaskForm.EXPERIMENTAL).status
            raise McpError(INVALID_PARAMS, f"the task is {status} already")
        self.machine.respond(event.key, describe(record, TaskForm.EXPERIMENTAL))

    def _result(self, event: RequestReceived) -> None:
        record = self._find(event)
        if record.ended:
            self._give(event.key, record)
        else:
            self._waiting[event.key] = record
            self.awaited(record)

    def _list(self, event: RequestReceived) -> None:
        cursor = typed(event.params, PaginatedParams).cursor
        records, following = self.host.page(self.owner(event), None if cursor is UNSET else cursor)
        result = ListTasksResult(tasks=[describe(each, TaskForm.EXPERIMENTAL) for each in records])
        if following is not None:
            result.next_cursor = following
        self.machine.respond(event.key, result)

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
                self._give(key, record)
                self.flush()

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
        machine = self.machine
        try:
            if isinstance(machine, HttpServer):
                machine.notify(method, params, parent=parent, session=session, meta=meta)
            elif isinstance(machine, Peer):
                machine.notify(method, params, parent=parent, meta=meta)
            else:
                machine.notify(method, params, meta=meta)
        except LocalError:
            return  # the session or the stream has gone meanwhile
        self.flush()

    def _give(self, key: Key, record: TaskRecord) -> None:
        if record.result is not None:
            meta = {**(record.meta or {}), **related(record.id)}
            self.machine.respond(key, record.result, meta=meta)
        else:
            error = record.error or ErrorData(INVALID_REQUEST, record.message or CANCELLED)
            self.machine.fail(key, error)


_ANSWERS: dict[str, Callable[[TaskDesk, RequestReceived], None]] = {
    "tasks/get": TaskDesk._get,
    "tasks/update": TaskDesk._update,
    "tasks/cancel": TaskDesk._cancel,
    "tasks/result": TaskDesk._result,
    "tasks/list": TaskDesk._list,
}
"""The engine lets through those that the revision has."""


def form_of(event: RequestReceived) -> TaskForm | None:
    """How a request can become a task."""
    return task_form(event.revision, event.method)
