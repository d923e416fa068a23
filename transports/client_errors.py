"""What a call of the client can raise, and from whom it comes.

:class:`PeerError` is the other side's answer.  Everything else is a
:class:`~mcpcore.spec.errors.LocalError`: it happened here and was never said by the server.
"""

from mcpcore.engine.events import EndReason, RequestEnded
from mcpcore.spec.errors import ErrorData, LocalError, McpError


class PeerError(McpError):
    """The server answered ``method`` with an error; ``error`` is that error."""

    def __init__(self, method: str, error: ErrorData) -> None:
        super().__init__(error.code, error.message, error.data)
        self.method = method


class CallFailed(LocalError):
    """A request ended without an answer of the server."""

    def __init__(self, method: str, message: str) -> None:
        super().__init__(f"{method}: {message}")
        self.method = method


class RequestTimeout(CallFailed, TimeoutError):
    """No answer in time; the server was told that it is no longer wanted."""


class ConnectionClosed(CallFailed, ConnectionError):
    """The connection ended before the answer, or had ended already."""


class RequestRefused(CallFailed):
    """It was not sent: negotiation failed, or the transport refused it."""


class RequestAborted(CallFailed):
    """It was cancelled on this side by someone other than its caller."""


class InvalidResponse(CallFailed):
    """The server's answer breaks the protocol or does not have the promised type."""


class InputFailed(CallFailed):
    """The server asked for input that this client cannot or may not give."""


class NegotiationError(LocalError):
    """Client and server have no common ground; ``error`` is what the server said, if it did."""

    def __init__(self, message: str, error: ErrorData | None = None) -> None:
        super().__init__(message)
        self.error = error


_BY_REASON: dict[EndReason, type[CallFailed]] = {
    EndReason.TIMED_OUT: RequestTimeout,
    EndReason.CANCELLED: RequestAborted,
    EndReason.CLOSED: ConnectionClosed,
    EndReason.INVALID: InvalidResponse,
    EndReason.REFUSED: RequestRefused,
}


def ended(event: RequestEnded) -> CallFailed:
    """Turn the engine's terminal event into the exception that tells of it."""
    return _BY_REASON[event.reason](event.method, event.message)
