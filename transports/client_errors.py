"""Exceptions of the client's calls, by their origin.

:class:`PeerError` is an error response of the server.  All others are a
:class:`~mcpcore.spec.errors.LocalError`: they happened on this side and the server did not send
them.  An error of a tool is a result; it raises :class:`ToolFailed` on demand.
"""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import Raw

from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    Fault,
    FaultKind,
    InputRequired,
    RequestEnded,
    ResultReceived,
)
from mcpcore.spec.errors import URL_ELICITATION_REQUIRED, ErrorData, LocalError, McpError
from mcpcore.spec.errors import ToolFailed as ToolFailed
from mcpcore.spec.types.elicitation import ElicitUrlParams
from mcpcore.spec.types.errors import UrlElicitationRequiredData
from transports.typed import Malformed, typed

T = TypeVar("T")


class PeerError(McpError):
    """The server answered ``method`` with an error, ``error``."""

    def __init__(self, method: str, error: ErrorData) -> None:
        super().__init__(error.code, error.message, error.data)
        self.method = method


class UrlElicitationRequired(PeerError):
    """The server requires visits to URLs first, listed in ``elicitations`` (2025-11-25)."""

    def __init__(
        self, method: str, error: ErrorData, elicitations: Sequence[ElicitUrlParams]
    ) -> None:
        super().__init__(method, error)
        self.elicitations = tuple(elicitations)


class CallFailed(LocalError):
    """A request ended without an answer of the server."""

    fault: Fault | None = None
    """Details of the failure, if the transport gives them (HTTP)."""

    def __init__(self, method: str, message: str) -> None:
        told = message.startswith(f"{method}:")
        super().__init__(message if told else f"{method}: {message}")
        self.method = method


class RequestTimeout(CallFailed, TimeoutError):
    """No answer arrived in time; the server was told that the request is cancelled."""


class ConnectionClosed(CallFailed, ConnectionError):
    """The connection ended before the answer, or had ended already."""


class RequestRefused(CallFailed):
    """The request was not sent: negotiation failed, or the transport refused it."""


class RequestAborted(CallFailed):
    """The request was cancelled on this side, but not by its caller."""


class InvalidResponse(CallFailed):
    """The server's answer violates the protocol or does not have the promised type."""


class InputFailed(CallFailed):
    """The server asked for input that this client cannot or may not give."""


# Failures over HTTP


class HttpStatusError(RequestRefused):
    """The server answered with an HTTP error ``status`` and no JSON-RPC error.

    ``retry_after``: seconds that the server asked to wait, None if it did not.
    """

    status = 0
    retry_after: float | None = None


class RedirectRefused(HttpStatusError):
    """The server redirected a message to ``location``; it was not sent there."""

    location: str | None = None


class HeadersFailed(RequestRefused):
    """The function that makes request headers failed, or made some that cannot be sent."""


class ResponseTooLarge(InvalidResponse):
    """A response, or an event in it, is over a limit, compressed or not."""


class ResponseUndecodable(InvalidResponse):
    """A response has an unsupported compression, or its compressed data is broken."""


class MalformedResponse(InvalidResponse):
    """The received data is no HTTP response."""


class ConnectFailed(ConnectionClosed):
    """No connection could be opened."""


class ConnectTimeout(ConnectFailed, TimeoutError):
    """No connection was open in time."""


class TlsFailed(ConnectFailed):
    """The connection could not be secured, or one side does not trust the other."""


class ProxyFailed(ConnectFailed):
    """The proxy refused the connection; ``status`` is its answer, None if it gave none."""

    status: int | None = None


class ServerStalled(ConnectionClosed, TimeoutError):
    """The server stopped reading a request, or sending its response, for too long."""


class NegotiationError(LocalError):
    """Negotiation failed; ``error`` is the server's error, if it sent one.

    If the connection failed, the CallFailed with the details is the cause.
    """

    def __init__(self, message: str, error: ErrorData | None = None) -> None:
        super().__init__(message)
        self.error = error


def result_of(outcome: ResultReceived | ErrorReceived | InputRequired | RequestEnded) -> Raw:
    """Return the result, or raise the exception for the outcome of the request."""
    if isinstance(outcome, ResultReceived):
        return outcome.result
    if isinstance(outcome, ErrorReceived):
        raise peer_error(outcome.method, outcome.error)
    if isinstance(outcome, RequestEnded):
        raise ended(outcome)
    raise InvalidResponse(outcome.method, "it cannot ask for input")


def peer_error(method: str, error: ErrorData) -> PeerError:
    """Return the exception for an error of the server."""
    if error.code == URL_ELICITATION_REQUIRED and error.data is not None:
        try:
            wanted = typed(error.data, UrlElicitationRequiredData).elicitations
        except Malformed:
            return PeerError(method, error)
        if wanted and all(each.elicitation_id is not None for each in wanted):
            return UrlElicitationRequired(method, error, wanted)
    return PeerError(method, error)


def promised(raw: Raw, expected: type[T], method: str) -> T:
    """Return an answer of the server to ``method``, typed.  Raises InvalidResponse."""
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
    """Return the exception for the end of a request without an answer."""
    if event.fault is not None:
        return failed(event.method, event.message, event.fault)
    return _BY_REASON[event.reason](event.method, event.message)


def failed(method: str, message: str, fault: Fault) -> CallFailed:
    """Return the exception for a request that failed with ``fault``."""
    error = _BY_KIND[fault.kind](method, message)
    error.fault = fault
    if isinstance(error, HttpStatusError):
        error.status, error.retry_after = fault.status or 0, fault.retry_after
    if isinstance(error, RedirectRefused):
        error.location = fault.location
    if isinstance(error, ProxyFailed):
        error.status = fault.status
    return error
