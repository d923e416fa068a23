"""Failures of requests as policies judge them, out of the tables of errors and transport faults.

Sources: RFC 9110 sections 10.2.3 (``Retry-After``) and 15; RFC 6585 section 4; RFC 8470 section
5.2; the rows of :data:`mcpcore.spec.errors.ERRORS`.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct, structs

from mcpcore.engine.events import EndReason, Fault, FaultKind
from mcpcore.spec.errors import ERRORS, ErrorData


class RequestFailure(Struct, frozen=True):
    """Failure of a request, as policies judge it."""

    passing: bool = False
    """True if the same request may succeed later."""
    not_carried_out: bool = False
    """True if the server has certainly not begun to carry the request out."""
    blames_server: bool = False
    """True if the server, or the way to it, is at fault rather than the request."""
    wait: float | None = None
    """Seconds that the server asked to wait, None if it did not."""


_HARMLESS = RequestFailure()
_UNREACHABLE = RequestFailure(passing=True, not_carried_out=True, blames_server=True)
_LOST = RequestFailure(passing=True, blames_server=True)
_BROKEN = RequestFailure(blames_server=True)
_REFUSED = RequestFailure(not_carried_out=True)
_LATER = RequestFailure(passing=True, not_carried_out=True)

_BY_STATUS: Mapping[int, RequestFailure] = {
    408: _UNREACHABLE,  # the server has not received the whole request
    425: _LATER,
    429: _LATER,
    502: _LOST,
    503: _LOST,  # proxies also give it when the server fails in the middle
    504: _LOST,
}
_BY_KIND: Mapping[FaultKind, RequestFailure] = {
    FaultKind.CONNECT: _UNREACHABLE,
    FaultKind.CONNECT_TIMEOUT: _UNREACHABLE,
    FaultKind.PROXY: _UNREACHABLE,
    FaultKind.TLS: RequestFailure(not_carried_out=True, blames_server=True),
    FaultKind.STALLED: _LOST,
    FaultKind.REDIRECT: _REFUSED,
    FaultKind.HEADERS: _REFUSED,
    FaultKind.AUTHORIZATION: _REFUSED,
    FaultKind.TOO_LARGE: _HARMLESS,
    FaultKind.ENCODING: _BROKEN,
    FaultKind.MALFORMED: _BROKEN,
}
_BY_REASON: Mapping[EndReason, RequestFailure] = {
    EndReason.TIMED_OUT: _BROKEN,
    EndReason.CANCELLED: _HARMLESS,
    EndReason.CLOSED: _LOST,
    EndReason.INVALID: _BROKEN,
    EndReason.REFUSED: _REFUSED,
}


class _Data(Struct, rename="camel"):
    retry_after_ms: float | None = None


def failure_of_error(error: ErrorData, fault: Fault | None = None) -> RequestFailure:
    """Judge a JSON-RPC error by its row; ``retryAfterMs`` in its data is the wait.

    An error whose row names a correction does not pass: the same request would fail again.
    ``fault``: the refusal that brought it, whose status and ``Retry-After`` count as well.
    """
    row, wait = ERRORS.get(error.code), _wait_in(error)
    told = _BY_STATUS.get((fault and fault.status) or 0, _HARMLESS)
    passing, blames = told.passing, told.blames_server
    if row is not None:
        passing = (passing or row.retryable) and not row.needs_correction
        blames = blames or row.status >= 500 or row.status == 408
    if wait is None and fault is not None:
        wait = fault.retry_after
    return RequestFailure(passing, blames_server=blames, wait=wait if passing else None)


def failure_of_end(reason: EndReason, fault: Fault | None = None) -> RequestFailure:
    """Judge a request that ended without an answer: by the transport's fault, else the reason."""
    if fault is None:
        return _BY_REASON[reason]
    if fault.kind is not FaultKind.STATUS or fault.status is None:
        failure = _BY_KIND.get(fault.kind, _HARMLESS)
    else:
        default = _BROKEN if fault.status >= 500 else _HARMLESS
        failure = _BY_STATUS.get(fault.status, default)
    unsent = failure.not_carried_out and not fault.sent_before
    return structs.replace(failure, not_carried_out=unsent, wait=fault.retry_after)


def _wait_in(error: ErrorData) -> float | None:
    try:
        wait = msgspec.json.decode(error.data, type=_Data).retry_after_ms if error.data else None
    except msgspec.MsgspecError:
        return None
    return None if wait is None or wait < 0 else wait / 1000
