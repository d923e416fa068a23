"""What a call of the client can raise, and from whom it comes.

:class:`PeerError` is the other side's answer.  Everything else is a
:class:`~mcpcore.spec.errors.LocalError`: it happened here and was never said by the server.  What a
tool calls an error is a result, which raises :class:`ToolFailed` when it is asked to.
"""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Raw

from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    InputRequired,
    RequestEnded,
    ResultReceived,
)
from mcpcore.engine.faults import Fault, FaultKind
from mcpcore.spec.errors import URL_ELICITATION_REQUIRED, ErrorData, LocalError, McpError
from mcpcore.spec.errors import ToolFailed as ToolFailed
from mcpcore.spec.types.elicitation import ElicitUrlParams
from mcpcore.spec.types.errors import UrlElicitationRequiredData
from transports.typed import Malformed, typed

T = TypeVar("T")


class PeerError(McpError):
    """The server answered ``method`` with an error; ``error`` is that error."""

    def __init__(self, method: str, error: ErrorData) -> None:
        super().__init__(error.code, error.message, error.data)
        self.method = method


class UrlElicitationRequired(PeerError):
    """The server wants its user to visit URLs first; ``elicitations`` says which (2025-11-25)."""

    def __init__(
        self, method: str, error: ErrorData, elicitations: Sequence[ElicitUrlParams]
    ) -> None:
        super().__init__(method, error)
        self.elicitations = tuple(elicitations)


class CallFailed(LocalError):
    """A request ended without an answer of the server."""

    fault: Fault | None = None
    """What exactly happened, where the transport tells (HTTP)."""

    def __init__(self, method: str, message: str) -> None:
        told = message.startswith(f"{method}:")
        super().__init__(message if told else f"{method}: {message}")
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


# What can go wrong over HTTP


class HttpStatusError(RequestRefused):
    """The server answered with an HTTP ``status`` that says no, and no JSON-RPC error.

    ``retry_after``: the seconds that it asked us to wait, None if it did not.
    """

    status = 0
    retry_after: float | None = None


class RedirectRefused(HttpStatusError):
    """The server sent a message of ours elsewhere (``location``); it was not sent there."""

    location: str | None = None


class HeadersFailed(RequestRefused):
    """The function that makes the headers of requests failed, or made some that cannot be sent."""


class ResponseTooLarge(InvalidResponse):
    """A response, or an event of it, is over a limit, compressed or not."""


class ResponseUndecodable(InvalidResponse):
    """A response is compressed in a way that is not taken, or the compressed data is broken."""


class MalformedResponse(InvalidResponse):
    """What came is no HTTP response."""


class ConnectFailed(ConnectionClosed):
    """No connection could be opened."""


class ConnectTimeout(ConnectFailed, TimeoutError):
    """No connection was open in time."""


class TlsFailed(ConnectFailed):
    """The connection could not be secured, or one side does not trust the other."""


class ProxyFailed(ConnectFailed):
    """The proxy did not let us through; ``status`` is what it answered, None if it did not."""

    status: int | None = None


class ServerStalled(ConnectionClosed, TimeoutError):
    """The server stopped taking a request, or sending its response, for too long."""


class NegotiationError(LocalError):
    """Client and server have no common ground; ``error`` is what the server said, if it did.

    If it was the connection that failed, the CallFailed that tells of it is the cause.
    """

    def __init__(self, message: str, error: ErrorData | None = None) -> None:
        super().__init__(message)
        self.error = error


def result_of(outcome: ResultReceived | ErrorReceived | InputRequired | RequestEnded) -> Raw:
    """Return the result, or raise what became of the request instead."""
    if isinstance(outcome, ResultReceived):
        return outcome.result
    if isinstance(outcome, ErrorReceived):
        raise peer_error(outcome.method, outcome.error)
    if isinstance(outcome, RequestEnded):
        raise ended(outcome)
    raise InvalidResponse(outcome.method, "it cannot ask for input")


def peer_error(method: str, error: ErrorData) -> PeerError:
    """Make the exception for an error of the server."""
    if error.code == URL_ELICITATION_REQUIRED and error.data is not None:
        try:
            wanted = typed(error.data, UrlElicitationRequiredData).elicitations
        except Malformed:
            return PeerError(method, error)
        if wanted and all(each.elicitation_id is not None for each in wanted):
            return UrlElicitationRequired(method, error, wanted)
    return PeerError(method, error)


def promised(raw: Raw, expected: type[T], method: str) -> T:
    """Type what the server sent in answer to ``method``.  Raises InvalidResponse."""
    try:
        return typed(raw, expected)
    except Malformed as error:
        raise InvalidResponse(method, f"the server's message is malformed: {error}") from None


_BY_REASON: dict[EndReason, type[CallFailed]] = {
    EndReason.TIMED_OUT: RequestTimeout,
    EndReason.CANCELLED: RequestAborted,
    EndReason.CLOSED: ConnectionClosed,
    EndReason.INVALID: InvalidResponse,
    EndReason.REFUSED: RequestRefused,
}


_BY_KIND: dict[FaultKind, type[CallFailed]] = {
    FaultKind.STATUS: HttpStatusError,
    FaultKind.REDIRECT: RedirectRefused,
    FaultKind.HEADERS: HeadersFailed,
    FaultKind.TOO_LARGE: ResponseTooLarge,
    FaultKind.ENCODING: ResponseUndecodable,
    FaultKind.MALFORMED: MalformedResponse,
    FaultKind.CONNECT: ConnectFailed,
    FaultKind.CONNECT_TIMEOUT: ConnectTimeout,
    FaultKind.TLS: TlsFailed,
    FaultKind.PROXY: ProxyFailed,
    FaultKind.STALLED: ServerStalled,
}


def ended(event: RequestEnded) -> CallFailed:
    """Turn the engine's terminal event into the exception that tells of it."""
    if event.fault is not None:
        return failed(event.method, event.message, event.fault)
    return _BY_REASON[event.reason](event.method, event.message)


def failed(method: str, message: str, fault: Fault) -> CallFailed:
    """Make the exception for what exactly happened to a request."""
    error = _BY_KIND[fault.kind](method, message)
    error.fault = fault
    if isinstance(error, HttpStatusError):
        error.status, error.retry_after = fault.status or 0, fault.retry_after
    if isinstance(error, RedirectRefused):
        error.location = fault.location
    if isinstance(error, ProxyFailed):
        error.status = fault.status
    return error
