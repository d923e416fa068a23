"""Tasks: calls whose results come later, as a table without I/O.

:class:`TaskTable` holds every task of a server (or of a client that works for its server).  It
neither runs nor waits.  Time is passed in as ``wall``, seconds since the epoch, as tasks outlive
connections.  One record serves both forms of tasks.  The experimental tasks of 2025-11-25 have
``ttl`` and ``pollInterval``, call a tool's failure ``failed`` and give the result on request.  The
extension of the modern era has ``ttlMs`` and ``pollIntervalMs``, keeps ``failed`` for errors of the
protocol and carries result, error and open requests for input in the task.

Source: the tasks page of 2025-11-25; the specification of the extension
``io.modelcontextprotocol/tasks`` of 2026-07-28.
"""

import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.errors import TableFull, TooManyQuestions
from mcpcore.service.pagination import Cursors
from mcpcore.service.reading import shorten
from mcpcore.service.task_settings import TaskForm, TaskSettings
from mcpcore.spec import errors
from mcpcore.spec.types.base import META_RELATED_TASK
from mcpcore.spec.types.tasks import TERMINAL, SentTask, Task, TaskStatus
from mcpcore.wire.jsontext import sayable, splice, to_json

if TYPE_CHECKING:  # few tools require anything
    from mcpcore.auth.scopes import Requirement

NO_TASK = "there is no such task (any more)"
"""Message of the error for a task that there is not, or that is another's."""
MIN_SECRET = 32
"""Minimum bytes of a table's secret."""


class TaskSignal(Enum):
    """Signal that changes the status of a task."""

    ASK = "asks its client"
    ANSWERED = "has all answers"
    COMPLETE = "ends with a result"
    FAIL = "ends with an error"
    CANCEL = "is cancelled"


_OPEN: tuple[TaskStatus, ...] = ("working", "input_required")

TRANSITIONS: Mapping[tuple[TaskStatus, TaskSignal], TaskStatus] = {
    ("working", TaskSignal.ASK): "input_required",
    ("input_required", TaskSignal.ASK): "input_required",
    ("input_required", TaskSignal.ANSWERED): "working",
    **{(status, TaskSignal.COMPLETE): "completed" for status in _OPEN},
    **{(status, TaskSignal.FAIL): "failed" for status in _OPEN},
    **{(status, TaskSignal.CANCEL): "cancelled" for status in _OPEN},
}
"""Status after a signal; a signal without an entry leaves the status unchanged."""


class TaskRecord(Struct, eq=False):
    """Task of a table, which alone changes it."""

    id: str
    number: int
    """Position in the order of creation."""
    owner: str | None
    """Only owner that may see it; None: any client that knows its id."""
    created: float
    updated: float
    """Time of the last change of status or message."""
    ttl: int | None
    """Milliseconds from creation, None for no limit."""
    poll_interval: int
    status: TaskStatus = "working"
    message: str | None = None
    questions: dict[str, Raw] = {}
    """Open requests for input: key to a request object without id."""
    used: set[str] = set()
    """All keys ever used for requests for input."""
    result: Raw | None = None
    """Result object of the call, without ``_meta``."""
    meta: Mapping[str, Any] | None = None
    """Value of the result's ``_meta``."""
    is_error: bool = False
    """True if the result reports that the tool failed."""
    error: errors.ErrorData | None = None
    requirement: "Requirement | None" = None
    """Scopes and roles that those need who ask for it."""
    tool: str | None = None
    """Name of the tool that those see who ask for it; None: all see it."""

    @property
    def ended(self) -> bool:
        """True if it will not change any more."""
        return self.status in TERMINAL

    @property
    def expires(self) -> float:
        """Time at which it expires, in seconds since the epoch."""
        return math.inf if self.ttl is None else self.created + self.ttl / 1000


class _Block(Struct):
    text: str = ""


class _ToolOutcome(Struct, rename="camel"):
    is_error: bool = False
    content: Raw = Raw(b"[]")


_decode_outcome = msgspec.json.Decoder(_ToolOutcome).decode
_decode_blocks = msgspec.json.Decoder(list[_Block]).decode


class TaskTable:
    """All tasks of one side.

    ``secret``: at least 32 fresh random bytes, from which the ids are derived, for this table only.
    """

    def __init__(self, secret: bytes, settings: TaskSettings | None = None) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret must have at least {MIN_SECRET} random bytes")
        self.settings = settings or TaskSettings()
        self._key = hmac.digest(secret, b"mcpcore task ids", "sha256")
        self._tasks: dict[str, TaskRecord] = {}
        self._owned: dict[str, dict[str, TaskRecord]] = {}
        self._expiries: list[tuple[float, int, str]] = []
        self.stored = 0
        """Number of bytes of the results that are kept."""
        self._count = 0

    def __len__(self) -> int:
        return len(self._tasks)

    # Creating and removing

    def create(
        self,
        owner: str | None,
        *,
        wall: float,
        ttl: int | UnsetType | None = UNSET,
        poll: int | None = None,
    ) -> TaskRecord:
        """Add a task that is in progress; ``ttl`` in milliseconds, None for no limit.

        Raises TableFull.
        """
        settings = self.settings
        owned = 0 if owner is None else len(self._owned.get(owner, ()))
        for kept, limit in ((owned, settings.per_owner), (len(self._tasks), settings.tasks)):
            if kept >= limit:
                raise TableFull(f"busy: {limit} tasks are kept already")
        self._count += 1
        digest = hmac.digest(self._key, b"%d" % self._count, "sha256")
        record = TaskRecord(
            urlsafe_b64encode(digest[:24]).decode("ascii"),
            self._count,
            owner,
            created=wall,
            updated=wall,
            ttl=settings.ttl if ttl is UNSET else ttl,
            poll_interval=poll or settings.poll_interval,
        )
        self._tasks[record.id] = record
        if owner is not None:
            self._owned.setdefault(owner, {})[record.id] = record
        self._schedule(record)
        return record

    def granted(self, asked: int | None) -> int | None:
        """Return the time to live in milliseconds for a client that asked for one, or for none.

        Raises McpError (-32602) for a negative time.
        """
        settings = self.settings
        if asked is None:
            return settings.ttl
        if asked < 0:
            raise errors.McpError(errors.INVALID_PARAMS, "task.ttl: must not be negative")
        return min(max(asked, settings.min_ttl), settings.max_ttl)

    def get(self, id: str) -> TaskRecord | None:
        """Return a task, whoever asks; None if there is none."""
        return self._tasks.get(id)

    def find(self, id: str, owner: str | None, *, wall: float) -> TaskRecord:
        """Return a task of ``owner``.  Raises McpError (-32602) if there is none (any more)."""
        record = self._tasks.get(id)
        if record is None or record.owner != owner or record.expires <= wall:
            raise errors.McpError(errors.INVALID_PARAMS, NO_TASK)
        return record

    def page(
        self, owner: str | None, cursor: str | None, *, wall: float
    ) -> tuple[list[TaskRecord], str | None]:
        """Return tasks of ``owner`` in the order of creation, and the cursor of the next page.

        Tasks without an owner are never listed.  Raises McpError (-32602) for a bad cursor.
        """
        cursors = Cursors(f"tasks\n{owner}")
        after = 0 if cursor is None else cursors.read(cursor)
        owned = [] if owner is None else self.owned(owner)
        rest = (each for each in owned if each.number > after and each.expires > wall)
        chosen = list(islice(rest, self.settings.page_size))
        more = next(rest, None) is not None
        return chosen, cursors.make(chosen[-1].number) if more else None

    def owned(self, owner: str) -> list[TaskRecord]:
        """Return the tasks of ``owner``."""
        return list(self._owned.get(owner, {}).values())

    def remove(self, record: TaskRecord) -> None:
        """Remove a task."""
        if self._tasks.pop(record.id, None) is None:
            return
        if record.result is not None:
            self.stored -= len(bytes(record.result))
        if record.owner is not None:
            owned = self._owned[record.owner]
            del owned[record.id]
            if not owned:
                del self._owned[record.owner]

    def deadline(self) -> float | None:
        """Return the time at which :meth:`expire` is next needed, since the epoch; None: never."""
        while self._expiries:
            when, _, id = self._expiries[0]
            record = self._tasks.get(id)
            if record is not None and record.expires == when:
                return when
            heappop(self._expiries)
        return None

    def expire(self, wall: float) -> list[TaskRecord]:
        """Remove expired tasks; return those that had not ended, which fail and are kept."""
        failed = []
        while (when := self.deadline()) is not None and when <= wall:
            record = self._tasks[heappop(self._expiries)[2]]
            if record.ended:
                self.remove(record)
            else:
                text = f"the task did not end within its ttl of {record.ttl} ms"
                self.fail(record, errors.ErrorData(errors.TIMED_OUT, text), wall=wall)
                failed.append(record)
        return failed

    # Changes of a task

    def say(self, record: TaskRecord, message: str, *, wall: float) -> bool:
        """Set the status message; return False if the task has ended or has that message."""
        message = sayable(shorten(message))
        if record.ended or record.message == message:
            return False
        record.message = message
        record.updated = wall
        return True

    def ask(
        self, record: TaskRecord, key: str, method: str, params: bytes, *, wall: float
    ) -> str | None:
        """Add a request for input; return the key of its response, None if the task has ended.

        ``params`` is a JSON object.  A key that was used before gets a number appended.  Raises
        TooManyQuestions.
        """
        if record.ended:
            return None
        if len(record.used) >= self.settings.questions:
            raise TooManyQuestions(f"a task may ask {self.settings.questions} questions")
        name, count = key, 1
        while name in record.used:
            count += 1
            name = f"{key}-{count}"
        record.used.add(name)
        question: dict[str, Any] = {"method": method, "params": Raw(params)}
        record.questions[name] = Raw(msgspec.json.encode(question))
        self._move(record, TaskSignal.ASK, wall)
        return name

    def answer(
        self, record: TaskRecord, answers: Mapping[str, Raw], *, wall: float
    ) -> dict[str, Raw]:
        """Take the responses to open requests out of ``answers``; all others are ignored."""
        taken = {key: answers[key] for key in list(record.questions) if key in answers}
        for key in taken:
            self.withdraw(record, key, wall=wall)
        return taken

    def withdraw(self, record: TaskRecord, key: str, *, wall: float) -> None:
        """Close a request for input."""
        if record.questions.pop(key, None) is not None and not record.questions:
            self._move(record, TaskSignal.ANSWERED, wall)

    def complete(
        self,
        record: TaskRecord,
        result: Raw | bytes,
        meta: Mapping[str, Any] | None = None,
        *,
        wall: float,
    ) -> bool:
        """End a task with a result, or an error if there is no room; False: it had ended before."""
        if record.ended:
            return False
        size, settings = len(bytes(result)), self.settings
        limit = min(settings.result_size, settings.stored - self.stored)
        if size > limit:
            text = f"the result of the task has {size} bytes; there is room for {limit}"
            return self.fail(record, errors.ErrorData(errors.INTERNAL_ERROR, text), wall=wall)
        if record.id in self._tasks:
            self.stored += size
        record.result, record.meta = Raw(bytes(result)), meta
        outcome = _decode_outcome(result)
        record.is_error, message = outcome.is_error, None
        if record.is_error:
            blocks = _decode_blocks(outcome.content)
            message = next((block.text for block in blocks if block.text), None)
        return self._end(record, TaskSignal.COMPLETE, message, wall)

    def fail(self, record: TaskRecord, error: errors.ErrorData, *, wall: float) -> bool:
        """End a task with an error of the protocol; return False if it had ended before."""
        if record.ended:
            return False
        record.error = error
        return self._end(record, TaskSignal.FAIL, error.message, wall)

    def lose_result(self, record: TaskRecord, error: errors.ErrorData) -> None:
        """Put an error in place of the result of a completed task."""
        if record.result is not None and record.id in self._tasks:
            self.stored -= len(bytes(record.result))
        record.result, record.meta, record.is_error = None, None, False
        record.status, record.error, record.message = "failed", error, error.message

    def cancel(self, record: TaskRecord, message: str, *, wall: float) -> bool:
        """End a task without a result; return False if it has ended before."""
        return self._end(record, TaskSignal.CANCEL, message, wall)

    def _end(
        self, record: TaskRecord, signal: TaskSignal, message: str | None, wall: float
    ) -> bool:
        if record.ended:
            return False
        record.questions.clear()
        record.message = None if message is None else sayable(shorten(message))
        self._move(record, signal, wall)
        if record.ttl is not None:
            lived = math.ceil((wall - record.created) * 1000)
            record.ttl = max(record.ttl, lived + self.settings.keep)
            self._schedule(record)
        return True

    def _move(self, record: TaskRecord, signal: TaskSignal, wall: float) -> None:
        record.status = TRANSITIONS[record.status, signal]
        record.updated = wall

    def _schedule(self, record: TaskRecord) -> None:
        if record.ttl is None or record.id not in self._tasks:
            return
        heappush(self._expiries, (record.expires, record.number, record.id))
        if len(self._expiries) > 4 * len(self._tasks) + 64:  # most entries are outdated
            self._expiries = [
                (kept.expires, kept.number, kept.id)
                for kept in self._tasks.values()
                if kept.ttl is not None
            ]
            heapify(self._expiries)


# Wire forms


def describe(record: TaskRecord, form: TaskForm) -> Task:
    """Return a task without its requests for input and its outcome."""
    described = partial(
        SentTask,
        task_id=record.id,
        created_at=timestamp(record.created),
        last_updated_at=timestamp(record.updated),
        status_message=record.message,
    )
    ttl, poll = record.ttl, record.poll_interval
    if form is TaskForm.EXTENSION:
        return described(status=record.status, ttl_ms=ttl, poll_interval_ms=poll)
    status = "failed" if record.is_error else record.status
    return described(status=status, ttl=ttl, poll_interval=poll)


def detail(record: TaskRecord) -> Raw:
    """Return a task of the extension with all members of its status."""
    view = to_json(describe(record, TaskForm.EXTENSION))
    payload = b""
    if record.status == "input_required":
        payload = b'"inputRequests":' + msgspec.json.encode(record.questions)
    elif record.result is not None:
        meta = b',"_meta":' + to_json(record.meta) if record.meta else b""
        payload = b'"result":' + splice(to_json(record.result), b'"resultType":"complete"' + meta)
    elif record.error is not None:
        payload = b'"error":' + msgspec.json.encode(record.error)
    return Raw(splice(view, payload))


def related(id: str) -> dict[str, Any]:
    """Return the ``_meta`` that ties a message to an experimental task."""
    return {META_RELATED_TASK: {"taskId": id}}


def timestamp(wall: float) -> str:
    """Format seconds since the epoch in ISO 8601 (RFC 3339), to the millisecond.

    >>> timestamp(1764000000.5)
    '2025-11-24T16:00:00.500Z'
    """
    text = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
