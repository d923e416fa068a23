"""How a server works with the store of its sessions."""

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers


class StoreLinkSettings(Struct, frozen=True, kw_only=True):
    """How a server works with its store.  Times in seconds."""

    batch: int = 500
    """Most steps that are carried out together."""
    waiting: int = 10_000
    """Steps that wait for the store; what is more fails at once, as busy."""
    listen: float = 3.0
    """How long one look into the mailbox waits; a worker also shows by it that it is there."""
    pause: float = 0.5
    """How long after a failure the mailbox is looked into again."""
    farewell: float = 5.0
    """How long steps may take that are under way at the end."""

    def __post_init__(self) -> None:
        check_numbers(self, "waiting", "farewell")
