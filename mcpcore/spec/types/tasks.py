"""Tasks: requests whose result comes later.

Two forms share one Struct for the task itself: the experimental tasks of 2025-11-25 (``ttl``,
``poll_interval``; the result is fetched with ``tasks/result``) and the extension
``io.modelcontextprotocol/tasks`` of the modern era (``ttl_ms``, ``poll_interval_ms``; the result
travels in the task).  Source: the tasks page of 2025-11-25, the extension's specification.
"""

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Raw, field

from mcpcore.spec.types.base import EmbeddedRequest, Meta, PaginatedResult, RequestParams, Result
from mcpcore.spec.types.model import Maybe, Model, as_sent

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]

TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Statuses that a task never leaves."""


class RelatedTaskMetadata(Model, kw_only=True):
    """Value of ``io.modelcontextprotocol/related-task`` in ``_meta``."""

    task_id: str


class Task(Model, kw_only=True):
    """State of a task.  Times are ISO 8601, durations milliseconds; a null ``ttl`` is unlimited.

    In the extension ``input_requests``, ``result`` and ``error`` come with the statuses
    ``input_required``, ``completed`` and ``failed``.
    """

    task_id: str
    status: TaskStatus
    created_at: str
    last_updated_at: str
    status_message: Maybe[str] = None
    ttl: Maybe[int | None] = None
    poll_interval: Maybe[int] = None
    ttl_ms: Maybe[int | None] = None
    poll_interval_ms: Maybe[int] = None
    input_requests: Maybe[dict[str, EmbeddedRequest]] = None
    result: Maybe[dict[str, Any]] = None
    error: Maybe[dict[str, Any]] = None


if TYPE_CHECKING:
    SentTask = Task
else:
    SentTask = as_sent(Task, "ttl", "ttl_ms")


class CreateTaskResult(Result, kw_only=True):
    """2025-11-25: result of a request that was accepted as a task."""

    task: SentTask


class TaskResult(Task, kw_only=True):
    """Task as a result.

    Of ``tasks/get``, of ``tasks/cancel`` (2025-11-25), and, with ``result_type`` ``task``, of a
    request that the server made a task of (extension).
    """

    meta: Maybe[Meta] = field(default=None, name="_meta")
    result_type: Maybe[str] = None


as_sent(TaskResult, "ttl", "ttl_ms")


class TaskParams(RequestParams, kw_only=True):
    """Params of a request about one task."""

    task_id: str


class UpdateTaskParams(TaskParams, kw_only=True):
    """Params of ``tasks/update``: answers to the task's input requests."""

    input_responses: dict[str, Raw]


class ListTasksResult(PaginatedResult, kw_only=True):
    """Result of ``tasks/list``: one page of tasks."""

    tasks: list[SentTask]


class GetTaskPayloadResult(Result, kw_only=True):
    """Result of ``tasks/result``: that of the original request, with its type."""


class TaskStatusParams(Task, kw_only=True):
    """Params of a notification about a task's status.

    ``notifications/tasks/status`` (2025-11-25) and ``notifications/tasks`` (extension).
    """

    meta: Maybe[Raw] = field(default=None, name="_meta")


as_sent(TaskStatusParams, "ttl", "ttl_ms")
