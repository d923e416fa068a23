"""Bodies made from Python values: what ``json`` would write, or an error that is documented."""

import json
import math
from typing import Any

from msgspec import Raw

from mcpcore.wire.jsontext import splice, to_json
from tests.fuzz import messages
from tests.fuzz.choices import Choices

TOKENS = messages.TOKENS
_ODD = (
    math.nan,
    math.inf,
    -math.inf,
    "\ud800",
    b"bytes",
    object(),
    {1: 2},
    {"a": math.nan},
    (1, 2),
)


def _value(c: Choices) -> Any:
    found = {c.text(4): messages.value(c) for _ in range(c.below(4))}
    if c.flag(4):
        found[c.text(4)] = c.pick(_ODD)
    return found


def _has_form(value: Any) -> bool:
    """Whether JSON can say it; bytes are taken as base64, and other keys than text as text."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False, default=_bytes).encode()
    except (ValueError, TypeError):
        return False
    return True


def _bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return "base64"
    raise TypeError(value)


def TARGET(data: bytes) -> None:
    c = Choices(data)
    value = _value(c)
    try:
        text = to_json(value)
    except (ValueError, TypeError):
        assert not _has_form(value)
        return
    assert _has_form(value)
    assert b"\n" not in text
    assert b"\r" not in text
    plain = json.loads(json.dumps(value, default=lambda found: _marked(found)))
    assert _unmarked(json.loads(text), plain)
    assert to_json(Raw(b" \n" + text + b"\r\t")) == text
    spread = json.dumps(plain, indent=c.below(3)).replace("\n", c.pick(("\n", "\r\n"))).encode()
    assert json.loads(to_json(spread)) == plain
    assert b"\n" not in to_json(spread)
    added = splice(to_json(spread), b'"first":1')
    read = json.loads(added)
    assert next(iter(read)) == "first"
    assert {**read, "first": 0} == {**plain, "first": 0} or "first" in plain


def _marked(value: Any) -> str:
    return f"bytes {value!r}"


def _unmarked(read: Any, plain: Any) -> bool:
    """The same, where bytes stand for themselves in base64."""
    if isinstance(plain, dict):
        return read.keys() == plain.keys() and all(_unmarked(read[k], plain[k]) for k in plain)
    if isinstance(plain, list):
        return len(read) == len(plain) and all(map(_unmarked, read, plain))
    if isinstance(plain, str) and plain.startswith("bytes "):
        return isinstance(read, str)
    return bool(read == plain)
