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
    """Received data over a limit of this side, compressed or not."""
    ENCODING = "encoding"
    """Received data in a content coding that is not supported, or broken."""
    MALFORMED = "malformed"
    """Received data that breaks the protocol of the transport."""
    CONNECT = "connect"
    """No connection could be opened."""
    CONNECT_TIMEOUT = "connect timeout"
    """No connection was open in time."""
    TLS = "tls"
    """Failure to secure the connection, or lack of trust between the two sides."""
    PROXY = "proxy"
    """Failure of the proxy to do what was asked of it."""
    STALLED = "stalled"
    """No reading or writing by the other side for too long."""
    HEADERS = "headers"
    """Failure of the application to provide the headers to send."""


class Fault(Struct, frozen=True):
    """Details of a failure. ``status`` and ``retry_after`` (seconds) come from an HTTP response."""

    kind: FaultKind
    status: int | None = None
    retry_after: float | None = None
    location: str | None = None
    """Target of a redirect, as sent."""
