"""Settings of tasks, apart from the table, so that they load without it."""

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers


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
    keep: int = 60_000
    """Minimum time that a task is kept after its end, whatever its ttl was."""
    poll_interval: int = 500
    """Time between two polls that clients are asked to leave."""
    page_size: int = 100

    def __post_init__(self) -> None:
        check_numbers(self, "questions", "keep", "min_ttl")
