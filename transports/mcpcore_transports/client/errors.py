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
