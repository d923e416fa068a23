"""The decoder of messages against ``json`` and the rules of JSON-RPC, said in the plainest way.

What one of both reads the other reads as well, with the same value; the exceptions are listed in
``_sound``.
"""

import json
import re
from typing import Any

import msgspec
from msgspec import UNSET

from mcpcore.wire.jsontext import to_json
from mcpcore.wire.message import (
    Frame,
    Message,
    Reject,
    decode,
    encode_batch,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    refuse_oversized,
)
from tests.fuzz import messages
from tests.fuzz.choices import Choices

_LONG = b"\x0e"
"""Stands for 5000 digits, more than an input has room for; it is in no sound text itself."""
TOKENS = (*messages.TOKENS, _LONG)
_DEPTH = 12
_BATCH = 5
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")


class _Unfit(Exception):
    """The text is no JSON, or none that is taken."""


class _Number(str):
    """A number as it is written: no reader changes it before it is compared."""


def _constant(name: str) -> None:
    raise _Unfit(name)


class _Twice(dict[str, Any]):
    """An object in which a name occurs twice: the last one counts, the others are sound or not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(found)


_READER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_Number, parse_float=_Number, parse_constant=_constant
)


def _sound(text: bytes) -> Any:
    """The value of a text.  Raises _Unfit.

    Stricter than ``json``: no NaN and Infinity, no half of a surrogate pair, no byte order mark.
    """
    try:
        found = _READER.decode(text.decode())
    except (ValueError, RecursionError):
        raise _Unfit("no JSON") from None
    if _depth(found) > _DEPTH:
        raise _Unfit("too deep")
    if _halves(found):
        raise _Unfit("half a surrogate pair")
    return found


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _halves(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_halves(name) or _halves(inner) for name, inner in value.items())
    if isinstance(value, list):
        return any(map(_halves, value))
    return isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value)


def _twice(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value, _Twice) or any(map(_twice, value.values()))
    return isinstance(value, list) and any(map(_twice, value))


def _depth_of(text: bytes) -> int:
    """How deep brackets nest outside of strings, as far as the text goes."""
    outside = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text, flags=re.DOTALL)
    depth = most = 0
    for byte in outside:
        depth += (byte in b"{[") - (byte in b"}]")
        most = max(most, depth)
    return most


def _is_id(value: Any) -> bool:
    if isinstance(value, _Number):
        return bool(_INTEGER.fullmatch(value)) and len(value) <= 4300
    return isinstance(value, str)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, _Number)


def _is_message(found: Any) -> bool:
    """JSON-RPC 2.0 sections 4 and 5, with ids, params and results as MCP has them."""
    if not isinstance(found, dict) or found.get("jsonrpc") != "2.0":
        return False
    if isinstance(found["jsonrpc"], _Number):
        return False
    if "method" in found:
        sound = _is_text(found["method"]) and not {"result", "error"} & found.keys()
        sound = sound and ("id" not in found or _is_id(found["id"]))
        return sound and isinstance(found.get("params", {}), dict)
    if "result" in found:
        return (
            "error" not in found and _is_id(found.get("id")) and isinstance(found["result"], dict)
        )
    error = found.get("error")
    if not isinstance(error, dict) or not _is_text(error.get("message")):
        return False
    code = error.get("code")
    known = isinstance(code, _Number) and _is_id(code)
    return known and (found.get("id") is None or _is_id(found["id"]))


def _reading(raw: Any) -> Any:
    return None if raw is UNSET else _READER.decode(bytes(raw).decode())


def _same(message: Message, found: dict[str, Any]) -> None:
    """What was decoded is what stands there."""
    id = found.get("id")
    if isinstance(id, _Number):
        assert type(message.id) is int
        assert str(message.id) == ("0" if id == "-0" else id)
    else:
        assert message.id == (UNSET if id is None else id)
    assert message.method == found.get("method", UNSET)
    for name in ("params", "result", "error"):
        if name in found or getattr(message, name) is not UNSET:
            # What is no object where the other members say enough is not looked at.
            assert _reading(getattr(message, name)) == found[name]


def _check(text: bytes, frame: Frame) -> None:
    try:
        found = _sound(text)
    except _Unfit:
        assert isinstance(frame, Reject), "json refuses it"
        assert frame.code == -32700
        return
    if isinstance(frame, Reject) and _twice(found):
        return
    if isinstance(found, list):
        if not 0 < len(found) <= _BATCH:
            assert isinstance(frame, Reject)
            assert frame.code == -32600
            return
        assert isinstance(frame, list)
        for part, element in zip(frame, found, strict=True):
            _check_one(part, element)
    else:
        assert not isinstance(frame, list)
        _check_one(frame, found)


def _check_one(frame: Message | Reject, found: Any) -> None:
    if isinstance(frame, Reject) and _twice(found):
        return
    if _is_message(found):
        assert isinstance(frame, Message), frame
        _same(frame, found)
        _again(frame)
        return
    assert isinstance(frame, Reject), found
    assert frame.code == -32600
    owed = True
    if isinstance(found, dict):
        response = "method" not in found and bool({"result", "error"} & found.keys())
        notification = "id" not in found and _is_text(found.get("method"))
        owed = not response and not notification
        assert frame.response == response
        if frame.id is not None:
            assert _is_id(found["id"])
            assert str(frame.id) == found["id"] or found["id"] == "-0"
    assert frame.owed == owed


def _again(message: Message) -> None:
    """What was read is written and read once more."""
    if message.method is not UNSET:
        params = None if message.params is UNSET else to_json(message.params)
        if message.id is UNSET:
            text = encode_notification(message.method, params)
        else:
            text = encode_request(message.id, message.method, params)
    elif message.result is not UNSET:
        assert message.id is not UNSET
        text = encode_result(message.id, to_json(message.result))
    else:
        assert message.error is not UNSET
        text = encode_error(None if message.id is UNSET else message.id, message.error)
    assert b"\n" not in text
    again = decode(text, max_depth=_DEPTH)
    assert isinstance(again, Message)
    assert (again.id, again.method) == (message.id, message.method)
    for name in ("params", "result", "error"):
        assert _reading(getattr(again, name)) == _reading(getattr(message, name))
    batch = decode(encode_batch([text, text]), max_depth=_DEPTH + 1)
    assert batch == [again, again]


def TARGET(data: bytes) -> None:
    c = Choices(data)
    how = c.below(4)
    if how == 0:
        text = messages.any_message(c, modern=c.flag(), ids=messages.IDS)
    elif how == 1:
        text = messages.text(c, [messages.value(c) for _ in range(c.below(8))])
    else:
        text = c.rest().replace(_LONG, b"9" * 5000)
    frame = decode(text, max_depth=_DEPTH, max_batch=_BATCH)
    assert frame == decode(bytearray(text), max_depth=_DEPTH, max_batch=_BATCH)
    if len(text) and _depth_of(text) > _DEPTH and not isinstance(frame, Reject):
        raise AssertionError("too deep, and taken all the same")
    _check(text, frame)
    refused = refuse_oversized(text[:64], 64)
    assert refused.code == -32700
    if isinstance(frame, Reject):
        msgspec.json.encode(frame)
        assert messages.SECRET not in frame.message
