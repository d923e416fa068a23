"""Tasks as they are declared; servers without tasks load this and not the table of tasks."""

import math
from enum import Enum
from functools import lru_cache
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from mcpcore.spec.bounds import check_numbers
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision

TaskMode = Literal["forbidden", "optional", "required"]


class TaskSettings(Struct, frozen=True, kw_only=True):
    """Limits and defaults of one table. Times in milliseconds, sizes in bytes."""

    tasks: int = 10_000
    """Maximum tasks at one time, ended ones that are kept included."""
    per_owner: int = 1_000
    """Maximum tasks of one owner; tasks without an owner count against ``tasks`` alone."""
    result_size: int = 4 * 1024 * 1024
    """Maximum bytes of the result of one task; a larger one becomes an error."""
    stored: int = 256 * 1024 * 1024
    """Maximum bytes of the results of all tasks."""
    questions: int = 1_000
    """Maximum requests for input of one task in its life."""
    ttl: int | None = 3_600_000
    """Default time to live of a task, from its creation; None: no limit."""
    max_ttl: int = 86_400_000
    """Maximum time to live that a client can ask for."""
    min_ttl: int = 1_000
    """Minimum time to live of a task, whatever a client asks for."""
    keep: int = 60_000
    """Minimum time that a task is kept after its end, whatever its ttl was."""
    poll_interval: int = 500
    """Time between two polls that clients are asked to leave."""
    look_interval: int = 1_000
    """Time without news after which a worker looks into the store for a task of another one."""
    page_size: int = 100
    """Maximum tasks in one page of ``tasks/list`` (2025-11-25)."""

    def __post_init__(self) -> None:
        check_numbers(self, "questions", "keep", "min_ttl")


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
    """Return a tool's task options, checked; times in seconds.  Raises ValueError."""
    if mode not in ("forbidden", "optional", "required"):
        raise ValueError(f"task must be 'forbidden', 'optional' or 'required', not {mode!r}")
    if mode == "forbidden":
        return None
    if after is not None and not after >= 0:
        raise ValueError(f"task_after must not be negative, got {after}")
    return TaskSupport(
        required=mode == "required",
        after=after,
        ttl=ttl if ttl is UNSET or ttl is None else _ms("task_ttl", ttl),
        poll_interval=None if poll is None else _ms("task_poll", poll),
    )


def _ms(name: str, seconds: float) -> int:
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {seconds}")
    return max(1, round(seconds * 1000))
