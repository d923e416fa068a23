"""Bounds of a connection over a stream or WebSocket, apart from what keeps them."""

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers


class PumpSettings(Struct, frozen=True, kw_only=True):
    """Bounds of one connection. Sizes in bytes, times in seconds."""

    read_size: int = 64 * 1024
    """Most that is read at once."""
    queued: int = 1024 * 1024
    """A server whose unsent output exceeds this stops reading until some of it is written."""
    stall: float = 30.0
    """Output of which the other side takes nothing for this long ends the connection."""
    drain: float = 0.5
    """What running requests and unsent output get after end of input, a signal or aclose()."""

    def __post_init__(self) -> None:
        check_numbers(self, "queued", "drain")
