"""Tasks of one side, of any number of connections: workers, expiry, observers of changes."""

import heapq
import itertools
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup
from msgspec import UNSET, Raw, UnsetType

from mcpcore.errors import TableFull
from mcpcore.service.task_settings import TaskSettings
from mcpcore.service.tasks import TaskRecord, TaskTable
from mcpcore.spec.errors import ErrorData
from mcpcore_transports.link import clock

CANCELLED = "The task was cancelled by request."
_FEW = 64
"""Number of timers, cancelled ones included, below which the heap is not cleaned."""


class Worker(Protocol):
    """Worker of a task."""

    def stop(self) -> None:
        """Stop working, because the task has ended."""

    def deliver(self, key: str, answer: Raw) -> None:
        """Take the client's answer to a question."""


class TaskWatcher(Protocol):
    """Object whose client wants to hear of tasks, or waits for the end of one."""

    def changed(self, record: TaskRecord) -> None:
        """Handle the change of a task."""

    def forget(self, record: TaskRecord) -> None:
        """Report no more changes of a task."""


class Timer:
    """Callback for the time ``when``, on the clock of the drivers."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self.call: Callable[[], object] | None = call

    def __lt__(self, other: "Timer") -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Cancel the timer."""
        self.call = None


class TaskHost:
    """All tasks of one side, with their workers; ``wall``: clock in seconds since the epoch."""

    shared = False
    """True if the tasks are in a store, and requests about them are answered from there."""

    def __init__(
        self, settings: TaskSettings | None = None, *, wall: Callable[[], float] = time.time
    ) -> None:
        self.table = TaskTable(secrets.token_bytes(32), settings)
        self._group: TaskGroup | None = None
        self._watchers: dict[str, dict[TaskWatcher, None]] = {}
        """Desks that are called for every change of a task, by its id."""
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
        """Work in ``group``, unless work has begun in another one; return the group of all work."""
        if self._group is None:
            self._group = group
            group.start_soon(self._keep_time)
        return self._group

    def new_name(self) -> str:
        """Return a unique name for a connection."""
        return f"connection {next(self._names)}"

    # Creation and removal

    def create(
        self, owner: str | None, *, ttl: int | UnsetType | None = UNSET, poll: int | None = None
    ) -> TaskRecord:
        """Add a task.  Raises TableFull, also if too many workers of ended tasks go on."""
        if self._working >= self.table.settings.tasks:
            raise TableFull(f"busy: {self._working} tasks are being worked on")
        record = self.table.create(owner, wall=self.wall(), ttl=ttl, poll=poll)
        self._arm()
        return record

    def keep(
        self, record: TaskRecord, hand_over: Callable[[bool], bool], flush: Callable[[], object]
    ) -> bool:
        """Give a new task to its client by ``hand_over``; return False if the request is over.

        ``hand_over`` is told whether the task could be kept; it returns False if nothing was sent.
        ``flush`` has it written if that is later than now.
        """
        return hand_over(True)

    def find(self, id: str, owner: str | None) -> TaskRecord:
        """Return a task; see :meth:`TaskTable.find <mcpcore.service.tasks.TaskTable.find>`."""
        return self.table.find(id, owner, wall=self._expire())

    def page(self, owner: str | None, cursor: str | None) -> tuple[list[TaskRecord], str | None]:
        """List tasks; see :meth:`TaskTable.page <mcpcore.service.tasks.TaskTable.page>`."""
        return self.table.page(owner, cursor, wall=self._expire())

    def employ(self, record: TaskRecord, worker: Worker) -> None:
        """Register ``worker`` as the worker of a task, until :meth:`dismiss`."""
        self._workers[record.id] = worker
        self._working += 1

    def dismiss(self, record: TaskRecord) -> None:
        """Unregister the worker of a task."""
        self._working -= 1
        self._workers.pop(record.id, None)

    def worker(self, record: TaskRecord) -> Worker | None:
        """Return the worker of a task that has not ended, if any."""
        return self._workers.get(record.id)

    def drop(self, owner: str) -> None:
        """End and remove the tasks of ``owner``, which no client can ask for any more."""
        for record in self.table.owned(owner):
            self.cancel(record, "the session has ended")
            self._remove(record)

    def _remove(self, record: TaskRecord) -> None:
        self.table.remove(record)
        for watcher in self.watchers(record.id):
            watcher.forget(record)

    # State changes of a task

    def complete(
        self, record: TaskRecord, result: Raw, meta: Mapping[str, Any] | None = None
    ) -> bool:
        """End a task with a result; return False if it had ended before."""
        return self._end(record, self.table.complete(record, result, meta, wall=self.wall()))

    def fail(self, record: TaskRecord, error: ErrorData) -> bool:
        """End a task with an error; return False if it had ended before."""
        return self._end(record, self.table.fail(record, error, wall=self.wall()))

    def cancel(self, record: TaskRecord, message: str = CANCELLED) -> bool:
        """Cancel a task and stop its worker; return False if it had ended before."""
        return self._end(record, self.table.cancel(record, message, wall=self.wall()))

    def ask(self, record: TaskRecord, key: str, method: str, params: bytes) -> str | None:
        """Add a question; see :meth:`TaskTable.ask <mcpcore.service.tasks.TaskTable.ask>`."""
        name = self.table.ask(record, key, method, params, wall=self.wall())
        if name is not None:
            self._changed(record)
        return name

    def answer(self, record: TaskRecord, answers: Mapping[str, Raw]) -> None:
        """Pass answers to the worker of a task; answers without an open question are ignored."""
        taken = self.table.answer(record, answers, wall=self.wall())
        worker = self.worker(record)
        if worker is not None:
            for key, answer in taken.items():
                worker.deliver(key, answer)
        if taken:
            self._changed(record)

    def withdraw(self, record: TaskRecord, key: str) -> None:
        """Remove an open question."""
        if key in record.questions:
            self.table.withdraw(record, key, wall=self.wall())
            self._changed(record)

    def say(self, record: TaskRecord, message: str) -> None:
        """Set the status message; observers are called at most once in a poll interval."""
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
        for watcher in self.watchers(record.id):
            watcher.changed(record)

    def watchers(self, id: str) -> tuple[TaskWatcher, ...]:
        """Return what is told of the changes of a task."""
        return tuple(self._watchers.get(id, ()))

    def attend(self, id: str, watcher: TaskWatcher) -> None:
        """Tell ``watcher`` of every change of a task."""
        self._watchers.setdefault(id, {})[watcher] = None

    def abandon(self, id: str, watcher: TaskWatcher) -> None:
        """Undo :meth:`attend`."""
        watchers = self._watchers.get(id, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(id, None)

    # Timers

    def later(self, delay: float, call: Callable[[], object]) -> Timer:
        """Call ``call`` after ``delay`` seconds, unless the host has ended."""
        timer = Timer(clock() + delay, call)
        if len(self._timers) >= self._many:  # most are dead, unless there are many live ones
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
        """End the expired tasks; return the wall time at which that was done."""
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
