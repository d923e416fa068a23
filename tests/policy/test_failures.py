"""Failures as policies judge them: errors by their rows, ends by fault and reason."""

from typing import Any

import pytest
from msgspec import structs

from mcpcore.engine.events import EndReason, Fault, FaultKind
from mcpcore.policy.failures import RequestFailure, failure_of_end, failure_of_error
from mcpcore.spec import errors
from mcpcore.spec.errors import ERRORS, ErrorData


@pytest.mark.parametrize("row", ERRORS.values(), ids=lambda row: f"{row.name}{row.code}")
def test_an_error_passes_by_its_row(row: errors.ErrorRow) -> None:
    failure = failure_of_error(ErrorData(row.code, "m"))
    assert failure.passing == (row.retryable and not row.proves_modern)
    assert failure.blames_server == (row.name in {"InternalError", "Busy", "TimedOut"})
    assert not failure.not_carried_out


def test_an_unknown_error_is_final() -> None:
    assert failure_of_error(ErrorData(-31000, "m")) == RequestFailure()


@pytest.mark.parametrize(
    ("data", "wait"),
    [
        (None, None),
        ({"retryAfterMs": 1500}, 1.5),
        ({"retryAfterMs": 0.5, "more": [1]}, 0.0005),
        ({"retryAfterMs": -1}, None),
        ({"retryAfterMs": 0}, 0.0),
        ({"retryAfterMs": "1500"}, None),
        ({"retryAfterMs": True}, None),
        ({"retryAfterMs": None}, None),
        ({}, None),
        ([1500], None),
        ("soon", None),
    ],
)
def test_the_data_of_an_error_may_name_the_wait(data: Any, wait: float | None) -> None:
    assert failure_of_error(ErrorData.make(errors.BUSY, "m", data)).wait == wait
    assert failure_of_error(ErrorData.make(errors.INTERNAL_ERROR, "m", data)).wait is None


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.STATUS])
def test_each_kind_of_fault_is_judged(kind: FaultKind) -> None:
    failure = failure_of_end(EndReason.CLOSED, Fault(kind))
    unsent = {"CONNECT", "CONNECT_TIMEOUT", "PROXY", "TLS"}
    ours = {"REDIRECT", "HEADERS", "AUTHORIZATION"}
    assert failure.passing == (kind.name in {"CONNECT", "CONNECT_TIMEOUT", "PROXY", "STALLED"})
    assert failure.not_carried_out == (kind.name in unsent | ours)
    assert failure.blames_server == (kind.name not in {*ours, "TOO_LARGE"})


@pytest.mark.parametrize(
    ("status", "passing", "not_carried_out", "blames"),
    [
        (None, False, False, False),
        (400, False, False, False),
        (404, False, False, False),
        (408, True, True, True),
        (425, True, True, False),
        (429, True, True, False),
        (500, False, False, True),
        (501, False, False, True),
        (502, True, False, True),
        (503, True, False, True),
        (504, True, False, True),
    ],
)
@pytest.mark.parametrize("wait", [None, 7.0])
def test_a_status_is_judged(
    status: int | None, passing: bool, not_carried_out: bool, blames: bool, wait: float | None
) -> None:
    failure = failure_of_end(EndReason.REFUSED, Fault(FaultKind.STATUS, status, wait))
    assert failure == RequestFailure(passing, not_carried_out, blames, wait)


@pytest.mark.parametrize(
    ("reason", "passing", "not_carried_out", "blames"),
    [
        (EndReason.TIMED_OUT, False, False, True),
        (EndReason.CANCELLED, False, False, False),
        (EndReason.CLOSED, True, False, True),
        (EndReason.INVALID, False, False, True),
        (EndReason.REFUSED, False, True, False),
    ],
)
def test_an_end_without_a_fault_is_judged_by_its_reason(
    reason: EndReason, passing: bool, not_carried_out: bool, blames: bool
) -> None:
    assert failure_of_end(reason) == RequestFailure(passing, not_carried_out, blames, None)


@pytest.mark.parametrize(
    ("code", "status", "passing", "blames"),
    [
        (errors.INTERNAL_ERROR, 429, True, True),
        (errors.INTERNAL_ERROR, 500, False, True),
        (-31000, 429, True, False),
        (-31000, 503, True, True),
        (-31000, 404, False, False),
        (errors.UNSUPPORTED_PROTOCOL_VERSION, 503, False, True),
    ],
)
def test_an_error_is_judged_by_the_status_that_it_came_with_as_well(
    code: int, status: int, passing: bool, blames: bool
) -> None:
    fault = Fault(FaultKind.STATUS, status, 7.0)
    failure = failure_of_error(ErrorData(code, "m"), fault)
    assert failure == RequestFailure(passing, False, blames, 7.0 if passing else None)
    if passing:
        asked = ErrorData.make(code, "m", {"retryAfterMs": 500})
        assert failure_of_error(asked, fault).wait == 0.5


@pytest.mark.parametrize("fault", [Fault(FaultKind.CONNECT), Fault(FaultKind.STATUS, 429)])
def test_a_request_that_was_sent_before_may_have_been_carried_out(fault: Fault) -> None:
    assert failure_of_end(EndReason.CLOSED, fault).not_carried_out
    again = failure_of_end(EndReason.CLOSED, structs.replace(fault, sent_before=True))
    assert again.passing
    assert not again.not_carried_out
