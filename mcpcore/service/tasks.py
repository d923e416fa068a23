"""Tasks: calls whose results come later, as a table without I/O.

:class:`TaskTable` holds every task of a server (or of a client that works for its server): its
owner, its status, its requests for input, its outcome and its expiry.  It neither runs nor waits.
Time is passed in as ``wall``, seconds since the epoch, as tasks outlive connections.  One record
serves both forms of tasks; their wire forms are in :mod:`mcpcore.service.task_views`.

Source: the tasks page of 2025-11-25; the specification of the extension
``io.modelcontextprotocol/tasks`` of 2026-07-28.
"""

import hashlib
import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from enum import Enum
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.service.pagination import Cursors
from mcpcore.service.schema import shorten
from mcpcore.service.task_settings import TaskSettings as TaskSettings
from mcpcore.spec.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    TIMED_OUT,
    ErrorData,
    LocalError,
    McpError,
)
from mcpcore.spec.types.tasks import TERMINAL, TaskStatus
from mcpcore.wire.jsontext import sayable

MIN_SECRET = 32
"""Minimum bytes of a table's secret."""


class Signal(Enum):
    """Signal that changes the status of a task."""

    ASK = "asks its client"
    ANSWERED = "has all answers"
    COMPLETE = "ends with a result"
    FAIL = "ends with an error"
    CANCEL = "is cancelled"


_OPEN: tuple[TaskStatus, ...] = ("working", "input_required")

TRANSITIONS: Mapping[tuple[TaskStatus, Signal], TaskStatus] = {
    ("working", Signal.ASK): "input_required",
    ("input_required", Signal.ASK): "input_required",
    ("input_required", Signal.ANSWERED): "working",
    **{(status, Signal.COMPLETE): "completed" for status in _OPEN},
    **{(status, Signal.FAIL): "failed" for status in _OPEN},
    **{(status, Signal.CANCEL): "cancelled" for status in _OPEN},
}
"""Status after a signal; a signal without an entry leaves the status unchanged."""


class TableFull(LocalError):
    """No room for another task."""


class TooManyQuestions(LocalError):
    """Maximum number of requests for input reached by a task."""


class TaskRecord:
    """Task of a table, which alone changes it."""

    __slots__ = (
        "created",
        "error",
        "id",
        "is_error",
        "message",
        "meta",
        "number",
        "owner",
        "poll_interval",
        "questions",
        "result",
        "status",
        "ttl",
        "updated",
        "used",
    )

    def __init__(
        self, id: str, number: int, owner: str | None, *, wall: float, ttl: int | None, poll: int
    ) -> None:
        self.id = id
        self.number = number
        """Position in the order of creation."""
        self.owner = owner
        """Only owner that may see it; None: any client that knows its id."""
        self.created = wall
        self.updated = wall
        """Time of the last change of status or message."""
        self.ttl = ttl
        """Milliseconds from creation, None for no limit."""
        self.poll_interval = poll
        self.status: TaskStatus = "working"
        self.message: str | None = None
        self.questions: dict[str, Raw] = {}
        """Open requests for input: key to a request object without id."""
        self.used: set[str] = set()
        """All keys ever used for requests for input."""
        self.result: Raw | None = None
        """Result object of the call, without ``_meta``."""
        self.meta: Mapping[str, Any] | None = None
        """Value of the result's ``_meta``."""
        self.is_error = False
        """True if the result reports that the tool failed."""
        self.error: ErrorData | None = None

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


class _Outcome(Struct, rename="camel"):
    is_error: bool = False


class _Failure(Struct):
    content: list[_Block] = []


_outcome = msgspec.json.Decoder(_Outcome)
_failure = msgspec.json.Decoder(_Failure)


class TaskTable:
    """All tasks of one side.

    ``secret``: at least 32 fresh random bytes. The unguessable ids are derived from it, and it must
    not be used for another table.
    """

    def __init__(self, secret: bytes, settings: TaskSettings | None = None) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret must have at least {MIN_SECRET} random bytes")
        self.settings = settings or TaskSettings()
        self._key = hmac.new(secret, b"mcpcore task ids", hashlib.sha256).digest()
        self._tasks: dict[str, TaskRecord] = {}
        self._owned: dict[str, dict[str, TaskRecord]] = {}
        self._expiries: list[tuple[float, int, str]] = []
        self._stored = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def stored(self) -> int:
        """Number of bytes of the results that are kept."""
        return self._stored

    # Creating and removing

    def create(
        self,
        owner: str | None,
        *,
        wall: float,
        ttl: int | UnsetType | None = UNSET,
        poll: int | None = None,
    ) -> TaskRecord:
        """Add a task that is in progress.

        ``ttl`` in milliseconds, None for no limit, by default that of the settings.  Raises
        TableFull.
        """
        settings = self.settings
        owned = {} if owner is None else self._owned.get(owner, {})
        if len(self._tasks) >= settings.tasks or len(owned) >= settings.per_owner:
            limit = settings.per_owner if len(owned) >= settings.per_owner else settings.tasks
            raise TableFull(f"busy: {limit} tasks are kept already")
        self._count += 1
        record = TaskRecord(
            self._new_id(),
            self._count,
            owner,
            wall=wall,
            ttl=settings.ttl if ttl is UNSET else ttl,
            poll=poll or settings.poll_interval,
        )
        self._tasks[record.id] = record
        if owner is not None:
            self._owned.setdefault(owner, {})[record.id] = record
        self._schedule(record)
        return record

    def granted(self, asked: int | None) -> int | None:
        """Return the time to live for a client that asked for ``asked`` milliseconds, or for none.

        Raises McpError (-32602) for a negative time.
        """
        settings = self.settings
        if asked is None:
            return settings.ttl
        if asked < 0:
            raise McpError(INVALID_PARAMS, "task.ttl: must not be negative")
        return min(max(asked, settings.min_ttl), settings.max_ttl)

    def find(self, id: str, owner: str | None, *, wall: float) -> TaskRecord:
        """Return the task with this id, if it belongs to ``owner``.

        Raises McpError (-32602) if there is none (any more); a foreign one gives the same error.
        """
        record = self._tasks.get(id)
        if record is None or record.owner != owner or record.expires <= wall:
            raise McpError(INVALID_PARAMS, "there is no such task (any more)")
        return record

    def page(
        self, owner: str | None, cursor: str | None, *, wall: float
    ) -> tuple[list[TaskRecord], str | None]:
        """Return tasks of ``owner`` in the order of creation, and the cursor of the next page.

        Tasks without an owner are never listed.  Raises McpError (-32602) for a bad cursor.
        """
        cursors = Cursors(f"tasks\n{owner}")
        after = 0 if cursor is None else cursors.read(cursor)
        owned = {} if owner is None else self._owned.get(owner, {})
        rest = (
            record for record in owned.values() if record.number > after and record.expires > wall
        )
        chosen = list(islice(rest, self.settings.page_size))
        more = next(rest, None) is not None
        return chosen, cursors.make(chosen[-1].number) if more else None

    def owned(self, owner: str) -> list[TaskRecord]:
        """Return all tasks of ``owner``."""
        return list(self._owned.get(owner, {}).values())

    def remove(self, record: TaskRecord) -> None:
        """Remove a task."""
        if self._tasks.pop(record.id, None) is None:
            return
        if record.result is not None:
            self._stored -= len(bytes(record.result))
        if record.owner is not None:
            owned = self._owned[record.owner]
            del owned[record.id]
            if not owned:
                del self._owned[record.owner]

    def deadline(self) -> float | None:
        """Return the time at which :meth:`expire` is next needed; None if never.

        In seconds since the epoch.
        """
        while self._expiries:
            when, _, id = self._expiries[0]
            record = self._tasks.get(id)
            if record is not None and record.expires == when:
                return when
            heappop(self._expiries)
        return None

    def expire(self, wall: float) -> list[TaskRecord]:
        """Remove expired tasks; return those that had not ended.

        These fail first, and are kept for a while so that their clients can see it.
        """
        failed = []
        while (when := self.deadline()) is not None and when <= wall:
            record = self._tasks[heappop(self._expiries)[2]]
            if record.ended:
                self.remove(record)
            else:
                text = f"the task did not end within its ttl of {record.ttl} ms"
                self.fail(record, ErrorData(TIMED_OUT, text), wall=wall)
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

        ``params`` is a JSON object.  A key is never used twice in the life of a task: a used one
        gets a number appended.  Raises TooManyQuestions.
        """
        after = TRANSITIONS.get((record.status, Signal.ASK))
        if after is None:
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
        self._move(record, after, wall)
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
        if record.questions.pop(key, None) is None or record.questions:
            return
        after = TRANSITIONS.get((record.status, Signal.ANSWERED))
        if after is not None:
            self._move(record, after, wall)

    def complete(
        self,
        record: TaskRecord,
        result: Raw | bytes,
        meta: Mapping[str, Any] | None = None,
        *,
        wall: float,
    ) -> bool:
        """End a task with the result of its call; return False if it has ended before.

        A result for which there is no room ends it with an error.
        """
        if record.ended:
            return False
        size, settings = len(bytes(result)), self.settings
        if size > settings.result_size or self._stored + size > settings.stored:
            limit = min(settings.result_size, settings.stored - self._stored)
            text = f"the result of the task has {size} bytes; there is room for {limit}"
            return self.fail(record, ErrorData(INTERNAL_ERROR, text), wall=wall)
        if record.id in self._tasks:
            self._stored += size
        record.result, record.meta = Raw(bytes(result)), meta
        record.is_error = _outcome.decode(result).is_error
        message = None
        if record.is_error:
            blocks = _failure.decode(result).content
            message = next((block.text for block in blocks if block.text), None)
        return self._end(record, Signal.COMPLETE, message, wall)

    def fail(self, record: TaskRecord, error: ErrorData, *, wall: float) -> bool:
        """End a task with an error of the protocol; return False if it has ended before."""
        if record.ended:
            return False
        record.error = error
        return self._end(record, Signal.FAIL, error.message, wall)

    def cancel(self, record: TaskRecord, message: str, *, wall: float) -> bool:
        """End a task without a result; return False if it has ended before."""
        return self._end(record, Signal.CANCEL, message, wall)

    # Internals

    def _end(self, record: TaskRecord, signal: Signal, message: str | None, wall: float) -> bool:
        after = TRANSITIONS.get((record.status, signal))
        if after is None:
            return False
        record.questions.clear()
        record.message = None if message is None else sayable(shorten(message))
        self._move(record, after, wall)
        if record.ttl is not None:
            lived = math.ceil((wall - record.created) * 1000)
            record.ttl = max(record.ttl, lived + self.settings.keep)
            self._schedule(record)
        return True

    def _move(self, record: TaskRecord, status: TaskStatus, wall: float) -> None:
        record.status = status
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

    def _new_id(self) -> str:
        digest = hmac.new(self._key, b"%d" % self._count, hashlib.sha256).digest()
        return urlsafe_b64encode(digest[:24]).decode("ascii")
