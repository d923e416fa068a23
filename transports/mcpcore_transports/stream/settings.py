"""Limits of a connection over a stream or WebSocket.

They stand apart so that settings can be read without the drivers, which take time to import.
"""

from msgspec import Struct

from mcpcore.spec.bounds import check_numbers


class PumpSettings(Struct, frozen=True, kw_only=True):
    """Limits of one connection.  Sizes are in bytes, times in seconds."""

    read_size: int = 64 * 1024
    """Maximum bytes of one read."""
    queued: int = 1024 * 1024
    """Bytes of unsent output beyond which a server stops reading until some of it is written."""
    stall: float = 30.0
    """Seconds without any output taken by the peer after which the connection ends."""
    drain: float = 0.5
    """Seconds for running requests and unsent output after end of input, a signal or aclose()."""

    def __post_init__(self) -> None:
        check_numbers(self, "queued", "drain")
