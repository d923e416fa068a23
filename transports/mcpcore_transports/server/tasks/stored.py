"""Tasks in a store: any worker tells of them and ends them, and one that dies leaves none open.

The handler of a task runs where its call arrived.  There the table holds the task, and each change
is written to the store before anybody hears of it.  Requests about tasks are answered from the
store.  The first end that is written there is final, whichever worker writes it; the worker that
runs the handler then stops it.  An open task of a worker whose lease has ended is failed by whoever
looks at it next.
"""

import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw, Struct, structs

from mcpcore.auth.scopes import Requirement
from mcpcore.engine.events import Event, Key, RequestReceived, SubscriptionOpened
from mcpcore.errors import Malformed
from mcpcore.http.storing import (
    Post,
    Step,
    StoredTask,
    StoreFailure,
    TaskChanged,
    TaskList,
    TaskLoad,
    TaskSave,
    TaskTold,
)
from mcpcore.service import Prepared
from mcpcore.service.pagination import Cursors
from mcpcore.service.reading import typed
from mcpcore.service.task_settings import TaskForm, TaskSettings
from mcpcore.service.tasks import NO_TASK, TaskRecord, describe, detail
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, ErrorData, McpError
from mcpcore.spec.types.base import PaginatedParams
from mcpcore.spec.types.tasks import ListTasksResult, TaskParams, UpdateTaskParams
from mcpcore_transports.running.tasks import CANCELLED, TaskHost
from mcpcore_transports.server.runtime import ServerRuntime
from mcpcore_transports.server.tasks.requests import TaskAnswer, outcome_of
from mcpcore_transports.server.tasks.tasks import Question, ServerTasks, TaskCall, task_terms

if TYPE_CHECKING:  # late: the interface of stores is loaded with one
    from mcpcore_transports.stores.base import StepOutcome

WORKER_GONE = "the worker that ran the task is gone"
"""Message of the error of a task whose worker has died."""
_NO_ROOM = "there is no room for the result of the task"
_UNREACHABLE = "the store of the tasks cannot be reached"
_ELSEWHERE = "The task was ended by another worker."
_RETRY = 1.0
"""Seconds after which a change that could not be written is written again."""


class KeptTask(TaskRecord):
    """Task as it stands in the store."""

    requirement: Requirement | None = None
    worker: str = ""
    """Name of the worker that runs it."""
    gone: bool = False
    """True if that worker is gone."""


class _Packed(Struct):
    """Text of a task in the store; the result stands apart, as None is no JSON text."""

    task: KeptTask
    result: Raw = Raw(b"")


class _StoredQuestion(Struct):
    """Question of a task, as a request without an id."""

    method: str
    params: Raw


_unpack = msgspec.json.Decoder(_Packed).decode
_question = msgspec.json.Decoder(_StoredQuestion).decode
_note = msgspec.json.Decoder(TaskTold | TaskChanged).decode


def pack(record: TaskRecord) -> bytes:
    """Return the text that a store keeps of a task."""
    packed: dict[str, object] = {"task": structs.replace(record, result=None, used=set())}
    if record.result is not None:
        packed["result"] = record.result
    return msgspec.json.encode(packed)


def unpack(stored: StoredTask) -> KeptTask:
    """Return the task that :func:`pack` has written."""
    packed = _unpack(stored.task)
    record = packed.task
    record.number, record.worker, record.gone = stored.number, stored.worker, stored.gone
    record.result = packed.result if bytes(packed.result) else None
    return record


class StoreAccess(Protocol):
    """Access to the store, which carries out steps and passes on notes of other workers."""

    async def run(self) -> None:
        """Carry out steps until cancelled."""

    async def leave(self) -> None:
        """Tell the store that this worker is gone."""

    def handle(self, event: Event) -> None:
        """Take a step, whose outcome comes later."""


class TaskNews:
    """Ids of tasks that have changed since the last wait for news of them."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._event = anyio.Event()

    def tell(self, id: str) -> None:
        """Add a task that has changed; end the wait."""
        self._changed.add(id)
        self._event.set()

    async def take(self, seconds: float) -> set[str]:
        """Wait for news, at most so many seconds; return the ids of the tasks that they are of."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        taken, self._changed, self._event = self._changed, set(), anyio.Event()
        return taken


class RemoteCall:
    """Call of a task of another worker, whose questions are put to clients that wait here."""

    def __init__(self, host: "StoredTaskHost") -> None:
        self.record: TaskRecord | None = None
        self._host = host
        self._worker = ""
        self._questions: dict[str, Question] = {}

    def update(self, record: KeptTask) -> None:
        """Take over the questions of the task; recall those that are closed."""
        self.record, self._worker = record, record.worker
        for key in record.questions.keys() - self._questions.keys():
            asked = _question(record.questions[key])
            as_task = task_terms(asked.params) is not None
            params = bytes(asked.params)
            self._questions[key] = Question(key, asked.method, params, None, as_task)
        for key in self._questions.keys() - record.questions.keys():
            self._questions.pop(key).recall()

    def close(self) -> None:
        """Recall all questions, as nobody waits here any more."""
        for question in self._questions.values():
            question.recall()

    def unsent(self) -> list[Question]:
        """Return the questions that have not been sent to any client of this worker yet."""
        return [
            each
            for each in self._questions.values()
            if each.request is None and each.following is None and not each.settled.is_set()
        ]

    def deliver(self, key: str, answer: Raw) -> None:
        """Pass the answer to a question on to the worker of the task."""
        if (question := self._questions.get(key)) is not None:  # else it is closed meanwhile
            self._pass_on(question, answers={key: answer})

    def refuse(self, question: Question, problem: str) -> None:
        """Tell the worker of the task that a question gets no answer."""
        self._pass_on(question, problems={question.key: problem})

    def _pass_on(self, question: Question, **told: Any) -> None:
        question.settled.set()
        assert self.record is not None  # noqa: S101 - it has questions
        self._host.pass_on(self._worker, TaskTold(session="", task=self.record.id, **told))


class StoredTaskHost(TaskHost):
    """All tasks of one worker, which the others of its store see and may end.

    ``worker``: its name in the store.  ``make_link`` makes the link to the store, whose machine and
    application the host is.
    """

    shared = True
    reachable = True

    def __init__(
        self,
        worker: str,
        make_link: "Callable[[StoredTaskHost], StoreAccess]",
        settings: TaskSettings | None = None,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings, wall=wall)
        self.name = worker
        self._link = make_link(self)
        self._tokens = itertools.count(1)
        self._outcomes: dict[int, Callable[[StepOutcome], object]] = {}
        self._unwritten: set[str] = set()
        """Ids of tasks whose last change is to be written again."""
        self._news: dict[str, set[TaskNews]] = {}
        """Waits for news of a task, by its id."""
        self.remotes: dict[str, RemoteCall] = {}
        """Tasks of other workers for whose end clients wait here, by id."""

    def begin(self, group: TaskGroup) -> TaskGroup:
        """Work in ``group``, and reach the store from there, unless work has begun already."""
        if self._group is None:
            group.start_soon(self._serve_link)
        return super().begin(group)

    async def _serve_link(self) -> None:
        try:
            await self._link.run()
        finally:
            await self._link.leave()

    def new_name(self) -> str:
        """Return a name for a connection, unique among those of all workers."""
        return f"{self.name} {super().new_name()}"

    # Interface for the link

    def handle(self, event: Event) -> None:
        """Take an event that is no step; there are none."""

    def stored(self, token: int, outcome: "StepOutcome", *, now: float) -> None:
        """Take the outcome of a step."""
        self._outcomes.pop(token)(outcome)

    def note(self, data: bytes, *, now: float) -> None:
        """Take a note; those about sessions, which all workers get, are not for tasks."""
        try:
            told = _note(data)
        except msgspec.MsgspecError:
            return
        if isinstance(told, TaskChanged):
            self._tell_waiting(told.task)
        elif (record := self.table.get(told.task)) is None:
            return
        elif told.problems:
            if isinstance(call := self.worker(record), TaskCall):
                for key, problem in told.problems.items():
                    call.give_up(key, problem)
        elif told.answers:
            self.answer(record, told.answers)
        else:
            self._superseded(record)

    def _carry_out(
        self, make: Callable[..., Step], then: "Callable[[StepOutcome], object]", **members: Any
    ) -> None:
        token = next(self._tokens)
        self._outcomes[token] = then
        self._link.handle(make(token=token, session="", **members))

    async def _ask(self, make: Callable[..., Step], **members: Any) -> "StepOutcome":
        """Carry out a step; return its outcome.  Raises McpError if the store fails."""
        done = anyio.Event()
        outcomes: list[StepOutcome] = []

        def take(outcome: "StepOutcome") -> None:
            outcomes.append(outcome)
            done.set()

        self._carry_out(make, take, **members)
        await done.wait()
        if isinstance(outcomes[0], StoreFailure):
            raise McpError(INTERNAL_ERROR, _UNREACHABLE)
        return outcomes[0]

    # Tasks of this worker

    def keep(
        self, record: TaskRecord, hand_over: Callable[[bool], bool], flush: Callable[[], object]
    ) -> bool:
        """Write a new task, then give it to its client; the handler runs meanwhile."""

        def take(outcome: "StepOutcome") -> None:
            if not hand_over(outcome is True):
                self.cancel(record)
                self.table.remove(record)
            flush()

        self._carry_out(TaskSave, take, new=True, **self._members(record))
        return True

    def _changed(self, record: TaskRecord) -> None:
        """Write a change; observers hear of it when that is done."""
        shown = structs.replace(record, questions=dict(record.questions))
        tell = super()._changed

        def take(outcome: "StepOutcome") -> None:
            if outcome is True:
                tell(shown)
                self._tell_waiting(shown.id)
            elif self.table.get(record.id) is not record:
                return
            elif outcome is False:
                self._superseded(record)
            elif outcome is None and record.result is not None:
                self.table.lose_result(record, ErrorData(INTERNAL_ERROR, _NO_ROOM))
                self._changed(record)
            elif record.id not in self._unwritten:
                self._unwritten.add(record.id)
                self.later(_RETRY, lambda: self._write_again(record))

        self._carry_out(TaskSave, take, **self._members(shown))

    def _write_again(self, record: TaskRecord) -> None:
        self._unwritten.discard(record.id)
        self._changed(record)

    def _members(self, record: TaskRecord) -> dict[str, Any]:
        # An open task is kept beyond its ttl: then it fails.
        expires = record.expires + (0 if record.ended else self.table.settings.keep / 1000)
        about = {"id": record.id, "owner": record.owner, "ended": record.ended}
        return {**about, "task": pack(record), "expires": expires}

    def _superseded(self, record: TaskRecord) -> None:
        """Stop the handler of a task that another worker has ended."""
        self.table.cancel(record, _ELSEWHERE, wall=self.wall())
        self._remove(record)
        if (worker := self._workers.pop(record.id, None)) is not None:
            worker.stop()

    # Tasks of all workers

    @contextmanager
    def hear(self, ids: Iterable[str], news: TaskNews) -> Iterator[None]:
        """Collect the news of tasks that are looked up with ``follow``, or run here."""
        heard = frozenset(ids)
        for id in heard:
            self._news.setdefault(id, set()).add(news)
        try:
            yield
        finally:
            for id in heard:
                self._news[id].discard(news)
                if not self._news[id]:
                    del self._news[id]
                    if (remote := self.remotes.pop(id, None)) is not None:
                        remote.close()

    def _tell_waiting(self, id: str) -> None:
        for news in self._news.get(id, ()):
            news.tell(id)

    async def look_up(self, id: str, *, follow: bool = False) -> KeptTask | None:
        """Return a task, failed if its worker is gone; None if there is none.  Raises McpError.

        ``follow``: whoever hears of it is told of its next change, wherever it runs.
        """
        while True:
            elsewhere = follow and self.table.get(id) is None
            stored = await self._ask(TaskLoad, id=id, follow=elsewhere)
            if not isinstance(stored, StoredTask):
                return None
            record = unpack(stored)
            if record.ended or not record.gone:
                return record
            error = ErrorData(INTERNAL_ERROR, WORKER_GONE)
            self.table.fail(record, error, wall=self.wall())
            if await self._ask(TaskSave, **self._members(record)) is not False:
                return record  # without room for it whoever looks next finds the same

    async def find_stored(self, id: str, owner: str | None, *, follow: bool = False) -> KeptTask:
        """Return a task of ``owner``.  Raises McpError (-32602) if there is none (any more)."""
        record = await self.look_up(id, follow=follow)
        if record is None or record.owner != owner:
            raise McpError(INVALID_PARAMS, NO_TASK)
        return record

    async def page_stored(
        self, owner: str, cursor: str | None
    ) -> tuple[list[KeptTask], str | None]:
        """Return tasks of ``owner`` in the order of creation, and the cursor of the next page.

        Raises McpError.
        """
        cursors, size = Cursors(f"tasks\n{owner}"), self.table.settings.page_size
        after = 0 if cursor is None else cursors.read(cursor)
        chosen: list[KeptTask] = []
        while (missing := size + 1 - len(chosen)) > 0:
            page = await self._ask(TaskList, owner=owner, after=after, limit=missing)
            found = [unpack(each) for each in cast("tuple[StoredTask, ...]", page)]
            if not found:
                break
            for each in found:
                each.result = None  # which may be long, and is not in a list
            chosen += found
            after = found[-1].number
        following = cursors.make(chosen[size - 1].number) if len(chosen) > size else None
        records = []
        for each in chosen[:size]:
            lost = each.gone and not each.ended
            record = await self.look_up(each.id) if lost else each
            if record is not None:
                records.append(record)
        return records, following

    async def cancel_stored(self, record: KeptTask) -> bool:
        """Cancel a task and stop its handler; return False if it has ended.  Raises McpError."""
        if not self.table.cancel(record, CANCELLED, wall=self.wall()):
            return False
        if not await self._ask(TaskSave, **self._members(record)):
            return False
        local = self.table.get(record.id)
        if local is not None:
            super()._changed(record)
            self._superseded(local)
            self._tell_waiting(record.id)
        else:
            await self._tell(record, TaskTold(session="", task=record.id))
        return True

    async def answer_stored(self, record: KeptTask, answers: Mapping[str, Raw]) -> None:
        """Pass answers to the worker that runs a task.  Raises McpError."""
        local = self.table.get(record.id)
        taken = {key: answer for key, answer in answers.items() if key in record.questions}
        if local is not None:
            self.answer(local, answers)
        elif taken:
            await self._tell(record, TaskTold(session="", task=record.id, answers=taken))

    def answer(self, record: TaskRecord, answers: Mapping[str, Raw]) -> None:
        """Pass answers to the handler of a task, wherever that runs."""
        if (remote := self.remotes.get(record.id)) is None:
            super().answer(record, answers)
        else:
            for key, answer in answers.items():
                remote.deliver(key, answer)

    def pass_on(self, worker: str, note: TaskTold) -> None:
        """Send a note to another worker, again and again until the store has it."""

        def take(outcome: "StepOutcome") -> None:
            if isinstance(outcome, StoreFailure):
                self.later(_RETRY, lambda: self.pass_on(worker, note))

        self._carry_out(Post, take, to=worker, note=msgspec.json.encode(note))

    async def _tell(self, record: KeptTask, note: TaskTold) -> None:
        await self._ask(Post, to=record.worker, note=msgspec.json.encode(note))


class StoredDesk(ServerTasks):
    """Tasks of a server whose tasks are in a store, seen from one machine."""

    host: StoredTaskHost

    def __init__(self, runtime: ServerRuntime, host: TaskHost) -> None:
        super().__init__(runtime, host)
        self._look = host.table.settings.look_interval / 1000
        """Seconds without news after which a task is looked for in the store."""
        self._listening: dict[Key, TaskNews] = {}
        """News that listen streams wait for."""

    def _of_session(self, session: str | None) -> str:
        # Sessions have the same name at all workers.
        return f"session {session}"

    def prepare(self, event: RequestReceived) -> Prepared | None:
        """Prepare a request about tasks; return None for other requests."""
        prepared = super().prepare(event)
        if prepared is not None:
            prepared.is_async = True
        return prepared

    def reply(self, event: RequestReceived) -> Awaitable[TaskAnswer]:
        """Return the answer to a request about tasks, to be awaited."""
        return self._reply(event)

    async def _reply(self, event: RequestReceived) -> TaskAnswer:
        try:
            return await _ANSWERS[event.method](self, event)
        except Malformed as error:
            raise McpError(INVALID_PARAMS, f"invalid params: {error}") from None

    async def _stored(self, id: str, event: RequestReceived, *, follow: bool = False) -> KeptTask:
        record = await self.host.find_stored(id, self.owner(event), follow=follow)
        self.demand(record, event.principal)
        return record

    async def _named(self, event: RequestReceived) -> KeptTask:
        return await self._stored(typed(event.params, TaskParams).task_id, event)

    async def _get_stored(self, event: RequestReceived) -> TaskAnswer:
        record = await self._named(event)
        modern = event.revision.modern
        return TaskAnswer(detail(record) if modern else describe(record, TaskForm.EXPERIMENTAL))

    async def _update_stored(self, event: RequestReceived) -> TaskAnswer:
        params = typed(event.params, UpdateTaskParams)
        record = await self._stored(params.task_id, event)
        await self.host.answer_stored(record, params.input_responses)
        return TaskAnswer(None)

    async def _cancel_stored(self, event: RequestReceived) -> TaskAnswer:
        record = await self._named(event)
        cancelled = await self.host.cancel_stored(record)
        if event.revision.modern:
            return TaskAnswer(None)
        if not cancelled:
            status = describe(await self._named(event), TaskForm.EXPERIMENTAL).status
            raise McpError(INVALID_PARAMS, f"the task is {status} already")
        return TaskAnswer(describe(record, TaskForm.EXPERIMENTAL))

    async def _result_stored(self, event: RequestReceived) -> TaskAnswer:
        id, key, news = typed(event.params, TaskParams).task_id, event.key, TaskNews()
        with self.host.hear([id], news):
            try:
                while not (record := await self._stored(id, event, follow=True)).ended:
                    if self.host.table.get(id) is None:
                        self.host.remotes.setdefault(id, RemoteCall(self.host))
                    self._wait(event, record)
                    self.awaited(record)
                    await news.take(self._look)
            finally:
                self._leave(key)
        return outcome_of(record)

    async def _list_stored(self, event: RequestReceived) -> TaskAnswer:
        cursor, owner = typed(event.params, PaginatedParams).cursor, self.owner(event)
        if owner is None:
            return TaskAnswer(ListTasksResult(tasks=[]))
        records, following = await self.host.page_stored(owner, cursor)
        shown = [each for each in records if self.permits(each, event.principal)]
        result = ListTasksResult(tasks=[describe(each, TaskForm.EXPERIMENTAL) for each in shown])
        if following is not None:
            result.next_cursor = following
        return TaskAnswer(result)

    def awaited(self, record: TaskRecord) -> None:
        """Offer questions on the stream of a request that waits for the result."""
        if (remote := self.host.remotes.get(record.id)) is None:
            super().awaited(record)
        elif isinstance(record, KeptTask):
            remote.update(record)
            self.offer(remote)

    # News of changes

    def opened(self, event: SubscriptionOpened) -> None:
        """Handle an opened listen stream: look up which tasks its client may see."""
        if event.filter.task_ids:
            self._streams[event.key], self._parties[event.key] = [], event.principal
            news = self._listening[event.key] = TaskNews()
            self._group.start_soon(self._listen, event, event.filter.task_ids, news)

    async def _listen(self, event: SubscriptionOpened, wanted: list[str], news: TaskNews) -> None:
        """Tell a listen stream of its tasks that run elsewhere, as long as it is open."""
        key, owner = event.key, self.principal(event.principal)
        seen: dict[str, tuple[str, float, str | None]] = {}
        with self.host.hear(wanted, news):
            changed: Iterable[str] = wanted
            while key in self._streams:
                for id in changed:
                    if id in seen and self.host.table.get(id) is not None:
                        continue
                    try:
                        record = await self.host.find_stored(id, owner, follow=True)
                        self.demand(record, event.principal)
                    except McpError as error:
                        if error.code == INVALID_PARAMS:  # there is none, now and later
                            wanted = [each for each in wanted if each != id]
                        continue
                    state = record.status, record.updated, record.message
                    if key in self._streams and seen.get(id, state) != state:
                        self._publish(key, record)
                    if id not in seen and key in self._streams:
                        self._hear(key, id)
                    seen[id] = state
                    if record.ended:  # nothing comes after that: the store is not asked again
                        wanted = [each for each in wanted if each != id]
                if not wanted:
                    break
                changed = await news.take(self._look) or wanted

    def closed(self, event: Any) -> None:
        """Handle the end of a listen stream."""
        super().closed(event)
        if (news := self._listening.pop(event.key, None)) is not None:
            news.tell("")


_ANSWERS: Mapping[str, Callable[[StoredDesk, RequestReceived], Awaitable[TaskAnswer]]] = {
    "tasks/get": StoredDesk._get_stored,
    "tasks/update": StoredDesk._update_stored,
    "tasks/cancel": StoredDesk._cancel_stored,
    "tasks/result": StoredDesk._result_stored,
    "tasks/list": StoredDesk._list_stored,
}
