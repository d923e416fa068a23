"""The tasks of one side: what works on them, the time that ends them, who is told.

:class:`TaskHost` holds them however many connections ask for them.
"""

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

from mcpcore.service.task_settings import TaskSettings
from mcpcore.service.tasks import TableFull, TaskRecord, TaskTable
from mcpcore.spec.errors import ErrorData
from transports.link import clock

CANCELLED = "The task was cancelled by request."
_FEW = 64
"""Timers that nobody minds, dead or alive."""


class Watcher(Protocol):
    """What wants to know of changes."""

    def changed(self, record: TaskRecord) -> None:
        """A task has changed: tell who wants to know."""


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
        self.desks: list[Watcher] = []
        """Who is told of every change."""
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
