"""What exactly went wrong on the way to an answer, for owners that want more than a sentence.

A transport names it when it reports a failure; the engine passes it on untouched.
"""

from enum import Enum

from msgspec import Struct


class FaultKind(Enum):
    """Where an exchange came to grief."""

    STATUS = "status"
    """The server answered with an HTTP status that says no."""
    REDIRECT = "redirect"
    """The server sent us elsewhere, and we do not go."""
    TOO_LARGE = "too large"
    """What came is over a limit of ours, compressed or not."""
    ENCODING = "encoding"
    """What came is compressed in a way that is not taken, or broken."""
    MALFORMED = "malformed"
    """What came is not the protocol of the transport."""
    CONNECT = "connect"
    """No connection could be opened."""
    CONNECT_TIMEOUT = "connect timeout"
    """No connection was open in time."""
    TLS = "tls"
    """The connection could not be secured, or one side does not trust the other."""
    PROXY = "proxy"
    """The proxy did not do what was asked of it."""
    STALLED = "stalled"
    """The other side stopped reading or writing for too long."""
    HEADERS = "headers"
    """Our own owner could not say what to send."""


class Fault(Struct, frozen=True):
    """One failure. ``status`` and ``retry_after`` (seconds) are what an HTTP response said."""

    kind: FaultKind
    status: int | None = None
    retry_after: float | None = None
    location: str | None = None
    """Where a redirect points, as sent."""
