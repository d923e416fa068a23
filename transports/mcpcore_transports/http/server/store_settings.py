"""Settings for a server's use of its session store."""

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers


class StoreLinkSettings(Struct, frozen=True, kw_only=True):
    """Settings for a server's use of its store.  Times are in seconds."""

    batch: int = 500
    """Maximum number of steps in one batch."""
    waiting: int = 10_000
    """Maximum number of steps that wait for the store; further ones fail at once, as busy."""
    listen: float = 3.0
    """Seconds of one wait for the mailbox, which also shows that the worker is alive."""
    pause: float = 0.5
    """Seconds from a failure to the next read of the mailbox."""
    farewell: float = 5.0
    """Seconds at the end for steps that are in progress."""

    def __post_init__(self) -> None:
        check_numbers(self, "waiting", "farewell")
