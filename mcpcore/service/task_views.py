"""Wire forms of tasks: the two that the protocol has, and the task options of a tool.

The experimental tasks of 2025-11-25 have ``ttl`` and ``pollInterval``, call a tool's failure
``failed`` and give the result on request. The extension of the modern era has ``ttlMs`` and
``pollIntervalMs``, keeps ``failed`` for errors of the protocol and carries result, error and open
requests for input in the task.
"""

import math
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_RELATED_TASK
from mcpcore.wire.message import splice, to_json

if TYPE_CHECKING:
    from mcpcore.service.tasks import TaskRecord
    from mcpcore.spec.types.tasks import Task, TaskStatus

TaskMode = Literal["forbidden", "optional", "required"]


class TaskForm(Enum):
    """Way in which a revision runs calls as tasks."""

    EXPERIMENTAL = "experimental"
    """The client asks for it with the ``task`` parameter."""
    EXTENSION = "extension"
    """The server decides, if the client declared the extension."""


@lru_cache(maxsize=64)
def task_form(revision: Revision, method: str = "tools/call") -> TaskForm | None:
    """Return the form of tasks for ``method`` in a revision; None: it cannot be a task."""
    row = lookup(method, "client", revision) or lookup(method, "server", revision)
    if row is None:
        return None
    if row.task_capability is not None:
        return TaskForm.EXPERIMENTAL
    return TaskForm.EXTENSION if row.task_extension is not None else None


class TaskSupport(Struct, frozen=True, kw_only=True):
    """Task options of a tool."""

    required: bool = False
    """True if it runs as a task or not at all."""
    after: float | None = 0.0
    """Extension: seconds until a call that has not ended becomes a task; None: when the handler
    asks for it."""
    ttl: int | UnsetType | None = UNSET
    """Milliseconds for which its tasks are kept."""
    poll_interval: int | None = None
    """Milliseconds between two polls."""


def support_of(
    mode: TaskMode, after: float | None, ttl: float | UnsetType | None, poll: float | None
) -> TaskSupport | None:
    """Check a tool's options; times in seconds.  Raises ValueError naming the invalid one."""
    if mode not in ("forbidden", "optional", "required"):
        raise ValueError(f"task must be 'forbidden', 'optional' or 'required', not {mode!r}")
    if mode == "forbidden":
        return None
    if after is not None and not after >= 0:
        raise ValueError(f"task_after must not be negative, got {after}")
    if ttl is not UNSET and ttl is not None and not 0 < ttl < math.inf:
        raise ValueError(f"task_ttl must be positive and finite, got {ttl}")
    if poll is not None and not 0 < poll < math.inf:
        raise ValueError(f"task_poll must be positive and finite, got {poll}")
    return TaskSupport(
        required=mode == "required",
        after=after,
        ttl=ttl if ttl is UNSET or ttl is None else _ms(ttl),
        poll_interval=None if poll is None else _ms(poll),
    )


def describe(record: "TaskRecord", form: TaskForm) -> "Task":
    """Return a task without its requests for input and its outcome."""
    from mcpcore.spec.types.tasks import SentTask  # here and not above: most servers have none

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
    return described(status=_experimental_status(record), ttl=ttl, poll_interval=poll)


def detail(record: "TaskRecord") -> Raw:
    """Return a task of the extension with all members of its status."""
    view = to_json(describe(record, TaskForm.EXTENSION))
    payload = b""
    if record.status == "input_required":
        payload = b'"inputRequests":' + msgspec.json.encode(record.questions)
    elif record.result is not None:
        payload = b'"result":' + _inlined(record.result, record.meta)
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


def _experimental_status(record: "TaskRecord") -> "TaskStatus":
    return "failed" if record.is_error else record.status


def _inlined(result: Raw, meta: Any) -> bytes:
    """Return the result that the call would have had, without the server's identity."""
    members = b'"resultType":"complete"'
    if meta:
        members += b',"_meta":' + to_json(meta)
    return splice(to_json(result), members)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
