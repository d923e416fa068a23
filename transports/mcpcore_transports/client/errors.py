"""Exceptions of the client's calls: PeerError for the server's errors, CallFailed for ours."""

from typing import TypeVar

from msgspec import Raw

from mcpcore import errors
from mcpcore.engine import events
from mcpcore.service.reading import typed
from mcpcore.spec.errors import URL_ELICITATION_REQUIRED, ErrorData
from mcpcore.spec.types.client_features import UrlElicitationRequiredData
from mcpcore_transports.running.pending import Settled

T = TypeVar("T")


def failure_of_request(outcome: Settled) -> errors.PeerError | errors.CallFailed:
    """Return the exception for a request that was not answered with a result."""
    if isinstance(outcome, events.ErrorReceived):
        error = peer_error(outcome.method, outcome.error)
        error.fault = outcome.fault
        return error
    if isinstance(outcome, events.RequestEnded):
        if outcome.fault is not None:
            return failed(outcome.method, outcome.message, outcome.fault)
        return _BY_REASON[outcome.reason](outcome.method, outcome.message)
    return errors.InvalidResponse(outcome.method, "it cannot ask for input")


def reason_of(error: errors.CallFailed) -> events.EndReason | None:
    """Return the reason of a request's end, None for what ended outside of it."""
    known = (reason for reason, kind in _BY_REASON.items() if isinstance(error, kind))
    return next(known, None)


def peer_error(method: str, error: ErrorData) -> errors.PeerError:
    """Return the exception for an error of the server."""
    if error.code == URL_ELICITATION_REQUIRED and error.data is not None:
        try:
            wanted = typed(error.data, UrlElicitationRequiredData).elicitations
        except errors.Malformed:
            return errors.PeerError(method, error)
        if wanted and all(each.elicitation_id is not None for each in wanted):
            return errors.UrlElicitationRequired(method, error, wanted)
    return errors.PeerError(method, error)


def promised(raw: Raw, expected: type[T], method: str) -> T:
    """Return an answer of the server to ``method``, typed.  Raises InvalidResponse."""
    try:
        return typed(raw, expected)
    except errors.Malformed as error:
        raise errors.InvalidResponse(
            method, f"the server's message is malformed: {error}"
        ) from None


_BY_REASON: dict[events.EndReason, type[errors.CallFailed]] = {
    events.EndReason.TIMED_OUT: errors.RequestTimeout,
    events.EndReason.CANCELLED: errors.RequestAborted,
    events.EndReason.CLOSED: errors.ConnectionClosed,
    events.EndReason.INVALID: errors.InvalidResponse,
    events.EndReason.REFUSED: errors.RequestRefused,
}
_BY_KIND: dict[events.FaultKind, type[errors.CallFailed]] = {
    events.FaultKind.STATUS: errors.HttpStatusError,
    events.FaultKind.REDIRECT: errors.RedirectRefused,
    events.FaultKind.HEADERS: errors.HeadersFailed,
    events.FaultKind.TOO_LARGE: errors.ResponseTooLarge,
    events.FaultKind.ENCODING: errors.ResponseUndecodable,
    events.FaultKind.MALFORMED: errors.MalformedResponse,
    events.FaultKind.CONNECT: errors.ConnectFailed,
    events.FaultKind.CONNECT_TIMEOUT: errors.ConnectTimeout,
    events.FaultKind.TLS: errors.TlsFailed,
    events.FaultKind.PROXY: errors.ProxyFailed,
    events.FaultKind.STALLED: errors.ServerStalled,
    events.FaultKind.AUTHORIZATION: errors.CallUnauthorized,
}


def failed(method: str, message: str, fault: events.Fault) -> errors.CallFailed:
    """Return the exception for a request that failed with ``fault``."""
    error = _BY_KIND[fault.kind](method, message)
    error.fault = fault
    if isinstance(error, errors.HttpStatusError):
        error.status, error.retry_after = fault.status or 0, fault.retry_after
    if isinstance(error, errors.RedirectRefused):
        error.location = fault.location
    if isinstance(error, errors.ProxyFailed):
        error.status = fault.status
    return error


_KEPT = 1000
"""Maximum number of exceptions kept; beyond that the oldest is dropped."""


class RaisedExceptions:
    """Exceptions of server functions for a client in the same process to raise, by error id."""

    def __init__(self) -> None:
        self._kept: dict[str, BaseException] = {}

    def keep(self, error_id: str, error: Exception) -> None:
        """Keep the exception of a server function."""
        cause = error.__cause__ if isinstance(error, errors.HandlerExit) else None
        self._kept[error_id] = cause or error
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def raise_for(self, outcome: object) -> None:
        """Raise the exception that the outcome of a request, or the state of a task, refers to."""
        error, result = getattr(outcome, "error", None), getattr(outcome, "result", None)
        said = error.message.encode() if isinstance(error, ErrorData) else b""
        if isinstance(result, Raw):
            said = bytes(result)
        for error_id in self._kept:
            if error_id.encode() in said:
                raise self._kept.pop(error_id)

    def raise_rest(self) -> None:
        """Raise the remaining exceptions, mostly of functions whose calls are not awaited."""
        left = list(self._kept.values())
        self._kept.clear()
        if len(left) > 1:
            raise BaseExceptionGroup("functions of the server failed", left)
        if left:
            raise left[0]
