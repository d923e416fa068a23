"""The interface of seals: what a state is bound to, and what a refusal says."""

from typing import Any

import msgspec
import pytest

from mcpcore.engine.seal import SealRefusal, request_binding
from mcpcore.errors import SealBroken


def bound(params: Any, principal: str | None = None, method: str = "tools/call") -> Any:
    """The binding of a request."""
    raw = params if isinstance(params, bytes) else msgspec.json.encode(params)
    return request_binding(principal, method, raw)


CALL = {"name": "t", "arguments": {"a": 1, "b": [1, 2]}}


@pytest.mark.parametrize(
    "retry",
    [
        {**CALL, "_meta": {"progressToken": 7}},
        {**CALL, "inputResponses": {"k": {}}, "requestState": "s"},
        {"arguments": {"b": [1, 2], "a": 1}, "name": "t"},
        b'{ "name" : "t", "arguments" : {"a":1,"b":[ 1,2]} }',
    ],
)
def test_a_retry_is_bound_as_its_request_was(retry: Any) -> None:
    assert bound(retry) == bound(CALL)


@pytest.mark.parametrize(
    "other",
    [
        bound({**CALL, "name": "u"}),
        bound({"name": "t", "arguments": {"a": 1, "b": [2, 1]}}),
        bound({"name": "t"}),
        bound(CALL, principal="somebody"),
        bound(CALL, method="prompts/get"),
    ],
)
def test_everything_else_is_another_request(other: Any) -> None:
    assert other != bound(CALL)


def test_numbers_that_no_float_holds_are_bound_as_they_are_written() -> None:
    huge = b'{"name":"t","arguments":{"a":1e999}}'
    assert bound(huge) == bound(huge)
    assert bound(huge) != bound(huge.replace(b"1e999", b"1e998"))


@pytest.mark.parametrize("reason", list(SealRefusal))
def test_a_refusal_says_why(reason: SealRefusal) -> None:
    broken = SealBroken(reason)
    assert broken.reason is reason
    assert str(broken) == reason.value
    assert str(broken).startswith("requestState "), "the parameter that it is about"
