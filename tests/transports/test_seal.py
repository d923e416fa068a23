"""Seals of requestState: what opens them, and everything that must not."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from transports.seal import Seal, SealBroken, request_binding

KEY = b"k" * 32
BINDING = request_binding("alice", "tools/call", Raw(b'{"name":"a"}'))


class Wall:
    """A wall clock that tests turn by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_what_was_sealed_opens_with_its_binding_alone(payload: bytes, binding: bytes) -> None:
    seal = Seal(KEY)
    token = seal.seal(payload, binding)
    assert token.isascii()
    assert seal.open(token, binding) == payload
    with pytest.raises(SealBroken):
        seal.open(token, binding + b"x")


@pytest.mark.requirement("basic/patterns/mrtr/state-protected")
@given(st.data())
def test_no_altered_token_opens(data: st.DataObject) -> None:
    seal = Seal(KEY)
    token = seal.seal(b'{"answers":{}}', BINDING)
    position = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters().filter(lambda c: c != token[position]))
    altered = token[:position] + character + token[position + 1 :]
    with pytest.raises(SealBroken):
        seal.open(altered, BINDING)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "-TAMPERED",
        lambda token: token + "=",
        lambda token: token[:-1],
        lambda token: "",
        lambda token: "\ud800",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: "A" * 10_000_000,
    ],
)
def test_tokens_that_were_never_given_out(change: Callable[[str], str]) -> None:
    seal = Seal(KEY)
    with pytest.raises(SealBroken, match="requestState"):
        seal.open(change(seal.seal(b"state", BINDING)), BINDING)


def test_another_key_does_not_open() -> None:
    token = Seal(KEY).seal(b"state", BINDING)
    with pytest.raises(SealBroken):
        Seal(b"j" * 32).open(token, BINDING)
    assert Seal(KEY).open(token, BINDING) == b"state"


def test_expiry_is_in_wall_time() -> None:
    wall = Wall()
    seal = Seal(KEY, lifetime=60, wall=wall)
    token = seal.seal(b"state", BINDING)
    wall.now += 59.9
    assert seal.open(token, BINDING) == b"state"
    wall.now += 0.2
    with pytest.raises(SealBroken, match="expired"):
        seal.open(token, BINDING)


def test_limits() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Seal(b"short")
    seal = Seal(KEY, limit=100)
    assert seal.open(seal.seal(b"x" * 100, BINDING), BINDING) == b"x" * 100
    with pytest.raises(ValueError, match="101 bytes, over the limit of 100"):
        seal.seal(b"x" * 101, BINDING)


@pytest.mark.requirement("basic/patterns/mrtr/state-bound")
@pytest.mark.parametrize(
    ("principal", "method", "params", "same"),
    [
        ("alice", "tools/call", b'{"name":"a"}', True),
        ("alice", "tools/call", b'{"requestState":"s","name":"a","inputResponses":{"k":1}}', True),
        ("alice", "tools/call", b'{"_meta":{"progressToken":7},"name":"a"}', True),
        ("alice", "tools/call", b'{"name":"b"}', False),
        ("alice", "tools/call", b'{"name":"a","arguments":{}}', False),
        ("alice", "prompts/get", b'{"name":"a"}', False),
        ("bob", "tools/call", b'{"name":"a"}', False),
        (None, "tools/call", b'{"name":"a"}', False),
    ],
)
def test_binding(principal: str | None, method: str, params: bytes, same: bool) -> None:
    assert (request_binding(principal, method, Raw(params)) == BINDING) is same


def test_binding_does_not_depend_on_the_order_of_members() -> None:
    first = request_binding(None, "m", b'{"a":{"x":1,"y":2},"b":[1,2]}')
    second = request_binding(None, "m", b'{"b":[1,2],"a":{"y":2,"x":1}}')
    assert first == second
    assert request_binding(None, "m", b'{"a":{"x":1,"y":2},"b":[2,1]}') != first
