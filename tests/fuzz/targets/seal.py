"""Sealed state: what comes back opens for the same request only, and nothing else opens at all."""

import json
from functools import cache

from mcpcore.engine.seal import Binding, Seal, SealRefusal, request_binding
from mcpcore.errors import SealBroken
from mcpcore_transports.server.seal import AeadSeal, HmacSeal, SealKey, SealSettings
from tests.fuzz import messages
from tests.fuzz.choices import Choices

TOKENS = (b"A", b"_", b"-", b"=", b"AQ", b"Ag", b"\x01", b"\x02", b"\n", b"+", b"/", b"\xc3\xa9")
_LIMIT = 64
_LIFETIME = 100.0
_NOW = 1_800_000_000.0


@cache
def _seals() -> tuple[Seal, Seal]:
    keys = (SealKey(bytes(range(32))), SealKey(bytes(range(32, 64))))
    settings = SealSettings(keys=keys, lifetime=_LIFETIME, limit=_LIMIT)
    return AeadSeal(settings), HmacSeal(settings)


def _refused(seal: Seal, text: str, binding: Binding, wall: float = _NOW) -> SealRefusal:
    """Why a text is refused, as it must be."""
    try:
        payload = seal.open(text, binding, wall=wall)
    except SealBroken as error:
        assert str(error) == error.reason.value
        return error.reason
    raise AssertionError(f"it opened as {payload!r}")


def _bindings(c: Choices) -> None:
    """A retry is known by its parameters, however they are written, and by nothing beside them."""
    params = {c.text(4) or "a": messages.value(c) for _ in range(c.below(4))}
    extra = {"_meta": {"x": c.byte()}, "requestState": c.text(4), "inputResponses": {}}
    first = json.dumps(params).encode()
    other = dict(reversed([*params.items(), *extra.items()]))
    second = json.dumps(other, indent=c.below(3), ensure_ascii=c.flag()).encode()
    salient = {name: value for name, value in params.items() if name not in extra}
    one, two = (request_binding("p", "tools/call", text) for text in (first, second))
    assert one == two
    changed = json.dumps({**salient, "another": 1}).encode()
    if "another" not in salient:
        assert request_binding("p", "tools/call", changed) != one


def TARGET(data: bytes) -> None:
    c = Choices(data)
    if c.flag(8):
        _bindings(c)
        return
    seal = c.pick(_seals())
    other = _seals()[seal is _seals()[0]]
    binding = Binding(c.pick((None, "", "alice")), c.pick(("tools/call", "x")), c.blob(8))
    if c.flag():
        _refused(seal, c.rest().decode("utf-8", "surrogateescape"), binding)
        return
    payload = c.blob(_LIMIT + 2)
    try:
        text = seal.seal(payload, binding, wall=_NOW)
    except ValueError:
        assert len(payload) > _LIMIT
        return
    assert len(payload) <= _LIMIT
    assert seal.open(text, binding, wall=_NOW) == payload
    assert seal.open(text, binding, wall=_NOW + _LIFETIME - 1) == payload
    assert _refused(seal, text, binding, _NOW + _LIFETIME) is SealRefusal.EXPIRED
    assert _refused(other, text, binding) is SealRefusal.FOREIGN
    stranger = Binding("mallory", binding.method, binding.params)
    assert _refused(seal, text, stranger) is SealRefusal.PRINCIPAL
    other_method = Binding(binding.principal, "y", binding.params)
    assert _refused(seal, text, other_method) is SealRefusal.METHOD
    other_params = Binding(binding.principal, binding.method, binding.params + b"x")
    assert _refused(seal, text, other_params) is SealRefusal.PARAMS
    at = c.below(len(text))
    part = c.pick(("", "A", "B", "=", "\n", " ", "é", text[at] * 2, c.text(3)))
    bent = text[:at] + part + text[at + c.below(3) :]
    if bent != text:
        assert _refused(seal, bent, binding) in (SealRefusal.FOREIGN, SealRefusal.ALTERED)
