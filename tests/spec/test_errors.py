"""The rows of error codes, the error object and the exceptions."""

from collections.abc import Collection

import msgspec
import pytest
from msgspec import Raw

from mcpcore.spec import errors, types
from mcpcore.spec.decoding import decode
from mcpcore.spec.errors import (
    ERRORS,
    CapabilityMissing,
    ErrorData,
    LocalError,
    McpError,
)
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, LEGACY, MODERN, REVISIONS


@pytest.mark.parametrize(
    ("code", "name", "revisions", "status", "always"),
    [
        (-32700, "ParseError", REVISIONS, 400, False),
        (-32600, "InvalidRequest", REVISIONS, 400, False),
        (-32601, "MethodNotFound", REVISIONS, 404, False),
        (-32602, "InvalidParams", REVISIONS, 400, False),
        (-32603, "InternalError", REVISIONS, 500, False),
        (-32002, "ResourceNotFound", LEGACY, 200, False),
        (-32042, "UrlElicitationRequired", (LATEST_LEGACY,), 200, False),
        (-32020, "HeaderMismatch", MODERN, 400, True),
        (-32021, "MissingRequiredClientCapability", MODERN, 400, True),
        (-32022, "UnsupportedProtocolVersion", MODERN, 400, True),
    ],
)
def test_codes_of_the_specification(
    code: int, name: str, revisions: tuple[object, ...], status: int, always: bool
) -> None:
    row = ERRORS[code]
    assert (row.name, row.revisions, row.status) == (name, revisions, status)
    assert row.status_always is always
    assert row.proves_modern is always


def test_every_constant_has_a_row() -> None:
    constants = {value for value in vars(errors).values() if type(value) is int}
    assert constants == ERRORS.keys()


@pytest.mark.requirement(
    "basic/index/legacy-codes-not-allocated",
    "basic/index/legacy-codes-unused",
    "basic/index/new-codes",
)
def test_codes_of_our_own_in_the_modern_era_are_outside_the_reserved_range() -> None:
    ours = {errors.BUSY, errors.TOO_LARGE, errors.TIMED_OUT, errors.FORBIDDEN}
    assert not any(-32768 <= code <= -32000 for code in ours)
    for code in ERRORS.keys() - ours:
        assert -32768 <= code <= -32000
    for row in ERRORS.values():
        # -32000 to -32019 are for implementations, in the legacy era; the rest is the standard's.
        if -32019 <= row.code <= -32000:
            assert set(row.revisions) <= set(LEGACY), row.name


@pytest.mark.parametrize(
    ("codes", "name", "status"),
    [
        ((errors.BUSY, errors.LEGACY_BUSY), "Busy", 503),
        ((errors.TOO_LARGE, errors.LEGACY_TOO_LARGE), "TooLarge", 413),
        ((errors.TIMED_OUT, errors.LEGACY_TIMED_OUT), "TimedOut", 408),
    ],
)
def test_our_own_errors_have_a_code_in_each_era(
    codes: tuple[int, int], name: str, status: int
) -> None:
    modern, legacy = (ERRORS[code] for code in codes)
    assert (modern.revisions, legacy.revisions) == (MODERN, LEGACY)
    for row in (modern, legacy):
        assert (row.name, row.status, row.retryable) == (name, status, name != "TooLarge")


def test_the_busy_code_is_that_of_the_era() -> None:
    assert errors.busy_code(LATEST) == errors.BUSY
    assert errors.busy_code(LATEST_LEGACY) == errors.busy_code(None) == errors.LEGACY_BUSY


def test_error_data_leaves_out_what_is_absent_and_keeps_null() -> None:
    assert msgspec.json.encode(ErrorData.make(1, "m")) == b'{"code":1,"message":"m"}'
    assert msgspec.json.encode(ErrorData.make(1, "m", None)) == b'{"code":1,"message":"m"}'
    assert msgspec.json.encode(ErrorData.make(1, "m", Raw(b"null"))) == (
        b'{"code":1,"message":"m","data":null}'
    )
    said = decode(b'{"code":1,"message":"m","data":null}', ErrorData)
    assert said.data == Raw(b"null")
    assert msgspec.json.encode(said) == b'{"code":1,"message":"m","data":null}'
    raw = Raw(b'{"a": 1}')
    assert ErrorData.make(1, "m", raw).data is raw
    received = decode(b'{"code":-32602,"message":"m","data":{"a": 1},"x":0}', ErrorData)
    assert msgspec.json.encode(received) == b'{"code":-32602,"message":"m","data":{"a": 1}}'


def test_mcp_error() -> None:
    error = McpError(-32602, "no such tool", {"name": "x"})
    assert str(error) == "no such tool (-32602)"
    assert error.code == -32602
    again = McpError.of(error.error)
    assert again.error == error.error
    assert McpError(1, "m").error.data is None


def test_capability_missing() -> None:
    error = CapabilityMissing("elicitation.url")
    assert error.capability == "elicitation.url"
    assert "elicitation.url" in str(error)
    assert str(CapabilityMissing("roots", "no")) == "no"
    assert isinstance(error, LocalError)
    assert not isinstance(error, McpError)


def test_the_data_of_errors() -> None:
    missing = types.MissingRequiredClientCapabilityData(
        required_capabilities=types.ClientCapabilities(
            elicitation=types.ElicitationCapability(url={})
        )
    )
    assert msgspec.json.encode(missing) == b'{"requiredCapabilities":{"elicitation":{"url":{}}}}'
    unsupported = decode(
        b'{"supported":["2026-07-28"],"requested":"1900-01-01"}',
        types.UnsupportedProtocolVersionData,
    )
    assert unsupported.supported == [LATEST.name]
    visit = decode(
        b'{"elicitations":[{"mode":"url","message":"m","url":"https://e.x","elicitationId":"1"}]}',
        types.UrlElicitationRequiredData,
    )
    assert visit.elicitations[0].elicitation_id == "1"


@pytest.mark.parametrize(
    ("scopes", "role", "text"),
    [
        ((), False, "forbidden: scopes are missing (1004)"),
        ({"b", "a"}, False, "forbidden: scopes are missing; it needs the scopes a b (1004)"),
        ((), True, "forbidden: a role is missing (1004)"),
        ({"a"}, True, "forbidden: a role is missing (1004)"),  # none would help
    ],
)
def test_a_refusal_names_the_scopes_that_its_data_holds(
    scopes: Collection[str], role: bool, text: str
) -> None:
    error = errors.Forbidden(scopes, role=role)
    assert str(error) == text
    assert isinstance(error.error.data, Raw)
    assert msgspec.json.decode(error.error.data) == {"scope": [] if role else sorted(scopes)}
