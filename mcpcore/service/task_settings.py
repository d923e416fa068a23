"""How tasks are kept: what servers and clients name without having any."""

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers


class TaskSettings(Struct, frozen=True, kw_only=True):
    """Bounds and habits of one table. Times in milliseconds, sizes in bytes."""

    tasks: int = 10_000
    """Tasks at one time, those that have ended and are kept included."""
    per_owner: int = 1_000
    """The same for one owner; what has no owner counts against ``tasks`` alone."""
    result_size: int = 4 * 1024 * 1024
    """The result of one task; a larger one becomes an error."""
    stored: int = 256 * 1024 * 1024
    """The results of all tasks."""
    questions: int = 1_000
    """What one task may ask in its life."""
    ttl: int | None = 3_600_000
    """How long a task is kept, from its creation, if nobody says otherwise; None: for ever."""
    max_ttl: int = 86_400_000
    """The most that a client gets."""
    min_ttl: int = 1_000
    keep: int = 60_000
    """How long a task is kept at least after its end, whatever its ttl was."""
    poll_interval: int = 500
    """How often a client should ask."""
    page_size: int = 100

    def __post_init__(self) -> None:
        check_numbers(self, "questions", "keep", "min_ttl")
