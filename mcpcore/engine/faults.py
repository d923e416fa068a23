"""Kinds of transport failures, for applications that want more than a message.

A transport names the kind when it reports a failure; the engine passes it on untouched.
"""

from enum import Enum

from msgspec import Struct


class FaultKind(Enum):
    """Kinds of failure of an exchange."""

    STATUS = "status"
    """HTTP status of the server that refuses the request."""
    REDIRECT = "redirect"
    """Redirect of the server, which is not followed."""
    TOO_LARGE = "too large"
    """Response over a limit of this side, compressed or not."""
    ENCODING = "encoding"
    """Response with a content coding that is not supported, or broken."""
    MALFORMED = "malformed"
    """Response that breaks the protocol of the transport."""
    CONNECT = "connect"
    """No connection could be opened."""
    CONNECT_TIMEOUT = "connect timeout"
    """No connection was open in time."""
    TLS = "tls"
    """Connection that could not be secured, or one side does not trust the other."""
    PROXY = "proxy"
    """Proxy that did not do what was asked of it."""
    STALLED = "stalled"
    """Other side that stopped reading or writing for too long."""
    HEADERS = "headers"
    """Application that could not provide the headers to send."""


class Fault(Struct, frozen=True):
    """One failure. ``status`` and ``retry_after`` (seconds) come from an HTTP response."""

    kind: FaultKind
    status: int | None = None
    retry_after: float | None = None
    location: str | None = None
    """Target of a redirect, as sent."""
