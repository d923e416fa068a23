"""Seals of requestState, both kinds: what opens them, and everything that must not."""

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs

from mcpcore.engine.seal import Binding, Seal, SealRefusal, request_binding
from mcpcore.errors import SealBroken
from mcpcore_transports.server.seal import AeadSeal, HmacSeal, SealKey, SealSettings, make_seal

ROOT = Path(__file__).parents[3]
NOW = 1_700_000_000.0
KEYS = tuple(SealKey(bytes([number]) * 32) for number in range(4))
MINE = request_binding("alice", "tools/call", b'{"name":"a"}')
PAYLOAD = b'{"answers":{"secret":"payload"}}'
KINDS = [HmacSeal, AeadSeal]

both = pytest.mark.parametrize("kind", KINDS)
kinds = st.sampled_from(KINDS)


def settings(*keys: int, **others: Any) -> SealSettings:
    return SealSettings(keys=tuple(KEYS[key] for key in keys or (0,)), **others)


NOT_OURS = (SealRefusal.FOREIGN, SealRefusal.ALTERED)


def refusal(seal: Seal, text: str, binding: Binding = MINE, wall: float = NOW) -> SealRefusal:
    with pytest.raises(SealBroken, match="requestState") as caught:
        seal.open(text, binding, wall=wall)
    assert str(caught.value) == caught.value.reason.value
    return caught.value.reason


@given(kinds, st.binary(max_size=300), st.text() | st.none(), st.text(), st.binary(max_size=40))
def test_what_was_sealed_opens(
    kind: Any, payload: bytes, principal: str | None, method: str, params: bytes
) -> None:
    binding = Binding(principal, method, params)
    seal: Seal = kind(settings())
    text = seal.seal(payload, binding, wall=NOW)
    assert text.isascii()
    assert set(text).isdisjoint("+/= \n")
    assert kind(settings()).open(text, binding, wall=NOW) == payload
    assert seal.open(text, binding, wall=NOW) == payload


@both
def test_two_seals_of_the_same_differ_only_where_they_are_encrypted(kind: Any) -> None:
    seal = kind(settings())
    texts = {seal.seal(PAYLOAD, MINE, wall=NOW) for _ in range(20)}
    assert len(texts) == (20 if kind is AeadSeal else 1)


@pytest.mark.requirement(
    "basic/patterns/mrtr/state-protected", "basic/patterns/mrtr/state-untrusted"
)
@both
def test_no_flipped_byte_goes_unnoticed(kind: Any) -> None:
    seal = kind(settings())
    sealed = decoded(seal.seal(PAYLOAD, MINE, wall=NOW))
    for position in range(len(sealed)):
        for mask in (0x01, 0x80, 0xFF):
            altered = bytearray(sealed)
            altered[position] ^= mask
            reason = refusal(seal, encoded(bytes(altered)))
            assert reason == (SealRefusal.FOREIGN if position < 9 else SealRefusal.ALTERED)
    for size in range(len(sealed)):
        assert refusal(seal, encoded(sealed[:size])) in NOT_OURS
        assert refusal(seal, encoded(sealed[size:] if size else b"")) in NOT_OURS


@given(kinds, st.data())
def test_no_replaced_character_goes_unnoticed(kind: Any, data: st.DataObject) -> None:
    seal = kind(settings())
    text = seal.seal(PAYLOAD, MINE, wall=NOW)
    position = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters().filter(lambda c: c != text[position]))
    assert refusal(seal, text[:position] + character + text[position + 1 :]) in NOT_OURS


@given(kinds, st.text() | st.binary(max_size=200).map(lambda data: encoded(data)))
def test_what_was_never_given_out(kind: Any, text: str) -> None:
    assert refusal(kind(settings()), text) in NOT_OURS


@both
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text + "-TAMPERED", SealRefusal.ALTERED),
        (lambda text: text + "=", SealRefusal.ALTERED),
        (lambda text: text[:-1], SealRefusal.ALTERED),
        (lambda text: text + "\n", SealRefusal.ALTERED),
        (lambda text: " " + text, SealRefusal.ALTERED),
        (lambda text: text[:40] + "!" + text[40:], SealRefusal.ALTERED),
        (lambda text: text[:12], SealRefusal.ALTERED),
        (lambda text: "", SealRefusal.FOREIGN),
        (lambda text: "\ud800", SealRefusal.ALTERED),
        (lambda text: "x", SealRefusal.ALTERED),
        (lambda text: "A" * 400_000, SealRefusal.FOREIGN),
        (lambda text: "A" * 10_000_000, SealRefusal.FOREIGN),
        (lambda text: text * 10_000, SealRefusal.FOREIGN),
    ],
)
def test_tampered_texts(kind: Any, change: Callable[[str], str], reason: SealRefusal) -> None:
    seal = kind(settings())
    assert refusal(seal, change(seal.seal(PAYLOAD, MINE, wall=NOW))) == reason


def test_one_kind_does_not_open_the_other() -> None:
    hmac, aead = HmacSeal(settings()), AeadSeal(settings())
    assert refusal(aead, hmac.seal(PAYLOAD, MINE, wall=NOW)) == SealRefusal.FOREIGN
    assert refusal(hmac, aead.seal(PAYLOAD, MINE, wall=NOW)) == SealRefusal.FOREIGN
    # Neither by claiming to be the other.
    as_aead = b"\x02" + decoded(hmac.seal(PAYLOAD, MINE, wall=NOW))[1:]
    as_hmac = b"\x01" + decoded(aead.seal(PAYLOAD, MINE, wall=NOW))[1:]
    assert refusal(aead, encoded(as_aead)) == SealRefusal.ALTERED
    assert refusal(hmac, encoded(as_hmac)) == SealRefusal.ALTERED


@pytest.mark.requirement("basic/patterns/mrtr/state-bound")
@both
@pytest.mark.parametrize(
    ("principal", "method", "params", "reason"),
    [
        ("bob", "tools/call", b'{"name":"a"}', SealRefusal.PRINCIPAL),
        (None, "tools/call", b'{"name":"a"}', SealRefusal.PRINCIPAL),
        ("", "tools/call", b'{"name":"a"}', SealRefusal.PRINCIPAL),
        ("alice", "prompts/get", b'{"name":"a"}', SealRefusal.METHOD),
        ("alice", "tools/call", b'{"name":"b"}', SealRefusal.PARAMS),
        ("alice", "tools/call", b'{"name":"a","arguments":{}}', SealRefusal.PARAMS),
        ("alice", "tools/call", b"{}", SealRefusal.PARAMS),
        # Who presents somebody else's state learns nothing else of it.
        ("bob", "prompts/get", b"{}", SealRefusal.PRINCIPAL),
    ],
)
def test_a_state_of_something_else(
    kind: Any, principal: str | None, method: str, params: bytes, reason: SealRefusal
) -> None:
    seal = kind(settings())
    text = seal.seal(PAYLOAD, MINE, wall=NOW)
    assert refusal(seal, text, request_binding(principal, method, params)) == reason


@both
def test_nobody_and_the_empty_name_are_two(kind: Any) -> None:
    seal = kind(settings())
    nobody = structs.replace(MINE, principal=None)
    text = seal.seal(PAYLOAD, nobody, wall=NOW)
    assert seal.open(text, nobody, wall=NOW) == PAYLOAD
    assert refusal(seal, text, structs.replace(MINE, principal="")) == SealRefusal.PRINCIPAL


@pytest.mark.parametrize(
    ("params", "same"),
    [
        (b'{"name":"a","arguments":{"x":1,"y":[1,2]}}', True),
        (b' { "arguments" : {"y":[1, 2],"x":1} , "name":"\\u0061" } ', True),
        (b'{"requestState":"s","name":"a","arguments":{"x":1,"y":[1,2]}}', True),
        (b'{"name":"a","arguments":{"x":1,"y":[1,2]},"inputResponses":{"k":{}}}', True),
        (b'{"name":"a","arguments":{"x":1,"y":[1,2]},"_meta":{"progressToken":7}}', True),
        (b'{"name":"a","arguments":{"x":1,"y":[2,1]}}', False),
        (b'{"name":"a","arguments":{"x":"1","y":[1,2]}}', False),
        (b'{"name":"a","arguments":{"x":1,"y":[1,2],"_meta":1}}', False),
        (b'{"name":"a","arguments":{"x":1,"y":[1,2],"requestState":"s"}}', False),
        (b'{"name":"a"}', False),
    ],
)
def test_what_counts_as_the_same_request(params: bytes, same: bool) -> None:
    first = Raw(b'{"name":"a","arguments":{"x":1,"y":[1,2]}}')
    binding = request_binding("alice", "tools/call", first)
    assert (request_binding("alice", "tools/call", params) == binding) is same


def test_numbers_beyond_floats_are_told_apart() -> None:
    one, other = (
        request_binding(None, "m", b'{"a":{"b":1e%d},"_meta":{"c":2}}' % n) for n in (400, 401)
    )
    assert one != other
    assert one == request_binding(None, "m", b'{"_meta":{"c":1e999},"a":{"b":1e400}}')


@pytest.mark.requirement("basic/patterns/mrtr/state-bound")
@both
@pytest.mark.parametrize(
    ("later", "reason"),
    [(0, None), (59.9, None), (60, SealRefusal.EXPIRED), (1e9, SealRefusal.EXPIRED), (-1e6, None)],
)
def test_expiry(kind: Any, later: float, reason: SealRefusal | None) -> None:
    seal = kind(settings(lifetime=60))
    text = seal.seal(PAYLOAD, MINE, wall=NOW)
    if reason is None:
        assert seal.open(text, MINE, wall=NOW + later) == PAYLOAD
    else:
        assert refusal(seal, text, wall=NOW + later) == reason


@both
def test_the_expiry_is_that_of_the_one_who_sealed(kind: Any) -> None:
    text = kind(settings(lifetime=60)).seal(PAYLOAD, MINE, wall=NOW)
    assert refusal(kind(settings(lifetime=3600)), text, wall=NOW + 61) == SealRefusal.EXPIRED


@both
def test_another_key_does_not_open(kind: Any) -> None:
    text = kind(settings(0)).seal(PAYLOAD, MINE, wall=NOW)
    assert refusal(kind(settings(1)), text) == SealRefusal.FOREIGN
    assert refusal(kind(), text) == SealRefusal.FOREIGN


@both
def test_a_state_cannot_be_moved_to_another_key(kind: Any) -> None:
    seal = kind(settings(1, 0))
    text = kind(settings(0)).seal(PAYLOAD, MINE, wall=NOW)
    moved = decoded(text)[:1] + KEYS[1].id + decoded(text)[9:]
    assert refusal(seal, encoded(moved)) == SealRefusal.ALTERED


@both
def test_rotation(kind: Any) -> None:
    seal = kind(settings(0))
    first = seal.seal(b"0", MINE, wall=NOW)
    seal.rotate(KEYS[1], KEYS[0])
    second = seal.seal(b"1", MINE, wall=NOW)
    assert [key.id for key in seal.keys] == [KEYS[1].id, KEYS[0].id]
    assert decoded(second)[1:9] == KEYS[1].id
    assert seal.open(first, MINE, wall=NOW) == b"0"
    assert seal.open(second, MINE, wall=NOW) == b"1"
    # A worker that knows the new key already, but does not seal with it yet, opens both.
    late = kind(settings(0, 1))
    assert late.open(second, MINE, wall=NOW) == b"1"
    assert decoded(late.seal(b"", MINE, wall=NOW))[1:9] == KEYS[0].id
    seal.rotate(KEYS[2], KEYS[1])
    assert refusal(seal, first) == SealRefusal.FOREIGN
    assert seal.open(second, MINE, wall=NOW) == b"1"
    with pytest.raises(ValueError, match="at least one key"):
        seal.rotate()
    assert seal.open(second, MINE, wall=NOW) == b"1"


@both
def test_keys_derived_from_one_secret(kind: Any) -> None:
    secret = b"s" * 32

    def worker(*labels: str) -> Any:
        return kind(SealSettings(keys=tuple(SealKey.derive(secret, label) for label in labels)))

    text = worker("2026-11").seal(PAYLOAD, MINE, wall=NOW)
    assert worker("2026-11").open(text, MINE, wall=NOW) == PAYLOAD
    assert worker("2026-12", "2026-11").open(text, MINE, wall=NOW) == PAYLOAD
    assert refusal(worker("2026-12"), text) == SealRefusal.FOREIGN
    assert refusal(kind(SealSettings(keys=(SealKey(secret),))), text) == SealRefusal.FOREIGN
    ids = {SealKey.derive(secret, label).id for label in ("", "a", "b", "id")}
    assert len(ids | {SealKey(secret).id}) == 5


def test_keys_of_one_secret_have_nothing_in_common() -> None:
    key = KEYS[0]
    assert (
        len({key.id, key._subkey(b"hmac-sha-256")[:8], key._subkey(b"fingerprint")[:8], b"\0" * 8})
        == 4
    )
    assert SealKey.random().id != SealKey.random().id


def test_secrets_do_not_show() -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    key = SealKey(secret)
    for shown in (repr(key), repr(SealSettings(keys=(key,)))):
        assert "0123456789abcdef" not in shown
        assert secret.hex() not in shown
        assert key.id.hex() in shown


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SealKey(b"short"), "at least 32 bytes, not 5"),
        (lambda: SealKey.derive(b"s" * 31, "a"), "at least 32 bytes, not 31"),
        (lambda: SealSettings(lifetime=0), "lifetime must be positive, got 0"),
        (lambda: SealSettings(lifetime=float("nan")), "lifetime must be positive"),
        (lambda: SealSettings(limit=-1), "limit must not be negative, got -1"),
        (lambda: HmacSeal(SealSettings(keys=())), "at least one key"),
        (lambda: AeadSeal(SealSettings(keys=())), "at least one key"),
    ],
)
def test_settings_that_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@both
def test_size(kind: Any) -> None:
    seal = kind(settings(limit=100))
    longest = seal.seal(b"x" * 100, MINE, wall=NOW)
    assert seal.open(longest, MINE, wall=NOW) == b"x" * 100
    with pytest.raises(ValueError, match="101 bytes, over the limit of 100"):
        seal.seal(b"x" * 101, MINE, wall=NOW)
    # What another worker let pass is refused before anything is done with it.
    longer = kind(settings(limit=101)).seal(b"x" * 101, MINE, wall=NOW)
    assert refusal(seal, longer) == SealRefusal.FOREIGN


def test_an_encrypted_state_tells_nothing() -> None:
    sealed = decoded(AeadSeal(settings()).seal(PAYLOAD, MINE, wall=NOW))
    assert b"secret" not in sealed
    assert b"alice" not in sealed


def test_fingerprints_tell_nothing() -> None:
    sealed = decoded(HmacSeal(settings()).seal(b"", MINE, wall=NOW))
    assert MINE.params[:16] not in sealed
    assert b"alice" not in sealed
    other = decoded(HmacSeal(settings(1)).seal(b"", MINE, wall=NOW))
    assert other[-48:-32] != sealed[-48:-32]
    alike = Binding("a", "=a", b"=a")
    assert len(set(KEYS[0].fingerprints(alike))) == 3


_WITHOUT = """
import sys
sys.modules["cryptography"] = None
from mcpcore.engine.seal import request_binding
from mcpcore_transports.server.seal import AeadSeal, HmacSeal, SealKey, SealSettings, make_seal

settings = SealSettings(keys=(SealKey(bytes([0]) * 32),))
seal = make_seal(settings)
assert type(seal) is HmacSeal
binding = request_binding("alice", "tools/call", b'{"name":"a"}')
text = seal.seal(b"state", binding, wall=1_700_000_000.0)
assert seal.open(text, binding, wall=1_700_000_000.0) == b"state"
print(text)
try:
    AeadSeal(settings)
except ImportError as error:
    print(error)
"""


def test_without_cryptography_states_are_authenticated_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True, cwd=ROOT
    )
    text, message = done.stdout.splitlines()
    assert HmacSeal(settings()).open(text, MINE, wall=NOW) == b"state"
    assert "pip install 'mcpcore[auth]'" in message


def test_with_cryptography_states_are_encrypted() -> None:
    assert type(make_seal()) is AeadSeal


def test_the_seal_costs_nothing_until_it_is_used() -> None:
    program = (
        "import sys; from mcpcore_transports.server.settings import RuntimeSettings;"
        "RuntimeSettings(); print('cryptography' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "False\n"


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
