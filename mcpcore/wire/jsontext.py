"""JSON as text: faults that make a text unreadable, and bodies as one line of JSON.

msgspec parses.  This module adds the checks that a parser of network data needs besides: how deep
a text nests, why it was refused, and which Python values have no JSON form.  Source: RFC 8259
(sections 2 grammar, 7 strings, 8.1 encoding and byte order mark, 9 limits of parsers).
"""

import re
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import Raw, Struct

Body = Struct | Mapping[str, Any] | Raw | bytes | None
"""Params, result or error: a value that becomes a JSON object."""

WHITESPACE = b" \t\n\r"
_BOM = b"\xef\xbb\xbf"

LENIENT_LIMIT = 256 * 1024
"""Maximum bytes of a broken text that is read once more to find its id."""

_REPEATED = 100
"""Maximum characters of the other side's text that an error message repeats."""

# Nesting

_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'{[]}"')
_STRIDE = 128
_LONG = 16 * 1024
"""Bytes of a text beyond which counting brackets is slower than finding the first ones."""
_CLOSERS = {ord("{"): ord("}"), ord("["): ord("]")}
# Only faults need this pattern: re compiles it with the first of them, and keeps it.
_STRING_OR_BRACKET = rb'(?s:"(?:[^"\\]|\\.)*+"|[{\[\]}])'


def deeper_than(text: bytes, limit: int) -> bool:
    """Return True if brackets outside strings nest more than ``limit`` deep; linear in ``text``."""
    if not _has_more_brackets(text, limit):
        return False
    if b"\\" in text:
        # In this order, as escapes are read from the left.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    steps = text.translate(_STEPS, _NO_STRUCTURE).replace(b'""', b"")
    if b'"' in steps:
        steps = b"".join(steps.split(b'"')[::2])
    depth = 0
    for start in range(0, len(steps), _STRIDE):
        stride = steps[start : start + _STRIDE]
        opened = stride.count(1)
        if depth + opened > limit:  # else it cannot get too deep in here
            heights = accumulate(memoryview(stride).cast("b"), initial=depth)
            if max(heights) > limit:
                return True
        depth += 2 * opened - len(stride)
    return False


def _has_more_brackets(text: bytes, limit: int) -> bool:
    """Return True if more than ``limit`` brackets are opened, within strings or not."""
    if len(text) <= _LONG:
        return text.count(b"{") + text.count(b"[") > limit
    # Ten times as fast as counting, if there are few brackets.
    left = limit
    for bracket in _CLOSERS:
        at = text.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = text.find(bracket, at + 1)
    return False


def _shallow_part(text: bytes, limit: int) -> bytes:
    """Return ``text`` up to the first bracket beyond ``limit``, closed so that it can be parsed."""
    open_brackets = bytearray()
    for token in re.compile(_STRING_OR_BRACKET).finditer(text, 0, LENIENT_LIMIT):
        byte = text[token.start()]
        if byte in _CLOSERS:
            if len(open_brackets) == limit:
                return text[: token.start()] + b"null" + open_brackets[::-1]
            open_brackets.append(_CLOSERS[byte])
        elif byte != ord('"') and open_brackets:
            open_brackets.pop()
    return text


# Faults

_AT_BYTE = r"\(byte (\d+)\)"
# Any escape: a pair of surrogates, (1) a surrogate alone, or another one.
_ESCAPE = (
    rb"(?s:\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F])|\\.)"
)


def find_fault(text: bytes, max_depth: int) -> str | None:
    """Return a text on why ``text`` cannot be read as JSON; None if it can.

    Numbers beyond the range of a float or an int are valid JSON and no fault.
    """
    if not text.strip(WHITESPACE):
        return "the text is empty"
    if text.startswith(_BOM):
        return "the text begins with a byte order mark"
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason} (byte {error.start})"
    if (position := text.find(0)) >= 0:
        return f"NUL character (byte {position})"
    if deeper_than(text, max_depth):
        return f"nested deeper than {max_depth} levels"
    try:
        msgspec.json.decode(text, type=Raw)
    except RecursionError:
        return "nested too deeply"
    except msgspec.DecodeError as error:
        return _explain(text, str(error))
    return None


def _explain(text: bytes, reason: str) -> str:
    """Return a better explanation than the parser's, if there is one for the case."""
    at = re.search(_AT_BYTE, reason)
    if at is not None:
        position = int(at[1])
        for constant in ("NaN", "Infinity"):
            if text.startswith(constant.encode(), position):
                return f"{constant} is not a JSON value (byte {position})"
    if any(escape[1] for escape in re.finditer(_ESCAPE, text)):
        return "a string contains a lone surrogate"
    if reason == "Input data was truncated":
        return "the text is truncated"
    return reason.removeprefix("JSON is malformed: ")


def read_leniently(text: bytes, max_depth: int) -> Any:
    """Return the value of a text that is JSON but for one of a few well-known faults, else None.

    It finds the id in a message that is about to be refused; not in texts over ``LENIENT_LIMIT``.
    """
    if deeper_than(text, max_depth):
        text = _shallow_part(text, max_depth)
    if len(text) > LENIENT_LIMIT:
        return None
    import json  # imported late: valid messages never need it

    try:
        return json.loads(text.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None


# Bodies


def encodable(value: Any) -> Any:
    """Return a stand-in that msgspec can encode for a value that it cannot encode itself.

    Mappings, paths, pydantic models and subclasses of str, int and float (numpy's) have one.
    """
    if isinstance(value, Mapping):
        return dict(value)
    for kind, plain in _PLAIN:
        if isinstance(value, kind):
            return plain(value)
    path = getattr(type(value), "__fspath__", None)  # as ``os.PathLike`` does
    if path is not None:
        return path(value)
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        try:
            return serializer.to_python(value, mode="json", by_alias=True, warnings="error")
        except ValueError as error:
            raise ValueError(without_input(error)) from None
    hint = ": await it" if hasattr(value, "__await__") else ""
    raise TypeError(f"{type(value).__name__} has no JSON form{hint}")


def without_input(error: ValueError) -> str:
    """Return pydantic's message on a value without the value, which may be a secret."""
    return re.sub(r"(?s)input_value=.*?, (?=input_type=)", "", str(error))


def shortened(text: str) -> str:
    """Return ``text`` or its beginning, short enough for an error message to repeat."""
    return text if len(text) <= _REPEATED else text[:_REPEATED] + "..."


def sayable(text: str) -> str:
    """Return ``text`` with a question mark for each lone surrogate, which has no JSON form."""
    return text.encode(errors="replace").decode()


_PLAIN: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)
_encode = msgspec.json.Encoder(enc_hook=encodable).encode
_pack = msgspec.msgpack.Encoder(enc_hook=encodable).encode
_NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_BRACE, _QUOTE, _LF, _CR = b'{"\n\r'  # as integers: faster to look for
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_EMPTY_OBJECT = re.compile(rb"\{[ \t\r\n]*+\}")


def to_json(body: Body) -> bytes:
    """Return ``body`` as one line of JSON, an object: ``{}`` for None.

    Raw values and bytes are trusted to be JSON; their line breaks become spaces (in JSON they can
    stand between tokens only).  Raises ValueError for values without a JSON form (NaN, Infinity,
    lone surrogates, no object, recursion) and TypeError for types that have no JSON form.
    """
    if body is None:
        return b"{}"
    if isinstance(body, (Raw, bytes)):
        text = bytes(body).strip(WHITESPACE)
        if text[-1:] != b"}":
            raise ValueError("a body must be one JSON object")
    else:
        try:
            text = _encode(body)
            if text.find(b"null") >= 0:
                _refuse_non_finite(body)
        except RecursionError:
            raise ValueError("the body is nested too deeply or contains itself") from None
    if text[0] != _BRACE:
        raise ValueError("a body must be one JSON object")
    return one_line(text)


def one_line(text: bytes) -> bytes:
    """Return a JSON text whose line breaks, which stand between tokens, have become spaces."""
    return text.translate(_ONE_LINE) if _LF in text or _CR in text else text


def _refuse_non_finite(body: Any) -> None:
    # msgspec writes null for a float that is not finite, and no option changes that. MessagePack
    # keeps such floats visible: a cheap first look before the exact one.
    try:
        if not _NON_FINITE.search(_pack(body)):
            return
    except OverflowError:  # an integer of more than 64 bits
        pass
    import json

    plain = msgspec.to_builtins(body, builtin_types=(Raw,), str_keys=True, enc_hook=encodable)
    try:
        json.dumps(plain, allow_nan=False, default=lambda raw: None)
    except ValueError:
        raise ValueError("NaN and Infinity have no JSON form") from None


Members = dict[str, Raw]
"""Members of a JSON object."""


def joined(members: Members, first: bytes = b"", around: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    """Return the object of these members as one line, in one copy.

    ``first``: members that are put before them, as in :func:`splice`; ``around``: texts before and
    after the object.
    """
    # The buffer of an encoder grows by copying what is in it.
    parts: list[bytes | Raw] = [b",", first] if first else []
    for name, value in members.items():
        parts += (b",", _encode(name), b":", value)
    before, after = around
    return one_line(b"".join((before, b"{", *parts[1:], b"}", after)))


def splice(body: bytes, members: bytes) -> bytes:
    """Return the JSON object ``body`` (as of :func:`to_json`) with ``members`` put first.

    ``members`` is written without braces: ``"a":1,"b":2``; it may be empty.
    """
    return b"".join(pieces(body, members)) if members else body


def pieces(body: bytes | Raw, members: bytes) -> tuple[bytes | Raw | memoryview, ...]:
    """Return the parts that :func:`splice` joins; a caller that joins more copies ``body`` once."""
    if not members:
        return (body,)
    rest = memoryview(body)[1:]
    if rest[0] != _QUOTE and _EMPTY_OBJECT.fullmatch(body):
        return (b"{", members, b"}")
    return (b"{", members, b",", rest)
